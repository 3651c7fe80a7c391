"""A mesh as it comes from a file or from Gmsh, and what of it can be used: one kind of first-order cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sciopt.core.errors import InputError
from sciopt.core.types import Array

__all__ = ["KINDS", "Block", "Indices", "Kind", "PreparedMesh", "RawMesh", "indices_of", "prepared", "refuse_element"]

Indices = NDArray[np.int64]

# Coordinates of a plane mesh may differ by this from one plane, relative to the size of the mesh.
_PLANE = 1e-9


class Kind(NamedTuple):
    """A kind of first-order element: its name, dimension, number of corners, and dolfinx's name and order of them."""

    name: str
    dim: int
    corners: int
    cell: str | None = None
    order: Sequence[int] = ()


KINDS: Mapping[int, Kind] = {
    15: Kind("points", 0, 1),
    1: Kind("lines", 1, 2),
    2: Kind("triangles", 2, 3, "triangle", (0, 1, 2)),
    3: Kind("quadrilaterals", 2, 4, "quadrilateral", (0, 1, 3, 2)),
    4: Kind("tetrahedra", 3, 4, "tetrahedron", (0, 1, 2, 3)),
    5: Kind("hexahedra", 3, 8, "hexahedron", (0, 1, 3, 2, 4, 5, 7, 6)),
    6: Kind("prisms", 3, 6),
    7: Kind("pyramids", 3, 5),
}
"""Gmsh's numbers of element types. Corners of quadrilaterals and hexahedra go around there, row by row in dolfinx."""


class Block(NamedTuple):
    """Elements (m, corners) of one kind, as indices of points, and the physical groups (tags) all of them are in."""

    kind: int
    corners: Indices
    groups: tuple[int, ...]


class RawMesh(NamedTuple):
    """Points (n, 3), elements, and the names of physical groups by (dimension, tag)."""

    points: Array
    blocks: list[Block]
    names: Mapping[tuple[int, int], str]


@dataclass(frozen=True, eq=False)
class PreparedMesh:
    """What dolfinx is given.

    Parameters
    ----------
    cell
        Name of the cells.
    points
        (n, dim) coordinates.
    cells
        (m, corners) indices of points, in dolfinx's order.
    marked
        For every dimension that has physical groups, elements (k, corners) and for each of them an index (k,) into
        `memberships`.
    memberships
        Sets of (dimension, tag) of physical groups.
    names
        Of physical groups, by (dimension, tag); empty text for those without.
    """

    cell: str
    points: Array
    cells: Indices
    marked: Mapping[int, tuple[Indices, NDArray[np.int32]]]
    memberships: list[tuple[tuple[int, int], ...]]
    names: Mapping[tuple[int, int], str]


def refuse_element(kind: int) -> None:
    """Refuse what is no first-order element.

    Raises
    ------
    InputError
        For other numbers than those of `KINDS`.
    """
    if kind not in KINDS:
        raise InputError(
            f"it holds elements of Gmsh's type {kind}, which are not of first order; mesh with Mesh.ElementOrder = 1"
        )


def indices_of(tags: Indices, known: Indices) -> Indices:
    """Indices of node `tags` of any shape among the `known` (n,) ones.

    Raises
    ------
    InputError
        For tags of nodes that are not there.
    """
    order = np.argsort(known, kind="stable")
    at = np.searchsorted(known[order], tags)
    lost = at == len(known)
    at[lost] = 0
    lost |= known[order][at] != tags if len(known) else True
    if lost.any():
        raise InputError(f"its elements name node {int(tags[lost][0])}, which is not among its {len(known)} nodes")
    return order[at]


