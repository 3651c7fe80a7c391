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

# Bands of the scratch array. Their offsets are compile-time constants of one array because the vectorizer can then tell
# them apart. A band holds several node rows of the grid one after the other, or a part of one, so that loops are long.
CAPACITY = 512  # nodes in a band, the row handed over from the previous ones included
STRIDE = CAPACITY + 8  # no multiple of the 4 KiB page
CORNERS, SPREAD, SIDES, ABOVE, FORCE, MODULI, OTHER, BANDS = 0, 6, 18, 42, 48, 54, 55, 67


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
    """Working memory of the sweeps."""
    return np.zeros(BANDS * STRIDE, dtype)


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


# All indices below are unsigned: signed ones may be negative, which counts from the end, and keeps the vectorizer away.


@numba.njit(**FAST)
def _load(rows, at, flat, start, plane, size, planes, components, m):
    # Node values to position `at` of CORNERS: as they are (2D), or as sums and differences of two planes.
    for a in range(components):
        p, q = np.uintp(start + a * size), np.uintp(start + a * size + plane)
        o = np.uintp((CORNERS + a) * STRIDE + 1 + at)
        o3 = o + np.uintp(3 * STRIDE)
        if planes == 1:
            for n in range(m):
                i = np.uintp(n)
                rows[o + i] = flat[p + i]
        else:
            for n in range(m):
                i = np.uintp(n)
                u, v = flat[p + i], flat[q + i]
                rows[o + i] = u + v
                rows[o3 + i] = v - u


@numba.njit(**FAST)
def _spread(rows, target, pitch, planes, components, m):
    # Sums and differences along y.
    for d in range(planes):
        for a in range(components):
            p = np.uintp((CORNERS + 3 * d + a) * STRIDE + 1)
            q = np.uintp((CORNERS + 3 * d + a) * STRIDE + 1 + pitch)
            o = np.uintp((target + 6 * d + a) * STRIDE + 1)
            o3 = o + np.uintp(3 * STRIDE)
            for n in range(m):
                i = np.uintp(n)
                u, v = rows[p + i], rows[q + i]
                rows[o + i] = u + v
                rows[o3 + i] = v - u


@numba.njit(**FAST)
def _gather(rows, pitch, planes, components, m):
    # The transposes of sums and differences along x and y. ABOVE is what the elements before left for the first row,
    # and then what these leave for the next; SPREAD is free by now.
    for d in range(planes):
        for a in range(components):
            right = np.uintp((SIDES + 12 * d + 2 * a) * STRIDE + 1)
            left = right + np.uintp(STRIDE - 1)
            right6, left6 = right + np.uintp(6 * STRIDE), left + np.uintp(6 * STRIDE)
            o = np.uintp((FORCE + 3 * d + a) * STRIDE + 1)
            p = np.uintp((SPREAD + 3 * d + a) * STRIDE + 1)
            for n in range(m):
                i = np.uintp(n)
                u, v = rows[right + i] + rows[left + i], rows[right6 + i] + rows[left6 + i]
                rows[o + i] = u - v
                rows[p + i] = u + v
            t = np.uintp((ABOVE + 3 * d + a) * STRIDE + 1)
            last = np.uintp((SPREAD + 3 * d + a) * STRIDE + 1 + m - pitch)
            for n in range(pitch):
                i = np.uintp(n)
                rows[o + i] += rows[t + i]
                rows[t + i] = rows[last + i]
            o += np.uintp(pitch)
            for n in range(m - pitch):
                i = np.uintp(n)
                rows[o + i] += rows[p + i]


@numba.njit(**FAST)
def _pass_on(rows, skip, m, at, size, carry, components):
    # The transposes of sums and differences along z: `carry` waits for the next plane.
    for a in range(components):
        o = np.uintp((FORCE + a) * STRIDE + 1 + skip)
        o3 = o + np.uintp(3 * STRIDE)
        s = np.uintp(at + a * size)
        for n in range(m):
            i = np.uintp(n)
            u, v = rows[o + i], rows[o3 + i]
            rows[o + i] = carry[s + i] + (u - v)
            carry[s + i] = u + v


