"""From UFL to compiled forms, and what to do when there is no C compiler or nowhere to put its output."""

from __future__ import annotations

import os
import shutil
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from sciopt.core.errors import InputError, SciOptError
from sciopt.topopt.fenicsx.loaded import dolfinx

__all__ = ["compiled"]


def compiled(form: Any, role: str, comm: Any) -> Any:
    """The compiled `form`; collective.

    Parameters
    ----------
    form
        A UFL form.
    role
        What it is, for messages.
    comm
        Communicator of the mesh.

    Raises
    ------
    SciOptError
        On every rank, when a rank found no C compiler or could not write to the cache.
    InputError
        On every rank, when FFCx refused the form.
    """
    found, failure = None, None
    try:
        found = dolfinx.fem.form(form)
    # FFCx, CFFI, setuptools and the operating system each raise their own, and the first rank alone knows which.
    except Exception as error:
        failure = _missing() or InputError(f"FFCx could not compile the {role}: {_first_line(error)}")
    failures = [failure for failure in comm.allgather(failure) if failure is not None]
    if failures:
        raise failures[0]
    return found


def _missing() -> SciOptError | None:
    """What the machine lacks, if anything."""
    cache = Path(dolfinx.jit.get_options()["cache_dir"])
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=cache):
            pass
    except OSError as error:
        return SciOptError(
            f"FFCx keeps compiled forms in {cache}, which cannot be written ({error.strerror}); "
            "set XDG_CACHE_HOME to a folder that can"
        )
    compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]
    if shutil.which(compiler) is None:
        return SciOptError(
            f"forms are compiled by a C compiler, and {compiler} is not on the PATH; install one, for example with "
            "apt install gcc or conda install -c conda-forge c-compiler, or name yours in the environment variable CC"
        )
    return None


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
