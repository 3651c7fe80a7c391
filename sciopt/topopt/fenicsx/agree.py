"""Errors that all ranks raise together: what fails on one must not leave the others waiting for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sciopt.core.errors import SciOptError

__all__ = ["together"]


@contextmanager
def together(comm: Any) -> Iterator[None]:
    """Raise on all ranks what a block raises on any; the block itself must not communicate.

    The first rank's error is the one that all tell. A rank whose own error it is raises it as it is.
    """
    own: Exception | None = None
    try:
        yield
    except Exception as error:
        own = error
    if comm.size == 1:
        seen = [None if own is None else (type(own), str(own))]
    else:
        seen = comm.allgather(None if own is None else (type(own), str(own)))
    first = next((one for one in seen if one is not None), None)
    if first is None:
        return
    kind, words = first
    if own is not None and (kind, words) == (type(own), str(own)):
        raise own
    if issubclass(kind, SciOptError):
        raise kind(words)
    raise SciOptError(f"another rank failed: {kind.__name__}: {words}")
