"""Run folders: complete and readable, never overwritten, and nothing that was paid for is ever lost."""

from __future__ import annotations

import csv
import errno
import hashlib
import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.io import Trajectory, read

from sciopt.core.errors import InputError, RestartMismatch, SciOptError
from sciopt.neb.path import find_path
from sciopt.neb.path_result import PathResult
from sciopt.neb.stored import stored_path
from sciopt.run_files import versions

IMAGES = 5
BAND = IMAGES + 2

# Keys of summary.json that people's scripts may rely on.
SUMMARY = {
    "sciopt", "versions", "parameters", "seed", "method", "converged", "reason", "calls", "wall_seconds",
    "overhead_seconds", "barrier", "barrier_reverse", "barrier_error", "reaction_energy", "energies", "fmax",
    "fmax_climbing", "images",
}  # fmt: skip

SCRIPT = """
import sys, time
import numpy as np
from ase import Atoms
from ase.constraints import FixCartesian
from sciopt import find_path
from sciopt.problems import Planar, muller_brown

class Slow(Planar):
    def calculate(self, atoms=None, *args, **kwargs):
        with open(sys.argv[2], "a") as log:
            log.write(atoms.positions.tobytes().hex() + "\\n")
        time.sleep(float(sys.argv[3]))
        super().calculate(atoms, *args, **kwargs)

def at(x, y):
    return Atoms("H", [[x, y, 0.0]], constraint=FixCartesian([0], mask=(False, False, True)))

found = find_path(at(-0.558224, 1.441726), at(0.623499, 0.028038), lambda: Slow(muller_brown, 0.01),
                  images=5, out=sys.argv[1], resume=True)
np.savez(sys.argv[1] + "/answer", X=found.X, converged=found.converged, images=found.calls["images"])
"""


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """These files need not survive a power cut."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


@pytest.fixture
def no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes most of the time where many short runs are made."""
    monkeypatch.setattr("sciopt.neb.plot.save_figure", lambda ax, path: None)


class Killed(BaseException):
    """Ends a run where nobody catches it, as SIGKILL does."""


def search(system: Any, out: Path, calculator: Any = None, **options: Any) -> PathResult:
    options = {"images": IMAGES, "max_calls": 1000, **options}
    return find_path(system.initial, system.final, calculator or system.calculator, out=out, **options)


def hashes(folder: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}


