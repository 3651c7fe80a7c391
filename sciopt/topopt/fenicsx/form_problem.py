"""Designs for physics and objectives of your own, written as UFL forms."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from sciopt.core.errors import EvaluationFailed, InputError
from sciopt.topopt.fenicsx.form_system import FormSystem
from sciopt.topopt.fenicsx.forms import Forms
from sciopt.topopt.fenicsx.structure import MeshStructure
from sciopt.topopt.problem import Response, TopologyProblem

if TYPE_CHECKING:
    from collections.abc import Callable

    from sciopt.core.types import Array

__all__ = ["FormProblem"]


class FormProblem(TopologyProblem):
    """Least objective of a state: minimize ``sum_k w_k J(u_k, E)``, where ``F(u_k, E; v) + s u_k . v = f_k . v``.

    F is the derivative of a stored energy in the direction v, or a residual of its own; f_k are the nodal loads of the
    structure's cases, w_k their weights and s its springs; its supports hold u at zero. E is the modulus of every cell,
    which `material` makes of the density, and enters the energy in any way. An energy quadratic in u is solved once;
    others by Newton's method with a line search, from the last state, and where that stalls with loads that grow step
    by step. The gradient is that of the adjoint method, ``dJ/dE + dF/dE . lambda`` with
    ``(dF/du)^T lambda = -dJ/du``, all derivatives by UFL; forms are compiled once.

    Integrals over the whole mesh leave passive void out, and take two Gauss points per axis of quadrilaterals and
    hexahedra unless the measure has a ``degree``. Loads may also be part of the energy; a structure without loads of
    its own is not checked for supports either, and needs an objective.

    Parameters
    ----------
    mesh
        A `FEniCSx` or a `MeshStructure`.
    volume, filter, material, projection, symmetry, solver, tol
        See `TopologyProblem`. `tol` is relative to the residual at u = 0.
    energy
        ``energy(u, E)``: a scalar form.
    objective
        ``objective(u, E)``: a scalar form. By default the compliance ``f . u``.
    residual
        ``residual(u, E, v)`` in place of an energy, for problems that have none: a form linear in v.

    Raises
    ------
    InputError
        When a function does not return such a form.
    SciOptError
        When there is no C compiler for the forms, or no place to keep them.

    References
    ----------
    Alnæs, Logg, Ølgaard, Rognes and Wells 2014, doi 10.1145/2566630, for UFL; Bendsøe and Sigmund 2004,
    doi 10.1007/978-3-662-05086-6, section 1.2.3, for adjoints.

    Examples
    --------
    A bar that is fixed on its left and pulled on its right, ``E u'' = 0``:

    >>> from sciopt.topopt.fenicsx.loaded import MPI, dolfinx, ufl
    >>> from sciopt.topopt.fenicsx import FEniCSx
    >>> mesh = dolfinx.mesh.create_rectangle(MPI.COMM_SELF, [[0, 0], [4, 1]], [4, 1])
    >>> bar = FEniCSx(mesh, physics="heat").fix("left").source("right", 1.0)
    >>> problem = FormProblem(bar, 1.0, energy=lambda u, E: 0.5 * E * ufl.inner(ufl.grad(u), ufl.grad(u)) * ufl.dx)
    >>> round(problem.evaluate(problem.start()).value, 6)
    4.0
    """

    def __init__(
        self,
        mesh: Any,
        volume: float = 0.5,
        *,
        energy: Callable[..., Any] | None = None,
        objective: Callable[..., Any] | None = None,
        residual: Callable[..., Any] | None = None,
        **options: Any,
    ) -> None:
        structure = mesh.structure() if hasattr(mesh, "structure") else mesh
        if not isinstance(structure, MeshStructure):
            raise InputError("forms need a mesh: give a FEniCSx or a MeshStructure, not a Grid or a Structure")
        if not len(structure.loads):
            if objective is None:
                raise InputError("without loads there is no compliance; give the structure a load, or an objective=")
            structure = replace(structure, loads=np.zeros((1, structure.unknowns)), weights=np.ones(1))
        self.forms = Forms.of(structure, energy, objective, residual)
        given = {field.name: getattr(structure, field.name) for field in fields(MeshStructure)}
        super().__init__(_FormStructure(**given, forms=self.forms), volume, **options)

    def describe(self) -> dict[str, Any]:
        return super().describe() | {"forms": self.forms.signature}

    def state(self, x: Array, case: int = 0) -> Any:
        """The state (a dolfinx function) of the design `x` (n,) under one load case; collective."""
        realizations = self.field.realize(x)
        self.system.set_moduli(self.moduli(realizations[len(realizations) // 2].density))
        self.system.equilibrium(self.structure.loads[case], self.tol)
        return self.forms.u.copy()

    def _respond(self, moduli: Array, number: int) -> Response:
        structure, system, compliance = self.structure, self.system, self.forms.objective is None
        system.set_moduli(moduli)
        last = self._warm.get(number)
        states, values, slopes, spent = [], [], [], []
        for case, load in enumerate(structure.loads):
            state = system.equilibrium(load, self.tol, None if last is None else last[0, case])
            value = float(structure.total(float(load @ state.u))) if compliance else system.objective()
            pull = load if compliance else system.objective_slope()
            adjoint, iterations = system.adjoint(-pull, self.tol, self._guess(state.u, last, case))
            # What the equations still miss, weighted by the adjoint, leaves an error of second order in the objective.
            missing = float(structure.total(float(adjoint @ system.residual(state.u, load))))
            values.append(value + missing)
            slopes.append(system.modulus_slope(adjoint))
            states.append((state.u, adjoint))
            spent.append((state.residual, state.steps, state.iterations + iterations))
        cases, slope = np.array(values), np.tensordot(structure.weights, np.array(slopes), axes=1)
        value = float(structure.weights @ cases)
        if not np.isfinite(value + structure.total(float(slope.sum()))):
            raise EvaluationFailed(f"the objective is {value} with a slope that is not finite at this design")
        self._warm[number] = np.stack([np.array(part) for part in zip(*states, strict=True)])
        residuals, steps, iterations = (np.array(part) for part in zip(*spent, strict=True))
        report = {"cases": cases, "equations": float(residuals.max()), "newton": int(steps.sum())}
        return Response(value, slope, int(iterations.sum()), report)

    def _guess(self, u: Array, last: Array | None, case: int) -> Array | None:
        """An adjoint to start from: of the compliance of linear physics, it is known."""
        if self.forms.objective is None and self.forms.linear:
            return -u
        return None if last is None else last[1, case]


@dataclass(frozen=True, eq=False)
class _FormStructure(MeshStructure):
    """A structure whose equations are forms."""

    forms: Any = None

    def system(self, solver: str) -> Any:
        return FormSystem(self, self.forms, solver)

    def check(self) -> None:
        # Without loads of its own a structure is loaded, and may be held, by its forms, which no check understands.
        if self.total(float(np.count_nonzero(self.loads))) > 0.0:
            super().check()

    def can_coarsen(self, least: int = 3) -> bool:
        # The grid around a mesh knows nothing of these physics.
        return False
