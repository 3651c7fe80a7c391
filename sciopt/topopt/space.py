"""The space of designs: densities between bounds that share a volume, with compiled projections and models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numba
import numpy as np

from sciopt.core.box import Box

if TYPE_CHECKING:
    from sciopt.core.box import Quadratic
    from sciopt.core.types import Array

__all__ = ["DesignSpace"]

# The share of the decrease so far that still is worth another inner iteration.
_INNER_TOL = 1e-3


@dataclass(frozen=True, eq=False)
class DesignSpace(Box):
    """A `Box` whose projections and quadratic models run in compiled loops; same answers to rounding.

    Parameters
    ----------
    lower, upper, weights, capacity, full, maxstep
        See `Box`; the weights are shares of the volume.

    Examples
    --------
    >>> import numpy as np
    >>> space = DesignSpace(0.0, 1.0, np.array([0.5, 0.5]), 0.5)
    >>> space.project(np.array([0.9, 0.7]), 0.0, 1.0)
    array([0.6, 0.4])
    """

    maxstep: float = 0.5

    def project(self, y: Array, lower: float | Array, upper: float | Array, metric: Array | None = None) -> Array:
        if self.weights is None:
            return np.clip(y, lower, upper)
        rates = np.ones_like(y) if metric is None or metric is self.weights else self.weights / metric
        x = np.empty_like(y)
        _project(y, _filled(lower, y), _filled(upper, y), self.weights, rates, self.capacity, self.full, x)
        return x

    def minimize(self, model: Quadratic, x: Array, lower: Array, upper: Array, most: int = 25) -> Array:
        metric = model.metric
        # By variable: what is read together lies together, and what belongs to a variable at rest is not read.
        vectors = np.ascontiguousarray(model.vectors.T)
        weights = np.zeros_like(x) if self.weights is None else self.weights
        rates = np.ones_like(x) if metric is self.weights else weights / metric
        step: Array = _minimize(
            model.force,
            model.scale,
            metric,
            vectors,
            np.ascontiguousarray(model.middle),
            x,
            _filled(lower, x),
            _filled(upper, x),
            weights,
            rates,
            self.capacity,
            self.full,
            most,
            _INNER_TOL,
        )
        return step


def _filled(bound: float | Array, like: Array) -> Array:
    return np.ascontiguousarray(np.broadcast_to(np.asarray(bound, dtype=float), like.shape))


@numba.njit(cache=True, fastmath={"nsz", "contract", "reassoc", "arcp"})
def _excess(y: Array, lower: Array, upper: Array, weights: Array, rates: Array, mu: float) -> tuple[float, float]:
    """``weights . clip(y - mu rates)`` and minus its derivative by mu."""
    total = 0.0
    slope = 0.0
    for i in range(y.size):
        z = y[i] - mu * rates[i]
        inside = lower[i] < z < upper[i]
        total += weights[i] * min(max(z, lower[i]), upper[i])
        slope += weights[i] * rates[i] if inside else 0.0
    return total, slope


@numba.njit(cache=True)
def _lowered(y: Array, lower: Array, upper: Array, weights: Array, rates: Array, capacity: float, x: Array) -> None:
    """``clip(y - mu rates)`` with the least mu >= 0 that keeps the budget, see `sciopt.core.box`."""
    mu = 0.0
    total, slope = _excess(y, lower, upper, weights, rates, mu)
    scale = max(abs(capacity), abs(total))
    if np.isfinite(capacity) and total - capacity > 1e-13 * scale:
        low, high = 0.0, np.inf
        for _ in range(60):
            following = mu + (total - capacity) / slope if slope > 0.0 else np.inf
            if not low < following < high:
                if np.isfinite(high):
                    following = 0.5 * (low + high)
                else:
                    reach = 0.0
                    for i in range(y.size):
                        reach = max(reach, (y[i] - lower[i]) / rates[i])
                    following = 2.0 * mu + reach
            mu = following
            total, slope = _excess(y, lower, upper, weights, rates, mu)
            if abs(total - capacity) <= 1e-13 * scale:
                break
            if total > capacity:
                low = mu
            else:
                high = mu
            if np.isfinite(high) and high - low <= 1e-16 * high:
                break
    for i in range(y.size):
        x[i] = min(max(y[i] - mu * rates[i], lower[i]), upper[i])


@numba.njit(cache=True)
def _project(
    y: Array, lower: Array, upper: Array, weights: Array, rates: Array, capacity: float, full: bool, x: Array
) -> None:
    """See `sciopt.core.box.Box.project`."""
    total, _ = _excess(y, lower, upper, weights, rates, 0.0)
    if full and total < capacity:
        _lowered(-y, -upper, -lower, weights, rates, -capacity, x)
        for i in range(y.size):
            x[i] = -x[i]
    else:
        _lowered(y, lower, upper, weights, rates, capacity, x)


@numba.njit(cache=True, fastmath={"nsz", "contract", "reassoc", "arcp"})
def _dot(a: Array, b: Array) -> float:
    total = 0.0
    for i in range(a.size):
        total += a[i] * b[i]
    return total


@numba.njit(cache=True, fastmath={"nsz", "contract", "reassoc", "arcp"})
def _along(vectors: Array, step: Array, found: Array) -> None:
    """``found = vectors^T step``. Most of a step rests at its bounds: rows of zeros are not read."""
    n, k = vectors.shape
    found[:] = 0.0
    for i in range(n):
        length = step[i]
        if length != 0.0:
            for a in range(k):
                found[a] += vectors[i, a] * length


@numba.njit(cache=True, fastmath={"nsz", "contract", "reassoc", "arcp"})
def _curve(scale: float, metric: Array, vectors: Array, factors: Array, step: Array, bent: Array) -> None:
    """``bent = scale metric step - vectors factors``, see `sciopt.core.box.Quadratic.curve`."""
    n, k = vectors.shape
    for i in range(n):
        learned = 0.0
        for a in range(k):
            learned += vectors[i, a] * factors[a]
        bent[i] = scale * metric[i] * step[i] - learned


@numba.njit(cache=True)
def _minimize(
    force: Array,
    scale: float,
    metric: Array,
    vectors: Array,
    middle: Array,
    x: Array,
    lower: Array,
    upper: Array,
    weights: Array,
    rates: Array,
    capacity: float,
    full: bool,
    most: int,
    tol: float,
) -> Array:
    """See `sciopt.core.quadratic.minimize_quadratic`: the same iteration, without temporaries."""
    n, k = vectors.shape
    z, gradient = x.copy(), -force
    target, direction, bent = np.empty(n), np.empty(n), np.empty(n)
    along, factors = np.empty(k), np.empty(k)
    length, gained = 1.0 / scale, 0.0
    for _ in range(most):
        for i in range(n):
            target[i] = z[i] - length * gradient[i] / metric[i]
        _project(target, lower, upper, weights, rates, capacity, full, direction)
        for i in range(n):
            direction[i] -= z[i]
        slope = _dot(gradient, direction)
        if not slope < -tol * gained:
            break
        _along(vectors, direction, along)
        for a in range(k):
            factor = 0.0
            for b in range(k):
                factor += middle[a, b] * along[b]
            factors[a] = factor
        _curve(scale, metric, vectors, factors, direction, bent)
        curvature = _dot(direction, bent)
        t = 1.0 if curvature <= 0.0 else min(1.0, -slope / curvature)
        square = 0.0
        for i in range(n):
            square += metric[i] * direction[i] * direction[i]
            z[i] += t * direction[i]
            gradient[i] += t * bent[i]
        gained -= t * slope + 0.5 * t * t * curvature
        length = square / curvature if curvature > 0.0 else 4.0 * length
    return z - x
