"""Gaussian-process algebra without matrices: conjugate gradients, preconditioned by the solution in a fixed metric."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.linalg.blas import dgemm

from sciopt.surrogate.covariance import squared_distances
from sciopt.surrogate.factor import JITTER

if TYPE_CHECKING:
    from sciopt.core.types import Array
    from sciopt.surrogate.data import Observations
    from sciopt.surrogate.features import FeatureValues
    from sciopt.surrogate.fixed_metric import FixedMetric

__all__ = ["StructuredSolution", "conjugate_gradients", "covariance_product", "solve_structured"]

# Largest residuals of an energy (eV) and of a force (eV per unit of x), and iterations after which to give up.
_TOLERANCE = (5e-5, 3e-4)
# Energies are what converges last. They need not be solved better than this part of their standard error, at most this
# many eV.
_SHARE, _MOST = 0.3, 3e-4
_ITERATIONS = 200


def covariance_product(values: FeatureValues, data: Observations, fixed: FixedMetric) -> Callable[[Array], Array]:
    """The map from weights (N, n+1) of energies and forces to ``(K + noise) w``, without K.

    Parameters
    ----------
    values
        Features of the data.
    data
        The observations: their noise.
    fixed
        Gives kernel, length scale and the variance that the noise is relative to.
    """
    phi = values.phi - values.phi.mean(axis=0)
    radial = fixed.kernel.radial(squared_distances(phi, phi), fixed.length)
    noise = np.repeat(data.force_noise[:, None] ** 2, data.X.shape[1] + 1, axis=1)
    noise[:, 0] = data.energy_noise**2
    noise = noise / fixed.variance + JITTER

    def product(weights: Array) -> Array:
        pushed = values.push(weights[:, 1:])
        along = phi @ pushed.T - np.einsum("jD,jD->j", phi, pushed)
        c = radial.b * along - radial.a * weights[:, 0]
        out = noise * weights
        out[:, 0] += radial.k @ weights[:, 0] - np.einsum("ij,ij->i", radial.a, along)
        # sum_j c_j (phi - phi_j) - a_j w_j, transposed: two products that are summed in place.
        c -= np.diag(c.sum(axis=1))
        slopes = dgemm(-1.0, phi.T, c.T)
        slopes = dgemm(-1.0, pushed.T, radial.a.T, beta=1.0, c=slopes, overwrite_c=1)
        out[:, 1:] -= values.pull(slopes.T)
        return out

    return product


class Solved(NamedTuple):
    """Weights (N, n+1), the constant mean, how many iterations that took, and whether it is accurate."""

    weights: Array
    mean: float
    iterations: int
    converged: bool


def conjugate_gradients(
    product: Callable[[Array], Array],
    precondition: Callable[[Array], Array],
    y: Array,
    start: Array,
    constant: bool,
    tolerance: tuple[float, float] = _TOLERANCE,
    iterations: int = _ITERATIONS,
) -> Solved:
    """Solve ``K w + m e = y`` for w, and for the mean m of the energies under ``e.w = 0``.

    e has ones beside energies; the generalised-least-squares mean is the multiplier of that constraint, on which the
    iterates stay: Gould, Hribar and Nocedal 2001, doi 10.1137/S1064827598345667.

    Parameters
    ----------
    product, precondition
        ``K w`` and an approximation of ``K^-1 y``.
    y, start
        (N, n+1) right-hand side and a first guess; weights of its energies must sum to zero if there is a mean.
    constant
        Whether there is a mean; otherwise it is zero.
    tolerance, iterations
        Largest residual of an energy and of a force that may be left, and when to give up.
    """
    allowed = np.full(y.shape[1], tolerance[1])
    allowed[0] = tolerance[0]
    one = np.zeros_like(y)
    one[:, 0] = 1.0
    ones = precondition(one) if constant else one
    total = float(ones[:, 0].sum())

    def projected(residual: Array) -> tuple[Array, Array, float]:
        """The direction that keeps the constraint; the residual without its part along e, which rounding feeds on."""
        direction = precondition(residual)
        if not constant:
            return direction, residual, 0.0
        mean = float(direction[:, 0].sum()) / total
        return direction - mean * ones, residual - mean * one, mean

    weights = start.copy()
    z, residual, mean = projected(y - product(weights) if start.any() else y)
    p, rz = z, float(np.vdot(residual, z))
    for iteration in range(iterations):
        if (np.abs(residual) < allowed).all():
            return Solved(weights, mean, iteration, True)
        moved = product(p)
        step = rz / float(np.vdot(p, moved))
        weights = weights + step * p
        z, residual, more = projected(residual - step * moved)
        mean += more
        last, rz = rz, float(np.vdot(residual, z))
        p = z + rz / last * p
    return Solved(weights, mean, iterations, False)


@dataclass(frozen=True, eq=False)
class StructuredSolution:
    """Weights of the data; deviations come from the model in a fixed metric.

    Attributes
    ----------
    solved
        The solution of the equations.
    fixed, others
        The model in a fixed metric, and those of the length scales that a next search begins with.
    """

    solved: Solved
    fixed: FixedMetric
    others: tuple[FixedMetric, ...] = ()

    @property
    def mean(self) -> float:
        """The constant mean, eV."""
        return self.solved.mean

    @property
    def energy_weights(self) -> Array:
        """(N,) ``alpha``."""
        return self.solved.weights[:, 0]

    @property
    def force_weights(self) -> Array:
        """(N, n) ``beta``."""
        return self.solved.weights[:, 1:]

    @property
    def iterations(self) -> int:
        """How many products it took."""
        return self.solved.iterations

    @property
    def converged(self) -> bool:
        """Whether the equations are solved accurately."""
        return self.solved.converged

    def energy_variances(self, X: Array) -> Array:
        """(B,) posterior variances of energies at X (B, n), in units of the signal variance."""
        return self.fixed.energy_variances(X)

    def force_variances(self, X: Array, without: Array | None) -> Array:
        """(B, n) of the force components, those along `without` (B, n) left out."""
        return self.fixed.force_variances(X, without)

    def left_out(self, index: int) -> tuple[Array, Array]:
        """(n,) errors of the force at an observation that all others predict, and their variances."""
        return self.fixed.left_out(index, self.solved.weights[index])


def solve_structured(
    values: FeatureValues,
    data: Observations,
    fixed: FixedMetric,
    start: Array,
    constant: bool,
    force_noise: float = 1.0,
) -> Solved:
    """The weights of the data, from a first guess (N, n+1)."""
    y = np.column_stack([data.energies, data.forces])
    if constant:
        # Where a mean is found, weights of energies sum to zero.
        start = start - np.eye(1, y.shape[1]) * start[:, 0].mean()
    known = float(np.clip(_SHARE * data.energy_noise.min(), _TOLERANCE[0], _MOST))
    product = covariance_product(values, data, fixed)
    return conjugate_gradients(product, fixed.solve, y, start, constant, (known, _TOLERANCE[1]))
