"""One line of a design task's log."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["DesignRecord"]


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
