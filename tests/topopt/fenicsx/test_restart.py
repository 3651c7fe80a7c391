"""Checkpoints of any number of ranks continue on any other."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sciopt.core as core
from sciopt.core.checkpoint import load_snapshot
from sciopt.core.run import run as run_method
from sciopt.core.stop import Budget
from sciopt.core.tree import encode, holders
from sciopt.rules import gcmma, mma
from sciopt.topopt.builder import Grid
from sciopt.topopt.fenicsx.gather import gather
from sciopt.topopt.fenicsx.loaded import MPI
from sciopt.topopt.fenicsx.ranks import PER_CONSTRAINT, Pieces
from sciopt.topopt.methods import DESIGN_METHODS, design_method
from sciopt.topopt.objectives import MinimumVolume

HERE = str(Path(__file__).parent)
sys.path.insert(0, HERE)
from separable import mesh_of, run, structure_on  # noqa: E402

BEGIN = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np
from sciopt.topopt.fenicsx.loaded import MPI
from separable import mesh_of, run, structure_on

comm = MPI.COMM_WORLD
structure = structure_on(mesh_of("tetrahedron"), lambda x: x[:, 0] < 0.7)
"""

FIRST = (
    BEGIN
    + """
run(sys.argv[2], structure, 7, iterations=True)

# All ranks have as many variables as there are constraints and rows: shapes alone do not tell what is what.
from sciopt.core import Evaluation, Limit, Snapshot, State
from sciopt.core.history import History
from sciopt.rules.lbfgs import Secants
from sciopt.rules.mma import Multipliers
from sciopt.topopt.fenicsx.ranks import Pieces

small = structure_on(mesh_of("quadrilateral", cells=2))
n = small.size
assert comm.allgather(n) == [4, 4]
mine = lambda *shape: np.arange(np.prod(shape), dtype=float).reshape(shape) + 100.0 * comm.rank
info = {"density": mine(n), "cases": np.arange(4.0)}
ev = Evaluation(mine(n), np.zeros(n), 1.0, constraints=np.arange(4.0), jacobian=mine(4, n), info=info)
memory = (Secants((mine(n),) * 4, (mine(n),) * 4, (0.5,) * 4, ev.x, ev.force), mine(4, n), Multipliers(np.arange(4.0)))
state = State(ev, mine(n), mine(n), memory, Limit(mine(n), np.zeros(n, dtype=int), mine(n) > 1.0), None, None)
snapshot = Snapshot(state, History(), None, ev, 2)
whole = Pieces(small).whole(snapshot)
if comm.rank == 0:
    here = whole.state.here
    assert [a.shape for a in (here.x, here.jacobian, here.constraints)] == [(8,), (4, 8), (4,)]
    assert here.info["density"].shape == (8,) and here.info["cases"].shape == (4,)
    secants, stack, multipliers = whole.state.memory
    assert secants.s[3].shape == (8,) and stack.shape == (4, 8) and multipliers.values.shape == (4,)
    assert whole.state.limit.streak.shape == (8,) and whole.state.limit.grown.dtype == bool
    assert set(here.x) == {0.0, 1.0, 2.0, 3.0, 100.0, 101.0, 102.0, 103.0}
back = Pieces(small).part(whole)
from sciopt.core.tree import encode
arrays, again = {}, {}
assert encode(tuple(back._replace(history=None)), again) == encode(tuple(snapshot._replace(history=None)), arrays)
assert all(np.array_equal(again[name], array) and again[name].dtype == array.dtype for name, array in arrays.items())
assert back.still == 2 and len(back.history) == 0
"""
)

SECOND = (
    BEGIN
    + """
from pathlib import Path
from sciopt.core.errors import SciOptError
from sciopt.topopt.fenicsx.ranks import Pieces
from sciopt.topopt.run_folder import DesignFolder

result = run(sys.argv[2], structure, 13)
from sciopt.topopt.fenicsx.gather import gather
x = gather(structure, result.x)
if comm.rank == 0:
    np.save(sys.argv[3], x)
    assert [record.evaluation for record in result.records] == list(range(1, 14))

def said(task):
    try:
        task()
    except SciOptError as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"

folder, ranks = Path(sys.argv[2]), Pieces(structure)
(folder.parent / "file").touch()
bad = folder.parent / "bad"
if comm.rank == 0:
    (bad / "stages").mkdir(parents=True)
    (bad / "stages" / "000.npz").write_bytes(b"nonsense")
words = [
    said(lambda: DesignFolder(folder, {}, ranks=ranks)),
    said(lambda: DesignFolder(folder.parent / "file" / "more", {}, ranks=ranks)),
    said(lambda: DesignFolder(folder, {"sizes": 2.0 * structure.sizes}, resume=True, ranks=ranks).kept(0)),
    said(lambda: DesignFolder(bad, {}, resume=True, ranks=ranks).kept(0)),
]
assert comm.allgather(words) == [words] * comm.size, comm.allgather(words)
if comm.rank == 0:
    print(*words, sep="\\n")
"""
)


