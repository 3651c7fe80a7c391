"""The method of moving asymptotes: constraints of any number, asymptotes that follow each variable's history."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np

from sciopt.core.errors import InputError
from sciopt.core.rule import Proposal, Rule
from sciopt.rules.bounds import bounded, widths
from sciopt.rules.mma_subproblem import Separable, solve_separable

if TYPE_CHECKING:
    from sciopt.core.box import Bounded
    from sciopt.core.control import Limit
    from sciopt.core.evaluation import Evaluation
    from sciopt.core.space import Space
    from sciopt.core.types import Array

__all__ = ["MMA", "Multipliers", "Rows", "approximate", "rows"]

_NAME = "the method of moving asymptotes"
# Variables come no closer to an asymptote than this part of the distance to it.
_KEEP_OFF = 0.1


class Rows(NamedTuple):
    """Objective and constraints, each divided by its size: the mean of ``|gradient| (upper - lower)``.

    Attributes
    ----------
    values
        (1 + m,) objective (whose value plays no part, 0), constraints of the problem, budget of the space.
    gradients
        (1 + m, n).
    sizes
        (1 + m,) what they were divided by.
    width
        (n,) distance of the bounds.
    variables
        How many there are, over all ranks.
    """

    values: Array
    gradients: Array
    sizes: Array
    width: Array
    variables: int


class Multipliers(NamedTuple):
    """The (m,) multipliers of the last subproblem, from which the next one starts; empty at first."""

    values: Array


def rows(here: Evaluation, space: Bounded, method: str = _NAME) -> Rows:
    """Objective and constraints at `here`, scaled so that steps do not depend on their units.

    Raises
    ------
    InputError
        When constraints came without their gradients, or bounds are infinite.
    """
    width = widths(space, here.x, method)
    values, gradients = [np.zeros(1)], [-here.force[None]]
    if here.constraints is not None:
        if here.jacobian is None or here.jacobian.shape != (here.constraints.size, here.x.size):
            shape = None if here.jacobian is None else here.jacobian.shape
            raise InputError(
                f"{here.constraints.size} constraints came with a jacobian of shape {shape}; "
                f"{method} needs {(here.constraints.size, here.x.size)}"
            )
        values.append(here.constraints)
        gradients.append(here.jacobian)
    if space.weights is not None and np.isfinite(space.capacity):
        values.append(np.array([float(space.total(space.weights @ here.x)) - space.capacity]))
        gradients.append(space.weights[None])
    stacked = np.concatenate(gradients)
    *sums, variables = space.total(np.append(np.abs(stacked) @ width, float(width.size)))
    sizes = np.array(sums) / variables
    sizes = np.where(sizes > 0.0, sizes, 1.0)
    return Rows(np.concatenate(values) / sizes, stacked / sizes[:, None], sizes, width, int(variables))


def approximate(
    rows: Rows, space: Bounded, x: Array, size: float | Array, move: float, curvature: float | Array, penalty: float
) -> Separable:
    """The separable subproblem at `x` with asymptotes at ``x -+ size (upper - lower)``.

    Svanberg 2007, *MMA and GCMMA, two methods for nonlinear optimization*, section 3; `curvature` is rho_i,
    one number or one per row, here in units of the row's size.
    """
    width = np.maximum(rows.width, np.finfo(float).tiny)
    distance = size * width
    extra = np.broadcast_to(np.asarray(curvature, dtype=float), rows.sizes.shape)[:, None] / width
    both = 0.001 * np.abs(rows.gradients) + extra
    square = distance * distance
    p = square * (np.maximum(rows.gradients, 0.0) + both)
    q = square * (np.maximum(-rows.gradients, 0.0) + both)
    reach = np.minimum((1.0 - _KEEP_OFF) * distance, move * width)
    low = np.minimum(np.maximum(x - reach, space.lower), space.upper)
    high = np.maximum(np.minimum(x + reach, space.upper), space.lower)
    bounds = space.total((p[1:] + q[1:]) @ (1.0 / distance)) - rows.values[1:]
    return Separable(p, q, x - distance, x + distance, low, high, bounds, penalty, total=space.total)


@dataclass(frozen=True)
class MMA(Rule):
    """The minimizer of a convex separable approximation with a pole on either side of each variable.

    ``g_i(x) ~ r_i + sum_j p_ij / (U_j - x_j) + q_ij / (x_j - L_j)``, asymptotes U and L at ``x +- size (upper -
    lower)``. The limit is their distance, one per variable, relative to the distance of the bounds: run it under
    ``Adaptive(0.5, reversal, grow=1.2, shrink=0.7, least=0.01, most=10)``, Svanberg's rule for asymptotes.

    Constraints are ``Evaluation.constraints <= 0`` with their jacobian, and the budget of the space. Objective and
    constraints are divided by the mean of their ``|gradient| (upper - lower)`` before each step, so that their units
    do not matter.

    Parameters
    ----------
    move
        Largest step of one variable, relative to the distance of its bounds.
    curvature
        Least curvature (raa0), in the scaled units.
    penalty
        Price of violating a constraint by one scaled unit; must exceed its multiplier.

    Raises
    ------
    InputError
        In a space without finite bounds, or when constraints come without a jacobian.

    References
    ----------
    Svanberg 1987, doi 10.1002/nme.1620240207; Svanberg 2007, *MMA and GCMMA, two methods for nonlinear optimization*.

    Examples
    --------
    >>> import numpy as np
    >>> from sciopt.core import Box, Evaluation, Fixed, StepMethod
    >>> space = Box(0.1, 10.0, np.ones(2), 3.0)
    >>> x = np.array([1.5, 1.5])
    >>> state = StepMethod(MMA(), Fixed(0.5), space).start(Evaluation(x, np.array([1.0, 4.0]) / x**2))
    >>> bool(state.trial[1] > 1.5 > state.trial[0]), bool(state.trial.sum() <= 3.0)
    (True, True)
    """

    raw_force: ClassVar[bool] = True

    move: float = 0.5
    curvature: float = 1e-5
    penalty: float = 1000.0

    def start(self, ev: Evaluation, space: Space) -> Multipliers:
        widths(bounded(space, _NAME), ev.x, _NAME)
        return Multipliers(np.zeros(0))

    def propose(self, memory: Multipliers, here: Evaluation, limit: Limit, space: Space) -> Proposal:
        box = bounded(space, _NAME)
        scaled = rows(here, box)
        problem = approximate(scaled, box, here.x, limit.size, self.move, self.curvature, self.penalty)
        solution = solve_separable(problem, memory.values)
        return Proposal(solution.x - here.x, Multipliers(solution.multipliers))
