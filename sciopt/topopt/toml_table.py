"""Tables of a TOML file, read key by key: every mistake is one sentence that names ``section.key``."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sciopt.core.errors import InputError

__all__ = ["Table", "number", "suggestion"]


class Table:
    """One table of a TOML file; it remembers which keys were asked for.

    Parameters
    ----------
    content
        What the file says.
    name
        Of the section, for messages.
    entry
        Number of the entry where a section is repeated, from 1.

    Examples
    --------
    >>> table = Table({"radius": 2.5, "kid": "density"}, "filter")
    >>> table.number("radius")
    2.5
    >>> table.word("kind", ("density", "helmholtz"), "density")
    'density'
    >>> table.finish()
    Traceback (most recent call last):
    ...
    sciopt.core.errors.InputError: filter.kid is unknown; did you mean 'kind'? known are radius, kind
    """

    def __init__(self, content: Mapping[str, Any], name: str, entry: int | None = None) -> None:
        self.content, self.name, self.entry = content, name, entry
        self._asked: list[str] = []

    def says(self, key: str) -> bool:
        """Whether the file has this key."""
        self._ask(key)
        return key in self.content

    def label(self, key: str) -> str:
        """``section.key`` for messages, with the number of a repeated section."""
        return f"{self.name}.{key}" + ("" if self.entry is None else f" (entry {self.entry})")

    def raw(self, key: str, default: Any = None) -> Any:
        """The value as it is.

        Raises
        ------
        InputError
            When it is missing and there is no default.
        """
        self._ask(key)
        if key in self.content:
            return self.content[key]
        if default is None:
            unknown = [other for other in self.content if other not in self._asked]
            raise InputError(f"{self.label(key)} is missing{suggestion(key, unknown, '; is {!r} meant to be it?')}")
        return default

    def number(self, key: str, default: float | None = None) -> float:
        """A finite number."""
        return number(self.raw(key, default), self.label(key))

    def whole(self, key: str) -> int:
        """A whole number."""
        value = self.raw(key)
        if not isinstance(value, int) or isinstance(value, bool):
            raise InputError(f"{self.label(key)} is {value!r}; expected a whole number")
        return value

    def flag(self, key: str, default: bool) -> bool:
        """True or false."""
        value = self.raw(key, default)
        if not isinstance(value, bool):
            raise InputError(f"{self.label(key)} is {value!r}; expected true or false")
        return value

    def word(self, key: str, known: Sequence[str], default: str | None = None) -> str:
        """One of the `known` words."""
        value = self.text(key, default)
        if value not in known:
            raise InputError(
                f"{self.label(key)} is {value!r}{suggestion(value, known)}; expected one of {', '.join(known)}"
            )
        return value

    def text(self, key: str, default: str | None = None) -> str:
        """Any text."""
        value = self.raw(key, default)
        if not isinstance(value, str):
            raise InputError(f"{self.label(key)} is {value!r}; expected text in quotes")
        return value

    def numbers(self, key: str, default: Sequence[float] | None = None) -> list[float]:
        """A list of finite numbers."""
        value = self.raw(key, default)
        if not isinstance(value, list):
            raise InputError(f"{self.label(key)} is {value!r}; expected a list of numbers")
        return [number(item, self.label(key)) for item in value]

    def rest(self, known: Iterable[str]) -> dict[str, Any]:
        """Everything whose key was not asked for yet, all of it among the `known` keys."""
        found = {key: value for key, value in self.content.items() if key not in self._asked}
        for key in known:
            self._ask(key)
        self.finish()
        return found

    def finish(self) -> None:
        """Refuse keys nobody asked for.

        Raises
        ------
        InputError
            With the closest key that would have been understood.
        """
        for key in self.content:
            if key not in self._asked:
                raise InputError(
                    f"{self.label(key)} is unknown;{suggestion(key, self._asked, ' did you mean {!r}?')} "
                    f"known are {', '.join(self._asked)}"
                )

    def _ask(self, key: str) -> None:
        if key not in self._asked:
            self._asked.append(key)


def number(value: Any, label: str) -> float:
    """The finite number `value`.

    Raises
    ------
    InputError
        For anything else.
    """
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise InputError(f"{label} is {value!r}; expected a number")
    if not math.isfinite(value):
        raise InputError(f"{label} is {value}; expected a finite number")
    return float(value)


def suggestion(word: str, known: Sequence[str], form: str = " (did you mean {!r}?)") -> str:
    """The closest known word in a question, or nothing."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return form.format(close[0]) if close else ""
