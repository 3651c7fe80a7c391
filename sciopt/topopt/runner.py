"""Runs on the grids of one design task: counted in fine solves, logged, and resumable whatever their order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from sciopt.core.run import run
from sciopt.core.space import everywhere
from sciopt.core.stop import Any as AnyOf
from sciopt.core.stop import Budget, Reason
from sciopt.topopt.record import DesignRecord

if TYPE_CHECKING:
    from sciopt.core.evaluation import Evaluation
    from sciopt.core.method import Method
    from sciopt.core.run import Result, Snapshot
    from sciopt.core.stop import Stop
    from sciopt.core.types import Array
    from sciopt.topopt.problem import TopologyProblem
    from sciopt.topopt.run_folder import DesignFolder

__all__ = ["Runner", "Visit"]


@dataclass(frozen=True)
class Visit:
    """What an observer of a design task sees after every evaluation: the record, and where its run stands."""

    record: DesignRecord
    snapshot: Snapshot
    problem: TopologyProblem


class _Placed:
    """A problem that starts at a given design, and whose costs are counted in solves on the finest grid."""

    def __init__(self, problem: TopologyProblem, x: Array, unit: float, known: Evaluation | None = None) -> None:
        self.problem, self.x, self.unit, self.known = problem, x, unit, known
        self.space = problem.space

    def start(self) -> Array:
        if self.known is not None:
            return self.known.x
        return self.space.project(self.x, self.space.lower, self.space.upper)

    def evaluate(self, x: Array) -> Evaluation:
        known, self.known = self.known, None
        if known is not None and everywhere(self.space, np.array_equal(known.x, x)):
            # Nor is what its Hessian was asked for: the products are gone, and were charged to the run before.
            return replace(known, cost=dict.fromkeys(known.cost, 0.0), hessian=None)
        ev = self.problem.evaluate(x)
        hessian = None if ev.hessian is None else ev.hessian.priced(self._priced)
        return replace(ev, cost=self._priced(ev.cost), hessian=hessian)

    def _priced(self, cost: Mapping[str, float]) -> dict[str, float]:
        return {**cost, "equivalents": self.unit * cost["solves"]}


class Runner:
    """Executes the runs of one task in the order asked for.

    A task that is resumed asks for the same runs again: finished ones are answered from the folder, the unfinished one
    goes on from its checkpoint.

    Parameters
    ----------
    elements
        Elements of the finest grid.
    max_solves
        Budget in solves on the finest grid.
    observers
        Called with a `Visit` after every evaluation; StopIteration ends the task with the best design so far.
    folder
        Where to log and to checkpoint.
    """

    def __init__(
        self,
        elements: int,
        max_solves: float = np.inf,
        observers: tuple[Callable[[Visit], None], ...] = (),
        folder: DesignFolder | None = None,
    ) -> None:
        self.elements, self.max_solves = elements, max_solves
        self.observers, self.folder = observers, folder
        self.records: list[DesignRecord] = []
        self.cost: dict[str, float] = {}
        self.ended: Reason | None = None
        self.overhead = 0.0
        self._stage = 0

    @property
    def equivalents(self) -> float:
        """Solves so far, in units of one on the finest grid."""
        return self.cost.get("equivalents", 0.0)

    def run(
        self, problem: TopologyProblem, method: Method, stop: Stop, x: Array, known: Result | None = None
    ) -> Result:
        """Run `method` on `problem` from the design `x` until `stop`, or until the budget of the task is spent.

        What is `known` of `problem` is not evaluated again: then the run starts there.

        Once the task has ended the runs still asked for answer with what they start from, evaluated once.
        """
        stage, self._stage = self._stage, self._stage + 1
        unit = problem.structure.elements / self.elements
        placed = _Placed(problem, x, unit, None if known is None else known.evaluation)
        # What is asked for after the end is only a way to the finest grid; a resumed task must not start from it.
        folder = None if self.ended else self.folder
        kept = folder.kept(stage, problem.structure.ranks) if folder is not None else None
        before = self.equivalents
        if kept is not None:
            self.records.extend(kept.records)

        def observe(snapshot: Snapshot) -> None:
            if self.ended is not None:
                return
            record = self._record(stage, problem, snapshot, before)
            self.records.append(record)
            if folder is not None:
                folder.visited(record, snapshot)
            for observer in self.observers:
                observer(Visit(record, snapshot, problem))

        budget = 0.0 if self.ended else max(self.max_solves - before, 0.0)
        limits = AnyOf((stop, Budget(budget, "equivalents")))
        result = run(placed, method, limits, observers=(observe,), resume=kept.snapshot if kept is not None else None)
        if folder is not None:
            folder.finished()
        # A solve that failed was paid for as well.
        failed = float(result.history.failures)
        paid = {"solves": failed, "equivalents": failed * unit}
        for name, amount in [*result.cost.items(), *paid.items()]:
            self.cost[name] = self.cost.get(name, 0.0) + amount
        self.overhead += float(result.history.column("overhead").sum())
        if self.ended is None and self.equivalents >= self.max_solves and not result.converged:
            self.ended = Reason("budget", f"the budget of {self.max_solves:g} fine-grid solves is used up", False)
        elif self.ended is None and result.reason.kind in ("interrupted", "observer"):
            self.ended = result.reason
        return result

    def _record(self, stage: int, problem: TopologyProblem, snapshot: Snapshot, before: float) -> DesignRecord:
        last, state = snapshot.history[-1], snapshot.state
        return DesignRecord(
            evaluation=len(self.records) + 1,
            stage=stage,
            elements=problem.structure.elements,
            penalty=problem.penalty,
            beta=problem.beta,
            objective=last.value,
            volume=float(state.here.info["volume"]),
            change=last.moved,
            equivalents=before + snapshot.history.cost.get("equivalents", 0.0),
            limit=last.limit,
            residual=last.residual,
            accepted=last.accepted,
            seconds=last.evaluating + last.overhead,
        )
