"""Structures on meshes: equal to those on grids where both can say the same, and the same on any number of ranks."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ufl

from sciopt.core.errors import InputError
from sciopt.topopt import Grid
from sciopt.topopt.fenicsx.from_grid import mesh_source
from sciopt.topopt.fenicsx.loaded import MPI, dolfinx
from sciopt.topopt.fenicsx.shares import corner_shares
from sciopt.topopt.fenicsx.source import FEniCSx
from sciopt.topopt.regions import Ball, Block, Line

DATA = Path(__file__).parent / "data"
CELLS = dolfinx.mesh.CellType
KINDS = {2: (CELLS.quadrilateral, CELLS.triangle), 3: (CELLS.hexahedron, CELLS.tetrahedron)}


def box(shape: tuple[int, ...], kind: Any, spacing: tuple[float, ...]) -> Any:
    ends = [np.zeros(len(shape)), np.array(shape) * np.array(spacing)]
    make = dolfinx.mesh.create_rectangle if len(shape) == 2 else dolfinx.mesh.create_box
    return make(MPI.COMM_WORLD, ends, list(shape), kind)


def on_grid(source: FEniCSx, nodal: np.ndarray, grid: Grid) -> np.ndarray:
    """(c, *nodes) of a grid from unknowns (c nodes,), by coordinates."""
    at, lattice = source.regions.at, grid.lattice
    index = tuple(np.rint(at.x / np.array(lattice.spacing)).astype(int).T[::-1])
    values = nodal.reshape(at.owned, -1)
    found = np.full((values.shape[1], *lattice.nodes), -7.0)
    found[(slice(None), *index)] = values.T
    return found


# Regions that are the same nodes, and make up the same cells, facets or edges, on grids and meshes.
REGIONS_2D: dict[str, Any] = {
    "point": (1.1, 0.6),
    "halfway": (1.25, 0.75),
    "face": "left",
    "corner": "top right",
    "all": "all",
    "line": Line((0.5, 0.0), (2.5, 0.0)),
    "inner line": Line((0.5, 0.5), (2.5, 0.5)),
    "strip": Block((None, 0.5), (None, 0.5)),
    "block": Block((0.5, 0.0), (1.5, 1.0)),
    "ball": Ball((1.5, 1.0), 0.6),
    "function": lambda x, y: x > 1.9,
    "list": ["left", "bottom"],
    "two points": [(0.0, 0.0), (3.0, 2.0)],
}
REGIONS_3D: dict[str, Any] = {
    "point": (1.0, 0.4, 0.6),
    "face": "front",
    "edge": "top left",
    "corner": "top left back",
    "inner face": Block((1.0, None, None), (1.0, None, None)),
    "inner edge": Line((0.5, 0.5, 0.0), (0.5, 0.5, 1.0)),
    "cylinder": Ball((0.5, 0.5, None), 0.1),
    "layer": Block((None, None, None), (0.5, None, None)),
}
CASES = [(2, name) for name in REGIONS_2D] + [(3, name) for name in REGIONS_3D]
SHAPES: dict[int, Any] = {2: ((6, 4), (0.5, 0.5)), 3: ((3, 2, 2), (0.5, 0.5, 0.5))}
# Triangles give a corner of a body, tetrahedra one of a face, shares by their number there, not by that of squares.
UNLIKE_SIMPLICES = {2: ("all", "block", "ball", "function"), 3: ("face", "inner face", "layer")}


@pytest.fixture(scope="module")
def pairs() -> dict[Any, tuple[FEniCSx, Grid]]:
    made = {}
    for dim, (shape, spacing) in SHAPES.items():
        for kind in KINDS[dim]:
            made[dim, kind] = (FEniCSx(box(shape, kind, spacing)), Grid(*shape, spacing=spacing))
    return made


@pytest.mark.parametrize(("dim", "name"), CASES)
def test_regions_select_and_share_as_on_grids(pairs: Any, dim: int, name: str) -> None:
    where = (REGIONS_2D if dim == 2 else REGIONS_3D)[name]
    force = (1.0, -2.0, 3.0)[:dim]
    for kind in KINDS[dim]:
        source, grid = pairs[dim, kind]
        on_mesh = (
            source.fix(where, "y").load(where, force, spread="equal").load(where, force, 1).spring(where, 2.0, "x")
        )
        wanted = grid.fix(where, "y").load(where, force, spread="equal").load(where, force, 1).spring(where, 2.0, "x")
        found, expected = on_mesh.structure(), wanted.structure()
        np.testing.assert_array_equal(on_grid(source, found.fixed, grid), expected.fixed)
        np.testing.assert_allclose(on_grid(source, found.loads[0], grid), expected.loads[0], atol=1e-14)
        if kind == KINDS[dim][0] or name not in UNLIKE_SIMPLICES[dim]:
            np.testing.assert_allclose(on_grid(source, found.loads[1], grid), expected.loads[1], atol=1e-14)
            np.testing.assert_allclose(on_grid(source, found.springs, grid), expected.springs, atol=1e-14)
        np.testing.assert_allclose(found.loads.reshape(2, -1, dim).sum(axis=1), [force, force], atol=1e-13)


@pytest.mark.parametrize("dim", (2, 3))
def test_cells_are_selected_as_on_grids(pairs: Any, dim: int) -> None:
    source, grid = pairs[dim, KINDS[dim][0]]
    index = np.floor(source.structure().centres / 0.5).astype(int)
    flat = np.ravel_multi_index(tuple(index.T[::-1]), grid.lattice.cells)
    middle = (0.75, 0.25, 0.25)[:dim]
    some: list[Any] = ["left", "top left", "all", middle, ["left", middle], lambda *x: x[0] > 0.9]
    some += [Ball((0.5,) * dim, 0.6), (0.5,) * dim, Block((0.5, *[None] * (dim - 1)), (None,) * dim)]
    for where in some:
        found, expected = source.void(where).solid(where).structure(), grid.void(where).solid(where).structure()
        np.testing.assert_array_equal(found.material, expected.material[flat], err_msg=str(where))
        np.testing.assert_array_equal(found.solid, expected.solid[flat], err_msg=str(where))
        # Nodes without material are fixed.
        np.testing.assert_array_equal(on_grid(source, found.fixed, grid), expected.fixed, err_msg=str(where))


def test_symmetry_holds_the_normal_of_any_plane_across_an_axis(pairs: Any) -> None:
    source, grid = pairs[3, CELLS.tetrahedron]
    found = source.symmetry("left", Block((None, None, 1.0), (None, None, None))).structure().fixed
    expected = grid.symmetry("left", "back").structure().fixed
    np.testing.assert_array_equal(on_grid(source, found, grid), expected)
    with pytest.raises(InputError, match=r"symmetry: 'all' is no plane across x or y or z \(it has x from 0 to 1.5"):
        source.symmetry("all")
    with pytest.raises(InputError, match="or name the components to hold"):
        source.symmetry("top left")


def distorted(kind: Any, shape: tuple[int, ...]) -> Any:
    mesh = box(shape, kind, (1.0,) * len(shape))
    x = mesh.geometry.x
    x[:, : len(shape)] += 0.12 * np.random.default_rng(3).uniform(-1, 1, (len(x), len(shape)))
    return mesh


@pytest.mark.parametrize("kind", [kind for kinds in KINDS.values() for kind in kinds])
def test_loads_are_those_that_dolfinx_assembles(kind: Any) -> None:
    shape = (3, 2) if kind in KINDS[2] else (2, 2, 2)
    mesh = distorted(kind, shape)
    dim = len(shape)
    mesh.topology.create_connectivity(dim - 1, dim)
    low = mesh.geometry.x[:, 0].min()
    facets = np.sort(dolfinx.mesh.locate_entities_boundary(mesh, dim - 1, lambda x: x[0] < low + 0.4))
    tags = dolfinx.mesh.meshtags(mesh, dim - 1, facets, np.full(len(facets), 5, dtype=np.int32))
    cells = np.arange(0, mesh.topology.index_map(dim).size_local, 2, dtype=np.int32)
    marks = dolfinx.mesh.meshtags(mesh, dim, cells, np.full(len(cells), 6, dtype=np.int32))
    source = FEniCSx(mesh, marks, tags, {"half": (dim, 6), "side": 5}, physics="heat")
    found = source.source("side", 1.0).source("half", 1.0, 1).structure()
    v = ufl.TestFunction(found.space)
    measures = ufl.ds(mesh, subdomain_data=tags)(5), ufl.dx(mesh, subdomain_data=marks)(6)
    for load, measure in zip(found.loads, measures, strict=True):
        # Exact but on warped facets, whose area no rule integrates exactly; here it is the rule of two points, too.
        wanted = dolfinx.fem.assemble_vector(dolfinx.fem.form(v * measure(metadata={"quadrature_degree": 3}))).array
        np.testing.assert_allclose(load, wanted / wanted.sum(), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("corners", "dim"), [(1, 0), (2, 1), (3, 2), (4, 2), (4, 3), (8, 3)])
def test_shares_add_up_to_the_measure_and_its_centroid(corners: int, dim: int, rng: np.random.Generator) -> None:
    # Of affine elements, whose centroid is the mean of their corners.
    unit = np.array(list(np.ndindex(*(2,) * dim)))[:, ::-1] if corners == 2**dim else np.eye(dim + 1, dim)
    matrix = rng.normal(size=(3, dim))
    x = (unit @ matrix.T + rng.normal(size=3))[None]
    found = corner_shares(x, dim)[0]
    measure = np.sqrt(np.linalg.det(matrix.T @ matrix)) / (1 if corners == 2**dim else np.prod(np.arange(1, dim + 1)))
    assert found.sum() == pytest.approx(measure) and (found > 0).all()
    np.testing.assert_allclose(found @ x[0] / found.sum(), x[0].mean(axis=0), atol=1e-12)


def test_names_numbers_and_dimensions_of_groups() -> None:
    plate = FEniCSx.read(DATA / "l_4.1_text.msh")
    at = plate.regions.at

    def marked(where: Any) -> np.ndarray:
        return np.flatnonzero(plate.regions.nodes(where))

    np.testing.assert_array_equal(marked("clamp"), np.flatnonzero(np.isclose(at.x[:, 1], 1.0)))
    np.testing.assert_array_equal(marked("load"), np.flatnonzero(np.isclose(at.x[:, 0], 1.0)))
    np.testing.assert_array_equal(at.x[marked("corner")], [[0.0, 0.0]])
    np.testing.assert_array_equal(marked(9), marked(Line((0.4, 0.4), (1.0, 0.4))))
    assert len(marked("plate")) == at.owned == len(marked(1))
    # Shared by clamp and rim; a list of groups of facets is a surface, not its nodes.
    assert set(marked("clamp")) < set(marked("rim"))
    both = plate.regions.shares(["clamp", "load"])
    np.testing.assert_allclose(both, 0.5 * (plate.regions.shares("clamp") + plate.regions.shares("load")), atol=1e-15)
    # The cells behind facets, and all cells.
    assert 0 < plate.regions.cells("clamp").sum() < plate.regions.cells("plate").sum() == 28
    # Physical groups win over faces of the box.
    named = FEniCSx(plate.mesh, facet_tags=tags_of(plate, "load"), names={"left": 1})
    np.testing.assert_array_equal(np.flatnonzero(named.regions.nodes("left")), marked("load"))


def tags_of(source: FEniCSx, name: str) -> Any:
    group = source.regions.groups.find(name)
    assert group is not None
    return dolfinx.mesh.meshtags(
        source.mesh, group.dim, group.members.astype(np.int32), np.ones(len(group.members), dtype=np.int32)
    )


def test_what_dolfinx_reads_is_taken_as_it_is() -> None:
    plate = FEniCSx.read(DATA / "l_4.1_text.msh")
    data = dolfinx.io.gmsh.MeshData(
        plate.mesh, None, tags_of(plate, "clamp"), None, None, {"top": (1, 1), "gone": (1, 8)}
    )
    found = FEniCSx(data)
    np.testing.assert_array_equal(found.regions.nodes("top"), plate.regions.nodes("clamp"))
    with pytest.raises(InputError, match="fix: the region 'gone' selects no node"):
        found.fix("gone")


REFUSED: dict[str, tuple[Callable[[FEniCSx], Any], str]] = {
    "name": (
        lambda s: s.fix("clmp"),
        "fix: there is no physical group 'clmp' (did you mean 'clamp'?); known are 'corner'",
    ),
    "number": (lambda s: s.fix(77), "fix: there is no physical group 77; known are 'corner', 'clamp'"),
    "far point": (
        lambda s: s.load((3, 0), (0, 1)),
        "load: the point (3.0, 0.0) lies outside the mesh, which goes from (0, 0)",
    ),
    "hole": (lambda s: s.fix((0.9, 0.9)), "fix: the point (0.9, 0.9) lies outside the mesh, whose nearest node is 0.5"),
    "dimension": (lambda s: s.fix((1, 2, 3)), "fix: the point is (1, 2, 3); expected 2 coordinates (x, y)"),
    "nothing": (lambda s: s.fix(Block((0.01, 0.01), (0.02, 0.02))), "selects no node; is it smaller than a cell?"),
    "no line": (lambda s: s.fix(Line((0.01, 0.1), (0.3, 0.11))), "selects no node; no node lies on that line"),
    "block": (lambda s: s.void(Block((1, 0), (0, 1))), "void: the block goes from 1.0 to 0.0 along x"),
    "ball": (lambda s: s.void(Ball((1, 0), -1)), "void: the radius of the ball is -1"),
    "line of cells": (lambda s: s.solid(Line((0, 0), (1, 0))), "solid: a line has no cells"),
    "point of cells": (lambda s: s.solid("corner"), "solid: 'corner' is a group of points; expected one of cells"),
    "function": (
        lambda s: s.fix(lambda x, y: x),
        "fix: the function of the coordinates returned float64 of shape (23,)",
    ),
    "nonsense": (lambda s: s.fix(None), "fix: None is no region; expected the name or number of a physical group"),
    "force": (lambda s: s.load("load", (1, 2, 3)), "load: force is (1, 2, 3); expected 2 numbers (x, y)"),
    "zero": (lambda s: s.load("load", (0, 0)), "load: the total is zero"),
    "heat": (lambda s: s.source("load", 1.0), 'source: only physics="heat" has heat sources'),
    "spread": (
        lambda s: s.load("load", (0, 1), spread="even"),
        "load: spread is 'even'; expected 'consistent' or 'equal'",
    ),
    "mesh": (lambda s: FEniCSx(3), "mesh is 3; expected a dolfinx mesh, what dolfinx.io.gmsh returns, or the name"),
    "names": (lambda s: FEniCSx(s.mesh, names={"a": "b"}), "names: 'a' is 'b'; expected a number, or a pair"),
    "physics": (lambda s: FEniCSx(s.mesh, physics="fluid"), "physics is 'fluid'"),
    "tags": (lambda s: FEniCSx(s.mesh, tags_of(s, "load")), "cell_tags: its dimension is 1; expected 2"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_every_mistake_is_one_sentence(name: str) -> None:
    call, sentence = REFUSED[name]
    with pytest.raises(InputError) as refused:
        call(FEniCSx.read(DATA / "l_4.1_text.msh"))
    assert sentence in str(refused.value)


def test_curved_cells_and_surfaces_in_space_are_refused() -> None:
    import basix.ufl

    x = np.array([[0.0, 0], [1, 0], [0, 1], [0.5, 0.5], [0, 0.5], [0.5, 0]])
    curved = dolfinx.mesh.create_mesh(
        MPI.COMM_WORLD, np.arange(6)[None], basix.ufl.element("Lagrange", "triangle", 2, shape=(2,)), x
    )
    with pytest.raises(InputError, match="its cells are curved, of order 2"):
        FEniCSx(curved)
    surface = dolfinx.mesh.create_mesh(
        MPI.COMM_WORLD,
        np.arange(3)[None],
        basix.ufl.element("Lagrange", "triangle", 1, shape=(3,)),
        np.eye(3),
    )
    with pytest.raises(InputError, match="its triangles are in 3 dimensions"):
        FEniCSx(surface)


def test_grids_become_meshes_number_for_number() -> None:
    grid = (
        Grid(7, 4, spacing=(0.3, 0.7))
        .fix("left")
        .void(Ball((1.0, 1.0), 0.5))
        .solid("top")
        .load("right", (1.0, -2.0))
        .load((2.1, 0.0), (0.0, 1.0), "two")
        .spring("bottom", 3.0, "y")
        .output("right", (1.0, 2.0))
        .case_weights([1.0, 0.5])
        .structure()
    )
    mesh = mesh_source(grid)
    node = mesh.mesh.geometry.input_global_indices
    corners = np.stack([x.ravel() for x in grid.lattice.corners()], axis=1)
    np.testing.assert_allclose(mesh.mesh.geometry.x[:, :2], corners[node])
    element = mesh.mesh.topology.original_cell_index
    np.testing.assert_allclose(mesh.centres, np.stack([x.ravel() for x in grid.lattice.centres()], 1)[element])
    np.testing.assert_array_equal(mesh.material, grid.material[element])
    np.testing.assert_array_equal(mesh.solid, grid.solid[element])
    x = mesh.space.tabulate_dof_coordinates()
    at = np.rint(x[:, 1] / 0.7).astype(int), np.rint(x[:, 0] / 0.3).astype(int)
    for name in ("fixed", "springs", "outputs", "supports"):
        np.testing.assert_array_equal(getattr(mesh, name).reshape(-1, 2).T, getattr(grid, name)[:, *at], err_msg=name)
    for found, wanted in zip(mesh.loads, grid.loads, strict=True):
        np.testing.assert_array_equal(found.reshape(-1, 2).T, wanted[:, *at])
    np.testing.assert_array_equal(mesh.weights, grid.weights)


EVERYTHING = """
import json
import sys
import numpy as np
from sciopt.core.errors import InputError
from sciopt.topopt import Grid
from sciopt.topopt.fenicsx.from_grid import mesh_source
from sciopt.topopt.fenicsx.source import FEniCSx
from sciopt.topopt.regions import Ball, Block, Line

