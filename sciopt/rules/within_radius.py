"""A trust radius for any rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sciopt.core.control import Limit
from sciopt.core.rule import Proposal, Rule

if TYPE_CHECKING:
    from sciopt.core.evaluation import Evaluation
    from sciopt.core.space import Space
    from sciopt.core.types import Array

__all__ = ["WithinRadius"]


@dataclass(frozen=True)
class WithinRadius(Rule):
    """Read the limit as a radius: the step of `rule` (at size 1) is shortened to it.

    The predicted decrease of the shortened step ``t s`` is that of the quadratic model whose minimiser is s,
    ``t (1 - t/2) F.s``. Run under ``Adaptive(radius, Ratio(), radius=True, reject=True)`` to get a trust-region method.

    Conn, Gould and Toint 2000, doi 10.1137/1.9780898719857.
    """

    rule: Rule

    @property
    def learns_from_rejected(self) -> bool:  # type: ignore[override]
        return self.rule.learns_from_rejected

    def start(self, ev: Evaluation, space: Space) -> Any:
        return self.rule.start(ev, space)

    def learn(self, memory: Any, here: Evaluation, step: Array, ev: Evaluation, space: Space) -> Any:
        return self.rule.learn(memory, here, step, ev, space)

    def forget(self, memory: Any) -> Any:
        return self.rule.forget(memory)

    def metric(self, memory: Any) -> Array | None:
        return self.rule.metric(memory)

    def propose(self, memory: Any, here: Evaluation, limit: Limit, space: Space) -> Proposal:
        full = self.rule.propose(memory, here, limit._replace(size=1.0), space)
        step = space.clip(full.step)
        length = float(np.max(space.length(step)))
        if length > float(limit.size):
            step = step * (float(limit.size) / length)
        slope = space.dot(here.force, full.step)
        fraction = np.sqrt(space.dot(step, step) / max(space.dot(full.step, full.step), np.finfo(float).tiny))
        return full._replace(step=step, predicted=fraction * (1.0 - 0.5 * fraction) * slope)
