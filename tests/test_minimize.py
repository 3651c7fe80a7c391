"""minimize(): as good as SciPy on standard functions, every method by name, and what it says to wrong input."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import optimize
from scipy.optimize import rosen, rosen_der

from sciopt import minimize
from sciopt.core import (
    EvaluationFailed,
    Fixed,
    Flat,
    InputError,
    NotFinite,
    Polyak,
    SciOptError,
    Snapshot,
    StepMethod,
    Tail,
)
from sciopt.rules import METHODS, GradientDescent, make_method, method_options

Function = Callable[[np.ndarray], tuple[float, np.ndarray]]


def rosenbrock(x: np.ndarray) -> tuple[float, np.ndarray]:
    return float(rosen(x)), rosen_der(x)


def quadratic(size: int, condition: float, seed: int) -> Function:
    basis, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(size, size)))
    matrix = (basis * np.geomspace(condition**0.5, condition**-0.5, size)) @ basis.T
    matrix = 0.5 * (matrix + matrix.T)
    return lambda x: (0.5 * float(x @ matrix @ x), matrix @ x)


def beale(x: np.ndarray) -> tuple[float, np.ndarray]:
    a, b = x
    powers, targets = np.arange(1, 4), np.array([1.5, 2.25, 2.625])
    rest = targets - a * (1 - b**powers)
    return float(rest @ rest), 2 * np.array([-rest @ (1 - b**powers), a * rest @ (powers * b ** (powers - 1))])


def wood(x: np.ndarray) -> tuple[float, np.ndarray]:
    a, b, c, d = x
    value = 100 * (a * a - b) ** 2 + (a - 1) ** 2 + (c - 1) ** 2 + 90 * (c * c - d) ** 2
    value += 10.1 * ((b - 1) ** 2 + (d - 1) ** 2) + 19.8 * (b - 1) * (d - 1)
    gradient = [
        400 * a * (a * a - b) + 2 * (a - 1),
        -200 * (a * a - b) + 20.2 * (b - 1) + 19.8 * (d - 1),
        2 * (c - 1) + 360 * c * (c * c - d),
        -180 * (c * c - d) + 20.2 * (d - 1) + 19.8 * (b - 1),
    ]
    return value, np.array(gradient)


def himmelblau(x: np.ndarray) -> tuple[float, np.ndarray]:
    a, b = x
    one, two = a * a + b - 11, a + b * b - 7
    return one**2 + two**2, np.array([4 * a * one + 2 * two, 2 * one + 4 * b * two])


def helical_valley(x: np.ndarray) -> tuple[float, np.ndarray]:
    a, b, c = x
    radius, turn = np.hypot(a, b), np.arctan2(b, a) / (2 * np.pi)
    pitch = 200 * (c - 10 * turn)
    plane = -10 * pitch * np.array([-b, a]) / (2 * np.pi * radius**2) + 200 * (radius - 1) * np.array([a, b]) / radius
    return 100 * ((c - 10 * turn) ** 2 + (radius - 1) ** 2) + c * c, np.array([*plane, pitch + 2 * c])


def dixon_price(x: np.ndarray) -> tuple[float, np.ndarray]:
    index = np.arange(2, x.size + 1)
    rest = 2 * x[1:] ** 2 - x[:-1]
    gradient = np.zeros_like(x)
    gradient[0] = 2 * (x[0] - 1)
    gradient[1:] += 8 * index * rest * x[1:]
    gradient[:-1] -= 2 * index * rest
    return (x[0] - 1) ** 2 + float(index @ rest**2), gradient


def variably_dimensioned(x: np.ndarray) -> tuple[float, np.ndarray]:
    index = np.arange(1, x.size + 1)
    total = float(index @ (x - 1))
    return float((x - 1) @ (x - 1)) + total**2 + total**4, 2 * (x - 1) + index * (2 * total + 4 * total**3)


def log_sum_exp(size: int, terms: int, seed: int) -> Function:
    rng = np.random.default_rng(seed)
    slopes, offsets = rng.normal(size=(terms, size)), rng.normal(size=terms)

    def function(x: np.ndarray) -> tuple[float, np.ndarray]:
        exponents = slopes @ x + offsets
        weights = np.exp(exponents - exponents.max())
        value = exponents.max() + np.log(weights.sum()) + 0.005 * x @ x
        return float(value), slopes.T @ (weights / weights.sum()) + 0.01 * x

    return function


def logistic(size: int, samples: int, seed: int) -> Function:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(samples, size)) * np.geomspace(1, 0.03, size)
    labels = np.sign(features @ rng.normal(size=size) + 0.3 * rng.normal(size=samples))

    def function(x: np.ndarray) -> tuple[float, np.ndarray]:
        margins = labels * (features @ x)
        gradient = -features.T @ (labels / (1 + np.exp(margins))) + 0.1 * x
        return float(np.logaddexp(0, -margins).sum() + 0.05 * x @ x), gradient

    return function


def lennard_jones(x: np.ndarray) -> tuple[float, np.ndarray]:
    points = x.reshape(-1, 3)
    apart = points[:, None] - points[None]
    squares = (apart**2).sum(axis=2) + np.eye(len(points))
    sixth = squares**-3
    np.fill_diagonal(sixth, 0.0)
    pull = -24 * (2 * sixth**2 - sixth) / squares
    return 2 * float((sixth**2 - sixth).sum()), (pull[:, :, None] * apart).sum(axis=1).ravel()


def cluster(atoms: int) -> np.ndarray:
    sites = np.indices((3, 3, 3)).reshape(3, -1).T[:atoms]
    return (1.15 * sites + 0.05 * np.random.default_rng(3).normal(size=(atoms, 3))).ravel()


def classic(size: int) -> np.ndarray:
    return np.where(np.arange(size) % 2 == 0, -1.2, 1.0)


STANDARD: dict[str, tuple[Function, np.ndarray]] = {
    "rosenbrock 2": (rosenbrock, classic(2)),
    "rosenbrock 10": (rosenbrock, classic(10)),
    "rosenbrock 30": (rosenbrock, np.linspace(-1, 2, 30)),
    "rosenbrock 50": (rosenbrock, classic(50)),
    "beale": (beale, np.array([1.0, 1.0])),
    "wood": (wood, np.array([-3.0, -1.0, -3.0, -1.0])),
    "himmelblau": (himmelblau, np.zeros(2)),
    "helical valley": (helical_valley, np.array([-1.0, 0.01, 0.0])),
    "dixon-price 10": (dixon_price, np.full(10, 0.7)),
    "variably dimensioned": (variably_dimensioned, 1 - np.arange(1, 11) / 10),
    "quadratic 1e2": (quadratic(20, 1e2, 0), np.ones(20)),
    "quadratic 1e4": (quadratic(50, 1e4, 5), np.linspace(-1, 1, 50)),
    "quadratic 1e6": (quadratic(20, 1e6, 0), np.ones(20)),
    "log-sum-exp 20": (log_sum_exp(20, 100, 1), np.ones(20)),
    "log-sum-exp 50": (log_sum_exp(50, 60, 7), np.linspace(-2, 2, 50)),
    "logistic 40": (logistic(40, 100, 9), np.ones(40)),
    "lennard-jones 8": (lennard_jones, cluster(8)),
    "lennard-jones 13": (lennard_jones, cluster(13)),
}


@pytest.mark.parametrize("name", STANDARD)
def test_the_gradients_of_the_test_functions(name: str) -> None:
    function, start = STANDARD[name]
    numeric = optimize.approx_fprime(start, lambda x: function(x)[0], 1e-7)
    assert function(start)[1] == pytest.approx(numeric, rel=1e-4, abs=1e-4 * np.abs(numeric).max())


def compare(name: str, **options: Any) -> float:
    """Evaluations of ours over SciPy's L-BFGS-B to the same gradient; both must end in the same minimum."""
    function, start = STANDARD[name]
    ours = minimize(function, start, gtol=1e-5, **options)
    settings = {"gtol": 1e-5, "ftol": 0.0, "maxiter": 10_000, "maxfun": 10_000}
    scipy = optimize.minimize(function, start, jac=True, method="L-BFGS-B", options=settings)
    assert ours.converged and ours.residual < 1e-5
    assert np.abs(function(ours.x)[1]).max() < 1e-5
    assert ours.value == pytest.approx(scipy.fun, rel=1e-6, abs=1e-6)
    return float(ours.cost["evaluations"]) / scipy.nfev


