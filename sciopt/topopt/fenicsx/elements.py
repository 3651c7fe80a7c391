"""The elements of a mesh, unassembled: products ``K(E) u`` and energies, whatever rank owns the unknowns."""

from __future__ import annotations

from typing import Any

import numpy as np

from sciopt.core.types import Array
from sciopt.topopt.fenicsx.cells import cell_shapes
from sciopt.topopt.fenicsx.kernels import Cells, element_energies, element_matrix, product
from sciopt.topopt.fenicsx.loaded import dolfinx
from sciopt.topopt.grid.element import Conduction, Physics

__all__ = ["Elements", "lame_constants"]

# Numbers of a table of element matrices that a cell may cost: those of a quadrilateral. Tetrahedra and hexahedra that
# are all different are integrated on the spot, from a tenth and a third of the numbers.
TABLE = 64


class Elements:
    """Finite elements on the cells that this rank owns: ``K(E) = Σ_e E_e K_e``, with one unit matrix K_e per shape.

    Parameters
    ----------
    space
        Linear Lagrange elements on the mesh (dolfinx), with c components.
    physics
        `Elasticity` or `Conduction`.

    Raises
    ------
    InputError
        On all ranks, when cells are flat or inverted.
    """

    def __init__(self, space: Any, physics: Physics) -> None:
        mesh, dofmap = space.mesh, space.dofmap
        self.comm = mesh.comm
        self.map = dofmap.index_map
        self.components = int(dofmap.index_map_bs)
        shapes = cell_shapes(mesh)
        nodes = np.ascontiguousarray(dofmap.list[: shapes.kind.size], dtype=np.int32)
        lam, mu = lame_constants(physics, mesh.topology.dim)
        kinds, points, corners, dim = shapes.gradients.shape
        counts = tuple((0,) * number for number in (points, corners, dim, self.components))
        flat = shapes.gradients.reshape(kinds, points, corners * dim)
        size = self.components * corners
        tabulated = kinds * size**2 <= TABLE * nodes.shape[0]
        table = np.empty((kinds if tabulated else 0, size, size))
        for gradients, weights, matrix in zip(flat, shapes.weights, table, strict=False):
            element_matrix(matrix, gradients, weights, lam, mu, counts)
        self.cells = Cells(nodes, shapes.kind, flat, shapes.weights, lam, mu, table, counts)
        # Local fields, ghosts included, which stay for the life of the elements: making them costs communication.
        self._u, self._v = (dolfinx.la.vector(self.map, self.components) for _ in range(2))

    @property
    def unknowns(self) -> int:
        """Number of unknowns that this rank owns."""
        return int(self.map.size_local * self.components)

    def product(self, E: Array, u: Array) -> Array:
        """``K(E) u`` (unknowns,) for moduli `E` (cells,) and a field `u` (unknowns,) of owned unknowns."""
        out = self._v
        out.array[:] = 0.0
        product(out.array, self._spread(self._u, u).array, E, self.cells)
        return self._gathered(out)

    def energies(self, u: Array, v: Array | None = None) -> Array:
        """``u_eᵀ K_e v_e`` (cells,) of the owned cells for fields (unknowns,) of owned unknowns."""
        left = self._spread(self._u, u).array
        right = left if v is None else self._spread(self._v, v).array
        out = np.empty(self.cells.kind.size)
        element_energies(out, left, right, self.cells)
        return out

    def with_ghosts(self, u: Array) -> Array:
        """The field `u` (unknowns,) with the values of other ranks behind it (unknowns + ghosts,)."""
        return self._spread(self._u, u).array.copy()

    def summed(self, part: Array) -> Array:
        """The sum (unknowns,) of what all ranks have for each unknown, given (unknowns + ghosts,)."""
        self._v.array[:] = part
        return self._gathered(self._v)

    def _spread(self, vector: Any, u: Array) -> Any:
        vector.array[: self.unknowns] = u
        vector.scatter_forward()
        return vector

    def _gathered(self, vector: Any) -> Array:
        vector.scatter_reverse(dolfinx.la.InsertMode.add)
        return vector.array[: self.unknowns].copy()


def lame_constants(physics: Physics, dim: int) -> tuple[float, float]:
    """λ and μ for unit modulus; 0 and 1 for conduction, of unit conductivity."""
    if isinstance(physics, Conduction):
        return 0.0, 1.0
    nu = physics.nu
    plane_stress = dim == 2 and physics.plane == "stress"
    lam = nu / (1.0 - nu**2) if plane_stress else nu / ((1.0 + nu) * (1.0 - 2.0 * nu))
    return lam, 0.5 / (1.0 + nu)
