"""Curvature from forces: finite-difference Hessians and the few softest modes without a Hessian."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import eigh
from scipy.sparse import sparray
from scipy.sparse.linalg import LinearOperator

from sciopt.core.errors import InputError, NotFinite, ShapeError
from sciopt.neb.align import rigid_basis
from sciopt.neb.hessian import DenseHessian

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sciopt.neb.coordinates import Coordinates

__all__ = [
    "BudgetSpent",
    "Counted",
    "Evaluate",
    "Modes",
    "finite_difference_hessian",
    "lowest_modes",
    "nonrigid",
    "rigid_motion",
]

Evaluate = Callable[["NDArray[np.float64]"], "tuple[float, NDArray[np.float64]]"]
"""One true evaluation: (n,) positions in Å to the energy in eV and the (n,) force in eV/Å."""


class BudgetSpent(Exception):
    """Raised by `Counted` in place of one evaluation too many."""


@dataclass
class Counted:
    """An `Evaluate` that counts its calls, stops at a limit and refuses answers that are no numbers.

    Raises
    ------
    BudgetSpent
        In place of call number ``limit + 1``.
    ShapeError, NotFinite
        When the force does not have the shape of x, or energy or force is not finite.
    """

    evaluate: Evaluate
    limit: int | None = None
    calls: int = field(default=0, init=False)

    def __call__(self, x: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        if self.limit is not None and self.calls >= self.limit:
            raise BudgetSpent
        self.calls += 1
        energy, force = self.evaluate(x)
        force = np.asarray(force, dtype=float)
        bad = np.count_nonzero(~np.isfinite(force))
        if force.shape != x.shape:
            raise ShapeError(f"evaluate returned a force of shape {force.shape} for x of shape {x.shape}")
        if bad or not np.isfinite(energy):
            raise NotFinite(f"evaluate returned the energy {energy} eV and a force with {bad} components not finite")
        return float(energy), force


@dataclass(frozen=True, eq=False)
class Modes:
    """Lowest eigenpairs of a Hessian and everything that was measured on the way.

    Attributes
    ----------
    values
        (k,) eigenvalues in eV/Å², ascending.
    vectors
        (n, k) unit eigenvectors.
    residuals
        (k,) lengths of ``H v - value v`` in eV/Å²; each value lies within this distance of a true eigenvalue.
    basis, products
        (n, m) orthonormal vectors and the measured ``H @ basis`` in eV/Å².
    evaluations
        Evaluations spent.
    converged
        Whether every residual is below its tolerance.
    """

    values: NDArray[np.float64]
    vectors: NDArray[np.float64]
    residuals: NDArray[np.float64]
    basis: NDArray[np.float64]
    products: NDArray[np.float64]
    evaluations: int
    converged: bool


def rigid_motion(coordinates: Coordinates, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, k) orthonormal rigid motions at `x`; k = 0 where ``coordinates.rigid`` is False."""
    return rigid_basis(x).T if coordinates.rigid else np.zeros((x.size, 0))


def nonrigid(hessian: NDArray[np.float64], rigid: NDArray[np.float64]) -> DenseHessian:
    """The model without its coupling to rigid motions (n, k), which become its stiffest modes."""
    inner = hessian - rigid @ (rigid.T @ hessian)
    inner -= (inner @ rigid) @ rigid.T
    stiffest = 10.0 * max(1.0, float(np.abs(inner).max()))
    return DenseHessian(0.5 * (inner + inner.T) + stiffest * rigid @ rigid.T)


