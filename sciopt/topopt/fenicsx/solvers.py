"""What PETSc does to solve ``K u = f`` on a mesh: MUMPS, or conjugate gradients with algebraic multigrid."""

from __future__ import annotations

from typing import Any

import numpy as np

from sciopt.core.types import Array
from sciopt.topopt.fenicsx.loaded import PETSc

__all__ = ["Factorization", "Multigrid"]


class Factorization:
    """``L Lᵀ = K`` by MUMPS; the ordering of the unknowns is found once.

    Parameters
    ----------
    matrix
        Symmetric and positive definite (PETSc). Its values may change, its pattern not.
    memory
        Per cent of working memory beyond what the analysis of the pattern foresees.
    """

    def __init__(self, matrix: Any, memory: int = 30) -> None:
        self.matrix = matrix
        self._ksp = PETSc.KSP().create(matrix.comm)
        self._ksp.setType("preonly")
        self._ksp.setOperators(matrix)
        pc = self._ksp.getPC()
        pc.setType("cholesky")
        pc.setFactorSolverType("mumps")
        pc.setFactorSetUpSolverType()
        pc.getFactorMatrix().setMumpsIcntl(14, memory)
        self._f, self._u = matrix.createVecs()

    def refresh(self) -> None:
        """The values of the matrix have changed."""
        self._ksp.setOperators(self.matrix)

    def solve(self, f: Array, u: Array) -> int:
        """Put the solution of ``K u = f`` into `u` (unknowns,); returns 0, as there are no iterations."""
        self._f.array[:] = f
        self._ksp.solve(self._f, self._u)
        u[:] = self._u.array if self.converged else np.nan
        return 0

    @property
    def converged(self) -> bool:
        """What PETSc believes of the last solve."""
        return bool(self._ksp.getConvergedReason() > 0)

    def destroy(self) -> None:
        """Free everything but the matrix; called by all ranks."""
        for thing in (self._ksp, self._f, self._u):
            thing.destroy()


class Multigrid:
    """Conjugate gradients, preconditioned by smoothed aggregation (GAMG).

    A hierarchy made for one design also works for the next ones: smoothing on the finest level uses the matrix as it
    is, and a coarse correction with older numbers is still symmetric and positive definite. It is renewed when it has
    cost `SLACK` more iterations, in all, than a new one would have, which is about what renewing costs, and after
    `AGE` designs. Renewing keeps the interpolation, until that makes iterations `WORSE` times as many as at first.

    Parameters
    ----------
    matrix
        Symmetric and positive definite (PETSc), with block size and near null space. Its values may change, its pattern
        not.
    careful
        Smooth twice, and interpolate along stronger connections only.

    References
    ----------
    Vaněk, Mandel and Brezina, *Algebraic multigrid by smoothed aggregation for second and fourth order elliptic
    problems* (1996), doi:10.1007/BF02238511.
    """

    # Renewing costs 5 iterations in 2D, 9 to 17 in 3D. AGE and WORSE are choices that were not varied.
    SLACK, AGE, WORSE = 10, 20, 2.0
    ITERATIONS, MORE = 500, 1000  # limits; the second one when careful

    def __init__(self, matrix: Any, careful: bool = False) -> None:
        self.matrix = matrix
        self._careful = careful
        self._limit = self.MORE if careful else self.ITERATIONS
        self._f, self._u = matrix.createVecs()
        self._ksp: Any = None
        self._create()

    def _create(self) -> None:
        if self._ksp is not None:
            self._ksp.destroy()
        self._ksp = ksp = PETSc.KSP().create(self.matrix.comm)
        ksp.setType("cg")
        ksp.setNormType(PETSc.KSP.NormType.UNPRECONDITIONED)
        ksp.setOperators(self.matrix)
        pc = ksp.getPC()
        pc.setType("gamg")
        # Chebyshev with Jacobi, PETSc's default, needs bounds of the spectrum that its default estimates miss for black
        # and white designs with contrasts of 1e9: "indefinite" after a few iterations. Point-block Jacobi keeps the
        # inverses of an earlier design. Sweeps of Gauss-Seidel need no estimate and always converge.
        options = {
            "pc_gamg_threshold": 0.01 if self._careful else 0.001,
            "pc_gamg_aggressive_coarsening": 1,
            "pc_gamg_reuse_interpolation": True,
            "mg_levels_ksp_type": "richardson",
            "mg_levels_ksp_max_it": 2 if self._careful else 1,
            "mg_levels_pc_type": "sor",
        }
        prefix = "sciopt_careful_multigrid_" if self._careful else "sciopt_multigrid_"
        ksp.setOptionsPrefix(prefix)
        database = PETSc.Options(prefix)
        for name, value in options.items():
            database[name] = value
        ksp.setFromOptions()
        ksp.setUp()
        self._age, self._spare = 0, float(self.SLACK)
        self._rate: float | None = None  # iterations per decade of the residual with this hierarchy when it was new
        self._first: float | None = None  # the same, with the first hierarchy of this interpolation

    def refresh(self) -> None:
        """The values of the matrix have changed."""
        self._age += 1
        self._ksp.getPC().setReusePreconditioner(True)
        self._ksp.setOperators(self.matrix)
        if self._spare <= 0.0 or self._age >= self.AGE:
            self._renew()

    def solve(self, f: Array, u: Array, tol: float) -> int:
        """Improve `u` (unknowns,) until ``|f − K u| <= tol |f|``; returns the number of iterations."""
        self._f.array[:] = f
        self._u.array[:] = u
        done = 0
        if self._age and self._rate is not None:
            expected = -self._rate * np.log10(min(tol, 0.1))
            done, decades = self._iterate(tol, min(int(np.ceil(expected + self._spare)), self._limit))
            self._spare -= max(0.0, done - self._rate * decades)
            if self.converged:
                u[:] = self._u.array
                return done
            if self._ksp.getConvergedReason() != PETSc.KSP.ConvergedReason.DIVERGED_MAX_IT:
                self._u.set(0.0)
            self._renew()
        steps, decades = self._iterate(tol, self._limit)
        if steps and self._rate is None:
            self._rate = steps / max(decades, 1.0)
            self._first = self._first or self._rate
        u[:] = self._u.array
        return done + steps

    def _iterate(self, tol: float, limit: int) -> tuple[int, float]:
        """Iterations done, and the decades by which they reduced the residual."""
        ksp = self._ksp
        ksp.setInitialGuessNonzero(True)
        ksp.setTolerances(rtol=tol, atol=0.0, divtol=1e10, max_it=limit)
        ksp.setConvergenceHistory(limit + 1, reset=True)
        ksp.solve(self._f, self._u)
        norms = ksp.getConvergenceHistory()
        decades = np.log10(norms[0] / norms[-1]) if len(norms) and norms.min() > 0.0 else 0.0
        return int(ksp.getIterationNumber()), max(float(decades), 0.0)

    def _renew(self) -> None:
        if self._rate is not None and self._first is not None and self._rate > self.WORSE * self._first:
            self._create()
            return
        pc = self._ksp.getPC()
        pc.setReusePreconditioner(False)
        self._ksp.setOperators(self.matrix)
        self._ksp.setUp()
        pc.setReusePreconditioner(True)
        self._age, self._spare, self._rate = 0, float(self.SLACK), None

    @property
    def converged(self) -> bool:
        """What PETSc believes of the last solve."""
        return bool(self._ksp.getConvergedReason() > 0)

    def destroy(self) -> None:
        """Free everything but the matrix; called by all ranks."""
        for thing in (self._ksp, self._f, self._u):
            thing.destroy()
