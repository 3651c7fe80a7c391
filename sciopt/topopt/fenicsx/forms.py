"""Physics and objectives in UFL, differentiated and compiled once."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sciopt.core.errors import InputError
from sciopt.topopt.fenicsx.compiling import compiled
from sciopt.topopt.fenicsx.loaded import dolfinx, ufl

if TYPE_CHECKING:
    from sciopt.topopt.fenicsx.structure import MeshStructure

__all__ = ["Forms"]

# Gauss points of this degree are two per axis: full integration of linear elements. The degree that UFL estimates for
# nonlinear energies on quadrilaterals and hexahedra means thousands of points.
GAUSS = {"quadrature_degree": 3}
EXAMPLE = "lambda u, E: 0.5 * E * ufl.inner(ufl.grad(u), ufl.grad(u)) * ufl.dx"


@dataclass(frozen=True, eq=False)
class Forms:
    """Compiled forms of the objective J(u, E), the residual F(u, E; v) and their derivatives.

    Integrals over the whole mesh leave passive void out. Integrals over quadrilaterals and hexahedra that ask for no
    quadrature degree take two Gauss points per axis.

    Attributes
    ----------
    u, adjoint
        State and adjoint (functions on the structure's space), coefficients of the forms.
    E
        Modulus of every cell (a function on DG0).
    energy
        The stored energy; None where a residual was given, and for linear physics.
    residual
        F(u, E; v), linear in v: the derivative of the energy.
    jacobian
        Its derivative with respect to u.
    objective, objective_slope
        J(u, E) and its derivative with respect to u; None for the compliance.
    objective_modulus_slope
        The derivative of J with respect to the modulus of each cell; None where it does not depend on E.
    residual_modulus_slope
        The derivative of F(u, E; adjoint) with respect to the modulus of each cell.
    linear
        Whether F is affine in u.
    symmetric
        Whether the Jacobian is.
    signature
        A hash of all that was asked; independent of machine and ranks.
    """

    u: Any
    adjoint: Any
    E: Any
    energy: Any
    residual: Any
    jacobian: Any
    objective: Any
    objective_slope: Any
    objective_modulus_slope: Any
    residual_modulus_slope: Any
    linear: bool
    symmetric: bool
    signature: str

    @classmethod
    def of(
        cls,
        structure: MeshStructure,
        energy: Callable[..., Any] | None = None,
        objective: Callable[..., Any] | None = None,
        residual: Callable[..., Any] | None = None,
    ) -> Forms:
        """Differentiate and compile what was given as functions of u and E (and v); collective.

        Parameters
        ----------
        structure
            Whose space u is from.
        energy
            ``energy(u, E)``: the stored energy, a form without arguments.
        objective
            ``objective(u, E)``: a form without arguments, or None for the compliance.
        residual
            ``residual(u, E, v)`` in place of an energy: a form linear in the test function v.

        Raises
        ------
        InputError
            When a function does not return such a form.
        SciOptError
            When there is no C compiler, or no writable cache.
        """
        if (energy is None) == (residual is None):
            raise InputError("give either energy=, a function of u and E, or residual=, a function of u, E and v")
        mesh = structure.mesh
        u, adjoint = dolfinx.fem.Function(structure.space), dolfinx.fem.Function(structure.space)
        cellwise = dolfinx.fem.functionspace(mesh, ("DG", 0))
        E = dolfinx.fem.Function(cellwise)
        v, step = ufl.TestFunction(structure.space), ufl.TrialFunction(structure.space)
        states, cell = {"u": u, "E": E}, ufl.TestFunction(cellwise)
        where = _Domain(structure)

        if energy is not None:
            stored = where.integrated(_asked("energy", energy, states, mesh))
            force = _differentiated("energy", stored, u, v)
            work = _differentiated("energy", stored, u, adjoint)
        else:
            stored = None
            force = where.integrated(_asked("residual", residual, states | {"v": v}, mesh))
            work = ufl.replace(force, {v: adjoint})
        role = "residual" if stored is None else "energy"
        jacobian = _differentiated(role, force, u, step)
        if jacobian.empty():
            raise InputError(f"the {role} is linear in u, which leaves no equilibrium to solve for")
        linear = u not in jacobian.coefficients()
        parts = {
            "energy": None if linear else stored,
            "residual": force,
            "jacobian": jacobian,
            "residual_modulus_slope": _differentiated(role, work, E, cell),
            "objective": None,
            "objective_slope": None,
            "objective_modulus_slope": None,
        }
        if parts["residual_modulus_slope"].empty():
            raise InputError(f"the {role} does not depend on E, so no design would change the state")
        if objective is not None:
            wanted = where.integrated(_asked("objective", objective, states, mesh))
            parts["objective"] = wanted
            parts["objective_slope"] = _differentiated("objective", wanted, u, v)
            slope = _differentiated("objective", wanted, E, cell)
            parts["objective_modulus_slope"] = None if slope.empty() else slope
        signatures = "".join(part.signature() for part in parts.values() if part is not None)
        return cls(
            u=u,
            adjoint=adjoint,
            E=E,
            **{
                name: None if part is None else compiled(part, name.split("_")[0], mesh.comm)
                for name, part in parts.items()
            },
            linear=linear,
            symmetric=stored is not None,
            signature=hashlib.sha256(signatures.encode()).hexdigest()[:16],
        )


def _asked(role: str, function: Any, states: dict[str, Any], mesh: Any) -> Any:
    """The form that the user's `function` makes of `states`, checked."""
    call = f"{role}({', '.join(states)})"
    try:
        inspect.signature(function).bind(*states.values())
    except TypeError as error:
        raise InputError(f"{role}= must be a function that can be called as {call}, for example {EXAMPLE}") from error
    try:
        form = function(*states.values())
    except Exception as error:
        raise InputError(f"{call} raised {type(error).__name__}: {error}") from error
    if not isinstance(form, ufl.Form) or form.empty():
        seen = "an empty form" if isinstance(form, ufl.Form) else f"a {type(form).__name__}"
        raise InputError(f"{call} returned {seen}; expected an integral, for example {EXAMPLE}")
    if any(domain != mesh.ufl_domain() for domain in form.ufl_domains()):
        raise InputError(f"{call} integrates over another mesh than the structure's")
    arguments, expected = form.arguments(), [states["v"]] if "v" in states else []
    if list(arguments) != expected:
        shape = "linear in the test function v" if expected else "a scalar, without test or trial functions"
        raise InputError(f"{call} is a form with {len(arguments)} arguments; expected one that is {shape}")
    if states["u"] not in form.coefficients():
        raise InputError(f"{call} does not depend on u")
    if expected:
        # UFL would ask this at compilation only, where it looks like a failed compiler; its exception is no Exception.
        arities = ufl.algorithms.check_arities
        try:
            real = ufl.algorithms.remove_complex_nodes.remove_complex_nodes(ufl.algorithms.expand_derivatives(form))
            arities.check_form_arity(real, tuple(arguments))
        except (Exception, arities.ArityMismatch) as error:
            raise InputError(f"{call} is not linear in the test function v in every term: {error}") from error
    return form


def _differentiated(role: str, form: Any, by: Any, direction: Any) -> Any:
    try:
        return ufl.algorithms.expand_derivatives(ufl.derivative(form, by, direction))
    except Exception as error:
        raise InputError(f"the {role} cannot be differentiated: {error}") from error


class _Domain:
    """The quadrature and the cells of integrals that ask for none in particular."""

    def __init__(self, structure: MeshStructure) -> None:
        kinds = dolfinx.mesh.CellType
        self.tensor = structure.mesh.topology.cell_type in (kinds.quadrilateral, kinds.hexahedron)
        # Void that the solid bends into would turn inside out there, and no factor of zero outweighs a NaN.
        self.regions = None
        if structure.total(float(np.count_nonzero(structure.material <= 0.0))) > 0.0:
            self.regions = [(1, np.flatnonzero(structure.material > 0.0).astype(np.int32))]

    def integrated(self, form: Any) -> Any:
        """The form with defaults filled in."""
        cells = [integral for integral in form.integrals() if integral.integral_type() == "cell"]
        others = [integral for integral in form.integrals() if integral.integral_type() != "cell"]
        if self.tensor:
            cells = [i if _degree_asked(i) else i.reconstruct(metadata=GAUSS | i.metadata()) for i in cells]
        if self.regions is not None and all(i.subdomain_id() == "everywhere" for i in cells):
            cells = [i.reconstruct(subdomain_id=1, subdomain_data=self.regions) for i in cells]
        return ufl.Form(cells + others)


def _degree_asked(integral: Any) -> bool:
    return bool({"quadrature_degree", "quadrature_rule", "quadrature_element"} & set(integral.metadata()))
