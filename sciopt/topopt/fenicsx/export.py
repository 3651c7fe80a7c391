"""Designs on meshes as files that other programs read. All ranks must call every function here."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sciopt.core.checkpoint import write_atomically
from sciopt.core.errors import InputError, SciOptError, ShapeError
from sciopt.topopt import export
from sciopt.topopt.fenicsx.agree import together
from sciopt.topopt.fenicsx.gather import gather
from sciopt.topopt.fenicsx.loaded import dolfinx
from sciopt.topopt.fenicsx.mesh_design import VTK, WholeMesh
from sciopt.topopt.fenicsx.ranks import Copies
from sciopt.topopt.fenicsx.surface import design_surface
from sciopt.topopt.fenicsx.whole import nodal_function, whole_design, whole_mesh

if TYPE_CHECKING:
    from sciopt.core.types import Array
    from sciopt.topopt.fenicsx.structure import MeshStructure

__all__ = ["write_npz", "write_stl", "write_vtkhdf", "write_vtu", "write_vtx", "write_xdmf"]

Fields = Mapping[str, NDArray[Any]]


def write_xdmf(file: Path, structure: MeshStructure, fields: Fields, tags: tuple[Any, ...] = ()) -> None:
    """Write mesh and fields as XDMF, for ParaView and for `dolfinx.io.XDMFFile`; the numbers go into an .h5 beside it.

    Parameters
    ----------
    file
        The file, ``.xdmf``.
    structure
        Of the mesh.
    fields
        By name: (cells,) values of cells, or (unknowns,) values of nodes, of this rank.
    tags
        Tagged cells or facets of the mesh (`dolfinx.mesh.MeshTags`).

    Raises
    ------
    ShapeError
        When a field fits neither.
    SciOptError
        When the file cannot be written.
    """
    mesh, functions = structure.mesh, _functions(structure, fields)
    with _unfinished(file, structure, ("", ".h5")) as path, dolfinx.io.XDMFFile(mesh.comm, str(path), "w") as xdmf:
        xdmf.write_mesh(mesh)
        for function in functions:
            xdmf.write_function(function)
        for one in tags:
            mesh.topology.create_connectivity(one.dim, mesh.topology.dim)
            xdmf.write_meshtags(one, mesh.geometry)


def write_vtx(folder: Path, structure: MeshStructure, fields: Fields) -> None:
    """Write mesh and fields as ADIOS2 VTX, a folder ``.bp`` that ParaView opens; see `write_xdmf`."""
    # The writer of dolfinx 0.11 overruns its memory when a function of cells comes before one of nodes.
    functions = _functions(structure, fields)[::-1]
    with _unfinished(folder, structure) as path:
        writer = dolfinx.io.VTXWriter(structure.comm, str(path), functions)
        try:
            writer.write(0.0)
        finally:
            writer.close()


def write_vtkhdf(file: Path, structure: MeshStructure, density: Array) -> None:
    """Write mesh and densities (cells,) of this rank as VTKHDF, for ParaView 5.13 and later; see `write_xdmf`."""
    with together(structure.comm):
        _fitting("density", density, (structure.cells,))
    with _unfinished(file, structure) as path:
        dolfinx.io.vtkhdf.write_mesh(str(path), structure.mesh)
        dolfinx.io.vtkhdf.write_cell_data(str(path), structure.mesh, np.asarray(density, dtype=float), 0.0)


def write_vtu(file: Path, structure: MeshStructure, fields: Fields) -> None:
    """Write mesh and fields as one VTK XML file, the same on any number of ranks; see `write_xdmf`."""
    mesh, cellwise = _whole(structure, fields)

    def write() -> None:
        assert mesh is not None  # the first rank has it
        kind, order = VTK[mesh.kind]
        points = np.pad(mesh.points, ((0, 0), (0, 3 - mesh.dim)))
        ends = mesh.cells.shape[1] * np.arange(1, len(mesh.cells) + 1)
        # VTK knows vectors in space only.
        nodal = {name: np.pad(f, ((0, 0), (0, 1 if f.shape[1] == 2 else 0))) for name, f in mesh.nodal.items()}
        lines = [
            '<?xml version="1.0"?>',
            '<VTKFile type="UnstructuredGrid" version="1.0" byte_order="LittleEndian" header_type="UInt64">',
            "<UnstructuredGrid>",
            f'<Piece NumberOfPoints="{len(points)}" NumberOfCells="{len(mesh.cells)}">',
            *("<Points>", export.data_array("points", points, 3), "</Points>"),
            "<Cells>",
            export.data_array("connectivity", mesh.cells[:, order].ravel(), 1),
            export.data_array("offsets", ends, 1),
            export.data_array("types", np.full(len(mesh.cells), kind, dtype=np.uint8), 1),
            "</Cells>",
            *("<PointData>", *(export.data_array(n, f, f.shape[1]) for n, f in nodal.items()), "</PointData>"),
            *("<CellData>", *(export.data_array(n, f, 1) for n, f in cellwise.items()), "</CellData>"),
            *("</Piece>", "</UnstructuredGrid>", "</VTKFile>", ""),
        ]
        write_atomically(file, "\n".join(lines).encode())

    Copies(structure.comm).agree(write)


def write_npz(file: Path, structure: MeshStructure, density: Array, fields: Fields) -> None:
    """Write a design (cells,) and more fields as a NumPy archive, the same on any number of ranks.

    It holds ``density`` and ``material`` (elements,), the fields, (elements,) or (points, components), ``points``
    (points, dim), ``cells`` (elements, corners) in VTK's order, ``kind``, the kind of the cells, ``centres`` and
    ``volumes`` of the cells, ``input``, the number of each cell in the mesh that was given, and what else is drawn:
    ``supports`` and ``outputs`` (points, components), ``loads`` (cases, points, components) and ``spacing``. Cells are
    sorted by their places, see `gather`.
    """
    design = whole_design(structure, density)
    mesh, cellwise = _whole(structure, fields)
    centres, volumes = gather(structure, structure.centres.T), gather(structure, structure.sizes)

    def write() -> None:
        assert design is not None and mesh is not None  # the first rank has them
        assert centres is not None and volumes is not None
        export.write_npz(file, **design.arrays(), **cellwise, **mesh.nodal, centres=centres.T, volumes=volumes)

    Copies(structure.comm).agree(write)


def write_stl(
    file: Path,
    structure: MeshStructure,
    density: Array,
    level: float | None = None,
    thickness: float | None = None,
) -> None:
    """Write the closed surface of a design (cells,) as binary STL; see `sciopt.topopt.fenicsx.surface`.

    Raises
    ------
    InputError
        On all ranks, when no density exceeds the level.
    """
    mesh, cellwise = _whole(structure, {"density": density})
    volume = float(structure.total(float(density @ structure.sizes)))

    def write() -> None:
        assert mesh is not None  # the first rank has it
        found = design_surface(mesh, cellwise["density"], level, thickness)
        depth = float(np.ptp(found.points[:, 2])) if mesh.dim == 2 else 1.0
        export.write_surface(file, found, volume * depth if level is None else None)

    Copies(structure.comm).agree(write)


def _whole(structure: MeshStructure, fields: Fields) -> tuple[WholeMesh | None, dict[str, NDArray[Any]]]:
    """The mesh with nodal fields, and the fields of cells, on the first rank."""
    nodal, cellwise = _sorted(structure, fields)
    mesh = whole_mesh(structure, nodal)
    gathered = {name: gather(structure, values) for name, values in cellwise.items()}
    return mesh, {name: values for name, values in gathered.items() if values is not None}


def _sorted(structure: MeshStructure, fields: Fields) -> tuple[dict[str, Array], dict[str, NDArray[Any]]]:
    """Fields of nodes and of cells: which is which is the same on all ranks."""
    nodal: dict[str, Array] = {}
    cellwise: dict[str, NDArray[Any]] = {}
    for name, values in fields.items():
        fits = [structure.total(float(np.shape(values) != (n,))) for n in (structure.cells, structure.unknowns)]
        if all(fits):
            raise ShapeError(
                f"the field {name!r} has as many numbers neither as each rank has cells nor as it has unknowns; "
                f"expected (cells,) or (unknowns,) on every rank"
            )
        (nodal if fits[0] else cellwise)[name] = values
    return nodal, cellwise


def _functions(structure: MeshStructure, fields: Fields) -> list[Any]:
    nodal, cellwise = _sorted(structure, fields)
    functions = []
    if cellwise:
        space = dolfinx.fem.functionspace(structure.mesh, ("DG", 0))
        for name, values in cellwise.items():
            function = dolfinx.fem.Function(space, name=name)
            function.x.array[: structure.cells] = values
            function.x.scatter_forward()
            functions.append(function)
    return functions + [nodal_function(structure, values, name) for name, values in nodal.items()]


def _fitting(name: str, values: Array, shape: tuple[int, ...]) -> None:
    if np.shape(values) != shape:
        raise ShapeError(f"{name} has shape {np.shape(values)}; expected {shape}")


@contextmanager
def _unfinished(file: Path, structure: MeshStructure, endings: tuple[str, ...] = ("",)) -> Iterator[Path]:
    """Where to write, all ranks together, so that `file` appears when it is complete; `endings` of what lies beside."""
    ranks = Copies(structure.comm)
    file = Path(file)
    beside = file.with_name(file.name + ".unfinished")

    def make() -> None:
        if not file.parent.is_dir():
            raise InputError(f"cannot write {file}: there is no folder {file.parent}")
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir()

    def move() -> None:
        for ending in reversed(endings):
            name = file.name if not ending else file.with_suffix(ending).name
            if (file.parent / name).is_dir():
                shutil.rmtree(file.parent / name)
            (beside / name).replace(file.parent / name)

    try:
        ranks.agree(make)
        with together(structure.comm):
            try:
                yield beside / file.name
            except (RuntimeError, OSError) as error:
                raise SciOptError(f"cannot write {file}: {str(error).splitlines()[0]}") from error
        ranks.agree(move)
    finally:
        ranks.agree(lambda: shutil.rmtree(beside, ignore_errors=True))
