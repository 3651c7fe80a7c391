"""The Gaussian-process path finder: a method of the core that asks for one configuration, or a few, at a time.

A Gaussian process learns the energy from every energy and force that was paid for. The band relaxes on its mean; the
configuration asked for next is the one that settles most: where the band leaves what is known, where the energy is
uncertain, the climbing image, and last the image whose force is the least certain. How far the band may go from the
data is a limit of the core: it shrinks when a prediction was bad and grows when it was good.

Koistinen et al. 2017, doi 10.1063/1.4986787, and 2019, doi 10.1021/acs.jctc.9b00692; Garrido Torres et al. 2019, doi
10.1103/PhysRevLett.122.156001.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from sciopt.core.control import Adaptive
from sciopt.core.method import State
from sciopt.neb.acquisition import View, next_images
from sciopt.neb.band import BandLaw, band_force
from sciopt.neb.escape import CLEAR, FLAT, elsewhere, second_mode
from sciopt.neb.finder_memory import Memory, calibration, observed, prediction_quality, taken, taken_back
from sciopt.neb.prior import Corrected
from sciopt.neb.surrogate_band import Relaxed, SurrogateBand, relax_band
from sciopt.surrogate.data import Observations

if TYPE_CHECKING:
    from collections.abc import Callable

    from sciopt.core.control import Limit
    from sciopt.core.errors import EvaluationFailed
    from sciopt.core.evaluation import Evaluation
    from sciopt.core.method import Method
    from sciopt.core.space import Space
    from sciopt.core.types import Array
    from sciopt.neb.images import Answer
    from sciopt.neb.surrogate_model import PathModel, Surrogate

__all__ = ["PathFinder"]

# Chosen on the problems marked `tuned`.
_TRUST: dict[str, Any] = {"grow": 1.4, "shrink": 0.75, "least": 0.2, "most": 2.0}
_APART = 1e-4  # Å: noisy forces are asked for again this far away
_SEEDS = (1 / 3, 2 / 3)  # of the path: what is asked for first
_ESCAPES = 2  # times a band at rest in the wrong place is sent on
_REFINEMENTS = 8  # rounds of asking a prior for more, per evaluation
_RELAXED = 0.2  # of the tolerance: band force on the surrogate at which it is relaxed
_STANDS = 0.03  # Å: a datum this near to the climbing image stands for it when its force is small
_CALM = (0.3, 0.15)  # eV/Å and eV: a band this converged and this certain climbs from the start
# Observations up to which hyperparameters are searched for every time; later every third time.
_EAGER, _SELDOM = 14, 3


@dataclass(frozen=True, eq=False)
class PathFinder:
    """The path finder.

    Parameters
    ----------
    model
        The prior of the energy, and where it is believed.
    path
        (M+2, n) the path to begin from, ends included, Å.
    ends
        Energies and forces of both ends.
    law
        The band force.
    space
        The geometry of single configurations.
    relaxing
        Functions ``(M+2, n) band -> method`` that relax it on the surrogate, the next where one gets nowhere.
    fmax
        Tolerance, eV/Å.
    noise
        Standard error of one force component, eV/Å.
    batch
        Configurations asked for at a time.
    certify
        ``"saddle"``, ``"band"`` or ``"strict"``.
    data
        Observations known from elsewhere.
    first
        Images (from 0) to ask for first; near one and two thirds of the path by default.
    """

    model: PathModel
    path: Array
    ends: tuple[Answer, Answer]
    law: BandLaw
    space: Space
    relaxing: tuple[Callable[[Array], Method], ...]
    fmax: float = 0.05
    noise: float = 0.0
    batch: int = 1
    certify: str = "band"
    data: Observations | None = None
    first: tuple[int, ...] | None = None
    control: Adaptive = field(default_factory=lambda: Adaptive(1.0, prediction_quality, **_TRUST))
    _last: list[Surrogate] = field(default_factory=list, repr=False)
    _other: list[Surrogate] = field(default_factory=list, repr=False)

    def seeds(self) -> tuple[int, ...]:
        """The images (from 0) asked for first."""
        if self.first is not None:
            return self.first
        images = len(self.path) - 2
        return tuple(sorted({int(np.clip(round((images + 1) * t), 1, images)) - 1 for t in _SEEDS}))

    def start(self, ev: Evaluation) -> State:
        data = self.data if self.data is not None else Observations.none(self.path.shape[1])
        for x, answer in zip(self.path[[0, -1]], self.ends, strict=True):
            if not (data.X == x).all(axis=1).any():
                data = observed(data, x, answer.energy, answer.force, self.model.coordinates, self.noise)
        picks = self.seeds()
        nothing = np.full(len(picks), np.nan)
        unknown = np.full((len(picks), self.path.shape[1]), np.nan)
        memory = Memory(data, np.nan, np.nan, self.path, picks, ("seed",) * len(picks), nothing, unknown, nothing)
        limit = self.control.start()
        return self._ask(ev, self._taken(memory, ev, float(limit.size)), limit, 1)

    def advance(self, state: State, ev: Evaluation) -> State:
        limit = self.control.judge(state, ev, self.space).limit
        memory = self._taken(state.memory, ev, float(state.limit.size))
        if float(limit.size) < float(state.limit.size):
            # `taken` keeps what had been expected of these answers.
            memory = taken_back(memory, ev.info["energies"])
        pinched = memory.pinched + 1 if float(limit.size) <= self.control.least else 0
        return self._ask(ev, memory._replace(pinched=pinched), limit, state.accepted + 1)

    def failed(self, state: State, failure: EvaluationFailed) -> State:
        """Go halfway back to the nearest known configuration; nothing is invented about the failed one."""
        limit = self.control.failed(state.limit, ()).limit
        memory = state.memory
        trial = state.trial.reshape(len(memory.picks), -1).copy()
        for block in failure.blocks or range(len(trial)):
            known = memory.data.X
            nearest = known[int(np.argmin(self.model.distances(trial[block][None], known)[0]))]
            trial[block] = nearest + 0.5 * (trial[block] - nearest)
        lost = np.full_like(memory.energies, np.nan)
        memory = memory._replace(energies=lost, deviations=lost, forces=np.full_like(memory.forces, np.nan))
        return state._replace(trial=trial.ravel(), memory=memory, limit=limit)

    def _taken(self, memory: Memory, ev: Evaluation, trust: float) -> Memory:
        return taken(memory, ev, trust, self.model, self.fmax, self.noise)

    @property
    def learned(self) -> Surrogate | None:
        """The surrogate as it was last fitted."""
        return self._last[0] if self._last else None

    def posterior(self, memory: Memory) -> Surrogate:
        """The surrogate after all observations; the last one is remembered."""
        previous = self._last[0] if self._last else None
        if previous is not None and previous.data is memory.data:
            return previous
        count = len(memory.data)
        # After a restart the search for hyperparameters begins where it had been.
        start = (memory.length, memory.variance) if previous is None and np.isfinite(memory.length) else None
        optimize = count < _EAGER or count % _SELDOM == 0
        process = self.model.process if memory.top is None else self.model.smooth
        posterior = process.fit(memory.data, previous, optimize, start)
        self._last[:] = [posterior]
        return posterior

    def _ask(self, ev: Evaluation, memory: Memory, limit: Limit, accepted: int) -> State:
        """Fit, relax, and decide what to ask for."""
        memory = memory._replace(before=memory.X)
        posterior = self.posterior(memory)
        if memory.frozen:
            memory, unknown = self._verified(memory)
            if memory.frozen:
                return self._asked(
                    ev, memory, posterior, tuple((image, "strict") for image in unknown), limit, accepted
                )
        # Once more than it may be sent on: what is asked for always belongs to the band as it is.
        for _ in range(_ESCAPES + 1):
            posterior, relaxed, memory = self._at_rest(posterior, memory, float(limit.size))
            factor = calibration(memory.ratios, self.model.caution, self.noise)
            view = View(
                posterior, relaxed, self.model, memory.data, factor, memory.top, self.noise, self._second(memory)
            )
            plan = next_images(view, self.fmax, memory.audits, self.certify, self.batch)
            if memory.escapes >= _ESCAPES or any(why in ("trust", "energy", "climbing") for _, why in plan.picks):
                break
            rest = relaxed.ev.info
            # Before anything is claimed, a soft second mode is looked at as well.
            least = CLEAR if plan.picks else FLAT
            X = elsewhere(posterior, rest["X"], rest["climbing"], rest["tangents"], self.model.coordinates, least)
            if X is None:
                break
            escapes = memory.escapes + 1
            memory = memory._replace(X=X, top=None, climbing=None, settled=False, audits=0, escapes=escapes)
        info = relaxed.ev.info
        calm = relaxed.outside is None and relaxed.residual < _CALM[0] and plan.spread < _CALM[1]
        memory = memory._replace(
            length=posterior.length,
            variance=posterior.variance,
            X=info["X"],
            climbing=info["climbing"],
            climbed=relaxed.climbed,
            settled=calm,
            spread=plan.spread,
            bound=plan.bound,
        )
        picks = plan.picks
        if not picks:
            astray = self._astray(posterior, relaxed)
            memory = self._claim(memory, relaxed, plan.complete and not astray)
            if memory.frozen:
                memory, unknown = self._verified(memory)
                picks = tuple((image, "strict") for image in unknown)
            elif not (memory.claim or astray) and view.distance.max() > 0.0:
                # Everything looks certain, but the band has not come to rest: ask where it differs most from the data.
                picks = ((int(np.argmax(view.distance)), "force"),)
        return self._asked(ev, memory, posterior, picks, limit, accepted)

    def _second(self, memory: Memory) -> Callable[[], Surrogate] | None:
        """The surrogate with the kernel that is not in use; none with noisy forces, which decide there."""
        if self.noise > 0.0:
            return None

        def fitted() -> Surrogate:
            process = self.model.smooth if memory.top is None else self.model.process
            known = self._other[0] if self._other else None
            if known is None or known.data is not memory.data:
                known = process.fit(memory.data, known if known is not None and known.process is process else None)
                self._other[:] = [known]
            return known

        return fitted

    def _at_rest(self, posterior: Surrogate, memory: Memory, trust: float) -> tuple[Surrogate, Relaxed, Memory]:
        """The band relaxed on the surrogate, which asks a prior for more where the band has gone."""
        relaxed, memory = self._relax(posterior, memory, trust)
        for _ in range(_REFINEMENTS):
            better = posterior.refined(relaxed.ev.info["X"][1:-1]) if isinstance(posterior, Corrected) else None
            if better is None:
                break
            posterior = better
            self._last[:] = [posterior]
            relaxed, memory = self._relax(posterior, memory._replace(X=relaxed.ev.info["X"]), trust)
        return posterior, relaxed, memory

    def _relax(self, posterior: Surrogate, memory: Memory, trust: float) -> tuple[Relaxed, Memory]:
        pinned, top = None, memory.top
        if top is not None and memory.climbing is not None:
            pinned = memory.climbing
            X = memory.X.copy()
            X[pinned + 1] = top
            memory = memory._replace(X=X)
        first, last = self.ends
        energies = (first.energy, last.energy)
        band = SurrogateBand(
            posterior, self.model.coordinates, (self.path[0], self.path[-1]), energies, self.law, pinned
        )
        x, climb = memory.X[1:-1].ravel(), memory.settled
        for method in self.relaxing:
            relaxed = relax_band(
                band,
                x,
                method,
                lambda images: self.model.reach(images, memory.data.X),
                tolerance=_RELAXED * self.fmax,
                trust=trust,
                climb=climb,
            )
            if relaxed.outside is not None or relaxed.residual < _RELAXED * self.fmax:
                break
            x, climb = relaxed.ev.x, relaxed.climbed
        if pinned is not None and relaxed.ev.info["climbing"] != pinned:
            # Another image has overtaken the one that was converged.
            memory = memory._replace(top=None)
        elif top is not None and pinned is not None:
            at = int(np.argmin(np.abs(memory.data.X - top).max(axis=1)))
            if self._climbed(memory.data.forces[at], relaxed.ev.info["tangents"][pinned]) >= self.fmax:
                # The path has turned around its saddle, which is not good enough for this path.
                return self._relax(posterior, memory._replace(top=None, X=relaxed.ev.info["X"]), trust)
        return relaxed, self._recognised(relaxed, memory)

    def _climbed(self, force: Array, tangent: Array) -> Array:
        """Largest force on an atom (eV/Å) of forces (..., n) on a climbing image, of its band force where that counts.

        Turning the force around along the path changes how it is shared among the atoms.
        """
        longest = self.model.coordinates.longest
        if self.certify == "saddle":
            return longest(force)
        turned = force - 2.0 * (force @ tangent)[..., None] * tangent
        return np.maximum(longest(force), longest(turned))

    def _recognised(self, relaxed: Relaxed, memory: Memory) -> Memory:
        """An image that was evaluated for another reason may turn out to be the saddle."""
        climbing = relaxed.ev.info["climbing"]
        if memory.top is not None or climbing is None or not relaxed.climbed or self.noise > 0.0:
            return memory
        data = memory.data
        near = self.model.distances(relaxed.ev.info["X"][climbing + 1][None], data.X)[0]
        forces = self._climbed(data.forces, relaxed.ev.info["tangents"][climbing])
        fit = np.flatnonzero((near < _STANDS) & (forces < self.fmax))
        return memory._replace(top=data.X[fit[np.argmin(near[fit])]]) if fit.size else memory

    def _astray(self, posterior: Surrogate, relaxed: Relaxed) -> bool:
        """Whether the climbing image has two clearly negative modes, however often the band was sent on from there."""
        info, climbing = relaxed.ev.info, relaxed.ev.info["climbing"]
        if climbing is None:
            return False
        x, tangent = info["X"][climbing + 1], info["tangents"][climbing]
        return second_mode(posterior.hessian(x), x, tangent, self.model.coordinates, CLEAR) is not None

    def _claim(self, memory: Memory, relaxed: Relaxed, complete: bool) -> Memory:
        """What can be claimed now that nothing is left to ask."""
        if not complete or relaxed.outside is not None or relaxed.residual > self.fmax:
            return memory._replace(claim="")
        if self.certify == "strict":
            return memory._replace(frozen=True)
        saddle = self.certify == "saddle" and memory.climbing is not None
        return memory._replace(claim="saddle" if saddle else "band")

    def _verified(self, memory: Memory) -> tuple[Memory, list[int]]:
        """Whether a frozen band holds what was predicted; the images (from 0) whose true force is not known yet."""
        rows = [np.flatnonzero((memory.data.X == x).all(axis=1)) for x in memory.X[1:-1]]
        unknown = [image for image, row in enumerate(rows) if not row.size]
        if unknown:
            return memory, unknown[: self.batch]
        at = [int(row[0]) for row in rows]
        first, last = self.ends
        energies = np.concatenate([[first.energy], memory.data.energies[at], [last.energy]])
        band = band_force(memory.X, energies, memory.data.forces[at], self.model.coordinates, self.law)
        bound = float(self.model.coordinates.longest(band.force.reshape(len(at), -1)).max())
        if bound < self.fmax:
            return memory._replace(claim="strict", bound=bound), []
        return memory._replace(frozen=False, audits=0, bound=bound), []

    def _asked(
        self,
        ev: Evaluation,
        memory: Memory,
        posterior: Surrogate,
        picks: tuple[tuple[int, str], ...],
        limit: Limit,
        accepted: int,
    ) -> State:
        """The state that asks for `picks`, with what is expected of them."""
        if not picks:
            return State(ev, ev.x, np.zeros_like(ev.x), memory._replace(picks=()), limit, accepted=accepted)
        images = tuple(image for image, _ in picks)
        trial = memory.X[[image + 1 for image in images]]
        if self.noise > 0.0:
            # The same configuration would give the same noise again.
            trial = trial + _APART * np.random.default_rng(len(memory.data)).normal(size=trial.shape)
        energies, forces = posterior.predict(trial)
        memory = memory._replace(
            picks=images,
            why=tuple(why for _, why in picks),
            energies=energies,
            forces=forces,
            deviations=self.model.coordinates.longest(posterior.force_deviations(trial)),
        )
        return State(ev, trial.ravel(), np.zeros(trial.size), memory, limit, accepted=accepted)
