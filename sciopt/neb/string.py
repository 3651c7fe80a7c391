"""The string method: no springs, images are spaced equally after every step."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from sciopt.core.rule import Proposal, Rule
from sciopt.neb.interpolate import redistribute

if TYPE_CHECKING:
    from sciopt.core.control import Limit
    from sciopt.core.evaluation import Evaluation
    from sciopt.core.space import Space
    from sciopt.core.types import Array

__all__ = ["Redistributed"]


@dataclass(frozen=True)
class Redistributed(Rule):
    """Any rule on a string: its step, then equal distances on both sides of the climbing image, which stays put.

    E, Ren and Vanden-Eijnden 2007, doi 10.1063/1.2720838.

    Parameters
    ----------
    rule
        Moves the images; the band needs a `BandLaw` without springs.
    """

    rule: Rule

    @property
    def learns_from_rejected(self) -> bool:  # type: ignore[override]  # it is the rule's own answer
        """Whether the rule learns from rejected steps."""
        return self.rule.learns_from_rejected

    def start(self, ev: Evaluation, space: Space) -> Any:
        return self.rule.start(ev, space)

    def learn(self, memory: Any, here: Evaluation, step: Array, ev: Evaluation, space: Space) -> Any:
        return self.rule.learn(memory, here, step, ev, space)

    def propose(self, memory: Any, here: Evaluation, limit: Limit, space: Space) -> Proposal:
        proposal = self.rule.propose(memory, here, limit, space)
        X, climbing = here.info["X"], here.info["climbing"]
        step = proposal.step if proposal.correction else space.clip(proposal.step)
        Y = X.copy()
        Y[1:-1] += step.reshape(len(X) - 2, -1)
        posts = [0, len(X) - 1] if climbing is None else [0, climbing + 1, len(X) - 1]
        for left, right in pairwise(posts):
            Y[left : right + 1] = redistribute(Y[left : right + 1])
        return proposal._replace(step=np.ravel((Y - X)[1:-1]))

    def forget(self, memory: Any) -> Any:
        return self.rule.forget(memory)

    def metric(self, memory: Any) -> Array | None:
        return self.rule.metric(memory)
