"""What the calls of a grid say ends up in the arrays of the structure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from sciopt.core.errors import InputError
from sciopt.topopt.builder import Grid
from sciopt.topopt.grid.element import Conduction, Elasticity
from sciopt.topopt.regions import Ball, Block, Line


def test_calls_return_new_grids() -> None:
    empty = Grid(4, 3)
    empty.fix("left").load((4, 0), (0, -1)).solid("top").void("bottom").spring((4, 0), 1, "x").output((4, 0), "x")
    structure = empty.structure()
    assert not structure.fixed.any() and not structure.solid.any() and not structure.springs.any()
    assert len(structure.loads) == 0 and structure.outputs is None and structure.material.all()


def test_supports_by_component() -> None:
    structure = Grid(4, 3, 2).fix("left", "xz").fix((4, 0, 0), "y").structure()
    assert structure.fixed.shape == (3, 3, 4, 5)
    assert structure.fixed[0, :, :, 0].all() and structure.fixed[2, :, :, 0].all()
    assert structure.fixed.sum() == 2 * 12 + 1
    assert structure.fixed[1, 0, 0, 4]


@pytest.mark.parametrize(
    ("face", "axis", "index"),
    [("left", 0, 0), ("right", 0, -1), ("bottom", 1, 0), ("top", 1, -1), ("front", 2, 0), ("back", 2, -1)],
)
def test_symmetry_holds_the_normal_displacement_of_a_face(face: str, axis: int, index: int) -> None:
    fixed = Grid(4, 3, 2).symmetry(face).structure().fixed
    expected = np.zeros_like(fixed)
    np.moveaxis(expected[axis], 2 - axis, 0)[index] = True
    assert np.array_equal(fixed, expected)


def test_heat_does_not_cross_planes_of_symmetry_anyway() -> None:
    assert not Grid(4, 3, physics="heat").symmetry("left", "top").structure().fixed.any()


def test_loads_of_a_case_add_up_and_cases_stay_apart() -> None:
    grid = (
        Grid(4, 3)
        .load("right", (2, 0), "pull")
        .load((4, 3), (0, -1), "push")
        .load((0, 0), (0.5, 1), "pull")
        .case_weights({"push": 3.0})
    )
    structure = grid.structure()
    assert grid.cases == ("pull", "push")
    np.testing.assert_allclose(structure.loads.sum(axis=(2, 3)), [[2.5, 1.0], [0.0, -1.0]])
    assert structure.loads[1, 1, 3, 4] == -1.0 and structure.loads[0, 1, 0, 0] == 1.0
    assert structure.weights.tolist() == [1.0, 3.0]
    assert grid.case_weights([0.25, 0.75]).structure().weights.tolist() == [0.25, 0.75]


def test_springs_and_outputs() -> None:
    structure = (
        Grid(4, 3)
        .spring("right", 6.0, "y")
        .spring((0, 0), 2.0)
        .output("right", "-y")
        .output((0, 0), (0.5, 0.0))
        .structure()
    )
    np.testing.assert_allclose(structure.springs[1, :, 4], [1, 2, 2, 1])
    assert structure.springs[:, 0, 0].tolist() == [2.0, 2.0]
    assert structure.springs.sum() == pytest.approx(10.0)
    assert structure.outputs is not None
    # The output of a translation is the translation, along the direction.
    np.testing.assert_allclose(structure.outputs.sum(axis=(1, 2)), [0.5, -1.0])


def test_void_takes_material_and_holds_what_touches_none() -> None:
    structure = Grid(4, 3).void(Block((2, 1), (4, 3))).structure()
    material = structure.material.reshape(3, 4)
    assert material[0].all() and material[:, :2].all() and not material[1:, 2:].any()
    lonely = {(x, y) for x in (3, 4) for y in (2, 3)}
    assert {(int(x), int(y)) for y, x in np.argwhere(structure.fixed.all(axis=0))} == lonely


def test_heat() -> None:
    structure = Grid(4, 3, physics="heat").source("all", 24.0).fix("left").spring("right", 3.0).structure()
    assert structure.physics == Conduction()
    assert structure.loads.shape == (1, 1, 4, 5)
    assert structure.loads[0, 0, 0, 0] == 0.5 and structure.loads[0, 0, 1, 1] == 2.0
    assert structure.fixed[0, :, 0].all() and structure.fixed.sum() == 4
    assert structure.springs[0, 1, 4] == 1.0


def test_material_arguments_and_spacing() -> None:
    structure = Grid(4, 3, spacing=(1.0, 2.0), nu=0.2, plane="strain").structure()
    assert structure.physics == Elasticity(0.2, "strain")
    assert structure.spacing == (1.0, 2.0)
    assert Grid(4, 3, 2, spacing=0.5).structure().spacing == (0.5, 0.5, 0.5)


HEAT = {"physics": "heat"}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: Grid(0, 3), "nx is 0"),
        (lambda: Grid(4, -3), "ny is -3"),
        (lambda: Grid(4, 3, 0), "nz is 0"),
        (lambda: Grid(4.5, 3), "nx is 4.5"),  # type: ignore[arg-type]  # on purpose
        (lambda: Grid(4, 3, spacing=-1.0), "spacing: the edge along x is -1.0"),
        (lambda: Grid(4, 3, spacing=(1.0, np.nan)), "spacing"),
        (lambda: Grid(4, 3, spacing=(1.0, 1.0, 1.0)), "expected two or three numbers each"),
        (lambda: Grid(4, 3, spacing="wide"), "spacing"),
        (lambda: Grid(4, 3, physics="magic"), "physics is 'magic'"),
        (lambda: Grid(4, 3, nu=0.5), "Poisson"),
        (lambda: Grid(4, 3, plane="stretch"), "plane"),
        (lambda: Grid(4, 3).fix("left", "z"), "fix: components are 'z'; expected 'all' or some of x, y"),
        (lambda: Grid(4, 3).fix("left", ""), "fix: components"),
        (lambda: Grid(4, 3).fix((9, 9)), "fix: the point"),
        (lambda: Grid(4, 3).symmetry("front"), "symmetry: 'front'"),
        (lambda: Grid(4, 3).symmetry("middle"), "symmetry: 'middle'"),
        (lambda: Grid(4, 3).load("left", (1, 2, 3)), "load: force is .*expected 2 numbers"),
        (lambda: Grid(4, 3).load("left", 1.0), "load: force"),  # type: ignore[arg-type]  # on purpose
        (lambda: Grid(4, 3).load("left", (np.inf, 0)), "load: force is inf"),
        (lambda: Grid(4, 3).load("left", ("a", 0)), "load: force is 'a'"),  # type: ignore[arg-type]  # on purpose
        (lambda: Grid(4, 3).load("left", (0, 0)), "load: the total is zero"),
        (lambda: Grid(4, 3).load("left", (1, 0), case=1.5), "load: case is 1.5"),  # type: ignore[arg-type]  # on purpose
        (lambda: Grid(4, 3).load("left", (1, 0), spread="even"), "load: spread is 'even'"),
        (lambda: Grid(4, 3).source("left", 1.0), "source: only"),
        (lambda: Grid(4, 3, **HEAT).load("left", (1, 0)), "load: heat conduction knows no forces"),
        (lambda: Grid(4, 3, **HEAT).output("left", "x"), "output: heat conduction knows no displacements"),
        (lambda: Grid(4, 3, **HEAT).fix("left", "x"), "fix: a temperature has no components"),
        (lambda: Grid(4, 3, **HEAT).source("left", np.nan), "source: total is nan"),
        (lambda: Grid(4, 3).spring("left", -1.0), "spring: stiffness is -1.0"),
        (lambda: Grid(4, 3).spring("left", np.nan), "spring: stiffness"),
        (lambda: Grid(4, 3).output("left", "w"), "output: direction is 'w'"),
        (lambda: Grid(4, 3).output("left", (1, 0, 0)), "output: direction"),
        (lambda: Grid(4, 3).load("left", (1, 0)).case_weights([1, 2]), "2 weights for 1 cases"),
        (lambda: Grid(4, 3).load("left", (1, 0)).case_weights({"wind": 1}), "no case 'wind'"),
        (lambda: Grid(4, 3).load("left", (1, 0)).case_weights([-1]), "weight of case 0 is -1"),
        (lambda: Grid(4, 3).solid(Line((0, 0), (1, 0))), "solid: a line has no elements"),
        (lambda: Grid(4, 3).void(Ball((2, 2), 0.1)), "void: .*selects no element"),
        (lambda: Grid(4, 3).void(np.ones((4, 3), dtype=bool)), "void: the mask has shape"),
    ],
)
def test_wrong_input_is_refused_by_name(wrong: Callable[[], Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        wrong()
