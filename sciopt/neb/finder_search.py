"""The stages of a search by Gaussian process: the finder, a new path, and the image-wise band when it gets nowhere."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from sciopt.core import Reason, RestartMismatch, Result, run
from sciopt.core.errors import EvaluationFailed
from sciopt.core.method import StepMethod
from sciopt.neb.band import highest
from sciopt.neb.configurations import Configurations, ConfigurationSpace, pulled
from sciopt.neb.escape import FLAT, pushed, second_mode
from sciopt.neb.finder_answer import certified_band
from sciopt.neb.finder_stop import Certified
from sciopt.neb.handover import informed, stored_observations
from sciopt.neb.images import Answer, Images
from sciopt.neb.imagewise import Imagewise
from sciopt.neb.methods import band_method
from sciopt.neb.path_finder import PathFinder
from sciopt.neb.prior import CorrectedProcess, Emulator
from sciopt.neb.recover import through_top
from sciopt.neb.rivals import lower_path
from sciopt.neb.search import CallBudget, Search
from sciopt.neb.surrogate_model import path_model

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sciopt.core.control import Control
    from sciopt.core.method import Method
    from sciopt.core.rule import Rule
    from sciopt.core.types import Array
    from sciopt.neb.band import BandLaw
    from sciopt.neb.path_result import Lesson, SaddleCheck
    from sciopt.neb.surrogate_model import PathModel, Surrogate
    from sciopt.surrogate.data import Observations

__all__ = ["FinderSearch"]

log = logging.getLogger("sciopt")

# Spring constant on the surrogate, eV/Å²: evenly spaced images cost nothing there.
_SPRING = 1.0
# Longest displacement of an atom per step on the surrogate, Å.
_STEP_MOLECULE, _STEP_SOLID = 0.1, 0.2
# Evaluations per image after which the finder gives up.
_PATIENCE = 8
# Times as many where forces are noisy and have to be averaged.
_NOISY = 2
# Of the tolerance: how far the path is converged on a prior.
_ON_PRIOR = 2.0
_STAGES = ("gp", "gp again")
# Stages of other methods after those are called this and their own name.
_THEN = "gp, then "
_GIVES_UP = ("stagnation", "stalled", "failed")
# Evaluations per image that are taken over from an earlier session whose checkpoint is lost.
_TAKEN_OVER = 8


@dataclass
class FinderSearch(Search):
    """The stages of one search with the Gaussian-process path finder.

    Attributes beyond those of `Search`: `batch`, the images asked for at a time; `prior`, a cheaper calculator;
    `others`, initial paths (M+2, n) that were not chosen.
    """

    batch: int = 1
    prior: Any = None
    others: Sequence[Array] = ()
    finder: PathFinder | None = field(default=None, init=False)
    _lessons: tuple[Lesson, ...] = field(default=(), init=False)
    _emulator: Emulator | None = field(default=None, init=False)
    _plain: bool = field(default=False, init=False)
    _unasked: bool = field(default=False, init=False)
    _rival: Array | None = field(default=None, init=False)

    def run(
        self, method: str | tuple[Rule, Control], law: BandLaw, setup: dict[str, Any]
    ) -> tuple[Result, SaddleCheck | None]:
        self._begun = self.folder.stage() if self.folder is not None else None
        reached, first = self._reached(), self.band
        if self._begun is None or not self._begun[0].startswith(_THEN):
            try:
                result = self._found(law, _STAGES[_STAGES.index(reached) if reached in _STAGES else 0 :])
            finally:
                if self._emulator is not None:
                    self._emulator.evaluator.close()
            if result.converged and self.others:
                result = self._compared(result, law)
            if result.converged and self.check:
                return self._verify(result, search=False)
            if result.reason.kind not in _GIVES_UP:
                return result, None
            if self._left() < len(self.band) - 2:
                return self._unaffordable(result), None
            log.warning("%s; going on with the image-wise band", result.reason.message)
            # A band that never came to rest on the surrogate is a worse beginning than the path there was.
            self._plain = not result.state.memory.settled
            self.band = first if self._plain else result.evaluation.info["X"]
        else:
            result = None
        self.certify = "band" if self.certify == "strict" else self.certify
        asked, self.check = self.check, self.check or not self._plain
        self._unasked = not asked and self.certify != "saddle"
        try:
            # Where a surrogate was lost, a band may come to rest on the saddle of another reaction.
            after, checked = super().run("imagewise", law, setup)
            lost = after.reason.kind in _GIVES_UP or (checked is not None and not checked.passed)
            if lost and not self._plain and self._left() >= len(first) - 2:
                # What would have been done without a surrogate is still there.
                why = after.reason.message if checked is None else checked.message
                aside = None if checked is None else self._aside(after, checked)
                where = "the initial path" if aside is None else "a path beside it"
                log.warning("%s; the image-wise band begins again on %s", why, where)
                self.band, self._plain = (first if aside is None else aside), True
                self.check = asked if aside is None else self.check
                if self.folder is not None:
                    # A new beginning, not the stage an earlier session had reached.
                    self.folder.resume = False
                after, checked = super().run("imagewise", law, setup)
        except EvaluationFailed as failure:
            if result is None:
                raise
            message = f"{result.reason.message}; the image-wise band could not go on: {failure}"
            return replace(result, reason=Reason("failed", message, False)), None
        if result is not None:
            why = f"the image-wise band went on where the surrogate got nowhere ({result.reason.message})"
            after = replace(after, reason=replace(after.reason, message=f"{after.reason.message}; {why}"))
        return after, checked

    def _found(self, law: BandLaw, stages: tuple[str, ...]) -> Result:
        """The finder's result, after another path where it gets nowhere on the first."""
        data: Observations | None = None
        result: Result | None = None
        first = self.band
        for name in stages:
            try:
                result = self._find(name, law, data)
            except EvaluationFailed as failure:
                if result is None:
                    raise
                log.warning("the new path cannot be evaluated either (%s)", failure)
                break
            if result.reason.kind not in _GIVES_UP or self._left() <= 0:
                break
            if name != stages[-1]:
                log.warning("%s; trying another path", result.reason.message)
            data, info = result.state.memory.data, result.evaluation.info
            # A band that has found no saddle may have left for another reaction: with what it has learned, the path
            # that was asked for is the better beginning, if it can be calculated at all.
            self.band = first
            known = result.state.memory.top is not None or (self.noise > 0.0 and result.state.memory.settled)
            if known or result.reason.kind == "failed":
                self.band = through_top(info["X"], info["energies"], self.ends.coordinates)
        assert result is not None
        return result

    def _aside(self, result: Result, checked: SaddleCheck) -> Array | None:
        """The band pushed along the second mode of what was measured to be no saddle; None where it is one."""
        saddle, info, climbing = checked.saddle, result.evaluation.info, result.evaluation.info["climbing"]
        if not saddle.measured or climbing is None:
            return None
        tangent, coordinates = info["tangents"][climbing], self.ends.coordinates
        mode = second_mode(saddle.hessian, saddle.x, tangent, coordinates, FLAT)
        return None if mode is None else pushed(info["X"], climbing, mode, coordinates)

    def _verify(self, result: Result, search: bool) -> tuple[Result, SaddleCheck | None]:
        verified, checked = super()._verify(result, search)
        unknown = checked is None or not checked.saddle.measured
        if self._unasked and unknown and verified.reason.kind != "interrupted":
            # Nobody asked for it: a band that converged stays converged.
            log.warning("%s", verified.reason.message if checked is None else checked.message)
            return result, None
        return verified, checked

    def _compared(self, result: Result, law: BandLaw) -> Result:
        """`result`, with a warning where another path looks lower."""
        finder, info = self.finder, result.evaluation.info
        if finder is None or finder.learned is None:
            return result
        law = replace(law, spring=_SPRING)
        rival = lower_path(finder.learned, finder.model, info["X"], info["energies"], law, self.others)
        if rival is None:
            return result
        log.warning("%s", rival.message)
        self._rival = rival.X
        return replace(result, reason=replace(result.reason, message=f"{result.reason.message}; {rival.message}"))

    @property
    def rival(self) -> Array | None:
        return self._rival

    def _left(self) -> float:
        """Evaluations of images that may still be paid for."""
        return np.inf if self.max_calls is None else self.max_calls - self.ledger.spent

    def _unaffordable(self, result: Result) -> Result:
        left = max(int(self._left()), 0)
        message = f"{result.reason.message}; {left} of {self.max_calls} evaluations are left, too few for another band"
        if left == 0:
            message = f"the budget of {self.max_calls} evaluations of images is used up"
        return replace(result, reason=Reason("budget", message, False))

    def _reached(self) -> str | None:
        reached = super()._reached()
        return reached if reached is None else reached.removeprefix(_THEN)

    def _attempt(
        self, law: BandLaw, method: str | tuple[Rule, Control], setup: dict[str, Any], target: Any, name: str
    ) -> Result:
        return super()._attempt(law, method, setup, target, _THEN + name)

    def _stepper(self, method: str | tuple[Rule, Control], start: Array, setup: dict[str, Any]) -> Method:
        stepper = super()._stepper(method, start, setup)
        surrogate = self._surrogate(start)
        if surrogate is None or not isinstance(stepper, StepMethod) or not isinstance(stepper.rule, Imagewise):
            return stepper
        model = informed(stepper.rule.start_model, surrogate, self.ends.coordinates)
        return replace(stepper, rule=replace(stepper.rule, start_model=model))

    def _surrogate(self, band: Array) -> Surrogate | None:
        """What the finder has learned, in this session or an earlier one."""
        if self._plain:
            return None
        if self.finder is not None and self.finder.learned is not None:
            return self.finder.learned
        data = self._stored(len(band) - 2)
        return None if data is None else path_model(self.ends.coordinates, band[0], band[-1]).process.fit(data)

    def _stored(self, images: int) -> Observations | None:
        if self.folder is None:
            return None
        return stored_observations(self.folder, self.ends.coordinates, self.noise, _TAKEN_OVER * images)

    def _find(self, name: str, law: BandLaw, data: Observations | None) -> Result:
        folder, begun = self.folder, self._begun
        self._begun = None
        continued = begun is not None and begun[0] == name
        start = begun[1] if begun is not None and continued and len(begun[1]) == len(self.band) else self.band
        coordinates = self.ends.coordinates
        model, first = path_model(coordinates, start[0], start[-1]), None
        if self.prior is not None:
            if self._emulator is None:
                self._emulator, start = self._on_prior(model, start, law)
                top = highest(self._emulator.posterior().predict(start)[0])
                first = None if top is None else (top,)
            corrected = (CorrectedProcess(one, self._emulator) for one in (model.process, model.smooth))
            model = replace(model, process=next(corrected), smooth=next(corrected))
        finder = PathFinder(
            model,
            start,
            self.ends.answers,
            replace(law, spring=_SPRING),
            ConfigurationSpace(coordinates),
            self._relaxing(),
            fmax=self.fmax,
            noise=self.noise,
            batch=self.batch,
            certify=self.certify,
            data=data,
            first=first,
        )
        if np.isfinite(self._left()):
            finder = replace(finder, first=finder.seeds()[: max(int(self._left()), 1)])
        settings = {"stage": name, "law": law, "method": "gp", "fmax": self.fmax, "certify": self.certify}
        seeds = finder.seeds()
        x0 = start[[image + 1 for image in seeds]].ravel()
        problem = Configurations(self.evaluator, seeds, x0, self.noise, self._left)
        observers: list[Any] = [problem.expect]
        snapshot = None
        if folder is not None:
            observers.append(lambda snapshot: folder.found(snapshot, settings))
            try:
                snapshot = folder.snapshot(settings) if continued else None
            except RestartMismatch as mismatch:
                log.warning("the finder begins again, with everything that was evaluated: %s", mismatch)
            folder.begin(name, start)
        if snapshot is not None:
            problem.expect(snapshot)
        elif folder is not None and data is None:
            # What earlier sessions have paid for is known, whatever became of their checkpoint.
            finder = replace(finder, data=self._stored(len(start) - 2))
        if self.callback is not None:
            observers.append(self.callback)
        # Several at a time know less of each other.
        patience = int(_PATIENCE * (len(start) - 2) * (1.0 + 0.15 * (self.batch - 1)))
        if self.noise > 0.0:
            patience *= _NOISY
        stop: Any = Certified(self.fmax, patience)
        if self.max_calls is not None:
            stop = CallBudget(self.max_calls, self.ledger, stop)
        for attempt in range(6):
            try:
                result = run(problem, finder, stop, observers=observers, resume=snapshot)
                break
            except EvaluationFailed as failure:
                # Only the first point raises: there is nothing to go back to but the ends.
                if attempt == 5 or self._left() <= 0:
                    raise
                log.warning("%s; pulled towards the nearer end", failure)
                problem.x0 = pulled(problem.x0, failure.blocks, start)
        if result.reason.kind == "failed" and self._left() <= 0:
            result = self._unaffordable(result)
        self.finder = finder
        self._lessons = (*self._lessons, *result.state.memory.lessons)
        evaluation = certified_band(finder, result.state.memory, law)
        curvatures = evaluation.info["curvatures"]
        if curvatures is not None and result.converged:
            count = int(np.count_nonzero(curvatures < -FLAT))
            modes = "one negative mode" if count == 1 else f"{count} negative modes"
            seen = f"the surrogate sees {modes} (lowest curvature {curvatures[0]:.2g} eV/Å²)"
            if count != 1:
                log.warning("%s at the climbing image; check=True verifies it", seen)
            result = replace(result, reason=replace(result.reason, message=f"{result.reason.message}; {seen}"))
        return replace(result, evaluation=evaluation, residual=evaluation.info["bound"], x=evaluation.x)

    def _learned(self, result: Result) -> Array | None:
        return result.evaluation.info.get("hessian", super()._learned(result))

    def _on_prior(self, model: PathModel, start: Array, law: BandLaw) -> tuple[Emulator, Array]:
        """The path on the prior alone, found in the same way, and what was learned about the prior."""
        coordinates = self.ends.coordinates
        evaluator = Images(coordinates, self.prior, count=len(start) - 2)
        emulator = Emulator(evaluator, model.process)
        self._emulator = emulator
        energies, forces = emulator.exactly(start[[0, -1]])
        ends = Answer(energies[0], forces[0]), Answer(energies[1], forces[1])
        law = replace(law, spring=_SPRING)
        space = ConfigurationSpace(coordinates)
        finder = PathFinder(model, start, ends, law, space, self._relaxing(), fmax=_ON_PRIOR * self.fmax)
        seeds = finder.seeds()
        problem = Configurations(evaluator, seeds, start[[image + 1 for image in seeds]].ravel())
        stop = Certified(_ON_PRIOR * self.fmax, _PATIENCE * (len(start) - 2))
        try:
            result = run(problem, finder, stop, observers=[problem.expect])
        except EvaluationFailed as failure:
            log.warning("the prior cannot follow the initial path (%s); it is only asked where it is needed", failure)
            return emulator, start
        if result.reason.kind == "interrupted":
            raise KeyboardInterrupt
        memory = result.state.memory
        emulator.data = memory.data
        if not result.converged:
            log.info("no path on the prior alone (%s); going on from the initial path", result.reason.message)
            return emulator, start
        return emulator, memory.X

    def further_calls(self) -> dict[str, int]:
        return {} if self._emulator is None else {"prior": self._emulator.calls}

    @property
    def surrogate(self) -> Callable[[Array], tuple[Array, Array]] | None:
        finder = self.finder
        if finder is None or finder.learned is None or not self._lessons:
            return None
        learned, caution = finder.learned, finder.model.caution

        def believed(X: Array) -> tuple[Array, Array]:
            return learned.predict(X)[0], caution * learned.energy_deviations(X)

        return believed

    @property
    def lessons(self) -> tuple[Lesson, ...]:
        return self._lessons

    def _relaxing(self) -> tuple[Any, ...]:
        coordinates = self.ends.coordinates
        step = _STEP_MOLECULE if coordinates.rigid else _STEP_SOLID

        def quick(band: Array) -> Any:
            return band_method("lbfgs", coordinates, band, precondition=False, maxstep=step)

        def sure(band: Array) -> Any:
            return band_method("imagewise", coordinates, band, fmax=0.1 * self.fmax)

        return quick, sure
