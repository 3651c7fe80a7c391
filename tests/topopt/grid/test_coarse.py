"""Coarse operators are exactly ``Pᵀ A P``; transfers, stencil sweeps and the banded solver against SciPy."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy.sparse import csr_array, diags_array, eye_array, kron

from sciopt.topopt.grid.coarsest import BandedSolver
from sciopt.topopt.grid.element import Conduction, Elasticity, Physics
from sciopt.topopt.grid.element_sweep import RESIDUAL, SMOOTH
from sciopt.topopt.grid.galerkin import conserve
from sciopt.topopt.grid.multigrid import Multigrid
from sciopt.topopt.grid.stencil_sweep import interior, later_neighbours, stencil_sweep
from sciopt.topopt.grid.system import GridSystem
from sciopt.topopt.grid.transfer import prolong_add, restrict

CASES = [
    ((13, 6), Elasticity()),
    ((37, 34), Conduction()),
    ((64, 2), Elasticity(0.1)),  # long: the deepest levels are made from their children
    ((5, 7, 4), Elasticity()),
    ((9, 3, 6), Conduction()),
    ((33, 2, 1), Elasticity()),
]
Case = tuple[tuple[int, ...], Physics]


def interpolation(cells: int) -> csr_array:
    """Linear interpolation to `cells` + 1 nodes from those at every second one, rounded up."""
    coarse = (cells + 1) // 2
    P = np.zeros((cells + 1, coarse + 1))
    for i in range(cells + 1):
        P[i, i // 2] += 0.5
        P[i, (i + 1) // 2] += 0.5
    return csr_array(P)


def prolongation(components: int, shape: tuple[int, ...]) -> csr_array:
    """Multilinear interpolation of all components on a grid of `shape` = (nx, ny[, nz]) elements."""
    P = eye_array(1)
    for n in shape:
        P = kron(interpolation(n), P)
    return csr_array(kron(eye_array(components), P))


def stencil_matrix(A: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Dense matrix of symmetric stencils (nz+1, s, c, c, ny+3, nx+3), node by node."""
    NK, S, c = A.shape[:3]
    NJ, NI = A.shape[4] - 2, A.shape[5] - 2
    nodes = NK * NJ * NI
    dense = np.zeros((c * nodes, c * nodes))
    for k, j, i, s in product(range(NK), range(NJ), range(NI), range(S)):
        dk, dj, di = offsets[s]
        if not (0 <= k + dk < NK and 0 <= j + dj < NJ and 0 <= i + di < NI):
            continue
        here, there = (k * NJ + j) * NI + i, ((k + dk) * NJ + j + dj) * NI + i + di
        for a, b in product(range(c), repeat=2):
            dense[a * nodes + here, b * nodes + there] = A[k, s, a, b, j + 1, i + 1]
            dense[b * nodes + there, a * nodes + here] = A[k, s, a, b, j + 1, i + 1]
    return dense


def hierarchy(case: Case, monkeypatch: pytest.MonkeyPatch) -> tuple[GridSystem, np.ndarray, Multigrid]:
    """All levels down to a single element, with springs and with supports that coarse grids miss."""
    monkeypatch.setattr("sciopt.topopt.grid.multigrid.COARSEST", 0)
    shape, physics = case
    dim = len(shape)
    rng = np.random.default_rng(1)
    nodal = (physics.components(dim), *(n + 1 for n in reversed(shape)))
    springs = np.where(rng.random(nodal) < 0.2, rng.random(nodal), 0.0)
    fixed = np.zeros(nodal, bool)
    fixed[..., 0] = True
    fixed[0, ..., 1, -1] = True
    system = GridSystem(shape, (1.0, 0.8, 1.3)[:dim], physics, fixed, springs)
    E = rng.random(system.elements) ** 3 + 1e-9
    cells = (1,) * (3 - dim) + shape[::-1]
    full = (nodal[0], *(1,) * (3 - dim), *nodal[1:])
    multigrid = Multigrid(cells, dim, system.stiffness, fixed.reshape(full), springs.reshape(full))
    multigrid.setup(E.reshape(cells))
    return system, E, multigrid


