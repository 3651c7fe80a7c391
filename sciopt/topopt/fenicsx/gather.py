"""Arrays of all ranks on the first one and back, in an order that depends on the mesh alone.

Cells are ordered like the elements of a grid: by the x of their centres, where several share y, and by y, where several
share z. The order of the input would not do: dolfinx forgets it when it refines a mesh, and what it offers instead
depends on the number of ranks.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from sciopt.core.errors import ShapeError
from sciopt.topopt.fenicsx.loaded import MPI

if TYPE_CHECKING:
    from sciopt.core.types import Array, Mask
    from sciopt.topopt.fenicsx.structure import MeshStructure

__all__ = ["everywhere", "fingerprint", "gather", "in_place_order", "scatter"]

# Coordinates closer than this share of the size of the mesh are the same; rounding makes them differ.
_SAME = 1e-9
# Digits of the numbers that fingerprints look at.
_DIGITS = 6


def gather(structure: MeshStructure, values: NDArray[Any]) -> NDArray[Any] | None:
    """All values of an element field (..., cells) or of design variables (..., n) on the first rank, None elsewhere.

    Returns
    -------
    Array or None
        (..., elements) or (..., variables) over all ranks, by the place of their cells, see `in_place_order`.

    Raises
    ------
    ShapeError
        On all ranks, when the last axis of any fits neither, or the others are not the same everywhere.
    """
    order = _order(structure)
    which = order.of(structure, values)
    leading = values.shape[:-1]
    if not everywhere(structure.comm, leading == structure.comm.bcast(leading)):
        shapes = structure.comm.allgather(values.shape)
        raise ShapeError(f"the arrays of the ranks have the shapes {shapes}; all axes but the last must be the same")
    # Of a rank that has no entries, the number of rows cannot be told from their length.
    rows = np.ascontiguousarray(values).reshape(int(np.prod(leading)), values.shape[-1])
    found = np.empty((len(rows), which.counts.sum()), values.dtype) if structure.comm.rank == 0 else None
    for i, row in enumerate(rows):
        structure.comm.Gatherv(row, None if found is None else (found[i], which.counts))
    return None if found is None else found[:, which.place].reshape(*leading, which.place.size)


def scatter(structure: MeshStructure, full: NDArray[Any] | None) -> NDArray[Any]:
    """Each rank's piece (..., cells) or (..., n) of what the first has in the order of `gather`; None on the others.

    Raises
    ------
    ShapeError
        On all ranks, when the last axis is neither as long as the mesh has cells nor as it has design variables.
    """
    order, comm = _order(structure), structure.comm
    shape, kind = comm.bcast(None if full is None else (full.shape, full.dtype))
    totals = {int(which.counts.sum()): which for which in (order.cells, order.design)}
    if shape[-1] not in totals:
        raise ShapeError(f"an array for all ranks has shape {shape}; its last axis must have {sorted(totals)} entries")
    which = totals[shape[-1]]
    mine = np.empty((int(np.prod(shape[:-1])), which.counts[comm.rank]), kind)
    rows = None
    if full is not None:
        rows = np.empty((len(mine), shape[-1]), kind)
        rows[:, which.place] = full.reshape(len(mine), shape[-1])
    for i, piece in enumerate(mine):
        comm.Scatterv(None if rows is None else (rows[i], which.counts), piece)
    return mine.reshape(*shape[:-1], mine.shape[1])


def fingerprint(structure: MeshStructure, values: NDArray[Any]) -> str:
    """Shape and hash of a distributed array (..., cells) or (..., n), the same on any number of ranks.

    Numbers are compared to six digits of the largest: the last ones depend on the order in which ranks add.
    """
    full = gather(structure, np.asarray(values))
    words = None
    if full is not None:
        if full.dtype.kind == "f":
            largest = np.abs(full).max(initial=0.0)
            full = np.round(full / (largest or 1.0), _DIGITS) + 0.0
            words = f"{largest:.{_DIGITS}g} "
        digest = hashlib.sha256(np.ascontiguousarray(full).tobytes()).hexdigest()[:16]
        words = f"array{full.shape} {words or ''}{digest}"
    return str(structure.comm.bcast(words))


def in_place_order(points: Array) -> NDArray[np.int64]:
    """(n,) numbers of points (n, dim) sorted by their last coordinate, equal ones by the one before.

    Coordinates are equal when all gaps between them are rounding.

    Examples
    --------
    >>> in_place_order(np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1e-16]]))
    array([2, 0, 1])
    """
    keys = []
    for x in points.T:
        order = np.argsort(x, kind="stable")
        gaps = np.diff(x[order], prepend=x[order][:1])
        key = np.empty(len(x), dtype=np.int64)
        key[order] = np.cumsum(gaps > _SAME * np.ptp(points, axis=0).max(initial=0.0))
        keys.append(key)
    return np.lexsort(keys)


def everywhere(comm: Any, condition: bool) -> bool:
    """Whether a condition holds on all ranks."""
    return bool(comm.allreduce(bool(condition), MPI.LAND))


class _Pieces:
    """How many entries each rank has, and at which of all of them, rank by rank, each place is found."""

    def __init__(self, comm: Any, place: NDArray[np.int64] | None, kept: Mask) -> None:
        self.counts = np.array(comm.allgather(int(np.count_nonzero(kept))))
        marks = comm.gather(kept)
        self.place = np.zeros(0, dtype=np.int64)
        if place is not None:
            mark = np.concatenate(marks)
            self.place = (np.cumsum(mark) - 1)[place[mark[place]]]


class _Order:
    def __init__(self, structure: MeshStructure) -> None:
        comm = structure.comm
        centres = comm.gather(structure.centres)
        place = None if centres is None else in_place_order(np.concatenate(centres))
        self.cells = _Pieces(comm, place, np.ones(structure.cells, dtype=bool))
        self.design = _Pieces(comm, place, structure.design)

    def of(self, structure: MeshStructure, values: NDArray[Any]) -> _Pieces:
        """Which of both an array is over: the same on all ranks."""
        last = np.shape(values)[-1:]
        for which in (self.design, self.cells):
            if everywhere(structure.comm, last == (which.counts[structure.comm.rank],)):
                return which
        shapes = structure.comm.allgather(np.shape(values))
        raise ShapeError(
            f"the arrays of the ranks have the shapes {shapes}; their last axes must be as long "
            f"as the ranks have cells ({self.cells.counts}) or design variables ({self.design.counts})"
        )


_ORDERS: WeakKeyDictionary[MeshStructure, _Order] = WeakKeyDictionary()


def _order(structure: MeshStructure) -> _Order:
    if structure not in _ORDERS:
        _ORDERS[structure] = _Order(structure)
    return _ORDERS[structure]
