"""What one visit to the problem returned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from sciopt.core.errors import NotFinite, ShapeError

if TYPE_CHECKING:
    from sciopt.core.products import Products
    from sciopt.core.space import Space
    from sciopt.core.types import Array

__all__ = ["Evaluation", "Problem"]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The answer of a problem at one point.

    Parameters
    ----------
    x
        (n,) where.
    force
        (n,) minus the gradient, or a projected force, in units of value per unit of x.
    value
        The merit, when one exists. A band of images has none.
    constraints, jacobian
        (m,) values g(x) of constraints g <= 0 and their (m, n) gradients, when the problem has any.
    noise
        Standard error of one component of `force`; 0 for a noise-free problem.
    cost
        What this visit cost, by name, for example ``{"images": 7}``.
    info
        What else the domain knows and its own rules need (energies and true forces of images, a filtered field).
    hessian
        Products of the Hessian of the value with directions, while `x` is the last point evaluated; None where they
        cost as much as an evaluation.

    Raises
    ------
    ShapeError
        When `x` and `force` are not one-dimensional and equally long.
    NotFinite
        When `force` or `value` is not finite.
    """

    x: Array
    force: Array
    value: float | None = None
    constraints: Array | None = None
    jacobian: Array | None = None
    noise: float = 0.0
    cost: Mapping[str, float] = field(default_factory=dict)
    info: Mapping[str, Any] = field(default_factory=dict)
    hessian: Products | None = None

    def __post_init__(self) -> None:
        if self.x.ndim != 1 or self.x.shape != self.force.shape:
            raise ShapeError(
                f"x has shape {self.x.shape} and force {self.force.shape}; both must be vectors of the same length"
            )
        if not np.isfinite(self.force).all():
            where = int(np.flatnonzero(~np.isfinite(self.force))[0])
            raise NotFinite(f"component {where} of the force is {self.force[where]}; the problem must return numbers")
        if self.value is not None and not np.isfinite(self.value):
            raise NotFinite(f"the value is {self.value}; the problem must return a finite number")
        if self.constraints is not None and not np.isfinite(self.constraints).all():
            raise NotFinite(f"the constraints are {self.constraints}; the problem must return finite numbers")

    @property
    def violation(self) -> float:
        """The largest violated constraint; 0 where all hold or there is none."""
        return 0.0 if self.constraints is None else float(np.maximum(self.constraints, 0.0).max(initial=0.0))


class Problem(Protocol):
    """What a domain supplies: a geometry, a start and answers.

    `evaluate` may raise `EvaluationFailed`; everything else that goes wrong is an error of the caller.
    """

    @property
    def space(self) -> Space:
        """The geometry of the points this problem accepts."""

    def start(self) -> Array:
        """(n,) the first point."""

    def evaluate(self, x: Array) -> Evaluation:
        """Answer at `x`."""
