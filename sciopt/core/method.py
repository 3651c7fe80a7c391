"""The stepper: a rule, a control and a space put together. Nothing here calls a problem."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from sciopt.core.control import Control, Limit, Verdict
from sciopt.core.errors import EvaluationFailed
from sciopt.core.evaluation import Evaluation
from sciopt.core.rule import Rule
from sciopt.core.space import Space

if TYPE_CHECKING:
    from sciopt.core.types import Array, Mask

__all__ = ["Method", "State", "StepMethod"]


class State(NamedTuple):
    """Everything a method needs to go on.

    Attributes
    ----------
    here
        The last accepted evaluation.
    trial
        (n,) the next point to visit.
    step
        (n,) the displacement from ``here.x`` to `trial`.
    memory
        The rule's memory.
    limit
        The control's limit.
    predicted
        The decrease promised for `step` by the rule's model, or None.
    last
        (n,) the accepted displacement before, or None.
    correction
        Whether `step` only repairs the last one; it will not be judged.
    accepted
        Accepted evaluations so far.
    """

    here: Evaluation
    trial: Array
    step: Array
    memory: Any
    limit: Limit
    predicted: float | Array | None = None
    last: Array | None = None
    correction: bool = False
    accepted: int = 0


class Method(Protocol):
    """Anything that turns evaluations into the next point to visit."""

    @property
    def space(self) -> Space:
        """The geometry it works in."""

    def start(self, ev: Evaluation) -> State:
        """State after the first evaluation."""

    def advance(self, state: State, ev: Evaluation) -> State:
        """State after `state.trial` answered `ev`."""

    def failed(self, state: State, failure: EvaluationFailed) -> State:
        """State after `state.trial` could not be evaluated."""


@dataclass(frozen=True)
class StepMethod:
    """One rule under one control in one space.

    Parameters
    ----------
    rule
        Where to go.
    control
        How far, and do we believe it.
    space
        The geometry. Give the problem's own.

    Examples
    --------
    >>> import numpy as np
    >>> from sciopt.core import Evaluation, Fixed, Flat, StepMethod
    >>> from sciopt.rules import GradientDescent
    >>> method = StepMethod(GradientDescent(), Fixed(0.5), Flat())
    >>> state = method.start(Evaluation(np.array([2.0]), np.array([-2.0])))
    >>> state.trial
    array([1.])
    """

    rule: Rule
    control: Control
    space: Space

    def start(self, ev: Evaluation) -> State:
        return self._propose(ev, self.rule.start(ev, self.space), self.control.start(), None, 0)

    def advance(self, state: State, ev: Evaluation) -> State:
        verdict = Verdict(state.limit) if state.correction else self.control.judge(state, ev, self.space)
        if not np.all(verdict.accept):
            if not np.isscalar(verdict.accept):
                return self._halve(state, verdict, ~np.asarray(verdict.accept))
            memory = state.memory
            if self.rule.learns_from_rejected:
                memory = self._learn(memory, state, ev)
            if verdict.forget:
                memory = self.rule.forget(memory)
            return self._propose(state.here, memory, verdict.limit, state.last, state.accepted)
        memory = self._learn(state.memory, state, ev)
        if verdict.forget:
            memory = self.rule.forget(memory)
        return self._propose(ev, memory, verdict.limit, state.step, state.accepted + 1)

    def failed(self, state: State, failure: EvaluationFailed) -> State:
        """Go back halfway, in the failed blocks only where the failure names them, and shrink their limit."""
        verdict = self.control.failed(state.limit, failure.blocks)
        blocks: Mask | None = None
        lengths = self.space.length(state.step)
        if failure.blocks and np.ndim(lengths):
            blocks = np.zeros(np.shape(lengths), dtype=bool)
            blocks[list(failure.blocks)] = True
        return self._halve(state, verdict, blocks)

    def _halve(self, state: State, verdict: Verdict, blocks: Mask | None) -> State:
        memory = self.rule.forget(state.memory) if verdict.forget else state.memory
        factor: float | Array = 0.5
        if blocks is not None:
            factors = np.where(blocks, 0.5, 1.0)
            if np.ndim(verdict.limit.size):
                # Halved beyond its smallest limit, a block rests: the others go on, and it will be sent elsewhere.
                spent = 0.5 * np.asarray(self.space.length(state.step)) < 0.25 * np.asarray(verdict.limit.size)
                factors = np.where(blocks & spent, 0.0, factors)
            factor = np.repeat(factors, state.step.size // blocks.size)
        # Blocks that keep their step must keep their exact trial point, or what was paid for them is lost.
        trial = self.space.move(state.here.x, factor * state.step)
        trial = np.where(np.broadcast_to(factor, trial.shape) == 1.0, state.trial, trial)
        step = self.space.between(state.here.x, trial)
        return state._replace(trial=trial, step=step, memory=memory, limit=verdict.limit, predicted=None)

    def _seen(self, ev: Evaluation) -> Evaluation:
        """What the rule may know of the force."""
        return ev if self.rule.raw_force else replace(ev, force=self.space.tangent(ev.x, ev.force))

    def _learn(self, memory: Any, state: State, ev: Evaluation) -> Any:
        return self.rule.learn(memory, self._seen(state.here), state.step, self._seen(ev), self.space)

    def _propose(self, here: Evaluation, memory: Any, limit: Limit, last: Array | None, accepted: int) -> State:
        proposal = self.rule.propose(memory, self._seen(here), limit, self.space)
        step = proposal.step if proposal.correction else self.space.clip(proposal.step)
        trial = self.space.move(here.x, step, proposal.metric)
        return State(
            here=here,
            trial=trial,
            step=self.space.between(here.x, trial),
            memory=proposal.memory,
            limit=limit,
            predicted=proposal.predicted,
            last=last,
            correction=proposal.correction,
            accepted=accepted,
        )
