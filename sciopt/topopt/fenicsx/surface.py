"""The closed surface of a design on a mesh: marching tetrahedra, at the level that keeps the volume."""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from sciopt.core.errors import InputError
from sciopt.topopt.render import smoothed
from sciopt.topopt.surface import Surface

if TYPE_CHECKING:
    from sciopt.core.types import Array, Mask
    from sciopt.topopt.fenicsx.mesh_design import WholeMesh

__all__ = ["design_surface", "smooth_surface", "tetrahedra"]

Indices = NDArray[np.int64]

# Corners of the surface keep this part of an edge from its ends: no triangle is so small that two of its corners are
# one in single precision, as in STL files.
_APART = 0.01
# Faces by their corners, around: in the order of dolfinx, prisms as (bottom triangle, top triangle).
_FACES: dict[int, tuple[tuple[int, ...], ...]] = {
    4: ((0, 1, 2), (0, 1, 3), (0, 2, 3), (1, 2, 3)),
    6: ((0, 1, 2), (3, 4, 5), (0, 1, 4, 3), (1, 2, 5, 4), (2, 0, 3, 5)),
    8: ((0, 1, 3, 2), (4, 5, 7, 6), (0, 1, 5, 4), (2, 3, 7, 6), (0, 2, 6, 4), (1, 3, 7, 5)),
}
# Of a tetrahedron whose corners 1, 2, 3 are anticlockwise seen from corner 0's opposite side: faces seen from outside.
_OUTWARDS = np.array([(1, 2, 3), (0, 3, 2), (0, 1, 3), (0, 2, 1)])


def design_surface(
    mesh: WholeMesh, density: Array, level: float | None = None, thickness: float | None = None
) -> Surface:
    """Surface of the region denser than `level`, closed along the boundary of the mesh.

    Densities of nodes are the means of the cells around them, by volume, and linear in between (Doi and Koide, *An
    efficient method of triangulating equi-valued surfaces by using tetrahedral cells* (1991), IEICE Transactions
    E74-D). Prisms and hexahedra are cut into tetrahedra that fit those of their neighbours (Dompierre, Labbé, Vallet
    and Camarero, *How to subdivide pyramids, prisms and hexahedra into tetrahedra* (1999), 8th International Meshing
    Roundtable).

    Parameters
    ----------
    mesh
        See `whole_mesh`.
    density
        (elements,) densities of its cells.
    level
        By default the one that encloses the volume of the design, the sum of densities times volumes of cells.
    thickness
        Of a design in 2D along z; a tenth of its longer side by default.

    Raises
    ------
    InputError
        When the densities do not fit the mesh, or none exceeds the level.
    """
    return _body(mesh, density, level, thickness)[0]


def smooth_surface(mesh: WholeMesh, density: Array) -> Surface:
    """The surface of a design in 3D, smoothed inside the mesh, for the eye only."""
    found, skin = _body(mesh, density, None, None)
    return smoothed(found, still=skin)


def _body(mesh: WholeMesh, density: Array, level: float | None, thickness: float | None) -> tuple[Surface, Mask]:
    """The surface, and which of its points are on the boundary of the mesh."""
    if density.shape != (len(mesh.cells),) or not np.isfinite(density).all():
        raise InputError(
            f"the densities have shape {density.shape}; expected {len(mesh.cells)} finite numbers, one for each cell"
        )
    if density.max(initial=0.0) <= (level or 0.0):
        raise InputError(
            f"no density exceeds {level or 0.0:g}, the largest is {density.max(initial=0.0):.3g}: there is no surface"
        )
    points, cells = mesh.points, mesh.cells
    if mesh.dim == 2:
        height = thickness or 0.1 * float(np.ptp(points, axis=0).max())
        ends = [np.column_stack([points, np.full(len(points), z)]) for z in (0.0, height)]
        points, cells = np.concatenate(ends), np.hstack([cells, cells + len(points)])
    tets, owner = tetrahedra(points, cells)
    volumes = _volumes(points, tets)
    weights = np.bincount(tets.ravel(), np.repeat(volumes, 4), len(points))
    masses = np.bincount(tets.ravel(), np.repeat(volumes * density[owner], 4), len(points))
    body = _Body(points, tets, masses / np.maximum(weights, np.finfo(float).tiny))
    return body.cut(body.preserving(float(volumes @ density[owner])) if level is None else level)


def tetrahedra(points: Array, cells: Indices) -> tuple[Indices, Indices]:
    """Tetrahedra, prisms or hexahedra as tetrahedra, and the cell each is a part of.

    Every face with four corners is cut from its smallest corner, so neighbours agree; from the smallest corner of a
    cell pyramids reach to all faces it is no corner of.

    Returns
    -------
    (tets, owner)
        (m, 4) corners, the last three anticlockwise seen from outside of the first, and (m,) numbers of cells.
    """
    least, found = cells.argmin(axis=1), []
    for corner in range(cells.shape[1]):
        (some,) = np.nonzero(least == corner)
        for face in _FACES[cells.shape[1]]:
            if corner in face:
                continue
            around = cells[some][:, face]
            begin = around.argmin(axis=1)[:, None]
            around = np.take_along_axis(around, (begin + np.arange(len(face))) % len(face), axis=1)
            for second in range(1, len(face) - 1):
                found.append((np.column_stack([cells[some, corner], around[:, [0, second, second + 1]]]), some))
    tets, owner = (np.concatenate(parts) for parts in zip(*found, strict=True))
    turned = _signed(points, tets) < 0.0
    tets[turned] = tets[turned][:, [0, 1, 3, 2]]
    return tets, owner