def test_lbfgs_needs_no_more_evaluations_than_scipy() -> None:
    """Measured: geometric mean 0.81, worst 1.09; with SciPy's memory of 10 pairs 0.97 and 1.38."""
    ratios = {name: compare(name) for name in STANDARD}
    assert max(ratios.values()) <= 1.5, ratios
    assert np.exp(np.mean(np.log(list(ratios.values())))) <= 1.0, ratios
    with_equal_memory = [compare(name, memory=10) for name in STANDARD]
    assert np.exp(np.mean(np.log(with_equal_memory))) <= 1.1


# What makes each method converge on the quadratic; a dozen first-order rules need a rate.
RATES: dict[str, dict[str, Any]] = {
    "gradient-descent": {"learning_rate": 0.3},
    "momentum": {"learning_rate": 0.1},
    "nesterov": {"learning_rate": 0.1},
    "adagrad": {"learning_rate": 0.5},
    "full-adagrad": {"learning_rate": 0.5},
    "rmsprop": {"learning_rate": 1e-3},
    "adam": {"learning_rate": 0.05},
    "amsgrad": {"learning_rate": 0.05},
    "adamw": {"learning_rate": 0.05, "weight_decay": 0.0},
    "adabelief": {"learning_rate": 0.05},
}


@pytest.mark.parametrize("method", METHODS)
def test_every_method_finds_the_minimum(method: str) -> None:
    result = minimize(quadratic(6, 10.0, 2), np.ones(6), method=method, gtol=1e-2, **RATES.get(method, {}))
    assert result.converged, result.reason
    assert result.value < 1e-3


