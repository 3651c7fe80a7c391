"""A task whose variables do not depend on each other, so that every number of ranks must give the same bits."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import numpy as np

from sciopt.core import Box, Budget, Evaluation, Fixed, StepMethod
from sciopt.rules import Momentum
from sciopt.topopt.fenicsx.loaded import MPI, dolfinx
from sciopt.topopt.fenicsx.ranks import Pieces
from sciopt.topopt.fenicsx.structure import MeshStructure
from sciopt.topopt.grid.element import Elasticity
from sciopt.topopt.run_folder import DesignFolder
from sciopt.topopt.runner import Runner


def structure_on(mesh: Any, solid: Any = None) -> MeshStructure:
    """Nothing held, nothing loaded; `solid(centres)` cells are no variables."""
    dim = mesh.topology.dim
    space = dolfinx.fem.functionspace(mesh, ("Lagrange", 1, (dim,)))
    cells = mesh.topology.index_map(dim).size_local
    unknowns = space.dofmap.index_map.size_local * dim
    middle = mesh.geometry.x[mesh.geometry.dofmaps[0][:cells], :dim].mean(axis=1)
    return MeshStructure(
        space,
        Elasticity(0.3, "stress"),
        np.ones(cells),
        np.zeros(cells, dtype=bool) if solid is None else solid(middle),
        np.zeros(unknowns, dtype=bool),
        np.zeros((1, unknowns)),
        np.ones(1),
        np.zeros(unknowns),
    )


def mesh_of(kind: str, comm: Any = None, cells: int = 6) -> Any:
    comm, kind = MPI.COMM_WORLD if comm is None else comm, getattr(dolfinx.mesh.CellType, kind)
    if kind.name in ("triangle", "quadrilateral"):
        return dolfinx.mesh.create_rectangle(comm, [[0, 0], [3, 1]], [cells, 4], kind)
    return dolfinx.mesh.create_box(comm, [[0, 0, 0], [3, 1, 2]], [cells, 2, 3], kind)


class Separable:
    """Each density is drawn to a target of its own by a spring of its own."""

    penalty, beta = 1.0, 0.0

    def __init__(self, structure: MeshStructure, seconds: float = 0.0) -> None:
        self.structure, self.seconds, self.space = structure, seconds, Box(0.0, 1.0)
        x = structure.centres[structure.design].sum(axis=1)
        self.target, self.spring = 0.5 + 0.4 * np.sin(3.0 * x), 1.0 + np.cos(x) ** 2

    def evaluate(self, x: Any) -> Evaluation:
        time.sleep(self.seconds)
        force = self.spring * (self.target - x)
        value = -0.5 * float(self.structure.total(float(force @ (self.target - x))))
        info = {"density": x**2, "volume": 0.5, "cases": np.array([1.0, 2.0])}
        return Evaluation(x, force, value, cost={"solves": 1.0}, info=info)


def run(folder: Any, structure: MeshStructure, evaluations: int, seconds: float = 0.0, **options: Any) -> Any:
    """(result, records) of so many evaluations in all, resumed where there is something to resume."""
    observers = options.pop("observers", ())
    settings = {"start": np.full(structure.size, 0.5), "sizes": structure.sizes, "name": "separable"}
    writer = DesignFolder(folder, settings, resume=True, ranks=Pieces(structure), **options)
    runner = Runner(structure.elements, observers=observers, folder=writer)
    problem: Any = Separable(structure, seconds)
    method = StepMethod(Momentum(0.9), Fixed(0.1), problem.space)
    result = runner.run(problem, method, Budget(evaluations), np.full(structure.size, 0.5))
    return SimpleNamespace(x=result.state.here.x, records=runner.records, reason=runner.ended or result.reason)
