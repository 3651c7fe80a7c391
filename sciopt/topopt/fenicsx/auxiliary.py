"""Conjugate gradients on a mesh, preconditioned by Gauss-Seidel there and multigrid on a regular grid around it.

The auxiliary space method of Xu 1996, doi:10.1007/BF02247901. The cycle on the grid needs no matrix of the mesh, so a
new design costs next to no set-up, where algebraic multigrid must coarsen a matrix. What it cannot do is follow members
that touch at corners, or islands of solid in void: the grid smears them over its elements. Iterations are few or many,
and many are not worth waiting for.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from sciopt.core.types import Array, Mask
from sciopt.topopt.fenicsx.elements import Elements
from sciopt.topopt.fenicsx.embedded import element_of, points_in_cells
from sciopt.topopt.fenicsx.loaded import MPI, PETSc
from sciopt.topopt.fenicsx.structure import cell_corners, cell_volumes
from sciopt.topopt.grid.element import Physics
from sciopt.topopt.grid.multigrid import Multigrid
from sciopt.topopt.lattice import Lattice

__all__ = ["AuxiliaryGrid"]

# Edge of the grid's elements in mean distances of nodes.
_WIDTH = 2.0


class AuxiliaryGrid:
    """Solves ``K u = f`` with the preconditioner above; symmetric, so conjugate gradients it is.

    Parameters
    ----------
    space
        Linear Lagrange elements on the mesh (dolfinx).
    elements, physics
        On the mesh.
    matrix
        ``K`` (PETSc), whose values change from design to design.
    fixed
        (unknowns,) fixed unknowns among those of this rank.
    springs
        (unknowns,) stiffness on the diagonal.
    """

    ITERATIONS = 40

    def __init__(
        self, space: Any, elements: Elements, physics: Physics, matrix: Any, fixed: Mask, springs: Array
    ) -> None:
        self.matrix, self.converged = matrix, True
        self._comm, self._elements, self._physics = space.mesh.comm, elements, physics
        self._fixed, self._springs = fixed, springs
        corners, sizes = cell_corners(space.mesh), cell_volumes(space.mesh)
        dim = corners.shape[2]
        nodes = space.tabulate_dof_coordinates()[: fixed.size // elements.components, :dim]
        low = self._reduced(nodes.min(axis=0, initial=np.inf), MPI.MIN)
        high = self._reduced(nodes.max(axis=0, initial=-np.inf), MPI.MAX)
        volume = float(self._reduced(np.array([sizes.sum()]), MPI.SUM)[0])
        width = _WIDTH * (volume / space.dofmap.index_map.size_global) ** (1.0 / dim)
        shape = tuple(int(n) for n in np.maximum(np.rint((high - low) / width), 1))
        self.lattice = Lattice(shape, tuple(float(h) for h in (high - low) / shape))
        points, weights = points_in_cells(corners, sizes)
        self._element = element_of(self.lattice, points - low)
        self._share = weights / np.prod(self.lattice.spacing)
        self._at = (nodes - low) / np.array(self.lattice.spacing)
        self._prolongation = self._interpolation()
        self._restriction = self._prolongation.T.tocsr()
        self._filled: Mask | None = None
        self._multigrid: Multigrid | None = None
        self._unit = 1.0
        # r, z, d and q are those of the textbooks; the last one is for residuals within the preconditioner.
        self._x, self._b, self._r, self._z, self._d, self._q, self._w = (matrix.createVecRight() for _ in range(7))

    def refresh(self, E: Array) -> None:
        """The moduli (cells,) and with them the values of the matrix have changed.

        Raises
        ------
        EvaluationFailed
            When the grid's coarsest matrix is not positive definite.
        """
        here = np.bincount(self._element.ravel(), (self._share * E[:, None]).ravel(), self.lattice.elements)
        moduli = self._reduced(here, MPI.SUM)
        filled = moduli > 0.0
        if self._filled is None or not np.array_equal(filled, self._filled):
            self._filled = filled
            self._multigrid = self._hierarchy(filled, E)
        assert self._multigrid is not None
        self._unit = float(moduli.max()) or 1.0
        cells = (1,) * (3 - self.lattice.dim) + self.lattice.cells
        # Void may be rounded off in single precision, but it must not be.
        self._multigrid.setup(np.where(filled, np.maximum(moduli / self._unit, 1e-9), 0.0).reshape(cells))

    def solve(self, f: Array, u: Array, tol: float) -> int:
        """Improve `u` (unknowns,) until ``|f − K u| <= tol |f|``; the number of iterations. `converged` tells."""
        matrix, x, r, z, d, q = self.matrix, self._x, self._r, self._z, self._d, self._q
        self._b.array[:], x.array[:] = f, u
        matrix.mult(x, r)
        r.aypx(-1.0, self._b)
        target = tol * self._b.norm()
        done, before = 0, 0.0
        self.converged = r.norm() <= target
        while not self.converged and done < self.ITERATIONS:
            self._precondition(r, z)
            along = r.dot(z)
            if not along > 0.0:
                break
            if before:
                d.aypx(along / before, z)
            else:
                z.copy(d)
            before = along
            matrix.mult(d, q)
            curvature = d.dot(q)
            if not curvature > 0.0:
                break
            x.axpy(along / curvature, d)
            r.axpy(-along / curvature, q)
            done += 1
            self.converged = r.norm() <= target
        u[:] = x.array
        return done

    def destroy(self) -> None:
        """Free everything but the matrix; called by all ranks."""
        for vector in (self._x, self._b, self._r, self._z, self._d, self._q, self._w):
            vector.destroy()

    def _precondition(self, r: Any, z: Any) -> None:
        """``z = M r``: a sweep forward, the grid's correction, a sweep backward."""
        matrix, kinds = self.matrix, PETSc.Mat.SORType
        z.set(0.0)
        matrix.SOR(r, z, sortype=kinds.LOCAL_FORWARD_SWEEP)
        matrix.mult(z, self._w)
        self._w.aypx(-1.0, r)
        coarse = self._reduced(self._restriction @ self._w.array, MPI.SUM)
        assert self._multigrid is not None
        finest = self._multigrid.levels[0]
        finest.b[...] = (coarse / self._unit).reshape(finest.b.shape)
        correction = np.asarray(self._multigrid(), dtype=float)
        z.array[:] += self._prolongation @ correction.ravel()
        matrix.SOR(r, z, sortype=kinds.LOCAL_BACKWARD_SWEEP)

    def _interpolation(self) -> csr_array:
        """(unknowns, components x grid nodes) multilinear interpolation at the nodes of the mesh, zero where fixed."""
        components, dim = self._elements.components, self.lattice.dim
        most = np.array(self.lattice.shape) - 1
        lowest = np.clip(np.floor(self._at).astype(int), 0, most)
        inside = np.clip(self._at - lowest, 0.0, 1.0)
        number = np.arange(len(inside))
        nodes = int(np.prod(self.lattice.nodes))
        rows, columns, values = [], [], []
        for side in product((0, 1), repeat=dim):
            share = np.prod(np.where(np.array(side) == 1, inside, 1.0 - inside), axis=1)
            index = np.ravel_multi_index(tuple((lowest + side).T[::-1]), self.lattice.nodes)
            for c in range(components):
                rows.append(components * number + c)
                columns.append(nodes * c + index)
                values.append(np.where(self._fixed[c::components], 0.0, share))
        found = csr_array(
            (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))),
            shape=(self._fixed.size, components * nodes),
        )
        found.eliminate_zeros()
        return found

    def _hierarchy(self, filled: Mask, E: Array) -> Multigrid:
        """The grid's multigrid: supports where the mesh has some, and nothing moves where nothing is."""
        lattice, components = self.lattice, self._elements.components
        touched = np.zeros(self._fixed.size // components + self._elements.map.num_ghosts)
        touched[self._elements.cells.nodes[E > 0.0]] = 1.0
        held = self._elements.summed(np.repeat(touched, components)) > 0.0
        supported = self._fixed & held
        node = np.clip(np.floor(self._at + 0.5).astype(int), 0, np.array(lattice.shape))
        index = np.ravel_multi_index(tuple(node.T[::-1]), lattice.nodes)
        marks = np.zeros((components, int(np.prod(lattice.nodes))))
        for c in range(components):
            marks[c, index[supported[c::components]]] = 1.0
        fixed = self._reduced(marks, MPI.MAX).reshape(components, *lattice.nodes) > 0.0
        fixed |= ~lattice.touching(filled.reshape(lattice.cells))
        planes = (1,) * (3 - lattice.dim)
        springs = self._reduced(self._restriction @ self._springs, MPI.SUM)
        return Multigrid(
            planes + lattice.cells,
            lattice.dim,
            self._physics.matrix(lattice.spacing),
            fixed.reshape(components, *planes, *lattice.nodes),
            springs.reshape(components, *planes, *lattice.nodes) if springs.any() else np.zeros((0, 0, 0, 0)),
        )

    def _reduced(self, part: Array, how: Any) -> Array:
        if self._comm.size == 1:
            return part
        found = np.ascontiguousarray(part, dtype=float).copy()
        self._comm.Allreduce(MPI.IN_PLACE, found, how)
        return found
