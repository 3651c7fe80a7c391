"""Log lines, trajectories, observers, counts and reasons are those of ASE, and say the truth."""

from __future__ import annotations

import io
import itertools
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ase.optimize
import numpy as np
import pytest
from ase.io import Trajectory, read
from ase.optimize.optimize import Optimizer

import sciopt.ase
from sciopt.core import NotFinite

NAMESAKES = ["FIRE", "FIRE2", "LBFGS"]


def log_of(kind: type[Optimizer], target: Any) -> str:
    """The log with the time of day blanked."""
    text = io.StringIO()
    kind(target, logfile=text).run(fmax=0.05, steps=12)
    return re.sub(r"\d\d:\d\d:\d\d", "time", text.getvalue())


@pytest.mark.parametrize("system", ["gold", "cell", "band"])
@pytest.mark.parametrize("name", NAMESAKES)
def test_same_log(make: Callable[..., Any], name: str, system: str) -> None:
    ours = log_of(getattr(sciopt.ase, name), make(system))
    assert ours == log_of(getattr(ase.optimize, name), make(system))
    assert ours.count("\n") > 5


@pytest.mark.parametrize("name", NAMESAKES)
def test_same_description_and_trajectory(make: Callable[..., Any], tmp_path: Path, name: str) -> None:
    stored = []
    for module in (ase.optimize, sciopt.ase):
        file = tmp_path / f"{module.__name__}.traj"
        optimizer = getattr(module, name)(make("gold"), logfile=None, trajectory=file, loginterval=2)
        optimizer.run(fmax=0.05, steps=7)
        with Trajectory(file) as frames:
            stored.append((optimizer.todict(), frames.description, [frame.get_positions() for frame in frames]))
    (one, first, frames), (two, second, ours) = stored
    assert one == two
    assert first == second
    assert len(ours) == len(frames) == 4
    assert np.array_equal(ours, frames)


def test_append_trajectory(make: Callable[..., Any], tmp_path: Path) -> None:
    file = tmp_path / "run.traj"
    atoms = make("gold")
    for _ in range(2):
        sciopt.ase.Adam(atoms, logfile=None, trajectory=file, append_trajectory=True).run(fmax=0.0, steps=3)
    # The frame where the second run starts is there already.
    assert len(read(file, ":")) == 7


def test_irun_yields_before_the_first_step(make: Callable[..., Any]) -> None:
    atoms = make("gold")
    start = atoms.get_positions()
    steps = sciopt.ase.AdaBelief(atoms, logfile=None).irun(fmax=0.0, steps=2)
    assert not next(steps)
    assert np.array_equal(atoms.positions, start)
    assert not next(steps)
    assert not np.array_equal(atoms.positions, start)
    assert len(list(steps)) == 1