@numba.njit(**FAST)
def _finish(rows, skip, m, at, size, operation, x, b, scale, weight, fixed, springs, out, zero, components):
    # The row FORCE of K x becomes the wanted result in `out`. Returns its contribution to the dot product.
    total = 0.0
    for a in range(components):
        o = np.uintp((FORCE + a) * STRIDE + 1 + skip)
        s = np.uintp(at + a * size)
        if springs.size > 0:
            for n in range(m):
                i = np.uintp(n)
                rows[o + i] += springs[s + i] * x[s + i]
        part = zero
        if operation == APPLY:
            for n in range(m):
                i = np.uintp(n)
                value = zero if fixed[s + i] else rows[o + i]
                out[s + i] = value
                part += value * x[s + i]
        elif operation == RESIDUAL:
            for n in range(m):
                i = np.uintp(n)
                value = zero if fixed[s + i] else b[s + i] - rows[o + i]
                out[s + i] = value
                part += value * value
        else:
            for n in range(m):
                i = np.uintp(n)
                out[s + i] = x[s + i] + weight * scale[s + i] * (b[s + i] - rows[o + i])
        total += part
    return total


@numba.njit(**FAST)
def element_sweep(operation, x, E, blocks, rows, carry, b, scale, weight, fixed, springs, out):
    """One pass ``y = K(E) x`` over all elements, turned into `out` row by row.

    ======== ======================================== =================
    APPLY    ``out = y``, zero at fixed unknowns      returns x · y
    RESIDUAL ``out = b − y``, zero at fixed unknowns  returns out · out
    SMOOTH   ``out = x + weight scale (b − y)``       returns 0
    ======== ======================================== =================

    x is zero at fixed unknowns, `out` another array. Nodal arrays are (c, nz+1, ny+1, nx+1) with one plane in 2D, E is
    (nz, ny, nx); `carry` (c, ny+1, nx+1) and `rows` (`scratch`) are working memory; `springs` may be empty.
    """
    c, NK, NJ, NI = x.shape
    nz, ny, nx = E.shape
    planes = 2 if NK > 1 else 1
    plane = NJ * NI
    size = NK * plane
    xf, ef, bf, sf = x.reshape(-1), E.reshape(-1), b.reshape(-1), scale.reshape(-1)
    ff, gf, yf, cf = fixed.reshape(-1), springs.reshape(-1), out.reshape(-1), carry.reshape(-1)
    zero = blocks[0, 0, 0] * np.float32(0.0)
    together = max(CAPACITY // NI - 1, 1)  # rows of nodes; where there is but one, it may be cut into strips
    strip = NI if 2 * NI <= CAPACITY else CAPACITY // 2 - 1
    total = 0.0
    for i0 in range(0, NI, strip):
        first = max(i0 - 1, 0)
        pitch = min(i0 + strip + 1, NI) - first
        skip = i0 - first
        rows[:] = 0.0
        cf[:] = 0.0
        for k in range(NK):
            if k < nz:
                _load(rows, 0, xf, k * plane + first, plane, size, planes, c, pitch)
                rows[ABOVE * STRIDE : (ABOVE + 6) * STRIDE] = 0.0
            for j in range(0, NJ, together):
                m = min(together, NJ - j) * pitch
                width = m if together > 1 else min(strip, NI - i0)
                inside = min(together, ny - j)  # the last row of nodes has no elements above
                at = j * NI + i0
                if k == nz:  # nor has the last plane
                    for a in range(c):
                        o, s = np.uintp((FORCE + a) * STRIDE + 1 + skip), np.uintp(a * plane + at)
                        for n in range(width):
                            rows[o + np.uintp(n)] = cf[s + np.uintp(n)]
                else:
                    if inside > 0:
                        _load(rows, pitch, xf, k * plane + (j + 1) * NI + first, plane, size, planes, c, inside * pitch)
                    for r in range(inside):
                        e = np.uintp((k * ny + j + r) * nx + first)
                        o = np.uintp(MODULI * STRIDE + 1 + r * pitch)
                        for n in range(min(pitch, nx - first)):
                            rows[o + np.uintp(n)] = ef[e + np.uintp(n)]
                        rows[o + np.uintp(pitch - 1)] = zero  # between the rows, or in the next strip
                    rows[MODULI * STRIDE + 1 + inside * pitch : MODULI * STRIDE + 1 + m] = zero
                    _spread(rows, SPREAD, pitch, planes, c, m)
                    if c == 3:
                        _couple3(rows, blocks, 0, m)
                        _couple3(rows, blocks, 1, m)
                        _couple3(rows, blocks, 2, m)
                        _couple3(rows, blocks, 3, m)
                    elif c == 2:
                        _couple2(rows, blocks, 0, m)
                        _couple2(rows, blocks, 1, m)
                    else:
                        _couple1(rows, blocks, 0, m)
                        _couple1(rows, blocks, 1, m)
                        if planes == 2:
                            _couple1(rows, blocks, 2, m)
                            _couple1(rows, blocks, 3, m)
                    _gather(rows, pitch, planes, c, m)
                    for band in range(6):
                        o, s = np.uintp((CORNERS + band) * STRIDE + 1), np.uintp((CORNERS + band) * STRIDE + 1 + m)
                        for n in range(pitch):
                            rows[o + np.uintp(n)] = rows[s + np.uintp(n)]
                    if planes == 2:
                        _pass_on(rows, skip, width, at, plane, cf, c)
                total += _finish(
                    rows, skip, width, k * plane + at, size, operation, xf, bf, sf, weight, ff, gf, yf, zero, c
                )  # fmt: skip
    return total


@numba.njit(**FAST)
def element_energies(u, v, blocks, rows, out):
    """``out_e = u_eᵀ K_0 v_e`` (nz, ny, nx) for nodal fields (c, nz+1, ny+1, nx+1), one plane in 2D."""
    c, NK, NJ, NI = u.shape
    nz, ny, nx = out.shape
    planes = 2 if NK > 1 else 1
    plane = NJ * NI
    uf, vf, of = u.reshape(-1), v.reshape(-1), out.reshape(-1)
    for first in range(0, nx, CAPACITY // 2 - 1):
        n = min(nx - first, CAPACITY // 2 - 1)
        for k in range(nz):
            for j in range(ny):
                at = (k * NJ + j) * NI + first
                for field in range(2):
                    flat = uf if field == 0 else vf
                    _load(rows, 0, flat, at, plane, NK * plane, planes, c, n + 1)
                    _load(rows, n + 1, flat, at + NI, plane, NK * plane, planes, c, n + 1)
                    _spread(rows, SPREAD if field == 0 else OTHER, n + 1, planes, c, n + 1)
                e = np.uintp((k * ny + j) * nx + first)
                out[k, j, first : first + n] = 0.0
                for pair in range(2 * planes):
                    for a in range(c):
                        for d in range(c):
                            odd, even = blocks[2 * pair, a, d], blocks[2 * pair + 1, a, d]
                            if odd == 0.0 and even == 0.0:
                                continue
                            # Component 0 is different from the others: it takes differences where they take sums.
                            g, h = (-1.0, 1.0) if a == 0 else (1.0, -1.0)
                            s, t = (-1.0, 1.0) if d == 0 else (1.0, -1.0)
                            p = np.uintp((SPREAD + (pair ^ a) * 3 + a) * STRIDE + 1)
                            q = np.uintp((OTHER + (pair ^ d) * 3 + d) * STRIDE + 1)
                            one = np.uintp(1)
                            for r in range(n):
                                i = np.uintp(r)
                                x0, x1, y0, y1 = rows[p + i], rows[p + i + one], rows[q + i], rows[q + i + one]
                                of[e + i] += odd * (x1 + g * x0) * (y1 + s * y0) + even * (x1 + h * x0) * (y1 + t * y0)
