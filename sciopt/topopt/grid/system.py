"""The equilibrium of a structured grid, ``K(E) u = f``, whatever solves it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array
from threadpoolctl import ThreadpoolController

from sciopt.core.errors import EvaluationFailed, InputError
from sciopt.core.types import Array, Mask
from sciopt.topopt.grid.assembly import Assembler, element_dofs, node_shape
from sciopt.topopt.grid.conjugate_gradients import conjugate_gradients, few_steps
from sciopt.topopt.grid.direct import DirectSolver
from sciopt.topopt.grid.element import Physics, checked_spacing
from sciopt.topopt.grid.element_operator import ElementOperator
from sciopt.topopt.grid.galerkin import Real
from sciopt.topopt.grid.multigrid import Multigrid

__all__ = ["GridSystem", "Solution"]

# Free unknowns up to which factorizing costs less: CPU time of twelve SIMP iterations at a tolerance of 1e-3 on grids
# from 10 x 4 to 120 x 40 and from 4 x 3 x 3 to 20 x 10 x 10. At 2500 unknowns multigrid takes a fifth of it in 2D, a
# twelfth in 3D.
DIRECT = 300
# SIMP designs take some 10 iterations, parts hinged at single nodes hundreds, twice as many in single precision.
SINGLE_ITERATIONS, ITERATIONS = 200, 400
# Rough solutions: relative residual at which they end, conjugate gradient steps allowed.
ROUGHLY, ROUGH_STEPS = 0.5, 3
# What setting up costs, in steps of conjugate gradients, and what goes with a rough solution: forces, energies, filters
# (scripts/hessian_product_cost.py). What one back substitution costs, as part of a factorization.
SET_UP, AROUND, BACK_SUBSTITUTION = 3.0, 1.0, 0.1
LARGEST_DIRECT = {2: 250_000, 3: 40_000}  # free unknowns up to which factorizing takes seconds, by dimension


@dataclass(frozen=True, eq=False)
class Solution:
    """What solving gave.

    Parameters
    ----------
    u
        Displacements or temperatures (m, c, *nodes), one per right-hand side.
    residual
        True relative residuals ``|f − K u| / |f|`` (m,), recomputed in float64; zero for a load of zero.
    iterations
        Iterations of the solver (m,); zero for the direct one.
    solver
        "direct" or "multigrid": the one that succeeded.
    """

    u: Array
    residual: Array
    iterations: NDArray[np.int64]
    solver: str


class GridSystem:
    """Finite elements on a regular grid of bricks: ``K(E) = Σ_e E_e K_0 + diag(springs)``, fixed unknowns left out.

    Parameters
    ----------
    shape
        Number of elements per axis, (nx, ny) or (nx, ny, nz).
    spacing
        Edges of an element.
    physics
        `Elasticity` or `Conduction`.
    fixed
        Fixed unknowns (c, *nodes); nodes is (ny+1, nx+1) or (nz+1, ny+1, nx+1). Unknowns that touch only elements
        with modulus zero must be fixed too.
    springs
        Stiffness added to the diagonal (c, *nodes), at least zero, or None.
    solver
        "direct", "multigrid", or "auto".

    Raises
    ------
    InputError
        When a shape is wrong, a spring is negative or the solver is unknown.

    Examples
    --------
    >>> from sciopt.topopt.grid.element import Conduction
    >>> fixed = np.zeros((1, 2, 5), bool)
    >>> fixed[..., 0] = True
    >>> load = np.zeros((1, 1, 2, 5))
    >>> load[..., -1] = 0.5
    >>> system = GridSystem((4, 1), (1.0, 1.0), Conduction(), fixed)
    >>> system.solve(np.ones(4), load).u[0, 0, 0].round(4)
    array([0., 1., 2., 3., 4.])
    """

    def __init__(
        self,
        shape: Sequence[int],
        spacing: Sequence[float],
        physics: Physics,
        fixed: Mask,
        springs: Array | None = None,
        solver: str = "auto",
    ) -> None:
        self.shape = tuple(int(n) for n in shape)
        self.spacing = checked_spacing(spacing)
        if len(self.shape) != len(self.spacing) or min(self.shape) < 1:
            raise InputError(f"shape is {self.shape} and spacing {self.spacing}; give one positive number per axis.")
        self.physics = physics
        self.stiffness = physics.matrix(self.spacing)
        self.elements = int(np.prod(self.shape))
        self.nodal = (physics.components(len(self.shape)), *node_shape(self.shape))
        self.fixed = np.array(fixed, dtype=bool)
        if self.fixed.shape != self.nodal:
            raise InputError(f"fixed has shape {self.fixed.shape}, the grid has unknowns {self.nodal}.")
        self.springs = None
        if springs is not None and np.any(springs):
            self.springs = np.array(springs, dtype=np.float64)
            if self.springs.shape != self.nodal or not np.all(self.springs >= 0.0):
                raise InputError(
                    f"springs have shape {self.springs.shape}; expected {self.nodal} stiffnesses of at least zero."
                )
        self.dofs = int(self.fixed.size - np.count_nonzero(self.fixed))
        if solver not in ("auto", "direct", "multigrid"):
            raise InputError(f"solver is {solver!r}; it must be 'auto', 'direct' or 'multigrid'.")
        self.solver = ("direct" if self.dofs <= DIRECT else "multigrid") if solver == "auto" else solver
        # One layout for both dimensions: a two-dimensional grid is one plane.
        self._cells = (1,) * (3 - len(self.shape)) + self.shape[::-1]
        self._nodal = (self.nodal[0], *(1,) * (3 - len(self.shape)), *self.nodal[1:])
        self._springs = np.zeros((0, 0, 0, 0)) if self.springs is None else self.springs.reshape(self._nodal)
        self._fixed = self.fixed.reshape(self._nodal)
        self._operator = ElementOperator(self.stiffness, len(self.shape), self._fixed, self._springs)
        # The same without springs, for changes of the moduli.
        self._elements = ElementOperator(self.stiffness, len(self.shape), self._fixed, np.zeros((0, 0, 0, 0)))
        self._direct: DirectSolver | None = None
        self._multigrids: dict[type[Real], Multigrid] = {}
        self._multigrid: Multigrid | None = None
        self._solved: tuple[Array, Solution] | None = None

    def solve(self, E: Array, loads: Array, tol: float = 1e-5, guess: Array | None = None) -> Solution:
        """Equilibrium under every load.

        Parameters
        ----------
        E
            Moduli (elements,), at least zero.
        loads
            Right-hand sides (m, c, *nodes); values at fixed unknowns are ignored.
        tol
            Largest relative residual ``|f − K u| / |f|``.
        guess
            Where iterations start (m, c, *nodes), or None for zero.

        Raises
        ------
        InputError
            When a shape is wrong or a modulus negative.
        EvaluationFailed
            When a number is not finite, the system is singular, or the tolerance was not reached.
        """
        E = self._moduli(E)
        if loads.shape[1:] != self.nodal or (guess is not None and guess.shape != loads.shape):
            seen = loads.shape if guess is None else (loads.shape, guess.shape)
            raise InputError(
                f"loads (and guess) have shape {seen}; expected (cases, {', '.join(map(str, self.nodal))})."
            )
        if not tol > 0.0:
            raise InputError(f"tol is {tol}; it must be positive.")
        if not np.isfinite(loads).all():
            raise EvaluationFailed("The loads contain numbers that are not finite.")
        # The pieces are too small for several threads of BLAS, which would only wait for each other, spinning.
        self._solved = None
        with blas().limit(limits=1, user_api="blas"):
            if self.solver == "direct":
                solution = self._solve_directly(E, loads, tol)
            else:
                solution = self._solve_by_multigrid(E, loads, tol, guess)
        self._solved = E, solution
        return solution

    def rough(self, E: Array) -> Callable[[Array], tuple[Array, float]] | None:
        """A solver of other loads at the moduli `E` that `solve` was given last, for a small part of its cost, or None.

        It takes loads (m, c, *nodes), and returns displacements of the same shape, with a relative residual of some
        tenths, and the part of the last `solve` that this took. Solving for other moduli ends its life.
        """
        if self._solved is None or self._solved[0] is not E:
            return None
        solution = self._solved[1]
        if solution.solver == "multigrid":
            return self._cycles(E, solution)
        return self._back_substitution(E) if self.solver == "direct" else None

    def _back_substitution(self, E: Array) -> Callable[[Array], tuple[Array, float]]:
        def solve(loads: Array) -> tuple[Array, float]:
            self._check_current(E)
            assert self._direct is not None  # it has just solved
            return self._direct.again(np.where(self.fixed, 0.0, loads)), BACK_SUBSTITUTION * len(loads)

        return solve

    def _cycles(self, E: Array, solution: Solution) -> Callable[[Array], tuple[Array, float]]:
        moduli = E.reshape(self._cells)
        multigrid = self._multigrid
        assert multigrid is not None  # it has just solved
        spent = float(solution.iterations.sum()) + SET_UP

        def solve(loads: Array) -> tuple[Array, float]:
            self._check_current(E)
            found, steps = np.empty_like(loads), 0
            for case, load in enumerate(loads):
                f = np.where(self._fixed, 0.0, load.reshape(self._nodal))
                u, taken = few_steps(self._operator, moduli, f, multigrid.levels[0].b, multigrid, ROUGHLY, ROUGH_STEPS)
                found[case], steps = u.reshape(self.nodal), steps + taken
            return found, (steps + AROUND * len(loads)) / spent

        return solve

    def _check_current(self, E: Array) -> None:
        if self._solved is None or self._solved[0] is not E:
            raise InputError("the system has been solved for other moduli since")

    def energies(self, u: Array, v: Array | None = None) -> Array:
        """``u_eᵀ K_0 v_e`` of every element (elements,), for nodal fields (c, *nodes) and unit modulus."""
        left = self._field(u)
        out = np.empty(self._cells)
        self._operator.energies(left, left if v is None else self._field(v), out)
        return out.ravel()

    def apply(self, E: Array, u: Array) -> Array:
        """``K(E) u`` (c, *nodes) in float64, springs included; fixed unknowns count as zero, before and after."""
        out = np.empty(self._nodal)
        self._operator.apply(self._moduli(E).reshape(self._cells), np.where(self._fixed, 0.0, self._field(u)), out)
        return out.reshape(self.nodal)

    def change(self, dE: Array, u: Array) -> Array:
        """``K(dE) u`` of several fields (m, c, *nodes) for changes dE (elements,) of any sign, springs left out."""
        cells, found = np.ascontiguousarray(dE).reshape(self._cells), np.empty(u.shape)
        for field, out in zip(u, found, strict=True):
            held = np.where(self._fixed, 0.0, self._field(field))
            self._elements.apply(cells, held, out.reshape(self._nodal))
        return found

    def matrix(self, E: Array) -> csr_array:
        """The same operator, assembled: sparse matrix over all unknowns, rows and columns of fixed ones empty."""
        E = self._moduli(E)
        dofs = element_dofs(self.shape, self.nodal[0])
        local = dofs.shape[1]
        values = E[:, None] * self.stiffness.ravel()
        size = self.fixed.size
        rows, columns = np.repeat(dofs, local, axis=1), np.tile(dofs, (1, local))
        full = coo_array((values.ravel(), (rows.ravel(), columns.ravel())), shape=(size, size)).tocsr()
        if self.springs is not None:
            diagonal = np.arange(size)
            full = full + csr_array((self.springs.ravel(), (diagonal, diagonal)), shape=(size, size))
        free = csr_array(
            ((~self.fixed).astype(np.float64).ravel(), (np.arange(size), np.arange(size))), shape=(size, size)
        )
        return csr_array(free @ full @ free)

    def _moduli(self, E: Array) -> Array:
        E = np.asarray(E, dtype=np.float64)
        if E.shape != (self.elements,):
            raise InputError(f"E has shape {E.shape}, the grid has {self.elements} elements.")
        if not np.isfinite(E).all():
            raise EvaluationFailed("The moduli contain numbers that are not finite.")
        if E.min() < 0.0:
            raise InputError(f"The smallest modulus is {E.min()}; moduli must be at least zero.")
        return E

    def _field(self, u: Array) -> Array:
        if u.shape != self.nodal:
            raise InputError(f"The field has shape {u.shape}, the grid has unknowns {self.nodal}.")
        return np.ascontiguousarray(u, dtype=np.float64).reshape(self._nodal)

    def _solve_directly(self, E: Array, loads: Array, tol: float) -> Solution:
        if self._direct is None:
            self._direct = DirectSolver(Assembler(self.shape, self.stiffness, self.fixed, self.springs))
        f = np.where(self.fixed, 0.0, loads)
        u = self._direct.solve(E, f)
        residual = np.array([relative(np.linalg.norm(b - self.apply(E, x)), b) for x, b in zip(u, f, strict=True)])
        if not np.all(residual <= tol):
            raise EvaluationFailed(
                f"The direct solver reached a relative residual of {residual.max():.1e}, not {tol:.1e}: "
                "is every loaded part supported?"
            )
        return Solution(u, residual, np.zeros(len(u), dtype=np.int64), "direct")

    def _solve_by_multigrid(self, E: Array, loads: Array, tol: float, guess: Array | None) -> Solution:
        moduli = E.reshape(self._cells)
        u = np.zeros(loads.shape) if guess is None else np.where(self.fixed, 0.0, guess)
        residual, iterations = np.zeros(len(u)), np.zeros(len(u), dtype=np.int64)
        waiting = list(range(len(u)))
        # Single precision first. What it cannot solve gets a cycle in double, whose smoother trusts no estimate.
        for precision, limit in ((np.float32, SINGLE_ITERATIONS), (np.float64, ITERATIONS)):
            try:
                multigrid = self._set_up(precision, moduli)
            except EvaluationFailed as failure:
                reason = str(failure)
                continue
            for case in waiting:
                f = np.where(self._fixed, 0.0, loads[case].reshape(self._nodal))
                x = u[case].reshape(self._nodal)
                if precision == np.float64 or not f.any():
                    x[:] = 0.0
                if not f.any():
                    continue
                b = multigrid.levels[0].b
                residual[case], steps = conjugate_gradients(self._operator, moduli, f, x, b, multigrid, tol, limit)
                iterations[case] += steps
            waiting = [case for case in waiting if not residual[case] <= tol]
            if not waiting:
                return Solution(u, residual, iterations, "multigrid")
            worst = waiting[0]
            reason = (
                f"The multigrid solver reached a relative residual of {residual[worst]:.1e}, not {tol:.1e}, "
                f"in {iterations[worst]} iterations: is every loaded part supported?"
            )
        if self.dofs > LARGEST_DIRECT[len(self.shape)]:
            raise EvaluationFailed(reason)
        return self._solve_directly(E, loads, tol)

    def _set_up(self, precision: type[Real], moduli: Array) -> Multigrid:
        if precision not in self._multigrids:
            self._multigrids[precision] = Multigrid(
                self._cells, len(self.shape), self.stiffness, self._fixed, self._springs, precision
            )
        multigrid = self._multigrids[precision]
        multigrid.setup(moduli)
        self._multigrid = multigrid
        if precision == np.float64:
            multigrid.be_careful()
        return multigrid


@cache
def blas() -> ThreadpoolController:
    """The BLAS libraries of this process, looked up once."""
    return ThreadpoolController()


def relative(norm: float, f: Array) -> float:
    """The residual `norm` relative to the load f; zero for a load of zero."""
    size = float(np.linalg.norm(f))
    return float(norm) / size if size > 0.0 else 0.0
