"""What a topology problem is asked, counted outside of the method: on all of its grids, with the CPU time it took."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sciopt.core.stop import FEASIBLE

if TYPE_CHECKING:
    from sciopt.core.evaluation import Evaluation
    from sciopt.core.types import Array
    from sciopt.topopt.objectives import Response
    from sciopt.topopt.problem import TopologyProblem

__all__ = ["Visit", "Watch", "watched"]


class Visit(NamedTuple):
    """One evaluation.

    Attributes
    ----------
    equivalents
        Solves so far, this one included and failures too, in units of one on the finest grid (by number of elements).
    value
        Objective; inf where it failed, or where the design breaks its volume or its bounds.
    fine
        Whether this was the problem itself: the finest grid, the full penalty, the final projection.
    seconds, equations
        CPU seconds of the evaluation, and the part of it that was spent on equilibrium and element energies.
    clock
        CPU clock of the process at its end.
    iterations
        Of the linear solver.
    """

    equivalents: float
    value: float
    fine: bool
    seconds: float
    equations: float
    clock: float
    iterations: float


class Watch:
    """What was evaluated, and the best design among it."""

    def __init__(self, problem: TopologyProblem) -> None:
        self.problem = problem
        self.visits: list[Visit] = []
        self.best, self.x = np.inf, problem.start()
        self._equations = self._products = 0.0

    @property
    def equivalents(self) -> float:
        """Solves so far, in units of one on the finest grid."""
        return self.visits[-1].equivalents if self.visits else 0.0

    def fine(self) -> list[Visit]:
        """The evaluations of the problem itself."""
        return [visit for visit in self.visits if visit.fine]

    def evaluated(self, at: TopologyProblem, evaluate: Callable[[Array], Evaluation], x: Array) -> Evaluation:
        """Evaluate x and book it."""
        begun, self._equations = time.process_time(), 0.0
        value, solves, iterations, fine = np.inf, 1.0, 0.0, self._is_fine(at)
        try:
            ev = evaluate(x)
            solves, iterations = ev.cost["solves"], ev.cost["iterations"]
            if holds(at, ev):
                value = float(ev.info["objective"])
            return self._booked(at, ev)
        finally:
            now = time.process_time()
            unit = at.structure.design.size / self.problem.structure.design.size
            spent = self.equivalents + self._products + unit * solves
            self._products = 0.0
            self.visits.append(Visit(spent, value, fine, now - begun, self._equations, now, iterations))
            if fine and value < self.best:
                self.best, self.x = value, np.array(x)

    def _booked(self, at: TopologyProblem, ev: Evaluation) -> Evaluation:
        """The same evaluation, whose products are booked on the visit before the next one."""
        unit = at.structure.design.size / self.problem.structure.design.size

        def book(cost: Mapping[str, float]) -> Mapping[str, float]:
            self._products += unit * cost["solves"]
            return cost

        return ev if ev.hessian is None else replace(ev, hessian=ev.hessian.priced(book))

    def responded(self, respond: Callable[..., Response], moduli: Array, number: int) -> Response:
        """Solve the equations and book the time."""
        begun = time.process_time()
        try:
            return respond(moduli, number)
        finally:
            self._equations += time.process_time() - begun

    def _is_fine(self, at: TopologyProblem) -> bool:
        asked = self.problem
        return at.structure is asked.structure and at.material == asked.material and at.beta == asked.beta


def holds(problem: TopologyProblem, ev: Evaluation) -> bool:
    """Whether the design keeps its bounds, and its volume to 0.1 %; the volume is summed over the elements anew."""
    structure = problem.structure
    solid = float(structure.material[structure.solid].sum())
    filled = (float(structure.volumes @ ev.info["density"]) + solid) / float(structure.material.sum())
    inside = ev.x.min() >= -1e-9 and ev.x.max() <= 1.0 + 1e-9
    return bool(inside and filled <= problem.volume * (1.0 + FEASIBLE))


def watched(problem: TopologyProblem) -> tuple[TopologyProblem, Watch]:
    """The same problem, and a watch on all that it, its softer and its coarser relatives are asked."""
    kind = type(problem)
    watch = Watch(problem)

    class Watched(kind):  # type: ignore[valid-type, misc] # of whatever kind the problem is
        def evaluate(self, x: Array) -> Evaluation:
            return watch.evaluated(self, super().evaluate, x)

        def _respond(self, moduli: Array, number: int) -> Response:
            return watch.responded(super()._respond, moduli, number)

    other = copy.copy(problem)
    # Relatives are made by copying, so they are watched too.
    other.__class__ = Watched
    return other, watch
