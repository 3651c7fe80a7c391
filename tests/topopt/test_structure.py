"""Fields on a structure, and what its check refuses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from sciopt.core.errors import InputError, ShapeError
from sciopt.topopt.builder import Grid
from sciopt.topopt.regions import Ball, Block, Line
from sciopt.topopt.structure import Structure

BEAM = Grid(6, 4).fix("left").load((6, 2), (0, -1))


def test_design_is_what_is_neither_void_nor_solid() -> None:
    structure = BEAM.solid("top").void(Block((4, 0), (6, 1))).structure()
    assert structure.size == 24 - 6 - 2 == structure.design.sum()
    assert structure.volumes.tolist() == [1.0] * 16
    x = np.linspace(0.1, 0.9, 16)
    field = structure.full(x).reshape(4, 6)
    assert (field[3] == 1.0).all() and (field[0, 4:] == 0.0).all()
    assert field[0, 1] == x[1] and field[1, 0] == x[4]
    np.testing.assert_array_equal(structure.full(x)[structure.design], x)
    assert structure.full(x, solid=-1.0, void=-2.0).reshape(4, 6)[[3, 0], [0, 5]].tolist() == [-1.0, -2.0]


def test_supports_are_what_is_fixed_and_touches_material() -> None:
    structure = BEAM.void(Block((4, 0), (6, 3))).structure()
    assert structure.held.sum() == 35 - 2 * 3
    assert structure.fixed.sum() == 2 * 5 + 2 * 6
    assert structure.supports.sum() == 2 * 5


def test_arrays_of_other_shapes_are_refused() -> None:
    structure = BEAM.structure()
    for name in ("material", "solid", "fixed", "loads", "weights", "springs"):
        with pytest.raises(ShapeError, match=f"{name} has shape"):
            replace(structure, **{name: getattr(structure, name)[..., :-1]})
    with pytest.raises(ShapeError, match="outputs has shape"):
        replace(structure, outputs=np.zeros(3))
    with pytest.raises(ShapeError, match=r"x has shape \(3,\)"):
        structure.full(np.zeros(3))


def altered(name: str, index: Any, value: float) -> Structure:
    structure = BEAM.structure()
    array = np.array(getattr(structure, name), dtype=float)
    array[index] = value
    return replace(structure, **{name: array})


@pytest.mark.parametrize(
    ("structure", "message"),
    [
        (altered("loads", (0, 0, 0, 3), np.nan), "loads: 1 numbers are not finite"),
        (altered("material", 3, np.inf), "material: 1 numbers"),
        (altered("material", 3, 1.5), "material: .*from 0 to 1"),
        (altered("material", 3, -0.5), "material: .*from 0 to 1"),
        (altered("springs", (0, 0, 0), -1.0), "springs: the smallest is -1"),
        (altered("weights", 0, -1.0), "weights: the smallest is -1"),
        (altered("weights", 0, 0.0), "weights: all load cases have weight zero"),
        (altered("loads", (0, 1, 2, 6), 0.0), "load is zero everywhere"),
        (BEAM.solid("top").void("right").structure(), r"contradict each other in 1 elements, .* at \(5.5, 3.5\)"),
        (BEAM.solid("all").structure(), "nothing to design"),
        (Grid(6, 4).fix("left").structure(), r"there is no load; add one with \.load"),
        (Grid(6, 4, physics="heat").fix("left").structure(), r"there is no heat source; add one with \.source"),
        (Grid(6, 4).load("right", (1, 0)).structure(), "needs a support"),
        (Grid(6, 4).fix((6, 4)).void("right").load("left", (1, 0)).structure(), "needs a support"),
        (Grid(6, 4, physics="heat").source("all", 1.0).structure(), "needs a sink"),
        (BEAM.void("right").structure(), r"load acts on 1 nodes that touch no material, one of them at \(6, 2\)"),
        (BEAM.load("top", (0, -1), "snow").void("top").structure(), "load of case 1 acts on 7 nodes"),
        (BEAM.load("left", (0, -1), "wall").structure(), "load of case 1 acts only on what is fixed"),
        (BEAM.output((0, 0), "x").structure(), "output: it is measured only where displacements are fixed"),
        (BEAM.output((6, 2), "x").void(Ball((6, 3), 0.8)).void(Ball((6, 1), 0.8)).structure(), "the load acts on 1"),
        (BEAM.output((6, 4), "x").void(Ball((6, 4), 0.8)).structure(), "the output acts on 1 nodes"),
        (BEAM.void(Block((2, None), (3, None))).structure(), "a part of 12 elements .*loaded but not held"),
        (
            BEAM.load((2, 2), (0, -1)).void(Block((2, None), (3, None))).void("right").load((1, 1), (1, 0)).structure(),
            "acts on 1 nodes that touch no material",
        ),
        (
            Grid(6, 4).fix("left").load((2, 2), (0, -1)).void(Block((2, None), (3, None))).structure(),
            "a part of 12 elements .*neither held nor loaded .*useless",
        ),
        (
            Grid(6, 4, physics="heat").fix("left").source("all", 1.0).void(Ball((3, 2), 0.8)).structure(),
            "heat source acts on 1 nodes",
        ),
        (
            Grid(6, 4, physics="heat").fix("left").source(Block((4, None), (None, None)), 1.0)
            .void(Block((2, None), (3, None))).structure(),
            "heated but not cooled",
        ),
        (Grid(6, 4).fix((0, 0)).load((6, 4), (1, 0)).structure(), "rotation about z is free"),
        (Grid(6, 4).fix("bottom", "y").load((6, 4), (1, 0)).structure(), "displacement along x is free"),
        (Grid(3, 3, 3).fix("bottom left").load((3, 3, 3), (1, 0, 0)).structure(), "rotation about z is free"),
        (Grid(3, 3, 3).fix("bottom", "y").load((3, 3, 3), (1, 0, 0)).structure(), "displacement along x and z is free"),
        (
            Grid(3, 3, 3).fix([(0, 0, 0), (3, 3, 3)]).load((3, 3, 0), (1, 0, 0)).structure(),
            r"rotation about the direction \(1, 1, 1\) is free",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_solved_is_refused_in_words(structure: Structure, message: str) -> None:
    with pytest.raises(InputError, match=message):
        structure.check()


def test_what_can_be_solved_is_not_refused() -> None:
    BEAM.structure().check()
    BEAM.case_weights([0.5]).solid("top").void(Block((4, 0), (6, 1))).structure().check()
    # Held by a roller and springs only.
    Grid(6, 4).fix((0, 0), "x").spring("bottom", 1.0, "y").load("top", (0, -1)).structure().check()
    # A useless load next to a useful one.
    BEAM.load((0, 0), (0, -1)).structure().check()
    Grid(6, 4, physics="heat").fix((3, 2)).source("all", 1.0).structure().check()
    Grid(6, 4, physics="heat").spring("left", 1.0).source("all", 1.0).structure().check()


def test_a_hinged_part_is_told_by_where_it_is() -> None:
    # Two plates that meet in one node at (3, 2).
    plates = Grid(6, 4).void([Block((0, 2), (3, 4)), Block((3, 0), (6, 2))]).fix("left").load((6, 2), (0, -1))
    with pytest.raises(InputError, match=r"turning about the single nodes .*about \(4.5, 3\)"):
        plates.structure().check()
    plates.fix((6, 4), "y").structure().check()
    # The same in heat conducts through the node.
    hot = Grid(6, 4, physics="heat").void([Block((0, 2), (3, 4)), Block((3, 0), (6, 2))])
    hot.fix("left").source((6, 4), 1.0).structure().check()


def test_prolonged_and_restricted_designs() -> None:
    fine = Grid(7, 5).fix("left").load((7, 2), (0, -1)).solid("top").void(Ball((3, 2), 1.1)).structure()
    coarse = fine.coarsened()
    x = np.random.default_rng(1).random(coarse.size)
    field = fine.full(coarse.prolong(fine, x)).reshape(5, 7)
    parents = coarse.full(x).reshape(3, 4)
    for k, i in np.ndindex(5, 7):
        if fine.design.reshape(5, 7)[k, i]:
            assert field[k, i] == parents[k // 2, i // 2]
    # A constant stays constant where no solid is mixed in, both ways.
    np.testing.assert_array_equal(coarse.prolong(fine, np.full(coarse.size, 0.3))[:7], 0.3)
    plain = replace(fine, solid=np.zeros_like(fine.solid))
    rough = plain.coarsened()
    y = np.random.default_rng(2).random(plain.size)
    np.testing.assert_allclose(plain.restrict(rough, np.full(plain.size, 0.3)), 0.3, rtol=1e-14)
    assert rough.volumes @ plain.restrict(rough, y) * 4 == pytest.approx(plain.volumes @ y, rel=1e-13)
    # Restriction undoes prolongation.
    z = np.random.default_rng(3).random(rough.size)
    np.testing.assert_allclose(plain.restrict(rough, rough.prolong(plain, z)), z, rtol=1e-13)
    assert rough.volumes @ z * 4 == pytest.approx(plain.volumes @ rough.prolong(plain, z), rel=1e-13)
    with pytest.raises(ShapeError, match="was not coarsened"):
        coarse.prolong(coarse, x)
    with pytest.raises(ShapeError, match="was not coarsened"):
        fine.restrict(fine, y)


def test_lines_as_supports_hold() -> None:
    Grid(6, 4).fix(Line((0, 1), (0, 2))).load((6, 2), (0, -1)).structure().check()
