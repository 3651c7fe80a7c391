"""What the solves and design iterations on FEniCSx meshes cost, next to plain dolfinx on the same meshes.

Each case is a function of the communicator; all ranks call it, and all get its numbers.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sciopt.bench.fresh_process import peak_memory
from sciopt.bench.mesh_search import search
from sciopt.core.run import run
from sciopt.core.stop import Budget
from sciopt.problems.topology import topology_problem
from sciopt.topopt.filters import Density
from sciopt.topopt.methods import design_method

if TYPE_CHECKING:
    from sciopt.core.run import Snapshot
    from sciopt.core.types import Array
    from sciopt.topopt.problem import TopologyProblem

__all__ = ["CASES", "main"]

# Designs of a run at which plain dolfinx assembles and solves as well, by their number.
_LOOKED_AT = (5, 10, 20, 30)
# What is measured from: before, caches fill and the symbolic factorization is made.
_WARM = 3


def plane(name: str, shape: tuple[int, ...], radius: float, method: str, iterations: int) -> dict[str, Any]:
    """CPU seconds per design iteration, and those of `assemble_matrix` and a solve of the same systems."""
    problem = on_mesh(name, shape, radius)
    seconds, designs = _watched(problem, method, iterations)
    bare = _plain(problem, designs)
    return {
        "cells": problem.structure.elements,
        "unknowns": problem.system.dofs,
        "solver": problem.system.solver,
        "iteration": float(np.median(seconds[_WARM:])),
        "worst": float(np.max(seconds[_WARM:])),
        "setup": float(np.sum(seconds[:1])),
        "memory": peak_memory(),
        **bare,
    }


def black_and_white(shape: tuple[int, ...], radius: float, iterations: int) -> dict[str, Any]:
    """Compliance of a cantilever's design cut to 0 and 1, void at 1e-9, by two codes that share nothing.

    The grid's own multigrid solver, with its own assembly-free operator, is the other code. `naive` is what CG with
    smoothed aggregation says of the same matrix with the smoother of dolfinx's elasticity demo, and why it stopped.
    """
    grid = topology_problem("c3m", *shape, filter=Density(radius))
    design = run(grid, design_method("oc", grid.space), Budget(iterations)).evaluation.info["density"]
    moduli = grid.moduli((design > 0.5).astype(float))
    right = float(np.vdot(grid.structure.loads[0], grid.system.solve(moduli, grid.structure.loads, 1e-9).u[0]))
    mesh = on_mesh("c3m", shape, radius).structure
    system = mesh.system("auto")
    E = moduli[mesh.mesh.topology.original_cell_index[: mesh.cells]]
    begun = time.process_time()
    solution = system.solve(E, mesh.loads, 1e-8)
    seconds = time.process_time() - begun
    found = mesh.total(float(np.vdot(mesh.loads[0], solution.u[0])))
    naive, reason = _naive(mesh, E)
    return {
        "cells": mesh.elements,
        "unknowns": system.dofs,
        "solver": solution.solver,
        "seconds": seconds,
        "CG": int(solution.iterations.sum()),
        "residual": float(solution.residual.max()),
        "compliance": found,
        "grid": right,
        "error": abs(found / right - 1.0),
        "naive": naive,
        "reason": reason,
        "memory": peak_memory(),
    }


def ranks(name: str, shape: tuple[int, ...], radius: float, iterations: int) -> dict[str, Any]:
    """Wall seconds per design iteration on the ranks there are."""
    problem = on_mesh(name, shape, radius)
    seconds, _ = _watched(problem, "mma", iterations, time.perf_counter)
    value = problem.at(tol=1e-9).evaluate(problem.start()).value
    return {
        "cells": problem.structure.elements,
        "unknowns": problem.system.dofs,
        "ranks": problem.structure.comm.size,
        "iteration": float(np.median(seconds[_WARM:])),
        "value": value,
        "memory": peak_memory(),
    }


CASES: dict[str, tuple[Callable[..., dict[str, Any]], tuple[Any, ...], tuple[int, ...]]] = {
    "plane": (plane, ("mbb", (300, 100), 6.0, "mma", 40), (1,)),
    "plane-quasi-newton": (plane, ("mbb", (300, 100), 6.0, "quasi-newton", 40), (1,)),
    "space": (plane, ("c3m", (60, 30, 20), 2.4, "mma", 25), (1,)),
    "large": (black_and_white, ((96, 40, 40), 2.4, 40), (1,)),
    "search": (search, (120.0,), (1,)),
    "ranks": (ranks, ("c3m", (80, 32, 32), 2.4, 12), (1, 2)),
}
"""Cases by name: function, arguments, and the numbers of ranks it is run on."""


def on_mesh(name: str, shape: tuple[int, ...], radius: float) -> TopologyProblem:
    """A named problem with a density filter, on a dolfinx mesh of the elements of its grid."""
    from sciopt.topopt.fenicsx.from_grid import mesh_source

    grid = topology_problem(name, *shape, filter=Density(radius))
    return type(grid)(mesh_source(grid.structure), grid.volume, filter=grid.filter, material=grid.material)


def _watched(
    problem: TopologyProblem, method: str, iterations: int, clock: Callable[[], float] = time.process_time
) -> tuple[Array, list[Array]]:
    """Seconds of every iteration by `clock`, and the densities of some."""
    seconds: list[float] = []
    designs: list[Array] = []
    last = clock()

    def observe(snapshot: Snapshot) -> None:
        nonlocal last
        now = clock()
        seconds.append(now - last)
        if len(seconds) in _LOOKED_AT:
            designs.append(snapshot.state.here.info["density"])
        last = clock()

    run(problem, design_method(method, problem.space), Budget(iterations), observers=(observe,))
    return np.array(seconds), designs


def _plain(problem: TopologyProblem, designs: list[Array]) -> dict[str, float]:
    """Median CPU seconds of `dolfinx.fem.petsc.assemble_matrix`, and of the solve by the same solver."""
    from sciopt.topopt.fenicsx.loaded import PETSc, dolfinx, ufl

    structure, petsc = problem.structure, dolfinx.fem.petsc
    space = structure.space
    modulus = dolfinx.fem.Function(dolfinx.fem.functionspace(structure.mesh, ("DG", 0)))
    u, v = ufl.TrialFunction(space), ufl.TestFunction(space)
    nu = structure.physics.nu
    mu, lam = 0.5 / (1.0 + nu), nu / (1.0 - nu**2) if structure.dim == 2 else nu / ((1.0 + nu) * (1.0 - 2.0 * nu))

    def strain(w: Any) -> Any:
        return ufl.sym(ufl.grad(w))

    stress = 2.0 * mu * strain(u) + lam * ufl.tr(strain(u)) * ufl.Identity(structure.dim)
    # Two points per axis are exact here; what dolfinx would choose by itself takes three times as long.
    dx = ufl.dx(metadata={"quadrature_degree": 2})
    form = dolfinx.fem.form(modulus * ufl.inner(stress, strain(v)) * dx)
    fixed = np.flatnonzero(structure.fixed).astype(np.int32)
    components = space.dofmap.index_map_bs
    conditions = []
    for c in range(components):
        nodes = fixed[fixed % components == c] // components
        conditions.append(dolfinx.fem.dirichletbc(np.float64(0.0), nodes, space.sub(c)))
    matrix = petsc.create_matrix(form)
    for option in (PETSc.Mat.Option.SYMMETRIC, PETSc.Mat.Option.SPD):
        matrix.setOption(option, True)
    right, answer = matrix.createVecRight(), matrix.createVecRight()
    right.array[:] = structure.loads[0]
    solver = _solver(problem, matrix)
    assembling, solving = [], []
    for density in designs:
        modulus.x.array[: structure.cells] = problem.moduli(density)
        begun = time.process_time()
        matrix.zeroEntries()
        petsc.assemble_matrix(matrix, form, bcs=conditions)
        matrix.assemble()
        middle = time.process_time()
        solver.solve(right, answer)
        solving.append(time.process_time() - middle)
        assembling.append(middle - begun)
    return {"assemble": float(np.median(assembling[1:])), "solve": float(np.median(solving[1:]))}


def _solver(problem: TopologyProblem, matrix: Any) -> Any:
    """The solver that the problem uses, set up from scratch at every solve, to the same residual."""
    from sciopt.topopt.fenicsx.loaded import PETSc

    solver = PETSc.KSP().create(matrix.comm)
    solver.setOptionsPrefix("plain_")
    options = PETSc.Options("plain_")
    if problem.system.solver == "direct":
        given = {"ksp_type": "preonly", "pc_type": "cholesky", "pc_factor_mat_solver_type": "mumps"}
    else:
        given = {
            "ksp_type": "cg",
            "ksp_norm_type": "unpreconditioned",
            "ksp_rtol": str(problem.tol),
            "pc_type": "gamg",
            "pc_gamg_threshold": "0.001",
            "pc_gamg_aggressive_coarsening": "1",
            "mg_levels_ksp_type": "richardson",
            "mg_levels_pc_type": "sor",
            "mg_levels_ksp_max_it": "1",
        }
        matrix.setNearNullSpace(_rigid(problem.structure))
    for key, value in given.items():
        options[key] = value
    solver.setOperators(matrix)
    solver.setFromOptions()
    return solver


def _naive(mesh: Any, E: Array) -> tuple[float, int]:
    """The compliance by CG and GAMG with Chebyshev and Jacobi, and PETSc's reason: negative ones are failures."""
    from sciopt.topopt.fenicsx.assembly import StiffnessMatrix
    from sciopt.topopt.fenicsx.elements import Elements
    from sciopt.topopt.fenicsx.loaded import PETSc

    stiffness = StiffnessMatrix(Elements(mesh.space, mesh.physics), mesh.fixed, mesh.springs)
    stiffness.assemble(E)
    matrix = stiffness.matrix
    matrix.setNearNullSpace(_rigid(mesh))
    solver = PETSc.KSP().create(matrix.comm)
    solver.setOperators(matrix)
    solver.setType("cg")
    solver.getPC().setType("gamg")
    solver.setOptionsPrefix("naive_")
    options = PETSc.Options("naive_")
    options["mg_levels_ksp_type"], options["mg_levels_pc_type"] = "chebyshev", "jacobi"
    options["pc_gamg_threshold"] = 0.01
    solver.setFromOptions()
    solver.setTolerances(rtol=1e-8, max_it=400)
    right, answer = matrix.createVecRight(), matrix.createVecRight()
    right.array[:] = np.where(mesh.fixed, 0.0, mesh.loads[0])
    solver.solve(right, answer)
    return mesh.total(float(np.vdot(mesh.loads[0], answer.array))), int(solver.getConvergedReason())


