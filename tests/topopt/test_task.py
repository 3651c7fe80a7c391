"""Design tasks from TOML: the named structures written down, and what every mistake is answered with."""

from __future__ import annotations

import re
from dataclasses import fields
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from sciopt.core.errors import InputError
from sciopt.problems import structure_problem
from sciopt.problems.topology import topology_problem
from sciopt.topopt import RAMP, SIMP, Density, Helmholtz, MinimumVolume, Projection, Sensitivity, Structure, task_file
from sciopt.topopt.methods import DESIGN_METHODS
from sciopt.topopt.task import FILTERS, OBJECTIVES, SOLVERS, Task, task_options
from sciopt.topopt.task_file import read_task
from sciopt.topopt.toml_regions import KINDS

BEAM = """
[grid]
size = [12, 4]
[[support]]
where = "left"
[[load]]
where = "bottom right"
force = [0, -1]
"""


def task(folder: Path, text: str) -> Task:
    (folder / "beam.toml").write_text(text)
    return read_task(folder / "beam.toml")


def assert_same(found: Structure, wanted: Structure) -> None:
    for field in fields(Structure):
        ours, theirs = getattr(found, field.name), getattr(wanted, field.name)
        if isinstance(theirs, np.ndarray):
            np.testing.assert_array_equal(ours, theirs, err_msg=field.name)
        else:
            assert ours == theirs, field.name


INVERTER = """
[grid]
size = [48, 24]
[[support]]
where = "bottom"
components = "y"
[[support]]
where = {line = [[0, 23], [0, 24]]}
[[load]]
where = [0, 0]
force = [1, 0]
[[spring]]
where = [0, 0]
stiffness = 0.1
components = "x"
[[spring]]
where = [48, 0]
stiffness = 0.1
components = "x"
[[output]]
where = [48, 0]
direction = "x"
[objective]
kind = "mechanism"
volume = 0.3
[filter]
radius = 1.5
"""

HEAT = """
[grid]
size = [50, 50]
physics = "heat"
[[support]]
where = {line = [[0, 22], [0, 28]]}
[[source]]
where = "all"
total = 26.01
spread = "equal"
[objective]
volume = 0.4
[filter]
radius = 1.5
[material]
Emin = 1e-3
"""

PORTAL = """
[grid]
size = [40, 20]
[[passive]]
kind = "void"
where = {block = [[10, "open"], [30, 12]]}
[[passive]]
kind = "solid"
where = {block = [["open", 19], ["open", "open"]]}
[[support]]
where = [{line = [[0, 0], [4.8, 0]]}, {line = [[35.2, 0], [40, 0]]}]
[[load]]
where = "top"
force = [0, -1]
case = "roof"
[[load]]
where = "left"
force = [0.3, 0]
case = "wind"
[cases]
weights = {wind = 0.5}
"""

WHEEL = """
[grid]
size = [64, 64]
[[passive]]
kind = "void"
where = [{outside = {ball = {centre = [32, 32], radius = 32}}}, {ball = {centre = [32, 32], radius = 3.2}}]
[[passive]]
kind = "solid"
where = {common = [
    {ball = {centre = [32, 32], radius = 32}},
    {outside = {ball = {centre = [32, 32], radius = 29.44}}},
]}
[[support]]
where = {ball = {centre = [32, 32], radius = 4.2}}
[[load]]
where = [32, 0]
force = [0.5, 1]
case = "bottom"
[[load]]
where = [64, 32]
force = [-1, 0.5]
case = "right"
[[load]]
where = [32, 64]
force = [-0.5, -1]
case = "top"
[[load]]
where = [0, 32]
force = [1, -0.5]
case = "left"
"""

BRICKS = """
[grid]
size = [20, 10, 6]
spacing = [1.0, 0.8, 1.6]
[[support]]
where = [
    {block = [[0, 0, 0], [0, 1.6, 3.2]]},
    {block = [[0, 0, 6.4], [0, 1.6, 9.6]]},
    {block = [[0, 6.4, 0], [0, 8, 3.2]]},
    {block = [[0, 6.4, 6.4], [0, 8, 9.6]]},
]
[[load]]
where = {block = [[20, 0, "open"], ["open", 1.6, "open"]]}
force = [0, -1, 0]
case = "down"
[[load]]
where = {block = [[20, 0, "open"], ["open", 1.6, "open"]]}
force = [0, 0, 0.4]
case = "sideways"
"""

