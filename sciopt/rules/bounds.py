"""What every rule for bounded variables asks of its space: bounds, a move-limit box, the way back when infeasible."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np

from sciopt.core.errors import InputError
from sciopt.core.space import everywhere

if TYPE_CHECKING:
    from sciopt.core.box import Bounded
    from sciopt.core.evaluation import Evaluation
    from sciopt.core.types import Array

__all__ = ["bounded", "column", "move_box", "recent", "restoration", "widths"]

_TOLERANCE = 1e-9  # relative violations below this are rounding


def bounded(space: Any, method: str) -> Bounded:
    """`space` as a space with bounds.

    Raises
    ------
    InputError
        When it has none.
    """
    if not all(hasattr(space, name) for name in ("lower", "upper", "weights", "capacity", "project")):
        raise InputError(f"{method} needs a space with bounds (sciopt.core.Box), not {type(space).__name__}")
    return cast("Bounded", space)


def column(bound: float | Array, x: Array) -> Array:
    """A bound as (n,) numbers."""
    return np.broadcast_to(np.asarray(bound, dtype=float), x.shape)


def widths(space: Bounded, x: Array, method: str) -> Array:
    """(n,) ``upper - lower``.

    Raises
    ------
    InputError
        When a bound is infinite or the bounds are in the wrong order.
    """
    width = column(space.upper, x) - column(space.lower, x)
    if not everywhere(space, np.isfinite(width) & (width >= 0.0)):
        raise InputError(f"{method} needs finite bounds with lower <= upper for every variable; give the space both")
    return width


def move_box(space: Bounded, x: Array, size: float | Array) -> tuple[Array, Array]:
    """(n,) least and (n,) largest value of each variable that bounds and the move limit `size` allow from `x`."""
    lower = np.minimum(np.maximum(space.lower, x - size), space.upper)
    upper = np.maximum(np.minimum(space.upper, x + size), space.lower)
    return lower, upper


def restoration(space: Bounded, x: Array) -> Array | None:
    """(n,) the step to the nearest feasible point, or None where `x` is feasible to rounding.

    Acceptance tests promise a decrease from feasible points only, so that this step must not be judged by them.
    """
    step = space.project(x, space.lower, space.upper) - x
    size = space.largest(float(np.abs(x).max(initial=0.0)))
    return step if space.length(step) > _TOLERANCE * max(1.0, size) else None


def recent(values: tuple[float, ...], ev: Evaluation, window: int) -> tuple[float, ...]:
    """The last `window` values, that of `ev` included, for `sciopt.core.Nonmonotone`."""
    return values if ev.value is None else (*values, float(ev.value))[-window:]
