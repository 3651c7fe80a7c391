"""Rigid motions that supports leave free, of one body or of several that share single points.

Bodies move as wholes when nothing is strained. Where they share points their displacements agree, and otherwise they
turn freely. So the null space of a stiffness is that of a small matrix, whose unknowns are the rigid motions of the
bodies and whose rows are shared points and supports:

``u_a(p) = u_b(p)`` at shared points p,  ``u_a(p) · e_i = 0`` at supported components.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csc_array, csr_array, eye_array
from scipy.sparse.linalg import splu

from sciopt.core.types import Array
from sciopt.topopt.lattice import AXES

__all__ = ["Joints", "displacements", "free_body", "free_motion_of_one"]

Labels = NDArray[np.integer[Any]]

# Rigid motions are measured in units of the body's size, so the smallest eigenvalue of what is held is far above this
# (the fourth power of one over the number of hinged bodies in a row), and that of what is free is rounding.
_SINGULAR = 1e-11
_SHIFT = 1e-12


class Joints(NamedTuple):
    """Points (many, dim) that the bodies `first` and `second` (many,) share."""

    points: Array
    first: Labels
    second: Labels


def displacements(offset: Array) -> Array:
    """Displacements (points, dim, modes) of points at `offset` (points, dim), per unit of each rigid motion."""
    many, dim = offset.shape
    found = np.zeros((many, dim, dim + dim * (dim - 1) // 2))
    found[:, range(dim), range(dim)] = 1.0
    turns = [(0, 1)] if dim == 2 else [(1, 2), (2, 0), (0, 1)]
    for mode, (a, b) in enumerate(turns, start=dim):
        found[:, a, mode] = -offset[:, b]
        found[:, b, mode] = offset[:, a]
    return found


def free_motion_of_one(points: Array, component: Labels) -> str | None:
    """The name of a motion of one rigid body that its supports do not hinder, or None.

    Parameters
    ----------
    points
        (many, dim) where it is held.
    component
        (many,) the axis along which.
    """
    dim = points.shape[1]
    free = [AXES[axis] for axis in range(dim) if not (component == axis).any()]
    if free:
        return f"displacement along {' and '.join(free)}"
    # All axes are held, so that what is left is a turn. Relative to the middle of the held points and their distances,
    # the rows are of order one, however close together these points are.
    at = points - points.mean(axis=0)
    at = at / (np.abs(at).max() or 1.0)
    rows = displacements(at)[np.arange(len(at)), component]
    values, vectors = np.linalg.eigh(rows.T @ rows / len(rows))
    if values[0] > _SINGULAR:
        return None
    if dim == 2:
        return "rotation about z"
    turns, _ = np.linalg.qr(vectors[dim:, values <= _SINGULAR])
    for axis in range(dim):
        if np.linalg.norm(turns[axis]) > 0.999:
            return f"rotation about {AXES[axis]}"
    # The first of the largest entries counts as 1, whatever the signs and the rounding of eigenvectors.
    size = np.abs(turns[:, 0])
    direction = turns[:, 0] / turns[np.flatnonzero(size > 0.999 * size.max())[0], 0]
    return f"rotation about the direction ({', '.join(f'{d:g}' for d in direction.round(2) + 0.0)})"


def free_body(
    centres: Array, sizes: Array, joints: Joints, points: Array, component: Labels, owner: Labels
) -> int | None:
    """The number of a body that can move although all of them as one cannot, or None.

    Parameters
    ----------
    centres
        (bodies, dim) their middles.
    sizes
        (bodies,) their lengths.
    joints
        What they share.
    points, component
        (many, dim) where they are held, and (many,) along which axis.
    owner
        (many,) the body that is held there: any one of those that share the point, since the joints tie the others.
    """
    count, dim = centres.shape

    # Every body's motions are measured about its own middle, in units of its own size.
    def rows_of(at: Array, body: Labels) -> Array:
        return displacements((at - centres[body]) / sizes[body, None])

    supports = rows_of(points, owner)[np.arange(len(owner)), component]
    modes = supports.shape[1]
    one, two = (rows_of(joints.points, body).reshape(-1, modes) for body in (joints.first, joints.second))
    rows = np.arange(len(one))
    blocks = [
        (rows, np.repeat(joints.first, dim), one),
        (rows, np.repeat(joints.second, dim), -two),
        (len(rows) + np.arange(len(owner)), owner, supports),
    ]
    matrix = _sparse(blocks, (len(rows) + len(owner), count * modes))
    normal = csc_array(matrix.T @ matrix)
    factors = splu(csc_array(normal + _SHIFT * eye_array(count * modes)))
    v = np.random.default_rng(0).standard_normal(count * modes)
    for _ in range(4):
        v = factors.solve(v)
        v /= np.linalg.norm(v)
    if float(v @ (normal @ v)) > _SINGULAR:
        return None
    return int(np.square(v).reshape(count, modes).sum(axis=1).argmax())


def _sparse(parts: list[tuple[NDArray[np.intp], Labels, Array]], shape: tuple[int, int]) -> csr_array:
    """Put blocks (rows, modes) into the given rows and the columns of the given bodies."""
    rows, columns, values = [], [], []
    for row, body, block in parts:
        modes = block.shape[1]
        rows.append(np.repeat(row, modes))
        columns.append((body[:, None] * modes + np.arange(modes)).ravel())
        values.append(block.ravel())
    entries = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
    return coo_array(entries, shape=shape).tocsr()
