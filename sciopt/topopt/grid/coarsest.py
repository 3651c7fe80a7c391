"""Dense solve on the coarsest grid."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from sciopt.core.errors import EvaluationFailed
from sciopt.topopt.grid.stencil_sweep import interior

__all__ = ["CoarsestSolver", "dense_matrix"]

Single = NDArray[np.float32]

# Of the matrix scaled to a unit diagonal. Its entries are rounded to single precision, so that modes softer than this
# are noise; damping them leaves the outer iteration a few modes to find.
SHIFTS = (1e-6, 1e-4, 1e-2)


def dense_matrix(A: Single, offsets: NDArray[np.int64]) -> Single:
    """The matrix (c n, c n) that stencils (nz+1, ny+1, s, c, c, nx+3) stand for."""
    NK, NJ, _, c, _, width = A.shape
    number = np.arange(NK * NJ * (width - 2)).reshape(NK, NJ, width - 2)
    dense = np.zeros((c, number.size, c, number.size), A.dtype)
    for s, offset in enumerate(offsets):
        here, there = [], []
        for n, d in zip(number.shape, offset, strict=True):
            here.append(slice(max(-d, 0), n - max(d, 0)))
            there.append(slice(max(d, 0), n - max(-d, 0)))
        rows, columns = number[tuple(here)].ravel(), number[tuple(there)].ravel()
        blocks = A[:, :, s, :, :, 1:-1][here[0], here[1], :, :, here[2]]
        blocks = blocks.transpose(0, 1, 4, 2, 3).reshape(-1, c, c)
        dense[:, rows, :, columns] = blocks
        dense[:, columns, :, rows] = blocks.transpose(0, 2, 1)
    return dense.reshape(c * number.size, -1)


class CoarsestSolver:
    """Cholesky factor of one stencil operator; unknowns of scale 0 are left out.

    Raises
    ------
    EvaluationFailed
        When the matrix is far from positive definite.
    """

    def __init__(self, A: Single, offsets: NDArray[np.int64], scale: Single) -> None:
        flat = interior(scale).ravel()
        self.free = np.flatnonzero(flat > 0.0)
        self.root = np.sqrt(flat[self.free].astype(np.float64))
        matrix = dense_matrix(A, offsets)[np.ix_(self.free, self.free)] * np.outer(self.root, self.root)
        for shift in SHIFTS:
            try:
                self.factor = cho_factor(matrix + shift * np.eye(self.free.size), lower=True, check_finite=False)
                return
            except LinAlgError:
                continue
        raise EvaluationFailed("The coarsest operator of the multigrid solver is not positive definite.")

    def solve(self, b: Single, x: Single) -> None:
        """Write the solution for the right-hand side `b` to `x`, both with their halo."""
        inner = interior(x)
        values = np.zeros(inner.size, np.float32)
        if self.free.size:
            right = interior(b).ravel()[self.free] * self.root
            values[self.free] = self.root * cho_solve(self.factor, right, check_finite=False)
        inner[:] = values.reshape(inner.shape)
