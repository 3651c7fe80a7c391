"""Named structures as problems ready to be optimized."""

from __future__ import annotations

from typing import Any

from sciopt.problems.structures import StructureProblem, structure_problem
from sciopt.topopt.filters import Density
from sciopt.topopt.material import SIMP
from sciopt.topopt.objectives import Compliance, Mechanism, ThermalCompliance
from sciopt.topopt.problem import TopologyProblem

__all__ = ["topology_problem"]

_KINDS: dict[str, type[TopologyProblem]] = {
    "compliance": Compliance,
    "heat": ThermalCompliance,
    "mechanism": Mechanism,
}


def topology_problem(
    name: str | StructureProblem,
    nx: int | None = None,
    ny: int | None = None,
    nz: int | None = None,
    **options: Any,
) -> TopologyProblem:
    """The named structure with its own volume, density filter and SIMP material.

    Parameters
    ----------
    name, nx, ny, nz
        See `structure_problem`.
    options
        Replace any of these, see `TopologyProblem`.

    Examples
    --------
    >>> topology_problem("mbb", nx=60).size
    1200
    """
    chosen = structure_problem(name, nx, ny, nz) if isinstance(name, str) else name
    defaults: dict[str, Any] = {
        "volume": chosen.volume,
        "filter": Density(chosen.radius),
        "material": SIMP(Emin=chosen.Emin),
    }
    return _KINDS[chosen.kind](chosen.grid, **defaults | options)
