"""Filters on meshes: the grid's on uniform meshes, dense sums elsewhere, and the same on any number of ranks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from sciopt.core.errors import EvaluationFailed, InputError
from sciopt.core.types import Array
from sciopt.topopt.fenicsx.filters import bound
from sciopt.topopt.fenicsx.loaded import MPI, dolfinx
from sciopt.topopt.fenicsx.smoothing import cell_matrices
from sciopt.topopt.fenicsx.structure import MeshStructure, cell_corners
from sciopt.topopt.filters import Density, Filter, Helmholtz, Sensitivity
from sciopt.topopt.grid.element import Conduction

CELLS = ("triangle", "quadrilateral", "tetrahedron", "hexahedron")
KINDS = (Density, Sensitivity, Helmholtz)


def mesh_of(cell: str, counts: tuple[int, ...], comm: object = MPI.COMM_SELF, bend: float = 0.0) -> object:
    """A box of unit cells, its inner nodes moved by up to `bend`."""
    kind = getattr(dolfinx.mesh.CellType, cell)
    make = dolfinx.mesh.create_rectangle if len(counts) == 2 else dolfinx.mesh.create_box
    mesh = make(comm, [np.zeros(len(counts)), np.array(counts, dtype=float)], list(counts), kind)
    x = mesh.geometry.x
    for axis, count in enumerate(counts):
        away = x[:, axis] * (count - x[:, axis]) / count
        x[:, axis] += bend * np.sin(x @ np.array([2.0, 3.0, 5.0]) + axis) * np.minimum(away, 1.0)
    return mesh


def structure_on(mesh: object, holes: bool = False) -> MeshStructure:
    """Conduction on `mesh`, every seventh cell void and every eleventh solid, counted in the order of the input."""
    space = dolfinx.fem.functionspace(mesh, ("Lagrange", 1))
    cells = mesh.topology.index_map(mesh.topology.dim).size_local  # type: ignore[attr-defined]
    nodes = space.dofmap.index_map.size_local
    number = mesh.topology.original_cell_index[:cells]  # type: ignore[attr-defined]
    material = np.where(number % 7 == 3, 0.0, 1.0) if holes else np.ones(cells)
    solid = (number % 11 == 5) & (material > 0.0) if holes else np.zeros(cells, dtype=bool)
    none = np.zeros(nodes)
    return MeshStructure(space, Conduction(), material, solid, none > 0.0, none[None], np.ones(1), none)


def on_grid(structure: MeshStructure, counts: tuple[int, ...]) -> tuple[SimpleNamespace, Array]:
    """What the grid's filters need to know of unit cells, and the grid's number of each design cell of the mesh."""
    place = np.floor(structure.centres).astype(int)
    number = np.ravel_multi_index(tuple(place.T[::-1]), counts[::-1])
    design = np.zeros(int(np.prod(counts)), dtype=bool)
    design[number] = structure.design
    order = np.empty(design.size, dtype=int)
    order[design] = np.arange(structure.size)
    volumes = np.ones(structure.size)
    grid = SimpleNamespace(shape=counts, spacing=(1.0,) * len(counts), design=design, volumes=volumes)
    return grid, order[number[structure.design]]


@pytest.mark.parametrize("counts", [(9, 6), (5, 4, 3)])
@pytest.mark.parametrize("filter", [Density(1.0), Density(2.3), Sensitivity(2.3)])
def test_cones_on_uniform_meshes_are_those_of_the_grid(counts: tuple[int, ...], filter: Filter) -> None:
    structure = structure_on(mesh_of(CELLS[2 * len(counts) - 3], counts), holes=True)
    grid, order = on_grid(structure, counts)
    rng = np.random.default_rng(0)
    x, g = rng.uniform(0, 1, structure.size), rng.uniform(-1, 1, structure.size)
    ours, theirs = bound(filter, structure), filter.on(grid)
    assert np.allclose(ours.apply(x[order]), theirs.apply(x)[order], rtol=0, atol=1e-12)
    assert np.allclose(ours.adjoint(g[order]), theirs.adjoint(g)[order], rtol=0, atol=1e-12)
    assert np.allclose(ours.modify(x[order], g[order]), theirs.modify(x, g)[order], rtol=0, atol=1e-12)


def test_a_cone_of_irregular_cells_is_its_definition() -> None:
    structure = structure_on(mesh_of("triangle", (6, 5), bend=0.2), holes=True)
    centres, v = structure.centres[structure.design], structure.volumes
    weights = np.maximum(1.7 - np.linalg.norm(centres[:, None] - centres, axis=2), 0.0) * v
    x = np.random.default_rng(1).uniform(0, 1, structure.size)
    assert np.allclose(bound(Density(1.7), structure).apply(x), weights @ x / weights.sum(axis=1), rtol=1e-13)


def dense_kernel(structure: MeshStructure, length: float) -> Array:
    """The kernel of the Helmholtz filter between all cells, with a dense inverse."""
    masses, stiffness = cell_matrices(cell_corners(structure.mesh), length)
    nodes = structure.space.dofmap.list[: structure.cells]
    equations = np.zeros((structure.unknowns,) * 2)
    average = np.zeros((structure.cells, structure.unknowns))
    for cell, corners in enumerate(nodes):
        equations[np.ix_(corners, corners)] += np.diag(masses[cell]) + stiffness[cell]
        average[cell, corners] = masses[cell] / masses[cell].sum()
    return np.asarray(average @ np.linalg.solve(equations, average.T))


@pytest.mark.parametrize("cell", CELLS)
def test_helmholtz_is_the_dense_solution(cell: str) -> None:
    counts = (6, 5) if cell in CELLS[:2] else (3, 3, 2)
    structure = structure_on(mesh_of(cell, counts, bend=0.15), holes=True)
    kernel = dense_kernel(structure, 2.5 / np.sqrt(12.0))[np.ix_(structure.design, structure.design)]
    weights = kernel * structure.volumes
    x = np.random.default_rng(2).uniform(0, 1, structure.size)
    found = bound(Helmholtz(2.5), structure).apply(x)
    assert np.allclose(found, weights @ x / weights.sum(axis=1), rtol=0, atol=1e-11)


@pytest.mark.parametrize("cell", CELLS)
def test_cell_matrices_integrate_linear_functions(cell: str) -> None:
    corners = cell_corners(mesh_of(cell, (2, 3) if cell in CELLS[:2] else (2, 3, 2)))
    dim = corners.shape[2]
    slope = np.array([1.0, -2.0, 0.5][:dim])
    values = corners @ slope
    spread = ((corners - corners.mean(axis=1, keepdims=True)) ** 2).sum(axis=2).mean(axis=1) / dim
    masses, stiffness = cell_matrices(corners, 4.0)
    energy = np.einsum("ka,kab,kb->k", values, stiffness, values)
    assert np.allclose(energy, (16.0 - spread) * (slope @ slope) * masses.sum(axis=1), rtol=1e-13)
    assert np.allclose(stiffness.sum(axis=2), 0.0, atol=1e-13)
    assert np.isclose(masses.sum(), 6.0 if dim == 2 else 12.0)


def test_a_collapsed_corner_leaves_finite_matrices() -> None:
    corners = np.array([[[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]])
    masses, stiffness = cell_matrices(corners, 3.0)
    assert masses.sum() == pytest.approx(0.5) and np.isfinite(stiffness).all()
    assert np.allclose(stiffness.sum(axis=2), 0.0, atol=1e-12)


@pytest.mark.parametrize("radius", [2.0, 3.0, 6.0])
def test_helmholtz_is_as_wide_as_the_equation_says(radius: float) -> None:
    # The response to one full cell in the middle of many: its mean square distance is twice the length squared.
    structure = structure_on(mesh_of("quadrilateral", (41, 41)))
    away = structure.centres - 20.5
    impulse = (np.abs(away).max(axis=1) < 0.1).astype(float)
    response = bound(Helmholtz(radius), structure).apply(impulse)
    assert response.sum() == pytest.approx(1.0, abs=1e-8)
    # The tail beyond the boundary comes back.
    assert (response @ away**2) / (radius**2 / 6.0) == pytest.approx([1.0, 1.0], rel=1e-3)


def test_helmholtz_on_uniform_meshes_is_close_to_that_of_the_grid() -> None:
    counts = (24, 16)
    structure = structure_on(mesh_of("quadrilateral", counts))
    grid, order = on_grid(structure, counts)
    waves = np.cos(np.pi * np.arange(0.5, 24) / 12)[:, None] * np.cos(np.pi * np.arange(0.5, 16) / 8)
    x = 0.5 + 0.5 * waves.T.ravel()
    ours, theirs = bound(Helmholtz(4.0), structure).apply(x[order]), Helmholtz(4.0).on(grid).apply(x)[order]
    assert np.abs(ours - theirs).max() < 0.02 * np.ptp(theirs)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cell", CELLS)
def test_filters_are_averages_with_exact_adjoints(kind: type[Filter], cell: str) -> None:
    counts = (7, 5) if cell in CELLS[:2] else (4, 3, 3)
    structure = structure_on(mesh_of(cell, counts, bend=0.1), holes=True)
    filter = bound(kind(2.2), structure)
    rng = np.random.default_rng(4)
    x, g = rng.uniform(0, 1, (2, structure.size))
    assert np.allclose(filter.apply(np.full(structure.size, 0.3)), 0.3, rtol=1e-12)
    black = np.where(x < 0.5, 0.0, 1.0)
    assert filter.apply(black).min() >= 0.0 and filter.apply(black).max() <= 1.0
    assert filter.apply(x) @ g == pytest.approx(x @ filter.adjoint(g), rel=1e-12)
    # Where every cell is worth its volume there is nothing to smooth.
    v = structure.volumes
    assert np.allclose(filter.modify(np.full(structure.size, 0.7), 3.0 * v), 3.0 * v, rtol=1e-12)


def test_the_filter_of_black_and_white_designs_needs_no_clipping() -> None:
    structure = structure_on(mesh_of("quadrilateral", (12, 9)))
    kernel = dense_kernel(structure, 1.5 / np.sqrt(12.0))
    assert kernel.min() >= 0.0


def test_unknown_filters_and_failed_equations_are_told() -> None:
    structure = structure_on(mesh_of("quadrilateral", (4, 3)))
    with pytest.raises(InputError, match="meshes know Density"):
        bound(SimpleNamespace(radius=1.0), structure)  # type: ignore[arg-type]
    with pytest.raises(EvaluationFailed, match="Helmholtz filter was not solved"):
        bound(Helmholtz(2.0), structure).apply(np.full(structure.size, np.nan))


RANKS = """
import sys
from dataclasses import replace
import numpy as np
sys.path.insert(0, {here!r})
from test_mesh_filters import CELLS, KINDS, bound, mesh_of, structure_on
from sciopt.topopt.fenicsx.loaded import MPI
from sciopt.topopt.projection import Threshold

