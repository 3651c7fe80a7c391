"""Minimisation on a Gaussian process: a method of the core that learns the energy and asks for its next minimum.

A model Hessian at the best configuration is the prior's mean, and a Gaussian process learns what it gets wrong from
every energy and force. The next configuration is the minimum of both together, or where the way there leaves the trust
region. How far that reaches from the data is a limit of the core: it shrinks when a step was worse than predicted and
grows when it was as good.

Features are not the inverse distances of `sciopt.neb.surrogate_model`: near a minimum, where bonds are stiff and angles
may be straight, coordinates stretched by the curvature model took half as many evaluations.

Denzel and Kästner 2018, doi 10.1063/1.5017103; Garijo del Río, Mortensen and Jacobsen 2019, doi
10.1103/PhysRevB.100.104103; Koistinen et al. 2019, doi 10.1021/acs.jctc.9b00692.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sciopt.core import Evaluation, Preconditioned, Reason
from sciopt.core.control import Adaptive
from sciopt.core.method import State
from sciopt.neb.align import remove_rigid
from sciopt.neb.band_problem import BandSpace
from sciopt.neb.metric_features import MetricFeatures
from sciopt.neb.model_mean import ModelMean
from sciopt.neb.precondition import shifted_model, solver
from sciopt.rules import make_method
from sciopt.surrogate.data import Observations
from sciopt.surrogate.process import GaussianProcess

if TYPE_CHECKING:
    from collections.abc import Callable

    from sciopt.core.control import Limit
    from sciopt.core.errors import EvaluationFailed
    from sciopt.core.space import Space
    from sciopt.core.stop import Progress
    from sciopt.core.types import Array
    from sciopt.neb.coordinates import Coordinates
    from sciopt.surrogate.process import Posterior

__all__ = ["Memory", "Nowhere", "SurrogateRelax", "surrogate_relax"]

# Chosen on the first starts of scripts/relax_counts.py.
_ENERGY_NOISE, _FORCE_NOISE = 1e-4, 1e-3  # eV and eV/Å: what electronic-structure codes converge to
_PROCESS: dict[str, Any] = {"kernel": "matern52", "length": 1.2, "lengths": (0.1, 4.0), "deviation": (0.1, 10.0)}
_STEEP = 10.0  # eV/Å: forces that are believed less
_GROW, _SHRINK, _LEAST, _MOST = 1.4, 0.5, 0.1, 2.0
_POOR, _FINE = 0.25, 0.6  # actual over predicted decrease that shrinks the trust region, and lets it grow
_EVEN = 2e-3  # eV: changes of the energy that are no reason to distrust anything
_SCALES_MOLECULE, _SCALES_SOLID = (0.7, 1.4), (0.4, 2.5)  # Lindh's model knows the elements, pair stiffness does not
_RADIUS = 0.3  # Å from the nearest datum, for an atom, at a trust of 1
_STEPS = 200  # on the surrogate, at most
_PATIENCE = 8  # evaluations in a row without a better configuration


class Memory(NamedTuple):
    """What is known and expected.

    Attributes
    ----------
    data
        Every observation.
    length, variance
        Hyperparameters of the last fit.
    energy
        What is expected at the trial, eV; NaN after a failure.
    poor
        Evaluations in a row that were no better than what was known.
    """

    data: Observations
    length: float
    variance: float
    energy: float
    poor: int = 0


class Learned(NamedTuple):
    """A model of the energy and what a Gaussian process has learned beyond it; `zero` is added to both, eV."""

    mean: ModelMean
    posterior: Posterior
    zero: float

    def at(self, x: Array) -> Evaluation:
        """Expected energy and force at x (n,)."""
        energies, forces = self.posterior.predict(x[None])
        known, pulls = self.mean.at(x[None])
        force = forces[0] + pulls[0]
        # The process itself does not know that nothing changes when a molecule turns.
        force = remove_rigid(x, force) if self.mean.rigid else force
        return Evaluation(x, force, float(energies[0] + known[0] + self.zero))


@dataclass(frozen=True, eq=False)
class SurrogateRelax:
    """Minimisation by a Gaussian process with gradients.

    Parameters
    ----------
    process
        The prior of what the mean leaves.
    coordinates
        The free coordinates.
    space
        The geometry of one configuration, with a metric that preconditions the descent on the surrogate.
    fmax
        Tolerance, eV/Å.
    """

    process: GaussianProcess
    coordinates: Coordinates
    space: Space
    fmax: float = 0.05
    control: Adaptive = field(
        default_factory=lambda: Adaptive(1.0, prediction_quality, grow=_GROW, shrink=_SHRINK, least=_LEAST, most=_MOST)
    )

    def start(self, ev: Evaluation) -> State:
        return self._ask(ev, self._observe(Observations.none(len(ev.x)), ev), self.control.start(), None, 0, 0)

    def advance(self, state: State, ev: Evaluation) -> State:
        limit = self.control.judge(state, ev, self.space).limit
        data = self._observe(state.memory.data, ev)
        if self._better(ev, state.here):
            return self._ask(ev, data, limit, state.step, state.accepted + 1, 0)
        return self._ask(state.here, data, limit, state.last, state.accepted, state.memory.poor + 1)

    def failed(self, state: State, failure: EvaluationFailed) -> State:
        """Go halfway back; nothing is invented about the configuration that failed."""
        limit = self.control.failed(state.limit, ()).limit
        trial = state.here.x + 0.5 * (state.trial - state.here.x)
        lost = state.memory._replace(energy=np.nan)
        return state._replace(trial=trial, step=trial - state.here.x, memory=lost, limit=limit, predicted=None)

    def surrogate(self, data: Observations) -> Learned:
        """The surrogate after all observations: a function of nothing else, so that resumed runs are the same."""
        best = int(np.argmin(data.energies))
        mean = ModelMean.around(self.coordinates, data.X[best])
        mean = mean.scaled(_scale(mean, data, best))
        energies, forces = mean.at(data.X)
        zero = float(data.energies[best])
        left = replace(data, energies=data.energies - zero - energies, forces=data.forces - forces)
        return Learned(mean, self.process.fit(left), zero)

    def _observe(self, data: Observations, ev: Evaluation) -> Observations:
        assert ev.value is not None
        steep = float(self.coordinates.longest(ev.force))
        doubt = max(1.0, 0.01 * steep / _FORCE_NOISE) if steep > _STEEP else 1.0
        return data.add(ev.x, ev.value, ev.force, doubt * _ENERGY_NOISE, doubt * _FORCE_NOISE)

    def _better(self, ev: Evaluation, best: Evaluation) -> bool:
        """Lower in energy; where energies hardly differ, lower in force."""
        assert ev.value is not None and best.value is not None
        if abs(ev.value - best.value) > _EVEN:
            return ev.value < best.value
        return self.space.residual(ev.x, ev.force) < self.space.residual(best.x, best.force)

    def _ask(
        self, here: Evaluation, data: Observations, limit: Limit, last: Array | None, accepted: int, poor: int
    ) -> State:
        surrogate = self.surrogate(data)
        trial = self._descend(surrogate, data, here, float(limit.size))
        expected, posterior = float(surrogate.at(trial).value or 0.0), surrogate.posterior
        memory = Memory(data, posterior.length, posterior.variance, expected, poor)
        promised = float(here.value or 0.0) - expected
        return State(here, trial, trial - here.x, memory, limit, promised, last, accepted=accepted)

    def _descend(self, surrogate: Learned, data: Observations, here: Evaluation, trust: float) -> Array:
        """(n,) the minimum of the surrogate below `here`, or where the way there leaves the trust region."""

        def outside(x: Array) -> bool:
            return float(self.coordinates.longest(x - data.X).min()) > _RADIUS * trust

        method = make_method("lbfgs", self.space, h0=1.0, auto=True, auto_range=(0.2, 5.0), curvature=1e-4, radius=0.1)
        state = method.start(surrogate.at(here.x))
        for step in range(_STEPS):
            if self.space.residual(state.here.x, state.here.force) < 0.1 * self.fmax and step:
                break
            if outside(state.trial):
                return _boundary(state.here.x, state.trial, outside)
            state = method.advance(state, surrogate.at(state.trial))
        return state.here.x


def _boundary(inside: Array, beyond: Array, outside: Callable[[Array], bool]) -> Array:
    """Where the segment between two configurations leaves the trust region."""
    low, high = 0.0, 1.0
    for _ in range(6):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if outside(inside + middle * (beyond - inside)) else (middle, high)
    return inside + max(low, 0.01) * (beyond - inside)


def _scale(mean: ModelMean, data: Observations, best: int) -> float:
    """The factor on the mean's curvature that suits the changes of the force best."""
    change = data.forces - data.forces[best]
    _, expected = mean.at(data.X)
    size = float(np.vdot(expected, expected))
    if not size > 0.0:
        return 1.0
    return float(np.clip(np.vdot(expected, change) / size, *(_SCALES_MOLECULE if mean.rigid else _SCALES_SOLID)))


