"""The geometry of a problem: how long a step is, where it may land, what "downhill" means."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from sciopt.core.types import Array, Mask

__all__ = ["Flat", "Preconditioned", "Space", "Undivided", "everywhere"]


class Space(Protocol):
    """Everything a rule or a control may ask about the domain. Reductions over ranks happen here and nowhere else."""

    def total(self, part: Any) -> Any:
        """Sum over all ranks of `part`, a number or an array of one shape: what each has summed over its variables."""

    def largest(self, part: float) -> float:
        """The largest of the numbers that the ranks have found."""

    def dot(self, a: Array, b: Array) -> float:
        """Inner product of two vectors, over all ranks."""

    def sharp(self, x: Array, force: Array) -> Array:
        """Turn a force into a step direction, ``G(x)^-1 force``, by the fixed metric of the domain."""

    def tangent(self, x: Array, force: Array) -> Array:
        """The part of `force` that the feasible set allows at `x`."""

    def clip(self, step: Array) -> Array:
        """`step` shortened to the longest one the domain allows, direction kept."""

    def length(self, step: Array) -> float | Array:
        """Length of `step` as limits measure it: a number, or one per block for spaces made of blocks."""

    def move(self, x: Array, step: Array, metric: Array | None = None) -> Array:
        """The feasible point reached from `x` by `step`; `metric` is the rule's learned diagonal, where it has one."""

    def between(self, x: Array, y: Array) -> Array:
        """The displacement that leads from `x` to `y`."""

    def residual(self, x: Array, force: Array) -> float:
        """How far from stationary `x` is, independent of every limit."""


class Undivided:
    """Spaces whose vectors are whole: every sum and every maximum is one over all ranks already."""

    def total(self, part: Any) -> Any:
        return part

    def largest(self, part: float) -> float:
        return part


def everywhere(space: Space, holds: bool | Mask | Array) -> bool:
    """Whether `holds` is true on all ranks, all of it: decisions about variables must not differ between ranks.

    Examples
    --------
    >>> import numpy as np
    >>> everywhere(Flat(), np.array([True, False]))
    False
    """
    return not space.largest(0.0 if np.all(holds) else 1.0)


@dataclass(frozen=True)
class Flat(Undivided):
    """Euclidean space whose steps may be capped.

    Parameters
    ----------
    maxstep
        Longest step, in units of x.
    group
        Components per particle (3 for atoms).
    norm
        What `maxstep` caps: the longest particle displacement (``"group"``), the whole vector (``"whole"``) or every
        component by itself (``"component"``).

    Examples
    --------
    >>> import numpy as np
    >>> space = Flat(maxstep=0.2, group=3)
    >>> space.length(space.clip(np.array([3.0, 0.0, 4.0])))
    0.2
    """

    maxstep: float = np.inf
    group: int = 1
    norm: Literal["group", "whole", "component"] = "group"

    def dot(self, a: Array, b: Array) -> float:
        return float(np.vdot(a, b))

    def sharp(self, x: Array, force: Array) -> Array:
        return force

    def tangent(self, x: Array, force: Array) -> Array:
        return force

    def clip(self, step: Array) -> Array:
        if self.norm == "component":
            return np.clip(step, -self.maxstep, self.maxstep)
        length = self.length(step)
        if length <= self.maxstep:
            return step
        # The order of the operations is that of ASE's FIRE (whole) and L-BFGS (group), to reproduce them bit by bit.
        return self.maxstep * step / length if self.norm == "whole" else step * (self.maxstep / length)

    def length(self, step: Array) -> float:
        if self.norm == "whole":
            return float(np.sqrt(self.dot(step, step)))
        if self.norm == "component":
            return float(np.abs(step).max())
        return float(np.linalg.norm(step.reshape(-1, self.group), axis=1).max())

    def move(self, x: Array, step: Array, metric: Array | None = None) -> Array:
        return x + step

    def between(self, x: Array, y: Array) -> Array:
        return y - x

    def residual(self, x: Array, force: Array) -> float:
        return float(np.linalg.norm(force.reshape(-1, self.group), axis=1).max())


@dataclass(frozen=True)
class Preconditioned:
    """A space whose metric is replaced: ``sharp(x, f) = solve(x, f)`` with an approximate inverse Hessian.

    Any rule becomes preconditioned by running in this space.

    Parameters
    ----------
    base
        The space that keeps deciding lengths, feasibility and residuals.
    solve
        ``(x, force) -> step`` of the same length, symmetric positive definite in `force`.

    Examples
    --------
    >>> import numpy as np
    >>> space = Preconditioned(Flat(), lambda x, f: f / np.array([1.0, 100.0]))
    >>> space.sharp(np.zeros(2), np.array([1.0, 100.0]))
    array([1., 1.])
    """

    base: Space
    solve: Callable[[Array, Array], Array]

    def total(self, part: Any) -> Any:
        return self.base.total(part)

    def largest(self, part: float) -> float:
        return self.base.largest(part)

    def dot(self, a: Array, b: Array) -> float:
        return self.base.dot(a, b)

    def sharp(self, x: Array, force: Array) -> Array:
        return self.solve(x, force)

    def tangent(self, x: Array, force: Array) -> Array:
        return self.base.tangent(x, force)

    def clip(self, step: Array) -> Array:
        return self.base.clip(step)

    def length(self, step: Array) -> float | Array:
        return self.base.length(step)

    def move(self, x: Array, step: Array, metric: Array | None = None) -> Array:
        return self.base.move(x, step, metric)

    def between(self, x: Array, y: Array) -> Array:
        return self.base.between(x, y)

    def residual(self, x: Array, force: Array) -> float:
        return self.base.residual(x, force)
