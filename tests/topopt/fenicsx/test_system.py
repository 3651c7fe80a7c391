"""The equilibrium of meshes: answers of grids, exact fields, orders of convergence, faults, any number of ranks."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest

import sciopt.topopt.fenicsx.system as module
from sciopt.core.errors import EvaluationFailed, InputError, ShapeError
from sciopt.topopt.fenicsx.auxiliary import AuxiliaryGrid
from sciopt.topopt.fenicsx.cells import cell_shapes, cell_volumes
from sciopt.topopt.fenicsx.elements import lame_constants
from sciopt.topopt.fenicsx.loaded import MPI, PETSc, dolfinx
from sciopt.topopt.fenicsx.solvers import Factorization, Multigrid
from sciopt.topopt.fenicsx.structure import cell_corners
from sciopt.topopt.fenicsx.system import MeshSystem
from sciopt.topopt.grid.element import Conduction, Elasticity, Physics
from sciopt.topopt.grid.system import GridSystem

DIMENSION = {"triangle": 2, "quadrilateral": 2, "tetrahedron": 3, "hexahedron": 3}


def make_space(cell: str, shape: tuple[int, ...], physics: Physics, distortion: float = 0.0, unit: bool = False):
    """Linear elements on the box of edges `shape`, or on the unit box, with inner nodes moved."""
    dim = len(shape)
    make = dolfinx.mesh.create_rectangle if dim == 2 else dolfinx.mesh.create_box
    lengths = np.ones(dim) if unit else np.array(shape, dtype=float)
    mesh = make(MPI.COMM_SELF, [np.zeros(dim), lengths], shape, dolfinx.mesh.CellType[cell])
    x = mesh.geometry.x[:, :dim]
    step = np.random.default_rng(5).uniform(-distortion, distortion, x.shape) * lengths / shape
    step[np.isclose(x, 0.0) | np.isclose(x, lengths)] = 0.0
    mesh.geometry.x[:, :dim] += step
    element = ("Lagrange", 1) if isinstance(physics, Conduction) else ("Lagrange", 1, (dim,))
    return dolfinx.fem.functionspace(mesh, element)


def points(space) -> np.ndarray:
    return space.tabulate_dof_coordinates()[:, : space.mesh.topology.dim]


def clamped(cell: str, shape: tuple[int, ...], physics: Physics, **options):
    """A clamped box with a load in a corner of the other end."""
    space = make_space(cell, shape, physics)
    c, x = space.dofmap.index_map_bs, points(space)
    system = MeshSystem(space, physics, np.repeat(x[:, 0] < 0.5, c), **options)
    load = np.zeros((1, system.unknowns))
    load[0, c * np.flatnonzero((x[:, 0] > shape[0] - 0.5) & (x[:, -1] < 0.5)) + c - 1] = -1.0
    return system, load


@pytest.mark.parametrize("solver", ["direct", "multigrid"])
@pytest.mark.parametrize(
    ("shape", "physics"),
    [((9, 5), Elasticity(0.3)), ((8, 6), Elasticity(0.2, "strain")), ((9, 4), Conduction()),
     ((6, 3, 4), Elasticity(0.3)), ((4, 5, 3), Conduction())],
)  # fmt: skip
def test_uniform_meshes_answer_as_grids(
    shape: tuple[int, ...], physics: Physics, solver: str, rng: np.random.Generator
) -> None:
    dim, nodal = len(shape), tuple(n + 1 for n in reversed(shape))
    c = physics.components(dim)
    fixed = np.zeros((c, *nodal), bool)
    fixed[..., 0] = True
    fixed[c - 1, ..., 0, :] = True
    springs = np.where(rng.random((c, *nodal)) < 0.1, 0.7, 0.0)
    loads = rng.standard_normal((3, c, *nodal))
    E = 10.0 ** rng.uniform(-2.0, 0.0, math.prod(shape))
    grid = GridSystem(shape, (1.0,) * dim, physics, fixed, springs, "direct")
    expected = grid.solve(E, loads)

    space = make_space("quadrilateral" if dim == 2 else "hexahedron", shape, physics)
    node = tuple(np.rint(points(space)).astype(int).T[::-1])
    cell = np.floor(cell_corners(space.mesh).mean(axis=1)).astype(int).T[::-1]
    order = np.ravel_multi_index(tuple(cell), shape[::-1])

    def here(field: np.ndarray) -> np.ndarray:
        """A nodal field of the grid, in the order of the mesh."""
        return np.moveaxis(field, 0, -1)[node].ravel()

    system = MeshSystem(space, physics, here(fixed), here(springs), solver)
    assert (system.dofs, system.solver) == (grid.dofs, solver)
    there = np.array([here(load) for load in loads])
    solution = system.solve(E[order], there, tol=1e-12)
    for u, load in zip(solution.u, expected.u, strict=True):
        np.testing.assert_allclose(u, here(load), atol=1e-9 * np.abs(load).max())
    assert solution.residual.max() <= 1e-12 and (solution.iterations.min() > 0) == (solver == "multigrid")
    u, v = expected.u[:2]
    scale = np.abs(grid.energies(u, v)).max()
    np.testing.assert_allclose(system.energies(here(u), here(v)), grid.energies(u, v)[order], atol=1e-12 * scale)
    np.testing.assert_allclose(system.energies(here(u)), grid.energies(u)[order], rtol=1e-12)
    loaded = rng.standard_normal(u.shape)
    np.testing.assert_allclose(system.apply(E[order], here(loaded)), here(grid.apply(E, loaded)), atol=1e-12)


@pytest.mark.parametrize("solver", ["direct", "multigrid"])
@pytest.mark.parametrize("cell", DIMENSION)
def test_constant_stress_is_reproduced_on_distorted_meshes(cell: str, solver: str) -> None:
    # The patch test: forces on the boundary only, which do the work of the stress, and the linear field they belong to.
    dim = DIMENSION[cell]
    physics = Elasticity(0.35)
    shape = (5, 4, 3)[:dim]
    space = make_space(cell, shape, physics, 0.2)
    x = points(space)
    gradient = np.triu(np.random.default_rng(0).standard_normal((dim, dim)))  # keeps the supports below at rest
    exact = (x @ gradient.T).ravel()
    lam, mu = lame_constants(physics, dim)
    stress = lam * np.trace(gradient) * np.eye(dim) + mu * (gradient + gradient.T)

    force = MeshSystem(space, physics, np.zeros(exact.size, bool)).apply(
        np.ones(cell_corners(space.mesh).shape[0]), exact
    )
    force = force.reshape(x.shape)
    inside = np.all((x > 1e-9) & (x < np.array(shape) - 1e-9), axis=1)
    assert inside.any() and np.abs(force[inside]).max() < 1e-12
    np.testing.assert_allclose(force.T @ x, stress * math.prod(shape), atol=1e-11)

    fixed = np.zeros(x.shape, bool)
    for component in range(dim):  # at the origin all; at the end of the x axis all but x; of the y axis z
        for axis in range(component):
            fixed[np.argmin(np.abs(x - shape[axis] * np.eye(dim)[axis]).sum(axis=1)), component] = True
        fixed[np.argmin(np.abs(x).sum(axis=1)), component] = True
    system = MeshSystem(space, physics, fixed.ravel(), solver=solver)
    assert not force[fixed].any() or np.abs(exact.reshape(x.shape)[fixed]).max() < 1e-12
    u = system.solve(np.ones(system.energies(exact).size), force.reshape(1, -1), tol=1e-12).u[0]
    assert np.abs(u - exact).max() < 1e-9 * np.abs(exact).max()


def body_force(x: np.ndarray, physics: Physics) -> np.ndarray:
    """Load per volume (nodes, c) that bends the unit box into u = (w, ..., w), w the product of sin πx."""
    dim = x.shape[1]
    sines, cosines = np.sin(np.pi * x), np.cos(np.pi * x)
    w = sines.prod(axis=1)
    if isinstance(physics, Conduction):
        return dim * np.pi**2 * w[:, None]
    lam, mu = lame_constants(physics, dim)
    force = []
    for a in range(dim):
        mixed = sum(
            np.prod([cosines[:, i] if i in (a, b) else sines[:, i] for i in range(dim)], axis=0)
            for b in range(dim)
            if b != a
        )
        force.append(np.pi**2 * ((mu * dim + lam + mu) * w - (lam + mu) * mixed))
    return np.stack(force, axis=1)


@pytest.mark.parametrize("physics", [Elasticity(0.3), Conduction()])
@pytest.mark.parametrize("cell", DIMENSION)
def test_fields_converge_with_the_second_order_and_gradients_with_the_first(cell: str, physics: Physics) -> None:
    dim = DIMENSION[cell]
    errors = []
    for n in (12, 24, 48) if dim == 2 else (6, 12):
        space = make_space(cell, (n,) * dim, physics, 0.15, unit=True)
        x, c = points(space), space.dofmap.index_map_bs
        nodes, volumes = space.dofmap.list, cell_volumes(space.mesh)
        lumped = np.bincount(nodes.ravel(), np.repeat(volumes / nodes.shape[1], nodes.shape[1]))
        boundary = np.any(np.isclose(x, 0.0) | np.isclose(x, 1.0), axis=1)
        system = MeshSystem(space, physics, np.repeat(boundary, c))
        load = (lumped[:, None] * body_force(x, physics)).ravel()
        u = system.solve(np.ones(len(nodes)), load[None], tol=1e-9).u[0].reshape(-1, c)
        shapes = cell_shapes(space.mesh)
        gradients, weights = shapes.gradients[shapes.kind], shapes.weights[shapes.kind]
        centre = cell_corners(space.mesh).mean(axis=1)
        w = np.sin(np.pi * centre)
        exact = np.pi * np.stack(
            [np.cos(np.pi * centre[:, a]) * np.delete(w, a, axis=1).prod(axis=1) for a in range(dim)], axis=1
        )
        # At the centre, the mean over the points of Gauss; both are of the first order.
        seen = np.einsum("kqai,kar->kri", gradients * weights[..., None, None], u[nodes]) / volumes[:, None, None]
        field = np.sqrt(lumped @ ((u - np.sin(np.pi * x).prod(axis=1)[:, None]) ** 2).sum(axis=1))
        slope = np.sqrt(volumes @ ((seen - exact[:, None]) ** 2).sum(axis=(1, 2)))
        errors.append((field, slope))
    for (field, slope), (finer_field, finer_slope) in pairwise(errors):
        assert np.log2(field / finer_field) == pytest.approx(2.0, abs=0.25)
        assert 0.8 < np.log2(slope / finer_slope) < 2.2


@pytest.mark.parametrize("solver", ["direct", "multigrid"])
def test_several_loads_guesses_and_nothing_at_all(solver: str, rng: np.random.Generator) -> None:
    system, load = clamped("hexahedron", (8, 4, 4), Elasticity(), solver=solver)
    E = np.where(rng.random(8 * 4 * 4) < 0.7, 1.0, 1e-3)
    loads = np.concatenate([load, np.zeros_like(load), rng.standard_normal(load.shape), 1e8 * load])
    together = system.solve(E, loads, tol=1e-10)
    assert together.residual.max() <= 1e-10 and together.residual[1] == 0.0
    assert not together.u[1].any() and not together.u[:, system.fixed].any()
    for number, one in enumerate(loads):
        alone = system.solve(E, one[None], tol=1e-10, guess=rng.standard_normal((1, system.unknowns)))
        np.testing.assert_allclose(alone.u[0], together.u[number], atol=1e-7 * np.abs(together.u[number]).max())
    again = system.solve(E, loads, tol=1e-9, guess=together.u)
    assert not again.iterations.any()
    residual = np.where(system.fixed, 0.0, loads[2]) - system.apply(E, together.u[2])
    assert together.residual[2] == pytest.approx(
        np.linalg.norm(residual) / np.linalg.norm(loads[2][~system.fixed]), rel=1e-6, abs=1e-15
    )


def test_auto_factorizes_what_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    assert clamped("quadrilateral", (8, 4), Elasticity())[0].solver == "direct"
    monkeypatch.setitem(module.DIRECT, 2, 50)
    assert clamped("quadrilateral", (8, 4), Elasticity())[0].solver == "multigrid"


def test_what_does_not_converge_is_tried_with_more_care(monkeypatch: pytest.MonkeyPatch) -> None:
    system, load = clamped("triangle", (16, 8), Elasticity(), solver="multigrid")
    E = np.ones(2 * 16 * 8)
    expected = system.solve(E, load, tol=1e-8).u
    tried = []
    monkeypatch.setattr(AuxiliaryGrid, "ITERATIONS", 0)
    create, factorize = Multigrid._create, Factorization.solve
    monkeypatch.setattr(Multigrid, "_create", lambda self: (tried.append(self._careful), create(self))[1])
    monkeypatch.setattr(Factorization, "solve", lambda self, *a: (tried.append("MUMPS"), factorize(self, *a))[1])
    monkeypatch.setattr(Multigrid, "_iterate", lambda self, *a: (1, 0.0))
    seen = system.solve(2.0 * E, load, tol=1e-8)
    assert tried == [False, True, "MUMPS"]
    np.testing.assert_allclose(2.0 * seen.u, expected, atol=1e-6 * np.abs(expected).max())

    # PETSc gave up in the middle, and nothing else is left.
    def broken(self, *arguments):
        raise PETSc.Error(76)

    monkeypatch.setattr(Multigrid, "_iterate", broken)
    monkeypatch.setattr(Factorization, "solve", broken)
    with pytest.raises(EvaluationFailed, match="The multigrid solver reached a relative residual of nan"):
        system.solve(E, load, tol=1e-8)
    monkeypatch.undo()
    np.testing.assert_allclose(system.solve(E, load, tol=1e-8).u, expected, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("solver", ["direct", "multigrid"])
@pytest.mark.parametrize("cell", ["quadrilateral", "tetrahedron"])
def test_faults_fail_with_a_sentence_and_leave_a_system_that_works(cell: str, solver: str) -> None:
    shape = (6, 4, 4)[: DIMENSION[cell]]
    system, load = clamped(cell, shape, Elasticity(), solver=solver)
    E = np.ones(system.energies(np.zeros(system.unknowns)).size)
    expected = system.solve(E, load, tol=1e-9).u
    bad = E.copy()
    bad[3] = np.nan
    with pytest.raises(EvaluationFailed, match="moduli contain numbers that are not finite"):
        system.solve(bad, load)
    with pytest.raises(EvaluationFailed, match="loads contain numbers that are not finite"):
        system.solve(E, np.where(load < 0.0, np.inf, 0.0))
    with pytest.raises(EvaluationFailed, match="touches only cells without stiffness"):
        system.solve(0.0 * E, load)
    with pytest.raises(InputError, match="smallest modulus is -1"):
        system.solve(-E, load)
    with pytest.raises(ShapeError, match="E has shape"):
        system.solve(E[1:], load)
    with pytest.raises(ShapeError, match="loads has shape"):
        system.solve(E, load[0])
    with pytest.raises(ShapeError, match="guess has shape"):
        system.solve(E, load, guess=load[0])
    with pytest.raises(InputError, match="tol is 0"):
        system.solve(E, load, tol=0.0)
    np.testing.assert_allclose(system.solve(E, load, tol=1e-9).u, expected, atol=1e-6 * np.abs(expected).max())
    space = make_space(cell, shape, Elasticity())
    with pytest.raises(EvaluationFailed, match="is every loaded part supported"):
        MeshSystem(space, Elasticity(), np.zeros(system.unknowns, bool), solver=solver).solve(E, load)
    with pytest.raises(InputError, match="it must be 'auto', 'direct' or 'multigrid'"):
        MeshSystem(space, Elasticity(), system.fixed, solver="magic")
    with pytest.raises(ShapeError, match="fixed has shape"):
        MeshSystem(space, Elasticity(), system.fixed[1:])
    with pytest.raises(InputError, match="stiffnesses are negative"):
        MeshSystem(space, Elasticity(), system.fixed, -np.ones(system.unknowns))


RANKS = """
import numpy as np
from sciopt.core.errors import EvaluationFailed
from sciopt.topopt.fenicsx.loaded import MPI, dolfinx
from sciopt.topopt.fenicsx.structure import cell_corners
from sciopt.topopt.fenicsx.system import MeshSystem
from sciopt.topopt.grid.element import Conduction, Elasticity

