"""The root of a falling function of one variable: how the multiplier of a single constraint is found."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

__all__ = ["falling_root"]

_MOST_ITERATIONS = 200


def falling_root(
    function: Callable[[float], tuple[float, float]], start: float, low: float, high: float, tol: float
) -> float:
    """The t in [low, high] where a falling function is zero, by Newton's method kept inside a shrinking bracket.

    Where the function has no zero in the bracket, the end nearest to one.

    Parameters
    ----------
    function
        ``t -> (value, slope)`` with a value that never rises.
    start
        First guess.
    low, high
        Finite bracket.
    tol
        Absolute tolerance on the value.

    Examples
    --------
    >>> round(falling_root(lambda t: (2.0 - t * t, -2.0 * t), 1.0, 0.0, 5.0, 1e-14), 10)
    1.4142135624
    """
    t = min(max(start, low), high)
    for _ in range(_MOST_ITERATIONS):
        value, slope = function(t)
        if abs(value) <= tol:
            break
        if value > 0.0:
            low = t
        else:
            high = t
        if high - low <= 2.0 * np.finfo(float).eps * max(abs(low), abs(high)):
            break
        t = t - value / slope if slope < 0.0 else np.nan
        if not low < t < high:
            t = 0.5 * (low + high)
    return t
