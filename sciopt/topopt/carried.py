"""What goes from one run on a design to the next, on the same grid or on a finer one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from sciopt.rules.projected import NOTHING, Curvature
from sciopt.topopt.prolong import interpolated

if TYPE_CHECKING:
    from sciopt.core.run import Result
    from sciopt.core.stop import Reason
    from sciopt.core.types import Array
    from sciopt.topopt.problem import TopologyProblem

__all__ = ["Carried", "Found"]

# First move limit on a finer grid, where the learned curvature is to be trusted but edges are still stairs.
_MOVE = 0.35


class Found(NamedTuple):
    """A design on the finest grid and why the search for it ended."""

    x: Array
    reason: Reason


@dataclass(frozen=True)
class Carried:
    """What goes from one run to the next: the design, the learned curvature, the first move limit."""

    x: Array
    memory: Curvature = NOTHING
    move: float = 0.2

    @classmethod
    def of(cls, result: Result) -> Carried:
        """What a finished run leaves; methods other than the quasi-Newton one leave the design alone."""
        memory = result.state.memory
        if not isinstance(memory, Curvature):
            return cls(result.x)
        return cls(result.x, memory)

    def onto(self, coarse: TopologyProblem, fine: TopologyProblem, smooth: bool = True) -> Carried:
        """The same on the next finer grid: memory by repetition, gradients per unit of volume.

        A design is `smooth`, linear between the centres of elements, or repeated as well. Smooth edges are soon where
        they should be; but members in space that are two coarse elements thick lose most of what they carry.
        """

        def prolong(a: Array) -> Array:
            return coarse.structure.prolong(fine.structure, a)

        s = tuple(prolong(a) for a in self.memory.s)
        y = tuple(fine.field.weights * prolong(b / coarse.field.weights) for b in self.memory.y)
        x = interpolated(coarse.structure, fine.structure, self.x) if smooth else prolong(self.x)
        return Carried(x, self.memory._replace(s=s, y=y), _MOVE)
