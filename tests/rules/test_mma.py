"""MMA: its subproblem against KKT conditions and SciPy, the method against published optima and Svanberg's formulas."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq, minimize

from sciopt.core import Adaptive, Box, Budget, Evaluation, Fixed, InputError, StepMethod, reversal, run
from sciopt.rules import MMA, make_method
from sciopt.rules.mma import approximate, rows
from sciopt.rules.mma_subproblem import Separable, solve_separable
from sciopt.rules.multiplier import falling_root

Array = np.ndarray


class Problem:
    """A problem in a box with constraints, given by functions of x."""

    def __init__(self, space: Box, start, value, gradient, constraints, jacobian) -> None:
        self.space, self._start = space, np.array(start, dtype=float)
        self.functions = value, gradient, constraints, jacobian
        self.calls = 0

    def start(self) -> Array:
        return self._start

    def evaluate(self, x: Array) -> Evaluation:
        self.calls += 1
        value, gradient, constraints, jacobian = (function(x) for function in self.functions)
        return Evaluation(x, -gradient, float(value), constraints, jacobian)


STIFFNESS = np.array([61.0, 37.0, 19.0, 7.0, 1.0])


def cantilever(start: float = 5.0, unit: float = 1.0) -> Problem:
    """Five hollow square segments; Svanberg 1987 gives the optimum 1.340."""
    return Problem(
        Box(1.0, 10.0),
        np.full(5, start),
        lambda x: unit * 0.0624 * x.sum(),
        lambda x: np.full(5, unit * 0.0624),
        lambda x: np.array([STIFFNESS @ x**-3 - 1.0]),
        lambda x: -3.0 * (STIFFNESS * x**-4)[None],
    )


def truss() -> Problem:
    """Two bars: section and half the distance of the feet, stress below one in both; Svanberg 1987."""

    def stresses(x: Array) -> Array:
        return 0.124 * np.sqrt(1 + x[1] ** 2) * np.array([8 / x[0] + 1 / (x[0] * x[1]), 8 / x[0] - 1 / (x[0] * x[1])])

    def slopes(x: Array) -> Array:
        root, signs = np.sqrt(1 + x[1] ** 2), np.array([1.0, -1.0])
        first = -stresses(x) / x[0]
        second = stresses(x) * x[1] / root**2 - 0.124 * root * signs / (x[0] * x[1] ** 2)
        return np.array([first, second]).T

    return Problem(
        Box(np.array([0.2, 0.1]), np.array([4.0, 1.6])),
        [1.5, 0.5],
        lambda x: x[0] * np.sqrt(1 + x[1] ** 2),
        lambda x: np.array([np.sqrt(1 + x[1] ** 2), x[0] * x[1] / np.sqrt(1 + x[1] ** 2)]),
        lambda x: stresses(x) - 1.0,
        slopes,
    )


@pytest.mark.parametrize("name", ["mma", "gcmma"])
def test_the_published_cantilever(name: str) -> None:
    problem = cantilever()
    here = run(problem, make_method(name, problem.space), Budget(60)).state.here
    assert here.value == pytest.approx(1.3400, abs=1e-4)
    assert here.x == pytest.approx([6.016, 5.309, 4.494, 3.502, 2.153], abs=1e-3)
    assert here.constraints[0] < 1e-9


@pytest.mark.parametrize("name", ["mma", "gcmma"])
def test_the_published_truss(name: str) -> None:
    problem = truss()
    here = run(problem, make_method(name, problem.space), Budget(60)).state.here
    assert here.x == pytest.approx([1.41, 0.38], abs=0.01)
    assert here.value == pytest.approx(1.51, abs=0.005)
    value, gradient, constraints, jacobian = problem.functions
    other = minimize(
        value,
        problem.start(),
        jac=gradient,
        method="SLSQP",
        bounds=[(0.2, 4.0), (0.1, 1.6)],
        constraints={"type": "ineq", "fun": lambda x: -constraints(x), "jac": lambda x: -jacobian(x)},
        options={"ftol": 1e-14},
    )
    assert here.x == pytest.approx(other.x, abs=1e-5)


def test_an_infeasible_start_becomes_feasible() -> None:
    problem = cantilever(start=1.5)
    assert problem.evaluate(problem.start()).constraints[0] > 10
    here = run(problem, make_method("mma", problem.space), Budget(60)).state.here
    assert here.value == pytest.approx(1.3400, abs=1e-4)
    assert here.constraints[0] < 1e-8


def test_the_budget_of_the_space_is_a_constraint_like_any_other() -> None:
    """min sum c_i / x_i, w.x <= V, once as a budget and once as a constraint."""
    cost, weights, capacity = np.array([1.0, 4.0, 9.0]), np.array([1.0, 2.0, 0.5]), 4.0
    functions = (lambda x: (cost / x).sum(), lambda x: -cost / x**2)
    none = (lambda x: np.zeros(0), lambda x: np.zeros((0, 3)))
    plane = (lambda x: np.array([weights @ x - capacity]), lambda x: weights[None])
    budget = Problem(Box(0.1, 10.0, weights, capacity), np.ones(3), *functions, *none)
    given_ = Problem(Box(0.1, 10.0), np.ones(3), *functions, *plane)
    answers = [run(p, make_method("mma", p.space), Budget(40)).state.here.x for p in (budget, given_)]
    assert answers[0] == pytest.approx(answers[1], rel=1e-8)
    best = np.sqrt(cost / weights)
    assert answers[0] == pytest.approx(best * capacity / (weights @ best), rel=1e-6)


# The approximation ---------------------------------------------------------------------------------------------------


def test_the_subproblem_is_svanbergs() -> None:
    """The formulas of Svanberg 2007, section 3, evaluated variable by variable."""
    problem = truss()
    here, size, move, least = problem.evaluate(np.array([1.5, 0.5])), np.array([0.4, 0.7]), 0.5, 1e-5
    scaled = rows(here, problem.space)
    sub = approximate(scaled, problem.space, here.x, size, move, least, 1000.0)
    gradients = np.vstack([-here.force, here.jacobian]) / scaled.sizes[:, None]
    for j in range(2):
        low, high = problem.space.lower[j], problem.space.upper[j]
        x, width = here.x[j], high - low
        below, above = x - size[j] * width, x + size[j] * width
        assert (sub.below[j], sub.above[j]) == pytest.approx((below, above))
        assert sub.low[j] == pytest.approx(max(low, below + 0.1 * (x - below), x - move * width))
        assert sub.high[j] == pytest.approx(min(high, above - 0.1 * (above - x), x + move * width))
        for i in range(3):
            up, down = max(gradients[i, j], 0.0), max(-gradients[i, j], 0.0)
            assert sub.p[i, j] == pytest.approx((above - x) ** 2 * (1.001 * up + 0.001 * down + least / width))
            assert sub.q[i, j] == pytest.approx((x - below) ** 2 * (0.001 * up + 1.001 * down + least / width))
    # The approximation of a constraint has its value and its slope.
    assert sub.terms(here.x)[1:] - sub.bounds == pytest.approx(here.constraints / scaled.sizes[1:])
    for j, e in enumerate(1e-6 * np.eye(2)):
        slope = (sub.terms(here.x + e) - sub.terms(here.x - e)) / 2e-6
        assert slope == pytest.approx(gradients[:, j], rel=1e-5)


def test_asymptotes_follow_svanbergs_rule() -> None:
    """L_k = x_k - gamma (x_{k-1} - L_{k-1}), gamma = 1.2 or 0.7 by the sign of successive steps, as printed."""
    problem = cantilever()
    method = make_method("mma", problem.space)
    state, points, distances = method.start(problem.evaluate(problem.start())), [problem.start()], []
    for _ in range(12):
        distances.append(np.broadcast_to(state.limit.size, 5) * 9.0)
        state = method.advance(state, problem.evaluate(state.trial))
        points.append(state.here.x)
    expected = np.full(5, 0.5 * 9.0)
    for k in range(12):
        if k >= 2:
            turn = (points[k] - points[k - 1]) * (points[k - 1] - points[k - 2])
            expected = np.where(turn > 0, 1.2, np.where(turn < 0, 0.7, 1.0)) * expected
            expected = np.clip(expected, 0.01 * 9.0, 10.0 * 9.0)
        assert distances[k] == pytest.approx(expected)


# The subproblem ------------------------------------------------------------------------------------------------------


def random_problem(seed: int, count: int, constraints: int) -> Separable:
    """Bounds that are met, tight or impossible by turns."""
    rng = np.random.default_rng(seed)
    x, distance = rng.uniform(0, 1, count), rng.uniform(0.05, 1, count)
    spread = rng.choice([0.0, 2.0])
    shape = (constraints + 1, count)
    p, q = (np.exp(spread * rng.normal(size=shape)) * rng.integers(0, 2, shape) + 1e-4 for _ in range(2))
    low, high = x - 0.9 * distance, x + 0.9 * distance
    at = rng.uniform(low, high)
    terms = p[1:] @ (1 / (x + distance - at)) + q[1:] @ (1 / (at - x + distance))
    bounds = terms * rng.choice([0.6, 1.0, 1.5], size=constraints)
    return Separable(p, q, x - distance, x + distance, low, high, bounds, rng.choice([1.0, 30.0, 1000.0]))


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 40), st.integers(0, 5))
@example(174140, 4, 4)  # constraints that nearly depend on each other: undamped Newton steps go nowhere
def test_kkt_conditions_of_the_subproblem(seed: int, count: int, constraints: int) -> None:
    tol = 1e-8
    problem = random_problem(seed, count, constraints)
    x, multipliers, slack = solve_separable(problem)
    up, down = 1 / (problem.above - x), 1 / (x - problem.below)
    assert (problem.low <= x).all() and (x <= problem.high).all() and (multipliers >= 0).all() and (slack >= 0).all()
    prices = np.concatenate([[1.0], multipliers])
    rise, fall = (prices @ problem.p) * up**2, (prices @ problem.q) * down**2
    slope = (rise - fall) / (rise + fall)
    inside = (x > problem.low) & (x < problem.high)
    assert np.abs(slope[inside]).max(initial=0.0) < tol
    assert slope[x == problem.low].min(initial=0.0) > -tol
    assert slope[x == problem.high].max(initial=0.0) < tol
    terms = problem.p[1:] @ up + problem.q[1:] @ down
    excess = (terms - slack - problem.bounds) / (terms + np.abs(problem.bounds) + 1e-3)
    assert excess.max(initial=0.0) < tol
    assert np.abs(excess[multipliers > 0]).max(initial=0.0) < tol
    assert slack == pytest.approx(np.maximum(multipliers - problem.linear, 0.0))


@pytest.mark.parametrize("seed", range(24))
def test_the_subproblem_against_scipy(seed: int) -> None:
    count, constraints = 6, 1 + seed % 3
    problem = random_problem(seed, count, constraints)

    def objective(z: Array) -> float:
        y = z[count:]
        return problem.terms(z[:count])[0] + problem.linear * y.sum() + 0.5 * y @ y

    def slope(z: Array) -> Array:
        up, down = 1 / (problem.above - z[:count]), 1 / (z[:count] - problem.below)
        return np.concatenate([problem.p[0] * up**2 - problem.q[0] * down**2, problem.linear + z[count:]])

    def room(z: Array) -> Array:
        return problem.bounds + z[count:] - problem.terms(z[:count])[1:]

    def slopes(z: Array) -> Array:
        up, down = 1 / (problem.above - z[:count]), 1 / (z[:count] - problem.below)
        return np.hstack([problem.q[1:] * down**2 - problem.p[1:] * up**2, np.eye(constraints)])

    x, _, slack = solve_separable(problem)
    middle = 0.5 * (problem.low + problem.high)
    violated = np.maximum(problem.terms(middle)[1:] - problem.bounds, 0.0)
    other = minimize(
        objective,
        np.concatenate([middle, violated]),
        jac=slope,
        method="SLSQP",
        bounds=[*zip(problem.low, problem.high, strict=True), *[(0, None)] * constraints],
        constraints={"type": "ineq", "fun": room, "jac": slopes},
        options={"maxiter": 1000, "ftol": 1e-13},
    )
    # What SciPy's point costs with the slack it needs: it sometimes ends a little outside.
    needed = np.maximum(problem.terms(other.x[:count])[1:] - problem.bounds, 0.0)
    theirs = objective(np.concatenate([other.x[:count], needed]))
    ours = objective(np.concatenate([x, slack]))
    assert ours <= theirs + 1e-8 * abs(theirs)
    if other.success:
        assert ours == pytest.approx(theirs, rel=1e-6)
        assert x == pytest.approx(other.x[:count], abs=1e-3)


def test_some_of_those_problems_are_infeasible_and_some_are_not() -> None:
    worst = [solve_separable(random_problem(seed, 6, 1 + seed % 3)).slack.max() for seed in range(24)]
    assert min(worst) == 0.0 and sum(slack > 0 for slack in worst) >= 5


@given(st.floats(0.1, 10.0), st.floats(-5.0, 5.0), st.floats(-30.0, 30.0))
def test_falling_roots_against_brentq(steep: float, where: float, start: float) -> None:
    def function(t: float) -> tuple[float, float]:
        return float(-np.arctan(steep * (t - where))), float(-steep / (1 + (steep * (t - where)) ** 2))

    found = falling_root(function, start, -20.0, 30.0, 1e-13)
    assert found == pytest.approx(brentq(lambda t: function(t)[0], -20.0, 30.0, xtol=1e-14), abs=1e-10)


def test_a_root_outside_the_bracket_gives_the_nearest_end() -> None:
    assert falling_root(lambda t: (-t, -1.0), 2.0, 1.0, 3.0, 1e-12) == pytest.approx(1.0)
    assert falling_root(lambda t: (10.0 - t, -1.0), 2.0, 1.0, 3.0, 1e-12) == pytest.approx(3.0)


# Bad input -----------------------------------------------------------------------------------------------------------


def test_constraints_without_gradients_are_refused() -> None:
    method = StepMethod(MMA(), Fixed(0.5), Box())
    with pytest.raises(InputError, match="jacobian of shape None"):
        method.start(Evaluation(np.full(3, 0.5), np.ones(3), 1.0, np.zeros(2)))


def test_infinite_bounds_are_refused() -> None:
    with pytest.raises(InputError, match="finite bounds"):
        make_method("mma", Box(0.0, np.inf)).start(Evaluation(np.ones(3), np.ones(3), 1.0))


def test_one_asymptote_distance_per_variable() -> None:
    """With everything else equal the variable with the nearer asymptotes moves less."""
    space = Box(0.0, 1.0)
    state = StepMethod(MMA(move=1.0), Adaptive(np.array([0.1, 0.4]), reversal), space).start(
        Evaluation(np.full(2, 0.5), np.array([1.0, 1.0]), 0.0)
    )
    assert state.trial - 0.5 == pytest.approx([0.09, 0.36])
