"""The equilibrium of user-supplied physics, ``F(u, E) + springs u = f``, and its adjoint."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sciopt.core.errors import EvaluationFailed
from sciopt.topopt.fenicsx.loaded import dolfinx
from sciopt.topopt.fenicsx.tangent import ROUNDING, Tangent

if TYPE_CHECKING:
    from sciopt.core.types import Array
    from sciopt.topopt.fenicsx.forms import Forms
    from sciopt.topopt.fenicsx.structure import MeshStructure

__all__ = ["FormSystem", "State"]

STEPS, BUDGET = 25, 100  # Newton steps of one attempt, and of all attempts at one state
REFINEMENTS = 4  # solves of one linear equation; more than one where rounding or a loose Krylov solver asks for it
SHORTEST = 2.0**-10  # fraction of a Newton step
ARMIJO = 1e-4
# Relative residual of the linear equations of a Newton step that is not the last.
FORCING = 1e-2
# Differences of energies below this share of them are rounding.
NOISE = 1e-12
# Load stepping: the first and the least share of the load that is added at once, and the residual on the way.
FIRST_SHARE, LEAST_SHARE, ON_THE_WAY = 0.25, 1.0 / 128.0, 1e-3
log = logging.getLogger("sciopt")


class State(NamedTuple):
    """One equilibrium.

    Attributes
    ----------
    u
        (unknowns,) state.
    residual
        ``|F(u, E) + springs u - f|`` relative to its size at u = 0.
    steps
        Newton steps.
    iterations
        Of the Krylov solver.
    """

    u: Array
    residual: float
    steps: int
    iterations: int


class _Stalled(Exception):
    """Newton's method did not get there; the same on every rank."""


