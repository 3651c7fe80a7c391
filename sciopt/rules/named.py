"""The named methods: every rule with the control it is usually run under, options checked by name."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from sciopt.core.control import Adaptive, Control, Fixed
from sciopt.core.errors import InputError
from sciopt.core.method import StepMethod
from sciopt.core.rule import Rule
from sciopt.core.signals import Ratio, power
from sciopt.core.space import Space
from sciopt.rules.bounds import bounded
from sciopt.rules.fire import FIRE, FIRE2
from sciopt.rules.first_order import GradientDescent, Momentum
from sciopt.rules.lbfgs import LBFGS
from sciopt.rules.moments import AdaBelief, Adagrad, Adam, FullAdagrad, RMSprop
from sciopt.rules.named_box import BOX_METHODS
from sciopt.rules.ode import ErrorControl, PseudoTime
from sciopt.rules.within_radius import WithinRadius

__all__ = ["METHODS", "make_method", "method_options"]

Pair = tuple[Rule, Control]
Rate = float | Control


def _rate(learning_rate: Rate) -> Control:
    return Fixed(float(learning_rate)) if isinstance(learning_rate, int | float | np.number) else learning_rate


def gradient_descent(learning_rate: Rate = 0.01, weight_decay: float = 0.0, decoupled: bool = False) -> Pair:
    """Steepest descent with a fixed, scheduled or adaptive learning rate."""
    return GradientDescent(weight_decay, decoupled), _rate(learning_rate)


def momentum(
    learning_rate: Rate = 0.01,
    beta: float = 0.9,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    decoupled: bool = False,
) -> Pair:
    """Heavy-ball or Nesterov momentum."""
    return Momentum(weight_decay, decoupled, beta, nesterov), _rate(learning_rate)


def nesterov(learning_rate: Rate = 0.01, beta: float = 0.9, weight_decay: float = 0.0, decoupled: bool = False) -> Pair:
    """Nesterov momentum."""
    return momentum(learning_rate, beta, True, weight_decay, decoupled)


def adagrad(learning_rate: Rate = 0.01, eps: float = 1e-10, weight_decay: float = 0.0, decoupled: bool = False) -> Pair:
    """Adagrad, diagonal."""
    return Adagrad(weight_decay, decoupled, eps), _rate(learning_rate)


def full_adagrad(
    learning_rate: Rate = 0.01, eps: float = 1e-10, weight_decay: float = 0.0, decoupled: bool = False
) -> Pair:
    """Adagrad with the full matrix, for few variables."""
    return FullAdagrad(weight_decay, decoupled, eps), _rate(learning_rate)


def rmsprop(
    learning_rate: Rate = 0.01,
    beta: float = 0.99,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    decoupled: bool = False,
) -> Pair:
    """RMSprop."""
    return RMSprop(weight_decay, decoupled, beta, eps), _rate(learning_rate)


def adam(
    learning_rate: Rate = 0.001,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    amsgrad: bool = False,
    weight_decay: float = 0.0,
    decoupled: bool = False,
) -> Pair:
    """Adam; with `amsgrad` AMSGrad, with `decoupled` decay AdamW."""
    return Adam(weight_decay, decoupled, beta1, beta2, eps, amsgrad), _rate(learning_rate)


def amsgrad(
    learning_rate: Rate = 0.001,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    decoupled: bool = False,
) -> Pair:
    """AMSGrad."""
    return adam(learning_rate, beta1, beta2, eps, True, weight_decay, decoupled)


def adamw(
    learning_rate: Rate = 0.001,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.01,
    amsgrad: bool = False,
) -> Pair:
    """Adam with decoupled weight decay."""
    return adam(learning_rate, beta1, beta2, eps, amsgrad, weight_decay, True)


def adabelief(
    learning_rate: Rate = 0.001,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-16,
    eps_root: float = 1e-16,
    weight_decay: float = 0.0,
    decoupled: bool = True,
) -> Pair:
    """AdaBelief."""
    return AdaBelief(weight_decay, decoupled, beta1, beta2, eps, eps_root), _rate(learning_rate)


def fire(
    dt: float = 0.1,
    dtmax: float = 1.0,
    grow: float = 1.1,
    shrink: float = 0.5,
    patience: int = 5,
    alpha: float = 0.1,
    fade: float = 0.99,
) -> Pair:
    """FIRE with the published constants."""
    # ASE and the paper grow when *more* than `patience` good steps came before.
    control = Adaptive(dt, power, grow=grow, shrink=shrink, patience=patience + 1, most=dtmax, forget=True)
    return FIRE(alpha, fade), control


def fire2(
    dt: float = 0.1,
    dtmax: float = 1.0,
    dtmin: float = 2e-3,
    grow: float = 1.1,
    shrink: float = 0.5,
    patience: int = 20,
    alpha: float = 0.25,
    fade: float = 0.99,
    abc: bool = False,
    maxstep: float = 0.2,
) -> Pair:
    """FIRE 2.0 or, with `abc`, ABC-FIRE."""
    control = Adaptive(dt, power, grow=grow, shrink=shrink, patience=patience, least=dtmin, most=dtmax, forget=True)
    return FIRE2(alpha, fade, abc, maxstep), control


def lbfgs(
    memory: int = 25,
    h0: float | None = None,
    auto: bool = True,
    auto_range: tuple[float, float] = (0.0, np.inf),
    curvature: float | None = 1e-8,
    reset: bool = True,
    noise_factor: float = 3.0,
    long: bool = False,
    radius: float | None = None,
    radius_max: float = np.inf,
    low: float = 1e-4,
    high: float = 0.5,
    damping: float | Control = 1.0,
) -> Pair:
    """L-BFGS, free (`radius` None) or inside an adaptive trust radius that rejects bad steps."""
    rule = LBFGS(memory, h0, auto, auto_range, curvature, reset, noise_factor, long)
    if radius is None:
        return rule, _rate(damping)
    control = Adaptive(radius, Ratio(low, high), grow=2.0, shrink=0.4, most=radius_max, radius=True, reject=True)
    return WithinRadius(rule), control


def ode12r(rtol: float = 0.1, contraction: float = 1e-2, growth: float = 2.0) -> Pair:
    """Adaptive pseudo-time stepping along the force."""
    return PseudoTime(rtol), ErrorControl(rtol, contraction, growth)


METHODS: Mapping[str, Callable[..., Pair]] = {
    "gradient-descent": gradient_descent,
    "momentum": momentum,
    "nesterov": nesterov,
    "adagrad": adagrad,
    "full-adagrad": full_adagrad,
    "rmsprop": rmsprop,
    "adam": adam,
    "amsgrad": amsgrad,
    "adamw": adamw,
    "adabelief": adabelief,
    "fire": fire,
    "fire2": fire2,
    "lbfgs": lbfgs,
    "ode12r": ode12r,
}
"""Method names and the functions that build their rule and control; the keywords of those are the options."""


def method_options(name: str) -> dict[str, Any]:
    """Options of the method `name` with their defaults.

    Examples
    --------
    >>> method_options("momentum")["beta"]
    0.9
    """
    return {key: p.default for key, p in inspect.signature(_builder(name)).parameters.items()}


def make_method(name: str, space: Space, **options: Any) -> StepMethod:
    """The method called `name` in `space`, of `METHODS` or `BOX_METHODS`.

    Raises
    ------
    InputError
        For an unknown name or option, with the closest known one; for a method for bounded variables in a space
        without bounds.

    Examples
    --------
    >>> from sciopt.core import Flat
    >>> make_method("adam", Flat(), learning_rate=0.1).rule.beta1
    0.9
    """
    builder = _builder(name)
    known = inspect.signature(builder).parameters
    for option in options:
        if option not in known:
            raise InputError(
                f"method {name!r} has no option {option!r}{_suggest(option, known)}; its options are {', '.join(known)}"
            )
    if name in BOX_METHODS:
        bounded(space, f"method {name!r}")
    rule, control = builder(**options)
    return StepMethod(rule, control, space)


def _builder(name: str) -> Callable[..., Pair]:
    known = {**METHODS, **BOX_METHODS}
    if name not in known:
        raise InputError(f"unknown method {name!r}{_suggest(name, known)}; known are {', '.join(known)}")
    return known[name]


def _suggest(word: str, known: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
