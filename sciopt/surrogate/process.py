"""A Gaussian process of energies and forces: hyperparameters by maximum a posteriori, predictions, deviations, Hessians."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from threadpoolctl import ThreadpoolController

from sciopt.core.errors import InputError
from sciopt.surrogate.covariance import Block, Geometry
from sciopt.surrogate.dense import DenseSolution, dense_evidence, dense_solution
from sciopt.surrogate.kernels import KERNELS, Kernel

if TYPE_CHECKING:
    from sciopt.core.types import Array
    from sciopt.surrogate.data import Observations
    from sciopt.surrogate.features import Features

__all__ = ["GaussianProcess", "Posterior"]

# Matrices are small; threads of BLAS would fight with those of the calculators.
_SMALL = ThreadpoolController()


@dataclass(frozen=True)
class GaussianProcess:
    """The prior of a function seen through its values and forces, ``E(x) = m + GP(phi(x))``.

    Bartók and Csányi 2015, doi 10.1002/qua.24927; Koistinen et al. 2019, doi 10.1021/acs.jctc.9b00692.

    Parameters
    ----------
    features
        What of a configuration matters.
    kernel
        A key of `sciopt.surrogate.kernels.KERNELS`, or a kernel.
    length
        Median of the log-normal prior of the length scale, in units of the features.
    lengths
        Bounds of the length scale.
    spread, belief
        Width of that prior in log length, and how many observations it counts for.
    deviation
        Bounds of the signal's standard deviation, eV.
    constant
        Whether there is a constant mean to be found; otherwise it is zero.
    """

    features: Features
    kernel: str | Kernel = "se"
    length: float = 0.5
    lengths: tuple[float, float] = (0.1, 1.0)
    spread: float = 0.6
    belief: float = 5.0
    deviation: tuple[float, float] = (0.01, 10.0)
    constant: bool = True

    def __post_init__(self) -> None:
        if isinstance(self.kernel, str) and self.kernel not in KERNELS:
            raise InputError(f"unknown kernel {self.kernel!r}; known are {', '.join(KERNELS)}")
        if not 0 < self.lengths[0] <= self.length <= self.lengths[1]:
            raise InputError(f"the length scale {self.length} is outside its bounds {self.lengths}, or not positive")

    @property
    def radial(self) -> Kernel:
        """The kernel itself."""
        return KERNELS[self.kernel] if isinstance(self.kernel, str) else self.kernel

    @_SMALL.wrap(limits=1, user_api="blas")
    def fit(self, data: Observations, previous: Posterior | None = None, optimize: bool = True) -> Posterior:
        """The posterior given `data`.

        Parameters
        ----------
        data
            At least one observation.
        previous
            An earlier posterior: its hyperparameters are the start of the search, and its geometry is used again when
            its observations are the first ones of `data`.
        optimize
            Whether to search for the length scale; otherwise that of `previous` is kept.
        """
        if not len(data):
            raise InputError("a Gaussian process needs at least one observation to be fitted")
        geometry = self._geometry(data, previous)
        block = Block.between(geometry, geometry)
        length = previous.length if previous is not None else self.length
        variance = previous.variance if previous is not None else 1.0
        low, high = (bound**2 for bound in self.deviation)
        variance = float(np.clip(variance, low, high))
        kernel = self.radial

        def posterior(length: float) -> tuple[float, float]:
            evidence, found = dense_evidence(block, data, kernel, length, variance, self.constant)
            return evidence - 0.5 * self.belief * (np.log(length / self.length) / self.spread) ** 2, found

        if optimize:
            length, found = self._search(posterior, length)
        else:
            found = posterior(length)[1]
        variance = float(np.clip(found, low, high))
        solution = dense_solution(block, data, kernel, length, variance, self.constant)
        return Posterior(self, data, length, variance, geometry, solution)

    def _geometry(self, data: Observations, previous: Posterior | None) -> Geometry:
        if previous is not None:
            known = len(previous.data)
            if known <= len(data) and np.array_equal(previous.data.X, data.X[:known]):
                if known == len(data):
                    return previous.geometry
                return previous.geometry.extended(Geometry.of(self.features.at(data.X[known:])))
        return Geometry.of(self.features.at(data.X))

    def _search(self, posterior, length: float, ratio: float = 1.35, steps: int = 4) -> tuple[float, float]:
        """Uphill in log length by steps of `ratio`; the length and the signal variance there."""
        known: dict[float, tuple[float, float]] = {}

        def at(length: float) -> tuple[float, float]:
            if length not in known:
                known[length] = posterior(length)
            return known[length]

        for _ in range(steps):
            around = (length, max(length / ratio, self.lengths[0]), min(length * ratio, self.lengths[1]))
            best = max(around, key=lambda length: at(length)[0])
            if best == length:
                break
            length = best
        return length, at(length)[1]


@dataclass(frozen=True, eq=False)
class Posterior:
    """What a Gaussian process believes after it has seen data.

    Attributes
    ----------
    process, data
        The prior and the observations.
    length, variance
        Length scale, in units of the features, and signal variance, eV².
    geometry, solution
        Caches: the features of the data, and the solved equations.
    """

    process: GaussianProcess
    data: Observations
    length: float
    variance: float
    geometry: Geometry
    solution: DenseSolution
    _pushed: Array = field(init=False, repr=False)

    def __post_init__(self) -> None:
        n = self.data.X.shape[1]
        rows = self.geometry.rows.reshape(len(self.data), n, -1)
        pushed = np.einsum("inD,in->iD", rows, self.solution.force_weights)
        object.__setattr__(self, "_pushed", pushed)

    @_SMALL.wrap(limits=1, user_api="blas")
    def predict(self, X: Array) -> tuple[Array, Array]:
        """Energies (B,) in eV and forces (B, n) at X (B, n).

        ``E = m + sum_j alpha_j k_j - a_j d_j.w_j``, ``w_j = J_j beta_j``, for the weights alpha, beta of the data.
        """
        values = self.process.features.at(X)
        radial, phi, data = self._radial(values.phi)
        along = phi @ self._pushed.T - np.einsum("jD,jD->j", data, self._pushed)
        alpha = self.solution.energy_weights
        energies = self.solution.mean + radial.k @ alpha - (radial.a * along).sum(axis=1)
        c = radial.b * along - radial.a * alpha
        gradient = c.sum(axis=1)[:, None] * phi - c @ data - radial.a @ self._pushed
        return energies, -values.pull(gradient)

    def _radial(self, phi: Array):
        """Kernel terms (B, N) of features (B, D) against the data, and both sets of features about a common centre."""
        center = self.geometry.phi.mean(axis=0)
        a, b = phi - center, self.geometry.phi - center
        s = np.maximum((a * a).sum(1)[:, None] + (b * b).sum(1)[None, :] - 2.0 * a @ b.T, 0.0)
        return self.process.radial.radial(s, self.length), a, b

    @_SMALL.wrap(limits=1, user_api="blas")
    def energy_deviations(self, X: Array) -> Array:
        """(B,) standard deviations of the energies at X (B, n), eV."""
        block = Block.between(self.geometry, Geometry.of(self.process.features.at(X)))
        explained = self.solution.explained(block.energy_columns(self.process.radial, self.length))
        left = 1.0 - np.einsum("ij,ij->j", explained, explained)
        return np.sqrt(self.variance * np.maximum(left, 1e-14))

    @_SMALL.wrap(limits=1, user_api="blas")
    def force_deviations(self, X: Array, without: Array | None = None) -> Array:
        """(B, n) standard deviations of the force components at X (B, n).

        Parameters
        ----------
        X
            Configurations.
        without
            (B, n) unit vectors; the force along them is left out: ``(1 - t t^T) F``.
        """
        count, n = X.shape
        values = Geometry.of(self.process.features.at(X))
        K = Block.between(self.geometry, values).covariance(self.process.radial, self.length)
        explained = self.solution.explained(K[:, count:]).reshape(-1, count, n)
        scale = self.process.radial.radial(np.zeros(1), self.length).a[0]
        rows = values.rows.reshape(count, n, -1)
        if without is not None:
            explained = explained - np.einsum("kin,in->ki", explained, without)[:, :, None] * without
            rows = rows - without[:, :, None] * np.einsum("inD,in->iD", rows, without)[:, None, :]
        prior = scale * np.einsum("inD,inD->in", rows, rows)
        left = prior - np.einsum("kin,kin->in", explained, explained)
        return np.sqrt(self.variance * np.maximum(left, 1e-14))

    @_SMALL.wrap(limits=1, user_api="blas")
    def hessian(self, x: Array) -> Array:
        """(n, n) second derivatives of the posterior mean at x (n,).

        ``H_phi = sum_j c_j 1 + (alpha_j b_j - e_j d.w) d d^T + b_j (d w^T + w d^T)``, ``c_j = b_j d.w - alpha_j a_j``;
        ``H = J^T H_phi J + sum_k g_k d2phi_k/dx2``.
        """
        values = self.process.features.at(x[None])
        radial, phi, data = self._radial(values.phi)
        k, a, b, e = (term[0] for term in radial)
        d, w, alpha = phi - data, self._pushed, self.solution.energy_weights
        along = np.einsum("jD,jD->j", d, w)
        c = b * along - alpha * a
        gradient = c @ d - a @ w
        J = values.jacobian(0)
        jd, jw = d @ J, w @ J
        H = c.sum() * J.T @ J + jd.T @ ((alpha * b - e * along)[:, None] * jd)
        mixed = jd.T @ (b[:, None] * jw)
        return H + mixed + mixed.T + values.bend(0, gradient)
