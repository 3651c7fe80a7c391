"""A whole mesh and a design on it as plain arrays, to be stored and drawn where there is no dolfinx, too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sciopt.core.errors import ShapeError

if TYPE_CHECKING:
    from sciopt.core.types import Array, Mask

__all__ = ["VTK", "MeshDesign", "WholeMesh"]

# VTK's numbers of kinds of cells, and corners in its order; the same exchange leads back to the order of dolfinx.
VTK: dict[str, tuple[int, tuple[int, ...]]] = {
    "triangle": (5, (0, 1, 2)),
    "quadrilateral": (9, (0, 1, 3, 2)),
    "tetrahedron": (10, (0, 1, 2, 3)),
    "hexahedron": (12, (0, 1, 3, 2, 4, 5, 7, 6)),
}


@dataclass(frozen=True, eq=False)
class WholeMesh:
    """Points, cells and fields of all ranks.

    Parameters
    ----------
    kind
        triangle, quadrilateral, tetrahedron or hexahedron.
    points
        (points, dim) coordinates, sorted like those of a grid.
    cells
        (elements, corners) numbers of points; in quadrilaterals and hexahedra row by row, as dolfinx has them.
    input
        (elements,) number of each cell in the input, counted from 0.
    nodal
        By name: (points, components).
    """

    kind: str
    points: Array
    cells: NDArray[np.int64]
    input: NDArray[np.int64]
    nodal: dict[str, Array]

    @property
    def dim(self) -> int:
        """2 or 3."""
        return self.points.shape[1]


@dataclass(frozen=True, eq=False)
class MeshDesign:
    """A design on a mesh, and the parts of its structure that are drawn.

    Parameters
    ----------
    mesh
        Points and cells.
    density
        (elements,) physical densities.
    material
        (elements,) 1 where material may be, 0 in passive void.
    spacing
        A length scale of the cells for each axis, see `MeshStructure`.
    supports
        (points, components) what is held.
    loads
        (cases, points, components) forces or heat.
    outputs
        (points, components), or None: what the output of a mechanism measures.

    Raises
    ------
    ShapeError
        When an array does not fit the mesh.
    """

    mesh: WholeMesh
    density: Array
    material: Array
    spacing: tuple[float, ...]
    supports: Mask
    loads: Array
    outputs: Array | None = None

    def __post_init__(self) -> None:
        cells, nodal = (len(self.mesh.cells),), (len(self.mesh.points), *np.shape(self.supports)[1:2])
        expected = {
            "density": cells,
            "material": cells,
            "supports": nodal,
            "loads": (*np.shape(self.loads)[:1], *nodal),
        }
        if self.outputs is not None:
            expected["outputs"] = nodal
        for name, shape in expected.items():
            if np.shape(getattr(self, name)) != shape:
                raise ShapeError(
                    f"{name} has shape {np.shape(getattr(self, name))}; "
                    f"a mesh of {cells[0]} cells and {nodal[0]} points needs {shape}"
                )

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything by its name, as design.npz holds it: the corners of cells in VTK's order."""
        mesh, names = self.mesh, ("density", "material", "supports", "loads", "outputs")
        found = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        found |= {"kind": np.array(mesh.kind), "spacing": np.array(self.spacing), "input": mesh.input}
        return found | {"points": mesh.points, "cells": mesh.cells[:, VTK[mesh.kind][1]]}

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]]) -> MeshDesign:
        """The design of `arrays`, which may hold more.

        Raises
        ------
        KeyError
            When one is missing.
        ShapeError
            When one does not fit.
        """
        kind = str(arrays["kind"])
        mesh = WholeMesh(kind, arrays["points"], arrays["cells"][:, VTK[kind][1]], arrays["input"], {})
        names = ("density", "material", "supports", "loads")
        drawn = {name: arrays[name] for name in names}
        return cls(mesh, spacing=tuple(arrays["spacing"].tolist()), outputs=arrays.get("outputs"), **drawn)
