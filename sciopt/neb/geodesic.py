"""Interatomic distances as coordinates of a path: which pairs count, which collide, and the shortest path."""

from __future__ import annotations

import itertools
import logging
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from ase.data import covalent_radii
from scipy.linalg import solveh_banded
from scipy.sparse import csr_array, diags_array, eye_array, kron, lil_array

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sciopt.neb.coordinates import Coordinates

__all__ = ["Pairs", "geodesic_length", "shorten", "side_step"]

logger = logging.getLogger("sciopt")

_PERIODIC_CUTOFF = 7.0  # Å; in r**-4 a pair at this distance weighs 2 % of neighbours in a metal
_LONGEST = 0.3  # Å; largest displacement of an atom in one geodesic iteration
_CLEARANCE = 0.5  # fraction of the shorter end distance within which two atoms count as passing through each other
_HEAD_ON = 0.02  # Å; atoms that would meet this closely have no side of their own
_CHUNK = 1_000_000  # atom pairs handled at once while searching, to bound the memory of large cells


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of atoms, at least one of them free, with the lattice translation between them frozen.

    Freezing the translation keeps distances smooth along a path, where a minimum image convention applied point by
    point has kinks, and lets one pair of atoms count several times in a small cell.

    Parameters
    ----------
    coordinates
        The free components and the template.
    first, second
        (P,) atom indices.
    shift
        (P, 3) lattice translations of the second atom, Å.
    """

    coordinates: Coordinates
    first: NDArray[np.intp]
    second: NDArray[np.intp]
    shift: NDArray[np.float64]

    @classmethod
    def along(
        cls,
        initial: NDArray[np.float64],
        final: NDArray[np.float64],
        coordinates: Coordinates,
        cutoff: float | None = None,
    ) -> Pairs:
        """All pairs closer than `cutoff` somewhere on the straight path between two configurations.

        Parameters
        ----------
        initial, final
            (n,) free coordinates, Å.
        coordinates
            The free components and the template.
        cutoff
            Å; None takes every pair without periodicity and 7 Å with it.
        """
        atoms = coordinates.template
        start, end = coordinates.positions(initial), coordinates.positions(final)
        periodic = atoms.pbc & atoms.cell.any(1)
        if cutoff is None:
            cutoff = _PERIODIC_CUTOFF if periodic.any() else np.inf
        moving = np.zeros(len(atoms), dtype=bool)
        moving[coordinates.moving] = True
        cell = np.asarray(atoms.cell.complete())
        inverse = np.linalg.inv(cell)
        # Around the image nearest to the middle of the path, translations up to this many cells can be in reach.
        farthest = 2.0 * np.linalg.norm(end - start, axis=1).max()
        reach = np.zeros(3)
        reach[periodic] = np.floor((cutoff + farthest / 2.0) * np.linalg.norm(inverse, axis=0)[periodic] + 0.5)
        steps = np.array(list(itertools.product(*(np.arange(-r, r + 1) for r in reach))))

        found: list[tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]] = []
        size = max(1, _CHUNK // len(atoms))
        for begin in range(0, len(coordinates.moving), size):
            rows = coordinates.moving[begin : begin + size]
            a = start - start[rows, None]
            b = end - end[rows, None] - a
            nearest = -np.round((a + b / 2.0) @ inverse) * periodic
            # A pair of free atoms is met from both sides and kept once; an atom and its own image never count.
            wanted = (rows[:, None] < np.arange(len(atoms))) | ~moving
            for step in steps:
                translation = (nearest + step) @ cell
                close = wanted & (_closest_approach(a + translation, b)[1] < cutoff**2)
                i, j = np.nonzero(close)
                found.append((rows[i], j, translation[i, j]))
        first, second, shift = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return cls(coordinates, first, second, shift)

    def __len__(self) -> int:
        """Number of pairs, P."""
        return self.first.size

    @cached_property
    def contact(self) -> NDArray[np.float64]:
        """(P,) sums of the covalent radii, Å."""
        radii = covalent_radii[self.coordinates.template.numbers]
        return radii[self.first] + radii[self.second]

    @cached_property
    def incidence(self) -> csr_array:
        """(P, N) matrix that takes the difference of two atoms: -1 at the first, +1 at the second."""
        rows = np.arange(len(self))
        values = np.concatenate([-np.ones(len(self)), np.ones(len(self))])
        indices = (np.concatenate([rows, rows]), np.concatenate([self.first, self.second]))
        return csr_array((values, indices), shape=(len(self), len(self.coordinates.template)))

    def vectors(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """(K, n) configurations to (P, 3, K) vectors from the first to the second atom, Å."""
        atoms = self.coordinates.template
        flat = np.repeat(atoms.positions.reshape(-1, 1), len(X), axis=1)
        flat[self.coordinates.free] = X.T
        difference = self.incidence @ flat.reshape(len(atoms), -1)
        return difference.reshape(len(self), 3, len(X)) + self.shift[:, :, None]

    def distances(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """(K, n) configurations to (P, K) distances, Å."""
        v = self.vectors(X)
        return np.sqrt(np.einsum("pck,pck->pk", v, v))

    def gather(self, forces: NDArray[np.float64]) -> NDArray[np.float64]:
        """(P, 3, K) derivatives with respect to the pair vectors to (K, n) with respect to the free coordinates."""
        pairs, _, points = forces.shape
        whole = self.incidence.T @ forces.reshape(pairs, 3 * points)
        return whole.reshape(-1, points)[self.coordinates.free].T


def _closest_approach(
    a: NDArray[np.float64], b: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where on 0 <= t <= 1 the vectors a + t b, (..., 3), are shortest, and the square of that length."""
    speed = np.einsum("...c,...c->...", b, b)
    along = np.einsum("...c,...c->...", a, b)
    t = np.clip(-along / np.maximum(speed, 1e-300), 0.0, 1.0)
    square = np.einsum("...c,...c->...", a, a) + t * (2.0 * along + t * speed)
    return t, np.maximum(square, 0.0)


