"""FIRE and FIRE 2.0: damped dynamics whose time step is the core's adaptive limit and whose signal is the power."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sciopt.core.rule import Proposal, Rule
from sciopt.core.space import everywhere

if TYPE_CHECKING:
    from sciopt.core.control import Limit
    from sciopt.core.evaluation import Evaluation
    from sciopt.core.space import Space
    from sciopt.core.types import Array

__all__ = ["FIRE", "FIRE2", "Motion"]


class Motion(NamedTuple):
    """Velocity, mixing factor, good steps since the last stop, and the velocity to undo after a stop (or None)."""

    velocity: Array
    alpha: float
    steps: int = 0
    undo: Array | None = None


def _steer(velocity: Array, force: Array, alpha: float, space: Space) -> Array:
    """``(1 - alpha) v + alpha |v| f/|f|``."""
    speed = np.sqrt(space.dot(velocity, velocity))
    strength = np.sqrt(space.dot(force, force))
    if strength == 0.0:
        return (1.0 - alpha) * velocity
    return np.asarray((1.0 - alpha) * velocity + alpha * force / strength * speed)


@dataclass(frozen=True)
class FIRE(Rule):
    """Fast inertial relaxation engine: ``v <- (1-a) v + a |v| f/|f|``, ``v <- v + dt f``, ``s = dt v``.

    ``limit.size`` is the time step. Run it under ``Adaptive(signal=power, grow=1.1, shrink=0.5, patience=6, most=1,
    forget=True)``: when the power turns negative the control halves the time step and makes the rule forget its
    velocity. The mixing factor fades whenever the control has let the time step grow.

    Bitzek, Koskinen, Gähler, Moseler and Gumbsch 2006, doi 10.1103/PhysRevLett.97.170201, in ASE's order of operations.
    """

    alpha: float = 0.1
    fade: float = 0.99

    def start(self, ev: Evaluation, space: Space) -> Motion:
        return Motion(np.zeros_like(ev.x), self.alpha)

    def forget(self, memory: Motion) -> Motion:
        return Motion(np.zeros_like(memory.velocity), self.alpha)

    def propose(self, memory: Motion, here: Evaluation, limit: Limit, space: Space) -> Proposal:
        velocity, alpha = memory.velocity, memory.alpha
        force = space.sharp(here.x, here.force)
        if everywhere(space, limit.streak != 0):
            velocity = _steer(velocity, force, alpha, space)
            if everywhere(space, limit.grown):
                alpha *= self.fade
        velocity = velocity + limit.size * force
        return Proposal(limit.size * velocity, Motion(velocity, alpha))


@dataclass(frozen=True)
class FIRE2(Rule):
    """FIRE 2.0: semi-implicit Euler ``v <- v + dt f``, then mixing; half a step back when the power turns negative.

    With ``abc`` the mixed velocity is bias-corrected by ``1 / (1 - (1-a)^(k+1))`` and clipped per component
    (ABC-FIRE). The half step back, ``-dt v / 2``, is a correction: it costs one evaluation, which is not judged. Run
    under ``Adaptive(signal=power, grow=1.1, shrink=0.5, patience=20, least=2e-3, most=1, forget=True)``.

    Guénolé et al. 2020, doi 10.1016/j.commatsci.2020.109584; Echeverri Restrepo and Andric 2023,
    doi 10.1016/j.commatsci.2022.111978. In ASE's order of operations.
    """

    alpha: float = 0.25
    fade: float = 0.99
    abc: bool = False
    maxstep: float = 0.2

    def start(self, ev: Evaluation, space: Space) -> Motion:
        return Motion(np.zeros_like(ev.x), self.alpha)

    def forget(self, memory: Motion) -> Motion:
        return Motion(np.zeros_like(memory.velocity), self.alpha, 0, memory.velocity)

    def propose(self, memory: Motion, here: Evaluation, limit: Limit, space: Space) -> Proposal:
        if memory.undo is not None and not everywhere(space, memory.undo == 0.0):
            return Proposal(-0.5 * limit.size * memory.undo, memory._replace(undo=None), correction=True)
        force = space.sharp(here.x, here.force)
        count = int(np.min(limit.streak))
        alpha = memory.alpha * self.fade if everywhere(space, limit.grown) else memory.alpha
        velocity = memory.velocity + limit.size * force
        if self.abc:
            alpha = max(alpha, 1e-10)
            velocity = 1.0 / (1.0 - (1.0 - alpha) ** (count + 1)) * _steer(velocity, force, alpha, space)
            most = self.maxstep / limit.size
            velocity = np.clip(velocity, -most, most)
        else:
            velocity = _steer(velocity, force, alpha, space)
        return Proposal(limit.size * velocity, Motion(velocity, alpha, count))
