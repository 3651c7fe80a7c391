"""What a run folder asks of the processes that share a run: one of them writes, all of them agree."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from sciopt.core.run import Snapshot
    from sciopt.core.types import Array

__all__ = ["ALONE", "Alone", "Ranks"]


class Ranks(Protocol):
    """The processes of a run. All of them must call every method, in the same order."""

    def agree[Answer](self, task: Callable[[], Answer]) -> Answer:
        """What `task` returns or raises on the first rank, which alone runs it, on all ranks."""

    def gather(self, values: Array) -> Array | None:
        """The whole of an array over design variables (..., n) on the first rank, None elsewhere."""

    def whole(self, snapshot: Snapshot) -> Snapshot | None:
        """The snapshot of all variables on the first rank, None elsewhere."""

    def part(self, snapshot: Snapshot | None) -> Snapshot:
        """Each rank's snapshot from that of all variables, which the first rank has."""

    def settled(self, settings: Any) -> Any:
        """Settings without anything that differs between ranks, or depends on their number."""


class Alone:
    """The only process there is."""

    def agree[Answer](self, task: Callable[[], Answer]) -> Answer:
        return task()

    def gather(self, values: Array) -> Array | None:
        return values

    def whole(self, snapshot: Snapshot) -> Snapshot | None:
        return snapshot

    def part(self, snapshot: Snapshot | None) -> Snapshot:
        assert snapshot is not None  # the first rank has it
        return snapshot

    def settled(self, settings: Any) -> Any:
        return settings


ALONE = Alone()
