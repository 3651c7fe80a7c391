"""Spectral projected gradients: one curvature, learned from the last step, inside an adaptive move-limit box."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np

from sciopt.core.rule import Proposal, Rule
from sciopt.rules.bounds import bounded, move_box, recent, restoration

if TYPE_CHECKING:
    from sciopt.core.control import Limit
    from sciopt.core.evaluation import Evaluation
    from sciopt.core.space import Space
    from sciopt.core.types import Array

__all__ = ["Spectral", "SpectralProjectedGradient"]

_NAME = "the spectral projected gradient method"
# Of the length that moves the steepest variable by one limit.
_SHORTEST, _LONGEST = 1e-10, 1e10


class Spectral(NamedTuple):
    """The step length (None before the first step) and the last accepted values, newest last."""

    length: float | None
    values: tuple[float, ...]


@dataclass(frozen=True)
class SpectralProjectedGradient(Rule):
    """``x_new = P(x + a f / w)``, P the projection onto the feasible part of the box ``|x_new - x| <= size``.

    The length ``a = s.W s / s.y`` is that of Barzilai and Borwein, measured in the weights w of the space; where the
    curvature ``s.y`` is not positive it is multiplied by four. f is the raw force. Run it under
    ``Adaptive(0.2, Nonmonotone(10), grow=1.3, shrink=0.5, least=0.01, most=0.5, radius=True, reject=True)``: a
    rejected step is proposed again in a smaller box. The first step moves the steepest variable by the limit.

    An infeasible start is first projected, unjudged.

    Parameters
    ----------
    window
        Accepted values kept for the control.

    Raises
    ------
    InputError
        In a space without bounds.

    References
    ----------
    Birgin, Martínez and Raydan 2000, doi 10.1137/S1052623497330963; Barzilai and Borwein 1988,
    doi 10.1093/imanum/8.1.141.
    """

    raw_force: ClassVar[bool] = True

    window: int = 10

    def start(self, ev: Evaluation, space: Space) -> Spectral:
        bounded(space, _NAME)
        return Spectral(None, recent((), ev, self.window))

    def forget(self, memory: Spectral) -> Spectral:
        return memory._replace(length=None)

    def learn(self, memory: Spectral, here: Evaluation, step: Array, ev: Evaluation, space: Space) -> Spectral:
        memory = memory._replace(values=recent(memory.values, ev, self.window))
        if memory.length is None:
            return memory
        weights = bounded(space, _NAME).weights
        sws = space.dot(step, step if weights is None else weights * step)
        sy = space.dot(step, here.force - ev.force)
        length = sws / sy if sy > 0.0 else 4.0 * memory.length
        return memory._replace(length=length) if np.isfinite(length) and length > 0.0 else memory

    def propose(self, memory: Spectral, here: Evaluation, limit: Limit, space: Space) -> Proposal:
        box = bounded(space, _NAME)
        back = restoration(box, here.x)
        if back is not None:
            return Proposal(back, Spectral(None, ()), correction=True)
        uphill = space.sharp(here.x, here.force)
        steepest = float(np.max(space.length(uphill)))
        if steepest == 0.0:
            return Proposal(np.zeros_like(here.x), memory, 0.0)
        unit = space.largest(float(np.max(limit.size, initial=0.0))) / steepest
        length = unit if memory.length is None else min(max(memory.length, _SHORTEST * unit), _LONGEST * unit)
        step = box.project(here.x + length * uphill, *move_box(box, here.x, limit.size)) - here.x
        return Proposal(step, memory._replace(length=length), space.dot(here.force, step))
