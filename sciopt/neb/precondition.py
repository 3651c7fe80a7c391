"""Block-diagonal preconditioners for bands: one model Hessian per image, stiff along the path."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse import csc_array, eye_array
from scipy.sparse.linalg import splu

from sciopt.neb.model_hessian import model_hessian, shortest_pairs

if TYPE_CHECKING:
    from collections.abc import Callable

    from scipy.sparse import csr_array

    from sciopt.core.types import Array
    from sciopt.neb.coordinates import Coordinates

__all__ = ["band_preconditioner", "shifted_model", "solver"]


def shifted_model(
    coordinates: Coordinates, ends: tuple[Array, Array], molecule: float, solid: float
) -> Callable[[Array], Array | csr_array]:
    """``x -> H(x) + c``: the model Hessian at x with all curvatures raised by c, in eV/Å².

    Parameters
    ----------
    coordinates
        The free coordinates.
    ends
        Both end points (n,), whose shortest distances define the pair stiffness of solids and surfaces.
    molecule, solid
        c for free molecules (Lindh's model) and for everything else (pair stiffness). A single particle has a constant
        model of its own and no shift.
    """
    shortest = shortest_pairs([coordinates.atoms(x) for x in ends])
    size = coordinates.size
    particle = len(coordinates.template) == 1
    shift = 0.0 if particle else molecule if coordinates.rigid else solid

    def model(x: Array) -> Array | csr_array:
        hessian = model_hessian(coordinates, x, shortest)
        identity = np.eye(size) if isinstance(hessian, np.ndarray) else eye_array(size, format="csr")
        return hessian + shift * identity

    return model


def band_preconditioner(
    coordinates: Coordinates, X: Array, molecule: float = 10.0, solid: float = 4.0
) -> Callable[[Array, Array], Array]:
    """``(x, f) -> P^-1 f`` with one shifted model Hessian per image of the initial path.

    The models stay those of the path they were made on: secant pairs of L-BFGS refer to one fixed metric.

    Parameters
    ----------
    coordinates
        The free coordinates.
    X
        (M+2, n) the initial path in Å.
    molecule, solid
        Curvature added to the model in eV/Å², see `shifted_model`. Chosen on the problems marked ``tuned``.
    """
    model = shifted_model(coordinates, (X[0], X[-1]), molecule, solid)
    solvers = [solver(model(x)) for x in X[1:-1]]

    def solve(x: Array, force: Array) -> Array:
        rows = force.reshape(len(solvers), -1)
        return np.concatenate([one(row) for one, row in zip(solvers, rows, strict=True)])

    return solve


def solver(matrix: Array | csr_array) -> Callable[[Array], Array]:
    """``b -> matrix^-1 b`` for a symmetric positive definite matrix, dense or sparse, factorised once."""
    if isinstance(matrix, np.ndarray):
        factor = cho_factor(matrix)
        return lambda b: np.asarray(cho_solve(factor, b))
    return splu(csc_array(matrix)).solve
