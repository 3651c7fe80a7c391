"""Restart files: the complete state of a method as JSON, and the checks that it belongs to this optimizer."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from ase.filters import StrainFilter, UnitCellFilter
from ase.io.jsonio import encode as to_json

from sciopt.core.checkpoint import write_atomically
from sciopt.core.errors import RestartMismatch
from sciopt.core.method import State
from sciopt.core.tree import decode, describe, encode

if TYPE_CHECKING:
    from sciopt.ase.optimizer import StepOptimizer
    from sciopt.core.types import Array

__all__ = ["Progress", "pack", "read_file", "unpack", "write_file"]

FORMAT = "sciopt.ase 1"


class Progress(NamedTuple):
    """The state after a step, where the step began (n,) and where it left the atoms (n,), both in Å."""

    state: State
    began: Array
    left: Array


def pack(progress: Progress, optimizer: StepOptimizer) -> dict[str, Any]:
    """JSON-able content of a restart file."""
    arrays: dict[str, np.ndarray] = {}
    return {
        "format": FORMAT,
        "optimizer": type(optimizer).__name__,
        "settings": _settings(optimizer),
        "progress": encode(progress, arrays),
        "solve": encode(getattr(_solve(optimizer), "memory", None), arrays),
        "frame": encode(_frame(optimizer.atoms), arrays),
        "arrays": arrays,
    }


def unpack(stored: Mapping[str, Any], path: str | Path | None, optimizer: StepOptimizer) -> Progress:
    """Restore filter and preconditioner of `optimizer`, and return where it was.

    Raises
    ------
    RestartMismatch
        When the options or the number of coordinates differ; the message names the first difference.
    """
    for where, (old, new) in _differences(stored["settings"], json.loads(json.dumps(_settings(optimizer)))):
        raise RestartMismatch(
            f"{path} was written with {where} = {old!r}, this {type(optimizer).__name__} has {new!r}; "
            "use the same options, or delete the file to start anew"
        )
    arrays = stored["arrays"]
    progress: Progress = decode(stored["progress"], arrays)
    size = optimizer.optimizable.ndofs()
    if progress.left.size != size:
        raise RestartMismatch(
            f"{path} was written for {progress.left.size} coordinates, here are {size}; "
            "is it the file of another system? Delete it to start anew"
        )
    memory = decode(stored["solve"], arrays)
    if memory is not None:
        _solve(optimizer).memory = memory
    _set_frame(optimizer.atoms, decode(stored["frame"], arrays))
    return progress


def read_file(optimizer: StepOptimizer, load: Callable[[], Any]) -> dict[str, Any]:
    """Content of a restart file, decoded by ASE's `load`.

    Raises
    ------
    RestartMismatch
        When another optimizer wrote the file.
    """
    with warnings.catch_warnings():
        # ASE warns that cell filters lose their reference cell. Not here: it is in the file.
        warnings.filterwarnings("ignore", message="WARNING: restart function")
        stored = load()
    mine = type(optimizer).__name__
    advice = "delete it, or name another file, to start anew"
    if not (isinstance(stored, dict) and stored.get("format") == FORMAT):
        raise RestartMismatch(f"{optimizer.restart} is not a restart file of sciopt's {mine}; {advice}")
    if stored["optimizer"] != mine:
        raise RestartMismatch(f"{optimizer.restart} was written by {stored['optimizer']}, this is {mine}; {advice}")
    return stored


def write_file(path: str | Path, content: dict[str, Any]) -> None:
    """Write a restart file so that a crash leaves the old one or the new one."""
    write_atomically(Path(path), to_json(content).encode())


def _solve(optimizer: StepOptimizer) -> Any:
    return getattr(optimizer.method.space, "solve", None)


def _settings(optimizer: StepOptimizer) -> Any:
    """All but `maxstep`, which has no part in the meaning of the state and may change."""
    method = optimizer.method
    return {"rule": describe(method.rule), "control": describe(method.control), "precon": describe(_solve(optimizer))}


def _differences(old: Any, new: Any, where: str = "") -> Iterator[tuple[str, tuple[Any, Any]]]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in old | new:
            yield from _differences(old.get(key), new.get(key), f"{where}.{key}" if where else key)
    elif old != new:
        yield where, (old, new)


def _frame(atoms: Any) -> dict[str, np.ndarray]:
    """What a filter measures its coordinates against; it is not part of the atoms, so trajectories do not keep it."""
    match atoms:
        case UnitCellFilter():
            return {"cell": np.array(atoms.orig_cell)}
        case StrainFilter():
            return {"cell": np.array(atoms.origcell), "strain": np.array(atoms.strain)}
    return {}


def _set_frame(atoms: Any, frame: Mapping[str, np.ndarray]) -> None:
    match atoms:
        case UnitCellFilter() if "cell" in frame:
            atoms.orig_cell = frame["cell"]
        case StrainFilter() if "strain" in frame:
            xx, yy, zz, yz, xz, xy = frame["strain"]
            strain = np.array([[xx, xy / 2, xz / 2], [xy / 2, yy, yz / 2], [xz / 2, yz / 2, zz]])
            # Other atoms than those of the file keep the reference of their own filter.
            if np.allclose(atoms.atoms.cell.array, frame["cell"] @ (np.eye(3) + strain)):
                atoms.origcell = frame["cell"]
                atoms.strain[:] = frame["strain"]
