"""ODE12r: the force as a velocity field, followed with an adaptive pseudo-time step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sciopt.core.control import Limit, Verdict
from sciopt.core.rule import Proposal, Rule

if TYPE_CHECKING:
    from sciopt.core.evaluation import Evaluation
    from sciopt.core.method import State
    from sciopt.core.space import Space
    from sciopt.core.types import Array

__all__ = ["ErrorControl", "PseudoTime"]


@dataclass(frozen=True)
class PseudoTime(Rule):
    """Forward Euler: ``s = h G^-1 f``. A limit of 0 asks for the first step, ``h = sqrt(rtol) / (2 max|G^-1 f|)``."""

    rtol: float = 0.1

    def propose(self, memory: tuple[()], here: Evaluation, limit: Limit, space: Space) -> Proposal:
        direction = space.sharp(here.x, here.force)
        size = limit.size
        if size == 0.0:
            largest = _largest(direction, space)
            size = 0.5 * np.sqrt(self.rtol) / largest if largest > 0 else 1.0
        return Proposal(size * direction, memory)


@dataclass(frozen=True)
class ErrorControl:
    """The step control of ODE12r: local error, growth of the residual and a secant estimate set the time step.

    With ``d = G^-1 f`` at both ends of the step ``s = h d0``: the error estimate is ``e = |h (d1 - d0)| / 2``; the step
    is accepted if the residual fell by ``1 - C1 h``, or grew by at most ``C2`` with ``e <= rtol``; the next h is
    ``min(4 h, h sqrt(rtol/e) / 2, h d0.y / y.y)`` with ``y = d0 - d1``, at least h/4 after success and h/10 after
    failure.

    Makri, Ortner and Kermode 2019, doi 10.1063/1.5064465.
    """

    rtol: float = 0.1
    contraction: float = 1e-2
    growth: float = 2.0
    least: float = 1e-10

    def start(self) -> Limit:
        return Limit(0.0)

    def judge(self, state: State, ev: Evaluation, space: Space) -> Verdict:
        old = space.sharp(state.here.x, space.tangent(state.here.x, state.here.force))
        new = space.sharp(ev.x, space.tangent(ev.x, ev.force))
        size = space.dot(state.step, old) / space.dot(old, old)
        error = max(_largest(0.5 * size * (new - old), space), np.finfo(float).tiny)
        before, after = _largest(old, space), _largest(new, space)
        accept = after <= before * (1.0 - self.contraction * size) or (
            after <= before * self.growth and error <= self.rtol
        )
        y = old - new
        secant = size * space.dot(old, y) / (space.dot(y, y) + 1e-10)
        if not secant > self.least:
            secant = np.inf
        wanted = min(size * 0.5 * np.sqrt(self.rtol / error), secant)
        following = max(0.25 * size, min(4.0 * size, wanted)) if accept else max(0.1 * size, min(0.25 * size, wanted))
        limit = state.limit
        streak = int(limit.streak) + 1 if accept else 0
        return Verdict(Limit(float(max(following, self.least)), streak, accept, limit.judged + 1), accept)

    def failed(self, limit: Limit, blocks: tuple[int, ...]) -> Verdict:
        return Verdict(limit._replace(size=0.25 * float(np.asarray(limit.size)), streak=0), False)


def _largest(vector: Array, space: Space) -> float:
    return space.largest(float(np.abs(vector).max(initial=0.0)))
