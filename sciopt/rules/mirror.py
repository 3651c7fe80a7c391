"""Entropic mirror descent: densities that cannot leave their bounds, because their latent variables have none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np

from sciopt.core.rule import Proposal, Rule
from sciopt.rules.bounds import bounded, column, recent, widths
from sciopt.rules.multiplier import falling_root

if TYPE_CHECKING:
    from sciopt.core.box import Bounded
    from sciopt.core.control import Limit
    from sciopt.core.evaluation import Evaluation
    from sciopt.core.space import Space
    from sciopt.core.types import Array

__all__ = ["Latent", "MirrorDescent"]

_NAME = "mirror descent"
_LONGEST = 1e6  # change of the steepest latent variable in one step


class Latent(NamedTuple):
    """The step length (None before the first step) and the last accepted values, newest last."""

    length: float | None
    values: tuple[float, ...]


@dataclass(frozen=True)
class MirrorDescent(Rule):
    """``psi <- psi + size a f / w - mu`` with ``psi = log((x - lower) / (upper - x))`` and mu >= 0 for the budget.

    Descent in the metric of the Fermi-Dirac entropy: every x is strictly inside its bounds. The multiplier of the
    budget ``w . x <= capacity`` is a shift of psi. The length ``a = s.W dpsi / s.y`` is that of Barzilai and Borwein
    in this geometry; where the curvature ``s.y`` is not positive it is multiplied by four. The first step changes the
    steepest psi by one. The limit is a factor on the length: run it under
    ``Adaptive(1.0, Nonmonotone(10), shrink=0.5, least=1.0, most=1.0, reject=True)``, the backtracking of Armijo.

    A start on the bounds or beyond the budget is first moved inside, unjudged.

    Parameters
    ----------
    window
        Accepted values kept for the control.
    margin
        Least distance to a bound in units of the distance of the bounds, so that psi stays finite.

    Raises
    ------
    InputError
        In a space without finite bounds.

    References
    ----------
    Kim, Lazarov, Surowiec and Keith 2024 (SiMPL), arXiv:2409.19341; Keith, Kim, Lazarov and Surowiec 2024,
    arXiv:2411.19421.
    """

    raw_force: ClassVar[bool] = True

    window: int = 10
    margin: float = 1e-9

    def start(self, ev: Evaluation, space: Space) -> Latent:
        widths(bounded(space, _NAME), ev.x, _NAME)
        return Latent(None, recent((), ev, self.window))

    def forget(self, memory: Latent) -> Latent:
        return memory._replace(length=None)

    def learn(self, memory: Latent, here: Evaluation, step: Array, ev: Evaluation, space: Space) -> Latent:
        memory = memory._replace(values=recent(memory.values, ev, self.window))
        if memory.length is None:
            return memory
        box = bounded(space, _NAME)
        change = self._latent(box, ev.x) - self._latent(box, here.x)
        sws = space.dot(step, change if box.weights is None else box.weights * change)
        sy = space.dot(step, here.force - ev.force)
        length = sws / sy if sy > 0.0 else 4.0 * memory.length
        return memory._replace(length=length) if np.isfinite(length) and length > 0.0 else memory

    def propose(self, memory: Latent, here: Evaluation, limit: Limit, space: Space) -> Proposal:
        box = bounded(space, _NAME)
        latent = self._latent(box, here.x)
        inside = self._point(box, latent)
        widest = space.largest(float(np.max(widths(box, here.x, _NAME), initial=0.0)))
        if space.length(inside - here.x) > 0.1 * self.margin * widest:
            return Proposal(inside - here.x, Latent(None, ()), correction=True)
        uphill = space.sharp(here.x, here.force)
        steepest = float(np.max(space.length(uphill)))
        if steepest == 0.0:
            return Proposal(np.zeros_like(here.x), memory, 0.0)
        length = 1.0 / steepest if memory.length is None else min(memory.length, _LONGEST / steepest)
        step = self._point(box, latent + limit.size * length * uphill) - here.x
        return Proposal(step, memory._replace(length=length), space.dot(here.force, step))

    def _latent(self, box: Bounded, x: Array) -> Array:
        """Psi of `x`, or of the point at the margin where `x` is outside."""
        width = np.maximum(widths(box, x, _NAME), np.finfo(float).tiny)
        share = np.clip((x - box.lower) / width, self.margin, 1.0 - self.margin)
        return np.log(share / (1.0 - share))

    def _point(self, box: Bounded, latent: Array) -> Array:
        """The x of `latent`, shifted down as far as the budget demands."""
        lower, width = column(box.lower, latent), widths(box, latent, _NAME)
        reach = float(np.log((1.0 - self.margin) / self.margin))

        def share(shift: float) -> Array:
            return 1.0 / (1.0 + np.exp(np.clip(shift - latent, -reach, reach)))

        if box.weights is None:
            return lower + width * share(0.0)
        weights = box.weights * width
        room = box.capacity - float(box.total(box.weights @ lower))

        def excess(shift: float) -> tuple[float, float]:
            taken = share(shift)
            filled, fall = box.total(np.array([weights @ taken, weights @ (taken * (1.0 - taken))]))
            return float(filled) - room, -float(fall)

        shift = 0.0
        if excess(0.0)[0] > 0.0:
            highest = box.largest(float(latent.max(initial=0.0))) + reach
            shift = falling_root(excess, 0.0, 0.0, highest, 1e-13 * abs(box.capacity))
        return lower + width * share(shift)
