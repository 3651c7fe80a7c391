"""The assembled matrix of a mesh: one sparsity pattern for good, and values that are linear in the moduli."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from sciopt.core.types import Array, Mask
from sciopt.topopt.fenicsx.elements import Elements
from sciopt.topopt.fenicsx.kernels import places, scatter
from sciopt.topopt.fenicsx.loaded import MPI, PETSc

__all__ = ["StiffnessMatrix"]


class StiffnessMatrix:
    """``K(E) + diag(springs)`` as a PETSc matrix, with the rows and columns of fixed unknowns emptied.

    The diagonal of a fixed unknown keeps the stiffness of its cells, or the largest of all diagonals where that is
    zero: multigrid and factorizations want numbers of the order of their neighbours.

    Parameters
    ----------
    elements
        The elements.
    fixed
        (unknowns,) fixed unknowns.
    springs
        (unknowns,) stiffness added to the diagonal.
    """

    def __init__(self, elements: Elements, fixed: Mask, springs: Array) -> None:
        self.elements, self.fixed = elements, fixed
        comm, c, owned = elements.comm, elements.components, elements.unknowns
        nodes = elements.cells.nodes
        count = elements.map.size_local + elements.map.num_ghosts
        start, neighbours = _node_graph(nodes, count)
        self._start = start
        self._place = np.empty((*nodes.shape, nodes.shape[1]), dtype=np.int16 if _width(start) < 2**15 else np.int32)
        places(nodes, start, neighbours, self._place)
        indptr, indices = _expand(start, neighbours, c)
        rows = np.repeat(np.arange(count * c, dtype=np.int32), np.diff(indptr))
        diagonal = np.flatnonzero(rows == indices)
        held = elements.with_ghosts(fixed.astype(float)) > 0.0
        self._emptied = np.flatnonzero((held[rows] | held[indices]) & (rows != indices))
        self._diagonal = diagonal
        self._springs = np.concatenate([np.where(fixed, 0.0, springs), np.zeros(count * c - owned)])
        self._values = np.zeros(indices.size)
        sizes = (owned, PETSc.DETERMINE)
        if comm.size == 1:
            # PETSc works on these very arrays: assembling writes into the matrix.
            csr = indptr.astype(PETSc.IntType), indices.astype(PETSc.IntType), self._values
            self.matrix = PETSc.Mat().createAIJWithArrays((sizes, sizes), csr, comm=comm)
            self.matrix.setBlockSize(c)  # `bsize` is not heeded here
        else:
            numbers = np.asarray(elements.map.local_to_global(np.arange(count, dtype=np.int32)))
            unknowns = (c * numbers[:, None] + np.arange(c)).ravel().astype(PETSc.IntType)
            self.matrix = PETSc.Mat().create(comm)
            self.matrix.setSizes((sizes, sizes))
            self.matrix.setBlockSize(c)
            self.matrix.setType(PETSc.Mat.Type.AIJ)
            self.matrix.setPreallocationCOO(unknowns[rows], unknowns[indices])

    def assemble(self, E: Array) -> bool:
        """Put ``K(E)`` into `matrix`; whether all free unknowns of all ranks have any stiffness."""
        values, elements = self._values, self.elements
        values[:] = 0.0
        scatter(values, self._start, self._place, E, elements.cells)
        values[self._diagonal] += self._springs
        diagonal = elements.summed(values[self._diagonal])
        soft = diagonal <= 0.0
        comm = elements.comm
        found = np.array([np.any(soft & ~self.fixed), diagonal.max(initial=0.0)], dtype=float)
        comm.Allreduce(MPI.IN_PLACE, found, MPI.MAX)
        loose, largest = found
        values[self._diagonal[: soft.size][soft]] = largest or 1.0
        values[self._emptied] = 0.0
        if comm.size == 1:
            self.matrix.assemble()
        else:
            self.matrix.setValuesCOO(values, PETSc.InsertMode.INSERT_VALUES)
        self.matrix.setOption(PETSc.Mat.Option.SPD, True)  # new values make PETSc forget
        return not loose

    def destroy(self) -> None:
        """Free the matrix."""
        self.matrix.destroy()


def _node_graph(nodes: NDArray[np.int32], count: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Sorted neighbours of every node, itself included, as rows that start at ``start[node]``."""
    corners = nodes.shape[1]
    itself = np.arange(count, dtype=np.int32)
    rows = np.concatenate([np.repeat(nodes, corners, axis=1).ravel(), itself])
    columns = np.concatenate([np.tile(nodes, (1, corners)).ravel(), itself])
    graph = csr_array((np.ones(rows.size, dtype=np.int8), (rows, columns)), shape=(count, count))
    graph.sort_indices()
    return graph.indptr.astype(np.int32), graph.indices.astype(np.int32)


def _width(start: NDArray[np.int32]) -> int:
    return int(np.diff(start).max(initial=0))


def _expand(
    start: NDArray[np.int32], neighbours: NDArray[np.int32], c: int
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """The same rows with c × c numbers for every neighbour: `indptr` and `indices`."""
    width = np.diff(start).astype(np.int64)
    indptr = np.concatenate([[0], np.cumsum(np.repeat(c * width, c))])
    node = np.repeat(np.arange(width.size), c * c * width)
    position = np.arange(indptr[-1]) - c * c * start[node].astype(np.int64)
    within = position % (c * width[node])
    return indptr, (c * neighbours[start[node] + within // c] + within % c).astype(np.int32)
