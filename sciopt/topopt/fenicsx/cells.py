"""Linear cells: their volumes, and the gradients of the shape functions wherever they are integrated.

Cells of the same shape share their numbers, so a uniform mesh has one set. A triangle or tetrahedron has one point, a
quadrilateral or hexahedron the 2^d points of Gauss, which integrate the stiffness of parallelepipeds exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sciopt.core.errors import InputError
from sciopt.core.types import Array, Mask
from sciopt.topopt.fenicsx.structure import cell_corners

__all__ = ["CellShapes", "cell_shapes", "cell_volumes"]

# Cells are of one shape when their edges agree to this part of the largest one: far above the rounding of coordinates,
# far below what anybody means.
SAME = 1e-10
# A cell is flat when the Jacobian is less than this part of what edges of its lengths could span.
FLAT = 1e-10


@dataclass(frozen=True, eq=False)
class CellShapes:
    """Quadrature of all cells of a mesh: ``∫_e ∇N_a·∇N_b = Σ_q weight_q ∇N_a(q)·∇N_b(q)``.

    Parameters
    ----------
    kind
        (cells,) the shape of every cell that this rank owns.
    gradients
        (shapes, points, corners, dim) gradients of the shape functions, per unit of length.
    weights
        (shapes, points) volume that each point stands for.
    """

    kind: NDArray[np.int32]
    gradients: Array
    weights: Array


def cell_shapes(mesh: Any) -> CellShapes:
    """The shapes of the cells that this rank owns.

    Raises
    ------
    InputError
        On all ranks, when a cell of any of them is flat or inverted, or not a triangle, quadrilateral, tetrahedron or
        hexahedron with straight edges.
    """
    corners = _checked_corners(mesh)
    kind, first = _same_shapes(corners)
    weights, slopes = _reference(corners.shape[1], mesh.topology.dim)
    jacobian = np.einsum("kad,qab->kqdb", corners[first], slopes)
    gradients = np.ascontiguousarray(slopes @ np.linalg.inv(jacobian)) if first.size else np.zeros((0, *slopes.shape))
    return CellShapes(kind, gradients, np.abs(np.linalg.det(jacobian)) * weights)


def cell_volumes(mesh: Any) -> Array:
    """(cells,) volumes of the cells that this rank owns: areas in two dimensions.

    Raises
    ------
    InputError
        As `cell_shapes`.

    Examples
    --------
    >>> from sciopt.topopt.fenicsx.loaded import MPI, dolfinx
    >>> cell_volumes(dolfinx.mesh.create_unit_square(MPI.COMM_SELF, 1, 1))
    array([0.5, 0.5])
    """
    corners = _checked_corners(mesh)
    weights, slopes = _reference(corners.shape[1], mesh.topology.dim)
    return np.abs(_determinants(corners, slopes)) @ weights


def _reference(corners: int, dim: int) -> tuple[Array, Array]:
    """Weights (points,) and gradients (points, corners, dim) of the shape functions on the reference cell."""
    if corners == dim + 1:
        return np.array([1.0 / (2.0, 6.0)[dim - 2]]), np.vstack([-np.ones(dim), np.eye(dim)])[None]
    points = (1.0 + _signs(dim) / np.sqrt(3.0)) / 2.0
    return np.full(2**dim, 0.5**dim), _slopes(points)


def _signs(dim: int) -> Array:
    """The corners (2^dim, dim) of the cube [-1, 1]^dim in dolfinx's order: x is the fastest."""
    return np.array([[2.0 * ((corner >> axis) & 1) - 1.0 for axis in range(dim)] for corner in range(2**dim)])


def _slopes(points: Array) -> Array:
    """Gradients (points, 2^d, d) of the multilinear shape functions of [0, 1]^d at the `points` (points, d)."""
    dim = points.shape[1]
    signs = _signs(dim)
    factors = np.where(signs > 0.0, points[:, None], 1.0 - points[:, None])  # (points, corners, dim)
    slopes = np.empty_like(factors)
    for axis in range(dim):
        slopes[..., axis] = signs[:, axis] * np.delete(factors, axis, axis=-1).prod(axis=-1)
    return slopes


