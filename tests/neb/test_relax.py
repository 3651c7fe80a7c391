"""Relaxation: every claim checked by ASE, and what it costs next to ASE's own."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import add_adsorbate, bulk, fcc111, molecule
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms, FixCartesian
from ase.io import read
from ase.optimize import BFGS

from sciopt.calculators import calculator_factory
from sciopt.core.errors import EvaluationFailed, InputError
from sciopt.core.run import Snapshot
from sciopt.neb.relax import relax

FMAX = 0.03


class Counting:
    """A factory that counts every call of its calculators."""

    def __init__(self, factory: Callable[[], Any]) -> None:
        self.factory = factory
        self.calls = 0

    def __call__(self) -> Any:
        calculator = self.factory()
        calculate = calculator.calculate

        def counted(*args: Any, **kwargs: Any) -> None:
            self.calls += 1
            calculate(*args, **kwargs)

        calculator.calculate = counted
        return calculator


def rattled(atoms: Atoms, seed: int, amplitude: float) -> Atoms:
    moves = np.random.default_rng(seed).normal(scale=amplitude, size=atoms.positions.shape)
    atoms.set_positions(atoms.positions + moves)
    return atoms


def slab(seed: int = 1) -> Atoms:
    atoms = fcc111("Cu", (2, 2, 3), vacuum=7.0)
    add_adsorbate(atoms, "O", 1.3, "fcc")
    atoms.info = {}  # ASE warns that it cannot write what it puts there itself
    atoms.set_constraint([FixAtoms(range(4)), FixCartesian([12], mask=(True, False, False))])
    return rattled(atoms, seed, 0.08)


def gfn2() -> Any:
    return calculator_factory("tblite:GFN2-xTB")()


SYSTEMS: dict[str, tuple[Callable[[], Atoms], Callable[[], Any]]] = {
    "copper": (lambda: rattled(bulk("Cu", cubic=True) * (2, 2, 2), 2, 0.1), EMT),
    "slab": (slab, EMT),
    "vacancy": (lambda: rattled((bulk("Al", cubic=True) * (2, 2, 2))[1:], 3, 0.05), EMT),
    "water": (lambda: rattled(molecule("H2O"), 4, 0.1), gfn2),
    "ethanol": (lambda: rattled(molecule("CH3CH2OH"), 5, 0.08), gfn2),
    "acetaldehyde": (lambda: rattled(molecule("CH3CHO"), 6, 0.08), gfn2),
    "butadiene": (lambda: rattled(molecule("butadiene"), 7, 0.08), gfn2),
}


def largest_force(atoms: Atoms, factory: Callable[[], Any]) -> float:
    bare = atoms.copy()
    bare.calc = factory()
    return float(np.linalg.norm(bare.get_forces(), axis=1).max())


def test_minima_are_minima_and_cheaper_than_with_ase() -> None:
    ratios = {}
    for name, (make, factory) in SYSTEMS.items():
        start = make()
        ours, theirs = Counting(factory), Counting(factory)
        found = relax(start, ours, fmax=FMAX)
        assert found.converged, (name, found.reason)
        assert found.calls == ours.calls, name
        assert largest_force(found.atoms, factory) < FMAX + 1e-3, name
        assert found.fmax == pytest.approx(largest_force(found.atoms, factory), abs=1e-3)
        reference = make()
        reference.calc = theirs()
        assert BFGS(reference, logfile=None).run(fmax=FMAX, steps=500)
        # The same minimum, to within what the tolerance leaves open.
        assert found.energy == pytest.approx(reference.get_potential_energy(), abs=0.02), name
        np.testing.assert_array_equal(start.positions, make().positions)
        ratios[name] = ours.calls / theirs.calls
    assert np.exp(np.mean(np.log(list(ratios.values())))) <= 1.0, ratios


def test_constraints_hold_and_the_input_stays() -> None:
    start = slab()
    start.calc = EMT()
    before = start.copy()
    found = relax(start, fmax=FMAX)
    np.testing.assert_array_equal(found.atoms.positions[:4], before.positions[:4])
    assert found.atoms.positions[12, 0] == before.positions[12, 0]
    assert np.abs(found.atoms.positions[12, 1:] - before.positions[12, 1:]).max() > 1e-3
    assert start == before and type(start.calc) is EMT
    assert len(found.atoms.constraints) == 2
    assert found.atoms.get_potential_energy() == found.energy
    # What is held feels no force in ASE's sense either.
    assert np.abs(found.atoms.get_forces(apply_constraint=False)[:4]).max() == 0.0


class Tethered(Calculator):
    """EMT in an anisotropic harmonic trap: position and orientation of the whole molecule matter."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012 - ASE's own convention
    stiffness = np.array([1.0, 2.0, 3.0])

    def calculate(self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        inner = atoms.copy()
        inner.calc = EMT()
        away = atoms.positions - [0.5, 0.5, 0.5]
        self.results = {
            "energy": inner.get_potential_energy() + 0.5 * float((self.stiffness * away**2).sum()),
            "forces": inner.get_forces() - self.stiffness * away,
        }


def test_molecules_in_a_field_move_as_a_whole() -> None:
    found = relax(molecule("H2O"), Tethered, fmax=0.02)
    assert found.converged, found.reason
    assert largest_force(found.atoms, Tethered) < 0.02
    # Without net force the molecule is centred in the trap.
    np.testing.assert_allclose(found.atoms.positions.mean(axis=0), 0.5, atol=0.02)


def test_free_molecules_neither_drift_nor_turn() -> None:
    start = rattled(molecule("CH3CHO"), 1, 0.05)
    found = relax(start, gfn2)
    moves = found.atoms.positions - start.positions
    np.testing.assert_allclose(moves.mean(axis=0), 0.0, atol=1e-6)


def test_the_budget_and_going_on(tmp_path: Path) -> None:
    whole = relax(slab(), EMT, fmax=FMAX)
    counting = Counting(EMT)
    part = relax(slab(), counting, fmax=FMAX, max_calls=4, out=tmp_path / "run")
    assert not part.converged and part.calls == counting.calls == 4
    assert "budget" in part.reason
    rest = relax(slab(), counting, fmax=FMAX, out=tmp_path / "run", resume=True)
    assert rest.converged and rest.calls == counting.calls == whole.calls
    np.testing.assert_allclose(rest.atoms.positions, whole.atoms.positions, atol=1e-9)
    again = relax(slab(), counting, fmax=FMAX, out=tmp_path / "run", resume=True)
    assert again.converged and again.calls == rest.calls == counting.calls
    said = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert said["converged"] and said["calls"] == {"images": counting.calls}
    assert said["energy"] == pytest.approx(whole.energy, abs=1e-9)
    with open(tmp_path / "run" / "log.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == counting.calls
    stored = read(tmp_path / "run" / "relaxed.extxyz")
    np.testing.assert_allclose(stored.positions, whole.atoms.positions, atol=1e-6)


def test_the_callback_sees_every_call_and_can_stop() -> None:
    seen: list[int] = []

    def watch(snapshot: Snapshot) -> None:
        seen.append(len(snapshot.history))
        if len(seen) == 3:
            raise StopIteration

    found = relax(slab(), EMT, fmax=FMAX, callback=watch)
    assert seen == [1, 2, 3]
    assert not found.converged and found.calls == 3


def test_the_best_configuration_is_returned_when_stopped() -> None:
    start = slab()
    before = start.copy()
    before.calc = EMT()
    found = relax(start, EMT, fmax=1e-9, max_calls=6)
    assert found.energy < before.get_potential_energy()


def test_a_minimum_costs_one_call() -> None:
    first = relax(slab(), EMT, fmax=FMAX)
    counting = Counting(EMT)
    again = relax(first.atoms, counting, fmax=FMAX)
    assert again.converged and again.calls == counting.calls == 1
    np.testing.assert_array_equal(again.atoms.positions, first.atoms.positions)


def test_calculators_by_name() -> None:
    found = relax(rattled(bulk("Cu", cubic=True), 1, 0.05), "emt", fmax=FMAX)
    assert found.converged and largest_force(found.atoms, EMT) < FMAX


class Broken(EMT):
    def calculate(self, *args: Any, **kwargs: Any) -> None:
        raise RuntimeError("no convergence of the density")


def test_mistakes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no calculator"):
        relax(bulk("Cu", cubic=True))
    frozen = bulk("Cu", cubic=True)
    frozen.set_constraint(FixAtoms(range(4)))
    with pytest.raises(InputError, match="fixed"):
        relax(frozen, EMT)
    for fmax in (0.0, -1.0, np.nan):
        with pytest.raises(InputError, match="fmax"):
            relax(bulk("Cu", cubic=True), EMT, fmax=fmax)
    with pytest.raises(InputError, match="max_calls"):
        relax(bulk("Cu", cubic=True), EMT, max_calls=0)
    with pytest.raises(EvaluationFailed, match="no convergence of the density"):
        relax(rattled(bulk("Cu", cubic=True), 1, 0.05), Broken)
    relax(rattled(bulk("Cu", cubic=True), 1, 0.05), EMT, out=tmp_path / "run")
    with pytest.raises(InputError, match="already holds a run"):
        relax(rattled(bulk("Cu", cubic=True), 1, 0.05), EMT, out=tmp_path / "run")
