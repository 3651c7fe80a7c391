"""The convex separable subproblem of the method of moving asymptotes, solved in the space of its multipliers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sciopt.rules.multiplier import falling_root

if TYPE_CHECKING:
    from sciopt.core.types import Array

__all__ = ["Separable", "Solution", "solve_separable"]

_MOST_ITERATIONS = 200
_DAMPING = (1e-12, 1e-6, 1e-3)
_TOLERANCE = 1e-10  # of a constraint, relative to the sum of its terms


class Solution(NamedTuple):
    """The minimizer.

    Attributes
    ----------
    x
        (n,) the variables.
    multipliers
        (m,) of the constraints, >= 0.
    slack
        (m,) how far each constraint had to be violated.
    """

    x: Array
    multipliers: Array
    slack: Array


class _Dual(NamedTuple):
    """The dual function at some multipliers: value, slope and scale, x and the p, q, 1 / (U - x), 1 / (x - L) there."""

    multipliers: Array
    value: float
    slope: Array
    scale: Array
    x: Array
    p: Array
    q: Array
    up: Array
    down: Array

    def error(self) -> float:
        """Largest relative violation of feasibility and complementarity."""
        violated = np.where(self.multipliers > 0.0, np.abs(self.slope), np.maximum(self.slope, 0.0))
        return float((violated / self.scale).max(initial=0.0))


@dataclass(frozen=True, eq=False)
class Separable:
    """Minimize ``g_0(x) + sum(c y + d y^2 / 2)`` subject to ``g_i(x) - y_i <= bounds_i``, y >= 0, low <= x <= high.

    ``g_i(x) = sum_j p_ij / (U_j - x_j) + q_ij / (x_j - L_j)``, all p and q >= 0. The slack y keeps it feasible.

    Parameters
    ----------
    p, q
        (1 + m, n), the objective first. The objective's are positive.
    below, above
        (n,) the asymptotes L and U.
    low, high
        (n,) bounds between them.
    bounds
        (m,) right hand sides.
    linear, quadratic
        Penalties c and d of the slack.
    total
        Sums arrays over ranks, where the variables are one rank's.
    """

    p: Array
    q: Array
    below: Array
    above: Array
    low: Array
    high: Array
    bounds: Array
    linear: float = 1000.0
    quadratic: float = 1.0
    total: Callable[[Array], Array] = np.asarray

    def slack(self, multipliers: Array) -> Array:
        """(m,) the best slack for given multipliers."""
        return np.maximum(multipliers - self.linear, 0.0) / self.quadratic

    def terms(self, x: Array) -> Array:
        """(1 + m,) the g_i at `x`."""
        return self._sums(1.0 / (self.above - x), 1.0 / (x - self.below))

    def _sums(self, up: Array, down: Array) -> Array:
        return self.total(self.p @ up + self.q @ down)

    def dual(self, multipliers: Array) -> _Dual:
        """The minimum over x and y of the Lagrangian."""
        p, q = self.p[0], self.q[0]
        if multipliers.any():
            p, q = p + multipliers @ self.p[1:], q + multipliers @ self.q[1:]
        rp, rq = np.sqrt(p), np.sqrt(q)
        x = np.clip((rp * self.below + rq * self.above) / (rp + rq), self.low, self.high)
        up, down = 1.0 / (self.above - x), 1.0 / (x - self.below)
        terms = self._sums(up, down)
        y = self.slack(multipliers)
        slope = terms[1:] - self.bounds - y
        penalty = float(np.sum(self.linear * y + 0.5 * self.quadratic * y * y))
        value = float(terms[0]) + float(multipliers @ slope) + penalty
        scale = terms[1:] + np.abs(self.bounds) + y + np.finfo(float).tiny
        return _Dual(multipliers, value, slope, scale, x, p, q, up, down)

    def curvature(self, dual: _Dual) -> Array:
        """(m, m) minus the (generalized) Hessian of the dual function."""
        x, up, down = dual.x, dual.up, dual.down
        free = (x > self.low) & (x < self.high)
        up2, down2 = up * up, down * down
        softness = free / (2.0 * (dual.p * (up2 * up) + dual.q * (down2 * down)))
        rows = self.p[1:] * up2 - self.q[1:] * down2
        return self.total((rows * softness) @ rows.T) + np.diag((dual.multipliers > self.linear) / self.quadratic)


def solve_separable(problem: Separable, start: Array | None = None) -> Solution:
    """The one minimizer, from the multipliers that maximize the dual function.

    The dual is concave with a continuous slope. One constraint: the root of the slope by safeguarded Newton. More:
    projected Newton steps that must raise the dual, and sweeps of exact coordinate ascent where they do not; ascent in
    single multipliers converges by itself, Newton only makes it fast. O(n m^2) per iteration.

    Parameters
    ----------
    problem
        What to minimize.
    start
        (m,) a guess of the multipliers; ignored when it has another length.

    References
    ----------
    Svanberg 1987, doi 10.1002/nme.1620240207; Bertsekas 1982, doi 10.1137/0320018, for projected Newton methods.

    Examples
    --------
    Minimize ``1 / (2 - x) + 4 / x`` subject to ``1 / (2 - x) <= 1``, whose free minimizer is 4/3:

    >>> import numpy as np
    >>> one = np.ones(1)
    >>> p, q = np.array([[1.0], [1.0]]), np.array([[4.0], [0.0]])
    >>> problem = Separable(p, q, 0 * one, 2 * one, 0.1 * one, 1.9 * one, one)
    >>> x, multipliers, slack = solve_separable(problem)
    >>> np.round(x, 10), np.round(multipliers, 10)
    (array([1.]), array([3.]))
    """
    count = problem.bounds.size
    guess = np.ones(count) if start is None or start.size != count else start
    best = problem.dual(guess)
    if count == 1:
        best = _ascend(problem, best, 0, float(guess[0]))
    elif count > 1:
        best = _newton(problem, best)
    return Solution(best.x, best.multipliers, problem.slack(best.multipliers))


def _newton(problem: Separable, dual: _Dual) -> _Dual:
    for _ in range(_MOST_ITERATIONS):
        if dual.error() <= _TOLERANCE:
            break
        # Where constraints nearly depend on each other the full step overshoots, and shorter ones go nowhere; damped
        # directions lead on.
        steps = (_newton_step(problem, dual, damping) for damping in _DAMPING)
        following = next((step for step in steps if step is not None), dual)
        if following.error() > 0.5 * dual.error():
            for i in range(dual.multipliers.size):
                following = _ascend(problem, following, i, float(following.multipliers[i]))
        if np.array_equal(following.multipliers, dual.multipliers):
            break
        dual = following
    return dual


def _newton_step(problem: Separable, dual: _Dual, damping: float) -> _Dual | None:
    """A Newton step on the multipliers that are not held at zero, cut where it would be negative; None if no ascent.

    The diagonal of the curvature is raised by a part, `damping`, of itself.
    """
    free = (dual.multipliers > 0.0) | (dual.slope > 0.0)
    curvature = problem.curvature(dual)[np.ix_(free, free)]
    # Multipliers of constraints that depend on each other, or without free variables, have no curvature.
    diagonal = np.diag(curvature)
    curvature = curvature + np.diag(damping * diagonal + 1e-15 * diagonal.max() + 1e-300)
    step = np.zeros_like(dual.multipliers)
    try:
        step[free] = np.linalg.solve(curvature, dual.slope[free])
    except np.linalg.LinAlgError:
        return None
    if not np.isfinite(step).all():
        return None
    step /= max(1.0, float((step / (1.0 + 9.0 * dual.multipliers)).max()))
    # Where constraints depend on each other the step is long, and right only until the first multiplier vanishes.
    falling = (step < 0.0) & (dual.multipliers > 0.0)
    first = min(1.0, float((dual.multipliers[falling] / -step[falling]).min(initial=1.0)))
    for fraction in (1.0, 0.5, 0.25, first, 0.5 * first):
        following = problem.dual(np.maximum(dual.multipliers + fraction * step, 0.0))
        change = following.multipliers - dual.multipliers
        # The dual is concave: where it still rises at the end of a step, it rose all along, whatever rounding says.
        if not change.any():
            continue
        if float(following.slope @ change) >= 0.0 or following.value > dual.value + 1e-4 * float(dual.slope @ change):
            return following
    return None


def _ascend(problem: Separable, dual: _Dual, i: int, guess: float) -> _Dual:
    """Maximize over multiplier `i` alone."""
    held = dual.multipliers.copy()

    def at(multiplier: float) -> _Dual:
        held[i] = multiplier
        return problem.dual(held.copy())

    found = at(guess or 1.0)
    if found.slope[i] < 0.0:
        zero = at(0.0)
        if zero.slope[i] <= 0.0:
            return zero
        low, high = 0.0, float(found.multipliers[i])
    else:
        # The slack lowers the slope by 1 / quadratic per unit beyond `linear`.
        low = float(found.multipliers[i])
        high = max(low, problem.linear) + problem.quadratic * float(found.slope[i])
    tolerance = 0.1 * _TOLERANCE * float(found.scale[i])

    def slope(multiplier: float) -> tuple[float, float]:
        nonlocal found
        if multiplier != found.multipliers[i]:
            found = at(multiplier)
        value = float(found.slope[i])
        return value, 0.0 if abs(value) <= tolerance else -float(problem.curvature(found)[i, i])

    falling_root(slope, float(found.multipliers[i]), low, high, tolerance)
    return found
