"""The image-wise quasi-Newton band: its equations, its limits, what rests, and restarts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.constraints import FixCartesian
from hypothesis import given
from hypothesis import strategies as st

from sciopt.core import Budget, Limit, Residual, load_snapshot, run, save_snapshot
from sciopt.core.method import StepMethod
from sciopt.neb.band import BandLaw, branches
from sciopt.neb.band_problem import BandProblem, BandSpace
from sciopt.neb.coordinates import Coordinates
from sciopt.neb.images import Answer
from sciopt.neb.imagewise import ImageControl, Imagewise, Learned, imagewise_method
from sciopt.neb.low_rank import DenseHessian, LowRankHessian
from sciopt.neb.methods import band_method

Surface = Callable[[np.ndarray], tuple[float, np.ndarray]]

BEND, TILT, STIFF = 0.7, 0.15, 6.0


def valley(x: np.ndarray) -> tuple[float, np.ndarray]:
    """A double well in x_0 whose other coordinates lie in a curved valley: energy and force."""
    bends = BEND * np.linspace(1.0, 0.2, len(x) - 1)
    off = x[1:] - bends * x[0] ** 2
    energy = (x[0] ** 2 - 1) ** 2 + TILT * x[0] + 0.5 * STIFF * off @ off
    force = np.empty_like(x)
    force[0] = -4 * x[0] * (x[0] ** 2 - 1) - TILT + 2 * STIFF * x[0] * bends @ off
    force[1:] = -STIFF * off
    return energy, force


def hessian(x: np.ndarray, h: float = 1e-5) -> np.ndarray:
    matrix = np.array([(valley(x - h * e)[1] - valley(x + h * e)[1]) / (2 * h) for e in np.eye(len(x))])
    return 0.5 * (matrix + matrix.T)


class Evaluator:
    """Answers from a surface, each configuration calculated once."""

    def __init__(self, surface: Surface) -> None:
        self.surface = surface
        self.calls = 0
        self.known: dict[bytes, Answer] = {}

    def evaluate(self, configurations: Mapping[int, np.ndarray]) -> dict[int, Answer]:
        answers = {}
        for place, x in configurations.items():
            key = x.tobytes()
            if key not in self.known:
                self.calls += 1
                self.known[key] = Answer(*self.surface(x))
            answers[place] = self.known[key]
        return answers


def coordinates(size: int) -> Coordinates:
    if size == 2:
        return Coordinates.of(Atoms("H", constraint=FixCartesian([0], mask=(False, False, True))))
    return Coordinates.of(Atoms("H" * (size // 3), 10.0 * np.random.default_rng(0).random((size // 3, 3))), rigid=False)


def minima(size: int) -> tuple[np.ndarray, np.ndarray]:
    bends = BEND * np.linspace(1.0, 0.2, size - 1)
    roots = np.sort(np.roots([4, 0, -4, TILT]).real)[[0, 2]]
    left, right = (np.r_[root, bends * root**2] for root in roots)
    return left, right


def problem(size: int = 2, images: int = 5, surface: Surface = valley, noise: float = 0.02) -> BandProblem:
    left, right = minima(size)
    X = np.linspace(left, right, images + 2)
    X[1:-1] += noise * np.random.default_rng(3).normal(size=(images, size))
    ends = Answer(*valley(left)), Answer(*valley(right))
    return BandProblem(coordinates(size), Evaluator(surface), X, ends, BandLaw())  # type: ignore[arg-type]


def method(band: BandProblem, **options: Any) -> StepMethod:
    size = band.path.shape[1]
    space = BandSpace(band.coordinates, len(band.path) - 2, 0.3, "image")
    return imagewise_method(lambda x: np.diag(np.full(size, 8.0)), space, **options)


def newton(band: BandProblem, x: np.ndarray) -> tuple[Any, np.ndarray]:
    """The evaluation at x, and the rule's step with exact Hessians and no limit."""
    ev = band.evaluate(x)
    images = len(band.path) - 2
    rule = Imagewise(lambda x: np.eye(len(x)), band.space, floor=1e-3, rest=0.0)
    models = tuple(DenseHessian(hessian(x)) for x in ev.info["X"][1:-1])
    learned = Learned(models, ((),) * images, np.full(images, 1e-3))
    proposal = rule.propose(learned, ev, Limit(np.full(images, 1e9)), band.space)
    return ev, proposal.step


