"""Cholesky factors in the order in which observations add directions: most of what is zero is neither stored nor read.

Until an observation leads into a new direction no earlier one has a part in it: their forces along it are correlated
with each other alone, as any orthogonal component is, and with nothing else. One observation more adds these rows, with
a factor that is known, and its own energy and forces within the span; what was factorised stays as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numba
import numpy as np
from scipy.linalg.blas import dtrsm
from scipy.linalg.lapack import dpotrf

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sciopt.core.types import Array
    from sciopt.surrogate.kernels import Radial

__all__ = ["Nested", "Rows"]


class Rows(NamedTuple):
    """The order of the rows: an energy and forces in m directions of each of N observations.

    Attributes
    ----------
    owner, direction
        (N (m+1),) observation and direction of every row; -1 for energies.
    first, width, fresh
        (N,) where the observation's own rows begin, how many they are, and how many directions it is the first in; the
        rows of earlier ones along these stand right before its own.
    """

    owner: NDArray[np.intp]
    direction: NDArray[np.intp]
    first: NDArray[np.intp]
    width: NDArray[np.intp]
    fresh: NDArray[np.intp]

    @classmethod
    def of(cls, count: int, seen: NDArray[np.intp]) -> Rows:
        """For N observations and (m,) the first one, ascending, that leads into each direction."""
        owner, direction, first = [], [], []
        for k in range(count):
            for p in np.flatnonzero(seen == k):
                owner.append(np.arange(k))
                direction.append(np.full(k, p))
            first.append(sum(map(len, owner)))
            known = int((seen <= k).sum())
            owner.append(np.full(known + 1, k))
            direction.append(np.arange(-1, known))
        width = np.array([1 + int((seen <= k).sum()) for k in range(count)])
        fresh = np.array([int((seen == k).sum()) for k in range(count)])
        return cls(np.concatenate(owner), np.concatenate(direction), np.array(first), width, fresh)

    def places(self, size: int) -> NDArray[np.intp]:
        """(N (m+1),) the rows among all energies and forces, observation by observation, of which each has `size`."""
        return self.owner * size + 1 + self.direction


@dataclass(frozen=True, eq=False)
class Nested:
    """A lower triangle ``L`` with ``L L^T = K``, K the covariance of energies and forces within a span.

    Attributes
    ----------
    rows
        Their order.
    outer
        (N, N) lower triangle, the factor of one force component that no observation has a part in.
    panels
        For every observation (width, first + width) its own rows of L.
    """

    rows: Rows
    outer: Array
    panels: tuple[Array, ...] = ()

    @classmethod
    def of(
        cls,
        inside: Array,
        seen: NDArray[np.intp],
        radial: Radial,
        outer: Array,
        noise: Array,
        known: tuple[Array, ...] = (),
    ) -> Nested | None:
        """Factorise; None if K is not positive definite.

        Parameters
        ----------
        inside, seen
            (N, m) observations within the span, and (m,) the first one, ascending, that leads into each direction.
        radial
            Kernel terms (N, N).
        outer
            (N, N) lower triangle, the factor of ``radial.a`` with the noise of forces.
        noise
            (N, 2) of energies and of forces.
        known
            Panels of the first observations.
        """
        whole = cls(Rows.of(len(inside), seen), outer, known)
        rows, panels = whole.rows, list(known)
        for k in range(len(known), len(inside)):
            first, width = int(rows.first[k]), int(rows.width[k])
            across = _covariances(inside[k] - inside, rows, (radial.k[k], radial.a[k], radial.b[k]), width, first)
            left = np.ascontiguousarray(cls(rows, outer, tuple(panels))._whitened(across.T.copy()).T)
            corner = -left @ left.T
            own = np.full(width, radial.a[k, k] + noise[k, 1])
            own[0] = radial.k[k, k] + noise[k, 0]
            corner[np.arange(width), np.arange(width)] += own
            # Row-major and lower is column-major and upper.
            upper, failed = dpotrf(corner.T, lower=0, overwrite_a=1, clean=1)
            if failed:
                return None
            panels.append(np.hstack([left, upper.T]))
        return cls(rows, outer, tuple(panels))

    @property
    def log_determinant(self) -> float:
        """``log det L``."""
        own = sum(float(np.log(np.diagonal(panel, panel.shape[1] - len(panel))).sum()) for panel in self.panels)
        among = np.concatenate([[0.0], np.cumsum(np.log(np.diagonal(self.outer)))])
        return own + float(self.rows.fresh @ among[: len(self.panels)])

    def whiten(self, columns: Array) -> Array:
        """``L^-1 columns`` for (N (m+1), c), observation by observation; its rows are in the order of the factor."""
        return self._whitened(columns[self._places])

    def solve(self, y: Array) -> Array:
        """(N, m+1) energies and forces to ``K^-1 y``."""
        rows, solved = self.rows, np.empty(y.size)
        x = y.ravel()[self._places]
        _forward(self._flat, rows.first, rows.width, rows.fresh, self.outer, x)
        _backward(self._flat, rows.first, rows.width, rows.fresh, self.outer, x)
        solved[self._places] = x
        return solved.reshape(y.shape)

    @cached_property
    def _places(self) -> NDArray[np.intp]:
        return self.rows.places(int(self.rows.width[-1]))

    @cached_property
    def _flat(self) -> Array:
        return np.concatenate([panel.ravel() for panel in self.panels])

    def _whitened(self, x: Array) -> Array:
        """As many rows as there are panels for, and those before the next one's own; x is overwritten."""
        rows = self.rows
        for k, panel in enumerate(self.panels):
            first, stop = int(rows.first[k]), int(rows.first[k] + rows.width[k])
            self._along_fresh(k, x)
            x[first:stop] -= panel[:, :first] @ x[:first]
            x[first:stop] = _solved(panel[:, first:], x[first:stop])
        if len(self.panels) < len(rows.first):
            self._along_fresh(len(self.panels), x)
        return x

    def _along_fresh(self, k: int, x: Array) -> None:
        for i in range(int(self.rows.fresh[k]) if k else 0):
            start = int(self.rows.first[k]) - (i + 1) * k
            x[start : start + k] = _solved(self.outer[:k, :k], x[start : start + k])


