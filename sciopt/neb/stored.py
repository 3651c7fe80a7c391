"""Pictures of what a run folder holds, whether the run has finished or not."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.io import iread

from sciopt.core.errors import InputError
from sciopt.core.history import History
from sciopt.neb.band import BandLaw, band_force
from sciopt.neb.coordinates import Coordinates
from sciopt.neb.path_result import PathResult
from sciopt.neb.plot import new_axes, plot_profile, save_figure
from sciopt.neb.plot_learning import plot_learning
from sciopt.neb.run_folder import whole_frames
from sciopt.neb.stored_learning import found_band, stored_lessons

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms
    from matplotlib.axes import Axes

    from sciopt.core.types import Array
    from sciopt.neb.path_result import Lesson

__all__ = ["plot_run", "stored_path"]


def stored_path(folder: str | Path) -> PathResult:
    """The last whole band of a run folder, as a `PathResult` (without history).

    Raises
    ------
    InputError
        When the folder does not hold a path.
    """
    folder = Path(folder)
    summary = _summary(folder)
    energy_errors = force_errors = None
    lessons: tuple[Lesson, ...] = ()
    if (folder / "path.extxyz").exists():
        # A verified saddle is put into the path after its last band was written.
        coordinates, frames = _coordinates(folder, summary), list(iread(folder / "path.extxyz", index=":"))
        X, energies, forces = _arrays(frames, coordinates)
        if all("energy_error" in atoms.info for atoms in frames):
            energy_errors = np.array([float(atoms.info["energy_error"]) for atoms in frames])
            force_errors = np.array([float(atoms.info["force_error"]) for atoms in frames])
        lessons = stored_lessons(folder, coordinates)
    elif (found := found_band(folder)) is not None:
        X, energies, forces, energy_errors, lessons = found
        coordinates = _coordinates(folder, summary)
    else:
        bands, coordinates = _bands(folder, summary)
        X, energies, forces = bands[-1]
    band = band_force(X, energies, forces[1:-1], coordinates, _law(summary))
    climbing, left = band.climbing, float(coordinates.longest(band.force).max())
    return PathResult(
        coordinates=coordinates,
        X=X,
        absolute_energies=energies,
        forces=forces,
        tangents=band.tangents,
        # A surrogate's is the largest that it cannot exclude.
        fmax=summary["fmax"] if energy_errors is not None and "fmax" in summary else left,
        fmax_climbing=np.nan if climbing is None else float(coordinates.longest(band.true[climbing])),
        climbing=climbing,
        barrier_error=summary.get("barrier_error", np.nan),
        converged=summary.get("converged", False),
        reason=summary.get("reason", "the run has not finished"),
        calls=summary.get("calls", _calls(folder)),
        method=summary.get("method", "unknown" if energy_errors is None else "gp"),
        history=History(),
        energy_errors=energy_errors,
        force_errors=force_errors,
        lessons=lessons,
    )


def plot_run(
    folder: str | Path, output: str | Path | None = None, convergence: bool = False, learning: bool = False
) -> Path:
    """Draw the profile of the run in `folder`, with `convergence` the forces of its bands, one after the other.

    With `learning`, how well the surrogate predicted what it asked for.

    Returns
    -------
    The file written.

    Raises
    ------
    InputError
        When the folder does not hold a path, or the ending of `output` is not that of a picture.
    """
    folder = Path(folder)
    if learning:
        ax, name = _learning(folder), "learning.png"
    elif convergence:
        ax, name = _convergence(folder), "convergence.png"
    else:
        ax, name = plot_profile(stored_path(folder)), "profile.png"
    file = Path(output) if output is not None else folder / name
    try:
        save_figure(ax, file)
    except ValueError as error:
        raise InputError(f"cannot draw {file}: {error}") from error
    return file


def _learning(folder: Path) -> Axes:
    if not folder.is_dir():
        raise InputError(f"there is no run folder {folder}")
    found = found_band(folder)
    lessons = stored_lessons(folder) or (found[-1] if found is not None else ())
    if not lessons:
        raise InputError(f"{folder} has learned nothing (no learning.csv); only runs with method gp do")
    method = _summary(folder).get("method", "gp, not finished")
    return plot_learning(lessons, f"{folder.name}: {len(lessons)} evaluations, method {method}")


def _convergence(folder: Path) -> Axes:
    summary = _summary(folder)
    bands, coordinates = _bands(folder, summary)
    law = _law(summary)
    whole, top = [], []
    for X, energies, forces in bands:
        found = band_force(X, energies, forces[1:-1], coordinates, law)
        whole.append(coordinates.longest(found.force).max())
        top.append(np.nan if found.climbing is None else coordinates.longest(found.true[found.climbing]))
    ax = new_axes()
    ax.semilogy(whole, "o-", color="#1f4e79", markersize=4, label="whole band")
    ax.semilogy(top, "s-", color="#c0392b", markersize=4, label="climbing image")
    ax.set_xlabel("band point")
    ax.set_ylabel("largest force (eV/Å)")
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False)
    return ax


def _summary(folder: Path) -> dict[str, Any]:
    file = folder / "summary.json"
    try:
        return json.loads(file.read_text()) if file.exists() else {}
    except ValueError as error:
        raise InputError(f"{file} is not valid JSON ({error}); remove it to draw the last band") from error


def _bands(folder: Path, summary: dict[str, Any]) -> tuple[list[tuple[Array, Array, Array]], Coordinates]:
    """Positions, energies and forces of all whole bands; their coordinates."""
    if not folder.is_dir():
        raise InputError(f"there is no run folder {folder}")
    frames, _ = whole_frames(folder / "path.traj")
    if not frames and found_band(folder) is not None:
        raise InputError(f"{folder} holds no bands one after the other: a path finder has none; try --learning")
    size = (summary.get("images") or _images_logged(folder)) + 2
    if size < 3 or len(frames) < size:
        raise InputError(f"{folder} holds no whole band yet (path.traj); was it written by sciopt neb?")
    coordinates = _coordinates(folder, summary)
    starts = range(0, len(frames) - size + 1, size)
    return [_arrays(frames[begin : begin + size], coordinates) for begin in starts], coordinates


def _coordinates(folder: Path, summary: dict[str, Any]) -> Coordinates:
    # Only .traj keeps all kinds of constraints.
    for name in ("path.traj", "evaluations.traj"):
        if (folder / name).exists():
            first = next(iter(whole_frames(folder / name)[0]), None)
            if first is not None:
                return Coordinates.of(first, summary.get("parameters", {}).get("rigid"))
    raise InputError(f"{folder} holds no evaluations; was it written by sciopt neb?")


def _arrays(band: Sequence[Atoms], coordinates: Coordinates) -> tuple[Array, Array, Array]:
    X = np.array([coordinates.reduce(atoms.positions) for atoms in band])
    energies = np.array([atoms.get_potential_energy() for atoms in band])
    return X, energies, np.array([coordinates.reduce(atoms.get_forces(apply_constraint=False)) for atoms in band])


def _law(summary: dict[str, Any]) -> BandLaw:
    """The law of the run; an unfinished one has not told, so the usual one."""
    given = summary.get("parameters", {})
    spring, springs = given.get("spring", 0.1), given.get("springs", "uniform")
    low = 0.1 * spring if springs == "energy" else None
    climb = bool(given.get("climb", True))
    return BandLaw(0.0 if springs == "string" else spring, low, given.get("tangent", "improved"), climb)


def _images_logged(folder: Path) -> int:
    """Movable images of a run that has not written its summary: the largest image number but one."""
    return max((int(row["image"]) for row in _log(folder)), default=0) - 1


def _calls(folder: Path) -> Counter[str]:
    return Counter(row["purpose"] for row in _log(folder))


def _log(folder: Path) -> list[dict[str, str]]:
    file = folder / "log.csv"
    if not file.exists():
        return []
    with open(file, newline="") as opened:
        return list(csv.DictReader(opened))
