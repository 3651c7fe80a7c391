"""Files other programs read: VTK images for ParaView, STL surfaces for printers and CAD, NumPy archives."""

from __future__ import annotations

import io
import logging
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sciopt.core.checkpoint import write_atomically
from sciopt.core.errors import InputError
from sciopt.topopt.surface import Surface, surface

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sciopt.core.types import Array

__all__ = ["data_array", "write_npz", "write_stl", "write_surface", "write_vti"]

log = logging.getLogger("sciopt")

# Of a surface, relative; more is worth a warning.
_VOLUME_ERROR = 2e-3
_VTK_NAMES = {"f8": "Float64", "f4": "Float32", "i8": "Int64", "i4": "Int32", "u1": "UInt8"}


def write_vti(
    path: str | Path, shape: tuple[int, ...], spacing: tuple[float, ...], fields: Mapping[str, NDArray[Any]]
) -> None:
    """Write fields on the grid as VTK XML image data, for ParaView and its relatives.

    Parameters
    ----------
    path
        The file, ``.vti``.
    shape, spacing
        Elements along x, y and z, and their edge lengths.
    fields
        By name: (elements,) values of elements, or (components, ..., ny + 1, nx + 1) values of nodes. Two components
        get a third, 0, since VTK knows vectors in space only.

    Raises
    ------
    InputError
        When a field fits neither the elements nor the nodes.

    References
    ----------
    VTK File Formats, https://docs.vtk.org/en/latest/vtk_file_formats/vtkxml_file_format.html
    """
    nodes = tuple(n + 1 for n in reversed(shape))
    cells, points = [], []
    for name, field in fields.items():
        if field.shape == (np.prod(shape),):
            cells.append(data_array(name, field, 1))
        elif field.shape[1:] == nodes:
            missing = [(0, 1 if len(field) == 2 else 0), *[(0, 0)] * len(nodes)]
            rows = np.moveaxis(np.pad(field, missing), 0, -1)
            points.append(data_array(name, rows, rows.shape[-1]))
        else:
            raise InputError(
                f"the field {name!r} has shape {field.shape}; expected ({np.prod(shape)},) for elements or "
                f"(components, {', '.join(map(str, nodes))}) for nodes"
            )
    extent = " ".join(f"0 {n}" for n in (*shape, 0)[:3])
    edges = " ".join(repr(float(h)) for h in (*spacing, 1.0)[:3])
    lines = [
        '<?xml version="1.0"?>',
        '<VTKFile type="ImageData" version="1.0" byte_order="LittleEndian" header_type="UInt64">',
        f'<ImageData WholeExtent="{extent}" Origin="0 0 0" Spacing="{edges}">',
        f'<Piece Extent="{extent}">',
        *("<PointData>", *points, "</PointData>", "<CellData>", *cells, "</CellData>"),
        *("</Piece>", "</ImageData>", "</VTKFile>", ""),
    ]
    write_atomically(Path(path), "\n".join(lines).encode())


def data_array(name: str, values: NDArray[Any], components: int) -> str:
    """The VTK XML element of one array: base64 with its length in bytes before it."""
    if values.dtype == bool:
        values = values.astype(np.uint8)
    values = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
    data = values.tobytes()
    return (
        f'<DataArray type="{_VTK_NAMES[values.dtype.str[1:]]}" Name="{name}" NumberOfComponents="{components}" '
        f'format="binary">{b64encode(np.array([len(data)], dtype="<u8").tobytes() + data).decode()}</DataArray>'
    )


def write_stl(
    path: str | Path,
    density: Array,
    shape: tuple[int, ...],
    spacing: tuple[float, ...] | None = None,
    level: float | None = None,
    thickness: float | None = None,
) -> None:
    """Write the closed surface of a design as binary STL; a design too grey to have one of its volume is logged.

    Parameters
    ----------
    path
        The file, ``.stl``.
    density
        (elements,) densities.
    shape, spacing
        Elements along x, y and z, and their edge lengths, 1 by default.
    level
        Density on the surface; by default the one that preserves the volume.
    thickness
        Of a design in 2D along z; a tenth of its longer side by default.

    Raises
    ------
    InputError
        When the densities do not fit the shape, or none exceeds the level.
    """
    found = surface(density, shape, spacing, level, thickness)
    depth = np.ptp(found.points[:, 2]) if len(shape) == 2 else 1.0
    write_surface(path, found, None if level is not None else float(density.sum() * np.prod(spacing or 1.0) * depth))


def write_surface(path: str | Path, found: Surface, volume: float | None = None) -> None:
    """Write a closed surface as binary STL.

    Parameters
    ----------
    path
        The file, ``.stl``.
    found
        The surface.
    volume
        What it should enclose; another volume is logged.
    """
    if volume is not None and abs(found.volume / volume - 1.0) > _VOLUME_ERROR:
        log.warning(
            "the design is too grey for a surface of its volume: %s encloses %.4g, the densities sum to %.4g",
            *(path, found.volume, volume),
        )
    areas = found.areas
    facets = np.zeros(
        len(areas), dtype=[("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")]
    )  # 50 bytes each
    facets["normal"] = areas / np.linalg.norm(areas, axis=1, keepdims=True)
    facets["corners"] = found.points[found.triangles]
    header = b"sciopt".ljust(80) + np.array([len(facets)], dtype="<u4").tobytes()
    write_atomically(Path(path), header + facets.tobytes())


def write_npz(path: str | Path, **arrays: NDArray[Any]) -> None:
    """Write arrays by their names as a compressed NumPy archive.

    Parameters
    ----------
    path
        The file, ``.npz``.
    arrays
        Anything NumPy stores without pickling.
    """
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    write_atomically(Path(path), buffer.getvalue())
