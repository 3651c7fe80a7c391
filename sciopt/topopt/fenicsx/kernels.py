"""The loops over the cells of a mesh: element matrices into sparse rows, products and energies.

The matrix of a cell is a row of a table, or integrated on the spot from the gradients of its shape functions where a
table would be large. With ``G_a = ∇N_a(q)`` and weights w, its block of the corners a and b is
``Σ_q w (λ G_a G_bᵀ + μ G_b G_aᵀ + μ G_a·G_b I)`` for elasticity, and ``Σ_q w G_a·G_b`` for conduction.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from sciopt.core.types import Array
from sciopt.topopt.grid.element_sweep import FAST

__all__ = ["Cells", "element_energies", "element_matrix", "places", "product", "scatter"]


class Cells(NamedTuple):
    """What the loops read of the cells of this rank.

    Parameters
    ----------
    nodes
        (cells, corners) node of every corner, ghosts included.
    kind
        (cells,) shape of every cell.
    gradients, weights
        (shapes, points, corners dim) and (shapes, points), see `CellShapes`.
    lam, mu
        Lamé's constants for unit modulus; of mu = 1 for conduction, lam is not read.
    table
        (shapes, c corners, c corners) element matrices for unit modulus; (0, …) where they are not kept.
    counts
        Tuples with as many entries as there are points, corners, dimensions and components: their lengths are known
        when the loops are compiled, which makes them several times as fast.
    """

    nodes: NDArray[np.int32]
    kind: NDArray[np.int32]
    gradients: Array
    weights: Array
    lam: float
    mu: float
    table: Array
    counts: tuple[tuple[int, ...], ...]


@numba.njit(**FAST)
def element_matrix(matrix, gradients, weights, lam, mu, counts):
    """Stiffness (c corners, c corners) of one cell, from gradients (points, corners dim) and weights (points,)."""
    points, corners, dim, components = len(counts[0]), len(counts[1]), len(counts[2]), len(counts[3])
    moments = np.zeros((corners * dim, corners * dim))  # Σ_q w ∂_d N_a ∂_e N_b
    for q in range(points):
        for i in range(corners * dim):
            left = weights[q] * gradients[q, i]
            for j in range(corners * dim):
                moments[i, j] += left * gradients[q, j]
    for a in range(corners):
        for b in range(corners):
            both = 0.0
            for d in range(dim):
                both += mu * moments[dim * a + d, dim * b + d]
            for r in range(components):
                i = components * a + r
                for s in range(components):
                    j = components * b + s
                    matrix[i, j] = 0.0
                    if components > 1:
                        matrix[i, j] = lam * moments[i, j] + mu * moments[dim * a + s, dim * b + r]
                matrix[i, components * b + r] += both


@numba.njit(**FAST)
def scatter(values, start, place, E, cells):
    """Add ``E_e K_e`` of all cells to the `values` of sparse rows made of blocks c × c.

    Block (a, b) of cell e is block number ``place[e, a, b]`` of the block row of node ``nodes[e, a]``, which begins
    after ``start[node]`` blocks.
    """
    corners, components = len(cells.counts[1]), len(cells.counts[3])
    own = np.empty((corners * components, corners * components))
    for e in range(E.size):
        k = cells.kind[e]
        K = own
        if cells.table.shape[0]:
            K = cells.table[k]
        else:
            element_matrix(own, cells.gradients[k], cells.weights[k], cells.lam, cells.mu, cells.counts)
        for a in range(corners):
            node = cells.nodes[e, a]
            width = components * (start[node + 1] - start[node])
            for r in range(components):
                row = components * components * start[node] + r * width
                for b in range(corners):
                    p = row + components * place[e, a, b]
                    for s in range(components):
                        values[p + s] += E[e] * K[components * a + r, components * b + s]


@numba.njit(**FAST)
def _forces(cells, e, u, f):
    """``K_e u`` of cell e for unit modulus in `f` (c corners,), of the corner values `u` (c corners,)."""
    points, corners, dim = len(cells.counts[0]), len(cells.counts[1]), len(cells.counts[2])
    components = len(cells.counts[3])
    k = cells.kind[e]
    if cells.table.shape[0]:
        K = cells.table[k]
        for i in range(components * corners):
            total = 0.0
            for j in range(components * corners):
                total += K[i, j] * u[j]
            f[i] = total
        return
    f[:] = 0.0
    H = np.empty((components, dim))
    for q in range(points):
        G = cells.gradients[k, q]
        H[:] = 0.0
        for a in range(corners):
            for r in range(components):
                for d in range(dim):
                    H[r, d] += u[components * a + r] * G[dim * a + d]
        if components > 1:
            trace = 0.0
            for r in range(components):
                trace += H[r, r]
                for d in range(r):
                    shear = cells.mu * (H[r, d] + H[d, r])
                    H[r, d] = shear
                    H[d, r] = shear
            for r in range(components):
                H[r, r] = 2.0 * cells.mu * H[r, r] + cells.lam * trace
        for a in range(corners):
            for r in range(components):
                flux = 0.0
                for d in range(dim):
                    flux += H[r, d] * G[dim * a + d]
                f[components * a + r] += cells.weights[k, q] * flux


@numba.njit(**FAST)
def product(out, u, E, cells):
    """Add ``Σ_e E_e K_e u`` to `out`; nodal fields (c nodes,), ghosts included."""
    corners, components = len(cells.counts[1]), len(cells.counts[3])
    local, force = np.empty(components * corners), np.empty(components * corners)
    for e in range(E.size):
        for a in range(corners):
            for r in range(components):
                local[components * a + r] = u[components * cells.nodes[e, a] + r]
        _forces(cells, e, local, force)
        for a in range(corners):
            for r in range(components):
                out[components * cells.nodes[e, a] + r] += E[e] * force[components * a + r]


@numba.njit(**FAST)
def element_energies(out, u, v, cells):
    """``u_eᵀ K_e v_e`` of every cell for unit modulus in `out` (cells,); nodal fields (c nodes,), ghosts included."""
    corners, components = len(cells.counts[1]), len(cells.counts[3])
    local, force = np.empty(components * corners), np.empty(components * corners)
    for e in range(out.size):
        for a in range(corners):
            for r in range(components):
                local[components * a + r] = v[components * cells.nodes[e, a] + r]
        _forces(cells, e, local, force)
        total = 0.0
        for a in range(corners):
            for r in range(components):
                total += u[components * cells.nodes[e, a] + r] * force[components * a + r]
        out[e] = total


@numba.njit(**FAST)
def places(nodes, start, neighbours, place):
    """Where in the block row of node a the block of node b is (cells, corners, corners); rows are sorted."""
    cells, corners = nodes.shape
    for e in range(cells):
        for a in range(corners):
            row = neighbours[start[nodes[e, a]] : start[nodes[e, a] + 1]]
            for b in range(corners):
                place[e, a, b] = np.searchsorted(row, nodes[e, b])
