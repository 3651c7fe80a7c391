"""Physical groups of a mesh: which of its cells, facets, edges and points have a name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sciopt.core.errors import InputError
from sciopt.topopt.toml_table import suggestion

__all__ = ["Group", "Groups", "groups_of_tags"]


@dataclass(frozen=True, eq=False)
class Group:
    """One physical group.

    Parameters
    ----------
    dim
        Dimension of its members: that of the mesh for cells, one less for facets …
    tag
        Its number.
    name
        Its name, or empty text.
    members
        Local indices of its members that this rank knows of.
    """

    dim: int
    tag: int
    name: str
    members: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Groups:
    """All physical groups of a mesh of dimension `dim`."""

    dim: int
    every: tuple[Group, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Names, each once."""
        return tuple(dict.fromkeys(group.name for group in self.every if group.name))

    def find(self, which: str | int, cells: bool = False) -> Group | None:
        """The group of that name or number, or None.

        Groups of several dimensions may share a number or a name: facets come first, then cells, edges and points, or
        with `cells` the cells.
        """
        first = {True: self.dim, False: self.dim - 1}[cells]
        order = [first, *(dim for dim in range(self.dim, -1, -1) if dim != first)]
        found = [group for group in self.every if which == (group.name if isinstance(which, str) else group.tag)]
        return min(found, key=lambda group: order.index(group.dim), default=None)

    def known(self) -> str:
        """What there is, for messages."""
        words = [repr(name) for name in self.names]
        numbers = sorted({group.tag for group in self.every if not group.name})
        words += [f"the number{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}"] if numbers else []
        return ", ".join(words) or "none"

    def closest(self, which: str) -> str:
        """The name that may have been meant, as a question, or nothing."""
        return suggestion(which, self.names)


def groups_of_tags(dim: int, tags: Mapping[int, Any], names: Mapping[str, Any] | None) -> Groups:
    """Groups from mesh tags of dolfinx.

    Parameters
    ----------
    dim
        Dimension of the mesh.
    tags
        MeshTags of cells, facets … by dimension; None where there are none.
    names
        Numbers by name, or pairs (dimension, number), which dolfinx's `MeshData.physical_groups` holds. A number
        without a dimension names facets and cells alike.

    Raises
    ------
    InputError
        For names of something else.
    """
    called: dict[tuple[int, int], str] = {}
    for name, given in (names or {}).items():
        pair = tuple(given) if isinstance(given, tuple | list) else (None, given)
        if not isinstance(name, str) or len(pair) != 2 or not all(_whole(n) for n in pair if n is not None):
            raise InputError(f"names: {name!r} is {given!r}; expected a number, or a pair (dimension, number), by name")
        if pair[0] is not None and pair[0] not in tags:
            raise InputError(f"names: {name!r} is a group of dimension {pair[0]}; expected one of {sorted(tags)}")
        called |= {(d, int(pair[1])): name for d in ((dim - 1, dim) if pair[0] is None else (int(pair[0]),))}
    found = []
    for d, one in tags.items():
        if one is None:
            continue
        values, indices = np.asarray(one.values), np.asarray(one.indices, dtype=np.int64)
        # Ranks may know different tags; all must know all groups.
        everywhere = sorted(set().union(*one.topology.comm.allgather(set(map(int, np.unique(values))))))
        here = {tag: called.get((d, tag), "") for tag in everywhere}
        found += [Group(d, tag, name, indices[values == tag]) for tag, name in here.items()]
    there = {(group.dim, group.tag) for group in found}
    nobody = np.zeros(0, dtype=np.int64)
    missing = [
        Group(d, tag, name, nobody)
        for (d, tag), name in called.items()
        if (d, tag) not in there and not any(group.name == name for group in found)
    ]
    return Groups(dim, (*found, *missing))


def _whole(given: Any) -> bool:
    return isinstance(given, int | np.integer) and not isinstance(given, bool)
