"""Designs on grids as files, by the ending of their names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sciopt.core.errors import InputError
from sciopt.topopt import export, plot

if TYPE_CHECKING:
    from pathlib import Path

    from sciopt.topopt.result import DesignResult

__all__ = ["write_design"]


def write_design(file: Path, result: DesignResult) -> None:
    """Write the design of `result`: .png, .svg, .pdf, .vti, .stl or .npz by the ending of `file`.

    Raises
    ------
    InputError
        For another ending.
    """
    structure = result.problem.structure
    match file.suffix:
        case ".png" | ".svg" | ".pdf":
            plot.save(plot.plot_design(result), file)
        case ".vti":
            export.write_vti(file, structure.shape, structure.spacing, {"density": result.elements})
        case ".stl":
            export.write_stl(file, result.elements, structure.shape, structure.spacing)
        case ".npz":
            marked = {name: getattr(structure, name) for name in ("material", "fixed", "loads", "outputs")}
            given = {name: array for name, array in marked.items() if array is not None}
            spacing = np.array(structure.spacing)
            export.write_npz(file, density=result.density, x=result.x, spacing=spacing, **given)
        case _:
            raise InputError(f"cannot write {file}: the ending must be .png, .svg, .pdf, .vti, .stl or .npz")
