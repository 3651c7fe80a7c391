"""What a surrogate sees of a configuration: Cartesian coordinates, or inverse distances between atoms."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import numba
import numpy as np

from sciopt.core.errors import ShapeError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sciopt.core.types import Array

__all__ = ["Cartesian", "FeatureValues", "Features", "InverseDistances"]


class FeatureValues(Protocol):
    """Features of a batch of configurations, and everything their Jacobians ``J = dphi/dx`` are needed for."""

    @property
    def phi(self) -> Array:
        """(B, D) the features."""

    def pull(self, weights: Array) -> Array:
        """(B, D) to (B, n): ``J^T w`` of every configuration."""

    def push(self, vectors: Array) -> Array:
        """(B, n) to (B, D): ``J v`` of every configuration."""

    def jacobian(self, index: int) -> Array:
        """(D, n) of one configuration."""

    def stiffness(self, index: int) -> Array:
        """(n, n) ``J^T J`` of one configuration."""

    def bend(self, index: int, weights: Array) -> Array:
        """(n, n) ``sum_k w_k d2phi_k/dx2`` of one configuration, weights (D,)."""


class Features(Protocol):
    """A smooth map from coordinates x (n,) to features phi (D,)."""

    @property
    def size(self) -> int:
        """Number of features, D."""

    @property
    def coordinates(self) -> int:
        """Number of components, n."""

    @property
    def rank(self) -> int:
        """The largest rank that a Jacobian can have: the features do not see more directions than that."""

    def at(self, X: Array) -> FeatureValues:
        """The features of X (B, n)."""


@dataclass(frozen=True)
class Cartesian:
    """The coordinates themselves.

    Examples
    --------
    >>> import numpy as np
    >>> Cartesian(2).at(np.array([[1.0, 2.0]])).jacobian(0)
    array([[1., 0.],
           [0., 1.]])
    """

    coordinates: int

    @property
    def size(self) -> int:
        return self.coordinates

    @property
    def rank(self) -> int:
        return self.coordinates

    def at(self, X: Array) -> FeatureValues:
        return _CartesianValues(np.array(X, dtype=float, ndmin=2))


@dataclass(frozen=True, eq=False)
class _CartesianValues:
    phi: Array

    def pull(self, weights: Array) -> Array:
        return weights

    def push(self, vectors: Array) -> Array:
        return vectors

    def jacobian(self, index: int) -> Array:
        return np.eye(self.phi.shape[1])

    def stiffness(self, index: int) -> Array:
        return np.eye(self.phi.shape[1])

    def bend(self, index: int, weights: Array) -> Array:
        return np.zeros((self.phi.shape[1],) * 2)


@dataclass(frozen=True, eq=False)
class InverseDistances:
    """``phi_k = w_k / |x_i - x_j - t_k|`` over pairs of particles; one of each pair moves.

    Parameters
    ----------
    first, second
        (D,) moving particles of each pair; a `second` of -1 stands for a particle at rest.
    offsets
        (D, 3) t_k: a lattice vector, or the position of the particle at rest, Å.
    free
        (n,) components of the moving particles' coordinates (m, 3) that are variables; the others are constants.
    rest
        (3 m,) values of the constants.
    weights
        (D,) w_k; ones by default.

    Examples
    --------
    >>> import numpy as np
    >>> pair = InverseDistances.between(2)
    >>> pair.at(np.array([[0.0, 0.0, 0.0, 0.0, 0.0, 2.0]])).phi
    array([[0.5]])
    """

    first: NDArray[np.intp]
    second: NDArray[np.intp]
    offsets: Array
    free: NDArray[np.intp]
    rest: Array
    weights: Array

    @classmethod
    def between(cls, particles: int) -> InverseDistances:
        """All pairs of freely moving particles."""
        i, j = np.triu_indices(particles, 1)
        count = 3 * particles
        return cls(i, j, np.zeros((len(i), 3)), np.arange(count), np.zeros(count), np.ones(len(i)))

    @property
    def size(self) -> int:
        return len(self.first)

    @property
    def coordinates(self) -> int:
        return len(self.free)

    @cached_property
    def rank(self) -> int:
        # Distances within a molecule of three atoms or more do not see how it is shifted and turned.
        adrift = self._whole and bool((self.second >= 0).all()) and not self.offsets.any()
        return min(self.coordinates - (6 if adrift and self.coordinates > 6 else 0), self.size)

    @cached_property
    def _whole(self) -> bool:
        return len(self.free) == len(self.rest)

    def at(self, X: Array) -> FeatureValues:
        X = np.array(X, dtype=float, ndmin=2)
        if X.shape[1] != self.coordinates:
            raise ShapeError(f"configurations have {X.shape[1]} components, the features expect {self.coordinates}")
        phi = np.empty((len(X), self.size))
        slopes = np.empty((len(X), self.size, 3))
        _inverse_distances(self.embed(X), self.first, self.second, self.offsets, self.weights, phi, slopes)
        return _PairValues(self, phi, slopes, X)

    def embed(self, X: Array) -> Array:
        """(B, n) to (B, 3 m): constants filled in."""
        if self._whole:
            return np.ascontiguousarray(X)
        whole = np.tile(self.rest, (len(X), 1))
        whole[:, self.free] = X
        return whole

    def restrict(self, V: Array) -> Array:
        """(B, 3 m) to (B, n)."""
        return V if self._whole else np.ascontiguousarray(V[:, self.free])


@dataclass(frozen=True, eq=False)
class _PairValues:
    features: InverseDistances
    phi: Array
    slopes: Array
    X: Array

    def pull(self, weights: Array) -> Array:
        f = self.features
        out = np.zeros((len(self.phi), len(f.rest)))
        _pull(self.slopes, np.ascontiguousarray(weights), f.first, f.second, out)
        return f.restrict(out)

    def push(self, vectors: Array) -> Array:
        f = self.features
        whole = vectors
        if not f._whole:
            whole = np.zeros((len(vectors), len(f.rest)))
            whole[:, f.free] = vectors
        out = np.empty_like(self.phi)
        _push(self.slopes, np.ascontiguousarray(whole), f.first, f.second, out)
        return out

    def jacobian(self, index: int) -> Array:
        f = self.features
        J = np.zeros((f.size, len(f.rest) // 3, 3))
        rows = np.arange(f.size)
        J[rows, f.first] = self.slopes[index]
        both = f.second >= 0
        J[rows[both], f.second[both]] -= self.slopes[index][both]
        return np.ascontiguousarray(J.reshape(f.size, -1)[:, f.free])

    def stiffness(self, index: int) -> Array:
        f = self.features
        out = np.zeros((len(f.rest),) * 2)
        _stiffness(self.slopes[index], f.first, f.second, out)
        return out[np.ix_(f.free, f.free)]

    def bend(self, index: int, weights: Array) -> Array:
        f = self.features
        out = np.zeros((len(f.rest),) * 2)
        # d2(1/r) = 3 u u^T / r^3 - 1 / r^3 with u the unit vector; the slope is -u / r^2.
        r = f.weights / self.phi[index]
        scaled = self.slopes[index] / f.weights[:, None]
        _bend(scaled, r, np.ascontiguousarray(weights * f.weights), f.first, f.second, out)
        return out[np.ix_(f.free, f.free)]


@numba.njit(cache=True)
def _inverse_distances(X, first, second, offsets, weights, phi, slopes):
    for b in range(X.shape[0]):
        for k in range(first.size):
            i, j = 3 * first[k], 3 * second[k]
            d0, d1, d2 = X[b, i] - offsets[k, 0], X[b, i + 1] - offsets[k, 1], X[b, i + 2] - offsets[k, 2]
            if j >= 0:
                d0 -= X[b, j]
                d1 -= X[b, j + 1]
                d2 -= X[b, j + 2]
            inverse = 1.0 / np.sqrt(d0 * d0 + d1 * d1 + d2 * d2)
            phi[b, k] = weights[k] * inverse
            factor = -weights[k] * inverse**3
            slopes[b, k, 0] = factor * d0
            slopes[b, k, 1] = factor * d1
            slopes[b, k, 2] = factor * d2


@numba.njit(cache=True)
def _pull(slopes, weights, first, second, out):
    for b in range(weights.shape[0]):
        for k in range(first.size):
            i, j = 3 * first[k], 3 * second[k]
            for c in range(3):
                value = weights[b, k] * slopes[b, k, c]
                out[b, i + c] += value
                if j >= 0:
                    out[b, j + c] -= value


@numba.njit(cache=True)
def _push(slopes, vectors, first, second, out):
    for b in range(vectors.shape[0]):
        for k in range(first.size):
            i, j = 3 * first[k], 3 * second[k]
            total = 0.0
            for c in range(3):
                value = vectors[b, i + c]
                if j >= 0:
                    value -= vectors[b, j + c]
                total += slopes[b, k, c] * value
            out[b, k] = total


@numba.njit(cache=True)
def _stiffness(slopes, first, second, out):
    for k in range(first.size):
        i, j = 3 * first[k], 3 * second[k]
        for c in range(3):
            for d in range(3):
                value = slopes[k, c] * slopes[k, d]
                out[i + c, i + d] += value
                if j >= 0:
                    out[j + c, j + d] += value
                    out[i + c, j + d] -= value
                    out[j + c, i + d] -= value


@numba.njit(cache=True)
def _bend(slopes, r, weights, first, second, out):
    for k in range(first.size):
        i, j = 3 * first[k], 3 * second[k]
        for c in range(3):
            for d in range(3):
                value = 3.0 * r[k] * slopes[k, c] * slopes[k, d]
                if c == d:
                    value -= 1.0 / r[k] ** 3
                value *= weights[k]
                out[i + c, i + d] += value
                if j >= 0:
                    out[j + c, j + d] += value
                    out[i + c, j + d] -= value
                    out[j + c, i + d] -= value
