"""Tail averaging: on noisy forces the mean of the last iterates is better than any of them.

Polyak and Juditsky 1992, doi 10.1137/0330046; Ruppert 1988.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sciopt.core.errors import InputError

if TYPE_CHECKING:
    from sciopt.core.evaluation import Evaluation
    from sciopt.core.types import Array

__all__ = ["Mean", "Polyak", "Tail"]


class Mean(NamedTuple):
    """Averages so far.

    Attributes
    ----------
    xs, forces
        The window: (w, n) last points and their forces. Polyak averaging keeps only their sums, as one row.
    points
        Points averaged.
    seen
        Points seen, those before the average began included.
    noise
        Standard error of one force component at the last point.
    """

    xs: Array
    forces: Array
    points: int
    seen: int
    noise: float

    def x(self) -> Array:
        """(n,) the mean point."""
        return np.asarray(self.xs.sum(axis=0) / max(self.points, 1))

    def force(self) -> Array:
        """(n,) the mean force."""
        return np.asarray(self.forces.sum(axis=0) / max(self.points, 1))

    def x_error(self) -> Array | None:
        """(n,) standard error of the mean point, None where no window was kept.

        Successive points are correlated, so that their spread over the root of their number would be several times too
        small. Blocking repairs that: the largest standard error from means of 1, 2, 4, … successive points, as long as
        there are five blocks (Flyvbjerg and Petersen 1989, doi 10.1063/1.457480). It is still a lower bound when points
        stay correlated over a fifth of the window.
        """
        count = len(self.xs)
        if count < 2:
            return None
        error = np.zeros(self.xs.shape[1])
        length = 1
        while length == 1 or count // length >= 5:
            blocks = count // length
            means = self.xs[count - blocks * length :].reshape(blocks, length, -1).mean(axis=1)
            error = np.maximum(error, means.std(axis=0, ddof=1) / np.sqrt(blocks))
            length *= 2
        return error


@dataclass(frozen=True)
class Tail:
    """Mean over the last `window` accepted points.

    Examples
    --------
    >>> Tail(50).window
    50
    """

    window: int = 50

    def __post_init__(self) -> None:
        if self.window < 1:
            raise InputError(f"the averaging window is {self.window}; it must be at least 1")

    def start(self, ev: Evaluation) -> Mean:
        empty = np.zeros((0, ev.x.size))
        return self.add(Mean(empty, empty, 0, 0, 0.0), ev)

    def add(self, mean: Mean, ev: Evaluation) -> Mean:
        """The average with one more point."""
        xs = np.vstack([mean.xs, ev.x])[-self.window :]
        forces = np.vstack([mean.forces, ev.force])[-self.window :]
        return Mean(xs, forces, len(xs), mean.seen + 1, ev.noise)


@dataclass(frozen=True)
class Polyak:
    """Mean over all accepted points after the first `burn_in`.

    Examples
    --------
    >>> Polyak(burn_in=100).burn_in
    100
    """

    burn_in: int = 0

    def start(self, ev: Evaluation) -> Mean:
        zero = np.zeros((1, ev.x.size))
        return self.add(Mean(zero, zero, 0, 0, 0.0), ev)

    def add(self, mean: Mean, ev: Evaluation) -> Mean:
        """The average with one more point."""
        if mean.seen < self.burn_in:
            return mean._replace(seen=mean.seen + 1, noise=ev.noise)
        return Mean(mean.xs + ev.x, mean.forces + ev.force, mean.points + 1, mean.seen + 1, ev.noise)
