"""How worker processes are started: one thread each, and quiet when Ctrl-C reaches them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker

__all__ = ["ctrl_c_waits", "one_thread_each", "start_worker"]

_THREAD_LIMITS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def start_worker() -> None:
    """Initialize a worker process."""
    # Ctrl-C reaches every process of a terminal; the workers should then end without a traceback each. Background jobs
    # ignore it, and so must their workers.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])


@contextmanager
def ctrl_c_waits() -> Iterator[None]:
    """Hold Ctrl-C back while processes are started; they inherit that until `start_worker`.

    A process that is interrupted while Python is loading prints a traceback that nobody can prevent from within.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    # Its start would lift the block in the middle.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Limit the threads of processes started meanwhile: numerical libraries read the environment as they load."""
    added = [name for name in _THREAD_LIMITS if name not in os.environ]
    os.environ.update(dict.fromkeys(added, "1"))
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)
