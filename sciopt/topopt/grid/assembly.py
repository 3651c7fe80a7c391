"""Assembled matrices of structured grids: for the direct solver, small problems and tests."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from sciopt.core.types import Array, Mask

__all__ = ["Assembler", "element_dofs", "node_shape"]


def node_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of a nodal field of one component: (ny+1, nx+1) or (nz+1, ny+1, nx+1).

    Examples
    --------
    >>> node_shape((4, 3, 2))
    (3, 4, 5)
    """
    return tuple(n + 1 for n in reversed(shape))


def element_dofs(shape: tuple[int, ...], components: int) -> NDArray[np.int64]:
    """Degrees of freedom (elements, c 2^d) of every element, as positions in a flat nodal field (c, *nodes)."""
    nodes = np.arange(np.prod(node_shape(shape)), dtype=np.int64).reshape(node_shape(shape))
    dim = len(shape)
    corners = []
    for corner in range(2**dim):
        shift = [(corner >> axis) & 1 for axis in range(dim)]
        cut = tuple(slice(s, s + n) for s, n in zip(reversed(shift), reversed(shape), strict=True))
        corners.append(nodes[cut].ravel())
    local = np.stack(corners, axis=1)
    return np.concatenate([local + component * nodes.size for component in range(components)], axis=1)


class Assembler:
    """The sparse matrix of one grid with a fixed pattern, linear in the moduli of the elements.

    The values of the matrix are one sparse product ``S E``; with all local matrices kept, that is some 100 bytes per
    element and entry of the element matrix: meant for at most some ten thousand elements in 3D.

    Parameters
    ----------
    shape
        Number of elements per axis.
    stiffness
        Element matrix (c 2^d, c 2^d) for unit modulus.
    fixed
        Fixed degrees of freedom (c, *nodes); their rows and columns are left out.
    springs
        Stiffness added to the diagonal (c, *nodes), or None.
    """

    def __init__(self, shape: tuple[int, ...], stiffness: Array, fixed: Mask, springs: Array | None) -> None:
        local = stiffness.shape[0]
        self.free = np.flatnonzero(~fixed.ravel())
        number = np.full(fixed.size, -1, dtype=np.int64)
        number[self.free] = np.arange(self.free.size)
        dofs = number[element_dofs(shape, fixed.shape[0])]
        rows = np.repeat(dofs, local, axis=1).ravel()
        columns = np.tile(dofs, (1, local)).ravel()
        element = np.repeat(np.arange(dofs.shape[0]), local * local)
        values = np.tile(stiffness.ravel(), dofs.shape[0])
        kept = (rows >= 0) & (columns >= 0)
        # The whole diagonal belongs to the pattern, for the springs.
        diagonal = np.arange(self.free.size) * (self.free.size + 1)
        key = rows[kept] * self.free.size + columns[kept]
        pattern, position = np.unique(np.concatenate([key, diagonal]), return_inverse=True)
        split = key.size
        self.spread = csr_array(
            (values[kept], (position[:split], element[kept])), shape=(pattern.size, dofs.shape[0]), dtype=np.float64
        )
        self.indices = (pattern % self.free.size).astype(np.int32)
        counts = np.bincount(pattern // self.free.size, minlength=self.free.size)
        self.indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
        self.constant = np.zeros(pattern.size)
        if springs is not None:
            self.constant[position[split:]] = springs.ravel()[self.free]

    def matrix(self, E: Array) -> csr_array:
        """Matrix of the free degrees of freedom (free, free) for the moduli `E` (elements,)."""
        data = self.spread @ E + self.constant
        return csr_array((data, self.indices, self.indptr), shape=(self.free.size, self.free.size))