comm = MPI.COMM_WORLD


def field(structure, seed):
    # Numbers in [0, 1] that the place of a cell tells.
    waves = structure.centres[structure.design] @ np.array([12.9, 78.2, 37.7])[: structure.dim]
    return 0.5 + 0.5 * np.sin(waves + seed)


def ordered(structure, values):
    number = structure.mesh.topology.original_cell_index[: structure.cells][structure.design]
    numbers, pieces = comm.allgather(number), comm.allgather(values)
    return np.concatenate(pieces)[np.argsort(np.concatenate(numbers))]


def alone(structure, values):
    number = structure.mesh.topology.original_cell_index[: structure.cells][structure.design]
    return values[np.argsort(number)]


for cell in CELLS:
    counts = (9, 6) if cell in CELLS[:2] else (4, 3, 3)
    spread = structure_on(mesh_of(cell, counts, comm, bend=0.15), holes=True)
    whole = structure_on(mesh_of(cell, counts, bend=0.15), holes=True)
    for kind in KINDS:
        for radius in (1.3, 3.1):
            ours, theirs = bound(kind(radius), spread), bound(kind(radius), whole)
            (x, g), (y, h) = ((field(s, 1), field(s, 2) - 0.5) for s in (spread, whole))
            found = ours.apply(x), ours.adjoint(g), ours.modify(x, g)
            wanted = theirs.apply(y), theirs.adjoint(h), theirs.modify(y, h)
            for mine, expected in zip(found, wanted):
                error = np.abs(ordered(spread, mine) - alone(whole, expected)).max()
                assert error < 1e-12, f"{{cell}} {{kind.__name__}} {{radius}}: {{error:.1e}}"
    threshold = Threshold(16.0, 0.1)
    (x, g), (y, h) = ((field(s, 1), field(s, 2) - 0.5) for s in (spread, whole))
    found = threshold.forward(x, spread.volumes, spread.total), threshold.pullback(x, spread.volumes, g, spread.total)
    wanted = threshold.forward(y, whole.volumes), threshold.pullback(y, whole.volumes, h)
    for ours, theirs in zip(found, wanted):
        assert np.allclose(ordered(spread, ours), alone(whole, theirs), rtol=0, atol=1e-11), f"threshold, {{cell}}"

# One rank has no design cell at all.
mesh = mesh_of("triangle", (8, 4), comm, bend=0.1)
structure = structure_on(mesh)
structure = replace(structure, material=np.zeros(structure.cells) if comm.rank == 0 else structure.material)
assert comm.allreduce(int(structure.size == 0)) == 1
for kind in KINDS:
    filter = bound(kind(2.0), structure)
    x, g = field(structure, 1), field(structure, 2)
    assert np.allclose(filter.apply(np.full(structure.size, 0.4)), 0.4, rtol=1e-12)
    left, right = structure.total(filter.apply(x) @ g), structure.total(x @ filter.adjoint(g))
    assert abs(left - right) < 1e-12 * abs(left)
    filter.modify(x, g)
    assert Threshold(8.0).forward(x, structure.volumes, structure.total).shape == x.shape
if comm.rank == 0:
    print("all as on one rank")
"""


@pytest.mark.parametrize("ranks", [3])
def test_filters_do_not_know_the_number_of_ranks(mpi: Callable[..., str], ranks: int) -> None:
    assert "all as on one rank" in mpi(RANKS.format(here=str(Path(__file__).parent)), ranks)
