"""Gmsh's .msh files, formats 2.2 and 4.1, text and binary, read without Gmsh.

Only what a mesh of first-order cells needs is read: nodes, elements, physical groups and their names. The formats are
documented in the reference manual of Gmsh (Geuzaine and Remacle 2009, doi:10.1002/nme.2579).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sciopt.core.errors import InputError
from sciopt.topopt.fenicsx.raw_mesh import KINDS, Block, RawMesh, indices_of, refuse_element
from sciopt.topopt.fenicsx.raw_mesh import Indices as Ids

__all__ = ["read_msh"]

# Of an element in format 2.2: its group, its entity, and the partitions it is in.
_MOST_TAGS = 1000


def read_msh(path: Path) -> RawMesh:
    """Nodes, elements and physical groups of a file.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    InputError
        For what is missing, no .msh file, of another format, cut off, or not of first order.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"there is no file {path}") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    try:
        return _parsed(data)
    except _Malformed as error:
        raise InputError(f"{path}: {error}") from None


class _Malformed(Exception):
    """What is wrong, without the name of the file."""


def _parsed(data: bytes) -> RawMesh:
    header = _section(data, "MeshFormat", required=False)
    if header is None:
        raise _Malformed("is no Gmsh mesh, which begins with $MeshFormat")
    words = header.split(b"\n")[0].split()
    if len(words) < 3 or words[0] not in (b"2.2", b"4.1"):
        version = words[0].decode(errors="replace") if words else "missing"
        raise _Malformed(f"its format is {version}; expected 2.2 or 4.1: open it in Gmsh and save it again")
    binary = words[1] != b"0"
    if binary and header.partition(b"\n")[2][:4] != np.array(1, "<i4").tobytes():
        raise _Malformed("its numbers are in the byte order of another machine; save it as text there")
    if _section(data, "PartitionedEntities", required=False) is not None:
        raise _Malformed("it is partitioned; save it in one piece, the ranks share it out themselves")
    names = {
        (int(dim), int(tag)): name.decode(errors="replace")
        for dim, tag, name in re.findall(
            rb'(\d+)\s+(\d+)\s+"([^"]*)"', _section(data, "PhysicalNames", required=False) or b""
        )
    }
    parse = _parse_2 if words[0] == b"2.2" else _parse_4
    try:
        points, blocks = parse(data, binary)
    except InputError as error:
        raise _Malformed(str(error)) from None
    return RawMesh(points, blocks, names)


def _section(data: bytes, name: str, required: bool = True) -> bytes | None:
    """What stands between ``$name`` and ``$Endname``; None where it may be missing and is."""
    begin = re.search(rb"(?:^|\n)\$" + name.encode() + rb"[ \t]*\r?\n", data)
    if begin is None:
        if required:
            raise _Malformed(f"it has no section ${name}; the file seems to be cut off")
        return None
    end = data.find(b"$End" + name.encode(), begin.end())
    if end < 0:
        raise _Malformed(f"section ${name} has no end; the file is cut off")
    return data[begin.end() : end]


class _Stream:
    """The numbers of a section one after the other, whether they are text or binary."""

    def __init__(self, content: bytes | None, name: str, binary: bool) -> None:
        assert content is not None  # asked for sections that must be there
        self.name, self.binary, self.at = name, binary, 0
        self.content = content
        if not binary:
            try:
                # Whole numbers up to 2^53 survive this.
                self.numbers = np.fromstring(content, sep=" ") if content.strip() else np.zeros(0)
            except (ValueError, DeprecationWarning) as error:
                raise _Malformed(f"section ${name} holds what is no number ({error})") from None

    def take(self, kind: str, count: int) -> NDArray[Any]:
        """The next `count` numbers: ``i4`` integers, ``u8`` sizes or ``f8`` reals."""
        if self.binary:
            found = np.frombuffer(self._next(self.content, count, int(kind[1])), dtype="<" + kind)
        else:
            found = self._next(self.numbers, count)
        return found if kind == "f8" else found.astype(np.int64)

    def _next(self, held: Any, count: int, width: int = 1) -> Any:
        """The next `count` items of what is held."""
        piece = held[self.at : self.at + count * width]
        if count < 0 or len(piece) != count * width:
            raise _Malformed(f"section ${self.name} ends too early; the file is cut off")
        self.at += count * width
        return piece

    def whole(self, kind: str, count: int = 1) -> list[int]:
        """The next few whole numbers."""
        return [int(number) for number in self.take(kind, count)]

    def table(self, count: int, *columns: tuple[str, int]) -> list[NDArray[Any]]:
        """Rows of several kinds, by column: for every pair (kind, width) an array (count, width)."""
        widths = [width for _, width in columns]
        if not self.binary:
            rows = self.take("f8", count * sum(widths)).reshape(count, sum(widths))
            parts = np.split(rows, np.cumsum(widths)[:-1], axis=1)
            return [
                part if kind == "f8" else part.astype(np.int64) for part, (kind, _) in zip(parts, columns, strict=True)
            ]
        row = np.dtype([(str(i), "<" + kind, (width,)) for i, (kind, width) in enumerate(columns)])
        read: NDArray[Any] = np.frombuffer(self._next(self.content, count, row.itemsize), dtype=row)
        return [read[str(i)].astype(float if kind == "f8" else np.int64) for i, (kind, _) in enumerate(columns)]


