"""Spectral projected gradients against SciPy on quadratics, and against the published step length."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import LinearConstraint, minimize

from sciopt.core import Box, Budget, Evaluation, Residual, run
from sciopt.rules import make_method

Array = np.ndarray
seeds = st.integers(0, 2**32)


class Quadratic:
    """A convex quadratic over a box cut by a plane."""

    def __init__(self, seed: int, count: int = 8, hard: float = 30.0) -> None:
        rng = np.random.default_rng(seed)
        turn, _ = np.linalg.qr(rng.normal(size=(count, count)))
        self.matrix = turn @ np.diag(np.geomspace(1.0, hard, count)) @ turn.T
        self.target = rng.uniform(-0.3, 1.3, count)
        weights = rng.uniform(0.5, 2.0, count)
        self.space = Box(0.0, 1.0, weights, float(rng.uniform(0.2, 0.7) * weights.sum()))

    def start(self) -> Array:
        return np.full(self.target.size, self.space.capacity / self.space.weights.sum())

    def evaluate(self, x: Array) -> Evaluation:
        away = x - self.target
        return Evaluation(x, -self.matrix @ away, float(0.5 * away @ self.matrix @ away))


@settings(max_examples=20, deadline=None)
@given(seeds)
def test_quadratics_against_scipy(seed: int) -> None:
    problem = Quadratic(seed)
    result = run(problem, make_method("spg", problem.space), Residual(1e-10) | Budget(400))
    weights, capacity = problem.space.weights, problem.space.capacity
    other = minimize(
        lambda x: problem.evaluate(x).value,
        problem.start(),
        jac=lambda x: -problem.evaluate(x).force,
        method="SLSQP",
        bounds=[(0, 1)] * 8,
        constraints=LinearConstraint(weights[None], -np.inf, capacity),
        options={"ftol": 1e-15, "maxiter": 300},
    )
    assert result.value == pytest.approx(other.fun, rel=1e-6, abs=1e-9)
    assert result.x == pytest.approx(other.x, abs=1e-4)


def test_the_length_is_that_of_barzilai_and_borwein_in_the_weights() -> None:
    problem = Quadratic(1)
    method = make_method("spg", problem.space)
    state = method.start(problem.evaluate(problem.start()))
    unit = 0.2 / np.abs(state.here.force / problem.space.weights).max()
    assert state.memory.length == pytest.approx(unit)
    for _ in range(10):
        before = state
        state = method.advance(before, problem.evaluate(before.trial))
        if state.accepted > before.accepted:
            s = state.here.x - before.here.x
            assert state.memory.length == pytest.approx((s @ (problem.space.weights * s)) / (s @ problem.matrix @ s))
            free = state.here.x + state.memory.length * state.here.force / problem.space.weights
            lower = np.maximum(0.0, state.here.x - state.limit.size)
            upper = np.minimum(1.0, state.here.x + state.limit.size)
            assert state.trial == pytest.approx(problem.space.project(free, lower, upper), abs=1e-12)


def test_a_concave_direction_makes_the_length_longer() -> None:
    space = Box(0.0, 1.0)
    method = make_method("spg", space)
    state = method.start(Evaluation(np.full(2, 0.2), np.array([0.2, 0.1]), 0.0))
    after = method.advance(state, Evaluation(state.trial, np.array([0.4, 0.2]), -1.0))
    assert after.memory.length == pytest.approx(4.0 * state.memory.length)


@settings(max_examples=30, deadline=None)
@given(seeds)
def test_accepted_values_obey_the_nonmonotone_condition_and_steps_the_box(seed: int) -> None:
    problem = Quadratic(seed, hard=1000.0)
    method = make_method("spg", problem.space, window=4)
    state = method.start(problem.evaluate(problem.start()))
    values = [state.here.value]
    for _ in range(60):
        before = state
        assert np.abs(before.step).max() <= before.limit.size + 1e-14
        assert before.limit.size <= 0.5
        ev = problem.evaluate(before.trial)
        state = method.advance(before, ev)
        promised = 1e-4 * float(before.here.force @ before.step)
        if state.accepted == before.accepted:
            assert state.here is before.here
            assert state.limit.size <= 0.5 * before.limit.size
        else:
            assert ev.value <= max(values[-4:]) - promised + 1e-9 * abs(ev.value)
            values.append(ev.value)
            assert state.memory.values == tuple(values[-4:])


def test_a_step_that_keeps_failing_becomes_ever_shorter() -> None:
    """The limit's least value must not make it ask for the same point for ever."""
    space = Box(0.0, 1.0)
    method = make_method("spg", space, move=0.2, least=0.1)
    state = method.start(Evaluation(np.full(2, 0.5), np.array([1.0, 0.5]), 0.0))
    lengths = []
    for _ in range(6):
        lengths.append(np.abs(state.step).max())
        state = method.advance(state, Evaluation(state.trial, np.array([1.0, 0.5]), 1.0))
    assert lengths == pytest.approx(0.2 * 0.5 ** np.arange(6))
    state = method.advance(state, Evaluation(state.trial, np.array([1.0, 0.5]), -1.0))
    assert state.limit.size == pytest.approx(0.1)


def test_an_infeasible_start_is_projected_without_being_judged() -> None:
    space = Box(0.0, 1.0, np.ones(2), 1.0)
    method = make_method("spg", space)
    state = method.start(Evaluation(np.array([0.9, 0.9]), np.array([1.0, 0.0]), -10.0))
    assert state.trial == pytest.approx([0.5, 0.5])
    after = method.advance(state, Evaluation(state.trial, np.array([1.0, 0.0]), 5.0))
    assert after.accepted == 1
    assert after.memory.values == (5.0,)
    assert after.step[0] > 0