class _Body:
    """Tetrahedra with a density at each node."""

    def __init__(self, points: Array, tets: Indices, values: Array) -> None:
        self.points, self.tets, self.values = points, tets, values
        faces = tets[:, _OUTWARDS].reshape(-1, 3)
        # One number per edge, then one per face: sorting rows is ten times slower.
        a, b, c = np.sort(faces, axis=1).T
        _, edge = np.unique(a * len(points) + b, return_inverse=True)
        _, first, count = np.unique(edge * len(points) + c, return_index=True, return_counts=True)
        self.skin = faces[first[count == 1]]

    def preserving(self, volume: float) -> float:
        """The level whose surface encloses a volume, as well as that can be."""
        # Close to the largest density nothing is left, close to void everything; in between the volume falls.
        low, high = 1e-6 * self.values.max(), (1.0 - 1e-6) * self.values.max()

        def excess(level: float) -> float:
            return self.cut(level)[0].volume / volume - 1.0

        return float(brentq(excess, low, high, xtol=1e-5 * high)) if excess(low) > 0.0 > excess(high) else high

    def cut(self, level: float) -> tuple[Surface, Mask]:
        """The surface at a level, and which of its points are on the skin."""
        inside = self.values > level
        within = np.concatenate(_crossing(self.tets, inside, _TET_CASES))
        ends = np.sort(np.concatenate([within, *_crossing(self.skin, inside, _SKIN_CASES)]), axis=2)
        edges, number = np.unique(ends[..., 0] * len(self.points) + ends[..., 1], return_inverse=True)
        a, b = np.divmod(edges, len(self.points))
        rise = self.values[b] - self.values[a]
        along = np.divide(level - self.values[a], rise, out=np.zeros(len(a)), where=a != b)
        along = np.where(a != b, np.clip(along, _APART, 1.0 - _APART), 0.0)
        corners = self.points[a] + along[:, None] * (self.points[b] - self.points[a])
        triangles = number.reshape(-1, 3)
        skin = np.zeros(len(corners), dtype=bool)
        skin[triangles[len(within) :]] = True
        return Surface(corners, triangles), skin


def _crossing(simplices: Indices, inside: Mask, cases: dict[int, tuple[Indices, ...]]) -> list[Indices]:
    """Triangles (m, 3, 2) by the ends of the edge on which each corner lies; both ends are one at a node."""
    bits = 1 << np.arange(simplices.shape[1])
    mask = inside[simplices] @ bits
    return [simplices[mask == case][:, corners] for case, parts in cases.items() for corners in parts]


def _cases(corners: int, of_count: dict[int, list[list[tuple[int, int]]]]) -> dict[int, tuple[Indices, ...]]:
    """Triangles for each set of corners inside, a bit mask; corners are turned so that those inside go first."""
    found = {}
    for mask in range(1, 2**corners):
        inside = [mask >> corner & 1 for corner in range(corners)]
        count = sum(inside)
        turn = next(p for p in permutations(range(corners)) if _even(p) and all(inside[corner] for corner in p[:count]))
        found[mask] = tuple(np.array([[turn[a], turn[b]] for a, b in part]) for part in of_count.get(count, []))
    return found


def _even(order: tuple[int, ...]) -> bool:
    return sum(order[i] > order[j] for i in range(len(order)) for j in range(i + 1, len(order))) % 2 == 0


# Corners of triangles on the edges (a, b), anticlockwise seen from the empty side, by the number of corners inside.
_TET_CASES = _cases(
    4,
    {
        1: [[(0, 1), (0, 2), (0, 3)]],
        2: [[(0, 2), (0, 3), (1, 3)], [(0, 2), (1, 3), (1, 2)]],
        3: [[(0, 3), (1, 3), (2, 3)]],
    },
)
_SKIN_CASES = _cases(
    3,
    {
        1: [[(0, 0), (0, 1), (0, 2)]],
        2: [[(0, 0), (1, 1), (1, 2)], [(0, 0), (1, 2), (0, 2)]],
        3: [[(0, 0), (1, 1), (2, 2)]],
    },
)


def _signed(points: Array, tets: Indices) -> Array:
    a, b, c, d = np.moveaxis(points[tets], 1, 0)
    return np.asarray(np.einsum("ij,ij->i", np.cross(b - a, c - a), d - a))


def _volumes(points: Array, tets: Indices) -> Array:
    return np.abs(_signed(points, tets)) / 6.0
