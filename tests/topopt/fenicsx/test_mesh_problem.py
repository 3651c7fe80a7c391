"""The same problem on a grid and on a mesh of its elements; gradients on all cells; designs on several ranks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from sciopt.core.errors import InputError
from sciopt.core.run import run
from sciopt.core.stop import Budget
from sciopt.topopt import (
    Compliance,
    Density,
    Grid,
    Helmholtz,
    Line,
    Mechanism,
    MinimumVolume,
    Projection,
    Sensitivity,
    ThermalCompliance,
    optimize_topology,
)
from sciopt.topopt.fenicsx import FEniCSx, mesh_source
from sciopt.topopt.fenicsx.loaded import MPI, dolfinx
from sciopt.topopt.methods import design_method


def beam() -> Grid:
    return Grid(18, 8).fix("left").load((18, 4), (0, -1)).solid("right").void(lambda x, y: (x - 6) ** 2 + y**2 < 6)


def box() -> Grid:
    return Grid(7, 4, 3, spacing=(1.0, 0.8, 1.2)).fix("left").load(Line((7, 0, 0), (7, 0, 3.6)), (0, -1, 0.3))


def gripper() -> Grid:
    grid = Grid(12, 8).symmetry("bottom").fix(Line((0, 6), (0, 8))).load((0, 0), (1, 0))
    return grid.spring((0, 0), 0.1, "x").spring((12, 0), 0.1, "x").output((12, 0), "x")


def plate() -> Grid:
    return Grid(10, 9, physics="heat").source("all", 1.0).fix(Line((0, 3), (0, 6)))


def two_cases() -> Grid:
    return beam().load((12, 8), (0.2, -1), case="other").case_weights([1.0, 2.0])


CASES: dict[str, Callable[[], Any]] = {
    "compliance": lambda: (Compliance, beam(), {"volume": 0.4, "filter": Density(1.9)}),
    "space": lambda: (Compliance, box(), {"volume": 0.4, "filter": Density(1.9)}),
    "sensitivity": lambda: (Compliance, beam(), {"volume": 0.4, "filter": Sensitivity(1.9)}),
    "robust": lambda: (Compliance, beam(), {"filter": Density(2.5), "projection": Projection(8.0, 0.2)}),
    "worst": lambda: (Compliance, two_cases(), {"worst": True, "filter": Density(1.6)}),
    "mechanism": lambda: (Mechanism, gripper(), {"volume": 0.3, "filter": Density(1.6)}),
    "heat": lambda: (ThermalCompliance, plate(), {"volume": 0.3, "filter": Density(1.6)}),
    "minimum volume": lambda: (MinimumVolume, beam(), {"limit": 500.0, "filter": Density(1.6)}),
}


@pytest.mark.parametrize("name", CASES)
def test_a_grid_and_a_mesh_of_its_elements_agree(name: str) -> None:
    kind, grid, options = CASES[name]()
    options |= {"solver": "direct", "tol": 1e-9}
    on_grid, on_mesh = kind(grid, **options), kind(mesh_source(grid.structure(), MPI.COMM_SELF), **options)
    order = on_mesh.structure.mesh.topology.original_cell_index[on_mesh.structure.design]
    number = np.cumsum(on_grid.structure.design) - 1
    rng = np.random.default_rng(0)
    x = rng.uniform(0.2, 0.8, on_grid.size)
    there = on_mesh.evaluate(x[number[order]])
    here = on_grid.evaluate(x)
    assert there.value == pytest.approx(here.value, rel=1e-8)
    assert there.info["volume"] == pytest.approx(here.info["volume"], rel=1e-12)
    assert there.info["greyness"] == pytest.approx(here.info["greyness"], rel=1e-12)
    np.testing.assert_allclose(there.force, here.force[number[order]], rtol=1e-7, atol=1e-8 * np.abs(here.force).max())
    if here.jacobian is not None:
        np.testing.assert_allclose(there.jacobian, here.jacobian[:, number[order]], rtol=1e-6, atol=1e-9)


def test_a_grid_and_a_mesh_end_in_the_same_design() -> None:
    grid = beam().structure()
    options: dict[str, Any] = {"volume": 0.4, "filter": Density(1.9), "solver": "direct", "tol": 1e-9}
    on_grid, on_mesh = Compliance(grid, **options), Compliance(mesh_source(grid, MPI.COMM_SELF), **options)
    # Without the rounding of points that makes numbers of ranks agree.
    there = run(on_mesh, design_method("mma", replace(on_mesh.space, grain=0.0)), Budget(25))
    here = run(on_grid, design_method("mma", on_grid.space), Budget(25))
    order = on_mesh.structure.mesh.topology.original_cell_index[on_mesh.structure.design]
    number = np.cumsum(grid.design) - 1
    assert there.value == pytest.approx(here.value, rel=1e-8)
    np.testing.assert_allclose(there.x, here.x[number[order]], atol=1e-5)


def mesh_of(cell: str) -> Any:
    """A distorted rectangle or box."""
    kind, comm = dolfinx.mesh.CellType[cell], MPI.COMM_SELF
    if cell in ("triangle", "quadrilateral"):
        mesh = dolfinx.mesh.create_rectangle(comm, [[0, 0], [3, 1.5]], [8, 4], kind)
    else:
        mesh = dolfinx.mesh.create_box(comm, [[0, 0, 0], [2, 1, 1]], [4, 2, 2], kind)
    x = mesh.geometry.x
    inside = np.prod(np.sin(np.pi * x[:, : mesh.topology.dim] / x[:, : mesh.topology.dim].max(axis=0)), axis=1)
    x[:, 0] += 0.1 * inside
    x[:, 1] -= 0.07 * inside
    return mesh


@pytest.mark.parametrize("filter", [Density(0.8), Helmholtz(1.0)], ids=["density", "helmholtz"])
@pytest.mark.parametrize("cell", ["triangle", "quadrilateral", "tetrahedron", "hexahedron"])
def test_gradients_are_of_second_order_on_all_cells(cell: str, filter: Any) -> None:
    mesh = mesh_of(cell)
    force = (0.3, -1.0, 0.2)[: mesh.topology.dim]
    source = FEniCSx(mesh).fix("left").load("right", force)
    options: dict[str, Any] = {"filter": filter, "solver": "direct"}
    plain = Compliance(source, 0.4, projection=Projection(4.0), **options).check_gradient()
    assert plain.order == pytest.approx(2.0, abs=0.15), str(plain)
    assert plain.error < 1e-5
    driven = Mechanism(source.output("right", "y"), 0.4, **options).check_gradient()
    assert driven.order == pytest.approx(2.0, abs=0.15), str(driven)
    limited = MinimumVolume(source, 30.0, **options).check_gradient()
    assert limited.order == pytest.approx(2.0, abs=0.15), str(limited)
    hot = FEniCSx(mesh, physics="heat").fix("left").source("all", 1.0)
    heat = ThermalCompliance(hot, 0.4, **options).check_gradient()
    assert heat.order == pytest.approx(2.0, abs=0.15), str(heat)


def test_mirrored_meshes_are_refused() -> None:
    with pytest.raises(InputError, match=r"^symmetry: only designs on grids are mirrored; model a half of the mesh"):
        Compliance(FEniCSx(mesh_of("triangle")).fix("left").load("right", (0, -1)), symmetry=("x",))


ON_RANKS = """
import sys
import numpy as np
from sciopt.topopt import Compliance, Density, Grid, Helmholtz, Projection, optimize_topology
from sciopt.topopt.fenicsx import FEniCSx
from sciopt.topopt.fenicsx.gather import gather
from sciopt.topopt.fenicsx.loaded import MPI, dolfinx
method, out, stage, *more = sys.argv[1:]
mesh = dolfinx.mesh.create_rectangle(MPI.COMM_WORLD, [[0, 0], [24, 8]], [36, 12], dolfinx.mesh.CellType.triangle)
source = FEniCSx(mesh).fix("left").load((24, 4), (0, -1)).void(lambda x, y: (x - 8) ** 2 + (y - 4) ** 2 < 4)
problem = Compliance(source, 0.4, filter=Density(1.5), projection=Projection(8.0) if more else None, tol=1e-9)
budget = {"first": 15, "whole": 32, "resumed": 32}[stage]
found = optimize_topology(problem, method, max_solves=budget, out=out, resume=stage == "resumed")
x = gather(problem.structure, found.elements)
if mesh.comm.rank == 0:
    np.savez(out + "/found.npz", x=x, value=found.objective, evaluations=len(found.records))
