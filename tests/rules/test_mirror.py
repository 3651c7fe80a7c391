"""Mirror descent: its formula, its geometry, and the optima it must find."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import LinearConstraint, brentq, minimize
from scipy.special import expit, logit

from sciopt.core import Box, Budget, Evaluation, InputError, run
from sciopt.rules import make_method

Array = np.ndarray
seeds = st.integers(0, 2**32)


class Bars:
    """min sum c_i / (x_i + 0.1) subject to w.x <= V."""

    def __init__(self, seed: int, count: int = 8, lower: float = 0.0, upper: float = 1.0) -> None:
        rng = np.random.default_rng(seed)
        self.cost = rng.uniform(0.1, 3.0, count)
        weights = rng.uniform(0.5, 2.0, count)
        middle = rng.uniform(0.3, 0.6)
        self.space = Box(lower, upper, weights, float(weights.sum() * (lower + middle * (upper - lower))))
        self._start = np.full(count, lower + middle * (upper - lower))

    def start(self) -> Array:
        return self._start

    def evaluate(self, x: Array) -> Evaluation:
        return Evaluation(x, self.cost / (x + 0.1) ** 2, float((self.cost / (x + 0.1)).sum()))


@given(seeds, st.floats(-1.0, 1.0), st.floats(0.5, 3.0))
def test_the_first_step_is_the_published_formula(seed: int, lower: float, width: float) -> None:
    """psi <- psi + a f / w - mu with SciPy's logit and expit and a root of its own."""
    rng = np.random.default_rng(seed)
    n, weights = 6, rng.uniform(0.5, 2.0, 6)
    x = lower + width * rng.uniform(0.1, 0.9, n)
    space = Box(lower, lower + width, weights, float(weights @ x))
    force = rng.normal(size=n)
    trial = make_method("mirror", space).start(Evaluation(x, force, 0.0)).trial
    direction = force / weights
    latent = logit((x - lower) / width) + direction / np.abs(direction).max()

    def point(mu: float) -> Array:
        return lower + width * expit(latent - mu)

    mu = 0.0
    if weights @ point(0.0) > space.capacity:
        mu = brentq(lambda mu: float(weights @ point(mu)) - space.capacity, 0.0, 50.0, xtol=1e-14)
    assert trial == pytest.approx(point(mu), abs=1e-8)


def test_the_length_is_that_of_barzilai_and_borwein_in_the_entropy() -> None:
    problem = Bars(2)
    method, weights = make_method("mirror", problem.space), problem.space.weights
    state = method.start(problem.evaluate(problem.start()))
    for _ in range(6):
        before = state
        state = method.advance(before, problem.evaluate(before.trial))
        if state.accepted > before.accepted:
            s = state.here.x - before.here.x
            latent = logit(state.here.x) - logit(before.here.x)
            expected = (s @ (weights * latent)) / (s @ (before.here.force - state.here.force))
            assert state.memory.length == pytest.approx(expected, rel=1e-6)


@settings(max_examples=20, deadline=None)
@given(seeds)
def test_bars_against_scipy(seed: int) -> None:
    problem = Bars(seed)
    result = run(problem, make_method("mirror", problem.space), Budget(150))
    other = minimize(
        lambda x: problem.evaluate(x).value,
        problem.start(),
        jac=lambda x: -problem.evaluate(x).force,
        method="SLSQP",
        bounds=[(0, 1)] * 8,
        constraints=LinearConstraint(problem.space.weights[None], -np.inf, problem.space.capacity),
        options={"ftol": 1e-15, "maxiter": 300},
    )
    assert result.value == pytest.approx(other.fun, rel=1e-5)


@settings(max_examples=30, deadline=None)
@given(seeds, st.floats(-100.0, 100.0), st.floats(0.1, 100.0), st.booleans())
def test_every_point_is_strictly_inside(seed: int, lower: float, width: float, at_corner: bool) -> None:
    """Also for linear functions, whose minima are corners, and from a start in a corner."""
    rng = np.random.default_rng(seed)
    n, upper = 6, lower + width
    weights = rng.uniform(0.5, 2.0, n)
    space = Box(lower, upper, weights, float(weights.sum() * (lower + 0.6 * width)))
    force = rng.normal(size=n)
    start = np.full(n, lower if at_corner else lower + 0.5 * width)
    method = make_method("mirror", space)
    state = method.start(Evaluation(start, force, float(-force @ start)))
    for _ in range(20):
        assert (state.trial > lower).all() and (state.trial < upper).all()
        assert weights @ state.trial <= space.capacity + 1e-9 * abs(weights).sum() * max(abs(lower), abs(upper))
        state = method.advance(state, Evaluation(state.trial, force, float(-force @ state.trial)))
    assert state.accepted >= 1  # the corner may be the minimum


def test_backtracking_halves_the_length_and_starts_anew_after_acceptance() -> None:
    space = Box(0.0, 1.0)
    method = make_method("mirror", space)
    force = np.array([1.0, 0.5])
    state = method.start(Evaluation(np.full(2, 0.5), force, 0.0))
    for size in (0.5, 0.25, 0.125):
        state = method.advance(state, Evaluation(state.trial, force, 1.0))
        assert state.limit.size == size
        assert logit(state.trial) == pytest.approx(size * force)
    state = method.advance(state, Evaluation(state.trial, 0.5 * force, -1.0))
    assert state.limit.size == 1.0


def test_infinite_bounds_are_refused() -> None:
    with pytest.raises(InputError, match="finite bounds"):
        make_method("mirror", Box(0.0, np.inf)).start(Evaluation(np.ones(2), np.ones(2), 0.0))
