"""Where to go: the interface of a rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

if TYPE_CHECKING:
    from sciopt.core.control import Limit
    from sciopt.core.evaluation import Evaluation
    from sciopt.core.space import Space
    from sciopt.core.types import Array

__all__ = ["Proposal", "Rule"]


class Proposal(NamedTuple):
    """What a rule wants to do next.

    Attributes
    ----------
    step
        (n,) the displacement.
    memory
        The rule's memory after proposing.
    predicted
        The decrease of the value the rule's model promises for `step`; one per block where limits are per block.
        None lets the control fall back on the slope.
    correction
        True for a step that only repairs the last one (the half step back of FIRE 2.0): it is neither clipped nor
        judged.
    metric
        (n,) the diagonal metric `step` was measured in, for spaces that restore constraints in the rule's own metric.
    """

    step: Array
    memory: Any
    predicted: float | Array | None = None
    correction: bool = False
    metric: Array | None = None


@dataclass(frozen=True)
class Rule:
    """Base of all rules: a memory of what was seen, and a proposal made from it.

    Memory is plain data (arrays, numbers, tuples, named tuples), never changed in place, so that a state can be
    stored, compared and resumed. Inner products go through `space`, never through numpy, so that a rule runs
    unchanged on distributed vectors.
    """

    learns_from_rejected: ClassVar[bool] = False
    """Whether a rejected step still teaches something (a secant pair is a secant pair)."""

    raw_force: ClassVar[bool] = False
    """Whether the rule finds the multipliers of constraints itself and wants the force as the problem gave it, instead
    of the tangent force."""

    def start(self, ev: Evaluation, space: Space) -> Any:
        """Memory before anything was learned."""
        return ()

    def learn(self, memory: Any, here: Evaluation, step: Array, ev: Evaluation, space: Space) -> Any:
        """Memory after the accepted `step` from `here` gave `ev`."""
        return memory

    def propose(self, memory: Any, here: Evaluation, limit: Limit, space: Space) -> Proposal:
        """The next step from `here`, no longer than `limit` in the rule's own sense."""
        raise NotImplementedError

    def forget(self, memory: Any) -> Any:
        """Memory after the control lost confidence in it."""
        return memory

    def metric(self, memory: Any) -> Array | None:
        """The metric learned so far: (n,) diagonal, (n, n) matrix, or None where nothing is learned."""
        return None
