from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sciopt.core.errors import InputError, ShapeError
from sciopt.topopt.builder import Grid
from sciopt.topopt.fenicsx import FEniCSx, mesh_source
from sciopt.topopt.fenicsx.files import write
from sciopt.topopt.fenicsx.loaded import MPI, dolfinx
from sciopt.topopt.fenicsx.mesh_design import MeshDesign
from sciopt.topopt.fenicsx.pictures import plot_design
from sciopt.topopt.fenicsx.whole import whole_design
from sciopt.topopt.plot import caption_of, design_figure
from sciopt.topopt.stored import plot_run, stored_design


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
    mesh = dolfinx.mesh.create_box(MPI.COMM_SELF, [[0, 0, 0], [1, 1, 1]], [2, 2, 2], dolfinx.mesh.CellType.hexahedron)
    structure = FEniCSx(mesh).fix("left").load("right", (0, -1, 0)).structure()
    with pytest.raises(InputError, match="there is no surface"):
        plot_design(structure, np.zeros(structure.cells))


def examples() -> dict[str, tuple[Any, Any]]:
    """Structures and densities with everything that is drawn: two cases, outputs, sliding supports, passive void."""
    mesh = dolfinx.mesh
    plane = mesh.create_rectangle(MPI.COMM_SELF, [[0, 0], [12, 6]], [12, 6], mesh.CellType.triangle)
    bent = mesh.create_rectangle(MPI.COMM_SELF, [[0, 0], [12, 6]], [12, 6], mesh.CellType.quadrilateral)
    bent.geometry.x[:, 1] += 0.2 * np.sin(bent.geometry.x[:, 0])
    body = mesh.create_box(MPI.COMM_SELF, [[0, 0, 0], [6, 2, 2]], [9, 3, 3], mesh.CellType.hexahedron)
    sources = {
        "triangle": FEniCSx(plane).fix("left").load("right", (1, -1)).load("top", (0, -1), case="other"),
        "quadrilateral": FEniCSx(bent)
        .fix((0.0, 0.0))
        .symmetry("right")
        .load((0.0, 6.0), (1, 0))
        .output((12.0, 0.2 * np.sin(12.0)), (-1, 0))
        .void(lambda x, y: (x - 6) ** 2 + (y - 3) ** 2 < 4),
        "heat": FEniCSx(plane, physics="heat").source("all", 1.0).fix((0.0, 3.0)),
        "hexahedron": FEniCSx(body).fix("left").load((6.0, 1.0, 2.0), (0, -1, 0)),
    }
    built = {name: source.structure() for name, source in sources.items()}
    return {name: (one, one.material * (0.6 + 0.4 * np.sin(one.centres[:, 0]))) for name, one in built.items()}


# What loads PETSc or dolfinx fails.
DRAWN_ALONE = """
import sys
sys.modules |= dict.fromkeys(["dolfinx", "dolfinx_solver", "petsc4py", "mpi4py", "ufl", "basix"])
from pathlib import Path
from sciopt.topopt.stored import plot_run
for folder in Path(sys.argv[1]).iterdir():
    plot_run(folder, folder / "again.png")
"""


