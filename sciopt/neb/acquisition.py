"""Which images of a relaxed band to evaluate next, and when there is nothing left to ask."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from sciopt.core.types import Array, Mask
    from sciopt.neb.surrogate_band import Relaxed
    from sciopt.neb.surrogate_model import PathModel, Surrogate
    from sciopt.surrogate.data import Observations

__all__ = ["Plan", "View", "next_images"]

# Chosen on the problems marked `tuned`.
_UNCERTAIN = 0.05  # eV: energies less certain than this come before everything that is about convergence
_SAME = 0.002  # Å: nearer to a datum nothing new is learned about energies
_EQUAL = 1e-5  # Å: nor about forces
_OPEN = 0.25  # of the tolerance: an image whose deviation is smaller needs no audit
_LEAST_DEVIATION = 1e-6  # eV/Å: nobody is surer than this
_MOVED = 0.03  # Å: a climbing image that was converged is asked again when it has moved this far
# Of the standard error of a noisy force component: what is asked of the climbing image and of the others, where that
# is more than the tolerance. One evaluation leaves an uncertainty of 1.7 on an atom.
_NOISY_TOP, _NOISY_OTHERS = 0.8, 5.0


class Plan(NamedTuple):
    """What to evaluate next.

    Attributes
    ----------
    picks
        Images (from 0) and reasons; empty when there is nothing left to ask.
    spread, bound
        As in `sciopt.neb.finder_memory.Memory`.
    complete
        Whether there is nothing left to ask because what is to be certified is within its tolerance.
    """

    picks: tuple[tuple[int, str], ...]
    spread: float
    bound: float = np.inf
    complete: bool = False


@dataclass(frozen=True, eq=False)
class View:
    """A relaxed band as the surrogate sees it.

    Parameters
    ----------
    posterior, relaxed, model
        The surrogate, the band, and the region the surrogate is believed in.
    data
        All observations.
    factor
        By how much deviations of forces are multiplied.
    top
        (n,) where a climbing image is known to be converged, or None.
    noise
        Standard error of a force component: a configuration may then be asked about again.
    second
        Makes another surrogate from the same observations, for a second opinion on what seems certain.
    """

    posterior: Surrogate
    relaxed: Relaxed
    model: PathModel
    data: Observations
    factor: float
    top: Array | None
    noise: float
    second: Callable[[], Surrogate] | None = None

    @cached_property
    def X(self) -> Array:
        """(M, n) movable images."""
        return self.relaxed.ev.info["X"][1:-1]

    @property
    def climbing(self) -> int | None:
        """The climbing image."""
        return self.relaxed.ev.info["climbing"]

    @cached_property
    def spreads(self) -> Array:
        """(M,) standard deviations of the energies, eV."""
        return self.posterior.energy_deviations(self.X)

    @cached_property
    def distance(self) -> Array:
        """(M,) largest displacement of an atom from the nearest datum, Å."""
        return self.model.distances(self.X, self.data.X).min(axis=1)

    @cached_property
    def known(self) -> Mask:
        """(M,) whether there is nothing to be learned about the energy by asking again."""
        return self.distance < (_SAME if self.noise == 0.0 else 0.0)

    @cached_property
    def asked(self) -> Mask:
        """(M,) whether this very configuration has been evaluated; with noisy answers it may be again."""
        return self.distance < (_EQUAL if self.noise == 0.0 else 0.0)

    def missed(self, image: int) -> float:
        """The error of the force at the datum nearest to an image, in deviations, when all other data predict it."""
        nearest = int(np.argmin(self.model.distances(self.X[image][None], self.data.X)[0]))
        error, deviations = self.posterior.left_out(nearest)
        longest = self.model.coordinates.longest
        return float(longest(error)) / max(float(longest(deviations)), _LEAST_DEVIATION)

    def disputed(self, fmax: float) -> Array:
        """(M,) as `totals`, after a second opinion on what seems certain, eV/Å.

        Where deviations are not negligible beside the tolerance `fmax`, they are multiplied by the error that was made
        near the image, if that is more than `factor`: surrogates are wrong in places. The difference between two
        surrogates is a further error.
        """
        if self.second is None:
            return self.totals
        deviations = self.deviations.copy()
        for image in np.flatnonzero(~self.asked & (deviations > _OPEN * fmax)):
            deviations[image] *= max(1.0, self.missed(int(image)) / self.factor)
        _, forces = self.second().predict(self.X)
        difference = forces - self.relaxed.ev.info["forces"][1:-1]
        tangents = self.relaxed.ev.info["tangents"]
        across = difference - np.einsum("ij,ij->i", difference, tangents)[:, None] * tangents
        longest = self.model.coordinates.longest
        left = longest(self.relaxed.ev.force.reshape(self.X.shape))
        totals = left + np.hypot(deviations, longest(across))
        if self.converged:
            totals[self.climbing] = 0.0
        return totals

    def allowed(self, fmax: float) -> Array:
        """(M,) the tolerance of every image, eV/Å: `fmax`, or what noise leaves to be asked for."""
        tolerance = np.full(len(self.X), np.hypot(fmax, _NOISY_OTHERS * self.noise))
        if self.climbing is not None:
            tolerance[self.climbing] = max(fmax, _NOISY_TOP * self.noise)
        return tolerance

    @cached_property
    def converged(self) -> bool:
        """Whether the climbing image was evaluated, where it is, with a force below the tolerance."""
        if self.top is None or self.climbing is None:
            return False
        return bool(self.model.coordinates.longest(self.X[self.climbing] - self.top) <= _MOVED)

    @cached_property
    def deviations(self) -> Array:
        """(M,) calibrated deviations of the force on an atom across the path, eV/Å; whole for the climbing image."""
        tangents = self.relaxed.ev.info["tangents"].copy()
        if self.climbing is not None:
            tangents[self.climbing] = 0.0
        spreads = self.posterior.force_deviations(self.X, without=tangents)
        return self.factor * self.model.coordinates.longest(spreads)

    @cached_property
    def totals(self) -> Array:
        """(M,) band forces that cannot be excluded, eV/Å: predicted, plus the deviation."""
        forces = self.model.coordinates.longest(self.relaxed.ev.force.reshape(self.X.shape))
        totals = forces + self.deviations
        if self.converged:
            totals[self.climbing] = 0.0
        return totals


def next_images(view: View, fmax: float, audits: int, certify: str, batch: int = 1) -> Plan:
    """The next images to ask about, in the order of what they settle: trust, energy, climbing image, force, audit."""
    taken: list[tuple[int, str]] = []
    spread, bound = float(view.spreads.max()), np.inf
    while len(taken) < min(batch, len(view.X)):
        pick, bound_now = _next(view, fmax, audits, certify, [image for image, _ in taken])
        bound = min(bound, bound_now)
        if pick is None:
            break
        taken.append(pick)
        if pick[1] == "audit":
            break
        if len(taken) < batch:
            view = _imagined(view, pick[0])
    return Plan(tuple(taken), spread, bound, not taken and _within(view, fmax, certify))


def _within(view: View, fmax: float, certify: str) -> bool:
    """Whether everything that is to be certified is within its tolerance: the climbing image, or all images."""
    within = view.totals < view.allowed(fmax)
    if certify == "saddle" and view.climbing is not None:
        return bool(within[view.climbing])
    return bool(within.all())


def _imagined(view: View, image: int) -> View:
    """As if the image had answered what is expected of it: only deviations change."""
    info = view.relaxed.ev.info
    expected = view.data.add(
        view.X[image],
        info["energies"][image + 1],
        info["forces"][image + 1],
        float(view.data.energy_noise.min()),
        float(view.data.force_noise.min()),
    )
    posterior = view.posterior.process.fit(expected, view.posterior, optimize=False)
    return replace(view, posterior=posterior, data=expected)


def _next(view: View, fmax: float, audits: int, certify: str, taken: list[int]) -> tuple[tuple[int, str] | None, float]:
    """One image and the reason, None when nothing is left, and the bound on the band force where it was needed."""
    free = ~view.known
    fresh = ~view.asked
    free[taken] = fresh[taken] = False
    relaxed, climbing = view.relaxed, view.climbing

    def ask(image: int, why: str) -> tuple[int, str] | None:
        if fresh[image]:
            return image, why
        return (int(np.argmax(np.where(fresh, view.distance, -1.0))), "force") if fresh.any() else None

    if relaxed.outside is not None and not taken:
        return ask(relaxed.outside, "trust"), np.inf
    worst = int(np.argmax(np.where(free, view.spreads, -1.0)))
    if free[worst] and view.spreads[worst] > _UNCERTAIN:
        return (worst, "energy"), np.inf
    allowed = view.allowed(fmax)
    if climbing is not None and not view.converged and climbing not in taken:
        if view.noise == 0.0:
            return ask(climbing, "climbing"), np.inf
        excess = view.totals / allowed
        # A noisy force is never settled: the climbing image has to wait while others are farther from what they may be,
        # and tell of it as well.
        first = certify == "saddle" or excess[climbing] >= np.where(fresh, excess, -1.0).max()
        if excess[climbing] > 1.0 and first:
            return ask(climbing, "climbing"), np.inf
    # Without an interior maximum there is no saddle to be certain of, only a band.
    if certify == "saddle" and climbing is not None:
        return None, np.inf
    bound = float(view.totals.max())
    excess = view.totals / allowed
    if excess.max() < 1.0 and not taken:
        # What one kernel is sure of, another may doubt.
        disputed = view.disputed(fmax)
        bound, excess = float(disputed.max()), disputed / allowed
        if np.where(fresh, excess, -1.0).max() >= 1.0:
            return ask(int(np.argmax(np.where(fresh, excess, -1.0))), "audit"), bound
    if excess.max() < 1.0:
        doubtful = fresh & (view.deviations > _OPEN * fmax)
        # What noise makes of a prediction is no audit.
        if taken or audits or view.noise > 0.0 or not doubtful.any():
            return None, bound
        return (int(np.argmax(np.where(doubtful, excess, -1.0))), "audit"), bound
    excess = np.where(fresh, excess, -1.0)
    if taken and excess.max() < 1.0:
        return None, bound
    return ask(int(np.argmax(excess)), "force"), bound
