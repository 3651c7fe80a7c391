"""The whole mesh on the first rank, for files and pictures, the same whatever the number of ranks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sciopt.core.errors import ShapeError
from sciopt.topopt.fenicsx.agree import together
from sciopt.topopt.fenicsx.gather import gather, in_place_order
from sciopt.topopt.fenicsx.loaded import dolfinx

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sciopt.core.types import Array
    from sciopt.topopt.fenicsx.structure import MeshStructure

__all__ = ["WholeMesh", "nodal_function", "whole_mesh"]


@dataclass(frozen=True, eq=False)
class WholeMesh:
    """Points, cells and fields of all ranks.

    Parameters
    ----------
    kind
        triangle, quadrilateral, tetrahedron or hexahedron.
    points
        (points, dim) coordinates, sorted like those of a grid.
    cells
        (elements, corners) numbers of points; in quadrilaterals and hexahedra row by row, as dolfinx has them.
    input
        (elements,) number of each cell in the input, counted from 0.
    nodal
        By name: (points, components).
    """

    kind: str
    points: Array
    cells: NDArray[np.int64]
    input: NDArray[np.int64]
    nodal: dict[str, Array]

    @property
    def dim(self) -> int:
        """2 or 3."""
        return self.points.shape[1]


def whole_mesh(structure: MeshStructure, nodal: Mapping[str, Array] | None = None) -> WholeMesh | None:
    """The mesh on the first rank, with cells in the order of `gather`; None on the others.

    Parameters
    ----------
    structure
        Of the mesh.
    nodal
        By name: (unknowns,) nodal fields of this rank.
    """
    mesh, comm, count = structure.mesh, structure.comm, structure.cells
    points = np.asarray(mesh.geometry.dofmaps[0])[:count]
    numbers = mesh.geometry.index_map().local_to_global(points.ravel().astype(np.int32)).reshape(points.shape)
    cells = gather(structure, np.ascontiguousarray(numbers.T))
    original = gather(structure, np.asarray(mesh.topology.original_cell_index[:count], dtype=np.int64))
    own, first = np.unique(numbers.ravel(), return_index=True)
    dofs = np.asarray(structure.space.dofmap.list)[:count].ravel()[first]
    components = structure.space.dofmap.index_map_bs
    fields = {
        name: nodal_function(structure, values).x.array.reshape(-1, components)[dofs]
        for name, values in (nodal or {}).items()
    }
    parts = comm.gather((own, mesh.geometry.x[points.ravel()[first], : structure.dim], fields))
    if parts is None:
        return None
    assert cells is not None and original is not None  # this is the first rank
    known, where = np.unique(np.concatenate([numbers for numbers, _, _ in parts]), return_index=True)
    x = np.concatenate([x for _, x, _ in parts])[where]
    place = in_place_order(x)
    rank = np.empty_like(place)
    rank[place] = np.arange(len(place))
    return WholeMesh(
        kind=mesh.topology.cell_type.name,
        points=x[place],
        cells=rank[np.searchsorted(known, cells.T)],
        input=original,
        nodal={name: np.concatenate([part[name] for _, _, part in parts])[where][place] for name in fields},
    )


def nodal_function(structure: MeshStructure, values: Array, name: str = "f") -> Any:
    """A dolfinx Function with the values (unknowns,), those of neighbouring ranks included.

    Raises
    ------
    ShapeError
        On all ranks, for another shape on any.
    """
    with together(structure.comm):
        if np.shape(values) != (structure.unknowns,):
            raise ShapeError(
                f"{name} has shape {np.shape(values)}; this rank owns {structure.unknowns} unknowns: "
                f"({structure.unknowns},)"
            )
    found = dolfinx.fem.Function(structure.space, name=name)
    found.x.array[: structure.unknowns] = values
    found.x.scatter_forward()
    return found