world = MPI.COMM_WORLD


def solve(comm, cell, physics, solver):
    if cell == "quadrilateral":
        mesh = dolfinx.mesh.create_rectangle(comm, [[0.0, 0.0], [16.0, 8.0]], [16, 8], dolfinx.mesh.CellType[cell])
    else:
        mesh = dolfinx.mesh.create_box(comm, [[0.0] * 3, [6.0, 4.0, 4.0]], [6, 4, 4], dolfinx.mesh.CellType[cell])
    dim = mesh.topology.dim
    c = physics.components(dim)
    space = dolfinx.fem.functionspace(mesh, ("Lagrange", 1, (dim,)) if c > 1 else ("Lagrange", 1))
    x = space.tabulate_dof_coordinates()[: space.dofmap.index_map.size_local, :dim]
    fixed = np.repeat(x[:, 0] < 0.5, c)
    springs = np.where(np.arange(c) == 0, 0.1, 0.0) * (x[:, 1:2] < 0.5)
    system = MeshSystem(space, physics, fixed, springs.ravel(), solver)
    loads = np.stack([np.cos(k * x.sum(axis=1))[:, None] * np.arange(1.0, c + 1.0) for k in (0.0, 0.7)])
    loads = loads.reshape(2, -1)
    centres = cell_corners(mesh).mean(axis=1)
    u, numbers = None, [system.dofs]
    for step in range(3):
        E = np.where(np.sin((0.5 + 0.1 * step) * centres).sum(axis=1) > 0.0, 1.0, 0.01)
        solution = system.solve(E, loads, tol=1e-9, guess=u)
        u = solution.u
        assert solution.residual.max() <= 1e-9
        total = np.array([np.vdot(loads, u), E @ system.energies(u[0], u[1]), np.vdot(u[0], system.apply(E, u[1]))])
        numbers.extend(comm.allreduce(total))
    faults = []
    E[(np.arange(E.size) == 0) & (comm.rank == comm.size - 1)] = np.nan
    unsupported = MeshSystem(space, physics, np.zeros(fixed.size, bool), solver=solver)
    for broken, moduli, load in ((system, E, loads), (unsupported, np.ones(E.size), np.ones(loads.shape))):
        try:
            broken.solve(moduli, load)
        except EvaluationFailed as error:
            faults.append(str(error))
    assert len(faults) == 2 and set(comm.allgather(faults[0])) == {faults[0]}, faults
    return numbers


