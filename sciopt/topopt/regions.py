"""Where supports, loads and passive material are: points, lines, blocks, balls, faces, masks and functions.

Coordinates are in units of length from the lower left (front) corner of the grid. A region selects nodes or elements:

* a point (a tuple of numbers) selects the nearest node, or the elements it lies in;
* `Line`, `Block` and `Ball` select the nodes in them, boundary included, or the elements whose centres are in them;
* the names of faces, ``"left"``, ``"right"``, ``"bottom"``, ``"top"``, ``"front"`` (z = 0) and ``"back"``, select the
  nodes on that face or the layer of elements behind it; several words, ``"top left"``, select what is on all of them;
* ``"all"`` selects everything;
* a boolean array selects what it marks: one entry per node or per element, flat with x fastest or as an array with z
  first. Marked elements stand for their corners where nodes are asked for;
* a function gets the coordinates x, y(, z) of all nodes or centres as arrays and returns a boolean array;
* a list selects everything its members select; each must select something.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sciopt.core.errors import InputError
from sciopt.core.types import Array, Mask
from sciopt.topopt.lattice import AXES, Lattice, axis_names

__all__ = ["FACES", "Ball", "Block", "Line", "Region", "element_mask", "select_elements", "select_nodes"]

# Face names by axis, low side first.
FACES = {"left": (0, 0), "right": (0, -1), "bottom": (1, 0), "top": (1, -1), "front": (2, 0), "back": (2, -1)}
# Rounding of coordinates such as 3 * 0.1, relative to an element.
_SLACK = 1e-6

Bound = float | None


@dataclass(frozen=True)
class Line:
    """The nodes next to a straight line from one node to another; both ends are snapped to nodes.

    Parameters
    ----------
    start, end
        Its ends, inside the grid.

    Examples
    --------
    >>> int(select_nodes(Line((0, 0), (3, 3)), Lattice((4, 4), (1.0, 1.0))).sum())
    4
    """

    start: Sequence[float]
    end: Sequence[float]


@dataclass(frozen=True)
class Block:
    """All between two opposite corners, ``lower <= x <= upper``.

    Parameters
    ----------
    lower, upper
        One number per axis; None leaves that side open.

    Examples
    --------
    >>> int(select_nodes(Block((1, None), (2, 1)), Lattice((4, 4), (1.0, 1.0))).sum())
    4
    """

    lower: Sequence[Bound]
    upper: Sequence[Bound]


@dataclass(frozen=True)
class Ball:
    """All within a radius about a centre, ``|x - centre| <= radius``: a disc in two dimensions.

    Parameters
    ----------
    centre
        One number per axis. None leaves an axis out of the distance: ``(8, 8, None)`` is a cylinder along z.
    radius
        In units of length.

    Examples
    --------
    >>> int(select_nodes(Ball((2, 2), 1), Lattice((4, 4), (1.0, 1.0))).sum())
    5
    """

    centre: Sequence[Bound]
    radius: float


Region = str | Sequence[Any] | NDArray[Any] | Line | Block | Ball | Callable[..., Any]


def select_nodes(where: Region, lattice: Lattice, field: str = "where") -> Mask:
    """The nodes of a region, (*nodes); see the module.

    Parameters
    ----------
    where
        The region.
    lattice
        The grid.
    field
        What the region is for; begins every error.

    Raises
    ------
    InputError
        When the region is not one, lies outside the grid, or selects nothing.
    """
    return _found(_nodes(where, lattice, field), where, "node", field)


def select_elements(where: Region, lattice: Lattice, field: str = "where") -> Mask:
    """The elements of a region, (*cells); see the module and `select_nodes`."""
    return _found(_elements(where, lattice, field), where, "element", field)


def element_mask(where: Region, lattice: Lattice) -> Mask | None:
    """The mask (*cells) if `where` is a boolean array with one entry per element, else None."""
    if isinstance(where, np.ndarray) and where.dtype == bool and where.shape in (lattice.cells, (lattice.elements,)):
        return where.reshape(lattice.cells)
    return None


def _found(mask: Mask, where: Region, what: str, field: str) -> Mask:
    if not mask.any():
        raise InputError(f"{field}: the region {_told(where)} selects no {what}; is it smaller than an element?")
    return mask


def _nodes(where: Region, lattice: Lattice, field: str) -> Mask:
    if isinstance(where, str):
        return _named(where, lattice, lattice.nodes, field)
    if isinstance(where, Line):
        return _line(where, lattice, field)
    if isinstance(where, Block | Ball):
        return _solid_shape(where, lattice, lattice.corners(), field)
    if isinstance(where, np.ndarray) and where.dtype == bool:
        marked = element_mask(where, lattice)
        return lattice.touching(marked) if marked is not None else _mask(where, lattice, "node", field)
    if callable(where):
        return _called(where, lattice.corners(), lattice.nodes, field)
    if _is_point(where):
        found = np.zeros(lattice.nodes, dtype=bool)
        found[lattice.nearest(_inside(where, lattice, field))] = True
        return found
    return _union([select_nodes(part, lattice, field) for part in _parts(where, field)])


def _elements(where: Region, lattice: Lattice, field: str) -> Mask:
    if isinstance(where, str):
        return _named(where, lattice, lattice.cells, field)
    if isinstance(where, Line):
        raise InputError(f"{field}: a line has no elements; give a Block or a Ball")
    if isinstance(where, Block | Ball):
        return _solid_shape(where, lattice, lattice.centres(), field)
    if isinstance(where, np.ndarray) and where.dtype == bool:
        return _mask(where, lattice, "element", field)
    if callable(where):
        return _called(where, lattice.centres(), lattice.cells, field)
    if _is_point(where):
        point = _inside(where, lattice, field)
        distances = [
            np.abs(c - p) <= (0.5 + _SLACK) * h
            for c, p, h in zip(lattice.centres(), point, lattice.spacing, strict=True)
        ]
        return np.logical_and.reduce(distances)
    return _union([select_elements(part, lattice, field) for part in _parts(where, field)])


def _named(where: str, lattice: Lattice, shape: tuple[int, ...], field: str) -> Mask:
    found = np.ones(shape, dtype=bool)
    if where == "all":
        return found
    known = [name for name, (axis, _) in FACES.items() if axis < lattice.dim]
    words = where.split()
    for name in words or [where]:
        if name not in known:
            raise InputError(
                f"{field}: {name!r} is no face of a {lattice.dim}D grid; known are {', '.join(known)}, all"
            )
        axis, side = FACES[name]
        layer = np.zeros(shape, dtype=bool)
        np.moveaxis(layer, lattice.dim - 1 - axis, 0)[side] = True
        found &= layer
    return found


def _line(where: Line, lattice: Lattice, field: str) -> Mask:
    start, end = (
        np.array(lattice.nearest(_inside(p, lattice, f"{field}, {name} of the line")))
        for p, name in ((where.start, "start"), (where.end, "end"))
    )
    steps = int(np.abs(end - start).max())
    found = np.zeros(lattice.nodes, dtype=bool)
    for t in range(steps + 1):
        # Integer arithmetic: the same nodes, whatever the rounding of coordinates.
        index = (2 * (start * (steps - t) + end * t) + steps) // (2 * steps) if steps else start
        found[tuple(index)] = True
    return found


def _solid_shape(where: Block | Ball, lattice: Lattice, at: tuple[Array, ...], field: str) -> Mask:
    inside = np.ones(at[0].shape, dtype=bool)
    if isinstance(where, Block):
        lower = _bounds(where.lower, lattice, f"{field}, lower corner of the block")
        upper = _bounds(where.upper, lattice, f"{field}, upper corner of the block")
        for axis, (low, high, x, h) in enumerate(zip(lower, upper, at, lattice.spacing, strict=True)):
            if low is not None and high is not None and low > high:
                raise InputError(
                    f"{field}: the block goes from {low} to {high} along {AXES[axis]}; expected lower <= upper"
                )
            if low is not None:
                inside &= x >= low - _SLACK * h
            if high is not None:
                inside &= x <= high + _SLACK * h
        return inside
    if not 0.0 < where.radius < np.inf:
        raise InputError(f"{field}: the radius of the ball is {where.radius}; expected a positive length")
    centre = _bounds(where.centre, lattice, f"{field}, centre of the ball")
    square = sum(((x - c) ** 2 for x, c in zip(at, centre, strict=True) if c is not None), np.zeros(()))
    return inside & (square <= (where.radius + _SLACK * min(lattice.spacing)) ** 2)


def _mask(where: NDArray[Any], lattice: Lattice, what: str, field: str) -> Mask:
    shape = lattice.nodes if what == "node" else lattice.cells
    if where.shape not in (shape, (int(np.prod(shape)),)):
        raise InputError(
            f"{field}: the mask has shape {where.shape}; expected one entry per {what}, "
            f"({int(np.prod(shape))},) with x fastest or {shape}"
        )
    return where.reshape(shape)


def _called(where: Callable[..., Any], at: tuple[Array, ...], shape: tuple[int, ...], field: str) -> Mask:
    answer = np.asarray(where(*at))
    if answer.dtype != bool or answer.shape != shape:
        raise InputError(
            f"{field}: the function of the coordinates returned {answer.dtype} of shape {answer.shape}; "
            f"expected booleans of shape {shape}, like its arguments"
        )
    return answer


def _is_point(where: Any) -> bool:
    if isinstance(where, np.ndarray):
        return where.ndim == 1 and where.dtype.kind in "iuf"
    numbers = (int, float, np.integer, np.floating)
    return isinstance(where, tuple | list) and len(where) > 0 and all(isinstance(w, numbers) for w in where)


def _inside(point: Any, lattice: Lattice, field: str) -> tuple[float, ...]:
    if not _is_point(point) or len(point) != lattice.dim:
        raise InputError(
            f"{field}: the point is {_told(point)}; expected {lattice.dim} coordinates ({axis_names(lattice.dim)})"
        )
    numbers = tuple(float(p) for p in point)
    if not np.isfinite(numbers).all():
        raise InputError(f"{field}: the point is {numbers}; expected finite numbers")
    if not lattice.inside(numbers):
        raise InputError(f"{field}: the point {numbers} lies outside the grid, which ends at {lattice.extent}")
    return numbers


def _bounds(given: Any, lattice: Lattice, field: str) -> tuple[Bound, ...]:
    if not isinstance(given, Sequence | np.ndarray) or isinstance(given, str) or len(given) != lattice.dim:
        raise InputError(
            f"{field} is {given!r}; expected {lattice.dim} numbers ({axis_names(lattice.dim)}), None for any"
        )
    numbers = tuple(None if g is None else float(g) for g in given)
    if any(n is not None and np.isnan(n) for n in numbers):
        raise InputError(f"{field} is {numbers}; expected numbers, or None for any")
    return numbers


def _parts(where: Any, field: str) -> Sequence[Any]:
    if not isinstance(where, list | tuple) or not where:
        raise InputError(
            f"{field}: {_told(where)} is no region; expected a point, a Line, a Block, a Ball, the name of a face, "
            f"a boolean mask, a function of the coordinates, or a list of these"
        )
    return where


def _union(masks: list[Mask]) -> Mask:
    return np.logical_or.reduce(masks)


def _told(where: Any) -> str:
    if isinstance(where, np.ndarray):
        return f"given as {where.dtype} array of shape {where.shape}"
    return f"{getattr(where, '__name__', where)!r}" if callable(where) else repr(where)
