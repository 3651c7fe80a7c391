"""Preconditioners on meshes serve several designs: rough solutions with them, and so products, are not offered."""

from __future__ import annotations

import pytest

from sciopt.topopt import Compliance, Density, Grid, optimize_topology
from sciopt.topopt.fenicsx import mesh_source
from sciopt.topopt.fenicsx.loaded import MPI


@pytest.mark.parametrize("solver", ["auto", "direct"])
def test_designs_on_meshes_do_without_products(solver: str) -> None:
    grid = Grid(16, 8).fix("left").load((16, 4), (0, -1)).structure()
    problem = Compliance(mesh_source(grid, MPI.COMM_SELF), 0.4, filter=Density(1.6), solver=solver)
    start = problem.evaluate(problem.start())
    assert start.hessian is None
    # Asked for all the same, they are not missed.
    result = optimize_topology(problem, "quasi-newton", products=4, max_solves=12)
    assert result.objective < 0.7 * start.value
    assert result.calls["solves"] <= 12
