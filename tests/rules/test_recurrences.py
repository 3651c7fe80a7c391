"""The moment family, step by step, against what PyTorch and Optax do (data/recurrences) and textbook recurrences."""

from __future__ import annotations

import csv
import importlib.util
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scipy.linalg import fractional_matrix_power

from sciopt.core import Evaluation, Fade, Flat, Schedule, StepMethod
from sciopt.rules import make_method

DATA = Path(__file__).parents[2] / "data" / "recurrences"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"recurrences_{name}", DATA / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


FUNCTIONS = load("functions").FUNCTIONS

# Name in the table -> our method and options. Options that are not given are compared as defaults.
OURS: dict[str, tuple[str, dict]] = {
    "sgd": ("gradient-descent", {"learning_rate": 5e-4}),
    "sgd-l2": ("gradient-descent", {"learning_rate": 5e-4, "weight_decay": 0.3}),
    "momentum": ("momentum", {"learning_rate": 2e-4}),
    "momentum-l2": ("momentum", {"learning_rate": 2e-4, "beta": 0.8, "weight_decay": 0.3}),
    "momentum-decoupled": ("momentum", {"learning_rate": 2e-4, "weight_decay": 0.3, "decoupled": True}),
    "nesterov": ("nesterov", {"learning_rate": 2e-4}),
    "nesterov-optax": ("momentum", {"learning_rate": 2e-4, "nesterov": True}),
    "nesterov-l2": ("nesterov", {"learning_rate": 2e-4, "weight_decay": 0.3}),
    "adagrad": ("adagrad", {"learning_rate": 0.1}),
    "adagrad-l2": ("adagrad", {"learning_rate": 0.1, "eps": 1e-6, "weight_decay": 0.3}),
    "rmsprop": ("rmsprop", {"learning_rate": 0.01}),
    "rmsprop-l2": ("rmsprop", {"learning_rate": 0.01, "beta": 0.9, "eps": 1e-6, "weight_decay": 0.3}),
    "rmsprop-decoupled": ("rmsprop", {"learning_rate": 0.01, "weight_decay": 0.3, "decoupled": True}),
    "adam": ("adam", {"learning_rate": 0.05}),
    "adam-optax": ("adam", {"learning_rate": 0.05}),
    "adam-schedule": ("adam", {"learning_rate": Schedule(lambda k: 0.05 / (1.0 + k / 4.0))}),
    "adam-l2": ("adam", {"learning_rate": 0.05, "beta1": 0.8, "beta2": 0.99, "eps": 1e-6, "weight_decay": 0.3}),
    "amsgrad": ("amsgrad", {"learning_rate": 0.05, "beta2": 0.9}),
    "amsgrad-l2": ("adam", {"learning_rate": 0.05, "beta2": 0.9, "weight_decay": 0.3, "amsgrad": True}),
    "adamw": ("adamw", {"learning_rate": 0.05, "weight_decay": 0.3}),
    "adamw-optax": ("adam", {"learning_rate": 0.05, "weight_decay": 0.3, "decoupled": True}),
    "adamw-amsgrad": ("adamw", {"learning_rate": 0.05, "beta2": 0.9, "weight_decay": 0.3, "amsgrad": True}),
    "adabelief": ("adabelief", {"learning_rate": 0.05}),
    "adabelief-eps": (
        "adabelief",
        {"learning_rate": 0.05, "beta1": 0.8, "beta2": 0.99, "eps": 1e-4, "eps_root": 1e-3},
    ),
    "adabelief-l2": ("adabelief", {"learning_rate": 0.05, "weight_decay": 0.3, "decoupled": False}),
    "adabelief-decoupled": ("adabelief", {"learning_rate": 0.05, "weight_decay": 0.3}),
}


