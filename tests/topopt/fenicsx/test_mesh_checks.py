"""`MeshStructure.check`: the sentences of grids on the meshes of the same grids, on any ranks, and on triangles."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from sciopt.core.errors import InputError
from sciopt.topopt import Grid
from sciopt.topopt.fenicsx.from_grid import mesh_source
from sciopt.topopt.fenicsx.loaded import MPI, dolfinx
from sciopt.topopt.fenicsx.source import FEniCSx
from sciopt.topopt.regions import Block, Line

SQUARE, CUBE = Grid(6, 6), Grid(4, 4, 4)
HEAT = Grid(5, 4, physics="heat").source("all", 1)
CUT = Block((2, None), (3, None))
PUSHED = SQUARE.load("top", (0, -1))
SAID: dict[str, tuple[Grid, str | None]] = {
    "held by a corner and an axis": (PUSHED.fix("left", "x").fix((3, 3), "y"), None),
    "no support": (PUSHED, "needs a support"),
    "no load": (SQUARE.fix("left"), "there is no load"),
    "slides": (PUSHED.fix("left", "x"), "displacement along y is free"),
    "turns": (PUSHED.fix((0, 0)), "rotation about z is free"),
    "sprung": (PUSHED.spring("bottom", 1.0), None),
    "hinged": (
        SQUARE.void(lambda x, y: (x < 3) != (y < 3)).fix("left").load((6, 6), (0, -1)),
        "turning about the single nodes or edges it hangs on is free",
    ),
    "useless part": (SQUARE.void(CUT).fix("left").load((1, 6), (0, -1)), "a part of 18 elements around (4.5, 3)"),
    "loaded part": (SQUARE.void(CUT).fix("left").load((6, 6), (0, -1)), "loaded but not held"),
    "load on void": (SQUARE.void(Block((4, 4), (6, 6))).fix("left").load((6, 6), (0, -1)), "touch no material"),
    "solid void": (
        SQUARE.void("top").solid((5.5, 5.5)).fix("left").load((6, 1), (0, -1)),
        "contradict each other in 1",
    ),
    "nothing left": (SQUARE.solid("all").fix("left").load((6, 1), (0, -1)), "nothing to design"),
    "load on support": (SQUARE.fix("left").load((0, 1), (0, -1)), "acts only on what is fixed"),
    "no weight": (PUSHED.fix("left").case_weights([0.0]), "all load cases have weight zero"),
    "output on support": (PUSHED.fix("left").output((0, 0), "x"), "output: it is measured only where"),
    "output on void": (
        SQUARE.load((1, 6), (0, -1)).fix("left").void("right").output((6, 0), "x"),
        "the output acts on 1 nodes",
    ),
    "hot": (HEAT, "needs a sink"),
    "hot part": (HEAT.void(CUT).fix("left"), "heated but not cooled"),
    "turns in space": (CUBE.fix(Line((0, 0, 0), (4, 4, 4))).load("top", (0, -1, 0)), "the direction (1, 1, 1) is free"),
    "slides in space": (CUBE.fix("left", "x").load("top", (0, -1, 0)), "displacement along y and z is free"),
    "hinged in space": (
        CUBE.void(lambda x, y, z: (x < 2) != (y < 2)).fix("left").load("right top", (0, -1, 0)),
        "turning about the single nodes or edges it hangs on is free (about (3, 3, 2))",
    ),
}


def sentence(structure: Any) -> str | None:
    try:
        structure.check()
    except InputError as error:
        return str(error)
    return None


@pytest.mark.parametrize("name", SAID)
def test_meshes_are_told_what_grids_are(name: str) -> None:
    grid, words = SAID[name]
    structure = grid.structure()
    said = sentence(mesh_source(structure))
    assert said == sentence(structure)
    assert said is None if words is None else words in str(said)


def test_numbers_that_make_no_sense_are_refused() -> None:
    good = mesh_source(PUSHED.fix("left").structure())
    for name, change in {
        "loads: 1 numbers are not finite": {"loads": np.where(np.arange(good.unknowns) == 3, np.nan, good.loads)},
        "material: parts of elements go from 0 to 2": {"material": 2.0 * (np.arange(good.cells) > 0)},
        "springs: the smallest is -1": {"springs": -np.ones(good.unknowns)},
        "the load is zero everywhere": {"loads": 0.0 * good.loads},
    }.items():
        with pytest.raises(InputError, match=name):
            type(good)(**{**vars_of(good), **change}).check()


def vars_of(structure: Any) -> dict[str, Any]:
    return {name: getattr(structure, name) for name in type(structure).__dataclass_fields__}


def plate(kind: Any, shape: tuple[int, ...]) -> FEniCSx:
    make = dolfinx.mesh.create_rectangle if len(shape) == 2 else dolfinx.mesh.create_box
    return FEniCSx(make(MPI.COMM_WORLD, [np.zeros(len(shape)), np.array(shape, dtype=float)], list(shape), kind))


def test_triangles_and_tetrahedra_hang_together_through_facets() -> None:
    kinds = dolfinx.mesh.CellType
    flat, solid = plate(kinds.triangle, (4, 4)), plate(kinds.tetrahedron, (4, 4, 2))
    flat.fix("left").load("right", (0, -1)).structure().check()
    solid.fix("left").load("right", (0, -1, 0)).structure().check()
    assert "needs a support" in str(sentence(flat.load("right", (0, -1)).structure()))
    hinged = flat.void(lambda x, y: (x < 2) != (y < 2)).fix("left").load((4, 4), (0, -1))
    assert "turning about the single nodes or edges it hangs on is free (about (3, 3))" in str(
        sentence(hinged.structure())
    )
    hinged = solid.void(lambda x, y, z: (x < 2) != (y < 2)).fix("left").load((4, 4, 0), (0, -1, 0))
    assert "turning about the single nodes" in str(sentence(hinged.structure()))


def test_a_second_support_holds_what_is_hinged() -> None:
    # Two squares that meet in one node, the second held by itself against turning: nothing is free.
    hinged = SQUARE.void(lambda x, y: (x < 3) != (y < 3)).fix("left").load((6, 6), (0, -1)).fix((6, 3), "y")
    assert sentence(mesh_source(hinged.structure())) is None


EVERYWHERE = """
import sys
sys.path.insert(0, sys.argv[1])
from test_mesh_checks import SAID, sentence
from sciopt.topopt.fenicsx.from_grid import mesh_source
from sciopt.topopt.fenicsx.loaded import MPI
for name, (grid, words) in SAID.items():
    said = MPI.COMM_WORLD.gather(sentence(mesh_source(grid.structure())))
    if said is not None:
        assert len(set(said)) == 1 and said[0] == sentence(grid.structure()), (name, said)
if MPI.COMM_WORLD.rank == 0:
    print("ALL ALIKE")
"""


def test_all_ranks_say_the_same(mpi: Callable[..., str]) -> None:
    assert "ALL ALIKE" in mpi(EVERYWHERE, 2, str(sys.modules[__name__].__file__).rpartition("/")[0])
