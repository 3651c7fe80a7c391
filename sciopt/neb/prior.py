"""A cheaper calculator as the prior mean: the Gaussian process learns the difference, and emulates what is cheaper.

Even a cheap calculator is not called in every step of a band that relaxes: a Gaussian process of its own learns it near
the path, and it is asked again only where that one is unsure.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from sciopt.core.errors import EvaluationFailed, InputError
from sciopt.surrogate.data import Observations

if TYPE_CHECKING:
    from sciopt.core.types import Array
    from sciopt.neb.images import Images
    from sciopt.neb.surrogate_model import Learner, Surrogate
    from sciopt.surrogate.features import Features

__all__ = ["Corrected", "CorrectedProcess", "Emulator"]

log = logging.getLogger("sciopt")

_NOISE = 1e-4  # eV and eV/Å: a cheap calculator that is not converged further is not worth asking
# Observations the emulator keeps, those nearest to the band, once there are more than `_MOST`: after losing some, the
# covariance has to be factorised anew.
_KEPT, _MOST = 60, 75
# Growth of the observations after which hyperparameters are searched for again.
_GROWN = 1.2
# Deviations of the emulated force (eV/Å) and energy (eV) from which on the prior itself is asked.
_UNSURE = (0.02, 0.005)


@dataclass
class Emulator:
    """The prior, asked where it must be and emulated elsewhere. It learns as it is used.

    Parameters
    ----------
    evaluator
        Who evaluates the prior.
    process
        The Gaussian process that emulates it.
    """

    evaluator: Images
    process: Learner
    data: Observations = field(init=False)
    _posterior: Surrogate | None = field(default=None, init=False)
    _searched: int = field(default=0, init=False)
    _failures: dict[bytes, str] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.data = Observations.none(self.process.features.coordinates)

    @property
    def calls(self) -> int:
        """Calls of the prior so far."""
        return self.evaluator.calls

    def exactly(self, X: Array) -> tuple[Array, Array]:
        """Energies (B,) and forces (B, n) of the prior itself; emulated only where it fails.

        Raises
        ------
        InputError
            When it has never answered.
        """
        energies, forces = np.empty(len(X)), np.empty_like(X)
        failed, why = [], ""
        for k, x in enumerate(X):
            try:
                energies[k], forces[k] = self._ask(x)
            except EvaluationFailed as failure:
                failed.append(k)
                why = str(failure)
        if failed:
            if not len(self.data):
                raise InputError(f"the prior fails wherever it is asked ({why}); leave it out, or give another one")
            energies[failed], forces[failed] = self.posterior().predict(X[failed])
        return energies, forces

    def _ask(self, x: Array, needed: bool = False) -> tuple[float, Array]:
        if x.tobytes() in self._failures:
            raise EvaluationFailed(self._failures[x.tobytes()])
        known = self.evaluator.known(x)
        # Further configurations share one calculator.
        place = (self.evaluator.count or 0) + 2
        try:
            answer = known if known is not None else self.evaluator.evaluate({place: x})[place]
        except EvaluationFailed as failure:
            # Asked again it would fail again, at every fit.
            self._failures[x.tobytes()] = str(failure)
            log.warning("the prior failed (%s); its emulation is used there", failure)
            raise
        # What was dropped comes back only where the emulation turns out to need it.
        if (known is None or needed) and not (self.data.X == x).all(axis=1).any():
            self.data = self.data.add(x, answer.energy, answer.force, _NOISE, _NOISE)
        return answer.energy, answer.force

    def posterior(self) -> Surrogate:
        """The emulation as it stands."""
        if self._posterior is None or self._posterior.data is not self.data:
            grown = len(self.data) >= _GROWN * self._searched
            self._posterior = self.process.fit(self.data, self._posterior, grown)
            if grown:
                self._searched = len(self.data)
        return self._posterior

    def improve(self, X: Array) -> bool:
        """Ask the prior at those of X (B, n) where its emulation is unsure; whether there were any."""
        emulated = self.posterior()
        unsure = emulated.energy_deviations(X) > _UNSURE[1]
        rest = np.flatnonzero(~unsure)
        if rest.size:
            # They cost more, and where those of energies are large nobody needs them.
            deviations = np.sqrt((emulated.force_deviations(X[rest]) ** 2).max(axis=1) * 3.0)
            unsure[rest] = deviations > _UNSURE[0]
        before = len(self.data)
        for x in X[unsure]:
            try:
                self._ask(x, needed=True)
            except EvaluationFailed:
                continue
        if len(self.data) > _MOST:
            distance = np.abs(self.data.X[:, None] - X[None]).max(axis=2).min(axis=1)
            kept = np.sort(np.argsort(distance)[:_KEPT])
            self.data = self.data.take(kept)
            return True
        return len(self.data) > before


@dataclass(frozen=True, eq=False)
class CorrectedProcess:
    """``E = E_prior + GP``: fits what the prior gets wrong."""

    process: Learner
    emulator: Emulator

    @property
    def features(self) -> Features:
        """Those of the correction."""
        return self.process.features

    def fit(
        self,
        data: Observations,
        previous: Corrected | None = None,
        optimize: bool = True,
        start: tuple[float, float] | None = None,
    ) -> Corrected:
        """The posterior given `data`; the prior is asked at every observation."""
        energies, forces = self.emulator.exactly(data.X)
        wrong = replace(data, energies=data.energies - energies, forces=data.forces - forces)
        correction = self.process.fit(wrong, None if previous is None else previous.correction, optimize, start)
        return Corrected(self, data, correction, self.emulator.posterior())


@dataclass(frozen=True, eq=False)
class Corrected:
    """A posterior with a prior mean; see `sciopt.surrogate.Posterior` for what it offers."""

    process: CorrectedProcess
    data: Observations
    correction: Surrogate
    prior: Surrogate

    @property
    def length(self) -> float:
        """Length scale of the correction."""
        return self.correction.length

    @property
    def variance(self) -> float:
        """Signal variance of the correction, eV²."""
        return self.correction.variance

    def predict(self, X: Array) -> tuple[Array, Array]:
        """Energies (B,) and forces (B, n)."""
        energies, forces = self.correction.predict(X)
        cheap, push = self.prior.predict(X)
        return energies + cheap, forces + push

    def energy_deviations(self, X: Array) -> Array:
        """(B,) of the correction and of the emulation together, eV."""
        return np.hypot(self.correction.energy_deviations(X), self.prior.energy_deviations(X))

    def force_deviations(self, X: Array, without: Array | None = None) -> Array:
        """(B, n) of the correction and of the emulation together."""
        return np.hypot(self.correction.force_deviations(X, without), self.prior.force_deviations(X, without))

    def left_out(self, index: int) -> tuple[Array, Array]:
        """(n,) errors of the force at an observation and (n,) their deviations; the prior itself was asked there."""
        errors, deviations = self.correction.left_out(index)
        return errors, np.hypot(deviations, self.prior.force_deviations(self.data.X[index][None])[0])

    def hessian(self, x: Array) -> Array:
        """(n, n)."""
        return self.correction.hessian(x) + self.prior.hessian(x)

    def refined(self, X: Array) -> Corrected | None:
        """The same with a better emulation of the prior at X (B, n); None where it is good enough."""
        if not self.process.emulator.improve(X):
            return None
        return replace(self, prior=self.process.emulator.posterior())