def arrays_of(file: Path) -> list[Any]:
    """All but the table of the history, which has the times in it."""
    snapshot, arrays = load_snapshot(file), {}
    encode(tuple(snapshot._replace(history=None)), arrays)  # type: ignore[arg-type]
    return list(arrays.values())


def test_a_run_goes_on_with_the_same_bits(mpi: Callable[..., str], tmp_path: Path) -> None:
    structure = structure_on(mesh_of("tetrahedron", MPI.COMM_SELF), lambda x: x[:, 0] < 0.7)
    uninterrupted = run(tmp_path / "alone", structure, 7)
    folder = tmp_path / "shared"
    mpi(FIRST, 2, HERE, str(folder))
    seen, expected = (arrays_of(at / "stages" / "000.npz") for at in (folder, tmp_path / "alone"))
    assert len(seen) == len(expected) > 8
    assert all(np.array_equal(a, b) for a, b in zip(seen, expected, strict=True))
    with np.load(folder / "iterations" / "0001.npz") as stored:
        assert np.array_equal(stored["density"], np.full(structure.size, 0.25, dtype=np.float32))
    run(folder, structure, 10)
    said = mpi(SECOND, 3, HERE, str(folder), str(tmp_path / "x.npy")).splitlines()
    uninterrupted = run(tmp_path / "alone", structure, 13)
    assert np.array_equal(np.load(tmp_path / "x.npy"), gather(structure, uninterrupted.x))  # type: ignore[arg-type]
    assert len(said) == 4
    assert "already holds a run" in said[0]
    assert said[1].startswith("InputError: cannot write to the run folder")
    assert said[2].startswith("RestartMismatch: the checkpoint was written with task.")
    assert "not a readable checkpoint" in said[3]


def test_named_exceptions_exist() -> None:
    kinds = {"Evaluation": core.Evaluation, "Multipliers": mma.Multipliers, "Promise": gcmma.Promise}
    for place in PER_CONSTRAINT:
        kind, field, *_ = place.split(".")
        assert field in (getattr(kinds[kind], "_fields", None) or kinds[kind].__dataclass_fields__)


@pytest.mark.parametrize("name", DESIGN_METHODS)
def test_what_the_states_of_methods_hold_is_known(name: str) -> None:
    grid = Grid(8, 4).fix("left").load((8, 2), (0, -1))
    problem = MinimumVolume(grid, limit=500.0) if "mma" in name else None
    if problem is None:
        from sciopt.topopt.objectives import Compliance

        problem = Compliance(grid, volume=0.5)
    snapshots: list[Any] = []
    run_method(problem, design_method(name, problem.space), Budget(4), observers=[snapshots.append])
    for snapshot in snapshots:
        arrays: dict[str, Any] = {}
        held = holders(encode(tuple(snapshot._replace(history=None)), arrays))
        pieces = {held[key] for key, array in arrays.items() if array.shape[-1:] == (32,)}
        copies = {held[key] for key, array in arrays.items() if array.shape[-1:] != (32,)}
        assert copies <= PER_CONSTRAINT and not pieces & PER_CONSTRAINT


def test_one_rank_stores_in_the_same_order(tmp_path: Path) -> None:
    structure = structure_on(mesh_of("triangle", MPI.COMM_SELF))
    ranks = Pieces(structure)
    x = np.random.default_rng(0).random(structure.size)
    ev = core.Evaluation(x, -x)
    state = core.State(ev, x, x, (), core.Limit(0.1))
    whole = ranks.whole(core.Snapshot(state, core.History()))
    assert whole is not None
    assert np.array_equal(whole.state.here.x, gather(structure, x))  # type: ignore[arg-type]
    assert not np.array_equal(whole.state.here.x, x)
    assert np.array_equal(ranks.part(whole).state.trial, x)
