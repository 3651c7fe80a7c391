"""Methods by name: all of them move a band downhill, and each refuses what it does not understand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.constraints import FixCartesian

from sciopt.core import Adaptive, Budget, Fixed, Preconditioned, Residual, run
from sciopt.core.errors import InputError
from sciopt.neb.band import BandLaw
from sciopt.neb.band_problem import BandProblem, BandSpace
from sciopt.neb.coordinates import Coordinates
from sciopt.neb.images import Answer
from sciopt.neb.methods import BAND_METHODS, band_method
from sciopt.neb.model_hessian import model_hessian, shortest_pairs
from sciopt.neb.precondition import band_preconditioner, shifted_model, solver
from sciopt.neb.string import Redistributed
from sciopt.problems import muller_brown, path_problem
from sciopt.rules import GradientDescent


class Evaluator:
    """Müller and Brown's surface in units of 0.01."""

    def __init__(self) -> None:
        self.calls = 0

    def evaluate(self, configurations: Mapping[int, np.ndarray]) -> dict[int, Answer]:
        self.calls += len(configurations)
        return {place: self.answer(x) for place, x in configurations.items()}

    @staticmethod
    def answer(x: np.ndarray) -> Answer:
        energy, gradient = muller_brown(*x)
        return Answer(0.01 * energy, -0.01 * gradient)


@pytest.fixture
def band() -> BandProblem:
    particle = Coordinates.of(Atoms("H", constraint=FixCartesian([0], mask=(False, False, True))))
    left, right = np.array([-0.558224, 1.441726]), np.array([0.623499, 0.028038])
    X = np.linspace(left, right, 7)
    # Not straight through the hill, where rules without memory need hundreds of steps.
    X[1:-1] += np.outer(np.sin(np.linspace(0, np.pi, 7))[1:-1], [-0.4, -0.3])
    ends = Evaluator.answer(left), Evaluator.answer(right)
    return BandProblem(particle, Evaluator(), X, ends, BandLaw())  # type: ignore[arg-type]


@pytest.mark.parametrize("name", BAND_METHODS)
@pytest.mark.parametrize("precondition", [None, True])
def test_every_method_moves_a_band(band: BandProblem, name: str, precondition: bool | None) -> None:
    method = band_method(name, band.coordinates, band.path, fmax=0.05, precondition=precondition)
    result = run(band, method, Residual(0.3) | Budget(2000))
    assert result.converged, f"{name}: {result.residual:.3f} after {len(result.history)} points"
    assert band.evaluator.calls <= 5 * len(result.history)
    lengths = [method.space.length(a - b).max() for a, b in [(result.state.trial, result.state.here.x)]]
    assert max(lengths) <= 0.3 + 1e-9


@pytest.mark.parametrize("name", ["fire", "lbfgs", "imagewise", "adam"])
def test_steps_are_capped(band: BandProblem, name: str) -> None:
    method = band_method(name, band.coordinates, band.path, maxstep=0.013)
    longest = []
    run(band, method, Budget(15), observers=[lambda snapshot: longest.append(band.space.length(snapshot.state.step))])
    assert np.max(longest) <= 0.013 * (1 + 1e-12)
    assert np.max(longest) > 0.012


def test_preconditioning_is_for_lbfgs_unless_asked_for(band: BandProblem) -> None:
    def preconditioned(name: str, **options: Any) -> bool:
        return isinstance(band_method(name, band.coordinates, band.path, **options).space, Preconditioned)

    assert preconditioned("lbfgs")
    assert not preconditioned("lbfgs", precondition=False)
    assert not preconditioned("fire")
    assert preconditioned("fire", precondition=True)


def test_a_pair_of_ones_own(band: BandProblem) -> None:
    pair = (GradientDescent(), Fixed(0.01))
    method = band_method(pair, band.coordinates, band.path)
    ev = band.evaluate(band.start())
    state = method.start(ev)
    np.testing.assert_allclose(state.step, method.space.clip(0.01 * ev.force), atol=1e-15)
    assert isinstance(band_method(pair, band.coordinates, band.path, precondition=True).space, Preconditioned)


def test_one_radius_for_all_images_stays_one(band: BandProblem) -> None:
    """A limit of one number must not turn into one per image when it shrinks."""
    law = Adaptive(0.1, lambda state, ev, space: -1.0, shrink=0.5, radius=True)
    method = band_method((GradientDescent(), law), band.coordinates, band.path)
    state = method.start(band.evaluate(band.start()))
    longest = float(method.space.length(state.step).max())
    after = method.advance(state, band.evaluate(state.trial))
    assert after.limit.size == pytest.approx(0.5 * min(0.1, longest))
    assert isinstance(after.limit.size, float)


