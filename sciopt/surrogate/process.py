"""A Gaussian process of energies and forces: its prior, and hyperparameters by maximum a posteriori."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from sciopt.core.errors import InputError
from sciopt.surrogate.covariance import Geometry
from sciopt.surrogate.dense import DenseSolution, Trained, train
from sciopt.surrogate.fixed_metric import FixedMetric, Frame, Told
from sciopt.surrogate.kernels import KERNELS, Kernel
from sciopt.surrogate.posterior import Posterior
from sciopt.surrogate.structured import StructuredSolution, solve_structured
from sciopt.surrogate.threads import one_thread

if TYPE_CHECKING:
    from sciopt.core.types import Array
    from sciopt.surrogate.data import Observations
    from sciopt.surrogate.features import Features

__all__ = ["GaussianProcess", "Posterior"]

# Steps of the search for the length scale.
_RATIO = 1.35
# How far the signal variance may move before the noise, which is relative to it in factors, is set anew.
_DRIFT = 1.4
# Rows that are factorised when iterations stall; above, this factor on the noise of the forces.
_AFFORDABLE = 5000
_NOISIER = 5.0

_LOG = logging.getLogger("sciopt")


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
    structured
        From how many coordinates on equations are solved by conjugate gradients, and deviations told by a model in a
        fixed metric. Fewer coordinates are cheaper to factorise, and hardly converge.
    dense_rows
        Rows, N (n+1), from which on it is done for fewer coordinates too.

    Raises
    ------
    InputError
        For an unknown kernel, or a length scale outside its bounds.

    Examples
    --------
    >>> import numpy as np
    >>> from sciopt.surrogate import Cartesian, Observations
    >>> parabola = Observations.none(1)
    >>> for x in (-1.0, 0.0, 1.0):
    ...     parabola = parabola.add(np.array([x]), x * x, np.array([-2 * x]), 1e-3, 1e-3)
    >>> posterior = GaussianProcess(Cartesian(1), length=2.0, lengths=(0.5, 5.0)).fit(parabola)
    >>> energies, forces = posterior.predict(np.array([[0.5]]))
    >>> energies.round(2), forces.round(2)
    (array([0.25]), array([[-1.]]))
    """

    features: Features
    kernel: str | Kernel = "se"
    length: float = 0.5
    lengths: tuple[float, float] = (0.1, 1.0)
    spread: float = 0.6
    belief: float = 5.0
    deviation: tuple[float, float] = (0.01, 10.0)
    constant: bool = True
    structured: int = 90
    dense_rows: int = 3500

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
    def fit(
        self,
        data: Observations,
        previous: Posterior | None = None,
        optimize: bool = True,
        start: tuple[float, float] | None = None,
    ) -> Posterior:
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
        start
            Length scale and signal variance to begin from where there is no `previous`.

        Raises
        ------
        InputError
            Without observations.
        """
        if not len(data):
            raise InputError("a Gaussian process needs at least one observation to be fitted")
        if self.features.coordinates >= self.structured or len(data) * (self.features.rank + 1) > self.dense_rows:
            return self._fit_structured(data, previous, optimize, start)
        return self._fit_dense(data, previous, optimize, None, start)

    def _fit_dense(
        self,
        data: Observations,
        previous: Posterior | None,
        optimize: bool,
        length: float | None = None,
        begin: tuple[float, float] | None = None,
    ) -> Posterior:
        first, variance = self._start(previous, begin)
        length = first if length is None else length
        earlier = self._continued(previous, variance)
        cache: dict[float, Trained] = {}
        if earlier is None or previous is None:
            geometry = Geometry.of(self.features, self.features.at(data.X))
        else:
            known = data.shared(previous.data)
            geometry, variance = earlier.geometry.until(known), earlier.trained.variance
            if known < len(data):
                geometry = geometry.extended(Geometry.of(self.features, self.features.at(data.X[known:])))
            rows = known * geometry.rows.shape[1]
            cache = {one.length: one.until(rows) for one in (earlier.trained, *earlier.others)}
        trained: dict[float, Trained] = {}

        def at(length: float) -> Trained:
            if length not in trained:
                trained[length] = train(geometry, data, self.radial, length, variance, cache.get(length))
            return trained[length]

        if optimize:
            length = self._search(lambda length: at(length).evidence(self.constant)[0], length)
        best = at(length)
        found = self._clipped(best.evidence(self.constant)[1])
        near = (one for one in (cache | trained).values() if len(one.white))
        others = tuple(one for one in near if 0.0 < abs(np.log(one.length / length)) < 1.01 * np.log(_RATIO))
        if abs(np.log(found / variance)) > (0.0 if earlier is None else np.log(_DRIFT)):
            best, others = train(geometry, data, self.radial, length, found, None), ()
        solution = DenseSolution.of(self.features, geometry, best, data, self.constant, others)
        return Posterior(self, data, length, found, solution)

    def _fit_structured(
        self, data: Observations, previous: Posterior | None, optimize: bool, begin: tuple[float, float] | None
    ) -> Posterior:
        """Hyperparameters from the model in a fixed metric, weights by conjugate gradients."""
        length, variance = self._start(previous, begin)
        values, y = self.features.at(data.X), np.column_stack([data.energies, data.forces])
        known = previous is not None and previous.process.features is self.features
        earlier = previous.solution if previous is not None and known else None
        cache: dict[float, FixedMetric] = {}
        if isinstance(earlier, StructuredSolution):
            cache = {one.length: one for one in (earlier.fixed, *earlier.others) if one.kernel == self.radial}
            if abs(np.log(variance / earlier.fixed.variance)) <= np.log(_DRIFT):
                # What the noise is relative to need not be better than that, and stays what factors were made with.
                variance = earlier.fixed.variance
        frame = Frame.of(values, data.X, earlier.fixed.frame if isinstance(earlier, StructuredSolution) else None)
        told = Told.of(frame, data)
        tried: dict[float, FixedMetric] = {}

        def at(length: float) -> FixedMetric:
            if length not in tried:
                tried[length] = FixedMetric.of(frame, data, self.radial, length, variance, cache.get(length))
            return tried[length]

        if optimize:
            length = self._search(lambda length: at(length).evidence(told, self.constant)[0], length)
        same = previous is not None and (previous.process.radial, previous.length) == (self.radial, length)
        if not same:
            # With another kernel or length scale goes another variance, which the fixed metric knows well enough.
            expected = self._clipped(at(length).evidence(told, self.constant)[1])
            if previous is None or abs(np.log(expected / variance)) > np.log(_DRIFT):
                variance = expected
                tried.clear()
        affordable = len(data) * (self.features.rank + 1) <= _AFFORDABLE
        if affordable and isinstance(earlier, DenseSolution):
            # Iterations have stalled before, or rows were fewer: what is factorised is continued.
            return self._fit_dense(data, previous, False, length)
        weights = np.zeros_like(y)
        if previous is not None and earlier is not None and same and data.shared(previous.data) == len(previous.data):
            # From any other weights it takes longer than from none.
            weights[: len(previous.data)] = np.column_stack([earlier.energy_weights, earlier.force_weights])

        def solve(fixed: FixedMetric, data: Observations, weights: Array) -> tuple[StructuredSolution, float]:
            solved = solve_structured(values, data, fixed, weights, self.constant)
            near = (one for one in (cache | tried).values() if one.variance == fixed.variance)
            others = tuple(one for one in near if 0.0 < abs(np.log(one.length / length)) < 1.01 * np.log(_RATIO))
            found = self._clipped(float(np.vdot(solved.weights, y)) / y.size)
            return StructuredSolution(solved, fixed, others), found

        solution, found = solve(at(length), data, weights)
        believed = data
        if not solution.converged:
            stalled = f"the surrogate's equations ({y.size} rows) stalled after {solution.iterations} iterations"
            if affordable:
                _LOG.info("%s: solved by factorisation", stalled)
                return self._fit_dense(data, previous, False, length)
            _LOG.warning("%s: forces are taken to be %g times as noisy", stalled, _NOISIER)
            believed = replace(data, force_noise=_NOISIER * data.force_noise)
            fixed = FixedMetric.of(frame, believed, self.radial, length, variance)
            solution, found = solve(fixed, believed, solution.solved.weights)
        if abs(np.log(found / variance)) > np.log(_DRIFT):
            fixed = FixedMetric.of(frame, believed, self.radial, length, found)
            better, new = solve(fixed, believed, solution.solved.weights)
            solution, found = (better, new) if better.converged else (solution, found)
        return Posterior(self, data, length, found, solution)

    def _start(self, previous: Posterior | None, begin: tuple[float, float] | None) -> tuple[float, float]:
        """Length scale and signal variance of `previous`, as given, or of the prior."""
        if previous is None:
            length, variance = begin if begin is not None else (self.length, 1.0)
            return length, self._clipped(variance)
        return previous.length, self._clipped(previous.variance)

    def _clipped(self, variance: float) -> float:
        low, high = self.deviation
        return float(np.clip(variance, low**2, high**2))

    def _continued(self, previous: Posterior | None, variance: float) -> DenseSolution | None:
        """The solution of `previous`, if its factors are still good for the observations that it shares."""
        if previous is None or previous.process.features is not self.features:
            return None
        solution = previous.solution
        if not isinstance(solution, DenseSolution) or solution.trained.kernel != self.radial:
            return None
        return solution if abs(np.log(variance / solution.trained.variance)) <= np.log(_DRIFT) else None

    def _search(self, evidence: Callable[[float], float], length: float, steps: int = 4) -> float:
        """Uphill in log length on a grid of factors `_RATIO`, the prior included."""
        low, high = self.lengths

        def posterior(length: float) -> float:
            return evidence(length) - 0.5 * self.belief * (np.log(length / self.length) / self.spread) ** 2

        for _ in range(steps):
            # Rounded, so that what was factorised is found again.
            around = (length, max(round(length / _RATIO, 9), low), min(round(length * _RATIO, 9), high))
            best = max(around, key=posterior)
            if best == length:
                break
            length = best
        return length
