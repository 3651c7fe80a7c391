"""Optimality criteria: the fixed point that made topology optimization popular, on any separable budget."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from sciopt.core.errors import InputError
from sciopt.core.rule import Proposal, Rule
from sciopt.core.space import everywhere
from sciopt.rules.bounds import bounded, column, move_box
from sciopt.rules.multiplier import falling_root

if TYPE_CHECKING:
    from sciopt.core.box import Bounded
    from sciopt.core.control import Limit
    from sciopt.core.evaluation import Evaluation
    from sciopt.core.space import Space
    from sciopt.core.types import Array

__all__ = ["OptimalityCriteria"]

_NAME = "the optimality criteria method"


@dataclass(frozen=True)
class OptimalityCriteria(Rule):
    """``x_new = clip(x (B / lambda)^eta, x - size, x + size)``, ``B = f / w``, lambda from ``w . x_new = capacity``.

    f is the raw force and w the weights of the space's budget. With eta = 1/2 the step minimizes the objective linear
    in 1/x under the budget: exact for structures whose stiffness is proportional to x. The limit is the move limit, one
    number or one per variable. A budget that cannot be used up within the limit leaves every variable at its largest
    allowed value.

    Parameters
    ----------
    eta
        Exponent, the damping of the fixed point. 0.5 for compliance, 0.3 for mechanisms.
    floor
        Least B, relative to the largest ``|B|``. Where more material would hurt (negative forces, as in mechanisms) B
        is set to it.
    xmin
        No variable is driven below this (1e-3 for mechanisms): at exactly 0 the fixed point would keep it for ever.

    Raises
    ------
    InputError
        In a space without bounds or budget, or with negative lower bounds.

    References
    ----------
    Bendsøe and Sigmund 2004, *Topology Optimization*, section 1.2, doi 10.1007/978-3-662-05086-6; Andreassen et al.
    2011, doi 10.1007/s00158-010-0594-7.

    Examples
    --------
    >>> import numpy as np
    >>> from sciopt.core import Box, Evaluation, Fixed, StepMethod
    >>> space = Box(0.0, 10.0, np.ones(2), 3.0)
    >>> x = np.array([1.5, 1.5])
    >>> force = np.array([1.0, 4.0]) / x**2  # of 1 / x_0 + 4 / x_1
    >>> StepMethod(OptimalityCriteria(), Fixed(1.0), space).start(Evaluation(x, force)).trial
    array([1., 2.])
    """

    raw_force: ClassVar[bool] = True

    eta: float = 0.5
    floor: float = 1e-10
    xmin: float = 0.0

    def start(self, ev: Evaluation, space: Space) -> tuple[()]:
        box = bounded(space, _NAME)
        if box.weights is None or not np.isfinite(box.capacity):
            raise InputError(f"{_NAME} shares out a budget: give the space weights and a finite capacity")
        if not everywhere(space, np.asarray(box.lower) >= 0.0):
            raise InputError(f"{_NAME} multiplies variables, which must not be negative: give lower bounds >= 0")
        return ()

    def propose(self, memory: Any, here: Evaluation, limit: Limit, space: Space) -> Proposal:
        box = bounded(space, _NAME)
        weights = column(1.0 if box.weights is None else box.weights, here.x)
        benefit = here.force / weights
        largest = space.largest(float(np.abs(benefit).max(initial=0.0)))
        if largest == 0.0:
            return Proposal(np.zeros_like(here.x), memory)
        lower, upper = move_box(box, here.x, limit.size)
        lower = np.minimum(np.maximum(lower, self.xmin), upper)
        # Relative to the largest, benefits neither overflow nor depend on the scale of the objective.
        scaled = np.maximum(here.x, self.xmin) * np.maximum(benefit / largest, self.floor) ** self.eta
        return Proposal(self._share(scaled, weights, lower, upper, box) - here.x, memory)

    def _share(self, scaled: Array, weights: Array, lower: Array, upper: Array, box: Bounded) -> Array:
        """``clip(scaled / lambda^eta)`` that uses up the capacity; solved for ``t = log(lambda^eta)``."""
        capacity = box.capacity
        sums = box.total(np.array([weights @ lower, weights @ upper, weights @ scaled]))
        least, most, total = (float(part) for part in sums)
        positive = scaled > 0.0
        if least >= capacity or everywhere(box, ~positive):
            return lower
        if most <= capacity:
            return upper

        def excess(t: float) -> tuple[float, float]:
            x = scaled * np.exp(-t)
            free = (x > lower) & (x < upper)
            filled, fall = box.total(np.array([weights @ np.clip(x, lower, upper), (weights * x) @ free]))
            return float(filled) - capacity, -float(fall)

        ratio = np.log(scaled[positive] / np.maximum(upper[positive], np.finfo(float).tiny))
        low = -box.largest(-float(ratio.min(initial=np.inf)))
        high = max(low, float(np.log(total / (capacity - least))))
        t = falling_root(excess, float(np.log(total / capacity)), low, high, 1e-12 * capacity)
        shared: Array = np.clip(scaled * np.exp(-t), lower, upper)
        return shared
