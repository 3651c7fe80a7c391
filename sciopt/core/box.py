"""The geometry of bounded variables that share one budget: a box cut by a plane."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from sciopt.core.space import Space, Undivided

if TYPE_CHECKING:
    from sciopt.core.types import Array

__all__ = ["Bounded", "Box", "Quadratic"]

# Of the bisection-guarded Newton iterations for the multiplier; quadratic convergence needs a handful.
_MOST_NEWTON = 60


class Quadratic(NamedTuple):
    """The model ``q(d) = -force.d + d.B d / 2`` with ``B = scale diag(metric) - vectors^T middle vectors``.

    The compact form of a limited-memory quasi-Newton matrix (Byrd, Nocedal and Schnabel 1994, doi 10.1007/BF01581063).

    Attributes
    ----------
    force
        (n,) minus the gradient at d = 0.
    scale, metric
        A number and (n,) positive weights.
    vectors, middle
        (k, n) and (k, k); k may be 0.
    total
        Sums arrays over ranks, where the vectors are one rank's pieces.
    """

    force: Array
    scale: float
    metric: Array
    vectors: Array
    middle: Array
    total: Callable[[Array], Array] = np.asarray

    def curve(self, step: Array) -> Array:
        """(n,) ``B step``."""
        bent = self.scale * self.metric * step
        if len(self.vectors):
            bent -= (self.middle @ self.total(self.vectors @ step)) @ self.vectors
        return bent


class Bounded(Space, Protocol):
    """A space of bounded variables with at most one linear budget, in which models can be minimized."""

    @property
    def lower(self) -> float | Array:
        """Least value of each variable."""

    @property
    def upper(self) -> float | Array:
        """Largest value of each variable."""

    @property
    def weights(self) -> Array | None:
        """(n,) what a unit of each variable takes of the budget."""

    @property
    def capacity(self) -> float:
        """The budget: ``weights . x <= capacity``."""

    def project(self, y: Array, lower: float | Array, upper: float | Array, metric: Array | None = None) -> Array:
        """The point nearest to `y` within the given bounds and the budget."""

    def minimize(self, model: Quadratic, x: Array, lower: Array, upper: Array, most: int = 25) -> Array:
        """(n,) a feasible step from `x` that (nearly) minimizes `model` while x + step stays within the bounds.

        At most `most` inner iterations are spent, none of which evaluates the problem.
        """


@dataclass(frozen=True, eq=False)
class Box(Undivided):
    """``lower <= x <= upper`` and, with `weights`, ``weights . x <= capacity``.

    Steps are measured in the metric of the weights, ``sharp(f) = f / w``: what one unit of the budget buys. The
    tangent force is the projection of the force onto the feasible directions, multiplier removed and blocked variables
    zeroed; the residual is the root mean square of ``P(x + f / (w m)) - x`` with m the mean of ``|f / w|``, which no
    step limit can fool.

    Parameters
    ----------
    lower, upper
        Bounds, numbers or (n,).
    weights
        (n,) positive, or None for a box alone.
    capacity
        The budget.
    full
        Whether all of the budget must be used: ``weights . x = capacity``.
    maxstep
        Longest change of one variable in one step of rules that do not limit themselves.
    grain
        Points moved to are rounded to multiples of it; the bounds should be some. Rounding errors that depend on how
        sums are ordered, on the number of ranks for example, then seldom reach the next point and do not grow from step
        to step. The budget is kept to the same accuracy.

    Examples
    --------
    >>> import numpy as np
    >>> space = Box(0.0, 1.0, np.array([0.5, 0.5]), 0.5)
    >>> space.move(np.array([0.5, 0.5]), np.array([0.4, 0.2]))
    array([0.6, 0.4])
    >>> space.tangent(np.array([0.5, 0.5]), np.array([3.0, 1.0]))
    array([ 1., -1.])
    """

    lower: float | Array = 0.0
    upper: float | Array = 1.0
    weights: Array | None = None
    capacity: float = np.inf
    full: bool = False
    maxstep: float = np.inf
    grain: float = 0.0

    def dot(self, a: Array, b: Array) -> float:
        return float(self.total(np.vdot(a, b)))

    def sharp(self, x: Array, force: Array) -> Array:
        return force if self.weights is None else force / self.weights

    def tangent(self, x: Array, force: Array) -> Array:
        # The tangent cone is a box cut by a plane again, with bounds at zero or infinity.
        lower = np.where(x <= self.lower, 0.0, -np.inf)
        upper = np.where(x >= self.upper, 0.0, np.inf)
        if self.weights is None:
            return np.clip(force, lower, upper)
        at_limit = self.full or self.dot(self.weights, x) >= self.capacity * (1.0 - max(1e-9, self.grain))
        direction = force / self.weights
        capacity = 0.0 if at_limit else np.inf
        return self.weights * self._nearest(direction, lower, upper, np.ones_like(x), capacity)

    def clip(self, step: Array) -> Array:
        length = self.length(step)
        return step if length <= self.maxstep else step * (self.maxstep / length)

    def length(self, step: Array) -> float:
        return float(self.largest(float(np.abs(step).max(initial=0.0))))

    def move(self, x: Array, step: Array, metric: Array | None = None) -> Array:
        found = self.project(x + step, self.lower, self.upper, metric)
        return np.round(found / self.grain) * self.grain if self.grain else found

    def between(self, x: Array, y: Array) -> Array:
        return y - x

    def residual(self, x: Array, force: Array) -> float:
        weights = np.ones_like(x) if self.weights is None else self.weights
        share = weights / self.total(weights.sum())
        direction = force / weights
        strength = self.dot(share, np.abs(direction))
        if strength == 0.0:
            return 0.0
        change = self.project(x + direction / strength, self.lower, self.upper) - x
        return float(np.sqrt(self.dot(share, change**2)))

    def project(self, y: Array, lower: float | Array, upper: float | Array, metric: Array | None = None) -> Array:
        """The x that minimizes ``sum metric (x - y)^2`` within the given bounds and the budget.

        ``x = clip(y - mu weights / metric)`` with the one multiplier mu, at least 0 unless the budget must be used up.
        Without `metric`, that of the weights.
        """
        if self.weights is None:
            return np.clip(y, lower, upper)
        rates = np.ones_like(y) if metric is None else self.weights / metric
        return self._nearest(y, lower, upper, rates, self.capacity)

    def minimize(self, model: Quadratic, x: Array, lower: Array, upper: Array, most: int = 25) -> Array:
        """Spectral projected gradients on the model; see `minimize_quadratic`."""
        from sciopt.core.quadratic import minimize_quadratic

        return minimize_quadratic(model, x, lambda y: self.project(y, lower, upper, model.metric), most)

    def _nearest(self, y: Array, lower: float | Array, upper: float | Array, rates: Array, capacity: float) -> Array:
        """``clip(y - mu rates)`` with the least mu >= 0 for which ``weights . x <= capacity``: safeguarded Newton.

        Where all of the budget must be used the sum is the capacity: what falls short is the same problem in a mirror.
        """
        if self.full and self._excess(np.clip(y, lower, upper), lower, upper, rates, capacity)[0] < 0:
            return -self._lowered(-y, -np.asarray(upper), -np.asarray(lower), rates, -capacity)
        return self._lowered(y, lower, upper, rates, capacity)

    def _lowered(self, y: Array, lower: float | Array, upper: float | Array, rates: Array, capacity: float) -> Array:
        x = np.clip(y, lower, upper)
        excess, size, slope = self._excess(x, lower, upper, rates, capacity)
        scale = max(abs(capacity), size, np.finfo(float).tiny) if np.isfinite(capacity) else 1.0
        if not excess > 1e-13 * scale:
            return x
        low, high, mu = 0.0, np.inf, 0.0
        for _ in range(_MOST_NEWTON):
            following = mu + excess / slope if slope > 0 else np.inf
            if not low < following < high:
                following = 0.5 * (low + high) if np.isfinite(high) else 2.0 * mu + self._reach(y, lower, rates)
            mu = following
            x = np.clip(y - mu * rates, lower, upper)
            excess, _, slope = self._excess(x, lower, upper, rates, capacity)
            if abs(excess) <= 1e-13 * scale:
                break
            if excess > 0:
                low = mu
            else:
                high = mu
            if np.isfinite(high) and high - low <= 1e-16 * high:
                break
        return x

    def _excess(
        self, x: Array, lower: float | Array, upper: float | Array, rates: Array, capacity: float
    ) -> tuple[float, float, float]:
        """``weights . x - capacity``, ``weights . |x|`` and the slope of the former by minus the multiplier."""
        weights = np.ones_like(x) if self.weights is None else self.weights
        free = (x > lower) & (x < upper)
        taken, size, slope = self.total(np.array([weights @ x, weights @ np.abs(x), weights[free] @ rates[free]]))
        return float(taken) - capacity, float(size), float(slope)

    def _reach(self, y: Array, lower: float | Array, rates: Array) -> float:
        """A multiplier beyond which some variable must have come to its lower bound; grows the bracket from there."""
        distance = (y - np.maximum(lower, np.finfo(float).min / 4)) / rates
        furthest = self.largest(float(distance[distance < 1e300].max(initial=0.0)))
        return furthest if furthest > 0 else 1.0
