"""Outcomes must survive crashes, and arrive from other processes as they do from this one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict, fields, replace
from pathlib import Path

import numpy as np
import pytest

from sciopt.bench.path_jobs import in_processes
from sciopt.bench.path_outcome import Outcome
from sciopt.bench.path_record import Record, latest, read_rows, write_rows
from sciopt.bench.paths import benchmark
from sciopt.bench.table import ratios
from sciopt.core.errors import InputError, SciOptError

STORED = Path(__file__).parents[2] / "data" / "benchmarks" / "paths.csv"


def outcome(problem: str = "a", seed: int = 0, method: str = "auto", calls: int = 10, note: str = "") -> Outcome:
    return Outcome(problem, seed, method, True, calls, True, True, 1.0 / 3.0, float("nan"), 1e-300, note, 15, 3)


TWO = [outcome(note='a "quoted", note'), outcome(seed=1)]


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    write_rows(file, TWO, Outcome)
    assert [str(asdict(row)) for row in read_rows(file, Outcome)] == [str(asdict(row)) for row in TWO]
    assert list(tmp_path.iterdir()) == [file]


def test_files_of_earlier_versions_load(tmp_path: Path) -> None:
    old = tmp_path / "old.csv"
    columns = "problem,seed,method,tuned,calls,success,claimed,barrier_error,fmax,cpu_ms,note"
    old.write_text(f"{columns}\nleps,0,ase-lbfgs,False,126,True,True,0.001,0.04,7.15,converged\n")
    (row,) = read_rows(old, Outcome)
    assert (row.calls, row.success, row.coordinates, row.rounds, row.prior_calls, row.claim) == (126, True, 0, 0, 0, "")


def test_the_stored_table_supports_what_the_readme_says_of_it() -> None:
    rows = read_rows(STORED, Outcome)
    runs = {name: [row for row in rows if row.method == name] for name in ("gp", "gp-saddle", "gp-strict", "imagewise")}
    counts = {name: (sum(row.success for row in chosen), len(chosen)) for name, chosen in runs.items()}
    assert counts == {"gp": (162, 162), "gp-saddle": (162, 162), "gp-strict": (162, 162), "imagewise": (261, 262)}
    for problems, least in ((rows, 9.0), ([row for row in rows if not row.tuned], 8.0)):
        fewer = [1.0 / ratio for ratio in ratios(problems, "gp", "ase-lbfgs").values()]
        assert len(fewer) > 30
        assert np.exp(np.mean(np.log(fewer))) >= least
        assert np.median([row.calls for row in problems if row.method == "gp"]) <= 22
        assert np.median([row.calls for row in problems if row.method == "gp-saddle"]) <= 12
    readme = (STORED.parents[2] / "README.md").read_text()
    assert all(f"{good}/{every}" in readme for good, every in counts.values())


def test_later_runs_replace_equal_ones() -> None:
    rows = [outcome(), outcome(seed=1), outcome(calls=99), outcome(method="gp")]
    assert [(row.key, row.calls) for row in latest(rows)] == [
        (("a", 0, "auto"), 99),
        (("a", 1, "auto"), 10),
        (("a", 0, "gp"), 10),
    ]


def test_every_outcome_is_on_disk_at_once(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    with Record(file, Outcome) as record:
        for count, row in enumerate(TWO, start=1):
            record.add(row)
            assert len(read_rows(file, Outcome)) == count


@pytest.mark.parametrize("lost", [1, 2, 8, 60])
def test_a_torn_last_row_is_run_again(lost: int, tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    write_rows(file, [*TWO, outcome(seed=2)], Outcome)
    whole = file.read_bytes()
    file.write_bytes(whole[:-lost])
    if lost > 2:
        with pytest.raises(InputError, match=r"rows\.csv"):
            read_rows(file, Outcome)
    with Record(file, Outcome, resume=True) as record:
        assert [row.seed for row in record.rows] == [0, 1]
        record.add(outcome(seed=2))
    assert file.read_bytes() == whole


def test_continued_files_are_sorted_and_get_new_columns(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    old = [field.name for field in fields(Outcome)][:11]
    row = asdict(outcome(seed=1))
    file.write_text(",".join(old) + "\n" + ",".join(str(row[name]) for name in old) + "\n")
    with Record(file, Outcome, resume=True) as record:
        record.add(outcome())
        record.sort(lambda one: one.seed)
    assert [(one.seed, one.coordinates) for one in read_rows(file, Outcome)] == [(0, 15), (1, 0)]


def test_records_refuse_what_they_would_harm(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    write_rows(file, TWO, Outcome)
    before = file.read_bytes()
    with pytest.raises(InputError, match="--resume"):
        Record(file, Outcome)
    assert file.read_bytes() == before
    with pytest.raises(InputError, match="nowhere"):
        Record(tmp_path / "nowhere" / "rows.csv", Outcome)
    file.write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="does not hold"):
        Record(file, Outcome, resume=True)
    assert file.read_text() == "a,b\n1,2\n"


def counting(first: int, count: int) -> Iterator[tuple[int, int]]:
    for k in range(first, first + count):
        if k == 13:
            os._exit(1)
        if k == 17:
            raise InputError("seventeen")
        yield k, os.getpid()


def test_all_that_is_yielded_arrives() -> None:
    tasks = [(0, 3), (3, 0), (3, 5), (8, 2)]
    for jobs in (1, 2):
        answers = list(in_processes(counting, tasks, jobs))
        assert sorted(k for k, _ in answers) == list(range(10))
        here = {process == os.getpid() for _, process in answers}
        assert here == {jobs == 1}
    assert list(in_processes(counting, [], 2)) == []
    with pytest.raises(InputError, match="jobs"):
        list(in_processes(counting, tasks, 0))


def test_a_process_that_dies_takes_only_its_own_work() -> None:
    answers = []
    with pytest.raises(SciOptError, match="11 4"):
        for answer in in_processes(counting, [(11, 4)], 2):
            answers.append(answer[0])
    assert answers == [11, 12]
    with pytest.raises(SciOptError, match="seventeen"):
        list(in_processes(counting, [(17, 1)], 2))


def test_processes_end_with_the_one_who_asked() -> None:
    running = in_processes(counting, [(100, 1000), (2000, 1000)], 2)
    process = next(running)[1]
    running.close()
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def test_outcomes_do_not_depend_on_the_process() -> None:
    def same(one: Outcome) -> Outcome:
        return replace(one, cpu_ms=0.0, cpu_seconds=0.0)

    here = [same(one) for one in benchmark(["muller_brown"], ["auto", "ase-fire"], 2, max_calls=60)]
    there = [same(one) for one in benchmark(["muller_brown"], ["auto", "ase-fire"], 2, max_calls=60, jobs=2)]
    assert sorted(there, key=lambda one: one.key) == sorted(here, key=lambda one: one.key)
