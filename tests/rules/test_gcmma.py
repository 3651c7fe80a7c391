"""GCMMA: accepted points are feasible and never worse, whatever the function does in between."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sciopt.core import Box, Budget, Evaluation, EvaluationFailed, InputError, StepMethod, reversal, run
from sciopt.core.method import State
from sciopt.rules import GCMMA, Conservative, make_method

Array = np.ndarray


class Waves:
    """A function with many turns under a curved constraint; the start is feasible."""

    def __init__(self, seed: int, count: int = 4) -> None:
        rng = np.random.default_rng(seed)
        self.frequency, self.phase = rng.uniform(1, 8, count), rng.uniform(0, 6, count)
        self.center = rng.uniform(0.2, 0.65, count)
        self.space = Box(0.0, 1.0, np.ones(count), 0.7 * count)
        self.calls: list[Array] = []

    def start(self) -> Array:
        return self.center

    def evaluate(self, x: Array) -> Evaluation:
        self.calls.append(x)
        a, b = self.frequency, self.phase
        value = float(np.sum(np.sin(a * x + b)) + 0.3 * np.prod(1 + x))
        gradient = a * np.cos(a * x + b) + 0.3 * np.prod(1 + x) / (1 + x)
        away = x - self.center
        inside = float(away @ away) - 0.3 + 0.1 * np.sin(20 * x[0]) * away[0]
        slope = 2 * away
        slope[0] += 0.1 * np.sin(20 * x[0]) + 2 * np.cos(20 * x[0]) * away[0]
        return Evaluation(x, -gradient, value, np.array([inside]), slope[None])


def accepted(problem: Waves, budget: int) -> list[Evaluation]:
    found: list[Evaluation] = []

    def keep(snapshot: object) -> None:
        here = snapshot.state.here  # type: ignore[attr-defined]
        if not found or found[-1] is not here:
            found.append(here)

    run(problem, make_method("gcmma", problem.space), Budget(budget), observers=[keep])
    return found


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32))
def test_every_accepted_point_is_feasible_and_not_worse(seed: int) -> None:
    problem = Waves(seed)
    points = accepted(problem, 60)
    values = np.array([ev.value for ev in points])
    # An active constraint is met to 1e-9, which costs that times its multiplier.
    assert (np.diff(values) <= 1e-6).all()
    assert max(ev.constraints[0] for ev in points) <= 1e-7
    assert all(problem.space.weights @ ev.x <= problem.space.capacity * (1 + 1e-9) for ev in points)
    assert values[-1] < values[0]


def test_inner_iterations_are_counted_and_only_they_leave_the_point() -> None:
    problem = Waves(3)
    method = make_method("gcmma", problem.space)
    result = run(problem, method, Budget(60))
    assert result.cost["evaluations"] == len(problem.calls) == 60
    accepts = [record.accepted for record in result.history]
    assert 0 < accepts.count(False) < 45


def test_a_rejected_step_raises_only_the_curvature_that_was_too_small() -> None:
    """rho <- min(1.1 (rho + excess / d), 10 rho), Svanberg 2002."""
    space = Box(0.0, 1.0)
    method = make_method("gcmma", space)
    before = method.start(Evaluation(np.full(2, 0.5), np.array([1.0, 0.3]), 0.0, np.array([-1.0]), np.ones((1, 2))))
    promised = before.memory.values
    for excess in (1e-3, 1e3):
        answer = Evaluation(before.trial, np.zeros(2), promised[0] + excess, promised[1:] - 1.0, np.ones((1, 2)))
        after = method.advance(before, answer)
        assert after.here is before.here
        first = before.memory.curvature[0]
        raised = 1.1 * (first + excess / (before.memory.sizes[0] * before.memory.distance))
        assert after.memory.curvature == pytest.approx([min(raised, 10 * first), before.memory.curvature[1]])
        assert np.array_equal(after.limit.size, before.limit.size)
        assert (np.abs(after.step) < np.abs(before.step)).any()


def test_the_curvature_starts_anew_from_an_accepted_point() -> None:
    space = Box(0.0, 1.0)
    method = make_method("gcmma", space)
    state = method.start(Evaluation(np.full(2, 0.5), np.array([1.0, 0.3]), 0.0))
    first = state.memory.curvature
    state = method.advance(state, Evaluation(state.trial, np.zeros(2), 10.0))
    assert state.memory.curvature[0] > first[0]
    state = method.advance(state, Evaluation(state.trial, np.array([1.0, 0.3]), -10.0))
    assert state.accepted == 1
    assert state.memory.curvature == pytest.approx(first)


def test_a_point_halfway_after_a_failure_is_not_held_to_the_promise() -> None:
    space = Box(0.0, 1.0)
    method = make_method("gcmma", space)
    state: State = method.start(Evaluation(np.full(2, 0.5), np.array([1.0, 0.3]), 0.0))
    halfway = method.failed(state, EvaluationFailed("no answer"))
    assert halfway.step == pytest.approx(0.5 * state.step)
    after = method.advance(halfway, Evaluation(halfway.trial, np.ones(2), state.memory.values[0] + 1.0))
    assert after.accepted == 1


def test_a_quadratic_the_approximation_underestimates_is_minimized() -> None:
    """Stiff enough that MMA jumps about for ever; the minimizer is known."""
    stiffness, center = np.array([1.0, 30.0, 400.0]), np.array([0.3, 0.6, 0.4])

    class Bowl:
        space = Box(0.0, 1.0)

        def start(self) -> Array:
            return np.full(3, 0.9)

        def evaluate(self, x: Array) -> Evaluation:
            away = x - center
            return Evaluation(x, -stiffness * away, float(0.5 * stiffness @ away**2))

    result = run(Bowl(), make_method("gcmma", Bowl.space), Budget(150))
    assert result.value < 1e-6


def test_without_a_value_it_is_refused() -> None:
    method = StepMethod(GCMMA(), Conservative(0.5, reversal), Box())
    with pytest.raises(InputError, match="use mma"):
        method.start(Evaluation(np.full(2, 0.5), np.ones(2)))