"""


def test_ranks_find_the_same_design_and_continue_each_others_runs(mpi: Any, tmp_path: Any) -> None:
    found = {}
    for name, ranks, stage in [("one", 1, "whole"), ("two", 2, "whole"), ("cut", 2, "first"), ("cut", 1, "resumed")]:
        mpi(ON_RANKS, ranks, "auto", str(tmp_path / name), stage)
        found[name] = np.load(tmp_path / name / "found.npz")
    for name in ("two", "cut"):
        assert float(found[name]["value"]) == pytest.approx(float(found["one"]["value"]), rel=1e-6)
        np.testing.assert_allclose(found[name]["x"], found["one"]["x"], atol=1e-4)
        assert int(found[name]["evaluations"]) == int(found["one"]["evaluations"])


def test_a_grid_around_the_mesh_saves_solves_on_it() -> None:
    mesh = dolfinx.mesh.create_rectangle(MPI.COMM_SELF, [[0, 0], [60, 20]], [60, 20], dolfinx.mesh.CellType.triangle)
    source = FEniCSx(mesh).fix("left").load((60, 10), (0, -1))
    problem = Compliance(source, 0.5, filter=Density(2.5))
    auto, alone = optimize_topology(problem), optimize_topology(problem, "quasi-newton")
    assert auto.converged and alone.converged
    assert auto.objective < 1.005 * alone.objective
    good = 1.01 * min(auto.objective, alone.objective)
    solves = []
    for found in (auto, alone):
        on_mesh = [r.objective for r in found.records if r.elements == problem.structure.elements]
        solves.append(next(number for number, value in enumerate(on_mesh, 1) if value < good))
    assert solves[0] < 0.5 * solves[1]


@pytest.mark.parametrize("cell", ["triangle", "hexahedron"])
def test_the_grid_around_a_mesh_carries_the_same_volume_and_loads(cell: str) -> None:
    mesh = mesh_of(cell)
    source = FEniCSx(mesh).fix("left").load("right", (1.0, -2.0, 0.5)[: mesh.topology.dim])
    structure = source.spring("right", 3.0, "x").output("right", "x").structure()
    grid = structure.grid
    assert grid is not None
    # Elements that would be more than full, as places to look at cells are few, lose what is too much.
    assert 0.95 * structure.region < grid.region * grid.unit < structure.region * (1.0 + 1e-9)
    components = mesh.topology.dim
    for name in ("loads", "springs", "outputs"):
        totals = getattr(structure, name).reshape(-1, components).sum(axis=0)
        found = getattr(grid, name).reshape(-1, components, int(np.prod(grid.lattice.nodes))).sum(axis=(0, 2))
        np.testing.assert_allclose(found, totals, atol=1e-12)
    for smooth in (True, False):
        np.testing.assert_allclose(structure.sampled(grid, np.full(grid.size, 0.3), smooth), 0.3)
    np.testing.assert_allclose(structure.restrict(grid, np.full(structure.size, 0.3)), 0.3)
    # Linear fields are followed within half an element.
    linear = np.concatenate([c.ravel()[grid.design] for c in grid.lattice.centres()[:1]])
    found = structure.sampled(grid, linear)
    inside = (found > linear.min()) & (found < linear.max())
    np.testing.assert_allclose(found[inside], structure.centres[inside, 0], atol=0.5 * grid.spacing[0])
