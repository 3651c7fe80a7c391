"""Commands on several MPI ranks: all compute, the first one speaks."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from sciopt.core.errors import InputError, SciOptError

if TYPE_CHECKING:
    from sciopt.topopt.interrupt import Interrupted

__all__ = ["Ranks", "on_ranks"]

_ERROR = 1


class Ranks:
    """Who takes part: the processes of a communicator, or this one alone.

    Parameters
    ----------
    comm
        Communicator (mpi4py), or None.
    """

    def __init__(self, comm: Any = None) -> None:
        self.comm = comm if comm is not None and comm.size > 1 else None

    @property
    def first(self) -> bool:
        """Whether this is the rank that prints."""
        return self.comm is None or bool(self.comm.rank == 0)

    def interrupted(self) -> Interrupted | None:
        """What ends a run on all of them at once; None for what does it on one."""
        if self.comm is None:
            return None
        from sciopt.topopt.fenicsx.interrupt import Interrupted

        return Interrupted(self.comm)

    @contextmanager
    def together(self) -> Iterator[None]:
        """What a block raises on one rank is raised on all; it must not communicate."""
        if self.comm is None:
            yield
            return
        from sciopt.topopt.fenicsx.agree import together

        with together(self.comm):
            yield


@contextmanager
def on_ranks(mesh: bool) -> Iterator[Ranks]:
    """The ranks for a command on a mesh, where all but the first are silent and errors are told once.

    Without a mesh MPI is not loaded, and this process is alone.

    Raises
    ------
    InputError
        Without a mesh, when several processes were started all the same: they would write to the same folder.
    """
    if not mesh:
        _refuse_company()
        yield Ranks()
        return
    from sciopt.topopt.fenicsx.loaded import MPI

    ranks = Ranks(MPI.COMM_WORLD)
    if ranks.comm is None:
        yield ranks
        return
    try:
        with contextlib.nullcontext() if ranks.first else _silence():
            yield ranks
    except (SciOptError, OSError):
        if ranks.first:
            raise
        raise typer.Exit(_ERROR) from None
    except typer.Exit:
        raise
    except Exception:
        # The other ranks may be waiting for this one, for good.
        traceback.print_exc()
        sys.stderr.flush()
        ranks.comm.Abort(_ERROR)


def _refuse_company() -> None:
    for library in ("PMI", "OMPI_COMM_WORLD"):
        if int(os.environ.get(f"{library}_SIZE", 1)) > 1:
            if os.environ.get(f"{library}_RANK") != "0":
                raise typer.Exit(_ERROR)
            raise InputError("several ranks were started, but a grid is solved by one; add --backend fenicsx")


@contextmanager
def _silence() -> Iterator[None]:
    logger = logging.getLogger("sciopt")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with (
            open(os.devnull, "w") as nowhere,
            contextlib.redirect_stdout(nowhere),
            contextlib.redirect_stderr(nowhere),
        ):
            yield
    finally:
        logger.setLevel(level)
