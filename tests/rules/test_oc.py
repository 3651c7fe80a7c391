"""Optimality criteria against the closed form of the problem they are exact for, and against their definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq

from sciopt.core import Adaptive, Box, Budget, Evaluation, Fixed, InputError, StepMethod, reversal, run
from sciopt.rules import OptimalityCriteria, make_method

Array = np.ndarray
seeds = st.integers(0, 2**32)


class Separable:
    """min sum c_i / x_i subject to w.x <= V: bars of a structure whose loads do not depend on the design."""

    def __init__(self, cost: Array, weights: Array, capacity: float, start: Array, most: float = 10.0) -> None:
        self.cost, self._start = cost, start
        self.space = Box(1e-3, most, weights, capacity)

    def start(self) -> Array:
        return self._start

    def evaluate(self, x: Array) -> Evaluation:
        return Evaluation(x, self.cost / x**2, float((self.cost / x).sum()))


def random_separable(seed: int, most: float = 10.0, count: int = 8) -> Separable:
    rng = np.random.default_rng(seed)
    cost, weights = rng.uniform(0.1, 5, count), rng.uniform(0.5, 2, count)
    start = rng.uniform(0.5, 1.0, count)
    return Separable(cost, weights, float(weights @ start), start, most)


@settings(max_examples=30)
@given(seeds)
def test_one_step_solves_the_problem_it_is_exact_for(seed: int) -> None:
    problem = random_separable(seed)
    method = make_method("oc", problem.space, move=10.0)
    best = np.sqrt(problem.cost / problem.space.weights)
    best *= problem.space.capacity / (problem.space.weights @ best)
    assert method.start(problem.evaluate(problem.start())).trial == pytest.approx(best, rel=1e-9)


@settings(max_examples=20, deadline=None)
@given(seeds)
def test_move_limits_only_delay_it(seed: int) -> None:
    """Bounds that matter: x_i = min(most, sqrt(c_i / (lambda w_i)))."""
    problem = random_separable(seed, most=1.1)
    x = run(problem, make_method("oc", problem.space, move=0.1), Budget(40)).state.here.x
    weights, capacity = problem.space.weights, problem.space.capacity

    def at(t: float) -> Array:
        return np.minimum(np.sqrt(problem.cost / weights * np.exp(-t)), 1.1)

    t = brentq(lambda t: float(weights @ at(t)) - capacity, -20, 20, xtol=1e-14)
    assert x == pytest.approx(at(t), rel=1e-8)


@settings(max_examples=100)
@given(seeds, st.floats(0.1, 1.0), st.floats(0.01, 0.6), st.floats(0.2, 0.8))
def test_the_step_is_its_definition(seed: int, eta: float, move: float, filled: float) -> None:
    """x_i = clip(x_i (B_i / lambda)^eta) for one lambda, and the budget used up where the limits allow."""
    rng = np.random.default_rng(seed)
    n = 12
    weights, x = rng.uniform(0.2, 2, n), rng.uniform(0.01, 1, n)
    space = Box(0.0, 1.0, weights, float(filled * weights.sum()))
    force = np.exp(2 * rng.normal(size=n))
    method = StepMethod(OptimalityCriteria(eta), Fixed(move), space)
    # The space would move an infeasible trial point; the rule's own step is wanted here.
    here = Evaluation(x, force)
    new = x + method.rule.propose((), here, method.control.start(), space).step
    lower, upper = np.maximum(0.0, x - move), np.minimum(1.0, x + move)
    assert (new >= lower - 1e-15).all() and (new <= upper + 1e-15).all()
    if weights @ lower >= space.capacity:
        assert new == pytest.approx(lower)
    elif weights @ upper <= space.capacity:
        assert new == pytest.approx(upper)
    else:
        assert weights @ new == pytest.approx(space.capacity, rel=1e-10)
        inside = (new > lower + 1e-12) & (new < upper - 1e-12)
        multiplier = force / weights * (new / x) ** (-1 / eta)
        if inside.any():
            assert multiplier[inside] == pytest.approx(multiplier[inside].mean(), rel=1e-6)
            common = multiplier[inside].mean()
            assert (multiplier[new <= lower + 1e-12] <= common * (1 + 1e-6)).all()
            assert (multiplier[new >= upper - 1e-12] >= common * (1 - 1e-6)).all()


@pytest.mark.parametrize("floor", [1e-6, 0.04, 0.25])
def test_negative_forces_count_as_the_floor_relative_to_the_largest(floor: float) -> None:
    space = Box(0.0, 1.0, np.ones(3), 1.5)
    rule, x, limit = OptimalityCriteria(floor=floor), np.full(3, 0.5), Fixed(1.0).start()
    harm = rule.propose((), Evaluation(x, np.array([4.0, 1.2, -3.6])), limit, space).step
    least = rule.propose((), Evaluation(x, np.array([4.0, 1.2, 4.0 * floor])), limit, space).step
    assert harm == pytest.approx(least)
    assert harm[0] > 0 > harm[2]
    assert (x[2] + harm[2]) / (x[0] + harm[0]) >= 0.99 * np.sqrt(floor)


def test_a_floor_on_x_keeps_variables_able_to_return() -> None:
    space = Box(0.0, 1.0, np.ones(2), 1.0)
    kept = make_method("oc", space, move=0.3, xmin=1e-3)
    lost = make_method("oc", space, move=0.3)
    for method, returns in ((kept, True), (lost, False)):
        state = method.start(Evaluation(np.array([1.0, 0.0]), np.array([1e-8, 1.0])))
        for _ in range(8):
            state = method.advance(state, Evaluation(state.trial, np.array([1e-8, 1.0])))
        assert (state.here.x[1] > 0.5) == returns
    state = kept.start(Evaluation(np.array([0.999, 1e-3]), np.array([1.0, 1e-12])))
    assert state.trial[1] == pytest.approx(1e-3)


def test_one_limit_per_variable_adapts_to_reversals() -> None:
    """A step of the second variable that turns back shortens its limit alone."""
    space = Box(0.0, 1.0, np.ones(3), 1.5)
    method = make_method("oc", space, move=0.1, local=True)
    x = np.full(3, 0.5)
    state = method.start(Evaluation(x, np.array([2.0, 1.0, 0.2])))
    assert state.step == pytest.approx([0.1, 0.0, -0.1], abs=1e-9)
    state = method.advance(state, Evaluation(state.trial, np.array([2.0, 1.0, 5.0])))
    assert state.step[2] > 0
    first = state.step
    state = method.advance(state, Evaluation(state.trial, np.array([2.0, 1.0, 5.0])))
    assert state.limit.size[2] == pytest.approx(0.07)
    assert state.limit.size[0] == pytest.approx(0.12 if first[0] > 0 else 0.07)


def test_adaptive_limits_solve_the_bars_too() -> None:
    problem = random_separable(5)
    control = Adaptive(np.full(8, 0.05), reversal, grow=1.2, shrink=0.7, most=0.5)
    x = run(problem, StepMethod(OptimalityCriteria(), control, problem.space), Budget(60)).state.here.x
    best = np.sqrt(problem.cost / problem.space.weights)
    assert x == pytest.approx(best * problem.space.capacity / (problem.space.weights @ best), rel=1e-6)


@pytest.mark.parametrize(
    ("space", "message"),
    [(Box(0.0, 1.0), "shares out a budget"), (Box(-1.0, 1.0, np.ones(2), 1.0), "lower bounds >= 0")],
)
def test_spaces_it_cannot_work_in(space: Box, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_method("oc", space).start(Evaluation(np.full(2, 0.5), np.ones(2)))
