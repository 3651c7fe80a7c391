"""The named methods for bounded variables: every rule with the control it is usually run under."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from sciopt.core.control import Adaptive, Control, Fixed
from sciopt.core.rule import Rule
from sciopt.core.signals import Nonmonotone, reversal
from sciopt.rules.gcmma import GCMMA, Conservative
from sciopt.rules.mirror import MirrorDescent
from sciopt.rules.mma import MMA
from sciopt.rules.oc import OptimalityCriteria
from sciopt.rules.spectral import SpectralProjectedGradient

__all__ = ["BOX_METHODS"]

Pair = tuple[Rule, Control]


def oc(
    move: float | Control = 0.2,
    eta: float = 0.5,
    floor: float = 1e-10,
    xmin: float = 0.0,
    local: bool = False,
    grow: float = 1.2,
    shrink: float = 0.7,
    least: float = 0.01,
    most: float = 0.5,
) -> Pair:
    """Optimality criteria with one fixed move limit, or with `local` one adaptive limit per variable.

    For mechanisms, whose forces change sign: ``move=0.1, eta=0.3, xmin=1e-3``.
    """
    rule = OptimalityCriteria(eta, floor, xmin)
    if not isinstance(move, int | float | np.number):
        return rule, move
    if local:
        return rule, Adaptive(float(move), reversal, grow=grow, shrink=shrink, least=least, most=most)
    return rule, Fixed(float(move))


def mma(
    size: float = 0.5,
    move: float = 0.5,
    grow: float = 1.2,
    shrink: float = 0.7,
    least: float = 0.01,
    most: float = 10.0,
    curvature: float = 1e-5,
    penalty: float = 1000.0,
) -> Pair:
    """The method of moving asymptotes with Svanberg's constants.

    `size`, `grow`, `shrink`, `least` and `most` belong to the distance of the asymptotes, `move` is the move limit, all
    relative to the distance of the bounds.
    """
    return MMA(move, curvature, penalty), Adaptive(size, reversal, grow=grow, shrink=shrink, least=least, most=most)


def gcmma(
    size: float = 0.5,
    move: float = 0.5,
    grow: float = 1.2,
    shrink: float = 0.7,
    least: float = 0.01,
    most: float = 10.0,
    curvature: float = 0.1,
    penalty: float = 1000.0,
) -> Pair:
    """The globally convergent method of moving asymptotes: about two evaluations per step, never a worse point."""
    control = Conservative(size, reversal, grow=grow, shrink=shrink, least=least, most=most)
    return GCMMA(move, curvature, penalty), control


def spg(
    move: float = 0.2,
    grow: float = 1.3,
    shrink: float = 0.5,
    least: float = 0.01,
    most: float = 0.5,
    window: int = 10,
    slope: float = 1e-4,
) -> Pair:
    """Spectral projected gradients in an adaptive move-limit box, accepted against the last `window` values."""
    signal = Nonmonotone(window, slope)
    control = Adaptive(move, signal, grow=grow, shrink=shrink, least=least, most=most, radius=True, reject=True)
    return SpectralProjectedGradient(window), control


def mirror(window: int = 10, slope: float = 1e-4, shrink: float = 0.5, margin: float = 1e-9) -> Pair:
    """Entropic mirror descent with backtracking, accepted against the last `window` values."""
    control = Adaptive(1.0, Nonmonotone(window, slope), shrink=shrink, least=1.0, most=1.0, reject=True)
    return MirrorDescent(window, margin), control


BOX_METHODS: Mapping[str, Callable[..., Pair]] = {
    "oc": oc,
    "mma": mma,
    "gcmma": gcmma,
    "spg": spg,
    "mirror": mirror,
}
"""Names of the methods that need a space with bounds, `sciopt.core.Box`; like `sciopt.rules.METHODS` otherwise."""
