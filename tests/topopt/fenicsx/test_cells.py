"""Volumes and gradients of linear cells against closed formulas, and what is refused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from sciopt.core.errors import InputError
from sciopt.topopt.fenicsx.cells import cell_shapes, cell_volumes
from sciopt.topopt.fenicsx.loaded import MPI, dolfinx
from sciopt.topopt.fenicsx.structure import cell_corners

CELLS = {
    "triangle": (4, 3),
    "quadrilateral": (4, 3),
    "tetrahedron": (3, 2, 3),
    "hexahedron": (3, 2, 3),
}


def box(cell: str, distortion: float = 0.0):
    """A box of edges 1, 2(, 3), whose nodes were moved: inner ones anywhere, those of the boundary within it."""
    shape = CELLS[cell]
    lengths = np.arange(1.0, len(shape) + 1.0)
    corners = [np.zeros(len(shape)), lengths]
    make = dolfinx.mesh.create_rectangle if len(shape) == 2 else dolfinx.mesh.create_box
    mesh = make(MPI.COMM_SELF, corners, shape, dolfinx.mesh.CellType[cell])
    x = mesh.geometry.x[:, : len(shape)]
    step = np.random.default_rng(3).uniform(-distortion, distortion, x.shape) * lengths / shape
    step[np.isclose(x, 0.0) | np.isclose(x, lengths)] = 0.0
    mesh.geometry.x[:, : len(shape)] += step
    return mesh


def flux_of_position(corners: np.ndarray) -> np.ndarray:
    """Volumes by the divergence theorem, ``∮ x·n / d``, over the faces of each cell."""
    cells, count, dim = corners.shape
    volumes = np.zeros(cells)
    if dim == 2:
        around = [0, 1, 2] if count == 3 else [0, 1, 3, 2]
        for a, b in zip(around, np.roll(around, -1), strict=True):
            volumes += (corners[:, a, 0] * corners[:, b, 1] - corners[:, a, 1] * corners[:, b, 0]) / 2.0
        return np.abs(volumes)
    if count == 4:
        edges = corners[:, 1:] - corners[:, :1]
        return np.abs(np.einsum("ki,ki->k", edges[:, 0], np.cross(edges[:, 1], edges[:, 2]))) / 6.0
    nodes, weights = np.polynomial.legendre.leggauss(3)
    for axis in range(3):
        first, second = [a for a in range(3) if a != axis]
        for side in (0, 1):
            at = [(side << axis) + (i << first) + (j << second) for j in (0, 1) for i in (0, 1)]
            p = corners[:, at]
            sign = (1.0 if side else -1.0) * (-1.0 if axis == 1 else 1.0)
            for s, ws in zip((nodes + 1) / 2, weights / 2, strict=True):
                for t, wt in zip((nodes + 1) / 2, weights / 2, strict=True):
                    shape = np.array([(1 - s) * (1 - t), s * (1 - t), (1 - s) * t, s * t])
                    ds = np.array([t - 1, 1 - t, -t, t])
                    dt = np.array([s - 1, -s, 1 - s, s])
                    x, tangents = shape @ p, (ds @ p, dt @ p)
                    volumes += sign * ws * wt * np.einsum("ki,ki->k", x, np.cross(*tangents)) / 3.0
    return np.abs(volumes)


@pytest.mark.parametrize("cell", CELLS)
def test_volumes_are_the_flux_of_the_position_and_fill_the_box(cell: str) -> None:
    mesh = box(cell, 0.3)
    volumes = cell_volumes(mesh)
    assert np.ptp(volumes) > 0.1 * volumes.mean()
    np.testing.assert_allclose(volumes, flux_of_position(cell_corners(mesh)), rtol=1e-13)
    assert volumes.sum() == pytest.approx(np.prod(np.arange(1.0, mesh.topology.dim + 1.0)), rel=1e-13)


@pytest.mark.parametrize("distortion", [0.0, 0.3])
@pytest.mark.parametrize("cell", CELLS)
def test_gradients_are_those_of_linear_functions(cell: str, distortion: float) -> None:
    mesh = box(cell, distortion)
    shapes, corners = cell_shapes(mesh), cell_corners(mesh)
    gradients = shapes.gradients[shapes.kind]
    unit = np.einsum("kai,kqaj->kqij", corners, gradients)
    np.testing.assert_allclose(unit, np.broadcast_to(np.eye(corners.shape[2]), unit.shape), atol=1e-12)
    np.testing.assert_allclose(gradients.sum(axis=2), 0.0, atol=1e-12)
    np.testing.assert_allclose(shapes.weights[shapes.kind].sum(axis=1), cell_volumes(mesh), rtol=1e-13)


def test_cells_of_the_same_shape_share_their_numbers() -> None:
    kinds = {cell: len(cell_shapes(box(cell)).weights) for cell in CELLS}
    assert kinds == {"triangle": 2, "quadrilateral": 1, "tetrahedron": 6, "hexahedron": 1}
    mesh = box("hexahedron", 0.3)
    assert len(cell_shapes(mesh).weights) == 18
    # One node far from the others' rounding: its eight cells are shapes of their own, the rest stay one.
    mesh = dolfinx.mesh.create_unit_cube(MPI.COMM_SELF, 6, 6, 6, dolfinx.mesh.CellType.hexahedron)
    mesh.geometry.x[np.argmin(np.abs(mesh.geometry.x - 0.5).sum(axis=1))] += 1e-6
    assert len(cell_shapes(mesh).weights) == 9


@pytest.mark.parametrize("cell", CELLS)
def test_mirrored_meshes_are_as_good(cell: str) -> None:
    mesh = box(cell, 0.3)
    volumes = cell_volumes(mesh)
    mesh.geometry.x[:, 0] *= -1.0
    np.testing.assert_allclose(cell_volumes(mesh), volumes, rtol=1e-13)


@pytest.mark.parametrize("cell", CELLS)
def test_flat_cells_are_refused(cell: str) -> None:
    mesh = box(cell)
    mesh.geometry.x[:, 0] = 0.5
    with pytest.raises(
        InputError, match=rf"^{len(cell_corners(mesh))} cells of the mesh are flat or inverted, one around \(0\.5"
    ):
        cell_shapes(mesh)


def test_folded_cells_and_numbers_that_are_none_are_refused() -> None:
    for cell, value in (("quadrilateral", 1.7), ("hexahedron", 2.4), ("triangle", np.nan)):
        mesh = box(cell)
        inner = np.flatnonzero(np.all(np.isclose(mesh.geometry.x[:, :2], box(cell).geometry.x[5, :2]), axis=1))[0]
        mesh.geometry.x[inner, :2] = value
        with pytest.raises(InputError, match="flat or inverted"):
            cell_volumes(mesh)


def test_a_collapsed_corner_is_no_fold() -> None:
    # Wedges in a mesh of hexahedra: an edge of no length, volumes as they should be.
    mesh = dolfinx.mesh.create_unit_square(MPI.COMM_SELF, 1, 1, dolfinx.mesh.CellType.quadrilateral)
    mesh.geometry.x[np.argmax(mesh.geometry.x.sum(axis=1))] = (1.0, 0.0, 0.0)
    assert cell_volumes(mesh) == pytest.approx([0.5], rel=1e-13)


def test_all_ranks_hear_of_a_bad_cell_on_one(mpi: Callable[..., str]) -> None:
    out = mpi("""
import numpy as np
from sciopt.core.errors import InputError
from sciopt.topopt.fenicsx.cells import cell_volumes
from sciopt.topopt.fenicsx.loaded import MPI, dolfinx
mesh = dolfinx.mesh.create_unit_square(MPI.COMM_WORLD, 8, 2, dolfinx.mesh.CellType.quadrilateral)
mesh.geometry.x[np.abs(mesh.geometry.x - [0.125, 0.5, 0.0]).sum(axis=1) < 0.01, 0] = 0.9
try:
    cell_volumes(mesh)
except InputError as error:
    said = MPI.COMM_WORLD.gather(str(error))
    if MPI.COMM_WORLD.rank == 0:
        assert len(said) == 2 and len(set(said)) == 1, said
        print(said[0])
""")
    assert "flat or inverted" in out
