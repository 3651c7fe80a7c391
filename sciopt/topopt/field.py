"""From design variables to physical densities and back: symmetry, filter, projection."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from sciopt.core.errors import InputError
from sciopt.topopt.projection import SHARPEST, Threshold
from sciopt.topopt.structure import Structure

if TYPE_CHECKING:
    from sciopt.core.types import Array

__all__ = ["DensityField", "Projection", "Realization"]

AXES = "xyz"
# Of the central difference of a projection's slope, in densities along a direction of unit size.
_STEP = 1e-5


@dataclass(frozen=True)
class Projection:
    """Volume-preserving Heaviside projection, sharpened to `beta` as the design settles.

    Parameters
    ----------
    beta
        Final sharpness.
    robust
        Half the width of the threshold interval of the robust formulation: the objective is that of the worst of the
        eroded, intermediate and dilated designs (thresholds +robust, 0 and -robust about the volume-preserving one),
        the volume is that of the intermediate design. 0 leaves the intermediate design alone.

    Raises
    ------
    InputError
        When `beta` is not in (0, 300] or `robust` not in [0, 0.5).

    References
    ----------
    Xu, Cai and Cheng 2010, doi 10.1007/s00158-009-0452-7; Wang, Lazarov and Sigmund 2011,
    doi 10.1007/s00158-010-0602-y.

    Examples
    --------
    >>> Projection(beta=16, robust=0.2).shifts
    (0.2, 0.0, -0.2)
    """

    beta: float = 32.0
    robust: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 < self.beta <= SHARPEST:
            raise InputError(
                f"projection: beta is {self.beta}; expected more than 0 and at most {SHARPEST:g}, for example 32"
            )
        if not 0.0 <= self.robust < 0.5:
            raise InputError(f"projection: robust is {self.robust}; expected a number in [0, 0.5), for example 0.2")

    @property
    def shifts(self) -> tuple[float, ...]:
        """Thresholds of the realizations, relative to the volume-preserving one: eroded, intermediate, dilated."""
        return (self.robust, 0.0, -self.robust) if self.robust else (0.0,)


@dataclass(frozen=True, eq=False)
class Realization:
    """One physical design: (n,) densities, and how they came from the filtered variables."""

    filtered: Array
    density: Array
    threshold: Threshold | None


@dataclass(frozen=True, eq=False)
class DensityField:
    """The map from design variables x to densities: mirror average, filter, projection.

    Parameters
    ----------
    structure
        Whose design elements the n variables are.
    filter
        A filter bound to `structure`.
    projection
        A `Projection`, or None for grey densities.
    symmetry
        Axes (``"x"``, ``"y"``, ``"z"``) about whose middle plane the design is mirrored.

    Raises
    ------
    InputError
        When an axis does not exist, or the design region is not symmetric about it.
    """

    structure: Structure
    filter: Any
    projection: Projection | None = None
    symmetry: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.symmetry:
            return
        if not isinstance(self.structure, Structure):
            raise InputError(
                "symmetry: only designs on grids are mirrored; model a half of the mesh, with .symmetry(...) on the cut"
            )
        design = self.structure.design.reshape(self.structure.shape[::-1])
        for axis in self.symmetry:
            if axis not in AXES[: self.structure.dim]:
                raise InputError(
                    f"symmetry: axis {axis!r} does not exist; expected some of {', '.join(AXES[: self.structure.dim])}"
                )
            if not np.array_equal(design, np.flip(design, self._axis(axis))):
                raise InputError(f"symmetry: the design region is not symmetric about the middle plane across {axis}")

    def _axis(self, name: str) -> int:
        return self.structure.dim - 1 - AXES.index(name)

    def mirror(self, x: Array) -> Array:
        """(n,) the mean of `x` and its mirror images; its own adjoint."""
        for axis in self.symmetry:
            field = np.zeros(self.structure.design.size)
            field[self.structure.design] = x
            mirrored = np.flip(field.reshape(self.structure.shape[::-1]), self._axis(axis)).ravel()
            x = 0.5 * (x + mirrored[self.structure.design])
        return x

    def filtered(self, x: Array) -> Array:
        """(n,) filtered variables, before any projection."""
        return self.filter.apply(self.mirror(x))

    def realize(self, x: Array) -> tuple[Realization, ...]:
        """The physical designs of `x`, one per shift of the projection."""
        filtered = self.filtered(x)
        if self.projection is None:
            return (Realization(filtered, filtered, None),)
        found = []
        for shift in self.projection.shifts:
            threshold = Threshold(self.projection.beta, shift)
            density = threshold.forward(filtered, self.structure.volumes, total=self.structure.total)
            found.append(Realization(filtered, density, threshold))
        return tuple(found)

    def pullback(self, realization: Realization, gradient: Array) -> Array:
        """(n,) the gradient with respect to x, of what has `gradient` with respect to the realization's densities."""
        if realization.threshold is not None:
            gradient = realization.threshold.pullback(
                realization.filtered, self.structure.volumes, gradient, total=self.structure.total
            )
        return self._adjoint(gradient)

    def pushforward(self, realization: Realization, direction: Array) -> Array:
        """(n,) change of the realization's densities along the change `direction` (n,) of x."""
        filtered = self.filtered(direction)
        if realization.threshold is None:
            return filtered
        return realization.threshold.pushforward(realization.filtered, self.structure.volumes, filtered)

    def bend(self, realization: Realization, gradient: Array, direction: Array) -> Array | None:
        """(n,) change of `pullback` along `direction` (n,) while `gradient` is kept; None for linear maps."""
        threshold = realization.threshold
        if threshold is None:
            return None
        ahead, behind = (
            threshold.pullback(realization.filtered + h, self.structure.volumes, gradient)
            for h in (_STEP * self.filtered(direction), -_STEP * self.filtered(direction))
        )
        return self._adjoint((ahead - behind) / (2.0 * _STEP))

    def _adjoint(self, gradient: Array) -> Array:
        return self.mirror(self.filter.adjoint(gradient))

    @cached_property
    def weights(self) -> Array:
        """(n,) share of the region's volume that one unit of each variable fills.

        Filter and mirror are linear and the projection preserves volume, so the volume of the design is linear in x.
        """
        return self._adjoint(self.structure.volumes) / self.structure.region
