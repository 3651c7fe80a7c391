"""One line of a design task's log."""

from __future__ import annotations

import csv
import logging
from pathlib import Path
from typing import NamedTuple

__all__ = ["DesignRecord", "read_records"]

log = logging.getLogger("sciopt")


class DesignRecord(NamedTuple):
    """One evaluation of a design task.

    Attributes
    ----------
    evaluation
        Number, from 1, over all grids.
    stage
        Number of the run it belongs to, from 0.
    elements
        Design elements of its grid.
    penalty, beta
        Share of the material's full penalty, and sharpness of the projection (0: none).
    objective, volume, change
        The value, the filled share, and the largest change of a variable in the last accepted step.
    equivalents
        What all evaluations so far have cost, in solves on the finest grid, by number of elements.
    limit, residual
        The move limit after it, and the stationarity residual, see `sciopt.core.Box`.
    accepted
        Whether the design was accepted.
    seconds
        Spent on this evaluation, the method's share included.
    """

    evaluation: int
    stage: int
    elements: int
    penalty: float
    beta: float
    objective: float
    volume: float
    change: float
    equivalents: float
    limit: float
    residual: float
    accepted: bool
    seconds: float

    @classmethod
    def from_row(cls, row: dict[str, str]) -> DesignRecord:
        """The record of a row of log.csv."""
        whole = {name: int(row[name]) for name in ("evaluation", "stage", "elements")}
        numbers = {name: float(row[name]) for name in cls._fields if name not in (*whole, "accepted")}
        return cls(**whole, **numbers, accepted=row["accepted"] == "True")  # type: ignore[arg-type]


def read_records(file: Path) -> list[DesignRecord]:
    """The records of a log.csv, up to what a crash has cut off; none when there is no such file."""
    if not file.exists():
        return []
    found = []
    with open(file, newline="") as opened:
        for row in csv.DictReader(opened):
            try:
                found.append(DesignRecord.from_row(row))
            except (TypeError, ValueError, KeyError):
                log.warning("the end of %s was lost in a crash; keeping %d evaluations", file, len(found))
                break
    return found
