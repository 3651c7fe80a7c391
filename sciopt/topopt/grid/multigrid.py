"""Geometric multigrid on a regular grid: one W-cycle as preconditioner, in single precision unless that fails.

Chebyshev smoothing of degree one or two on Jacobi, exact Galerkin coarse operators, a banded Cholesky factor on the
coarsest grid. Grids of any size are halved by rounding up: what sticks out has modulus zero and its unknowns are left
out, so nothing is approximated.

References
----------
Adams, Brezina, Hu and Tuminaro, *Parallel multigrid smoothing: polynomial versus Gauss-Seidel* (2003),
doi:10.1016/S0021-9991(03)00194-3; Amir, Aage and Lazarov, *On multigrid-CG for efficient topology optimization*
(2014), doi:10.1007/s00158-013-1015-5.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numba
import numpy as np
from numpy.typing import NDArray

from sciopt.core.types import Array, Mask
from sciopt.topopt.grid.coarsest import BandedSolver, bandwidth
from sciopt.topopt.grid.element_sweep import FAST, RESIDUAL, SMOOTH, element_sweep, scratch, symmetry_blocks
from sciopt.topopt.grid.galerkin import CoarseElements, Real, add_springs, conserve
from sciopt.topopt.grid.stencil_sweep import interior, later_neighbours, stencil_sweep
from sciopt.topopt.grid.supports import Supports, spring_points
from sciopt.topopt.grid.transfer import prolong_add, restrict

__all__ = ["Multigrid"]

Vector = NDArray[Real]

COARSEST = 700  # operations of the coarsest factorization per unknown of the finest grid
NOTHING = (0.0, 0.0, 0.0)
# Chosen on SIMP designs of 300 x 100 (MBB beam) and 96 x 48 x 48 (cantilever), filter radius 2.5, iteration 15. On the
# latter, one visit per level takes 17 instead of 10 iterations, and a second smoothing step on the two finest levels
# saves one iteration of ten at nearly twice the cost of a cycle.
VISITS = 2  # of every level below the first
SINGLE_STEPS = 2  # levels, at least the first, with a smoother of degree one; two on all deeper ones
SMOOTHED = 8.0  # the smoother damps eigenvalues from largest / SMOOTHED to largest
POWER_STEPS = 8
SAFETY = 1.1  # on an eigenvalue that a few power iterations underestimate


@dataclass(eq=False)
class Level:
    """One grid: its vectors, its inverse diagonal (0 where an unknown is fixed or empty), its stencils if coarse."""

    x: Vector
    b: Vector
    other: Vector
    scale: Vector
    A: Vector
    start: Vector = field(default_factory=lambda: np.zeros(0, np.float32))
    largest: float = 0.0


def blank(shape: tuple[int, ...], A: Vector) -> Level:
    """A level with vectors of zeros."""
    x, b, other, scale = (np.zeros(shape, A.dtype) for _ in range(4))
    return Level(x, b, other, scale, A)


class Multigrid:
    """A V-cycle for one grid, set up again for every field of moduli.

    Parameters
    ----------
    cells
        Elements along z, y, x; one along z in two dimensions.
    dim
        Space dimensions.
    stiffness
        Element matrix for unit modulus.
    fixed
        Fixed unknowns (c, nz+1, ny+1, nx+1), one plane in 2D.
    springs
        Springs of the same shape, or an empty array (0, 0, 0, 0).
    dtype
        Of all that a cycle touches: float32, or float64 for what is too ill-conditioned for it.
    """

    def __init__(
        self,
        cells: tuple[int, ...],
        dim: int,
        stiffness: Array,
        fixed: Mask,
        springs: Array,
        dtype: type[Real] = np.float32,
    ) -> None:
        self.dim, self.fixed, self.springs, self.dtype = dim, fixed, springs, dtype
        self.diagonal = stiffness.diagonal()[:: 2**dim].astype(dtype)
        self.blocks = symmetry_blocks(stiffness, dim).astype(dtype)
        self.rows = scratch(dtype)
        c = fixed.shape[0]
        self.carry = np.zeros((c, *fixed.shape[2:]), dtype)
        self.offsets = later_neighbours(dim)
        empty = np.zeros((0,) * 6, dtype)
        self.levels = [blank(fixed.shape, empty)]
        # K(E) <= largest D(E) holds for every element, and so for every sum of them, whatever the moduli.
        root = np.sqrt(stiffness.diagonal())
        self.levels[0].largest = float(np.linalg.eigvalsh(stiffness / np.outer(root, root))[-1])
        self.elements: list[CoarseElements] = []
        shapes = [fixed.shape]
        while True:
            cells = ((cells[0] + 1) // 2, (cells[1] + 1) // 2, (cells[2] + 1) // 2)
            nodes = (cells[0] + 1 if dim == 3 else 1, cells[1] + 1, cells[2] + 1)
            halo = (c, nodes[0] + 2 if dim == 3 else 1, nodes[1] + 2, nodes[2] + 2)
            stencils = np.zeros((nodes[0], len(self.offsets), c, c, nodes[1] + 2, nodes[2] + 2), dtype)
            self.levels.append(blank(halo, stencils))
            interior(self.levels[-1].x)[:] = np.random.default_rng(0).standard_normal((c, *nodes), np.float32)
            self.levels[-1].start = self.levels[-1].x.copy()
            self.elements.append(CoarseElements(stiffness, dim, len(self.elements) + 1, dtype))
            shapes.append((c, *nodes))
            if c * int(np.prod(nodes)) * bandwidth((c, *nodes)) ** 2 <= COARSEST * fixed.size or max(cells) == 1:
                break
        self.coarsest = BandedSolver(shapes[-1], self.offsets)
        self.supports = Supports(fixed, shapes)
        self.sprung = spring_points(springs, ~fixed)

    def setup(self, E: Array) -> None:
        """Operators, smoothers and the coarsest factor for the moduli `E` (nz, ny, nx).

        Raises
        ------
        EvaluationFailed
            When the coarsest matrix is not positive definite.
        """
        unit = float(E.max()) or 1.0  # single precision has no room for the units of the moduli
        self.E: Vector = (E / unit).astype(self.dtype)
        self.springs_scaled: Vector = (self.springs / unit).astype(self.dtype)
        finest = self.levels[0]
        touched = corner_sums(self.E, self.dim)
        np.multiply(self.diagonal[:, None, None, None], touched, out=finest.scale)
        if self.springs.size:
            finest.scale += self.springs_scaled
        self.supports.update(touched > 0.0)
        self.supports.measure(0, finest.scale)
        position, component, stiffness = self.sprung
        source = self.E
        for number, (level, elements) in enumerate(zip(self.levels[1:], self.elements, strict=True), start=1):
            deeper = number < len(self.elements) and not self.elements[number].direct
            packed = elements.stencils(source, level.A, deeper)
            source = self.E if packed is None else packed
            held = np.zeros(interior(level.x).shape)
            add_springs(position, component, stiffness / unit, number, self.offsets, level.A, held)
            add_springs(*self.supports.softened(number), number, self.offsets, level.A, held)
            conserve(level.A, self.offsets, held)
            scale = interior(level.scale)
            for a in range(scale.shape[0]):
                scale[a] = level.A[:, 0, a, a, 1:-1, 1:-1]
            self.supports.measure(number, scale)
            scale[self.supports.masks[number]] = 0.0
            invert(level.scale)
        finest.scale[self.fixed] = 0.0
        invert(finest.scale)
        for level in self.levels[1:-1]:
            level.largest = self._largest(level)
        self.coarsest.factorize(self.levels[-1].A, self.levels[-1].scale)

    def __call__(self) -> Vector:
        """One cycle from zero for the right-hand side in ``levels[0].b``: the correction (c, *nodes)."""
        self._cycle(0, True)
        return self.levels[0].x

    def _cycle(self, number: int, from_zero: bool) -> None:
        level = self.levels[number]
        if number == len(self.levels) - 1:
            self.coarsest.solve(level.b, level.x)
            return
        coarse, halo = self.levels[number + 1], min(number, 1)
        self._smooth(number, from_zero)
        self._sweep(RESIDUAL, level, level.x, NOTHING, level.other)
        restrict(level.other, halo, coarse.b)
        for visit in range(1 if number + 2 == len(self.levels) else VISITS):
            self._cycle(number + 1, visit == 0)
        prolong_add(coarse.x, level.x, level.scale, halo)
        self._smooth(number, False)

    def _smooth(self, number: int, from_zero: bool) -> None:
        level = self.levels[number]
        first, again, momentum = chebyshev(level.largest)
        if from_zero:
            scaled(level.b.reshape(-1), level.scale.reshape(-1), self.dtype(first), level.other.reshape(-1))
        else:
            self._sweep(SMOOTH, level, level.x, (1.0, 0.0, first), level.other)
        if number < SINGLE_STEPS:
            level.x, level.other = level.other, level.x
        else:
            before = 0.0 if from_zero else -momentum
            self._sweep(SMOOTH, level, level.other, (1.0 + momentum, before, again), level.x)

    def be_careful(self) -> None:
        """Widen the spectra the smoothers expect, until the next `setup`."""
        for level in self.levels:
            level.largest *= 2.0

    def _sweep(self, operation: int, level: Level, x: Vector, weights: tuple[float, float, float], out: Vector) -> None:
        if level.A.size:
            w = np.array(weights, self.dtype)
            stencil_sweep(operation, x, level.A, self.offsets, level.b, level.scale, level.x, w, out)
        else:  # single steps only: x has weight one
            element_sweep(
                operation, x, self.E, self.blocks, self.rows, self.carry, level.b, level.scale, self.dtype(weights[2]),
                self.fixed, self.springs_scaled, out,
            )  # fmt: skip

    def _largest(self, level: Level) -> float:
        """Largest eigenvalue of the inverse diagonal times the matrix, from above."""
        level.b[:] = 0.0
        level.x[:] = level.start
        level.x[level.scale == 0.0] = 0.0
        value = 1.0
        for _ in range(POWER_STEPS):
            self._sweep(SMOOTH, level, level.x, (0.0, 0.0, -1.0), level.other)
            norm = float(np.linalg.norm(level.other))
            before = float(np.linalg.norm(level.x))
            if norm == 0.0:
                break
            value = norm / before
            np.multiply(level.other, self.dtype(1.0 / norm), out=level.x)
        return SAFETY * value


@numba.njit(**FAST)
def scaled(b, scale, factor, out):
    """``out = factor scale b``."""
    for i in range(b.size):
        out[i] = factor * scale[i] * b[i]


def chebyshev(largest: float) -> tuple[float, float, float]:
    """Weights of the first residual, of the second, and of the momentum, for degree two on the upper spectrum."""
    smallest = largest / SMOOTHED
    center, radius = (largest + smallest) / 2.0, (largest - smallest) / 2.0
    before = radius / center
    now = 1.0 / (2.0 * center / radius - before)
    return 1.0 / center, 2.0 * now / radius, now * before


def corner_sums(E: Vector, dim: int) -> Vector:
    """Sum of the moduli (nz, ny, nx) around every node, one plane of nodes in 2D."""
    total = E
    for axis in range(3 - dim, 3):
        shape = list(total.shape)
        shape[axis] += 1
        summed = np.zeros(shape, E.dtype)
        lower, upper = [slice(None)] * 3, [slice(None)] * 3
        lower[axis], upper[axis] = slice(None, -1), slice(1, None)
        summed[tuple(lower)] += total
        summed[tuple(upper)] += total
        total = summed
    return total


def invert(values: Vector) -> None:
    """Reciprocals in place; zero stays zero."""
    np.divide(1.0, values, out=values, where=values > 0.0)
