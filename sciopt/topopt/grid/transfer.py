"""Multilinear interpolation between a grid and the grid of twice its spacing, and its transpose.

A fine node 2 i lies on the coarse node i, a fine node 2 i + 1 halfway between two. Where the number of fine elements is
odd, the last coarse element sticks out of the grid and its outer nodes still carry the interpolation.
Nodal arrays are (c, z, y, x), with `halo` nodes around them (none along an axis z of length one).
"""

from __future__ import annotations

import numba
import numpy as np

from sciopt.topopt.grid.element_sweep import FAST

__all__ = ["prolong_add", "restrict"]


@numba.njit(**FAST)
def restrict(fine, halo, coarse):
    """``coarse = Pᵀ fine``; the coarse array has a halo of one, the fine one of `halo`."""
    c = fine.shape[0]
    three = fine.shape[1] > 1
    hf, hc = (halo, 1) if three else (0, 0)
    FK, FJ, FI = fine.shape[1] - 2 * hf, fine.shape[2] - 2 * halo, fine.shape[3] - 2 * halo
    NK, NJ, NI = coarse.shape[1] - 2 * hc, coarse.shape[2] - 2, coarse.shape[3] - 2
    half = np.float32(0.5)
    line = np.zeros(2 * NI + 2, fine.dtype)  # one zero, the fine nodes, zeros beyond the grid
    line1 = line[1:]
    for a in range(c):
        for k in range(NK):
            for j in range(NJ):
                line[:] = 0.0
                for fk in range(max(2 * k - 1, 0), min(2 * k + 2, FK)):
                    for fj in range(max(2 * j - 1, 0), min(2 * j + 2, FJ)):
                        w = (np.float32(1.0) if fk == 2 * k else half) * (np.float32(1.0) if fj == 2 * j else half)
                        row = fine[a, fk + hf, fj + halo, halo:]
                        for i in range(FI):
                            line1[i] += w * row[i]
                target = coarse[a, k + hc, j + 1, 1:]
                for i in range(NI):
                    target[i] = line[2 * i + 1] + half * (line[2 * i] + line[2 * i + 2])


@numba.njit(**FAST)
def prolong_add(coarse, fine, scale, halo):
    """``fine += P coarse`` where `scale`, shaped like fine, is not zero."""
    c = fine.shape[0]
    three = fine.shape[1] > 1
    hf, hc = (halo, 1) if three else (0, 0)
    FK, FJ, FI = fine.shape[1] - 2 * hf, fine.shape[2] - 2 * halo, fine.shape[3] - 2 * halo
    NI = coarse.shape[3] - 2
    half, quarter = np.float32(0.5), np.float32(0.25)
    line = np.zeros(2 * NI + 2, fine.dtype)
    mean = np.zeros(NI + 1, fine.dtype)
    for a in range(c):
        for k in range(FK):
            for j in range(FJ):
                k0, k1, j0, j1 = k // 2 + hc, (k + 1) // 2 + hc, j // 2 + 1, (j + 1) // 2 + 1
                r0, r1, r2, r3 = (
                    coarse[a, k0, j0, 1:],
                    coarse[a, k0, j1, 1:],
                    coarse[a, k1, j0, 1:],
                    coarse[a, k1, j1, 1:],
                )
                for i in range(NI):
                    mean[i] = quarter * ((r0[i] + r1[i]) + (r2[i] + r3[i]))
                for i in range(NI):
                    line[2 * i] = mean[i]
                    line[2 * i + 1] = half * (mean[i] + mean[i + 1])
                target, free = fine[a, k + hf, j + halo, halo:], scale[a, k + hf, j + halo, halo:]
                for i in range(FI):
                    target[i] += line[i] if free[i] != 0.0 else np.float32(0.0)
