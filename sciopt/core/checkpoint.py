"""Crash-safe checkpoints: one `.npz` that is the truth, and a `.json` beside it for people."""

from __future__ import annotations

import json
import os
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sciopt.core.errors import RestartMismatch
from sciopt.core.history import History, Record
from sciopt.core.run import Snapshot
from sciopt.core.tree import decode, describe, encode

__all__ = ["Checkpoint", "load_snapshot", "save_snapshot", "write_atomically"]

_SKELETON = "skeleton"


def write_atomically(path: Path, data: bytes) -> None:
    """Write `data` to `path` so that a reader, or a crash, sees the old file or the new one, never a part."""
    # Not mkstemp, whose files no colleague may read. A name that is the same every time is cleaned up by the next
    # write after a crash.
    unfinished = path.with_name(path.name + ".unfinished")
    try:
        with unfinished.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def _file(path: str | Path, suffix: str) -> Path:
    """`path` with `suffix` added, unless it is there already; other dots belong to the name."""
    path = Path(path)
    stem = path.with_suffix("") if path.suffix in (".npz", ".json") else path
    return stem.with_name(stem.name + suffix)


def save_snapshot(path: str | Path, snapshot: Snapshot, settings: Any = None) -> None:
    """Write `snapshot` to ``path.npz``, and what a person may want to read of it to ``path.json``.

    `settings` (any data `describe` understands: a method, a dict of parameters) is stored along and compared on load.
    """
    arrays: dict[str, np.ndarray] = {}
    history = snapshot.history
    table = np.array([tuple(map(float, record)) for record in history], dtype=float)
    content = {
        "state": encode(snapshot.state, arrays),
        "mean": encode(snapshot.mean, arrays),
        "best": encode(snapshot.best, arrays),
        "history": encode(table.reshape(len(history), len(Record._fields)), arrays),
        "cost": history.cost,
        "failures": history.failures,
        "still": snapshot.still,
        "settings": describe(settings),
    }
    skeleton = json.dumps(content)
    arrays[_SKELETON] = np.frombuffer(skeleton.encode(), dtype=np.uint8)
    with tempfile.SpooledTemporaryFile(max_size=1 << 28) as buffer:
        np.savez(buffer, allow_pickle=False, **arrays)
        buffer.seek(0)
        write_atomically(_file(path, ".npz"), buffer.read())
    readable = {
        "evaluations": len(history),
        "cost": history.cost,
        "residual": history[-1].residual if len(history) else None,
        "settings": describe(settings),
    }
    write_atomically(_file(path, ".json"), json.dumps(readable, indent=1).encode())


def load_snapshot(path: str | Path, settings: Any = None) -> Snapshot:
    """Read what `save_snapshot` wrote.

    Raises
    ------
    RestartMismatch
        When the file is missing or unreadable, or was written with other `settings`; the message names the field.
    """
    file = _file(path, ".npz")
    try:
        # np.load leaves a file that it opened itself open when it turns out to be damaged.
        with file.open("rb") as handle, np.load(handle, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        content = json.loads(arrays.pop(_SKELETON).tobytes().decode())
        if settings is not None:
            _compare(content["settings"], json.loads(json.dumps(describe(settings))), "")
        return _restore(content, arrays)
    except FileNotFoundError:
        raise RestartMismatch(f"there is no checkpoint at {file}; run without resuming first") from None
    except RestartMismatch:
        raise
    except Exception as error:  # what a damaged file makes zipfile, NumPy and JSON raise is not a closed list
        raise RestartMismatch(
            f"{file} is not a readable checkpoint ({error}); delete it or restart elsewhere"
        ) from error


def _restore(content: dict[str, Any], arrays: dict[str, np.ndarray]) -> Snapshot:
    history = History()
    for row in decode(content["history"], arrays):
        values = dict(zip(Record._fields, row.tolist(), strict=True))
        history.records.append(
            Record(**values | {"evaluations": int(values["evaluations"]), "accepted": bool(values["accepted"])})
        )
    history.cost = dict(content["cost"])
    history.failures = int(content["failures"])
    return Snapshot(
        decode(content["state"], arrays),
        history,
        decode(content["mean"], arrays),
        decode(content["best"], arrays),
        int(content.get("still", 0)),
    )


def _compare(stored: Any, wanted: Any, where: str) -> None:
    if isinstance(stored, dict) and isinstance(wanted, dict):
        for key in stored | wanted:
            _compare(stored.get(key), wanted.get(key), f"{where}.{key}" if where else key)
    elif stored != wanted:
        raise RestartMismatch(
            f"the checkpoint was written with {where or 'settings'} = {stored!r}, this run has {wanted!r}; "
            "use the same settings, or start anew"
        )


@dataclass
class Checkpoint:
    """An observer that saves a snapshot after every evaluation, at most every `seconds`.

    Parameters
    ----------
    path
        ``path.npz`` and ``path.json`` are written.
    settings
        What must be the same on resuming, usually the method.
    seconds
        Shortest time between two writes; 0 writes after every evaluation.
    """

    path: str | Path
    settings: Any = None
    seconds: float = 0.0
    _written: float = field(default=-np.inf, init=False, repr=False)

    def __call__(self, snapshot: Snapshot) -> None:
        if time.monotonic() - self._written >= self.seconds:
            save_snapshot(self.path, snapshot, self.settings)
            self._written = time.monotonic()