for case in (("quadrilateral", Elasticity(), "direct"), ("quadrilateral", Elasticity(), "multigrid"),
             ("tetrahedron", Conduction(), "multigrid"), ("hexahedron", Elasticity(), "multigrid")):
    many, one = solve(world, *case), solve(MPI.COMM_SELF, *case)
    np.testing.assert_allclose(many, one, rtol=1e-6, err_msg=str(case))
    np.testing.assert_allclose(many[1::3], one[1::3], rtol=1e-9, err_msg=str(case))  # compliances

# More ranks than cells: one of them has nothing to do, but is asked all the same.
mesh = dolfinx.mesh.create_unit_square(world, 1, 1, dolfinx.mesh.CellType.quadrilateral)
space = dolfinx.fem.functionspace(mesh, ("Lagrange", 1))
x = space.tabulate_dof_coordinates()[: space.dofmap.index_map.size_local]
for solver in ("direct", "multigrid"):
    system = MeshSystem(space, Conduction(), x[:, 0] < 0.5, solver=solver)
    E = np.full(len(cell_corners(mesh)), 2.0)
    assert 0 in world.allgather(E.size)
    u = system.solve(E, np.where(x[:, 0] > 0.5, 0.5, 0.0)[None], tol=1e-9).u[0]
    np.testing.assert_allclose(u, x[:, 0] / 2.0, atol=1e-8)
    assert abs(world.allreduce(float(system.energies(u).sum())) - 0.25) < 1e-8
if world.gather("done") == ["done", "done"]:
    print("both done")
"""


def test_ranks_agree_with_one_and_with_each_other(mpi: Callable[..., str]) -> None:
    assert "both done" in mpi(RANKS)
