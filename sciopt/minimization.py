"""Minimise any function that has a gradient, with any of the rules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sciopt.core import (
    Budget,
    Evaluation,
    Flat,
    InputError,
    Preconditioned,
    Residual,
    Result,
    Space,
    run,
)
from sciopt.core.method import StepMethod
from sciopt.rules import make_method

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from sciopt.core.average import Polyak, Tail
    from sciopt.core.run import Snapshot
    from sciopt.core.types import Array

__all__ = ["minimize"]


@dataclass(frozen=True)
class _Function:
    """A function of a vector as a problem of the core."""

    value_and_gradient: Callable[[Array], tuple[float, Array]]
    x0: Array
    space: Space
    noise: float

    def start(self) -> Array:
        return self.x0

    def evaluate(self, x: Array) -> Evaluation:
        value, gradient = self.value_and_gradient(x)
        gradient = np.asarray(gradient, dtype=float)
        if gradient.size != x.size:
            raise InputError(
                f"the gradient has {gradient.size} components, x has {x.size}; return (value, gradient) from fun, "
                "or give jac"
            )
        return Evaluation(x, -gradient.reshape(-1), float(value), noise=self.noise)


def minimize(
    fun: Callable[..., Any],
    x0: ArrayLike,
    args: tuple[Any, ...] = (),
    *,
    method: str | StepMethod = "lbfgs",
    jac: Callable[..., ArrayLike] | bool | None = None,
    gtol: float = 1e-5,
    max_evaluations: int = 10_000,
    precondition: Callable[[Array, Array], Array] | None = None,
    noise: float = 0.0,
    average: Tail | Polyak | None = None,
    callback: Callable[[Snapshot], None] | Sequence[Callable[[Snapshot], None]] = (),
    **options: Any,
) -> Result:
    """Minimise a function of a vector.

    Parameters
    ----------
    fun
        ``fun(x, *args)`` returns ``(value, gradient)``, or the value alone when `jac` is given.
    x0
        Where to start; any shape, flattened.
    args
        Further arguments of `fun` and `jac`.
    method
        A name (see `sciopt.rules.METHODS`) or a `StepMethod`. ``"lbfgs"`` runs in an adaptive trust radius.
    jac
        ``jac(x, *args)`` returns the gradient. None or True: `fun` returns it along with the value.
    gtol
        Converged when the largest component of the gradient is below this.
    max_evaluations
        Budget; reaching it returns the best point with ``converged=False``.
    precondition
        ``(x, force) -> step``: an approximate inverse Hessian that any method then works with.
    noise
        Standard error of one gradient component, for noise-aware rules and stops.
    average
        ``Tail(window)`` or ``Polyak()``: answer with the mean of the last iterates.
    callback
        Observers, called with a `Snapshot` after every evaluation; raise StopIteration to stop.
    options
        Options of the named method, see `sciopt.rules.method_options`.

    Returns
    -------
    Result
        With `x`, `value`, `residual`, `reason`, `converged`, `history`, `cost`.

    Raises
    ------
    InputError
        Unknown method or option, or a gradient of the wrong size.

    Examples
    --------
    >>> import numpy as np
    >>> def rosenbrock(x):
    ...     a, b = 1 - x[0], x[1] - x[0] ** 2
    ...     return a * a + 100 * b * b, np.array([-2 * a - 400 * x[0] * b, 200 * b])
    >>> result = minimize(rosenbrock, [-1.2, 1.0])
    >>> result.converged, np.round(result.x, 6)
    (True, array([1., 1.]))
    """
    if not (callable(jac) or jac in (None, True)):
        raise InputError(f"jac is {jac!r}; give a function that returns the gradient, or return (value, gradient)")
    start = np.array(x0, dtype=float)
    shape = start.shape

    def value_and_gradient(x: Array) -> tuple[float, Array]:
        point = x.reshape(shape).copy()
        if callable(jac):
            return fun(point, *args), np.asarray(jac(point, *args))
        answer = fun(point, *args)
        if not (isinstance(answer, tuple) and len(answer) == 2):
            raise InputError(
                f"fun returned {type(answer).__name__}, expected (value, gradient); give jac= if it returns a value"
            )
        return answer

    space: Space = Flat()
    if precondition is not None:
        space = Preconditioned(space, precondition)
    if isinstance(method, str):
        if method == "lbfgs":
            options = {"radius": np.inf, **options}
        stepper = make_method(method, space, **options)
    elif precondition is not None:
        raise InputError("precondition belongs to named methods; give the StepMethod a Preconditioned space instead")
    elif options:
        raise InputError(f"options {', '.join(options)} belong to named methods; put them into the StepMethod instead")
    else:
        stepper = method
        space = method.space
    problem = _Function(value_and_gradient, start.reshape(-1), space, noise)
    observers = (callback,) if callable(callback) else tuple(callback)
    stop = Residual(gtol, "largest gradient component") | Budget(max_evaluations)
    return run(problem, stepper, stop, observers=observers, average=average)
