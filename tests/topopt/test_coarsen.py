"""Coarser copies of a structure keep its sums, its supports and, up to the error of the mesh, its compliance."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sciopt.core.errors import InputError
from sciopt.core.types import Array
from sciopt.topopt.builder import Grid
from sciopt.topopt.coarsen import coarse_supports, shared, sum_of_children
from sciopt.topopt.grid.system import GridSystem
from sciopt.topopt.regions import Ball, Block, Line
from sciopt.topopt.structure import Structure

SHAPES = st.one_of(
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 5)),
)


def compliance(structure: Structure) -> float:
    """Of all material at full density, summed over cases."""
    system = GridSystem(
        structure.shape, structure.spacing, structure.physics, structure.fixed, structure.springs, solver="direct"
    )
    return float(np.vdot(structure.loads, system.solve(structure.material, structure.loads).u))


def levels(grid: Grid, many: int) -> list[Structure]:
    found = [grid.structure()]
    for _ in range(many):
        found[-1].check()
        found.append(found[-1].coarsened())
    return found


@st.composite
def structures(draw: st.DrawFn) -> Structure:
    """A structure with random passive regions, supports, loads, springs and outputs."""
    shape = draw(SHAPES)
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    material = rng.choice([0.0, 0.25, 1.0], int(np.prod(shape)), p=[0.3, 0.1, 0.6])
    assume(material.any())
    solid = (material > 0.0) & (rng.random(len(material)) < 0.3)
    bare = Grid(*shape, spacing=(1.0, 0.5, 2.0)[: len(shape)]).structure()
    bare = replace(bare, material=material, solid=solid)
    nodal = bare.fixed.shape
    supports = (rng.random(nodal) < draw(st.sampled_from([0.02, 0.2]))) & bare.held
    loads = rng.standard_normal((2, *nodal)) * (rng.random((2, *nodal)) < 0.2) * bare.held
    springs = rng.random(nodal) * (rng.random(nodal) < 0.1) * bare.held
    return replace(
        bare, fixed=supports | ~bare.held, loads=loads, weights=np.array([1.0, 2.0]), springs=springs, outputs=loads[0]
    )


@given(structures())
def test_sums_and_moments_survive(fine: Structure) -> None:
    coarse = fine.coarsened()
    axes = tuple(range(-fine.dim, 0))
    assert coarse.shape == tuple(-(-n // 2) for n in fine.shape)
    assert coarse.spacing == tuple(2.0 * h for h in fine.spacing)
    assert coarse.material.sum() * 2**fine.dim == pytest.approx(fine.material.sum(), rel=1e-13)
    for name in ("loads", "springs", "outputs"):
        old, new = getattr(fine, name), getattr(coarse, name)
        np.testing.assert_allclose(new.sum(axis=axes), old.sum(axis=axes), atol=1e-12)
        # Coarse nodes lie at the same coordinates, so first moments are comparable.
        for x, y in zip(fine.lattice.corners(), coarse.lattice.corners(), strict=True):
            np.testing.assert_allclose((new * y).sum(axis=axes), (old * x).sum(axis=axes), atol=1e-11)
    assert np.array_equal(coarse.weights, fine.weights)


@given(structures())
def test_what_is_carried_lies_on_material(fine: Structure) -> None:
    for coarse in (fine.coarsened(), fine.coarsened().coarsened()):
        carried = (coarse.loads != 0.0).any(axis=(0, 1)) | (coarse.springs != 0.0).any(axis=0)
        assert not (carried & ~coarse.held).any()
        assert coarse.fixed[:, ~coarse.held].all()
        assert coarse.material.min() >= 0.0 and coarse.material.max() <= 1.0
        assert (coarse.material[coarse.solid] > 0.0).all()


@given(structures())
def test_supports_stay_within_one_coarse_element(fine: Structure) -> None:
    """Every support has a coarse one around it, and every coarse one comes from a support nearby."""
    coarse = fine.coarsened()
    old = [np.argwhere(s) for s in fine.supports]
    new = [2 * np.argwhere(s) for s in coarse.supports]
    for a, b in zip(old, new, strict=True):
        assert (len(a) == 0) == (len(b) == 0)
        if len(a):
            distances = np.abs(a[:, None] - b[None]).max(axis=2)
            assert (distances.min(axis=1) <= 1).all()
            assert (distances.min(axis=0) <= 1).all()


def test_supports_between_coarse_nodes() -> None:
    def moved(*nodes: tuple[int, int]) -> list[tuple[int, int]]:
        supports = np.zeros((1, 7, 9), dtype=bool)  # 8 x 6 elements
        for x, y in nodes:
            supports[0, y, x] = True
        return sorted((int(x), int(y)) for _, y, x in np.argwhere(coarse_supports(supports)))

    assert moved((4, 2)) == [(2, 1)]
    # Away from the middle, so that mirrored supports stay mirrored.
    assert moved((3, 2), (5, 2)) == [(1, 1), (3, 1)]
    assert moved((1, 1), (7, 1), (1, 5), (7, 5)) == [(0, 0), (0, 3), (4, 0), (4, 3)]
    # A row of nodes is carried by every second one, wherever it ends.
    assert moved((2, 2), (3, 2), (4, 2), (5, 2)) == [(1, 1), (2, 1)]
    assert moved((1, 2), (2, 2), (3, 2)) == [(1, 1)]
    # A row between two rows of coarse nodes moves as a whole, and grows by nothing.
    assert moved((2, 1), (3, 1), (4, 1)) == [(1, 0), (2, 0)]


def test_supports_on_the_last_face_of_an_odd_number_of_elements_go_to_the_coarse_face() -> None:
    coarse = Grid(5, 4).fix("right").fix("left", "x").load("top", (0, -1)).structure().coarsened()
    assert coarse.shape == (3, 2)
    assert coarse.fixed[:, :, 3].all() and coarse.fixed[0, :, 0].all()
    assert coarse.fixed.sum() == 2 * 3 + 3


def test_fractions_solids_and_voids() -> None:
    structure = (
        Grid(5, 4)
        .fix("left")
        .load((5, 0), (0, -1))
        .void([(0.5, 3.5), (1.5, 3.5), Block((2, 2), (4, 4))])
        .solid([(0.5, 0.5), (1.5, 0.5), (2.5, 0.5), (0.5, 2.5)])
        .structure()
    )
    coarse = structure.coarsened()
    np.testing.assert_array_equal(coarse.material.reshape(2, 3), [[1, 1, 0.5], [0.5, 0, 0.5]])
    # Two of four are half; one of two with material is half; one of four is less.
    np.testing.assert_array_equal(coarse.solid.reshape(2, 3), [[True, False, False], [True, False, False]])
    np.testing.assert_array_equal(coarse.volumes, [1.0, 0.5, 0.5])
    again = coarse.coarsened()
    np.testing.assert_allclose(again.material.reshape(1, 2), [[2.5 / 4, 1.0 / 4]])


@given(SHAPES, st.integers(0, 2**32))
def test_sharing_is_the_transpose_of_interpolation(shape: tuple[int, ...], seed: int) -> None:
    rng = np.random.default_rng(seed)
    nodes = tuple(n + 1 for n in shape[::-1])
    coarse_nodes = tuple((n + 1) // 2 + 1 for n in shape[::-1])
    f, u = rng.standard_normal((2, *nodes)), rng.standard_normal((2, *coarse_nodes))
    fine_u = u
    for axis, n in enumerate(nodes, start=1):
        at, known = np.arange(n), 2 * np.arange(fine_u.shape[axis])
        fine_u = np.apply_along_axis(lambda v, at=at, known=known: np.interp(at, known, v), axis, fine_u)
    assert np.vdot(shared(f, len(shape)), u) == pytest.approx(np.vdot(f, fine_u), rel=1e-12, abs=1e-12)


def test_sums_over_children() -> None:
    np.testing.assert_array_equal(sum_of_children(np.arange(15.0).reshape(3, 5)), [[12, 20, 13], [21, 25, 14]])


@pytest.mark.parametrize("sinks", ["left", ["left", "right", "bottom", "top"]])
def test_a_smooth_problem_converges_with_the_square_of_the_spacing(sinks: str | list[str]) -> None:
    """Elements of degree one: the error of the energy falls by four when the spacing halves."""
    values = [compliance(s) for s in levels(Grid(64, 32, physics="heat").source("all", 1.0).fix(sinks), 3)]
    steps = -np.diff(values)
    # Coarser spaces are subspaces of finer ones: the energy can only fall.
    assert (steps > 0.0).all()
    np.testing.assert_allclose(steps[1:] / steps[:-1], 4.0, rtol=0.15)


@pytest.mark.parametrize(
    "grid",
    [
        Grid(64, 32).fix("left").load("right", (0, -1)),
        Grid(24, 8, 8).fix("left").load("right", (0, -1, 0)),
        Grid(64, 64).void(Block((32, 32), (64, 64))).fix("top").load(Line((64, 0), (64, 32)), (0, -1)),
        Grid(64, 32, spacing=(1.0, 1.5)).symmetry("left").fix(Line((56, 0), (64, 0)), "y").load("top", (0, -1)),
    ],
)  # fmt: skip
def test_structures_with_corners_converge_too(grid: Grid) -> None:
    values = [compliance(s) for s in levels(grid, 3 if len(grid.lattice.shape) == 2 else 2)]
    steps = -np.diff(values)
    assert (steps > 0.0).all()
    # Singular at reentrant and clamped corners: between first and second order.
    assert (steps[1:] / steps[:-1] > 1.8).all() and (steps[1:] / steps[:-1] < 4.2).all()
    assert steps[0] < 0.04 * values[0]


@pytest.mark.parametrize("free", [True, False])
def test_odd_sizes_converge_with_the_spacing(free: bool) -> None:
    """Half a coarse element sticks out: the error of what is supported there is of first order."""
    errors = []
    for n in (17, 33, 65):
        grid = Grid(n, n, physics="heat").source("all", 1.0)
        fine = grid.fix("left" if free else ["left", "right"]).structure()
        errors.append(abs(compliance(fine.coarsened()) / compliance(fine) - 1.0))
    assert errors[0] < (0.02 if free else 0.5)
    for before, after in pairwise(errors):
        assert before / after == pytest.approx(4.0 if free else 2.0, rel=0.2)


def test_odd_beams_stay_near_the_fine_one() -> None:
    found = levels(Grid(61, 35).fix("left").load("right", (0, -1)), 2)
    fine, half, quarter = (compliance(s) for s in found)
    assert [s.shape for s in found] == [(61, 35), (31, 18), (16, 9)]
    assert abs(half / fine - 1.0) < 0.02
    assert abs(quarter / fine - 1.0) < 0.05


@pytest.mark.parametrize("shape", [(32, 16), (16, 8, 8)])
def test_uniform_tension_is_exact_on_every_grid(shape: tuple[int, ...]) -> None:
    area, dim = float(np.prod(shape[1:])), len(shape)
    grid = Grid(*shape).symmetry("left", "bottom", *["front"][: dim - 2])
    for structure in levels(grid.load("right", (area, 0.0, 0.0)[:dim]), 3):
        assert compliance(structure) == pytest.approx(area * shape[0], rel=1e-12)


def test_springs_and_outputs_act_on_coarse_grids_as_on_fine_ones() -> None:
    """A stiff frame on a spring: its displacement is that of the spring, on every grid."""

    def response(structure: Structure) -> float:
        assert structure.outputs is not None
        system = GridSystem(
            structure.shape, structure.spacing, structure.physics, structure.fixed, structure.springs, solver="direct"
        )
        return float(np.vdot(structure.outputs, system.solve(structure.material, structure.loads).u[0]))

    grid = (
        Grid(23, 9)
        .symmetry("bottom")
        .load((0, 3), (1, 0))
        .spring((23, 5), 1e-4, "x")
        .output((11, 4), "x")
    )  # fmt: skip
    for structure in levels(grid, 2):
        assert response(structure) == pytest.approx(1e4, rel=2e-3)


def test_symmetric_structures_stay_symmetric() -> None:
    grid = (
        Grid(24, 12)
        .fix([Block((0, 0), (3, 0)), Block((21, 0), (24, 0)), (7, 5), (17, 5)])
        .void([Ball((5, 6), 2.1), Ball((19, 6), 2.1)])
        .solid("top")
        .load("top", (0, -1))
        .load([(3, 12), (21, 12)], (0, -1), "pair")
    )
    for structure in levels(grid, 2):
        _assert_mirrored(structure)


def _assert_mirrored(structure: Structure) -> None:
    def flipped(a: Array) -> Array:
        return np.flip(a, axis=-1)

    for element in (structure.material, structure.solid):
        field = element.reshape(structure.lattice.cells)
        np.testing.assert_array_equal(field, flipped(field))
    np.testing.assert_array_equal(structure.fixed, flipped(structure.fixed))
    np.testing.assert_allclose(structure.loads[:, 1], flipped(structure.loads[:, 1]), atol=1e-15)


def test_when_to_stop() -> None:
    structure = Grid(16, 12).fix("left").load("right", (0, -1)).structure()
    assert structure.can_coarsen(6) and not structure.can_coarsen(7)
    assert structure.can_coarsen() and structure.coarsened().can_coarsen()
    assert not structure.coarsened().coarsened().can_coarsen()
    # Two supports next to each other fall together and no longer prevent rotation.
    pinned = Grid(16, 12).fix((0, 0)).fix((1, 0), "y").load("right", (0, -1)).structure()
    pinned.check()
    with pytest.raises(InputError, match="rotation about z"):
        pinned.coarsened().check()
    assert not pinned.can_coarsen()