@pytest.mark.parametrize("method", METHODS)
def test_every_method_goes_downhill_with_its_defaults(method: str) -> None:
    result = minimize(quadratic(6, 10.0, 2), np.ones(6), method=method, max_evaluations=100)
    assert result.value < 0.999 * quadratic(6, 10.0, 2)(np.ones(6))[0]


# The interface -------------------------------------------------------------------------------------------------------


def test_a_separate_gradient() -> None:
    together = minimize(rosenbrock, [-1.2, 1.0])
    apart = minimize(rosen, [-1.2, 1.0], jac=rosen_der)
    scipy_style = minimize(rosenbrock, [-1.2, 1.0], jac=True)
    assert together.x.tolist() == apart.x.tolist() == scipy_style.x.tolist()


def test_further_arguments() -> None:
    result = minimize(lambda x, a, b: (x - a) @ (x - a) + b, [0.0, 0.0], (3.0, 5.0), jac=lambda x, a, b: 2 * (x - a))
    assert result.x == pytest.approx([3.0, 3.0]) and result.value == pytest.approx(5.0)


def test_the_function_sees_the_shape_of_the_start_and_may_spoil_its_argument() -> None:
    shapes = set()

    def function(x: np.ndarray) -> tuple[float, np.ndarray]:
        shapes.add(x.shape)
        value, gradient = float((x**2).sum()), 2 * x
        x[:] = np.nan
        return value, gradient

    start = np.ones((2, 3))
    result = minimize(function, start)
    assert shapes == {(2, 3)}
    assert result.x == pytest.approx(np.zeros(6), abs=1e-5)
    assert (start == 1).all()


def test_integers_are_a_start() -> None:
    assert minimize(rosenbrock, [-1, 2]).converged


def test_the_budget_is_kept_and_said() -> None:
    calls = []
    result = minimize(lambda x: calls.append(1) or rosenbrock(x), classic(10), max_evaluations=20)
    assert len(calls) == 20 and not result.converged
    assert str(result.reason) == "the budget of 20 evaluations is used up"
    assert result.value == result.history.column("value").min()


def test_callbacks_see_every_evaluation_and_may_stop() -> None:
    seen: list[int] = []

    def stop_at_seven(snapshot: Snapshot) -> None:
        seen.append(len(snapshot.history))
        if len(snapshot.history) == 7:
            raise StopIteration("seven is enough")

    result = minimize(rosenbrock, classic(2), callback=stop_at_seven)
    assert seen == [1, 2, 3, 4, 5, 6, 7]
    assert (str(result.reason), result.reason.kind, result.converged) == ("seven is enough", "observer", False)
    others: list[int] = []
    minimize(rosenbrock, classic(2), callback=[lambda s: others.append(1), stop_at_seven])
    assert len(others) == 7


def test_a_preconditioner_is_used_by_any_method() -> None:
    scales = np.geomspace(1, 1e4, 10)
    function = lambda x: (0.5 * float(x @ (scales * x)), scales * x)  # noqa: E731
    plain = minimize(function, np.ones(10), method="fire", max_evaluations=5000)
    helped = minimize(function, np.ones(10), method="fire", precondition=lambda x, f: f / scales)
    assert helped.converged and helped.cost["evaluations"] < 0.2 * plain.cost["evaluations"]
    newton = minimize(
        function, np.ones(10), method="gradient-descent", learning_rate=1.0, precondition=lambda x, f: f / scales
    )
    assert newton.cost["evaluations"] == 2


def test_any_step_method() -> None:
    method = StepMethod(GradientDescent(), Fixed(0.1), Flat(maxstep=0.05))
    result = minimize(quadratic(3, 1.0, 0), np.ones(3), method=method)
    assert result.converged
    steps = np.diff(result.history.column("value"))
    assert (steps < 0).all()


