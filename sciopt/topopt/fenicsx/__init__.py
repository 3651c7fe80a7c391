"""Structures on FEniCSx meshes: any geometry, PETSc solvers, MPI. Nothing is loaded before it is used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sciopt.topopt.fenicsx.form_problem import FormProblem
    from sciopt.topopt.fenicsx.from_grid import mesh_source
    from sciopt.topopt.fenicsx.source import FEniCSx
    from sciopt.topopt.fenicsx.structure import MeshStructure

__all__ = ["FEniCSx", "FormProblem", "MeshStructure", "mesh_source"]

_HOMES = {"FEniCSx": "source", "FormProblem": "form_problem", "MeshStructure": "structure", "mesh_source": "from_grid"}


def __getattr__(name: str) -> Any:
    """Import public names on first use: dolfinx takes a second to load, and not everybody has it."""
    if name in _HOMES:
        return getattr(importlib.import_module(f"sciopt.topopt.fenicsx.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'sciopt.topopt.fenicsx' has no attribute {name!r}")
