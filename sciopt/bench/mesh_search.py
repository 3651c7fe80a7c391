"""Solves on a mesh until a design is within 1 % of the best found: the search on a grid around it against none."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from sciopt.topopt.filters import Density
from sciopt.topopt.objectives import Compliance, ThermalCompliance
from sciopt.topopt.optimize import optimize_topology

if TYPE_CHECKING:
    from collections.abc import Callable

    from sciopt.topopt.problem import TopologyProblem

__all__ = ["search"]

_METHODS = ("auto", "quasi-newton", "mma")
_CLOSE = 1.01


def search(budget: float) -> dict[str, Any]:
    """Per problem and method: objective at the default stop, solves on the mesh, and those to 1 % of the best."""
    rows = []
    for name, make in PROBLEMS.items():
        problem = make()
        cells = problem.structure.elements
        found = []
        for method in _METHODS:
            begun = time.process_time()
            result = optimize_topology(problem, method, max_solves=budget)
            seconds = time.process_time() - begun
            values = [record.objective for record in result.records if record.elements == cells]
            found.append((method, result.objective, values, result.calls["equivalents"], seconds))
        good = _CLOSE * min(objective for _, objective, *_ in found)
        for method, objective, values, equivalents, seconds in found:
            hits = [number for number, value in enumerate(values, 1) if value <= good]
            rows.append(
                {
                    "problem": name,
                    "cells": cells,
                    "method": method,
                    "objective": objective,
                    "solves": len(values),
                    "close": hits[0] if hits else None,
                    "equivalents": equivalents,
                    "seconds": seconds,
                }
            )
    return {"rows": rows}


def _rectangle(size: tuple[float, float], cells: tuple[int, int]) -> Any:
    from sciopt.topopt.fenicsx.loaded import MPI, dolfinx

    return dolfinx.mesh.create_rectangle(MPI.COMM_SELF, [(0.0, 0.0), size], cells, dolfinx.mesh.CellType.triangle)


def _beam() -> TopologyProblem:
    from sciopt.topopt.fenicsx import FEniCSx

    source = FEniCSx(_rectangle((60.0, 20.0), (90, 30))).fix("left").load((60, 10), (0, -1))
    return Compliance(source, 0.5, filter=Density(2.0))


def _holed() -> TopologyProblem:
    from sciopt.topopt.fenicsx import FEniCSx

    source = FEniCSx(_rectangle((40.0, 20.0), (80, 40))).fix("left").load((40, 0), (0, -1))
    source = source.void(lambda x, y: (x - 14) ** 2 + (y - 10) ** 2 < 36)
    return Compliance(source, 0.4, filter=Density(1.2))


def _deck() -> TopologyProblem:
    from sciopt.topopt.fenicsx import FEniCSx

    source = FEniCSx(_rectangle((60.0, 20.0), (90, 30))).fix((0, 0)).fix((60, 0), "y").load("top", (0, -1))
    return Compliance(source.solid(lambda x, y: y > 19), 0.35, filter=Density(1.5))


def _plate() -> TopologyProblem:
    from sciopt.topopt.fenicsx import FEniCSx

    source = FEniCSx(_rectangle((40.0, 40.0), (60, 60)), physics="heat").source("all", 1.0)
    sink = source.fix(lambda x, y: (x < 1e-6) & (abs(y - 20) < 4))
    return ThermalCompliance(sink, 0.4, filter=Density(1.5))


def _box() -> TopologyProblem:
    from sciopt.topopt.fenicsx import FEniCSx
    from sciopt.topopt.fenicsx.loaded import MPI, dolfinx

    tetrahedron = dolfinx.mesh.CellType.tetrahedron
    mesh = dolfinx.mesh.create_box(MPI.COMM_SELF, [(0.0, 0.0, 0.0), (24.0, 12.0, 12.0)], (24, 12, 12), tetrahedron)
    source = FEniCSx(mesh).fix("left").load(lambda x, y, z: (abs(x - 24) < 1e-6) & (y < 1e-6), (0, -1, 0))
    return Compliance(source, 0.3, filter=Density(1.5))


PROBLEMS: dict[str, Callable[[], TopologyProblem]] = {
    "beam": _beam,
    "holed": _holed,
    "deck": _deck,
    "plate": _plate,
    "box": _box,
}
"""Problems by name. The first four are among those on which the width of the grid's elements was chosen."""
