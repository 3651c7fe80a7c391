"""One measurement in a process of its own: its CPU clock and its peak memory are those of the measurement alone."""

from __future__ import annotations

import multiprocessing
import resource
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from sciopt.core.errors import SciOptError

__all__ = ["in_fresh_process", "peak_memory"]


def in_fresh_process[T](measure: Callable[..., T], *arguments: Any) -> T:
    """What `measure` returns in a process that does nothing else.

    Raises
    ------
    SciOptError
        When the process died.
    """
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(measure, *arguments).result()
        except BrokenProcessPool as error:
            raise SciOptError("the process that measured died; was there enough memory?") from error


def peak_memory() -> float:
    """Largest resident memory of this process so far, GB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Kilobytes on Linux, bytes on macOS.
    return peak / (1e9 if sys.platform == "darwin" else 1e6)
