"""Small pictures of structures: what stands at the ends of a path and at its top."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from ase.data import covalent_radii
from ase.data.colors import jmol_colors

if TYPE_CHECKING:
    from ase import Atoms
    from matplotlib.axes import Axes
    from matplotlib.patches import Patch
    from numpy.typing import NDArray

__all__ = ["draw_structure", "viewpoint"]


def viewpoint(structures: list[Atoms]) -> NDArray[np.float64]:
    """(3, 3) rotation that shows all structures best: their plane of largest extent faces the reader.

    Periodic structures keep z upwards and are seen from the side.
    """
    if structures[0].pbc.any():
        return np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]]).T
    positions = np.vstack([atoms.positions - atoms.positions.mean(axis=0) for atoms in structures])
    axes = np.linalg.svd(positions)[2]
    axes[2] = np.cross(axes[0], axes[1])
    return np.asarray(axes.T)


def draw_structure(ax: Axes, atoms: Atoms, view: NDArray[np.float64], bonds: bool = True) -> None:
    """Draw `atoms` as shaded discs, far ones first, with sticks between bonded atoms.

    Parameters
    ----------
    ax
        Emptied of frame and ticks; its limits are set to the structure.
    atoms
        The structure.
    view
        (3, 3) rotation applied to the right of the positions; the third column points at the reader.
    bonds
        Whether to draw sticks.
    """
    positions = (atoms.positions - atoms.positions.mean(axis=0)) @ view
    radii = covalent_radii[atoms.numbers]
    size = 0.55 * radii if len(atoms) > 2 else radii
    if bonds:
        apart = np.linalg.norm(atoms.positions[:, None] - atoms.positions[None], axis=2)
        for i, j in zip(*np.nonzero(np.triu(apart < 1.25 * (radii[:, None] + radii), 1)), strict=True):
            ends = positions[[i, j]]
            ax.plot(*ends[:, :2].T, color="#9aa4ad", linewidth=3.0, solid_capstyle="round", zorder=ends[:, 2].min())
    for i in np.argsort(positions[:, 2]):
        x, y, depth = positions[i]
        colour = jmol_colors[atoms.numbers[i]]
        for scale, mix in ((1.0, 0.0), (0.72, 0.25), (0.4, 0.55)):
            shade = (1 - mix) * colour + mix
            edge = "#5f6a72" if scale == 1.0 else "none"
            offset = 0.18 * size[i] * (1 - scale)
            ax.add_patch(_disc(x - offset, y + offset, scale * size[i], shade, edge, depth + 1e-3 * (1 - scale)))
    low, high = (positions[:, :2] - size[:, None]).min(axis=0), (positions[:, :2] + size[:, None]).max(axis=0)
    half = 0.55 * max(*(high - low), 1.0)
    middle = 0.5 * (low + high)
    ax.set_xlim(middle[0] - half, middle[0] + half)
    ax.set_ylim(middle[1] - half, middle[1] + half)
    ax.set_aspect("equal")
    ax.axis("off")


def _disc(x: float, y: float, radius: float, colour: NDArray[np.float64], edge: str, depth: float) -> Patch:
    from matplotlib.patches import Circle

    return Circle((x, y), radius, facecolor=np.clip(colour, 0, 1), edgecolor=edge, linewidth=0.8, zorder=depth)
