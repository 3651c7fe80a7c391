"""Minimisation by Gaussian process: cheaper than what it replaces, and resumed, failing or lost without harm."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.optimize import BFGS

from sciopt.calculators import calculator_factory
from sciopt.core.errors import EvaluationFailed, InputError
from sciopt.core.evaluation import Evaluation
from sciopt.core.run import Snapshot
from sciopt.neb.coordinates import Coordinates
from sciopt.neb.metric_features import MetricFeatures
from sciopt.neb.model_mean import ModelMean
from sciopt.neb.relax import relax
from sciopt.neb.surrogate_relax import Memory, surrogate_relax

FMAX = 0.05


def rattled(atoms: Atoms, seed: int, amplitude: float = 0.1) -> Atoms:
    moves = np.random.default_rng(seed).normal(scale=amplitude, size=atoms.positions.shape)
    atoms.set_positions(atoms.positions + moves)
    return atoms


def vacancy(seed: int = 3) -> Atoms:
    return rattled((bulk("Al", cubic=True) * (2, 2, 2))[1:], seed)


def ethanol(seed: int = 1) -> Atoms:
    return rattled(molecule("CH3CH2OH"), seed)


def gfn2() -> Any:
    return calculator_factory("tblite:GFN2-xTB")()


def largest_force(atoms: Atoms, calculator: Any) -> float:
    bare = atoms.copy()
    bare.calc = calculator
    return float(np.linalg.norm(bare.get_forces(), axis=1).max())


@pytest.mark.parametrize(("make", "factory"), [(ethanol, gfn2), (vacancy, EMT)])
def test_fewer_evaluations_than_ase_for_the_same_minimum(make: Any, factory: Any, counting: Any) -> None:
    ours, theirs = counting(factory), counting(factory)
    found = relax(make(), ours, method="gp", fmax=FMAX)
    reference = make()
    reference.calc = theirs()
    assert BFGS(reference, logfile=None).run(fmax=FMAX, steps=300)
    assert found.converged and found.calls == ours.calls
    assert found.calls <= 0.6 * theirs.calls
    assert largest_force(found.atoms, factory()) < FMAX
    assert found.energy == pytest.approx(reference.get_potential_energy(), abs=0.02)


def test_rattled_molecules_take_no_more_than_preconditioned_lbfgs() -> None:
    ratios = []
    for name in ("H2O", "CH3CHO", "CH3CH2OH", "HCN"):
        calls = {method: relax(rattled(molecule(name), 2), gfn2, method=method).calls for method in ("gp", "lbfgs")}
        ratios.append(calls["gp"] / calls["lbfgs"])
    assert np.exp(np.mean(np.log(ratios))) < 1.0, ratios


def test_turning_the_molecule_turns_the_answer() -> None:
    start = ethanol()
    turned = start.copy()
    turned.rotate(70, (1, 2, 3), center="COM")
    one, two = (relax(atoms, gfn2, method="gp", max_calls=4) for atoms in (start, turned))
    distances = [found.atoms.get_all_distances() for found in (one, two)]
    np.testing.assert_allclose(*distances, atol=1e-4)


def test_a_resumed_run_is_the_uninterrupted_one(tmp_path: Path, counting: Any) -> None:
    whole = relax(vacancy(), EMT, method="gp", fmax=0.01)
    assert whole.converged and whole.calls > 3
    calculator = counting(EMT)
    out = tmp_path / "run"
    part = relax(vacancy(), calculator, method="gp", fmax=0.01, max_calls=3, out=out)
    assert not part.converged and part.calls == calculator.calls == 3
    rest = relax(vacancy(), calculator, method="gp", fmax=0.01, out=out, resume=True)
    assert rest.converged and rest.calls == calculator.calls == whole.calls
    np.testing.assert_allclose(rest.atoms.positions, whole.atoms.positions, atol=1e-8)
    assert relax(vacancy(), calculator, method="gp", fmax=0.01, out=out, resume=True).calls == whole.calls
    said = json.loads((out / "summary.json").read_text())
    assert said["converged"] and said["method"] == "gp" and said["calls"] == {"images": whole.calls}


class Misleading(EMT):
    """Energies that do not belong to the forces: no model can make sense of them."""

    def calculate(self, *args: Any, **kwargs: Any) -> None:
        super().calculate(*args, **kwargs)
        jump = 0.5 * np.sin(1e4 * float(self.atoms.positions.sum()))
        self.results["energy"] += jump
        self.results["free_energy"] = self.results["energy"]


def test_where_it_gets_nowhere_lbfgs_goes_on(tmp_path: Path, counting: Any, caplog: pytest.LogCaptureFixture) -> None:
    calculator = counting(Misleading)
    out = tmp_path / "run"
    found = relax(vacancy(), calculator, method="gp", fmax=1e-3, max_calls=40, out=out)
    assert "got nowhere" in found.reason and "L-BFGS" in found.reason
    assert "got nowhere" in caplog.text
    assert found.calls == calculator.calls
    assert json.loads((out / "summary.json").read_text())["method"] == "gp, then lbfgs"
    again = relax(vacancy(), calculator, method="gp", fmax=1e-3, max_calls=found.calls + 2, out=out, resume=True)
    assert again.calls == calculator.calls and "got nowhere" in again.reason


class Fragile(EMT):
    """Fails once, at the third configuration."""

    seen = 0

    def calculate(self, *args: Any, **kwargs: Any) -> None:
        type(self).seen += 1
        if type(self).seen == 3:
            raise RuntimeError("no convergence of the density")
        super().calculate(*args, **kwargs)


def test_a_failure_goes_halfway_back() -> None:
    Fragile.seen = 0
    trials = []
    found = relax(vacancy(), Fragile, method="gp", callback=lambda s: trials.append((s.state.here.x, s.state.trial)))
    assert found.converged
    here, trial = trials[1]
    np.testing.assert_allclose(trials[2][0], here + 0.5 * (trial - here), atol=1e-12)
    Fragile.seen = 2
    with pytest.raises(EvaluationFailed, match="density"):
        relax(vacancy(), Fragile, method="gp")


def test_a_worse_step_shrinks_the_trust_region_and_is_left() -> None:
    atoms = ethanol()
    coordinates = Coordinates.of(atoms)
    method = surrogate_relax(coordinates, coordinates.reduce(atoms.positions), FMAX)
    force = np.random.default_rng(0).normal(size=coordinates.size)
    first = method.start(Evaluation(coordinates.reduce(atoms.positions), force - force.mean(), 0.0))
    assert isinstance(first.memory, Memory) and first.memory.energy < 0.0 and first.predicted > 0.0
    worse = method.advance(first, Evaluation(first.trial, force, 1.0))
    assert worse.here is first.here and worse.memory.poor == 1
    assert worse.limit.size == 0.5 * first.limit.size
    better = method.advance(first, Evaluation(first.trial, 0.1 * force, first.memory.energy))
    assert np.array_equal(better.here.x, first.trial) and better.limit.size > first.limit.size
    # Within the trust region of the nearest datum.
    moved = coordinates.longest(worse.trial - worse.memory.data.X).min()
    assert moved <= 0.3 * worse.limit.size * (1 + 1e-9)


def test_stopping_by_the_callback() -> None:
    def watch(snapshot: Snapshot) -> None:
        if len(snapshot.history) == 2:
            raise StopIteration

    assert relax(vacancy(), EMT, method="gp", callback=watch).calls == 2


def test_unknown_methods_are_refused() -> None:
    with pytest.raises(InputError, match=r"newton.*lbfgs or gp"):
        relax(vacancy(), EMT, method="newton")


@pytest.mark.parametrize("name", ["CH3CH2OH", "HCN", "H2O"])
def test_the_mean_is_invariant_and_its_force_its_gradient(name: str) -> None:
    atoms = molecule(name)
    coordinates = Coordinates.of(atoms)
    x = coordinates.reduce(atoms.positions)
    mean = ModelMean.around(coordinates, x)
    y = coordinates.reduce(rattled(atoms, 1, 0.2).positions)
    energies, forces = mean.at(y[None])
    steps = 1e-5 * np.eye(len(y))
    measured = (mean.at(y - steps)[0] - mean.at(y + steps)[0]) / 2e-5
    np.testing.assert_allclose(forces[0], measured, atol=1e-7)
    atoms.rotate(100, (3, 1, 2), center=(1, 1, 1))
    assert mean.at(coordinates.reduce(atoms.positions)[None])[0] == pytest.approx(energies)
    assert mean.scaled(2.0).at(y[None])[0] == pytest.approx(2.0 * energies)


def test_features_and_their_jacobian() -> None:
    coordinates = Coordinates.of(vacancy())
    x = coordinates.reduce(vacancy().positions)
    features = MetricFeatures.around(coordinates, x)
    values = features.at(x)
    v, w = np.random.default_rng(1).normal(size=(2, 1, features.size))
    np.testing.assert_allclose(features.at(x + v).phi - values.phi, values.push(v), atol=1e-9)
    assert np.vdot(w, values.push(v)) == pytest.approx(np.vdot(values.pull(w), v))
    np.testing.assert_allclose(values.stiffness(0), values.jacobian(0).T @ values.jacobian(0))
    assert not values.bend(0, w[0]).any()
