"""Cone weights between the cells of a mesh, wherever their ranks are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.sparse import csr_matrix
from scipy.spatial import cKDTree

from sciopt.topopt.fenicsx.loaded import MPI

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sciopt.core.types import Array

__all__ = ["Cone"]


class Cone:
    """The symmetric kernel with weights ``max(0, radius - distance)`` between cells; called with (n,), it returns (n,).

    Each rank holds the rows of its own cells. What they need from others is asked for once, and then exchanged between
    neighbours only. As the kernel is symmetric it is its own adjoint.

    Parameters
    ----------
    radius
        In the unit of `centres`.
    centres
        (n, dim) of this rank's cells; n may be 0.
    comm
        The communicator of the ranks (mpi4py). All must make and call the kernel together.

    Examples
    --------
    >>> Cone(2.0, np.array([[0.5, 0.0], [1.5, 0.0], [3.5, 0.0]]), MPI.COMM_SELF)(np.array([1.0, 0.0, 1.0]))
    array([2., 1., 2.])
    """

    def __init__(self, radius: float, centres: Array, comm: Any) -> None:
        self._plan, ghosts = _exchange(radius, centres, comm)
        everyone = np.concatenate([centres, ghosts])
        pairs = np.zeros(0, dtype=[("i", int), ("j", int), ("v", float)])
        if len(centres):
            pairs = cKDTree(centres).sparse_distance_matrix(cKDTree(everyone), radius, output_type="ndarray")
        shape = (len(centres), len(everyone))
        self._rows = csr_matrix((radius - pairs["v"], (pairs["i"], pairs["j"])), shape=shape)

    def __call__(self, x: Array) -> Array:
        return np.asarray(self._rows @ np.concatenate([x, self._plan.received(x)]))


class Plan(NamedTuple):
    """Who sends which of its values to whom.

    Attributes
    ----------
    comm
        The communicator.
    sent
        (rank, (k,) indices of own values) for each rank that needs some.
    sizes
        (rank, number of values) for each rank that has some for this one, in the order of the ghosts.
    """

    comm: Any
    sent: tuple[tuple[int, NDArray[np.intp]], ...]
    sizes: tuple[tuple[int, int], ...]

    def received(self, x: Array) -> Array:
        """(ghosts,) the values of other ranks, each giving its own `x` (n,)."""
        ghosts = np.empty(sum(size for _, size in self.sizes))
        pieces = np.split(ghosts, np.cumsum([size for _, size in self.sizes])[:-1]) if self.sizes else []
        waiting = [self.comm.Irecv(piece, rank) for piece, (rank, _) in zip(pieces, self.sizes, strict=True)]
        sent = [np.ascontiguousarray(x[index], dtype=float) for _, index in self.sent]
        waiting += [self.comm.Isend(piece, rank) for piece, (rank, _) in zip(sent, self.sent, strict=True)]
        MPI.Request.Waitall(waiting)
        return ghosts


def _exchange(radius: float, centres: Array, comm: Any) -> tuple[Plan, Array]:
    """The plan that brings every cell within `radius` of one of this rank's, and the centres (ghosts, dim) of those."""
    dim = centres.shape[1]
    if comm.size == 1:
        return Plan(comm, (), ()), np.zeros((0, dim))
    own = np.concatenate([centres.min(axis=0, initial=np.inf), centres.max(axis=0, initial=-np.inf)])
    boxes = np.empty((comm.size, 2, dim))
    comm.Allgather(own, boxes)
    offered = [_near(centres, box, radius) if rank != comm.rank else _NONE for rank, box in enumerate(boxes)]
    places = comm.alltoall([centres[index] for index in offered])
    tree = cKDTree(centres) if len(centres) else None
    wanted = [_NONE if tree is None else _reached(tree, place, radius) for place in places]
    asked = comm.alltoall(wanted)
    sent = tuple((rank, offered[rank][index]) for rank, index in enumerate(asked) if len(index))
    sizes = tuple((rank, len(index)) for rank, index in enumerate(wanted) if len(index))
    return Plan(comm, sent, sizes), np.concatenate([place[index] for place, index in zip(places, wanted, strict=True)])


_NONE: NDArray[np.intp] = np.zeros(0, dtype=np.intp)


def _near(centres: Array, box: Array, radius: float) -> NDArray[np.intp]:
    """Cells whose centres are within `radius` of a box (2, dim) along every axis; an empty box is turned inside out."""
    return np.flatnonzero(((centres > box[0] - radius) & (centres < box[1] + radius)).all(axis=1))


def _reached(tree: Any, place: Array, radius: float) -> NDArray[np.intp]:
    """Which of the points `place` (k, dim) are within `radius` of one in the tree."""
    if not len(place):
        return _NONE
    distance, _ = tree.query(place, distance_upper_bound=radius)
    return np.flatnonzero(np.isfinite(distance))
