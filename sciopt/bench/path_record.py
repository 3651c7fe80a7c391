"""Benchmark outcomes in CSV files: written as they arrive, read back, continued after an interruption."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import MISSING, asdict, fields
from typing import TYPE_CHECKING, Any, Protocol

from sciopt.core.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Self

__all__ = ["Record", "latest", "read_rows", "write_rows"]

_KINDS: dict[str, Callable[[str], Any]] = {"int": int, "float": float, "str": str}


class Row(Protocol):
    """A dataclass of numbers, texts and bools."""

    @property
    def key(self) -> tuple[Any, ...]:
        """What makes two rows the same run."""


def read_rows[T](file: Path, kind: type[T], torn: bool = False) -> list[T]:
    """Rows of dataclass `kind`; columns that an older file does not have take their defaults.

    Parameters
    ----------
    file
        The CSV file.
    kind
        A dataclass of numbers, texts and bools.
    torn
        Whether the writer may have died in the middle of the last row, which is then left out.

    Raises
    ------
    InputError
        When the file is missing or holds something else.
    """
    try:
        with open(file, newline="") as opened:
            lines = opened.readlines()
        if torn and lines and not lines[-1].endswith("\n"):
            lines.pop()
        return [_parsed(row, kind) for row in csv.DictReader(lines)]
    except (OSError, KeyError, ValueError) as error:
        raise InputError(f"{file} does not hold outcomes of this benchmark: {error}") from error


def _parsed[T](row: dict[str, str], kind: type[T]) -> T:
    values = {}
    for field in fields(kind):  # type: ignore[arg-type]  # a dataclass
        if field.name in row or field.default is MISSING:
            text = row[field.name]
            if text is None:
                raise ValueError(f"a row ends before its column {field.name}")
            values[field.name] = _bool(text) if field.type == "bool" else _KINDS[str(field.type)](text)
    return kind(**values)


def _bool(text: str) -> bool:
    if text not in ("True", "False"):
        raise ValueError(f"{text!r} is neither True nor False")
    return text == "True"


def latest[T: Row](rows: Iterable[T]) -> list[T]:
    """Of rows of the same run the last one, at the place of the first."""
    return list({row.key: row for row in rows}.values())


def write_rows(file: Path, rows: Sequence[Any], kind: type) -> None:
    """Replace `file` by `rows`; it never holds less than before or after."""
    fresh = file.with_name(file.name + ".new")
    with open(fresh, "w", newline="") as opened:
        writer = csv.DictWriter(opened, [field.name for field in fields(kind)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)
    os.replace(fresh, file)


class Record[T: Row]:
    """A file that outcomes are appended to one by one.

    Parameters
    ----------
    file
        Where to.
    kind
        Their class.
    resume
        Continue a file of an interrupted run; without it, a file that exists is refused.

    Attributes
    ----------
    rows
        What the file holds.

    Raises
    ------
    InputError
        For a missing folder, a file that exists, or one that holds something else.
    """

    def __init__(self, file: Path, kind: type[T], resume: bool = False) -> None:
        self.file, self.kind = file, kind
        if not file.parent.is_dir():
            raise InputError(f"there is no folder {file.parent} to write {file.name} into")
        if file.exists() and not resume:
            raise InputError(f"{file} exists: continue it with --resume, or name another file")
        self.rows: list[T] = latest(read_rows(file, kind, torn=True)) if file.exists() else []
        # Also an old file gets all columns.
        write_rows(file, self.rows, kind)
        self._opened = open(file, "a", newline="")
        self._writer = csv.DictWriter(self._opened, [field.name for field in fields(kind)], lineterminator="\n")  # type: ignore[arg-type]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._opened.close()

    def add(self, row: T) -> None:
        """Append one outcome; it is on disk when this returns."""
        self.rows.append(row)
        self._writer.writerow(asdict(row))  # type: ignore[call-overload]
        self._opened.flush()
        os.fsync(self._opened.fileno())

    def sort(self, order: Callable[[T], Any]) -> None:
        """Close the file and put its rows in order."""
        self._opened.close()
        self.rows.sort(key=order)
        write_rows(self.file, self.rows, self.kind)
