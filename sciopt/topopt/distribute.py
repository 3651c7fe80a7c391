"""How a total force, heat or stiffness is shared by the nodes of a region."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from sciopt.core.errors import InputError
from sciopt.core.types import Array, Mask
from sciopt.topopt.lattice import Lattice
from sciopt.topopt.regions import Region, element_mask, select_nodes

__all__ = ["SPREADS", "shares"]

SPREADS = ("consistent", "equal")


def shares(where: Region, lattice: Lattice, spread: str = "consistent", field: str = "where") -> Array:
    """What part of a total each node gets; the parts sum to one.

    ``"consistent"`` is what a uniform density does to (multi)linear elements: every element, face or edge gives equal
    parts of its volume, area or length to its corners. Nodes that make up whole elements are loaded as a body,
    otherwise those that make up faces as a surface, otherwise those that make up edges as a line, whose two ends get
    half of what the others get. What makes up neither is loaded as points: all nodes alike. A mask of elements is a
    body. ``"equal"`` gives all nodes alike in any case, as the educational codes do.

    Parameters
    ----------
    where
        A region, see `sciopt.topopt.regions`.
    lattice
        The grid.
    spread
        ``"consistent"`` or ``"equal"``.
    field
        What the region is for; begins every error.

    Returns
    -------
    Array
        (*nodes) parts, at least zero.

    Examples
    --------
    >>> shares("left", Lattice((2, 2), (1.0, 1.0)))[:, 0]
    array([0.25, 0.5 , 0.25])
    """
    if spread not in SPREADS:
        raise InputError(f"{field}: spread is {spread!r}; expected {' or '.join(map(repr, SPREADS))}")
    chosen = select_nodes(where, lattice, field)
    if spread == "equal":
        return chosen / chosen.sum()
    body = element_mask(where, lattice)
    if body is not None:
        return _to_corners(body, lattice, tuple(range(lattice.dim)))
    for dim in range(lattice.dim, 0, -1):
        found = np.zeros(lattice.nodes)
        for axes in combinations(range(lattice.dim), dim):
            measure = float(np.prod([lattice.spacing[lattice.dim - 1 - axis] for axis in axes]))
            found += measure * _to_corners(_cells_of(chosen, axes), lattice, axes, normalize=False)
        if (found > 0.0)[chosen].all():
            return found / found.sum()
    return chosen / chosen.sum()


def _cells_of(chosen: Mask, axes: tuple[int, ...]) -> Mask:
    """Cells spanned by these array axes all of whose corners are chosen, by their lowest corner."""
    for axis in axes:
        moved = np.moveaxis(chosen, axis, 0)
        chosen = np.moveaxis(moved[:-1] & moved[1:], 0, axis)
    return chosen


def _to_corners(cells: Mask, lattice: Lattice, axes: tuple[int, ...], normalize: bool = True) -> Array:
    """Equal parts of every marked cell to its corners (*nodes)."""
    found = cells.astype(float)
    for axis in axes:
        wider = [(0, 0)] * lattice.dim
        wider[axis] = (1, 1)
        padded = np.moveaxis(np.pad(found, wider), axis, 0)
        found = np.moveaxis(0.5 * (padded[:-1] + padded[1:]), 0, axis)
    return found / found.sum() if normalize else found
