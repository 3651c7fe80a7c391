"""Pictures of what a run folder holds, whether the run has finished or not."""

from __future__ import annotations

import csv
import json
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

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_run", "stored_path"]


def stored_path(folder: str | Path) -> PathResult:
    """The last whole band of a run folder, as a `PathResult` (without history).

    Raises
    ------
    InputError
        When the folder does not hold a path.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"there is no run folder {folder}")
    summary = _summary(folder)
    file = folder / ("path.extxyz" if (folder / "path.extxyz").exists() else "path.traj")
    if not file.exists():
        raise InputError(
            f"{folder} holds no path yet (neither path.extxyz nor path.traj); was it written by sciopt neb?"
        )
    frames = list(iread(file, index=":"))
    count = summary.get("images") or _images_logged(folder)
    frames = frames[-(count + 2) :]
    coordinates = Coordinates.of(frames[0])
    X = np.array([coordinates.reduce(atoms.positions) for atoms in frames])
    energies = np.array([atoms.get_potential_energy() for atoms in frames])
    forces = np.array([coordinates.reduce(atoms.get_forces(apply_constraint=False)) for atoms in frames])
    spring = summary.get("parameters", {}).get("spring", 0.1)
    band = band_force(X, energies, forces[1:-1], coordinates, BandLaw(spring))
    climbing = band.climbing
    return PathResult(
        coordinates=coordinates,
        X=X,
        absolute_energies=energies,
        forces=forces,
        tangents=band.tangents,
        fmax=float(coordinates.longest(band.force).max()),
        fmax_climbing=np.nan if climbing is None else float(coordinates.longest(band.true[climbing])),
        climbing=climbing,
        barrier_error=summary.get("barrier_error", np.nan),
        converged=summary.get("converged", False),
        reason=summary.get("reason", "the run has not finished"),
        calls=summary.get("calls", {"images": _evaluations(folder)}),
        method=summary.get("method", "unknown"),
        history=History(),
    )


def plot_run(folder: str | Path, output: str | Path | None = None, convergence: bool = False) -> Path:
    """Draw the profile of the run in `folder`, or with `convergence` its forces against evaluations.

    Returns
    -------
    The file written.
    """
    folder = Path(folder)
    if convergence:
        file = Path(output) if output is not None else folder / "convergence.png"
        save_figure(_convergence(folder), file)
        return file
    result = stored_path(folder)
    file = Path(output) if output is not None else folder / "profile.png"
    save_figure(plot_profile(result), file)
    return file


def _convergence(folder: Path) -> Axes:
    if not (folder / "path.traj").exists():
        raise InputError(f"{folder} holds no bands (path.traj); was it written by sciopt neb?")
    frames = list(iread(folder / "path.traj", index=":"))
    count = (_summary(folder).get("images") or _images_logged(folder)) + 2
    coordinates = Coordinates.of(frames[0])
    law = BandLaw(_summary(folder).get("parameters", {}).get("spring", 0.1))
    whole, top = [], []
    for begin in range(0, len(frames) - count + 1, count):
        band = frames[begin : begin + count]
        X = np.array([coordinates.reduce(atoms.positions) for atoms in band])
        energies = np.array([atoms.get_potential_energy() for atoms in band])
        forces = np.array([coordinates.reduce(atoms.get_forces(apply_constraint=False)) for atoms in band])
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
    return json.loads(file.read_text()) if file.exists() else {}


def _images_logged(folder: Path) -> int:
    """Movable images of a run that has not written its summary: the largest image number but one."""
    numbers = {int(row["image"]) for row in _log(folder)}
    if not numbers:
        raise InputError(f"{folder} holds no log.csv to tell the number of images from")
    return max(numbers) - 1


def _evaluations(folder: Path) -> int:
    return len(_log(folder))


def _log(folder: Path) -> list[dict[str, str]]:
    file = folder / "log.csv"
    if not file.exists():
        return []
    with open(file, newline="") as opened:
        return list(csv.DictReader(opened))
