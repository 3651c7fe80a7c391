"""Regions select what their definitions say, and share totals as uniform densities on the elements do."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sciopt.core.errors import InputError
from sciopt.topopt.builder import Grid
from sciopt.topopt.distribute import shares
from sciopt.topopt.grid.system import GridSystem
from sciopt.topopt.lattice import Lattice
from sciopt.topopt.regions import Ball, Block, Line, Region, select_elements, select_nodes

PLANE = Lattice((5, 4), (1.0, 0.5))
SPACE = Lattice((3, 4, 2), (1.0, 0.5, 2.0))


def selected(where: Region, lattice: Lattice) -> set[tuple[float, ...]]:
    """Coordinates of the selected nodes."""
    mask = select_nodes(where, lattice)
    return {tuple(map(float, p)) for p in np.stack([x[mask] for x in lattice.corners()], axis=1)}


def selected_elements(where: Region, lattice: Lattice) -> set[tuple[int, ...]]:
    """Indices (i, j(, k)) of the selected elements."""
    return {tuple(map(int, index[::-1])) for index in np.argwhere(select_elements(where, lattice))}


def test_coordinates_follow_the_layout() -> None:
    x, y, z = SPACE.corners()
    assert x.shape == SPACE.nodes == (3, 5, 4)
    assert (x[1, 2, 3], y[1, 2, 3], z[1, 2, 3]) == (3.0, 1.0, 2.0)
    x, y, z = SPACE.centres()
    # x is the fastest index of the flat field: element (i, j, k) is entry i + nx (j + ny k).
    i, j, k = 2, 3, 1
    flat = i + 3 * (j + 4 * k)
    assert (x.ravel()[flat], y.ravel()[flat], z.ravel()[flat]) == (2.5, 1.75, 3.0)


def test_points_select_the_nearest_node_and_the_elements_they_lie_in() -> None:
    assert selected((2.4, 0.8), PLANE) == {(2.0, 1.0)}
    assert selected(np.array([5.0, 2.0]), PLANE) == {(5.0, 2.0)}
    assert selected((5.0, 0.0), PLANE) == {(5.0, 0.0)}
    assert selected_elements((2.4, 0.8), PLANE) == {(2, 1)}
    assert selected_elements((2, 1), PLANE) == {(1, 1), (2, 1), (1, 2), (2, 2)}


@pytest.mark.parametrize(
    ("name", "axis", "value"),
    [("left", 0, 0.0), ("right", 0, 3.0), ("bottom", 1, 0.0), ("top", 1, 2.0), ("front", 2, 0.0), ("back", 2, 4.0)],
)
def test_faces(name: str, axis: int, value: float) -> None:
    everything = set(product(range(4), np.arange(5) * 0.5, np.arange(3) * 2.0))
    assert selected(name, SPACE) == {p for p in everything if p[axis] == value}
    end = 0 if value == 0.0 else SPACE.shape[axis] - 1
    assert selected_elements(name, SPACE) == {e for e in np.ndindex(SPACE.shape) if e[axis] == end}


def test_several_faces_intersect() -> None:
    assert selected("right bottom", SPACE) == {(3.0, 0.0, z) for z in (0.0, 2.0, 4.0)}
    assert selected("top left back", SPACE) == {(0.0, 2.0, 4.0)}
    assert len(selected("all", SPACE)) == 60


@given(
    centre=st.tuples(st.floats(-1, 6), st.floats(-1, 3)),
    radius=st.floats(0.8, 4),
    lower=st.tuples(st.floats(-1, 4), st.floats(-1, 1.4)),
)
def test_balls_and_blocks_against_their_definitions(
    centre: tuple[float, float], radius: float, lower: tuple[float, float]
) -> None:
    everything = list(product(range(6), np.arange(5) * 0.5))
    tolerance = 1e-6
    near = [abs(np.hypot(x - centre[0], y - centre[1]) - radius) < 2 * tolerance for x, y in everything]
    ball = {(x, y) for x, y in everything if np.hypot(x - centre[0], y - centre[1]) <= radius}
    if not any(near):
        if ball:
            assert selected(Ball(centre, radius), PLANE) == ball
        else:
            with pytest.raises(InputError, match="selects no node"):
                select_nodes(Ball(centre, radius), PLANE)
    block = {(x, y) for x, y in everything if x >= lower[0] - tolerance and lower[1] - tolerance / 2 <= y <= 1.5}
    assert selected(Block(lower, (None, 1.5)), PLANE) == block


def test_a_ball_without_one_coordinate_is_a_cylinder() -> None:
    disc = selected(Ball((1, 1), 1), Lattice((3, 4), (1.0, 0.5)))
    assert selected(Ball((1, 1, None), 1), SPACE) == {(x, y, z) for x, y in disc for z in (0.0, 2.0, 4.0)}


def test_lines_run_along_nodes_from_end_to_end() -> None:
    assert selected(Line((0, 1), (3, 1)), PLANE) == {(x, 1.0) for x in (0.0, 1.0, 2.0, 3.0)}
    assert selected(Line((1, 0), (5, 2)), PLANE) == {(1.0, 0.0), (2.0, 0.5), (3.0, 1.0), (4.0, 1.5), (5.0, 2.0)}
    assert selected(Line((2, 1), (2, 1)), PLANE) == {(2.0, 1.0)}
    assert selected(Line((0, 2, 0), (0, 2, 4)), SPACE) == selected("top left", SPACE)


def test_masks_and_functions_agree_with_the_regions_they_copy() -> None:
    nodes, elements = select_nodes(Ball((2, 1), 1.1), PLANE), select_elements(Ball((2, 1), 1.1), PLANE)

    def ball(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.hypot(x - 2, y - 1) <= 1.1

    for same in (nodes, nodes.ravel(), ball):
        assert np.array_equal(select_nodes(same, PLANE), nodes)
    for same in (elements, elements.ravel(), ball):
        assert np.array_equal(select_elements(same, PLANE), elements)
    # Marked elements stand for their corners.
    corners = {(i + a, (j + b) * 0.5) for i, j in selected_elements(elements, PLANE) for a in (0, 1) for b in (0, 1)}
    assert selected(elements, PLANE) == corners


def test_lists_unite() -> None:
    assert selected([(0, 0), (5, 2), "top left"], PLANE) == {(0.0, 0.0), (5.0, 2.0), (0.0, 2.0)}
    assert selected_elements(["left", (4.5, 0.1)], PLANE) == {(0, 0), (0, 1), (0, 2), (0, 3), (4, 0)}


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ((6, 0), "outside the grid"),
        ((0, -0.1), "outside the grid"),
        ((0, 0, 0), "expected 2 coordinates"),
        ((np.nan, 0), "finite"),
        ("lefft", "no face"),
        ("front", "no face"),
        ("left right", "selects no node"),
        (Line((0, 0), (9, 0)), "end of the line.*outside"),
        (Line((0, 0), "top"), "end of the line"),
        (Block((2, 0), (1, 1)), "lower <= upper"),
        (Block((2, 0, 0), (3, 1, 1)), "expected 2 numbers"),
        (Block((np.nan, 0), (3, 1)), "expected numbers"),
        (Block((8, 0), (9, 1)), "selects no node"),
        (Ball((2, 1), -1.0), "radius"),
        (Ball((2, 1), np.nan), "radius"),
        (Ball((2.5, 1.25), 0.1), "selects no node"),
        (np.zeros(30, dtype=bool), "selects no node"),
        (np.ones(7, dtype=bool), "expected one entry per node"),
        (np.ones((6, 5), dtype=bool), "expected one entry per node"),
        (np.ones((4, 5)), "is no region"),
        (lambda x, y: x[0] > 0, "function of the coordinates"),
        (lambda x, y: x, "function of the coordinates"),
        ([], "is no region"),
        (3.0, "is no region"),
        (None, "is no region"),
        ([(0, 0), "lefft"], "no face"),
        (["left", Block((8, 0), (9, 1))], "Block.*selects no node"),
    ],
)
def test_what_is_no_region_is_refused_in_one_sentence(where: Region, message: str) -> None:
    with pytest.raises(InputError, match=message) as refused:
        select_nodes(where, PLANE, "load")
    assert str(refused.value).startswith("load")


def test_elements_are_refused_where_there_are_none() -> None:
    with pytest.raises(InputError, match="a line has no elements"):
        select_elements(Line((0, 0), (1, 0)), PLANE)
    with pytest.raises(InputError, match="selects no element"):
        select_elements(Ball((2, 1), 0.1), PLANE)
    with pytest.raises(InputError, match="expected one entry per element"):
        select_elements(np.ones(30, dtype=bool), PLANE)


@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("spread", ["consistent", "equal"])
def test_parts_sum_to_one_wherever(dim: int, spread: str) -> None:
    lattice = PLANE if dim == 2 else SPACE
    middle = tuple(0.5 * length for length in lattice.extent)
    start = (0.0,) * dim
    for where in ("all", "right", "top left", middle, Ball(middle, 1.1), Line(start, middle), [start, middle]):
        found = shares(where, lattice, spread)
        assert found.sum() == pytest.approx(1.0, abs=1e-14)
        assert found.min() >= 0.0
        assert np.array_equal(found > 0.0, select_nodes(where, lattice))


def trapezoid(n: int) -> np.ndarray:
    """Integrals of the hat functions on a line of n equal elements, relative to its length."""
    weights = np.ones(n + 1)
    weights[[0, -1]] = 0.5
    return weights / n


def test_bodies_surfaces_and_lines_get_the_integrals_of_the_shape_functions() -> None:
    x, y, z = (trapezoid(n) for n in SPACE.shape)
    body, left, edge = (shares(where, SPACE) for where in ("all", "left", "bottom left"))
    np.testing.assert_allclose(body, z[:, None, None] * y[:, None] * x, atol=1e-15)
    np.testing.assert_allclose(left[:, :, 0], z[:, None] * y, atol=1e-15)
    np.testing.assert_allclose(edge[:, 0, 0], z, atol=1e-15)
    # Bent around a corner, of edges of different lengths: 5 of length 1 and 4 of length 0.5.
    bent = shares(["bottom", "right"], PLANE)
    assert bent[0, 0] == pytest.approx(0.5 / 7)
    assert bent[0, 5] == pytest.approx(0.75 / 7)
    assert bent[2, 5] == pytest.approx(0.5 / 7)


def test_marked_elements_are_a_body() -> None:
    marked = np.zeros(PLANE.cells, dtype=bool)
    marked[1, 2:4] = True
    found = shares(marked, PLANE)
    np.testing.assert_allclose(found[1:3, 2:5], np.array([[1, 2, 1], [1, 2, 1]]) / 8)
    assert found.sum() == pytest.approx(1.0)


@pytest.mark.parametrize("shape", [(5, 4), (3, 4, 2)])
def test_uniform_traction_passes_the_patch_test(shape: tuple[int, ...]) -> None:
    """A bar pulled at its end stretches linearly, to the last digit: only consistent forces do that."""
    spacing = (1.0, 0.5, 2.0)[: len(shape)]
    grid = Grid(*shape, spacing=spacing).symmetry("left", "bottom", *(["front"] if len(shape) == 3 else []))
    area = float(np.prod(grid.lattice.extent[1:]))
    structure = grid.load("right", (area, *[0.0] * (len(shape) - 1))).structure()
    system = GridSystem(structure.shape, structure.spacing, structure.physics, structure.fixed, solver="direct")
    u = system.solve(np.ones(system.elements), structure.loads).u[0]
    x, y = grid.lattice.corners()[:2]
    np.testing.assert_allclose(u[0], x, atol=1e-10)
    np.testing.assert_allclose(u[1], -0.3 * y, atol=1e-10)


def test_unknown_ways_to_spread() -> None:
    with pytest.raises(InputError, match="spread is 'even'"):
        shares("left", PLANE, "even")
