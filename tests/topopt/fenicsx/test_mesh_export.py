from __future__ import annotations

import base64
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sciopt.core.errors import InputError, SciOptError, ShapeError
from sciopt.topopt.fenicsx.export import write_xdmf
from sciopt.topopt.fenicsx.files import FILES, write
from sciopt.topopt.fenicsx.gather import gather
from sciopt.topopt.fenicsx.loaded import MPI, PETSc, dolfinx
from sciopt.topopt.fenicsx.surface import design_surface, tetrahedra
from sciopt.topopt.fenicsx.whole import whole_mesh

HERE = str(Path(__file__).parent)
sys.path.insert(0, HERE)
from separable import mesh_of, structure_on  # noqa: E402

KINDS = ("triangle", "quadrilateral", "tetrahedron", "hexahedron")

SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
import numpy as np
from sciopt.core.errors import SciOptError
from sciopt.topopt.fenicsx.files import write
from sciopt.topopt.fenicsx.loaded import MPI
from separable import mesh_of, structure_on

comm, out = MPI.COMM_WORLD, Path(sys.argv[2])
for kind in ("quadrilateral", "tetrahedron"):
    structure = structure_on(mesh_of(kind))
    dim = structure.dim
    density = np.clip(structure.centres[:, 0] - 0.5, 0.0, 1.0)
    u = np.round(2.0 * structure.space.tabulate_dof_coordinates()[: structure.unknowns // dim, :dim], 9).ravel() + 0.0
    for ending in (".npz", ".vtu", ".stl", ".xdmf", ".vtkhdf", ".bp"):
        write(out / (kind + ending), structure, density, displacement=u)
words = []
for file, field in ((out / "none" / "a.xdmf", density), (out / "none" / "a.vtu", density), (out / "a.doc", density),
                    (out / "a.vtu", np.zeros(structure.cells + comm.rank)), (out / "a.stl", 0.0 * density)):
    try:
        write(file, structure, field)
        words.append("nothing")
    except (SciOptError, OSError) as error:
        words.append(f"{type(error).__name__}: {error}")
assert comm.allgather(words) == [words] * comm.size, comm.allgather(words)
if comm.rank == 0:
    print(*words, sep="\\n")
"""


def example(kind: str) -> tuple[Any, Any, Any]:
    structure = structure_on(mesh_of(kind, MPI.COMM_SELF))
    density = np.clip(structure.centres[:, 0] - 0.5, 0.0, 1.0)
    u = np.round(2.0 * structure.space.tabulate_dof_coordinates()[:, : structure.dim], 9).ravel() + 0.0
    return structure, density, u


def test_two_ranks_write_what_one_writes(mpi: Callable[..., str], tmp_path: Path) -> None:
    said = mpi(SCRIPT, 2, HERE, str(tmp_path)).splitlines()
    assert [line.split(":")[0] for line in said[-5:]] == [
        *("InputError", "FileNotFoundError", "InputError", "ShapeError", "InputError")
    ]
    alone = tmp_path / "alone"
    alone.mkdir()
    for kind in ("quadrilateral", "tetrahedron"):
        structure, density, u = example(kind)
        for ending in (".npz", ".vtu", ".stl"):
            write(alone / (kind + ending), structure, density, displacement=u)
            assert (alone / (kind + ending)).read_bytes() == (tmp_path / (kind + ending)).read_bytes()
        density_in_place, centres = read_xdmf(tmp_path / f"{kind}.xdmf")
        assert len(density_in_place) == structure.elements
        assert density_in_place == pytest.approx(np.clip(centres[:, 0] - 0.5, 0.0, 1.0), abs=1e-12)
        dim = structure.dim
        read = dolfinx.io.vtkhdf.read_mesh(MPI.COMM_SELF, str(tmp_path / f"{kind}.vtkhdf"), gdim=dim)
        values = read_hdf5(tmp_path / f"{kind}.vtkhdf", "VTKHDF/CellData/u")
        expected = np.clip(read_centres(read)[:, 0] - 0.5, 0.0, 1.0)
        assert values == pytest.approx(expected, abs=1e-12)
        assert any((tmp_path / f"{kind}.bp").iterdir())
    assert not list(tmp_path.glob("*.unfinished"))


def read_hdf5(file: Path, name: str) -> Any:
    vector = PETSc.Vec().create(MPI.COMM_SELF)
    vector.setName(name)
    vector.setType("seq")
    viewer = PETSc.ViewerHDF5().create(str(file), "r", comm=MPI.COMM_SELF)
    vector.load(viewer)
    viewer.destroy()
    return vector.array.copy()


def read_centres(mesh: Any) -> Any:
    """Centres of cells, in the order of the file."""
    centres = np.empty((mesh.topology.index_map(mesh.topology.dim).size_local, mesh.geometry.dim))
    here = mesh.geometry.x[mesh.geometry.dofmaps[0], : mesh.geometry.dim].mean(axis=1)
    centres[mesh.topology.original_cell_index] = here
    return centres


def read_xdmf(file: Path) -> tuple[Any, Any]:
    with dolfinx.io.XDMFFile(MPI.COMM_SELF, str(file), "r") as xdmf:
        mesh = xdmf.read_mesh()
    return read_hdf5(file.with_suffix(".h5"), "Function/density/0"), read_centres(mesh)


def read_vtu(file: Path) -> dict[str, Any]:
    kinds = {"Float64": "<f8", "Int64": "<i8", "UInt8": "u1"}
    found = {}
    pattern = r'<DataArray type="(\w+)" Name="(\w+)" NumberOfComponents="(\d)" format="binary">([^<]*)<'
    for kind, name, components, text in re.findall(pattern, file.read_text()):
        data = base64.b64decode(text)
        assert int(np.frombuffer(data[:8], "<u8")[0]) == len(data) - 8
        values = np.frombuffer(data[8:], kinds[kind])
        found[name] = values.reshape(-1, int(components)) if components != "1" else values
    return found


@pytest.mark.parametrize(("kind", "number"), list(zip(KINDS, (5, 9, 10, 12), strict=True)))
def test_vtu_and_npz_hold_mesh_and_fields(kind: str, number: int, tmp_path: Path) -> None:
    structure, density, u = example(kind)
    write(tmp_path / "design.vtu", structure, density, displacement=u)
    write(tmp_path / "design.npz", structure, density, displacement=u)
    found = read_vtu(tmp_path / "design.vtu")
    assert found["types"].tolist() == [number] * structure.elements
    corners = found["points"][found["connectivity"].reshape(structure.elements, -1)]
    assert found["density"] == pytest.approx(np.clip(corners.mean(axis=1)[:, 0] - 0.5, 0.0, 1.0), abs=1e-12)
    assert found["displacement"] == pytest.approx(2.0 * found["points"], abs=1e-8)
    if structure.dim == 2:
        # Around: the shoelace formula would not see crossed quadrilaterals, the sum over all cells does.
        x, y = np.moveaxis(corners[..., :2], 2, 0)
        areas = 0.5 * np.abs((x * np.roll(y, -1, 1) - y * np.roll(x, -1, 1)).sum(axis=1))
        assert areas.sum() == pytest.approx(3.0)
    elif number == 12:
        # Numbered as VTK does: bottom around, top around above it.
        assert np.allclose(corners[:, 4:, 2], corners[:, :4, 2] + 2.0 / 3.0)
        assert np.allclose(corners[:, 0] + corners[:, 2], corners[:, 1] + corners[:, 3])
    with np.load(tmp_path / "design.npz") as stored:
        assert str(stored["kind"]) == kind
        assert np.array_equal(stored["points"][stored["cells"]], corners[..., : structure.dim])
        assert np.array_equal(stored["density"], found["density"])
        assert stored["volumes"].sum() == pytest.approx(structure.region)
        assert sorted(stored["input"]) == list(range(structure.elements))
        assert np.array_equal(stored["centres"], gather(structure, structure.centres.T).T)  # type: ignore[union-attr]


def test_tags_are_read_back(tmp_path: Path) -> None:
    structure, density, _ = example("triangle")
    mesh = structure.mesh
    mesh.topology.create_entities(1)
    facets = dolfinx.mesh.locate_entities_boundary(mesh, 1, lambda x: np.isclose(x[0], 0.0))
    tags = dolfinx.mesh.meshtags(mesh, 1, np.sort(facets), np.full(len(facets), 7, dtype=np.int32))
    tags.name = "sides"
    write_xdmf(tmp_path / "a.xdmf", structure, {"density": density}, (tags,))
    with dolfinx.io.XDMFFile(MPI.COMM_SELF, str(tmp_path / "a.xdmf"), "r") as xdmf:
        read = xdmf.read_mesh()
        read.topology.create_connectivity(1, 2)
        assert xdmf.read_meshtags(read, "sides").values.tolist() == [7] * 4


def test_what_is_no_file_leaves_what_is_there(tmp_path: Path) -> None:
    structure, density, _ = example("triangle")
    write(tmp_path / "a.xdmf", structure, density)
    before = (tmp_path / "a.h5").read_bytes()
    with pytest.raises(ShapeError, match="neither as each rank has cells nor as it has unknowns"):
        write(tmp_path / "a.xdmf", structure, density[:-1])
    with pytest.raises(InputError, match=r"the ending must be \.npz"):
        write(tmp_path / "a.vti", structure, density)
    with pytest.raises(ShapeError, match="density has shape"):
        write(tmp_path / "a.vtkhdf", structure, density[:-1])
    with pytest.raises(SciOptError, match="no density exceeds 0, the largest is 0"):
        write(tmp_path / "a.stl", structure, 0.0 * density)
    assert (tmp_path / "a.h5").read_bytes() == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.h5", "a.xdmf"]


def test_a_run_folder_gets_every_file(tmp_path: Path) -> None:
    structure, density, _ = example("quadrilateral")
    for name in FILES:
        write(tmp_path / name, structure, density)
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted([*FILES, "design.h5"])


def is_closed(triangles: Any) -> bool:
    """Whether every edge is there once in each direction."""
    edges = np.concatenate([triangles[:, [a, b]] for a, b in ((0, 1), (1, 2), (2, 0))])
    there, back = edges @ [triangles.max() + 1, 1], edges[:, ::-1] @ [triangles.max() + 1, 1]
    return len(np.unique(there)) == len(there) and np.array_equal(np.sort(there), np.sort(back))


def designs(structure: Any) -> dict[str, Any]:
    x = structure.centres
    rng = np.random.default_rng(3)
    return {
        "full": np.ones(len(x)),
        "waves": 0.5 + 0.5 * np.sin(4.0 * x.sum(axis=1)),
        "half": (x[:, 0] > 1.4).astype(float),
        "noise": rng.random(len(x)),
        "dust": (rng.random(len(x)) > 0.6).astype(float),
    }


@pytest.mark.parametrize("kind", KINDS)
def test_surfaces_are_closed_and_keep_the_volume(kind: str) -> None:
    structure = structure_on(mesh_of(kind, MPI.COMM_SELF, 12))
    mesh = whole_mesh(structure)
    assert mesh is not None
    depth = 0.3 if structure.dim == 2 else 1.0
    for name, density in designs(structure).items():
        found = design_surface(mesh, gather(structure, density))  # type: ignore[arg-type]
        assert is_closed(found.triangles), name
        assert found.volume == pytest.approx(depth * float(density @ structure.sizes), rel=1e-3), name
        assert np.linalg.norm(found.areas, axis=1).min() > 0.0


@pytest.mark.parametrize("kind", KINDS)
def test_the_surface_of_a_linear_density_is_a_plane(kind: str) -> None:
    structure = structure_on(mesh_of(kind, MPI.COMM_SELF, 12))
    mesh = whole_mesh(structure)
    assert mesh is not None
    x = gather(structure, structure.centres[:, 0])
    found = design_surface(mesh, x / 3.0, level=0.5, thickness=2.0)  # type: ignore[operator]
    # Away from the boundary the means around nodes, by volume, are those of a linear function of their place.
    cut = (found.points[:, 0] > 0.01) & (found.points[:, 0] < 2.99) & (np.abs(found.points[:, 1] - 0.5) < 0.3)
    inside = found.points[cut & (np.abs(found.points[:, 0] - 1.5) < 0.2)]
    assert len(inside) and inside[:, 0] == pytest.approx(1.5, abs=0.08)
    assert found.volume == pytest.approx(3.0, rel=0.03)


@pytest.mark.parametrize("kind", ["tetrahedron", "hexahedron"])
def test_tetrahedra_fill_the_cells_and_fit_each_other(kind: str) -> None:
    structure = structure_on(mesh_of(kind, MPI.COMM_SELF))
    mesh = whole_mesh(structure)
    assert mesh is not None
    rng = np.random.default_rng(0)
    # Any numbering of the points will do.
    shuffle = rng.permutation(len(mesh.points))
    points, cells = mesh.points[np.argsort(shuffle)], shuffle[mesh.cells]
    tets, owner = tetrahedra(points, cells)
    a, b, c, d = np.moveaxis(points[tets], 1, 0)
    volumes = np.einsum("ij,ij->i", np.cross(b - a, c - a), d - a) / 6.0
    assert volumes.min() > 0.0
    assert np.bincount(owner, volumes) == pytest.approx(gather(structure, structure.sizes))
    faces = np.sort(np.concatenate([np.delete(tets, i, axis=1) for i in range(4)]), axis=1)
    count = np.unique(faces, axis=0, return_counts=True)[1]
    # 6 x 2 x 3 boxes have 2 (12 + 18 + 6) outer faces of two triangles each.
    assert count.max() == 2 and np.count_nonzero(count == 1) == 2 * 2 * (6 * 2 + 6 * 3 + 2 * 3)
