"""What happened, one record per evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from sciopt.core.types import Array

__all__ = ["History", "Record"]


class Record(NamedTuple):
    """One evaluation.

    Attributes
    ----------
    evaluations
        Evaluations so far, this one included.
    value
        The value at the evaluated point, NaN where the problem has none.
    residual
        The space's residual at the evaluated point.
    limit
        The limit after the evaluation (its mean where there is one per block or variable).
    accepted
        Whether the step was accepted.
    evaluating, overhead
        Seconds spent in the problem and outside it, for this evaluation.
    violation
        Largest violated constraint; 0 where all hold or there is none.
    moved
        Length of the step that led here, as the space measures it (the largest of all blocks); 0 where it was rejected.
    """

    evaluations: int
    value: float
    residual: float
    limit: float
    accepted: bool
    evaluating: float
    overhead: float
    violation: float = 0.0
    moved: float = 0.0


class History:
    """The records of a run, the totals of what it cost, and the window of its last points.

    Examples
    --------
    >>> history = History()
    >>> history.add(Record(1, 2.0, 0.5, 0.1, True, 0.0, 0.0), {"images": 7})
    >>> history.cost
    {'evaluations': 1.0, 'images': 7.0}
    """

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.cost: dict[str, float] = {}
        self.failures = 0

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)

    def __getitem__(self, index: int) -> Record:
        return self.records[index]

    def add(self, record: Record, cost: dict[str, float] | None = None) -> None:
        """Append one record and book what it cost."""
        self.records.append(record)
        for name, amount in {"evaluations": 1.0, **(cost or {})}.items():
            self.cost[name] = self.cost.get(name, 0.0) + float(amount)

    def copy(self) -> History:
        """An independent history with the same records."""
        copied = History()
        copied.records, copied.cost, copied.failures = list(self.records), dict(self.cost), self.failures
        return copied

    def column(self, name: str) -> Array:
        """(evaluations,) one field of all records."""
        return np.array([getattr(record, name) for record in self.records], dtype=float)
