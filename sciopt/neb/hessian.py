"""Hessian models that learn from secant pairs: one per image of a quasi-Newton band.

Here are what all models can do, and the model for few coordinates: the whole matrix. `sciopt.neb.low_rank` has the one
for many.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, Protocol, Self

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Vector = NDArray[np.float64]
    Matrix = NDArray[np.float64]

__all__ = ["FLOOR", "UPDATE_FLOOR", "DenseHessian", "HessianModel", "Mode", "most_parallel", "ts_bfgs"]

UPDATE_FLOOR = 0.5  # eV/Å², least curvature in an update
FLOOR = 1.0  # eV/Å², least curvature in a solve


class Mode(NamedTuple):
    """An eigenpair: curvature in eV/Å², unit vector (n,), and its overlap (0 to 1) with the tangent asked about."""

    curvature: float
    vector: Vector
    overlap: float


class HessianModel(Protocol):
    """What a band asks of the Hessian model of one image. Models never change: `update` returns a new one."""

    def matvec(self, v: Vector) -> Vector:
        """``B v`` (n,)."""

    def update(self, s: Vector, y: Vector, floor: float = UPDATE_FLOOR) -> Self:
        """The model with ``B s = y`` for a step s (n,) in Å and the change y (n,) of the gradient in eV/Å.

        TS-BFGS: ``B += q rᵀ + r qᵀ − (r·s) q qᵀ``, ``r = y − B s``, ``v = (y·s) y + (s·|B|s) |B|s``, ``q = v/(v·s)``,
        with curvatures of |B| of at least `floor` (eV/Å²). It takes curvatures of either sign; v·s cannot vanish.
        Source: Bofill, Int. J. Quantum Chem. 94, 324 (2003), doi:10.1002/qua.10709.
        """

    def update_all(self, pairs: Sequence[tuple[Vector, Vector]], floor: float = UPDATE_FLOOR) -> Self:
        """The model after updates with all `pairs` (s, y), the last of which it obeys exactly."""

    def solve(self, b: Vector, shift: float = 0.0, tangent: Vector | None = None, floor: float = FLOOR) -> Vector:
        """``(|QBQ| + shift)⁻¹ Q b`` with `shift`, `floor` in eV/Å² and ``Q = 1 − t tᵀ`` for a unit tangent, if any."""

    def lowest(self, count: int = 1) -> tuple[Vector, Matrix]:
        """The smallest eigenvalues of B (count,) in eV/Å², ascending, and orthonormal eigenvectors (n, count)."""

    def negative_mode(self, tangent: Vector) -> Mode | None:
        """The eigenpair of negative curvature most parallel to a unit tangent; None where B has no such pair."""


@dataclass(frozen=True, eq=False)
class DenseHessian:
    """A `HessianModel` kept as a whole symmetric matrix (n, n) in eV/Å²; |·| acts on its ordinary eigenvalues."""

    matrix: Matrix

    @cached_property
    def eigen(self) -> tuple[Vector, Matrix]:
        """Eigenvalues (n,), ascending, and eigenvectors (n, n)."""
        w, vectors = np.linalg.eigh(self.matrix)
        return w, vectors

    def matvec(self, v: Vector) -> Vector:
        return self.matrix @ v

    def update(self, s: Vector, y: Vector, floor: float = UPDATE_FLOOR) -> DenseHessian:
        if not s.any():
            return self
        return self.update_all([(s, y)], floor)

    def update_all(self, pairs: Sequence[tuple[Vector, Vector]], floor: float = UPDATE_FLOOR) -> DenseHessian:
        # |B| only weighs the directions of the updates: that of the model before all of them serves, at one eigh.
        w, vectors = self.eigen
        weights = np.maximum(np.abs(w), floor)
        matrix = self.matrix
        for s, y in pairs:
            matrix = matrix + ts_bfgs(s, y, matrix @ s, vectors @ (weights * (vectors.T @ s)))
        return DenseHessian(matrix)

    def solve(self, b: Vector, shift: float = 0.0, tangent: Vector | None = None, floor: float = FLOOR) -> Vector:
        """``Σ v (v·Qb) / (max(|λ|, floor) + shift)`` over the eigenpairs of QBQ."""
        if tangent is None:
            w, vectors = self.eigen
            return vectors @ ((vectors.T @ b) / (np.maximum(np.abs(w), floor) + shift))
        bt = self.matrix @ tangent
        half = np.outer(tangent, bt - (0.5 * (tangent @ bt)) * tangent)
        w, vectors = np.linalg.eigh(self.matrix - (half + half.T))
        b = b - (tangent @ b) * tangent
        d = vectors @ ((vectors.T @ b) / (np.maximum(np.abs(w), floor) + shift))
        return d - (tangent @ d) * tangent

    def lowest(self, count: int = 1) -> tuple[Vector, Matrix]:
        w, vectors = self.eigen
        return w[:count], vectors[:, :count]

    def negative_mode(self, tangent: Vector) -> Mode | None:
        return most_parallel(*self.lowest(int(np.count_nonzero(self.eigen[0] < 0.0))), tangent)


def ts_bfgs(s: Vector, y: Vector, bs: Vector, absolute: Vector) -> Matrix:
    """The change of B by the formula of `HessianModel.update`; `bs` is B s, `absolute` is ``|B| s``."""
    r = y - bs
    v = (y @ s) * y + (s @ absolute) * absolute
    q = v / (v @ s)
    half = np.outer(q, r - (0.5 * (r @ s)) * q)
    return half + half.T


def most_parallel(curvatures: Vector, vectors: Matrix, tangent: Vector) -> Mode | None:
    """The one of the eigenpairs (k,), (n, k) most parallel to a unit tangent (n,), None of none."""
    if not len(curvatures):
        return None
    overlaps = tangent @ vectors
    k = int(np.argmax(np.abs(overlaps)))
    return Mode(float(curvatures[k]), np.copysign(1.0, overlaps[k]) * vectors[:, k], float(abs(overlaps[k])))
