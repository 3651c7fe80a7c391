"""A quadratic model minimized over a convex set of which only the projection is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sciopt.core.box import Quadratic
    from sciopt.core.types import Array

__all__ = ["minimize_quadratic"]


def minimize_quadratic(
    model: Quadratic,
    x: Array,
    project: Callable[[Array], Array],
    most: int = 25,
    tol: float = 1e-3,
) -> Array:
    """(n,) the step that spectral projected gradients find for `model`, from `x`, in at most `most` iterations.

    ``e = P(z - a g / metric) - z`` and ``z <- z + t e`` with the exact t of the quadratic along e, at most 1, and the
    Barzilai-Borwein length a. No evaluation of the problem is spent. Ends when an iteration promises less than `tol`
    of the decrease so far.

    Birgin, Martinez and Raydan 2000, doi 10.1137/S1052623497330963.

    Examples
    --------
    >>> import numpy as np
    >>> from sciopt.core.box import Quadratic
    >>> model = Quadratic(np.array([1.0, 4.0]), 2.0, np.ones(2), np.zeros((0, 2)), np.zeros((0, 0)))
    >>> minimize_quadratic(model, np.zeros(2), lambda y: np.clip(y, 0.0, 1.0))
    array([0.5, 1. ])
    """
    metric = model.metric
    z, gradient = x, -model.force
    length = 1.0 / model.scale
    gained = 0.0
    for _ in range(most):
        direction = project(z - length * gradient / metric) - z
        slope = float(model.total(gradient @ direction))
        if not slope < -tol * gained:
            break
        bent = model.curve(direction)
        curvature = float(model.total(direction @ bent))
        t = 1.0 if curvature <= 0.0 else min(1.0, -slope / curvature)
        z = z + t * direction
        gradient = gradient + t * bent
        gained -= t * slope + 0.5 * t * t * curvature
        square = float(model.total(direction @ (metric * direction)))
        length = square / curvature if curvature > 0.0 else 4.0 * length
    return z - x