def finite_difference_hessian(
    evaluate: Evaluate,
    x: NDArray[np.float64],
    step: float = 0.01,
    *,
    central: bool = True,
    force0: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Hessian from differences of forces, symmetrised.

    ``H[:, j] = (F(x - h e_j) - F(x + h e_j)) / 2h`` (central, 2n evaluations, error of order h²) or
    ``(F(x) - F(x + h e_j)) / h`` (forward, n evaluations and one for `force0` if that is not given, error of order h).

    Parameters
    ----------
    evaluate
        (n,) Å to (eV, (n,) eV/Å).
    x
        (n,) where, Å.
    step
        h, Å.
    central
        Central or forward differences.
    force0
        (n,) force at `x`, eV/Å, for forward differences.

    Returns
    -------
    (n, n) symmetric matrix, eV/Å².

    Raises
    ------
    InputError
        When `step` is not positive.

    Examples
    --------
    >>> import numpy as np
    >>> finite_difference_hessian(lambda x: (x @ x, -2 * x), np.zeros(2)).round(6).tolist()
    [[2.0, 0.0], [0.0, 2.0]]
    """
    if not step > 0:
        raise InputError(f"the finite-difference step is {step} Å; it must be positive, 0.01 Å is usual")
    call = Counted(evaluate)
    x = np.asarray(x, dtype=float)
    here = None if central else call(x)[1] if force0 is None else force0
    hessian = np.empty((x.size, x.size))
    for j, shift in enumerate(step * np.eye(x.size)):
        ahead = call(x + shift)[1]
        hessian[:, j] = (call(x - shift)[1] - ahead) / (2 * step) if here is None else (here - ahead) / step
    return 0.5 * (hessian + hessian.T)


def lowest_modes(
    evaluate: Evaluate,
    x: NDArray[np.float64],
    coordinates: Coordinates,
    count: int = 1,
    *,
    force0: NDArray[np.float64] | None = None,
    start: NDArray[np.float64] | None = None,
    preconditioner: NDArray[np.float64] | sparray | LinearOperator | None = None,
    step: float = 0.005,
    central: bool = False,
    rtol: float = 0.1,
    atol: float = 0.02,
    max_evaluations: int | None = None,
    seed: int = 0,
) -> Modes:
    """The lowest eigenpairs of the Hessian from Hessian-vector products only (block Davidson method).

    Each product is one difference of forces along the search vector, ``H v = (F(x) - F(x + h v)) / h``; h is such that
    the atom that moves farthest moves by `step`. The search space grows by the preconditioned residuals
    ``r = H u - θ u`` of the pairs that have not converged, corrected as Olsen does. Rigid motions are projected out
    when ``coordinates.rigid``.

    Parameters
    ----------
    evaluate
        (n,) Å to (eV, (n,) eV/Å).
    x
        (n,) where, Å.
    coordinates
        The free coordinates.
    count
        How many eigenpairs.
    force0
        (n,) force at `x`, eV/Å; saves one evaluation.
    start
        (n,) or (n, k) guesses for the lowest eigenvectors, such as the path tangent. Completed by the lowest
        eigenvectors of the preconditioner where that is a matrix, by random vectors otherwise.
    preconditioner
        A model Hessian as dense or sparse (n, n) matrix in eV/Å², or a LinearOperator that applies the *inverse* of
        one.
    step
        Displacement of the atom that moves farthest, Å.
    central
        Central differences: two evaluations per product.
    rtol, atol
        A pair has converged when its residual is below ``max(rtol |value|, atol)``, `atol` in eV/Å². There is a true
        eigenvalue within the residual of each value, so that with the defaults the sign of one larger than 0.02 eV/Å²
        is certain. That no lower one was passed over is not: as in all such methods it is only very likely.
    max_evaluations
        Return what is known, not converged, rather than spend more.
    seed
        Of the random vectors.

    Returns
    -------
    `Modes`.

    Raises
    ------
    InputError
        When `count` is not between 1 and the number of non-rigid coordinates.
    ShapeError
        When `start` or `preconditioner` do not fit x.

    References
    ----------
    E. R. Davidson 1975, doi 10.1016/0021-9991(75)90065-0; J. Olsen et al. 1990, doi 10.1016/0009-2614(90)85633-N.

    Examples
    --------
    >>> import numpy as np
    >>> from ase import Atoms
    >>> from sciopt.neb.coordinates import Coordinates
    >>> curvature = np.array([-1.0, 2.0, 5.0])
    >>> def bowl(x):
    ...     return x @ (curvature * x) / 2, -curvature * x
    >>> modes = lowest_modes(bowl, np.zeros(3), Coordinates.of(Atoms("H")))
    >>> modes.values.round(6).tolist()
    [-1.0]
    """
    x = np.asarray(x, dtype=float)
    rigid = rigid_motion(coordinates, x)
    dims = x.size - rigid.shape[1]
    if not 1 <= count <= dims:
        raise InputError(
            f"{count} modes were asked for, but there are {dims} non-rigid coordinates; ask for 1 to {dims}"
        )
    call = Counted(evaluate, max_evaluations)
    model = _eigenmodel(preconditioner, rigid)
    rng = np.random.default_rng(seed)
    fresh = _first_block(start, preconditioner, model, count, x.size, rng)
    basis = products = np.zeros((x.size, 0))
    try:
        here = None if central else call(x)[1] if force0 is None else force0
        while True:
            known = np.hstack([rigid, basis])
            block = _orthonormal(fresh, known, dims - basis.shape[1])
            if block.size == 0:
                block = _orthonormal(rng.standard_normal((x.size, 1)), known, 1)
            for v in block.T:
                h = step / float(coordinates.longest(v))
                ahead = call(x + h * v)[1]
                product = (call(x - h * v)[1] - ahead) / (2 * h) if here is None else (here - ahead) / h
                basis = np.column_stack([basis, v])
                products = np.column_stack([products, product - rigid @ (rigid.T @ product)])
            values, vectors, residuals = _ritz(basis, products, count)
            norms = np.linalg.norm(residuals, axis=0)
            open_ = norms > np.maximum(rtol * np.abs(values), atol)
            converged = len(values) == count and not open_.any()
            if converged or basis.shape[1] >= dims:
                # The whole space is known: what is left of the residuals is the error of the differences.
                return Modes(values, vectors, norms, basis, products, call.calls, True)
            fresh = np.column_stack(
                [
                    _correction(residuals[:, i], values[i], vectors[:, i], preconditioner, model)
                    for i in np.flatnonzero(open_)
                ]
            )
    except BudgetSpent:
        values, vectors, residuals = _ritz(basis, products, count) if basis.size else (np.zeros(0), basis, basis)
        return Modes(values, vectors, np.linalg.norm(residuals, axis=0), basis, products, call.calls, False)


def _eigenmodel(
    preconditioner: NDArray[np.float64] | sparray | LinearOperator | None, rigid: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Eigenvalues and eigenvectors of a preconditioner given as a matrix."""
    if preconditioner is None:
        return None
    n = len(rigid)
    if preconditioner.shape != (n, n):
        raise ShapeError(f"the preconditioner has shape {preconditioner.shape}, expected {(n, n)} to match x")
    if isinstance(preconditioner, LinearOperator):
        return None
    dense = preconditioner.toarray() if isinstance(preconditioner, sparray) else np.asarray(preconditioner, dtype=float)
    values, vectors = nonrigid(dense, rigid).eigen
    kept = n - rigid.shape[1]
    return values[:kept], vectors[:, :kept]


def _first_block(
    start: NDArray[np.float64] | None,
    preconditioner: NDArray[np.float64] | sparray | LinearOperator | None,
    model: tuple[NDArray[np.float64], NDArray[np.float64]] | None,
    count: int,
    n: int,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """(n, k) guesses, k >= count: the given ones first, a generic one last."""
    given = np.zeros((n, 0)) if start is None else np.asarray(start, dtype=float)
    given = given[:, None] if given.ndim == 1 else given
    if given.shape[0] != n or not np.isfinite(given).all():
        raise ShapeError(f"start has shape {given.shape}; expected finite vectors of length {n}, one per column")
    missing = max(count - given.shape[1], 0)
    if isinstance(preconditioner, LinearOperator):
        block = rng.standard_normal((n, missing + (count > 1)))
        return np.column_stack([given, *(preconditioner.matvec(v) for v in block.T)])
    if model is None:
        return np.column_stack([given, rng.standard_normal((n, missing + (count > 1)))])
    # Guesses and model may share a symmetry that hides a mode from them and from all their residuals. What completes
    # the guesses is therefore partly generic, but made of modes the model calls soft, so as not to delay convergence.
    values, vectors = model
    wanted = missing + (count > 1)
    stiffness = np.maximum(np.abs(values), 0.02 * np.abs(values).max())
    generic = vectors @ (rng.standard_normal((len(values), wanted)) / stiffness[:, None])
    return np.column_stack([given, vectors[:, :wanted] + generic / np.linalg.norm(generic, axis=0)])


def _orthonormal(block: NDArray[np.float64], against: NDArray[np.float64], most: int) -> NDArray[np.float64]:
    """Columns of `block` made orthonormal to `against` and to each other; those that depend on the rest are dropped."""
    kept: list[NDArray[np.float64]] = []
    for v in block.T:
        length = np.linalg.norm(v)
        for _ in range(2):
            v = v - against @ (against.T @ v)
            for u in kept:
                v = v - u * (u @ v)
        rest = np.linalg.norm(v)
        if len(kept) < most and rest > 1e-8 * length:
            v = v / rest
            kept.append(v - against @ (against.T @ v))
            kept[-1] /= np.linalg.norm(kept[-1])
    return np.array(kept).reshape(len(kept), block.shape[0]).T


def _ritz(
    basis: NDArray[np.float64], products: NDArray[np.float64], count: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Lowest Ritz values, (n, k) vectors and (n, k) residuals."""
    small = basis.T @ products
    values, y = eigh(0.5 * (small + small.T))
    values, y = values[:count], y[:, :count]
    vectors = basis @ y
    return values, vectors, products @ y - vectors * values


def _correction(
    residual: NDArray[np.float64],
    value: float,
    vector: NDArray[np.float64],
    preconditioner: NDArray[np.float64] | sparray | LinearOperator | None,
    model: tuple[NDArray[np.float64], NDArray[np.float64]] | None,
) -> NDArray[np.float64]:
    """The next search vector, ``M⁻¹ (r - ε u)`` orthogonal to u (Olsen), with M the model Hessian minus the value."""
    if isinstance(preconditioner, LinearOperator):
        z, w = preconditioner.matvec(residual), preconditioner.matvec(vector)
    elif model is not None:
        gap = model[0] - value
        floor = 0.02 * np.abs(model[0]).max()
        gap = np.where(gap < 0, -1.0, 1.0) * np.maximum(np.abs(gap), floor)
        z, w = (model[1] @ ((model[1].T @ v) / gap) for v in (residual, vector))
    else:
        return residual
    overlap = vector @ w
    return z - w * ((vector @ z) / overlap) if abs(overlap) > 1e-12 * np.linalg.norm(w) else z