def test_reason_and_force_calls(make: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    optimizer = sciopt.ase.LBFGS(make("gold"), logfile=None)
    assert optimizer.reason == "not run yet"
    assert not optimizer.run(fmax=0.01, steps=3)
    assert optimizer.reason.startswith("not converged: the limit of steps was reached at fmax")
    with caplog.at_level(logging.INFO, logger="sciopt"):
        assert optimizer.run(fmax=0.01) is True
    assert optimizer.force_calls == optimizer.nsteps + 1
    expected = rf"fmax 0\.00\d+ < 0.01 after {optimizer.nsteps} steps \({optimizer.nsteps + 1} gradient evaluations\)"
    assert re.fullmatch(expected, optimizer.reason)
    assert caplog.messages == [f"LBFGS: {optimizer.reason}"]
    steps = sciopt.ase.FIRE(make("gold"), logfile=None)
    next(steps.irun(fmax=0.01))
    assert "under way or interrupted" in steps.reason


@pytest.mark.parametrize("name", [n for n in sciopt.ase.__all__ if n != "StepOptimizer"])
def test_force_calls_are_what_the_calculator_counts(make: Callable[..., Any], counted: type, name: str) -> None:
    atoms = make("gold")
    atoms.calc = counted()
    optimizer = getattr(sciopt.ase, name)(atoms, logfile=None)
    optimizer.run(fmax=0.02)
    assert counted.calls == optimizer.force_calls
    extra = optimizer.force_calls - optimizer.nsteps - 1
    # Half steps back, the only steps that need a second evaluation.
    assert extra == 0 or (name in ("FIRE2", "ABCFIRE") and 0 < extra < 0.2 * optimizer.nsteps)


@pytest.mark.parametrize("name", ["GradientDescent", "Adam", "LBFGS", "ODE12r", "PreconditionedLBFGS", "FIRE"])
def test_no_atom_moves_farther_than_maxstep(make: Callable[..., Any], name: str) -> None:
    atoms = make("cluster")
    atoms.positions *= 0.8
    optimizer = getattr(sciopt.ase, name)(atoms, logfile=None, maxstep=0.03)
    points = []
    optimizer.attach(lambda: points.append(atoms.get_positions()))
    optimizer.run(fmax=0.0, steps=8)
    lengths = np.linalg.norm(np.diff(points, axis=0), axis=2).max(axis=1)
    assert lengths.max() == pytest.approx(0.03, rel=1e-9) or name == "FIRE"
    assert lengths.max() <= 0.03 * (1 + 1e-9)


@pytest.mark.parametrize("name", ["FIRE", "LBFGS", "Adam", "PreconditionedLBFGS"])
def test_constraints_hold(make: Callable[..., Any], name: str) -> None:
    atoms = make("bonded")
    length = atoms.get_distance(0, 1)
    assert getattr(sciopt.ase, name)(atoms, logfile=None).run(fmax=0.01, steps=500)
    assert atoms.get_distance(0, 1) == pytest.approx(length, abs=1e-10)
    slab = make("adatom")
    below = slab.positions[slab.get_tags() > 1].copy()
    assert getattr(sciopt.ase, name)(slab, logfile=None).run(fmax=0.02, steps=500)
    assert np.array_equal(slab.positions[slab.get_tags() > 1], below)


@pytest.mark.parametrize("trust", [False, True])
def test_a_shove_is_not_taken_back(make: Callable[..., Any], trust: bool) -> None:
    """A user's own move is a new start also for methods that take their own bad steps back."""
    atoms = make("gold")
    optimizer = sciopt.ase.LBFGS(atoms, logfile=None, trust=trust)
    optimizer.run(fmax=0.05)
    atoms.positions[0] += [0.4, 0.0, 0.0]
    shoved = atoms.get_positions()
    optimizer.run(fmax=0.0, steps=1)
    assert np.linalg.norm(atoms.positions - shoved, axis=1).max() <= 0.2 + 1e-9
    assert np.linalg.norm(atoms.positions[0] - shoved[0]) < 0.3
    assert optimizer.run(fmax=0.01)


def test_trust_takes_bad_steps_back(make: Callable[..., Any]) -> None:
    """Where plain L-BFGS blows up a compressed cluster, the trust radius goes down in energy."""
    atoms = make("cluster")
    atoms.positions *= 0.8
    optimizer = sciopt.ase.LBFGS(atoms, logfile=None, trust=True, auto=True, maxstep=0.5)
    accepted = []
    optimizer.attach(lambda: accepted.append(np.inf if optimizer.state is None else optimizer.state.here.value))
    assert optimizer.run(fmax=1e-3, steps=300)
    assert all(after <= before for before, after in itertools.pairwise(accepted))
    assert optimizer.state.accepted < optimizer.nsteps - 1


def test_nan_forces_are_named(make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    atoms = make("gold")
    forces = atoms.get_forces()
    forces[1, 2] = np.nan
    monkeypatch.setitem(atoms.calc.results, "forces", forces)
    with pytest.raises(NotFinite, match="component 5 of the force is nan"):
        sciopt.ase.FIRE(atoms, logfile=None).run()


@pytest.mark.parametrize("name", [n for n in sciopt.ase.__all__ if n != "StepOptimizer"])
@pytest.mark.parametrize(("system", "most"), [("gold", 120), ("adatom", 120), ("ethanol", 250), ("band", 250)])
def test_defaults_converge(make: Callable[..., Any], name: str, system: str, most: int) -> None:
    if system == "ethanol" and name in ("FIRE", "FIRE2", "LBFGS"):
        system = "cluster"  # the whole run on ethanol is compared with ASE's already
    target = make(system)
    optimizer = getattr(sciopt.ase, name)(target, logfile=None)
    assert optimizer.run(fmax=0.02, steps=most), optimizer.reason
    gradient = optimizer.optimizable.get_gradient()
    assert np.linalg.norm(gradient.reshape(-1, 3), axis=1).max() < 0.02


@pytest.mark.parametrize("name", ["FIRE", "LBFGS", "Adam", "ODE12r", "Nesterov"])
def test_cells_relax(make: Callable[..., Any], name: str) -> None:
    target = make("cell")
    assert getattr(sciopt.ase, name)(target, logfile=None).run(fmax=0.01, steps=400)
    assert np.abs(target.atoms.get_stress()).max() < 1e-2
    assert target.atoms.cell.lengths() == pytest.approx(3.59, abs=0.02)


def test_weight_decay_pulls_to_the_origin(make: Callable[..., Any]) -> None:
    """What the documentation warns of."""
    atoms = make("cluster")
    atoms.positions += 3.0
    sciopt.ase.AdamW(atoms, logfile=None, weight_decay=1.0).run(fmax=0.0, steps=50)
    assert np.linalg.norm(atoms.positions.mean(axis=0)) < 0.6 * np.sqrt(27.0)
