"""Element matrices against quadrature, and what every element must do: nothing under rigid motion."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from sciopt.core.errors import InputError
from sciopt.topopt.grid.element import Conduction, Elasticity, Physics, walsh_basis
from sciopt.topopt.grid.element_sweep import symmetry_blocks

CASES = [
    ((1.0, 1.0), Elasticity()),
    ((0.5, 2.0), Elasticity(0.2, "strain")),
    ((1.0, 0.7), Conduction()),
    ((1.0, 1.0, 1.0), Elasticity()),
    ((1.0, 2.0, 0.7), Elasticity(-0.3)),
    ((0.3, 1.0, 2.0), Conduction()),
]


def quadrature(physics: Physics, spacing: tuple[float, ...]) -> np.ndarray:
    """The element matrix by Gauss points and the strain-displacement matrix of textbooks."""
    dim = len(spacing)
    corners = [tuple((m >> axis) & 1 for axis in range(dim)) for m in range(2**dim)]
    points, weights = np.polynomial.legendre.leggauss(4)
    total = 0.0
    for index in product(range(4), repeat=dim):
        xi = (points[list(index)] + 1.0) / 2.0
        weight = np.prod(weights[list(index)] / 2.0) * np.prod(spacing)
        gradients = np.zeros((2**dim, dim))
        for m, corner in enumerate(corners):
            for axis in range(dim):
                factors = [x if up else 1.0 - x for x, up in zip(xi, corner, strict=True)]
                factors[axis] = (1.0 if corner[axis] else -1.0) / spacing[axis]
                gradients[m, axis] = np.prod(factors)
        if isinstance(physics, Conduction):
            total = total + weight * gradients @ gradients.T
            continue
        shears = [(a, b) for a in range(dim) for b in range(a + 1, dim)]
        B = np.zeros((dim + len(shears), dim * 2**dim))
        for a in range(dim):
            B[a, a * 2**dim : (a + 1) * 2**dim] = gradients[:, a]
        for row, (a, b) in enumerate(shears, start=dim):
            B[row, a * 2**dim : (a + 1) * 2**dim] = gradients[:, b]
            B[row, b * 2**dim : (b + 1) * 2**dim] = gradients[:, a]
        total = total + weight * B.T @ material(physics, dim) @ B
    return total


def material(physics: Elasticity, dim: int) -> np.ndarray:
    """Stiffness matrix of the material in Voigt order, from its textbook form."""
    nu = physics.nu
    if dim == 2 and physics.plane == "stress":
        return np.array([[1.0, nu, 0.0], [nu, 1.0, 0.0], [0.0, 0.0, (1.0 - nu) / 2.0]]) / (1.0 - nu**2)
    compliance = np.full((3, 3), -nu)
    np.fill_diagonal(compliance, 1.0)
    shear = np.eye(3) / (2.0 * (1.0 + nu))
    full = np.block([[np.linalg.inv(compliance), np.zeros((3, 3))], [np.zeros((3, 3)), shear]])
    keep = [0, 1, 3] if dim == 2 else list(range(6))
    return full[np.ix_(keep, keep)]


def corner_positions(spacing: tuple[float, ...]) -> np.ndarray:
    return np.array([[h * ((m >> a) & 1) for a, h in enumerate(spacing)] for m in range(2 ** len(spacing))])


@pytest.mark.parametrize(("spacing", "physics"), CASES)
def test_the_closed_form_is_what_quadrature_gives(spacing: tuple[float, ...], physics: Physics) -> None:
    expected = quadrature(physics, spacing)
    assert np.allclose(physics.matrix(spacing), expected, rtol=0.0, atol=1e-14 * np.abs(expected).max())


def test_the_square_of_the_textbook() -> None:
    # Sigmund (2001), doi:10.1007/s001580050176: the first row of KE, there with nodes counted around the element.
    nu = 0.3
    k = np.array([1 / 2 - nu / 6, 1 / 8 + nu / 8, -1 / 4 - nu / 12, -1 / 8 + 3 * nu / 8])
    first = Elasticity(nu).matrix((1.0, 1.0))[0] * (1.0 - nu**2)
    assert np.allclose(first[[0, 4, 1, 5]], k)


@pytest.mark.parametrize(("spacing", "physics"), CASES)
def test_rigid_motions_and_nothing_else_cost_nothing(spacing: tuple[float, ...], physics: Physics) -> None:
    K = physics.matrix(spacing)
    dim, c = len(spacing), physics.components(len(spacing))
    motions = list(np.kron(np.eye(c), np.ones(2**dim)))
    if isinstance(physics, Elasticity):
        x = corner_positions(spacing)
        for a in range(dim):
            for b in range(a):
                rotation = np.zeros((dim, 2**dim))
                rotation[a], rotation[b] = x[:, b], -x[:, a]
                motions.append(rotation.ravel())
    assert np.abs(K @ np.array(motions).T).max() < 1e-14 * np.abs(K).max() * max(spacing)
    values = np.linalg.eigvalsh(K)
    assert np.count_nonzero(values < 1e-12 * values[-1]) == len(motions)


@pytest.mark.parametrize(("spacing", "physics"), CASES)
def test_blocks_of_the_symmetries_are_the_whole_matrix(spacing: tuple[float, ...], physics: Physics) -> None:
    K = physics.matrix(spacing)
    dim, c = len(spacing), physics.components(len(spacing))
    blocks = symmetry_blocks(K, dim)
    spectrum = np.zeros_like(K)
    for s, a, b in product(range(2**dim), range(c), range(c)):
        spectrum[a * 2**dim + (s ^ (1 << a)), b * 2**dim + (s ^ (1 << b))] = blocks[s, a, b]
    basis = np.kron(np.eye(c), walsh_basis(dim))
    assert np.allclose(basis.T @ spectrum @ basis, K, rtol=0.0, atol=1e-14 * np.abs(K).max())


def test_the_cube_needs_45_numbers() -> None:
    blocks = symmetry_blocks(Elasticity().matrix((1.0, 1.0, 1.0)), 3)
    assert np.count_nonzero(np.abs(blocks) > 1e-14) == 45


def test_bad_input_is_told() -> None:
    with pytest.raises(InputError, match="Poisson"):
        Elasticity(0.5)
    with pytest.raises(InputError, match="plane"):
        Elasticity(0.3, "strained")
    with pytest.raises(InputError, match="spacing"):
        Conduction().matrix((1.0, 0.0))
    with pytest.raises(InputError, match="spacing"):
        Elasticity().matrix((1.0,))
