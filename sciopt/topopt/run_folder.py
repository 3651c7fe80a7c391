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
from sciopt.topopt.ranks import ALONE
from sciopt.topopt.record import DesignRecord, read_records

if TYPE_CHECKING:
    from sciopt.core.run import Snapshot
    from sciopt.core.types import Array
    from sciopt.topopt.ranks import Ranks
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
    ranks
        The processes that share the task. The first one alone touches the disk; all see the same, errors included.

    Raises
    ------
    InputError
        When the folder holds a run and `resume` is off, or cannot be written.
    """

    def __init__(
        self, path: str | Path, settings: Any, resume: bool = False, iterations: bool = False, ranks: Ranks = ALONE
    ) -> None:
        self.path, self.settings, self.iterations = Path(path), ranks.settled(settings), iterations
        self._all = self._ranks = ranks
        self._stage = 0
        self._latest: Snapshot | None = None
        self._written, self._took = -np.inf, 0.0
        self._old: list[DesignRecord] = ranks.agree(lambda: self._open(resume))
        self._rows: list[DesignRecord] = []
        self._behind = True

    def kept(self, stage: int, ranks: Ranks | None = None) -> Kept | None:
        """The run number `stage` of an earlier session; from now on this run is under way.

        `ranks` share its variables: those of the task, unless the run is on another grid than the task.
        """
        self._stage, self._latest = stage, None
        self._ranks = ranks or self._all
        stored: list[Snapshot] = []
        if not self._ranks.agree(lambda: self._load(stage, stored)):
            return None
        snapshot = self._ranks.part(stored[0] if stored else None)
        rows = [record for record in self._old if record.stage == stage][: len(snapshot.history)]
        self._rows.extend(rows)
        return Kept(snapshot, rows)

    def visited(self, record: DesignRecord, snapshot: Snapshot) -> None:
        """Log one evaluation, and write the checkpoint unless one was written a moment ago."""
        self._latest = snapshot
        due = self._ranks.agree(lambda: self._log(record))
        if self.iterations and record.accepted:
            density = self._ranks.gather(snapshot.state.here.info["density"])
            self._ranks.agree(lambda: self._keep(record, density))
        if due:
            self._save()

    def finished(self) -> None:
        """The run under way has ended: its checkpoint is kept for the whole task."""
        if self._latest is not None:
            self._save()
        self._ranks.agree(self._put_by)
        self._latest, self._written = None, -np.inf

    def finish(self, result: DesignResult) -> None:
        """Write the design, its pictures and the summary."""
        summary = result.summary()
        self._all.agree(lambda: write_summary(self.path, summary))
        with writing(self.path):
            for name in result.files():
                result.write(self.path / name)

    def _open(self, resume: bool) -> list[DesignRecord]:
        """Make the folder; the records found in it."""
        if not resume:
            refuse_existing_run(self.path)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            (self.path / "stages").mkdir(exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot write to the run folder {self.path}: {error.strerror}") from error
        return read_records(self.path / "log.csv") if resume else []

    def _load(self, stage: int, stored: list[Snapshot]) -> bool:
        """Whether there is a checkpoint of that run, which is put into `stored`."""
        file = self._finished(stage)
        if not file.exists():
            # The checkpoint in the folder itself belongs to the run after the last finished one.
            file = self.path / "state.npz"
            before = self._finished(stage - 1).exists() if stage else True
            if not (before and file.exists() and self._old):
                return False
        stored.append(load_snapshot(file, self._named(stage)))
        return True

    def _put_by(self) -> None:
        with writing(self.path):
            for suffix in (".npz", ".json"):
                file = self.path / f"state{suffix}"
                if file.exists():
                    file.replace(self._finished(self._stage).with_suffix(suffix))

    def _keep(self, record: DesignRecord, density: Array | None) -> None:
        with writing(self.path):
            (self.path / "iterations").mkdir(exist_ok=True)
            file = self.path / "iterations" / f"{record.evaluation:04d}.npz"
            np.savez_compressed(file, density=np.asarray(density, dtype=np.float32))

    def _finished(self, stage: int) -> Path:
        return self.path / "stages" / f"{stage:03d}.npz"

    def _named(self, stage: int) -> dict[str, Any]:
        return {"stage": stage, "task": self.settings}

    def _save(self) -> None:
        assert self._latest is not None  # asked for after an evaluation
        begun = time.monotonic()
        whole = self._ranks.whole(self._latest)
        self._ranks.agree(lambda: self._store(whole))
        self._written = time.monotonic()
        self._took = self._written - begun

    def _store(self, whole: Snapshot | None) -> None:
        assert whole is not None  # the first rank has it
        with writing(self.path):
            save_snapshot(self.path / "state", whole, self._named(self._stage))

    def _log(self, record: DesignRecord) -> bool:
        """Write a line of the log; whether it is time for a checkpoint."""
        self._rows.append(record)
        rows = [record]
        with writing(self.path):
            if self._behind:
                # What an interrupted session logged after its last checkpoint is evaluated again.
                rows, self._behind = self._rows, False
                with open(self.path / "log.csv", "w", newline="") as file:
                    csv.writer(file).writerow(DesignRecord._fields)
            with open(self.path / "log.csv", "a", newline="") as file:
                csv.writer(file).writerows(rows)
        return time.monotonic() - self._written > self._took / _SHARE
