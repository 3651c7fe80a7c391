"""Gaussian-process algebra by Cholesky factorisation: exact, for up to a few thousand rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import LinAlgError, cholesky, solve_triangular

from sciopt.surrogate.covariance import Block, Geometry

if TYPE_CHECKING:
    from sciopt.core.types import Array
    from sciopt.surrogate.data import Observations
    from sciopt.surrogate.kernels import Kernel

__all__ = ["DenseSolution", "dense_evidence", "dense_solution"]

# Relative to the unit variance of the kernel.
_JITTER = 1e-10


@dataclass(frozen=True, eq=False)
class DenseSolution:
    """Weights of the data, and the factor that variances need.

    Attributes
    ----------
    mean
        The constant mean, eV.
    energy_weights, force_weights
        (N,) and (N, n), ``K^-1 (y - mean)``.
    factor
        Lower Cholesky factor of the covariance of the data, in units of the signal variance.
    """

    mean: float
    energy_weights: Array
    force_weights: Array
    factor: Array

    def explained(self, columns: Array) -> Array:
        """``L^-1 columns``: its squared norms are what the data take off the prior variances."""
        return solve_triangular(self.factor, columns, lower=True, check_finite=False)


def _factor(block: Block, data: Observations, kernel: Kernel, length: float, variance: float) -> Array:
    K = block.covariance(kernel, length)
    n = data.X.shape[1]
    noise = np.concatenate([data.energy_noise**2, np.repeat(data.force_noise**2, n)]) / variance + _JITTER
    diagonal = np.einsum("ii->i", K)
    diagonal += noise
    for attempt in range(7):
        try:
            return cholesky(K, lower=True, check_finite=False)
        except LinAlgError:
            # Nearly equal configurations; more noise is the honest reading of them.
            diagonal += 10.0 ** (attempt - 9)
    raise LinAlgError("the covariance of the observations is not positive definite, even with a noise of 1e-3")


def _targets(data: Observations, constant: bool) -> tuple[Array, Array]:
    y = np.concatenate([data.energies, data.forces.ravel()])
    one = np.zeros_like(y)
    one[: len(data)] = 1.0 if constant else 0.0
    return y, one


def _centred(factor: Array, data: Observations, constant: bool) -> tuple[float, Array]:
    """The generalised-least-squares mean, and ``L^-1 (y - mean)``."""
    y, one = _targets(data, constant)
    if not constant:
        return 0.0, solve_triangular(factor, y, lower=True, check_finite=False)
    ones, ys = solve_triangular(factor, np.column_stack([one, y]), lower=True, check_finite=False).T
    mean = float(ones @ ys / (ones @ ones))
    return mean, ys - mean * ones


def dense_evidence(
    block: Block, data: Observations, kernel: Kernel, length: float, variance: float, constant: bool
) -> tuple[float, float]:
    """Log evidence with the signal variance profiled out, and that variance.

    ``-(N (n+1) / 2) log(z.z / N(n+1)) - log det L`` with ``z = L^-1 (y - mean)``: the noise enters L relative to
    `variance`, the value of the last fit.
    """
    factor = _factor(block, data, kernel, length, variance)
    _, z = _centred(factor, data, constant)
    found = float(z @ z) / len(z)
    return -0.5 * len(z) * np.log(found + 1e-12) - float(np.log(np.einsum("ii->i", factor)).sum()), found


def dense_solution(
    block: Block, data: Observations, kernel: Kernel, length: float, variance: float, constant: bool
) -> DenseSolution:
    """Solve for the weights."""
    factor = _factor(block, data, kernel, length, variance)
    mean, z = _centred(factor, data, constant)
    weights = solve_triangular(factor, z, lower=True, trans=1, check_finite=False)
    count = len(data)
    return DenseSolution(mean, weights[:count], weights[count:].reshape(count, -1), factor)


def geometry_block(geometry: Geometry) -> Block:
    """The block of a batch with itself."""
    return Block.between(geometry, geometry)
