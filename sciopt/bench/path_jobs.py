"""Benchmark runs on several processes: results arrive at once, and Ctrl-C loses only what is under way."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Generator, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any

from threadpoolctl import threadpool_limits

from sciopt.core.errors import InputError, SciOptError

__all__ = ["in_processes"]


def in_processes[T](
    work: Callable[..., Iterator[T]], tasks: Sequence[tuple[Any, ...]], jobs: int
) -> Generator[T, None, None]:
    """All that ``work(*task)`` yields, for every task, as it comes.

    Parameters
    ----------
    work
        A function at the top level of a module.
    tasks
        Its arguments, task by task. They are begun in this order, each by a process that has nothing to do.
    jobs
        Processes, with one thread each; one job runs in this process.

    Raises
    ------
    InputError
        For less than one job.
    SciOptError
        When a process died, for instance in a calculator that crashed.
    """
    if jobs < 1:
        raise InputError(f"jobs is {jobs}; expected at least 1")
    if jobs == 1:
        return _here(work, tasks)
    return _elsewhere(work, tasks, jobs)


def _here[T](work: Callable[..., Iterator[T]], tasks: Sequence[tuple[Any, ...]]) -> Generator[T, None, None]:
    for task in tasks:
        yield from work(*task)


def _elsewhere[T](
    work: Callable[..., Iterator[T]], tasks: Sequence[tuple[Any, ...]], jobs: int
) -> Generator[T, None, None]:
    context = multiprocessing.get_context("spawn")
    waiting = list(reversed(tasks))
    at_work: dict[Connection, tuple[Any, ...]] = {}
    processes = []
    try:
        for _ in range(min(jobs, len(tasks))):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, work), daemon=True)
            process.start()
            processes.append(process)
            # The end of the process is then the end of the pipe.
            theirs.close()
            at_work[ours] = ()
            _hand_over(ours, waiting, at_work)
        while at_work:
            for pipe in wait(list(at_work)):
                assert isinstance(pipe, Connection)
                try:
                    finished, answer = pipe.recv()
                except EOFError as error:
                    what = " ".join(map(str, at_work[pipe][:2]))
                    raise SciOptError(f"the process at work on {what} died; what was finished is kept") from error
                if not finished:
                    yield answer
                elif answer is not None:
                    raise answer
                else:
                    _hand_over(pipe, waiting, at_work)
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.join()


def _hand_over(pipe: Connection, waiting: list[tuple[Any, ...]], at_work: dict[Connection, tuple[Any, ...]]) -> None:
    if waiting:
        at_work[pipe] = waiting.pop()
        pipe.send(at_work[pipe])
    else:
        del at_work[pipe]
        pipe.close()


def _serve(pipe: Connection, work: Callable[..., Iterator[Any]]) -> None:
    """Answer tasks with (False, what `work` yields)... and (True, None), or (True, the error), until the pipe ends."""
    # Ctrl-C reaches every process of a terminal; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Libraries loaded from now on read the environment; the others are limited below.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    while True:
        try:
            task = pipe.recv()
        except EOFError:
            return
        with threadpool_limits(1):
            try:
                for answer in work(*task):
                    pipe.send((False, answer))
            except SciOptError as error:
                pipe.send((True, SciOptError(str(error))))
                return
            pipe.send((True, None))
