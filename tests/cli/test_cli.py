"""The command line as people use it: exit codes, one line per error, and folders left as they were."""

from __future__ import annotations

import csv
import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from ase.calculators.emt import EMT
from ase.io import read

import sciopt.bench.overhead
import sciopt.bench.sharing
import sciopt.neb.finder_search
from sciopt.bench.paths import Outcome
from sciopt.cli.main import main
from sciopt.problems import path_problem

IMAGES = 3
CONVERGED, ERROR, BUDGET = 0, 1, 2
Command = Callable[..., tuple[int, str, str]]


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def in_a_process(*words: object, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from sciopt.cli.main import main; main()", *map(str, words)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    def called(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run(*words)
        return code, *capsys.readouterr()

    return called


def contents(folder: Path) -> dict[str, str]:
    return {str(f): hashlib.sha256(f.read_bytes()).hexdigest() for f in sorted(folder.rglob("*")) if f.is_file()}


def summary(folder: Path) -> dict:
    return json.loads((folder / "summary.json").read_text())


@pytest.fixture
def ends(tmp_path: Path) -> tuple[Path, Path]:
    """A gold adatom on Al(100) on both sides of a bridge, in a format that keeps constraints."""
    return write_ends(tmp_path)


def write_ends(folder: Path) -> tuple[Path, Path]:
    problem = path_problem("au_al100_hop")
    files = folder / "initial.traj", folder / "final.traj"
    for file, atoms in zip(files, (problem.initial, problem.final), strict=True):
        atoms.write(file)
    return files


def rattled(file: Path) -> Path:
    atoms = read(file)
    atoms.set_positions(atoms.positions + np.random.default_rng(1).normal(scale=0.05, size=atoms.positions.shape))
    assert np.ptp(read(file).positions - atoms.positions) > 0.05
    moved = file.with_name(f"rattled_{file.name}")
    atoms.write(moved)
    return moved


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[Path, Path]]:
    """The folder of a converged run, and the files of its ends."""
    folder = tmp_path_factory.mktemp("finished")
    files = write_ends(folder)
    assert run("neb", *files, "-c", "emt", "-n", IMAGES, "-q", "--out", folder / "run") == CONVERGED
    return folder / "run", files


def test_a_converged_run_says_so_and_leaves_all_its_files(finished: tuple[Path, tuple[Path, Path]]) -> None:
    folder, _ = finished
    for name in ("profile.png", "path.extxyz", "path.traj", "saddle.extxyz", "log.csv", "summary.json", "state.npz"):
        assert (folder / name).stat().st_size > 0, name
    said = summary(folder)
    assert said["converged"] and said["images"] == IMAGES
    assert said["barrier"] == pytest.approx(path_problem("au_al100_hop").barrier, abs=0.01)
    with open(folder / "log.csv", newline="") as file:
        logged = [row["purpose"] for row in csv.DictReader(file)]
    assert {purpose: logged.count(purpose) for purpose in said["calls"]} == said["calls"]
    band = read(folder / "path.extxyz", index=":")
    assert len(band) == IMAGES + 2
    saddle = read(folder / "saddle.extxyz")
    bare = saddle.copy()
    bare.calc = EMT()
    assert bare.get_potential_energy() == pytest.approx(saddle.get_potential_energy(), abs=1e-6)
    assert np.linalg.norm(bare.get_forces(), axis=1).max() < 0.05


def test_what_is_printed_agrees_with_the_summary(command: Command, ends: tuple[Path, Path], tmp_path: Path) -> None:
    code, out, err = command("neb", *ends, "-c", "emt", "-n", IMAGES, "--out", tmp_path / "run")
    assert (code, err) == (CONVERGED, "")
    lines = {line.split()[0]: line for line in out.splitlines()}
    said = summary(tmp_path / "run")
    assert float(lines["barrier"].split()[1]) == pytest.approx(said["barrier"], abs=1e-4)
    assert f"{said['calls']['images']} images" in lines["calls"]
    assert "converged" in lines
    # The last line of progress is the band that was reported.
    last = [line.split() for line in out.splitlines() if line[:5].strip().isdigit()][-1]
    assert int(last[1]) == said["calls"]["images"]
    assert float(last[3]) == pytest.approx(said["fmax"], abs=1e-4)


