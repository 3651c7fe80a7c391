"""The folder a path run writes: a log as it happens, a checkpoint, whole bands, and a summary at the end."""

from __future__ import annotations

import csv
import io
import logging
import zipfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import Trajectory

from sciopt.calculators import NamedCalculator
from sciopt.core.checkpoint import load_snapshot, save_snapshot, write_atomically
from sciopt.core.errors import InputError, RestartMismatch
from sciopt.run_files import refuse_existing_run, write_summary, writing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ase import Atoms

    from sciopt.core.run import Snapshot
    from sciopt.core.types import Array
    from sciopt.neb.coordinates import Coordinates
    from sciopt.neb.images import Answer, Images
    from sciopt.neb.path_result import Lesson, PathResult

__all__ = ["LEARNING_COLUMNS", "RunFolder", "single_point", "whole_frames"]

log = logging.getLogger("sciopt")

LEARNING_COLUMNS = (
    "evaluation",
    "image",
    "why",
    "expected_eV",
    "energy_eV",
    "force_error_eV_per_A",
    "force_deviation_eV_per_A",
    "trust",
    "length",
    "deviation_eV",
    "bound_eV_per_A",
)
_LOG_COLUMNS = ("call", "image", "purpose", "energy_eV", "fmax_eV_per_A", "seconds")


def single_point(coordinates: Coordinates, x: Array, energy: float, force: Array) -> Atoms:
    """The configuration at `x` with its energy and forces attached; fixed components have no force."""
    atoms = coordinates.atoms(x)
    forces = np.zeros(3 * len(atoms))
    forces[coordinates.free] = force
    atoms.calc = SinglePointCalculator(atoms, energy=energy, free_energy=energy, forces=forces.reshape(-1, 3))
    return atoms


