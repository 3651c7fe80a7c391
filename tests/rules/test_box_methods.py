"""What all methods for bounded variables share: feasibility, units that do not matter, restarts bit for bit."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sciopt.core import (
    Adaptive,
    Box,
    Budget,
    Control,
    Evaluation,
    EvaluationFailed,
    Fixed,
    Flat,
    InputError,
    Nonmonotone,
    Preconditioned,
    Ratio,
    Record,
    Result,
    Rule,
    Snapshot,
    StepMethod,
    load_snapshot,
    reversal,
    run,
    save_snapshot,
)
from sciopt.rules import (
    BOX_METHODS,
    GCMMA,
    METHODS,
    MMA,
    Conservative,
    MirrorDescent,
    OptimalityCriteria,
    SpectralProjectedGradient,
    make_method,
    method_options,
)

Array = np.ndarray
N = 7


class Lattice:
    """Springs in series and parallel: not convex, positive forces, and points where it fails if asked to.

    f = sum_i c_i / (x_i^3 + 0.05) + coupling, with one curved constraint that a design of equal parts satisfies.
    """

    def __init__(
        self, unit: float = 1.0, order: Array | None = None, fragile: bool = False, curved: bool = False
    ) -> None:
        order = np.arange(N) if order is None else order
        self.order, self.unit, self.fragile, self.curved = order, unit, fragile, curved
        self.cost = np.linspace(0.2, 3.0, N)[order]
        weights = (1.0 + 0.3 * np.cos(np.arange(N)))[order]
        self.space = Box(0.0, 1.0, weights, 0.45 * float(weights.sum()))
        self.visited: list[Array] = []

    def start(self) -> Array:
        return (0.4 + 0.04 * np.sin(np.arange(N)))[self.order]

    def evaluate(self, x: Array) -> Evaluation:
        self.visited.append(x)
        if self.fragile and np.sin(1e5 * float(x.max())) < -0.4:
            raise EvaluationFailed(f"no answer at max x = {x.max()}")
        stiff = x**3 + 0.05
        total = float(np.sum(self.cost / stiff))
        force = self.unit * (self.cost * 3 * x**2 / stiff**2 + 0.1)
        value = self.unit * (total - 0.1 * float(x.sum()))
        if not self.curved:
            return Evaluation(x, force, value, cost={"solves": 1})
        return Evaluation(x, force, value, np.array([float(x @ x) - 0.3 * N]), 2 * x[None], cost={"solves": 1})


class Rough:
    """A function without structure, values and forces of any sign, a random box and budget."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.frequency, self.phase = rng.uniform(0.5, 6, N), rng.uniform(0, 6, N)
        lower = rng.uniform(0.0, 0.3, N)
        upper = lower + rng.uniform(0.2, 1.0, N)
        weights = rng.uniform(0.2, 2.0, N)
        self._start = rng.uniform(lower, upper)
        share = rng.uniform(0.8, 1.3)
        capacity = max(share * float(weights @ self._start), 1.05 * float(weights @ lower))
        self.space = Box(lower, upper, weights, capacity)

    def start(self) -> Array:
        return self._start

    def evaluate(self, x: Array) -> Evaluation:
        a, b = self.frequency, self.phase
        return Evaluation(x, -a * np.cos(a * x + b), float(np.sin(a * x + b).sum()))


def path(problem: Lattice, name: str, evaluations: int = 12, **options: object) -> Array:
    method = make_method(name, problem.space, **options)
    state = method.start(problem.evaluate(problem.start()))
    points = []
    for _ in range(evaluations):
        state = method.advance(state, problem.evaluate(state.trial))
        points.append(state.trial)
    return np.array(points)


# Invariances ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("curved", [False, True])
@pytest.mark.parametrize("name", BOX_METHODS)
@pytest.mark.parametrize("unit", [1e6, 3e-7])
def test_the_unit_of_the_objective_does_not_matter(name: str, unit: float, curved: bool) -> None:
    one, other = path(Lattice(curved=curved), name), path(Lattice(unit, curved=curved), name)
    assert np.abs(one - one[0]).max() > 0.05
    assert other == pytest.approx(one, abs=1e-7)


