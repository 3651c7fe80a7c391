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

__all__ = ["in_fresh_process"]


def in_fresh_process[T](measure: Callable[..., T], *arguments: Any) -> tuple[T, float]:
    """What `measure` returns, and the peak memory of the process in GB.

    Raises
    ------
    SciOptError
        When the process died.
    """
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(_measured, measure, arguments).result()
        except BrokenProcessPool as error:
            raise SciOptError("the process that measured died; was there enough memory?") from error


def _measured(measure: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[Any, float]:
    found = measure(*arguments)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Kilobytes on Linux, bytes on macOS.
    return found, peak / (1e9 if sys.platform == "darwin" else 1e6)