DAM = '[grid]\nsize = [70, 50]\nplane = "strain"\n[[support]]\nwhere = "bottom"\n' + (
    '[[passive]]\nkind = "solid"\nwhere = {block = [["open", "open"], [1, "open"]]}\n'
)
for low, high in pairwise(np.linspace(0.0, 50.0, 11).tolist()):
    total = (high - low) * (100.0 - low - high) / 2500.0
    DAM += f"[[load]]\nwhere = {{line = [[0, {low}], [0, {high}]]}}\nforce = [{total}, 0]\n"


@pytest.mark.parametrize(
    ("name", "text", "size"),
    [
        ("inverter", INVERTER, (48, 24)),
        ("heat", HEAT, (50, 50)),
        ("portal", PORTAL, (40, 20)),
        ("wheel", WHEEL, (64, 64)),
        ("bricks", BRICKS, (20, 10, 6)),
    ],
)
def test_named_structures_can_be_written_down(name: str, text: str, size: tuple[int, ...], tmp_path: Path) -> None:
    assert_same(task(tmp_path, text).grid.structure(), structure_problem(name, *size).grid.structure())


def test_a_pressure_that_grows_with_depth_is_a_load_per_strip(tmp_path: Path) -> None:
    structure = task(tmp_path, DAM).grid.structure()
    pressure = structure.loads[0, 0, :, 0]
    assert len(structure.loads) == 1
    assert pressure.sum() == pytest.approx(1.0, abs=1e-12)
    assert (np.diff(pressure[1::5]) < 0).all()
    assert structure.physics.plane == "strain"  # type: ignore[union-attr]


@pytest.mark.parametrize(("name", "text"), [("inverter", INVERTER), ("heat", HEAT)])
def test_a_written_problem_answers_like_the_named_one(name: str, text: str, tmp_path: Path) -> None:
    written = task(tmp_path, text + '[solver]\nkind = "direct"\n').problem()
    named = topology_problem(
        name, nx=48 if name == "inverter" else 50, solver="direct", filter=Density(1.5), volume=written.volume
    )
    x = np.random.default_rng(0).uniform(0.1, 0.9, named.size)
    ours, theirs = written.evaluate(x), named.evaluate(x)
    assert ours.value == theirs.value
    np.testing.assert_array_equal(ours.force, theirs.force)


def test_what_is_not_said_is_what_python_takes(tmp_path: Path) -> None:
    found = task(tmp_path, BEAM)
    assert (found.name, found.kind, found.volume, found.limit) == ("beam", "compliance", 0.5, None)
    assert (found.filter, found.material, found.projection) == (Density(1.5), SIMP(), None)
    assert (found.method, found.stop, found.max_solves, found.options) == ("auto", "plateau", None, {})


def test_all_that_can_be_said_arrives(tmp_path: Path) -> None:
    found = task(
        tmp_path,
        BEAM
        + """
[objective]
kind = "minimum-volume"
limit = 250
worst = true
[filter]
kind = "helmholtz"
radius = 2
[material]
kind = "RAMP"
penalty = 6
E0 = 2.1
Emin = 1e-6
[projection]
beta = 16
robust = 0.2
[design]
symmetry = ["y"]
[solver]
kind = "direct"
tol = 1e-4
[optimizer]
method = "mma"
stop = "change"
max_solves = 70
move = 0.3
""",
    )
    assert (found.filter, found.material, found.projection) == (
        Helmholtz(2.0),
        RAMP(6.0, 2.1, 1e-6),
        Projection(16.0, 0.2),
    )
    assert (found.symmetry, found.solver, found.tol) == (("y",), "direct", 1e-4)
    assert (found.method, found.stop, found.max_solves, found.options) == ("mma", "change", 70.0, {"move": 0.3})
    problem = found.problem()
    assert isinstance(problem, MinimumVolume) and (problem.limit, problem.worst) == (250.0, True)
    assert problem.symmetry == ("y",) and problem.tol == 1e-4
    assert isinstance(task(tmp_path, BEAM + '[filter]\nkind = "sensitivity"\n').filter, Sensitivity)


