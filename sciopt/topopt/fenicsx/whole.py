"""The whole mesh on the first rank, for files and pictures, the same whatever the number of ranks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sciopt.core.errors import ShapeError
from sciopt.topopt.fenicsx.agree import together
from sciopt.topopt.fenicsx.gather import gather, in_place_order
from sciopt.topopt.fenicsx.loaded import dolfinx
from sciopt.topopt.fenicsx.mesh_design import MeshDesign, WholeMesh

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sciopt.core.types import Array
    from sciopt.topopt.fenicsx.structure import MeshStructure

__all__ = ["nodal_function", "whole_design", "whole_mesh"]


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


def whole_design(structure: MeshStructure, density: Array) -> MeshDesign | None:
    """The densities (cells,) of all ranks and what is drawn with them, on the first rank; None on the others.

    Raises
    ------
    ShapeError
        On all ranks, when there is not one density for each cell on any.
    """
    with together(structure.comm):
        if np.shape(density) != (structure.cells,):
            raise ShapeError(f"density has shape {np.shape(density)}; this rank owns {structure.cells} cells")
    supports = structure.fixed if structure.supports is None else structure.supports
    nodal = {f"load {case}": load for case, load in enumerate(structure.loads)}
    nodal["supports"] = supports.astype(float)
    if structure.outputs is not None:
        nodal["outputs"] = structure.outputs
    mesh, spacing = whole_mesh(structure, nodal), structure.spacing
    full, material = gather(structure, density), gather(structure, structure.material)
    if mesh is None:
        return None
    assert full is not None and material is not None  # this is the first rank
    fields = mesh.nodal
    loads = np.array([fields[f"load {case}"] for case in range(len(structure.loads))])
    loads = loads.reshape(-1, *fields["supports"].shape)
    return MeshDesign(mesh, full, material, spacing, fields["supports"] > 0.0, loads, fields.get("outputs"))


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
