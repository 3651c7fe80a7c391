"""Designs with their supports and loads, drawn into matplotlib axes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from sciopt.core.errors import InputError
from sciopt.topopt.marks import Marks, marks_of, thinned
from sciopt.topopt.regions import FACES
from sciopt.topopt.render import Camera, render, smoothed
from sciopt.topopt.surface import Surface, surface

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from sciopt.core.types import Array, Mask
    from sciopt.topopt.marks import Arrow, Drawable

__all__ = ["BETWEEN", "FRAME", "INK", "SUPPORT", "SYMBOL", "draw_arrow", "draw_body", "draw_design"]

INK, FRAME, SUPPORT = (0.10, 0.13, 0.18), "#b8c0c8", "#1f4e79"
# In units of the longest side of the domain.
_ARROW, SYMBOL, BETWEEN = 0.09, 0.022, 0.045


def draw_design(
    ax: Axes,
    structure: Drawable,
    density: Array,
    mirror: Sequence[str] = (),
    marks: bool = True,
    camera: Camera | None = None,
    pixels: int = 1200,
) -> None:
    """Draw a design: in 2D its elements in grey, in 3D its surface, shaded.

    Parameters
    ----------
    ax
        Emptied of frame and ticks; its limits are set to the domain.
    structure
        The grid, its supports (blue), loads (a colour per case) and outputs (green).
    density
        (elements,) physical densities.
    mirror
        Faces, "left", "right", "bottom" …, at which the design is half of a symmetric one: both halves are drawn.
    marks
        Whether to draw supports, loads and outputs.
    camera, pixels
        Where a design in 3D is seen from, and how many pixels its picture is wide or high, whichever is more.

    Raises
    ------
    InputError
        When a face is none of this grid.
    """
    box = np.array([np.zeros(len(structure.shape)), np.array(structure.shape) * structure.spacing])
    field, inside = density.reshape(structure.shape[::-1]), structure.material.reshape(structure.shape[::-1]) > 0
    # In 3D a wall of marks would hide the design: only those it makes use of.
    shown = marks_of(structure, inside if field.ndim == 2 else field > 0.5)
    for face in mirror:
        if face not in FACES or FACES[face][0] >= field.ndim:
            known = ", ".join(name for name, (axis, _) in FACES.items() if axis < field.ndim)
            raise InputError(f"cannot mirror a design at {face!r}; its faces are {known}")
        axis, end = FACES[face]
        shown = shown.mirrored(axis, box[end, axis])
        field, inside = _unfolded(field, axis, end), _unfolded(inside, axis, end)
        box[end, axis] = 2.0 * box[end, axis] - box[-1 - end, axis]
    if not marks:
        shown = Marks(shown.places[:0], shown.held[:0], ())
    if field.ndim == 2:
        _draw_plane(ax, field, inside, shown, box, structure.spacing)
    else:
        camera = camera or Camera()
        found = surface(field.ravel(), field.shape[::-1], structure.spacing)
        body = smoothed(Surface(found.points + box[0], found.triangles))
        draw_body(ax, body, shown, box, structure.spacing, camera, pixels)
    ax.set_aspect("equal")
    ax.axis("off")


def _unfolded[Kind: (np.float64, np.bool_)](half: NDArray[Kind], axis: int, end: int) -> NDArray[Kind]:
    """Both halves of a field that is symmetric about its low (0) or high (-1) face along x, y or z."""
    other = np.flip(half, -1 - axis)
    return np.concatenate([other, half] if end == 0 else [half, other], axis=-1 - axis)


def _draw_plane(ax: Axes, field: Array, inside: Mask, marks: Marks, box: Array, spacing: tuple[float, ...]) -> None:
    from matplotlib.collections import LineCollection, PolyCollection

    (left, bottom), (right, top) = box
    pixels = np.empty((*field.shape, 4))
    pixels[..., :3], pixels[..., 3] = INK, np.clip(field, 0.0, 1.0)
    # Elements as they are; where they are smaller than pixels, their mean.
    ax.imshow(pixels, extent=(left, right, bottom, top), origin="lower", interpolation="auto", zorder=2)
    ax.add_collection(LineCollection(_outline(inside, box), colors=FRAME, linewidths=0.9, zorder=1))
    longest = (box[1] - box[0]).max()
    symbols = _symbols(marks, box, spacing)
    ax.add_collection(PolyCollection(symbols, facecolors=SUPPORT, edgecolors=SUPPORT, linewidths=0.4, zorder=3))
    reach = [box, *symbols]
    for arrow in marks.arrows:
        reach.append(draw_arrow(ax, arrow, box, np.eye(2)))
    low, high = np.concatenate(reach).min(axis=0), np.concatenate(reach).max(axis=0)
    ax.set_xlim(low[0] - 0.01 * longest, high[0] + 0.01 * longest)
    ax.set_ylim(low[1] - 0.01 * longest, high[1] + 0.01 * longest)


def draw_body(
    ax: Axes, body: Surface, marks: Marks, box: Array, spacing: tuple[float, ...], camera: Camera, pixels: int
) -> None:
    """Draw a surface, shaded, in the box (2, 3) of its domain, and marks, which may lie on a lattice of a `spacing`."""
    from matplotlib.collections import LineCollection

    corners = np.array(list(product(*box.T)))
    edges = [(a, b) for a in corners for b in corners if np.count_nonzero(a != b) == 1 and tuple(a) < tuple(b)]
    picture = render(body, camera, corners, pixels)
    ax.add_collection(
        LineCollection([np.stack(edge) @ camera.axes[:2].T for edge in edges], colors=FRAME, linewidths=0.9, zorder=1)
    )
    ax.imshow(picture.pixels, extent=picture.extent, interpolation="antialiased", zorder=2)
    longest = (box[1] - box[0]).max()
    kept = thinned(marks.places, spacing, 0.5 * BETWEEN * longest)
    places = marks.places[kept] @ camera.axes.T
    places = places[picture.shows(places, 0.01 * longest)]
    ax.scatter(places[:, 0], places[:, 1], s=9, color=SUPPORT, linewidths=0, zorder=3)
    left, right, bottom, top = picture.extent
    reach = [np.array([[left, bottom], [right, top]])]
    for arrow in marks.arrows:
        reach.append(draw_arrow(ax, arrow, box, camera.axes[:2]))
    low, high = np.concatenate(reach).min(axis=0), np.concatenate(reach).max(axis=0)
    ax.set_xlim(low[0], high[0])
    ax.set_ylim(low[1], high[1])


def _outline(inside: Mask, box: Array) -> list[Array]:
    """Lines between the domain and what is outside of it."""
    (left, bottom), (right, top) = box
    padded = np.pad(inside, 1)
    y, x = np.linspace(bottom, top, inside.shape[0] + 1), np.linspace(left, right, inside.shape[1] + 1)
    across = [np.array([[x[i], y[j]], [x[i + 1], y[j]]]) for j, i in np.argwhere(np.diff(padded[:, 1:-1], axis=0))]
    along = [np.array([[x[i], y[j]], [x[i], y[j + 1]]]) for j, i in np.argwhere(np.diff(padded[1:-1], axis=1))]
    return across + along


def _symbols(marks: Marks, box: Array, spacing: tuple[float, ...]) -> list[Array]:
    """Polygons out of the domain: walls along held edges, triangles under held nodes, rollers under sliding ones."""
    longest = (box[1] - box[0]).max()
    size, symbols = SYMBOL * longest, []
    full = marks.held.all(axis=1)
    held, sliding = marks.places[full], marks.places[~full]
    number = {tuple(cell): i for i, cell in enumerate(np.round(held / np.array(spacing)).astype(int).tolist())}
    pairs = [(i, number.get(next_)) for (x, y), i in number.items() for next_ in ((x + 1, y), (x, y + 1))]
    walls = [(i, j) for i, j in pairs if j is not None]
    for i, j in walls:
        out = 0.5 * size * _outwards(0.5 * (held[i] + held[j]), box)
        symbols.append(np.array([held[i], held[j], held[j] + out, held[i] + out]))
    for i in set(range(len(held))).difference(*walls):
        out = _outwards(held[i], box)
        side = np.array([-out[1], out[0]])
        symbols.append(held[i] + size * np.array([0.0 * out, out + 0.6 * side, out - 0.6 * side]))
    turn = np.linspace(0.0, 2.0 * np.pi, 25)
    circle = 0.4 * size * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    held_along = marks.held[~full]
    for i in thinned(sliding, spacing, BETWEEN * longest):
        symbols.append(sliding[i] + 0.5 * size * _outwards(sliding[i], box, held_along[i]) + circle)
    return symbols


def _outwards(place: Array, box: Array, held: Mask | None = None) -> Array:
    """Direction out of the domain at a place on its boundary: along a held component first, then down."""
    distance = np.concatenate([place - box[0], box[1] - place])[[1, 0, 2, 3]]
    directions = np.array([[0.0, -1.0], [-1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    if held is not None:
        distance = distance + np.where(np.abs(directions) @ held > 0, 0.0, 1e-6 * (box[1] - box[0]).max())
    return np.asarray(directions[np.argmin(distance)])


def draw_arrow(ax: Axes, arrow: Arrow, box: Array, axes: Array) -> Array:
    """Draw an arrow that stays out of the domain where it can; returns its ends, (2, 2)."""
    length = np.linalg.norm(arrow.vector)
    if length == 0.0:
        place = axes @ arrow.place
        ax.plot(*place, "o", color=arrow.colour, markersize=4, zorder=4)
        return np.array([place, place])
    longest = (box[1] - box[0]).max()
    step = arrow.vector / length * _ARROW * longest * max(length, 0.5)
    tip = arrow.place + step
    pushes = np.all((tip >= box[0] - 1e-9 * longest) & (tip <= box[1] + 1e-9 * longest))
    ends = np.array([arrow.place - step, arrow.place] if pushes else [arrow.place, tip]) @ axes.T
    style = {"arrowstyle": "-|>,head_width=0.28,head_length=0.6", "color": arrow.colour, "linewidth": 1.8}
    ax.annotate("", ends[1], ends[0], arrowprops=style | {"shrinkA": 0, "shrinkB": 0, "mutation_scale": 14}, zorder=4)
    return ends