def side_step(X: NDArray[np.float64], coordinates: Coordinates) -> NDArray[np.float64]:
    """Bend a straight path where two atoms would pass through each other, so that they pass side by side.

    Each such pair is pushed apart, most where it comes closest, along the line between the two; where they meet
    head on, along the Cartesian axis most nearly perpendicular to their motion. The result is the same every time.

    Parameters
    ----------
    X
        (M+2, n) straight band, Å.
    coordinates
        The free components and the template.

    Returns
    -------
    (M+2, n) band in Å, `X` itself when nothing collides.
    """
    pairs = Pairs.along(X[0], X[-1], coordinates)
    ends = pairs.vectors(X[[0, -1]])
    a, b = ends[:, :, 0], ends[:, :, 1] - ends[:, :, 0]
    when, square = _closest_approach(a, b)
    wanted = _CLEARANCE * np.sqrt(np.einsum("pck,pck->pk", ends, ends)).min(axis=1)
    near = np.flatnonzero(square < wanted**2)
    if not near.size:
        return X
    t = np.linspace(0.0, 1.0, len(X))
    path = np.array([coordinates.positions(x) for x in X])
    travel = np.linalg.norm(path[-1] - path[0], axis=1)
    free = np.zeros(len(travel))
    free[coordinates.moving] = 1.0
    for p in near:
        i, j = pairs.first[p], pairs.second[p]
        aside = a[p] + when[p] * b[p]
        gap = np.linalg.norm(aside)
        if gap < _HEAD_ON:
            # Any side will do, but an atom that passes several others must take the same one each time.
            axis = np.eye(3)[np.abs(b[p]).argmin()]
            aside = axis - b[p] * (axis @ b[p]) / (b[p] @ b[p])
            aside *= 1.0 if travel[j] >= travel[i] else -1.0
        push = (wanted[p] - gap) * aside / np.linalg.norm(aside)
        swell = np.where(t <= when[p], t / max(when[p], 1e-9), (1.0 - t) / max(1.0 - when[p], 1e-9))
        bump = np.sin(np.pi / 2.0 * swell)[:, None] * push / (free[i] + free[j])
        path[:, j] += free[j] * bump
        path[:, i] -= free[i] * bump
    return np.concatenate([X[:1], path.reshape(len(X), -1)[1:-1, coordinates.free], X[-1:]])


