"""Figures of designs on meshes, with their supports and loads; drawn without dolfinx."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sciopt.topopt.draw import BETWEEN, FRAME, INK, SUPPORT, SYMBOL, draw_arrow, draw_body
from sciopt.topopt.fenicsx.surface import smooth_surface
from sciopt.topopt.marks import CASES, OUTPUT, Marks, arrows_at, thinned
from sciopt.topopt.plot import framed
from sciopt.topopt.render import Camera

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from sciopt.core.types import Array
    from sciopt.topopt.fenicsx.mesh_design import MeshDesign, WholeMesh

__all__ = ["mesh_figure"]

# Sides of cells in two dimensions, around, in the order of dolfinx.
_AROUND = {3: (0, 1, 2), 4: (0, 1, 3, 2)}
# Cells emptier than this are not drawn.
_EMPTY = 0.004


def mesh_figure(design: MeshDesign, caption: str = "", marks: bool = True, camera: Camera | None = None) -> Figure:
    """Figure of a design: in 2D its cells in grey, in 3D its surface, shaded.

    Parameters
    ----------
    design
        The mesh, densities, supports (blue), loads (a colour per case) and outputs (green).
    caption
        A line above.
    marks
        Whether to draw supports, loads and outputs.
    camera
        Where a design in 3D is seen from.

    Raises
    ------
    InputError
        When a design in 3D is empty.
    """
    mesh = design.mesh
    box = np.array([mesh.points.min(axis=0), mesh.points.max(axis=0)])
    shown = _marks(design, box)
    if not marks:
        shown = Marks(shown.places[:0], shown.held[:0], ())

    def draw(ax: Axes, pixels: int) -> None:
        if mesh.dim == 2:
            _draw_plane(ax, design, shown, box)
        else:
            body = smooth_surface(mesh, design.density)
            draw_body(ax, body, shown, box, design.spacing, camera or Camera(), pixels)
        ax.set_aspect("equal")
        ax.axis("off")

    return framed(draw, caption)


def _marks(design: MeshDesign, box: Array) -> Marks:
    """Supports and arrows for loads and outputs."""
    mesh = design.mesh
    touching = np.zeros(len(mesh.points), dtype=bool)
    # In 3D a wall of marks would hide the design: only those it makes use of.
    touching[mesh.cells[design.material > 0.0 if mesh.dim == 2 else design.density > 0.5]] = True
    held = design.supports & touching[:, None]
    some = held.any(axis=1)
    coloured = [(load, CASES[case % len(CASES)]) for case, load in enumerate(design.loads)]
    if design.outputs is not None:
        coloured.append((design.outputs, OUTPUT))
    longest = float(np.ptp(box, axis=0).max())
    arrows = []
    for field, colour in coloured:
        acts = np.abs(field).max(axis=1) > 0.0
        arrows += arrows_at(mesh.points[acts], field[acts], len(field), design.spacing, longest, colour)
    return Marks(mesh.points[some], held[some], tuple(arrows))


def _draw_plane(ax: Axes, design: MeshDesign, marks: Marks, box: Array) -> None:
    from matplotlib.collections import LineCollection, PolyCollection

    mesh, density = design.mesh, design.density
    around = _anticlockwise(mesh)
    # Dark cells last: their edges, which close the gaps that anti-aliasing leaves, cover those of light ones.
    order = np.argsort(density, kind="stable")
    order = order[density[order] > _EMPTY]
    shade = np.clip(density[order], 0.0, 1.0)[:, None]
    colours = 1.0 - shade * (1.0 - np.array(INK))
    ax.add_collection(
        PolyCollection(
            list(mesh.points[around[order]]), facecolors=colours, edgecolors=colours, linewidths=0.5, zorder=2
        )
    )
    sides = _boundary(around[design.material > 0.0])
    ax.add_collection(LineCollection(list(mesh.points[sides]), colors=FRAME, linewidths=0.9, zorder=3))
    longest = float(np.ptp(box, axis=0).max())
    symbols = _symbols(mesh, sides, marks, longest, design.spacing)
    ax.add_collection(PolyCollection(symbols, facecolors=SUPPORT, edgecolors=SUPPORT, linewidths=0.4, zorder=4))
    reach = [box, *symbols]
    for arrow in marks.arrows:
        reach.append(draw_arrow(ax, arrow, box, np.eye(2)))
    low, high = np.concatenate(reach).min(axis=0), np.concatenate(reach).max(axis=0)
    ax.set_xlim(low[0] - 0.01 * longest, high[0] + 0.01 * longest)
    ax.set_ylim(low[1] - 0.01 * longest, high[1] + 0.01 * longest)


def _anticlockwise(mesh: WholeMesh) -> NDArray[np.int64]:
    """(elements, corners) corners of plane cells, around."""
    around = mesh.cells[:, _AROUND[mesh.cells.shape[1]]]
    x, y = np.moveaxis(mesh.points[around], 2, 0)
    areas = (x * np.roll(y, -1, axis=1) - y * np.roll(x, -1, axis=1)).sum(axis=1)
    return np.where(areas[:, None] < 0.0, around[:, ::-1], around)


def _boundary(around: NDArray[np.int64]) -> NDArray[np.int64]:
    """(m, 2) ends of sides that belong to one of the cells only, in the sense in which the cell has them."""
    sides = np.stack([around, np.roll(around, -1, axis=1)], axis=2).reshape(-1, 2)
    _, first, count = np.unique(np.sort(sides, axis=1), axis=0, return_index=True, return_counts=True)
    return sides[first[count == 1]]


def _symbols(
    mesh: WholeMesh, sides: NDArray[np.int64], marks: Marks, longest: float, spacing: tuple[float, ...]
) -> list[Array]:
    """Polygons out of the domain: walls along held sides, triangles at held nodes, rollers at sliding ones."""
    size = SYMBOL * longest
    symbols: list[Array] = []
    if not len(marks.places):
        return symbols
    number = {tuple(place): i for i, place in enumerate(mesh.points.tolist())}
    nodes = np.array([number[tuple(place)] for place in marks.places.tolist()])
    full = marks.held.all(axis=1)
    fixed = np.zeros(len(mesh.points), dtype=bool)
    fixed[nodes[full]] = True
    walls = sides[fixed[sides].all(axis=1)]
    out = 0.5 * size * _outwards(mesh, walls)
    symbols += [np.array([*mesh.points[[i, j]], mesh.points[j] + out[j], mesh.points[i] + out[i]]) for i, j in walls]
    normals = _outwards(mesh, sides)
    down = np.where(np.abs(normals).sum(axis=1, keepdims=True) > 0.0, normals, [[0.0, -1.0]])
    for i in nodes[full & ~np.isin(nodes, walls)]:
        side = np.array([-down[i][1], down[i][0]])
        symbols.append(mesh.points[i] + size * np.array([0.0 * side, down[i] + 0.6 * side, down[i] - 0.6 * side]))
    turn = np.linspace(0.0, 2.0 * np.pi, 25)
    circle = 0.4 * size * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    sliding, held = nodes[~full], marks.held[~full]
    for k in thinned(mesh.points[sliding], spacing, BETWEEN * longest):
        along = np.where(held[k], down[sliding[k]], 0.0)
        length = np.linalg.norm(along)
        # A roller stands in the direction that is held; at a side along that direction, beside it.
        towards = along / length if length > 0.1 else np.where(held[k], -1.0, 0.0)
        symbols.append(mesh.points[sliding[k]] + 0.5 * size * towards + circle)
    return symbols


def _outwards(mesh: WholeMesh, sides: NDArray[np.int64]) -> Array:
    """(points, 2) unit vectors out of the domain at the ends of sides, the mean of both; 0 elsewhere."""
    found = np.zeros_like(mesh.points)
    run = mesh.points[sides[:, 1]] - mesh.points[sides[:, 0]]
    normals = np.stack([run[:, 1], -run[:, 0]], axis=1)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), np.finfo(float).tiny)
    for end in sides.T:
        np.add.at(found, end, normals)
    length = np.linalg.norm(found, axis=1, keepdims=True)
    return np.divide(found, length, out=np.zeros_like(found), where=length > 0.0)
