"""A Gaussian process of energies and forces: its prior, and hyperparameters by maximum a posteriori."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sciopt.core.errors import InputError
from sciopt.surrogate.covariance import Geometry
from sciopt.surrogate.dense import DenseSolution, Trained, train
from sciopt.surrogate.kernels import KERNELS, Kernel
from sciopt.surrogate.posterior import Posterior
from sciopt.surrogate.threads import one_thread

if TYPE_CHECKING:
    from sciopt.surrogate.data import Observations
    from sciopt.surrogate.features import Features

__all__ = ["GaussianProcess", "Posterior"]

# Steps of the search for the length scale.
_RATIO = 1.35
# How far the signal variance may move before the noise, which is relative to it in factors, is set anew.
_DRIFT = 1.4


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

    @one_thread
    def fit(self, data: Observations, previous: Posterior | None = None, optimize: bool = True) -> Posterior:
        """The posterior given `data`.

        Parameters
        ----------
        data
            At least one observation.
        previous
            An earlier posterior: its hyperparameters are the start of the search, and its factors are continued when
            its observations are the first ones of `data`.
        optimize
            Whether to search for the length scale; otherwise that of `previous` is kept.
        """
        if not len(data):
            raise InputError("a Gaussian process needs at least one observation to be fitted")
        length = previous.length if previous is not None else self.length
        variance = self._clipped(previous.variance if previous is not None else 1.0)
        earlier = self._continued(data, previous, variance)
        if earlier is None:
            geometry = Geometry.of(self.features, self.features.at(data.X))
        else:
            geometry, known = earlier.geometry, len(earlier.geometry)
            variance = earlier.trained.variance
            if known < len(data):
                geometry = geometry.extended(Geometry.of(self.features, self.features.at(data.X[known:])))
        cache = {} if earlier is None else {one.length: one for one in (earlier.trained, *earlier.others)}
        trained: dict[float, Trained] = {}

        def evidence(length: float) -> float:
            if length not in trained:
                trained[length] = train(geometry, data, self.radial, length, variance, cache.get(length))
            log_length = np.log(length / self.length)
            return trained[length].evidence(self.constant)[0] - 0.5 * self.belief * (log_length / self.spread) ** 2

        if optimize:
            length = self._search(evidence, length)
        evidence(length)
        found = self._clipped(trained[length].evidence(self.constant)[1])
        best = trained.pop(length)
        others = tuple(one for one in trained.values() if abs(np.log(one.length / length)) < 1.01 * np.log(_RATIO))
        if earlier is None or abs(np.log(found / variance)) > np.log(_DRIFT):
            best, others = train(geometry, data, self.radial, length, found, None), ()
        solution = DenseSolution.of(self.features, geometry, best, self.constant, others)
        return Posterior(self, data, length, found, solution)

    def _clipped(self, variance: float) -> float:
        low, high = self.deviation
        return float(np.clip(variance, low**2, high**2))

    def _continued(self, data: Observations, previous: Posterior | None, variance: float) -> DenseSolution | None:
        """The solution of `previous`, if `data` continue its observations and its factors are still good."""
        if previous is None or previous.process.features is not self.features or not data.continues(previous.data):
            return None
        solution = previous.solution
        if not isinstance(solution, DenseSolution) or solution.trained.kernel != self.radial:
            return None
        return solution if abs(np.log(variance / solution.trained.variance)) <= np.log(_DRIFT) else None

    def _search(self, evidence: Callable[[float], float], length: float, steps: int = 4) -> float:
        """Uphill in log length on a grid of factors `_RATIO`."""
        low, high = self.lengths
        for _ in range(steps):
            # Rounded, so that what was factorised is found again.
            around = (length, max(round(length / _RATIO, 9), low), min(round(length * _RATIO, 9), high))
            best = max(around, key=evidence)
            if best == length:
                break
            length = best
        return length
