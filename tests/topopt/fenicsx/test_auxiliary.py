"""Multigrid on a grid around the mesh, as a preconditioner."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sciopt.topopt import Conduction, Elasticity
from sciopt.topopt.fenicsx.assembly import StiffnessMatrix
from sciopt.topopt.fenicsx.auxiliary import AuxiliaryGrid
from sciopt.topopt.fenicsx.elements import Elements
from sciopt.topopt.fenicsx.loaded import MPI, dolfinx
from sciopt.topopt.fenicsx.system import MeshSystem

CELLS = ["triangle", "quadrilateral", "tetrahedron", "hexahedron"]


def mesh_of(cell: str, n: int) -> Any:
    kind, comm = dolfinx.mesh.CellType[cell], MPI.COMM_SELF
    if cell in ("triangle", "quadrilateral"):
        return dolfinx.mesh.create_rectangle(comm, [[0, 0], [2, 1]], [2 * n, n], kind)
    return dolfinx.mesh.create_box(comm, [[0, 0, 0], [2, 1, 1]], [2 * n, n, n], kind)


def clamped(cell: str, n: int, physics: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray]:
    """Space, fixed unknowns, a load at the far end, centres of cells."""
    mesh = mesh_of(cell, n)
    components = physics.components(mesh.topology.dim)
    shape = (components,) if components > 1 else ()
    space = dolfinx.fem.functionspace(mesh, ("Lagrange", 1, shape))
    x = np.repeat(space.tabulate_dof_coordinates(), components, axis=0)
    load = np.where(x[:, 0] > 2 - 1e-9, 1.0, 0.0)
    corners = mesh.geometry.x[mesh.geometry.dofmaps[0]]
    return space, x[:, 0] < 1e-9, load, corners.mean(axis=1)


def grey(centres: np.ndarray) -> np.ndarray:
    """Two bars, what a filter leaves between them, and a plate at the loaded end."""
    density = np.clip(1.5 - 6.0 * np.abs(np.abs(centres[:, 1] - 0.5) - 0.3), 0.0, 1.0)
    return 1e-9 + np.where(centres[:, 0] > 1.7, 1.0, density) ** 3


@pytest.mark.parametrize("physics", [Elasticity(), Conduction()], ids=["elasticity", "heat"])
@pytest.mark.parametrize("cell", CELLS)
def test_it_is_symmetric_and_positive_definite(cell: str, physics: Any) -> None:
    space, fixed, load, centres = clamped(cell, 4, physics)
    elements, springs = Elements(space, physics), np.zeros(fixed.size)
    springs[-1] = 0.5
    stiffness = StiffnessMatrix(elements, fixed, springs)
    E = grey(centres)
    stiffness.assemble(E)
    grid = AuxiliaryGrid(space, elements, physics, stiffness.matrix, fixed, springs)
    grid.refresh(E)
    r, z = stiffness.matrix.createVecs()
    columns = []
    free = np.flatnonzero(~fixed)
    for i in free:
        r.array[:] = 0.0
        r.array[i] = 1.0
        grid._precondition(r, z)
        columns.append(z.array[free].copy())
    matrix = np.array(columns)
    # The cycle on the grid is in single precision.
    np.testing.assert_allclose(matrix, matrix.T, atol=2e-5 * np.abs(matrix).max())
    assert np.linalg.eigvalsh(0.5 * (matrix + matrix.T)).min() > 0.0
    u = np.zeros(fixed.size)
    grid.solve(np.where(fixed, 0.0, load), u, 1e-8)
    assert grid.converged
    exact = MeshSystem(space, physics, fixed, springs, "direct").solve(E, load[None], 1e-10).u[0]
    assert load @ u == pytest.approx(load @ exact, rel=1e-6)
    grid.destroy()


@pytest.mark.parametrize(("cell", "n", "most"), [("triangle", 40, 12), ("tetrahedron", 10, 28)])
def test_iterations_are_few_and_do_not_grow_with_the_mesh(cell: str, n: int, most: int) -> None:
    for size in (n // 2, n):
        space, fixed, load, centres = clamped(cell, size, Elasticity())
        solution = MeshSystem(space, Elasticity(), fixed, solver="multigrid").solve(grey(centres), load[None], 1e-4)
        assert solution.iterations[0] <= most
        assert solution.residual[0] <= 1e-4


def test_what_the_grid_cannot_see_is_solved_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    space, fixed, load, centres = clamped("triangle", 16, Elasticity())
    # Islands of single cells, and members that hang on corners.
    black = (np.random.default_rng(1).uniform(size=len(centres)) < 0.5) | (np.abs(centres[:, 1] - 0.5) > 0.4)
    E = np.where(black | (centres[:, 0] > 1.7), 1.0, 1e-9)
    system = MeshSystem(space, Elasticity(), fixed, solver="multigrid")
    tried: list[bool] = []
    ask = AuxiliaryGrid.solve

    def watched(self: AuxiliaryGrid, f: np.ndarray, u: np.ndarray, tol: float) -> int:
        steps = ask(self, f, u, tol)
        tried.append(self.converged)
        return steps

    monkeypatch.setattr(AuxiliaryGrid, "solve", watched)
    direct = MeshSystem(space, Elasticity(), fixed, solver="direct").solve(E, load[None], 1e-6)
    for _ in range(3):
        solution = system.solve(E, load[None], 1e-5)
        assert load @ solution.u[0] == pytest.approx(load @ direct.u[0], rel=1e-6)
    # It gave up once, and was left alone after that.
    assert tried == [False]
    easy = grey(centres)
    for _ in range(8):
        system.solve(easy, load[None], 1e-3)
    assert tried[1:] and all(tried[1:])


ON_RANKS = """
import numpy as np
from sciopt.topopt import Compliance, Density
from sciopt.topopt.fenicsx import FEniCSx
from sciopt.topopt.fenicsx.loaded import MPI, dolfinx
for kind, size, cells in (("triangle", [24, 8], [48, 16]), ("tetrahedron", [8, 4, 4], [12, 6, 6])):
    kind = dolfinx.mesh.CellType[kind]
    create = dolfinx.mesh.create_rectangle if len(size) == 2 else dolfinx.mesh.create_box
    mesh = create(MPI.COMM_WORLD, [[0] * len(size), size], cells, kind)
    source = FEniCSx(mesh).fix("left").load("right", (0, -1, 0)[: len(size)])
    source = source.void(lambda *x: (x[1] > 0.7 * size[1]) & (x[0] < 0.5 * size[0]))
    problem = Compliance(source, 0.4, filter=Density(1.5), solver="multigrid", tol=1e-9)
    found = problem.evaluate(problem.start())
    if MPI.COMM_WORLD.rank == 0:
        print(f"{found.value:.9e}", int(found.cost["iterations"]))
"""


def test_several_ranks_give_the_same_answer_in_about_as_many_iterations(mpi: Any) -> None:
    said = {ranks: [line.split() for line in mpi(ON_RANKS, ranks).splitlines()] for ranks in (1, 2)}
    for one, two in zip(said[1], said[2], strict=True):
        assert float(two[0]) == pytest.approx(float(one[0]), rel=1e-8)
        assert int(two[1]) <= 1.5 * int(one[1]) < 40
