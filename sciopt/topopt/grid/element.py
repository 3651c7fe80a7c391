"""Bilinear and trilinear elements on bricks: stiffness and conduction matrices in closed form.

On a brick the shape functions are products of hat functions, so every integral is a Kronecker product of three small
matrices per axis: ``∫N N``, ``∫N' N'`` and ``∫N' N``. No quadrature is involved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sciopt.core.errors import InputError
from sciopt.core.types import Array

__all__ = ["Conduction", "Elasticity", "Physics", "walsh_basis"]


@dataclass(frozen=True)
class Elasticity:
    """Linear isotropic elasticity with unit Young's modulus.

    ``K = ∫ λ (∇·v)(∇·u) + 2 μ ε(v):ε(u)`` over one element, fully integrated.

    Parameters
    ----------
    nu
        Poisson's ratio, in (-1, 1/2).
    plane
        "stress" or "strain"; only read in two dimensions, where the thickness is one.

    Raises
    ------
    InputError
        When Poisson's ratio or the plane assumption is not one of these.

    Examples
    --------
    >>> Elasticity().matrix((1.0, 1.0)).shape
    (8, 8)
    """

    nu: float = 0.3
    plane: str = "stress"

    def __post_init__(self) -> None:
        if not -1.0 < self.nu < 0.5:
            raise InputError(f"Poisson's ratio is {self.nu}; it must lie between -1 and 0.5, both excluded.")
        if self.plane not in ("stress", "strain"):
            raise InputError(f"plane is {self.plane!r}; it must be 'stress' or 'strain'.")

    def components(self, dim: int) -> int:
        """Unknowns per node: the displacements along the `dim` axes."""
        return dim

    def matrix(self, spacing: Sequence[float]) -> Array:
        """Element stiffness (c 2^d, c 2^d) of a brick with edges `spacing`, for unit modulus (and thickness in 2D)."""
        lengths = checked_spacing(spacing)
        dim, nu = len(lengths), self.nu
        mu = 0.5 / (1.0 + nu)
        if dim == 2 and self.plane == "stress":
            lam = nu / (1.0 - nu**2)
        else:
            lam = nu / ((1.0 + nu) * (1.0 - 2.0 * nu))
        pairs = [[gradient_product(lengths, a, b) for b in range(dim)] for a in range(dim)]
        laplacian = sum(pairs[a][a] for a in range(dim))
        blocks = [
            [lam * pairs[a][b] + mu * pairs[b][a] + (mu * laplacian if a == b else 0.0) for b in range(dim)]
            for a in range(dim)
        ]
        return np.block(blocks)


@dataclass(frozen=True)
class Conduction:
    """Isotropic heat conduction with unit conductivity: ``K = ∫ ∇v·∇u`` over one element.

    Examples
    --------
    >>> Conduction().matrix((1.0, 1.0, 1.0)).diagonal()[0].round(6)
    np.float64(0.333333)
    """

    def components(self, dim: int) -> int:
        """Unknowns per node: the temperature."""
        return 1

    def matrix(self, spacing: Sequence[float]) -> Array:
        """Element conduction matrix (2^d, 2^d) of a brick with edges `spacing`."""
        lengths = checked_spacing(spacing)
        return np.add.reduce([gradient_product(lengths, a, a) for a in range(len(lengths))])


Physics = Elasticity | Conduction


def checked_spacing(spacing: Sequence[float]) -> tuple[float, ...]:
    """Element edges as floats.

    Raises
    ------
    InputError
        When there are not two or three of them, all positive and finite.
    """
    lengths = tuple(float(h) for h in spacing)
    if len(lengths) not in (2, 3) or not all(np.isfinite(h) and h > 0.0 for h in lengths):
        raise InputError(f"spacing is {tuple(spacing)}; give two or three positive element edges.")
    return lengths


def gradient_product(lengths: tuple[float, ...], a: int, b: int) -> Array:
    """``∫ ∂_a N_m ∂_b N_n`` (2^d, 2^d) for all pairs of the multilinear shape functions of a brick."""
    product = np.ones((1, 1))
    for axis, h in enumerate(lengths):
        if axis == a and axis == b:
            factor = np.array([[1.0, -1.0], [-1.0, 1.0]]) / h
        elif axis == a:
            factor = np.array([[-0.5, -0.5], [0.5, 0.5]])
        elif axis == b:
            factor = np.array([[-0.5, 0.5], [-0.5, 0.5]])
        else:
            factor = np.array([[2.0, 1.0], [1.0, 2.0]]) * (h / 6.0)
        product = np.asarray(np.kron(factor, product), dtype=np.float64)  # x is the fastest index of the local nodes
    return product


def walsh_basis(dim: int) -> Array:
    """Sums and differences of the corner values (2^d, 2^d): row p takes differences along the axes in the bits of p.

    The rows are orthogonal, ``H Hᵀ = 2^d``, and so are their reflection symmetries, which makes element matrices
    nearly diagonal in this basis.

    Examples
    --------
    >>> walsh_basis(2)[3]
    array([ 1., -1., -1.,  1.])
    """
    basis: Array = np.ones((1, 1))
    for _ in range(dim):
        basis = np.kron(np.array([[1.0, 1.0], [-1.0, 1.0]]), basis)
    return basis