def _parse_4(data: bytes, binary: bool) -> tuple[NDArray[np.float64], list[Block]]:
    groups = _entities(data, binary)
    nodes = _Stream(_section(data, "Nodes"), "Nodes", binary)
    tags: list[Ids] = []
    points: list[NDArray[Any]] = []
    for _ in range(nodes.whole("u8", 4)[0]):
        dim, _, parametric = nodes.whole("i4", 3)
        (count,) = nodes.whole("u8")
        tags.append(nodes.take("u8", count))
        width = 3 + (dim if parametric else 0)
        points.append(nodes.take("f8", count * width).reshape(count, width)[:, :3])
    known = np.concatenate(tags) if tags else np.zeros(0, dtype=np.int64)
    elements = _Stream(_section(data, "Elements"), "Elements", binary)
    blocks = []
    for _ in range(elements.whole("u8", 4)[0]):
        dim, entity, kind = elements.whole("i4", 3)
        (count,) = elements.whole("u8")
        refuse_element(kind)
        width = 1 + KINDS[kind].corners
        rows = elements.take("u8", count * width).reshape(count, width)[:, 1:]
        blocks.append(Block(kind, indices_of(rows, known), groups.get((dim, entity), ())))
    return np.concatenate([np.zeros((0, 3)), *points]), blocks


def _entities(data: bytes, binary: bool) -> dict[tuple[int, int], tuple[int, ...]]:
    """Physical groups of the points, curves, surfaces and volumes of the geometry, by dimension and tag."""
    content = _section(data, "Entities", required=False)
    if content is None:
        return {}
    stream = _Stream(content, "Entities", binary)
    found = {}
    for dim, count in enumerate(stream.whole("u8", 4)):
        for _ in range(count):
            (tag,) = stream.whole("i4")
            stream.take("f8", 3 if dim == 0 else 6)
            # Negative tags are of groups that turn the other way.
            found[dim, tag] = tuple(abs(group) for group in stream.whole("i4", stream.whole("u8")[0]))
            if dim:
                stream.take("i4", stream.whole("u8")[0])
    return found


def _parse_2(data: bytes, binary: bool) -> tuple[NDArray[np.float64], list[Block]]:
    names = ("Nodes", "Elements")
    contents = [_section(data, name) or b"" for name in names]
    counts = []
    for i, (name, content) in enumerate(zip(names, contents, strict=True)):
        # The counts are text even in binary files.
        first, _, contents[i] = content.partition(b"\n")
        if not first.strip().isdigit():
            raise _Malformed(f"section ${name} does not begin with a count")
        counts.append(int(first))
    nodes = _Stream(contents[0], names[0], binary)
    known, points = nodes.table(counts[0], ("i4", 1), ("f8", 3))
    elements = _Stream(contents[1], names[1], binary)
    blocks, left = [], counts[1]
    while left > 0:
        kind, rows, tags = _run_of_text(elements, left) if not binary else _run_of_bytes(elements)
        left -= len(rows)
        corners = indices_of(rows, known[:, 0])
        for tag in np.unique(tags):
            blocks.append(Block(kind, corners[tags == tag], (int(tag),) if tag else ()))
    return points, blocks


def _run_of_bytes(stream: _Stream) -> tuple[int, Ids, Ids]:
    """Elements under one header: their kind, nodes, and physical groups."""
    kind, count, extra = stream.whole("i4", 3)
    refuse_element(kind)
    if not 0 <= extra < _MOST_TAGS:
        raise _Malformed(f"section $Elements says that elements have {extra} tags; the file is damaged")
    _, tags, rows = stream.table(count, ("i4", 1), ("i4", extra), ("i4", KINDS[kind].corners))
    return kind, rows, tags[:, 0] if extra else np.zeros(count, dtype=np.int64)


def _run_of_text(stream: _Stream, left: int) -> tuple[int, Ids, Ids]:
    """The next elements of one kind with the same number of tags; they are rows of the same length."""
    _, kind, extra = stream.whole("i4", 3)
    stream.at -= 3
    refuse_element(kind)
    width = 3 + extra + KINDS[kind].corners
    rest = stream.numbers[stream.at :]
    rows = rest[: min(left, len(rest) // width) * width].reshape(-1, width)
    other = np.flatnonzero((rows[:, 1] != kind) | (rows[:, 2] != extra))
    many = int(other[0]) if other.size else max(len(rows), 1)
    found = stream.take("i4", many * width).reshape(many, width)
    return kind, found[:, 3 + extra :], found[:, 3] if extra else np.zeros(many, dtype=np.int64)
