"""Ctrl-C and SIGTERM on several ranks: all of them end after the same evaluation.

``mpiexec`` passes signals on to its ranks, but not at the same moment, and a scheduler may send one to a single rank.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sciopt.topopt import interrupt
from sciopt.topopt.fenicsx.loaded import MPI

__all__ = ["Interrupted"]

# The exit code of a program that Ctrl-C ended.
_CODE = 130


class Interrupted(interrupt.Interrupted):
    """An observer that ends a task on all ranks after the evaluation in which any of them got a signal.

    A second Ctrl-C aborts all ranks. For `sciopt.topopt.interrupt.interruptible`.

    Parameters
    ----------
    comm
        Communicator of the mesh.
    """

    def __init__(self, comm: Any) -> None:
        def largest(number: int) -> int:
            found = np.array(number)
            comm.Allreduce(MPI.IN_PLACE, found, MPI.MAX)
            return int(found)

        if comm.size == 1:
            super().__init__()
        else:
            # An exception on one rank would leave the others waiting for it.
            super().__init__(largest, lambda: comm.Abort(_CODE))