def prediction_quality(state: State, ev: Evaluation, space: Space) -> float:
    """Opinion on the trust region: whether the energy fell as much as was predicted."""
    memory = state.memory
    assert ev.value is not None and state.here.value is not None
    if not np.isfinite(memory.energy):
        return -1.0
    promised, got = state.here.value - memory.energy, state.here.value - ev.value
    if abs(got - promised) < _EVEN:
        return 1.0
    if got < _POOR * promised:
        return -1.0
    return 1.0 if got > _FINE * promised else 0.0


@dataclass(frozen=True)
class Nowhere:
    """Stops, not converged, after `most` evaluations in a row that were no better than what was known."""

    most: int = _PATIENCE

    def __call__(self, progress: Progress) -> Reason | None:
        assert progress.state is not None
        if progress.state.memory.poor < self.most:
            return None
        message = f"the surrogate got nowhere in {self.most} evaluations"
        return Reason("stagnation", message, False)


def surrogate_relax(coordinates: Coordinates, x: Array, fmax: float) -> SurrogateRelax:
    """The usual method for a minimisation that starts at x (n,)."""
    inverse = solver(shifted_model(coordinates, (x, x), molecule=2.0, solid=1.0)(x))
    space = Preconditioned(BandSpace(coordinates, 1, maxstep=0.2), lambda x, force: inverse(force))
    process = GaussianProcess(MetricFeatures.around(coordinates, x), **_PROCESS)
    return SurrogateRelax(process, coordinates, space, fmax)
