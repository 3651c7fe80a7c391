"""The matrix-free operator against the assembled matrix, and the kernels against plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from sciopt.core.errors import EvaluationFailed, InputError
from sciopt.topopt.grid.assembly import Assembler, element_dofs
from sciopt.topopt.grid.conjugate_gradients import advance, direction, dot
from sciopt.topopt.grid.element import Conduction, Elasticity, Physics
from sciopt.topopt.grid.element_sweep import RESIDUAL, SMOOTH, element_sweep, scratch, symmetry_blocks
from sciopt.topopt.grid.system import GridSystem

CASES = [
    ((7, 5), (1.0, 1.0), Elasticity()),
    ((6, 4), (0.5, 2.0), Elasticity(0.2, "strain")),
    ((530, 3), (1.0, 1.5), Elasticity(0.45)),  # rows longer than the working memory, and
    ((2, 300), (1.0, 1.0), Elasticity()),  # many rows in it at a time
    ((5, 8), (1.0, 0.7), Conduction()),
    ((4, 3, 5), (1.0, 1.0, 1.0), Elasticity()),
    ((5, 2, 3), (1.0, 2.0, 0.7), Elasticity(-0.3)),
    ((280, 1, 2), (1.0, 1.0, 1.0), Elasticity(0.1)),
    ((4, 5, 2), (0.3, 1.0, 2.0), Conduction()),
]


Case = tuple[tuple[int, ...], tuple[float, ...], Physics]


def random_system(case: Case, seed: int = 0) -> tuple[GridSystem, np.ndarray, np.random.Generator]:
    """A system with scattered supports and springs, and moduli from 1e-9 to 1, some of them zero."""
    shape, spacing, physics = case
    rng = np.random.default_rng(seed)
    nodal = (physics.components(len(shape)), *(n + 1 for n in reversed(shape)))
    springs = np.where(rng.random(nodal) < 0.2, rng.random(nodal), 0.0)
    system = GridSystem(shape, spacing, physics, rng.random(nodal) < 0.1, springs)
    E = 10.0 ** rng.uniform(-9, 0, system.elements)
    E[rng.random(system.elements) < 0.1] = 0.0
    return system, E, rng


def assembled(system: GridSystem, E: np.ndarray) -> np.ndarray:
    """The dense matrix, element by element."""
    dim, size = len(system.shape), system.fixed.size
    K = np.zeros((size, size))
    nodes = np.arange(size // system.nodal[0]).reshape(system.nodal[1:])
    K0 = system.physics.matrix(system.spacing)
    for e, index in enumerate(np.ndindex(system.shape[::-1])):
        local = [
            nodes[tuple(i + ((m >> axis) & 1) for i, axis in zip(index, range(dim - 1, -1, -1), strict=True))]
            for m in range(2**dim)
        ]
        dofs = np.concatenate([np.array(local) + a * nodes.size for a in range(system.nodal[0])])
        K[np.ix_(dofs, dofs)] += E[e] * K0
    K += np.diag(system.springs.ravel())
    free = ~system.fixed.ravel()
    return K * np.outer(free, free)


@pytest.mark.parametrize("case", CASES)
def test_operator_and_matrix_agree(case: Case) -> None:
    system, E, rng = random_system(case)
    K = system.matrix(E)
    u = rng.standard_normal(system.nodal)
    expected = K @ u.ravel()
    assert np.abs(system.apply(E, u).ravel() - expected).max() <= 1e-13 * np.abs(expected).max()
    if system.fixed.size < 1500:
        dense = assembled(system, E)
        assert np.abs(K.toarray() - dense).max() <= 1e-15 * np.abs(dense).max()
    free = ~system.fixed.ravel()
    part = Assembler(system.shape, system.stiffness, system.fixed, system.springs).matrix(E)
    assert np.abs((part - K[free][:, free]).toarray()).max() <= 1e-15 * np.abs(K).max()


@pytest.mark.parametrize("case", CASES)
def test_energies_are_those_of_the_elements(case: Case) -> None:
    system, _, rng = random_system(case)
    u, v = rng.standard_normal((2, *system.nodal))
    dofs = element_dofs(system.shape, system.nodal[0])
    K0 = system.physics.matrix(system.spacing)
    for other in (u, v):
        expected = np.einsum("em,mn,en->e", u.ravel()[dofs], K0, other.ravel()[dofs])
        energies = system.energies(u) if other is u else system.energies(u, v)
        assert np.abs(energies - expected).max() <= 1e-13 * np.abs(expected).max()


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("dtype", "rounding"), [(np.float64, 1e-13), (np.float32, 1e-5)])
def test_residual_and_smoothing_step_are_the_plain_formulas(case: Case, dtype: type, rounding: float) -> None:
    system, E, rng = random_system(case)
    dim = len(system.shape)
    nodal = (system.nodal[0], *(1,) * (3 - dim), *system.nodal[1:])
    fixed = system.fixed.reshape(nodal)
    x, b, scale = rng.standard_normal((3, *nodal)).astype(dtype)
    x[fixed] = 0.0
    y = (system.matrix(E) @ x.ravel().astype(np.float64)).reshape(nodal)
    blocks = symmetry_blocks(system.stiffness, dim).astype(dtype)
    carry = np.zeros((nodal[0], *nodal[2:]), dtype)
    moduli = E.reshape((1,) * (3 - dim) + system.shape[::-1]).astype(dtype)
    springs = system.springs.reshape(nodal).astype(dtype)
    weight = dtype(0.7)
    scale[fixed] = 0.0

    def sweep(operation: int, out: np.ndarray) -> float:
        return element_sweep(
            operation, x, moduli, blocks, scratch(dtype), carry, b, scale, weight, fixed, springs, out
        )  # fmt: skip

    out = np.full(nodal, np.nan, dtype)
    product = sweep(RESIDUAL, out)
    expected = np.where(fixed, 0.0, b - y)
    assert np.abs(out - expected).max() <= rounding * np.abs(expected).max()
    assert product == pytest.approx(float(np.vdot(expected, expected)), rel=rounding)
    expected = x + weight * scale * (b - y)
    sweep(SMOOTH, out)
    assert np.abs(out - expected).max() <= rounding * np.abs(expected).max()


def test_vector_kernels_are_the_plain_formulas() -> None:
    u, r, p, q = np.random.default_rng(0).standard_normal((4, 1001))
    z = r.astype(np.float32)
    assert dot(r, z) == pytest.approx(float(r @ z), rel=1e-14)
    expected = z + 0.3 * p
    direction(p, z, 0.3)
    assert np.allclose(p, expected, rtol=1e-15)
    nu, nr = u + 0.7 * p, r - 0.7 * q
    square = advance(u, r, p, q, z, 0.7, 2.0)
    assert np.allclose(u, nu, rtol=1e-14) and np.allclose(r, nr, rtol=1e-12) and np.allclose(z, 2.0 * nr, rtol=1e-6)
    assert square == pytest.approx(float(nr @ nr), rel=1e-14)


def test_numbers_that_are_not_finite_stay_visible() -> None:
    system, E, rng = random_system(CASES[4])
    u = rng.standard_normal(system.nodal)
    u[~system.fixed] = np.nan
    assert np.isnan(system.apply(np.ones_like(E), u)).any()
    assert np.isnan(system.energies(u)).any()


def test_bad_input_is_told() -> None:
    fixed = np.zeros((2, 3, 4), bool)
    system = GridSystem((3, 2), (1.0, 1.0), Elasticity(), fixed)
    assert (system.dofs, system.elements) == (24, 6)
    u = np.zeros((2, 3, 4))
    with pytest.raises(InputError, match="E has shape"):
        system.apply(np.ones(5), u)
    with pytest.raises(InputError, match="at least zero"):
        system.apply(np.full(6, -1.0), u)
    with pytest.raises(InputError, match="field has shape"):
        system.energies(u[0])
    with pytest.raises(EvaluationFailed, match="moduli"):
        system.apply(np.full(6, np.nan), u)
    with pytest.raises(InputError, match="fixed"):
        GridSystem((2, 3), (1.0, 1.0), Elasticity(), fixed)
    with pytest.raises(InputError, match="springs"):
        GridSystem((3, 2), (1.0, 1.0), Elasticity(), fixed, springs=-np.ones((2, 3, 4)))
    with pytest.raises(InputError, match="solver"):
        GridSystem((3, 2), (1.0, 1.0), Elasticity(), fixed, solver="pardiso")
    with pytest.raises(InputError, match="shape"):
        GridSystem((3, 2), (1.0, 1.0, 1.0), Elasticity(), fixed)
    with pytest.raises(InputError, match="loads"):
        system.solve(np.ones(6), u)
    with pytest.raises(InputError, match="tol"):
        system.solve(np.ones(6), u[None], tol=0.0)
