"""`sciopt topopt` as people use it: what it prints and writes, exit codes, interruptions, and folders left alone."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sciopt.cli.main import main
from sciopt.problems.topology import topology_problem
from sciopt.topopt import optimize_topology

CONVERGED, ERROR, BUDGET = 0, 1, 2
EXAMPLES = Path(__file__).parents[2] / "examples"
Command = Callable[..., tuple[int, str, str]]
SMALL = ["mbb", "--size", "24x8", "--solver", "direct"]


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    assert isinstance(ended.value.code, int)
    return ended.value.code


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.chdir(tmp_path)

    def called(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run(*words)
        return code, *capsys.readouterr()

    return called


def contents(folder: Path) -> dict[str, str]:
    return {str(f): hashlib.sha256(f.read_bytes()).hexdigest() for f in sorted(folder.rglob("*")) if f.is_file()}


def summary(folder: Path) -> dict:
    return json.loads((folder / "summary.json").read_text())


def rows(folder: Path) -> list[dict[str, str]]:
    with open(folder / "log.csv", newline="") as file:
        return list(csv.DictReader(file))


def table(out: str) -> dict[str, str]:
    """The final report by its first words."""
    lines = [line for line in out.splitlines() if not line.startswith(("It.:", "mbb:"))]
    return {line[:14].strip(): line[14:] for line in lines}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a converged run."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    assert run("topopt", *SMALL, "-q", "--out", folder) == CONVERGED
    return folder


def test_a_run_prints_what_it_writes_and_writes_it_to_a_folder_of_its_name(command: Command, tmp_path: Path) -> None:
    code, out, err = command("topopt", *SMALL)
    assert (code, err) == (CONVERGED, "")
    said, logged = summary(tmp_path / "mbb"), rows(tmp_path / "mbb")
    lines = [line for line in out.splitlines() if line.startswith("It.:")]
    assert len(lines) == len(logged)
    # People compare these with the lines of the educational codes: the same names, all columns below each other.
    pattern = r"It\.:( *\d+) Obj\.:( *-?[\d.e+-]+) Vol\.: *[\d.]+ ch\.: *[\d.]+ stage: *\d+ grid: *(\d+x\d+) p: .*"
    shown = [re.match(pattern, line) for line in lines]
    assert all(shown)
    assert len({tuple(line.index(word) for word in ("Obj.", "Vol.", "ch.", "solves:")) for line in lines}) == 1
    for match, row in zip(shown, logged, strict=True):
        assert match is not None
        assert float(match[2]) == pytest.approx(float(row["objective"]), abs=1e-4)
        assert np.prod([int(n) for n in match[3].split("x")]) == int(row["elements"])
    assert sum(line.endswith("rejected") for line in lines) == sum(row["accepted"] == "False" for row in logged)
    found = table(out)
    assert float(found["objective"]) == pytest.approx(said["objective"], rel=1e-5)
    assert float(found["volume"]) == pytest.approx(0.5, abs=1e-4)
    assert float(found["solves"].split()[0]) == pytest.approx(float(logged[-1]["equivalents"]), abs=0.051)
    assert found["converged"] == said["reason"]
    named = out.splitlines()[-1]
    for name in ("design.npz", "design.png", "design.vti", "design.stl", "convergence.png", "log.csv", "summary.json"):
        assert (tmp_path / "mbb" / name).stat().st_size > 0 and name in named
    with np.load(tmp_path / "mbb" / "design.npz") as design:
        assert design["density"].shape == (24, 8)
        assert design["density"].mean() == pytest.approx(said["volume"], abs=1e-9)


def test_the_answer_is_that_of_python(finished: Path) -> None:
    direct = optimize_topology(topology_problem("mbb", 24, 8, solver="direct"))
    assert summary(finished)["objective"] == direct.objective
    assert summary(finished)["calls"] == direct.calls


def test_options_reach_the_problem(command: Command, tmp_path: Path) -> None:
    words = ["--volume", 0.4, "--radius", 2.5, "--filter", "helmholtz", "--penalty", 4, "--projection", 8]
    words += ["--robust", 0.1, "--symmetry", "y", "--method", "oc", "-o", "move=0.1", "--stop", "change"]
    code, out, _ = command("topopt", "cantilever", "-s", "16x10", "--solver", "direct", *words, "--max-solves", 6)
    assert code == BUDGET and "NOT CONVERGED" in out
    said = summary(tmp_path / "cantilever")
    given = said["parameters"]["problem"]
    assert given["volume"] == 0.4 and given["symmetry"] == ["y"]
    told = json.dumps(given)
    assert "Helmholtz" in told and "2.5" in told and '"p": 4.0' in told
    assert '"beta": 8.0' in told and '"robust": 0.1' in told
    assert said["parameters"]["stop"] == "change" and said["parameters"]["options"] == {"move": 0.1}
    assert all(float(row["change"]) <= 0.1 + 1e-12 for row in rows(tmp_path / "cantilever"))


def test_a_spent_budget_has_its_own_code_and_can_go_on(command: Command, tmp_path: Path) -> None:
    words = ["topopt", *SMALL, "-m", "quasi-newton", "-q"]
    code, out, _ = command(*words, "--max-solves", 5)
    assert code == BUDGET
    assert "budget of 5" in table(out)["NOT CONVERGED"]
    begun = rows(tmp_path / "mbb")
    assert len(begun) == 5 and (tmp_path / "mbb" / "design.png").exists()
    code, _, _ = command(*words, "--resume")
    assert code == CONVERGED
    assert rows(tmp_path / "mbb")[:5] == begun
    assert command(*words, "--out", tmp_path / "whole")[0] == CONVERGED
    assert summary(tmp_path / "mbb")["objective"] == summary(tmp_path / "whole")["objective"]
    assert summary(tmp_path / "mbb")["calls"] == summary(tmp_path / "whole")["calls"]


def test_ctrl_c_returns_the_best_design_so_far(tmp_path: Path) -> None:
    words = ["topopt", "mbb", "-s", "48x16", "--solver", "direct", "-m", "mma", "--stop", "change"]
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", "from sciopt.cli.main import main; main()", *words],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    seen = [process.stdout.readline() for _ in range(4)]
    os.kill(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == BUDGET, err
    assert "Ctrl-C again" in err and "Traceback" not in err
    assert "interrupted by the user" in out
    best = min(float(row["objective"]) for row in rows(tmp_path / "mbb"))
    assert len(rows(tmp_path / "mbb")) >= len(seen) - 1
    assert summary(tmp_path / "mbb")["objective"] == pytest.approx(best, rel=1e-6)
    assert (tmp_path / "mbb" / "design.png").exists()


def test_an_animation_and_the_designs_on_the_way(command: Command, tmp_path: Path) -> None:
    code, _, _ = command("topopt", *SMALL, "-q", "--gif", "--iterations", "--threads", 1, "--max-solves", 3)
    assert code == BUDGET
    accepted = [row for row in rows(tmp_path / "mbb") if row["accepted"] == "True"]
    with Image.open(tmp_path / "mbb" / "evolution.gif") as film:
        # Frames that look alike are stored once.
        assert 5 < film.n_frames <= min(len(accepted), 60)
    kept = sorted((tmp_path / "mbb" / "iterations").iterdir())
    assert [int(file.stem) for file in kept] == [int(row["evaluation"]) for row in accepted]
    with np.load(kept[-1]) as design:
        assert design["density"].size == int(accepted[-1]["elements"])


def test_warnings_are_said_once_in_the_report(command: Command, tmp_path: Path) -> None:
    code, out, err = command("topopt", *SMALL, "-q", "--radius", 1, "--max-solves", 2)
    assert (code, err) == (BUDGET, "")
    assert out.count("1.5") == 1 and "filter radius 1" in table(out)["warning"]
    assert "filter radius 1" in summary(tmp_path / "mbb")["warnings"][0]


def test_the_named_problems_are_listed(command: Command) -> None:
    code, out, _ = command("topopt", "--list")
    assert code == CONVERGED
    assert {"mbb", "lbr", "torsion"} <= {line.split()[0] for line in out.splitlines()}


@pytest.mark.parametrize(
    ("name", "low", "high"),
    # Bounds wide enough for other optima of the same kind, and for what an improved method finds.
    [("bracket", 225.0, 275.0), ("two_loads", 52.0, 59.5), ("inverter", -1.25, -1.0)],
)
def test_example_files_run(name: str, low: float, high: float, command: Command, tmp_path: Path) -> None:
    code, out, _ = command("topopt", EXAMPLES / f"{name}.toml", "-q", "--solver", "direct")
    assert code == CONVERGED
    assert low < summary(tmp_path / name)["objective"] < high
    assert table(out)["volume"] == f"{ {'bracket': 0.45, 'two_loads': 0.4, 'inverter': 0.3}[name]:.4f}"


def test_a_mirrored_example_is_a_mirrored_design(command: Command, tmp_path: Path) -> None:
    command("topopt", EXAMPLES / "two_loads.toml", "-q", "--solver", "direct", "--max-solves", 8)
    with np.load(tmp_path / "two_loads" / "design.npz") as design:
        np.testing.assert_allclose(design["density"], design["density"][:, ::-1], atol=1e-12)


TEXT = """
[grid]
size = [12, 4]
[[support]]
where = "left"
[[load]]
where = "bottom right"
force = [0, -1]
"""

MISTAKES: dict[str, tuple[list[object], str]] = {
    "name": (["mbbb"], "did you mean 'mbb'"),
    "name of nothing": (["zzz"], "known are mbb"),
    "missing file": (["nowhere.toml"], "nowhere.toml cannot be read"),
    "folder": (["./mine"], "mine cannot be read"),
    "unknown key": (["unknown.toml"], "'sise'"),
    "floating": (["floating.toml"], "support"),
    "size": (["mbb", "--size", "ten"], "--size"),
    "size of four": (["mbb", "--size", "1x2x3x4"], "--size"),
    "negative size": (["mbb", "--size", "-5"], "--size"),
    "size in space": (["mbb", "--size", "20x10x10"], "leave nz out"),
    "tiny": (["mbb", "--size", "2x2"], "nx is 2"),
    "size of a file": (["good.toml", "--size", "20"], "[grid] size"),
    "volume": (["mbb", "--volume", "1.5"], "volume is 1.5"),
    "volume NaN": (["mbb", "--volume", "nan"], "volume is nan"),
    "volume below the passive solid": (["bridge", "--volume", "0.01"], "passive solid"),
    "radius": (["mbb", "--radius", "0"], "radius"),
    "radius NaN": (["mbb", "--radius", "nan"], "radius"),
    "filter": (["mbb", "--filter", "gauss"], "--filter is 'gauss'"),
    "penalty": (["mbb", "--penalty", "0.5"], "p = 0.5"),
    "projection": (["mbb", "--projection", "-1"], "beta is -1"),
    "robust": (["mbb", "--robust", "0.6"], "robust is 0.6"),
    "symmetry": (["mbb", "--symmetry", "z"], "axis 'z'"),
    "asymmetric": (["l-bracket", "--symmetry", "x"], "not symmetric"),
    "method": (["mbb", "--method", "mna"], "did you mean 'mma'"),
    "option": (["mbb", "-m", "oc", "-o", "mvoe=0.1"], "did you mean 'move'"),
    "option of auto": (["mbb", "-o", "eta=0.1"], "no option 'eta'"),
    "option without value": (["mbb", "-m", "oc", "-o", "move"], "key=value"),
    "option in words": (["mbb", "-m", "oc", "-o", "move=much"], "move=much"),
    "option NaN": (["mbb", "-m", "oc", "-o", "move=nan"], "move is nan"),
    "stop": (["mbb", "--stop", "never"], "stop is 'never'"),
    "budget": (["mbb", "--max-solves", "0"], "max_solves is 0"),
    "budget in words": (["mbb", "--max-solves", "many"], "--max-solves"),
    "solver": (["mbb", "--solver", "drect"], "did you mean 'direct'"),
    "threads": (["mbb", "--threads", "0"], "--threads is 0"),
    "unknown option": (["mbb", "--volum", "0.5"], "--volum"),
    "no problem": ([], "problem"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_said_in_one_line_and_change_nothing(mistake: str, command: Command, tmp_path: Path) -> None:
    words, said = MISTAKES[mistake]
    (tmp_path / "good.toml").write_text(TEXT)
    (tmp_path / "unknown.toml").write_text(TEXT.replace("size", "sise"))
    (tmp_path / "floating.toml").write_text(TEXT.replace('"left"', "[0, 0]"))
    out = tmp_path / "mine"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    before = contents(tmp_path)
    code, _, err = command("topopt", *words, "-q", "--out", out)
    assert code == ERROR
    assert err.startswith("sciopt: ") and err.count("\n") == 1 and said in err, err
    assert contents(tmp_path) == before and [f.name for f in out.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "already holds a run"),
        (["--volume", "0.4", "--resume"], "volume"),
        (["--method", "oc", "--resume"], "method"),
    ],
)
def test_a_run_is_never_overwritten(words: list[str], said: str, command: Command, finished: Path) -> None:
    before = contents(finished)
    code, _, err = command("topopt", *SMALL, "-q", "--out", finished, *words)
    assert code == ERROR and said in err and err.count("\n") == 1
    assert contents(finished) == before


def test_plot_draws_a_design_folder_anew(command: Command, finished: Path, tmp_path: Path) -> None:
    pictures = finished / "design.png", finished / "convergence.png"
    before = [picture.read_bytes() for picture in pictures]
    for picture in pictures:
        picture.unlink()
    code, out, _ = command("plot", finished)
    assert code == CONVERGED and all(str(picture) in out for picture in pictures)
    # The same pixels: all that is drawn is in the folder.
    assert [picture.read_bytes() for picture in pictures] == before
    assert command("plot", finished, "--mirror", "left", "-o", tmp_path / "whole.png")[0] == CONVERGED
    with Image.open(tmp_path / "whole.png") as whole, Image.open(pictures[0]) as half:
        assert whole.width / whole.height > 1.3 * half.width / half.height
    assert command("plot", finished, "--convergence", "-o", tmp_path / "way.svg")[0] == CONVERGED
    assert b"<svg" in (tmp_path / "way.svg").read_bytes()


def test_plot_says_what_it_cannot_draw(command: Command, finished: Path, tmp_path: Path) -> None:
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    (unfinished / "log.csv").write_bytes((finished / "log.csv").read_bytes())
    for words, said in (
        ([finished, "--mirror", "front"], "front"),
        ([finished, "-o", "picture.txt"], "picture.txt"),
        ([unfinished], "no design yet"),
        ([tmp_path / "nowhere"], "nowhere"),
        ([tmp_path, "--mirror", "left"], "no design"),
    ):
        code, _, err = command("plot", *words)
        assert code == ERROR and said in err and err.count("\n") == 1
    assert command("plot", unfinished, "--convergence")[0] == CONVERGED
    assert (unfinished / "convergence.png").stat().st_size > 0
    (unfinished / "design.npz").write_bytes(b"PK damaged")
    assert "design.npz is not a design" in command("plot", unfinished)[2]