@settings(max_examples=10, deadline=None)
@given(st.permutations(range(N)))
@pytest.mark.parametrize("name", BOX_METHODS)
def test_the_order_of_the_variables_does_not_matter(name: str, order: list[int]) -> None:
    permuted = np.array(order)
    straight = path(Lattice(curved=name in ("mma", "gcmma")), name, 8)
    assert path(Lattice(order=permuted, curved=name in ("mma", "gcmma")), name, 8) == pytest.approx(
        straight[:, permuted], abs=1e-7
    )


@pytest.mark.parametrize("name", ["mma", "gcmma", "mirror"])
def test_the_unit_of_x_does_not_matter(name: str) -> None:
    """x -> 1000 x + 500, with limits relative to the bounds."""
    near, far = Lattice(), Lattice()
    base = Lattice()
    weights = base.space.weights
    far.space = Box(500.0, 1500.0, weights, float(weights.sum()) * 500.0 + 1000.0 * base.space.capacity)
    far.start = lambda: 500.0 + 1000.0 * base.start()  # type: ignore[method-assign]

    def evaluate(x: Array) -> Evaluation:
        ev = base.evaluate((x - 500.0) / 1000.0)
        return Evaluation(x, ev.force / 1000.0, ev.value)

    far.evaluate = evaluate  # type: ignore[method-assign]
    assert (path(far, name) - 500.0) / 1000.0 == pytest.approx(path(near, name), abs=1e-6)


# Feasibility and progress ---------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32))
@pytest.mark.parametrize("name", BOX_METHODS)
def test_every_trial_point_is_feasible(name: str, seed: int) -> None:
    problem = Rough(seed)
    space, method = problem.space, make_method(name, problem.space)
    state = method.start(problem.evaluate(problem.start()))
    for _ in range(25):
        assert (state.trial >= space.lower).all() and (state.trial <= space.upper).all()
        assert space.weights @ state.trial <= space.capacity * (1 + 1e-9)
        assert np.isfinite(state.trial).all()
        state = method.advance(state, problem.evaluate(state.trial))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32))
@pytest.mark.parametrize("name", ["oc", "mma", "gcmma", "spg"])
def test_no_variable_moves_further_than_the_limit(name: str, seed: int) -> None:
    """From feasible points; from others the way back comes first."""
    problem = Rough(seed)
    space = problem.space
    start = space.project(problem.start(), space.lower, space.upper)
    method = make_method(name, space, move=0.1)
    width = space.upper - space.lower if name in ("mma", "gcmma") else np.ones(N)
    state = method.start(problem.evaluate(start))
    for _ in range(15):
        most = np.asarray(state.limit.size) if name == "spg" else 0.1
        assert (np.abs(state.step) <= most * width + 1e-9).all()
        state = method.advance(state, problem.evaluate(state.trial))


@pytest.mark.parametrize("name", ["oc", "spg"])
def test_an_array_of_limits_is_obeyed_variable_by_variable(name: str) -> None:
    problem = Lattice()
    rule: Rule = OptimalityCriteria() if name == "oc" else SpectralProjectedGradient()
    sizes = np.linspace(0.001, 0.1, N)
    step = rule.propose(
        rule.start(problem.evaluate(problem.start()), problem.space),
        problem.evaluate(problem.start()),
        Fixed(sizes).start(),
        problem.space,
    ).step
    assert (np.abs(step) <= sizes + 1e-12).all()
    assert (np.abs(np.abs(step) - sizes) < 1e-9).sum() >= 3


@pytest.mark.parametrize("name", BOX_METHODS)
def test_they_all_improve_the_lattice(name: str) -> None:
    problem = Lattice()
    first = problem.evaluate(problem.start()).value
    assert run(problem, make_method(name, problem.space), Budget(40)).value < 0.6 * first


@pytest.mark.parametrize("name", ["mma", "gcmma", "spg", "mirror"])
def test_a_box_without_a_budget(name: str) -> None:
    """The minimizer of a separable quadratic, inside or on the box."""
    target = np.array([0.3, -0.5, 0.7, 1.6])

    class Bowl:
        space = Box(0.0, 1.0)

        def start(self) -> Array:
            return np.full(4, 0.5)

        def evaluate(self, x: Array) -> Evaluation:
            return Evaluation(x, target - x, float(0.5 * (x - target) @ (x - target)))

    result = run(Bowl(), make_method(name, Bowl.space), Budget(120))
    assert result.x == pytest.approx(np.clip(target, 0, 1), abs=1e-3)


