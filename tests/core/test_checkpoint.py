"""Checkpoints: readable by people, refused when wrong or damaged, and never half written."""

from __future__ import annotations

import errno
import io
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sciopt.core import (
    Budget,
    Evaluation,
    Flat,
    RestartMismatch,
    Snapshot,
    StepMethod,
    load_snapshot,
    run,
    save_snapshot,
)
from sciopt.core.checkpoint import write_atomically
from sciopt.rules import Adam, make_method

METHOD = make_method("adam", Flat(maxstep=0.2), learning_rate=0.1)


def snapshot(evaluations: int = 5) -> Snapshot:
    class Bowl:
        space = Flat()

        def start(self) -> np.ndarray:
            return np.array([1.0, -2.0])

        def evaluate(self, x: np.ndarray) -> Evaluation:
            return Evaluation(x, -x, 0.5 * float(x @ x), cost={"images": 3})

    seen: list[Snapshot] = []
    run(Bowl(), METHOD, Budget(evaluations), observers=[seen.append])
    return seen[-1]


def test_two_files_one_of_them_for_people(tmp_path: Path) -> None:
    save_snapshot(tmp_path / "state", snapshot(), METHOD)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["state.json", "state.npz"]
    readable = json.loads((tmp_path / "state.json").read_text())
    assert readable["evaluations"] == 5
    assert readable["cost"] == {"evaluations": 5.0, "images": 15.0}
    assert readable["residual"] == snapshot().history[-1].residual
    assert readable["settings"]["rule"] == {
        "type": "Adam",
        "weight_decay": 0.0,
        "decoupled": False,
        "beta1": 0.9,
        "beta2": 0.999,
        "eps": 1e-8,
        "amsgrad": False,
    }


def test_the_npz_holds_no_pickle_and_is_the_truth(tmp_path: Path) -> None:
    save_snapshot(tmp_path / "state", snapshot(), METHOD)
    (tmp_path / "state.json").unlink()
    with np.load(tmp_path / "state.npz", allow_pickle=False) as stored:
        assert all(stored[name].dtype != object for name in stored.files)
    assert len(load_snapshot(tmp_path / "state", METHOD).history) == 5


@pytest.mark.parametrize("name", ["state", "state.npz", "state.json"])
def test_the_suffix_may_be_given(name: str, tmp_path: Path) -> None:
    save_snapshot(tmp_path / name, snapshot())
    assert len(load_snapshot(str(tmp_path / name)).history) == 5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["state.json", "state.npz"]


def test_other_dots_belong_to_the_name(tmp_path: Path) -> None:
    save_snapshot(tmp_path / "k=0.1", snapshot(2))
    save_snapshot(tmp_path / "k=0.2", snapshot(3))
    assert len(load_snapshot(tmp_path / "k=0.1").history) == 2
    assert len(load_snapshot(tmp_path / "k=0.2").history) == 3


def test_files_are_as_readable_as_any_other(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    save_snapshot(tmp_path / "state", snapshot())
    assert (tmp_path / "state.npz").stat().st_mode == (tmp_path / "plain").stat().st_mode


# Wrong settings ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (replace(METHOD, rule=Adam(beta1=0.8)), r"rule\.beta1 = 0\.9, this run has 0\.8"),
        (make_method("adam", Flat(maxstep=0.2), learning_rate=0.2), r"control\.size = 0\.1, this run has 0\.2"),
        (make_method("adam", Flat(maxstep=0.3), learning_rate=0.1), r"space\.maxstep = 0\.2, this run has 0\.3"),
        (make_method("fire", Flat(maxstep=0.2)), r"rule\.type = 'Adam', this run has 'FIRE'"),
    ],
)
def test_other_settings_are_refused_and_the_field_is_named(other: StepMethod, message: str, tmp_path: Path) -> None:
    save_snapshot(tmp_path / "state", snapshot(), METHOD)
    with pytest.raises(RestartMismatch, match=message):
        load_snapshot(tmp_path / "state", other)


