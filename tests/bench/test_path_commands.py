"""`sciopt bench paths` and `sciopt bench noise` as people type them: files, interruptions, tables."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import sciopt.bench.paths as paths
from sciopt.bench.path_noise import NoiseOutcome
from sciopt.bench.path_outcome import Outcome
from sciopt.bench.path_record import read_rows, write_rows
from sciopt.cli.main import main

PATHS = ["bench", "paths", "--problems", "muller-brown", "--methods", "auto,ase-fire", "--max-calls", "80"]
NOISE = ["bench", "noise", "--problems", "au_al100_hop", "--max-calls", "10"]
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    def called(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        code = ended.value.code
        assert isinstance(code, int)
        return code, *capsys.readouterr()

    return called


def keys(file: Path) -> list[tuple[int, str]]:
    return [(row.seed, row.method) for row in read_rows(file, Outcome)]


def test_interrupted_benchmarks_are_continued(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, run = tmp_path / "rows.csv", paths.run_one
    ran: list[str] = []

    def interrupted(start: Any, method: str, *more: Any, **options: Any) -> Any:
        # Not the small ones that warm up.
        if start.problem.name == "muller_brown":
            ran.append(f"{method} {start.seed}")
            if len(ran) == 4:
                raise KeyboardInterrupt
        return run(start, method, *more, **options)

    monkeypatch.setattr(paths, "run_one", interrupted)
    code, _, err = command(*PATHS, "--starts", 2, "--output", file)
    assert code == 2 and "interrupted" in err
    assert keys(file) == [(0, "auto"), (0, "ase-fire"), (1, "auto")]
    code, out, err = command(*PATHS, "--starts", 2, "--output", file)
    assert code == 1 and "--resume" in err
    code, out, err = command(*PATHS, "--starts", 2, "--output", file, "--resume")
    assert code == 0 and ran == ["auto 0", "ase-fire 0", "auto 1", "ase-fire 1", "ase-fire 1"]
    assert keys(file) == [(0, "auto"), (0, "ase-fire"), (1, "auto"), (1, "ase-fire")]
    # The tables are those of the whole file.
    cells = next(line for line in out.splitlines() if line.startswith("muller_brown")).split()
    assert (cells[2], cells[4]) == ("(2/2)", "(0/2)")
    assert out.endswith(command("bench", "paths", "--table", file)[1])


def test_rows_are_put_in_order(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    words = ["bench", "paths", "--max-calls", 60, "--starts", 2, "--output", file, "--resume", "--methods"]
    assert command(*words, "ase-fire", "--problems", "muller-brown")[0] == 0
    assert command(*words, "auto,ase-fire", "--problems", "muller-brown,leps", "--jobs", 2)[0] == 0
    rows = read_rows(file, Outcome)
    assert [row.key for row in rows] == [
        (problem, seed, method)
        for problem in ("leps", "muller_brown")
        for seed in (0, 1)
        for method in ("auto", "ase-fire")
    ]


def row(method: str, calls: int) -> Outcome:
    return Outcome("leps", 0, method, False, calls, True, True, 0.0, 0.01, 1.0, "")


def test_later_tables_replace_equal_runs(command: Command, tmp_path: Path) -> None:
    old, new = tmp_path / "old.csv", tmp_path / "new.csv"
    write_rows(old, [row("auto", 111), row("ase-fire", 222)], Outcome)
    write_rows(new, [row("auto", 55)], Outcome)

    def cells(*files: Path) -> list[str]:
        words = [word for file in files for word in ("--table", file)]
        _, out, _ = command("bench", "paths", *words)
        return next(line for line in out.splitlines() if line.startswith("leps")).split()

    assert cells(old, new) == ["leps", "*", "55", "(1/1)", "222", "(1/1)"]
    assert cells(new, old) == ["leps", "*", "111", "(1/1)", "222", "(1/1)"]
    new.write_text("")
    assert command("bench", "paths", "--table", new)[0] == 1


def test_methods_that_do_not_apply_are_skipped_and_named(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def run(start: Any, method: str, *_: Any, **__: Any) -> Outcome:
        asked.append(f"{start.problem.name} {method}")
        return row(method, 10)

    monkeypatch.setattr(paths, "run_one", run)
    words = ["--problems", "leps,au_al100_hop,hcn_hnc", "--methods", "gp-prior,auto", "--starts", 1]
    code, _, err = command("bench", "paths", *words)
    assert code == 0 and "gp-prior does not apply to 2 of 3 problems" in err
    # The solid warms up what applies to it, unless another test has done so.
    expected = {"leps auto", "au_al100_hop auto", "hcn_hnc auto", "hcn_hnc gp-prior"}
    assert set(asked) - {"cu_vacancy_31 auto"} == expected


def test_noise_is_measured_and_written(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "noise.csv"
    assert command(*NOISE, "--seeds", 1, "--output", file)[0] == 0
    code, out, err = command(*NOISE, "--seeds", 2, "--output", file, "--resume")
    assert code == 0 and len(err.splitlines()) == 2
    rows = read_rows(file, NoiseOutcome)
    assert [(one.sigma, one.seed) for one in rows] == [(0.03, 0), (0.03, 1), (0.1, 0), (0.1, 1)]
    assert "auto, 0.03 eV/Å" in out and "0/2" in out
    assert out.endswith(command("bench", "noise", "--table", file)[1])
    with open(file, newline="") as opened:
        assert next(csv.reader(opened))[:4] == ["problem", "sigma", "seed", "method"]


MISTAKES: list[tuple[list[object], str]] = [
    ([*PATHS, "--resume"], "--output"),
    ([*PATHS, "--jobs", 0], "jobs"),
    ([*NOISE, "--methods", "ase-fire"], "ase-fire"),
    ([*NOISE, "--methods", "gp-prior"], "gp-prior"),
    ([*NOISE, "--sigmas", "0.1,much"], "much"),
    ([*NOISE, "--sigmas", "-1"], "positive"),
    ([*NOISE, "--seeds", 0], "seeds"),
    ([*NOISE, "--resume"], "--output"),
]


@pytest.mark.parametrize(("words", "said"), MISTAKES)
def test_mistakes_are_told(words: list[object], said: str, command: Command) -> None:
    code, out, err = command(*words)
    assert (code, out) == (1, "") and said in err and len(err.splitlines()) == 1