def _rigid(structure: Any) -> Any:
    """Translations and rotations, orthonormal, as PETSc's near-nullspace."""
    from sciopt.topopt.fenicsx.loaded import PETSc

    space, dim = structure.space, structure.dim
    owned = space.dofmap.index_map.size_local
    x = space.tabulate_dof_coordinates()[:owned]
    modes = [np.eye(dim)[i][None, :].repeat(owned, axis=0) for i in range(dim)]
    for i in range(dim):
        for j in range(i):
            mode = np.zeros((owned, dim))
            mode[:, i], mode[:, j] = x[:, j], -x[:, i]
            modes.append(mode)
    basis: list[Array] = []
    for mode in modes:
        flat = mode.ravel()
        for other in basis:
            flat = flat - structure.total(float(other @ flat)) * other
        basis.append(flat / np.sqrt(structure.total(float(flat @ flat))))
    vectors = []
    for flat in basis:
        vector = PETSc.Vec().createMPI((flat.size, PETSc.DETERMINE), bsize=dim, comm=structure.comm)
        vector.array[:] = flat
        vectors.append(vector)
    return PETSc.NullSpace().create(vectors=vectors, comm=structure.comm)


def main(name: str, file: str) -> None:
    """Run one case; the first rank writes its numbers to `file`."""
    measure, arguments, _ = CASES[name]
    found = measure(*arguments)
    from sciopt.topopt.fenicsx.loaded import MPI, PETSc, dolfinx

    found["versions"] = f"dolfinx {dolfinx.__version__}, PETSc {'.'.join(map(str, PETSc.Sys.getVersion()))}"
    if MPI.COMM_WORLD.rank == 0:
        Path(file).write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
