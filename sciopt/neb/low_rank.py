"""A Hessian model for many coordinates: a fixed H0 and a few columns learned from secant pairs, O(n r) per answer.

With V (n, r) orthonormal in the metric of H0, ``Vᵀ H0 V = 1``,
and ``Y = H0 V``,

    B = H0 + Y D Yᵀ,        B v = ω H0 v  ⇔  v = V e, (1 + D) e = ω e        (ω = 1 on everything else).

The absolute value is that of these generalized eigenvalues, ``|B| = H0 Σ |ω| v vᵀ H0``. It does not depend on the
choice of coordinates, it equals B where all curvatures are positive, and it takes r × r algebra only:
``|B| = B + Σ c y yᵀ`` with ``y = H0 v`` and ``c = max(|ω|, φ) − ω``, nonzero for the few modes flipped or lifted. The
curvature along v in the ordinary metric is ``ω / (v·v)``, so that a floor f in eV/Å² means ``φ = min(1, f v·v)``:
no mode is lifted above H0, and what no update has touched keeps H0.

On the complement of a unit tangent t (``Q = 1 − t tᵀ``), Q H0 Q takes the place of H0. Its inverse there is
``G − g gᵀ/τ`` with ``G = H0⁻¹``, ``g = G t``, ``τ = t·g``; the columns Q Y have the Gram matrix
``M = 1 − a aᵀ/τ = R²`` in it, ``a = Vᵀ t``, and the modes are those of ``1 + R D R``. Writing ``|D|`` for the D of the
absolute value and ``Z = (Q H0 Q)⁻¹ Q Y``, ``|QBQ|⁻¹ = (Q H0 Q)⁻¹ − Z K Zᵀ`` with ``K = (1 + |D| M)⁻¹ |D|``. A shift by
the identity is not of low rank against H0: it is solved by conjugate gradients preconditioned with this inverse,
at a condition number of ``1 + shift / (smallest curvature)``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve, eigh
from scipy.sparse import csc_array, csr_array
from scipy.sparse.linalg import splu

from sciopt.core.errors import InputError, NotFinite, ShapeError
from sciopt.neb.hessian import FLOOR, UPDATE_FLOOR, DenseHessian, most_parallel, ts_bfgs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from sciopt.neb.hessian import Mode

    Vector = NDArray[np.float64]
    Matrix = NDArray[np.float64]

__all__ = ["Base", "LowRankHessian", "hessian_model"]

DENSE_MODEL = 100  # largest n for which whole eigendecompositions beat the bookkeeping of low rank
DENSE_INVERSE = 1500  # largest n for which the inverse of a sparse H0 is kept whole


def hessian_model(matrix: Matrix | csr_array, max_rank: int = 60) -> DenseHessian | LowRankHessian:
    """A Hessian model that starts at a symmetric positive definite `matrix` (n, n) in eV/Å², dense or sparse.

    Small problems get a `DenseHessian`, others a `LowRankHessian`. One start may serve, and be shared by, many images.

    Raises
    ------
    ShapeError, NotFinite, InputError
        When the matrix is not square, not finite, or not symmetric (low rank: not positive definite).

    Examples
    --------
    >>> model = hessian_model(np.diag([2.0, 4.0])).update(np.array([1.0, 0.0]), np.array([-1.0, 0.5]))
    >>> model.matvec(np.array([1.0, 0.0])).round(12)
    array([-1. ,  0.5])
    """
    if matrix.shape[0] > DENSE_MODEL:
        return LowRankHessian.start(Base.of(matrix), max_rank)
    _check(matrix)
    return DenseHessian(_dense(matrix))


@dataclass(frozen=True, eq=False)
class Base:
    """A symmetric positive definite H0 with its inverse, shared by all models built on it."""

    matrix: Matrix | csr_array
    inverse: Callable[[Vector], Vector]

    @classmethod
    def of(cls, matrix: Matrix | csr_array) -> Base:
        """Factorise `matrix` (n, n) in eV/Å², dense or sparse; raises what `hessian_model` raises."""
        _check(matrix)
        complaint = "the model Hessian is not positive definite; add a multiple of the identity to it"
        try:
            if isinstance(matrix, np.ndarray) or matrix.shape[0] <= DENSE_INVERSE:
                inverse = cho_solve(cho_factor(_dense(matrix)), np.eye(matrix.shape[0]))
                return cls(matrix, (0.5 * (inverse + inverse.T)).__matmul__)
            # Pivots stay on the diagonal: these are the factors of L D Lᵀ, and D has the signs of the eigenvalues.
            symmetric = {"diag_pivot_thresh": 0.0, "options": {"SymmetricMode": True}}
            factor = splu(csc_array(matrix), permc_spec="MMD_AT_PLUS_A", **symmetric)
        except (LinAlgError, RuntimeError) as error:
            raise InputError(complaint) from error
        if not (factor.U.diagonal() > 0.0).all():
            raise InputError(complaint)
        return cls(csr_array(matrix), factor.solve)

    def to_plain(self) -> dict[str, NDArray]:
        """H0 alone; the inverse is recomputed on loading a checkpoint."""
        if isinstance(self.matrix, np.ndarray):
            return {"matrix": self.matrix}
        csr = csr_array(self.matrix)
        return {"data": csr.data, "indices": csr.indices, "indptr": csr.indptr}

    @classmethod
    def from_plain(cls, plain: dict[str, NDArray]) -> Base:
        """What `to_plain` described."""
        if "matrix" in plain:
            return cls.of(plain["matrix"])
        size = len(plain["indptr"]) - 1
        return cls.of(csr_array((plain["data"], plain["indices"], plain["indptr"]), shape=(size, size)))


@dataclass(frozen=True, eq=False)
class LowRankHessian:
    """The `HessianModel` ``B = H0 + Y D Yᵀ`` with few columns: see the equations at the top of this file.

    Parameters
    ----------
    base
        H0 and its inverse.
    vectors, images, weights
        V (n, r) in Å/√eV, orthonormal in the metric of H0; Y = H0 V (n, r) in √eV/Å; D (r, r) symmetric, pure numbers.
    max_rank
        Most columns kept; the least important ones make room for new ones.
    """

    base: Base
    vectors: Matrix
    images: Matrix
    weights: Matrix
    max_rank: int = 60

    @classmethod
    def start(cls, base: Base, max_rank: int = 60) -> LowRankHessian:
        """The model B = H0."""
        if max_rank < 2:
            raise InputError(f"max_rank is {max_rank}, but every update needs two columns")
        none = np.empty((base.matrix.shape[0], 0))
        return cls(base, none, none, np.empty((0, 0)), max_rank)

    @property
    def rank(self) -> int:
        """Number of columns, r."""
        return len(self.weights)

    @cached_property
    def gram(self) -> Matrix:
        """``Vᵀ V`` (r, r) in Å²/eV: the modes in the ordinary metric."""
        return self.vectors.T @ self.vectors

    @cached_property
    def eigen(self) -> tuple[Vector, Matrix]:
        """``ω − 1`` (r,), ascending, and the eigenvectors e (r, r) in the basis V."""
        x, e = np.linalg.eigh(self.weights)
        return x, e

    def matvec(self, v: Vector) -> Vector:
        return self.base.matrix @ v + self.images @ (self.weights @ (self.images.T @ v))

    def update(self, s: Vector, y: Vector, floor: float = UPDATE_FLOOR) -> LowRankHessian:
        if not s.any():
            return self
        # Every vector of the formula is a combination of Y, y and H0 s: it is done on their coefficients.
        pairs = [(self.base.inverse(y), y), (s, self.base.matrix @ s)]
        extended = self._with_columns(pairs)
        if extended.rank > self.max_rank:
            extended = self.compress(self.max_rank - 2)._with_columns(pairs)
        s_c, y_c = extended.images.T @ s, extended.vectors.T @ y
        change = ts_bfgs(s_c, y_c, s_c + extended.weights @ s_c, s_c + extended._absolute(floor) @ s_c)
        return replace(extended, weights=extended.weights + change)

    def update_all(self, pairs: Sequence[tuple[Vector, Vector]], floor: float = UPDATE_FLOOR) -> LowRankHessian:
        model = self
        for s, y in pairs:
            model = model.update(s, y, floor)
        return model

    def solve(self, b: Vector, shift: float = 0.0, tangent: Vector | None = None, floor: float = FLOOR) -> Vector:
        """``(|QBQ| + shift)⁻¹ Q b``: exact without shift, to a relative residual of 1e-8 with one."""
        b = b if tangent is None else b - (tangent @ b) * tangent
        inverse = self._inverse_of_absolute(floor, tangent)
        return inverse(b) if shift == 0.0 else _shifted_solve(inverse, shift, b)

    def lowest(self, count: int = 1) -> tuple[Vector, Matrix]:
        # What the updates have not seen is reached from a fixed generic start.
        return self._davidson(count, np.random.default_rng(0).standard_normal((len(self.vectors), count + 2)))

    def negative_mode(self, tangent: Vector) -> Mode | None:
        # B has as many negative eigenvalues as there are negative ω (Sylvester's law of inertia).
        count = int(np.count_nonzero(self.eigen[0] < -1.0))
        return most_parallel(*self._davidson(count, tangent[:, None]), tangent) if count else None

    def compress(self, max_rank: int) -> LowRankHessian:
        """Keep the `max_rank` modes that matter most, and H0 in place of the others.

        Negative modes come first, then those of largest ``max(|ω − 1|, |1/ω − 1|)``: what is lost of B, or of its
        inverse, relative to H0.
        """
        if self.rank <= max_rank:
            return self
        x, e = self.eigen
        importance = np.full(len(x), np.inf)
        np.divide(np.abs(x), np.minimum(1.0 + x, 1.0), out=importance, where=x > -1.0)
        kept = np.argsort(importance, stable=True)[self.rank - max_rank :]
        x, e = x[kept], e[:, kept]
        return replace(self, vectors=self.vectors @ e, images=self.images @ e, weights=np.diag(x))

    def _with_columns(self, pairs: list[tuple[Vector, Vector]]) -> LowRankHessian:
        """The same B with more columns: pairs (v, H0 v), made orthonormal; dependent ones are left out."""
        vectors, images = self.vectors, self.images
        for v, h in pairs:
            whole = v @ h
            for _ in range(2):  # twice is enough for orthogonality to rounding
                overlap = images.T @ v
                v, h = v - vectors @ overlap, h - images @ overlap
            rest = v @ h
            if rest > 1e-16 * whole:
                vectors = np.column_stack([vectors, v / np.sqrt(rest)])
                images = np.column_stack([images, h / np.sqrt(rest)])
        added = vectors.shape[1] - self.rank
        return replace(self, vectors=vectors, images=images, weights=np.pad(self.weights, (0, added)))

    def _absolute(self, floor: float, tangent: tuple[Vector, float, Vector] | None = None) -> Matrix:
        """``|D|`` (r, r), the D of |B|; on the complement of a tangent if its (g, τ, a) are given."""
        if tangent is None:
            x, e = self.eigen
            low = x < 0.0
            x, u = x[low], e[:, low]
            squares = np.sum(u * (self.gram @ u), axis=0)
        else:
            g, tau, a = tangent
            square = min(float(a @ a) / tau, 1.0)
            root = np.eye(self.rank) - np.outer(a, a / tau) / (1.0 + np.sqrt(1.0 - square))
            x, e = np.linalg.eigh(root @ self.weights @ root)
            low = x < -1e-10
            x, e = x[low], e[:, low]
            # From the eigenvalue equation H0 v = Q Y u and v = V u − g (a·u)/τ: the root need not be inverted.
            u = self.weights @ (root @ e) / x
            along = (a @ u) / tau
            squares = np.sum(u * (self.gram @ u), axis=0) - 2.0 * along * ((self.vectors.T @ g) @ u)
            squares += along**2 * (g @ g)
        omega = 1.0 + x
        lifted = np.maximum(np.abs(omega), np.minimum(1.0, floor * squares)) - omega
        return self.weights + (u * lifted) @ u.T

    def _inverse_of_absolute(self, floor: float, tangent: Vector | None) -> Callable[[Vector], Vector]:
        """``b -> |B|⁻¹ b``; with a tangent ``b -> |QBQ|⁻¹ b`` for b perpendicular to it."""
        inverse, vectors, one = self.base.inverse, self.vectors, np.eye(self.rank)
        if tangent is None:
            absolute = self._absolute(floor)
            kernel = np.linalg.solve(one + absolute, absolute)
            return lambda b: inverse(b) - vectors @ (kernel @ (vectors.T @ b))
        g, a = inverse(tangent), vectors.T @ tangent
        tau = float(tangent @ g)
        absolute = self._absolute(floor, (g, tau, a))
        kernel = np.linalg.solve(one + absolute - np.outer(absolute @ a, a / tau), absolute)

        def apply(b: Vector) -> Vector:
            free = inverse(b)
            share = (tangent @ free) / tau
            inside = kernel @ (vectors.T @ b - share * a)
            d = free - vectors @ inside + ((a @ inside) / tau - share) * g
            return d - (tangent @ d) * tangent

        return apply

    def _davidson(self, count: int, start: Matrix, tolerance: float = 1e-4) -> tuple[Vector, Matrix]:
        """Smallest eigenpairs to residuals below `tolerance` (eV/Å²): Davidson's method preconditioned with |B|⁻¹."""
        inverse = self._inverse_of_absolute(FLOOR, None)
        new = np.column_stack([inverse(v) for v in start.T])
        if self.rank:
            among = [0, min(count, self.rank) - 1]
            ritz = eigh(np.eye(self.rank) + self.weights, self.gram, subset_by_index=among)[1]
            new = np.column_stack([self.vectors @ ritz, new])
        basis = products = np.empty((len(self.vectors), 0))
        while True:
            new = _outside(basis, new)
            basis = np.column_stack([basis, new])
            products = np.column_stack([products, *(self.matvec(v) for v in new.T)])
            w, e = np.linalg.eigh(basis.T @ products)
            w, e = w[:count], e[:, :count]
            residuals = products @ e - (basis @ e) * w
            rough = np.linalg.norm(residuals, axis=0) > tolerance
            if not rough.any() or not new.size:
                return w, basis @ e
            new = np.column_stack([inverse(v) for v in residuals[:, rough].T])


