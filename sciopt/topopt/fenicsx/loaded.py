"""The one place where dolfinx, PETSc and MPI are loaded: in the right order, or with a sentence on what to do."""

from __future__ import annotations

import importlib
import sys

from sciopt.core.errors import SciOptError

__all__ = ["MPI", "PETSc", "basix", "dolfinx", "ufl"]


def _load() -> None:
    try:
        # The wheel must order MPI ahead of the bindings; conda's and distributions' dolfinx know no such package.
        importlib.import_module("dolfinx_solver")
    except ModuleNotFoundError as error:
        if error.name != "dolfinx_solver":
            raise
    try:
        petsc4py = importlib.import_module("petsc4py")
        if "petsc4py.PETSc" not in sys.modules:
            # PETSc's handlers turn SIGTERM into an abort of all ranks, before anything could be saved.
            petsc4py.init(["sciopt", "-no_signal_handler", "-options_left", "no"])
        for name in ("dolfinx", "dolfinx.fem", "dolfinx.fem.petsc", "dolfinx.mesh", "dolfinx.io"):
            importlib.import_module(name)
    except ImportError as error:
        raise SciOptError(
            f"meshes need FEniCSx (dolfinx >= 0.11) with PETSc, which does not load here ({error}); "
            "on Linux x86-64: pip install dolfinx-solver-real; elsewhere: conda install -c conda-forge fenics-dolfinx"
        ) from error


_load()

import basix.ufl  # noqa: E402
import dolfinx  # noqa: E402
import ufl  # noqa: E402
from mpi4py import MPI  # noqa: E402
from petsc4py import PETSc  # noqa: E402