@pytest.mark.parametrize("case", CASES)
def test_coarse_operators_are_exact(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    system, E, multigrid = hierarchy(case, monkeypatch)
    shape, c = system.shape, system.nodal[0]
    free = np.zeros_like(system.fixed)
    bare = GridSystem(shape, system.spacing, system.physics, free, solver="direct").matrix(E)
    springs = np.where(system.fixed, 0.0, system.springs).ravel()
    diagonals = [(bare.diagonal() + system.springs.ravel()).reshape(system.fixed.shape)]
    total = P = eye_array(system.fixed.size)
    for number, level in enumerate(multigrid.levels[1:], start=1):
        P = prolongation(c, shape)
        total = csr_array(total @ P)
        shape = tuple((n + 1) // 2 for n in shape)
        # Supports between the nodes of this level are springs, as stiff as the diagonal on the last grid that has them.
        missed = np.zeros(system.fixed.size)
        for index in np.argwhere(system.fixed):
            halvings = min((int(i & -i).bit_length() - 1) % 63 for i in index[1:])
            if halvings < number:
                at = np.ravel_multi_index(tuple(index), system.fixed.shape)
                missed[at] = diagonals[halvings][(index[0], *(index[1:] >> halvings))]
        expected = (total.T @ (bare + diags_array(springs + missed)) @ total).toarray()
        diagonals.append(expected.diagonal().reshape(-1, *(n + 1 for n in reversed(shape))))
        expected = expected / E.max()
        stencils = stencil_matrix(level.A, multigrid.offsets)
        assert np.abs(stencils - expected).max() <= 2e-6 * np.abs(expected).max()
    assert shape == (1,) * len(shape)
    assert multigrid.elements[-1].direct == (2 ** (len(shape) * len(multigrid.elements)) <= 512)


@pytest.mark.parametrize(("dim", "c"), [(2, 1), (2, 2), (3, 3)])
def test_rigid_translations_cost_what_springs_take(dim: int, c: int) -> None:
    rng = np.random.default_rng(6)
    nodes = (4, 5, 7) if dim == 3 else (1, 9, 30)
    offsets = later_neighbours(dim)
    A = np.zeros((nodes[0], len(offsets), c, c, nodes[1] + 2, nodes[2] + 2), np.float32)
    stiff = np.where(rng.random(nodes) < 0.5, 1.0, 1e-9)  # a neighbour is coupled by the softer of two nodes
    for (k, j, i), (s, offset) in product(np.ndindex(nodes), enumerate(offsets)):
        there = tuple(np.add((k, j, i), offset))
        if s > 0 and all(0 <= t < n for t, n in zip(there, nodes, strict=True)):
            block = rng.random((c, c)) * min(stiff[k, j, i], stiff[there])
            A[k, s, :, :, j + 1, i + 1] = -(block + block.T)
    held = np.where(rng.random((c, *nodes)) < 0.3, rng.random((c, *nodes)) * stiff, 0.0)
    before = A.copy()
    conserve(A, offsets, held)
    assert np.array_equal(A[:, 1:], before[:, 1:])
    sums = stencil_matrix(A, offsets) @ np.kron(np.eye(c), np.ones((int(np.prod(nodes)), 1)))
    size = int(np.prod(nodes))
    for a, b in product(range(c), repeat=2):
        found = sums[a * size : (a + 1) * size, b]
        diagonal = A[:, 0, a, a, 1:-1, 1:-1].ravel()
        if a != b:
            assert np.all(np.abs(found) <= 1e-6 * diagonal)
            continue
        assert np.all(diagonal > 0.0)
        wrong = found - held[a].ravel()
        assert np.all(np.abs(wrong) <= 2.5e-7 * diagonal)
        # Errors do not add up: at any place, all that came before is wrong by the last digit of one entry.
        assert np.abs(np.cumsum(wrong)).max() <= 1.5e-7 * diagonal.max()


@pytest.mark.parametrize("shape", [(1000, 20), (120, 4, 3)])
@pytest.mark.parametrize("solid", [1.0, 0.3])
def test_rounding_leaves_slender_beams_as_soft_as_they_are(shape: tuple[int, ...], solid: float) -> None:
    # The beam bends by far less force than the last digit of the diagonal, which is the same everywhere.
    dim, cells = len(shape), (1,) * (3 - len(shape)) + shape[::-1]
    fixed = np.zeros((dim, *(n + 1 for n in shape[::-1])), bool)
    fixed[..., 0] = True
    system = GridSystem(shape, (1.0,) * dim, Elasticity(), fixed)
    E = np.ones(shape[::-1])
    E[..., shape[0] // 2 :] = solid
    multigrid = Multigrid(cells, dim, system.stiffness, system._fixed, np.zeros((0, 0, 0, 0)))
    multigrid.setup(E.reshape(cells))
    P = eye_array(fixed.size)
    for number, level in enumerate(multigrid.levels[1:3], start=1):
        P = csr_array(P @ prolongation(dim, tuple((n + 2 ** (number - 1) - 1) // 2 ** (number - 1) for n in shape)))
        nodes = interior(level.x).shape[1:]
        _, y, x = (2.0**number * axis for axis in np.indices(nodes))
        t = x / shape[0]
        bent = np.zeros(interior(level.x).shape)
        bent[0], bent[1] = -2.0 * t * (y - shape[1] / 2.0) / shape[0], t**2
        full = np.zeros(level.x.shape)
        interior(full)[:] = bent
        found, weights = np.zeros_like(full), np.array([0.0, 0.0, -1.0])
        A, free = level.A.astype(float), np.zeros_like(full)
        interior(free)[:] = 1.0
        stencil_sweep(SMOOTH, full, A, multigrid.offsets, np.zeros_like(full), free, full, weights, found)
        exact = E.ravel() @ system.energies((P @ bent.ravel()).reshape(fixed.shape))
        at_the_support = np.vdot(bent[..., 0], interior(found)[..., 0])
        assert np.vdot(full, found) - at_the_support == pytest.approx(exact, rel=0.05)


@pytest.mark.parametrize("case", CASES)
def test_transfers_are_interpolation_and_its_transpose(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    system, _, multigrid = hierarchy(case, monkeypatch)
    rng = np.random.default_rng(2)
    P = prolongation(system.nodal[0], system.shape)
    fine, coarse = multigrid.levels[:2]
    fine.other[:] = rng.standard_normal(fine.other.shape)
    restrict(fine.other, 0, coarse.b)
    assert np.allclose(interior(coarse.b).ravel(), P.T @ fine.other.ravel(), atol=1e-5)
    interior(coarse.x)[:] = rng.standard_normal(interior(coarse.x).shape)
    expected = fine.other.ravel() + np.where(system.fixed.ravel(), 0.0, P @ interior(coarse.x).ravel())
    prolong_add(coarse.x, fine.other, fine.scale, 0)
    assert np.allclose(fine.other.ravel(), expected, atol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_stencil_sweeps_are_the_plain_formulas(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, multigrid = hierarchy(case, monkeypatch)
    rng = np.random.default_rng(3)
    for level in multigrid.levels[1:]:
        x, b, old, out = (np.zeros_like(level.x) for _ in range(4))
        for field in (x, b, old):
            interior(field)[:] = rng.standard_normal(interior(field).shape)
        w = np.array([0.7, -0.3, 1.1], np.float32)
        y = (stencil_matrix(level.A, multigrid.offsets) @ interior(x).ravel()).reshape(interior(x).shape)
        stencil_sweep(RESIDUAL, x, level.A, multigrid.offsets, b, level.scale, old, w, out)
        scale, rest = interior(level.scale), interior(b) - y
        size = np.abs(y).max()
        assert np.abs(interior(out) - np.where(scale > 0.0, rest, 0.0)).max() < 1e-5 * size
        expected = w[0] * interior(x) + w[1] * interior(old) + w[2] * scale * rest
        stencil_sweep(SMOOTH, x, level.A, multigrid.offsets, b, level.scale, old, w, old)
        assert np.abs(interior(old) - expected).max() < 1e-5 * np.abs(expected).max()
        border = old.copy()
        interior(border)[:] = 0.0
        assert not border.any()


@pytest.mark.parametrize("case", CASES)
def test_the_coarsest_solve_inverts_the_free_part(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, multigrid = hierarchy(case, monkeypatch)
    rng = np.random.default_rng(4)
    for level in multigrid.levels[1:]:
        scale = interior(level.scale).ravel()
        solver = BandedSolver(interior(level.x).shape, multigrid.offsets)
        solver.factorize(level.A, level.scale)
        interior(level.b)[:] = rng.standard_normal(interior(level.b).shape)
        solver.solve(level.b, level.x)
        kept = np.flatnonzero(scale > 0.0)
        root = np.sqrt(scale[kept].astype(float))
        matrix = stencil_matrix(level.A, multigrid.offsets)[np.ix_(kept, kept)] * np.outer(root, root)
        matrix += 1e-6 * np.eye(kept.size)
        expected = np.zeros(scale.size)
        expected[kept] = root * np.linalg.solve(matrix, root * interior(level.b).ravel()[kept])
        assert np.allclose(interior(level.x).ravel(), expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("case", CASES)
def test_one_cycle_is_symmetric_and_positive(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    system, _, multigrid = hierarchy(case, monkeypatch)
    rng = np.random.default_rng(5)
    finest = multigrid.levels[0]
    r, s = (np.where(finest.scale > 0.0, rng.standard_normal(finest.b.shape), 0.0) for _ in range(2))
    answers = []
    for field in (r, s):
        finest.b[:] = field
        answers.append(multigrid().astype(float))
    size = np.sqrt(np.vdot(r, answers[0]) * np.vdot(s, answers[1]))
    assert np.vdot(r, answers[0]) > 0.0
    assert abs(np.vdot(r, answers[1]) - np.vdot(s, answers[0])) < 1e-4 * size
    assert not answers[0][system.fixed.reshape(finest.b.shape)].any()
