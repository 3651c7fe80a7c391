"""What is reported to move freely is the null space of the assembled stiffness, and nothing else is."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from sciopt.core.types import Array, Mask
from sciopt.topopt.builder import Grid
from sciopt.topopt.floating import free_motion, parts
from sciopt.topopt.grid.element import Conduction, Elasticity
from sciopt.topopt.regions import Block
from sciopt.topopt.structure import Structure


def assembled(structure: Structure) -> Array:
    """Stiffness of all possible material over the free unknowns, element by element."""
    dim, shape = structure.dim, structure.shape
    c = structure.physics.components(dim)
    element = structure.physics.matrix(structure.spacing)
    nodal = structure.fixed.shape
    numbers = np.arange(structure.fixed.size).reshape(nodal)
    stiffness = np.diag(structure.springs.ravel())
    for flat, index in enumerate(product(*[range(n) for n in shape[::-1]])):
        if structure.material[flat] == 0.0:
            continue
        dofs = [
            numbers[(comp, *(i + d for i, d in zip(index, corner, strict=True)))]
            for comp in range(c)
            for corner in product((0, 1), repeat=dim)
        ]
        stiffness[np.ix_(dofs, dofs)] += element
    free = ~structure.fixed.ravel()
    return stiffness[np.ix_(free, free)]


def singular(structure: Structure) -> bool:
    eigenvalues = np.linalg.eigvalsh(assembled(structure))
    lowest = eigenvalues[0] if len(eigenvalues) else 1.0
    # Tiny grids: nothing that is held comes near rounding.
    assert lowest < 1e-12 or lowest > 1e-6
    return bool(lowest < 1e-12)


def movable(structure: Structure) -> bool:
    return any(free_motion(structure, part) is not None for part in parts(structure))


def described(shape: tuple[int, ...], empty: Mask, supports: Mask, springs: Mask, heat: bool) -> Structure:
    nodes = tuple(n + 1 for n in shape[::-1])
    c = 1 if heat else len(shape)
    material = (~empty).astype(float)
    bare = Structure(
        shape,
        (1.0, 0.7, 1.3)[: len(shape)],
        Conduction() if heat else Elasticity(),
        material,
        np.zeros(len(material), dtype=bool),
        np.zeros((c, *nodes), dtype=bool),
        np.zeros((0, c, *nodes)),
        np.zeros(0),
        np.zeros((c, *nodes)),
    )
    return Structure(
        shape,
        bare.spacing,
        bare.physics,
        material,
        bare.solid,
        supports.reshape(c, *nodes) | ~bare.held,
        bare.loads,
        bare.weights,
        springs.reshape(c, *nodes) * 1.0,
    )


@st.composite
def structures(draw: st.DrawFn) -> Structure:
    shape = draw(st.sampled_from([(1, 1), (2, 2), (3, 3), (4, 3), (6, 2), (1, 1, 1), (2, 2, 2), (3, 2, 2), (2, 1, 3)]))
    heat = draw(st.booleans()) and draw(st.booleans())
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    empty = rng.random(int(np.prod(shape))) < draw(st.sampled_from([0.0, 0.3, 0.5, 0.6]))
    assume(not empty.all())
    unknowns = (1 if heat else len(shape)) * int(np.prod([n + 1 for n in shape]))
    supports = rng.random(unknowns) < draw(st.sampled_from([0.02, 0.1, 0.3, 0.6]))
    springs = rng.random(unknowns) < draw(st.sampled_from([0.0, 0.1]))
    return described(shape, empty, supports, springs, heat)


@given(structures())
def test_free_motions_are_the_null_space(structure: Structure) -> None:
    assert movable(structure) == singular(structure)


def connected(structure: Structure, part: Mask) -> Structure:
    """Only one part of the structure."""
    nodes = structure.lattice.touching(part)
    return described(
        structure.shape,
        ~part.ravel(),
        (structure.fixed & nodes).ravel(),
        ((structure.springs > 0.0) & nodes).ravel(),
        isinstance(structure.physics, Conduction),
    )


@given(structures())
def test_every_part_is_judged_by_itself(structure: Structure) -> None:
    for part in parts(structure):
        assert (free_motion(structure, part) is not None) == singular(connected(structure, part.elements))


CHECKERBOARD = np.indices((4, 4)).sum(axis=0) % 2 == 1


def held(shape: tuple[int, ...], empty: Mask, where: list[tuple[str, str]]) -> Structure:
    grid = Grid(*shape).void(empty) if empty.any() else Grid(*shape)
    for face, components in where:
        grid = grid.fix(face, components)
    return grid.structure()


@pytest.mark.parametrize(
    ("shape", "empty", "where", "free"),
    [
        # Squares on their corners turn against each other, unless they are held all around.
        ((4, 4), CHECKERBOARD, [("left", "all")], True),
        ((4, 4), CHECKERBOARD, [("left", "all"), ("right", "all")], False),
        # Two cubes that share an edge are hinged about it; two that share a corner about three axes.
        ((2, 2, 1), np.array([[[0, 1], [1, 0]]], dtype=bool), [("left", "all")], True),
        ((2, 2, 1), np.array([[[0, 1], [1, 0]]], dtype=bool), [("left", "all"), ("right top", "z")], True),
        ((2, 2, 1), np.array([[[0, 1], [1, 0]]], dtype=bool), [("left", "all"), ("right top", "x")], False),
        # A ring of four bars with hinges in its corners is held by three supports of one bar only if it is stiff.
        ((3, 3), np.array([[1, 0, 1], [0, 1, 0], [1, 0, 1]], dtype=bool), [("left", "all")], True),
    ],
)
def test_hinges(shape: tuple[int, ...], empty: Mask, where: list[tuple[str, str]], free: bool) -> None:
    structure = held(shape, empty, where)
    assert singular(structure) == free
    assert movable(structure) == free


@pytest.mark.parametrize("angle", range(6))
def test_motions_in_space_are_named_after_what_the_stiffness_lets_go(angle: int) -> None:
    """Hold all rigid motions but one, and read which."""
    # Three, two and one components of three corners.
    corners = [(0, 0, 0), (2, 0, 0), (0, 2, 0)]
    rest = [(0, "x"), (0, "y"), (0, "z"), (1, "y"), (1, "z"), (2, "z")]
    names = ["displacement along x"] + ["rotation about"] * 5
    grid = Grid(2, 2, 2)
    for number, (corner, component) in enumerate(rest):
        if number != angle:
            grid = grid.fix(corners[corner], component)
    structure = grid.structure()
    motion = free_motion(structure, next(parts(structure)))
    assert motion is not None
    eigenvalues, vectors = np.linalg.eigh(assembled(structure))
    assert eigenvalues[0] < 1e-12 < 1e-6 < eigenvalues[1]
    u = np.zeros(structure.fixed.shape)
    u[~structure.fixed] = vectors[:, 0]
    # The motion in the null space, as a turn: half the curl, from differences across the grid.
    dx, dy, dz = (u[..., -1] - u[..., 0], u[..., -1, :] - u[..., 0, :], u[:, -1] - u[:, 0])
    curl = np.array([(dy[2] - dz[1]).mean(), (dz[0] - dx[2]).mean(), (dx[1] - dy[0]).mean()])
    assert motion.name.startswith(names[angle])
    if np.abs(curl).max() > 1e-9:
        turn = curl / curl[np.abs(curl).argmax()]
        axes = np.flatnonzero(np.abs(turn) > 1e-9)
        if len(axes) == 1:
            assert motion.name == f"rotation about {'xyz'[axes[0]]}"
        else:
            told = motion.name.removeprefix("rotation about the direction (").removesuffix(")")
            assert abs(np.array(told.split(","), dtype=float) @ turn) == pytest.approx(2.0)


@given(st.integers(2, 400), st.floats(0.01, 100.0))
@example(400, 100.0)
def test_two_neighbouring_supports_hold_any_size(n: int, spacing: float) -> None:
    """Rank decisions do not depend on the size of the grid or on units."""
    grid = Grid(n, 3, spacing=spacing)
    structure = grid.fix((0, 0)).fix((0, spacing), "x").structure()
    assert not movable(structure)
    assert movable(grid.fix((0, 0)).fix((spacing, 0), "x").structure())


def test_long_rows_of_hinged_plates_are_judged_right() -> None:
    """A truss of plates on their corners that is stiff, however long, and is not when one plate is missing."""
    # Plates 1 wide in two rows, joined at corners to a continuous strip: every plate hangs on two nodes of others.
    n = 120
    board = np.indices((n, n)).sum(axis=0) % 2 == 1
    grid = Grid(n, n).void(board)
    sides = grid.fix("left").fix("right").structure()
    assert not movable(sides)
    assert movable(grid.fix("left").structure())


def test_parts_are_listed_once_each() -> None:
    structure = Grid(7, 3).void(Block((2, None), (3, None))).void(Block((5, 0), (6, 2))).structure()
    found = [int(part.elements.sum()) for part in parts(structure)]
    assert found == [6, 12 - 2]
    total = sum(part.elements.astype(int) for part in parts(structure))
    np.testing.assert_array_equal(total, structure.material.reshape(3, 7))
