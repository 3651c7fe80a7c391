"""Filters on meshes: the averages of `sciopt.topopt.filters`, over the design cells of all ranks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from sciopt.core.errors import InputError
from sciopt.topopt.fenicsx.cone import Cone
from sciopt.topopt.fenicsx.smoothing import Smoothing
from sciopt.topopt.filters import Density, Helmholtz, Sensitivity

if TYPE_CHECKING:
    from sciopt.core.types import Array
    from sciopt.topopt.fenicsx.structure import MeshStructure
    from sciopt.topopt.filters import Filter

__all__ = ["MeshFilter", "bound"]

# Below this density the sensitivity filter divides by it (Sigmund 2007).
_LEAST_DENSITY = 1e-3


class MeshFilter:
    """``filtered = K(v x) / K(v)`` with volumes v: `apply` takes variables to the design, `adjoint` gradients back.

    `modify` alters what the optimizer is told.

    Parameters
    ----------
    structure
        Its design cells and their volumes.
    kernel
        The symmetric kernel K, from (n,) of the design cells of each rank to (n,). All ranks call it together.
    """

    def __init__(self, structure: MeshStructure, kernel: Callable[[Array], Array]) -> None:
        self._structure = structure
        self._kernel = kernel
        self._volumes = structure.volumes
        self._reach = kernel(self._volumes)

    def apply(self, x: Array) -> Array:
        """(n,) filtered design of the variables `x` (n,)."""
        average = self._kernel(self._volumes * x) / self._reach
        # An average of densities is one; rounding must not make it negative, where powers of it are not defined.
        return np.asarray(np.clip(average, *self._structure.extremes(x), out=average))

    def adjoint(self, g: Array) -> Array:
        """(n,) derivative with respect to the variables from that with respect to the filtered design, `g` (n,)."""
        return self._volumes * self._kernel(g / self._reach)

    def modify(self, x: Array, g: Array) -> Array:
        """(n,) what the optimizer is told instead of the gradient `g` (n,) at the variables `x` (n,)."""
        return g


class GradientFilter(MeshFilter):
    """A filter that leaves the design alone and smooths what the optimizer is told about it."""

    def apply(self, x: Array) -> Array:
        return x

    def adjoint(self, g: Array) -> Array:
        return g

    def modify(self, x: Array, g: Array) -> Array:
        return self._volumes * self._kernel(x * g) / (np.maximum(x, _LEAST_DENSITY) * self._reach)


def bound(filter: Filter, structure: MeshStructure) -> MeshFilter:
    """`filter` on the design cells of a mesh.

    Parameters
    ----------
    filter
        `Density`, `Sensitivity` or `Helmholtz`; its radius is in the unit of the mesh's coordinates.
    structure
        The structure. All ranks must bind and use the filter together.

    Raises
    ------
    InputError
        For another filter.
    """
    if isinstance(filter, Density | Sensitivity):
        kernel = Cone(filter.radius, structure.centres[structure.design], structure.comm)
        return (MeshFilter if isinstance(filter, Density) else GradientFilter)(structure, kernel)
    if isinstance(filter, Helmholtz):
        return MeshFilter(structure, Smoothing(filter.radius / (2.0 * np.sqrt(3.0)), structure))
    raise InputError(f"the filter is {filter!r}; meshes know Density, Sensitivity and Helmholtz")
