"""Is the gradient the gradient? Central differences along a direction, and the order at which they converge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from sciopt.core.evaluation import Evaluation, Problem
    from sciopt.core.types import Array

__all__ = ["GradientCheck", "check_gradient"]


@dataclass(frozen=True)
class GradientCheck:
    """Errors of central differences against the derivative.

    Attributes
    ----------
    steps
        (k,) step lengths, falling.
    errors
        (k,) ``|(f(x + h d) - f(x - h d)) / 2h - g.d|`` relative to ``|g.d|``.
    order
        Slope of log error against log step over the last three steps before rounding takes over: 2 is right.
    error
        The smallest of `errors`.
    """

    steps: Array
    errors: Array
    order: float
    error: float

    def __str__(self) -> str:
        return f"order {self.order:.2f} (2 is right), smallest relative error {self.error:.1e}"


def check_gradient(problem: Problem, x: Array | None = None, seed: int = 0) -> GradientCheck:
    """Compare the gradient of `problem` with central differences along a random direction.

    With constraints, the first one is checked instead of the value.

    Parameters
    ----------
    problem
        Anything with `start`, `evaluate` and a `space`, which sums over ranks where x is one rank's piece.
    x
        (n,) where; a random interior point near the start by default.
    seed
        Of the point and the direction; ranks may choose theirs as they like.
    """
    rng = np.random.default_rng(seed)
    if x is None:
        x = np.clip(problem.start() * (1.0 + 0.3 * rng.uniform(-1, 1, problem.start().size)), 0.05, 0.95)
    direction = rng.uniform(-1, 1, x.size)
    value, gradient = _function(problem.evaluate(x))
    slope = problem.space.dot(gradient, direction)
    steps: Array = 0.04 * 0.5 ** np.arange(6.0)
    errors = []
    for step in steps:
        above, _ = _function(problem.evaluate(x + step * direction))
        below, _ = _function(problem.evaluate(x - step * direction))
        errors.append(abs((above - below) / (2.0 * step) - slope) / abs(slope))
    found: Array = np.array(errors)
    # Rounding and solver tolerance end the fall; what lies beyond says nothing about the gradient.
    floor = max(1e-10 * abs(value / slope) / steps[-1], 1e-13)
    clear = np.flatnonzero(found > 30.0 * floor)
    # Large steps may still see other terms than the leading one.
    usable = clear[-3:] if clear.size >= 2 else np.arange(2)
    order = float(np.polyfit(np.log(steps[usable]), np.log(np.maximum(found[usable], 1e-300)), 1)[0])
    return GradientCheck(steps, found, order, float(found.min()))


def _function(ev: Evaluation) -> tuple[float, Array]:
    if ev.constraints is not None and ev.jacobian is not None:
        return float(ev.constraints[0]), ev.jacobian[0]
    assert ev.value is not None
    return ev.value, -ev.force
