"""Ctrl-C and SIGTERM end a task after the evaluation under way, with the best design so far."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sciopt.topopt.runner import Visit

__all__ = ["Interrupted", "interruptible"]

log = logging.getLogger("sciopt")

_SENTENCES = {signal.SIGINT: "interrupted by the user", signal.SIGTERM: "ended by SIGTERM"}


def _at_once() -> None:
    raise KeyboardInterrupt


class Interrupted:
    """An observer that ends a task once a signal came; a second Ctrl-C ends it at once.

    Handlers only take a note, so that neither a solver nor a file is left in the middle of something.

    Parameters
    ----------
    agree
        Where several processes share the task: the largest number any of them gives, on all of them.
    at_once
        What a second Ctrl-C does.
    """

    def __init__(self, agree: Callable[[int], int] = int, at_once: Callable[[], Any] = _at_once) -> None:
        self.agree, self.at_once = agree, at_once
        self.signal = 0

    def __call__(self, visit: Visit) -> None:
        seen = self.agree(self.signal)
        if seen:
            raise StopIteration(_SENTENCES[signal.Signals(seen)])

    def note(self, number: int, frame: FrameType | None) -> None:
        """What a signal does."""
        if number == signal.SIGINT and self.signal == signal.SIGINT:
            self.at_once()
        again = "; Ctrl-C again ends at once" if number == signal.SIGINT else ""
        if not self.signal:
            log.warning("ending after this evaluation%s", again)
        self.signal = number


@contextmanager
def interruptible(interrupted: Interrupted | None = None) -> Iterator[Interrupted]:
    """Signals end the task observed by what this yields; only in the main thread, where Python handles them.

    Examples
    --------
    >>> import os, signal
    >>> with interruptible() as interrupted:
    ...     os.kill(os.getpid(), signal.SIGTERM)
    ...     interrupted(None)
    Traceback (most recent call last):
    StopIteration: ended by SIGTERM
    """
    interrupted = interrupted or Interrupted()
    before = {number: signal.signal(number, interrupted.note) for number in _SENTENCES}
    try:
        yield interrupted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
