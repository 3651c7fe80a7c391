"""What a Gaussian process believes after it has seen data: predictions, deviations, Hessians."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import numpy as np

from sciopt.surrogate.threads import one_thread

if TYPE_CHECKING:
    from sciopt.core.types import Array
    from sciopt.surrogate.data import Observations
    from sciopt.surrogate.kernels import Radial
    from sciopt.surrogate.process import GaussianProcess

__all__ = ["Posterior", "Solution"]


class Solution(Protocol):
    """Weights of the data, and whatever variances are computed with."""

    @property
    def mean(self) -> float:
        """The constant mean, eV."""

    @property
    def energy_weights(self) -> Array:
        """(N,) ``alpha``."""

    @property
    def force_weights(self) -> Array:
        """(N, n) ``beta``."""

    def energy_variances(self, X: Array) -> Array:
        """(B,) posterior variances of energies at X (B, n), in units of the signal variance."""

    def force_variances(self, X: Array, without: Array | None) -> Array:
        """(B, n) of the force components, those along `without` (B, n) left out."""


@dataclass(frozen=True, eq=False)
class _Expansion:
    """The data as predictions need them: features about their centre, and ``w_j = J_j beta_j``, one below the other.

    Attributes
    ----------
    center
        (D,).
    both
        (2 N, D) features of the data, and w.
    squares, along
        (N,) their squared norms, and their products with w.
    """

    center: Array
    both: Array
    squares: Array
    along: Array


@dataclass(frozen=True, eq=False)
class Posterior:
    """What a Gaussian process believes after it has seen data.

    Attributes
    ----------
    process, data
        The prior and the observations.
    length, variance
        Length scale, in units of the features, and signal variance, eV².
    solution
        The solved equations.
    """

    process: GaussianProcess
    data: Observations
    length: float
    variance: float
    solution: Solution

    @cached_property
    def _expansion(self) -> _Expansion:
        values = self.process.features.at(self.data.X)
        center = values.phi.mean(axis=0)
        features, pushed = values.phi - center, values.push(self.solution.force_weights)
        squares, along = ((part * features).sum(axis=1) for part in (features, pushed))
        return _Expansion(center, np.vstack([features, pushed]), squares, along)

    def _against_data(self, phi: Array) -> tuple[Radial, Array, Array]:
        """For features (B, D): kernel terms (B, N), ``d.w`` (B, N), and the features about the centre of the data."""
        known = self._expansion
        phi = phi - known.center
        products = phi @ known.both.T
        count = len(known.squares)
        s = known.squares - 2.0 * products[:, :count]
        s += np.einsum("ij,ij->i", phi, phi)[:, None]
        radial = self.process.radial.radial(np.maximum(s, 0.0, out=s), self.length)
        return radial, products[:, count:] - known.along, phi

    def predict(self, X: Array) -> tuple[Array, Array]:
        """Energies (B,) in eV and forces (B, n) at X (B, n).

        ``E = m + sum_j alpha_j k_j - a_j d_j.w_j``, ``w_j = J_j beta_j``, for the weights alpha, beta of the data.
        """
        values = self.process.features.at(X)
        radial, along, phi = self._against_data(values.phi)
        alpha = self.solution.energy_weights
        energies = self.solution.mean + radial.k @ alpha - np.einsum("ij,ij->i", radial.a, along)
        c = radial.b * along - radial.a * alpha
        gradient = c.sum(axis=1)[:, None] * phi - np.hstack([c, radial.a]) @ self._expansion.both
        return energies, -values.pull(gradient)

    @one_thread
    def energy_deviations(self, X: Array) -> Array:
        """(B,) standard deviations of the energies at X (B, n), eV."""
        return np.sqrt(self.variance * np.maximum(self.solution.energy_variances(X), 1e-14))

    @one_thread
    def force_deviations(self, X: Array, without: Array | None = None) -> Array:
        """(B, n) standard deviations of the force components at X (B, n).

        Parameters
        ----------
        X
            Configurations.
        without
            (B, n) unit vectors; the force along them is left out: ``(1 - t t^T) F``.
        """
        return np.sqrt(self.variance * np.maximum(self.solution.force_variances(X, without), 1e-14))

    @one_thread
    def hessian(self, x: Array) -> Array:
        """(n, n) second derivatives of the posterior mean at x (n,).

        ``H_phi = sum_j c_j 1 + (alpha_j b_j - e_j d.w) d d^T + b_j (d w^T + w d^T)``, ``c_j = b_j d.w - alpha_j a_j``;
        ``H = J^T H_phi J + sum_k g_k d2phi_k/dx2``.
        """
        features, alpha = self.process.features, self.solution.energy_weights
        values = features.at(x[None])
        terms, along, phi = self._against_data(values.phi)
        (a, b, e), along = (term[0] for term in terms[1:]), along[0]
        data, w = np.split(self._expansion.both, 2)
        d = phi - data
        c = b * along - alpha * a
        gradient = c @ d - a @ w
        repeated = features.at(np.repeat(x[None], len(d), axis=0))
        jd, jw = repeated.pull(d), repeated.pull(w)
        H = c.sum() * values.stiffness(0) + jd.T @ ((alpha * b - e * along)[:, None] * jd)
        mixed = jd.T @ (b[:, None] * jw)
        return H + mixed + mixed.T + values.bend(0, gradient)