def test_strings_are_spaced_equally_on_both_sides_of_the_climbing_image(band: BandProblem) -> None:
    method = band_method("fire", band.coordinates, band.path, string=True)
    assert isinstance(method.rule, Redistributed)
    state = method.start(band.evaluate(band.start()))
    top = state.here.info["climbing"]
    for _ in range(3):
        top = state.here.info["climbing"]
        X = np.vstack([band.path[:1], state.trial.reshape(5, 2), band.path[-1:]])
        lengths = np.linalg.norm(np.diff(X, axis=0), axis=1)
        for side in (lengths[: top + 1], lengths[top + 1 :]):
            np.testing.assert_allclose(side, side.mean(), rtol=1e-6)
        state = method.advance(state, band.evaluate(state.trial))
    # The rule's own step of the climbing image is left alone.
    plain = band_method("fire", band.coordinates, band.path)
    first, string = plain.start(band.evaluate(band.start())), method.start(band.evaluate(band.start()))
    top = first.here.info["climbing"]
    np.testing.assert_array_equal(string.trial.reshape(5, 2)[top], first.trial.reshape(5, 2)[top])


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("lbgfs", {}, "unknown method 'lbgfs'; known are auto, imagewise"),
        ("imagewise", {"string": True}, "spaces its images itself"),
        ("imagewise", {"precondition": False}, "always starts from model Hessians"),
        ("imagewise", {"radios": 1.0}, "no option 'radios'; its options are radius, radius_max, floor"),
        ("fire", {"warp": 9.0}, "warp"),
        ("adam", {"learning_rte": 0.1}, "learning_rte"),
    ],
)
def test_what_makes_no_sense_is_refused(band: BandProblem, name: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        band_method(name, band.coordinates, band.path, **options)


@pytest.mark.parametrize("name", ["hcn_hnc", "au_al100_hop"])
def test_preconditioners_solve_with_one_model_per_image(name: str, rng: np.random.Generator) -> None:
    problem = path_problem(name)
    coordinates = Coordinates.of(problem.initial)
    X = np.linspace(*(coordinates.reduce(atoms.positions) for atoms in (problem.initial, problem.final)), 5)
    shortest = shortest_pairs([problem.initial, problem.final])
    solve = band_preconditioner(coordinates, X, molecule=7.0, solid=3.0)
    force = rng.normal(size=3 * coordinates.size)
    step = solve(X[1:-1].ravel(), force)
    shift = 7.0 if coordinates.rigid else 3.0
    for x, f, s in zip(X[1:-1], force.reshape(3, -1), step.reshape(3, -1), strict=True):
        hessian = model_hessian(coordinates, x, shortest)
        np.testing.assert_allclose(hessian @ s + shift * s, f, atol=1e-9)
    # Symmetric and positive definite, as L-BFGS needs it.
    other = rng.normal(size=force.size)
    assert other @ solve(X[1:-1].ravel(), force) == pytest.approx(force @ solve(X[1:-1].ravel(), other))
    assert force @ step > 0


def test_solvers_of_dense_and_sparse_matrices_agree(rng: np.random.Generator) -> None:
    from scipy.sparse import csr_array

    root = rng.normal(size=(6, 6))
    matrix, b = root @ root.T + np.eye(6), rng.normal(size=6)
    np.testing.assert_allclose(solver(matrix)(b), np.linalg.solve(matrix, b), atol=1e-10)
    np.testing.assert_allclose(solver(csr_array(matrix))(b), np.linalg.solve(matrix, b), atol=1e-10)


def test_a_single_particle_has_no_shift() -> None:
    particle = Coordinates.of(Atoms("H", constraint=FixCartesian([0], mask=(False, False, True))))
    ends = np.zeros(2), np.ones(2)
    one, other = (shifted_model(particle, ends, shift, shift)(np.zeros(2)) for shift in (1.0, 50.0))
    np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


def test_the_space_of_a_band_caps_what_its_method_asks_for(band: BandProblem) -> None:
    spaces = {name: band_method(name, band.coordinates, band.path).space for name in ("imagewise", "fire")}
    assert isinstance(spaces["imagewise"], BandSpace)
    assert (spaces["imagewise"].cap, spaces["fire"].cap) == ("image", "band")
