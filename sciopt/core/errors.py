"""What can go wrong, as one small family of exceptions.

Every message says what was seen, what was expected and what to do about it. The command line turns each of
these into one line on stderr and exit code 1.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = [
    "EvaluationFailed",
    "InputError",
    "NotFinite",
    "RestartMismatch",
    "SciOptError",
    "ShapeError",
]


class SciOptError(Exception):
    """Base of every error sciopt raises on purpose."""


class InputError(SciOptError, ValueError):
    """The problem as posed cannot be run: wrong, missing or contradictory input."""


class ShapeError(InputError):
    """An array does not have the shape its space expects."""


class NotFinite(SciOptError, ArithmeticError):
    """A number that must be finite is not."""


class RestartMismatch(SciOptError):
    """A checkpoint belongs to another problem or to other settings."""


class EvaluationFailed(SciOptError):
    """One evaluation of the problem did not give a usable answer.

    Parameters
    ----------
    message
        One sentence: what failed and where.
    blocks
        The blocks of variables that failed (the images of a band, counted from 0 among the movable ones). Empty
        means the whole point. A method may shorten the step of those blocks only and keep what was paid for.
    """

    def __init__(self, message: str, blocks: Sequence[int] = ()) -> None:
        super().__init__(message)
        self.blocks = tuple(blocks)

    def __reduce__(self) -> tuple[type[EvaluationFailed], tuple[str, tuple[int, ...]]]:
        # Worker processes send exceptions back pickled; the default would drop `blocks`.
        return type(self), (str(self), self.blocks)
