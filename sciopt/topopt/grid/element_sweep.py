"""One pass over the finest grid: apply the element matrices and use every finished row while it is in the cache.

In sums and differences of the corner values an element matrix couples only unknowns of the same reflection
symmetry: component a with the differences along the axes in the bits of ``s ^ (1 << a)``, one c × c block per s. That
leaves 45 of 576 numbers for the hexahedron, and sums along one axis are shared by neighbours along the others.

The sweep goes plane by plane and row by row. A node row is finished when the elements on all its sides were seen; what
elements pass on to later rows and planes is kept in `scratch` and `carry`. Two-dimensional grids are one plane.

References
----------
Walsh-Hadamard bases of brick elements are folklore of fast matrix-free operators; the idea of factorizing along the
axes is that of Kronbichler and Kormann, doi:10.1016/j.compfluid.2012.04.012.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from sciopt.core.types import Array
from sciopt.topopt.grid.element import walsh_basis

__all__ = ["APPLY", "RESIDUAL", "SMOOTH", "element_energies", "element_sweep", "scratch", "symmetry_blocks"]

APPLY, RESIDUAL, SMOOTH = 0, 1, 2

# No `nnan`, no `ninf`: what is not finite must stay visible.
FAST: dict[str, Any] = {
    "nogil": True,
    "cache": True,
    "error_model": "numpy",
    "fastmath": {"contract", "reassoc", "nsz"},
}

# Rows of the scratch array. Offsets are compile-time constants of one array because the vectorizer can then tell the
# rows apart; STRIP nodes of a row are treated at a time. STRIDE avoids multiples of the 4 KiB page.
STRIP = 256
STRIDE = STRIP + 8
PREVIOUS, CURRENT, SPREAD, SIDES, ABOVE, FORCE, MODULI, OTHER, ROWS = 0, 6, 12, 24, 48, 54, 60, 61, 73


def symmetry_blocks(stiffness: Array, dim: int) -> Array:
    """The element matrix as one symmetric block (2^d, c, c) per reflection symmetry.

    Block s holds the couplings between the differences ``s ^ (1 << a)`` of the components a.
    """
    corners = 2**dim
    components = stiffness.shape[0] // corners
    basis = np.kron(np.eye(components), walsh_basis(dim))
    spectrum = basis @ stiffness @ basis.T / corners**2
    blocks = np.zeros((corners, components, components))
    for s in range(corners):
        index = [a * corners + (s ^ (1 << a)) for a in range(components)]
        blocks[s] = spectrum[np.ix_(index, index)]
    return blocks


def scratch(dtype: type) -> np.ndarray:
    """Working memory of the sweeps, some 60 kB."""
    return np.zeros(ROWS * STRIDE, dtype)


@numba.njit(inline="always")
def _couple3(rows, blocks, pair, n):
    # Symmetries 2 pair and 2 pair + 1 read the same rows: the second takes sums where the first takes differences.
    e = MODULI * STRIDE + 1
    p0 = (SPREAD + pair * 3) * STRIDE + 1
    p1 = (SPREAD + (pair ^ 1) * 3 + 1) * STRIDE + 1
    p2 = (SPREAD + (pair ^ 2) * 3 + 2) * STRIDE + 1
    q0 = (SIDES + pair * 6) * STRIDE + 1
    q1 = (SIDES + (pair ^ 1) * 6 + 2) * STRIDE + 1
    q2 = (SIDES + (pair ^ 2) * 6 + 4) * STRIDE + 1
    A, B = blocks[2 * pair], blocks[2 * pair + 1]
    a00, a01, a02, a11, a12, a22 = A[0, 0], A[0, 1], A[0, 2], A[1, 1], A[1, 2], A[2, 2]
    b00, b01, b02, b11, b12, b22 = B[0, 0], B[0, 1], B[0, 2], B[1, 1], B[1, 2], B[2, 2]
    for i in range(n):
        modulus = rows[e + i]
        u0, u1 = rows[p0 + i], rows[p0 + i + 1]
        v0, v1 = rows[p1 + i], rows[p1 + i + 1]
        w0, w1 = rows[p2 + i], rows[p2 + i + 1]
        u, v, w = (u1 - u0) * modulus, (v0 + v1) * modulus, (w0 + w1) * modulus
        f, g, h = a00 * u + a01 * v + a02 * w, a01 * u + a11 * v + a12 * w, a02 * u + a12 * v + a22 * w
        u, v, w = (u0 + u1) * modulus, (v1 - v0) * modulus, (w1 - w0) * modulus
        k, m, o = b00 * u + b01 * v + b02 * w, b01 * u + b11 * v + b12 * w, b02 * u + b12 * v + b22 * w
        rows[q0 + i], rows[q0 + STRIDE + i] = k - f, k + f
        rows[q1 + i], rows[q1 + STRIDE + i] = g - m, g + m
        rows[q2 + i], rows[q2 + STRIDE + i] = h - o, h + o


@numba.njit(inline="always")
def _couple2(rows, blocks, pair, n):
    e = MODULI * STRIDE + 1
    p0 = (SPREAD + pair * 3) * STRIDE + 1
    p1 = (SPREAD + (pair ^ 1) * 3 + 1) * STRIDE + 1
    q0 = (SIDES + pair * 6) * STRIDE + 1
    q1 = (SIDES + (pair ^ 1) * 6 + 2) * STRIDE + 1
    A, B = blocks[2 * pair], blocks[2 * pair + 1]
    a00, a01, a11, b00, b01, b11 = A[0, 0], A[0, 1], A[1, 1], B[0, 0], B[0, 1], B[1, 1]
    for i in range(n):
        modulus = rows[e + i]
        u0, u1 = rows[p0 + i], rows[p0 + i + 1]
        v0, v1 = rows[p1 + i], rows[p1 + i + 1]
        u, v = (u1 - u0) * modulus, (v0 + v1) * modulus
        f, g = a00 * u + a01 * v, a01 * u + a11 * v
        u, v = (u0 + u1) * modulus, (v1 - v0) * modulus
        k, m = b00 * u + b01 * v, b01 * u + b11 * v
        rows[q0 + i], rows[q0 + STRIDE + i] = k - f, k + f
        rows[q1 + i], rows[q1 + STRIDE + i] = g - m, g + m


@numba.njit(inline="always")
def _couple1(rows, blocks, pair, n):
    e = MODULI * STRIDE + 1
    p = (SPREAD + pair * 3) * STRIDE + 1
    q = (SIDES + pair * 6) * STRIDE + 1
    a, b = blocks[2 * pair, 0, 0], blocks[2 * pair + 1, 0, 0]
    for i in range(n):
        modulus = rows[e + i]
        u0, u1 = rows[p + i], rows[p + i + 1]
        f, k = a * (u1 - u0) * modulus, b * (u0 + u1) * modulus
        rows[q + i], rows[q + STRIDE + i] = k - f, k + f


@numba.njit(**FAST)
def _load(rows, target, flat, start, plane, size, planes, components, m):
    # Values of one node row (2D), or sums and differences of the rows of two planes. `size` is one component's length.
    for a in range(components):
        first = np.uintp(start + a * size)
        o = (target + a) * STRIDE + 1
        if planes == 1:
            for i in range(m):
                rows[o + i] = flat[first + np.uintp(i)]
        else:
            second = first + np.uintp(plane)
            for i in range(m):
                u, v = flat[first + np.uintp(i)], flat[second + np.uintp(i)]
                rows[o + i] = u + v
                rows[o + 3 * STRIDE + i] = v - u


@numba.njit(**FAST)
def _spread(rows, target, planes, components, m):
    # Sums and differences of the previous and the current row; the current becomes the previous one.
    for d in range(planes):
        for a in range(components):
            p = (PREVIOUS + 3 * d + a) * STRIDE + 1
            q = (target + 6 * d + a) * STRIDE + 1
            for i in range(m):
                u, v = rows[p + i], rows[p + 6 * STRIDE + i]
                rows[q + i] = u + v
                rows[q + 3 * STRIDE + i] = v - u
                rows[p + i] = v


@numba.njit(**FAST)
def _gather(rows, planes, components, m):
    # The transposes of the sums and differences along x and y: FORCE is finished, ABOVE waits for the next row.
    for d in range(planes):
        for a in range(components):
            q = (SIDES + 12 * d + 2 * a) * STRIDE + 1
            p = (ABOVE + 3 * d + a) * STRIDE + 1
            for i in range(m):
                u = rows[q + i] + rows[q + STRIDE + i - 1]
                v = rows[q + 6 * STRIDE + i] + rows[q + 7 * STRIDE + i - 1]
                rows[p + 6 * STRIDE + i] = rows[p + i] + u - v
                rows[p + i] = u + v


@numba.njit(**FAST)
def _finish(rows, row, skip, n, start, size, operation, x, b, scale, old, weights, fixed, springs, out):
    # `row` of K x, of one component and strip, becomes the wanted result. Returns its contribution to the dot product.
    o = row * STRIDE + 1 + skip
    s = np.uintp(start)
    if springs.size > 0:
        for i in range(n):
            rows[o + i] += springs[s + np.uintp(i)] * x[s + np.uintp(i)]
    total = 0.0
    if operation == APPLY:
        for i in range(n):
            at = s + np.uintp(i)
            value = rows[o + i] if not fixed[at] else np.float32(0.0)
            out[at] = value
            total += np.float64(value * x[at])
    elif operation == RESIDUAL:
        for i in range(n):
            at = s + np.uintp(i)
            value = b[at] - rows[o + i] if not fixed[at] else np.float32(0.0)
            out[at] = value
            total += np.float64(value * value)
    else:
        now, before, step = weights[0], weights[1], weights[2]
        for i in range(n):
            at = s + np.uintp(i)
            out[at] = now * x[at] + before * old[at] + step * scale[at] * (b[at] - rows[o + i])
    return total


@numba.njit(**FAST)
def element_sweep(operation, x, E, blocks, rows, carry, b, scale, old, weights, fixed, springs, out):
    """One pass ``y = K(E) x`` over all elements, turned into `out` row by row.

    ======== ==================================================== ==============
    APPLY    ``out = y``, zero at fixed unknowns                  returns x·y
    RESIDUAL ``out = b − y``, zero at fixed unknowns              returns out·out
    SMOOTH   ``out = w0 x + w1 old + w2 scale (b − y)``           returns 0
    ======== ==================================================== ==============

    x is zero at fixed unknowns; `out` may be `old`, but not x. Nodal arrays are (c, nz+1, ny+1, nx+1) with one plane in
    2D, E (nz, ny, nx); `carry` (c, ny+1, nx+1) and `rows` (`scratch`) are working memory; `springs` may be empty.
    """
    c, NK, NJ, NI = x.shape
    nz, ny, nx = E.shape
    planes = 2 if NK > 1 else 1
    plane = NJ * NI
    size = NK * plane
    xf, ef, bf, sf, of = x.reshape(-1), E.reshape(-1), b.reshape(-1), scale.reshape(-1), old.reshape(-1)
    ff, gf, yf, cf = fixed.reshape(-1), springs.reshape(-1), out.reshape(-1), carry.reshape(-1)
    total = 0.0
    for i0 in range(0, NI, STRIP - 1):
        i1 = min(i0 + STRIP - 1, NI)
        first = max(i0 - 1, 0)
        n = min(i1, nx) - first
        skip = i0 - first
        width = i1 - i0
        rows[:] = 0.0
        carry[:] = 0.0
        for k in range(NK):
            empty = k == nz  # the last plane of nodes has no elements above
            for j in range(NJ + 1):
                if not empty:
                    if j < NJ:
                        _load(rows, CURRENT, xf, (k * NJ + j) * NI + first, plane, size, planes, c, n + 1)
                    if j == 0:
                        for r in range(6):
                            for i in range(n + 1):
                                rows[(PREVIOUS + r) * STRIDE + 1 + i] = rows[(CURRENT + r) * STRIDE + 1 + i]
                                rows[(ABOVE + r) * STRIDE + 1 + i] = 0.0
                    elif j < NJ:
                        e = np.uintp((k * ny + j - 1) * nx + first)
                        for i in range(n):
                            rows[MODULI * STRIDE + 1 + i] = ef[e + np.uintp(i)]
                        _spread(rows, SPREAD, planes, c, n + 1)
                        if c == 3:
                            _couple3(rows, blocks, 0, n)
                            _couple3(rows, blocks, 1, n)
                            _couple3(rows, blocks, 2, n)
                            _couple3(rows, blocks, 3, n)
                        elif c == 2:
                            _couple2(rows, blocks, 0, n)
                            _couple2(rows, blocks, 1, n)
                        else:
                            _couple1(rows, blocks, 0, n)
                            _couple1(rows, blocks, 1, n)
                            if planes == 2:
                                _couple1(rows, blocks, 2, n)
                                _couple1(rows, blocks, 3, n)
                        _gather(rows, planes, c, n + 1)
                    else:
                        for r in range(6):
                            for i in range(n + 1):
                                rows[(FORCE + r) * STRIDE + 1 + i] = rows[(ABOVE + r) * STRIDE + 1 + i]
                if j == 0:
                    continue
                for a in range(c):
                    o = (FORCE + a) * STRIDE + 1 + skip
                    if planes == 2:
                        t = np.uintp((a * NJ + j - 1) * NI + i0)
                        if empty:
                            for i in range(width):
                                rows[o + i] = cf[t + np.uintp(i)]
                        else:
                            for i in range(width):
                                u, v = rows[o + i], rows[o + 3 * STRIDE + i]
                                rows[o + i] = cf[t + np.uintp(i)] + (u - v)
                                cf[t + np.uintp(i)] = u + v
                    start = ((a * NK + k) * NJ + j - 1) * NI + i0
                    total += _finish(
                        rows, FORCE + a, skip, width, start, size, operation, xf, bf, sf, of, weights, ff, gf, yf
                    )
    return total


@numba.njit(**FAST)
def element_energies(u, v, blocks, rows, out):
    """``out_e = u_eᵀ K_0 v_e`` (nz, ny, nx) for nodal fields (c, nz+1, ny+1, nx+1), one plane in 2D."""
    c, NK, NJ, NI = u.shape
    nz, ny, nx = out.shape
    planes = 2 if NK > 1 else 1
    plane = NJ * NI
    uf, vf, of = u.reshape(-1), v.reshape(-1), out.reshape(-1)
    for first in range(0, nx, STRIP - 1):
        n = min(nx - first, STRIP - 1)
        for k in range(nz):
            for j in range(ny):
                at = (k * NJ + j) * NI + first
                for field in range(2):
                    flat = uf if field == 0 else vf
                    _load(rows, PREVIOUS, flat, at, plane, NK * plane, planes, c, n + 1)
                    _load(rows, CURRENT, flat, at + NI, plane, NK * plane, planes, c, n + 1)
                    _spread(rows, SPREAD if field == 0 else OTHER, planes, c, n + 1)
                e = np.uintp((k * ny + j) * nx + first)
                for i in range(n):
                    of[e + np.uintp(i)] = 0.0
                for pair in range(2 * planes):
                    for a in range(c):
                        p = ((pair ^ a) * 3 + a) * STRIDE + 1
                        for d in range(c):
                            q = ((pair ^ d) * 3 + d) * STRIDE + 1
                            odd, even = blocks[2 * pair, a, d], blocks[2 * pair + 1, a, d]
                            if odd == 0.0 and even == 0.0:
                                continue
                            # Component 0 is different from the others: it takes differences where they take sums.
                            g, h = (-1.0, 1.0) if a == 0 else (1.0, -1.0)
                            s, t = (-1.0, 1.0) if d == 0 else (1.0, -1.0)
                            for i in range(n):
                                x0, x1 = rows[SPREAD * STRIDE + p + i], rows[SPREAD * STRIDE + p + i + 1]
                                y0, y1 = rows[OTHER * STRIDE + q + i], rows[OTHER * STRIDE + q + i + 1]
                                of[e + np.uintp(i)] += odd * (x1 + g * x0) * (y1 + s * y0) + even * (x1 + h * x0) * (
                                    y1 + t * y0
                                )
