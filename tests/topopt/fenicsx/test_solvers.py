"""Multigrid against factorization on designs that break careless settings; hierarchies that serve several designs."""

from __future__ import annotations

import numpy as np
import pytest

from sciopt.topopt.fenicsx.assembly import StiffnessMatrix
from sciopt.topopt.fenicsx.elements import Elements
from sciopt.topopt.fenicsx.loaded import MPI, dolfinx
from sciopt.topopt.fenicsx.near_nullspace import near_nullspace
from sciopt.topopt.fenicsx.solvers import Factorization, Multigrid
from sciopt.topopt.fenicsx.structure import cell_corners
from sciopt.topopt.grid.element import Elasticity


class Cantilever:
    """A box of unit cubes, each one hexahedron or six tetrahedra, clamped on the left and pulled down on the right."""

    def __init__(self, cell: str, shape: tuple[int, ...]) -> None:
        make = dolfinx.mesh.create_rectangle if len(shape) == 2 else dolfinx.mesh.create_box
        mesh = make(MPI.COMM_SELF, [np.zeros(len(shape)), shape], shape, dolfinx.mesh.CellType[cell])
        dim = len(shape)
        space = dolfinx.fem.functionspace(mesh, ("Lagrange", 1, (dim,)))
        x = space.tabulate_dof_coordinates()
        self.elements = Elements(space, Elasticity())
        self.fixed = np.repeat(np.isclose(x[:, 0], 0.0), dim)
        self.stiffness = StiffnessMatrix(self.elements, self.fixed, np.zeros(dim * len(x)))
        self.matrix = self.stiffness.matrix
        self.matrix.setNearNullSpace(near_nullspace(space, self.matrix))
        self.load = np.zeros(dim * len(x))
        self.load[dim * np.flatnonzero(np.isclose(x[:, 0], shape[0]) & np.isclose(x[:, dim - 1], 0.0)) + dim - 1] = -1.0
        self.centres = cell_corners(mesh).mean(axis=1) / shape

    def design(self, seed: int, sharpness: float = np.inf, least: float = 1e-9) -> np.ndarray:
        """Blobs of solid in void, with a chord that carries the load; sharpness inf is black and white."""
        rng = np.random.default_rng(seed)
        x = self.centres
        wave = sum(
            rng.standard_normal() * np.cos(rng.normal(0.0, 9.0, x.shape[1]) @ x.T + rng.uniform(0.0, 6.0))
            for _ in range(30)
        )
        wave = wave - np.median(wave)
        density = (wave > 0.0) * 1.0 if np.isinf(sharpness) else 0.5 + 0.5 * np.tanh(sharpness * wave)
        density[(x[:, -1] < 0.15) | (x[:, 0] > 0.9)] = 1.0
        return least + density**3 * (1.0 - least)

    def residual(self, E: np.ndarray, u: np.ndarray) -> float:
        r = np.where(self.fixed, 0.0, self.load - self.elements.product(E, u))
        return float(np.linalg.norm(r) / np.linalg.norm(self.load))


@pytest.mark.parametrize("cell", ["hexahedron", "tetrahedron"])
def test_black_and_white_designs_are_solved_by_multigrid_as_by_factorizing(cell: str) -> None:
    beam = Cantilever(cell, (16, 8, 8))
    E = beam.design(4)
    assert set(E) == {1e-9, 1.0}
    beam.stiffness.assemble(E)
    exact, u = np.zeros_like(beam.load), np.zeros_like(beam.load)
    Factorization(beam.matrix).solve(beam.load, exact)
    steps = Multigrid(beam.matrix).solve(beam.load, u, 1e-8)
    assert steps < 80
    assert beam.residual(E, exact) < 1e-9
    assert beam.residual(E, u) < 1.1e-8
    assert beam.load @ u == pytest.approx(beam.load @ exact, rel=1e-7)
    error = u - exact
    assert error @ beam.elements.product(E, error) < 1e-8 * (beam.load @ exact)


@pytest.mark.parametrize("careful", [False, True])
def test_a_hierarchy_serves_the_next_designs(careful: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    beam = Cantilever("quadrilateral", (48, 24))
    made = []
    renew = Multigrid._renew
    monkeypatch.setattr(Multigrid, "_renew", lambda self: (made.append(1), renew(self))[1])
    solver = None
    for step in range(12):
        # From grey to black and white, as a design run does it.
        E = beam.design(7, 0.2 * 1.5**step)
        beam.stiffness.assemble(E)
        u = np.zeros_like(beam.load)
        if solver is None:
            solver = Multigrid(beam.matrix, careful)
        else:
            solver.refresh()
        steps = solver.solve(beam.load, u, 1e-6)
        fresh = Multigrid(beam.matrix, careful)
        alone = fresh.solve(beam.load, np.zeros_like(u), 1e-6)
        fresh.destroy()
        assert steps <= 4 * alone + solver.SLACK
        assert beam.residual(E, u) < 1.1e-6
    assert len(made) < 8


def test_the_finest_level_is_smoothed_with_the_new_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    beam = Cantilever("hexahedron", (8, 4, 4))
    E = np.where(beam.centres[:, 1] < 0.5, 1e-3, 1.0)
    beam.stiffness.assemble(E)
    monkeypatch.setattr(Multigrid, "SLACK", 300)
    solver = Multigrid(beam.matrix)
    solver.solve(beam.load, np.zeros_like(beam.load), 1e-6)
    monkeypatch.setattr(Multigrid, "_renew", lambda self: pytest.fail("the old hierarchy should have been enough"))
    # Where the modulus is now a thousand times larger, steps by the old diagonal would be a thousand times too long.
    E = np.ones_like(E)
    beam.stiffness.assemble(E)
    solver.refresh()
    u = np.zeros_like(beam.load)
    solver.solve(beam.load, u, 1e-6)
    assert beam.residual(E, u) < 1.1e-6


def test_age_renews_a_hierarchy_that_still_works(monkeypatch: pytest.MonkeyPatch) -> None:
    beam = Cantilever("quadrilateral", (12, 6))
    E = beam.design(3, 1.0)
    beam.stiffness.assemble(E)
    solver = Multigrid(beam.matrix)
    solver.solve(beam.load, np.zeros_like(beam.load), 1e-3)
    made = []
    renew = Multigrid._renew
    monkeypatch.setattr(Multigrid, "_renew", lambda self: (made.append(self._age), renew(self))[1])
    for _ in range(45):
        beam.stiffness.assemble(E)
        solver.refresh()
        solver.solve(beam.load, np.zeros_like(beam.load), 1e-3)
    assert made == [20, 20]


def test_factorizations_follow_the_matrix() -> None:
    beam = Cantilever("triangle", (12, 6))
    solver = Factorization(beam.matrix) if beam.stiffness.assemble(beam.design(1)) else None
    assert solver is not None
    for seed in range(3):
        E = beam.design(seed)
        beam.stiffness.assemble(E)
        solver.refresh()
        u = np.empty_like(beam.load)
        solver.solve(beam.load, u)
        assert beam.residual(E, u) < 1e-9
