"""Pictures of designs on meshes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sciopt.topopt.fenicsx.agree import together
from sciopt.topopt.fenicsx.drawing import mesh_figure
from sciopt.topopt.fenicsx.whole import whole_design

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from sciopt.core.types import Array
    from sciopt.topopt.fenicsx.structure import MeshStructure
    from sciopt.topopt.render import Camera

__all__ = ["plot_design"]


def plot_design(
    structure: MeshStructure, density: Array, caption: str = "", marks: bool = True, camera: Camera | None = None
) -> Figure | None:
    """Figure of a design on the first rank, None on the others. All ranks must call it.

    Parameters
    ----------
    structure
        The mesh, its supports, loads and outputs.
    density
        (cells,) physical densities of this rank.
    caption, marks, camera
        See `sciopt.topopt.fenicsx.drawing.mesh_figure`.

    Raises
    ------
    InputError
        On all ranks, when a design in 3D is empty.
    """
    design = whole_design(structure, density)
    figure = None
    with together(structure.comm):
        if design is not None:
            figure = mesh_figure(design, caption, marks, camera)
    return figure
