"""From coarse grids to the fine one: the basin is searched where solves are cheap and polished where they are dear."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sciopt.core.stop import Budget, Plateau
from sciopt.rules.projected import NOTHING, Curvature
from sciopt.topopt.methods import design_method, quasi_newton

if TYPE_CHECKING:
    from sciopt.core.method import StepMethod
    from sciopt.core.run import Result
    from sciopt.core.stop import Reason, Stop
    from sciopt.core.types import Array
    from sciopt.topopt.problem import TopologyProblem
    from sciopt.topopt.runner import Runner

__all__ = ["Found", "coarse_to_fine", "grids", "single_grid"]

# Chosen on the problems marked `seen` in sciopt.problems: penalties on the coarsest grid, and when a coarse run ends.
_PENALTIES = (0.0, 0.25, 0.5, 0.75)
_SOFT_STOP = Plateau(0.05, 3) | Budget(20)
_COARSEST_STOP = Plateau(0.01, 4) | Budget(40)
_MIDDLE_STOP = Plateau(0.01, 3) | Budget(30)
_SHARP_STOP = Plateau(0.005, 3) | Budget(25)
_LEAST_SIDE = 6


class Found(NamedTuple):
    """A design on the finest grid and why the search for it ended."""

    x: Array
    reason: Reason


def grids(problem: TopologyProblem, most: int = 3) -> list[TopologyProblem]:
    """The problem, and the same on grids of half, a quarter … the size, finest first."""
    found = [problem]
    while len(found) < most and found[-1].structure.can_coarsen(_LEAST_SIDE):
        found.append(found[-1].coarsened())
    return found


@dataclass(frozen=True)
class Carried:
    """What goes from one run to the next: the design, the learned curvature, the move limit."""

    x: Array
    memory: Curvature = NOTHING
    move: float = 0.2

    @classmethod
    def of(cls, result: Result) -> Carried:
        """What a finished run leaves; methods other than the quasi-Newton one leave the design alone."""
        memory = result.state.memory
        if not isinstance(memory, Curvature):
            return cls(result.x)
        return cls(result.x, memory, min(0.2, float(np.max(result.state.limit.size))))

    def onto(self, coarse: TopologyProblem, fine: TopologyProblem) -> Carried:
        """The same on the next finer grid: designs by repetition, gradients by repetition per unit of volume."""

        def prolong(a: Array) -> Array:
            return coarse.structure.prolong(fine.structure, a)

        s = tuple(prolong(a) for a in self.memory.s)
        y = tuple(fine.field.weights * prolong(b / coarse.field.weights) for b in self.memory.y)
        return Carried(prolong(self.x), self.memory._replace(s=s, y=y), self.move)


def coarse_to_fine(
    runner: Runner, problem: TopologyProblem, start: Array | None, stop: Stop, options: dict[str, Any]
) -> Found:
    """Three grids: penalties rising on the coarsest, memory carried over, a projection sharpened on the finest.

    The penalty is raised on the coarsest grid only: on the fine grid it would cost as many solves as all the rest.
    Problems with constraints beside the volume run the method of moving asymptotes instead of the quasi-Newton method.
    """
    grey = problem.at(beta=0.0)
    levels = grids(grey)
    x = levels[-1].start() if start is None else _restricted(levels, start)

    def method(at: TopologyProblem, carried: Carried) -> StepMethod:
        if at.constrained:
            return design_method("mma", at.space, **options)
        return quasi_newton(at.space, carried.move, carried.memory, **options)

    carried = Carried(x)
    if len(levels) > 1:
        coarsest = levels[-1]
        for penalty in _PENALTIES:
            soft = coarsest.at(penalty=penalty)
            carried = Carried.of(runner.run(soft, method(soft, carried), _SOFT_STOP, carried.x))
        carried = Carried(carried.x)
    for number in range(len(levels) - 1, -1, -1):
        at = levels[number]
        if number == 0:
            return sharpened(runner, problem, method, carried, stop)
        result = runner.run(at, method(at, carried), _COARSEST_STOP if at is levels[-1] else _MIDDLE_STOP, carried.x)
        carried = Carried.of(result).onto(at, levels[number - 1])
    raise AssertionError("there is always a finest grid")


def single_grid(
    runner: Runner, problem: TopologyProblem, name: str, start: Array | None, stop: Stop, options: dict[str, Any]
) -> Found:
    """The method called `name` on the finest grid alone."""

    def method(at: TopologyProblem, carried: Carried) -> StepMethod:
        return design_method(name, at.space, **options)

    return sharpened(runner, problem, method, Carried(problem.start() if start is None else start), stop)


def sharpened(runner: Runner, problem: TopologyProblem, method: Any, carried: Carried, stop: Stop) -> Found:
    """Run on the finest grid; a projection is first left out, then sharpened whenever the design has settled."""
    sharpness = _betas(problem.projection.beta) if problem.projection is not None else ()
    for beta in (0.0, *sharpness)[: len(sharpness)]:
        at = problem.at(beta=beta)
        carried = Carried(runner.run(at, method(at, carried), _SHARP_STOP, carried.x).x)
    result = runner.run(problem, method(problem, carried), stop, carried.x)
    return Found(result.x, result.reason)


def _betas(final: float) -> tuple[float, ...]:
    """4, 16, …, final."""
    found = []
    beta = 4.0
    while beta < final:
        found.append(beta)
        beta *= 4.0
    return (*found, final)


def _restricted(levels: list[TopologyProblem], x: Array) -> Array:
    for fine, coarse in pairwise(levels):
        x = fine.structure.restrict(coarse.structure, x)
    return x