class RunFolder:
    """Writes one run.

    Parameters
    ----------
    path
        The folder; made if missing.
    coordinates
        The free coordinates of all configurations.
    resume
        Continue a run found there, or start one. Without it a folder that holds a run is refused.
    purpose
        Says what the evaluations of the moment are for, see `sciopt.neb.ledger`.
    calculator
        What calculates, where it has a name: evaluations of another named calculator are not taken over.

    Raises
    ------
    InputError
        When the folder holds a run and `resume` is off, or cannot be written.
    """

    def __init__(
        self,
        path: str | Path,
        coordinates: Coordinates,
        resume: bool = False,
        purpose: Callable[[], str] = lambda: "images",
        calculator: Any = None,
    ) -> None:
        self.path = Path(path)
        self.calculator = calculator.describe() if isinstance(calculator, NamedCalculator) else ""
        self.coordinates = coordinates
        self.purpose = purpose
        self._continued = False
        self.resume = resume and (self.path / "evaluations.traj").exists()
        if not resume:
            refuse_existing_run(self.path)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._calls = self._count_log_lines()
        except OSError as error:
            raise InputError(f"cannot write to the run folder {self.path}: {error.strerror}") from error

    def remembered(self, evaluator: Images) -> Counter[str]:
        """Give `evaluator` everything earlier sessions in this folder have paid for; the number of calls by purpose."""
        known: Counter[str] = Counter()
        if not self.resume:
            return known
        for atoms in self._mended("evaluations.traj"):
            if not np.array_equal(atoms.numbers, self.coordinates.template.numbers):
                raise RestartMismatch(f"{self.path} holds a run of other atoms; use another folder")
            other = str(atoms.info.get("calculator", ""))
            if self.calculator and other and other != self.calculator:
                raise RestartMismatch(
                    f"{self.path} holds evaluations of {other}, this run has {self.calculator}; use another folder"
                )
            x = self.coordinates.reduce(atoms.positions)
            force = self.coordinates.reduce(atoms.get_forces(apply_constraint=False))
            evaluator.remember(x, atoms.get_potential_energy(force_consistent=True), force)
            known[str(atoms.info["purpose"])] += 1
        return known

    def begin(self, stage: str, X: Array) -> None:
        """Note that a stage of the search begins from the band X (M+2, n)."""
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, stage=np.array(stage), X=X)
        with writing(self.path):
            write_atomically(self.path / "stage.npz", buffer.getvalue())

    def stage(self) -> tuple[str, Array] | None:
        """The stage an earlier session had begun, and the band it began from."""
        if not self.resume or not (self.path / "stage.npz").exists():
            return None
        try:
            with open(self.path / "stage.npz", "rb") as file, np.load(file, allow_pickle=False) as stored:
                return str(stored["stage"]), stored["X"]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            log.warning("%s is unreadable (%s); the stage begins again", self.path / "stage.npz", error)
            return None

    def snapshot(self, settings: Any) -> Snapshot | None:
        """The checkpoint to continue from, or None where there is none for these settings (the path is kept)."""
        if not self.resume or not (self.path / "state.npz").exists():
            return None
        return load_snapshot(self.path / "state", settings)

    def last_band(self) -> Array | None:
        """(M+2, n) the band of the last checkpoint, whatever method wrote it."""
        if not self.resume or not (self.path / "state.npz").exists():
            return None
        try:
            state = load_snapshot(self.path / "state").state
            # A path finder evaluates single images; its band is what it remembers.
            return np.asarray(getattr(state.memory, "X", state.here.info["X"]))
        except RestartMismatch as mismatch:
            log.warning("starting from the initial path: %s", mismatch)
            return None

    def evaluated(self, index: int, x: Array, answer: Answer, seconds: float) -> None:
        """Log one new evaluation, before anything is done with it."""
        self._calls += 1
        atoms = single_point(self.coordinates, x, answer.energy, answer.force)
        atoms.info = {"image": index, "purpose": self.purpose(), "calculator": self.calculator}
        fmax = float(self.coordinates.longest(answer.force))
        row = [self._calls, index, self.purpose(), f"{answer.energy:.8f}", f"{fmax:.6f}", f"{seconds:.4f}"]
        with writing(self.path):
            with Trajectory(self.path / "evaluations.traj", "a") as frames:
                frames.write(atoms)
            new = not (self.path / "log.csv").exists()
            with open(self.path / "log.csv", "a", newline="") as file:
                writer = csv.writer(file)
                writer.writerows([_LOG_COLUMNS, row] if new else [row])

    def band(self, snapshot: Snapshot, settings: Any) -> None:
        """Append the band of an accepted evaluation and write the checkpoint."""
        info = snapshot.state.here.info
        with writing(self.path):
            if self.resume and not self._continued:
                self._mended("path.traj", len(info["X"]))
                self._continued = True
            if snapshot.history[-1].accepted:
                with Trajectory(self.path / "path.traj", "a") as frames:
                    for x, energy, force in zip(info["X"], info["energies"], info["forces"], strict=True):
                        frames.write(single_point(self.coordinates, x, energy, force))
            save_snapshot(self.path / "state", snapshot, settings)

    def found(self, snapshot: Snapshot, settings: Any) -> None:
        """Write the checkpoint of a path finder."""
        with writing(self.path):
            save_snapshot(self.path / "state", snapshot, settings)

    def summary(self, content: Mapping[str, Any]) -> None:
        """Write summary.json."""
        write_summary(self.path, content)

    def finish(self, result: PathResult) -> None:
        """Write the final path, its picture, the saddle, the summary, and what a surrogate has learned."""
        from sciopt.neb.plot import save_figure

        self.summary(result.summary())
        if result.lessons:
            self._learned(result.lessons)
        with writing(self.path):
            result.write(self.path / "path.extxyz")
            if result.saddle is not None:
                result.saddle.write(self.path / "saddle.extxyz")
            save_figure(result.plot(), self.path / "profile.png")

    def _learned(self, lessons: Sequence[Lesson]) -> None:
        """Write learning.csv: one row per evaluation of a surrogate; empty where nothing had been expected."""
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(LEARNING_COLUMNS)
        for one in lessons:
            numbers = [one.force_error, one.force_deviation, one.trust, one.length, one.deviation, one.bound]
            energies = [f"{value:.9f}" if np.isfinite(value) else "" for value in (one.expected, one.energy)]
            rest = [f"{value:.6g}" if np.isfinite(value) else "" for value in numbers]
            writer.writerow([one.evaluation, one.image, one.why, *energies, *rest])
        with writing(self.path):
            write_atomically(self.path / "learning.csv", text.getvalue().encode())

    def _mended(self, name: str, group: int = 1) -> list[Atoms]:
        """The frames of a trajectory; what a crash left unfinished, frame or `group` of frames, is cut off the file."""
        file = self.path / name
        frames, damaged = whole_frames(file)
        left = len(frames) % group
        if damaged or left:
            frames = frames[: len(frames) - left]
            log.warning("the end of %s was lost in a crash; keeping its first %d configurations", file, len(frames))
            unfinished = file.with_name(name + ".unfinished")
            with Trajectory(unfinished, "w") as whole:
                for atoms in frames:
                    whole.write(atoms)
            unfinished.replace(file)
        return frames

    def _count_log_lines(self) -> int:
        if not (self.path / "log.csv").exists():
            return 0
        with open(self.path / "log.csv") as file:
            return max(sum(1 for _ in file) - 1, 0)


def whole_frames(file: Path) -> tuple[list[Atoms], bool]:
    """The readable frames of a trajectory, and whether something behind them is damaged."""
    if not file.exists() or file.stat().st_size == 0:
        return [], False
    frames: list[Atoms] = []
    try:
        with Trajectory(file) as stored:
            for atoms in stored:
                frames.append(atoms)
    except Exception as error:  # half-written bytes can break the reader anywhere
        log.debug("%s: %s", file, error)
        return frames, True
    return frames, False
