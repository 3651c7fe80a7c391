"""How far, and do we believe it: one law for every limit.

The law: *shrink at once when the signal is bad, grow after `patience` good steps, stay in [least, most]*. FIRE's time
step, a move limit, a trust radius and a learning rate differ only in the signal.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from sciopt.core.space import everywhere

if TYPE_CHECKING:
    from sciopt.core.evaluation import Evaluation
    from sciopt.core.method import State
    from sciopt.core.space import Space
    from sciopt.core.types import Array, Mask

__all__ = ["Adaptive", "Control", "Fade", "Fixed", "Limit", "Schedule", "Verdict"]

Signal = Callable[["State", "Evaluation", "Space"], "float | Array"]


class Limit(NamedTuple):
    """A limit: one number, one per block or one per variable.

    Attributes
    ----------
    size
        The limit itself: time step, learning rate, radius, move limit.
    streak
        Good steps in a row.
    grown
        Whether the last judgement let the limit grow (patience was served), also where `most` stopped it.
    judged
        Judgements so far, for schedules.
    """

    size: float | Array
    streak: int | Array = 0
    grown: bool | Array = False
    judged: int = 0


class Verdict(NamedTuple):
    """What a control decided about the last step.

    `accept` is one answer, or one per block: rejected blocks are taken back halfway while the others keep what was
    paid for them.
    """

    limit: Limit
    accept: bool | Mask = True
    forget: bool = False


class Control(Protocol):
    """Judges the last step and sets the limit of the next."""

    def start(self) -> Limit:
        """The first limit."""

    def judge(self, state: State, ev: Evaluation, space: Space) -> Verdict:
        """Compare what `state.step` promised with the answer `ev` at `state.trial`."""

    def failed(self, limit: Limit, blocks: tuple[int, ...]) -> Verdict:
        """The limit after the trial point could not be evaluated (in `blocks`, or anywhere when empty)."""


@dataclass(frozen=True)
class Adaptive:
    """The one law of adaptive limits.

    ``size <- max(shrink * size, least)`` where the signal is negative, ``min(grow * size, most)`` where it has been
    positive for more than `patience` steps, unchanged where it is zero. Only while steps are being rejected may the
    limit be below `least`; the next accepted step lifts it back.

    Parameters
    ----------
    size
        The first limit.
    signal
        ``(state, evaluation, space) -> opinion``, positive, zero or negative; one per block or variable if it likes.
    grow, shrink, patience, least, most
        The law. Patience 0 grows on every good step.
    radius
        The limit is a length: a shrinking radius starts from the length of the step that failed if that was shorter,
        and a radius grows only when the step had used at least 80 % of it.
    reject
        Take a step back when the signal is bad for all of it; or when another one is: a radius that shrinks because
        the model was poor need not give up what was gained.
    forget
        Let the rule forget its memory after a bad step.

    Examples
    --------
    >>> from sciopt.core.signals import power
    >>> fire = Adaptive(0.1, power, grow=1.1, shrink=0.5, patience=6, most=1.0, forget=True)
    >>> fire.start().size
    0.1
    """

    size: float | Array
    signal: Signal
    grow: float = 1.1
    shrink: float = 0.5
    patience: int = 0
    least: float = 0.0
    most: float = np.inf
    radius: bool = False
    reject: bool | Signal = False
    forget: bool = False

    def start(self) -> Limit:
        zero = np.zeros(np.shape(self.size), dtype=int)
        return _limit(np.asarray(self.size, dtype=float), zero, zero.astype(bool), 0)

    def judge(self, state: State, ev: Evaluation, space: Space) -> Verdict:
        opinion = np.asarray(self.signal(state, ev, space))
        length = space.length(state.step) if self.radius else None
        if length is not None and np.ndim(state.limit.size) == 0:
            # One limit for all blocks of a space stays one limit.
            length = float(np.max(length))
        all_bad = everywhere(space, opinion < 0)
        if callable(self.reject):
            rejected = everywhere(space, np.asarray(self.reject(state, ev, space)) < 0)
            opinion = np.full_like(opinion, -1.0) if rejected else opinion
        else:
            rejected = self.reject and all_bad
        # Held at `least`, a rule that is sent back would propose the rejected step again, and again.
        limit = self._law(state.limit, opinion, length, 0.0 if rejected else self.least)
        return Verdict(limit, not rejected, self.forget and all_bad)

    def failed(self, limit: Limit, blocks: tuple[int, ...]) -> Verdict:
        opinion = np.full(np.shape(limit.size), -1.0)
        if blocks and opinion.ndim:
            opinion[:] = 0.0
            opinion[list(blocks)] = -1.0
        return Verdict(self._law(limit, opinion, None, self.least), False, self.forget)

    def _law(self, limit: Limit, opinion: Array, length: float | Array | None, least: float) -> Limit:
        size, streak = np.asarray(limit.size), np.asarray(limit.streak)
        good, bad = opinion > 0, opinion < 0
        ripe = good & (streak >= self.patience)
        start, grown = size, ripe
        if length is not None:
            start = np.minimum(size, length)
            grown = ripe & (np.asarray(length) > 0.8 * size)
        size = np.where(bad, start * self.shrink, np.where(grown, np.minimum(size * self.grow, self.most), size))
        streak = np.where(good, streak + 1, np.where(bad, 0, streak))
        return _limit(np.maximum(size, least), streak, ripe, limit.judged + 1)


@dataclass(frozen=True)
class Fixed:
    """A limit that never changes.

    Examples
    --------
    >>> Fixed(0.01).start().size
    0.01
    """

    size: float | Array

    def start(self) -> Limit:
        return Limit(self.size)

    def judge(self, state: State, ev: Evaluation, space: Space) -> Verdict:
        return Verdict(state.limit._replace(judged=state.limit.judged + 1))

    def failed(self, limit: Limit, blocks: tuple[int, ...]) -> Verdict:
        return Verdict(limit, False, False)


@dataclass(frozen=True)
class Schedule:
    """A limit that follows a given function of the number of judged steps, ``size = f(k)`` for k = 0, 1, ….

    Examples
    --------
    >>> Schedule(lambda k: 0.1 / (1 + k)).start().size
    0.1
    """

    size: Callable[[int], float]

    def start(self) -> Limit:
        return Limit(self.size(0))

    def judge(self, state: State, ev: Evaluation, space: Space) -> Verdict:
        count = state.limit.judged + 1
        return Verdict(Limit(self.size(count), 0, False, count))

    def failed(self, limit: Limit, blocks: tuple[int, ...]) -> Verdict:
        return Verdict(limit, False, False)


@dataclass(frozen=True)
class Fade:
    """A limit that stays constant and then decays: ``size = first / (1 + max(0, k - after) / over)``.

    The harmonic tail satisfies the Robbins-Monro conditions (sum of sizes diverges, sum of squares converges), so a
    rule on noisy forces settles instead of rattling.

    Examples
    --------
    >>> Fade(0.1, after=10, over=5).at(20)
    0.03333333333333333
    """

    size: float
    after: int = 0
    over: float = 10.0

    def at(self, count: int) -> float:
        """The limit after `count` judged steps."""
        return self.size / (1.0 + max(0, count - self.after) / self.over)

    def start(self) -> Limit:
        return Limit(self.size)

    def judge(self, state: State, ev: Evaluation, space: Space) -> Verdict:
        count = state.limit.judged + 1
        return Verdict(Limit(self.at(count), 0, False, count))

    def failed(self, limit: Limit, blocks: tuple[int, ...]) -> Verdict:
        return Verdict(limit, False, False)


def _limit(size: Array, streak: Array, grown: Mask, count: int) -> Limit:
    """Scalars leave as Python numbers, so that states serialise and compare exactly."""
    if np.ndim(size) == 0:
        return Limit(float(size), int(streak), bool(grown), count)
    shape = np.shape(size)
    return Limit(
        np.array(size), np.array(np.broadcast_to(streak, shape)), np.array(np.broadcast_to(grown, shape)), count
    )
