"""The projected quasi-Newton rule: constrained minima known from SciPy, properties, restarts at every step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import LinearConstraint, minimize

from sciopt.core import (
    Adaptive,
    Box,
    Budget,
    Checkpoint,
    Evaluation,
    Flat,
    InputError,
    Nonmonotone,
    Residual,
    Snapshot,
    StepMethod,
    load_snapshot,
    run,
)
from sciopt.rules.projected import Curvature, ProjectedQuasiNewton


class Separable:
    """``sum c_i / (x_i + 0.1) + coupling``: what compliance looks like to an optimizer."""

    def __init__(self, n: int = 40, seed: int = 0, scale: float = 1.0) -> None:
        rng = np.random.default_rng(seed)
        self.costs, self.scale = rng.uniform(0.01, 1.0, n) ** 2, scale
        self.weights = rng.uniform(0.5, 1.5, n) / n
        self.couplings = rng.standard_normal((3, n)) / np.sqrt(n)
        self.space = Box(0.0, 1.0, self.weights, 0.4)

    def start(self) -> np.ndarray:
        return self.space.project(np.full(self.costs.size, 0.4), 0.0, 1.0)

    def value(self, x: np.ndarray) -> float:
        return float(self.scale * (self.costs @ (1 / (x + 0.1)) + 0.5 * np.sum((self.couplings @ x) ** 2)))

    def gradient(self, x: np.ndarray) -> np.ndarray:
        return self.scale * (-self.costs / (x + 0.1) ** 2 + self.couplings.T @ (self.couplings @ x))

    def evaluate(self, x: np.ndarray) -> Evaluation:
        return Evaluation(x, -self.gradient(x), self.value(x))


def method(space: Box, **options: object) -> StepMethod:
    control = Adaptive(0.2, Nonmonotone(5), grow=1.3, shrink=0.5, least=0.01, most=0.5, radius=True, reject=True)
    return StepMethod(ProjectedQuasiNewton(**options), control, space)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(5))
def test_it_finds_the_minimum_scipy_finds(seed: int) -> None:
    problem = Separable(seed=seed)
    result = run(problem, method(problem.space), Residual(1e-6) | Budget(200))
    assert result.converged, result.reason
    truth = minimize(
        problem.value,
        problem.start(),
        jac=problem.gradient,
        bounds=[(0, 1)] * 40,
        constraints=LinearConstraint(problem.weights, -np.inf, 0.4),
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 1000},
    )
    assert result.value == pytest.approx(truth.fun, rel=1e-8)
    assert np.allclose(result.x, truth.x, atol=1e-4)
    # An unconstrained quasi-Newton method needs about this many on such a problem too.
    assert result.cost["evaluations"] <= 60


def test_scaling_the_objective_changes_nothing() -> None:
    paths = []
    for scale in (1.0, 2.0**40):
        problem = Separable(scale=scale)
        paths.append(run(problem, method(problem.space), Budget(25)).x)
    assert np.array_equal(*paths)


@given(st.integers(0, 10_000))
def test_every_point_is_feasible_and_within_the_move_limit(seed: int) -> None:
    problem = Separable(n=8, seed=seed)
    visited: list[tuple[np.ndarray, float]] = []

    def watch(snapshot: Snapshot) -> None:
        state = snapshot.state
        assert np.abs(state.step).max() <= float(np.max(state.limit.size)) + 1e-12
        visited.append((state.trial, 0.0))

    run(problem, method(problem.space), Budget(15) | Residual(1e-9), observers=(watch,))
    for x, _ in visited:
        assert x.min() >= 0 and x.max() <= 1
        assert problem.weights @ x <= 0.4 * (1 + 1e-12)


def test_permuting_the_variables_permutes_the_path(rng: np.random.Generator) -> None:
    problem = Separable(n=12)
    order = rng.permutation(12)
    other = Separable(n=12)
    other.costs, other.weights = problem.costs[order], problem.weights[order]
    other.couplings = problem.couplings[:, order]
    other.space = Box(0.0, 1.0, other.weights, 0.4)
    first = run(problem, method(problem.space), Budget(12)).x
    second = run(other, method(other.space), Budget(12)).x
    assert np.allclose(first[order], second, atol=1e-9)


def test_a_run_resumed_at_any_step_is_the_uninterrupted_run(tmp_path: Path) -> None:
    problem = Separable()
    whole = run(problem, method(problem.space), Budget(15))
    for cut in range(1, 15):
        file = tmp_path / f"state{cut}"
        run(problem, method(problem.space), Budget(cut), observers=(Checkpoint(file),))
        resumed = run(problem, method(problem.space), Budget(15), resume=load_snapshot(file))
        assert np.array_equal(resumed.x, whole.x), cut


def test_memory_can_be_handed_on() -> None:
    problem = Separable()
    first = run(problem, method(problem.space), Budget(10))
    assert isinstance(first.state.memory, Curvature) and len(first.state.memory.s) == 5
    goes_on = method(problem.space, begin=first.state.memory)
    state = goes_on.start(problem.evaluate(first.state.here.x))
    fresh = method(problem.space).start(problem.evaluate(first.state.here.x))
    assert len(state.memory.s) == 5 and fresh.memory.s == ()
    assert state.memory.values == (first.state.here.value,)
    assert not np.allclose(state.trial, fresh.trial)


def test_without_bounds_it_says_what_it_needs() -> None:
    problem = Separable()
    with pytest.raises(InputError, match="needs a space with bounds"):
        method(Flat()).start(problem.evaluate(problem.start()))  # type: ignore[arg-type]
