"""Regions as TOML spells them; see `sciopt.topopt.regions` for what they select.

* a point ``[x, y]``, or a list of regions;
* the name of a face or several, ``"left"``, ``"top left"``, or ``"all"``; on a mesh the name of a physical group, or
  its number;
* ``{line = [[0, 0], [8, 0]]}``;
* ``{block = [[0, "open"], [8, 2]]}``, where ``"open"`` leaves a side open;
* ``{ball = {centre = [4, 4], radius = 2}}``; ``"open"`` leaves an axis out of the distance;
* ``{mask = "file.npy"}``, on grids: an array of zeros and ones, one per element or node, flat with x fastest or as an
  array with z first;
* ``{outside = region}`` and ``{common = [region, ...]}``: complements and intersections.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from sciopt.core.errors import InputError
from sciopt.core.types import Mask
from sciopt.topopt.lattice import Lattice
from sciopt.topopt.regions import Ball, Block, Line, Region, select_elements, select_nodes
from sciopt.topopt.toml_table import Table, number, suggestion

__all__ = ["KINDS", "GridRegions", "RegionReader", "Selector"]

KINDS = ("line", "block", "ball", "mask", "outside", "common")
OPEN = "open"


class Selector(Protocol):
    """What a region selects on a grid or a mesh. Nodes or cells are `what` is selected, a region `where`."""

    @property
    def dim(self) -> int:
        """2 or 3."""

    @property
    def has_groups(self) -> bool:
        """Whether there are physical groups, which have numbers too, instead of masks."""

    def check(self, where: Any, what: str, field: str) -> None:
        """Refuse what is no region or selects nothing."""

    def outside(self, where: Any, what: str, field: str) -> Any:
        """All but a region."""

    def common(self, parts: Sequence[Any], what: str, field: str) -> Any:
        """What several regions have in common."""


class GridRegions:
    """Selects nodes and elements of a grid."""

    has_groups = False

    def __init__(self, lattice: Lattice) -> None:
        self.lattice, self.dim = lattice, lattice.dim

    def check(self, where: Region, what: str, field: str) -> None:
        self._selected(where, what, field)

    def outside(self, where: Region, what: str, field: str) -> Mask:
        return ~self._selected(where, what, field)

    def common(self, parts: Sequence[Region], what: str, field: str) -> Mask:
        return np.logical_and.reduce([self._selected(part, what, field) for part in parts])

    def _selected(self, where: Region, what: str, field: str) -> Mask:
        return (select_nodes if what == "nodes" else select_elements)(where, self.lattice, field)


class RegionReader:
    """Turns what a TOML file says into regions of one grid or mesh.

    Parameters
    ----------
    selector
        Knows the grid or the mesh.
    folder
        Where files of masks are looked for.
    """

    def __init__(self, selector: Selector, folder: Path) -> None:
        self.selector, self.folder = selector, folder

    def nodes(self, given: Any, label: str) -> Any:
        """A region that selects nodes; errors begin with `label`."""
        return self._checked(given, label, "nodes")

    def elements(self, given: Any, label: str) -> Any:
        """A region that selects elements."""
        return self._checked(given, label, "cells")

    def _checked(self, given: Any, label: str, what: str) -> Any:
        region = self._region(given, label, what)
        self.selector.check(region, what, label)
        return region

    def _region(self, given: Any, label: str, what: str) -> Any:
        groups = self.selector.has_groups
        if isinstance(given, str) or (groups and isinstance(given, int) and not isinstance(given, bool)):
            return given
        if isinstance(given, list) and given:
            if any(isinstance(item, int | float) for item in given):
                return tuple(number(item, label) for item in given)
            return [self._region(item, label, what) for item in given]
        known = tuple(kind for kind in KINDS if kind != "mask") if groups else KINDS
        if not isinstance(given, dict) or len(given) != 1:
            names = "a physical group or a face" if groups else "a face"
            last = "" if groups else "{mask = ...}, "
            raise InputError(
                f"{label} is {given!r}; expected a point, the name of {names}, one of {{line = ...}}, {{block = ...}}, "
                f"{{ball = ...}}, {last}or a list of these"
            )
        ((kind, content),) = given.items()
        if kind == "mask" and groups:
            raise InputError(f"{label}: a mesh has no masks; make a physical group of what is meant")
        if kind not in known:
            raise InputError(
                f"{label}: {kind!r} is no kind of region{suggestion(kind, known)}; known are {', '.join(known)}"
            )
        label = f"{label}, {kind}"
        match kind:
            case "line":
                return Line(*(self._corner(corner, label) for corner in _two(content, label)))
            case "block":
                return Block(*(self._corner(corner, label, OPEN) for corner in _two(content, label)))
            case "ball":
                return self._ball(content, label)
            case "mask":
                return self._mask(content, label)
            case "outside":
                return self.selector.outside(self._region(content, label, what), what, label)
            case _:
                if not isinstance(content, list) or len(content) < 2:
                    raise InputError(f"{label} is {content!r}; expected a list of two regions or more")
                return self.selector.common([self._region(part, label, what) for part in content], what, label)

    def _corner(self, given: Any, label: str, open_side: str | None = None) -> tuple[Any, ...]:
        """Coordinates, one per axis; None where a side is open."""
        if not isinstance(given, list) or len(given) != self.selector.dim:
            hint = f', or "{OPEN}"' if open_side else ""
            raise InputError(f"{label}: {given!r} is no place; expected {self.selector.dim} numbers{hint}")
        found = []
        for item in given:
            if open_side and isinstance(item, str) and item != open_side:
                raise InputError(f'{label}: {item!r} is no coordinate; expected a number, or "{OPEN}"')
            found.append(None if item == open_side else number(item, label))
        return tuple(found)

    def _ball(self, content: Any, label: str) -> Ball:
        if not isinstance(content, dict):
            raise InputError(f"{label} is {content!r}; expected {{centre = [...], radius = ...}}")
        table = Table(content, label)
        ball = Ball(self._corner(table.raw("centre"), table.label("centre"), OPEN), table.number("radius"))
        table.finish()
        return ball

    def _mask(self, content: Any, label: str) -> Mask:
        if not isinstance(content, str):
            raise InputError(f"{label} is {content!r}; expected the name of a .npy file in quotes")
        file = self.folder / content
        try:
            array = np.load(file, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            reason = "there is no such file" if not file.exists() else f"it cannot be read as .npy ({error})"
            raise InputError(f"{label} = {content!r}: {reason}") from error
        if not isinstance(array, np.ndarray) or not np.isin(array, (0, 1)).all():
            raise InputError(f"{label} = {content!r}: expected one array of zeros and ones, or of false and true")
        return array.astype(bool)


def _two(content: Any, label: str) -> list[Any]:
    if not isinstance(content, list) or len(content) != 2:
        raise InputError(f"{label} is {content!r}; expected two corners, [[...], [...]]")
    return content
