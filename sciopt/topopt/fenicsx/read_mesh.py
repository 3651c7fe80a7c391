"""Meshes from files and from Gmsh: read on one rank, shared out by dolfinx."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sciopt.core.errors import InputError
from sciopt.topopt.fenicsx.agree import together
from sciopt.topopt.fenicsx.gmsh_model import mesh_of_model, mesh_of_step
from sciopt.topopt.fenicsx.groups import Group, Groups, groups_of_tags
from sciopt.topopt.fenicsx.loaded import MPI, basix, dolfinx
from sciopt.topopt.fenicsx.msh import read_msh
from sciopt.topopt.fenicsx.raw_mesh import PreparedMesh, RawMesh, prepared

__all__ = ["MESH_FILES", "GroupedMesh", "mesh_from_model", "read_mesh"]

MESH_FILES = (".msh", ".xdmf", ".step", ".stp")


class GroupedMesh(NamedTuple):
    """A dolfinx mesh and its physical groups."""

    mesh: Any
    groups: Groups


def read_mesh(path: Path, comm: Any = None, size: float | None = None) -> GroupedMesh:
    """The mesh in a file.

    Parameters
    ----------
    path
        A .msh file of Gmsh; an .xdmf file as dolfinx writes it, mesh tags included; or a .step file, which Gmsh meshes.
    comm
        Communicator of the mesh; all ranks by default.
    size
        Edge length of cells, for .step files.

    Raises
    ------
    InputError
        On all ranks, for what cannot be read or is no mesh of one kind of first-order cells.
    """
    comm = MPI.COMM_WORLD if comm is None else comm
    kind = path.suffix.lower()
    if kind not in MESH_FILES:
        raise InputError(f"{path}: expected a mesh, {', '.join(MESH_FILES[:-1])}")
    if (size is not None) is not (kind in (".step", ".stp")):
        raise InputError(
            f"{path}: size, the edge length of cells, {'is missing' if size is None else 'is for .step files only'}"
        )
    if kind == ".xdmf":
        return _read_xdmf(path, comm)
    return _shared_out(comm, lambda: read_msh(path) if size is None else mesh_of_step(path, size), f"{path}: ")


def mesh_from_model(model: Any, comm: Any = None) -> GroupedMesh:
    """The mesh of a live Gmsh model that rank 0 holds; see `sciopt.topopt.fenicsx.gmsh_model`."""
    return _shared_out(MPI.COMM_WORLD if comm is None else comm, lambda: mesh_of_model(model), "the model: ")


def _shared_out(comm: Any, raw: Callable[[], RawMesh], begin: str) -> GroupedMesh:
    ready: PreparedMesh | None = None
    with together(comm):
        if comm.rank == 0:
            made = raw()
            try:
                ready = prepared(made)
            except InputError as error:
                raise InputError(f"{begin}{error}") from None
    common: Any = None
    if ready is not None:
        widths = {dim: rows.shape[1] for dim, (rows, _) in ready.marked.items()}
        shapes = (ready.cells.shape[1], ready.points.shape[1])
        common = (ready.cell, shapes, widths, ready.memberships, dict(ready.names))
    cell, (corners, dim), widths, memberships, names = comm.bcast(common)
    element: Any = basix.ufl.element("Lagrange", cell, 1, shape=(dim,))
    partitioner: Any = dolfinx.mesh.create_cell_partitioner
    mesh = dolfinx.mesh.create_mesh(
        comm,
        np.zeros((0, corners), dtype=np.int64) if ready is None else ready.cells,
        element,
        np.zeros((0, dim)) if ready is None else ready.points,
        partitioner(dolfinx.mesh.GhostMode.shared_facet, 2),
    )
    found: dict[tuple[int, int], Any] = {key: np.zeros(0, dtype=np.int64) for key in names}
    for d, width in widths.items():
        rows, sets = np.zeros((0, width), dtype=np.int64), np.zeros(0, dtype=np.int32)
        if ready is not None:
            rows, sets = ready.marked[d]
        indices, values = _local(mesh, d, rows, sets)
        for key in found:
            if key[0] == d:
                of = [number for number, membership in enumerate(memberships) if key in membership]
                found[key] = indices[np.isin(values, of)]
    groups = tuple(Group(d, tag, names[d, tag], members) for (d, tag), members in found.items())
    return GroupedMesh(mesh, Groups(dim, groups))


def _local(mesh: Any, dim: int, corners: Any, values: Any) -> tuple[Any, Any]:
    """Local indices of entities that are given by their corners in the input, and their values."""
    mesh.topology.create_entities(dim)
    mesh.topology.create_connectivity(dim, 0)
    mesh.topology.create_connectivity(dim, mesh.topology.dim)
    rows, sets = dolfinx.io.utils.distribute_entity_data(mesh, dim, np.ascontiguousarray(corners), values)
    tags = dolfinx.mesh.meshtags_from_entities(mesh, dim, dolfinx.graph.adjacencylist(rows), sets)
    return np.asarray(tags.indices, dtype=np.int64), np.asarray(tags.values)


def _read_xdmf(path: Path, comm: Any) -> GroupedMesh:
    """The first grid with a geometry of its own, and mesh tags of its cells, facets, edges and points."""
    plan: Any = None
    with together(comm):
        if comm.rank == 0:
            plan = _grids_of(path)
    name, others = comm.bcast(plan)
    try:
        with dolfinx.io.XDMFFile(comm, path, "r") as file:
            mesh = file.read_mesh(name=name)
            for dim in range(mesh.topology.dim):
                mesh.topology.create_entities(dim)
                mesh.topology.create_connectivity(dim, mesh.topology.dim)
            tags = [file.read_meshtags(mesh, name=other) for other in others]
    except RuntimeError as error:
        raise InputError(f"{path} cannot be read by dolfinx: {' '.join(str(error).split())}") from error
    by_dim: dict[int, Any] = {}
    for one in tags:
        by_dim.setdefault(one.dim, one)
    return GroupedMesh(mesh, groups_of_tags(mesh.topology.dim, by_dim, None))


def _grids_of(path: Path) -> tuple[str, list[str]]:
    """Names of the mesh and of the tags in an .xdmf file."""
    if not path.exists():
        raise InputError(f"there is no file {path}")
    try:
        grids = list(ElementTree.parse(path).iter("Grid"))
    except ElementTree.ParseError as error:
        raise InputError(f"{path} is no .xdmf file: {error}") from None
    names = [grid.get("Name", "") for grid in grids]
    meshes = [name for grid, name in zip(grids, names, strict=True) if grid.find("Geometry/DataItem") is not None]
    if not meshes:
        raise InputError(f"{path}: it holds no mesh; write one with dolfinx's XDMFFile.write_mesh")
    marked = [
        name
        for grid, name in zip(grids, names, strict=True)
        if name != meshes[0] and grid.find("Topology/DataItem") is not None and grid.find("Attribute") is not None
    ]
    return meshes[0], marked
