"""Banded Cholesky solve on the coarsest grid."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_solve_banded, cholesky_banded

from sciopt.core.errors import EvaluationFailed
from sciopt.topopt.grid.galerkin import Real
from sciopt.topopt.grid.stencil_sweep import interior

__all__ = ["BandedSolver", "bandwidth"]

Vector = NDArray[Real]

# Of the matrix scaled to a unit diagonal. They damp soft modes, which the outer iteration must then find one by one: a
# uniform beam of 4000 x 40 elements takes 45 iterations with 1e-6, 18 with 1e-8. Single precision has no room for less.
SHIFTS = (1e-7, 1e-6, 1e-4, 1e-2)
DOUBLE_SHIFT = 1e-10  # tried before those in double precision


def bandwidth(shape: tuple[int, ...]) -> int:
    """Off-diagonals of a multilinear operator on nodes `shape` (c, z, y, x), numbered along the longest axis last.

    Examples
    --------
    >>> bandwidth((1, 1, 3, 10))
    4
    """
    c, *nodes = shape
    first, second, _ = sorted(nodes)
    across, along = (1 if first > 1 else 0), (1 if second > 1 else 0)
    return c * (first * second + along * first + across) + c - 1


class BandedSolver:
    """Solves with a stencil operator (nz+1, s, c, c, ny+3, nx+3); the pattern is prepared once.

    Parameters
    ----------
    shape
        Shape (c, *nodes) of the grid.
    offsets
        Neighbours (s, 3) of the stencils.
    """

    def __init__(self, shape: tuple[int, ...], offsets: NDArray[np.int64]) -> None:
        c, *nodes = shape
        self.shape = shape
        axes = np.argsort([-n for n in nodes], kind="stable")
        unknowns = np.arange(int(np.prod(shape))).reshape(shape)
        self.order = unknowns.transpose(*(axes + 1), 0).ravel()  # components fastest, longest axis slowest
        place = np.empty(self.order.size, np.int64)
        place[self.order] = np.arange(self.order.size)
        place = place.reshape(shape)
        self.band = bandwidth(shape)
        # Where each stencil entry goes in the flat band, and where it comes from.
        entries = np.arange(int(np.prod(nodes)) * len(offsets) * c * c)
        entries = entries.reshape(nodes[0], len(offsets), c, c, nodes[1], nodes[2])
        targets, sources = [], []
        for s, offset in enumerate(offsets):
            here = tuple(slice(max(-d, 0), n - max(d, 0)) for n, d in zip(nodes, offset, strict=True))
            there = tuple(slice(max(d, 0), n - max(-d, 0)) for n, d in zip(nodes, offset, strict=True))
            for a in range(c):
                for b in range(a + 1 if s == 0 else c):
                    i, j = place[a][here].ravel(), place[b][there].ravel()
                    low, high = np.minimum(i, j), np.maximum(i, j)
                    targets.append((high - low) * place.size + low)
                    sources.append(entries[here[0], s, a, b, here[1], here[2]].ravel())
        self.targets, self.sources = np.concatenate(targets), np.concatenate(sources)

    def factorize(self, A: Vector, scale: Vector) -> None:
        """Take over the values; unknowns whose `scale` (with halo), the inverse diagonal, is 0 are left out.

        Raises
        ------
        EvaluationFailed
            When the matrix is far from positive definite.
        """
        size = self.order.size
        self.root = np.sqrt(interior(scale).ravel()[self.order].astype(np.float64))
        band = np.zeros((self.band + 1, size))
        band.reshape(-1)[self.targets] = A[..., 1:-1, 1:-1].ravel()[self.sources]
        for d in range(self.band + 1):
            band[d, : size - d] *= self.root[d:] * self.root[: size - d]
        band[0, self.root == 0.0] = 1.0
        for shift in SHIFTS if A.dtype == np.float32 else (DOUBLE_SHIFT, *SHIFTS):
            band[0] += shift
            try:
                self.factor = cholesky_banded(band, lower=True, check_finite=False)
                return
            except LinAlgError:
                continue
        raise EvaluationFailed("The coarsest operator of the multigrid solver is not positive definite.")

    def solve(self, b: Vector, x: Vector) -> None:
        """Write the solution for the right-hand side `b` to `x`, both with their halo."""
        right = interior(b).ravel()[self.order] * self.root
        solution = cho_solve_banded((self.factor, True), right, overwrite_b=True, check_finite=False)
        values = np.empty(self.order.size, x.dtype)
        values[self.order] = solution * self.root
        interior(x)[:] = values.reshape(self.shape)
