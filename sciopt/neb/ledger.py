"""Who paid for what: calculator calls by purpose, over all sessions of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sciopt.neb.images import Images

__all__ = ["PURPOSES", "Ledger"]

PURPOSES = ("images", "endpoints", "relax", "check")


class Ledger:
    """Counts the calls of an evaluator under the purpose that is current.

    Examples
    --------
    >>> class Evaluator: calls = 0
    >>> evaluator = Evaluator()
    >>> ledger = Ledger(evaluator)
    >>> with ledger.book("check"):
    ...     evaluator.calls += 3
    >>> ledger.calls["check"], ledger.calls["images"]
    (3, 0)
    """

    def __init__(self, evaluator: Images | None = None) -> None:
        self.evaluator = evaluator
        self.purpose = "images"
        self.calls: Counter[str] = Counter(dict.fromkeys(PURPOSES, 0))
        self._since = (0, 0)

    @property
    def spent(self) -> int:
        """Calls under the current purpose, those not booked yet included."""
        assert self.evaluator is not None
        before, booked = self._since
        # What inner purposes have booked is theirs.
        return self.calls[self.purpose] + self.evaluator.calls - before - (sum(self.calls.values()) - booked)

    @contextmanager
    def book(self, purpose: str) -> Iterator[None]:
        """Book everything evaluated inside under `purpose`."""
        assert self.evaluator is not None
        outer = self.purpose, self._since
        self.purpose, self._since = purpose, (self.evaluator.calls, sum(self.calls.values()))
        try:
            yield
        finally:
            self.calls[purpose] = self.spent
            self.purpose, self._since = outer
