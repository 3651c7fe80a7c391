"""Pictures of what a design's run folder holds, whether the run has finished or not."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sciopt.core.errors import InputError
from sciopt.topopt.fenicsx.drawing import mesh_figure
from sciopt.topopt.fenicsx.mesh_design import MeshDesign
from sciopt.topopt.plot import caption_of, convergence_figure, design_figure, save
from sciopt.topopt.record import DesignRecord, read_records

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from sciopt.core.types import Array, Mask

__all__ = ["StoredDesign", "holds_design", "plot_run", "stored_design"]


@dataclass(frozen=True, eq=False)
class StoredDesign:
    """What design.npz holds of a grid: the densities, and the parts of the structure that are drawn.

    Attributes
    ----------
    density
        (nx, ny) or (nx, ny, nz) physical densities.
    x
        (n,) design variables, to start another task from.
    spacing, material, fixed, loads, outputs
        See `Structure`.
    """

    density: Array
    x: Array
    spacing: tuple[float, ...]
    material: Array
    fixed: Mask
    loads: Array
    outputs: Array | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Elements along x, y and z."""
        return self.density.shape

    @property
    def elements(self) -> Array:
        """(elements,) densities, x fastest."""
        return self.density.T.ravel()


def holds_design(folder: Path) -> bool:
    """Whether `folder` is the run folder of a design, as opposed to that of a path."""
    if (folder / "design.npz").exists():
        return True
    if not (folder / "log.csv").exists():
        return False
    with open(folder / "log.csv", errors="replace") as log:
        return log.readline().rstrip("\n").split(",") == list(DesignRecord._fields)


def stored_design(folder: str | Path) -> StoredDesign | MeshDesign:
    """The design of a finished run, on a grid or on a mesh.

    Raises
    ------
    InputError
        When the folder holds none.
    """
    file = Path(folder) / "design.npz"
    if not file.exists():
        raise InputError(f"{folder} holds no design yet (design.npz); finish the run with resume=True / --resume")
    try:
        with np.load(file, allow_pickle=False) as found:
            arrays = {name: found[name] for name in found.files}
        if "kind" in arrays:
            return MeshDesign.of(arrays)
        arrays["spacing"] = tuple(arrays["spacing"].tolist())
        return StoredDesign(**arrays)
    except Exception as error:  # what a damaged file makes zipfile and NumPy raise is not a closed list
        raise InputError(f"{file} is not a design that sciopt wrote ({error})") from error


def plot_run(
    folder: str | Path, output: str | Path | None = None, convergence: bool = False, mirror: Sequence[str] = ()
) -> list[Path]:
    """Draw the design in `folder` and how it came about.

    Parameters
    ----------
    folder
        Run folder of `optimize_topology` or ``sciopt topopt``.
    output
        The file for one picture; by default ``design.png`` and ``convergence.png`` in the folder are drawn anew.
    convergence
        Draw the convergence only.
    mirror
        Faces at which the design is half of a symmetric one; see `sciopt.topopt.draw.draw_design`. On grids only.

    Returns
    -------
    The files written.

    Raises
    ------
    InputError
        When the folder does not hold what is to be drawn, or the ending of `output` is not that of a picture.
    """
    folder = Path(folder)
    wanted: dict[Path, Figure] = {}
    if not convergence:
        wanted[folder / "design.png"] = _design(folder, mirror)
    if convergence or output is None:
        wanted[folder / "convergence.png"] = convergence_figure(read_records(folder / "log.csv"))
    if output is not None:
        wanted = {Path(output): figure for figure in wanted.values()}
    for file, figure in wanted.items():
        try:
            save(figure, file)
        except ValueError as error:
            raise InputError(f"cannot draw {file}: {error}") from error
    return list(wanted)


def _design(folder: Path, mirror: Sequence[str]) -> Figure:
    design, file = stored_design(folder), folder / "summary.json"
    try:
        said = json.loads(file.read_text()) if file.exists() else {}
    except ValueError as error:
        raise InputError(f"{file} is not valid JSON ({error}); remove it to draw the design alone") from error
    told = {"compliance", "volume", "greyness"} <= set(said)
    caption = caption_of(said["compliance"], said["volume"], said["greyness"]) if told else ""
    if isinstance(design, StoredDesign):
        return design_figure(design, design.elements, caption, mirror)
    if mirror:
        raise InputError(
            f"{folder} holds a design on a mesh, and only those on grids are mirrored; leave out mirror / --mirror"
        )
    return mesh_figure(design, caption)
