"""Softening and hardening again: never for the worse, never past a stop, paid for once, resumed anywhere."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sciopt.core import Budget, Plateau, Reason, Residual, Result, StepMethod
from sciopt.topopt import Compliance, Density, Grid, Visit, optimize_topology
from sciopt.topopt.carried import Carried, Found
from sciopt.topopt.coarse_to_fine import grids
from sciopt.topopt.methods import quasi_newton
from sciopt.topopt.problem import TopologyProblem
from sciopt.topopt.record import DesignRecord
from sciopt.topopt.reharden import rehardened
from sciopt.topopt.run_folder import DesignFolder
from sciopt.topopt.runner import Runner


def flat() -> Compliance:
    """Small, with many minima: thin bars over a wide span."""
    return Compliance(Grid(32, 12).fix("left").load((32, 6), (0, -1)), 0.4, filter=Density(1.5), solver="direct")


def second_order(at: TopologyProblem, carried: Carried) -> StepMethod:
    return quasi_newton(at.space, carried.move, carried.memory, products=4, memory=8)


def uneven(problem: TopologyProblem, seed: int) -> np.ndarray:
    x = np.random.default_rng(seed).uniform(0.0, 0.8, problem.size)
    return problem.space.project(x, 0.0, 1.0)


def soft(runner: Runner) -> list[float]:
    """Penalties of the runs that were logged, in their order."""
    return [penalty for _, penalty in sorted({(record.stage, record.penalty) for record in runner.records})]


def hardest(runner: Runner) -> float:
    return min(record.objective for record in runner.records if record.penalty == 1.0)


PLATEAU = Plateau(1e-3, 4)


@pytest.mark.parametrize("seed", range(4))
def test_the_answer_is_the_best_of_all_that_was_seen(seed: int) -> None:
    problem = flat()
    runner = Runner(problem.structure.elements)
    found = rehardened(runner, problem, second_order, Carried(uneven(problem, seed)), PLATEAU)
    assert found.reason.kind == "plateau" and found.reason.converged
    assert problem.evaluate(found.x).value == pytest.approx(hardest(runner), rel=1e-9)
    first = min(record.objective for record in runner.records if record.stage == 0)
    assert hardest(runner) <= first
    # Runs with less penalty, twice after every minimum but the last, which is only gone on with.
    rounds = (len(soft(runner)) - 2) // 3
    assert 1 <= rounds <= 3
    assert soft(runner) == [1.0, *rounds * [0.5, 0.75, 1.0], 1.0]


def test_some_minima_are_left_for_better_ones() -> None:
    gains = []
    for seed in range(4):
        problem = flat()
        runner = Runner(problem.structure.elements)
        rehardened(runner, problem, second_order, Carried(uneven(problem, seed)), PLATEAU)
        first = min(record.objective for record in runner.records if record.stage == 0)
        gains.append(1.0 - hardest(runner) / first)
    assert max(gains) > 0.001 and min(gains) >= 0.0


class Misled(Runner):
    """What comes out of the softer runs is no good."""

    def run(self, problem: TopologyProblem, *args: Any, **options: Any) -> Result:
        result = super().run(problem, *args, **options)
        if problem.penalty == 1.0:
            return result
        spoiled = np.random.default_rng(0).permutation(result.x)
        return Result(**{**vars(result), "x": problem.space.project(spoiled, 0.0, 1.0)})


@pytest.mark.parametrize("seed", range(3))
def test_worse_minima_are_dropped(seed: int) -> None:
    problem = flat()
    good = optimize_topology(problem, max_solves=60).x
    runner = Misled(problem.structure.elements)
    found = rehardened(runner, problem, second_order, Carried(good), PLATEAU)
    first, second = (min(r.objective for r in runner.records if r.stage == stage) for stage in (0, 3))
    assert second > first
    assert problem.evaluate(found.x).value <= first * (1 + 1e-9)
    # Once is enough.
    assert soft(runner) == [1.0, 0.5, 0.75, 1.0, 1.0]


@pytest.mark.parametrize(
    ("stop", "kind", "converged"),
    [(Budget(3), "budget", False), (Plateau(0.5, 1), "plateau", True), (Residual(1e3), "residual", True)],
)
def test_a_stop_that_is_met_before_the_design_settles_is_the_end(stop: Any, kind: str, converged: bool) -> None:
    problem = flat()
    runner = Runner(problem.structure.elements)
    found = rehardened(runner, problem, second_order, Carried(problem.start()), stop)
    assert (found.reason.kind, found.reason.converged) == (kind, converged)
    assert {record.stage for record in runner.records} == {0}


def test_a_stop_is_met_in_a_later_run_just_as_well() -> None:
    """Asked for by what only the runs on the full problem see: a number of evaluations of one of them."""
    problem = flat()
    runner = Runner(problem.structure.elements)
    asked: list[int] = []

    def later(progress: Any) -> Reason | None:
        asked.append(len(progress.history))
        return Reason("mine", "enough", True) if asked.count(1) == 2 and len(progress.history) == 3 else None

    found = rehardened(runner, problem, second_order, Carried(problem.start()), later)
    assert found.reason == Reason("mine", "enough", True)
    assert soft(runner) == [1.0, 0.5, 0.75, 1.0]
    assert sum(record.stage == 3 for record in runner.records) == 3
    assert problem.evaluate(found.x).value == pytest.approx(hardest(runner), rel=1e-9)


@pytest.mark.parametrize("way", ["interrupted", "observer"])
def test_interrupted_anywhere_it_answers_with_the_best_so_far(way: str) -> None:
    whole = Runner(flat().structure.elements)
    rehardened(whole, flat(), second_order, Carried(flat().start()), PLATEAU)
    stages = [record.stage for record in whole.records]
    cuts = sorted({stages.index(stage) for stage in set(stages)} | {stages.index(stage) - 1 for stage in set(stages)})
    for cut in [cut for cut in cuts if cut > 0]:

        def interrupt(visit: Visit, cut: int = cut) -> None:
            if visit.record.evaluation == cut + 1:
                raise KeyboardInterrupt if way == "interrupted" else StopIteration

        problem, asked = counted(flat())
        runner = Runner(problem.structure.elements, observers=(interrupt,))
        found = rehardened(runner, problem, second_order, Carried(problem.start()), PLATEAU)
        assert found.reason.kind == way and not found.reason.converged
        assert len(runner.records) == cut + 1
        assert flat().evaluate(found.x).value <= hardest(runner) * (1 + 1e-9)
        # A design that has settled before is not paid for once more, and nothing is after the end, but for one look
        # at the next run that was about to begin.
        assert sum(asked.values()) <= cut + 2


def counted(problem: TopologyProblem) -> tuple[TopologyProblem, Counter[bytes]]:
    """The same problem, and how often each of its designs is evaluated; softer ones count as well."""
    asked: Counter[bytes] = Counter()
    kind = type(problem)

    class Counted(kind):  # type: ignore[misc, valid-type]
        def evaluate(self, x: np.ndarray) -> Any:
            asked[x.tobytes() + bytes([round(100 * self.penalty)])] += 1
            return super().evaluate(x)

    problem.__class__ = Counted
    return problem, asked


def test_the_best_design_is_not_paid_for_again() -> None:
    problem, asked = counted(flat())
    runner = Runner(problem.structure.elements)
    found = rehardened(runner, problem, second_order, Carried(problem.start()), PLATEAU)
    products = runner.cost["solves"] - sum(asked.values())
    last = max(record.stage for record in runner.records)
    begun = next(record for record in runner.records if record.stage == last)
    before = runner.records[begun.evaluation - 2]
    # The last run begins with what is known: it costs nothing, not even the products that were asked for there once.
    assert begun.equivalents == before.equivalents
    assert sum(asked.values()) == len(runner.records) - 1
    assert max(asked.values()) == 1
    # Every product takes the back substitution of one load case, a tenth of a solve.
    assert products == pytest.approx(round(products, 1), abs=1e-9) and products > 0.0
    assert isinstance(found, Found)


@pytest.mark.parametrize("unit", [1.0, 0.25])
def test_products_are_counted_in_solves_on_the_finest_grid_as_well(unit: float) -> None:
    problem = flat()
    runner = Runner(round(problem.structure.elements / unit))
    runner.run(problem, second_order(problem, Carried(problem.start())), Budget(5), problem.start())
    assert runner.cost["solves"] > 5.0
    assert runner.equivalents == pytest.approx(unit * runner.cost["solves"])
    assert runner.records[-1].equivalents == pytest.approx(runner.equivalents)


def test_a_budget_is_kept_to() -> None:
    """Wherever it ends: among the first steps, with less penalty, in a later run."""
    for budget in range(6, 40, 3):
        problem = flat()
        runner = Runner(problem.structure.elements, max_solves=budget)
        found = rehardened(runner, problem, second_order, Carried(problem.start()), PLATEAU)
        if runner.ended is None:
            assert found.reason.converged
            continue
        assert found.reason.kind == runner.ended.kind == "budget"
        # The last evaluation may be one with products; nothing is evaluated after it, but for one look at a next run.
        assert budget <= runner.equivalents < budget + 1.0 + 4 * 0.1 + 1.0
        assert problem.evaluate(found.x).value <= hardest(runner) * (1 + 1e-9)


def test_cut_and_resumed_anywhere_it_is_the_same_run(tmp_path: Path) -> None:
    def runs(name: str, resume: bool, *observers: Any) -> tuple[Runner, Found]:
        problem = flat()
        folder = DesignFolder(tmp_path / name, {}, resume)
        runner = Runner(problem.structure.elements, observers=observers, folder=folder)
        return runner, rehardened(runner, problem, second_order, Carried(problem.start()), PLATEAU)

    whole, answer = runs("whole", False)
    assert len(soft(whole)) >= 5
    for cut in range(1, len(whole.records)):

        def interrupt(visit: Visit, cut: int = cut) -> None:
            if visit.record.evaluation == cut:
                raise KeyboardInterrupt

        runner, found = runs(f"{cut}", False, interrupt)
        assert found.reason.kind == "interrupted" and len(runner.records) == cut
        runner, found = runs(f"{cut}", True)
        assert np.array_equal(found.x, answer.x) and found.reason == answer.reason, cut
        assert runner.cost == pytest.approx(whole.cost)
        assert without_times(runner.records) == without_times(whole.records)


def without_times(records: list[DesignRecord]) -> list[DesignRecord]:
    return [record._replace(seconds=0.0) for record in records]


def bar(*shape: int) -> Compliance:
    grid = Grid(*shape).fix("left").load("right bottom", (0, -1, 0))
    return Compliance(grid, 0.25, filter=Density(1.5), solver="direct")


def test_a_task_in_space_is_resumed_on_the_finest_of_three_grids(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sciopt.topopt.reharden._ROUGHLY", Plateau(0.1, 2))  # settled soon
    options: dict[str, Any] = {"stop": PLATEAU, "max_solves": 13.0}
    assert len(grids(bar(12, 12, 12))) == 3
    whole = optimize_topology(bar(12, 12, 12), out=tmp_path / "whole", **options)
    fine = [record for record in whole.records if record.elements == 12**3]
    assert {record.penalty for record in fine} == {0.5, 0.75, 1.0}
    for penalty in (0.5, 1.0):
        cut = [record.evaluation for record in fine if record.penalty == penalty][1]

        def interrupt(visit: Visit, cut: int = cut) -> None:
            if visit.record.evaluation == cut:
                raise KeyboardInterrupt

        folder = tmp_path / f"{cut}"
        first = optimize_topology(bar(12, 12, 12), out=folder, callback=interrupt, **options)
        assert first.reason.kind == "interrupted" and len(first.records) == cut
        (folder / "summary.json").unlink()
        again = optimize_topology(bar(12, 12, 12), out=folder, resume=True, **options)
        assert np.array_equal(again.x, whole.x)
        assert again.reason == whole.reason and again.calls == pytest.approx(whole.calls)
        assert without_times(again.records) == without_times(whole.records)


def test_what_a_task_reports_is_what_its_problems_were_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted by the problems of all grids; only the final, tight solve is not part of the search."""
    asked: Counter[float] = Counter()
    evaluate = TopologyProblem.evaluate

    def counting(self: TopologyProblem, x: np.ndarray) -> Any:
        asked[self.tol] += 1
        return evaluate(self, x)

    monkeypatch.setattr(TopologyProblem, "evaluate", counting)
    result = optimize_topology(bar(12, 6, 6), stop=PLATEAU)
    final, search = sorted(asked)
    assert asked[final] == 1
    # One visit, the first of the last run, was known.
    assert asked[search] == len(result.records) - 1
    products = result.calls["solves"] - asked[search]
    assert products == pytest.approx(round(products, 1), abs=1e-9) and products > 0.0
