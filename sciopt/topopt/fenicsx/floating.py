"""Parts of a mesh that can move without resistance, found on one rank without assembling anything.

Cells that share a facet move as one rigid body when nothing is strained; bodies that share nodes only are hinged there.
See `sciopt.topopt.rigid`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from sciopt.core.types import Array, Mask
from sciopt.topopt.fenicsx.shares import corner_shares
from sciopt.topopt.rigid import Joints, free_body, free_motion_of_one

__all__ = ["Material", "Motion", "free_motion", "parts"]

Indices = NDArray[np.int64]

# Corners of the facets of a cell, by the number of its corners and its dimension.
_FACETS = {
    (3, 2): tuple(combinations(range(3), 2)),
    (4, 3): tuple(combinations(range(4), 3)),
    (4, 2): ((0, 1), (0, 2), (1, 3), (2, 3)),
    (8, 3): ((0, 1, 2, 3), (4, 5, 6, 7), (0, 1, 4, 5), (2, 3, 6, 7), (0, 2, 4, 6), (1, 3, 5, 7)),
}


@dataclass(frozen=True, eq=False)
class Material:
    """All cells that may hold material, wherever they are.

    Parameters
    ----------
    cells
        (m, corners) nodes.
    points
        (n, dim) coordinates of all nodes.
    held
        (n, c) supported or sprung components.
    loaded
        (n,) nodes with loads.
    """

    cells: Indices
    points: Array
    held: Mask
    loaded: Mask


class Motion(NamedTuple):
    """A motion without strain: its name, and where what moves is."""

    name: str
    at: tuple[float, ...]


def parts(material: Material) -> Iterator[Indices]:
    """The cells (indices) of every connected part, those first that come first; single nodes connect."""
    many, corners = material.cells.shape
    rows = np.repeat(np.arange(many), corners)
    columns = many + material.cells.ravel()
    graph = coo_array((np.ones(rows.size, dtype=np.int8), (rows, columns)), shape=(many + len(material.points),) * 2)
    _, labels = connected_components(graph.tocsr(), directed=False)
    _, first, numbers = np.unique(labels[:many], return_index=True, return_inverse=True)
    order = np.argsort(numbers, kind="stable")
    pieces = np.split(order, np.cumsum(np.bincount(numbers))[:-1])
    return iter([pieces[number] for number in np.argsort(first)])


def middle(material: Material, cells: Indices) -> tuple[float, ...]:
    """Mean of the middles of cells."""
    return tuple(map(float, material.points[material.cells[cells]].mean(axis=(0, 1))))


def free_motion(material: Material, part: Indices) -> Motion | None:
    """A motion that neither strains the part nor is hindered by its supports and springs, or None.

    Parameters
    ----------
    material
        Supports and springs of either size count the same.
    part
        One of `parts`.
    """
    cells = material.cells[part]
    nodes = np.unique(cells)
    held = material.held[nodes]
    dim = material.points.shape[1]
    if held.shape[1] < dim:
        return None if held.any() else Motion("its temperature", middle(material, part))
    which, component = np.nonzero(held)
    points = material.points[nodes[which]]
    whole = free_motion_of_one(points, component)
    if whole is not None:
        return Motion(whole, middle(material, part))
    bodies, count = _bodies(cells, dim)
    if count == 1:
        return None
    volumes = corner_shares(material.points[cells], dim).sum(axis=1)
    middles = material.points[cells].mean(axis=1)
    many = np.bincount(bodies, minlength=count)
    centres = np.stack([np.bincount(bodies, x, minlength=count) / many for x in middles.T], axis=1)
    sizes = np.bincount(bodies, volumes, minlength=count) ** (1.0 / dim)
    # Every node with every body it belongs to, by node.
    pairs = np.unique(np.stack([cells.ravel(), np.repeat(bodies, cells.shape[1])], axis=1), axis=0)
    shared = np.flatnonzero(pairs[1:, 0] == pairs[:-1, 0])
    joints = Joints(material.points[pairs[shared, 0]], pairs[shared, 1], pairs[shared + 1, 1])
    last = np.searchsorted(pairs[:, 0], nodes[which], side="right") - 1
    loose = free_body(centres, sizes, joints, points, component, pairs[last, 1])
    if loose is None:
        return None
    return Motion("turning about the single nodes or edges it hangs on", middle(material, part[bodies == loose]))


def _bodies(cells: Indices, dim: int) -> tuple[Indices, int]:
    """The number of the rigid body each cell belongs to, and how many there are."""
    facets = _FACETS[cells.shape[1], dim]
    rows = np.sort(np.concatenate([cells[:, list(facet)] for facet in facets]), axis=1)
    owner = np.tile(np.arange(len(cells)), len(facets))
    order = np.lexsort(rows.T)
    same = (rows[order][1:] == rows[order][:-1]).all(axis=1)
    links = (owner[order][1:][same], owner[order][:-1][same])
    graph = coo_array((np.ones(same.sum(), dtype=np.int8), links), shape=(len(cells),) * 2)
    count, labels = connected_components(graph.tocsr(), directed=False)
    return labels.astype(np.int64), int(count)
