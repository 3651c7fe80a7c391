"""A structure on a grid as one on a dolfinx mesh of the same elements, number for number."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sciopt.topopt.fenicsx.loaded import MPI, basix, dolfinx
from sciopt.topopt.fenicsx.nodes import Nodes, by_unknown, function_space
from sciopt.topopt.fenicsx.structure import MeshStructure
from sciopt.topopt.lattice import Lattice
from sciopt.topopt.structure import Structure

__all__ = ["mesh_source"]


def mesh_source(structure: Structure, comm: Any = None) -> MeshStructure:
    """The same elements, supports, loads, springs and passive regions on quadrilaterals or hexahedra.

    Cells and nodes of the mesh keep the numbers of the grid as their numbers in the input (``original_cell_index``,
    ``input_global_indices``), so nothing depends on the rounding of coordinates.

    Parameters
    ----------
    structure
        The same on all ranks.
    comm
        Communicator of the mesh; all ranks by default.

    Returns
    -------
    MeshStructure

    Examples
    --------
    >>> from sciopt.topopt.builder import Grid
    >>> grid = Grid(6, 2).fix("left").load((6, 1), (0, -1)).structure()
    >>> mesh_source(grid).total(mesh_source(grid).loads.sum(axis=1))
    array([-1.])
    """
    comm = MPI.COMM_WORLD if comm is None else comm
    mesh = _mesh(structure.lattice, comm)
    components = structure.physics.components(structure.dim)
    nodes = Nodes(function_space(mesh, components))
    element = mesh.topology.original_cell_index[: nodes.owned_cells]
    node = nodes.input[: nodes.owned]

    def nodal(values: Any) -> Any:
        """(…, unknowns) of (…, c, *nodes)."""
        leading = values.shape[: values.ndim - 1 - structure.dim]
        flat = values.reshape(*leading, components, int(np.prod(structure.lattice.nodes)))
        return by_unknown(flat[..., node])

    return MeshStructure(
        space=nodes.space,
        physics=structure.physics,
        material=structure.material[element],
        solid=structure.solid[element],
        fixed=nodal(structure.fixed),
        loads=nodal(structure.loads),
        weights=structure.weights,
        springs=nodal(structure.springs),
        outputs=None if structure.outputs is None else nodal(structure.outputs),
        supports=nodal(structure.supports),
    )


def _mesh(lattice: Lattice, comm: Any) -> Any:
    """Every rank makes its share of the elements and nodes, in the order of the grid."""
    shape: Any = element_corners(lattice, _slab(lattice.elements, comm))
    own = _slab(int(np.prod(lattice.nodes)), comm)
    index = np.unravel_index(own, lattice.nodes)[::-1]
    points = np.stack([i * h for i, h in zip(index, lattice.spacing, strict=True)], axis=1)
    cell = "quadrilateral" if lattice.dim == 2 else "hexahedron"
    element: Any = basix.ufl.element("Lagrange", cell, 1, shape=(lattice.dim,))
    partitioner: Any = dolfinx.mesh.create_cell_partitioner
    return dolfinx.mesh.create_mesh(comm, shape, element, points, partitioner(dolfinx.mesh.GhostMode.shared_facet, 2))


def element_corners(lattice: Lattice, elements: NDArray[np.int64]) -> NDArray[np.int64]:
    """Flat node numbers (m, 2^d) of the corners of elements (m,), x fastest in both."""
    strides = np.cumprod([1, *(n + 1 for n in lattice.shape[:-1])])
    index = np.unravel_index(elements, lattice.cells)[::-1]
    lowest = sum(
        (i * stride for i, stride in zip(index, strides, strict=True)), np.zeros(len(elements), dtype=np.int64)
    )
    offsets = np.zeros(1, dtype=np.int64)
    for stride in strides:
        offsets = np.concatenate([offsets, offsets + stride])
    return lowest[:, None] + offsets


def _slab(many: int, comm: Any) -> NDArray[np.int64]:
    """The share of a rank of numbers from 0."""
    return np.arange(many * comm.rank // comm.size, many * (comm.rank + 1) // comm.size, dtype=np.int64)
