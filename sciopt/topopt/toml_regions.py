"""Regions of a grid as TOML spells them; see `sciopt.topopt.regions` for what they select.

* a point ``[x, y]``, or a list of regions;
* the name of a face or several, ``"left"``, ``"top left"``, or ``"all"``;
* ``{line = [[0, 0], [8, 0]]}``;
* ``{block = [[0, "open"], [8, 2]]}``, where ``"open"`` leaves a side open;
* ``{ball = {centre = [4, 4], radius = 2}}``; ``"open"`` leaves an axis out of the distance;
* ``{mask = "file.npy"}``: an array of zeros and ones, one per element or node, flat with x fastest or as an array with
  z first;
* ``{outside = region}`` and ``{common = [region, ...]}``: complements and intersections.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from sciopt.core.errors import InputError
from sciopt.core.types import Mask
from sciopt.topopt.lattice import Lattice
from sciopt.topopt.regions import Ball, Block, Line, Region, select_elements, select_nodes
from sciopt.topopt.toml_table import Table, number, suggestion

__all__ = ["KINDS", "RegionReader"]

KINDS = ("line", "block", "ball", "mask", "outside", "common")
OPEN = "open"


class RegionReader:
    """Turns what a TOML file says into regions of one grid.

    Parameters
    ----------
    lattice
        The grid.
    folder
        Where files of masks are looked for.
    """

    def __init__(self, lattice: Lattice, folder: Path) -> None:
        self.lattice, self.folder = lattice, folder

    def nodes(self, given: Any, label: str) -> Region:
        """A region that selects nodes; errors begin with `label`."""
        return self._checked(given, label, select_nodes)

    def elements(self, given: Any, label: str) -> Region:
        """A region that selects elements."""
        return self._checked(given, label, select_elements)

    def _checked(self, given: Any, label: str, select: Callable[..., Mask]) -> Region:
        region = self._region(given, label, select)
        select(region, self.lattice, label)
        return region

    def _region(self, given: Any, label: str, select: Callable[..., Mask]) -> Region:
        if isinstance(given, str):
            return given
        if isinstance(given, list) and given:
            if any(isinstance(item, int | float) for item in given):
                return tuple(number(item, label) for item in given)
            return [self._region(item, label, select) for item in given]
        if not isinstance(given, dict) or len(given) != 1:
            raise InputError(
                f"{label} is {given!r}; expected a point, the name of a face, one of {{line = ...}}, {{block = ...}}, "
                f"{{ball = ...}}, {{mask = ...}}, or a list of these"
            )
        ((kind, content),) = given.items()
        if kind not in KINDS:
            raise InputError(
                f"{label}: {kind!r} is no kind of region{suggestion(kind, KINDS)}; known are {', '.join(KINDS)}"
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
                return ~select(self._region(content, label, select), self.lattice, label)
            case _:
                if not isinstance(content, list) or len(content) < 2:
                    raise InputError(f"{label} is {content!r}; expected a list of two regions or more")
                masks = [select(self._region(part, label, select), self.lattice, label) for part in content]
                return np.logical_and.reduce(masks)

    def _corner(self, given: Any, label: str, open_side: str | None = None) -> tuple[Any, ...]:
        """Coordinates, one per axis; None where a side is open."""
        if not isinstance(given, list) or len(given) != self.lattice.dim:
            hint = f', or "{OPEN}"' if open_side else ""
            raise InputError(f"{label}: {given!r} is no place; expected {self.lattice.dim} numbers{hint}")
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
