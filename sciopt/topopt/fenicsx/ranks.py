"""The ranks that share a mesh: the first one reads and writes for all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from sciopt.core.errors import SciOptError
from sciopt.core.run import Snapshot
from sciopt.core.tree import decode, encode, holders
from sciopt.topopt.fenicsx.gather import everywhere, fingerprint, gather, scatter

if TYPE_CHECKING:
    from sciopt.core.types import Array
    from sciopt.topopt.fenicsx.structure import MeshStructure

__all__ = ["Copies", "Pieces"]

# What has one entry per constraint or load case, however many variables a rank happens to have.
PER_CONSTRAINT = {
    "Evaluation.constraints",
    "Evaluation.info.cases",
    "Multipliers.values",
    "Promise.curvature",
    "Promise.sizes",
    "Promise.values",
    "Promise.multipliers",
}


class Copies:
    """Ranks that all have the same variables, as those of a grid around a mesh; see `sciopt.topopt.ranks.Ranks`.

    Parameters
    ----------
    comm
        Their communicator.
    """

    def __init__(self, comm: Any) -> None:
        self.comm = comm

    def agree[Answer](self, task: Callable[[], Answer]) -> Answer:
        if self.comm.size == 1:
            return task()
        answer: Any = None
        failure: BaseException | None = None
        if self.comm.rank == 0:
            try:
                answer = task()
            except BaseException as error:  # the others wait for an answer, Ctrl-C or not
                failure = error
        answer, told = self.comm.bcast((answer, None if failure is None else _portable(failure)))
        if failure is not None:
            raise failure
        if told is not None:
            raise told
        return answer

    def gather(self, values: Array) -> Array | None:
        return values if self.comm.rank == 0 else None

    def whole(self, snapshot: Snapshot) -> Snapshot | None:
        return snapshot if self.comm.rank == 0 else None

    def part(self, snapshot: Snapshot | None) -> Snapshot:
        return self.comm.bcast(snapshot)

    def settled(self, settings: Any) -> Any:
        return settings


class Pieces(Copies):
    """Ranks each of which has the variables of its own cells.

    In a snapshot, what each rank has a piece of is told by its shape: the last axis has as many entries as the rank has
    design variables, on every rank. What is as long by chance, because there are as many constraints as every rank has
    variables, is told by its name.

    Parameters
    ----------
    structure
        Whose variables they are.
    """

    def __init__(self, structure: MeshStructure) -> None:
        super().__init__(structure.comm)
        self.structure = structure

    def gather(self, values: Array) -> Array | None:
        return gather(self.structure, values)

    def whole(self, snapshot: Snapshot) -> Snapshot | None:
        arrays: dict[str, np.ndarray] = {}
        skeleton = encode(tuple(snapshot._replace(history=None)), arrays)  # type: ignore[arg-type]
        size = self.structure.size
        shapes = np.array([array.shape[-1:] == (size,) for array in arrays.values()], dtype=bool)
        for name, array in self._split(skeleton, arrays, shapes).items():
            arrays[name] = gather(self.structure, array)  # type: ignore[assignment]
        if self.comm.rank != 0:
            return None
        return Snapshot(*decode(skeleton, arrays))._replace(history=snapshot.history)

    def part(self, snapshot: Snapshot | None) -> Snapshot:
        arrays: dict[str, np.ndarray] = {}
        skeleton, history, split = None, None, []
        total = int(self.structure.total(float(self.structure.size)))
        if snapshot is not None:
            history = snapshot.history
            skeleton = encode(tuple(snapshot._replace(history=None)), arrays)  # type: ignore[arg-type]
            held = holders(skeleton)
            split = [n for n, a in arrays.items() if a.shape[-1:] == (total,) and held[n] not in PER_CONSTRAINT]
        copied = {name: array for name, array in arrays.items() if name not in split}
        skeleton, history, split, copied = self.comm.bcast((skeleton, history, split, copied))
        pieces = {name: scatter(self.structure, arrays.get(name)) for name in split}
        return Snapshot(*decode(skeleton, copied | pieces))._replace(history=history)

    def settled(self, settings: Any) -> Any:
        match settings:
            case np.ndarray():
                lengths = (self.structure.size, self.structure.cells)
                pieces = [everywhere(self.comm, settings.shape[-1:] == (length,)) for length in lengths]
                return fingerprint(self.structure, settings) if any(pieces) else settings
            case Mapping():
                return {key: self.settled(item) for key, item in settings.items()}
            case tuple() | list():
                return [self.settled(item) for item in settings]
        return settings

    def _split(self, skeleton: Any, arrays: dict[str, np.ndarray], fits: np.ndarray) -> dict[str, np.ndarray]:
        """The arrays of which each rank has a piece."""
        seen = self.comm.allgather((list(arrays), fits))
        if any(names != seen[0][0] for names, _ in seen):
            raise SciOptError(
                "the states of the ranks differ in what they hold, so they cannot be stored together; "
                "a method on several ranks must decide the same on all of them"
            )
        held = holders(skeleton)
        common = np.all([fits for _, fits in seen], axis=0)
        return {
            name: array
            for (name, array), split in zip(arrays.items(), common, strict=True)
            if split and held[name] not in PER_CONSTRAINT
        }


def _portable(error: BaseException) -> BaseException:
    """The error as the other ranks raise it: without what cannot be sent."""
    if isinstance(error, (SciOptError, OSError, KeyboardInterrupt)):
        return error
    return SciOptError(f"the first rank failed: {type(error).__name__}: {error}")
