"""The two functions on which the reference trajectories were computed, with exact gradients in double precision."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

# Symmetric, strictly diagonally dominant, eigenvalues from 0.12 to 40: ill-conditioned and far from aligned.
MATRIX = np.array(
    [
        [40.0, 1.5, -0.5, 0.25, 0.02],
        [1.5, 9.0, 0.75, -0.3, 0.01],
        [-0.5, 0.75, 3.0, 0.2, -0.03],
        [0.25, -0.3, 0.2, 1.0, 0.05],
        [0.02, 0.01, -0.03, 0.05, 0.125],
    ]
)
LINEAR = np.array([1.0, -2.0, 0.5, 3.0, -0.125])


def quadratic_gradient(x: Vector) -> Vector:
    """``A x - b``, the gradient of ``x.A x / 2 - b.x``."""
    return np.array([sum(a * c for a, c in zip(row, x, strict=True)) for row in MATRIX]) - LINEAR


def rosenbrock_gradient(x: Vector) -> Vector:
    """Gradient of ``sum_i 100 (x_{i+1} - x_i^2)^2 + (1 - x_i)^2``."""
    gradient = np.zeros_like(x)
    valley = x[1:] - x[:-1] ** 2
    gradient[:-1] += -400.0 * x[:-1] * valley - 2.0 * (1.0 - x[:-1])
    gradient[1:] += 200.0 * valley
    return gradient


FUNCTIONS: dict[str, tuple[Vector, Callable[[Vector], Vector]]] = {
    "quadratic": (np.array([1.0, -1.0, 2.0, -3.0, 4.0]), quadratic_gradient),
    "rosenbrock": (np.array([-1.2, 1.0, 0.7, -0.4, 0.9]), rosenbrock_gradient),
}
"""Name -> (first point, gradient)."""