def described(structure):
    # All arrays in an order that knows no ranks: that of the input.
    at = structure.space.dofmap.index_map.size_local
    geometry, cells = structure.mesh.geometry, structure.cells
    node = np.zeros(len(geometry.x), dtype=np.int64)
    points = np.asarray(geometry.dofmaps[0]).ravel()
    node[np.asarray(structure.space.dofmap.list).ravel()] = geometry.input_global_indices[points]
    nodal = [structure.fixed, structure.springs, structure.supports, *structure.loads]
    own = (node[:at], np.stack(nodal).reshape(len(nodal), at, -1) * 1.0)
    element = structure.mesh.topology.original_cell_index[:cells]
    pieces = structure.comm.gather((own, element, np.stack([structure.material, structure.solid * 1.0])))
    if pieces is None:
        return None
    order = np.argsort(np.concatenate([own[0] for own, _, _ in pieces]))
    cell = np.argsort(np.concatenate([element for _, element, _ in pieces]))
    return [
        np.concatenate([own[1] for own, _, _ in pieces], axis=1)[:, order].tolist(),
        np.concatenate([values for _, _, values in pieces], axis=1)[:, cell].tolist(),
    ]

plate = FEniCSx.read(sys.argv[1] + "/l_4.1_binary.msh")
plate = plate.fix("clamp").fix((0.21, 0.1), "y").symmetry("left").void(Ball((0.2, 0.6), 0.2)).solid("load")
plate = plate.spring(9, 2.0)
for case, where in enumerate(["load", "rim", "corner", "plate", "bottom", (0.5, 0.19), Ball((0.2, 0.2), 0.2),
                              ["load", 9], Line((0, 0), (1, 0)), lambda x, y: x + y < 0.3, [(1, 0), "load"]]):
    plate = plate.load(where, (1.0, -2.0), case)
