"""Progress of a path search on the screen: one line per band, or per evaluation of a path finder."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np

from sciopt.neb.finder_memory import Memory

if TYPE_CHECKING:
    from sciopt.core.run import Snapshot
    from sciopt.neb.path_result import Lesson

__all__ = ["Progress"]


class Progress:
    """Prints a line when something new is known, and a heading when another kind of search begins."""

    def __init__(self) -> None:
        self._kind: type | None = None
        self._told = 0

    def __call__(self, snapshot: Snapshot) -> None:
        memory = snapshot.state.memory
        kind = Memory if isinstance(memory, Memory) else object
        if kind is not self._kind:
            self._kind, self._told = kind, 0
            print(_FINDER_HEADING if kind is Memory else _BAND_HEADING)
        if isinstance(memory, Memory):
            # A second search begins its lessons anew; a resumed one has told the first of them before.
            if len(memory.lessons) < self._told:
                self._told = 0
            initial = np.flatnonzero((memory.data.X == memory.X[0]).all(axis=1))[0]
            for lesson in memory.lessons[self._told :]:
                print(_evaluation(lesson, float(memory.data.energies[initial]), memory.bound))
            self._told = len(memory.lessons)
        else:
            print(_band(snapshot))
        sys.stdout.flush()


_BAND_HEADING = f"{'band':>5} {'calls':>6} {'barrier/eV':>11} {'fmax':>9} {'limit':>8}   (eV/Å, Å)"
_FINDER_HEADING = (
    f"{'calls':>5} {'image':>6} {'why':>9} {'energy/eV':>10} {'error/eV':>9} {'error':>8} {'trust':>6} {'band':>8}"
    "   (largest error of the force, and band force not excluded, eV/Å)"
)


def _band(snapshot: Snapshot) -> str:
    record, info = snapshot.history[-1], snapshot.state.here.info
    barrier = info["energies"].max() - info["energies"][0]
    calls = int(snapshot.history.cost.get("images", 0))
    return f"{len(snapshot.history):5d} {calls:6d} {barrier:11.4f} {record.residual:9.4f} {record.limit:8.3f}"


def _evaluation(lesson: Lesson, zero: float, bound: float) -> str:
    energy, force = _number(lesson.energy - lesson.expected, "+9.4f"), _number(lesson.force_error, "8.4f")
    return (
        f"{lesson.evaluation:5d} {lesson.image:6d} {lesson.why:>9} {lesson.energy - zero:10.4f} "
        f"{energy} {force} {lesson.trust:6.2f} {_number(bound, '8.4f')}"
    )


def _number(value: float, form: str) -> str:
    """The number, or a dash of the same width where it is not known."""
    width = int(form.strip("+").split(".")[0])
    return f"{value:{form}}" if np.isfinite(value) else f"{'-':>{width}}"