def geodesic_length(X: NDArray[np.float64], coordinates: Coordinates) -> float:
    """Length of a path in scaled interatomic distances, roughly the number of bonds made and broken.

    ``L = sum |q(x_{s+1}) - q(x_s)|`` over half segments, ``q = exp(α (1 - r/r0)) + β r0/r`` for every pair of atoms,
    r0 the sum of covalent radii, α = 1.7 and β = 0.01.

    Parameters
    ----------
    X
        (M+2, n) band, Å.
    coordinates
        The free components and the template.

    References
    ----------
    X. Zhu, K. C. Thompson and T. J. Martínez, J. Chem. Phys. 150, 164103 (2019), doi:10.1063/1.5090303.
    """
    return _Metric(Pairs.along(X[0], X[-1], coordinates), coordinates.size, len(X)).length(X)


def shorten(X: NDArray[np.float64], coordinates: Coordinates, steps: int = 50, tolerance: float = 5e-4) -> NDArray:
    """Relax a path to the nearby geodesic: the shortest path in scaled interatomic distances.

    Minimises ``sum |Δq|^2`` over half segments (whose minimum is the shortest path at constant speed) plus a weak
    Cartesian spring that settles what distances leave open, above all the orientation of each image. All images move
    together in a damped Gauss-Newton iteration with a block tridiagonal matrix.

    Parameters
    ----------
    X
        (M+2, n) band without clashes, Å: a geodesic cannot leave the side of an obstacle it starts on.
    coordinates
        The free components and the template.
    steps
        Largest number of iterations.
    tolerance
        Stop when no atom moves by more than this in an iteration, Å.

    Returns
    -------
    (M+2, n) band in Å with the same end points, never longer than `X` in this metric.

    References
    ----------
    X. Zhu, K. C. Thompson and T. J. Martínez, J. Chem. Phys. 150, 164103 (2019), doi:10.1063/1.5090303.
    """
    metric = _Metric(Pairs.along(X[0], X[-1], coordinates), coordinates.size, len(X))
    best, value, damping = np.array(X, dtype=float), metric.value(X), 1e-2
    for step in range(steps):
        gradient, bands = metric.normal_equations(best)
        moved = np.inf
        while damping < 1e6:
            damped = bands.copy()
            damped[0] += damping
            trial = best.copy()
            move = solveh_banded(damped, -gradient, lower=True).reshape(best[1:-1].shape)
            moved = coordinates.longest(move).max()
            trial[1:-1] += move * min(1.0, _LONGEST / moved)
            trial_value = metric.value(trial)
            if trial_value < value:
                best, value, damping = trial, trial_value, max(damping / 4.0, 1e-6)
                break
            if moved < tolerance:
                break
            damping *= 4.0
        if moved < tolerance:
            logger.debug("geodesic: %d iterations, length %.3f", step + 1, metric.length(best))
            break
    return best if metric.length(best) <= (1.0 + 1e-9) * metric.length(X) else np.array(X, dtype=float)


