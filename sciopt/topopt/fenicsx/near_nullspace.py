"""The rigid motions of an elastic body, which algebraic multigrid must be able to represent on every level."""

from __future__ import annotations

from typing import Any

import numpy as np

from sciopt.core.types import Array
from sciopt.topopt.fenicsx.loaded import PETSc

__all__ = ["near_nullspace", "rigid_motions"]


def rigid_motions(points: Array) -> Array:
    """Translations and rotations (3 or 6, nodes, dim) of nodes at `points` (nodes, dim), about the origin.

    Examples
    --------
    >>> rigid_motions(np.array([[1.0, 0.0], [0.0, 2.0]]))[2].tolist()
    [[-0.0, 1.0], [-2.0, 0.0]]
    """
    nodes, dim = points.shape
    motions = []
    for axis in range(dim):
        motion = np.zeros((nodes, dim))
        motion[:, axis] = 1.0
        motions.append(motion)
    for a in range(dim):
        for b in range(a + 1, dim):
            motion = np.zeros((nodes, dim))
            motion[:, a], motion[:, b] = -points[:, b], points[:, a]
            motions.append(motion)
    return np.array(motions)


def near_nullspace(space: Any, matrix: Any) -> Any:
    """The rigid motions of the nodes of `space` as an orthonormal PETSc null space for `matrix`."""
    owned, dim = space.dofmap.index_map.size_local, space.mesh.geometry.dim
    points = space.tabulate_dof_coordinates()[:owned, :dim]
    comm = space.mesh.comm
    ends = np.array([points.min(axis=0, initial=np.inf), -points.max(axis=0, initial=-np.inf)])
    low, high = np.min(comm.allgather(ends), axis=0) * np.array([[1.0], [-1.0]])
    vectors: list[Any] = []
    for motion in rigid_motions((points - (low + high) / 2.0) / (high - low).max()):
        vector = matrix.createVecRight()
        vector.array[:] = motion.ravel()
        for other in vectors:
            vector.axpy(-vector.dot(other), other)
        vector.normalize()
        vectors.append(vector)
    found = PETSc.NullSpace().create(vectors=vectors, comm=comm)
    for vector in vectors:
        vector.destroy()
    return found
