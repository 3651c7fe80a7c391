"""The finest operator in double precision, for conjugate gradients and true residuals."""

from __future__ import annotations

import numpy as np

from sciopt.core.types import Array, Mask
from sciopt.topopt.grid.element_sweep import (
    APPLY,
    RESIDUAL,
    element_energies,
    element_sweep,
    scratch,
    symmetry_blocks,
)

__all__ = ["ElementOperator"]


class ElementOperator:
    """``K(E) = Σ_e E_e K_0 + diag(springs)`` without rows and columns of fixed unknowns, matrix-free.

    Nodal arrays are (c, nz+1, ny+1, nx+1) and element arrays (nz, ny, nx), with one plane in two dimensions.

    Parameters
    ----------
    stiffness
        Element matrix for unit modulus.
    dim
        Space dimensions.
    fixed, springs
        Nodal arrays; springs may be an empty array (0, 0, 0, 0).
    """

    def __init__(self, stiffness: Array, dim: int, fixed: Mask, springs: Array) -> None:
        self.blocks = symmetry_blocks(stiffness, dim)
        self.fixed, self.springs = fixed, springs
        self.rows = scratch(np.float64)
        self.carry = np.zeros((fixed.shape[0], *fixed.shape[2:]))

    def apply(self, E: Array, u: Array, out: Array) -> float:
        """``out = K u`` for u that is zero at fixed unknowns; returns u·K u."""
        return self._sweep(APPLY, E, u, u, out)

    def residual(self, E: Array, u: Array, f: Array, out: Array) -> float:
        """``out = f − K u`` at free unknowns; returns its square."""
        return self._sweep(RESIDUAL, E, u, f, out)

    def energies(self, u: Array, v: Array, out: Array) -> None:
        """``out_e = u_eᵀ K_0 v_e``."""
        element_energies(u, v, self.blocks, self.rows, out)

    def _sweep(self, operation: int, E: Array, u: Array, f: Array, out: Array) -> float:
        return element_sweep(
            operation, u, E, self.blocks, self.rows, self.carry, f, f, 0.0, self.fixed, self.springs, out
        )
