"""When a path finder is done, and the sentence that says what is certain then."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sciopt.core import Reason

if TYPE_CHECKING:
    from sciopt.core.stop import Progress
    from sciopt.core.types import Array

__all__ = ["Certified"]

# Evaluations in a row at the smallest trust region after which the finder gives up.
_PINCHED = 12
# Times the evaluations it may take once its saddle is known, when all that is left are the other images.
_KNOWN = 1.5


@dataclass(frozen=True)
class Certified:
    """Converged when the finder's certificate is complete; not converged when it gets nowhere.

    Parameters
    ----------
    fmax
        Tolerance, eV/Å, for the sentence.
    most
        Evaluations after which it is time for something else, where no saddle is known.
    """

    fmax: float
    most: int

    def __call__(self, progress: Progress) -> Reason | None:
        assert progress.state is not None
        memory = progress.state.memory
        if memory.claim:
            return Reason("certified", _sentence(memory, self.fmax, progress), True)
        if memory.pinched > _PINCHED:
            message = f"the surrogate mispredicted too often: {memory.pinched} evaluations at its smallest trust region"
            return Reason("stagnation", message, False)
        most = self.most if memory.top is None else _KNOWN * self.most
        if len(memory.lessons) + 2 > most:
            return Reason("stagnation", f"no certificate after {len(memory.lessons)} evaluations", False)
        if not memory.picks:
            return Reason("stagnation", "nothing is left to ask, and the band is not at rest on a path", False)
        return None


def _sentence(memory: Any, fmax: float, progress: Progress) -> str:
    coordinates = progress.space.coordinates  # type: ignore[attr-defined]
    parts = []
    if memory.top is not None:
        force = float(coordinates.longest(memory.data.forces[_row(memory, memory.top)]))
        parts.append(f"true force on the climbing image {force:.3g} < {fmax:g} eV/Å")
    if memory.claim == "strict":
        parts.append(f"true band force of every image below {fmax:g} eV/Å")
    if memory.claim == "band":
        parts.append(f"band force below {memory.bound:.3g} eV/Å by the calibrated and audited surrogate")
    if memory.claim and fmax < memory.bound < np.inf:
        parts.append(f"noise leaves no more than that to be known of {fmax:g} eV/Å")
    return "; ".join(parts) or "certified"


def _row(memory: Any, x: Array) -> int:
    return int(np.argmin(np.abs(memory.data.X - x).max(axis=1)))