def test_masks_come_from_files_beside_the_problem(tmp_path: Path) -> None:
    hole = np.zeros((4, 12), dtype=np.uint8)
    hole[1:3, 5:8] = 1
    np.save(tmp_path / "hole.npy", hole)
    np.save(tmp_path / "end.npy", np.arange(13 * 5) % 13 == 0)
    text = BEAM.replace('"left"', '{mask = "end.npy"}') + '[[passive]]\nkind = "void"\nwhere = {mask = "hole.npy"}\n'
    structure = task(tmp_path, text).grid.structure()
    np.testing.assert_array_equal(structure.material, 1.0 - hole.ravel())
    plain = task(tmp_path, BEAM).grid.structure()
    np.testing.assert_array_equal(structure.supports, plain.supports)


def test_weights_follow_names_or_the_order_of_the_cases(tmp_path: Path) -> None:
    loads = BEAM + '[[load]]\nwhere = "top right"\nforce = [0, 1]\ncase = "up"\n'
    listed = task(tmp_path, loads + "[cases]\nweights = [2, 3]\n").grid.structure()
    named = task(tmp_path, loads + '[cases]\nweights = {up = 3, "0" = 2}\n').grid.structure()
    assert listed.weights.tolist() == named.weights.tolist() == [2.0, 3.0]


def test_the_task_runs_what_it_says(tmp_path: Path) -> None:
    text = BEAM + '[solver]\nkind = "direct"\n[optimizer]\nmethod = "oc"\nmax_solves = 5\nmove = 0.1\n'
    found = task(tmp_path, text).optimize()
    assert found.method == "oc" and found.calls["solves"] == 5 and found.reason.kind == "budget"
    assert max(record.change for record in found.records) == pytest.approx(0.1, abs=1e-12)


@pytest.mark.parametrize("method", ["auto", *DESIGN_METHODS])
def test_every_method_tells_its_options(method: str) -> None:
    options = task_options(method)
    assert options and "begin" not in options
    first = next(iter(options))
    given = Task("beam", structure_problem("mbb", nx=12).grid, method=method, options={first: "much"})
    with pytest.raises(InputError, match=f"method option {first} is 'much'"):
        given.check_method()


def test_the_guide_names_every_method_section_and_key() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "designs.md").read_text("utf-8")
    missing = [name for name in (*DESIGN_METHODS, *KINDS, *FILTERS, *OBJECTIVES, *SOLVERS) if name not in guide]
    assert missing == []
    keys = re.findall(r'table\.\w+\("(\w+)"', Path(task_file.__file__).read_text("utf-8"))
    assert len(keys) > 20
    assert [key for key in keys if f"`{key}`" not in guide] == []


def said(section: str, line: str) -> str:
    """The beam with one more section."""
    return f"{BEAM}{section}\n{line}\n"


