"""Projection: smooth thresholds that turn a filtered design into one of void and solid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numba import njit

from sciopt.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sciopt.core.types import Array

    Total = Callable[[Array], Array]

__all__ = ["SHARPEST", "Threshold", "preserving_threshold", "project", "slope", "threshold_slope"]

# Relative error of the preserved volume, and a bound that bisection alone would keep.
_TOLERANCE, _MOST_ITERATIONS = 1e-12, 100
# Sharper steps are no different in double precision, and their exponentials overflow.
SHARPEST = 300.0
# Smallest change of the volume per threshold, relative to the volume of the domain, that still determines a threshold.
_LEAST_WEIGHT = 1e-12


def project(x: Array, beta: float, eta: float = 0.5) -> Array:
    """Smooth threshold ``(tanh(beta eta) + tanh(beta (x - eta))) / (tanh(beta eta) + tanh(beta (1 - eta)))``.

    Evaluated as ``sinh(beta x) cosh(beta (1 - eta)) / (sinh(beta) cosh(beta (x - eta)))``, which is the same and loses
    no digits, also for thresholds outside of [0, 1].

    Wang, Lazarov and Sigmund, *On projection methods, convergence and robust formulations in topology optimization*
    (2011), doi 10.1007/s00158-010-0602-y, equation 9.

    Parameters
    ----------
    x
        (n,) filtered densities in [0, 1].
    beta
        Sharpness, positive: near 0 the densities are kept, at infinity they are 0 or 1.
    eta
        Threshold.

    Returns
    -------
    (n,) projected densities in [0, 1].

    Examples
    --------
    >>> project(np.array([0.0, 0.4, 0.5, 0.6, 1.0]), beta=16.0).round(3)
    array([0.   , 0.039, 0.5  , 0.961, 1.   ])
    """
    return np.asarray(_project(_falling(x, beta), beta, eta))


def slope(x: Array, beta: float, eta: float = 0.5) -> Array:
    """(n,) derivative of `project` with respect to the densities `x` (n,)."""
    return np.asarray(_slopes(_falling(x, beta), beta, eta)[0])


def threshold_slope(x: Array, beta: float, eta: float = 0.5) -> Array:
    """(n,) derivative of `project` at the densities `x` (n,) with respect to the threshold, never positive."""
    return np.asarray(_slopes(_falling(x, beta), beta, eta)[1])


def preserving_threshold(x: Array, v: Array, beta: float, total: Total = np.asarray) -> float:
    """The threshold at which `project` keeps the volume, ``sum v project(x; eta) = sum v x``.

    It always exists in [0, 1], because the projected volume falls with eta, from above ``sum v x`` to below; found by
    Newton's method, by bisection where that leaves the bracket.

    Xu, Cai and Cheng, *Volume preserving nonlinear density filter based on Heaviside functions* (2010),
    doi 10.1007/s00158-009-0452-7.

    Parameters
    ----------
    x
        (n,) filtered densities in [0, 1].
    v
        (n,) volumes.
    beta
        Sharpness, positive and at most 300.
    total
        Sums arrays over ranks, where `x` is one rank's piece.
    """
    return _preserving_threshold(_falling(x, beta), x, v, beta, total)


@dataclass(frozen=True)
class Threshold:
    """Projection at the threshold that preserves the volume, or a fixed distance from it.

    A robust design is three: eroded at ``+shift``, intermediate at 0 and dilated at ``-shift``, all around the
    threshold that preserves the volume of the intermediate one.

    Parameters
    ----------
    beta
        Sharpness, positive and at most 300.
    shift
        Added to the threshold that preserves the volume.

    Raises
    ------
    InputError
        When the sharpness is out of range.

    Examples
    --------
    >>> x, v = np.array([0.1, 0.4, 0.7]), np.ones(3)
    >>> bool(np.isclose(Threshold(8.0).forward(x, v).sum(), x.sum()))
    True
    """

    beta: float
    shift: float = 0.0

    def __post_init__(self) -> None:
        _check_sharpness(self.beta)

    def forward(self, x: Array, v: Array, total: Total = np.asarray) -> Array:
        """(n,) projected densities of the filtered ones, `x` (n,), with volumes `v` (n,); `total` sums over ranks."""
        falling = _falling(x, self.beta)
        eta = _preserving_threshold(falling, x, v, self.beta, total)
        return np.asarray(_project(falling, self.beta, eta + self.shift))

    def pullback(self, x: Array, v: Array, g: Array, total: Total = np.asarray) -> Array:
        """Derivative with respect to `x` from that with respect to the projected densities, threshold included.

        ``g dP/dx + (g . dP/deta) deta/dx``, where ``deta/dx = v (1 - dP0/dx) / (v . dP0/deta)`` keeps the volume of the
        intermediate design P0.

        Parameters
        ----------
        x, v, g
            (n,) filtered densities, volumes, and derivative with respect to the projected densities.
        total
            Sums arrays over ranks, where the others are one rank's pieces.

        Returns
        -------
        (n,) derivative with respect to `x`.
        """
        falling = _falling(x, self.beta)
        eta = _preserving_threshold(falling, x, v, self.beta, total)
        kept, lost = _slopes(falling, self.beta, eta)
        slope, fall = _slopes(falling, self.beta, eta + self.shift) if self.shift else (kept, lost)
        weight, volume, moved = total(np.array([v @ lost, v.sum(), g @ fall]))
        # A design of nothing but void and solid has its volume at any threshold in between, which then stays put.
        if weight >= -_LEAST_WEIGHT * volume:
            return np.asarray(g * slope)
        return np.asarray(g * slope + moved / weight * v * (1.0 - kept))

    def pushforward(self, x: Array, v: Array, d: Array) -> Array:
        """(n,) change of the projected densities along the change `d` (n,) of the filtered ones; see `pullback`."""
        falling = _falling(x, self.beta)
        eta = _preserving_threshold(falling, x, v, self.beta, np.asarray)
        kept, lost = _slopes(falling, self.beta, eta)
        slope, fall = _slopes(falling, self.beta, eta + self.shift) if self.shift else (kept, lost)
        weight = float(v @ lost)
        if weight >= -_LEAST_WEIGHT * float(v.sum()):
            return np.asarray(slope * d)
        return np.asarray(slope * d + fall * (float(v @ ((1.0 - kept) * d)) / weight))


def _check_sharpness(beta: float) -> None:
    if not 0.0 < beta <= SHARPEST:
        raise InputError(
            f"the sharpness of the projection is beta = {beta}; expected more than 0 and at most {SHARPEST:g}, "
            "usually 1 to 64"
        )


# Everything follows from f = exp(-2 beta (x - 1/2)), one exponential per element: with w = exp(-2 beta (x - eta)) and
# s = 1 / (1 + w), the hyperbolic functions are
#     sinh(beta x) / cosh(beta (x - eta)) = exp(beta eta) (1 - exp(-2 beta x)) s
#     1 / cosh(beta (x - eta))^2 = 4 w s^2
# sums of positive terms without cancellation. Where w overflows s is 0, and the cap keeps w s at 1.
_CAP = 1e300


def _falling(x: Array, beta: float) -> Array:
    return np.asarray(np.exp(-2.0 * beta * (x - 0.5)))


def _preserving_threshold(falling: Array, x: Array, v: Array, beta: float, total: Total) -> float:
    target = float(total(np.array([v @ x]))[0])
    low, high, eta = 0.0, 1.0, 0.5
    for _ in range(_MOST_ITERATIONS):
        volume, fall = total(np.array(_volume(falling, v, beta, eta)))
        if abs(volume - target) <= _TOLERANCE * target:
            break
        if volume > target:
            low = eta
        else:
            high = eta
        if high - low <= np.spacing(high):
            break
        newton = eta - (volume - target) / fall if fall < 0.0 else low
        eta = newton if low < newton < high else 0.5 * (low + high)
    return float(eta)


@njit(cache=True)
def _heights(beta, eta):
    """Factors of `project` and of its slopes with respect to the density and to the threshold."""
    start, end = np.exp(-2.0 * beta * abs(eta)), np.exp(-2.0 * beta * abs(1.0 - eta))
    sharp = -np.expm1(-2.0 * beta)
    height = np.exp(2.0 * beta * max(eta - 1.0, 0.0)) * (1.0 + end) / sharp
    steep = 2.0 * beta * np.exp(beta * (abs(eta) + abs(1.0 - eta) - 1.0)) * (1.0 + start) * (1.0 + end) / sharp
    return height, steep, -2.0 * beta / sharp


@njit(cache=True, error_model="numpy")
def _project(falling, beta, eta):
    height, _, _ = _heights(beta, eta)
    rise, first = np.exp(2.0 * beta * (eta - 0.5)), np.exp(-beta)
    projected = np.empty_like(falling)
    for i in range(len(falling)):
        # Rounding must not leave [0, 1], where powers are not defined.
        projected[i] = min(max(height * (1.0 - falling[i] * first) / (1.0 + rise * falling[i]), 0.0), 1.0)
    return projected


@njit(cache=True, error_model="numpy")
def _slopes(falling, beta, eta):
    _, steep, lower = _heights(beta, eta)
    rise, first = np.exp(2.0 * beta * (eta - 0.5)), np.exp(-beta)
    slope, fall = np.empty_like(falling), np.empty_like(falling)
    for i in range(len(falling)):
        w = min(rise * falling[i], _CAP)
        s = 1.0 / (1.0 + w)
        slope[i] = steep * (w * s) * s
        fall[i] = lower * (w * s) * s * (1.0 - falling[i] * first) * (1.0 - first / falling[i])
    return slope, fall


@njit(cache=True, error_model="numpy", fastmath={"reassoc", "contract"})
def _volume(falling, v, beta, eta):
    """The projected volume and its derivative with respect to the threshold."""
    height, _, lower = _heights(beta, eta)
    rise, first = np.exp(2.0 * beta * (eta - 0.5)), np.exp(-beta)
    volume, fall = 0.0, 0.0
    for i in range(len(v)):
        w = min(rise * falling[i], _CAP)
        s = 1.0 / (1.0 + w)
        solid = v[i] * s * (1.0 - falling[i] * first)
        volume += solid
        fall += solid * (w * s) * (1.0 - first / falling[i])
    return height * volume, lower * fall
