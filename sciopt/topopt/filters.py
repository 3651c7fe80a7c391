"""Filters: a design is a weighted average of its variables, so that no feature is smaller than a radius.

``filtered = K(v x) / K(v)`` with a symmetric kernel K and the volumes v of the design elements. Elements outside the
design do not take part: a constant design is kept everywhere, at boundaries, voids and solids, too.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

import numpy as np

from sciopt.core.errors import InputError
from sciopt.topopt.convolution import Convolution, Smoothing, cone, convolution

if TYPE_CHECKING:
    from sciopt.core.types import Array, Mask

__all__ = ["Density", "Filter", "GridFilter", "Helmholtz", "Sensitivity"]

# Below this density the sensitivity filter divides by it (Sigmund 2007).
_LEAST_DENSITY = 1e-3


class Grid(Protocol):
    """What a filter needs to know of a structure."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Elements along x, y and z."""

    @property
    def spacing(self) -> tuple[float, ...]:
        """Edge lengths of an element."""

    @property
    def design(self) -> Mask:
        """(elements,) whether an element is designed."""

    @property
    def volumes(self) -> Array:
        """(n,) volumes of the design elements."""


class GridFilter:
    """A filter on one structure: `apply` takes variables to the design, `adjoint` gradients back, `modify` alters them.

    Parameters
    ----------
    structure
        Its grid, design elements and volumes.
    kernel
        The symmetric kernel on fields of the whole grid.
    """

    def __init__(self, structure: Grid, kernel: Convolution) -> None:
        self._design = structure.design
        self._volumes = structure.volumes
        self._shape = structure.shape[::-1]
        self._kernel = kernel
        self._reach = self._convolve(self._volumes)

    def _convolve(self, x: Array) -> Array:
        field = np.zeros(len(self._design))
        field[self._design] = x
        return np.asarray(self._kernel(field.reshape(self._shape)).ravel()[self._design])

    def apply(self, x: Array) -> Array:
        """(n,) filtered design of the variables `x` (n,)."""
        average = self._convolve(self._volumes * x) / self._reach
        # An average of densities is one; rounding must not make it negative, where powers of it are not defined.
        return np.clip(average, x.min(), x.max(), out=average)

    def adjoint(self, g: Array) -> Array:
        """(n,) derivative with respect to the variables from that with respect to the filtered design, `g` (n,)."""
        return self._volumes * self._convolve(g / self._reach)

    exact: ClassVar[bool] = True
    """Whether the optimizer is told the gradient of a function."""

    def modify(self, x: Array, g: Array) -> Array:
        """(n,) what the optimizer is told instead of the gradient `g` (n,) at the variables `x` (n,)."""
        return g


class GradientFilter(GridFilter):
    """A filter that leaves the design alone and smooths what the optimizer is told about it."""

    exact: ClassVar[bool] = False

    def apply(self, x: Array) -> Array:
        return x

    def adjoint(self, g: Array) -> Array:
        return g

    def modify(self, x: Array, g: Array) -> Array:
        return self._volumes * self._convolve(x * g) / (np.maximum(x, _LEAST_DENSITY) * self._reach)


@dataclass(frozen=True)
class Filter(ABC):
    """A filter by its radius, not yet bound to a structure.

    Parameters
    ----------
    radius
        Length scale, positive, in the unit of the element edges (element widths at spacing 1).

    Raises
    ------
    InputError
        When the radius is not a positive number.
    """

    radius: float

    def __post_init__(self) -> None:
        if not 0.0 < self.radius < np.inf:
            raise InputError(
                f"the radius of the filter is {self.radius}; it must be positive, usually 1.5 element widths or more"
            )

    @abstractmethod
    def on(self, structure: Grid) -> GridFilter:
        """The filter on a structure."""


@dataclass(frozen=True)
class Density(Filter):
    """Average of the variables with cone weights, ``max(0, radius - distance)`` between centres of elements.

    Bruns and Tortorelli, *Topology optimization of non-linear elastic structures and compliant mechanisms* (2001),
    doi 10.1016/S0045-7825(00)00278-4; Bourdin, *Filters in topology optimization* (2001), doi 10.1002/nme.116.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> row = SimpleNamespace(shape=(4, 1), spacing=(1.0, 1.0), design=np.ones(4, dtype=bool), volumes=np.ones(4))
    >>> Density(2.0).on(row).apply(np.array([0.0, 0.0, 1.0, 1.0]))
    array([0.  , 0.25, 0.75, 1.  ])
    """

    def on(self, structure: Grid) -> GridFilter:
        return GridFilter(structure, _cone_kernel(self.radius, structure))


@dataclass(frozen=True)
class Helmholtz(Filter):
    """Average by a screened Poisson equation, ``(1 - r² Laplacian) filtered = x`` with ``r = radius / (2 sqrt 3)``.

    No flux passes the boundary of the grid. With this r the second moment is that of the cone filter in one dimension.

    Lazarov and Sigmund, *Filters in topology optimization based on Helmholtz-type differential equations* (2011),
    doi 10.1002/nme.3072.
    """

    def on(self, structure: Grid) -> GridFilter:
        length = self.radius / (2.0 * np.sqrt(3.0))
        return GridFilter(structure, Smoothing(length, structure.shape[::-1], structure.spacing))


@dataclass(frozen=True)
class Sensitivity(Filter):
    """Average of the gradient, weighted with the variables; the design itself is not filtered.

    With volumes v the gradient per volume is averaged, ``modified = v K(x g) / (max(x, 0.001) K(v))``; a heuristic that
    works, although what it tells the optimizer is not the gradient of any objective.

    Sigmund, *On the design of compliant mechanisms using topology optimization* (1997), doi 10.1080/08905459708945415;
    *Morphology-based black and white filters for topology optimization* (2007), doi 10.1007/s00158-006-0087-x,
    equations 9 and 10.
    """

    def on(self, structure: Grid) -> GridFilter:
        return GradientFilter(structure, _cone_kernel(self.radius, structure))


def _cone_kernel(radius: float, structure: Grid) -> Convolution:
    return convolution(cone(radius, structure.spacing), structure.shape[::-1])
