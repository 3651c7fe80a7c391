"""Second derivatives of objectives along directions: exact chain rule, rough equilibrium."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from sciopt.core.products import Products
from sciopt.core.types import Array
from sciopt.topopt.ranks import ALONE

if TYPE_CHECKING:
    from sciopt.topopt.field import Realization
    from sciopt.topopt.problem import Response, TopologyProblem

__all__ = ["Curve", "design_products", "state_curve"]

Curve = Callable[[Array], tuple[Array, float]]
"""(elements,) a change of the moduli to that of the derivative by the moduli, and the solves that took."""

# Where 1 < p < 2 the modulus bends without end at void, where a change of density does nothing yet.
_THIN = 0.01


def state_curve(problem: TopologyProblem, moduli: Array, fields: Array, others: Array, factors: Array) -> Curve | None:
    """How ``g_e = sum_k factors_k v_k,e K_0 u_k,e``, a derivative by the moduli, changes with them.

    With ``K u = f`` and ``K v = l`` the derivative of ``l . u`` by the modulus of element e is ``-v_e K_0 u_e``; its
    change along dE needs ``du = -K^-1 K(dE) u`` and ``dv = -K^-1 K(dE) v``, which are solved for roughly.

    Parameters
    ----------
    problem
        Whose equations were solved for `moduli` last.
    moduli
        (elements,) the very array that was solved for.
    fields, others
        (m, c, *nodes) u and v of every case; the same array where the objective is its own adjoint.
    factors
        (m,) of the cases.

    Returns
    -------
    None where the system has no rough solutions to offer.

    Haftka and Gürdal, *Elements of Structural Optimization* (1992), chapter 7, doi 10.1007/978-94-011-2550-5.
    """
    system = problem.system
    rough = system.rough(moduli)
    if rough is None:
        return None

    def curve(change: Array) -> tuple[Array, float]:
        moved, part = rough(system.change(change, fields))
        found = np.zeros(len(change))
        if others is fields:
            for factor, u, du in zip(factors, fields, moved, strict=True):
                found -= 2.0 * factor * system.energies(u, du)
            return found, part
        moved_others, more = rough(system.change(change, others))
        for factor, u, v, du, dv in zip(factors, fields, others, moved, moved_others, strict=True):
            found -= factor * (system.energies(v, du) + system.energies(dv, u))
        return found, part + more

    return curve


def design_products(problem: TopologyProblem, real: Realization, response: Response) -> Products | None:
    """Products of the objective's Hessian by the design variables, at the design that `response` answers.

    ``H d = J^T (E' H_E E' + g_E E'') J d + (J^T)'[d] g`` with the map J from variables to densities, the law E of the
    material and the derivative g_E of the objective by the moduli.
    """
    curve = response.curve
    # What the first of several ranks computes for all is sent to the others, which a product cannot be.
    if curve is None or not problem.filter_rule.exact or problem.structure.ranks is not ALONE:
        return None
    structure, field, law = problem.structure, problem.field, problem.material
    design, material = structure.design, structure.material[structure.design]
    slope = material * law.slope(real.density)
    gradient = response.slope[design]
    bend = gradient * material * law.bend(np.maximum(real.density, _THIN))

    def product(direction: Array) -> tuple[Array, Mapping[str, float]]:
        moved = field.pushforward(real, direction)
        change = np.zeros(len(structure.design))
        change[design] = slope * moved
        bent, solves = curve(change)
        found = field.pullback(real, slope * bent[design] + bend * moved)
        further = field.bend(real, slope * gradient, direction)
        return found if further is None else found + further, {"solves": solves}

    return Products(product)
