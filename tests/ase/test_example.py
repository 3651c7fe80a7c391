"""The example script runs as it is, and finds the barrier that ASE finds."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ase.optimize
import pytest
from ase.io import read
from ase.mep import NEBTools

SCRIPT = Path(__file__).parents[2] / "examples" / "ase_dropin.py"


def test_barrier(make: Callable[..., Any], tmp_path: Path) -> None:
    answer = subprocess.run([sys.executable, SCRIPT], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    found = re.search(r"barrier (\d\.\d+) eV; fmax .* < 0.02 after (\d+) steps \((\d+) gradient", answer.stdout)
    assert found, answer.stdout
    barrier, steps, calls = float(found[1]), int(found[2]), int(found[3])
    assert calls == 5 * (steps + 1)
    assert len(read(tmp_path / "path.traj", ":")) == 7 * (steps + 1)
    neb = make("band", images=5)
    assert ase.optimize.FIRE(neb, logfile=None).run(fmax=0.01)
    assert barrier == pytest.approx(NEBTools(neb.images).get_barrier(fit=False)[0], abs=2e-3)
