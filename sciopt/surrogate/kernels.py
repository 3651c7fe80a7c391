"""Stationary kernels as functions of a squared distance, with the derivatives that forces and Hessians need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

if TYPE_CHECKING:
    from sciopt.core.types import Array

__all__ = ["KERNELS", "Kernel", "Matern52", "Matern72", "Radial", "SquaredExponential"]


class Radial(NamedTuple):
    """A unit-variance kernel and its derivatives by the squared distance s, elementwise.

    Attributes
    ----------
    k, a, b, e
        ``k(s)``, ``a = -2 dk/ds``, ``b = 4 d2k/ds2 = -2 da/ds`` and ``e = -2 db/ds``: with d the difference of two
        feature vectors, ``dk/dphi = -a d``, ``da/dphi = -b d`` and ``db/dphi = -e d``.
    """

    k: Array
    a: Array
    b: Array
    e: Array


class Kernel(Protocol):
    """A stationary kernel of unit variance."""

    @property
    def name(self) -> str:
        """Its key in `KERNELS`."""

    def radial(self, s: Array, length: float) -> Radial:
        """Value and derivatives at squared distances `s`, for the length scale `length` (units of the features)."""


@dataclass(frozen=True)
class SquaredExponential:
    """``k = exp(-s / (2 l^2))``: infinitely smooth.

    Examples
    --------
    >>> import numpy as np
    >>> SquaredExponential().radial(np.array([0.0, 2.0]), 1.0).k
    array([1.        , 0.36787944])
    """

    name: str = "se"

    def radial(self, s: Array, length: float) -> Radial:
        square = length * length
        k = np.exp(-0.5 / square * s)
        a = k / square
        b = a / square
        return Radial(k, a, b, b / square)


@dataclass(frozen=True)
class Matern52:
    """``k = (1 + r + r^2/3) exp(-r)``, ``r = sqrt(5 s) / l``: twice differentiable.

    Rasmussen and Williams 2006, Gaussian Processes for Machine Learning, eq. 4.17.

    Examples
    --------
    >>> import numpy as np
    >>> float(Matern52().radial(np.array([0.0]), 0.5).k[0])
    1.0
    """

    name: str = "matern52"

    def radial(self, s: Array, length: float) -> Radial:
        square = length * length
        r = np.sqrt(5.0 * np.maximum(s, 0.0)) / length
        decay = np.exp(-r)
        k = (1.0 + r + r * r / 3.0) * decay
        a = 5.0 / (3.0 * square) * (1.0 + r) * decay
        b = 25.0 / (3.0 * square**2) * decay
        # e grows as 1/r, but appears only beside three factors d.
        return Radial(k, a, b, 5.0 * b / (square * np.maximum(r, 1e-12)))


@dataclass(frozen=True)
class Matern72:
    """``k = (1 + r + 2 r^2/5 + r^3/15) exp(-r)``, ``r = sqrt(7 s) / l``: three times differentiable.

    Rasmussen and Williams 2006, Gaussian Processes for Machine Learning, eq. 4.16 with nu = 7/2.

    Examples
    --------
    >>> import numpy as np
    >>> float(Matern72().radial(np.array([0.0]), 0.5).k[0])
    1.0
    """

    name: str = "matern72"

    def radial(self, s: Array, length: float) -> Radial:
        square = length * length
        r = np.sqrt(7.0 * np.maximum(s, 0.0)) / length
        decay = np.exp(-r)
        k = (1.0 + r + 0.4 * r * r + r**3 / 15.0) * decay
        a = 7.0 / (5.0 * square) * (1.0 + r + r * r / 3.0) * decay
        b = 49.0 / (15.0 * square**2) * (1.0 + r) * decay
        return Radial(k, a, b, 343.0 / (15.0 * square**3) * decay)


KERNELS: dict[str, Kernel] = {kernel.name: kernel for kernel in (SquaredExponential(), Matern52(), Matern72())}
"""Kernels by name."""