def log_rows(folder: Path) -> list[dict[str, str]]:
    with open(folder / "log.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_leaves_everything_behind(mueller: Any, counting: Any, tmp_path: Path) -> None:
    out, book = tmp_path / "deep" / "run", counting(mueller.calculator)
    points = []
    found = search(mueller, out, book, callback=lambda snapshot: points.append(snapshot.history[-1].accepted), seed=7)
    names = {file.name for file in out.iterdir()}
    promised = "summary.json log.csv state.npz state.json path.traj path.extxyz profile.png saddle.extxyz"
    assert set(promised.split()) <= names
    assert not [name for name in names if name.endswith(".unfinished")]

    summary = json.loads((out / "summary.json").read_text())
    assert set(summary) == SUMMARY
    assert summary["converged"] is True
    assert summary["calls"] == {"images": book.calls - 2, "endpoints": 2, "relax": 0, "check": 0}
    assert summary["images"] == IMAGES
    assert summary["seed"] == 7
    assert summary["barrier"] == pytest.approx(mueller.barrier, abs=0.01)
    assert summary["energies"][0] == 0.0
    assert summary["energies"] == pytest.approx(found.energies.tolist())
    assert summary["fmax"] < 0.05
    assert 0 <= summary["overhead_seconds"] <= summary["wall_seconds"]
    assert {"numpy", "ase", "sciopt"} <= set(summary["versions"])

    rows = log_rows(out)
    assert len(rows) == book.calls
    assert [int(row["call"]) for row in rows] == list(range(1, book.calls + 1))
    assert [row["purpose"] for row in rows[:3]] == ["endpoints", "endpoints", "images"]
    for row, positions in zip(rows, book.visited, strict=True):
        atoms = mueller.initial.copy()
        atoms.set_positions(positions, apply_constraint=False)
        atoms.calc = mueller.calculator()
        assert float(row["energy_eV"]) == pytest.approx(atoms.get_potential_energy(), abs=1e-7)

    band = read(f"{out}/path.traj@-{BAND}:")
    np.testing.assert_array_equal([atoms.positions for atoms in band], [atoms.positions for atoms in found.images])
    np.testing.assert_array_equal([atoms.get_potential_energy() for atoms in band], found.absolute_energies)
    np.testing.assert_allclose([atoms.get_forces() for atoms in band], [atoms.get_forces() for atoms in found.images])
    assert len(read(f"{out}/path.traj@:")) == BAND * sum(points)
    final = read(out / "path.extxyz", index=":")
    assert len(final) == BAND
    np.testing.assert_allclose(
        [atoms.positions for atoms in final], [atoms.positions for atoms in found.images], atol=1e-8
    )
    saddle = read(out / "saddle.extxyz")
    assert saddle.get_potential_energy() - band[0].get_potential_energy() == pytest.approx(found.barrier, abs=1e-6)
    assert (out / "profile.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((out / "state.json").read_text())["evaluations"] == len(points)


def test_the_folder_grows_while_the_run_goes_on(mueller: Any, tmp_path: Path) -> None:
    seen = []

    def look(snapshot: Any) -> None:
        seen.append((len(log_rows(tmp_path / "run")), (tmp_path / "run" / "state.npz").exists()))

    search(mueller, tmp_path / "run", callback=look)
    assert seen[0] == (IMAGES + 2, True)
    assert seen[-1][0] > seen[0][0]


def test_a_folder_with_a_run_is_refused_and_left_alone(mueller: Any, counting: Any, tmp_path: Path) -> None:
    out = tmp_path / "run"
    search(mueller, out)
    before, book = hashes(out), counting(mueller.calculator)
    with pytest.raises(InputError, match=r"already holds a run \(summary\.json\); resume it"):
        search(mueller, out, book)
    assert hashes(out) == before
    assert book.calls == 0


def test_other_files_in_the_folder_are_left_alone(mueller: Any, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert search(mueller, tmp_path).converged
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_file_is_no_folder(mueller: Any, counting: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    book = counting(mueller.calculator)
    with pytest.raises(InputError, match="is a file; give a folder"):
        search(mueller, tmp_path / "file", book)
    with pytest.raises(InputError, match="cannot write to the run folder"):
        search(mueller, tmp_path / "file" / "run", book)
    assert book.calls == 0
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    "options",
    [{}, {"method": "lbfgs"}, {"climb": 0.5}, {"springs": "string"}, {"relax": True}],
    ids=["auto", "lbfgs", "staged", "string", "relax"],
)
def test_a_finished_run_is_not_paid_for_twice(
    mueller: Any, counting: Any, tmp_path: Path, options: dict[str, Any]
) -> None:
    out, book = tmp_path / "run", counting(mueller.calculator)
    first = search(mueller, out, **options)
    again = search(mueller, out, book, resume=True, **options)
    assert book.calls == 0
    assert again.calls == first.calls
    np.testing.assert_array_equal(again.X, first.X)
    assert again.converged
    assert len(read(f"{out}/path.traj@:")) % BAND == 0


@pytest.mark.parametrize("options", [{"certify": "saddle"}, {"check": True}], ids=["saddle", "check"])
def test_a_finished_check_is_not_paid_for_twice(
    mueller: Any, counting: Any, tmp_path: Path, options: dict[str, Any]
) -> None:
    out, book = tmp_path / "run", counting(mueller.calculator)
    first = search(mueller, out, **options)
    again = search(mueller, out, book, resume=True, **options)
    assert book.calls == 0
    np.testing.assert_array_equal(again.X, first.X)
    assert again.calls == first.calls
    assert again.reason == first.reason


@pytest.mark.usefixtures("no_picture")
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"method": "lbfgs"},
        {"method": "fire"},
        {"climb": 0.5},
        {"climb": 0.5, "method": "lbfgs"},
        {"springs": "string"},
    ],
    ids=["auto", "lbfgs", "fire", "staged", "staged lbfgs", "string"],
)
def test_a_run_cut_after_any_band_is_the_run_that_was_not(
    mueller: Any, counting: Any, tmp_path: Path, options: dict[str, Any]
) -> None:
    whole = search(mueller, tmp_path / "whole", **options)
    total = len(read(f"{tmp_path}/whole/path.traj@:")) // BAND
    cuts = range(1, total, max(1, total // 4))
    assert len(cuts) > 3
    for cut in cuts:
        out, book = tmp_path / f"cut{cut}", counting(mueller.calculator)
        seen = []

        def stop(snapshot: Any, cut: int = cut, seen: list[int] = seen) -> None:
            seen.append(len(snapshot.history))
            if len(seen) == cut:
                raise StopIteration

        search(mueller, out, book, callback=stop, **options)
        rest = search(mueller, out, book, resume=True, **options)
        np.testing.assert_array_equal(rest.X, whole.X, err_msg=f"cut after band {cut}")
        assert rest.calls == whole.calls
        assert book.calls == sum(whole.calls.values())
        assert rest.reason == whole.reason


def test_with_another_method_the_search_goes_on_from_the_last_band(
    mueller: Any, counting: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out, book = tmp_path / "run", counting(mueller.calculator)
    first = search(mueller, out, book, method="fire", max_calls=20 * IMAGES)
    assert not first.converged
    last = np.array([atoms.positions[0, :2] for atoms in read(f"{out}/path.traj@-{BAND}:")])
    starts = []
    with caplog.at_level(logging.WARNING, "sciopt"):
        found = search(
            mueller,
            out,
            book,
            method="auto",
            resume=True,
            callback=lambda snapshot: starts.append(snapshot.state.here.info["X"]),
        )
    np.testing.assert_array_equal(starts[0], last)
    assert found.converged
    assert found.calls["images"] == book.calls - 2, "earlier sessions are part of the bill"
    assert any("fresh start of the method" in message for message in caplog.messages)


def test_a_budget_can_be_raised(mueller: Any, counting: Any, tmp_path: Path) -> None:
    out, book = tmp_path / "run", counting(mueller.calculator)
    whole = search(mueller, tmp_path / "whole")
    first = search(mueller, out, book, max_calls=4 * IMAGES)
    assert not first.converged
    same = search(mueller, out, book, max_calls=4 * IMAGES, resume=True)
    assert not same.converged
    assert book.calls == first.calls["images"] + 2
    more = search(mueller, out, book, resume=True)
    np.testing.assert_array_equal(more.X, whole.X)
    assert book.calls == sum(whole.calls.values())


def killed_in_the_middle(out: Path, log: Path, script: Path, lines: int) -> None:
    """Start a run and end it with SIGKILL while calculation number `lines` is under way."""
    process = subprocess.Popen([sys.executable, str(script), str(out), str(log), "0.05"])
    deadline = time.monotonic() + 120
    while not log.exists() or len(log.read_text().splitlines()) < lines:
        assert process.poll() is None, "the run ended before it was killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.mark.usefixtures("no_picture")
@pytest.mark.parametrize(
    "options",
    [{}, {"method": "lbfgs"}, {"climb": 0.5}, {"certify": "saddle"}],
    ids=["auto", "lbfgs", "staged", "saddle"],
)
def test_a_run_that_dies_in_any_calculation_loses_only_that_one(
    mueller: Any, counting: Any, tmp_path: Path, options: dict[str, Any]
) -> None:
    whole = search(mueller, tmp_path / "whole", **options)
    total = sum(whole.calls.values())
    for last in range(3, total + 1, 7):

        def die(book: Any, atoms: Atoms, last: int = last) -> None:
            if book.calls == last:
                raise Killed

        out, book = tmp_path / f"died{last}", counting(mueller.calculator, die)
        with pytest.raises(Killed):
            search(mueller, out, book, **options)
        found = search(mueller, out, book, resume=True, **options)
        np.testing.assert_array_equal(found.X, whole.X, err_msg=f"died in calculation {last}")
        assert book.calls == total + 1
        assert found.calls == whole.calls
        assert found.reason == whole.reason


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_killed_process_loses_one_calculation(mueller: Any, tmp_path: Path) -> None:
    whole = search(mueller, tmp_path / "whole")
    script, out, log = tmp_path / "script.py", tmp_path / "run", tmp_path / "calls.log"
    script.write_text(SCRIPT)
    killed_in_the_middle(out, log, script, 10)
    subprocess.run([sys.executable, str(script), str(out), str(log), "0"], check=True)
    calls = log.read_text().splitlines()
    assert len(calls) <= sum(whole.calls.values()) + 1
    assert len(set(calls)) >= len(calls) - 1
    with np.load(out / "answer.npz") as answer:
        assert answer["X"].tobytes() == whole.X.tobytes()
        assert bool(answer["converged"])
        assert int(answer["images"]) == whole.calls["images"]
    assert len(read(f"{out}/path.traj@:")) % BAND == 0


def interrupted(system: Any, out: Path, points: int = 5) -> None:
    def stop(snapshot: Any) -> None:
        if len(snapshot.history) == points:
            raise StopIteration

    search(system, out, callback=stop)


@pytest.mark.usefixtures("no_picture")
@pytest.mark.parametrize("name", ["state.npz", "stage.npz"])
@pytest.mark.parametrize("damage", ["cut", "noise", "empty", "gone"])
def test_a_damaged_checkpoint_costs_no_calculation(
    mueller: Any, counting: Any, tmp_path: Path, name: str, damage: str
) -> None:
    whole = search(mueller, tmp_path / "whole")
    out = tmp_path / "run"
    interrupted(mueller, out)
    file = out / name
    data = file.read_bytes()
    match damage:
        case "cut":
            file.write_bytes(data[: len(data) // 2])
        case "noise":
            file.write_bytes(np.random.default_rng(1).bytes(len(data)))
        case "empty":
            file.write_bytes(b"")
        case "gone":
            file.unlink()
    paid, book = len(log_rows(out)), counting(mueller.calculator)
    found = search(mueller, out, book, resume=True)
    assert found.converged
    if name == "state.npz":
        # The run begins again, and every calculation of it is known already.
        np.testing.assert_array_equal(found.X, whole.X)
        assert book.calls + paid == sum(whole.calls.values())
    assert found.barrier == pytest.approx(mueller.barrier, abs=0.01)


@pytest.mark.usefixtures("no_picture")
@pytest.mark.parametrize("cut", [1, 150, 0.6, 40])
def test_damaged_evaluations_cost_only_themselves(
    mueller: Any, counting: Any, tmp_path: Path, cut: float, caplog: pytest.LogCaptureFixture
) -> None:
    whole = search(mueller, tmp_path / "whole")
    out = tmp_path / "run"
    interrupted(mueller, out)
    file = out / "evaluations.traj"
    size = file.stat().st_size
    os.truncate(file, size - cut if cut in (1, 150) else int(cut * size) if cut < 1 else int(cut))
    paid, book = len(log_rows(out)), counting(mueller.calculator)
    with caplog.at_level(logging.WARNING, "sciopt"):
        found = search(mueller, out, book, resume=True)
    np.testing.assert_array_equal(found.X, whole.X)
    assert any("was lost in a crash" in message for message in caplog.messages)
    if cut in (1, 150):
        assert book.calls == sum(whole.calls.values()) - paid + 1
    with Trajectory(file) as frames:
        assert len([atoms.get_potential_energy() for atoms in frames]) > 0
    assert search(mueller, out, counting(mueller.calculator), resume=True).converged


def test_half_a_band_at_the_end_is_cut_off(mueller: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = search(mueller, tmp_path / "whole")
    out = tmp_path / "run"
    interrupted(mueller, out)
    for name in ("path.extxyz", "summary.json"):
        (out / name).unlink()
    with Trajectory(out / "path.traj") as frames:
        part = [atoms for atoms, _ in zip(frames, range(3), strict=False)]
    with Trajectory(out / "path.traj", "a") as frames:
        for atoms in part:
            frames.write(atoms)
    unfinished = stored_path(out)
    assert unfinished.X.shape == whole.X.shape
    with Trajectory(out / "path.traj") as frames:
        np.testing.assert_array_equal(unfinished.X[1], frames[len(frames) - BAND - 3 + 1].positions[0, :2])
    with caplog.at_level(logging.WARNING, "sciopt"):
        found = search(mueller, out, resume=True)
    np.testing.assert_array_equal(found.X, whole.X)
    bands = np.array([atoms.positions for atoms in read(f"{out}/path.traj@:")])
    assert len(bands) % BAND == 0
    for band in bands.reshape(-1, BAND, 3):
        np.testing.assert_array_equal(
            band[[0, -1]], np.array([whole.images[0].positions[0], whole.images[-1].positions[0]])
        )


def test_a_full_disk_is_one_clear_error_and_keeps_the_checkpoint(
    mueller: Any, counting: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    interrupted(mueller, out)
    state = (out / "state.npz").read_bytes()

    def full(self: Any, atoms: Any = None, **options: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with (
        monkeypatch.context() as patch,
        pytest.raises(SciOptError, match=r"cannot write .*run: No space left on device"),
    ):
        patch.setattr("ase.io.trajectory.TrajectoryWriter.write", full)
        search(mueller, out, resume=True)
    assert (out / "state.npz").read_bytes() == state

    def full_checkpoint(path: Path, data: bytes) -> None:
        path.with_name(path.name + ".unfinished").write_bytes(data[:10])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch, pytest.raises(SciOptError, match="No space left on device"):
        patch.setattr("sciopt.core.checkpoint.write_atomically", full_checkpoint)
        search(mueller, out, resume=True)
    assert (out / "state.npz").read_bytes() == state
    book = counting(mueller.calculator)
    found = search(mueller, out, book, resume=True)
    assert found.converged
    np.testing.assert_array_equal(found.X, search(mueller, tmp_path / "whole").X)


def test_a_picture_that_cannot_be_drawn_loses_nothing(
    mueller: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("sciopt.neb.plot.save_figure", broken)
    with pytest.raises(SciOptError, match="cannot write"):
        search(mueller, tmp_path / "run")
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["converged"]
    assert len(read(tmp_path / "run" / "path.extxyz", index=":")) == BAND


def test_another_system_is_refused(mueller: Any, hop: Any, tmp_path: Path) -> None:
    out = tmp_path / "run"
    interrupted(mueller, out)
    with pytest.raises(RestartMismatch, match="holds a run of other atoms"):
        search(hop, out, resume=True)
    moved = mueller._replace(final=Atoms(mueller.final, positions=[[-0.050011, 0.466694, 0.0]]))
    moved.final.set_constraint(mueller.final.constraints)
    with pytest.raises(RestartMismatch, match="between other end points"):
        search(moved, out, resume=True)


def test_resuming_nothing_starts_a_run(mueller: Any, tmp_path: Path) -> None:
    assert search(mueller, tmp_path / "new", resume=True).converged


def test_versions_name_what_numbers_depend_on() -> None:
    assert {"python", "sciopt", "numpy", "scipy", "ase"} <= set(versions())
