"""How stiff a density is: interpolations between void and solid."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

import numpy as np

from sciopt.core.errors import InputError

if TYPE_CHECKING:
    from sciopt.core.types import Array

__all__ = ["RAMP", "SIMP"]


@dataclass(frozen=True)
class SIMP:
    """Modified power law, ``E(rho) = Emin + rho^p (E0 - Emin)``.

    Sigmund, *Morphology-based black and white filters for topology optimization* (2007),
    doi 10.1007/s00158-006-0087-x, equation 3; Bendsøe and Sigmund, *Material interpolation schemes in topology
    optimization* (1999), doi 10.1007/s004190050248.

    Parameters
    ----------
    p
        Penalization, at least 1.
    E0, Emin
        Modulus (or conductivity) of solid and of void, with ``0 <= Emin < E0``.

    Raises
    ------
    InputError
        When a parameter is out of range.

    Examples
    --------
    >>> SIMP(p=3.0, Emin=0.0).modulus(np.array([0.0, 0.5, 1.0]))
    array([0.   , 0.125, 1.   ])
    """

    p: float = 3.0
    E0: float = 1.0
    Emin: float = 1e-9

    def __post_init__(self) -> None:
        if not 1.0 <= self.p < np.inf:
            raise InputError(f"the penalization of SIMP is p = {self.p}; it must be 1 (none) or larger, usually 3")
        _check_moduli(self.E0, self.Emin)

    def modulus(self, rho: Array) -> Array:
        """(elements,) modulus at the densities `rho` (elements,) in [0, 1]."""
        return np.asarray(self.Emin + (self.E0 - self.Emin) * rho**self.p)

    def slope(self, rho: Array) -> Array:
        """(elements,) derivative of `modulus`."""
        return np.asarray((self.E0 - self.Emin) * self.p * rho ** (self.p - 1.0))

    def bend(self, rho: Array) -> Array:
        """(elements,) second derivative of `modulus`; infinite at void where 1 < p < 2."""
        with np.errstate(divide="ignore"):
            power = rho ** (self.p - 2.0) if self.p != 1.0 else np.zeros_like(rho)
        return np.asarray((self.E0 - self.Emin) * self.p * (self.p - 1.0) * power)

    def softened(self, t: float) -> Self:
        """The same law with the fraction `t` of its penalization: ``p -> 1 + t (p - 1)``, linear at 0."""
        return replace(self, p=1.0 + t * (self.p - 1.0))


@dataclass(frozen=True)
class RAMP:
    """Rational law, ``E(rho) = Emin + rho / (1 + q (1 - rho)) (E0 - Emin)``; its slope is positive at void, too.

    Stolpe and Svanberg, *An alternative interpolation scheme for minimum compliance topology optimization* (2001),
    doi 10.1007/s001580100129.

    Parameters
    ----------
    q
        Penalization, at least 0.
    E0, Emin
        Modulus (or conductivity) of solid and of void, with ``0 <= Emin < E0``.

    Raises
    ------
    InputError
        When a parameter is out of range.

    Examples
    --------
    >>> RAMP(q=8.0, Emin=0.0).modulus(np.array([0.0, 0.5, 1.0]))
    array([0. , 0.1, 1. ])
    """

    q: float = 8.0
    E0: float = 1.0
    Emin: float = 1e-9

    def __post_init__(self) -> None:
        if not 0.0 <= self.q < np.inf:
            raise InputError(f"the penalization of RAMP is q = {self.q}; it must be 0 (none) or larger, usually 8")
        _check_moduli(self.E0, self.Emin)

    def modulus(self, rho: Array) -> Array:
        """(elements,) modulus at the densities `rho` (elements,) in [0, 1]."""
        return np.asarray(self.Emin + (self.E0 - self.Emin) * rho / (1.0 + self.q * (1.0 - rho)))

    def slope(self, rho: Array) -> Array:
        """(elements,) derivative of `modulus`."""
        return np.asarray((self.E0 - self.Emin) * (1.0 + self.q) / np.square(1.0 + self.q * (1.0 - rho)))

    def bend(self, rho: Array) -> Array:
        """(elements,) second derivative of `modulus`."""
        scale = 2.0 * self.q * (self.E0 - self.Emin) * (1.0 + self.q)
        return np.asarray(scale / (1.0 + self.q * (1.0 - rho)) ** 3)

    def softened(self, t: float) -> Self:
        """The same law with the fraction `t` of its penalization: ``q -> t q``, linear at 0."""
        return replace(self, q=t * self.q)


def _check_moduli(solid: float, void: float) -> None:
    if not 0.0 <= void < solid < np.inf:
        raise InputError(
            f"the moduli are E0 = {solid} for solid and Emin = {void} for void; expected 0 <= Emin < E0, both finite"
        )
