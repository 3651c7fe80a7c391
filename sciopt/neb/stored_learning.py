"""What a path finder has left in a run folder: its learning log, and its band when it was interrupted."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import numpy as np

from sciopt.core.checkpoint import load_snapshot
from sciopt.core.errors import InputError, RestartMismatch
from sciopt.neb.coordinates import Coordinates
from sciopt.neb.finder_memory import Memory, calibration
from sciopt.neb.path_result import Lesson
from sciopt.neb.run_folder import LEARNING_COLUMNS, whole_frames
from sciopt.neb.surrogate_model import path_model

if TYPE_CHECKING:
    from pathlib import Path

    from sciopt.core.types import Array

__all__ = ["found_band", "stored_lessons"]


def stored_lessons(folder: Path, coordinates: Coordinates | None = None) -> tuple[Lesson, ...]:
    """The rows of learning.csv; with `coordinates`, where they were evaluated, which otherwise is not known (NaN).

    Raises
    ------
    InputError
        When the file is not what a run writes.
    """
    file = folder / "learning.csv"
    if not file.exists():
        return ()
    places: dict[tuple[int, float], Array] = {}
    if coordinates is not None:
        for atoms in whole_frames(folder / "evaluations.traj")[0]:
            key = int(atoms.info.get("image", -1)), round(atoms.get_potential_energy(), 6)
            places[key] = coordinates.reduce(atoms.positions)
    nowhere = np.full(coordinates.size if coordinates is not None else 1, np.nan)
    lessons = []
    try:
        with open(file, newline="") as opened:
            for row in csv.DictReader(opened):
                number, image, why, *rest = (row[name] for name in LEARNING_COLUMNS)
                expected, energy, *numbers = (float(value) if value else np.nan for value in rest)
                x = places.get((int(image), round(energy, 6)), nowhere)
                lessons.append(Lesson(int(number), int(image), why, x, expected, energy, *numbers))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{file} is no learning log ({error}); remove it to draw the rest") from error
    return tuple(lessons)


def found_band(folder: Path) -> tuple[Array, Array, Array, Array, tuple[Lesson, ...]] | None:
    """Band (M+2, n), energies, forces, errors of the energies and lessons of a path finder's checkpoint, if it is one.

    What it had not evaluated is what a Gaussian process says that is fitted to its observations once more.
    """
    if not (folder / "state.npz").exists():
        return None
    try:
        memory = load_snapshot(folder / "state").state.memory
    except RestartMismatch:
        return None
    frames = whole_frames(folder / "evaluations.traj")[0]
    if not isinstance(memory, Memory) or not frames:
        return None
    X = memory.X
    model = path_model(Coordinates.of(frames[0]), X[0], X[-1])
    posterior = (model.process if memory.top is None else model.smooth).fit(memory.data)
    energies, forces = posterior.predict(X)
    errors = calibration(memory.ratios, model.caution) * posterior.energy_deviations(X)
    for i, x in enumerate(X):
        same = np.flatnonzero((memory.data.X == x).all(axis=1))
        if same.size:
            energies[i], forces[i], errors[i] = memory.data.energies[same[0]], memory.data.forces[same[0]], 0.0
    return X, energies, forces, errors, memory.lessons
