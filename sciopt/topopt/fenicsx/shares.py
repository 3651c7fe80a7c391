"""How a uniform density on cells, facets or edges of a mesh is shared by their corners: ``∫ N_i``."""

from __future__ import annotations

from itertools import product

import numpy as np

from sciopt.core.types import Array

__all__ = ["corner_shares"]


def corner_shares(x: Array, dim: int) -> Array:
    """The integral of every corner's shape function over each of several straight-edged elements.

    A simplex gives equal parts of its measure to its corners. The measure of quadrilaterals and hexahedra varies with
    the Jacobian ``J``; the Gauss rule of two points per axis integrates ``N_i sqrt(det JᵀJ)`` exactly in the plane.

    Parameters
    ----------
    x
        (elements, corners, gdim) coordinates of corners, row by row in quadrilaterals and hexahedra.
    dim
        Dimension of the elements: 0 for points, which have measure one.

    Returns
    -------
    Array
        (elements, corners), in units of length to the power `dim`.

    Examples
    --------
    >>> corner_shares(np.array([[[0.0, 0.0], [3.0, 4.0]]]), 1)
    array([[2.5, 2.5]])
    >>> corner_shares(np.array([[[0.0, 0.0], [2.0, 0.0], [0.0, 1.0], [1.0, 1.0]]]), 2)
    array([[0.41666667, 0.41666667, 0.33333333, 0.33333333]])
    """
    corners = x.shape[1]
    if corners == dim + 1:
        edges = x[:, 1:] - x[:, :1]
        measure = _measure(edges.swapaxes(1, 2)) / np.prod(np.arange(1, dim + 1))
        return np.repeat(measure[:, None] / corners, corners, axis=1)
    found = np.zeros(x.shape[:2])
    # Reference coordinates of the corners, first axis fastest.
    at = np.array(list(product((0.0, 1.0), repeat=dim)))[:, ::-1]
    nodes = 0.5 + np.array((-0.5, 0.5)) / np.sqrt(3.0)
    for point in product(nodes, repeat=dim):
        factors = np.where(at == 1.0, point, 1.0 - np.array(point))
        slopes = np.where(at == 1.0, 1.0, -1.0)
        shape = factors.prod(axis=1)
        gradient = np.stack(
            [slopes[:, axis] * np.delete(factors, axis, axis=1).prod(axis=1) for axis in range(dim)], axis=1
        )
        jacobian = np.einsum("eig,ia->ega", x, gradient)
        found += _measure(jacobian)[:, None] * shape / 2.0**dim
    return found


def _measure(jacobian: Array) -> Array:
    """The volume (elements,) spanned by the columns of (elements, gdim, dim) matrices."""
    if jacobian.shape[2] == 0:
        return np.ones(len(jacobian))
    return np.sqrt(np.maximum(np.linalg.det(jacobian.swapaxes(1, 2) @ jacobian), 0.0))