def prepared(raw: RawMesh) -> PreparedMesh:
    """The cells of the highest dimension and the physical groups of their corners, edges, facets and of themselves.

    Nodes that no cell uses are dropped, elements that were listed once for each of their groups are united, and plane
    meshes lose their z.

    Raises
    ------
    InputError
        For what is no mesh of one kind of triangles, quadrilaterals, tetrahedra or hexahedra, in the plane or in space.
    """
    kind = _kind(raw)
    dim = kind.dim
    by_dim: dict[int, list[Block]] = {}
    for block in raw.blocks:
        by_dim.setdefault(KINDS[block.kind].dim, []).append(block)
    memberships: dict[tuple[tuple[int, int], ...], int] = {}
    cells, marks = _united(by_dim[dim], dim, memberships)
    used = np.zeros(len(raw.points), dtype=bool)
    used[cells] = True
    number = np.cumsum(used) - 1
    marked = {}
    for d, blocks in sorted(by_dim.items()):
        # Facets of one kind of cells are of one kind themselves; others belong to something that is not meshed.
        fitting = [b for b in blocks if b.groups and (d == dim or b.corners.shape[1] == _corners(kind, d))]
        if d != dim and fitting:
            rows, own = _united(fitting, d, memberships)
            there = used[rows].all(axis=1)
            marked[d] = (number[rows[there]], own[there])
        elif d == dim and fitting:
            marked[d] = (number[cells], marks)
    names = {key: name for key, name in raw.names.items() if key[0] <= dim}
    for membership in memberships:
        names |= {key: "" for key in membership if key not in names}
    return PreparedMesh(
        str(kind.cell),
        _coordinates(raw.points[used], kind),
        number[cells][:, list(kind.order)],
        marked,
        list(memberships),
        names,
    )


def _kind(raw: RawMesh) -> Kind:
    """The only kind of the elements of the highest dimension."""
    counts: dict[int, int] = {}
    for block in raw.blocks:
        counts[block.kind] = counts.get(block.kind, 0) + len(block.corners)
    present = [KINDS[kind] for kind, count in counts.items() if count]
    top = max((kind.dim for kind in present), default=-1)
    if top < 2:
        seen = f"only {' and '.join(kind.name for kind in present)}" if present else "no elements"
        raise InputError(
            f"it holds {seen}, no cells; if physical groups are named, Gmsh saves nothing else: make one of the "
            f"surface (in space, of the volume) too, or set Mesh.SaveAll = 1"
        )
    names = [f"{count} {KINDS[kind].name}" for kind, count in counts.items() if count and KINDS[kind].dim == top]
    if len(names) > 1:
        raise InputError(
            f"it mixes kinds of cells, {' and '.join(names)}; expected one kind: set Mesh.RecombineAll for all or none"
        )
    found = next(kind for kind in present if kind.dim == top)
    if found.cell is None:
        raise InputError(f"it holds {names[0]}; expected triangles, quadrilaterals, tetrahedra or hexahedra")
    return found


def _corners(kind: Kind, dim: int) -> int:
    """Number of corners of the parts of that dimension of a cell."""
    return dim + 1 if kind.corners == kind.dim + 1 else 2**dim


def _coordinates(points: Array, kind: Kind) -> Array:
    if not np.isfinite(points).all():
        raise InputError(
            f"{np.count_nonzero(~np.isfinite(points).all(axis=1))} of its nodes have no finite coordinates"
        )
    if kind.dim == 3:
        return points
    size, depth = np.ptp(points, axis=0).max(), np.ptp(points[:, 2])
    if depth > _PLANE * size:
        raise InputError(
            f"it is a surface in space: its {kind.name} reach from z = {points[:, 2].min():.4g} to "
            f"{points[:, 2].max():.4g}; expected a plane mesh with constant z, or a mesh of the volume"
        )
    return points[:, :2].copy()


def _united(
    blocks: list[Block], dim: int, memberships: dict[tuple[tuple[int, int], ...], int]
) -> tuple[Indices, NDArray[np.int32]]:
    """Every element once, in the order of their first appearance, with the index of the set of all its groups."""
    rows = np.concatenate([block.corners for block in blocks])
    # Which of the different sets of groups of blocks each row has.
    kinds: dict[tuple[int, ...], int] = {}
    own = np.concatenate([np.full(len(b.corners), kinds.setdefault(b.groups, len(kinds))) for b in blocks])
    key = np.sort(rows, axis=1)
    order = np.lexsort((np.arange(len(rows)), *key.T[::-1]))
    new = np.ones(len(rows), dtype=bool)
    new[1:] = (key[order][1:] != key[order][:-1]).any(axis=1)
    first = order[new]
    which = np.empty(len(rows), dtype=np.int64)
    which[order] = np.cumsum(new) - 1
    member = np.zeros((len(first), len(kinds)), dtype=bool)
    member[which, own] = True
    patterns, index = np.unique(member, axis=0, return_inverse=True)
    sets: list[Any] = [
        tuple(sorted({(dim, tag) for groups, has in zip(kinds, pattern, strict=True) if has for tag in groups}))
        for pattern in patterns
    ]
    numbers = np.array([memberships.setdefault(one, len(memberships)) for one in sets], dtype=np.int32)
    back = np.argsort(first)
    return rows[first[back]], numbers[index[back]]
