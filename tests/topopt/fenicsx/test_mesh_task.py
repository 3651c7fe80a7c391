"""Problem files and commands that name meshes: what is read, what is refused, and who speaks on several ranks."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sciopt.cli.main import main
from sciopt.core.errors import InputError
from sciopt.problems import structure_problem
from sciopt.topopt.fenicsx.source import FEniCSx
from sciopt.topopt.fenicsx.structure import MeshStructure
from sciopt.topopt.regions import Ball, Line
from sciopt.topopt.task import Task
from sciopt.topopt.task_file import names_mesh, read_task

DATA = Path(__file__).parent / "data"
EXAMPLES = Path(__file__).parents[3] / "examples"
PLATE = """
[mesh]
file = "l.msh"
[[support]]
where = "clamp"
[[load]]
where = "load"
force = [0, -1]
[filter]
radius = 0.2
"""


@pytest.fixture
def read(tmp_path: Path) -> Callable[[str], Task]:
    shutil.copy(DATA / "l_4.1_text.msh", tmp_path / "l.msh")

    def one(text: str) -> Task:
        (tmp_path / "plate.toml").write_text(text)
        return read_task(tmp_path / "plate.toml")

    return one


def assert_same(found: MeshStructure, wanted: MeshStructure) -> None:
    for name in ("material", "solid", "fixed", "loads", "weights", "springs", "outputs", "supports"):
        ours, theirs = getattr(found, name), getattr(wanted, name)
        np.testing.assert_array_equal(ours, theirs, err_msg=name) if theirs is not None else None
        assert (ours is None) is (theirs is None), name


FULL = """
[mesh]
file = "l.msh"
nu = 0.4
plane = "strain"
[[support]]
where = "clamp"
[[support]]
where = 9
components = "y"
[[load]]
where = ["load", "clamp"]
force = [0, -1]
case = "down"
spread = "equal"
[[load]]
where = {common = ["rim", {block = [["open", "open"], ["open", 0.1]]}]}
force = [1, 0]
case = "side"
[[spring]]
where = {line = [[0, 0], [1, 0]]}
stiffness = 2
components = "x"
[[output]]
where = "corner"
direction = "-y"
[[passive]]
kind = "void"
where = {ball = {centre = [0.2, 0.2], radius = 0.2}}
[[passive]]
kind = "solid"
where = {outside = {block = [["open", "open"], ["open", 0.9]]}}
[cases]
weights = {down = 2, side = 1}
[filter]
radius = 0.2
"""


def test_a_problem_file_says_what_calls_say(read: Callable[[str], Task]) -> None:
    task = read(FULL)
    wanted = (
        FEniCSx.read(DATA / "l_4.1_text.msh", nu=0.4, plane="strain")
        .fix("clamp")
        .fix(9, "y")
        .load(["load", "clamp"], (0, -1), "down", "equal")
        .load(lambda x, y: y == 0.0, (1, 0), "side")
        .spring(Line((0, 0), (1, 0)), 2, "x")
        .output((0, 0), "-y")
        .void(Ball((0.2, 0.2), 0.2))
        .solid(lambda x, y: y > 0.9)
        .case_weights([2, 1])
    )
    assert isinstance(task.grid, FEniCSx) and task.grid.model == wanted.model
    assert_same(task.grid.structure(), wanted.structure())
    assert task.on_mesh() is task


def test_heat_and_numbers_of_groups(read: Callable[[str], Task]) -> None:
    text = '[mesh]\nfile = "l.msh"\nphysics = "heat"\n[[support]]\nwhere = 2\n[[source]]\nwhere = "plate"\ntotal = 3\n'
    task = read(text + "[filter]\nradius = 0.2\n")
    assert task.kind == "heat"
    plate = FEniCSx.read(DATA / "l_4.1_text.msh", physics="heat").fix("clamp").source("plate", 3.0)
    assert_same(task.grid.structure(), plate.structure())  # type: ignore[union-attr, arg-type]


MISTAKES = {
    "both": (PLATE + "[grid]\nsize = [2, 2]\n", "there are both [grid] and [mesh]"),
    "neither": ("[filter]\nradius = 1\n", "[grid] is missing", '[mesh] file = "part.msh"'),
    "no file": (PLATE.replace('"l.msh"', '"k.msh"'), "mesh: there is no file ", "k.msh"),
    "no name": (PLATE.replace('file = "l.msh"', 'fille = "l.msh"'), "mesh.file is missing; is 'fille' meant"),
    "key": (PLATE.replace("[[support]]", "spacing = 2\n[[support]]", 1), "mesh.spacing is unknown"),
    "size": (PLATE.replace("[[support]]", "size = 2\n[[support]]", 1), "mesh: ", "is for .step files only"),
    "nu": (PLATE.replace("[[support]]", "nu = 2\n[[support]]", 1), "mesh: Poisson's ratio is 2.0"),
    "group": (
        PLATE.replace('"clamp"', '"clmp"'),
        "support.where: there is no physical group 'clmp' (did you mean 'clamp'?)",
    ),
    "number": (PLATE.replace('"clamp"', "77"), "support.where: there is no physical group 77"),
    "mask": (PLATE.replace('"clamp"', '{mask = "a.npy"}'), "support.where: a mesh has no masks"),
    "kind": (PLATE.replace('"clamp"', "{bal = 1}"), "support.where: 'bal' is no kind of region", "'ball'"),
    "switch": (PLATE.replace('"clamp"', "true"), "support.where is True", "the name of a physical group or a face"),
    "point": (PLATE.replace('"clamp"', "[0.9, 0.9]"), "support.where: the point (0.9, 0.9) lies outside the mesh"),
    "common": (PLATE.replace('"clamp"', '{common = ["clamp", "load"]}'), "support.where: the region that was marked"),
    "force": (PLATE.replace("[0, -1]", "[0, -1, 0]"), "load.force: is [0.0, -1.0, 0.0]; expected 2 numbers"),
    "source": (
        PLATE + '[[source]]\nwhere = "all"\ntotal = 1\n',
        "a mesh with physics = 'elasticity' has no [[source]]",
    ),
    "objective": (PLATE + '[objective]\nkind = "heat"\n', "objective.kind is 'heat', but mesh.physics is 'elasticity'"),
    "passive": (
        PLATE + '[[passive]]\nkind = "solid"\nwhere = "corner"\n',
        "passive.where: 'corner' is a group of points",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_every_mistake_is_one_sentence(name: str, read: Callable[[str], Task]) -> None:
    text, *words = MISTAKES[name]
    with pytest.raises(InputError) as refused:
        read(text)
    assert str(refused.value).partition("plate.toml: ")[1], refused.value
    assert [word for word in words if word not in str(refused.value)] == [], refused.value


def test_meshes_are_noticed_whatever_else_is_wrong(tmp_path: Path) -> None:
    file = tmp_path / "part.toml"
    assert not names_mesh(file)
    for text, wanted in {
        "[mesh] # mine\nfile = ": True,
        "  [mesh]\n": True,
        "# [mesh]\n[grid]\n": False,
        'name = "[mesh]"': False,
    }.items():
        file.write_text(text)
        assert names_mesh(file) is wanted, text


def test_the_example_is_held_at_its_clamp_and_solid_at_its_load() -> None:
    task = read_task(EXAMPLES / "l_bracket.toml")
    assert isinstance(task.grid, FEniCSx)
    structure = task.grid.structure()
    x = task.grid.regions.at.x
    held = structure.fixed.reshape(-1, 2)
    np.testing.assert_array_equal(held.all(axis=1), np.isclose(x[:, 1], 100.0))
    assert structure.loads.reshape(-1, 2).sum(axis=0).tolist() == pytest.approx([0.0, -1.0])
    assert (structure.centres[structure.solid] > [88, 24]).all() and structure.solid.sum() > 20
    assert len((EXAMPLES / "l_bracket.msh").read_bytes()) < 100_000
    structure.check()


@pytest.mark.parametrize("name", ["cantilever", "inverter", "heat"])
def test_named_problems_become_meshes(name: str) -> None:
    task = Task(name, structure_problem(name, 16).grid)
    found, grid = task.on_mesh().grid, structure_problem(name, 16).grid.structure()
    assert isinstance(found, MeshStructure)
    found.check()
    assert found.loads.sum() == pytest.approx(grid.loads.sum())
    assert found.fixed.sum() == grid.fixed.sum() and found.size == grid.size


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    assert isinstance(ended.value.code, int)
    return ended.value.code


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["part.msh"], r"part.msh is a mesh, .* \[mesh\] file = \"part.msh\", \[\[support\]\] where = \"left\""),
        (["mbb", "--backend", "mesh"], "--backend is 'mesh'; expected one of auto, grid, fenicsx"),
        (["plate.toml", "--backend", "grid"], r"--backend grid: plate.toml has a \[mesh\]"),
        (["plate.toml", "--gif"], "--gif: animations are drawn on grids only"),
        (["plate.toml", "--size", "20"], "--size: plate.toml says its own"),
        (["plate.toml"], "plate.toml: support.where: there is no physical group 'clmp'"),
    ],
)
def test_commands_that_cannot_be_run_say_why(
    words: list[str],
    sentence: str,
    read: Callable[[str], Task],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(InputError):
        read(PLATE.replace('"clamp"', '"clmp"'))
    monkeypatch.chdir(tmp_path)
    assert run("topopt", *words) == 1
    out, told = capsys.readouterr()
    assert out == "" and re.match(f"sciopt: {sentence}", told) and told.count("\n") == 1, told
    assert sorted(file.name for file in tmp_path.iterdir()) == ["l.msh", "plate.toml"]


def test_on_several_ranks_one_speaks(mpi: Callable[..., str], read: Callable[[str], Task], tmp_path: Path) -> None:
    with pytest.raises(InputError):
        read(PLATE.replace('"clamp"', '"clmp"'))
    script = """
