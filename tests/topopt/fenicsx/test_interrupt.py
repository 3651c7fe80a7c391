"""Signals to mpiexec, or to one rank, leave a checkpoint to go on from."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from sciopt.core.checkpoint import load_snapshot
from sciopt.topopt.fenicsx.loaded import MPI
from sciopt.topopt.interrupt import Interrupted, interruptible

HERE = str(Path(__file__).parent)
sys.path.insert(0, HERE)
from separable import mesh_of, run, structure_on  # noqa: E402

SCRIPT = """
import os, pathlib, sys
sys.path.insert(0, sys.argv[1])
from sciopt.topopt.fenicsx.interrupt import Interrupted
from sciopt.topopt.fenicsx.loaded import MPI
from sciopt.topopt.interrupt import interruptible
from separable import mesh_of, run, structure_on

comm = MPI.COMM_WORLD
structure = structure_on(mesh_of("triangle"))
folder = pathlib.Path(sys.argv[2])

def ready(visit):
    if visit.record.evaluation == 3:
        (folder / f"pid{comm.rank}").write_text(str(os.getpid()))

with interruptible(Interrupted(comm)) as interrupted:
    result = run(folder, structure, 500, 0.05, observers=(ready, interrupted))
counts = comm.allgather(len(result.records))
assert counts == [counts[0]] * comm.size, counts
if comm.rank == 0:
    print("ended:", str(result.reason), "after", counts[0], flush=True)
"""


def begun(folder: Path) -> tuple[subprocess.Popen[str], list[int]]:
    """A run on two ranks that has made a few evaluations, and the numbers of their processes."""
    folder.mkdir()
    script = folder / "script.py"
    script.write_text(SCRIPT)
    beside = Path(sys.executable).with_name("mpiexec")
    process = subprocess.Popen(
        [str(beside) if beside.exists() else "mpiexec", "-n", "2", sys.executable, str(script), HERE, str(folder)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    files = [folder / "pid0", folder / "pid1"]
    until = time.monotonic() + 60.0
    while not all(file.exists() and file.read_text() for file in files):
        assert process.poll() is None and time.monotonic() < until, process.communicate(timeout=5.0)[0]
        time.sleep(0.02)
    return process, [int(file.read_text()) for file in files]


@pytest.mark.parametrize(
    ("number", "target", "sentence"),
    [
        (signal.SIGTERM, "mpiexec", "ended by SIGTERM"),
        (signal.SIGINT, "second rank", "interrupted by the user"),
    ],
)
def test_all_ranks_end_after_the_same_evaluation(
    number: signal.Signals, target: str, sentence: str, tmp_path: Path
) -> None:
    process, ranks = begun(tmp_path / "run")
    os.kill(process.pid if target == "mpiexec" else ranks[1], number)
    said = process.communicate(timeout=30.0)[0]
    assert process.returncode == 0, said
    assert f"ended: {sentence}" in said
    evaluations = int(said.split(" after ")[-1])
    snapshot = load_snapshot(tmp_path / "run" / "stages" / "000.npz")
    assert len(snapshot.history) == evaluations < 500
    # One rank goes on from there.
    result = run(tmp_path / "run", structure_on(mesh_of("triangle", MPI.COMM_SELF)), evaluations + 2)
    assert len(result.records) == evaluations + 2


def test_a_killed_rank_leaves_a_checkpoint(tmp_path: Path) -> None:
    process, ranks = begun(tmp_path / "run")
    os.kill(ranks[1], signal.SIGKILL)
    process.communicate(timeout=30.0)
    assert process.returncode != 0
    snapshot = load_snapshot(tmp_path / "run" / "state.npz")
    assert len(snapshot.history) >= 1
    assert snapshot.state.here.x.size == 48


def test_the_largest_signal_of_all_counts() -> None:
    seen: list[int] = []

    def agree(number: int) -> int:
        seen.append(number)
        return max(number, int(signal.SIGTERM))

    visit: Any = None
    with pytest.raises(StopIteration, match="ended by SIGTERM"):
        Interrupted(agree)(visit)
    assert seen == [0]


def test_handlers_are_put_back_and_a_second_interrupt_ends_at_once() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    visit: Any = None
    with interruptible() as interrupted:
        interrupted(visit)
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(StopIteration, match="interrupted by the user"):
            interrupted(visit)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
