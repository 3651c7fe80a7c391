"""Is the design made of what the filter promised? Sentences for the user about radii and thin members."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from sciopt.core.types import Array
    from sciopt.topopt.structure import Structure

__all__ = ["LEAST_RADIUS", "radius_warning", "thin_members", "thin_warning"]

LEAST_RADIUS = 1.5
"""In elements: below it a filter ties no element to its neighbours, and checkerboards are the best designs."""

# Share of the material in thin members that is worth a sentence; corners are always rounded a little.
_TELL = 0.05


def radius_warning(radius: float, spacing: tuple[float, ...]) -> str | None:
    """A sentence when the filter spans less than 1.5 of the largest element edge."""
    elements = radius / max(spacing)
    if elements >= LEAST_RADIUS:
        return None
    return (
        f"the filter radius {radius:g} spans {elements:.2g} elements, less than {LEAST_RADIUS:g}: "
        "expect checkerboards and designs that change with the grid"
    )


def thin_members(structure: Structure, density: Array, width: float) -> float:
    """Share of the material (elements,) denser than 1/2 that lies in members thinner than `width`.

    What a morphological opening with a ball of that diameter removes; beyond the grid counts as solid, so that members
    along its boundary are not thin.

    Examples
    --------
    >>> from sciopt.topopt.builder import Grid
    >>> structure = Grid(20, 10).fix("left").load("right", (0, -1)).structure()
    >>> bars = np.zeros((10, 20))
    >>> bars[0:6], bars[8] = 1.0, 1.0  # six elements thick, and one
    >>> round(thin_members(structure, bars.ravel(), 3.0), 3)
    0.143
    """
    from scipy.ndimage import binary_dilation, binary_erosion

    solid = density.reshape(structure.shape[::-1]) > 0.5
    if not solid.any():
        return 0.0
    reach = [0.5 * width / h for h in structure.spacing[::-1]]
    axes = np.meshgrid(*(np.arange(-int(r), int(r) + 1) / r if r >= 1 else np.zeros(1) for r in reach), indexing="ij")
    ball = np.sum([a**2 for a in axes], axis=0) <= 1.0 + 1e-9
    core = binary_erosion(solid, ball, border_value=1)
    # Padded, so that the opening of a member along the boundary reaches the boundary again.
    pad = [(n // 2, n // 2) for n in ball.shape]
    opened = binary_dilation(np.pad(core, pad, mode="edge"), ball)
    inner = opened[tuple(slice(before, size - after) for (before, after), size in zip(pad, opened.shape, strict=True))]
    return float((solid & ~inner).sum() / solid.sum())


def thin_warning(structure: Structure, density: Array, radius: float) -> str | None:
    """A sentence when more than 5 % of the material is in members thinner than the filter radius."""
    share = thin_members(structure, density, radius)
    if share <= _TELL:
        return None
    return (
        f"{100 * share:.0f} % of the material is in members thinner than the filter radius {radius:g}; "
        "a robust projection keeps such members out"
    )
