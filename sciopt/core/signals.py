"""The opinions a control can listen to: positive means "trust more", negative "trust less", zero "no opinion"."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from sciopt.core.evaluation import Evaluation
    from sciopt.core.method import State
    from sciopt.core.space import Space
    from sciopt.core.types import Array

__all__ = ["Improvement", "Nonmonotone", "Ratio", "alignment", "power", "reversal", "virtual_work"]


def power(state: State, ev: Evaluation, space: Space) -> float:
    """FIRE's power, the slope left over at the end of the step: sign of ``F_new . s``.

    Bitzek et al. 2006, doi 10.1103/PhysRevLett.97.170201.
    """
    return 1.0 if space.dot(ev.force, state.step) > 0.0 else -1.0


def alignment(state: State, ev: Evaluation, space: Space) -> Array:
    """Rprop's signal, one per variable: ``F_new,i s_i``. Zero where a variable did not move.

    Riedmiller and Braun 1993, doi 10.1109/ICNN.1993.298623.
    """
    return ev.force * state.step


def reversal(state: State, ev: Evaluation, space: Space) -> Array:
    """The oscillation test of move limits and MMA's asymptotes, one per variable: ``s_i s_last,i``.

    Svanberg 1987, doi 10.1002/nme.1620240207.
    """
    return np.zeros_like(state.step) if state.last is None else state.step * state.last


def virtual_work(state: State, ev: Evaluation, space: Space) -> float:
    """The decrease along the step where no merit exists: ``(F_old + F_new) . s / 2`` (trapezoidal rule)."""
    return 0.5 * (space.dot(state.here.force, state.step) + space.dot(ev.force, state.step))


@dataclass(frozen=True)
class Ratio:
    """Actual against predicted decrease; virtual work stands in where there is no merit.

    Good above `high`, bad below `low`. A prediction that is not positive counts as bad: the ratio of two negative
    numbers must not accept an uphill step.

    Conn, Gould and Toint 2000, doi 10.1137/1.9780898719857.
    """

    low: float = 0.25
    high: float = 0.75

    def __call__(self, state: State, ev: Evaluation, space: Space) -> float:
        predicted = space.dot(state.here.force, state.step) if state.predicted is None else float(state.predicted)
        if predicted <= 0:
            return -1.0
        if state.here.value is None or ev.value is None:
            actual = virtual_work(state, ev, space)
        else:
            actual = state.here.value - ev.value
            # Near a minimum the difference of two values is rounding; the forces still know the decrease.
            if abs(actual) < 1e-10 * max(abs(state.here.value), abs(ev.value)):
                actual = virtual_work(state, ev, space)
        ratio = actual / predicted
        return 1.0 if ratio > self.high else -1.0 if ratio < self.low else 0.0


@dataclass(frozen=True)
class Improvement:
    """Good when the value went down by more than `least`, bad when it did not.

    The signal of reduce-on-plateau schedules and of trust-region Bayesian search.
    """

    least: float = 0.0

    def __call__(self, state: State, ev: Evaluation, space: Space) -> float:
        if state.here.value is None or ev.value is None:
            return 0.0
        return 1.0 if state.here.value - ev.value > self.least else -1.0


@dataclass(frozen=True)
class Nonmonotone:
    """Good below the present value, bad unless sufficiently below the largest of the last accepted ones.

    Bad where ``f_new > max(f_k, ..., f_{k-window+1}) - slope * predicted``, the condition of Armijo in the nonmonotone
    form of Grippo, Lampariello and Lucidi 1986, doi 10.1137/0723046; for spectral steps Birgin, Martinez and Raydan
    2000, doi 10.1137/S1052623497330963. Without a merit the virtual work must be positive.

    The accepted values are the field `values` of the rule's memory, newest last; a rule that keeps none is judged
    against the present value alone. A prediction that is not positive counts as bad.

    Parameters
    ----------
    window
        Accepted values that count. 1 is the monotone condition.
    slope
        Part of the predicted decrease that must come true.
    """

    window: int = 10
    slope: float = 1e-4

    def __call__(self, state: State, ev: Evaluation, space: Space) -> float:
        predicted = space.dot(state.here.force, state.step) if state.predicted is None else float(state.predicted)
        if predicted <= 0:
            return -1.0
        if state.here.value is None or ev.value is None:
            return 1.0 if virtual_work(state, ev, space) > 0.0 else -1.0
        recent: tuple[float, ...] = getattr(state.memory, "values", ())[-self.window :]
        top = max((*recent, state.here.value))
        actual = state.here.value - ev.value
        # Near a minimum the difference of two values is rounding; the forces still know the decrease.
        if abs(actual) < 1e-10 * max(abs(state.here.value), abs(ev.value)):
            actual = virtual_work(state, ev, space)
        if top - state.here.value + actual < self.slope * predicted:
            return -1.0
        return 1.0 if actual > 0.0 else 0.0
