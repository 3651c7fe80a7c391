"""From coarse grids to the fine one: the basin is searched where solves are cheap and polished where they are dear."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sciopt.core.stop import Budget, Plateau, Reason
from sciopt.topopt.carried import Carried, Found
from sciopt.topopt.methods import design_method, quasi_newton
from sciopt.topopt.ranks import ALONE
from sciopt.topopt.reharden import rehardened

if TYPE_CHECKING:
    from collections.abc import Callable

    from sciopt.core.method import StepMethod
    from sciopt.core.stop import Progress, Stop
    from sciopt.core.types import Array
    from sciopt.topopt.problem import TopologyProblem
    from sciopt.topopt.runner import Runner

__all__ = ["coarse_to_fine", "grids", "single_grid"]

# All constants below were chosen on the problems marked `seen` in sciopt.problems, from two or three starts each; those
# for three dimensions on the nine of them in space.
# A run ends when its best value has settled, to a share in that many evaluations. On the coarsest grid the penalty is
# raised whenever it has; in three dimensions a longer search there overfits the few elements across a member.
_LINEAR = {2: Plateau(0.02, 3) | Budget(30), 3: Plateau(0.005, 5) | Budget(40)}
_SOFT = {2: Plateau(0.01, 5) | Budget(30), 3: Plateau(0.02, 4) | Budget(20)}
_COARSEST = Plateau(0.003, 5) | Budget(60)
_MIDDLE = {2: Plateau(0.03, 2) | Budget(30), 3: Plateau(0.01, 3) | Budget(30)}
# Products of the Hessian are for the finest grid and designs that coarser ones have shaped. Where solves are cheap,
# steps that commit themselves at once save little and end in poorer designs, on problems above all on which no constant
# was chosen.
_SECOND_ORDER: dict[str, Any] = {"products": 4, "memory": 8}
_SHARP = Plateau(0.005, 3) | Budget(25)
_PENALTIES = (0.0, 0.25, 0.5, 0.75)
# Where the radius spans this many of the coarsest elements, values there can be believed, and two branches compete: one
# with a filter that is wider at first. Less is asked of each.
_RESOLVED, _WIDER = 0.9, 1.5
_LOOSE, _LOOSE_END = Plateau(0.05, 3) | Budget(20), Plateau(0.01, 4) | Budget(40)
_WIDE_END = Plateau(0.02, 3) | Budget(20)
# Solves that a competing branch on the middle grid gets to come within a share of the other one.
_TRIAL, _BEHIND = 4, 0.03
# In three dimensions: what a penalized design on the coarsest grid may be worth in terms of the best linear one for it
# to hold members, and for its linear design to be a start; what designs on the next grid may be worth; how much thicker
# a solid skin may become; when a penalty is left; solves of the early start.
_HOLDS, _HINTS, _REACH, _THICKER = 3.2, 5.5, 2.0, 1.1
_TRIED, _EARLY = Plateau(0.02, 3) | Budget(15), Budget(14)
_GRIDS, _SMALL, _LEAST_SIDE = 3, 4000, 3


def grids(problem: TopologyProblem) -> list[TopologyProblem]:
    """The problem, and the same on grids of half, a quarter … the size, finest first.

    Three grids where the structure allows, more until the coarsest one is small.
    """
    found = [problem]
    while len(found) < _GRIDS or found[-1].size > _SMALL:
        if not found[-1].structure.can_coarsen(_LEAST_SIDE):
            break
        found.append(found[-1].coarsened())
    return found


def coarse_to_fine(
    runner: Runner, problem: TopologyProblem, start: Array | None, stop: Stop, options: dict[str, Any]
) -> Found:
    """Three grids: penalties rising on the coarsest, memory carried over, a projection sharpened on the finest.

    The penalty is raised on the coarse grids only: on the fine grid it would cost as many solves as all the rest.
    Problems with constraints beside the volume run the method of moving asymptotes instead of the quasi-Newton method.
    """
    levels = grids(problem.at(beta=0.0))
    x = levels[-1].start() if start is None else _restricted(levels, start)
    search = _Search(runner, options, problem.structure.elements)
    if len(levels) == 1:
        return polished(runner, problem, search.method, Carried(x), stop)
    coarsest, dim = levels[-1], problem.structure.dim
    if problem.fragile:
        x = search.settled_in(coarsest.at(penalty=0.0), x)
    if dim == 3 and len(levels) > 2:
        return polished(runner, problem, search.method, search.in_space(levels, x), stop)
    if problem.filter.radius < _RESOLVED * max(coarsest.structure.spacing):
        best = search.raised(coarsest, x, _PENALTIES, _SOFT[dim], _COARSEST)
    else:
        wide = search.raised(coarsest.widened(_WIDER), x, _PENALTIES, _LOOSE, _WIDE_END)
        best = search.run(coarsest, Carried(wide.carried.x), _LOOSE_END)
        best = min(best, search.raised(coarsest, x, _PENALTIES, _LOOSE, _LOOSE_END), key=_value)
    for coarse, fine in zip(levels[:1:-1], levels[-2:0:-1], strict=True):
        best = search.run(fine, best.carried.onto(coarse, fine), _MIDDLE[dim])
    return polished(runner, problem, search.method, best.carried.onto(levels[1], levels[0]), stop)


class End(NamedTuple):
    """Where a run ended: what it leaves, and the best value it saw."""

    carried: Carried
    value: float


@dataclass(frozen=True)
class _Search:
    """Runs on coarse grids."""

    runner: Runner
    options: dict[str, Any]
    finest: int

    def method(self, at: TopologyProblem, carried: Carried) -> StepMethod:
        if at.constrained:
            return design_method("mma", at.space, **self.options)
        # Without products, on meshes, the memory of a first-order method is long enough.
        second = at.structure.elements == self.finest and at.structure.ranks is ALONE
        order = _SECOND_ORDER if second else {}
        return quasi_newton(at.space, carried.move, carried.memory, **order | self.options)

    def run(self, at: TopologyProblem, carried: Carried, stop: Stop) -> End:
        result = self.runner.run(at, self.method(at, carried), stop, carried.x)
        assert result.value is not None
        return End(Carried.of(result), result.value)

    def settled_in(self, at: TopologyProblem, x: Array) -> Array:
        """A few steps that scale the variables: they weaken what should go and never cut the input off."""
        careful = design_method("oc", at.space, move=0.1, eta=0.3, xmin=1e-3)
        return self.runner.run(at, careful, Budget(10), x).x

    def raised(self, at: TopologyProblem, x: Array, penalties: tuple[float, ...], soft: Stop, stop: Stop) -> End:
        """Raise the penalty whenever the design has settled; the curvature of one penalty misleads the next."""
        for penalty in penalties:
            x = self.run(
                at.at(penalty=penalty), Carried(x), _LINEAR[at.structure.dim] if penalty == 0.0 else soft
            ).carried.x
        return self.run(at, Carried(x), stop)

    def in_space(self, levels: list[TopologyProblem], x: Array) -> Carried:
        """What to begin with on the finest of three or more grids of bricks, where coarse ones hold few members.

        Where members are thinner than an element a penalized design is worth a multiple of a grey one, and what is
        found is no guide. The less the coarsest grid holds, the less of it is used: its members; or the best linear
        material on it, penalized halfway on the next grid; or nothing.
        """
        coarsest, middle = levels[-1], levels[-2]
        linear = self.run(coarsest.at(penalty=0.0), Carried(x), _LINEAR[3])
        if _solid(coarsest) > _THICKER * _solid(levels[0]):
            guided = Carried(linear.carried.onto(coarsest, middle, smooth=False).x)
            found = self.reached(middle, guided, (*_PENALTIES[1:], 1.0), linear.value)
            return self.early(levels, x) if found is None else self.lifted(levels[:-1], found, smooth=False)
        raised = self.raised(coarsest, linear.carried.x, _PENALTIES[1:], _SOFT[3], _COARSEST)
        price = _price(raised.value, linear.value)
        if price > _HINTS:
            return self.early(levels, x)
        if price > _HOLDS:
            half = Carried(linear.carried.onto(coarsest, middle).x)
            for penalty in _PENALTIES[1:3]:
                half = self.run(middle.at(penalty=penalty), Carried(half.x), _TRIED).carried
            return self.lifted(levels[:-1], half, smooth=True)
        best = self.run(middle, raised.carried.onto(coarsest, middle, smooth=False), _MIDDLE[3])
        best = min(best, self.handed_over(coarsest, middle, x, best.value), key=_value)
        return self.lifted(levels[:-1], best.carried, smooth=False)

    def reached(
        self, at: TopologyProblem, carried: Carried, penalties: tuple[float, ...], linear: float
    ) -> Carried | None:
        """The design after the last of `penalties`, or None as soon as one asks for more than the grid holds."""
        for penalty in penalties:
            end = self.run(at.at(penalty=penalty), Carried(carried.x), _TRIED)
            if _price(end.value, linear) > _REACH:
                return None
            carried = end.carried
        return carried

    def early(self, levels: list[TopologyProblem], x: Array) -> Carried:
        """A few solves on the next to finest grid, halfway to the penalty: where material goes, not yet as what."""
        for coarse, fine in zip(levels[:1:-1], levels[-2:0:-1], strict=True):
            x = coarse.structure.prolong(fine.structure, x)
        half = self.run(levels[1].at(penalty=0.5), Carried(x), _EARLY)
        return half.carried.onto(levels[1], levels[0])

    def lifted(self, levels: list[TopologyProblem], carried: Carried, smooth: bool) -> Carried:
        """Carry a design of the coarsest of `levels` onto the finest, through runs on those between."""
        for coarse, fine in zip(levels[:0:-1], levels[-2::-1], strict=True):
            carried = carried.onto(coarse, fine, smooth)
            if fine is not levels[0]:
                carried = self.run(fine, carried, _MIDDLE[3]).carried
        return carried

    def handed_over(self, coarse: TopologyProblem, fine: TopologyProblem, x: Array, rival: float) -> End:
        """Raise the penalty halfway on the coarse grid and the rest of the way on the finer one."""
        for penalty in (0.0, 0.25):
            x = self.run(coarse.at(penalty=penalty), Carried(x), _LOOSE).carried.x
        half = self.run(coarse.at(penalty=0.5), Carried(x), _SOFT[3])
        carried = half.carried.onto(coarse, fine, smooth=False)
        moved = self.run(fine.at(penalty=0.5), carried, Plateau(0.03, 3) | Budget(8))
        return self.run(fine, Carried(moved.carried.x), _MIDDLE[3] | _Hopeless(rival))


def _value(end: End) -> float:
    return end.value


def _price(penalized: float, linear: float) -> float:
    """By what factor a penalized design is worse than the best linear one, whatever the sign of the objective."""
    if linear < 0.0:
        return linear / penalized if penalized < 0.0 else np.inf
    return penalized / linear if linear else 1.0


def _solid(problem: TopologyProblem) -> float:
    structure = problem.structure
    return float(structure.solid_volume * structure.unit)


@dataclass(frozen=True)
class _Hopeless:
    """Ends a branch that is still behind its rival after a trial."""

    rival: float

    def __call__(self, progress: Progress) -> Reason | None:
        values = progress.history.column("value")
        if len(values) < _TRIAL or values.min() <= self.rival + _BEHIND * abs(self.rival):
            return None
        return Reason("behind", f"still at {values.min():.5g} where another branch is at {self.rival:.5g}", False)


def single_grid(
    runner: Runner, problem: TopologyProblem, name: str, start: Array | None, stop: Stop, options: dict[str, Any]
) -> Found:
    """The method called `name` on the finest grid alone."""

    def method(at: TopologyProblem, carried: Carried) -> StepMethod:
        return design_method(name, at.space, **options)

    return sharpened(runner, problem, method, Carried(problem.start() if start is None else start), stop)


def polished(
    runner: Runner,
    problem: TopologyProblem,
    method: Callable[[TopologyProblem, Carried], StepMethod],
    carried: Carried,
    stop: Stop,
) -> Found:
    """The end of the search on the finest grid.

    In space coarse grids hold too few members to choose between designs, which is then done here.
    """
    chosen = problem.structure.dim == 2 or problem.projection is not None or problem.constrained
    found = (sharpened if chosen else rehardened)(runner, problem, method, carried, stop)
    if found.reason.kind != "stalled" or problem.constrained:
        return found
    # The model's minimum is nearer than points are rounded to, at a design that came from a whole search.
    return found._replace(reason=Reason("plateau", "no further step improves the design", True))


def sharpened(
    runner: Runner,
    problem: TopologyProblem,
    method: Callable[[TopologyProblem, Carried], StepMethod],
    carried: Carried,
    stop: Stop,
) -> Found:
    """Run on the finest grid; a projection is first left out, then sharpened whenever the design has settled."""
    sharpness = _betas(problem.projection.beta) if problem.projection is not None else ()
    for beta in (0.0, *sharpness)[: len(sharpness)]:
        at = problem.at(beta=beta)
        carried = Carried(runner.run(at, method(at, carried), _SHARP, carried.x).x)
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
