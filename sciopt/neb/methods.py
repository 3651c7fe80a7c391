"""Methods that move a band, by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sciopt.core.control import Control
from sciopt.core.errors import InputError
from sciopt.core.method import StepMethod
from sciopt.core.rule import Rule
from sciopt.core.space import Preconditioned
from sciopt.neb.band_problem import BandSpace
from sciopt.neb.imagewise import imagewise_method
from sciopt.neb.precondition import band_preconditioner, shifted_model
from sciopt.neb.string import Redistributed
from sciopt.rules import METHODS, make_method

if TYPE_CHECKING:
    from sciopt.core.space import Space
    from sciopt.core.types import Array
    from sciopt.neb.coordinates import Coordinates

__all__ = ["BAND_METHODS", "band_method"]

BAND_METHODS = ("imagewise", *METHODS)
"""Names `band_method` knows."""

# Options that differ from those for functions of unknown scale: atoms move by hundredths of an Å, and bonds have
# curvatures of tens of eV/Å². Learning rates in Å (Adam family) or Å²/eV.
_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "gradient-descent": {"learning_rate": 0.01},
    "momentum": {"learning_rate": 0.005},
    "nesterov": {"learning_rate": 0.005},
    "adagrad": {"learning_rate": 0.1},
    "full-adagrad": {"learning_rate": 0.1},
    "rmsprop": {"learning_rate": 0.01, "beta": 0.9},
    "adam": {"learning_rate": 0.02, "beta2": 0.99},
    "amsgrad": {"learning_rate": 0.02, "beta2": 0.99},
    "adamw": {"learning_rate": 0.02, "beta2": 0.99, "weight_decay": 0.0},
    "adabelief": {"learning_rate": 0.02, "beta2": 0.99, "eps": 1e-8},
    "lbfgs": {"h0": 1.0 / 70.0, "auto_range": (0.0, 5.0), "curvature": 1e-3},
}
# Longest displacement of an atom per step, Å.
_MAXSTEP = {"lbfgs": 0.1, "imagewise": 0.3}
_IMAGEWISE_OPTIONS = ("radius", "radius_max", "floor")


def band_method(
    name: str | tuple[Rule, Control],
    coordinates: Coordinates,
    X: Array,
    *,
    fmax: float = 0.05,
    string: bool = False,
    precondition: bool | None = None,
    saddle_below: float | None = None,
    maxstep: float | None = None,
    **options: Any,
) -> StepMethod:
    """The method called `name` for a band that starts at `X`.

    Parameters
    ----------
    name
        One of `BAND_METHODS`, or a rule and a control of one's own.
    coordinates, X
        The free coordinates and the (M+2, n) initial path in Å.
    fmax
        Tolerance in eV/Å.
    string
        Redistribute the images after every step.
    precondition
        Run the rule under one model Hessian per image. None: for L-BFGS only, where it was measured to help.
    saddle_below
        Image-wise method: force on the climbing image (eV/Å) below which it moves alone.
    maxstep
        Longest displacement of an atom per step, Å.
    options
        Options of the named method.

    Raises
    ------
    InputError
        For unknown names and options, and for combinations that make no sense.
    """
    key = name if isinstance(name, str) else ""
    cap = maxstep if maxstep is not None else _MAXSTEP.get(key, 0.2)
    space = BandSpace(coordinates, len(X) - 2, cap, "image" if key == "imagewise" else "band")
    if key == "imagewise":
        if string:
            raise InputError(
                "the image-wise method spaces its images itself; use springs with it, not the string method"
            )
        if precondition is False:
            raise InputError("the image-wise method always starts from model Hessians; choose a rule to go without")
        for option in options:
            if option not in _IMAGEWISE_OPTIONS:
                known = ", ".join(_IMAGEWISE_OPTIONS)
                raise InputError(f"method 'imagewise' has no option {option!r}; its options are {known}")
        # Chosen on the problems marked `tuned`.
        model = shifted_model(coordinates, (X[0], X[-1]), molecule=2.0, solid=1.0)
        options = {"floor": 3.0 if coordinates.rigid else 1.0, **options}
        # Lindh's model knows the elements; the pair stiffness has one constant for all materials.
        scales = (1.0, 1.0) if coordinates.rigid else (0.4, 2.5)
        return imagewise_method(model, space, fmax=fmax, saddle_below=saddle_below, scales=scales, **options)
    if isinstance(name, tuple):
        rule, control = name
        if options:
            raise InputError(f"options {', '.join(options)} belong to named methods; put them into the rule instead")
        within: Space = Preconditioned(space, band_preconditioner(coordinates, X)) if precondition else space
        method = StepMethod(rule, control, within)
    elif name not in METHODS:
        raise InputError(f"unknown method {name!r}; known are auto, {', '.join(BAND_METHODS)}")
    else:
        defaults = dict(_DEFAULTS.get(name, {}))
        within = space
        if precondition or (precondition is None and name == "lbfgs"):
            within = Preconditioned(space, band_preconditioner(coordinates, X))
            if name == "lbfgs":
                defaults |= {"h0": 1.0, "auto": False}
        method = make_method(name, within, **{**defaults, **options})
    return replace(method, rule=Redistributed(method.rule)) if string else method
