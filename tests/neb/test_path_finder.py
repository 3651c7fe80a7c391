"""The Gaussian-process path finder: what it finds, what it costs, and whether its certificates are true."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ase.calculators.emt import EMT

import sciopt.neb.path_finder as path_finder
from sciopt.bench.path_noise import Noisy
from sciopt.bench.paths import first_start
from sciopt.core import run
from sciopt.neb.band import BandLaw, band_force
from sciopt.neb.configurations import Configurations, ConfigurationSpace
from sciopt.neb.coordinates import Coordinates
from sciopt.neb.finder_memory import Memory, taken_back
from sciopt.neb.finder_stop import Certified
from sciopt.neb.images import Images
from sciopt.neb.methods import band_method
from sciopt.neb.path import find_path
from sciopt.neb.path_finder import PathFinder
from sciopt.neb.path_result import PathResult
from sciopt.neb.setup import Ends, initial_path
from sciopt.neb.surrogate_model import path_model
from sciopt.problems import Planar, path_problem
from sciopt.surrogate.data import Observations

FMAX = 0.05
TOLERANCE = 0.010  # eV on barriers
# Evaluations of movable images, well above what was ever seen, by certificate.
MOST = {"muller-brown": (18, 30, 38), "au_al100_hop": (14, 24, 30), "hcn_hnc": (20, 32, 40)}
CERTIFICATES = ("saddle", "band", "strict")


def search(problem: Any, calculator: Any = None, **options: Any) -> PathResult:
    options = {"method": "gp", "max_calls": 200, **options}
    return find_path(problem.initial, problem.final, calculator or problem.calculator, **options)


def truth(found: PathResult, calculator: Any) -> tuple[np.ndarray, np.ndarray]:
    """True energies and forces of all images, by a new calculator."""
    energies, forces = [], []
    calculator = calculator()
    for image in found.images:
        atoms = image.copy()
        atoms.calc = calculator
        energies.append(atoms.get_potential_energy())
        forces.append(found.coordinates.reduce(atoms.get_forces(apply_constraint=False)))
    return np.array(energies), np.array(forces)


def assert_all_different(visited: list[np.ndarray]) -> None:
    assert len({positions.tobytes() for positions in visited}) == len(visited), "a configuration was evaluated twice"


@pytest.mark.parametrize("certify", CERTIFICATES)
@pytest.mark.parametrize("name", list(MOST))
def test_certificates_are_true_and_cheap(name: str, certify: Any, counting: Any) -> None:
    problem = path_problem(name)
    book = counting(problem.calculator)
    found = search(problem, book, certify=certify)
    assert found.converged, found.reason
    assert found.barrier == pytest.approx(problem.barrier, abs=TOLERANCE)
    # Paid for: what the calculator counted, each configuration once, and no more than is usual.
    assert found.calls == {"images": book.calls - 2, "endpoints": 2, "relax": 0, "check": 0}
    assert_all_different(book.visited)
    assert book.calls - 2 <= MOST[name][CERTIFICATES.index(certify)]
    # The climbing image was evaluated exactly where it is returned, and its true force is below the tolerance.
    assert found.climbing is not None
    visited = [found.coordinates.reduce(positions) for positions in book.visited]
    X = [any(np.array_equal(x, y) for y in visited) for x in found.X]
    assert X[0]
    assert X[found.climbing + 1]
    energies, forces = truth(found, problem.calculator)
    assert found.coordinates.longest(forces[found.climbing + 1]) < FMAX
    assert found.energies[found.climbing + 1] == pytest.approx((energies - energies[0])[found.climbing + 1], abs=1e-5)
    # What the others claim.
    band = band_force(found.X, energies, forces[1:-1], found.coordinates, BandLaw(1.0))
    across = found.coordinates.longest(band.force.reshape(forces[1:-1].shape))
    if certify == "strict":
        assert all(X[1:-1])
        assert across.max() < FMAX
        assert found.fmax < FMAX
        np.testing.assert_array_equal(found.energy_errors, 0.0)
        np.testing.assert_allclose(found.forces[1:-1], forces[1:-1], atol=1e-4)
    if certify == "band":
        assert across.max() < 0.055
        # Errors are told where a surrogate answers, and they are errors.
        told = np.array([0.0 if known else error for known, error in zip(X, found.energy_errors, strict=True)])
        assert np.all(np.abs(found.absolute_energies - energies) < 4.0 * told + 5e-3)


def test_the_saddle_alone_is_cheaper_than_the_band_and_the_band_than_every_image() -> None:
    problem = path_problem("au_al100_hop")
    spent = [search(problem, certify=certify).calls["images"] for certify in CERTIFICATES]
    assert spent[0] < spent[1] < spent[2]


@pytest.mark.parametrize("images", [1, 3, 12])
def test_any_number_of_images(mueller: Any, images: int) -> None:
    found = search(mueller, images=images)
    assert found.converged, found.reason
    assert found.barrier == pytest.approx(mueller.barrier, abs=TOLERANCE)
    assert len(found.images) == images + 2


def test_every_evaluation_is_a_lesson(mueller: Any, counting: Any) -> None:
    book = counting(mueller.calculator)
    found = search(mueller, book, certify="strict")
    assert [lesson.evaluation for lesson in found.lessons] == list(range(1, book.calls - 1))
    for lesson, positions in zip(found.lessons, book.visited[2:], strict=True):
        np.testing.assert_array_equal(lesson.x, found.coordinates.reduce(positions))
    reasons = [lesson.why for lesson in found.lessons]
    assert reasons[:2] == ["seed", "seed"]
    assert set(reasons[2:]) <= {"trust", "energy", "climbing", "force", "audit", "strict"}
    assert reasons[-1] == "strict"


def assembled(problem: Any, images: int, batch: int = 1) -> tuple[Any, PathFinder, Images]:
    """A finder, its problem and its evaluator, put together by hand."""
    coordinates = Coordinates.of(problem.initial)
    evaluator = Images(coordinates, problem.calculator, count=images)
    xs = tuple(coordinates.reduce(atoms.positions) for atoms in (problem.initial, problem.final))
    answers = evaluator.evaluate({0: xs[0], images + 1: xs[1]})
    ends = Ends(coordinates, xs, (answers[0], answers[images + 1]))
    path = initial_path(ends, images, "linear")[1]
    finder = PathFinder(
        path_model(coordinates, path[0], path[-1]),
        path,
        ends.answers,
        BandLaw(1.0),
        ConfigurationSpace(coordinates),
        (lambda band: band_method("lbfgs", coordinates, band, precondition=False, maxstep=0.2),),
        batch=batch,
    )
    seeds = finder.seeds()
    return Configurations(evaluator, seeds, path[[image + 1 for image in seeds]].ravel()), finder, evaluator


@pytest.mark.parametrize("batch", [1, 3])
def test_whoever_owns_the_loop_gets_the_same_trials(mueller: Any, batch: int) -> None:
    """The finder is passive: driven by hand, it asks for what it asks for when `run` drives it."""
    problem, finder, _ = assembled(mueller, 5, batch)
    asked: list[np.ndarray] = []

    def note(snapshot: Any) -> None:
        problem.expect(snapshot)
        asked.append(snapshot.state.here.x)

    result = run(problem, finder, Certified(FMAX, 60), observers=[note])
    assert result.converged

    again, finder, evaluator = assembled(mueller, 5, batch)
    calls = evaluator.calls
    state = finder.start(again.evaluate(again.start()))
    trials = [again.start()]
    while not state.memory.claim:
        assert evaluator.calls == calls + len(state.memory.data) - 2, "something was evaluated on the side"
        trials.append(state.trial)
        again.images = state.memory.picks
        state = finder.advance(state, again.evaluate(state.trial))
    assert len(trials) == len(asked)
    for ours, theirs in zip(trials, asked, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_states_are_not_changed_by_advancing(mueller: Any) -> None:
    problem, finder, _ = assembled(mueller, 5)
    state = finder.start(problem.evaluate(problem.start()))
    problem.images = state.memory.picks
    ev = problem.evaluate(state.trial)
    before = state.memory.X.copy(), state.trial.copy(), len(state.memory.data)
    one = finder.advance(state, ev)
    np.testing.assert_array_equal(state.memory.X, before[0])
    np.testing.assert_array_equal(state.trial, before[1])
    assert len(state.memory.data) == before[2]
    # From the same state the same evaluation leads to the same place, to what the factors of the last fit leave.
    two = finder.advance(state, ev)
    assert one.memory.picks == two.memory.picks
    np.testing.assert_allclose(one.trial, two.trial, atol=1e-3)


def test_batches_take_fewer_rounds(mueller: Any, hop: Any, counting: Any) -> None:
    for system in (mueller, hop):
        rounds: list[list[np.ndarray]] = []
        book = counting(system.calculator)

        def note(snapshot: Any, rounds: Any = rounds) -> None:
            rounds.append(list(snapshot.state.here.info["X"]))

        found = search(system, book, batch=3, callback=note)
        assert found.converged, found.reason
        assert found.barrier == pytest.approx(system.barrier, abs=TOLERANCE)
        assert_all_different(book.visited)
        assert len(rounds) < 0.75 * found.calls["images"]
        assert 1 < max(len(batch) for batch in rounds) <= 3
        for batch in rounds:
            for i, x in enumerate(batch):
                assert all(found.coordinates.longest(x - y) > 0.01 for y in batch[:i]), "two of a batch are the same"


def test_two_processes(hop: Any) -> None:
    found = search(hop, EMT, workers=2)
    alone = search(hop, EMT, batch=2)
    assert found.converged, found.reason
    assert found.barrier == pytest.approx(hop.barrier, abs=TOLERANCE)
    assert len(found.history) < found.calls["images"]
    # Where images are evaluated makes no difference.
    np.testing.assert_allclose(found.X, alone.X, atol=1e-6)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("name", ["au_al100_hop", "hcn_hnc"])
def test_noisy_forces(name: str, seed: int) -> None:
    problem = path_problem(name)
    found = search(problem, Noisy(problem.calculator, 0.03, seed), noise=0.03)
    assert found.converged, found.reason
    assert found.calls["images"] <= 45
    assert found.climbing is not None
    _, forces = truth(found, problem.calculator)
    # The bar of the benchmark on noisy forces, which has more problems and seeds.
    assert found.coordinates.longest(forces[found.climbing + 1]) < 0.05
    assert found.barrier == pytest.approx(problem.barrier, abs=0.03)


def test_a_molecule_may_lie_anyhow(hcn: Any) -> None:
    plain = search(hcn)
    initial, final = hcn.initial.copy(), hcn.final.copy()
    initial.rotate(50, (1, 2, 3))
    initial.translate((3.0, -1.0, 2.0))
    final.rotate(-110, (3, 0, 1))
    found = find_path(initial, final, hcn.calculator, method="gp", path="idpp")
    straight = search(hcn, path="idpp")
    assert found.converged
    assert found.barrier == pytest.approx(plain.barrier, abs=1e-3)
    assert abs(found.calls["images"] - straight.calls["images"]) <= 2


def test_turning_a_slab_changes_nothing(hop: Any) -> None:
    plain = search(hop)
    turned = [atoms.copy() for atoms in (hop.initial, hop.final)]
    for atoms in turned:
        atoms.rotate(90, "z", rotate_cell=True)
    found = find_path(*turned, EMT, method="gp")
    assert found.converged
    assert found.barrier == pytest.approx(plain.barrier, abs=1e-3)
    assert abs(found.calls["images"] - plain.calls["images"]) <= 2


def test_a_path_without_interior_maximum_is_a_band(mueller: Any) -> None:
    def slope(x: float, y: float) -> tuple[float, np.ndarray]:
        """A tilted channel: flat ends, and nothing but downhill between them."""
        off = y - 0.3 * np.sin(x)
        return -np.cos(x) + 2 * off**2, np.array([np.sin(x) - 1.2 * off * np.cos(x), 4 * off])

    top, bottom = mueller.initial.copy(), mueller.initial.copy()
    top.positions[0, :2], bottom.positions[0, :2] = (np.pi, 0.0), (0.0, 0.0)
    # The saddle that was asked for does not exist: then the band is what is certified.
    for certify in CERTIFICATES:
        found = find_path(top, bottom, Planar(slope, 1.0), images=5, method="gp", certify=certify, max_calls=100)
        assert found.converged, found.reason
        assert found.climbing is None
        assert "no interior maximum" in found.reason
        energies, forces = truth(found, lambda: Planar(slope, 1.0))
        band = band_force(found.X, energies, forces[1:-1], found.coordinates, BandLaw(1.0))
        assert found.coordinates.longest(band.force.reshape(5, -1)).max() < 0.055


def double_wells(x: float, y: float) -> tuple[float, np.ndarray]:
    """Minima at x = ±1, y = 0; half way on the line between them both curvatures are negative, and E is 1.

    The saddles are at ``y² = 0.4``, where E is 0.84.
    """
    gradient = [4.0 * x * (x * x - 1.0) + 4.0 * x * y * y, 4.0 * y * (x * x - 0.4) + 4.0 * y**3]
    return (x * x - 1.0) ** 2 + 2.0 * y * y * (x * x - 0.4) + y**4, np.array(gradient)


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("certify", ["saddle", "band"])
def test_a_second_order_saddle_is_left(planar: Any, certify: Any, batch: int) -> None:
    """By symmetry no force on the straight line ever leads away from it."""
    wells = planar(double_wells, (-1.0, 0.0), (1.0, 0.0))
    found = search(wells, path="linear", certify=certify, batch=batch)
    assert found.converged, found.reason
    assert "one negative mode" in found.reason
    assert found.barrier == pytest.approx(0.84, abs=0.002)


@pytest.mark.parametrize("batch", [1, 4])
def test_a_second_order_saddle_is_no_answer(planar: Any, batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A finder that cannot leave it gives up, and the band that goes on finds out and leaves it."""
    monkeypatch.setattr(path_finder, "_ESCAPES", 0)
    wells = planar(double_wells, (-1.0, 0.0), (1.0, 0.0))
    found = search(wells, path="linear", batch=batch)
    assert "nothing is left to ask" in found.reason
    assert found.converged
    assert found.barrier == pytest.approx(0.84, abs=0.002)
    assert found.check is not None
    assert found.check.passed