class _Metric:
    """Scaled distances of a whole band, and the least squares problem of its geodesic.

    Each segment is measured in two halves, through the configuration half-way between its ends, so that a path
    cannot become short by jumping.
    """

    alpha, beta = 1.7, 0.01
    spring = 0.02  # 1/Å

    def __init__(self, pairs: Pairs, n: int, images: int) -> None:
        self.pairs = pairs
        points = 2 * images - 1
        # Points of the half segments as a linear function of the images: every other one is a mean of two.
        halves = lil_array((points, images))
        halves[np.arange(0, points, 2), np.arange(images)] = 1.0
        halves[np.arange(1, points, 2), np.arange(images - 1)] = 0.5
        halves[np.arange(1, points, 2), np.arange(1, images)] = 0.5
        self.halves = halves.tocsr()
        self.spread = kron(self.halves[:, 1:-1], eye_array(n), format="csr")
        difference = diags_array([-1.0, 1.0], offsets=[0, 1], shape=(points - 1, points))
        self.difference = kron(difference, eye_array(len(pairs)), format="csr")
        stretch = diags_array([-1.0, 1.0], offsets=[0, 1], shape=(images - 1, images)).tocsr()
        self.springs = kron(self.spring**2 * (stretch.T @ stretch)[1:-1], eye_array(n), format="csr")

        # Columns of the derivative of all scaled distances by all points; -1 marks fixed components.
        column = np.full(3 * len(pairs.coordinates.template), -1)
        column[pairs.coordinates.free] = np.arange(n)
        atoms = np.stack([pairs.first, pairs.second])
        self.columns = column[3 * atoms[:, :, None] + np.arange(3)]  # (2, P, 3)

    def scaled(self, r: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(P, K) distances to (P, K) scaled distances and their derivatives by r, 1/Å."""
        r0 = self.pairs.contact[:, None]
        steep, shallow = np.exp(self.alpha * (1.0 - r / r0)), self.beta * r0 / r
        return steep + shallow, -self.alpha / r0 * steep - shallow / r

    def segments(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """(M+2, n) band to the (P, 2M+2) changes of the scaled distances over half segments."""
        return np.diff(self.scaled(self.pairs.distances(self.halves @ X))[0], axis=1)

    def length(self, X: NDArray[np.float64]) -> float:
        """Length of the band."""
        return float(np.linalg.norm(self.segments(X), axis=0).sum())

    def value(self, X: NDArray[np.float64]) -> float:
        """The sum of squares to minimise."""
        return float((self.segments(X) ** 2).sum() + self.spring**2 * (np.diff(X, axis=0) ** 2).sum())

    def normal_equations(self, X: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Half the gradient of `value`, (M n,), and its Gauss-Newton matrix as lower bands, (2 n, M n)."""
        n = X.shape[1]
        v = self.pairs.vectors(self.halves @ X)
        r = np.sqrt(np.einsum("pck,pck->pk", v, v))
        q, slope = self.scaled(r)
        jacobian = self.difference @ self._derivatives(v * (slope / r)[:, None, :], n) @ self.spread
        gradient = jacobian.T @ np.diff(q, axis=1).T.ravel() + self.springs @ X.ravel()
        matrix = (jacobian.T @ jacobian + self.springs[:, n:-n]).tocoo()
        lower = matrix.row >= matrix.col
        bands = np.zeros((2 * n, gradient.size))
        bands[(matrix.row - matrix.col)[lower], matrix.col[lower]] = matrix.data[lower]
        return gradient, bands

    def _derivatives(self, gradients: NDArray[np.float64], n: int) -> csr_array:
        """(P, 3, K) derivatives by the pair vectors to the (K P, K n) block diagonal matrix by the coordinates."""
        pairs, _, points = gradients.shape
        values = gradients.transpose(2, 0, 1)[:, None] * np.array([-1.0, 1.0])[:, None, None]  # (K, 2, P, 3)
        k = np.arange(points)[:, None, None, None]
        rows = np.broadcast_to(k * pairs + np.arange(pairs)[:, None], values.shape)
        free = np.broadcast_to(self.columns >= 0, values.shape)
        columns = k * n + self.columns
        return csr_array((values[free], (rows[free], columns[free])), shape=(points * pairs, points * n))
