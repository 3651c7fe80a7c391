"""The regular grid itself: how many bricks, how large, and where their corners and centres are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sciopt.core.errors import InputError
from sciopt.core.types import Array, Mask

__all__ = ["AXES", "Lattice", "axis_names"]

AXES = "xyz"


def axis_names(dim: int) -> str:
    """Names of the axes of a grid of that dimension, as errors list them.

    Examples
    --------
    >>> axis_names(3)
    'x, y, z'
    """
    return ", ".join(AXES[:dim])


@dataclass(frozen=True)
class Lattice:
    """Bricks in rows: element (i, j, k) fills ``[i h_x, (i+1) h_x] x [j h_y, (j+1) h_y] x [k h_z, (k+1) h_z]``.

    Parameters
    ----------
    shape
        Number of elements per axis, (nx, ny) or (nx, ny, nz).
    spacing
        Edges of an element, in units of length.

    Raises
    ------
    InputError
        When a number of elements or an edge is not positive.

    Examples
    --------
    >>> lattice = Lattice((3, 2), (1.0, 0.5))
    >>> lattice.nodes, lattice.cells, lattice.extent
    ((3, 4), (2, 3), (3.0, 1.0))
    """

    shape: tuple[int, ...]
    spacing: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.shape) not in (2, 3) or len(self.spacing) != len(self.shape):
            raise InputError(
                f"grid: shape is {self.shape} and spacing {self.spacing}; expected two or three numbers each"
            )
        for axis, n, h in zip(AXES, self.shape, self.spacing, strict=False):
            if n < 1:
                raise InputError(f"grid: n{axis} is {n}; expected at least one element along {axis}")
            if not 0.0 < h < np.inf:
                raise InputError(f"spacing: the edge along {axis} is {h}; expected a positive length")

    @property
    def dim(self) -> int:
        """2 or 3."""
        return len(self.shape)

    @property
    def elements(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape))

    @property
    def cells(self) -> tuple[int, ...]:
        """Shape of an element field as an array, z first: (ny, nx) or (nz, ny, nx)."""
        return self.shape[::-1]

    @property
    def nodes(self) -> tuple[int, ...]:
        """Shape of one component of a nodal field, z first: (ny+1, nx+1) or (nz+1, ny+1, nx+1)."""
        return tuple(n + 1 for n in self.shape[::-1])

    @property
    def extent(self) -> tuple[float, ...]:
        """Lengths of the sides of the whole grid."""
        return tuple(n * h for n, h in zip(self.shape, self.spacing, strict=True))

    def corners(self) -> tuple[Array, ...]:
        """Coordinates x, y(, z) of all nodes, each of shape `nodes`."""
        return self._mesh(0.0)

    def centres(self) -> tuple[Array, ...]:
        """Coordinates x, y(, z) of the centres of all elements, each of shape `cells`."""
        return self._mesh(0.5)

    def nearest(self, point: Sequence[float]) -> tuple[int, ...]:
        """Index (k, j, i) into a nodal array of the node nearest to a point; halfway counts up."""
        index = [int(np.floor(p / h + 0.5)) for p, h in zip(point, self.spacing, strict=True)]
        return tuple(min(max(i, 0), n) for i, n in zip(index, self.shape, strict=True))[::-1]

    def inside(self, point: Sequence[float]) -> bool:
        """Whether a point lies in the grid, its boundary included."""
        slack = [1e-6 * h for h in self.spacing]
        return all(-s <= p <= length + s for p, length, s in zip(point, self.extent, slack, strict=True))

    def touching(self, elements: Mask) -> Mask:
        """Nodes (*nodes) that are a corner of at least one of the elements marked in (*cells)."""
        padded = np.pad(elements, 1)
        found = np.zeros(self.nodes, dtype=bool)
        for corner in np.ndindex(*(2,) * self.dim):
            found |= padded[tuple(slice(c, c + n) for c, n in zip(corner, self.nodes, strict=True))]
        return found

    def _mesh(self, offset: float) -> tuple[Array, ...]:
        """Coordinates of the lowest corners of all elements, moved by a part of an element; of all nodes for zero."""
        counts = self.nodes if offset == 0.0 else self.cells
        lines = [h * (np.arange(n) + offset) for n, h in zip(counts[::-1], self.spacing, strict=True)]
        return tuple(np.meshgrid(*lines[::-1], indexing="ij")[::-1])
