"""Products of the Hessian with directions, asked for at the point that was evaluated last."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from sciopt.core.errors import InputError

if TYPE_CHECKING:
    from sciopt.core.types import Array

__all__ = ["Products"]


@dataclass(eq=False)
class Products:
    """The map ``d -> H d`` at one point, exact or approximate, and what was asked of it.

    A problem that can differentiate its gradient along a direction for less than an evaluation costs attaches one to
    its answer. It lives until the method has chosen its next point: what a problem keeps for it (a factorization, a
    preconditioner) is overwritten by the next evaluation, and a resumed run does not have it.

    Parameters
    ----------
    product
        (n,) -> (n,) and what this product cost, in the names and units of `Evaluation.cost`; None once released.
    spent
        What all products so far cost.

    Examples
    --------
    >>> import numpy as np
    >>> hessian = Products(lambda d: (2.0 * d, {"solves": 0.25}))
    >>> hessian(np.array([1.0, 3.0])), hessian.spent
    (array([2., 6.]), {'solves': 0.25})
    >>> hessian.release()
    >>> hessian.available
    False
    """

    product: Callable[[Array], tuple[Array, Mapping[str, float]]] | None
    spent: dict[str, float] = field(default_factory=dict)

    @property
    def available(self) -> bool:
        """Whether it can still be asked."""
        return self.product is not None

    def __call__(self, direction: Array) -> Array:
        """(n,) the Hessian times `direction` (n,).

        Raises
        ------
        InputError
            When it was released.
        """
        if self.product is None:
            raise InputError("the Hessian can only be asked for at the point that was evaluated last")
        found, cost = self.product(direction)
        for name, amount in cost.items():
            self.spent[name] = self.spent.get(name, 0.0) + amount
        return found

    def priced(self, price: Callable[[Mapping[str, float]], Mapping[str, float]]) -> Products:
        """The same products at other prices: `price` maps what one cost to what is charged for it."""
        ask = self.product
        if ask is None:
            return self

        def product(direction: Array) -> tuple[Array, Mapping[str, float]]:
            found, cost = ask(direction)
            return found, price(cost)

        return Products(product)

    def release(self) -> None:
        """Let go of whatever the product is made from."""
        self.product = None

    def to_plain(self) -> Any:
        return dict(self.spent)

    @classmethod
    def from_plain(cls, plain: Any) -> Self:
        return cls(None, plain)
