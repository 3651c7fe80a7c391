"""When to stop, and the sentence that says why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from sciopt.core.average import Mean
    from sciopt.core.evaluation import Evaluation
    from sciopt.core.history import History
    from sciopt.core.method import State
    from sciopt.core.space import Space

__all__ = ["All", "Any", "Budget", "NoiseFloor", "Plateau", "Progress", "Reason", "Residual", "Still", "Stop"]


FEASIBLE = 1e-3
"""A point whose largest violated constraint is at most this counts as feasible; scale constraints accordingly."""

# Nonmonotone methods on a plateau accept nothing that is so much above the best value, relative to it.
_ASTRAY, _PATIENCE = 0.5, 4


@dataclass(frozen=True)
class Reason:
    """Why a run stopped.

    Parameters
    ----------
    kind
        ``residual``, ``plateau``, ``still``, ``noise floor``, ``budget``, ``stalled``, ``failed``, ``interrupted``
        or ``observer``.
    message
        One sentence for people.
    converged
        Whether this is what the user asked for.
    """

    kind: str
    message: str
    converged: bool

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True)
class Progress:
    """What a stopping rule may look at: the last accepted point, the history, the average if one is kept, the state.

    The state is for methods that know better than any force when they are done: a surrogate, say.
    """

    here: Evaluation
    history: History
    space: Space
    mean: Mean | None = None
    state: State | None = None


class Stop(Protocol):
    """A stopping rule. Combine rules with `|` and `&`."""

    def __call__(self, progress: Progress) -> Reason | None:
        """The reason to stop now, or None."""


class _Combinable:
    def __or__(self, other: Stop) -> Any:
        return Any((self, other))  # type: ignore[arg-type]

    def __and__(self, other: Stop) -> All:
        return All((self, other))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Any(_Combinable):
    """Stops when one of `rules` does."""

    rules: tuple[Stop, ...]

    def __call__(self, progress: Progress) -> Reason | None:
        reasons = [reason for rule in self.rules if (reason := rule(progress)) is not None]
        # A run that converged on its last affordable evaluation has converged.
        return next((reason for reason in reasons if reason.converged), reasons[0] if reasons else None)


@dataclass(frozen=True)
class All(_Combinable):
    """Stops when all of `rules` do, with all of their reasons."""

    rules: tuple[Stop, ...]

    def __call__(self, progress: Progress) -> Reason | None:
        reasons = [rule(progress) for rule in self.rules]
        found = [reason for reason in reasons if reason is not None]
        if len(found) < len(self.rules):
            return None
        message = " and ".join(reason.message for reason in found)
        return Reason(found[0].kind, message, all(reason.converged for reason in found))


@dataclass(frozen=True)
class Residual(_Combinable):
    """Converged when the space's residual is below `tol`: a test that no limit can fool.

    Examples
    --------
    >>> stop = Residual(0.05, "fmax", "eV/Å") | Budget(1000)
    """

    tol: float
    name: str = "residual"
    unit: str = ""

    def __call__(self, progress: Progress) -> Reason | None:
        residual = progress.space.residual(progress.here.x, progress.here.force)
        if not residual < self.tol:
            return None
        unit = f" {self.unit}" if self.unit else ""
        return Reason("residual", f"{self.name} {residual:.3g} < {self.tol:g}{unit}", True)


@dataclass(frozen=True)
class Plateau(_Combinable):
    """Converged when the best value improved by less than `rtol` (relative) over the last `window` evaluations.

    With constraints, only points that hold them count. A method that went astray, to a point half as much again above
    the best value, has the whole window to come back; one that does not in four windows has not converged.
    """

    rtol: float = 2e-4
    window: int = 10

    def __call__(self, progress: Progress) -> Reason | None:
        values = progress.history.column("value")
        if len(values) <= self.window:
            return None
        infeasible = progress.history.column("violation") > FEASIBLE
        counted = (progress.history.column("accepted") > 0.0) & ~infeasible
        recent = values[-self.window :][counted[-self.window :]]
        values[infeasible] = np.inf
        best = np.minimum.accumulate(values)
        if not np.isfinite(best[-1 - self.window]):
            return None
        gain = best[-1 - self.window] - best[-1]
        if not gain <= self.rtol * abs(best[-1]):
            return None
        share = gain / abs(best[-1]) if best[-1] else 0.0
        message = f"the best value improved by {share:.2g} of it (< {self.rtol:g}) in {self.window} evaluations"
        if not np.any(recent - best[-1] > _ASTRAY * abs(best[-1])):
            return Reason("plateau", message, True)
        # A method that never comes back must end as well.
        patience = _PATIENCE * self.window
        if len(values) <= patience or best[-1 - patience] > best[-1]:
            return None
        return Reason("astray", f"the best value did not improve in {patience} evaluations far above it", False)


@dataclass(frozen=True)
class Still(_Combinable):
    """Converged when an accepted step was shorter than `tol`: the stop of many papers, kept to reproduce them.

    Under an adaptive limit a short step says little: a shrunken limit looks like convergence. Prefer `Plateau`.
    """

    tol: float = 0.01

    def __call__(self, progress: Progress) -> Reason | None:
        last = progress.history[-1] if len(progress.history) > 1 else None
        if last is None or not last.accepted or not last.moved < self.tol:
            return None
        return Reason(
            "still", f"the last step changed no variable by more than {last.moved:.2g} (< {self.tol:g})", True
        )


@dataclass(frozen=True)
class NoiseFloor(_Combinable):
    """Converged when the *mean* force is below `tol` after subtracting what noise alone explains.

    With w averaged points and noise sigma per component, ``max(|F|^2 - 3 (1.6 sigma)^2 / w, 0) < (0.8 tol)^2`` for the
    largest particle; tested once ``w >= 3 (1.6 sigma / tol)^2``. Testing raw forces instead would never succeed once
    sigma is near `tol`. Needs a run with ``average=Tail(...)``.

    Parameters
    ----------
    tol
        Tolerance on the noise-free residual.
    least
        Fewest points to average over.
    """

    tol: float
    least: int = 6

    def needed(self, noise: float) -> int:
        """Points to average over before the test means anything."""
        return max(self.least, int(np.ceil(3.0 * (1.6 * noise / self.tol) ** 2)))

    def __call__(self, progress: Progress) -> Reason | None:
        mean = progress.mean
        if mean is None or mean.noise <= 0 or mean.points < self.needed(mean.noise):
            return None
        residual = progress.space.residual(mean.x(), mean.force())
        explained = 3.0 * (1.6 * mean.noise) ** 2 / mean.points
        if max(residual**2 - explained, 0.0) >= (0.8 * self.tol) ** 2:
            return None
        message = (
            f"noise floor: mean residual {residual:.3g} over {mean.points} points, of which noise explains "
            f"{np.sqrt(explained):.3g}, leaves less than {self.tol:g}"
        )
        return Reason("noise floor", message, True)


@dataclass(frozen=True)
class Budget(_Combinable):
    """Stops, not converged, when `amount` of the cost `of` is used up."""

    amount: float
    of: str = "evaluations"

    def __call__(self, progress: Progress) -> Reason | None:
        used = progress.history.cost.get(self.of, 0.0)
        if used < self.amount:
            return None
        return Reason("budget", f"the budget of {self.amount:g} {self.of} is used up", False)
