"""Designs on meshes as files, by the ending of their names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sciopt.core.errors import InputError
from sciopt.topopt.fenicsx import export, pictures
from sciopt.topopt.fenicsx.ranks import Copies
from sciopt.topopt.plot import save

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sciopt.core.types import Array
    from sciopt.topopt.fenicsx.structure import MeshStructure

__all__ = ["FILES", "write"]

FILES = ("design.npz", "design.png", "design.xdmf", "design.vtu", "design.stl")


def write(
    file: str | Path, structure: MeshStructure, density: Array, caption: str = "", **fields: NDArray[Any]
) -> None:
    """Write a design: .npz, .vtu, .xdmf, .bp, .vtkhdf, .stl, .png, .svg or .pdf by the ending of `file`.

    All ranks must call it; all return, or raise the same.

    Parameters
    ----------
    file
        The file.
    structure
        Of the mesh.
    density
        (cells,) physical densities of this rank.
    caption
        The line above a picture.
    fields
        More to be stored, where the kind of file has room: (cells,) or (unknowns,) by name.

    Raises
    ------
    InputError
        For another ending.
    """
    file, all_fields = Path(file), {"density": density, **fields}
    match file.suffix:
        case ".npz":
            export.write_npz(file, structure, density, fields)
        case ".vtu":
            export.write_vtu(file, structure, all_fields)
        case ".xdmf":
            export.write_xdmf(file, structure, all_fields)
        case ".bp":
            export.write_vtx(file, structure, all_fields)
        case ".vtkhdf":
            export.write_vtkhdf(file, structure, density)
        case ".stl":
            export.write_stl(file, structure, density)
        case ".png" | ".svg" | ".pdf":
            figure = pictures.plot_design(structure, density, caption)
            Copies(structure.comm).agree(lambda: save(figure, file) if figure is not None else None)
        case _:
            known = ".npz, .vtu, .xdmf, .bp, .vtkhdf, .stl, .png, .svg or .pdf"
            raise InputError(f"cannot write {file}: the ending must be {known}")
