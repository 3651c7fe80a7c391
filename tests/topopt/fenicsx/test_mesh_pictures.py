from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sciopt.topopt.builder import Grid
from sciopt.topopt.fenicsx import FEniCSx, mesh_source
from sciopt.topopt.fenicsx.loaded import MPI, dolfinx
from sciopt.topopt.fenicsx.pictures import plot_design
from sciopt.topopt.plot import design_figure


def pixels(figure: Any) -> Any:
    """(height, width, 3) in [0, 1]."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=60)
    return np.asarray(Image.open(buffer).convert("RGB"), dtype=float) / 255.0


def blue(image: Any) -> int:
    return np.count_nonzero((image[..., 2] > image[..., 0] + 0.2) & (image[..., 0] < 0.3))


def red(image: Any) -> int:
    return np.count_nonzero((image[..., 0] > image[..., 2] + 0.4) & (image[..., 2] < 0.4))


@pytest.mark.parametrize(
    "grid",
    [
        Grid(24, 8)
        .symmetry("left")
        .fix((24, 0), "y")
        .load((0, 8), (0, -1))
        .void(lambda x, y: (x - 12) ** 2 + y**2 < 9),
        Grid(16, 6).fix("left").load((16, 3), (1, -1)).load((16, 6), (0, -1), case="other"),
        Grid(9, 9, physics="heat").source("all", 1.0).fix((0, 4)),
    ],
    ids=["rollers", "wall", "heat"],
)
def test_a_mesh_looks_like_its_grid(grid: Grid) -> None:
    structure = grid.structure()
    shape = structure.shape
    x, y = np.meshgrid(np.arange(shape[0]), np.arange(shape[1]))
    density = np.where(structure.material > 0.0, 0.5 + 0.5 * np.sin(0.6 * x + 0.9 * y).ravel(), 0.0)
    mesh = mesh_source(structure)
    elements = np.asarray(mesh.mesh.topology.original_cell_index[: mesh.cells])
    seen = pixels(plot_design(mesh, density[elements], "caption"))
    expected = pixels(design_figure(structure, density, "caption"))
    assert seen.shape == expected.shape
    assert np.abs(seen - expected).mean() < 0.02
    assert blue(seen) == pytest.approx(blue(expected), rel=0.1, abs=3)
    assert red(seen) == pytest.approx(red(expected), rel=0.1, abs=3)


def test_walls_follow_a_hole() -> None:
    mesh = dolfinx.mesh.create_rectangle(MPI.COMM_SELF, [[0, 0], [12, 6]], [24, 12], dolfinx.mesh.CellType.triangle)
    source = FEniCSx(mesh).void(lambda x, y: (x - 6) ** 2 + (y - 3) ** 2 < 4).load("right", (0, -1))
    held = source.fix(lambda x, y: (x - 6) ** 2 + (y - 3) ** 2 < 5)
    counts = []
    for structure in (source.fix((0.0, 0.0)).structure(), held.structure()):
        image = pixels(plot_design(structure, np.zeros(structure.cells)))
        height, width = image.shape[:2]
        middle = image[height // 4 : 3 * height // 4, width // 4 : 3 * width // 4]
        counts.append(blue(middle))
    assert counts[0] == 0
    assert counts[1] > 50


@pytest.mark.parametrize("kind", ["tetrahedron", "hexahedron"])
def test_a_body_is_shaded_and_marked(kind: str) -> None:
    cell = getattr(dolfinx.mesh.CellType, kind)
    mesh = dolfinx.mesh.create_box(MPI.COMM_SELF, [[0, 0, 0], [6, 2, 2]], [9, 3, 3], cell)
    structure = FEniCSx(mesh).fix("left").load((6.0, 1.0, 2.0), (0, -1, 0)).structure()
    density = (structure.centres[:, 0] < 4.0).astype(float)
    image = pixels(plot_design(structure, density))
    bare = pixels(plot_design(structure, density, marks=False))
    body = (bare < 0.93).any(axis=2) & (np.ptp(bare, axis=2) > 0.06)
    width = body.shape[1]
    left, right = body[:, : width // 2].mean(), body[:, 2 * width // 3 :].mean()
    assert left > 0.4 and right < 0.35
    assert np.std(bare[body].mean(axis=1)) > 0.03
    assert red(image) > 20 and red(bare) == 0


def test_nothing_dense_in_three_dimensions_says_so() -> None:
    from sciopt.core.errors import InputError

    mesh = dolfinx.mesh.create_box(MPI.COMM_SELF, [[0, 0, 0], [1, 1, 1]], [2, 2, 2], dolfinx.mesh.CellType.hexahedron)
    structure = FEniCSx(mesh).fix("left").load("right", (0, -1, 0)).structure()
    with pytest.raises(InputError, match="there is no surface"):
        plot_design(structure, np.zeros(structure.cells))
