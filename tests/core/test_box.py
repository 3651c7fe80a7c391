"""The box cut by a plane: projections against SciPy, tangents against limits, models against brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import LinearConstraint, minimize

from sciopt.core import Box, Quadratic
from sciopt.core.quadratic import minimize_quadratic

N = 6
vectors = arrays(float, N, elements=st.floats(-3, 3))
positive = arrays(float, N, elements=st.floats(0.05, 2))


def nearest(y: np.ndarray, weights: np.ndarray, capacity: float, metric: np.ndarray) -> np.ndarray:
    """The projection by a general solver."""
    found = minimize(
        lambda x: 0.5 * metric @ (x - y) ** 2,
        np.zeros(N),
        jac=lambda x: metric * (x - y),
        bounds=[(0, 1)] * N,
        constraints=LinearConstraint(weights, -np.inf, capacity),
        method="SLSQP",
        options={"ftol": 1e-15, "maxiter": 500},
    )
    return np.asarray(found.x)


@given(vectors, positive, positive, st.floats(0.1, 2))
def test_projection_is_the_nearest_feasible_point(
    y: np.ndarray, weights: np.ndarray, metric: np.ndarray, capacity: float
) -> None:
    space = Box(0.0, 1.0, weights, capacity)
    x = space.project(y, 0.0, 1.0, metric)
    assert x.min() >= 0 and x.max() <= 1 and weights @ x <= capacity * (1 + 1e-12)
    other = nearest(y, weights, capacity, metric)
    ours, theirs = metric @ (x - y) ** 2, metric @ (other - y) ** 2
    assert ours <= theirs + 1e-7 * (1 + theirs)


@given(vectors, positive, st.floats(0.1, 2))
def test_projecting_twice_changes_nothing(y: np.ndarray, weights: np.ndarray, capacity: float) -> None:
    space = Box(0.0, 1.0, weights, capacity)
    x = space.project(y, 0.0, 1.0)
    assert np.allclose(space.project(x, 0.0, 1.0), x, atol=1e-12)


@given(vectors, positive, st.floats(0.1, 2), vectors)
def test_tangent_is_the_direction_of_the_projected_path(
    y: np.ndarray, weights: np.ndarray, capacity: float, force: np.ndarray
) -> None:
    space = Box(0.0, 1.0, weights, capacity)
    x = space.project(y, 0.0, 1.0)
    # Points a hair from a bound are neither on it nor clear of it for a finite step.
    x = np.where(x < 1e-3, 0.0, np.where(x > 1 - 1e-3, 1.0, x))
    if 1e-9 < abs(weights @ x - capacity) < 1e-2:
        return
    step = 1e-5
    moved = (space.move(x, step * force / weights) - x) / step
    assert np.allclose(space.tangent(x, force) / weights, moved, atol=1e-6 * (1 + np.abs(moved).max()))


@given(vectors, positive, positive, st.floats(0.1, 0.9))
def test_a_budget_that_must_be_used_up_is(y: np.ndarray, weights: np.ndarray, metric: np.ndarray, share: float) -> None:
    capacity = share * float(weights.sum())
    x = Box(0.0, 1.0, weights, capacity, full=True).project(y, 0.0, 1.0, metric)
    assert weights @ x == pytest.approx(capacity, rel=1e-12)
    truth = minimize(
        lambda z: 0.5 * metric @ (z - y) ** 2,
        np.full(N, share),
        jac=lambda z: metric * (z - y),
        bounds=[(0, 1)] * N,
        constraints=LinearConstraint(weights, capacity, capacity),
        method="SLSQP",
        options={"ftol": 1e-15, "maxiter": 500},
    )
    ours = 0.5 * metric @ (x - y) ** 2
    assert ours <= truth.fun + 1e-7 * (1 + truth.fun)


def test_tangent_without_a_budget_only_blocks_bounds() -> None:
    space = Box(0.0, 1.0)
    assert space.tangent(np.array([0.0, 0.5, 1.0]), np.array([-1.0, 2.0, 3.0])).tolist() == [0.0, 2.0, 0.0]
    assert space.project(np.array([-1.0, 0.5]), 0.0, 1.0).tolist() == [0.0, 0.5]


def test_residual_vanishes_at_the_optimum_and_ignores_scale() -> None:
    weights, target = np.array([0.2, 0.3, 0.5]), np.array([0.9, 0.1, 0.4])
    space = Box(0.0, 1.0, weights, 0.3)
    x = space.project(target, 0.0, 1.0)
    force = weights * (target - x)
    assert space.residual(x, force) < 1e-12
    worse = np.full(3, 0.3)
    force = weights * (target - worse)
    assert space.residual(worse, force) > 0.1
    assert space.residual(worse, force) == pytest.approx(space.residual(worse, 1e6 * force))
    assert space.residual(worse, np.zeros(3)) == 0.0


def test_clip_keeps_the_direction() -> None:
    space = Box(maxstep=0.5)
    assert space.clip(np.array([1.0, -2.0])).tolist() == [0.25, -0.5]
    assert space.clip(np.array([0.1, 0.2])).tolist() == [0.1, 0.2]


def random_model(rng: np.random.Generator, n: int) -> tuple[Quadratic, np.ndarray]:
    """A convex model in compact form, and its dense matrix."""
    metric = rng.uniform(0.5, 2.0, n)
    vectors, middle = rng.standard_normal((4, n)), -np.eye(4)
    model = Quadratic(rng.standard_normal(n), 1.5, metric, vectors, middle)
    return model, np.diag(1.5 * metric) + vectors.T @ vectors


def test_curve_is_the_dense_product(rng: np.random.Generator) -> None:
    model, dense = random_model(rng, 9)
    step = rng.standard_normal(9)
    assert np.allclose(model.curve(step), dense @ step, rtol=1e-13)


def test_minimize_finds_the_constrained_minimum(rng: np.random.Generator) -> None:
    n = 12
    model, dense = random_model(rng, n)
    weights = rng.uniform(0.5, 1.5, n) / n
    space = Box(0.0, 1.0, weights, 0.4)
    x = space.project(rng.uniform(0, 1, n), 0.0, 1.0)
    lower, upper = np.maximum(0.0, x - 0.3), np.minimum(1.0, x + 0.3)
    step = minimize_quadratic(model, x, lambda y: space.project(y, lower, upper, model.metric), 500, 1e-14)
    truth = minimize(
        lambda d: -model.force @ d + 0.5 * d @ dense @ d,
        np.zeros(n),
        jac=lambda d: -model.force + dense @ d,
        bounds=list(zip(lower - x, upper - x, strict=True)),
        constraints=LinearConstraint(weights, -np.inf, 0.4 - weights @ x),
        method="SLSQP",
        options={"ftol": 1e-16, "maxiter": 1000},
    )
    assert -model.force @ step + 0.5 * step @ dense @ step == pytest.approx(truth.fun, abs=1e-9)
    assert weights @ (x + step) <= 0.4 + 1e-12
    few = space.minimize(model, x, lower, upper)
    assert -model.force @ few + 0.5 * few @ dense @ few < 0.98 * truth.fun


def test_points_lie_on_grains_within_the_bounds_and_nearly_on_the_budget() -> None:
    rng = np.random.default_rng(3)
    weights = rng.uniform(0.5, 1.5, 400)
    space = Box(0.0, 1.0, weights / weights.sum(), 0.4, grain=2.0**-20)
    x = space.move(np.full(400, 0.4), rng.normal(0.0, 0.3, 400))
    np.testing.assert_array_equal(x * 2.0**20, np.round(x * 2.0**20))
    assert x.min() >= 0.0 and x.max() <= 1.0
    assert space.dot(space.weights, x) == pytest.approx(0.4, abs=1e-7)
    # What is nearly on the budget is on it: a force that only wants more material is none.
    inside = np.clip(x, 0.01, 0.99)
    inside = space.move(inside, np.full(400, 1.0))
    free = (inside > 0.0) & (inside < 1.0)
    assert np.abs(space.tangent(inside, space.weights)[free]).max() < 1e-9
    # An error of rounding is gone after the next step.
    step = rng.normal(0.0, 0.1, 400)
    np.testing.assert_array_equal(space.move(x, step), space.move(x * (1.0 + 1e-15), step))