def table() -> dict[tuple[str, str], np.ndarray]:
    """(method, function) -> (30, 5) the points the reference implementation visited."""
    rows = defaultdict(list)
    with (DATA / "trajectories.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            rows[row["method"], row["function"]].append([float(row[f"x{i}"]) for i in range(1, 6)])
    return {key: np.array(points) for key, points in rows.items()}


TABLE = table()


def walk(method: StepMethod, start: np.ndarray, gradient: Callable, steps: int) -> np.ndarray:
    """(steps, n) the points our method visits after the first."""
    state = method.start(Evaluation(start, -gradient(start)))
    points = [state.trial]
    while len(points) < steps:
        state = method.advance(state, Evaluation(state.trial, -gradient(state.trial)))
        points.append(state.trial)
    return np.array(points)


def test_every_row_of_the_table_is_compared() -> None:
    assert {method for method, _ in TABLE} == set(OURS)
    assert all(points.shape == (30, 5) for points in TABLE.values())


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("name", OURS)
def test_trajectories_of_torch_and_optax(name: str, function: str) -> None:
    start, gradient = FUNCTIONS[function]
    method, options = OURS[name]
    points = walk(make_method(method, Flat(), **options), start, gradient, 30)
    reference = TABLE[name, function]
    assert np.abs(points - reference).max() <= 1e-12 * np.abs(reference).max()


def test_fade_is_the_harmonic_schedule_of_the_table() -> None:
    start, gradient = FUNCTIONS["rosenbrock"]
    points = walk(make_method("adam", Flat(), learning_rate=Fade(0.05, after=0, over=4.0)), start, gradient, 30)
    assert points == pytest.approx(TABLE["adam-schedule", "rosenbrock"], rel=1e-11)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("amsgrad", ("adam", {"learning_rate": 0.05, "beta2": 0.9})),
        ("adam-l2", ("adamw", {"learning_rate": 0.05, "beta1": 0.8, "beta2": 0.99, "eps": 1e-6, "weight_decay": 0.3})),
        ("nesterov", ("momentum", {"learning_rate": 2e-4})),
        ("adabelief", ("adam", {"learning_rate": 0.05})),
        ("momentum-l2", ("momentum", {"learning_rate": 2e-4, "beta": 0.8, "weight_decay": 0.3, "decoupled": True})),
    ],
)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_table_tells_variants_apart(one: str, other: tuple[str, dict], function: str) -> None:
    start, gradient = FUNCTIONS[function]
    points = walk(make_method(other[0], Flat(), **other[1]), start, gradient, 30)
    assert np.abs(points - TABLE[one, function]).max() > 1e-6


@pytest.mark.parametrize("function", FUNCTIONS)
def test_full_matrix_adagrad(function: str) -> None:
    """``x <- x + size (G^1/2 + eps)^-1 f`` with matrix functions by SciPy, begun where G has full rank."""
    start, gradient = FUNCTIONS[function]
    size, eps = 0.1, 1e-10
    method = make_method("full-adagrad", Flat(), learning_rate=size, eps=eps)
    x, outer = start, np.diag([1.0, 2.0, 3.0, 4.0, 5.0])
    state = method.start(Evaluation(start, -gradient(start)))
    first = method.rule.propose(outer, state.here, state.limit, method.space)
    state = state._replace(trial=start + first.step, step=first.step, memory=first.memory)
    for _ in range(30):
        force = -gradient(x)
        outer = outer + np.outer(force, force)
        x = x + size * np.linalg.solve(fractional_matrix_power(outer, 0.5) + eps * np.eye(5), force)
        assert state.trial == pytest.approx(x, rel=1e-11, abs=1e-11)
        state = method.advance(state, Evaluation(state.trial, -gradient(state.trial)))


def test_full_matrix_adagrad_before_the_matrix_has_full_rank() -> None:
    """Few forces span a subspace; the step must stay in it, as with the pseudo-inverse."""
    start, gradient = FUNCTIONS["quadratic"]
    method = make_method("full-adagrad", Flat(), learning_rate=0.1)
    state = method.start(Evaluation(start, -gradient(start)))
    x, forces = start, []
    for _ in range(8):
        forces.append(-gradient(x))
        # The singular vectors of the forces, without forming their outer products: accurate at any rank.
        left, values, _ = np.linalg.svd(np.array(forces).T, full_matrices=False)
        kept = values > 1e-7 * values[0]
        x = x + 0.1 * left[:, kept] @ ((left[:, kept].T @ forces[-1]) / values[kept])
        assert state.trial == pytest.approx(x, rel=1e-6, abs=1e-6)
        state = method.advance(state, Evaluation(state.trial, -gradient(state.trial)))
