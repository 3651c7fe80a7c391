"""The folder a design task writes: a log as it happens, checkpoints of every run, the design and a summary."""

from __future__ import annotations

import csv
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sciopt.core.checkpoint import load_snapshot, save_snapshot
from sciopt.core.errors import InputError
from sciopt.run_files import refuse_existing_run, write_summary, writing
from sciopt.topopt.record import DesignRecord, read_records

if TYPE_CHECKING:
    from sciopt.core.run import Snapshot
    from sciopt.topopt.result import DesignResult

__all__ = ["DesignFolder", "Kept"]

# Writing a checkpoint may take this share of the time.
_SHARE = 0.05


class Kept(NamedTuple):
    """A run of an earlier session: where it stood, and its records."""

    snapshot: Snapshot
    records: list[DesignRecord]


class DesignFolder:
    """Writes one task: ``log.csv``, ``state.npz`` of the run under way, ``stages/NNN.npz`` of those before, results.

    Parameters
    ----------
    path
        The folder; made if missing.
    settings
        What must be the same for a checkpoint to be continued.
    resume
        Continue a task found there, or start one. Without it a folder that holds a run is refused.
    iterations
        Keep every accepted design, of all grids, in ``iterations/``, by its number in the log.

    Raises
    ------
    InputError
        When the folder holds a run and `resume` is off, or cannot be written.
    """

    def __init__(self, path: str | Path, settings: Any, resume: bool = False, iterations: bool = False) -> None:
        self.path, self.settings, self.iterations = Path(path), settings, iterations
        if not resume:
            refuse_existing_run(self.path)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            (self.path / "stages").mkdir(exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot write to the run folder {self.path}: {error.strerror}") from error
        self._stage = 0
        self._latest: Snapshot | None = None
        self._written, self._took = -np.inf, 0.0
        self._old = read_records(self.path / "log.csv") if resume else []
        self._rows: list[DesignRecord] = []
        self._behind = True

    def kept(self, stage: int) -> Kept | None:
        """The run number `stage` of an earlier session; from now on this run is under way."""
        self._stage, self._latest = stage, None
        file = self._finished(stage)
        if not file.exists():
            # The checkpoint in the folder itself belongs to the run after the last finished one.
            file = self.path / "state.npz"
            before = self._finished(stage - 1).exists() if stage else True
            if not (before and file.exists() and self._old):
                return None
        snapshot = load_snapshot(file, self._named(stage))
        rows = [record for record in self._old if record.stage == stage][: len(snapshot.history)]
        self._rows.extend(rows)
        return Kept(snapshot, rows)

    def visited(self, record: DesignRecord, snapshot: Snapshot) -> None:
        """Log one evaluation, and write the checkpoint unless one was written a moment ago."""
        self._latest = snapshot
        with writing(self.path):
            self._log(record)
            if self.iterations and record.accepted:
                (self.path / "iterations").mkdir(exist_ok=True)
                density = np.asarray(snapshot.state.here.info["density"], dtype=np.float32)
                np.savez_compressed(self.path / "iterations" / f"{record.evaluation:04d}.npz", density=density)
            if time.monotonic() - self._written > self._took / _SHARE:
                self._save()

    def finished(self) -> None:
        """The run under way has ended: its checkpoint is kept for the whole task."""
        with writing(self.path):
            if self._latest is not None:
                self._save()
            for suffix in (".npz", ".json"):
                file = self.path / f"state{suffix}"
                if file.exists():
                    file.replace(self._finished(self._stage).with_suffix(suffix))
            self._latest, self._written = None, -np.inf

    def finish(self, result: DesignResult) -> None:
        """Write the design, its pictures and the summary."""
        write_summary(self.path, result.summary())
        with writing(self.path):
            for name in result.files():
                result.write(self.path / name)

    def _finished(self, stage: int) -> Path:
        return self.path / "stages" / f"{stage:03d}.npz"

    def _named(self, stage: int) -> dict[str, Any]:
        return {"stage": stage, "task": self.settings}

    def _save(self) -> None:
        begun = time.monotonic()
        save_snapshot(self.path / "state", self._latest, self._named(self._stage))  # type: ignore[arg-type]
        self._written = time.monotonic()
        self._took = self._written - begun

    def _log(self, record: DesignRecord) -> None:
        self._rows.append(record)
        rows = [record]
        if self._behind:
            # What an interrupted session logged after its last checkpoint is evaluated again.
            rows, self._behind = self._rows, False
            with open(self.path / "log.csv", "w", newline="") as file:
                csv.writer(file).writerow(DesignRecord._fields)
        with open(self.path / "log.csv", "a", newline="") as file:
            csv.writer(file).writerows(rows)
