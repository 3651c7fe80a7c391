"""The demo runs as it is and finds what is known."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sciopt.problems import path_problem

DEMO = Path(__file__).parents[1] / "examples" / "demo.py"


def test_the_demo_finds_the_known_barrier(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, DEMO, tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("$ sciopt neb ")
    said = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert said["converged"] and said["saddle"]["passed"]
    assert said["barrier"] == pytest.approx(path_problem("vinyl_alcohol_acetaldehyde").barrier, abs=0.010)
    for name in ("profile.png", "path.extxyz", "path.traj", "saddle.extxyz", "log.csv", "evaluations.traj"):
        assert (tmp_path / "run" / name).stat().st_size > 0, name
