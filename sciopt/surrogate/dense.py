"""Gaussian-process algebra by Cholesky factorisation: exact, for up to a few thousand rows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from sciopt.surrogate.covariance import Geometry, covariance, energy_columns
from sciopt.surrogate.factor import JITTER, Factor, factorised

if TYPE_CHECKING:
    from sciopt.core.types import Array
    from sciopt.surrogate.data import Observations
    from sciopt.surrogate.features import Features
    from sciopt.surrogate.kernels import Kernel

__all__ = ["DenseSolution", "Trained", "train"]


@dataclass(frozen=True, eq=False)
class Trained:
    """The factorised covariance of N observations for one length scale.

    Attributes
    ----------
    kernel, length
        The prior.
    variance
        The signal variance that the noise is relative to, eV².
    factor
        Of the covariance in units of that variance.
    white
        (N (r+1), 2) ``L^-1 1`` and ``L^-1 y``, the ones beside energies only.
    """

    kernel: Kernel
    length: float
    variance: float
    factor: Factor
    white: Array

    def until(self, rows: int) -> Trained:
        """Of the first observations, as far as they were factorised together and have no more than `rows` rows."""
        factor = self.factor.until(rows)
        return replace(self, factor=factor, white=self.white[: len(factor)])

    def centred(self, constant: bool) -> tuple[float, Array]:
        """The generalised-least-squares mean, or zero, and ``z = L^-1 (y - mean)``."""
        ones, ys = self.white.T
        mean = float(ones @ ys / (ones @ ones)) if constant else 0.0
        return mean, ys - mean * ones

    def evidence(self, constant: bool) -> tuple[float, float]:
        """Log evidence with the signal variance profiled out, and that variance.

        ``-(M / 2) log(z.z / M) - log det L`` for M = N (r+1) rows.
        """
        _, z = self.centred(constant)
        found = float(z @ z) / len(z)
        return -0.5 * len(z) * np.log(found + 1e-12) - self.factor.log_determinant, found


def train(
    geometry: Geometry, data: Observations, kernel: Kernel, length: float, variance: float, earlier: Trained | None
) -> Trained:
    """Factorise; `earlier`, of the first observations with the same hyperparameters, is continued."""
    known = len(earlier.white) // geometry.rows.shape[1] if earlier is not None else 0
    if earlier is not None and known == len(data):
        return earlier
    if earlier is not None and known:
        new, old = geometry.since(known), geometry.until(known)
        corner = covariance(new, new, kernel, length)
        np.einsum("ii->i", corner)[:] += _noise(geometry, data, variance)[len(earlier.white) :]
        factor = earlier.factor.extended(covariance(old, new, kernel, length), corner)
        if factor is not None:
            white = factor.continued(earlier.white, _targets(geometry, data)[len(earlier.white) :])
            return Trained(kernel, length, variance, factor, white)
    factor = factorised(lambda: covariance(geometry, geometry, kernel, length), _noise(geometry, data, variance))
    return Trained(kernel, length, variance, factor, factor.whiten(_targets(geometry, data)))


def _noise(geometry: Geometry, data: Observations, variance: float) -> Array:
    noise = np.repeat(data.force_noise[:, None] ** 2, geometry.rows.shape[1], axis=1)
    noise[:, 0] = data.energy_noise**2
    return noise.ravel() / variance + JITTER


def _targets(geometry: Geometry, data: Observations) -> Array:
    """(N (r+1), 2) ones beside energies, and the energies and forces."""
    targets = np.zeros((len(data), geometry.rows.shape[1], 2))
    targets[:, 0, 0] = 1.0
    targets[:, 0, 1] = data.energies
    targets[:, 1:, 1] = np.einsum("inr,in->ir", geometry.basis, data.forces)
    return targets.reshape(-1, 2)


@dataclass(frozen=True, eq=False)
class DenseSolution:
    """Weights of the data, and the factor that deviations need.

    Attributes
    ----------
    mean
        The constant mean, eV.
    energy_weights, force_weights
        (N,) and (N, n), ``K^-1 (y - mean)``.
    features, geometry
        The map and its values at the data.
    trained, others
        The factorised covariance, and those of the length scales that a next search begins with.
    constant
        Whether the mean was found.
    noise
        (N,) variances of a force component that were added, in units of the signal variance.
    """

    mean: float
    energy_weights: Array
    force_weights: Array
    features: Features
    geometry: Geometry
    trained: Trained
    others: tuple[Trained, ...]
    constant: bool
    noise: Array

    @classmethod
    def of(
        cls,
        features: Features,
        geometry: Geometry,
        trained: Trained,
        data: Observations,
        constant: bool,
        others: tuple[Trained, ...],
    ) -> DenseSolution:
        """Solve for the weights."""
        mean, z = trained.centred(constant)
        weights = trained.factor.unwhiten(z[:, None]).reshape(len(geometry), -1)
        forces = np.einsum("inr,ir->in", geometry.basis, weights[:, 1:])
        noise = data.force_noise**2 / trained.variance + JITTER
        return cls(mean, weights[:, 0], forces, features, geometry, trained, others, constant, noise)

    def energy_variances(self, X: Array) -> Array:
        """(B,) posterior variances of energies at X (B, n), in units of the signal variance."""
        phi = self.features.at(X).phi
        columns = energy_columns(self.geometry, phi, self.trained.kernel, self.trained.length)
        explained = self.trained.factor.whiten(columns)
        return 1.0 - np.einsum("ij,ij->j", explained, explained)

    def force_variances(self, X: Array, without: Array | None) -> Array:
        """(B, n) of the force components, those along `without` (B, n) left out."""
        here = Geometry.of(self.features, self.features.at(X))
        kernel, length = self.trained.kernel, self.trained.length
        explained = self.trained.factor.whiten(covariance(self.geometry, here, kernel, length))
        explained = explained.reshape(len(explained), len(X), -1)[:, :, 1:]
        prior = kernel.radial(np.zeros(1), length).a[0]
        left = np.empty(X.shape)
        for i, (rows, basis) in enumerate(zip(here.rows[:, 1:], here.basis, strict=True)):
            seen = basis if without is None else basis - np.outer(without[i], without[i] @ basis)
            covariances = prior * rows @ rows.T - explained[:, i].T @ explained[:, i]
            left[i] = np.einsum("nr,rs,ns->n", seen, covariances, seen, optimize=True)
        return left

    def left_out(self, index: int) -> tuple[Array, Array]:
        """(n,) errors of the force at an observation that all others predict, and their variances."""
        size = self.geometry.rows.shape[1]
        own = np.zeros((len(self.trained.white), size))
        own[index * size : (index + 1) * size] = np.eye(size)
        white = self.trained.factor.whiten(own)
        block = white.T @ white
        basis, ones = self.geometry.basis[index], self.trained.white[:, 0]
        weights = np.append(self.energy_weights[index], self.force_weights[index] @ basis)
        # Others have another mean, too.
        shared = white.T @ ones
        mean = np.outer(shared, shared) / (ones @ ones) if self.constant else 0.0
        errors = np.linalg.solve(block - mean, weights)[1:]
        covariances = np.linalg.inv(block)[1:, 1:] - self.noise[index] * np.eye(size - 1)
        return basis @ errors, np.einsum("nr,rs,ns->n", basis, covariances, basis, optimize=True)