def test_folders_are_drawn_without_dolfinx(tmp_path: Path) -> None:
    said = {"compliance": 12.5, "volume": 0.4, "greyness": 0.25}
    every = examples()
    for name in ("triangle", "hexahedron"):
        structure, density = every[name]
        folder = tmp_path / name
        folder.mkdir()
        write(folder / "design.npz", structure, density)
        write(folder / "design.png", structure, density, caption_of(12.5, 0.4, 0.25))
        (folder / "summary.json").write_text(json.dumps(said))
    command = [sys.executable, "-W", "error", "-c", DRAWN_ALONE, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for folder in tmp_path.iterdir():
        assert (folder / "again.png").read_bytes() == (folder / "design.png").read_bytes(), folder.name


def test_all_that_is_drawn_is_stored(tmp_path: Path) -> None:
    for name, (structure, density) in examples().items():
        write(tmp_path / "design.npz", structure, density)
        found, wanted = stored_design(tmp_path), whole_design(structure, density)
        assert isinstance(found, MeshDesign) and wanted is not None
        assert found.mesh.kind == wanted.mesh.kind and found.spacing == wanted.spacing
        for part in ("points", "cells", "input"):
            np.testing.assert_array_equal(getattr(found.mesh, part), getattr(wanted.mesh, part), err_msg=name)
        for part in ("density", "material", "supports", "loads"):
            np.testing.assert_array_equal(getattr(found, part), getattr(wanted, part), err_msg=name)
        assert (found.outputs is None) is (structure.outputs is None)
        assert found.loads.sum() == pytest.approx(structure.loads.sum())
        assert found.supports.sum() == structure.supports.sum()


def test_what_is_no_design_on_a_mesh_is_not_drawn(tmp_path: Path) -> None:
    structure, density = examples()["triangle"]
    file = tmp_path / "design.npz"
    write(file, structure, density)
    with pytest.raises(InputError, match="holds a design on a mesh, and only those on grids are mirrored"):
        plot_run(tmp_path, tmp_path / "a.png", mirror=["left"])
    with np.load(file) as stored:
        arrays = dict(stored)
    kept = {name: array for name, array in arrays.items() if name != "supports"}
    for damaged, said in (
        (kept, "'supports'"),
        (arrays | {"kind": np.array("wedge")}, "'wedge'"),
        (arrays | {"material": arrays["material"][1:]}, "material has shape"),
        (arrays | {"loads": arrays["loads"][:, 1:]}, "loads has shape"),
    ):
        np.savez(file, **damaged)  # type: ignore[arg-type]
        with pytest.raises(InputError, match=rf"design.npz is not a design that sciopt wrote \({said}"):
            plot_run(tmp_path, tmp_path / "a.png")
    assert [one.name for one in tmp_path.iterdir()] == ["design.npz"]
    with pytest.raises(ShapeError, match="density has shape"):
        plot_design(structure, density[1:])


ON_RANKS = """
import sys
from pathlib import Path
import numpy as np
from sciopt.core.errors import InputError, ShapeError
from sciopt.topopt import Compliance, Density, optimize_topology
from sciopt.topopt.fenicsx import FEniCSx
from sciopt.topopt.fenicsx.loaded import MPI, dolfinx
from sciopt.topopt.fenicsx.pictures import plot_design

comm, out = MPI.COMM_WORLD, Path(sys.argv[1])
mesh = dolfinx.mesh.create_rectangle(comm, [[0, 0], [12, 6]], [12, 6], dolfinx.mesh.CellType.quadrilateral)
source = FEniCSx(mesh).fix("left").load("right", (0, -1))
result = optimize_topology(Compliance(source, volume=0.5, filter=Density(1.5)), "mma", max_solves=2, out=out)
figure = result.plot()
assert (figure is None) is (comm.rank > 0)
if figure is not None:
    (text,) = figure.texts
    assert text.get_text() == result.caption
body = dolfinx.mesh.create_box(comm, [[0, 0, 0], [2, 1, 1]], [4, 2, 2], dolfinx.mesh.CellType.hexahedron)
structure = FEniCSx(body).fix("left").load("right", (0, -1, 0)).structure()
words = []
for density in (np.zeros(structure.cells), np.ones(structure.cells + comm.rank)):
    try:
        plot_design(structure, density)
    except (InputError, ShapeError) as error:
        words.append(type(error).__name__)
assert words == ["InputError", "ShapeError"]
if comm.rank == 0:
    print(result.caption)
"""


def test_results_on_two_ranks_are_drawn_by_the_first(mpi: Callable[..., str], tmp_path: Path) -> None:
    caption = mpi(ON_RANKS, 2, str(tmp_path / "run")).splitlines()[-1]
    said = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert caption == caption_of(said["objective"], said["volume"], said["greyness"])
    drawn = {file: file.read_bytes() for file in sorted((tmp_path / "run").glob("*.png"))}
    assert len(drawn) == 2
    for file in drawn:
        file.unlink()
    assert sorted(plot_run(tmp_path / "run")) == list(drawn)
    assert {file: file.read_bytes() for file in drawn} == drawn
