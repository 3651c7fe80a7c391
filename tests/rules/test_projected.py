"""The projected quasi-Newton rule: constrained minima known from SciPy, properties, restarts at every step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
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
    Products,
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


class Curved(Separable):
    """The same, with products of its Hessian, which it counts; `wrong` ones where it is not 1."""

    def __init__(self, n: int = 40, seed: int = 0, scale: float = 1.0, wrong: float = 1.0) -> None:
        super().__init__(n, seed, scale)
        self.wrong, self.asked = wrong, 0

    def evaluate(self, x: np.ndarray) -> Evaluation:
        def product(d: np.ndarray) -> tuple[np.ndarray, Mapping[str, float]]:
            self.asked += 1
            bent = 2.0 * self.costs / (x + 0.1) ** 3 * d + self.couplings.T @ (self.couplings @ d)
            return self.wrong * self.scale * bent, {"products": 1.0}

        return replace(super().evaluate(x), hessian=Products(product))


def method(space: Box, **options: object) -> StepMethod:
    control = Adaptive(0.2, Nonmonotone(5), grow=1.3, shrink=0.5, least=0.01, most=0.5, radius=True, reject=True)
    return StepMethod(ProjectedQuasiNewton(**options), control, space)  # type: ignore[arg-type]


@pytest.mark.parametrize("products", [0, 1, 4])
@pytest.mark.parametrize("seed", range(5))
def test_it_finds_the_minimum_scipy_finds(seed: int, products: int) -> None:
    problem = Curved(seed=seed)
    result = run(problem, method(problem.space, products=products), Residual(1e-6) | Budget(200))
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


def test_second_order_information_halves_the_evaluations() -> None:
    """Pairs learned from steps are one evaluation each; a product is one pair more, and where it is needed."""
    counts = np.array(
        [
            [
                run(problem, method(problem.space, products=products), Residual(1e-6) | Budget(200)).cost["evaluations"]
                for products in (0, 1, 4)
            ]
            for problem in map(lambda seed: Curved(seed=seed), range(10))
        ]
    )
    none, one, four = counts.T
    # On none of the seeds are 4 products worth less than this; nor is the gain one of memory.
    assert np.all(four <= 0.6 * none) and np.all(one <= 0.75 * none)
    assert four.sum() <= 0.5 * none.sum() and four.sum() < one.sum()
    problem = Curved()
    long = run(problem, method(problem.space, memory=25), Residual(1e-6) | Budget(200))
    assert four[0] <= 0.6 * long.cost["evaluations"]


@pytest.mark.parametrize("products", [0, 4])
def test_scaling_the_objective_changes_nothing(products: int) -> None:
    paths = []
    for scale in (1.0, 2.0**40):
        problem = Curved(scale=scale)
        paths.append(run(problem, method(problem.space, products=products), Budget(25)).x)
    assert np.array_equal(*paths)


@given(st.integers(0, 10_000), st.integers(0, 4), st.sampled_from([1.0, 0.05, 20.0, -1.0]))
def test_every_point_is_feasible_and_within_the_move_limit(seed: int, products: int, wrong: float) -> None:
    """Also where products are not those of the Hessian, or have no minimum."""
    problem = Curved(n=8, seed=seed, wrong=wrong)
    visited: list[tuple[np.ndarray, float]] = []

    def watch(snapshot: Snapshot) -> None:
        state = snapshot.state
        assert np.abs(state.step).max() <= float(np.max(state.limit.size)) + 1e-12
        visited.append((state.trial, 0.0))

    run(problem, method(problem.space, products=products), Budget(15) | Residual(1e-9), observers=(watch,))
    assert problem.asked <= 15 * products
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


@pytest.mark.parametrize("products", [0, 3])
def test_a_run_resumed_at_any_step_is_the_uninterrupted_run(tmp_path: Path, products: int) -> None:
    problem = Curved()
    way = method(problem.space, products=products)
    whole = run(problem, way, Budget(15))
    for cut in range(1, 15):
        file = tmp_path / f"state{cut}"
        run(problem, way, Budget(cut), observers=(Checkpoint(file),))
        resumed = run(problem, way, Budget(15), resume=load_snapshot(file))
        assert np.array_equal(resumed.x, whole.x), cut


def quadratic(n: int = 6, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A positive definite matrix and the minimum of its parabola, inside of the unit box."""
    rng = np.random.default_rng(seed)
    root = rng.standard_normal((n, n))
    return root @ root.T + 0.3 * np.eye(n), rng.uniform(0.2, 0.8, n)