class FormSystem:
    """States of a structure whose physics are compiled forms, and what derivatives need.

    Parameters
    ----------
    structure
        Supports, springs, communicator.
    forms
        What is to be in equilibrium.
    solver
        Of the linear equations: ``auto``, ``direct`` or ``multigrid``.
    """

    def __init__(self, structure: MeshStructure, forms: Forms, solver: str = "auto") -> None:
        self.structure, self.forms = structure, forms
        self.tangent = Tangent(structure, forms, solver)
        self.dofs, self.solver = self.tangent.dofs, self.tangent.solver
        self._cells = np.asarray(forms.E.function_space.dofmap.list)[: structure.cells, 0]
        self._assembled = False

    def set_moduli(self, E: Array) -> None:
        """Take over the moduli (cells,) of this rank's cells; collective.

        Raises
        ------
        EvaluationFailed
            On every rank, when one is not finite.
        """
        if not np.isfinite(self.structure.total(float(np.sum(E)))):
            raise EvaluationFailed("the moduli contain numbers that are not finite")
        self.forms.E.x.array[self._cells] = E
        self.forms.E.x.scatter_forward()
        self._assembled = False

    def residual(self, u: Array, load: Array) -> Array:
        """``F(u, E) + springs u - load`` (unknowns,), zero at fixed unknowns; `u` becomes the state of the forms."""
        self._visit(u)
        force = self._vector(self.forms.residual) + self.structure.springs * u - load
        return np.where(self.tangent.free, force, 0.0)

    def equilibrium(self, load: Array, tol: float, guess: Array | None = None) -> State:
        """Solve for the state under a `load` (unknowns,), to a residual of `tol` relative to that of u = 0.

        Newton's method with backtracking on the potential energy (on the residual where there is none), from `guess` or
        zero; where that stalls, the load grows step by step.

        Raises
        ------
        EvaluationFailed
            On every rank, when no equilibrium was found.
        """
        # Line searches look where energies overflow.
        with np.errstate(over="ignore", invalid="ignore"):
            return self._equilibrium(load, tol, guess)

    def adjoint(self, load: Array, tol: float, guess: Array | None = None) -> tuple[Array, int]:
        """Solve ``(dF/du)^T x = load`` (unknowns,) at the state of the forms; also the iterations it took.

        Raises
        ------
        EvaluationFailed
            On every rank, when the relative residual stays above `tol`.
        """
        load = np.where(self.tangent.free, load, 0.0)
        self._linearize()
        x = np.zeros_like(load) if guess is None else np.where(self.tangent.free, guess, 0.0)
        rest = load - self.tangent.apply(x, transpose=True)
        size, scale = self._norm(rest), self._norm(load)
        if not size < scale:
            x, rest, size = np.zeros_like(load), load, scale
        if size <= tol * scale:
            return x, 0
        step, iterations = self.tangent.solve(rest, tol * scale / size, transpose=True)
        return x + step, iterations

    def objective(self) -> float:
        """J(u, E) at the state of the forms, over all ranks."""
        return float(self.structure.total(dolfinx.fem.assemble_scalar(self.forms.objective)))

    def objective_slope(self) -> Array:
        """(unknowns,) dJ/du."""
        return self._vector(self.forms.objective_slope)

    def modulus_slope(self, adjoint: Array) -> Array:
        """(cells,) derivative of ``J + F(u, E; adjoint)`` with respect to the modulus of every cell."""
        self._fill(self.forms.adjoint, adjoint)
        slope = self._vector(self.forms.residual_modulus_slope)
        if self.forms.objective_modulus_slope is not None:
            slope = slope + self._vector(self.forms.objective_modulus_slope)
        return slope[self._cells]

    def _equilibrium(self, load: Array, tol: float, guess: Array | None) -> State:
        nothing = np.zeros(self.structure.unknowns)
        start = self.residual(nothing, nothing)
        scale = self._norm(start - np.where(self.tangent.free, load, 0.0))
        if not np.isfinite(scale):
            raise EvaluationFailed("the residual at u = 0 is not finite; regularize the energy there")
        if scale == 0.0:
            return State(nothing, 0.0, 0, 0)
        spent = [0, 0]
        try:
            u, size = self._newton(nothing if guess is None else guess, load, tol, scale, spent)
        except _Stalled as stalled:
            if self.forms.linear:
                raise EvaluationFailed(f"the linear equations were not solved: {stalled}") from stalled
            log.debug("Newton's method stalled (%s): the load grows step by step", stalled)
            u, size = self._load_steps(start, load, tol, scale, spent)
        return State(u, size / scale, spent[0], spent[1])

    def _newton(self, u: Array, load: Array, tol: float, scale: float, spent: list[int]) -> tuple[Array, float]:
        target, last = tol * scale, np.inf
        u = np.where(self.tangent.free, u, 0.0)
        force = self.residual(u, load)
        size = self._norm(force)
        for _ in range(REFINEMENTS if self.forms.linear else min(STEPS, BUDGET - spent[0])):
            if size <= target or 0.5 * last < size <= ROUNDING * scale:
                return u, size
            if not np.isfinite(size):
                raise _Stalled("the residual is not finite")
            self._linearize()
            try:
                wanted = 0.5 * target / size
                step, iterations = self.tangent.solve(-force, wanted if self.forms.linear else max(wanted, FORCING))
            except EvaluationFailed as failure:
                raise _Stalled(str(failure)) from failure
            spent[0], spent[1] = spent[0] + 1, spent[1] + iterations
            u, force = self._search(u, step, force, load)
            last, size = size, self._norm(force)
        if not size <= max(target, ROUNDING * scale):
            raise _Stalled(f"the residual is {size:.1e}, not {target:.1e}, after {spent[0]} steps")
        return u, size

    def _search(self, u: Array, step: Array, force: Array, load: Array) -> tuple[Array, Array]:
        """Go along `step` as far as the merit falls; the new state and its residual."""
        if self.forms.linear:
            u = u + step
            return u, self.residual(u, load)
        slope = self._dot(force, step)
        potential = self.forms.energy is not None
        if potential and slope > 0.0:
            # Beyond a point of instability Newton's method heads uphill.
            step, slope = -step, -slope
        before = self._merit(u, load, force)
        length = 1.0
        while length >= SHORTEST:
            there = u + length * step
            if potential:
                after = self._merit(there, load)
                enough = before + ARMIJO * length * slope + NOISE * max(abs(before), abs(after))
            else:
                found = self.residual(there, load)
                after, enough = self._norm(found), (1.0 - ARMIJO * length) * before
            if after <= enough:
                return there, self.residual(there, load)
            length *= 0.5
        raise _Stalled("no step along Newton's direction lowers the merit")

    def _load_steps(self, start: Array, load: Array, tol: float, scale: float, spent: list[int]) -> tuple[Array, float]:
        u, done, share = np.zeros_like(start), 0.0, FIRST_SHARE
        while True:
            reach = min(done + share, 1.0)
            # Where u = 0 is not an equilibrium without loads, what holds it there is taken away along with the steps.
            pull = reach * load + (1.0 - reach) * start
            try:
                u, size = self._newton(u, pull, tol if reach == 1.0 else max(tol, ON_THE_WAY), scale, spent)
            except _Stalled as stalled:
                share *= 0.5
                if share < LEAST_SHARE or spent[0] >= BUDGET:
                    raise EvaluationFailed(
                        f"no equilibrium beyond {100 * done:.0f} % of the load after {spent[0]} Newton steps: {stalled}"
                    ) from stalled
            else:
                if reach == 1.0:
                    return u, size
                done, share = reach, 1.5 * share

    def _merit(self, u: Array, load: Array, force: Array | None = None) -> float:
        if self.forms.energy is None:
            return self._norm(self.residual(u, load) if force is None else force)
        self._visit(u)
        stored = dolfinx.fem.assemble_scalar(self.forms.energy) + float(u @ (0.5 * self.structure.springs * u - load))
        return float(self.structure.total(stored))

    def _linearize(self) -> None:
        # A matrix free of u serves every state and load of one design.
        if not (self.forms.linear and self._assembled):
            self.tangent.assemble()
            self._assembled = True

    def _visit(self, u: Array) -> None:
        self._fill(self.forms.u, u)

    def _fill(self, function: Any, values: Array) -> None:
        function.x.array[: self.structure.unknowns] = values
        function.x.scatter_forward()

    def _vector(self, form: Any) -> Array:
        found = dolfinx.fem.assemble_vector(form)
        found.scatter_reverse(dolfinx.la.InsertMode.add)
        dofmap = form.function_spaces[0].dofmap
        return np.array(found.array[: dofmap.index_map.size_local * dofmap.index_map_bs])

    def _dot(self, a: Array, b: Array) -> float:
        return float(self.structure.total(float(a @ b)))

    def _norm(self, a: Array) -> float:
        return float(np.sqrt(self._dot(a, a)))
