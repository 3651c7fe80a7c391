"""Sparse LU of the assembled matrix: for small grids, and the reference of the iterative solver."""

from __future__ import annotations

import numpy as np
from scipy.sparse.linalg import SuperLU, splu

from sciopt.core.errors import EvaluationFailed
from sciopt.core.types import Array
from sciopt.topopt.grid.assembly import Assembler

__all__ = ["DirectSolver"]


class DirectSolver:
    """Solves ``K(E) u = f`` by one factorization shared by all right-hand sides."""

    def __init__(self, assembler: Assembler) -> None:
        self.assembler = assembler
        self._factor: SuperLU | None = None

    def again(self, loads: Array) -> Array:
        """Displacements (m, *) for other `loads` (m, *) and the moduli of the last `solve`, without refinement."""
        free = self.assembler.free
        u = np.zeros((loads.shape[0], loads[0].size))
        if self._factor is not None:
            u[:, free] = self._factor.solve(loads.reshape(loads.shape[0], -1)[:, free].T).T
        return u.reshape(loads.shape)

    def solve(self, E: Array, loads: Array) -> Array:
        """Displacements (m, *) for `loads` (m, *) of the same shape; zero at fixed degrees of freedom.

        Raises
        ------
        EvaluationFailed
            When the matrix is singular.
        """
        free = self.assembler.free
        u = np.zeros((loads.shape[0], loads[0].size))
        if free.size == 0:
            return u.reshape(loads.shape)
        matrix = self.assembler.matrix(E).tocsc()
        try:
            # Symmetric and positive definite: no pivoting, which keeps the fill of the symmetric ordering.
            self._factor = factor = splu(
                matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True}
            )
        except RuntimeError as error:
            raise EvaluationFailed(
                f"The stiffness matrix cannot be factorized ({error}): is every loaded part supported?"
            ) from error
        flat = loads.reshape(loads.shape[0], -1)[:, free]
        solution = factor.solve(flat.T)
        solution += factor.solve(flat.T - matrix @ solution)  # one refinement: contrasts of 1e9 cost digits
        u[:, free] = solution.T
        return u.reshape(loads.shape)
