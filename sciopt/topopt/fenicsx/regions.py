"""Regions of a mesh: which nodes and cells they select, and how a total is shared by their nodes.

On a mesh a region is

* the name of a physical group, or its number: of cells, facets, edges or points. Names of faces give way to it;
* what `sciopt.topopt.regions` knows: a point, `Block`, `Ball`, functions of the coordinates, ``"all"``, names of faces
  of the bounding box, ``"left"``, ``"top left"`` …; a `Line` selects the nodes that lie on it;
* nodes or cells that were selected before, `Marked`;
* a list of these; each must select something.

Where cells are asked for, a group of facets or a face of the box stands for the layer of cells behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sciopt.core.errors import InputError
from sciopt.core.types import Array, Mask
from sciopt.topopt.distribute import SPREADS
from sciopt.topopt.fenicsx.agree import together
from sciopt.topopt.fenicsx.groups import Group, Groups
from sciopt.topopt.fenicsx.nodes import Indices, Nodes
from sciopt.topopt.fenicsx.points import cells_at, nearest_node
from sciopt.topopt.fenicsx.shares import corner_shares
from sciopt.topopt.lattice import AXES, axis_names
from sciopt.topopt.regions import FACES, Ball, Block, Line

__all__ = ["Marked", "MeshRegion", "MeshRegions"]


@dataclass(frozen=True, eq=False)
class Marked:
    """What was selected before.

    Parameters
    ----------
    nodes
        (local,) nodes of this rank and copies of neighbours', or None.
    cells
        (cells,) cells of this rank, or None.
    """

    nodes: Mask | None = None
    cells: Mask | None = None


MeshRegion = str | int | tuple[Any, ...] | list[Any] | Line | Block | Ball | Marked | Callable[..., Any]


class MeshRegions:
    """Selects parts of one mesh. All ranks must ask the same, and get the same errors.

    Parameters
    ----------
    nodes
        Of the mesh.
    groups
        Its physical groups.
    """

    def __init__(self, nodes: Nodes, groups: Groups) -> None:
        self.at, self.groups, self.dim = nodes, groups, nodes.dim

    def nodes(self, where: MeshRegion, field: str = "where") -> Mask:
        """The nodes of a region: (local,), see `Nodes`.

        Parameters
        ----------
        where
            The region.
        field
            What the region is for; begins every error.

        Raises
        ------
        InputError
            When the region is not one, lies outside the mesh, or selects nothing.
        """
        found = self._nodes(where, field)
        self._refuse_nothing(found[: self.at.owned], where, "node", field)
        return found

    def cells(self, where: MeshRegion, field: str = "where") -> Mask:
        """The cells of a region: (cells,) of this rank; see `nodes`."""
        found = self._cells(where, field)
        self._refuse_nothing(found, where, "cell", field)
        return found

    def shares(self, where: MeshRegion, spread: str = "consistent", field: str = "where") -> Array:
        """What part of a total each node gets; the parts sum to one over all ranks.

        ``"consistent"`` is what a uniform density does to linear elements, ``∫ N_i``. Groups of facets, cells, edges
        and points are loaded as what they are. Other nodes that make up whole cells are loaded as a body, otherwise
        those that make up facets of the boundary as a surface, otherwise facets or edges of the mesh; what makes up
        none of these is loaded as points, all nodes alike. ``"equal"`` gives all nodes alike in any case.

        Parameters
        ----------
        where
            The region.
        spread
            ``"consistent"`` or ``"equal"``.
        field
            What the region is for; begins every error.

        Returns
        -------
        Array
            (owned,) parts of this rank's nodes, at least zero.
        """
        if spread not in SPREADS:
            raise InputError(f"{field}: spread is {spread!r}; expected {' or '.join(map(repr, SPREADS))}")
        chosen = self.nodes(where, field)
        own = chosen[: self.at.owned]
        found = own.astype(float)
        if spread == "consistent":
            members = self._members(where)
            if members is not None:
                found = self._spread(*members)
            else:
                for dim, entities in self._whole_entities(chosen):
                    tried = self._spread(dim, entities)
                    if self.at.total((own & (tried <= 0.0)).sum()) == 0.0:
                        found = tried
                        break
        return found / self.at.total(found.sum())

    # Physical groups take the place of masks.
    has_groups = True

    def check(self, where: MeshRegion, what: str, field: str) -> None:
        """Refuse what selects no ``"nodes"``, or no ``"cells"``."""
        (self.nodes if what == "nodes" else self.cells)(where, field)

    def outside(self, where: MeshRegion, what: str, field: str) -> Marked:
        """All ``"nodes"`` or ``"cells"`` but those of a region."""
        if what == "nodes":
            return Marked(nodes=~self.nodes(where, field))
        return Marked(cells=~self.cells(where, field))

    def common(self, parts: Sequence[MeshRegion], what: str, field: str) -> Marked:
        """The ``"nodes"`` or ``"cells"`` that several regions have in common."""
        if what == "nodes":
            return Marked(nodes=np.logical_and.reduce([self.nodes(part, field) for part in parts]))
        return Marked(cells=np.logical_and.reduce([self.cells(part, field) for part in parts]))

    def _spread(self, dim: int, entities: Indices) -> Array:
        """What this rank's nodes (owned,) get from entities, each of which one rank gives."""
        found = np.zeros(self.at.local)
        corners = self.at.corners(dim, entities)
        np.add.at(found, corners, corner_shares(self.at.x[corners], dim))
        return self.at.gathered(found)

    def _whole_entities(self, chosen: Mask) -> Any:
        """Candidates (dim, entities of this rank) all of whose corners are chosen, those of highest dimension first."""

        def whole(dim: int, candidates: Indices) -> tuple[int, Indices]:
            return dim, candidates[chosen[self.at.corners(dim, candidates)].all(axis=1)]

        many = self.at.total(chosen[: self.at.owned].sum())
        for dim in range(min(self.dim, int(many) - 1), 0, -1):
            if dim == self.dim - 1:
                yield whole(dim, self.at.boundary())
            yield whole(dim, np.arange(self.at.entities(dim)))

    def _members(self, where: Any) -> tuple[int, Indices] | None:
        """Dimension and this rank's members of a group, or of a list of groups of the same dimension; else None."""
        if isinstance(where, list) and not _is_point(where):
            parts = [self._members(part) for part in where]
            if any(part is None for part in parts) or len({part[0] for part in parts if part}) != 1:
                return None
            every = [part for part in parts if part is not None]
            return every[0][0], np.unique(np.concatenate([members for _, members in every]))
        group = self._group(where)
        return None if group is None else (group.dim, self.at.owned_entities(group.dim, group.members))

    def _group(self, where: Any, cells: bool = False) -> Group | None:
        number = isinstance(where, int | np.integer) and not isinstance(where, bool)
        return self.groups.find(where, cells) if number or isinstance(where, str) else None

    def _nodes(self, where: Any, field: str) -> Mask:
        group = self._group(where)
        if group is not None:
            self.at.entities(group.dim)
            found = np.zeros(self.at.local, dtype=bool)
            found[self.at.corners(group.dim, group.members)] = True
            return self.at.marked(found)
        if isinstance(where, str):
            faces = self._faces(where, field)
            return np.logical_and.reduce([np.ones(self.at.local, dtype=bool), *faces])
        if isinstance(where, Line):
            return self._line(where, field)
        if isinstance(where, Block | Ball):
            return self._shape(where, self.at.x, field)
        if isinstance(where, Marked):
            if where.nodes is not None:
                return where.nodes
            assert where.cells is not None  # one of the two is there
            return self.at.touching(where.cells)
        if callable(where):
            # The owner decides, should a function answer copies of a node differently.
            return self.at.copied(self._called(where, self.at.x, field)[: self.at.owned].astype(float)) > 0.0
        if _is_point(where):
            return nearest_node(self.at, self._point(where, field), field)
        return np.logical_or.reduce([self.nodes(part, field) for part in self._parts(where, field)])

    def _cells(self, where: Any, field: str) -> Mask:
        group = self._group(where, cells=True)
        if group is not None:
            if group.dim < self.dim - 1:
                raise InputError(
                    f"{field}: {where!r} is a group of {'points' if group.dim == 0 else 'edges'}; expected one of "
                    f"cells, or of facets, which stands for the cells behind it"
                )
            return self.at.beside(group.dim, self.at.owned_entities(group.dim, group.members))
        if isinstance(where, str):
            found = np.ones(self.at.owned_cells, dtype=bool)
            for face in self._faces(where, field):
                every = np.arange(self.at.entities(self.dim - 1))
                on = face[self.at.corners(self.dim - 1, every)].all(axis=1)
                found &= self.at.beside(self.dim - 1, every[on])
            return found
        if isinstance(where, Line):
            raise InputError(f"{field}: a line has no cells; give a Block or a Ball")
        if isinstance(where, Block | Ball):
            return self._shape(where, self.at.centres, field)
        if isinstance(where, Marked):
            if where.cells is None:
                raise InputError(f"{field}: nodes are marked; expected cells")
            return where.cells
        if callable(where):
            return self._called(where, self.at.centres, field)
        if _is_point(where):
            return cells_at(self.at, self._point(where, field))
        return np.logical_or.reduce([self.cells(part, field) for part in self._parts(where, field)])

    def _faces(self, where: str, field: str) -> list[Mask]:
        """The nodes (local,) on each of the named faces of the bounding box; none for ``"all"``."""
        if where == "all":
            return []
        known = [name for name, (axis, _) in FACES.items() if axis < self.dim]
        found = []
        for name in where.split() or [where]:
            if name not in known:
                raise InputError(
                    f"{field}: there is no physical group {where!r}{self.groups.closest(where)}; known are "
                    f"{self.groups.known()}, and the faces of the box around the mesh: {', '.join(known)}, all"
                )
            axis, side = FACES[name]
            found.append(np.abs(self.at.x[:, axis] - self.at.box[side][axis]) <= self.at.slack)
        return found

    def _line(self, where: Line, field: str) -> Mask:
        start = np.array(self._point(where.start, f"{field}, start of the line"))
        end = np.array(self._point(where.end, f"{field}, end of the line"))
        along = end - start
        offset = self.at.x - start
        part = np.clip(offset @ along / max(float(along @ along), np.finfo(float).tiny), 0.0, 1.0)
        return np.linalg.norm(offset - part[:, None] * along, axis=1) <= self.at.slack

    def _shape(self, where: Block | Ball, x: Array, field: str) -> Mask:
        inside = np.ones(len(x), dtype=bool)
        if isinstance(where, Block):
            lower = self._bounds(where.lower, f"{field}, lower corner of the block")
            upper = self._bounds(where.upper, f"{field}, upper corner of the block")
            for axis, (low, high) in enumerate(zip(lower, upper, strict=True)):
                if low is not None and high is not None and low > high:
                    raise InputError(
                        f"{field}: the block goes from {low} to {high} along {AXES[axis]}; expected lower <= upper"
                    )
                inside &= x[:, axis] >= (-np.inf if low is None else low - self.at.slack)
                inside &= x[:, axis] <= (np.inf if high is None else high + self.at.slack)
            return inside
        if not 0.0 < where.radius < np.inf:
            raise InputError(f"{field}: the radius of the ball is {where.radius}; expected a positive length")
        centre = self._bounds(where.centre, f"{field}, centre of the ball")
        square = sum(((x[:, axis] - c) ** 2 for axis, c in enumerate(centre) if c is not None), np.zeros(len(x)))
        return inside & (square <= (where.radius + self.at.slack) ** 2)

    def _called(self, where: Callable[..., Any], x: Array, field: str) -> Mask:
        with together(self.at.comm):
            answer = np.asarray(where(*x.T))
            if answer.dtype != bool or answer.shape != (len(x),):
                raise InputError(
                    f"{field}: the function of the coordinates returned {answer.dtype} of shape {answer.shape}; "
                    f"expected booleans of shape {(len(x),)}, like its arguments"
                )
        return answer

    def _point(self, where: Any, field: str) -> tuple[float, ...]:
        if not _is_point(where) or len(where) != self.dim:
            raise InputError(
                f"{field}: the point is {where!r}; expected {self.dim} coordinates ({axis_names(self.dim)})"
            )
        numbers = tuple(float(p) for p in where)
        if not np.isfinite(numbers).all():
            raise InputError(f"{field}: the point is {numbers}; expected finite numbers")
        low, high = self.at.box
        if ((numbers < low - self.at.slack) | (numbers > high + self.at.slack)).any():
            reach = " to ".join(f"({', '.join(f'{x:.6g}' for x in corner)})" for corner in (low, high))
            raise InputError(f"{field}: the point {numbers} lies outside the mesh, which goes from {reach}")
        return numbers

    def _bounds(self, given: Any, field: str) -> tuple[float | None, ...]:
        if not isinstance(given, tuple | list | np.ndarray) or len(given) != self.dim:
            raise InputError(
                f"{field} is {given!r}; expected {self.dim} numbers ({axis_names(self.dim)}), None for any"
            )
        numbers = tuple(None if g is None else float(g) for g in given)
        if any(n is not None and np.isnan(n) for n in numbers):
            raise InputError(f"{field} is {numbers}; expected numbers, or None for any")
        return numbers

    def _parts(self, where: Any, field: str) -> Any:
        if isinstance(where, int | np.integer) and not isinstance(where, bool):
            raise InputError(f"{field}: there is no physical group {where}; known are {self.groups.known()}")
        if not isinstance(where, list | tuple) or not where:
            raise InputError(
                f"{field}: {where!r} is no region; expected the name or number of a physical group, a point, a Line, a "
                f"Block, a Ball, the name of a face, a function of the coordinates, or a list of these"
            )
        return where

    def _refuse_nothing(self, mask: Mask, where: Any, what: str, field: str) -> None:
        if self.at.total(mask.sum()) == 0.0:
            told = getattr(where, "__name__", where) if callable(where) else where
            hint = "no node lies on that line" if isinstance(where, Line) else "is it smaller than a cell?"
            told = "that was marked" if isinstance(where, Marked) else repr(told)
            raise InputError(f"{field}: the region {told} selects no {what}; {hint}")


def _is_point(where: Any) -> bool:
    if isinstance(where, np.ndarray):
        return where.ndim == 1 and where.dtype.kind in "iuf"
    numbers = (int, float, np.integer, np.floating)
    plain = isinstance(where, tuple | list) and len(where) > 0
    return plain and all(isinstance(w, numbers) and not isinstance(w, bool) for w in where)