@pytest.mark.parametrize("average", [Tail(100), Polyak(burn_in=100)])
def test_averages_of_noisy_gradients(average: Tail | Polyak) -> None:
    def answers(seed: int) -> tuple[float, float]:
        rng = np.random.default_rng(seed)

        def noisy(x: np.ndarray) -> tuple[float, np.ndarray]:
            return 0.5 * float(x @ x), x + 0.1 * rng.normal(size=x.size)

        options = {"method": "adam", "learning_rate": 0.05, "noise": 0.1, "gtol": 0.0, "max_evaluations": 250}
        result = minimize(noisy, np.ones(5), average=average, **options)
        return np.linalg.norm(result.x), np.linalg.norm(result.state.here.x)

    averaged, last = np.median([answers(seed) for seed in range(20)], axis=0)
    assert averaged < 0.6 * last


def test_a_function_that_fails_in_places() -> None:
    """Steps into the forbidden region are taken back halfway: log(x) - x has its maximum at 1."""

    def barrier(x: np.ndarray) -> tuple[float, np.ndarray]:
        if (x <= 0).any():
            raise EvaluationFailed("logarithm of a negative number")
        return float((x - np.log(x)).sum()), 1 - 1 / x

    result = minimize(barrier, [50.0, 0.2, 3.0])
    assert result.converged and result.history.failures > 0
    assert result.x == pytest.approx(np.ones(3), abs=1e-4)


def test_values_that_are_no_numbers_are_stepped_back_from() -> None:
    def root(x: np.ndarray) -> tuple[float, np.ndarray]:
        with np.errstate(invalid="ignore"):
            return float((x - 2 * np.sqrt(x)).sum()), 1 - 1 / np.sqrt(x)

    result = minimize(root, [30.0, 4.0])
    assert result.converged and result.x == pytest.approx([1.0, 1.0], abs=1e-4)


# Wrong input ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((rosenbrock, [1.0, 2.0]), {"method": "lbgfs"}, r"unknown method 'lbgfs' \(did you mean 'lbfgs'\?\)"),
        ((rosenbrock, [1.0, 2.0]), {"method": "annealing"}, "known are gradient-descent, momentum"),
        ((rosenbrock, [1.0, 2.0]), {"method": "adam", "lr": 1.0}, "has no option 'lr'.*its options are learning_rate"),
        ((rosenbrock, [1.0, 2.0]), {"method": "adam", "beta_1": 0.8}, r"\(did you mean 'beta1'\?\)"),
        ((rosen, [1.0, 2.0]), {}, r"fun returned float64, expected \(value, gradient\); give jac="),
        ((rosen, [1.0, 2.0]), {"jac": lambda x: x[:1]}, "gradient has 1 components, x has 2"),
        ((lambda x: (1.0, np.zeros(3)), [1.0, 2.0]), {}, "gradient has 3 components, x has 2"),
        ((rosen, [1.0, 2.0]), {"jac": "2-point"}, "jac is '2-point'; give a function"),
        (
            (rosenbrock, [1.0, 2.0]),
            {"method": make_method("adam", Flat()), "learning_rate": 0.1},
            "learning_rate belong to named methods",
        ),
        (
            (rosenbrock, [1.0, 2.0]),
            {"method": make_method("adam", Flat()), "precondition": lambda x, f: f},
            "precondition belongs to named methods",
        ),
    ],
)
def test_wrong_input_is_explained(arguments: tuple, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        minimize(*arguments, **options)


def test_a_start_without_an_answer_is_an_error() -> None:
    with pytest.raises(NotFinite, match="component 0 of the force is nan"):
        minimize(lambda x: (1.0, np.full(2, np.nan)), [1.0, 2.0])
    with pytest.raises(NotFinite, match="the value is inf"):
        minimize(lambda x: (np.inf, np.zeros(2)), [1.0, 2.0])


def test_errors_are_of_one_family() -> None:
    assert issubclass(InputError, SciOptError) and issubclass(InputError, ValueError)


@pytest.mark.parametrize("method", METHODS)
def test_options_are_listed_with_their_defaults(method: str) -> None:
    options = method_options(method)
    assert options
    assert make_method(method, Flat(), **options) == make_method(method, Flat())


# The example ---------------------------------------------------------------------------------------------------------


def test_the_example(capsys: pytest.CaptureFixture[str]) -> None:
    path = Path(__file__).parents[1] / "examples" / "minimize_rosenbrock.py"
    spec = importlib.util.spec_from_file_location("minimize_rosenbrock", path)
    assert spec is not None and spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    results = example.main()
    assert capsys.readouterr().out.count("largest gradient component") == 3
    assert all(result.value < 1e-8 for result in results.values())
    reference = optimize.minimize(rosen, example.START, jac=rosen_der, method="L-BFGS-B", options={"gtol": 1e-5})
    assert results["lbfgs"].cost["evaluations"] <= 1.1 * reference.nfev
