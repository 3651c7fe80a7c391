"""The stages of a path search, in the order they are paid for."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from sciopt.core import NoiseFloor, Reason, Residual, RestartMismatch, Result, Tail, run
from sciopt.core.errors import EvaluationFailed
from sciopt.core.stop import Any as AnyOf
from sciopt.neb.band_problem import BandProblem
from sciopt.neb.imagewise import Learned
from sciopt.neb.methods import band_method
from sciopt.neb.recover import Stagnation, through_top
from sciopt.neb.setup import settled
from sciopt.neb.verify import verify_saddle

if TYPE_CHECKING:
    from collections.abc import Callable

    from sciopt.core.control import Control
    from sciopt.core.method import Method
    from sciopt.core.rule import Rule
    from sciopt.core.run import Snapshot
    from sciopt.core.stop import Progress
    from sciopt.core.types import Array
    from sciopt.neb.band import BandLaw
    from sciopt.neb.images import Images
    from sciopt.neb.ledger import Ledger
    from sciopt.neb.path_result import Lesson, SaddleCheck
    from sciopt.neb.run_folder import RunFolder
    from sciopt.neb.setup import Ends

__all__ = ["SaddleFound", "Search"]

log = logging.getLogger("sciopt")

# Force on the climbing image, eV/Å, below which a search for the saddle alone leaves the band.
LEAVE_BAND = 1.0
# New paths drawn through the highest image before a stage gives up.
MOST_RESTARTS = 3


@dataclass
class Search:
    """The stages of one search: band without climbing, band, saddle, check, and back to the band if that failed.

    Attributes are the arguments of `sciopt.neb.path.find_path` of the same name.
    """

    evaluator: Images
    ledger: Ledger
    ends: Ends
    band: Array
    fmax: float
    noise: float
    max_calls: int | None
    folder: RunFolder | None
    callback: Callable[[Snapshot], None] | None
    certify: str
    check: bool | None
    climb: bool | float
    _begun: tuple[str, Array] | None = field(default=None, init=False)

    def run(
        self, method: str | tuple[Rule, Control], law: BandLaw, setup: dict[str, Any]
    ) -> tuple[Result, SaddleCheck | None]:
        """The last stage's result, and what was verified about the saddle."""
        saddle = self.certify == "saddle" and law.climb
        self._begun = self.folder.stage() if self.folder is not None else None
        reached = self._reached()
        if not isinstance(self.climb, bool) and reached in (None, "loose"):
            loose = replace(law, climb=False)
            stage = self._stage(loose, method, setup, Residual(float(self.climb), "fmax", "eV/Å"), "loose")
            if not stage.converged:
                return stage, None
            self.band = stage.evaluation.info["X"]
        if saddle and reached != "fallback":
            if method == "imagewise":
                stop: Any = SaddleFound(self.fmax)
                result = self._stage(law, method, {**setup, "saddle_below": LEAVE_BAND}, stop, "saddle")
            else:
                result = self._stage(law, method, setup, Residual(max(0.5, self.fmax), "band force", "eV/Å"), "saddle")
            if not result.converged:
                return result, None
            result, checked = self._verify(result, search=True)
            if result.reason.kind == "interrupted" or (checked is not None and checked.passed):
                return result, checked
            why = checked.message if checked is not None else "no image climbs"
            log.warning("%s: converging the whole band instead", why if result.converged else result.reason.message)
            self.band = result.evaluation.info["X"]
        result = self._stage(law, method, setup, self._target(), "fallback" if saddle else "band")
        if result.converged and (saddle or self.check):
            return self._verify(result, search=False)
        return result, None

    def further_calls(self) -> dict[str, int]:
        """Calls of other calculators than the one that is paid for."""
        return {}

    @property
    def lessons(self) -> tuple[Lesson, ...]:
        """What a surrogate expected of every evaluation, and what it got; empty where there is none."""
        return ()

    @property
    def surrogate(self) -> Callable[[Array], tuple[Array, Array]] | None:
        """Energies and their standard errors at X (B, n), eV, where a surrogate has found the path."""
        return None

    @property
    def rival(self) -> Array | None:
        """(M+2, n) a path that a surrogate suspects to be lower."""
        return None

    def _reached(self) -> str | None:
        """The stage an earlier session had begun."""
        return self._begun[0] if self._begun is not None else None

    def _stepper(self, method: str | tuple[Rule, Control], start: Array, setup: dict[str, Any]) -> Method:
        """The method of a stage that begins from the band `start` (M+2, n)."""
        return band_method(method, self.ends.coordinates, start, fmax=self.fmax, **setup)

    def _target(self) -> Any:
        if self.noise > 0:
            return NoiseFloor(self.fmax)
        return Residual(self.fmax, "fmax", "eV/Å")

    def _stage(
        self, law: BandLaw, method: str | tuple[Rule, Control], setup: dict[str, Any], target: Any, name: str
    ) -> Result:
        """One stage; the image-wise band is drawn anew through its highest image when it gets nowhere."""
        if method != "imagewise":
            return self._attempt(law, method, setup, target, name)
        target = AnyOf((target, Stagnation(10.0 * self.fmax)))
        result = self._attempt(law, method, setup, target, name)
        for _ in range(MOST_RESTARTS):
            if result.reason.kind not in ("stagnation", "stalled", "failed"):
                break
            log.warning("%s; drawing a new path through the highest image", result.reason.message)
            info = result.evaluation.info
            self.band = through_top(info["X"], info["energies"], self.ends.coordinates)
            try:
                result = self._attempt(law, method, setup, target, name)
            except EvaluationFailed as failure:
                log.warning("the new path cannot be evaluated either (%s)", failure)
                break
        return result

    def _attempt(
        self, law: BandLaw, method: str | tuple[Rule, Control], setup: dict[str, Any], target: Any, name: str
    ) -> Result:
        folder, begun = self.folder, self._begun
        self._begun = None
        # A preconditioner belongs to the band the stage began from, also when an earlier session began it.
        continued = begun is not None and begun[0] == name
        start = begun[1] if begun is not None and continued else self.band
        stepper = self._stepper(method, start, setup)
        settings = {"stage": name, "law": law, "method": stepper}
        observers: list[Callable[[Snapshot], None]] = []
        snapshot = None
        if folder is not None:
            observers.append(lambda snapshot: folder.band(snapshot, settings))
            try:
                snapshot = folder.snapshot(settings) if continued else None
            except RestartMismatch as mismatch:
                log.warning("continuing from the last band with a fresh start of the method: %s", mismatch)
                start = self.band
                stepper = self._stepper(method, start, setup)
            folder.begin(name, start)
        problem = BandProblem(self.ends.coordinates, self.evaluator, start, self.ends.answers, law, self.noise)
        stop = target if self.max_calls is None else CallBudget(self.max_calls, self.ledger, target)
        average = Tail(max(10, NoiseFloor(self.fmax).needed(self.noise))) if self.noise > 0 else None
        if self.callback is not None:
            observers.append(self.callback)
        try:
            return run(problem, stepper, stop, observers=observers, average=average, resume=snapshot)
        except EvaluationFailed as failure:
            # Only the first point raises: a method has nothing to go back to, but the images have neighbours.
            log.warning("%s", failure)
            problem = replace(problem, path=settled(self.evaluator, start))
            return run(problem, stepper, stop, observers=observers, average=average)

    def _verify(self, result: Result, search: bool) -> tuple[Result, SaddleCheck | None]:
        """`result` and what was verified about it; not converged, with the reason, when that was not possible."""
        ev = result.evaluation
        hessian = self._learned(result)
        try:
            with self.ledger.book("check"):
                return result, verify_saddle(self.evaluator, self.ends, ev, self.fmax, hessian=hessian, search=search)
        except EvaluationFailed as failure:
            kind, why = "failed", f"the saddle could not be verified: {failure}"
        except KeyboardInterrupt:
            kind, why = "interrupted", "interrupted by the user while the saddle was verified"
        reason = Reason(kind, f"{result.reason.message}; {why}", False)
        return replace(result, reason=reason, converged=False), None

    def _learned(self, result: Result) -> Array | None:
        """(n, n) what the method has learned about the Hessian at the climbing image, eV/Å²."""
        memory, climbing = result.state.memory, result.evaluation.info["climbing"]
        if not isinstance(memory, Learned) or climbing is None:
            return None
        model = memory.models[climbing]
        return np.column_stack([model.matvec(unit) for unit in np.eye(result.evaluation.info["X"].shape[1])])


@dataclass(frozen=True)
class SaddleFound:
    """Converged when the climbing image, following its mode, has a true force below `fmax`."""

    fmax: float

    def __call__(self, progress: Progress) -> Reason | None:
        info = progress.here.info
        climbing = info["climbing"]
        if climbing is None:
            return None
        coordinates = progress.space.coordinates  # type: ignore[attr-defined]
        force = float(coordinates.longest(info["true"][climbing]))
        if not force < self.fmax:
            return None
        return Reason("residual", f"force on the climbing image {force:.3g} < {self.fmax:g} eV/Å", True)


@dataclass(frozen=True)
class CallBudget:
    """`target`, or not converged once `amount` calls have gone into images, whatever stage or session made them."""

    amount: int
    ledger: Ledger
    target: Any

    def __call__(self, progress: Progress) -> Reason | None:
        if (reason := self.target(progress)) is not None:
            return reason
        if self.ledger.spent < self.amount:
            return None
        return Reason("budget", f"the budget of {self.amount} evaluations of images is used up", False)
