"""The closed surface of a design: marching cubes on its densities, at the level that keeps the volume."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import brentq

from sciopt.core.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sciopt.core.types import Array

__all__ = ["Surface", "surface"]

# Corners keep this distance from centres of elements, and the faces on the boundary of the grid are this thick, both in
# units of an element: no triangle is so small that two of its corners are one in single precision, as in STL files.
_APART, _SHELL = 0.01, 0.02
# Densities keep this distance from the level per 200 elements, beyond the rounding of the corners' coordinates.
_NUDGE = 1e-4


@dataclass(frozen=True, eq=False)
class Surface:
    """A closed surface of triangles, anticlockwise seen from outside.

    Parameters
    ----------
    points
        (n, 3) corners, in the unit of the element edges.
    triangles
        (m, 3) numbers of the corners of each triangle. Every edge belongs to two of them, once in each direction.
    """

    points: Array
    triangles: NDArray[np.int64]

    @property
    def volume(self) -> float:
        """Enclosed volume: the divergence theorem, one tetrahedron with the origin per triangle."""
        a, b, c = np.moveaxis(self.points[self.triangles], 1, 0)
        return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6.0)

    @property
    def areas(self) -> Array:
        """(m, 3) normals outwards, as long as each triangle is large."""
        a, b, c = np.moveaxis(self.points[self.triangles], 1, 0)
        return np.asarray(np.cross(b - a, c - a)) / 2.0


def surface(
    density: Array,
    shape: tuple[int, ...],
    spacing: tuple[float, ...] | None = None,
    level: float | None = None,
    thickness: float | None = None,
) -> Surface:
    """Surface of the region denser than `level`, closed along the boundary of the grid.

    Densities belong to centres of elements and are linear in between (Lorensen and Cline, *Marching cubes* (1987),
    doi 10.1145/37401.37422); up to the boundary they are those of the outermost elements.

    Parameters
    ----------
    density
        (elements,) densities, x fastest.
    shape
        Elements along x, y and z.
    spacing
        Edge lengths of an element, 1 by default.
    level
        By default the one that encloses the volume of the design, ``sum density`` times that of an element. Where it
        jumps with the level, as in even grey, it is kept as well as that can be.
    thickness
        Of a design in 2D along z; a tenth of its longer side by default.

    Raises
    ------
    InputError
        When the densities do not fit the shape, or none exceeds the level.

    Examples
    --------
    >>> block = surface(np.ones(24), (4, 3, 2))
    >>> round(block.volume, 2)
    24.0
    """
    spacing = spacing or (1.0,) * len(shape)
    if density.shape != (np.prod(shape),) or not np.isfinite(density).all():
        raise InputError(
            f"the densities have shape {density.shape}; expected {np.prod(shape)} finite numbers for {shape} elements"
        )
    if density.max() <= (level or 0.0):
        raise InputError(
            f"no density exceeds {level or 0.0:g}, the largest is {density.max():.3g}: there is no surface"
        )
    field, places, volume = (
        density.reshape(shape[::-1]),
        _places(shape, spacing),
        float(density.sum() * np.prod(spacing)),
    )
    if len(shape) == 2:
        height = thickness or 0.1 * max(n * h for n, h in zip(shape, spacing, strict=True))
        shell = 0.5 * _SHELL * spacing[0]
        field, volume = np.stack([field, field]), volume * height
        places = [*places, np.array([-shell, shell, height - shell, height + shell])]
        field = np.pad(field, [(1, 1), (2, 2), (2, 2)])
        field[:, 1:-1, 1:-1] = np.pad(field[:, 2:-2, 2:-2], [(0, 0), (1, 1), (1, 1)], mode="edge")
    else:
        field = np.pad(np.pad(field, 1, mode="edge"), 1)
    if level is not None:
        return _cut(field, places, level)
    return _preserving(field, places, volume)


def _places(shape: tuple[int, ...], spacing: tuple[float, ...]) -> list[Array]:
    """Coordinates of the padded samples along each axis: void, boundary, centres, boundary, void."""
    axes = []
    for n, h in zip(shape, spacing, strict=True):
        shell = 0.5 * _SHELL * h
        axes.append(np.r_[-shell, shell, h * (np.arange(n) + 0.5), n * h - shell, n * h + shell])
    return axes


def _preserving(field: Array, places: list[Array], volume: float) -> Surface:
    # Close to the largest density nothing is left, close to void everything; in between the volume falls.
    low, high = 1e-6 * field.max(), (1.0 - 1e-6) * field.max()

    def excess(level: float) -> float:
        return _cut(field, places, level).volume / volume - 1.0

    level = brentq(excess, low, high, xtol=1e-6) if excess(low) > 0.0 > excess(high) else high
    return _cut(field, places, level)


def _cut(field: Array, places: list[Array], level: float) -> Surface:
    from skimage.measure import marching_cubes

    nudge = _NUDGE * max(1.0, max(field.shape) / 200)
    near = np.abs(field - level) < nudge
    field = np.where(near, np.where(field >= level, level + nudge, level - nudge), field)
    # Of the two methods offered this one never lets more than two triangles share an edge.
    with warnings.catch_warnings():
        # scikit-image 0.26 assigns to ndarray.shape, which NumPy 2.5 deprecates.
        warnings.simplefilter("ignore", DeprecationWarning)
        corners, triangles, _, _ = marching_cubes(field, level, method="lorensen")
    # Each corner is on one of the lines between the samples, along the only axis where it is at no whole number.
    whole = np.floor(corners)
    corners = np.where(corners > whole, whole + np.clip(corners - whole, _APART, 1.0 - _APART), corners)
    along = [np.interp(corners[:, 2 - axis], np.arange(len(at)), at) for axis, at in enumerate(places)]
    found = Surface(np.stack(along, axis=1), triangles.astype(np.int64))
    return found if found.volume > 0.0 else Surface(found.points, found.triangles[:, ::-1])
