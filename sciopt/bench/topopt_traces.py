"""Runs of the topology benchmark on disk: one line of CSV each, with the whole course of the objective."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sciopt.core.checkpoint import write_atomically
from sciopt.core.errors import InputError

if TYPE_CHECKING:
    from sciopt.core.types import Array

__all__ = ["DesignRun", "Trace", "merged", "read_runs", "write_runs"]


@dataclass(frozen=True)
class Trace:
    """How the best feasible objective fell, one point per evaluation of the problem itself.

    Attributes
    ----------
    equivalents
        Solves spent up to the evaluation, coarse grids included, in units of one on the finest grid.
    best
        Best feasible objective so far, inf while there is none.

    Examples
    --------
    >>> trace = Trace.of([5.625, 6.625, 7.625, 9.0], [20.0, 18.0, 19.0, 17.5])
    >>> trace.text()
    '20@5.625 18 = 17.5@9'
    >>> Trace.parse(trace.text()) == trace
    True
    """

    equivalents: tuple[float, ...]
    best: tuple[float, ...]

    @classmethod
    def of(cls, equivalents: Iterable[float] | Array, values: Iterable[float] | Array) -> Trace:
        """The trace of these evaluations, rounded to what is stored: three decimals and six digits."""
        best, lowest = [], math.inf
        for value in values:
            lowest = min(lowest, float(f"{value:.6g}"))
            best.append(lowest)
        return cls(tuple(round(float(spent), 3) for spent in equivalents), tuple(best))

    def text(self) -> str:
        """`best@equivalents` per evaluation; no `@` where one solve was spent, `=` where nothing improved."""
        words: list[str] = []
        spent, lowest = 0.0, math.nan
        for now, best in zip(self.equivalents, self.best, strict=True):
            word = "=" if best == lowest else f"{best:.6g}"
            words.append(word if now == round(spent + 1.0, 3) else f"{word}@{now:g}")
            spent, lowest = now, best
        return " ".join(words)

    @classmethod
    def parse(cls, text: str) -> Trace:
        """The trace that `text` tells."""
        spent, lowest = 0.0, math.nan
        equivalents, values = [], []
        for word in text.split():
            best, _, at = word.partition("@")
            spent = float(at) if at else round(spent + 1.0, 3)
            lowest = lowest if best == "=" else float(best)
            equivalents.append(spent)
            values.append(lowest)
        return cls(tuple(equivalents), tuple(values))


@dataclass(frozen=True)
class DesignRun:
    """One method from one start on one problem.

    Attributes
    ----------
    problem, shape, seen
        Which problem, its elements per axis (``144x48``), and whether a constant was chosen looking at it.
    start
        0 is uniform, the others are perturbed.
    method
        Its name.
    budget
        What it was allowed to spend, in solves on the finest grid.
    seconds
        CPU seconds up to the last evaluation, all threads.
    solve_seconds
        Median CPU seconds of an evaluation on the finest grid.
    direct
        Objective of the best design, calculated anew by a direct solver; NaN where that would take too long, inf where
        it failed.
    note
        Why it ended, or what broke.
    trace
        How the objective fell.
    stopped
        ``objective@solves`` of the same run under the default stopping rule, where the trace does not tell it: a run
        that looks for several minima one after the other asks the rule anew for each. Empty elsewhere.
    """

    problem: str
    shape: str
    seen: bool
    start: int
    method: str
    budget: float
    seconds: float
    solve_seconds: float
    direct: float
    note: str
    trace: Trace
    stopped: str = ""

    @property
    def key(self) -> tuple[str, int, str]:
        """What must be unique in a benchmark."""
        return self.problem, self.start, self.method


_COLUMNS = tuple(DesignRun.__dataclass_fields__)


def write_runs(file: Path, runs: Iterable[DesignRun]) -> None:
    """Write all `runs` to `file` at once: after a crash the old file is still there."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for run in runs:
        numbers = {"seconds": f"{run.seconds:.4g}", "solve_seconds": f"{run.solve_seconds:.3g}"}
        other = {"budget": f"{run.budget:g}", "direct": f"{run.direct:.8g}", "trace": run.trace.text()}
        cells = numbers | other
        writer.writerow([cells.get(name, getattr(run, name)) for name in _COLUMNS])
    write_atomically(file, text.getvalue().encode())


def read_runs(file: Path) -> list[DesignRun]:
    """Runs that ``sciopt bench topopt --output`` wrote.

    Raises
    ------
    InputError
        When the file is missing or holds something else.
    """
    csv.field_size_limit(10**7)
    try:
        with open(file, newline="") as opened:
            rows = list(csv.DictReader(opened))
            runs = [
                DesignRun(
                    problem=row["problem"],
                    shape=row["shape"],
                    seen=row["seen"] == "True",
                    start=int(row["start"]),
                    method=row["method"],
                    budget=float(row["budget"]),
                    seconds=float(row["seconds"]),
                    solve_seconds=float(row["solve_seconds"]),
                    direct=float(row["direct"]),
                    note=row["note"],
                    trace=Trace.parse(row["trace"]),
                    stopped=row.get("stopped") or "",
                )
                for row in rows
            ]
    except (OSError, KeyError, ValueError, TypeError, AttributeError, csv.Error) as error:
        raise InputError(f"{file} does not hold runs of this benchmark: {error}") from error
    if not runs:
        raise InputError(f"{file} holds no runs")
    return runs


def merged(parts: Sequence[Sequence[DesignRun]]) -> list[DesignRun]:
    """All runs of several files; where two hold the same run, the later file counts.

    Raises
    ------
    InputError
        When they are not of one benchmark: another budget, or another size of the same problem.
    """
    found = {run.key: run for part in parts for run in part}
    shapes: dict[str, str] = {}
    for run in found.values():
        if shapes.setdefault(run.problem, run.shape) != run.shape:
            raise InputError(
                f"there are runs of {run.problem} with {shapes[run.problem]} and with {run.shape} elements, which "
                "cannot be compared; keep one size in the file"
            )
    budgets = sorted({run.budget for run in found.values()})
    if len(budgets) > 1:
        raise InputError(
            f"there are runs with budgets of {budgets[0]:g} and of {budgets[-1]:g} solves, which cannot be compared; "
            "keep one budget in the file"
        )
    return list(found.values())
