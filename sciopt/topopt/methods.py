"""Methods for designs by name: one rule, one control, one grid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sciopt.core.box import Box
from sciopt.core.control import Adaptive
from sciopt.core.errors import InputError
from sciopt.core.method import StepMethod
from sciopt.core.signals import Improvement, Nonmonotone, Ratio
from sciopt.rules import METHODS, make_method
from sciopt.rules.named_box import BOX_METHODS
from sciopt.rules.projected import NOTHING, Curvature, ProjectedQuasiNewton

if TYPE_CHECKING:
    from sciopt.core.space import Space

__all__ = ["DESIGN_METHODS", "design_method", "quasi_newton"]


# Rules made for other domains run on designs as they are; only their step lengths are in units of densities.
def _adaptive(first: float, most: float) -> Adaptive:
    """A learning rate that grows while the objective falls and halves when it does not."""
    return Adaptive(first, Improvement(), grow=1.2, shrink=0.5, least=0.02 * first, most=most)


_DEFAULTS: dict[str, dict[str, Any]] = {
    "rmsprop": {"learning_rate": 0.05, "beta": 0.9},
    "adam": {"learning_rate": _adaptive(0.05, 0.2), "beta2": 0.99},
    "amsgrad": {"learning_rate": _adaptive(0.05, 0.2), "beta2": 0.99},
    "adamw": {"learning_rate": _adaptive(0.05, 0.2), "beta2": 0.99, "weight_decay": 0.0},
    "adabelief": {"learning_rate": _adaptive(0.05, 0.2), "beta2": 0.99},
    "lbfgs": {
        "memory": 5,
        "h0": None,
        "long": True,
        "damping": Adaptive(1.0, Improvement(), grow=2.0, shrink=0.5, most=1.0, reject=True),
    },
}


# Quasi-Newton points are rounded to multiples of it, so that what rounding errors do to a step, to the mirror images in
# a symmetric problem for example, does not grow from step to step.
_GRAIN = 2.0**-30


def quasi_newton(space: Space, move: float = 0.2, begin: Curvature = NOTHING, **options: Any) -> StepMethod:
    """Projected quasi-Newton steps in an adaptive move-limit box; with ``products=4`` for example, of second order.

    The box grows by half after a step that used it and kept three quarters of what it promised, and shrinks to half the
    length of a step that kept less than a quarter, or was rejected: not below the largest of the last five values.
    `move` is the first move limit, `begin` memory to go on with.
    """
    rule = ProjectedQuasiNewton(begin=begin, **options)
    if isinstance(space, Box) and space.grain == 0.0:
        space = replace(space, grain=_GRAIN)
    control = Adaptive(
        move,
        Ratio(low=0.25, high=0.75),
        grow=1.5,
        shrink=0.5,
        least=0.02,
        most=0.5,
        radius=True,
        reject=Nonmonotone(window=rule.window),
    )
    return StepMethod(rule, control, space)


def _named(name: str) -> Callable[..., StepMethod]:
    def build(space: Space, **options: Any) -> StepMethod:
        return make_method(name, space, **_DEFAULTS.get(name, {}) | options)

    return build


# Steps that fade or stay tiny look like convergence to every test of progress; a full matrix has no room.
_UNFIT = ("adagrad", "full-adagrad", "fire2", "ode12r")

DESIGN_METHODS: dict[str, Callable[..., StepMethod]] = {
    "quasi-newton": quasi_newton,
    **{name: _named(name) for name in (*BOX_METHODS, *METHODS) if name not in _UNFIT},
}
"""Single-grid methods by name: functions of a space and of the method's options."""


def design_method(name: str, space: Space, **options: Any) -> StepMethod:
    """The single-grid method called `name` in `space`.

    Raises
    ------
    InputError
        For an unknown name.
    """
    if name not in DESIGN_METHODS:
        raise InputError(f"unknown method {name!r}; known are auto, {', '.join(DESIGN_METHODS)}")
    return DESIGN_METHODS[name](space, **options)
