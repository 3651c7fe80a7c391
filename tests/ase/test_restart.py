"""A run continued from its restart file, in new objects, is the uninterrupted run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ase.optimize
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.lj import LennardJones
from ase.filters import FrechetCellFilter, StrainFilter, UnitCellFilter
from ase.io import read
from ase.optimize import RestartError

import sciopt.ase
from sciopt.core import Adaptive, InputError, RestartMismatch, power

CLASSES = [getattr(sciopt.ase, name) for name in sciopt.ase.__all__ if name != "StepOptimizer"]
VARIANTS: list[tuple[type, dict[str, Any]]] = [(cls, {}) for cls in CLASSES]
VARIANTS += [
    (sciopt.ase.FIRE, {"downhill_check": True, "dt": 0.5, "maxstep": 1.0}),
    (sciopt.ase.LBFGS, {"trust": True, "auto": True, "maxstep": 0.5}),
    (sciopt.ase.LBFGS, {"memory": 2}),
    (sciopt.ase.PreconditionedLBFGS, {"trust": True}),
    (sciopt.ase.Adam, {"learning_rate": Adaptive(0.1, power, patience=2), "weight_decay": 0.1, "amsgrad": True}),
    (sciopt.ase.Momentum, {"nesterov": True, "weight_decay": 0.1, "decoupled": True}),
]


def points_of(optimizer: Any, steps: int) -> list[np.ndarray]:
    points = []
    optimizer.attach(lambda: points.append(optimizer.optimizable.get_x()))
    optimizer.run(fmax=1e-7, steps=steps)
    return points


def copied(atoms: Atoms) -> Atoms:
    new = atoms.copy()
    new.calc = LennardJones(rc=20.0)
    return new


@pytest.mark.parametrize("steps", [1, 2, 7, 15])
@pytest.mark.parametrize(("cls", "options"), VARIANTS, ids=lambda v: getattr(v, "__name__", None))
def test_continued_run(
    make: Callable[..., Any], tmp_path: Path, cls: type, options: dict[str, Any], steps: int
) -> None:
    whole = points_of(cls(make("cluster"), logfile=None, **options), 30)
    file = tmp_path / "restart.json"
    atoms = make("cluster")
    points_of(cls(atoms, restart=file, logfile=None, **options), steps)
    rest = points_of(cls(copied(atoms), restart=file, logfile=None, **options), 30 - steps)
    assert len(rest) == 31 - steps
    assert np.array_equal(rest, whole[steps:])


class Killed(Exception):
    """The machine went down."""


class Mortal(LennardJones):
    """A calculator that kills the process in its n-th calculation."""

    def __init__(self, die_at: int) -> None:
        super().__init__(rc=20.0)
        self.left = die_at

    def calculate(self, *args: Any, **kwargs: Any) -> None:
        self.left -= 1
        if self.left == 0:
            raise Killed
        super().calculate(*args, **kwargs)


@pytest.mark.parametrize("die_at", [2, 3, 9, 14, 20])
@pytest.mark.parametrize(("cls", "options"), VARIANTS[:6] + VARIANTS[-6:], ids=lambda v: getattr(v, "__name__", None))
def test_killed_while_calculating(
    make: Callable[..., Any], tmp_path: Path, cls: type, options: dict[str, Any], die_at: int
) -> None:
    """The trajectory lacks the point that was being calculated; the restart file knows it."""
    whole = points_of(cls(make("cluster"), logfile=None, **options), 30)
    file, frames = tmp_path / "restart.json", tmp_path / "run.traj"
    atoms = make("cluster")
    atoms.calc = Mortal(die_at)
    with pytest.raises(Killed):
        cls(atoms, restart=file, trajectory=frames, logfile=None, **options).run(fmax=1e-7)
    atoms = copied(read(frames))
    done = len(read(frames, ":"))
    rest = points_of(cls(atoms, restart=file, logfile=None, **options), 5)
    # Killed in the second evaluation of one step, the file is still that of the step before.
    assert any(np.array_equal(rest, whole[first : first + 6]) for first in (done - 1, done))


@pytest.mark.parametrize("kind", [FrechetCellFilter, UnitCellFilter, StrainFilter])
@pytest.mark.parametrize("cls", [sciopt.ase.LBFGS, sciopt.ase.FIRE, sciopt.ase.AMSGrad])
def test_filters_keep_their_reference(make: Callable[..., Any], tmp_path: Path, cls: type, kind: type) -> None:
    """The cell a filter measures strain against is in no trajectory; it is in the restart file."""

    def start() -> Atoms:
        atoms = make("cell").atoms
        atoms.calc = LennardJones(sigma=2.3, epsilon=0.4, rc=6.0)
        return atoms

    whole = points_of(cls(kind(start()), logfile=None), 12)
    file = tmp_path / "restart.json"
    atoms = start()
    points_of(cls(kind(atoms), restart=file, logfile=None), 5)
    again = atoms.copy()
    again.calc = LennardJones(sigma=2.3, epsilon=0.4, rc=6.0)
    rest = points_of(cls(kind(again), restart=file, logfile=None), 7)
    assert np.array_equal(rest, whole[5:])


@pytest.mark.parametrize("cls", [sciopt.ase.LBFGS, sciopt.ase.FIRE2, sciopt.ase.PreconditionedLBFGS])
def test_bands(make: Callable[..., Any], tmp_path: Path, cls: type) -> None:
    whole = points_of(cls(make("band"), logfile=None), 10)
    file = tmp_path / "restart.json"
    neb = make("band")
    points_of(cls(neb, restart=file, logfile=None), 4)
    # EMT sums forces in an order that depends on where its neighbour list was built: the calculators live on.
    rest = points_of(cls(neb, restart=file, logfile=None), 6)
    assert np.array_equal(rest, whole[4:])


def test_other_atoms_are_a_new_start(make: Callable[..., Any], tmp_path: Path) -> None:
    """As in ASE, a restart file may serve another structure; a trust radius does not take it back to the old one."""
    file = tmp_path / "restart.json"
    sciopt.ase.LBFGS(make("cluster"), restart=file, logfile=None, trust=True).run(fmax=1e-7, steps=5)
    atoms = make("cluster")
    atoms.rattle(0.1, seed=9)
    atoms.positions += 50.0
    optimizer = sciopt.ase.LBFGS(atoms, restart=file, logfile=None, trust=True)
    assert optimizer.run(fmax=1e-3, steps=300)
    assert atoms.positions.min() > 40.0


def test_another_class_is_refused(make: Callable[..., Any], tmp_path: Path) -> None:
    file = tmp_path / "restart.json"
    sciopt.ase.FIRE(make("cluster"), restart=file, logfile=None).run(steps=2)
    with pytest.raises(RestartMismatch, match="written by FIRE, this is LBFGS"):
        sciopt.ase.LBFGS(make("cluster"), restart=file)


def test_a_file_of_ase_is_refused(make: Callable[..., Any], tmp_path: Path) -> None:
    file = tmp_path / "restart.json"
    ase.optimize.FIRE(make("cluster"), restart=file, logfile=None).run(steps=2)
    with pytest.raises(RestartMismatch, match=r"not a restart file of sciopt's FIRE"):
        sciopt.ase.FIRE(make("cluster"), restart=file)


def test_other_options_are_named(make: Callable[..., Any], tmp_path: Path) -> None:
    file = tmp_path / "restart.json"
    sciopt.ase.Adam(make("cluster"), restart=file, logfile=None).run(steps=2)
    with pytest.raises(RestartMismatch, match=r"rule.beta1 = 0.9, this Adam has 0.8"):
        sciopt.ase.Adam(make("cluster"), restart=file, betas=(0.8, 0.999))
    # A cap is no part of the state.
    sciopt.ase.Adam(make("cluster"), restart=file, logfile=None, maxstep=0.05).run(steps=2)


def test_another_system_is_refused(make: Callable[..., Any], tmp_path: Path) -> None:
    file = tmp_path / "restart.json"
    sciopt.ase.LBFGS(make("cluster"), restart=file, logfile=None).run(steps=2)
    with pytest.raises(RestartMismatch, match="39 coordinates, here are 24"):
        sciopt.ase.LBFGS(make("gold"), restart=file)


def test_damaged_files_are_ase_errors(make: Callable[..., Any], tmp_path: Path) -> None:
    file = tmp_path / "restart.json"
    file.write_text('{"format": "sciopt')
    with pytest.raises(RestartError, match="Could not decode"):
        sciopt.ase.LBFGS(make("cluster"), restart=file)


def test_files_are_plain_json(make: Callable[..., Any], tmp_path: Path) -> None:
    file = tmp_path / "restart.json"
    sciopt.ase.LBFGS(make("cluster"), restart=file, logfile=None).run(steps=2)
    content = json.loads(file.read_text())
    assert content["optimizer"] == "LBFGS"
    assert list(tmp_path.iterdir()) == [file]


def test_options_that_make_no_sense(make: Callable[..., Any]) -> None:
    for options, message in (
        ({"use_line_search": True}, "trust=True"),
        ({"trust": True, "damping": 0.5}, "one of the two"),
        ({"maxstep": 2.0}, "too large"),
        ({"maxstep": 0.0}, "positive"),
        ({"memory": 0}, "at least one pair"),
    ):
        with pytest.raises(InputError, match=message):
            sciopt.ase.LBFGS(make("cluster"), **options)
