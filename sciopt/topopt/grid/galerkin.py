"""Exact coarse operators ``A_l = P_lᵀ (K(E) + diag(springs)) P_l`` as stencils, straight from the fine moduli.

The element matrix of a coarse element is linear in the moduli of the fine elements in it, ``K_l = Σ_p E_p M_{l,p}``
with ``M_{l,p} = Pᵀ K_0 P`` for the 8^l (4^l) places p. One matrix product per plane of coarse elements makes all their
matrices; on deep levels, where that table would be long, the 2^d children on the level above take the place of the
moduli.

Rounding must not act like an elastic foundation, of negative stiffness at worst. On large grids the bending modes are
softer than the last digit of the diagonal, and in homogeneous material that digit is wrong everywhere by the same
amount. So `conserve` makes the diagonal from the other entries: a rigid translation costs what springs take, no more.
"""

from __future__ import annotations

from itertools import product

import numba
import numpy as np
from numpy.typing import NDArray

from sciopt.core.types import Array
from sciopt.topopt.grid.element_sweep import FAST
from sciopt.topopt.grid.stencil_sweep import later_neighbours

__all__ = ["CoarseElements", "add_springs", "child_interpolation", "conserve", "place_matrices"]

Real = np.float32 | np.float64

ROUNDING = 1.2e-7  # the last digit of single precision

DIRECT_PLACES = 512  # longest table of places; beyond it the children are cheaper (operation counts of both)


def child_interpolation(dim: int) -> Array:
    """Interpolation (2^d, 2^d, 2^d) from the corners of an element to those of each of its children, x fastest."""
    corners = list(product((0, 1), repeat=dim))  # slowest axis first
    matrices = np.empty((2**dim, 2**dim, 2**dim))
    for c, child in enumerate(corners):
        for m, node in enumerate(corners):
            at = [(o + i) / 2.0 for o, i in zip(child, node, strict=True)]
            for p, corner in enumerate(corners):
                matrices[c, m, p] = np.prod([t if up else 1.0 - t for t, up in zip(at, corner, strict=True)])
    return matrices


def place_matrices(stiffness: Array, dim: int, level: int) -> Array:
    """``Pᵀ K_0 P`` of every fine element in a coarse one, (2^l, 2^l, c 2^d, c 2^d) or (2^l, 2^l, 2^l, ...)."""
    components = stiffness.shape[0] // 2**dim
    children = [np.kron(np.eye(components), P) for P in child_interpolation(dim)]
    matrices = stiffness.reshape((1,) * dim + stiffness.shape)
    for _ in range(level):
        size = matrices.shape[0]
        finer = np.empty((2 * size,) * dim + stiffness.shape)
        for child, P in zip(product((0, 1), repeat=dim), children, strict=True):
            finer[tuple(slice(o * size, (o + 1) * size) for o in child)] = P.T @ matrices @ P
        matrices = finer
    return matrices


class CoarseElements:
    """Makes the stencils of one level.

    Parameters
    ----------
    stiffness
        Element matrix of the finest grid for unit modulus.
    dim, level
        Space dimensions and number of halvings since the finest grid.
    dtype
        float32 or float64.
    """

    def __init__(self, stiffness: Array, dim: int, level: int, dtype: type[Real]) -> None:
        self.dim, self.level, self.dtype = dim, level, dtype
        self.components = c = stiffness.shape[0] // 2**dim
        self.direct = 2 ** (dim * level) <= DIRECT_PLACES
        corners = np.array(list(product((0, 1), repeat=dim)))
        offsets = later_neighbours(dim)[:, 3 - dim :]
        # Pairs of corners (m, n) with n after m, or m itself: each is a part of the stencil of m.
        pairs = [
            (m, n, s)
            for s, offset in enumerate(offsets)
            for m in range(2**dim)
            for n in range(2**dim)
            if np.array_equal(corners[n] - corners[m], offset)
        ]
        self.nodes = np.zeros((len(pairs), 3), dtype=np.int64)
        self.nodes[:, 3 - dim :] = corners[[m for m, _, _ in pairs]]
        self.slots = np.array([s for _, _, s in pairs], dtype=np.int64)
        size = c * 2**dim
        rows = np.array([[a * 2**dim + m for a in range(c) for _ in range(c)] for m, _, _ in pairs])
        columns = np.array([[b * 2**dim + n for _ in range(c) for b in range(c)] for _, n, _ in pairs])
        self.take = (rows * size + columns).ravel()
        if self.direct:
            places = place_matrices(stiffness, dim, level).reshape(-1, size * size)
            self.table = np.ascontiguousarray(places[:, self.take].T, dtype=dtype)
        else:
            # Unpacking fills in the transposes; the map of child, unpacked, interpolated and packed, is one matrix.
            unpack = np.zeros((size * size, self.take.size))
            unpack[self.take, np.arange(self.take.size)] = 1.0
            later = np.repeat(self.slots > 0, c * c)
            unpack[(columns * size + rows).ravel()[later], np.flatnonzero(later)] = 1.0
            maps = []
            for P in child_interpolation(dim):
                full = np.kron(np.eye(c), P)
                square = unpack.T.reshape(-1, size, size)
                maps.append((full.T @ square @ full).reshape(-1, size * size)[:, self.take].T)
            self.table = np.ascontiguousarray(np.concatenate(maps, axis=1), dtype=dtype)

    def stencils(self, source: NDArray[Real], A: NDArray[Real], keep: bool) -> NDArray[Real] | None:
        """Fill the stencils `A`; return the packed matrices of this level's elements when the next level needs them.

        `source` is the fine moduli (z, y, x), or, where the level is not direct, the packed matrices (rows, z, y, x) of
        the level above. It is read as if it went on with zeros.
        """
        nz, ny, nx = max(A.shape[0] - 1, 1), A.shape[4] - 3, A.shape[5] - 3
        A[:] = 0.0
        kept = np.empty((self.table.shape[0], nz, ny, nx), self.dtype) if keep else None
        width = 2**self.level if self.direct else 2
        depth = width if self.dim == 3 else 1
        packed = source[None] if source.ndim == 3 else source
        slab = np.empty((packed.shape[0], depth, ny * width, nx * width), self.dtype)
        for k in range(nz):
            part = packed[:, k * depth : (k + 1) * depth]
            slab[:] = 0.0
            slab[:, : part.shape[1], : part.shape[2], : part.shape[3]] = part
            # Rows of the table run over the places (or children), and within a child over its packed matrix.
            places = slab.reshape(-1, depth, ny, width, nx, width).transpose(1, 3, 5, 0, 2, 4)
            matrices = (self.table @ places.reshape(self.table.shape[1], ny * nx)).reshape(-1, ny, nx)
            _scatter(matrices, self.nodes, self.slots, k, A)
            if kept is not None:
                kept[:, k] = matrices
        return kept


