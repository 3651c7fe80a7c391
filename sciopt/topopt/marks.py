"""Where a structure is held, loaded and measured: what pictures of designs mark."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sciopt.core.types import Array, Mask

__all__ = ["CASES", "OUTPUT", "Arrow", "Drawable", "Marks", "arrows_at", "marks_of", "thinned"]

OUTPUT, CASES = "#148f77", ("#c0392b", "#d68910", "#7d3c98", "#2e86c1")
# Loads on a larger share of the nodes act on the whole body and have no place to be marked at.
_EVERYWHERE = 0.2
# Least distance between marks in units of the longest side, and the most arrows of one load.
_BETWEEN, _MOST = 0.045, 10


class Drawable(Protocol):
    """What is drawn of a structure."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Elements along x, y and z."""

    @property
    def spacing(self) -> tuple[float, ...]:
        """Edge lengths of an element."""

    @property
    def material(self) -> Array:
        """(elements,) share of an element that may be filled."""

    @property
    def fixed(self) -> Mask:
        """(c, ..., ny + 1, nx + 1) supported components of nodes; nodes without material are fixed, too."""

    @property
    def loads(self) -> Array:
        """(cases, c, ..., ny + 1, nx + 1) loads."""

    @property
    def outputs(self) -> Array | None:
        """(c, ..., ny + 1, nx + 1) what the output of a mechanism measures."""


@dataclass(frozen=True, eq=False)
class Arrow:
    """A force or an output.

    Parameters
    ----------
    place
        (dim,) where.
    vector
        (dim,) whereto, at most of length 1; 0 where there is no direction, as for heat.
    colour
        One for each load case.
    """

    place: Array
    vector: Array
    colour: str


@dataclass(frozen=True, eq=False)
class Marks:
    """Supports and arrows.

    Parameters
    ----------
    places, held
        (n, dim) supported nodes and (n, c) the components held there.
    arrows
        Loads and outputs.
    """

    places: Array
    held: Mask
    arrows: tuple[Arrow, ...]

    def mirrored(self, axis: int, plane: float) -> Marks:
        """Those of both halves of a structure that is symmetric about the coordinate `plane` of `axis`."""
        flip = np.where(np.arange(self.places.shape[1]) == axis, -1.0, 1.0)
        shift = np.where(flip < 0, 2.0 * plane, 0.0)
        off = ~np.isclose(self.places[:, axis], plane)
        # What is held normal to the plane of symmetry only is held by the other half.
        alone = ~np.delete(self.held, axis, axis=1).any(axis=1) if self.held.shape[1] > 1 else off
        kept = off | ~alone
        arrows = []
        for arrow in self.arrows:
            if np.isclose(arrow.place[axis], plane):
                arrows.append(Arrow(arrow.place, arrow.vector * (flip > 0), arrow.colour))
            else:
                arrows += [arrow, Arrow(arrow.place * flip + shift, arrow.vector * flip, arrow.colour)]
        return Marks(
            np.concatenate([self.places[kept], self.places[off] * flip + shift]),
            np.concatenate([self.held[kept], self.held[off]]),
            tuple(arrows),
        )


def marks_of(structure: Drawable, inside: Mask) -> Marks:
    """Supports of the nodes that touch an element `inside` ([nz,] ny, nx), and arrows for loads and outputs."""
    touching = np.zeros(structure.fixed.shape[1:], dtype=bool)
    for corner in product((0, 1), repeat=inside.ndim):
        touching[tuple(slice(c, c + n) for c, n in zip(corner, inside.shape, strict=True))] |= inside
    held = structure.fixed & touching
    supported = held.any(axis=0)
    arrows: list[Arrow] = []
    for case, load in enumerate(structure.loads):
        arrows += _arrows(structure, load, CASES[case % len(CASES)])
    if structure.outputs is not None:
        arrows += _arrows(structure, structure.outputs, OUTPUT)
    return Marks(_places(structure, supported), held[:, supported].T, tuple(arrows))


def thinned(places: Array, spacing: tuple[float, ...], distance: float) -> NDArray[np.intp]:
    """(k,) numbers of the `places` that are left when they are to be about a `distance` apart, evenly."""
    cell = np.array(spacing) * np.maximum(np.round(distance / np.array(spacing)), 1.0)
    cells = np.floor(np.abs(places) / cell + 1e-6)
    return np.sort(np.unique(np.hstack([cells, places < 0]), axis=0, return_index=True)[1])


def _places(structure: Drawable, nodes: Mask) -> Array:
    return np.asarray(np.argwhere(nodes)[:, ::-1] * np.array(structure.spacing))


def _arrows(structure: Drawable, field: Array, colour: str) -> list[Arrow]:
    loaded = np.abs(field).max(axis=0) > 0
    longest = (np.array(structure.shape) * structure.spacing).max()
    return arrows_at(_places(structure, loaded), field[:, loaded].T, loaded.size, structure.spacing, longest, colour)


def arrows_at(
    places: Array, vectors: Array, nodes: int, spacing: tuple[float, ...], longest: float, colour: str
) -> list[Arrow]:
    """A few arrows for what acts at `places` (k, dim) with the strengths `vectors` (k, c).

    Parameters
    ----------
    places, vectors
        Where and how.
    nodes
        Of the whole structure: what acts on a large share of them has no place to be marked at.
    spacing, longest
        Distances of nodes, and the longest side of the structure.
    colour
        Of the arrows.
    """
    if not 0 < len(places) <= max(_EVERYWHERE * nodes, 1):
        return []
    vectors = vectors / np.linalg.norm(vectors, axis=1).max() if vectors.shape[1] > 1 else np.zeros_like(places)
    distance = _BETWEEN * longest
    kept = thinned(places, spacing, distance)
    while len(kept) > _MOST:
        distance *= 1.5
        kept = thinned(places, spacing, distance)
    return [Arrow(places[i], vectors[i], colour) for i in kept]
