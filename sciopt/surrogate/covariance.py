"""Covariance matrices of energies and forces, dense."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numba
import numpy as np

if TYPE_CHECKING:
    from sciopt.core.types import Array
    from sciopt.surrogate.features import Features, FeatureValues
    from sciopt.surrogate.kernels import Kernel

__all__ = ["Geometry", "covariance", "energy_columns", "squared_distances"]


@dataclass(frozen=True, eq=False)
class Geometry:
    """The parts of a batch of configurations that covariances are made of; they do not depend on hyperparameters.

    Forces are expressed in an orthonormal basis of the directions that the features see at all: for a molecule, shifts
    and rotations are left out. An energy and its r force components are r + 1 rows of a covariance matrix.

    Attributes
    ----------
    phi
        (N, D) features.
    rows
        (N, r + 1, D) zeros, and below them the transposed Jacobian in that basis.
    basis
        (N, n, r) its columns.
    """

    phi: Array
    rows: Array
    basis: Array

    @classmethod
    def of(cls, features: Features, values: FeatureValues) -> Geometry:
        """From the features of a batch."""
        count, rank, n = len(values.phi), features.rank, features.coordinates
        rows = np.zeros((count, rank + 1, features.size))
        basis = np.empty((count, n, rank))
        for i in range(count):
            J = values.jacobian(i)
            basis[i] = np.eye(n) if rank == n else np.linalg.eigh(J.T @ J)[1][:, n - rank :]
            rows[i, 1:] = J.T if rank == n else (J @ basis[i]).T
        return cls(values.phi, rows, basis)

    def extended(self, other: Geometry) -> Geometry:
        """With the configurations of another batch at the end."""
        return Geometry(*(np.concatenate(pair) for pair in zip(self._parts, other._parts, strict=True)))

    def since(self, start: int) -> Geometry:
        """Without the first `start` configurations."""
        return Geometry(*(part[start:] for part in self._parts))

    def until(self, stop: int) -> Geometry:
        """The first `stop` configurations."""
        return Geometry(*(part[:stop] for part in self._parts))

    @property
    def _parts(self) -> tuple[Array, Array, Array]:
        return self.phi, self.rows, self.basis

    def __len__(self) -> int:
        return len(self.phi)


def squared_distances(a: Array, b: Array) -> Array:
    """(N_A, N_B) squared distances of features (N_A, D) and (N_B, D), both about a centre close to them."""
    return np.maximum((a * a).sum(1)[:, None] + (b * b).sum(1)[None, :] - 2.0 * a @ b.T, 0.0)


def _along(A: Geometry, a: Array, b: Array) -> Array:
    """(N_A, r + 1, N_B) ``J_A^T d`` with ``d = a - b``; the first of the rows is zero."""
    return np.einsum("imD,iD->im", A.rows, a)[:, :, None] - A.rows @ b.T


def covariance(A: Geometry, B: Geometry, kernel: Kernel, length: float) -> Array:
    """(N_A (r+1), N_B (r+1)) covariance of unit variance: energy and forces of each configuration in turn.

    ``<E E'> = k``, ``<E F'> = -a J'^T d``, ``<F E'> = a J^T d``, ``<F F'> = J^T (a I - b d d^T) J'``; d = phi - phi'.
    A covariance of a batch with itself is filled on and below the diagonal blocks only.
    """
    center = A.phi.mean(axis=0)
    a, b = A.phi - center, B.phi - center
    radial = kernel.radial(squared_distances(a, b), length)
    size = A.rows.shape[1]
    left, right = A.rows.reshape(len(A) * size, -1), B.rows.reshape(len(B) * size, -1)
    K = left @ right.T
    u = np.ascontiguousarray(_along(A, a, b).transpose(0, 2, 1))
    v = u if A is B else np.ascontiguousarray(_along(B, b, a).transpose(0, 2, 1))
    _fill(K, radial.k, radial.a, radial.b, u, v, A is B)
    return K


def energy_columns(A: Geometry, phi: Array, kernel: Kernel, length: float) -> Array:
    """(N_A (r+1), B) covariance of everything in A with the energies at features phi (B, D)."""
    center = A.phi.mean(axis=0)
    a, b = A.phi - center, phi - center
    radial = kernel.radial(squared_distances(a, b), length)
    columns = radial.a[:, None, :] * _along(A, a, b)
    columns[:, 0] = radial.k
    return columns.reshape(-1, len(phi))


@numba.njit(cache=True)
def _fill(K, k, a, b, u, v, lower):
    """From ``J_A^T J_B`` in K to covariances; u (N_A, N_B, r+1) and v (N_B, N_A, r+1) are d seen from either side."""
    count_a, count_b, size = u.shape
    for i in range(count_a):
        for c in range(size):
            row = K[i * size + c]
            for j in range(i + 1 if lower else count_b):
                part = row[j * size : (j + 1) * size]
                weight = a[i, j]
                if c == 0:
                    part[0] = k[i, j]
                    for d in range(1, size):
                        part[d] = weight * v[j, i, d]
                else:
                    scaled = b[i, j] * u[i, j, c]
                    for d in range(1, size):
                        part[d] = weight * part[d] + scaled * v[j, i, d]
                    part[0] = weight * u[i, j, c]
