"""Meshes from files: four ways of writing one, what is made of it, and what every bad file is answered with."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sciopt.core.errors import InputError, SciOptError
from sciopt.topopt.fenicsx.loaded import MPI, dolfinx
from sciopt.topopt.fenicsx.msh import read_msh
from sciopt.topopt.fenicsx.raw_mesh import Block, RawMesh, prepared
from sciopt.topopt.fenicsx.read_mesh import mesh_from_model, read_mesh
from sciopt.topopt.fenicsx.shares import corner_shares
from sciopt.topopt.fenicsx.source import FEniCSx

DATA = Path(__file__).parent / "data"
# The same L, saved by Gmsh in every format it has.
PLATES = sorted(DATA.glob("l_*.msh"))
# The clamp is the upper edge, the load the right one; both are in the rim.
LENGTHS = {"clamp": 0.4, "load": 0.4, "rim": 4.0}


def area(x: np.ndarray) -> float:
    a, b = x[:, 1] - x[:, 0], x[:, 2] - x[:, 0]
    return float(0.5 * np.abs(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum())


def test_there_are_files_of_all_formats() -> None:
    assert [path.stem for path in PLATES] == ["l_2.2_binary", "l_2.2_text", "l_4.1_binary", "l_4.1_text"]


@pytest.mark.parametrize("path", PLATES, ids=lambda path: path.stem)
def test_all_formats_hold_the_same_mesh(path: Path) -> None:
    mesh, groups = read_mesh(path)
    found = prepared(read_msh(path))
    reference = prepared(read_msh(PLATES[-1]))
    np.testing.assert_array_equal(found.cells, reference.cells)
    np.testing.assert_allclose(found.points, reference.points, rtol=0, atol=1e-15)
    assert area(found.points[found.cells]) == pytest.approx(0.64)
    at = FEniCSx(read_mesh(path)).regions.at
    for group in groups.every:
        at.entities(group.dim)
        x = at.x[at.corners(group.dim, group.members)]
        if group.dim == 1 and group.name:
            assert np.linalg.norm(x[:, 1] - x[:, 0], axis=1).sum() == pytest.approx(LENGTHS[group.name])
    assert {(g.name, g.dim, g.tag) for g in groups.every} == {
        ("plate", 2, 1),
        ("clamp", 1, 2),
        ("load", 1, 3),
        ("rim", 1, 4),
        ("corner", 0, 7),
        ("", 1, 9),
    }
    assert mesh.topology.index_map(2).size_global == len(found.cells)
    assert groups.find("corner").members.size == 1  # type: ignore[union-attr]


@pytest.mark.parametrize(("name", "cells", "clamp"), [("tets", 144, 1.0), ("hexes", 12, 1.0), ("lifted", 8, None)])
def test_solids_and_plates_elsewhere_are_read(name: str, cells: int, clamp: float | None) -> None:
    source = FEniCSx.read(DATA / f"{name}.msh")
    structure = source.structure()
    assert structure.elements == cells
    at = source.regions.at
    assert corner_shares(at.x[at.cells], source.dim).sum() == pytest.approx(2.0)
    if clamp is not None:
        group = source.regions.groups.find("clamp")
        assert group is not None
        at.entities(2)
        assert corner_shares(at.x[at.corners(2, group.members)], 2).sum() == pytest.approx(clamp)


@pytest.mark.parametrize("path", PLATES, ids=lambda path: path.stem)
def test_files_that_are_cut_off_say_so(path: Path, tmp_path: Path) -> None:
    data = path.read_bytes()
    last = data.index(b"$EndElements")
    for length in range(0, last, 11):
        (tmp_path / "cut.msh").write_bytes(data[:length])
        with pytest.raises(InputError, match=r"cut\.msh: (it|section|is)"):
            read_msh(tmp_path / "cut.msh")
    # A section that ends early although its last line is there.
    start = data.index(b"$Elements") + len("$Elements") + 9
    (tmp_path / "cut.msh").write_bytes(data[:start] + data[last - 20 :])
    with pytest.raises(InputError, match=r"cut\.msh: "):
        read_msh(tmp_path / "cut.msh")


TEXT = PLATES[-1].read_text()
BAD = {
    "text": ("Dear mesh,", "no Gmsh mesh"),
    "empty": ("", "no Gmsh mesh"),
    "old": (TEXT.replace("4.1 0 8", "4 0 8"), "its format is 4; expected 2.2 or 4.1"),
    "words": (TEXT.replace("$Nodes\n", "$Nodes\nmany "), r"section \$Nodes holds what is no number"),
    "partitioned": (TEXT + "$PartitionedEntities\n0\n$EndPartitionedEntities\n", "partitioned"),
    "no nodes": (TEXT.replace("$Nodes", "$Knots"), r"no section \$Nodes"),
    "unknown node": (TEXT.replace("\n1 1 \n", "\n1 99 \n"), "name node 99, which is not among its 23 nodes"),
}


@pytest.mark.parametrize("name", BAD)
def test_files_that_are_something_else_say_what_is_expected(name: str, tmp_path: Path) -> None:
    content, sentence = BAD[name]
    (tmp_path / "bad.msh").write_text(content)
    with pytest.raises(InputError, match=r"bad\.msh: .*" + sentence):
        read_mesh(tmp_path / "bad.msh")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("second_order", "type 8, which are not of first order; mesh with Mesh.ElementOrder = 1"),
        ("mixed", "mixes kinds of cells, 1 quadrilaterals and 4 triangles"),
        ("tilted", "a surface in space: its triangles reach from z = 0 to 1"),
        ("only_lines", "only lines, no cells; if physical groups are named"),
    ],
)
def test_meshes_that_cannot_be_used_say_why(name: str, sentence: str) -> None:
    with pytest.raises(InputError, match=rf"{name}\.msh: .*{sentence}"):
        read_mesh(DATA / f"{name}.msh")


def test_missing_files_and_other_files_are_refused(tmp_path: Path) -> None:
    for name in ("no.msh", "no.xdmf"):
        with pytest.raises(InputError, match=rf"there is no file .*{name}"):
            read_mesh(tmp_path / name)
    with pytest.raises(InputError, match=r"part\.stl: expected a mesh, \.msh, \.xdmf, \.step"):
        read_mesh(tmp_path / "part.stl")
    with pytest.raises(InputError, match="size, the edge length of cells, is missing"):
        read_mesh(tmp_path / "part.step")
    with pytest.raises(InputError, match=r"is for \.step files only"):
        read_mesh(PLATES[0], size=1.0)
    (tmp_path / "bad.xdmf").write_text("<Xdmf><Domain>")
    with pytest.raises(InputError, match=r"bad\.xdmf is no \.xdmf file"):
        read_mesh(tmp_path / "bad.xdmf")
    (tmp_path / "bad.xdmf").write_text("<Xdmf><Domain/></Xdmf>")
    with pytest.raises(InputError, match="it holds no mesh"):
        read_mesh(tmp_path / "bad.xdmf")


SQUARE = np.array([[0.0, 0, 2], [1, 0, 2], [1, 1, 2], [0, 1, 2], [7, 7, 7]])


def raw(*blocks: Block, points: np.ndarray = SQUARE, names: Any = None) -> RawMesh:
    return RawMesh(points, list(blocks), names or {})


def test_quadrilaterals_are_turned_to_rows_and_stray_nodes_dropped() -> None:
    found = prepared(raw(Block(3, np.array([[0, 1, 2, 3]]), ())))
    assert found.points.tolist() == [[0, 0], [1, 0], [1, 1], [0, 1]]
    assert found.cells.tolist() == [[0, 1, 3, 2]]


def test_elements_listed_once_for_each_group_are_one() -> None:
    triangles, edge = np.array([[0, 1, 2], [0, 2, 3]]), np.array([[0, 1]])
    found = prepared(
        raw(
            Block(2, triangles, (1,)),
            Block(2, triangles[1:, [1, 2, 0]], (2,)),
            Block(1, edge, (1,)),
            Block(1, edge[:, ::-1], (5,)),
            Block(1, np.array([[3, 4]]), (5,)),
        )
    )
    assert found.cells.tolist() == triangles.tolist()
    _, sets = found.marked[2]
    assert [found.memberships[s] for s in sets] == [((2, 1),), ((2, 1), (2, 2))]
    # The line to the stray node is gone, too.
    lines, sets = found.marked[1]
    assert lines.tolist() == [[0, 1]] and found.memberships[sets[0]] == ((1, 1), (1, 5))


@pytest.mark.parametrize(
    ("mesh", "sentence"),
    [
        (raw(), "no elements, no cells"),
        (raw(Block(6, np.array([[0, 1, 2, 3, 4, 4]]), ())), "holds 1 prisms; expected triangles"),
        (raw(Block(2, np.array([[0, 1, 2]]), ()), points=SQUARE * np.nan), "3 of its nodes have no finite coordinates"),
    ],
)
def test_raw_meshes_that_cannot_be_used_say_why(mesh: RawMesh, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        prepared(mesh)


class FakeModel:
    """What is asked of ``gmsh.model``: two triangles, of which one is in a group, and an edge."""

    def __init__(self, group: bool) -> None:
        self.group = group
        self.mesh = SimpleNamespace(
            getNodes=lambda: (np.array([1, 2, 3, 4, 9], dtype=np.uint64), SQUARE.ravel(), None),
            getElements=lambda dim, tag: {
                (2, 1): ([2], None, [np.array([1, 2, 3])]),
                (2, 2): ([2], None, [np.array([1, 3, 4])]),
                (1, 1): ([1], None, [np.array([1, 2])]),
            }[dim, tag],
        )

    def getPhysicalGroups(self) -> list[tuple[int, int]]:
        return [(1, 4), *([(2, 8)] if self.group else [])]

    def getPhysicalName(self, dim: int, tag: int) -> str:
        return {4: "bottom", 8: ""}[tag]

    def getEntities(self) -> list[tuple[int, int]]:
        return [(1, 1), (2, 1), (2, 2)]

    def getPhysicalGroupsForEntity(self, dim: int, tag: int) -> list[int]:
        return {(1, 1): [4], (2, 1): [-8] if self.group else [], (2, 2): []}[dim, tag]


def test_live_models_count_what_gmsh_would_save() -> None:
    whole, part = (mesh_from_model(FakeModel(group)) for group in (False, True))
    assert whole.mesh.topology.index_map(2).size_global == 2 and part.mesh.topology.index_map(2).size_global == 1
    assert [(g.dim, g.tag, g.name, len(g.members)) for g in part.groups.every] == [(1, 4, "bottom", 1), (2, 8, "", 1)]


def test_xdmf_files_bring_their_mesh_tags(tmp_path: Path) -> None:
    mesh = dolfinx.mesh.create_rectangle(MPI.COMM_WORLD, [(0.0, 0.0), (2.0, 1.0)], [4, 2])
    mesh.topology.create_connectivity(1, 2)
    right = dolfinx.mesh.locate_entities_boundary(mesh, 1, lambda x: np.isclose(x[0], 2.0))
    tags = dolfinx.mesh.meshtags(mesh, 1, np.sort(right), np.full(len(right), 3, dtype=np.int32))
    tags.name = "edges"
    with dolfinx.io.XDMFFile(mesh.comm, tmp_path / "part.xdmf", "w") as file:
        file.write_mesh(mesh)
        file.write_meshtags(tags, mesh.geometry)
    read = FEniCSx.read(tmp_path / "part.xdmf").fix("left").load(3, (0, -1)).structure()
    made = FEniCSx(mesh, facet_tags=tags, names={"tip": 3}).fix("left").load("tip", (0, -1)).structure()
    assert read.loads.sum() == pytest.approx(-1.0) and np.count_nonzero(read.loads) == 3
    np.testing.assert_allclose(np.sort(read.loads), np.sort(made.loads), atol=1e-15)


def gmsh() -> Any:
    """Gmsh, or None where it is not installed or its libraries are not."""
    if importlib.util.find_spec("gmsh") is None:
        return None
    try:
        return importlib.import_module("gmsh")
    except OSError:
        return None


def test_step_files_are_meshed_or_gmsh_is_asked_for(tmp_path: Path) -> None:
    file, kernel = tmp_path / "part.step", gmsh()
    file.write_text("no step")
    if kernel is None:
        with pytest.raises(SciOptError, match="pip install gmsh"):
            read_mesh(file, size=1.0)
        return
    with pytest.raises(InputError, match=r"part\.step: Gmsh says"):
        read_mesh(file, size=1.0)
    with pytest.raises(InputError, match=r"size is 0\.0; expected a positive length"):
        read_mesh(file, size=0.0)
    kernel.initialize(readConfigFiles=False, interruptible=False)
    kernel.option.setNumber("General.Terminal", 0)
    kernel.model.occ.addBox(0, 0, 0, 4, 2, 2)
    kernel.model.occ.synchronize()
    kernel.write(str(file))
    kernel.model.mesh.generate(3)
    live = FEniCSx.from_gmsh(kernel.model)
    kernel.finalize()
    for source in (live, FEniCSx.read(file, size=1.0)):
        assert source.regions.at.box[1] == pytest.approx([4, 2, 2], abs=1e-6)
        structure = source.fix("left").load("right", (0, 0, -1)).structure()
        structure.check()
        assert structure.loads.sum() == pytest.approx(-1.0)
