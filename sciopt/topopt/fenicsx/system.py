"""The equilibrium of a mesh, ``K(E) u = f``, on any number of ranks, whatever solves it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from sciopt.core.errors import EvaluationFailed, InputError, SciOptError, ShapeError
from sciopt.core.types import Array, Mask
from sciopt.topopt.fenicsx.assembly import StiffnessMatrix
from sciopt.topopt.fenicsx.auxiliary import AuxiliaryGrid
from sciopt.topopt.fenicsx.elements import Elements
from sciopt.topopt.fenicsx.loaded import MPI, PETSc
from sciopt.topopt.fenicsx.near_nullspace import near_nullspace
from sciopt.topopt.fenicsx.solvers import Factorization, Multigrid
from sciopt.topopt.grid.element import Physics
from sciopt.topopt.grid.system import Solution

__all__ = ["MeshSystem"]

log = logging.getLogger("sciopt")

# Free unknowns up to which "auto" factorizes, by dimension. Not where the costs cross: along 42 SIMP designs at a
# tolerance of 1e-3, multigrid took 0.5 of the CPU time of MUMPS at 3900 unknowns and 0.6 at 15300 in 2D, 0.6 at 1900
# and 0.3 at 12900 in 3D. Below, a solve costs hundredths of a second either way, and a factorization is exact.
DIRECT = {2: 10_000, 3: 3_000}
# Free unknowns up to which a factorization is worth a try where multigrid failed: memory of a few gigabytes.
RESCUE = {2: 1_500_000, 3: 150_000}
# Solves that do without the grid after it has failed: designs change little from one to the next.
PAUSE = 8
# Solves from where the last one ended: rounding keeps residuals from what the iterations believe.
REPEATS = 3


class MeshSystem:
    """Finite elements on a mesh: ``K(E) = Σ_e E_e K_e + diag(springs)``, fixed unknowns left out.

    All methods are called by all ranks at the same time, and what they raise, they raise on all ranks.

    Parameters
    ----------
    space
        Linear Lagrange elements on the mesh (dolfinx): vectors for elasticity, a scalar for conduction.
    physics
        `Elasticity` or `Conduction`.
    fixed
        (unknowns,) fixed unknowns among those that this rank owns. Unknowns that touch only cells with modulus zero
        must be fixed too.
    springs
        (unknowns,) stiffness added to the diagonal, at least zero, or None.
    solver
        "direct", "multigrid", or "auto".

    Raises
    ------
    InputError
        When a shape is wrong, a spring is negative, a cell is flat or inverted, or the solver is unknown.

    Examples
    --------
    >>> from sciopt.topopt.fenicsx.loaded import MPI, dolfinx
    >>> from sciopt.topopt.grid.element import Conduction
    >>> mesh = dolfinx.mesh.create_rectangle(MPI.COMM_SELF, [[0.0, 0.0], [4.0, 1.0]], [4, 1])
    >>> space = dolfinx.fem.functionspace(mesh, ("Lagrange", 1))
    >>> x = space.tabulate_dof_coordinates()[:, 0]
    >>> system = MeshSystem(space, Conduction(), fixed=x < 0.1)
    >>> solution = system.solve(np.ones(8), np.where(x > 3.9, 0.5, 0.0)[None])
    >>> float(solution.u.max().round(6))
    4.0
    """

    def __init__(
        self,
        space: Any,
        physics: Physics,
        fixed: Mask,
        springs: Array | None = None,
        solver: str = "auto",
    ) -> None:
        comm, dim = space.mesh.comm, space.mesh.topology.dim
        self._comm = comm
        PETSc.garbage_cleanup(comm)  # what systems that nobody needs any more have left behind on several ranks
        if solver not in ("auto", "direct", "multigrid"):
            raise InputError(f"solver is {solver!r}; it must be 'auto', 'direct' or 'multigrid'.")
        self._elements = elements = Elements(space, physics)
        self.unknowns = elements.unknowns
        self.fixed = np.array(fixed, dtype=bool)
        self.springs = np.zeros(self.unknowns) if springs is None else np.array(springs, dtype=float)
        self._agree(_misshapen("fixed", self.fixed, (self.unknowns,)))
        self._agree(_misshapen("springs", self.springs, (self.unknowns,)))
        soft = not np.all(self.springs >= 0.0)
        self._agree(InputError("springs: some stiffnesses are negative or not numbers.") if soft else None)
        self.dofs = int(comm.allreduce(int(self.fixed.size - np.count_nonzero(self.fixed))))
        self.solver = ("direct" if self.dofs <= DIRECT[dim] else "multigrid") if solver == "auto" else solver
        self._rescue = self.dofs <= RESCUE[dim]
        self._stiffness = StiffnessMatrix(elements, self.fixed, self.springs)
        if elements.components > 1:
            modes = near_nullspace(space, self._stiffness.matrix)
            self._stiffness.matrix.setNearNullSpace(modes)
            modes.destroy()
        self._space, self._physics = space, physics
        self._current: Factorization | Multigrid | None = None
        self._grid: AuxiliaryGrid | None = None
        self._pause = 0
        self._careful = False

    def solve(self, E: Array, loads: Array, tol: float = 1e-5, guess: Array | None = None) -> Solution:
        """Equilibrium under every load.

        Parameters
        ----------
        E
            Moduli (cells,), at least zero.
        loads
            Right-hand sides (cases, unknowns); values at fixed unknowns are ignored.
        tol
            Largest relative residual ``|f − K u| / |f|``.
        guess
            Where iterations start (cases, unknowns), or None for zero.

        Raises
        ------
        InputError
            When a shape is wrong or a modulus negative.
        EvaluationFailed
            When a number is not finite, the system is singular, or the tolerance was not reached.
        """
        E, f = self._moduli(E), np.asarray(loads, dtype=float)
        self._agree(_misshapen("loads", f, (len(f), self.unknowns)) if f.ndim else _misshapen("loads", f, (0, 0)))
        self._agree(None if guess is None else _misshapen("guess", np.asarray(guess), f.shape))
        self._agree(
            None if np.isfinite(f).all() else EvaluationFailed("The loads contain numbers that are not finite.")
        )
        if not tol > 0.0:
            raise InputError(f"tol is {tol}; it must be positive.")
        f = np.where(self.fixed, 0.0, f)
        if not self._stiffness.assemble(E):
            raise EvaluationFailed("A free unknown touches only cells without stiffness; fix it, or fill its cells.")
        start = np.zeros(f.shape) if guess is None else np.where(self.fixed, 0.0, guess)
        start[~np.isfinite(start)] = 0.0
        sizes = np.array([self._norm(load) for load in f])
        u, residual, iterations = start.copy(), np.zeros(len(f)), np.zeros(len(f), dtype=np.int64)
        open_cases = [case for case in range(len(f)) if sizes[case] > 0.0]
        u[sizes == 0.0] = 0.0
        on_grid = self.solver == "multigrid" and not self._pause
        for attempt, prepare in enumerate(self._attempts(E)):
            if attempt:
                u[open_cases] = start[open_cases] if on_grid and attempt == 1 else 0.0
            try:
                solver = prepare()
                for case in open_cases:
                    steps, residual[case] = self._improve(solver, E, f[case], u[case], sizes[case], tol)
                    iterations[case] += steps
            except (PETSc.Error, EvaluationFailed) as error:
                log.debug("solve %d: %s", attempt + 1, error)
                residual[open_cases] = np.nan
            open_cases = [case for case in open_cases if not residual[case] <= tol]
            if not open_cases:
                if self.solver == "multigrid" and isinstance(solver, Factorization):
                    self._drop()  # a rescue; the next design may do without
                return Solution(u, residual, iterations, self.solver)
            log.debug("solve %d of K u = f ended with residuals %s", attempt + 1, residual[open_cases])
            if on_grid and not attempt:
                self._pause = PAUSE
            else:
                self._drop()
        raise EvaluationFailed(
            f"The {self.solver} solver reached a relative residual of {np.max(residual[open_cases]):.1e}, not "
            f"{tol:.1e}, in {iterations.max()} iterations: is every loaded part supported?"
        )

    def rough(self, E: Array) -> None:
        """None: preconditioners here serve several designs, and rough solutions with them are not offered."""
        return None

    def energies(self, u: Array, v: Array | None = None) -> Array:
        """``u_eᵀ K_e v_e`` of the owned cells (cells,), for nodal fields (unknowns,) and unit modulus."""
        for field in (u, v):
            self._agree(None if field is None else _misshapen("the field", field, (self.unknowns,)))
        return self._elements.energies(u, v)

    def apply(self, E: Array, u: Array) -> Array:
        """``K(E) u`` (unknowns,), springs included; fixed unknowns count as zero, before and after."""
        E = self._moduli(E)
        self._agree(_misshapen("the field", u, (self.unknowns,)))
        return self._apply(E, u)

    def _apply(self, E: Array, u: Array) -> Array:
        held = np.where(self.fixed, 0.0, u)
        return np.where(self.fixed, 0.0, self._elements.product(E, held) + self.springs * held)

    def _attempts(self, E: Array) -> Iterator[Callable[[], Factorization | Multigrid | AuxiliaryGrid]]:
        """What to try, one after the other: the grid, what is there, then from scratch, then with more care."""
        matrix = self._stiffness.matrix
        if self.solver == "multigrid" and not self._pause:
            yield lambda: self._on_grid(E)
        elif self._pause:
            self._pause -= 1
        if self._current is not None:
            yield self._refreshed
        if self.solver == "direct":
            yield lambda: self._keep(Factorization(matrix))
            yield lambda: self._keep(Factorization(matrix, memory=200))
            return
        if not self._careful:
            yield lambda: self._keep(Multigrid(matrix))
        self._careful = True
        yield lambda: self._keep(Multigrid(matrix, careful=True))
        if self._rescue:
            yield lambda: self._keep(Factorization(matrix, memory=100))

    def _improve(
        self, solver: Factorization | Multigrid | AuxiliaryGrid, E: Array, f: Array, u: Array, size: float, tol: float
    ) -> tuple[int, float]:
        """Improve `u` in place; iterations and the true relative residual, by a product that is not the matrix's."""
        done, residual = 0, np.inf
        for _ in range(REPEATS):
            if isinstance(solver, Factorization):
                step = np.zeros_like(u)
                done += solver.solve(f - self._apply(E, u), step)
                u += step
            else:
                done += solver.solve(f, u, tol)
            last, residual = residual, self._norm(f - self._apply(E, u)) / size
            if not (solver.converged and tol < residual < 0.5 * last):
                break
        return done, residual

    def _on_grid(self, E: Array) -> AuxiliaryGrid:
        if self._grid is None:
            matrix = self._stiffness.matrix
            self._grid = AuxiliaryGrid(self._space, self._elements, self._physics, matrix, self.fixed, self.springs)
        self._grid.refresh(E)
        return self._grid

    def _refreshed(self) -> Factorization | Multigrid:
        assert self._current is not None
        self._current.refresh()
        return self._current

    def _keep(self, solver: Factorization | Multigrid) -> Factorization | Multigrid:
        self._current = solver
        return solver

    def _drop(self) -> None:
        if self._current is not None:
            self._current.destroy()
        self._current = None

    def _norm(self, part: Array) -> float:
        return float(np.sqrt(self._comm.allreduce(float(np.vdot(part, part)))))

    def _moduli(self, E: Array) -> Array:
        E = np.ascontiguousarray(E, dtype=float)
        self._agree(_misshapen("E", E, (self._elements.cells.kind.size,)))
        if not np.isfinite(E).all():
            error: SciOptError | None = EvaluationFailed("The moduli contain numbers that are not finite.")
        elif E.min(initial=0.0) < 0.0:
            error = InputError(f"The smallest modulus is {E.min()}; moduli must be at least zero.")
        else:
            error = None
        self._agree(error)
        return E

    def _agree(self, error: SciOptError | None) -> None:
        """Raise on all ranks what any of them has found."""
        if self._comm.size == 1:
            found = [error]
        elif self._comm.allreduce(error is not None, MPI.LOR):
            found = self._comm.allgather(error)
        else:
            return
        for error in found:
            if error is not None:
                raise error


def _misshapen(name: str, array: Array, shape: tuple[int, ...]) -> ShapeError | None:
    if np.shape(array) == shape:
        return None
    return ShapeError(f"{name} has shape {np.shape(array)}; expected {shape} on this rank.")
