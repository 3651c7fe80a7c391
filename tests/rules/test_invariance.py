"""What a change of coordinates, of the unit of the value, or of the metric does to a path, and what it must not do."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.optimize import rosen, rosen_der
from scipy.stats import ortho_group

from sciopt.core import Evaluation, Flat, Preconditioned, Space, StepMethod
from sciopt.rules import make_method

STEPS = 25
START = np.array([-1.2, 1.0, 0.7, -0.4])
ROTATION = ortho_group.rvs(4, random_state=np.random.default_rng(5))
PERMUTATION = np.eye(4)[[2, 0, 3, 1]]
# A linear map that is neither orthogonal nor close to the identity: condition 12.
LOWER = np.array([[2.0, 0.0, 0.0, 0.0], [0.5, 1.0, 0.0, 0.0], [-0.3, 0.2, 0.5, 0.0], [0.1, -0.4, 0.3, 1.5]])

# Step sizes small enough that errors do not grow; every method under the name its users know.
METHODS: dict[str, tuple[str, dict]] = {
    "gradient-descent": ("gradient-descent", {"learning_rate": 5e-4}),
    "gradient-descent-l2": ("gradient-descent", {"learning_rate": 5e-4, "weight_decay": 0.1}),
    "momentum": ("momentum", {"learning_rate": 2e-4}),
    "nesterov": ("nesterov", {"learning_rate": 2e-4}),
    "adagrad": ("adagrad", {"learning_rate": 0.05}),
    "full-adagrad": ("full-adagrad", {"learning_rate": 0.05}),
    "rmsprop": ("rmsprop", {"learning_rate": 0.01}),
    "adam": ("adam", {"learning_rate": 0.02}),
    "amsgrad": ("amsgrad", {"learning_rate": 0.02}),
    "adamw": ("adamw", {"learning_rate": 0.02, "weight_decay": 0.1}),
    "adabelief": ("adabelief", {"learning_rate": 0.02}),
    "fire": ("fire", {"dt": 0.005, "dtmax": 0.05}),
    "fire2": ("fire2", {"dt": 0.005, "dtmax": 0.05}),
    "abc-fire": ("fire2", {"dt": 0.005, "dtmax": 0.05, "abc": True, "maxstep": 0.05}),
    "lbfgs": ("lbfgs", {}),
    "lbfgs-radius": ("lbfgs", {"radius": 0.1}),
    "ode12r": ("ode12r", {}),
}
PER_VARIABLE = {"adagrad", "rmsprop", "adam", "amsgrad", "adamw", "adabelief", "abc-fire", "ode12r"}


def path(method: StepMethod, start: np.ndarray, matrix: np.ndarray | None = None, scale: float = 1.0) -> np.ndarray:
    """(STEPS, n) the trials on ``scale * rosenbrock(matrix x)``."""
    matrix = np.eye(start.size) if matrix is None else matrix

    def evaluate(x: np.ndarray) -> Evaluation:
        return Evaluation(x, -scale * matrix.T @ rosen_der(matrix @ x), scale * float(rosen(matrix @ x)))

    state = method.start(evaluate(start))
    trials = [state.trial]
    while len(trials) < STEPS:
        state = method.advance(state, evaluate(state.trial))
        trials.append(state.trial)
    return np.array(trials)


def named(name: str, space: Space | None = None, **changes: object) -> StepMethod:
    method, options = METHODS[name]
    return make_method(method, space or Flat(norm="whole"), **options | changes)


def difference(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one - other).max())


@pytest.mark.parametrize("name", METHODS)
def test_paths_go_somewhere(name: str) -> None:
    """Guards the tests below: an equality of two paths that stand still would show nothing."""
    assert difference(path(named(name), START)[-1], START) > 0.05


@pytest.mark.parametrize("name", METHODS)
def test_permuted_variables_give_the_permuted_path(name: str) -> None:
    plain = path(named(name), START)
    permuted = path(named(name), PERMUTATION @ START, PERMUTATION.T)
    assert difference(permuted @ PERMUTATION, plain) < 1e-7


@pytest.mark.parametrize("name", METHODS)
def test_rotation(name: str) -> None:
    """Rules without a preferred basis turn with the coordinates; per-variable ones must not."""
    plain = path(named(name), START)
    rotated = path(named(name), ROTATION @ START, ROTATION.T)
    error = difference(rotated @ ROTATION, plain)
    assert error > 1e-2 if name in PER_VARIABLE else error < 1e-6


@pytest.mark.parametrize("name", ["adagrad", "full-adagrad", "rmsprop", "adam", "amsgrad", "adamw", "adabelief"])
def test_the_unit_of_the_value_does_not_matter_to_moment_rules(name: str) -> None:
    tiny = {"eps": 0.0, "eps_root": 0.0} if name == "adabelief" else {"eps": 0.0}
    # The first steps of the full matrix, when it is singular, are exact to the root of the rounding error only.
    rounding = 1e-6 if name == "full-adagrad" else 1e-9
    plain = path(named(name, **tiny), START)
    assert difference(path(named(name, **tiny), START, scale=27.2114), plain) < rounding
    # A power of two scales every intermediate result exactly.
    assert difference(path(named(name, **tiny), START, scale=1024.0), plain) <= (1e-6 if name == "full-adagrad" else 0)


def test_the_unit_of_the_value_does_not_matter_to_lbfgs() -> None:
    plain = path(named("lbfgs"), START)
    assert difference(path(named("lbfgs"), START, scale=1024.0), plain) == 0
    assert difference(path(named("lbfgs"), START, scale=27.2114), plain) < 1e-7


@pytest.mark.parametrize("name", ["adam", "rmsprop"])
def test_a_large_eps_does_see_the_unit(name: str) -> None:
    assert difference(path(named(name, eps=1.0), START), path(named(name, eps=1.0), START, scale=100.0)) > 1e-3


def preconditioned_and_transformed(make: Callable[[Space], StepMethod]) -> float:
    """Distance of the path under ``P = L L^T`` from that of the plain method in the variables ``y = L^T x``."""
    solve = np.linalg.inv(LOWER @ LOWER.T)
    under = path(make(Preconditioned(Flat(norm="whole"), lambda x, f: solve @ f)), START)
    plain = path(make(Flat(norm="whole")), LOWER.T @ START, np.linalg.inv(LOWER.T))
    return difference(under @ LOWER, plain)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("gradient-descent", {}),
        ("momentum", {}),
        ("nesterov", {}),
        ("lbfgs", {"h0": 1e-3, "curvature": None, "reset": False}),
        ("lbfgs", {"h0": 1e-3, "curvature": None, "reset": True, "auto": False}),
        ("fire", {"alpha": 0.0}),
        ("fire2", {"alpha": 0.0}),
    ],
)
def test_a_preconditioner_is_a_change_of_variables(name: str, options: dict) -> None:
    """Exact for rules that use only inner products of a force with a displacement, which no linear map changes."""
    assert preconditioned_and_transformed(lambda space: named(name, space, **options)) < 1e-6


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("fire", {}),  # mixing compares |v| with |f|, Euclidean lengths in x
        ("lbfgs", {"h0": None}),  # a first step of unit length in x
        ("adam", {}),  # a diagonal metric in x
    ],
)
def test_lengths_in_x_are_not_lengths_in_the_metric(name: str, options: dict) -> None:
    """What the test above leaves out, and why: these rules measure lengths in the space, not in its metric."""
    assert preconditioned_and_transformed(lambda space: named(name, space, **options)) > 1e-3


def test_an_exact_preconditioner_makes_gradient_descent_newton() -> None:
    matrix = LOWER @ LOWER.T
    space = Preconditioned(Flat(), lambda x, f: np.linalg.solve(matrix, f))
    state = make_method("gradient-descent", space, learning_rate=1.0).start(Evaluation(START, -matrix @ START))
    assert state.trial == pytest.approx(np.zeros(4), abs=1e-14)