def _shifted_solve(inverse: Callable[[Vector], Vector], shift: float, b: Vector) -> Vector:
    """``(A + shift)⁻¹ b`` by conjugate gradients preconditioned with A⁻¹; A p comes from the same recurrence as p."""
    d = p = ap = np.zeros_like(b)
    r, enough, last = b, 1e-8 * np.linalg.norm(b), np.inf
    for _ in range(2 * len(b)):
        if np.linalg.norm(r) <= enough:
            break
        z = inverse(r)
        now = float(r @ z)
        p, ap = z + (now / last) * p, r + (now / last) * ap
        q = ap + shift * p
        d, r = d + (now / (p @ q)) * p, r - (now / (p @ q)) * q
        last = now
    return d


def _outside(basis: Matrix, new: Matrix) -> Matrix:
    """Orthonormal columns for what `new` adds to the span of `basis`."""
    for _ in range(2):
        new = new - basis @ (basis.T @ new)
        q, r = np.linalg.qr(new)
        new = q[:, np.abs(np.diagonal(r)) > 1e-10 * np.abs(r).max(initial=1e-300)]
    return new


def _dense(matrix: Matrix | csr_array) -> Matrix:
    return np.array(matrix, dtype=float) if isinstance(matrix, np.ndarray) else matrix.toarray()


def _check(matrix: Matrix | csr_array) -> None:
    if len(matrix.shape) != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ShapeError(f"the model Hessian has shape {matrix.shape}; it must be square, (n, n)")
    largest = abs(matrix).max()
    if not np.isfinite(largest):
        raise NotFinite("the model Hessian has entries that are not finite; look for atoms on top of each other")
    if abs(matrix - matrix.T).max() > 1e-8 * largest:
        raise InputError("the model Hessian is not symmetric; use 0.5 (H + Hᵀ)")
