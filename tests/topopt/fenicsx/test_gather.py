from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sciopt.core.errors import ShapeError
from sciopt.topopt.builder import Grid
from sciopt.topopt.fenicsx.from_grid import mesh_source
from sciopt.topopt.fenicsx.gather import fingerprint, gather, in_place_order, scatter
from sciopt.topopt.fenicsx.loaded import MPI, dolfinx

HERE = str(Path(__file__).parent)
sys.path.insert(0, HERE)
from separable import mesh_of, structure_on  # noqa: E402

KINDS = ("triangle", "quadrilateral", "tetrahedron", "hexahedron")

SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np
from sciopt.core.errors import ShapeError
from sciopt.topopt.fenicsx.loaded import MPI, dolfinx
from sciopt.topopt.fenicsx.gather import fingerprint, gather, scatter
from separable import mesh_of, structure_on

comm = MPI.COMM_WORLD
meshes = {kind: mesh_of(kind) for kind in ("triangle", "quadrilateral", "tetrahedron", "hexahedron")}
meshes["triangle"].topology.create_entities(1)
meshes["refined"] = dolfinx.mesh.refine(meshes["triangle"])[0]
found = {}
for name, mesh in meshes.items():
    structure = structure_on(mesh, lambda x: x[:, 0] < 1.0)
    field = np.sin(structure.centres @ np.arange(1.0, structure.dim + 1))
    stack = np.stack([field, 2.0 * field])
    for values in (field, stack, field > 0.1, field[structure.design], stack[:, structure.design]):
        full = gather(structure, values)
        assert (full is None) == (comm.rank > 0)
        assert np.array_equal(scatter(structure, full), values)
        assert scatter(structure, full).dtype == values.dtype
    found[name] = gather(structure, structure.centres.T)
    found[name + " prints"] = np.array([fingerprint(structure, v) for v in (field, field[structure.design], field > 0)])
    # Ranks that own no variables take part.
    empty = structure_on(mesh, lambda x: np.full(len(x), comm.rank > 0))
    x = np.arange(empty.size, dtype=float)
    assert np.array_equal(scatter(empty, gather(empty, x)), x)
words = []
for wrong in (np.zeros(structure.cells + (comm.rank == 1)), np.zeros((1 + (comm.rank == 1), structure.cells))):
    try:
        gather(structure, wrong)
    except ShapeError as error:
        words.append(str(error))
assert len(words) == 2 and comm.allgather(words) == [words] * comm.size
if comm.rank == 0:
    np.savez(sys.argv[2], **found)
"""


def test_the_order_depends_on_the_mesh_alone(mpi: Callable[..., str], tmp_path: Path) -> None:
    mpi(SCRIPT, 3, HERE, str(tmp_path / "found.npz"))
    with np.load(tmp_path / "found.npz") as found:
        assert len(found.files) == 10
        for kind in KINDS:
            structure = structure_on(mesh_of(kind, MPI.COMM_SELF), lambda x: x[:, 0] < 1.0)
            field = np.sin(structure.centres @ np.arange(1.0, structure.dim + 1))
            assert found[kind] == pytest.approx(gather(structure, structure.centres.T), abs=1e-12)
            prints = [fingerprint(structure, v) for v in (field, field[structure.design], field > 0)]
            assert found[kind + " prints"].tolist() == prints
        mesh = mesh_of("triangle", MPI.COMM_SELF)
        mesh.topology.create_entities(1)
        refined = structure_on(dolfinx.mesh.refine(mesh)[0])
        assert found["refined"] == pytest.approx(gather(refined, refined.centres.T), abs=1e-12)


@pytest.mark.parametrize("shape", [(5, 3), (4, 3, 2)])
def test_the_order_is_that_of_a_grid(shape: tuple[int, ...]) -> None:
    structure = mesh_source(Grid(*shape).fix("left").load("right", (0, -1, 0)[: len(shape)]).structure())
    elements = np.asarray(structure.mesh.topology.original_cell_index[: structure.cells])
    assert np.array_equal(gather(structure, elements), np.arange(np.prod(shape)))  # type: ignore[arg-type]


def test_rounding_does_not_change_the_order() -> None:
    rng = np.random.default_rng(1)
    points = np.stack(np.meshgrid(np.arange(7) / 3, np.arange(5) / 7, np.arange(4) / 11, indexing="ij"), -1)
    points = points.reshape(-1, 3)
    noisy = points + 1e-14 * rng.standard_normal(points.shape)
    assert np.array_equal(in_place_order(noisy), np.lexsort(points.round(6).T))


def test_fingerprints_see_what_matters() -> None:
    structure = structure_on(mesh_of("triangle", MPI.COMM_SELF))
    field = structure.centres[:, 0].copy()
    before = fingerprint(structure, field)
    assert fingerprint(structure, field * (1.0 + 1e-13)) == before
    assert fingerprint(structure, 2.0 * field) != before
    field[3] += 1e-3
    assert fingerprint(structure, field) != before


def test_arrays_that_fit_nothing_are_refused() -> None:
    structure = structure_on(mesh_of("triangle", MPI.COMM_SELF), lambda x: x[:, 0] < 1.0)
    with pytest.raises(ShapeError, match="as long as the ranks have cells"):
        gather(structure, np.zeros(structure.cells - 1))
    with pytest.raises(ShapeError, match="last axis must have"):
        scatter(structure, np.zeros(structure.cells - 1))
