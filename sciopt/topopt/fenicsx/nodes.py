"""The nodes of linear elements on a mesh: where they are, which cells and facets they belong to, sums over ranks."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sciopt.core.errors import InputError
from sciopt.core.types import Array, Mask
from sciopt.topopt.fenicsx.loaded import MPI, dolfinx

__all__ = ["Nodes", "by_unknown", "function_space"]

Indices = NDArray[np.int64]


def function_space(mesh: Any, components: int) -> Any:
    """Linear Lagrange elements: vectors of that many components, or a scalar for one.

    Raises
    ------
    InputError
        For meshes of other cells than triangles, quadrilaterals, tetrahedra and hexahedra with straight edges, and for
        surfaces in space.
    """
    topology, geometry = mesh.topology, mesh.geometry
    cell = topology.cell_name() if hasattr(topology, "cell_name") else topology.cell_type.name
    if cell not in ("triangle", "quadrilateral", "tetrahedron", "hexahedron"):
        raise InputError(f"mesh: its cells are {cell}s; expected triangles, quadrilaterals, tetrahedra or hexahedra")
    if geometry.dim != topology.dim:
        raise InputError(
            f"mesh: its {cell}s are in {geometry.dim} dimensions; expected a plane mesh with two coordinates, or solids"
        )
    degree = geometry.cmaps[0].degree
    if degree != 1:
        raise InputError(f"mesh: its cells are curved, of order {degree}; expected first-order cells")
    shape = () if components == 1 else (components,)
    return dolfinx.fem.functionspace(mesh, ("Lagrange", 1, shape))


class Nodes:
    """Nodes of a space of linear Lagrange elements, in the numbering of its degrees of freedom.

    Arrays over nodes come in two lengths: ``owned``, those of this rank, and ``local``, with copies of neighbours'.

    Parameters
    ----------
    space
        See `function_space`.
    """

    def __init__(self, space: Any) -> None:
        self.space, self.mesh, self.comm = space, space.mesh, space.mesh.comm
        topology, geometry = self.mesh.topology, self.mesh.geometry
        self.dim = int(topology.dim)
        self._map = space.dofmap.index_map
        self.owned = int(self._map.size_local)
        self.local = self.owned + int(self._map.num_ghosts)
        self.owned_cells = int(topology.index_map(self.dim).size_local)
        dofs = np.asarray(space.dofmap.list, dtype=np.int64)
        # All of them with ghosts; degrees of freedom, points and vertices of a linear cell come in the same order.
        self._of_vertex = np.zeros(
            len(dofs) and int(topology.connectivity(self.dim, 0).array.max()) + 1, dtype=np.int64
        )
        self._of_vertex[topology.connectivity(self.dim, 0).array] = dofs.ravel()
        self.cells = dofs[: self.owned_cells]
        points = np.asarray(geometry.dofmaps[0]).ravel()
        self.x = np.zeros((self.local, self.dim))
        self.x[dofs.ravel()] = geometry.x[points, : self.dim]
        self.input = np.zeros(self.local, dtype=np.int64)
        self.input[dofs.ravel()] = geometry.input_global_indices[points]

    @cached_property
    def box(self) -> tuple[Array, Array]:
        """Least and largest coordinates (dim,) of the mesh."""
        return self.extremes(self.x)

    @cached_property
    def slack(self) -> float:
        """Coordinates closer than this are the same: rounding, relative to the size of the mesh."""
        low, high = self.box
        return 1e-7 * float(np.linalg.norm(high - low))

    @cached_property
    def centres(self) -> Array:
        """(cells, dim) mean of the corners of every cell of this rank."""
        return self.x[self.cells].mean(axis=1)

    def extremes(self, x: Array) -> tuple[Array, Array]:
        """Least and largest coordinates (dim,) of points (many, dim) over all ranks."""
        low, high = x.min(axis=0, initial=np.inf), x.max(axis=0, initial=-np.inf)
        self.comm.Allreduce(MPI.IN_PLACE, low, MPI.MIN)
        self.comm.Allreduce(MPI.IN_PLACE, high, MPI.MAX)
        return low, high

    def total(self, part: float | np.integer[Any]) -> float:
        """Sum over all ranks."""
        return float(self.comm.allreduce(float(part)))

    def gathered(self, values: Array) -> Array:
        """(owned,) sums over all ranks of what each has at its (local,) nodes."""
        vector = dolfinx.la.vector(self._map)
        vector.array[:] = values
        vector.scatter_reverse(dolfinx.la.InsertMode.add)
        return np.array(vector.array[: self.owned])

    def copied(self, values: Array) -> Array:
        """(local,) values: those of the owners (owned,) on every rank that has the node."""
        vector = dolfinx.la.vector(self._map)
        vector.array[: self.owned] = values
        vector.scatter_forward()
        return np.array(vector.array)

    def marked(self, mask: Mask) -> Mask:
        """(local,) nodes that are marked on any rank that has them."""
        return self.copied(self.gathered(mask.astype(float))) > 0.0

    def touching(self, cells: Mask) -> Mask:
        """(local,) nodes that are a corner of at least one of the cells marked in (cells,), on any rank."""
        found = np.zeros(self.local, dtype=bool)
        found[self.cells[cells]] = True
        return self.marked(found)

    def entities(self, dim: int) -> int:
        """Number of this rank's entities of a dimension: edges, facets or cells. All ranks must ask."""
        topology = self.mesh.topology
        topology.create_entities(dim)
        topology.create_connectivity(dim, 0)
        if dim < self.dim:
            topology.create_connectivity(dim, self.dim)
        return int(topology.index_map(dim).size_local)

    def corners(self, dim: int, entities: Indices) -> Indices:
        """(m, corners) nodes of entities (m,), whose dimension must have been asked for by `entities`."""
        if dim == 0:
            return self._of_vertex[entities][:, None]
        links = self.mesh.topology.connectivity(dim, 0)
        width = int(links.offsets[1] - links.offsets[0]) if len(links.offsets) > 1 else 1
        return self._of_vertex[np.asarray(links.array).reshape(-1, width)[entities]]

    def boundary(self) -> Indices:
        """Facets of this rank that belong to one cell only."""
        self.entities(self.dim - 1)
        return np.asarray(dolfinx.mesh.exterior_facet_indices(self.mesh.topology), dtype=np.int64)

    def owned_entities(self, dim: int, marked: Indices) -> Indices:
        """Entities of this rank among those that any rank has marked."""
        many = self.entities(dim)
        vector = dolfinx.la.vector(self.mesh.topology.index_map(dim))
        vector.array[marked] = 1.0
        vector.scatter_reverse(dolfinx.la.InsertMode.add)
        return np.flatnonzero(vector.array[:many] > 0.0)

    def beside(self, dim: int, entities: Indices) -> Mask:
        """(cells,) of this rank that have one of the entities (this rank's), whoever marked it."""
        if dim == self.dim:
            found = np.zeros(self.owned_cells, dtype=bool)
            found[entities] = True
            return found
        self.entities(dim)
        topology = self.mesh.topology
        topology.create_connectivity(self.dim, dim)
        vector = dolfinx.la.vector(topology.index_map(dim))
        vector.array[entities] = 1.0
        vector.scatter_forward()
        links = topology.connectivity(self.dim, dim)
        parts = np.asarray(links.array)[: links.offsets[self.owned_cells]].reshape(self.owned_cells, -1)
        return (vector.array[parts] > 0.0).any(axis=1) if self.owned_cells else np.zeros(0, dtype=bool)


def by_unknown(nodal: Any) -> Any:
    """Unknowns (…, c nodes), node by node, of an array (…, c, nodes)."""
    *leading, components, nodes = nodal.shape
    return np.ascontiguousarray(np.moveaxis(nodal, -2, -1)).reshape(*leading, components * nodes)
