"""The Jacobian of a residual, assembled from a compiled form, and linear equations with it or its transpose."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from sciopt.core.errors import EvaluationFailed, InputError
from sciopt.topopt.fenicsx.loaded import PETSc, dolfinx
from sciopt.topopt.fenicsx.near_nullspace import near_nullspace

if TYPE_CHECKING:
    from sciopt.core.types import Array
    from sciopt.topopt.fenicsx.forms import Forms
    from sciopt.topopt.fenicsx.structure import MeshStructure

__all__ = ["ROUNDING", "Tangent"]

# Unknowns up to which a factorization is the better choice, by dimension of the mesh.
DIRECT = {2: 1_000_000, 3: 50_000}
# Unknowns up to which it can stand in for a multigrid solver that failed.
LAST_RESORT = {2: 3_000_000, 3: 300_000}
ITERATIONS = 500
# Relative residual that a factorization must reach whatever was asked; rounding forbids more for high contrasts.
ROUNDING = 1e-9
# Pivots of indefinite matrices move, which takes more memory than was planned for (percent).
FACTORIZATION = {"mat_mumps_icntl_14": 60}
# What converged for all designs, black and white ones with a contrast of 1e-9 included.
MULTIGRID = {
    "pc_gamg_threshold": 0.001,
    "pc_gamg_aggressive_coarsening": 1,
    "mg_levels_ksp_type": "richardson",
    "mg_levels_pc_type": "sor",
    "mg_levels_ksp_max_it": 1,
}
# Type checkers do not see all of its submodules.
DOLFINX: Any = dolfinx
log = logging.getLogger("sciopt")


class Tangent:
    """``K = dF/du + diag(springs)`` at the state that the forms hold, with fixed unknowns taken out.

    Parameters
    ----------
    structure
        Which unknowns are fixed, and the springs.
    forms
        Whose Jacobian.
    solver
        ``direct`` (MUMPS), ``multigrid`` (conjugate gradients, for a residual without energy GMRES, with algebraic
        multigrid), or ``auto``.

    Raises
    ------
    InputError
        When the solver is unknown.
    """

    def __init__(self, structure: MeshStructure, forms: Forms, solver: str = "auto") -> None:
        self.structure, self.forms = structure, forms
        self.free = ~structure.fixed
        self.dofs = int(structure.total(float(np.count_nonzero(self.free))))
        if solver not in ("auto", "direct", "multigrid"):
            raise InputError(f"solver is {solver!r}; it must be 'auto', 'direct' or 'multigrid'")
        self.solver = ("direct" if self.dofs <= DIRECT[structure.dim] else "multigrid") if solver == "auto" else solver
        self._supports = _supports(structure)
        self._matrix = _matrix(structure, forms)
        self._right, self._left = self._matrix.createVecs()
        self._springs = self._matrix.createVecRight()
        self._springs.array[:] = np.where(self.free, structure.springs, 0.0)
        self._sprung = structure.total(float(np.abs(structure.springs).sum())) > 0.0
        self._operators = {False: self._matrix}
        self._krylov: dict[tuple[str, bool], Any] = {}

    def assemble(self) -> None:
        """Bring the matrix up to date with the state and the moduli in the forms."""
        self._matrix.zeroEntries()
        DOLFINX.fem.petsc.assemble_matrix(self._matrix, self.forms.jacobian, bcs=self._supports)
        self._matrix.assemble()
        if self._sprung:
            self._matrix.setDiagonal(self._springs, addv=PETSc.InsertMode.ADD_VALUES)
            self._matrix.assemble()
        # Garbage collectors of different ranks destroy at different times; what is collective is destroyed at once.
        if True in self._operators:
            self._operators.pop(True).destroy()

    def solve(self, load: Array, tol: float, transpose: bool = False) -> tuple[Array, int]:
        """Solve ``K x = load`` (or with the transpose) for an (unknowns,) right-hand side, from zero.

        Returns
        -------
        x
            (unknowns,)
        iterations
            Of the Krylov solver; 0 for a factorization.

        Raises
        ------
        EvaluationFailed
            On every rank, when the true relative residual stays above `tol` (and above rounding).
        """
        transpose = transpose and not self.forms.symmetric
        load = np.where(self.free, load, 0.0)
        size = self._norm(load)
        if not np.isfinite(size):
            raise EvaluationFailed("the right-hand side of the linear equations is not finite")
        if size == 0.0:
            return np.zeros_like(load), 0
        if self.solver == "multigrid":
            x, iterations = self._attempt("multigrid", load, tol, transpose)
            residual = self._norm(load - self.apply(x, transpose)) / size
            if residual <= 1.1 * tol:
                return x, iterations
            failed = self._krylov.pop(("multigrid", self._flipped("multigrid", transpose)))
            reason = failed.getConvergedReason()
            failed.destroy()
            if self.dofs > LAST_RESORT[self.structure.dim]:
                raise EvaluationFailed(
                    f"the multigrid solver reached a relative residual of {residual:.1e}, not {tol:.1e} (PETSc says "
                    f"{reason}); is every loaded part supported, and the state stable?"
                )
            log.debug("multigrid reached %.1e, not %.1e (reason %d): factorizing", residual, tol, reason)
        x, _ = self._attempt("direct", load, tol, transpose)
        for _ in range(2):
            rest = load - self.apply(x, transpose)
            if not self._norm(rest) > tol * size:
                break
            x = x + self._attempt("direct", rest, tol, transpose)[0]
        residual = self._norm(load - self.apply(x, transpose)) / size
        if not residual <= max(tol, ROUNDING):
            raise EvaluationFailed(
                f"the direct solver reached a relative residual of {residual:.1e}, not {tol:.1e}; is every loaded part "
                "supported, and the state stable?"
            )
        return x, 0

    def apply(self, x: Array, transpose: bool = False) -> Array:
        """``K x`` (unknowns,), or with the transpose."""
        self._right.array[:] = x
        (self._matrix.multTranspose if transpose else self._matrix.mult)(self._right, self._left)
        return np.array(self._left.array)

    def _norm(self, x: Array) -> float:
        return float(np.sqrt(self.structure.total(float(x @ x))))

    def _attempt(self, kind: str, load: Array, tol: float, transpose: bool) -> tuple[Array, int]:
        flipped = self._flipped(kind, transpose)
        if (kind, flipped) not in self._krylov:
            self._krylov[kind, flipped] = self._solver(kind, flipped)
        krylov = self._krylov[kind, flipped]
        krylov.setOperators(self._operator(flipped))
        krylov.setTolerances(rtol=tol, atol=0.0, divtol=1e30, max_it=ITERATIONS)
        self._left.array[:] = load
        (krylov.solveTranspose if transpose and not flipped else krylov.solve)(self._left, self._right)
        return np.array(self._right.array), int(krylov.getIterationNumber())

    def _flipped(self, kind: str, transpose: bool) -> bool:
        """Whether `kind` needs the transposed matrix itself: smoothers have no transposes."""
        return transpose and kind == "multigrid"

    def _operator(self, flipped: bool) -> Any:
        if flipped not in self._operators:
            self._operators[flipped] = self._matrix.transpose(PETSc.Mat())
        return self._operators[flipped]

    def _solver(self, kind: str, flipped: bool) -> Any:
        krylov: Any = PETSc.KSP().create(self.structure.comm)
        krylov.setOperators(self._operator(flipped))
        symmetric = self.forms.symmetric
        if kind == "direct":
            krylov.setType("preonly")
            krylov.getPC().setType("cholesky" if symmetric else "lu")
            krylov.getPC().setFactorSolverType("mumps")
        else:
            krylov.setType("cg" if symmetric else "gmres")
            krylov.setNormType(PETSc.KSP.NormType.UNPRECONDITIONED)
            krylov.getPC().setType("gamg")
        if krylov.getType() == "gmres":
            krylov.setPCSide(PETSc.PC.Side.RIGHT)
            krylov.setGMRESRestart(100)
        # They stay in PETSc's table: every new hierarchy of levels reads them again.
        prefix = f"sciopt_tangent_{kind}_"
        options: Any = PETSc.Options(prefix)
        for name, value in (FACTORIZATION if kind == "direct" else MULTIGRID).items():
            options[name] = value
        krylov.setOptionsPrefix(prefix)
        krylov.setFromOptions()
        return krylov


def _matrix(structure: MeshStructure, forms: Forms) -> Any:
    # Unknowns that no integral reaches (passive void) still need a diagonal to be fixed on.
    pattern = DOLFINX.cpp.fem.create_sparsity_pattern(forms.jacobian._cpp_object)
    nodes = structure.space.dofmap.index_map
    pattern.insert_diagonal(np.arange(nodes.size_local, dtype=np.int32))
    pattern.finalize()
    matrix = DOLFINX.cpp.la.petsc.create_matrix(structure.comm, pattern)
    if forms.symmetric:
        matrix.setOption(PETSc.Mat.Option.SYMMETRIC, True)
        matrix.setOption(PETSc.Mat.Option.SYMMETRY_ETERNAL, True)
    components = structure.space.dofmap.index_map_bs
    if components > 1:
        matrix.setNearNullSpace(near_nullspace(structure.space, matrix))
    return matrix


def _supports(structure: MeshStructure) -> list[Any]:
    """Dirichlet conditions for the fixed unknowns, ghosts included."""
    space = structure.space
    components = space.dofmap.index_map_bs
    marks = dolfinx.fem.Function(space)
    marks.x.array[: structure.unknowns] = structure.fixed
    marks.x.scatter_forward()
    fixed = np.flatnonzero(marks.x.array > 0.5).astype(np.int32)
    if components == 1:
        return [dolfinx.fem.dirichletbc(0.0, fixed, space)]
    return [
        dolfinx.fem.dirichletbc(0.0, fixed[fixed % components == component], space.sub(component))
        for component in range(components)
    ]
