"""What a Gaussian process believes after it has seen data: predictions, deviations, Hessians."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import numpy as np

from sciopt.surrogate.expansion import Expansion
from sciopt.surrogate.threads import one_thread

if TYPE_CHECKING:
    from sciopt.core.types import Array
    from sciopt.surrogate.data import Observations
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

    def left_out(self, index: int) -> tuple[Array, Array]:
        """(n,) errors of the force at an observation that all others predict, and their variances."""


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
    def _expansion(self) -> Expansion:
        values, solution = self.process.features.at(self.data.X), self.solution
        return Expansion.of(values.phi, solution.energy_weights, values.push(solution.force_weights))

    @one_thread
    def predict(self, X: Array) -> tuple[Array, Array]:
        """Energies (B,) in eV and forces (B, n) at X (B, n)."""
        values = self.process.features.at(X)
        energies, gradients = self._expansion.at(values.phi, self.process.radial, self.length)
        return energies + self.solution.mean, -values.pull(gradients)

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
    def left_out(self, index: int) -> tuple[Array, Array]:
        """How well an observation is predicted by all others with the same hyperparameters.

        ``y - mu = C^-1 w``, C the block of ``K^-1`` that belongs to it and w its weights: nothing is fitted again.
        Exact where K is factorised; of the model in a fixed metric otherwise, some tens of per cent off.

        Rasmussen and Williams 2006, Gaussian Processes for Machine Learning, eqs. 5.10-5.12.

        Returns
        -------
        (n,) errors of the force components, and (n,) their standard deviations without noise.

        Examples
        --------
        >>> import numpy as np
        >>> from sciopt.surrogate import Cartesian, GaussianProcess, Observations
        >>> parabola = Observations.none(1)
        >>> for x in (-1.0, 0.0, 1.0):
        ...     parabola = parabola.add(np.array([x]), x * x, np.array([-2 * x]), 1e-3, 1e-3)
        >>> posterior = GaussianProcess(Cartesian(1), length=2.0, lengths=(0.5, 5.0)).fit(parabola)
        >>> bool(abs(posterior.left_out(1)[0]) < 1e-3)
        True
        """
        errors, variances = self.solution.left_out(index)
        return errors, np.sqrt(self.variance * np.maximum(variances, 1e-14))

    @one_thread
    def hessian(self, x: Array) -> Array:
        """(n, n) second derivatives of the posterior mean at x (n,).

        ``H_phi = sum_j c_j 1 + (alpha_j b_j - e_j d.w) d d^T + b_j (d w^T + w d^T)``, ``c_j = b_j d.w - alpha_j a_j``;
        ``H = J^T H_phi J + sum_k g_k d2phi_k/dx2``.
        """
        features, known = self.process.features, self._expansion
        values = features.at(x[None])
        radial, along, here = known.terms(values.phi, self.process.radial, self.length)
        a, b, e, along = radial.a[0], radial.b[0], radial.e[0], along[0]
        w, alpha = known.both[len(known.alpha) :], known.alpha
        d = here - known.both[: len(alpha)]
        c = b * along - alpha * a
        gradient = c @ d - a @ w
        repeated = features.at(np.repeat(x[None], len(d), axis=0))
        jd, jw = repeated.pull(d), repeated.pull(w)
        H = c.sum() * values.stiffness(0) + jd.T @ ((alpha * b - e * along)[:, None] * jd)
        mixed = jd.T @ (b[:, None] * jw)
        return H + mixed + mixed.T + values.bend(0, gradient)
