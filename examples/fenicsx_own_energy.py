"""An energy of your own: a cantilever of rubber that bends a lot, against the design that linear elasticity makes."""

from __future__ import annotations

import sys
from typing import Any

from sciopt.topopt import SIMP, Density, DesignResult, optimize_topology
from sciopt.topopt.fenicsx import FEniCSx, FormProblem
from sciopt.topopt.fenicsx.loaded import MPI, dolfinx, ufl

MU, LAM = 0.4, 0.4


def linear(u: Any, E: Any) -> Any:
    """Energy density of linear elasticity; E is the modulus of each cell."""
    strain = ufl.sym(ufl.grad(u))
    return E * (MU * ufl.inner(strain, strain) + LAM / 2 * ufl.tr(strain) ** 2)


def rubber(u: Any, E: Any) -> Any:
    """A compressible neo-Hookean solid."""
    F = ufl.Identity(2) + ufl.grad(u)
    J = ufl.det(F)
    return E * (MU / 2 * (ufl.inner(F, F) - 2 - 2 * ufl.ln(J)) + LAM / 2 * ufl.ln(J) ** 2)


def energy(u: Any, E: Any) -> Any:
    """Rubber where there is material; void is linear, or it would turn inside out.

    Wang, Lazarov, Sigmund and Jensen 2014, doi 10.1016/j.cma.2014.03.021.
    """
    solid = E / (E + 0.01)
    return (rubber(solid * u, E) - linear(solid * u, E) + linear(u, E)) * ufl.dx


def main(n: int = 40, force: float = 0.01) -> dict[str, DesignResult]:
    mesh = dolfinx.mesh.create_rectangle(
        MPI.COMM_WORLD, [(0, 0), (4, 1)], (n, n // 4), dolfinx.mesh.CellType.quadrilateral
    )
    beam = FEniCSx(mesh).fix("left").load((4, 0.5), (0, -force))
    options: dict[str, Any] = {"volume": 0.5, "filter": Density(0.2), "material": SIMP(Emin=1e-4)}
    nonlinear = FormProblem(beam, energy=energy, **options)
    results = {
        "linear": optimize_topology(FormProblem(beam, energy=lambda u, E: linear(u, E) * ufl.dx, **options)),
        "rubber": optimize_topology(nonlinear),
    }
    for name, result in results.items():
        ev = nonlinear.evaluate(result.x)
        sys.stdout.write(f"designed for {name:6}: compliance of the rubber {ev.value:.6f}  ({result.reason})\n")
    return results


if __name__ == "__main__":
    main()["rubber"].write("rubber.png")
