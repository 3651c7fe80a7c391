"""Smoothing of cell values by a screened Poisson equation on the whole mesh, with linear finite elements."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sciopt.core.errors import EvaluationFailed
from sciopt.topopt.fenicsx.loaded import PETSc
from sciopt.topopt.fenicsx.structure import cell_corners

if TYPE_CHECKING:
    from sciopt.core.types import Array
    from sciopt.topopt.fenicsx.structure import MeshStructure

__all__ = ["CellMatrices", "Smoothing", "cell_matrices"]

# Of the residual: adjoints and symmetry hold to about as many digits.
_TOLERANCE, _MOST_ITERATIONS = 1e-13, 10_000


class CellMatrices(NamedTuple):
    """Integrals of linear shape functions over cells, by the rule whose points are the corners.

    Attributes
    ----------
    masses
        (cells, corners) volume that each corner stands for.
    stiffness
        (cells, corners, corners) ``length² ∫ ∇N_a·∇N_b``, less what the corners spread already.
    """

    masses: Array
    stiffness: Array


class Smoothing:
    """The kernel ``K = P A⁻¹ Pᵀ`` of ``(1 - length² Laplacian) u = field``: from (n,) of the design cells to (n,).

    No flux passes the boundary of the mesh. P takes the mean over the corners of each design cell. All integrals are
    sums over corners: consistent masses make filtered values overshoot, by 11 % on triangles and 25 % on tetrahedra at
    a radius of 1.5 cells, while here the inverse of A is positive on meshes without obtuse angles. The way to the
    corners and back smooths, too; so that the kernel is as wide as the equation's, ``length²`` is less in each cell by
    the mean square distance of the corners from their centre along an axis, and 0 where that is more.

    Parameters
    ----------
    length
        In the unit of the mesh's coordinates.
    structure
        The mesh, its unknowns' nodes and its design cells. All ranks make and call the kernel together.

    Raises
    ------
    EvaluationFailed
        When the equations could not be solved.

    References
    ----------
    Lazarov and Sigmund 2011, doi 10.1002/nme.3072, for the equation.
    """

    def __init__(self, length: float, structure: MeshStructure) -> None:
        corners = cell_corners(structure.mesh)
        masses, stiffness = cell_matrices(corners, length)
        dofmap = structure.space.dofmap
        nodes = dofmap.index_map.local_to_global(np.ravel(dofmap.list[: len(corners)])).astype(PETSc.IntType)
        nodes = nodes.reshape(masses.shape)
        local = (dofmap.index_map.size_local, dofmap.index_map.size_global)
        comm, count = structure.comm, masses.shape[1]
        values = stiffness + masses[:, :, None] * np.eye(count)
        rows, columns = np.repeat(nodes, count, axis=1), np.tile(nodes, count)
        self._equations = _matrix(comm, (local, local), rows, columns, values)
        size = structure.size
        begin = comm.scan(size) - size
        numbers = np.repeat(np.arange(begin, begin + size, dtype=PETSc.IntType), count)
        shares = (masses / masses.sum(axis=1, keepdims=True))[structure.design]
        sizes = ((size, comm.allreduce(size)), local)
        self._average = _matrix(comm, sizes, numbers, nodes[structure.design], shares)
        self._cells, self._load = self._average.createVecs("left"), self._average.createVecs("right")
        self._smooth = self._load.duplicate()
        self._solver = PETSc.KSP().create(comm)
        self._solver.setOperators(self._equations)
        self._solver.setType("cg")
        self._solver.getPC().setType("jacobi")
        self._solver.setTolerances(rtol=_TOLERANCE, atol=0.0, max_it=_MOST_ITERATIONS)

    def __call__(self, x: Array) -> Array:
        self._cells.array[:] = x
        self._average.multTranspose(self._cells, self._load)
        self._solver.solve(self._load, self._smooth)
        if self._solver.getConvergedReason() < 0:
            raise EvaluationFailed(
                f"the equation of the Helmholtz filter was not solved in {self._solver.getIterationNumber()} "
                "iterations; the filtered field must be finite, and the radius not much larger than the mesh"
            )
        self._average.mult(self._smooth, self._cells)
        return np.array(self._cells.array)


def cell_matrices(corners: Array, length: float) -> CellMatrices:
    """Masses and stiffness for cells with `corners` (cells, corners, dim) in dolfinx's order; see `Smoothing`."""
    count, dim = corners.shape[1:]
    slopes = _corner_slopes(count, dim)
    jacobian = np.einsum("kad,qab->kqdb", corners, slopes)
    weights = np.abs(np.linalg.det(jacobian)) * (
        1.0 / count if count > dim + 1 else 1.0 / (count * (2.0, 6.0)[dim - 2])
    )
    masses = np.broadcast_to(weights, corners.shape[:2]).copy()
    away = corners - corners.mean(axis=1, keepdims=True)
    square = np.maximum(length**2 - (away**2).sum(axis=2).mean(axis=1) / dim, 0.0)
    stiffness = np.zeros((len(corners), count, count))
    for q in range(count):
        # A collapsed corner has no gradients, and no volume that they would count for.
        whole = masses[:, q] > 1e-6 * masses.sum(axis=1)
        gradients = slopes[q] @ np.linalg.inv(jacobian[whole, q])
        stiffness[whole] += (square * masses[:, q])[whole, None, None] * (gradients @ gradients.transpose(0, 2, 1))
    return CellMatrices(masses, stiffness)


def _corner_slopes(count: int, dim: int) -> Array:
    """(points, corners, dim) gradients of the shape functions at the corners of the reference cell."""
    if count == dim + 1:
        return np.broadcast_to(np.vstack([-np.ones(dim), np.eye(dim)]), (count, count, dim))
    corner = np.array([[number >> axis & 1 for axis in range(dim)] for number in range(count)])
    slopes = np.zeros((count, count, dim))
    for axis in range(dim):
        others = np.delete(corner, axis, axis=1)
        on_edge = (others[:, None] == others).all(axis=2)
        slopes[..., axis] = on_edge * (2.0 * corner[:, axis] - 1.0)
    return slopes


def _matrix(comm: Any, sizes: tuple[Any, Any], rows: Any, columns: Any, values: Any) -> Any:
    """A sparse matrix that adds up `values` at global `rows` and `columns`."""
    matrix = PETSc.Mat().create(comm)
    matrix.setType("aij")
    matrix.setSizes(sizes)
    matrix.setPreallocationCOO(rows.ravel(), columns.ravel())
    matrix.setValuesCOO(values.ravel())
    return matrix