def test_answers_far_above_take_the_band_back() -> None:
    """Not those below, nor those nobody had expected, nor where the saddle is known."""
    before, X = np.zeros((4, 3)), np.ones((4, 3))
    nothing = np.full(2, np.nan)
    memory = Memory(
        Observations.none(3), 1.0, 1.0, X, (0, 1), ("trust", "energy"), np.array([1.0, 2.0]), X[:2], nothing
    )
    memory = memory._replace(before=before)
    assert taken_back(memory, np.array([1.0, 2.9])).X is before
    for energies in ([1.5, 2.5], [-1.0, 2.0], [np.nan, 2.0]):
        assert taken_back(memory, np.array(energies)).X is X
    assert taken_back(memory._replace(energies=nothing), np.array([9.0, 9.0])).X is X
    assert taken_back(memory._replace(top=X[1]), np.array([1.0, 2.9])).X is X


@pytest.mark.parametrize("seed", [0, 9, 12])
def test_the_climbing_image_holds_what_is_claimed_of_the_band(seed: int) -> None:
    """A force on the saddle just below the tolerance may be above it once it is turned around along the path."""
    start = first_start("hcn_hnc").bent(seed)
    found = search(start.problem, path=start.X)
    energies, forces = truth(found, start.problem.calculator)
    band = band_force(found.X, energies, forces[1:-1], found.coordinates, BandLaw())
    assert band.climbing is not None
    # No surrogate stands between this image and the claim.
    assert found.coordinates.longest(band.force[band.climbing]) < FMAX + 1e-4