@pytest.mark.parametrize("seed", range(4))
def test_as_many_products_as_variables_find_the_minimum_of_a_parabola(seed: int) -> None:
    """In one step: quasi-Newton steps of the best length are conjugate gradients, which end after n of them."""
    H, centre = quadratic(seed=seed)
    x = np.full(6, 0.5)
    away = x - centre
    ev = Evaluation(x, -H @ away, 0.5 * float(away @ H @ away), hessian=Products(lambda d: (H @ d, {})))
    rule = ProjectedQuasiNewton(memory=20, products=12, worth=0.0, inner=3000)
    state = StepMethod(rule, Adaptive(1.0, Nonmonotone(5)), Box(0.0, 1.0)).start(ev)
    assert np.allclose(state.trial, centre, atol=1e-5)
    # What the step promises is what it keeps.
    assert state.predicted == pytest.approx(ev.value, rel=1e-6)
    # One product, one pair; the first has nothing to be damped against.
    memory = state.memory
    assert isinstance(memory, Curvature) and len(memory.s) >= 6
    assert np.allclose(memory.y[0], H @ memory.s[0])


@pytest.mark.parametrize("seed", range(4))
def test_the_first_part_gets_its_best_length_and_the_model_learns_from_it(seed: int) -> None:
    """Against a dense BFGS matrix, where no bound is near."""
    H, centre = quadratic(seed=seed)
    x = centre + 0.01 * (centre - 0.5)
    force = -H @ (x - centre)
    asked: list[np.ndarray] = []

    def product(d: np.ndarray) -> tuple[np.ndarray, Mapping[str, float]]:
        asked.append(d)
        return H @ d, {}

    ev = Evaluation(x, force, 0.0, hessian=Products(product))
    rule = ProjectedQuasiNewton(products=1, inner=3000)
    state = StepMethod(rule, Adaptive(0.1, Nonmonotone(5)), Box(0.0, 1.0)).start(ev)
    (part,) = asked
    assert np.allclose(part, 0.1 * force / np.abs(force).max())
    y = H @ part
    first = (force @ part) / (part @ y) * part
    B = (part @ y) / (part @ part) * np.eye(6)
    Bs = B @ part
    B += np.outer(y, y) / (part @ y) - np.outer(Bs, Bs) / (part @ Bs)
    last = np.linalg.solve(B, force - H @ first)
    # The iteration on the model ends when it gains little: a step is known less well than what it promises.
    assert np.allclose(state.step, first + last, atol=0.03 * np.abs(first).max())
    promised = force @ first - 0.5 * first @ H @ first + (force - H @ first) @ last - 0.5 * last @ B @ last
    assert state.predicted == pytest.approx(promised, rel=1e-3)


@pytest.mark.parametrize(("worth", "most", "fewest"), [(0.0, 4, 4), (0.1, 4, 1), (1e9, 1, 1)])
def test_products_are_asked_for_while_they_are_worth_it(worth: float, most: int, fewest: int) -> None:
    problem = Curved()
    ev = problem.evaluate(problem.start())
    method(problem.space, products=4, worth=worth).start(ev)
    assert fewest <= problem.asked <= most


@pytest.mark.parametrize("offered", ["none", "released"])
def test_without_products_the_step_is_that_of_the_model(offered: str) -> None:
    problem = Curved()
    ev = problem.evaluate(problem.start())
    if offered == "none":
        ev = replace(ev, hessian=None)
    elif ev.hessian is not None:
        ev.hessian.release()
    plain, hopeful = (method(problem.space, products=products).start(ev) for products in (0, 4))
    assert np.array_equal(plain.trial, hopeful.trial) and plain.predicted == hopeful.predicted
    assert problem.asked == 0


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


@pytest.mark.parametrize(("name", "value"), [("products", -1), ("memory", 0), ("inner", 0)])
def test_numbers_that_are_too_small_are_refused(name: str, value: int) -> None:
    with pytest.raises(InputError, match=f"{name} is {value}; expected"):
        ProjectedQuasiNewton(**{name: value})  # type: ignore[arg-type]