def test_settings_may_be_any_parameters(tmp_path: Path) -> None:
    parameters = {"images": 7, "k": 0.1, "fmax": np.float64(0.05), "ends": [np.zeros(3), np.ones(3)]}
    save_snapshot(tmp_path / "state", snapshot(), parameters)
    load_snapshot(tmp_path / "state", parameters)
    load_snapshot(tmp_path / "state")
    with pytest.raises(RestartMismatch, match="images = 7, this run has 9"):
        load_snapshot(tmp_path / "state", parameters | {"images": 9})
    with pytest.raises(RestartMismatch, match="climb = None, this run has True"):
        load_snapshot(tmp_path / "state", parameters | {"climb": True})
    with pytest.raises(RestartMismatch, match="ends"):
        load_snapshot(tmp_path / "state", parameters | {"ends": [np.zeros(3), np.full(3, 2.0)]})


# Damage --------------------------------------------------------------------------------------------------------------


def test_a_missing_checkpoint_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(RestartMismatch, match=r"no checkpoint at .*state\.npz"):
        load_snapshot(tmp_path / "state")


def test_another_npz_is_not_a_checkpoint(tmp_path: Path) -> None:
    np.savez(tmp_path / "state.npz", x=np.zeros(3))
    with pytest.raises(RestartMismatch, match="not a readable checkpoint"):
        load_snapshot(tmp_path / "state")


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("intact")
    save_snapshot(folder / "state", snapshot(), METHOD)
    return folder / "state.npz"


@given(st.data())
def test_a_truncated_file_is_refused(intact: Path, data: st.DataObject) -> None:
    content = intact.read_bytes()
    damaged = intact.with_name("truncated.npz")
    damaged.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(RestartMismatch, match="not a readable checkpoint"):
        load_snapshot(damaged, METHOD)


@given(st.data())
def test_a_damaged_byte_is_refused_or_does_not_matter(intact: Path, data: st.DataObject) -> None:
    """Every array has a checksum; bytes of the zip directory that nobody reads may change."""
    content = bytearray(intact.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    damaged = intact.with_name("damaged.npz")
    damaged.write_bytes(content)
    try:
        loaded = load_snapshot(damaged, METHOD)
    except RestartMismatch:
        return
    assert loaded.state.trial.tobytes() == snapshot().state.trial.tobytes()
    assert [record[:5] for record in loaded.history] == [record[:5] for record in snapshot().history]


# Atomic writes -------------------------------------------------------------------------------------------------------


class FullDisk(io.BytesIO):
    """A file on a disk that fills up in the middle of the first large write."""

    def write(self, data: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("moment", ["write", "fsync", "replace"])
def test_a_failing_write_leaves_the_old_file_and_nothing_else(
    moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_snapshot(tmp_path / "state", snapshot(3), METHOD)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    if moment == "write":
        opened = Path.open

        def open_on_full_disk(path: Path, mode: str = "r", *arguments: Any, **options: Any) -> Any:
            file = opened(path, mode, *arguments, **options)
            if "w" not in mode:
                return file
            file.write(b"half of i")
            file.close()
            return FullDisk()

        monkeypatch.setattr(Path, "open", open_on_full_disk)
    else:
        monkeypatch.setattr(os, moment, full)
    with pytest.raises(OSError, match="No space left"):
        save_snapshot(tmp_path / "state", snapshot(4), METHOD)
    monkeypatch.undo()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert len(load_snapshot(tmp_path / "state", METHOD).history) == 3


def test_ctrl_c_while_writing_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_atomically(tmp_path / "log", b"old")

    def interrupt(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "log", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["log"]
    assert (tmp_path / "log").read_bytes() == b"old"


def test_what_a_killed_write_left_behind_is_cleaned_up_by_the_next(tmp_path: Path) -> None:
    (tmp_path / "state.npz.unfinished").write_bytes(b"half of i")
    save_snapshot(tmp_path / "state", snapshot())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["state.json", "state.npz"]