def _determinants(corners: Array, slopes: Array) -> Array:
    """Jacobians (cells, points) of the maps from the reference cell."""
    with np.errstate(invalid="ignore"):  # coordinates that are not numbers are told of by `_bad_cells`
        return np.linalg.det(np.einsum("kad,qab->kqdb", corners, slopes))


def _checked_corners(mesh: Any) -> Array:
    """Corners (cells, corners, dim) of cells that are neither flat nor inverted."""
    dim = mesh.topology.dim
    if mesh.topology.cell_name() not in ("triangle", "quadrilateral", "tetrahedron", "hexahedron"):
        raise InputError(
            f"the mesh consists of {mesh.topology.cell_name()} cells; expected triangles, quadrilaterals, tetrahedra "
            "or hexahedra"
        )
    degree = mesh.geometry.cmaps[0].degree
    if degree != 1:
        raise InputError(
            f"the cells of the mesh are curved (degree {degree}); expected straight edges: make the mesh with elements "
            "of order 1"
        )
    corners = cell_corners(mesh)
    bad = _bad_cells(corners, dim)
    found = mesh.comm.allgather((int(bad.sum()), corners[bad][:1].mean(axis=1).tolist()))
    count = sum(number for number, _ in found)
    if count:
        where = next(centres[0] for _, centres in found if centres)
        raise InputError(
            f"{count} cell{'s' if count > 1 else ''} of the mesh {'are' if count > 1 else 'is'} flat or inverted, one "
            f"around ({', '.join(f'{x:.6g}' for x in where)}); repair the mesh"
        )
    return corners


def _bad_cells(corners: Array, dim: int) -> Mask:
    """Cells (cells,) that are flat, turned inside out in part, or have coordinates that are not finite.

    Simplices and whole meshes may be mirrored; the sign of a Jacobian must only be the same all over a cell.
    """
    if not len(corners):
        return np.zeros(0, bool)
    edges = (corners.max(axis=1) - corners.min(axis=1)).max(axis=1)
    _, slopes = _reference(corners.shape[1], dim)
    inside = _determinants(corners, slopes)
    sign = np.sign(inside[:, :1])
    # Negated, so that what is not a number is bad too.
    bad = ~(sign * inside > FLAT * edges[:, None] ** dim).all(axis=1)
    if corners.shape[1] > dim + 1:  # a corner may be collapsed, but not folded over
        at_corners = _determinants(corners, _slopes((1.0 + _signs(dim)) / 2.0))
        bad |= ~(sign * at_corners >= -FLAT * edges[:, None] ** dim).all(axis=1)
    return bad


def _same_shapes(corners: Array) -> tuple[NDArray[np.int32], NDArray[np.intp]]:
    """Number of the shape of each cell (cells,), and one cell of each shape (shapes,)."""
    cells = len(corners)
    everyone = np.arange(cells)
    if not cells:
        return everyone.astype(np.int32), everyone
    edges = (corners - corners[:, :1]).reshape(cells, -1)
    size = np.abs(edges).max()
    # One number per cell, linear in its rounded edges; equal numbers are looked at again, as different cells may share
    # one.
    rounded = np.rint(edges / (SAME * size)).astype(np.int64)
    factors = np.random.default_rng(0).integers(1, 2**62, edges.shape[1], dtype=np.int64)
    _, first, kind = np.unique((rounded * factors).sum(axis=1), return_index=True, return_inverse=True)
    # Where hardly any are the same, cells that are neighbours should find their numbers side by side.
    if 2 * first.size > cells or np.abs(edges - edges[first[kind]]).max() > 2.0 * SAME * size:
        return everyone.astype(np.int32), everyone
    return kind.astype(np.int32), first