def test_the_budget_ends_a_run_with_its_own_code_and_it_can_go_on(
    command: Command, finished: tuple[Path, tuple[Path, Path]], tmp_path: Path
) -> None:
    whole, files = finished
    words = ["neb", *files, "-c", "emt", "-n", IMAGES, "-q", "--out", tmp_path / "run"]
    code, out, _ = command(*words, "--max-calls", 7)
    first = summary(tmp_path / "run")
    assert code == BUDGET
    assert "NOT CONVERGED" in out and not first["converged"]
    assert first["calls"]["images"] < 7 + IMAGES
    code, _, _ = command(*words, "--resume")
    resumed, direct = summary(tmp_path / "run"), summary(whole)
    assert code == CONVERGED
    assert resumed["calls"]["endpoints"] == 2
    assert first["calls"]["images"] < resumed["calls"]["images"] <= direct["calls"]["images"] + IMAGES
    assert resumed["barrier"] == pytest.approx(direct["barrier"], abs=1e-3)


def test_resuming_a_finished_run_costs_nothing(
    command: Command, finished: tuple[Path, tuple[Path, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, files = finished
    before, logged = summary(folder), (folder / "log.csv").read_bytes()

    def forbidden(*_: object) -> None:
        raise AssertionError("nothing needs to be calculated")

    monkeypatch.setattr(EMT, "calculate", forbidden)
    code, _, err = command("neb", *files, "-c", "emt", "-n", IMAGES, "-q", "--out", folder, "--resume")
    after = summary(folder)
    assert (code, err) == (CONVERGED, "")
    assert after["calls"] == before["calls"] and after["barrier"] == before["barrier"]
    assert (folder / "log.csv").read_bytes() == logged


def swapped(files: tuple[Path, Path]) -> list[object]:
    atoms = read(files[1])
    atoms[[*range(1, len(atoms)), 0]].write(files[1].with_name("swapped.traj"))
    return [files[0], files[1].with_name("swapped.traj")]


def one_less(files: tuple[Path, Path]) -> list[object]:
    atoms = read(files[1])
    del atoms[-1]
    atoms.write(files[1].with_name("less.traj"))
    return [files[0], files[1].with_name("less.traj")]


def other_cell(files: tuple[Path, Path]) -> list[object]:
    atoms = read(files[1])
    atoms.cell[0] *= 1.1
    atoms.write(files[1].with_name("stretched.traj"))
    return [files[0], files[1].with_name("stretched.traj")]


def garbage(files: tuple[Path, Path]) -> list[object]:
    for name in ("garbage.xyz", "empty.traj", "noise.traj"):
        files[0].with_name(name).write_bytes({"g": b"3\nx\nO 1 two 3\n", "e": b"", "n": bytes(range(200))}[name[0]])
    return [files[0].with_name("garbage.xyz"), files[1]]


MISTAKES = {
    "wrong order": (swapped, [], "atom"),
    "different numbers": (one_less, [], "13"),
    "different cells": (other_cell, [], "cell"),
    "missing file": (lambda ends: [ends[0], "nowhere.xyz"], [], "nowhere.xyz"),
    "unreadable file": (garbage, [], "garbage.xyz"),
    "empty file": (lambda ends: [ends[0], garbage(ends)[0].with_name("empty.traj")], [], "empty.traj"),
    "binary noise": (lambda ends: [garbage(ends)[0].with_name("noise.traj"), ends[1]], [], "noise.traj"),
    "a folder as structure": (lambda ends: [ends[0], ends[0].parent], [], "cannot be read"),
    "same ends": (lambda ends: [ends[0], ends[0]], [], "identical"),
    "no images": (None, ["--images", 0], "images"),
    "images not a number": (None, ["--images", "many"], "--images"),
    "tolerance": (None, ["--fmax", -0.1], "fmax"),
    "not a number": (None, ["--fmax", "nan"], "fmax"),
    "budget": (None, ["--max-calls", 1], "max_calls"),
    "calculator": (None, ["-c", "emmt"], "emt"),
    "calculator's option": (None, ["-o", "asap_cutof=true"], "asap_cutoff"),
    "calculator's option without value": (None, ["-o", "asap_cutoff"], "key=value"),
    "method": (None, ["--method", "newton"], "newton"),
    "springs": (None, ["--springs", "loose"], "loose"),
    "spring": (None, ["--spring", -1], "-1"),
    "tangent": (None, ["--tangent", "cosine"], "cosine"),
    "certify": (None, ["--certify", "nothing"], "nothing"),
    "path": (None, ["--path", "straight"], "straight"),
    "noise": (None, ["--noise", -1], "noise"),
    "workers": (None, ["--workers", 0], "workers"),
    "batch": (None, ["--batch", 0], "batch"),
    "prior": (None, ["--method", "imagewise", "--prior", "emt"], "prior"),
    "prior's name": (None, ["--prior", "emmt"], "emt"),
    "contradiction": (None, ["--method", "imagewise", "--springs", "string"], "springs='string'"),
    "unknown option": (None, ["--imagess", 3], "--imagess"),
    "one structure too many": (None, ["third.xyz"], "third.xyz"),
    "missing argument": (lambda ends: [ends[0]], [], "final"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_said_in_one_line_and_change_nothing(
    mistake: str, command: Command, ends: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil, options, said = MISTAKES[mistake]
    monkeypatch.chdir(tmp_path)
    structures = spoil(ends) if spoil else ends
    out = tmp_path / "mine"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    before = contents(tmp_path)
    code, _, err = command("neb", *structures, "-c", "emt", "-q", "--out", out, *options)
    assert code == ERROR
    assert err.startswith("sciopt: ") and err.count("\n") == 1 and said in err, err
    assert contents(tmp_path) == before


def assert_refused(answer: tuple[int, str, str], *said: str) -> None:
    code, _, err = answer
    assert code == ERROR
    assert err.startswith("sciopt: ") and err.count("\n") == 1, err
    assert all(word in err for word in said), err


def test_a_rattled_end_is_refused_and_cured_by_relaxing(
    command: Command, ends: tuple[Path, Path], tmp_path: Path
) -> None:
    moved = rattled(ends[0])
    before = contents(tmp_path)
    words = ["neb", moved, ends[1], "-c", "emt", "-n", IMAGES, "-q"]
    assert_refused(command(*words, "--out", tmp_path / "bad"), "initial", "not a minimum", "--relax")
    after = contents(tmp_path)
    assert {name: after[name] for name in before} == before
    assert not (tmp_path / "bad" / "summary.json").exists()
    code, _, _ = command(*words, "--relax", "--out", tmp_path / "good")
    said = summary(tmp_path / "good")
    assert code == CONVERGED and said["calls"]["relax"] > 2
    assert said["barrier"] == pytest.approx(path_problem("au_al100_hop").barrier, abs=0.01)


def test_existing_runs_are_kept(
    command: Command, finished: tuple[Path, tuple[Path, Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, files = finished
    before = contents(folder)
    assert_refused(command("neb", *files, "-c", "emt", "--out", folder), "already holds a run", "--resume")
    assert_refused(command("relax", files[0], "-c", "emt", "--out", folder), "already holds a run")
    assert_refused(command("neb", *files, "-c", "emt", "--out", files[0]), str(files[0]), "is a file")
    assert_refused(command("relax", files[0], "-c", "emt", "--out", files[1]), "is a file")
    assert_refused(command("neb", *files, "-c", "emt", "--out", files[0] / "below"), str(files[0]))
    # Resuming with other atoms is no way round.
    problem = path_problem("hcn_hnc")
    for name, atoms in (("a.xyz", problem.initial), ("b.xyz", problem.final)):
        atoms.write(tmp_path / name)
    others = [tmp_path / "a.xyz", tmp_path / "b.xyz"]
    assert_refused(command("neb", *others, "-q", "-n", IMAGES, "--out", folder, "--resume"), "other atoms")
    assert contents(folder) == before


def test_resuming_with_another_calculator_is_refused(
    command: Command, finished: tuple[Path, tuple[Path, Path]]
) -> None:
    folder, files = finished
    before = contents(folder)
    words = ("neb", *files, "-c", "lj", "-q", "-n", IMAGES, "--out", folder, "--resume")
    assert_refused(command(*words), "holds evaluations of emt", "lj (epsilon=")
    assert contents(folder) == before


def test_forces_that_are_not_numbers_are_an_error(
    command: Command, ends: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calculate = EMT.calculate

    def broken(self: EMT, *args: object, **kwargs: object) -> None:
        calculate(self, *args, **kwargs)
        self.results["forces"][3] = np.nan

    monkeypatch.setattr(EMT, "calculate", broken)
    before = contents(tmp_path)
    assert_refused(command("neb", *ends, "-c", "emt", "-q", "--out", tmp_path / "run"), "not finite", "atom 3")
    assert_refused(command("relax", ends[0], "-c", "emt", "-q", "--out", tmp_path / "other"), "not finite")
    assert contents(tmp_path) == before


def test_debug_shows_where_an_error_came_from(ends: tuple[Path, Path], tmp_path: Path) -> None:
    done = in_a_process("--debug", "neb", *ends, "-c", "emt", "-n", 0, folder=tmp_path)
    assert done.returncode == ERROR
    assert "Traceback" in done.stderr and "InputError" in done.stderr


def test_a_whole_run_in_a_process(ends: tuple[Path, Path], tmp_path: Path) -> None:
    done = in_a_process("neb", *ends, "-c", "emt", "-n", IMAGES, folder=tmp_path)
    assert (done.returncode, done.stderr) == (CONVERGED, "")
    assert summary(tmp_path / "neb")["converged"]


def test_an_error_in_a_process_is_one_line(ends: tuple[Path, Path], tmp_path: Path) -> None:
    before = contents(tmp_path)
    done = in_a_process("neb", ends[0], "nowhere.xyz", "-c", "emt", folder=tmp_path)
    assert done.returncode == ERROR
    assert (done.stdout, done.stderr) == ("", "sciopt: there is no file nowhere.xyz\n")
    assert contents(tmp_path) == before


def test_the_console_script_knows_its_version(tmp_path: Path) -> None:
    script = Path(sys.executable).with_name("sciopt")
    done = subprocess.run([script, "--version"], capture_output=True, text=True, check=True, cwd=tmp_path)
    from importlib.metadata import version

    assert done.stdout == f"sciopt {version('sciopt')}\n"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("", ("neb", "relax", "plot", "bench", "Exit codes")),
        ("neb", ("--calculator", "--images", "--relax", "--resume", "--certify")),
        ("relax", ("--fmax", "--max-calls", "--out")),
        ("plot", ("--convergence", "--output")),
        ("bench", ("paths", "overhead")),
        ("bench paths", ("--methods", "--problems", "--starts", "--output")),
        ("bench overhead", ("ASE",)),
    ],
)
def test_every_command_explains_itself(words: str, told: tuple[str, ...], command: Command) -> None:
    for flag in ("--help", "-h"):
        code, out, err = command(*words.split(), flag)
        assert (code, err) == (CONVERGED, "")
        assert all(word in out for word in told), out


def test_without_a_word_the_help_is_shown(command: Command) -> None:
    assert command() == command("--help")
    assert_refused(command("bench"), "command")
    assert_refused(command("nebb"), "nebb")


def test_a_path_can_be_read_from_a_file(
    command: Command, finished: tuple[Path, tuple[Path, Path]], tmp_path: Path
) -> None:
    folder, files = finished
    words = ["neb", *files, "-c", "emt", "-q", "--path", folder / "path.extxyz"]
    code, _, _ = command(*words, "-n", IMAGES, "--out", tmp_path / "again")
    assert code == CONVERGED
    # The path was converged; nothing is left to do but look at it once.
    assert summary(tmp_path / "again")["calls"]["images"] == IMAGES
    assert_refused(command(*words, "-n", IMAGES + 1, "--out", tmp_path / "more"), f"{IMAGES + 3}")


def test_relaxing(command: Command, ends: tuple[Path, Path], tmp_path: Path) -> None:
    moved = rattled(ends[0])
    words = ["relax", moved, "-c", "emt", "--fmax", 0.02, "--out", tmp_path / "min"]
    code, out, _ = command(*words, "--max-calls", 3)
    assert code == BUDGET and "NOT CONVERGED" in out
    assert summary(tmp_path / "min")["calls"]["images"] == 3
    code, out, err = command(*words, "--resume")
    assert (code, err) == (CONVERGED, "")
    found = read(tmp_path / "min" / "relaxed.extxyz")
    bare = read(moved)
    held = bare.constraints[0].index
    np.testing.assert_allclose(found.positions[held], bare.positions[held], atol=1e-7)
    bare.set_positions(found.positions)
    bare.calc = EMT()
    assert np.linalg.norm(bare.get_forces(), axis=1).max() < 0.02
    line = next(line.split() for line in out.splitlines() if line.startswith("energy"))
    assert float(line[1]) == pytest.approx(bare.get_potential_energy(), abs=1e-5)
    calls = summary(tmp_path / "min")["calls"]
    assert command(*words, "-q", "--resume")[0] == CONVERGED
    assert summary(tmp_path / "min")["calls"] == calls


@pytest.mark.parametrize("options", [["--fmax", -1], ["--fmax", "nan"], ["--max-calls", 0], ["-c", "nothing"]])
def test_mistakes_in_relaxing(options: list[object], command: Command, ends: tuple[Path, Path], tmp_path: Path) -> None:
    before = contents(tmp_path)
    assert_refused(command("relax", ends[0], "-c", "emt", "-q", "--out", tmp_path / "min", *options))
    assert contents(tmp_path) == before


def test_pictures(command: Command, finished: tuple[Path, tuple[Path, Path]], tmp_path: Path) -> None:
    folder, files = finished
    before = contents(folder)
    for words in ([], ["--convergence"]):
        picture = tmp_path / f"{len(words)}.png"
        code, out, err = command("plot", folder, "-o", picture, *words)
        assert (code, out, err) == (CONVERGED, f"wrote {picture}\n", "")
        assert picture.read_bytes().startswith(b"\x89PNG")
    assert contents(folder) == before
    # A run that was killed leaves no summary and no final path.
    half = tmp_path / "half"
    half.mkdir()
    for name in ("log.csv", "path.traj", "state.npz", "evaluations.traj"):
        (half / name).write_bytes((folder / name).read_bytes())
    for words, name in (([], "profile.png"), (["--convergence"], "convergence.png")):
        assert command("plot", half, *words)[0] == CONVERGED
        assert (half / name).read_bytes().startswith(b"\x89PNG")
    # Nor does it always finish its last frame.
    (half / "path.traj").write_bytes((half / "path.traj").read_bytes()[:-700])
    assert command("plot", half)[0] == CONVERGED
    assert_refused(command("plot", tmp_path / "nowhere"), "nowhere")
    assert_refused(command("plot", tmp_path / "nowhere", "--convergence"), "nowhere")
    assert_refused(command("plot", files[0]), str(files[0]))
    assert_refused(command("plot", folder, "-o", tmp_path / "picture.docx"), "docx")
    assert_refused(command("plot", folder, "-o", tmp_path / "nowhere" / "a.png"), "nowhere")
    (half / "summary.json").write_text("{")
    assert_refused(command("plot", half), "summary.json")


def test_a_path_finder_tells_every_evaluation_and_what_it_claims(
    command: Command, ends: tuple[Path, Path], tmp_path: Path
) -> None:
    words = ["neb", *ends, "-c", "emt", "-n", IMAGES, "--method", "gp", "--batch", 2, "--out", tmp_path / "run"]
    code, out, err = command(*words, "--max-calls", 4)
    assert (code, err) == (BUDGET, "")
    code, out, err = command(*words, "--prior", "emt", "--certify", "strict", "--resume")
    assert (code, err) == (CONVERGED, "")
    said = summary(tmp_path / "run")
    told = [line.split() for line in out.splitlines() if line[:5].strip().isdigit()]
    with open(tmp_path / "run" / "learning.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    # Everything the surrogate has learned from is told once, whatever session paid for it.
    assert [(int(line[0]), int(line[1]), line[2]) for line in told] == [
        (int(row["evaluation"]), int(row["image"]), row["why"]) for row in rows
    ]
    zero = read(tmp_path / "run" / "path.extxyz").get_potential_energy()
    assert [float(line[3]) for line in told] == pytest.approx(
        [float(row["energy_eV"]) - zero for row in rows], abs=1e-4
    )
    assert {line[2] for line in told} <= {"seed", "trust", "energy", "climbing", "force", "audit", "strict"}
    lines = [line.split(maxsplit=1) for line in out.splitlines()]
    claims = said["reason"].split("; ")
    assert ["converged", claims[0]] in lines
    assert all(any(" ".join(line) == claim for line in lines) for claim in claims[1:])
    assert ["images", f"{IMAGES} evaluated, 0 predicted"] in lines
    assert any(line[0] == "calls" and f"{said['calls']['prior']} prior" in line[1] for line in lines if line)
    for words in ([], ["--learning"]):
        assert command("plot", tmp_path / "run", *words)[0] == CONVERGED
    assert (tmp_path / "run" / "learning.png").read_bytes().startswith(b"\x89PNG")
    assert_refused(command("plot", tmp_path / "run", "--learning", "--convergence"), "one at a time")


def test_progress_of_a_search_that_goes_on_with_a_band(
    command: Command, ends: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sciopt.neb.finder_search, "_PATIENCE", 1)
    words = ["neb", *ends, "-c", "emt", "-n", IMAGES, "--method", "gp", "--out", tmp_path / "run"]
    code, out, err = command(*words)
    assert (code, err) == (CONVERGED, "")
    lines = out.splitlines()
    finder, band = (next(i for i, line in enumerate(lines) if line.split()[0] == word) for word in ("calls", "band"))
    assert finder == 0 < band
    assert all(line.split()[0].isdigit() and len(line.split()) == 8 for line in lines[1:band])
    assert all(len(line.split()) == 5 for line in lines[band + 1 :] if line[:5].strip().isdigit())
    assert "surrogate got nowhere" in out
    assert {path.name for path in (tmp_path / "run").iterdir()} >= {"learning.csv", "path.traj", "path.extxyz"}
    for words in ([], ["--learning"], ["--convergence"]):
        assert command("plot", tmp_path / "run", *words)[0] == CONVERGED


def test_relaxing_by_gaussian_process(command: Command, ends: tuple[Path, Path], tmp_path: Path) -> None:
    words = ["relax", rattled(ends[0]), "-c", "emt", "--method", "gp", "--out", tmp_path / "min"]
    code, out, err = command(*words)
    assert (code, err) == (CONVERGED, "")
    said = summary(tmp_path / "min")
    assert said["method"] == "gp" and f"{said['calls']['images']} calls" in out
    assert_refused(command("relax", ends[0], "-c", "emt", "-m", "fire", "--out", tmp_path / "b"), "fire", "lbfgs or gp")


def test_relaxations_have_no_profile(command: Command, ends: tuple[Path, Path], tmp_path: Path) -> None:
    assert command("relax", ends[0], "-c", "emt", "-q", "--out", tmp_path / "min")[0] == CONVERGED
    assert_refused(command("plot", tmp_path / "min"), "sciopt neb")
    assert_refused(command("plot", tmp_path / "min", "--convergence"), "sciopt neb")


def test_benchmark_of_paths(command: Command, tmp_path: Path) -> None:
    table = tmp_path / "outcomes.csv"
    words = ["bench", "paths", "--problems", "muller-brown", "--methods", "auto,ase-lbfgs", "--starts", 2]
    code, out, err = command(*words, "--output", table)
    assert code == CONVERGED
    with open(table, newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [field.name for field in fields(Outcome)]
    assert [(row["method"], row["seed"]) for row in rows] == [
        ("auto", "0"),
        ("ase-lbfgs", "0"),
        ("auto", "1"),
        ("ase-lbfgs", "1"),
    ]
    assert len(err.splitlines()) == len(rows)
    for row, line in zip(rows, err.splitlines(), strict=True):
        assert f"{row['calls']} calls" in line
        assert ("FAILED" in line) == (row["success"] == "False")
    ours = [int(row["calls"]) for row in rows if row["method"] == "auto" and row["success"] == "True"]
    assert len(ours) == 2
    line = next(line for line in out.splitlines() if line.startswith("muller_brown"))
    assert f"{np.median(ours):.0f} (2/2)" in line


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--methods", "auto,ase-newton"], "ase-newton"),
        (["--methods", ""], "method"),
        (["--problems", "muller-browm"], "muller_brown"),
        (["--starts", 0], "starts"),
        (["--output", "nowhere/table.csv"], "nowhere"),
    ],
)
def test_mistakes_in_benchmarks(
    options: list[object], said: str, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert_refused(command("bench", "paths", "--problems", "muller-brown", *options), said)
    assert contents(tmp_path) == {}


def test_benchmark_of_overheads(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    measure = sciopt.bench.overhead.overhead
    monkeypatch.setattr(sciopt.bench.overhead, "overhead", lambda: measure(("fire", "ase-fire")))
    monkeypatch.setattr(sciopt.bench.sharing, "sharing", lambda: [("auto", 3.0, 1.5)])
    code, out, err = command("bench", "overhead")
    assert (code, err) == (CONVERGED, "")
    rows = [line.split() for line in out.splitlines()]
    rows = [row for row in rows if row[-4:-2] == ["60", "7"] or row[-2:] == ["3.00", "1.50"]]
    assert [row[-2] for row in rows[:2]] == ["fire", "ase-fire"]
    for row in rows[:2]:
        assert 0.0 < float(row[-1]) < 1000.0
    assert rows[2:] == [["auto", "3.00", "1.50"]]
