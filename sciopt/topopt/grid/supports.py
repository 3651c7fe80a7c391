"""Fixed unknowns and springs, seen from coarser grids."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sciopt.core.types import Array, Mask

__all__ = ["Supports", "spring_points"]

Points = tuple[NDArray[np.int64], NDArray[np.int64], Array]


def spring_points(springs: Array, free: Mask) -> Points:
    """Positions (n, 3) as z, y, x, components (n,) and stiffnesses (n,) of the springs on free unknowns."""
    index = np.argwhere((springs > 0.0) & free) if springs.size else np.zeros((0, 4), np.int64)
    return index[:, 1:].astype(np.int64), index[:, 0].astype(np.int64), springs[tuple(index.T)].astype(np.float64)


class Supports:
    """Which unknowns of coarse grids are fixed, and what the others feel of supports between their nodes.

    A coarse node on a fixed node is fixed. A support between coarse nodes becomes a spring, as stiff as the diagonal on
    the last grid with a node there: what interpolation to that grid followed by zeroing the fixed value costs. A softer
    spring makes the cycle indefinite. Unknowns that are fixed only because no material touches them hold nothing, and
    are ignored.

    Parameters
    ----------
    fixed
        Fixed unknowns (c, nz+1, ny+1, nx+1) of the finest grid.
    shapes
        Shapes (c, *nodes) of all grids, the finest first.
    """

    def __init__(self, fixed: Mask, shapes: list[tuple[int, ...]]) -> None:
        self.fixed, self.shapes = fixed, shapes
        self.held: Mask = np.zeros((0, 0, 0, 0), bool)
        self.masks: list[Mask] = []

    def update(self, touched: Mask) -> None:
        """Take over the nodes (nz+1, ny+1, nx+1) that touch material."""
        held = self.fixed & touched
        if np.array_equal(held, self.held):
            return
        self.held = held
        self.masks = [held]
        self.stiffness = np.zeros(np.count_nonzero(held))
        for shape in self.shapes[1:]:
            coarse = np.zeros(shape, bool)
            injected = self.masks[-1][:, ::2, ::2, ::2]
            coarse[tuple(slice(n) for n in injected.shape)] = injected
            self.masks.append(coarse)
        index = np.argwhere(held)
        self.component, self.position = index[:, 0].astype(np.int64), index[:, 1:].astype(np.int64)
        # Number of halvings a position survives: the trailing zeros of its coordinates, 62 for zero itself.
        lowest = self.position & -self.position
        halvings = np.where(lowest > 0, np.frexp(lowest.astype(np.float64))[1] - 1, 62)
        self.halvings = halvings.min(axis=1)

    def measure(self, level: int, diagonal: NDArray[np.float32 | np.float64]) -> None:
        """Take the stiffness of the supports whose last grid this level is from its `diagonal` (c, *nodes)."""
        last = self.halvings == level
        self.stiffness[last] = diagonal[self.component[last], *(self.position[last] >> level).T]

    def softened(self, level: int) -> Points:
        """Supports between the nodes of a level as springs; those of finer levels must have been measured."""
        kept = self.halvings < level
        return self.position[kept], self.component[kept], self.stiffness[kept]
