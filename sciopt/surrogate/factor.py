"""Cholesky factors that grow: new rows are appended, what is known is shared and never copied."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.linalg import LinAlgError
from scipy.linalg.blas import dtrsm
from scipy.linalg.lapack import dpotrf

if TYPE_CHECKING:
    from sciopt.core.types import Array

__all__ = ["JITTER", "MORE_NOISE", "Factor", "factorised"]

JITTER = 1e-10
"""Least noise, relative to the unit variance of a kernel."""
# Nearly equal configurations make a covariance singular; more noise is the honest reading of them.
MORE_NOISE = (0.0, *(10.0**exponent for exponent in range(-9, -2)))
"""What is added to it, one after the other, where a covariance is not positive definite."""


class _Panel(NamedTuple):
    """Rows of a lower triangle: what stands left of the diagonal block, and that block's factor, transposed."""

    left: Array
    corner: Array


@dataclass(frozen=True, eq=False)
class Factor:
    """A lower triangle ``L`` with ``L L^T = K``, in panels of rows.

    Examples
    --------
    >>> import numpy as np
    >>> L = Factor.of(np.array([[4.0]])).extended(np.array([[2.0]]), np.array([[5.0]]))
    >>> L.whiten(np.array([[2.0], [3.0]])).ravel()
    array([1., 1.])
    """

    panels: tuple[_Panel, ...] = ()

    @classmethod
    def of(cls, K: Array) -> Factor | None:
        """The factor of K, of which the lower triangle is read and overwritten; None if K is not positive definite."""
        return cls()._appended(np.empty((len(K), 0)), K)

    def extended(self, across: Array, corner: Array) -> Factor | None:
        """The factor of a matrix with more rows.

        Parameters
        ----------
        across
            (M, m) entries of the known M rows and the m new ones.
        corner
            (m, m) entries among the new rows; the lower triangle is read and overwritten.
        """
        left = np.ascontiguousarray(self.whiten(across).T)
        return self._appended(left, corner - left @ left.T)

    def _appended(self, left: Array, corner: Array) -> Factor | None:
        # Row-major and lower is column-major and upper: nothing is copied.
        upper, failed = dpotrf(corner.T, lower=0, overwrite_a=1, clean=0)
        return None if failed else Factor((*self.panels, _Panel(left, upper)))

    def until(self, rows: int) -> Factor:
        """The factor of the first rows, as many as there are whole panels of, at most `rows`."""
        ends = np.cumsum([len(panel.corner) for panel in self.panels])
        return Factor(self.panels[: int((ends <= rows).sum())])

    def __len__(self) -> int:
        return sum(len(panel.corner) for panel in self.panels)

    @property
    def log_determinant(self) -> float:
        """``log det L``."""
        return sum(float(np.log(np.diagonal(panel.corner)).sum()) for panel in self.panels)

    def whiten(self, columns: Array) -> Array:
        """``L^-1 columns`` for (M, c)."""
        return self.continued(np.empty((0, columns.shape[1])), columns)

    def continued(self, known: Array, columns: Array) -> Array:
        """``L^-1`` of (M, c) columns whose first M' rows have been solved for: known (M', c), columns (M - M', c)."""
        start, first = 0, len(known)
        solved = np.empty((first + len(columns), columns.shape[1]))
        solved[:first], solved[first:] = known, columns
        for left, corner in self.panels:
            stop = start + len(corner)
            if start >= first:
                rows = solved[start:stop]
                rows -= left @ solved[:start]
                # x^T U = b^T instead of L x = b, again without a copy.
                solved[start:stop] = dtrsm(1.0, corner, rows.T, side=1, lower=0, overwrite_b=1).T
            start = stop
        return solved

    def unwhiten(self, columns: Array) -> Array:
        """``L^-T columns`` for (M, c)."""
        solved = columns.copy()
        stop = len(columns)
        for left, corner in reversed(self.panels):
            start = stop - len(corner)
            solved[start:stop] = dtrsm(1.0, corner, solved[start:stop], lower=0)
            solved[:start] -= left.T @ solved[start:stop]
            stop = start
        return solved

    def solve(self, columns: Array) -> Array:
        """``K^-1 columns`` for (M, c)."""
        return self.unwhiten(self.whiten(columns))


def factorised(build: Callable[[], Array], noise: Array) -> Factor:
    """The factor of a covariance, lower triangle, with `noise` (M,) on its diagonal.

    Raises
    ------
    LinAlgError
        If the covariance is not one, even with a lot more noise.
    """
    for more in MORE_NOISE:
        K = build()
        np.einsum("ii->i", K)[:] += noise + more
        factor = Factor.of(K)
        if factor is not None:
            return factor
    raise LinAlgError("the covariance of the observations is not positive definite, even with a noise of 1e-3")
