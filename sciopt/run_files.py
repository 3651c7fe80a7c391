"""What the run folders of all domains share: versions, the summary, refusing to overwrite, saying what went wrong."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from sciopt.core.checkpoint import write_atomically
from sciopt.core.errors import InputError, SciOptError

__all__ = ["refuse_existing_run", "versions", "write_summary", "writing"]

_PACKAGES = ("sciopt", "numpy", "scipy", "numba", "ase", "tblite")
# Numbers depend on them where meshes are; one wheel holds both, elsewhere each has its own.
_OF_MESHES = ("dolfinx-solver-real", "fenics-dolfinx", "petsc4py", "mpi4py")


def versions() -> dict[str, str]:
    """Versions of sciopt and of what its numbers depend on."""
    found = {"python": platform.python_version()}
    for package in (*_PACKAGES, *(_OF_MESHES if "dolfinx" in sys.modules else ())):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def refuse_existing_run(path: Path) -> None:
    """Raise InputError when `path` holds a run, so that nothing of it is overwritten."""
    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is a file; give a folder for the run")
    for name in ("summary.json", "state.npz", "log.csv", "evaluations.traj", "path.traj"):
        if (path / name).exists():
            raise InputError(f"{path} already holds a run ({name}); resume it (resume=True / --resume) or use another")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say which folder could not be written."""
    try:
        yield
    except OSError as error:
        raise SciOptError(
            f"cannot write to the run folder {path}: {error.strerror or error}; the last checkpoint is kept, "
            "so make room and resume"
        ) from error


def write_summary(path: Path, content: Mapping[str, Any]) -> None:
    """Write summary.json into the folder `path`."""
    text = json.dumps(content, indent=1, default=_plain)
    with writing(path):
        write_atomically(path / "summary.json", (text + "\n").encode())


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    return str(value)