# Restarts ------------------------------------------------------------------------------------------------------------

RULES: dict[str, Rule] = {
    "oc": OptimalityCriteria(),
    "oc, mechanisms": OptimalityCriteria(eta=0.3, xmin=1e-3),
    "mma": MMA(),
    "gcmma": GCMMA(),
    "spg": SpectralProjectedGradient(window=3),
    "mirror": MirrorDescent(window=3),
}
CONTROLS: dict[str, Callable[[], Control]] = {
    "fixed": lambda: Fixed(0.3),
    "fixed each": lambda: Fixed(np.linspace(0.1, 0.4, N)),
    "reversal": lambda: Adaptive(0.3, reversal, grow=1.2, shrink=0.7, least=0.01, most=10.0),
    "ratio": lambda: Adaptive(0.3, Ratio(), grow=1.5, radius=True, reject=True, forget=True),
    "nonmonotone": lambda: Adaptive(
        0.3, Nonmonotone(3), grow=1.3, shrink=0.5, least=0.01, most=0.5, radius=True, reject=True
    ),
    "conservative": lambda: Conservative(0.3, reversal, grow=1.2, shrink=0.7),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose files need not survive a power cut: thousands are written here."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    return tmp_path


def exact(records: list[Record]) -> list[str]:
    times = ("evaluating", "overhead")
    return [repr([value for name, value in record._asdict().items() if name not in times]) for record in records]


def check_every_cut(make_problem: Callable[[], Lattice], method: StepMethod, folder: Path) -> Result:
    """Run once writing a checkpoint after every evaluation, then continue from each of them."""
    counts: list[int] = []
    problem, stop = make_problem(), Budget(9)

    def save(snapshot: Snapshot) -> None:
        save_snapshot(folder / f"{len(snapshot.history)}", snapshot, method)
        counts.append(len(problem.visited))

    whole = run(problem, method, stop, observers=[save])
    assert len(counts) >= 5
    for cut, count in enumerate(counts, 1):
        again = make_problem()
        part = run(again, method, stop, resume=load_snapshot(folder / f"{cut}", method))
        assert part.x.tobytes() == whole.x.tobytes()
        assert exact(part.history.records) == exact(whole.history.records)
        assert part.state.trial.tobytes() == whole.state.trial.tobytes()
        assert [x.tobytes() for x in again.visited] == [x.tobytes() for x in problem.visited[count:]]
    return whole


@pytest.mark.parametrize("control", CONTROLS)
@pytest.mark.parametrize("rule", RULES)
def test_every_rule_under_every_control_resumes_bit_for_bit(rule: str, control: str, folder: Path) -> None:
    problem = Lattice()
    whole = check_every_cut(
        lambda: Lattice(curved="mma" in rule), StepMethod(RULES[rule], CONTROLS[control](), problem.space), folder
    )
    assert np.abs(whole.state.here.x - problem.start()).max() > 1e-3


@pytest.mark.parametrize("name", BOX_METHODS)
def test_every_named_method_resumes_with_failing_evaluations(name: str, folder: Path) -> None:
    method = make_method(name, Lattice().space)
    whole = check_every_cut(lambda: Lattice(fragile=True), method, folder)
    assert whole.history.failures > 0


# Names ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BOX_METHODS)
@pytest.mark.parametrize("space", [Flat(), Preconditioned(Box(), lambda x, force: force)])
def test_a_space_without_bounds_is_refused_in_one_sentence(name: str, space: object) -> None:
    with pytest.raises(InputError, match=f"method '{name}' needs a space with bounds .*, not {type(space).__name__}"):
        make_method(name, space)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", BOX_METHODS)
def test_options_have_documented_names_and_wrong_ones_are_refused(name: str) -> None:
    assert name not in METHODS
    with pytest.raises(InputError, match="has no option 'nonsense'"):
        make_method(name, Box(), nonsense=1)
    options = method_options(name)
    assert make_method(name, Box(0.0, 1.0, np.ones(2), 1.0), **options).rule == make_method(name, Box()).rule


def test_a_control_may_stand_in_for_the_move_limit() -> None:
    control = Adaptive(0.1, Ratio(), radius=True, reject=True)
    assert make_method("oc", Box(), move=control).control is control
