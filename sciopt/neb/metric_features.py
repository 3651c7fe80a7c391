"""Coordinates stretched by a curvature model: one length scale then suits soft and stiff directions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sciopt.neb.precondition import shifted_model

if TYPE_CHECKING:
    from sciopt.core.types import Array
    from sciopt.neb.coordinates import Coordinates

__all__ = ["MetricFeatures"]

# Chosen on the first starts of scripts/relax_counts.py.
_SHIFT, _TYPICAL, _POWER = 2.0, 50.0, 0.25  # eV/Å², eV/Å², exponent


@dataclass(frozen=True, eq=False)
class MetricFeatures:
    """``phi = A x``, with constant A.

    Parameters
    ----------
    matrix
        (n, n) A.

    Examples
    --------
    >>> import numpy as np
    >>> MetricFeatures(np.diag([1.0, 2.0])).at(np.ones((1, 2))).phi
    array([[1., 2.]])
    """

    matrix: Array

    @classmethod
    def around(cls, coordinates: Coordinates, x: Array) -> MetricFeatures:
        """``A = ((H + c) / k)^(1/4)`` with the usual curvature model H at x (n,), and k that of a bond."""
        hessian = shifted_model(coordinates, (x, x), molecule=_SHIFT, solid=_SHIFT)(x)
        values, vectors = np.linalg.eigh(hessian if isinstance(hessian, np.ndarray) else hessian.toarray())
        return cls((vectors * (np.maximum(values, 0.0) / _TYPICAL) ** _POWER).T)

    @property
    def size(self) -> int:
        return len(self.matrix)

    @property
    def coordinates(self) -> int:
        return self.matrix.shape[1]

    @property
    def rank(self) -> int:
        return self.matrix.shape[1]

    def at(self, X: Array) -> _MetricValues:
        return _MetricValues(np.array(X, dtype=float, ndmin=2) @ self.matrix.T, self.matrix)


@dataclass(frozen=True, eq=False)
class _MetricValues:
    phi: Array
    matrix: Array

    def pull(self, weights: Array) -> Array:
        return weights @ self.matrix

    def push(self, vectors: Array) -> Array:
        return vectors @ self.matrix.T

    def jacobian(self, index: int) -> Array:
        return self.matrix

    def stiffness(self, index: int) -> Array:
        return self.matrix.T @ self.matrix

    def bend(self, index: int, weights: Array) -> Array:
        return np.zeros((self.matrix.shape[1],) * 2)