def across(ev: Any) -> float:
    """Largest force across the path, and of the climbing image in any direction."""
    force = ev.force.reshape(ev.info["true"].shape).copy()
    for i, tangent in enumerate(ev.info["tangents"]):
        if i != ev.info["climbing"]:
            force[i] -= force[i] @ tangent * tangent
    return float(np.abs(force).max())


def test_steps_with_exact_hessians_converge_quadratically() -> None:
    band = problem()
    x = band.start()
    for _ in range(60):
        x = x + newton(band, x)[1]
    solved = band.evaluate(x)
    assert np.abs(solved.force).max() < 1e-6, "Newton steps do not end at a solution of the band equations"
    bump = np.random.default_rng(8).normal(size=x.size)
    left = []
    for size in (0.02, 0.01, 0.005):
        before, step = newton(band, x + size * bump)
        left.append(across(band.evaluate(before.x + step)))
        assert left[-1] < 0.2 * across(before)
    np.testing.assert_array_less(3.3, np.array(left[:-1]) / left[1:])


@pytest.mark.parametrize("size", [2, 6])
def test_every_image_follows_the_step_of_its_higher_neighbour(size: int) -> None:
    """The equations of the class, written out for the steps it proposes."""
    band = problem(size, images=7)
    ev, flat = newton(band, band.start())
    info, steps = ev.info, flat.reshape(7, size)
    top, branch = info["climbing"], branches(info["energies"])
    coupled = 0
    for i in range(7):
        if i == top:
            continue
        tangent, B = info["tangents"][i], hessian(info["X"][i + 1])
        Q = np.eye(size) - np.outer(tangent, tangent)
        slide = steps[i] @ tangent
        values, vectors = np.linalg.eigh(Q @ B @ Q)
        stiff = vectors @ np.diag(np.abs(values)) @ vectors.T
        kappa, neighbour = 0.0, np.zeros(size)
        higher = i + 1 if i < top else i - 1
        if branch[i] == higher - i:
            segment = info["lengths"][i + 1] if higher > i else info["lengths"][i]
            kappa, coupled = abs(info["true"][i] @ tangent) / segment, coupled + 1
            neighbour = steps[higher] if 0 <= higher < 7 else neighbour
        left = (stiff + kappa * np.eye(size)) @ (Q @ steps[i])
        right = Q @ (info["true"][i] - slide * B @ tangent + kappa * neighbour)
        np.testing.assert_allclose(left, right, atol=1e-9)
    assert coupled >= 5


def test_spacing_is_made_equal_on_both_sides_of_the_climbing_image() -> None:
    band = problem(2, images=6, noise=0.0)
    x = band.start()
    for _ in range(60):
        x = x + newton(band, x)[1]
    ev = band.evaluate(x)
    top = ev.info["climbing"] + 1
    for side in (ev.info["lengths"][:top], ev.info["lengths"][top:]):
        np.testing.assert_allclose(side, side.mean(), rtol=1e-6)


