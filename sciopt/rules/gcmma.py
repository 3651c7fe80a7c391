"""The globally convergent method of moving asymptotes: steps count only if the approximation was conservative."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np

from sciopt.core.control import Adaptive, Verdict
from sciopt.core.errors import InputError
from sciopt.core.rule import Proposal, Rule
from sciopt.core.space import everywhere
from sciopt.rules.bounds import bounded, widths
from sciopt.rules.mma import approximate, rows
from sciopt.rules.mma_subproblem import solve_separable

if TYPE_CHECKING:
    from sciopt.core.control import Limit
    from sciopt.core.evaluation import Evaluation
    from sciopt.core.method import State
    from sciopt.core.space import Space
    from sciopt.core.types import Array

__all__ = ["GCMMA", "Conservative", "Promise"]

_NAME = "the globally convergent method of moving asymptotes"
_ROUNDING = 1e-10  # relative to the value and the size of the gradient
_LEAST_CURVATURE = 1e-6


class Promise(NamedTuple):
    """What the approximation promised for the trial point; objective first, then the problem's constraints.

    Attributes
    ----------
    x
        (n,) the point of the approximation.
    curvature
        (k,) its curvatures, in units of the sizes.
    sizes
        (k,) scale of objective and constraints.
    values
        (k,) the approximate values at the trial point; conservative is what turns out not to be above them.
    distance
        How far the trial point is, in the measure that multiplies the curvatures.
    multipliers
        (m,) of the subproblem, those of the budget included.
    """

    x: Array
    curvature: Array
    sizes: Array
    values: Array
    distance: float
    multipliers: Array


@dataclass(frozen=True)
class Conservative(Adaptive):
    """Rejects a step unless objective and constraints came out no higher than the approximation said.

    Accepted steps adapt the limit as usual; rejected ones leave it alone, because the rule raises its curvature
    instead. A trial point that is not the one the rule proposed (after a failure it is halfway) is not tested.
    """

    def judge(self, state: State, ev: Evaluation, space: Space) -> Verdict:
        promise = state.memory
        if isinstance(promise, Promise) and state.predicted is not None and (_excess(promise, ev) > 0.0).any():
            return Verdict(state.limit._replace(judged=state.limit.judged + 1), False)
        return super().judge(state, ev, space)


@dataclass(frozen=True)
class GCMMA(Rule):
    """MMA whose approximations are made conservative: each accepted point is feasible and not worse than the last.

    Runs under `Conservative`. Where the true objective or a constraint is above its approximation at the trial point,
    the step is rejected and the curvature of that one raised, ``rho <- min(1.1 (rho + excess / distance), 10 rho)``.
    Every inner iteration is an evaluation and is counted.

    Parameters
    ----------
    move
        Largest step of one variable, relative to the distance of its bounds.
    curvature
        First curvature of each outer iteration (Svanberg's 0.1), in units of the mean of ``|gradient| (upper -
        lower)``.
    penalty
        Price of violating a constraint by one scaled unit; must exceed its multiplier.

    Raises
    ------
    InputError
        In a space without finite bounds, without a value, or when constraints come without a jacobian.

    References
    ----------
    Svanberg 2002, doi 10.1137/S1052623499362822; Svanberg 2007, *MMA and GCMMA, two methods for nonlinear
    optimization*.
    """

    learns_from_rejected: ClassVar[bool] = True
    raw_force: ClassVar[bool] = True

    move: float = 0.5
    curvature: float = 0.1
    penalty: float = 1000.0

    def start(self, ev: Evaluation, space: Space) -> Promise:
        widths(bounded(space, _NAME), ev.x, _NAME)
        if ev.value is None:
            raise InputError(f"{_NAME} compares values, and this problem has none; use mma")
        none = np.zeros(0)
        return Promise(none, none, none, none, 0.0, none)

    def learn(self, memory: Promise, here: Evaluation, step: Array, ev: Evaluation, space: Space) -> Promise:
        if memory.distance == 0.0:
            return memory
        excess = _excess(memory, ev) / (memory.sizes * memory.distance)
        raised = np.minimum(1.1 * (memory.curvature + excess), 10.0 * memory.curvature)
        return memory._replace(curvature=np.where(excess > 0.0, raised, memory.curvature))

    def propose(self, memory: Promise, here: Evaluation, limit: Limit, space: Space) -> Proposal:
        box = bounded(space, _NAME)
        scaled = rows(here, box, _NAME)
        tested = _values(here)
        # Curvatures that a rejected step raised hold for the point they were raised at.
        retried = everywhere(space, np.array_equal(memory.x, here.x))
        known = memory.curvature if retried else np.full(tested.size, self.curvature)
        # The budget is linear, and the approximation of a linear function is always conservative.
        curvature = np.full(scaled.sizes.size, _LEAST_CURVATURE)
        curvature[: tested.size] = np.maximum(known, _LEAST_CURVATURE)
        problem = approximate(scaled, box, here.x, limit.size, self.move, curvature, self.penalty)
        solution = solve_separable(problem, memory.multipliers)
        x = solution.x
        change = (problem.terms(x) - problem.terms(here.x))[: tested.size]
        sizes = scaled.sizes[: tested.size]
        width = np.maximum(scaled.width, np.finfo(float).tiny)
        pull = (problem.above - problem.below) * (x - here.x) ** 2
        distance = float(space.total(np.sum(pull / ((problem.above - x) * (x - problem.below) * width))))
        rounding = _ROUNDING * (np.abs(tested) + sizes * scaled.variables)
        promise = Promise(
            x=here.x,
            curvature=curvature[: tested.size],
            sizes=sizes,
            values=tested + sizes * change + rounding,
            distance=distance,
            multipliers=solution.multipliers,
        )
        return Proposal(x - here.x, promise, -float(sizes[0] * change[0]))


def _values(ev: Evaluation) -> Array:
    constraints = np.zeros(0) if ev.constraints is None else ev.constraints
    return np.concatenate([[np.nan if ev.value is None else ev.value], constraints])


def _excess(promise: Promise, ev: Evaluation) -> Array:
    return _values(ev) - promise.values
