"""Methods for designs by name: one rule, one control, one grid."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sciopt.core.control import Adaptive
from sciopt.core.errors import InputError
from sciopt.core.method import StepMethod
from sciopt.core.signals import Nonmonotone
from sciopt.rules import METHODS, make_method
from sciopt.rules.projected import NOTHING, Curvature, ProjectedQuasiNewton

if TYPE_CHECKING:
    from sciopt.core.space import Space

__all__ = ["DESIGN_METHODS", "design_method", "quasi_newton"]

# Rules made for other domains run on designs as they are; only their step lengths are in units of densities.
_DEFAULTS: dict[str, dict[str, Any]] = {
    "gradient-descent": {"learning_rate": 0.1},
    "momentum": {"learning_rate": 0.03},
    "nesterov": {"learning_rate": 0.03},
    "adagrad": {"learning_rate": 0.1},
    "rmsprop": {"learning_rate": 0.03},
    "adam": {"learning_rate": 0.05},
    "amsgrad": {"learning_rate": 0.05},
    "adamw": {"learning_rate": 0.05, "weight_decay": 0.0},
    "adabelief": {"learning_rate": 0.05},
    "lbfgs": {"h0": None, "radius": 0.2, "radius_max": 0.5, "memory": 5},
}


def quasi_newton(space: Space, move: float = 0.2, begin: Curvature = NOTHING, **options: Any) -> StepMethod:
    """Projected quasi-Newton steps in an adaptive move-limit box.

    The box grows by 1.3 after a step that used it and improved, shrinks to half the length of a step that was rejected:
    not below the largest of the last five values. `move` is the first move limit, `begin` memory to go on with.
    """
    rule = ProjectedQuasiNewton(begin=begin, **options)
    control = Adaptive(
        move, Nonmonotone(window=rule.window), grow=1.3, shrink=0.5, least=0.01, most=0.5, radius=True, reject=True
    )
    return StepMethod(rule, control, space)


def _named(name: str) -> Callable[..., StepMethod]:
    def build(space: Space, **options: Any) -> StepMethod:
        return make_method(name, space, **_DEFAULTS.get(name, {}) | options)

    return build


DESIGN_METHODS: dict[str, Callable[..., StepMethod]] = {
    "quasi-newton": quasi_newton,
    **{name: _named(name) for name in METHODS if name not in ("full-adagrad", "ode12r")},
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