import contextlib, io, sys
from sciopt.cli.main import main
said = io.StringIO()
code = None
try:
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        main(["topopt", "plate.toml"])
except SystemExit as ended:
    code = ended.code
from mpi4py import MPI
answers = MPI.COMM_WORLD.gather((code, said.getvalue()))
if answers:
    assert [code for code, _ in answers] == [1, 1], answers
    assert "no physical group 'clmp'" in answers[0][1] and answers[1][1] == "", answers
    print("ONE SPEAKS")
"""
    assert "ONE SPEAKS" in mpi(script)


@pytest.mark.parametrize("library", ["PMI", "OMPI_COMM_WORLD"])
def test_several_processes_do_not_solve_one_grid(
    library: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(f"{library}_SIZE", "2")
    told = []
    for rank in "01":
        monkeypatch.setenv(f"{library}_RANK", rank)
        assert run("topopt", "mbb") == 1
        told.append(capsys.readouterr().err)
    assert "add --backend fenicsx" in told[0] and told[1] == "" and not list(tmp_path.iterdir())


def test_grids_do_not_load_mpi(tmp_path: Path) -> None:
    code = """
import sys
from sciopt.cli.main import main
try:
    main(["topopt", "mbb", "--size", "9", "--max-solves", "1", "-q"])
except SystemExit as ended:
    print(ended.code)
print([name for name in ("mpi4py", "dolfinx", "petsc4py") if name in sys.modules])
"""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stdout.splitlines()[-2:] == ["2", "[]"], done


def test_a_named_problem_is_the_same_on_a_mesh(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["mbb", "--size", "24x8", "--method", "oc", "--solver", "direct", "--max-solves", "5"]
    told = {}
    for backend in ("grid", "fenicsx"):
        assert run("topopt", *words, "--backend", backend, "--out", backend) == 2
        out = capsys.readouterr().out
        told[backend] = [float(value) for value in re.findall(r"Obj\.: *(\S+)", out)]
    assert "mbb: 192 quadrilaterals on 1 rank, " in out and "mesh: 192 p: 3.00" in out
    assert len(told["grid"]) == 5 and told["fenicsx"] == pytest.approx(told["grid"], rel=1e-6)
