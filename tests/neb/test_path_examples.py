"""Every example on paths runs as it is and finds what is known."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from ase.io import read

from sciopt.problems import path_problem

EXAMPLES = Path(__file__).parents[2] / "examples"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_molecule() -> None:
    path = load("find_path_molecule").main()
    assert path.converged
    assert path.check.passed
    assert path.barrier == pytest.approx(path_problem("hcn_hnc").barrier, abs=0.01)
    assert len(read("hcn_path.extxyz", index=":")) == 9
    assert Path("hcn_profile.png").stat().st_size > 10_000


def test_a_rule_of_ones_own() -> None:
    path = load("own_rule").main()
    assert path.converged
    assert path.barrier == pytest.approx(path_problem("muller_brown").barrier, abs=0.01)


def test_the_gaussian_process() -> None:
    alone, corrected = load("gp_path").main()
    for path in (alone, corrected):
        assert path.converged
        assert path.barrier == pytest.approx(path_problem("methyl_isocyanide").barrier, abs=0.01)
    assert corrected.calls["images"] < alone.calls["images"] < 40 and corrected.calls["prior"] > 0
    assert not corrected.energy_errors.any() and alone.energy_errors.any()
    assert all(Path(name).stat().st_size > 10_000 for name in ("gp_profile.png", "gp_learning.png"))


def test_images_in_parallel() -> None:
    path = load("parallel_images").main()
    assert path.converged
    assert path.barrier == pytest.approx(path_problem("ethanol_rotation").barrier, abs=0.01)
    assert (Path("ethanol_run") / "summary.json").exists()