def _solved(L: Array, x: Array) -> Array:
    # x^T L^T = b^T is column-major already.
    return dtrsm(1.0, L.T, x.T, side=1, lower=0).T


def _covariances(d: Array, rows: Rows, radial: tuple[Array, Array, Array], width: int, until: int) -> Array:
    """(width, until) covariances of one observation's energy and forces with earlier rows; d (N, m) are differences."""
    owner, direction = rows.owner[:until], rows.direction[:until]
    k, a, b = (part[owner] for part in radial)
    energy, ahead = direction < 0, d[owner]
    theirs = np.where(energy, 1.0, ahead[np.arange(until), direction])
    K = np.empty((width, until))
    K[0] = np.where(energy, k, -a * theirs)
    K[1:] = (np.where(energy, a, -b) * theirs) * ahead[:, : width - 1].T
    own = np.flatnonzero(~energy & (direction < width - 1))
    K[1 + direction[own], own] += a[own]
    return K


@numba.njit(cache=True, fastmath={"reassoc", "contract"})
def _forward(flat, first, width, fresh, outer, x):
    row = 0
    for k in range(first.size):
        for p in range(fresh[k]):
            part = x[first[k] - (p + 1) * k : first[k] - p * k]
            for i in range(k):
                total = 0.0
                for j in range(i):
                    total += outer[i, j] * part[j]
                part[i] = (part[i] - total) / outer[i, i]
        for i in range(first[k], first[k] + width[k]):
            # A slice tells the compiler that indices are not negative, and it vectorizes.
            entries = flat[row : row + i + 1]
            total = 0.0
            for j in range(i):
                total += entries[j] * x[j]
            x[i] = (x[i] - total) / entries[i]
            row += first[k] + width[k]


@numba.njit(cache=True, fastmath={"reassoc", "contract"})
def _backward(flat, first, width, fresh, outer, x):
    row = flat.size
    for k in range(first.size - 1, -1, -1):
        for i in range(first[k] + width[k] - 1, first[k] - 1, -1):
            row -= first[k] + width[k]
            entries = flat[row : row + i + 1]
            value = x[i] / entries[i]
            x[i] = value
            for j in range(i):
                x[j] -= value * entries[j]
        for p in range(fresh[k]):
            part = x[first[k] - (p + 1) * k : first[k] - p * k]
            for i in range(k - 1, -1, -1):
                value = part[i] / outer[i, i]
                part[i] = value
                for j in range(i):
                    part[j] -= value * outer[i, j]