MISTAKES = {
    "no TOML": ("[grid\n", "beam.toml is not valid TOML", "line 1"),
    "no grid": ("[filter]\nradius = 2\n", "[grid] is missing"),
    "empty": ("", "[grid] is missing"),
    "no size": ("[grid]\nnu = 0.3\n", "grid.size is missing"),
    "unknown section": (said("[filters]", "radius = 2"), "[filters] is unknown", "did you mean [filter]"),
    "key outside": ("volume = 0.3\n" + BEAM, "volume (outside of any section) is unknown"),
    "unknown key": (said("[filter]", "radios = 2"), "filter.radios is unknown", "did you mean 'radius'"),
    "key of a support": (BEAM.replace('where = "left"', 'were = "left"'), "support.where is missing", "'were'"),
    "extra key of a load": (BEAM + "angle = 3\n", "load.angle is unknown", "known are where, case, spread, force"),
    "single brackets": (BEAM.replace("[[load]]", "[load]"), "load is not a list of tables", "[[load]]"),
    "double brackets": (said("[[objective]]", "volume = 0.3"), "objective is repeated"),
    "a word for a number": (said("[objective]", 'volume = "half"'), "objective.volume is 'half'", "a number"),
    "true for a number": (said("[objective]", "volume = true"), "objective.volume is True", "a number"),
    "NaN": (said("[objective]", "volume = nan"), "objective.volume is nan", "finite"),
    "infinite radius": (said("[filter]", "radius = inf"), "filter.radius is inf", "finite"),
    "negative radius": (said("[filter]", "radius = -1"), "filter.radius is -1"),
    "too much volume": (said("[objective]", "volume = 1.2"), "objective.volume is 1.2"),
    "kind": (said("[objective]", 'kind = "complience"'), "objective.kind", "did you mean 'compliance'"),
    "heat without heat": (said("[objective]", 'kind = "heat"'), "objective.kind is 'heat'", "grid.physics"),
    "no limit": (said("[objective]", 'kind = "minimum-volume"'), "objective.limit is missing"),
    "limit": (said("[objective]", 'kind = "minimum-volume"\nlimit = 0'), "objective.limit is 0"),
    "limit without need": (said("[objective]", "limit = 10"), "objective.limit is unknown"),
    "worst": (said("[objective]", "worst = 1"), "objective.worst is 1", "true or false"),
    "filter": (said("[filter]", 'kind = "gauss"'), "filter.kind is 'gauss'", "density, helmholtz, sensitivity"),
    "material": (said("[material]", 'kind = "simp"'), "material.kind is 'simp'", "SIMP"),
    "penalty": (said("[material]", "penalty = 0.5"), "material: ", "p = 0.5"),
    "moduli": (said("[material]", "Emin = 2"), "material: ", "Emin"),
    "projection": (said("[projection]", "beta = -1"), "projection: beta is -1"),
    "robust": (said("[projection]", "robust = 0.7"), "projection: robust is 0.7"),
    "symmetry": (said("[design]", 'symmetry = ["left"]'), "design.symmetry", "axes"),
    "solver": (said("[solver]", 'kind = "amg"'), "solver.kind is 'amg'", "multigrid"),
    "method": (said("[optimizer]", 'method = "newton"'), "optimizer.method is 'newton'", "quasi-newton"),
    "stop": (said("[optimizer]", 'stop = "never"'), "optimizer.stop is 'never'"),
    "budget": (said("[optimizer]", "max_solves = 0"), "optimizer.max_solves is 0"),
    "option": (said("[optimizer]", 'method = "oc"\nmoves = 0.1'), "optimizer.moves is unknown", "'move'"),
    "option of another": (said("[optimizer]", "eta = 0.1"), "optimizer.eta is unknown"),
    "option's kind": (said("[optimizer]", 'memory = "long"'), "optimizer: ", "memory is 'long'", "whole number"),
    "size of one": (BEAM.replace("[12, 4]", "[12]"), "grid.size is [12]"),
    "size in text": (BEAM.replace("[12, 4]", '["12", 4]'), "grid.size: '12'"),
    "size of zero": (BEAM.replace("[12, 4]", "[12, 0]"), "grid.size: 0"),
    "spacing": (BEAM.replace("[12, 4]", "[12, 4]\nspacing = [1, 1, 1]"), "grid.spacing"),
    "flat elements": (BEAM.replace("[12, 4]", "[12, 4]\nspacing = 0"), "grid.spacing is 0"),
    "nu": (BEAM.replace("[12, 4]", "[12, 4]\nnu = 0.7"), "grid: ", "0.7"),
    "physics": (BEAM.replace("[12, 4]", '[12, 4]\nphysics = "fluid"'), "grid.physics is 'fluid'"),
    "loads on heat": (BEAM.replace("[12, 4]", '[12, 4]\nphysics = "heat"'), "load: ", "[[source]]"),
    "source on a beam": (said("[[source]]", 'where = "top"\ntotal = 1'), "source: ", "[[load]]"),
    "face": (BEAM.replace('"left"', '"lefft"'), "support.where: 'lefft' is no face"),
    "second of two": (said("[[load]]", 'where = "up"\nforce = [0, 1]'), "load.where (entry 2): 'up' is no face"),
    "point outside": (BEAM.replace('"bottom right"', "[13, 0]"), "load.where: the point (13.0, 0.0) lies outside"),
    "point in space": (BEAM.replace('"bottom right"', "[12, 0, 0]"), "load.where: the point"),
    "NaN in a point": (BEAM.replace('"bottom right"', "[nan, 0]"), "load.where is nan"),
    "mixed list": (BEAM.replace('"bottom right"', '[12, "top"]'), "load.where is 'top'"),
    "kind of region": (BEAM.replace('"left"', "{bloc = [[0, 0], [1, 1]]}"), "support.where: 'bloc'", "'block'"),
    "two regions in one": (BEAM.replace('"left"', '{line = [[0, 0], [0, 1]], mask = "a"}'), "support.where is {"),
    "open line": (BEAM.replace('"left"', '{line = [[0, "open"], [0, 4]]}'), "support.where, line is 'open'"),
    "one corner": (BEAM.replace('"left"', "{block = [[0, 0]]}"), "support.where, block is [[0, 0]]", "two corners"),
    "closed": (BEAM.replace('"left"', '{block = [[0, "close"], [1, 1]]}'), "support.where, block: 'close'", "open"),
    "ball": (
        BEAM.replace('"left"', "{ball = {center = [0, 0], radius = 1}}"),
        "support.where, ball.centre is missing; is 'center'",
    ),
    "empty region": (BEAM.replace('"left"', "{block = [[0.2, 0.2], [0.4, 0.4]]}"), "support.where: ", "no node"),
    "nothing common": (BEAM.replace('"left"', '{common = ["left", "right"]}'), "support.where: ", "no node"),
    "no such mask": (BEAM.replace('"left"', '{mask = "m.npy"}'), "support.where, mask = 'm.npy': there is no such"),
    "mask of text": (BEAM.replace('"left"', '{mask = "beam.toml"}'), "support.where, mask = 'beam.toml'"),
    "passive": (said("[[passive]]", 'kind = "hard"\nwhere = "top"'), "passive.kind is 'hard'", "solid, void"),
    "components": (BEAM.replace('"left"', '"left"\ncomponents = "z"'), "support.components: ", "'z'"),
    "force": (BEAM.replace("[0, -1]", "[0, -1, 0]"), "load.force: is [0", "2 numbers"),
    "no force": (BEAM.replace("[0, -1]", "[0, 0]"), "load.force: the total is zero"),
    "spring": (said("[[spring]]", 'where = "top"\nstiffness = -1'), "spring: stiffness is -1"),
    "direction": (said("[[output]]", 'where = "top"\ndirection = "up"'), "output.direction: ", "'up'"),
    "unknown case": (said("[cases]", "weights = {wind = 1}"), "cases.weights.wind: there is no such case"),
    "number of weights": (said("[cases]", "weights = [1, 2]"), "cases.weights: 2 weights for 1"),
    "negative weight": (said("[cases]", "weights = [-1]"), "cases.weights: ", "-1"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_every_mistake_is_one_sentence_that_names_the_field(mistake: str, tmp_path: Path) -> None:
    text, *words = MISTAKES[mistake]
    with pytest.raises(InputError) as refused:
        task(tmp_path, text)
    message = str(refused.value)
    assert message.startswith(str(tmp_path / "beam.toml"))
    assert all(word in message for word in words), message
    assert "\n" not in message


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.toml cannot be read"):
        read_task(tmp_path / "nowhere.toml")
    (tmp_path / "noise.toml").write_bytes(bytes(range(128, 255)))
    with pytest.raises(InputError, match=r"noise\.toml is not valid TOML"):
        read_task(tmp_path / "noise.toml")
