"""Covariance matrices of energies and forces, dense."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numba
import numpy as np

if TYPE_CHECKING:
    from sciopt.core.types import Array
    from sciopt.surrogate.features import FeatureValues
    from sciopt.surrogate.kernels import Kernel

__all__ = ["Block", "Geometry"]


@dataclass(frozen=True, eq=False)
class Geometry:
    """The parts of a batch of configurations that covariances are made of; they do not depend on hyperparameters.

    Attributes
    ----------
    phi
        (N, D) features.
    rows
        (N n, D) transposed Jacobians, one below the other.
    """

    phi: Array
    rows: Array

    @classmethod
    def of(cls, values: FeatureValues) -> Geometry:
        """From the features of a batch."""
        rows = [values.jacobian(i).T for i in range(len(values.phi))]
        return cls(values.phi, np.ascontiguousarray(np.vstack(rows)) if rows else np.zeros((0, values.phi.shape[1])))

    def extended(self, other: Geometry) -> Geometry:
        """This batch followed by another."""
        return Geometry(np.vstack([self.phi, other.phi]), np.vstack([self.rows, other.rows]))


@dataclass(frozen=True, eq=False)
class Block:
    """Everything about a pair of batches A, B (N_A and N_B configurations of n coordinates) but the kernel.

    Attributes
    ----------
    s
        (N_A, N_B) squared distances of the features.
    gram
        (N_A n, N_B n) ``J_A J_B^T``.
    u, v
        (N_A, N_B, n) ``J_A^T d`` and ``J_B^T d`` with ``d = phi_A - phi_B``.
    """

    s: Array
    gram: Array
    u: Array
    v: Array

    @classmethod
    def between(cls, A: Geometry, B: Geometry) -> Block:
        """The block of two batches."""
        count_a, count_b = len(A.phi), len(B.phi)
        n = len(A.rows) // max(count_a, 1)
        center = A.phi.mean(axis=0)
        a, b = A.phi - center, B.phi - center
        s = np.maximum((a * a).sum(1)[:, None] + (b * b).sum(1)[None, :] - 2.0 * a @ b.T, 0.0)
        ab = (A.rows @ b.T).reshape(count_a, n, count_b).transpose(0, 2, 1)
        aa = np.einsum("inD,iD->in", A.rows.reshape(count_a, n, -1), a)
        ba = (B.rows @ a.T).reshape(count_b, n, count_a).transpose(2, 0, 1)
        bb = np.einsum("jnD,jD->jn", B.rows.reshape(count_b, n, -1), b)
        return cls(s, A.rows @ B.rows.T, np.ascontiguousarray(aa[:, None] - ab), np.ascontiguousarray(ba - bb[None]))

    def covariance(self, kernel: Kernel, length: float) -> Array:
        """(N_A (n+1), N_B (n+1)) covariance of unit variance; energies first, then forces.

        ``<E E'> = k``, ``<E F'> = -a J'^T d``, ``<F E'> = a J^T d``, ``<F F'> = J^T (a I - b d d^T) J'``.
        """
        count_a, count_b = self.s.shape
        n = self.u.shape[2]
        radial = kernel.radial(self.s, length)
        K = np.empty((count_a * (n + 1), count_b * (n + 1)))
        _fill(K, radial.k, radial.a, radial.b, self.gram, self.u, self.v)
        return K

    def energy_columns(self, kernel: Kernel, length: float) -> Array:
        """(N_A (n+1), N_B) covariance of everything in A with the energies of B."""
        count_a, count_b = self.s.shape
        radial = kernel.radial(self.s, length)
        forces = (radial.a[:, :, None] * self.u).transpose(0, 2, 1).reshape(-1, count_b)
        return np.vstack([radial.k, forces])


@numba.njit(cache=True)
def _fill(K, k, a, b, gram, u, v):
    count_a, count_b, n = u.shape
    for i in range(count_a):
        for j in range(count_b):
            K[i, j] = k[i, j]
            for d in range(n):
                K[i, count_b + j * n + d] = -a[i, j] * v[i, j, d]
        for c in range(n):
            row = count_a + i * n + c
            for j in range(count_b):
                K[row, j] = a[i, j] * u[i, j, c]
                scaled, weight = b[i, j] * u[i, j, c], a[i, j]
                for d in range(n):
                    column = j * n + d
                    K[row, count_b + column] = weight * gram[i * n + c, column] - scaled * v[i, j, d]
