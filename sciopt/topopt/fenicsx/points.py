"""The node and the cells at a point, the same on any number of ranks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sciopt.core.errors import InputError
from sciopt.core.types import Mask
from sciopt.topopt.fenicsx.loaded import MPI, dolfinx

if TYPE_CHECKING:
    from sciopt.topopt.fenicsx.nodes import Nodes

__all__ = ["cells_at", "nearest_node"]


def nearest_node(nodes: Nodes, point: tuple[float, ...], field: str) -> Mask:
    """(local,) the node nearest to a point; of several as near, the one with the largest x, then y, then z.

    Parameters
    ----------
    nodes
        Of the mesh.
    point
        One coordinate per axis.
    field
        What it is for; begins the error.

    Raises
    ------
    InputError
        When the nearest node is farther away than any cell is wide: the point lies outside.
    """
    own = nodes.x[: nodes.owned]
    away = np.linalg.norm(own - np.array(point), axis=1)
    least = float(nodes.comm.allreduce(float(away.min(initial=np.inf)), MPI.MIN))
    corners = nodes.x[nodes.cells]
    widths = np.linalg.norm(np.ptp(corners, axis=1), axis=1)
    widest = float(nodes.comm.allreduce(float(widths.max(initial=0.0)), MPI.MAX))
    if least > widest:
        raise InputError(f"{field}: the point {point} lies outside the mesh, whose nearest node is {least:.4g} away")
    near = np.flatnonzero(away <= least + nodes.slack)
    # Coordinates decide, then the order in the input: neither depends on the number of ranks.
    keys = [(*map(float, own[i]), int(nodes.input[i])) for i in near]
    first = max(key for key in nodes.comm.allgather(max(keys, default=None)) if key is not None)
    return (nodes.x == np.array(first[:-1])).all(axis=1) & (nodes.input == first[-1])


def cells_at(nodes: Nodes, point: tuple[float, ...]) -> Mask:
    """(cells,) those of this rank that the point lies in, all of them where it lies on their boundary."""
    found = np.zeros(nodes.owned_cells, dtype=bool)
    if nodes.owned_cells:
        cells = np.arange(nodes.owned_cells, dtype=np.int32)
        tree = dolfinx.geometry.bb_tree(nodes.mesh, nodes.dim, entities=cells, padding=nodes.slack)
        at = np.zeros((1, 3))
        at[0, : nodes.dim] = point
        candidates = dolfinx.geometry.compute_collisions_points(tree, at)
        found[dolfinx.geometry.compute_colliding_cells(nodes.mesh, candidates, at).array] = True
    return found
