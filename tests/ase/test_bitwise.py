"""FIRE, FIRE 2.0, ABC-FIRE and L-BFGS take the steps of ASE, bit by bit, over whole runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ase.io
import ase.optimize
import numpy as np
import pytest
from ase.optimize.optimize import Optimizer

import sciopt.ase
from sciopt.core import InputError

OPTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "FIRE": ("FIRE", {}),
    "FIRE-options": (
        "FIRE",
        {"dt": 0.2, "maxstep": 0.1, "dtmax": 0.5, "Nmin": 3, "finc": 1.2, "fdec": 0.4, "astart": 0.2, "fa": 0.95}
        | {"a": 0.3},
    ),
    "FIRE2": ("FIRE2", {}),
    "FIRE2-options": (
        "FIRE2",
        {"dt": 0.2, "maxstep": 0.15, "dtmax": 0.6, "dtmin": 0.05, "Nmin": 5, "finc": 1.2, "fdec": 0.3, "astart": 0.3}
        | {"fa": 0.9},
    ),
    "ABC": ("FIRE2", {"use_abc": True}),
    "ABC-options": ("FIRE2", {"use_abc": True, "maxstep": 0.03, "dt": 0.3}),
    "LBFGS": ("LBFGS", {}),
    "LBFGS-options": ("LBFGS", {"memory": 5, "damping": 0.9, "alpha": 100.0, "maxstep": 0.15}),
}
FMAX = {"band": 0.01, "ethanol": 1e-3}


def trajectory(kind: type[Optimizer], target: Any, fmax: float, **options: Any) -> np.ndarray:
    """(steps + 1, n) all points of a run."""
    points: list[np.ndarray] = []
    optimizer = kind(target, logfile=None, **options)
    optimizer.attach(lambda: points.append(optimizer.optimizable.get_x()))
    assert optimizer.run(fmax=fmax, steps=400)
    return np.array(points)


# GFN2-xTB is slow: defaults only.
PAIRS = [
    (system, case)
    for system in ("gold", "adatom", "cell", "cluster", "bonded", "band", "ethanol")
    for case in OPTIONS
    if system != "ethanol" or not case.endswith("options")
]


@pytest.mark.parametrize(("system", "case"), PAIRS)
def test_same_bits(make: Callable[..., Any], system: str, case: str) -> None:
    name, options = OPTIONS[case]
    fmax = FMAX.get(system, 1e-5)
    theirs = trajectory(getattr(ase.optimize, name), make(system), fmax, **options)
    ours = trajectory(getattr(sciopt.ase, name), make(system), fmax, **options)
    assert len(theirs) > 10
    assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("system", ["cluster", "adatom", "cell"])
def test_downhill_check(make: Callable[..., Any], system: str) -> None:
    resets: dict[str, list[float]] = {"ase": [], "sciopt": []}

    def note(who: str) -> Callable[..., None]:
        return lambda optimizable, x, energy, last: resets[who].append(energy - last)

    options = {"downhill_check": True, "dt": 0.5, "maxstep": 1.0}
    theirs = trajectory(ase.optimize.FIRE, make(system), 1e-5, position_reset_callback=note("ase"), **options)
    ours = trajectory(sciopt.ase.FIRE, make(system), 1e-5, position_reset_callback=note("sciopt"), **options)
    assert len(resets["ase"]) > 2
    assert min(resets["ase"]) > 0
    # The last digit of an energy may depend on how arrays lie in memory; the trajectories may not.
    assert resets["sciopt"] == pytest.approx(resets["ase"], rel=1e-12)
    assert np.array_equal(ours, theirs)


def test_downhill_check_needs_an_energy(make: Callable[..., Any]) -> None:
    with pytest.raises(InputError, match="downhill_check"):
        sciopt.ase.FIRE(make("band"), downhill_check=True)


def test_abcfire_is_fire2_with_abc(make: Callable[..., Any]) -> None:
    theirs = trajectory(ase.optimize.FIRE2, make("gold"), 1e-3, use_abc=True)
    assert np.array_equal(trajectory(sciopt.ase.ABCFIRE, make("gold"), 1e-3), theirs)


@pytest.mark.parametrize("name", ["FIRE", "FIRE2", "LBFGS"])
def test_observers_may_move_atoms(make: Callable[..., Any], name: str) -> None:
    """A shove in the middle of a run is taken as ASE takes it."""
    runs = []
    for module in (ase.optimize, sciopt.ase):
        atoms = make("cluster")
        optimizer = getattr(module, name)(atoms, logfile=None)

        def shove(atoms: Any = atoms, optimizer: Any = optimizer) -> None:
            if optimizer.nsteps == 7:
                atoms.positions[3] += [0.05, -0.02, 0.1]

        optimizer.attach(shove)
        points = []
        optimizer.attach(lambda points=points, optimizer=optimizer: points.append(optimizer.optimizable.get_x()))
        assert optimizer.run(fmax=1e-4, steps=400)
        runs.append(np.array(points))
    assert np.array_equal(*runs)


def test_replay(make: Callable[..., Any], tmp_path: Any) -> None:
    """L-BFGS learns the same from a trajectory as ASE's."""
    file = str(tmp_path / "first.traj")
    ase.optimize.LBFGS(make("cluster"), logfile=None, trajectory=file).run(fmax=0.1)
    runs = []
    for module in (ase.optimize, sciopt.ase):
        atoms = make("cluster")
        atoms.positions[:] = ase.io.read(file).positions
        optimizer = module.LBFGS(atoms, logfile=None)
        optimizer.replay_trajectory(file)
        points = []
        optimizer.attach(lambda points=points, atoms=atoms: points.append(atoms.get_positions()))
        assert optimizer.run(fmax=1e-5)
        runs.append(np.array(points))
    assert np.array_equal(*runs)
