"""The space of designs whose variables are spread over ranks: `DesignSpace` with sums over all of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

from sciopt.core.box import Box
from sciopt.topopt.fenicsx.loaded import MPI

if TYPE_CHECKING:
    from sciopt.core.box import Quadratic
    from sciopt.core.types import Array

__all__ = ["DistributedSpace"]

# As in `DesignSpace`: iterations for the multiplier of the budget, which must hold to this relative error; the share of
# the decrease so far that still is worth another inner iteration.
MOST_NEWTON, BUDGET_TOL = 60, 1e-13
INNER_TOL = 1e-3


@dataclass(frozen=True, eq=False)
class DistributedSpace(Box):
    """A `Box` of which every rank holds a piece: the answers of `DesignSpace` to rounding, the same decisions on all.

    All ranks must call its methods together. A step of the search for the budget's multiplier costs one sum of two
    numbers over the ranks, an inner iteration of `minimize` one more, of two and one for each of the model's vectors.

    Parameters
    ----------
    lower, upper, weights
        See `Box`: numbers, or (n,) of this rank's variables, of which there may be none.
    capacity, full, maxstep
        See `Box`; equal on all ranks.
    comm
        The communicator of the ranks (mpi4py).

    Examples
    --------
    >>> import numpy as np
    >>> space = DistributedSpace(0.0, 1.0, np.array([0.5, 0.5]), 0.5, comm=MPI.COMM_SELF)
    >>> space.project(np.array([0.9, 0.7]), 0.0, 1.0)
    array([0.6, 0.4])
    """

    maxstep: float = 0.5
    comm: Any = field(kw_only=True)

    def total(self, part: Any) -> Any:
        found = np.array(part, dtype=float)
        self.comm.Allreduce(MPI.IN_PLACE, found)
        return found if found.ndim else float(found)

    def largest(self, part: float) -> float:
        found = np.array(part, dtype=float)
        self.comm.Allreduce(MPI.IN_PLACE, found, MPI.MAX)
        return float(found)

    def project(self, y: Array, lower: float | Array, upper: float | Array, metric: Array | None = None) -> Array:
        if self.weights is None:
            return np.clip(y, lower, upper)
        least, most, rates = _filled(lower, y), _filled(upper, y), self._rates(metric)
        x = np.empty_like(y)
        _shifted(y, self._multiplier(y, least, most, self.weights, rates), rates, least, most, x)
        return x

    def minimize(self, model: Quadratic, x: Array, lower: Array, upper: Array, most: int = 25) -> Array:
        metric, scale, vectors, middle = model.metric, model.scale, model.vectors, model.middle
        lower, upper = _filled(lower, x), _filled(upper, x)
        rates = np.zeros_like(x) if self.weights is None else self._rates(metric)
        z, gradient = x.copy(), -model.force
        target, direction = np.empty_like(x), np.empty_like(x)
        length, gained = 1.0 / scale, 0.0
        for _ in range(most):
            _descended(z, gradient, metric, length, target)
            mu = 0.0 if self.weights is None else self._multiplier(target, lower, upper, self.weights, rates)
            _shifted(target, mu, rates, lower, upper, direction)
            slope, square = _towards(direction, z, gradient, metric)
            slope, square, *along = self.total(np.array([slope, square, *(vectors @ direction)]))
            if not slope < -INNER_TOL * gained:
                break
            # The curvature follows from the sums; nothing more needs to be asked of other ranks.
            bend = middle @ np.array(along)
            curvature = scale * square - float(np.dot(along, bend))
            t = 1.0 if curvature <= 0.0 else min(1.0, -slope / curvature)
            _moved(z, gradient, direction, metric, scale, bend @ vectors, t)
            gained -= t * slope + 0.5 * t * t * curvature
            length = square / curvature if curvature > 0.0 else 4.0 * length
        return z - x

    def _rates(self, metric: Array | None) -> Array:
        """(n,) how far each variable goes for a unit of the multiplier."""
        assert self.weights is not None  # asked only about budgets
        # In its own metric every variable is shifted alike, without a division's rounding.
        return np.ones_like(self.weights) if metric is None or metric is self.weights else self.weights / metric

    def _multiplier(self, y: Array, lower: Array, upper: Array, weights: Array, rates: Array) -> float:
        """The mu for which ``clip(y - mu rates)`` keeps the budget, see `Box`: negative where it must be filled up."""

        def excess(mu: float) -> tuple[float, float]:
            taken, slope = self.total(np.array(_taken(y, lower, upper, weights, rates, mu)))
            return float(taken) - self.capacity, float(slope)

        over, slope = excess(0.0)
        sign = -1.0 if self.full and over < 0.0 else 1.0
        scale = max(abs(self.capacity), abs(over + self.capacity))
        if not (np.isfinite(self.capacity) and sign * over > BUDGET_TOL * scale):
            return 0.0
        mu, low, high = 0.0, 0.0, np.inf
        for _ in range(MOST_NEWTON):
            following = mu + sign * over / slope if slope > 0.0 else np.inf
            if not low < following < high:
                if np.isfinite(high):
                    following = 0.5 * (low + high)
                else:
                    room = y - lower if sign > 0.0 else upper - y
                    following = 2.0 * mu + self.largest(float((room / rates).max(initial=0.0)))
            mu = following
            over, slope = excess(sign * mu)
            if abs(over) <= BUDGET_TOL * scale:
                break
            if sign * over > 0.0:
                low = mu
            else:
                high = mu
            if np.isfinite(high) and high - low <= 1e-16 * high:
                break
        return sign * mu


def _filled(bound: float | Array, like: Array) -> Array:
    return np.ascontiguousarray(np.broadcast_to(np.asarray(bound, dtype=float), like.shape))


@njit(cache=True, fastmath={"nsz", "contract", "reassoc", "arcp"})
def _taken(y, lower, upper, weights, rates, mu):
    """``weights . clip(y - mu rates)`` and minus its derivative by mu."""
    taken, slope = 0.0, 0.0
    for i in range(y.size):
        shifted = y[i] - mu * rates[i]
        taken += weights[i] * min(max(shifted, lower[i]), upper[i])
        slope += weights[i] * rates[i] if lower[i] < shifted < upper[i] else 0.0
    return taken, slope


@njit(cache=True)
def _shifted(y, mu, rates, lower, upper, x):
    """``x = clip(y - mu rates)``."""
    for i in range(y.size):
        x[i] = min(max(y[i] - mu * rates[i], lower[i]), upper[i])


@njit(cache=True)
def _descended(z, gradient, metric, length, target):
    """``target = z - length gradient / metric``."""
    for i in range(z.size):
        target[i] = z[i] - length * gradient[i] / metric[i]


@njit(cache=True, fastmath={"nsz", "contract", "reassoc", "arcp"})
def _towards(direction, z, gradient, metric):
    """Make a point a direction from z; its products with the gradient and, in the metric, with itself."""
    slope, square = 0.0, 0.0
    for i in range(z.size):
        direction[i] -= z[i]
        slope += gradient[i] * direction[i]
        square += metric[i] * direction[i] * direction[i]
    return slope, square


@njit(cache=True)
def _moved(z, gradient, direction, metric, scale, learned, t):
    """``z += t d`` and ``gradient += t B d`` with ``B d = scale metric d - learned``."""
    for i in range(z.size):
        z[i] += t * direction[i]
        gradient[i] += t * (scale * metric[i] * direction[i] - learned[i])
