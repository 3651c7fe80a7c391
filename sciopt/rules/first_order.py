"""Rules that turn the force alone into a direction, and the one place where weight decay is treated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sciopt.core.rule import Proposal, Rule

if TYPE_CHECKING:
    from sciopt.core.control import Limit
    from sciopt.core.evaluation import Evaluation
    from sciopt.core.space import Space
    from sciopt.core.types import Array

__all__ = ["Direction", "FirstOrder", "GradientDescent", "Momentum"]


class Direction(NamedTuple):
    """A direction, the memory it leaves behind and the diagonal metric it was measured in."""

    direction: Array
    memory: Any
    metric: Array | None = None


@dataclass(frozen=True)
class FirstOrder(Rule):
    """``s = size * direction(f)``, with weight decay towards the origin.

    Coupled decay (L2 regularisation) adds ``-weight_decay * x`` to the force *before* the direction is computed, so the
    learned metric rescales it. Decoupled decay adds ``-size * weight_decay * x`` to the step *after*: a force the
    metric must not touch (Loshchilov and Hutter 2019, arXiv:1711.05101).
    """

    weight_decay: float = 0.0
    decoupled: bool = False

    def propose(self, memory: Any, here: Evaluation, limit: Limit, space: Space) -> Proposal:
        coupled = 0.0 if self.decoupled else self.weight_decay
        force = here.force - coupled * here.x if coupled else here.force
        direction, memory, metric = self.direction(memory, space.sharp(here.x, force))
        step = limit.size * direction
        if self.decoupled and self.weight_decay:
            step = step - limit.size * self.weight_decay * here.x
        return Proposal(step, memory, metric=metric)

    def direction(self, memory: Any, force: Array) -> Direction:
        """The direction for `force` (already turned by the fixed metric) and the memory after it."""
        raise NotImplementedError


@dataclass(frozen=True)
class GradientDescent(FirstOrder):
    """Gradient descent: ``s = size * f``.

    Cauchy 1847.
    """

    def direction(self, memory: Any, force: Array) -> Direction:
        return Direction(force, memory)


@dataclass(frozen=True)
class Momentum(FirstOrder):
    """Momentum: ``v <- beta v + f``; ``s = size * v``, or Nesterov's ``s = size * (f + beta v)``.

    Polyak 1964, doi 10.1016/0041-5553(64)90137-5; Sutskever et al. 2013 for this form of Nesterov's method.
    """

    beta: float = 0.9
    nesterov: bool = False

    def start(self, ev: Evaluation, space: Space) -> Array:
        return np.zeros_like(ev.x)

    def forget(self, memory: Array) -> Array:
        return np.zeros_like(memory)

    def direction(self, memory: Array, force: Array) -> Direction:
        velocity = self.beta * memory + force
        return Direction(force + self.beta * velocity if self.nesterov else velocity, velocity)