solid = FEniCSx.read(sys.argv[1] + "/tets.msh", physics="heat").fix("clamp")
for case, where in enumerate(["load", "edge", "body", "top", Line((1, 0, 0), (1, 1, 0)), (1.0, 0.5, 0.5)]):
    solid = solid.source(where, 1.0, case)
grid = Grid(7, 5).fix("left").void((3, 3)).load("right", (1, 0)).spring("top", 1.0).solid("bottom")
found = [described(one) for one in (plate.structure(), solid.structure(), mesh_source(grid.structure()))]
def broken(x, y):
    if plate.regions.at.comm.rank == plate.regions.at.comm.size - 1:
        raise ZeroDivisionError("once")
    return x > 0
for call in (lambda: plate.fix("clmp"), lambda: plate.fix((5, 5)), lambda: plate.fix(broken),
             lambda: plate.void(Block((0.01, 0.01), (0.02, 0.02))), lambda: FEniCSx.read("no.msh"),
             lambda: FEniCSx.read(sys.argv[1] + "/mixed.msh")):
    try:
        call()
    except Exception as error:
        words = plate.regions.at.comm.gather(str(error).removeprefix("another rank failed: ZeroDivisionError: "))
        if words is not None:
            assert len(set(words)) == 1, words
            found.append(words[0])
if plate.regions.at.comm.rank == 0:
    print("FOUND", json.dumps(found))
"""


def test_nothing_depends_on_the_number_of_ranks(
    mpi: Callable[..., str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def found(out: str) -> Any:
        return json.loads(next(line for line in out.splitlines() if line.startswith("FOUND"))[6:])

    monkeypatch.setattr(sys, "argv", ["everything", str(DATA)])
    exec(EVERYTHING, {})
    one, three = found(capsys.readouterr().out), found(mpi(EVERYTHING, 3, str(DATA)))
    assert len(one) == 9
    assert three[3:] == one[3:]
    for ours, theirs in zip(three[:3], one[:3], strict=True):
        for values, wanted in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(values, wanted, rtol=0, atol=1e-14)
