"""The stages of a path search, in the order they are paid for."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from sciopt.core import Budget, NoiseFloor, Reason, Residual, RestartMismatch, Result, Tail, run
from sciopt.core.errors import EvaluationFailed
from sciopt.neb.band_problem import BandProblem
from sciopt.neb.imagewise import Learned
from sciopt.neb.methods import band_method
from sciopt.neb.setup import settled
from sciopt.neb.verify import verify_saddle

if TYPE_CHECKING:
    from collections.abc import Callable

    from sciopt.core.control import Control
    from sciopt.core.rule import Rule
    from sciopt.core.run import Snapshot
    from sciopt.core.stop import Progress
    from sciopt.core.types import Array
    from sciopt.neb.band import BandLaw
    from sciopt.neb.images import Images
    from sciopt.neb.ledger import Ledger
    from sciopt.neb.path_result import SaddleCheck
    from sciopt.neb.run_folder import RunFolder
    from sciopt.neb.setup import Ends

__all__ = ["SaddleFound", "Search"]

log = logging.getLogger("sciopt")

# Force on the climbing image, eV/Å, below which a search for the saddle alone leaves the band.
LEAVE_BAND = 1.0


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

    def run(
        self, method: str | tuple[Rule, Control], law: BandLaw, setup: dict[str, Any]
    ) -> tuple[Result, SaddleCheck | None]:
        """The last stage's result, and what was verified about the saddle."""
        saddle = self.certify == "saddle" and law.climb
        if not isinstance(self.climb, bool):
            loose = replace(law, climb=False)
            stage = self._stage(loose, method, setup, Residual(float(self.climb), "fmax", "eV/Å"), "loose")
            if not stage.converged:
                return stage, None
            self.band = stage.evaluation.info["X"]
        if saddle and method == "imagewise":
            stop: Any = SaddleFound(self.fmax)
            result = self._stage(law, method, {**setup, "saddle_below": LEAVE_BAND}, stop, "saddle")
        elif saddle:
            result = self._stage(law, method, setup, Residual(max(0.5, self.fmax)), "saddle")
        else:
            result = self._stage(law, method, setup, self._target(), "band")
        checked = None
        if result.converged and (saddle or self.check):
            checked = self._verify(result, search=saddle)
            if saddle and (checked is None or not checked.passed):
                why = checked.message if checked is not None else "no image climbs"
                log.warning("%s: converging the whole band instead", why)
                self.band = result.evaluation.info["X"]
                result = self._stage(law, method, setup, self._target(), "fallback")
                checked = self._verify(result, search=False) if result.converged else None
        return result, checked

    def _target(self) -> Any:
        if self.noise > 0:
            return NoiseFloor(self.fmax)
        return Residual(self.fmax, "fmax", "eV/Å")

    def _stage(
        self, law: BandLaw, method: str | tuple[Rule, Control], setup: dict[str, Any], target: Any, name: str
    ) -> Result:
        stepper = band_method(method, self.ends.coordinates, self.band, fmax=self.fmax, **setup)
        problem = BandProblem(self.ends.coordinates, self.evaluator, self.band, self.ends.answers, law, self.noise)
        stop = target if self.max_calls is None else target | Budget(self.max_calls, "images")
        average = Tail(max(10, NoiseFloor(self.fmax).needed(self.noise))) if self.noise > 0 else None
        settings = {"stage": name, "law": law, "method": stepper}
        observers: list[Callable[[Snapshot], None]] = []
        snapshot = None
        folder = self.folder
        if folder is not None:
            observers.append(lambda snapshot: folder.band(snapshot, settings))
            try:
                snapshot = folder.snapshot(settings)
            except RestartMismatch as mismatch:
                log.warning("continuing from the last band with a fresh start of the method: %s", mismatch)
        if self.callback is not None:
            observers.append(self.callback)
        try:
            return run(problem, stepper, stop, observers=observers, average=average, resume=snapshot)
        except EvaluationFailed as failure:
            # Only the first point raises: a method has nothing to go back to, but the images have neighbours.
            log.warning("%s", failure)
            problem = replace(problem, path=settled(self.evaluator, self.band))
            return run(problem, stepper, stop, observers=observers, average=average)

    def _verify(self, result: Result, search: bool) -> SaddleCheck | None:
        ev = result.evaluation
        memory = result.state.memory
        hessian = None
        climbing = ev.info["climbing"]
        if isinstance(memory, Learned) and climbing is not None:
            model = memory.models[climbing]
            hessian = np.column_stack([model.matvec(unit) for unit in np.eye(ev.info["X"].shape[1])])
        with self.ledger.book("check"):
            return verify_saddle(self.evaluator, self.ends, ev, self.fmax, hessian=hessian, search=search)


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