@numba.njit(**FAST)
def _scatter(matrices, nodes, slots, k, A):
    c = A.shape[2]
    ny, nx = matrices.shape[1:]
    for r in range(slots.size):
        dk, dj, di = nodes[r]
        for ab in range(c * c):
            for j in range(ny):
                source = matrices[r * c * c + ab, j]
                target = A[k + dk, slots[r], ab // c, ab % c, 1 + j + dj, 1 + di :]
                for i in range(nx):
                    target[i] += source[i]


@numba.njit(**FAST)
def add_springs(positions, components, stiffness, level, offsets, A, held):
    """Add ``Pᵀ diag(stiffness) P`` of springs at the fine nodes `positions` (n, 3), as z, y, x, to stencils `A`.

    The sums of its rows, ``Pᵀ stiffness``, are added to `held` (c, z, y, x).
    """
    last = np.array([max(A.shape[0] - 2, 0), A.shape[4] - 4, A.shape[5] - 4])
    width = 2**level
    base = np.empty(3, np.int64)
    weight = np.empty((3, 2))
    for p in range(stiffness.size):
        for axis in range(3):
            base[axis] = min(positions[p, axis] // width, last[axis])
            t = (positions[p, axis] - base[axis] * width) / width
            weight[axis] = 1.0 - t, t
        a = components[p]
        for mk in range(2):
            for mj in range(2):
                for mi in range(2):
                    w = weight[0, mk] * weight[1, mj] * weight[2, mi]
                    if w != 0.0:
                        held[a, base[0] + mk, base[1] + mj, base[2] + mi] += w * stiffness[p]
        for s in range(offsets.shape[0]):
            dk, dj, di = offsets[s]
            for mk in range(max(-dk, 0), 2 - max(dk, 0)):
                for mj in range(max(-dj, 0), 2 - max(dj, 0)):
                    for mi in range(max(-di, 0), 2 - max(di, 0)):
                        w = weight[0, mk] * weight[1, mj] * weight[2, mi]
                        w *= weight[0, mk + dk] * weight[1, mj + dj] * weight[2, mi + di]
                        if w != 0.0:
                            A[base[0] + mk, s, a, a, 1 + base[1] + mj, 1 + base[2] + mi] += w * stiffness[p]


# No fast arithmetic: it might optimize away what rounding takes.
@numba.njit(nogil=True, cache=True, error_model="numpy")
def conserve(A, offsets, held):
    """Set the diagonal blocks of the stencils `A` so that rows sum up to `held` (c, z, y, x): zero but for springs.

    What rounding takes from one diagonal entry the next one gets, so that the errors of many neighbours do not add up.
    It waits for an entry that can take it: void must not pay for solid.
    """
    NK, S, c = A.shape[:3]
    rows, width = A.shape[4] - 1, A.shape[5] - 1
    total = np.empty((c, c, width))
    rest = np.zeros(c)
    for k in range(NK):
        for j in range(1, rows):
            total[:] = 0.0
            for s in range(1, S):
                dk, dj, di = offsets[s]
                for a in range(c):
                    for b in range(c):
                        row = total[a, b]
                        if k + dk < NK:
                            later = A[k, s, a, b, j]
                            for i in range(width):
                                row[i] += later[i]
                        if k - dk >= 0:
                            earlier = A[k - dk, s, b, a, j - dj, 1 - di :]
                            for i in range(width - 1):
                                row[i + 1] += earlier[i]
            for a in range(c):
                for b in range(a):
                    below, above = A[k, 0, a, b, j], A[k, 0, b, a, j]
                    for i in range(1, width):
                        below[i] = above[i] = -(total[a, b, i] + total[b, a, i]) / 2.0
                row, diagonal, springs = total[a, a], A[k, 0, a, a, j], held[a, k, j - 1]
                carried = rest[a]
                for i in range(1, width):
                    wanted = springs[i - 1] - row[i]
                    fits = abs(carried) <= ROUNDING * wanted
                    if fits:
                        wanted += carried
                    diagonal[i] = wanted
                    if fits:
                        carried = wanted - diagonal[i]
                rest[a] = carried
