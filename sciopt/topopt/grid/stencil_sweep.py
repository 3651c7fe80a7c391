"""One pass over a coarse grid, whose operator is stored as stencils: one c × c block per neighbour.

Stencils are symmetric, so only the block of the node itself and those of the neighbours after it are stored: 14 of 27
in 3D, 5 of 9 in 2D. The others are the transposes of what the earlier neighbour stores.

Nodal arrays have a halo of one node, (c, nz+3, ny+3, nx+3), in 2D (c, 1, ny+3, nx+3). Stencils are
(nz+1, s, c, c, ny+3, nx+3), with the halo along x and y only.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from sciopt.topopt.grid.element_sweep import FAST, RESIDUAL

__all__ = ["interior", "later_neighbours", "stencil_sweep"]

CHUNK = 1024  # nodes treated at a time: their sums stay in the first-level cache


def later_neighbours(dim: int) -> NDArray[np.int64]:
    """Offsets (s, 3) along z, y and x of a node itself and of its neighbours after it.

    Examples
    --------
    >>> later_neighbours(2).tolist()
    [[0, 0, 0], [0, 0, 1], [0, 1, -1], [0, 1, 0], [0, 1, 1]]
    """
    steps = (-1, 0, 1)
    offsets = [(z, y, x) for z in (steps if dim == 3 else (0,)) for y in steps for x in steps]
    return np.array([offset for offset in offsets if offset >= (0, 0, 0)], dtype=np.int64)


@numba.njit(**FAST)
def _add(y, A, x, c, first, entry, step, start, size, n):
    # y[a] += Σ_b A[a, b] x[b] over n nodes in a row; `entry` is the stride between b, `step` the one between a.
    for a in range(c):
        o = np.uintp(a * CHUNK)
        if c == 3:
            a0 = np.uintp(first + a * step)
            a1, a2 = a0 + np.uintp(entry), a0 + np.uintp(2 * entry)
            x0 = np.uintp(start)
            x1, x2 = x0 + np.uintp(size), x0 + np.uintp(2 * size)
            for i in range(n):
                j = np.uintp(i)
                y[o + j] += A[a0 + j] * x[x0 + j] + A[a1 + j] * x[x1 + j] + A[a2 + j] * x[x2 + j]
        else:
            for b in range(c):
                a0, x0 = np.uintp(first + a * step + b * entry), np.uintp(start + b * size)
                for i in range(n):
                    j = np.uintp(i)
                    y[o + j] += A[a0 + j] * x[x0 + j]


@numba.njit(**FAST)
def stencil_sweep(operation, x, A, offsets, b, scale, old, weights, out):
    """One pass ``y = A x`` turned into `out` chunk by chunk, as `element_sweep` does; unknowns of scale 0 are fixed.

    RESIDUAL gives ``out = b − y`` and SMOOTH ``out = w0 x + w1 old + w2 scale (b − y)``. Halos stay zero.
    """
    NK, S, c = A.shape[:3]
    width = A.shape[5]
    halo = 1 if x.shape[1] > 1 else 0
    plane = A.shape[4] * width
    size = x.shape[1] * plane
    block = c * c * plane
    xf, af, bf, sf = x.reshape(-1), A.reshape(-1), b.reshape(-1), scale.reshape(-1)
    of, yf = old.reshape(-1), out.reshape(-1)
    y = np.empty(c * CHUNK, x.dtype)
    now, before, step = weights[0], weights[1], weights[2]
    # Whole planes are treated as one long row. Where it crosses the halo, all factors are zero.
    for k in range(NK):
        for t in range(width + 1, plane - width - 1, CHUNK):
            n = min(CHUNK, plane - width - 1 - t)
            y[:] = 0.0
            here = (k + halo) * plane + t
            for s in range(S):
                dk, dj, di = offsets[s]
                shift = dj * width + di
                if k + dk < NK:
                    first = (k * S + s) * block + t
                    _add(y, af, xf, c, first, plane, c * plane, here + dk * plane + shift, size, n)
                if s > 0 and k - dk >= 0:
                    first = ((k - dk) * S + s) * block + t - shift
                    _add(y, af, xf, c, first, c * plane, plane, here - dk * plane - shift, size, n)
            for a in range(c):
                at, o = np.uintp(a * size + here), np.uintp(a * CHUNK)
                if operation == RESIDUAL:
                    for i in range(n):
                        j = at + np.uintp(i)
                        yf[j] = bf[j] - y[o + np.uintp(i)] if sf[j] != 0.0 else np.float32(0.0)
                else:
                    for i in range(n):
                        j = at + np.uintp(i)
                        yf[j] = now * xf[j] + before * of[j] + step * sf[j] * (bf[j] - y[o + np.uintp(i)])


def interior(padded: np.ndarray) -> np.ndarray:
    """View of a nodal array without its halo."""
    planes = slice(1, -1) if padded.shape[1] > 1 else slice(None)
    return padded[:, planes, 1:-1, 1:-1]
