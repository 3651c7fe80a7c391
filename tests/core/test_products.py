"""Products of Hessians in runs: what they cost is charged, they live until the next point, no checkpoint keeps them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from sciopt.core import (
    Adaptive,
    Box,
    Budget,
    Evaluation,
    EvaluationFailed,
    InputError,
    Nonmonotone,
    Products,
    Ratio,
    Record,
    Result,
    Snapshot,
    StepMethod,
    Tail,
    load_snapshot,
    run,
    save_snapshot,
)
from sciopt.rules.projected import ProjectedQuasiNewton

PRICE = {"solves": 0.25, "cycles": 3.0}


class Bowl:
    """``sum d_i (x_i - c_i)^2 / 2 + sum x_i^4 / 4`` under a budget; counts what it is asked, by itself."""

    def __init__(self, products: bool = True, fragile: bool = False, honest: bool = True) -> None:
        rng = np.random.default_rng(4)
        self.stiff, self.centre = (
            10.0 ** rng.uniform(-1.5, 1.5, 12),
            0.5 + (1.0 if honest else 0.2) * rng.uniform(-1.0, 1.0, 12),
        )
        self.space = Box(0.0, 1.0, np.full(12, 1.0 / 12), 0.4)
        self.products, self.fragile, self.honest = products, fragile, honest
        self.evaluations = self.asked = 0
        self.offered: list[Products] = []

    def start(self) -> np.ndarray:
        return np.full(12, 0.4)

    def evaluate(self, x: np.ndarray) -> Evaluation:
        self.evaluations += 1
        if self.fragile and self.evaluations in (3, 6):
            raise EvaluationFailed("the machine is tired")
        away = x - self.centre

        def product(d: np.ndarray) -> tuple[np.ndarray, Mapping[str, float]]:
            self.asked += 1
            return (1.0 if self.honest else 0.01) * (self.stiff + 3.0 * x**2) * d, PRICE

        if self.products:
            self.offered.append(Products(product))
        value = 0.5 * float(self.stiff @ away**2) + 0.25 * float(np.sum(x**4))
        hessian = self.offered[-1] if self.products else None
        return Evaluation(x, -self.stiff * away - x**3, value, cost={"solves": 1.0}, hessian=hessian)


def method(space: Box, products: int = 3, first: float = 0.1) -> StepMethod:
    control = Adaptive(first, Ratio(0.25, 0.75), grow=1.5, least=0.01, most=0.5, radius=True, reject=Nonmonotone(2))
    return StepMethod(ProjectedQuasiNewton(products=products), control, space)


def test_they_count_what_they_are_asked() -> None:
    hessian = Products(lambda d: (2.0 * d, {"solves": 0.25}))
    assert hessian.available and hessian.spent == {}
    assert hessian(np.array([1.0, 3.0])).tolist() == [2.0, 6.0]
    hessian(np.zeros(2))
    assert hessian.spent == {"solves": 0.5}
    hessian.release()
    assert not hessian.available
    with pytest.raises(InputError, match="evaluated last"):
        hessian(np.zeros(2))
    assert hessian.spent == {"solves": 0.5}


def test_what_products_cost_is_charged_to_the_evaluation() -> None:
    problem = Bowl()
    totals: list[dict[str, float]] = []
    asked: list[int] = []

    def watch(snapshot: Snapshot) -> None:
        totals.append(dict(snapshot.history.cost))
        asked.append(problem.asked)

    result = run(problem, method(problem.space), Budget(8), observers=[watch])
    assert problem.asked >= 8
    for count, total, number in zip(range(1, 9), totals, asked, strict=True):
        assert total["solves"] == pytest.approx(count + 0.25 * number)
        # Names that the evaluation itself does not have are charged as well.
        assert total["cycles"] == pytest.approx(3.0 * number)
        assert total["evaluations"] == count
    assert result.cost == totals[-1]


def test_what_is_charged_uses_up_a_budget() -> None:
    problem = Bowl()
    result = run(problem, method(problem.space), Budget(6, "solves"))
    assert result.reason.kind == "budget"
    assert 6.0 <= problem.evaluations + 0.25 * problem.asked < 7.75
    assert problem.evaluations < 6


def test_nobody_asks_a_rule_that_does_not() -> None:
    problem = Bowl()
    result = run(problem, method(problem.space, products=0), Budget(6))
    assert problem.asked == 0 and result.cost["solves"] == 6.0


def test_products_live_until_the_next_point_is_chosen() -> None:
    problem = Bowl()
    alive: list[bool] = []
    result = run(
        problem, method(problem.space), Budget(6), observers=[lambda snapshot: alive.append(any_left(problem))]
    )
    assert alive == [False] * 6
    assert result.evaluation.hessian is not None and not result.evaluation.hessian.available
    # While the method chooses they are there: all evaluations that were accepted were asked.
    accepted = sum(record.accepted for record in result.history)
    assert sum(bool(hessian.spent) for hessian in problem.offered) == accepted


def any_left(problem: Bowl) -> bool:
    return any(hessian.available for hessian in problem.offered)


def test_the_average_is_released_too() -> None:
    problem = Bowl()
    result = run(problem, method(problem.space), Budget(6), average=Tail(3))
    assert len(problem.offered) == 7 and not any_left(problem)
    assert result.cost["solves"] == pytest.approx(7.0 + 0.25 * problem.asked)


def test_a_checkpoint_keeps_what_was_spent_and_no_product(tmp_path: Path) -> None:
    problem = Bowl()
    seen: list[Snapshot] = []
    run(problem, method(problem.space), Budget(4), observers=[seen.append])
    save_snapshot(tmp_path / "state", seen[-1], method(problem.space))
    loaded = load_snapshot(tmp_path / "state", method(problem.space))
    for stored, kept in ((loaded.state.here, seen[-1].state.here), (loaded.best, seen[-1].best)):
        assert stored is not None and kept is not None
        assert stored.hessian is not None and kept.hessian is not None
        assert not stored.hessian.available
        assert stored.hessian.spent == kept.hessian.spent != {}
        with pytest.raises(InputError, match="evaluated last"):
            stored.hessian(np.zeros(12))
    assert json.loads((tmp_path / "state.json").read_text())["cost"]["solves"] == pytest.approx(
        4 + 0.25 * problem.asked
    )


def test_an_evaluation_without_products_is_stored_as_before(tmp_path: Path) -> None:
    problem = Bowl(products=False)
    seen: list[Snapshot] = []
    run(problem, method(problem.space), Budget(3), observers=[seen.append])
    save_snapshot(tmp_path / "state", seen[-1])
    assert load_snapshot(tmp_path / "state").state.here.hessian is None


TROUBLE = {"none": {}, "failures": {"fragile": True}, "rejected steps": {"honest": False}}


@pytest.mark.parametrize("trouble", TROUBLE)
def test_a_run_resumed_at_any_step_is_the_uninterrupted_run(tmp_path: Path, trouble: str) -> None:
    def strip(result: Result) -> list[Record]:
        return [record._replace(evaluating=0.0, overhead=0.0) for record in result.history]

    problem, stop = Bowl(**TROUBLE[trouble]), Budget(12)  # type: ignore[arg-type]
    # Curvature that is not there: steps go as far as they may, and too far.
    way = method(problem.space, first=0.5 if trouble == "rejected steps" else 0.1)
    counts: list[int] = []

    def save(snapshot: Snapshot) -> None:
        save_snapshot(tmp_path / f"{len(snapshot.history)}", snapshot, way)
        counts.append(problem.evaluations)

    whole = run(problem, way, stop, observers=[save])
    assert (whole.history.failures > 0) == (trouble == "failures")
    if trouble == "rejected steps":
        # At a point that was gone back to there is no product any more: in neither of the two runs.
        assert not all(record.accepted for record in whole.history)
    for cut, count in enumerate(counts[:-1], 1):
        again = Bowl(**TROUBLE[trouble])  # type: ignore[arg-type]
        again.evaluations = count
        snapshot = load_snapshot(tmp_path / f"{cut}", way)
        resumed = run(again, way, stop, resume=snapshot)
        assert resumed.x.tobytes() == whole.x.tobytes(), cut
        assert (resumed.cost, again.evaluations) == (whole.cost, problem.evaluations)
        assert strip(resumed) == strip(whole)
