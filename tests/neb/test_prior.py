"""A cheaper calculator as the prior of the path finder: cheaper where it is good, nothing lost where it is bad."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT

from sciopt.core.errors import InputError
from sciopt.neb.coordinates import Coordinates
from sciopt.neb.images import Images
from sciopt.neb.path import find_path
from sciopt.neb.path_result import PathResult
from sciopt.neb.prior import CorrectedProcess, Emulator
from sciopt.neb.surrogate_model import path_model
from sciopt.problems import path_problem
from sciopt.surrogate.data import Observations
from sciopt.surrogate.process import GaussianProcess

FMAX = 0.05


class Like(Calculator):
    """EMT, with every energy and force off by a factor and a field."""

    implemented_properties = ("energy", "forces")

    def __init__(self, factor: float = 1.1, field: float = 0.02, broken: Any = lambda call: False) -> None:
        super().__init__()
        self.inner, self.factor, self.field, self.broken = EMT(), factor, field, broken
        self.made = 0

    def calculate(self, atoms: Any = None, properties: Any = (), system_changes: Any = all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        self.made += 1
        if self.broken(self.made):
            raise RuntimeError("the cheap code failed")
        bare = atoms.copy()
        bare.calc = self.inner
        wave = np.sin(bare.positions[:, 0])
        forces = self.factor * bare.get_forces(apply_constraint=False)
        forces[:, 0] -= self.field * np.cos(bare.positions[:, 0])
        self.results = {
            "energy": self.factor * bare.get_potential_energy() + self.field * wave.sum(),
            "forces": forces,
        }


def search(problem: Any, calculator: Any = None, **options: Any) -> PathResult:
    options = {"method": "gp", "max_calls": 200, **options}
    return find_path(problem.initial, problem.final, calculator or problem.calculator, **options)


def assert_found(found: PathResult, problem: Any) -> None:
    assert found.converged, found.reason
    assert found.barrier == pytest.approx(problem.barrier, abs=0.01)
    assert found.saddle is not None
    atoms = found.saddle.copy()
    atoms.calc = problem.calculator()
    force = found.coordinates.reduce(atoms.get_forces(apply_constraint=False))
    assert found.coordinates.longest(force) < FMAX


@pytest.fixture
def hop() -> Any:
    """A hop with EMT."""
    return path_problem("au_al100_hop")


def test_a_good_prior_saves_evaluations(hop: Any, counting: Any) -> None:
    plain = search(hop)
    dear, cheap = counting(hop.calculator), counting(Like)
    found = search(hop, dear, prior=cheap)
    assert_found(found, hop)
    assert found.calls["images"] == dear.calls - 2 <= plain.calls["images"]
    assert found.calls["prior"] == cheap.calls > 0
    assert "prior" not in plain.calls
    # The prior is emulated: it is not called in every step of a band.
    assert cheap.calls < 100


def test_the_calculator_as_its_own_prior_leaves_nothing_to_learn(hop: Any, counting: Any) -> None:
    dear = counting(hop.calculator)
    found = search(hop, dear, prior=EMT, certify="saddle")
    assert_found(found, hop)
    # One look at the saddle the prior has found, where it is not needed more than once.
    assert dear.calls - 2 <= 4


def test_a_prior_by_name(hop: Any) -> None:
    found = search(hop, prior="emt")
    assert_found(found, hop)
    assert found.calls["prior"] > 0
    assert found.parameters["prior"] == "emt"


def test_a_wrong_prior_is_corrected(hop: Any) -> None:
    plain = search(hop)
    found = search(hop, prior=lambda: Like(0.3, 0.3))
    assert_found(found, hop)
    assert found.calls["images"] <= 2 * plain.calls["images"]


@pytest.mark.parametrize("which", ["even", "odd", "late", "one end"])
def test_a_prior_that_fails_half_of_the_time(hop: Any, which: str, caplog: pytest.LogCaptureFixture) -> None:
    broken = {
        "even": lambda call: call % 2 == 0,
        "odd": lambda call: call % 2 == 1,
        "late": lambda call: call > 6,
        "one end": lambda call: call == 1,
    }[which]
    found = search(hop, prior=Like(broken=broken))
    assert_found(found, hop)
    assert any("the cheap code failed" in message for message in caplog.messages)


def test_a_prior_that_always_fails_is_one_sentence(hop: Any, counting: Any) -> None:
    book = counting(hop.calculator)
    with pytest.raises(InputError, match=r"the prior fails wherever it is asked .*the cheap code failed") as caught:
        search(hop, book, prior=Like(broken=lambda call: True))
    assert "\n" not in str(caught.value)
    assert book.calls == 2, "images were paid for before the prior was tried"


def test_a_prior_and_a_restart(hop: Any, counting: Any, tmp_path: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("sciopt.neb.run_folder.RunFolder.finish", lambda self, result: None)
    whole = search(hop, prior=Like)
    seen: list[int] = []

    def stop(snapshot: Any) -> None:
        seen.append(1)
        if len(seen) == 3:
            raise StopIteration

    first, second = counting(hop.calculator), counting(hop.calculator)
    search(hop, first, prior=Like, out=tmp_path, callback=stop)
    found = search(hop, second, prior=Like, out=tmp_path, resume=True)
    assert_found(found, hop)
    visited = [positions.tobytes() for book in (first, second) for positions in book.visited]
    assert len(set(visited)) == len(visited)
    assert found.calls["images"] <= whole.calls["images"] + 3


def test_a_prior_for_a_molecule_and_a_fall_back(hcn: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """GFN1 for GFN2, and a finder that gives up: the band that follows does not need the prior."""
    found = search(hcn, prior="tblite:GFN1-xTB")
    assert_found(found, hcn)
    assert found.calls["images"] <= search(hcn).calls["images"]
    monkeypatch.setattr("sciopt.neb.finder_search._PATIENCE", 0.8)
    monkeypatch.setattr("sciopt.neb.finder_search._ON_PRIOR", 0.01)
    found = search(hcn, prior="tblite:GFN1-xTB", fmax=0.02)
    assert_found(found, hcn)


def emulator(problem: Any, prior: Any) -> tuple[Emulator, np.ndarray]:
    coordinates = Coordinates.of(problem.initial)
    ends = [coordinates.reduce(atoms.positions) for atoms in (problem.initial, problem.final)]
    model = path_model(coordinates, *ends)
    X = np.linspace(*ends, 7)
    return Emulator(Images(coordinates, prior, count=5), model.process), X


def test_an_emulator_asks_once_and_only_where_it_is_unsure(hop: Any, counting: Any) -> None:
    book = counting(EMT)
    emulated, X = emulator(hop, book)
    energies, forces = emulated.exactly(X[[0, -1]])
    assert book.calls == emulated.calls == 2
    np.testing.assert_array_equal(emulated.exactly(X[[0, -1]])[0], energies)
    assert book.calls == 2
    atoms = hop.initial.copy()
    atoms.calc = EMT()
    assert energies[0] == pytest.approx(atoms.get_potential_energy())
    np.testing.assert_allclose(forces[0], emulated.evaluator.coordinates.reduce(atoms.get_forces()), atol=1e-10)
    # Two minima look alike; a third configuration shows how much the energy varies.
    emulated.exactly(X[[2]])
    assert emulated.improve(X)
    for _ in range(5):
        emulated.improve(X)
    asked = book.calls
    assert 3 < asked <= 7
    assert not emulated.improve(X)
    assert book.calls == asked
    # Sure of itself, it is right.
    predicted = emulated.posterior().predict(X)[0]
    assert np.abs(predicted - emulated.exactly(X)[0]).max() < 0.02


def test_an_emulator_forgets_what_is_far_away(hop: Any, counting: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sciopt.neb.prior._KEPT", 4)
    monkeypatch.setattr("sciopt.neb.prior._MOST", 6)
    book = counting(EMT)
    emulated, X = emulator(hop, book)
    known = emulated.exactly(X)
    assert len(emulated.data) == book.calls == 7
    assert emulated.improve(X[:2])
    kept = emulated.data
    np.testing.assert_array_equal(kept.X, X[:4])
    # What is known is told, and neither calculated nor learned again; it comes back where it is missed.
    np.testing.assert_array_equal(emulated.exactly(X)[1], known[1])
    assert emulated.data is kept
    assert emulated.improve(X[4:])
    assert (emulated.data.X == X[6]).all(axis=1).any()
    assert book.calls == 7


def test_an_emulator_searches_for_hyperparameters_where_it_has_grown(hop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    searched: list[int] = []
    fit = GaussianProcess.fit

    def noted(self: Any, data: Any, previous: Any = None, optimize: bool = True, start: Any = None) -> Any:
        searched.extend([len(data)] * optimize)
        return fit(self, data, previous, optimize, start)

    monkeypatch.setattr(GaussianProcess, "fit", noted)
    emulated, X = emulator(hop, EMT)
    for count in range(2, 14):
        emulated.exactly(np.linspace(X[0], X[-1], 14)[:count])
        emulated.posterior()
    assert searched == [2, 3, 4, 5, 6, 8, 10, 12]


def test_a_failure_is_not_asked_for_again(hop: Any, counting: Any) -> None:
    def fails(book: Any, atoms: Atoms) -> None:
        if book.calls == 2:
            raise RuntimeError("no")

    book = counting(EMT, fails)
    emulated, X = emulator(hop, book)
    for _ in range(3):
        energies, _ = emulated.exactly(X[[0, -1]])
        assert np.isfinite(energies).all()
    assert book.calls == 2


def test_the_correction_is_what_the_prior_gets_wrong(hop: Any) -> None:
    """E = E_prior + GP, in values, forces and deviations."""
    emulated, X = emulator(hop, Like)
    truth = Images(emulated.evaluator.coordinates, EMT, count=5)
    answers = truth.evaluate({i: X[i] for i in (0, 3, 6)})
    data = Observations.none(X.shape[1])
    for i, answer in answers.items():
        data = data.add(X[i], answer.energy, answer.force, 1e-3, 1e-3)
    posterior = CorrectedProcess(emulated.process, emulated).fit(data)
    energies, forces = posterior.predict(X)
    cheap, push = emulated.posterior().predict(X)
    left, rest = posterior.correction.predict(X)
    np.testing.assert_allclose(energies, cheap + left)
    np.testing.assert_allclose(forces, push + rest)
    # What was observed is reproduced; between the data the deviation is of both together.
    np.testing.assert_allclose(energies[[0, 3, 6]], data.energies, atol=5e-3)
    assert posterior.energy_deviations(X)[1] >= posterior.correction.energy_deviations(X)[1]
    # The Hessian is that of the forces.
    step = 1e-4 * np.eye(X.shape[1])[:3]
    ahead, behind = posterior.predict(X[1] + step)[1], posterior.predict(X[1] - step)[1]
    np.testing.assert_allclose(posterior.hessian(X[1])[:3], -(ahead - behind) / 2e-4, atol=2e-3)