@given(seed=st.integers(0, 2**32 - 1), size=st.sampled_from([2, 6]))
def test_no_image_steps_farther_than_its_radius(seed: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    band = problem(size)
    ev = band.evaluate(band.start() + 0.2 * rng.normal(size=5 * size))
    radii = 10.0 ** rng.uniform(-3, 0, 5)
    stepper = method(band)
    memory = stepper.rule.start(ev, band.space)
    proposal = stepper.rule.propose(memory, ev, Limit(radii), band.space)
    assert (band.space.length(proposal.step) <= radii * (1 + 1e-12)).all()


def test_resting_images_keep_their_bits_and_cost_nothing() -> None:
    band = problem(2, images=7)
    seen = []

    def watch(snapshot: Any) -> None:
        state = snapshot.state
        force = band.space.length(state.here.force)
        same = (state.trial.reshape(7, 2) == state.here.x.reshape(7, 2)).all(axis=1)
        seen.append((force, same, snapshot.history.cost["images"]))

    result = run(band, method(band, fmax=0.01), Residual(0.01) | Budget(60), observers=[watch])
    assert result.converged
    rested = 0
    for (force, same, paid), (_, _, then) in pairwise(seen):
        assert same[force < 0.5 * 0.01].all(), "an image that should rest moved"
        assert then - paid == 7 - np.count_nonzero(same)
        rested += np.count_nonzero(same)
    assert rested > 0
    assert result.cost["images"] == band.evaluator.calls == 7 * len(seen) - rested


def test_the_climbing_image_can_be_moved_alone() -> None:
    band = problem(6, images=5)
    alone = []

    def watch(snapshot: Any) -> None:
        if snapshot.state.memory.saddle_only is not None:
            moved = (snapshot.state.step.reshape(5, 6) != 0).any(axis=1)
            alone.append((moved.nonzero()[0].tolist(), snapshot.state.here.info["climbing"]))

    run(band, method(band, saddle_below=1.0), Residual(0.01) | Budget(25), observers=[watch])
    assert alone
    assert all(moved == [climbing] for moved, climbing in alone)


@pytest.mark.parametrize("size", [2, 120])
def test_a_search_can_be_cut_anywhere(size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From every checkpoint the run continues bit for bit, with dense and with low-rank models."""
    monkeypatch.setattr("os.fsync", lambda handle: None)
    band = problem(size, images=3, noise=0.1)
    stop = Residual(0.01) | Budget(20)

    def save(snapshot: Any) -> None:
        save_snapshot(tmp_path / str(len(snapshot.history)), snapshot, method(band, fmax=0.01))

    whole = run(band, method(band, fmax=0.01), stop, observers=[save])
    assert isinstance(whole.state.memory.models[0], LowRankHessian if size > 100 else DenseHessian)
    assert len(whole.history) > 5
    for cut in range(1, len(whole.history) + 1):
        again = problem(size, images=3, noise=0.1)
        stepper = method(again, fmax=0.01)
        snapshot = load_snapshot(tmp_path / str(cut), stepper)
        # As from a run folder: what was paid for is known, or images at rest would be paid for again.
        info = snapshot.state.here.info
        for x, energy, force in zip(info["X"], info["energies"], info["forces"], strict=True):
            again.evaluator.known[x.tobytes()] = Answer(energy, force)
        rest = run(again, stepper, stop, resume=snapshot)
        assert rest.x.tobytes() == whole.x.tobytes()
        assert rest.state.trial.tobytes() == whole.state.trial.tobytes()
        assert rest.cost == whole.cost
        assert len(rest.history) == len(whole.history)


def test_an_image_that_jumps_up_is_taken_back_alone() -> None:
    band = problem(2, images=5)
    stepper = method(band)
    state = stepper.start(band.evaluate(band.start()))
    ev = band.evaluate(state.trial)
    energies = ev.info["energies"].copy()
    energies[3] += 50.0
    broken = type(ev)(ev.x, ev.force, info={**ev.info, "energies": energies})
    after = stepper.advance(state, broken)
    assert isinstance(stepper.control, ImageControl)
    assert after.here is state.here
    old, new, start = (v.reshape(5, 2) for v in (state.trial, after.trial, state.here.x))
    others = [0, 1, 3, 4]
    assert new[others].tobytes() == old[others].tobytes(), "what was paid for the others is lost"
    np.testing.assert_allclose(new[2], 0.5 * (old[2] + start[2]), atol=1e-15)
    shrunk = np.asarray(after.limit.size) / np.asarray(state.limit.size)
    np.testing.assert_allclose(shrunk, [1, 1, 0.5, 1, 1])


def test_radii_adapt_to_how_well_each_image_was_predicted() -> None:
    """The surface stiffens suddenly under one image: only its radius shrinks."""
    band = problem(2, images=5, noise=0.1)
    stepper = method(band)
    state = stepper.start(band.evaluate(band.start()))
    ev = band.evaluate(state.trial)
    energies = ev.info["energies"].copy()
    energies[2] += 0.5
    after = stepper.advance(state, type(ev)(ev.x, ev.force, info={**ev.info, "energies": energies}))
    assert after.here.x.tobytes() == state.trial.tobytes(), "a step that was only predicted badly is kept"
    shrunk = np.asarray(after.limit.size) < np.asarray(state.limit.size)
    assert shrunk[1]


def test_images_learn_the_curvature_of_the_true_potential() -> None:
    band = problem(2, images=3, noise=0.1)
    stepper = method(band)
    state = stepper.start(band.evaluate(band.start()))
    for _ in range(4):
        before, state = state, stepper.advance(state, band.evaluate(state.trial))
    steps = before.step.reshape(3, 2)
    change = (before.here.info["forces"] - state.here.info["forces"])[1:-1]
    for model, step, y in zip(state.memory.models, steps, change, strict=True):
        if step @ step > 1e-10:
            np.testing.assert_allclose(model.matvec(step), y, atol=1e-10)


def test_the_named_method_is_this_one() -> None:
    band = problem(6)
    stepper = band_method("imagewise", band.coordinates, band.path, radius=0.07)
    assert isinstance(stepper.rule, Imagewise)
    np.testing.assert_array_equal(stepper.control.start().size, np.full(5, 0.07))
