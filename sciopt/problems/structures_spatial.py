"""Structures in space, at any size: positions are parts of the sides. y points up."""

from __future__ import annotations

from sciopt.topopt.builder import Grid
from sciopt.topopt.regions import Block

__all__ = [
    "cantilever",
    "cooler",
    "corbel",
    "lug",
    "mbb",
    "slab",
    "table",
    "torsion",
    "tower",
    "viaduct",
    "wall_bracket",
]


def cantilever(nx: int, ny: int, nz: int) -> Grid:
    """Clamped on the left; the same force at every node of the lower right edge, 1 in all."""
    return Grid(nx, ny, nz).fix("left").load("right bottom", (0, -1, 0), spread="equal")


def mbb(nx: int, ny: int, nz: int) -> Grid:
    """A quarter of an MBB beam: symmetry left and front, roller below the right end, load along the upper left edge."""
    return (
        Grid(nx, ny, nz).symmetry("left", "front").fix("right bottom", "y").load("left top", (0, -1, 0), spread="equal")
    )


def torsion(nx: int, ny: int, nz: int) -> Grid:
    """Clamped on the left; the four edges of the solid right end are pushed around the axis of the bar."""
    return (
        Grid(nx, ny, nz)
        .fix("left")
        .solid("right")
        .load("right top", (0, 0, 1))
        .load("right bottom", (0, 0, -1))
        .load("right back", (0, -1, 0))
        .load("right front", (0, 1, 0))
    )


def tower(nx: int, ny: int, nz: int) -> Grid:
    """Four feet, and a solid top that bears a weight of 1 and winds of 0.5 along x and along z, in turn."""
    feet = [Block((x, 0, z), (x + 0.2 * nx, 0, z + 0.2 * nz)) for x in (0.0, 0.8 * nx) for z in (0.0, 0.8 * nz)]
    return (
        Grid(nx, ny, nz)
        .solid("top")
        .fix(feet)
        .load("top", (0, -1, 0), "weight")
        .load("top", (0.5, 0, 0), "wind along x")
        .load("top", (0, 0, 0.5), "wind along z")
    )


def cooler(nx: int, ny: int, nz: int) -> Grid:
    """Heat 1 spread over all; cold are the middle of the bottom, a strip high on the left and a corner of the back."""
    sinks = [
        Block((nx / 3, 0, nz / 3), (2 * nx / 3, 0, 2 * nz / 3)),
        Block((0, 0.8 * ny, 0.25 * nz), (0, 0.9 * ny, 0.75 * nz)),
        Block((0.85 * nx, 0.5 * ny, nz), (nx, 0.65 * ny, nz)),
    ]
    return Grid(nx, ny, nz, physics="heat").source("all", 1.0).fix(sinks)


def wall_bracket(nx: int, ny: int, nz: int) -> Grid:
    """Bricks of 1 x 0.8 x 1.6 on four bolts on the left; down and sideways on the lower right edge, in turn."""
    spacing = (1.0, 0.8, 1.6)
    width, height = nx * spacing[0], ny * spacing[1]
    # Whole numbers of elements, so that a bolt holds nodes at any size.
    bolts = [
        Block(
            (0, round(y * ny) * spacing[1], round(z * nz) * spacing[2]),
            (0, round((y + 0.2) * ny) * spacing[1], round((z + 0.2) * nz) * spacing[2]),
        )
        for y in (0.05, 0.75)
        for z in (0.05, 0.75)
    ]
    end = Block((width, 0, None), (None, 0.2 * height, None))
    return Grid(nx, ny, nz, spacing=spacing).fix(bolts).load(end, (0, -1, 0), "down").load(end, (0, 0, 0.4), "sideways")


def viaduct(nx: int, ny: int, nz: int) -> Grid:
    """A quarter of a bridge: symmetry left and front, a foot below the right end, a solid deck loaded by 1 in all."""
    deck = round(0.5 * ny)
    return (
        Grid(nx, ny, nz)
        .symmetry("left", "front")
        .fix(Block((0.92 * nx, 0, None), (nx, 0, None)))
        .solid(Block((None, deck - 1, None), (None, deck, None)))
        .load(Block((None, deck, None), (None, deck, None)), (0, -1, 0))
    )


def table(nx: int, ny: int, nz: int) -> Grid:
    """Four feet in the corners of the bottom, a weight of 1 spread over the top."""
    corners = [Block((x, 0, z), (x + nx / 8, 0, z + nz / 8)) for x in (0.0, 7 * nx / 8) for z in (0.0, 7 * nz / 8)]
    return Grid(nx, ny, nz).fix(corners).load("top", (0, -1, 0))


def slab(nx: int, ny: int, nz: int) -> Grid:
    """Three columns carry a weight of 1 on the top, of which the right half bears three quarters.

    A grillage of deep beams, as in Rozvany, *Structural Design via Optimality Criteria* (1989).
    """
    columns = [
        Block((0, 0, 0.4 * nz), (0.1 * nx, 0, 0.6 * nz)),
        Block((0.8 * nx, 0, 0), (0.9 * nx, 0, 0.2 * nz)),
        Block((0.8 * nx, 0, 0.8 * nz), (0.9 * nx, 0, nz)),
    ]
    return (
        Grid(nx, ny, nz)
        .fix(columns)
        .load("top", (0, -0.5, 0))
        .load(Block((nx // 2, ny, None), (nx, ny, None)), (0, -0.5, 0))
    )


def lug(nx: int, ny: int, nz: int) -> Grid:
    """A base on four bolts and a lug in its middle, pulled up, along and aside in turn.

    After the bracket of Carter et al., *The GE aircraft engine bracket challenge* (2014).
    """
    low, left, right = ny // 2, nx // 4, nx - nx // 4
    bolts = [Block((x * nx, 0, z * nz), ((x + 0.15) * nx, 0, (z + 0.2) * nz)) for x in (0.0, 0.85) for z in (0.0, 0.8)]
    eye = Block((left, ny, 0.4 * nz), (right, ny, 0.6 * nz))
    return (
        Grid(nx, ny, nz)
        .void([Block((None, low, None), (left, None, None)), Block((right, low, None), (None, None, None))])
        .fix(bolts)
        .load(eye, (0, 1, 0), "up")
        .load(eye, (0.7, 0, 0), "along")
        .load(eye, (0, 0, 0.5), "aside")
    )


def corbel(nx: int, ny: int, nz: int) -> Grid:
    """Hung from the top of its leg, the upper right is void, loaded on the upper edge of the tip and pushed aside."""
    leg, arm = nx // 2, ny // 2
    return (
        Grid(nx, ny, nz)
        .void(Block((leg, arm, None), (None, None, None)))
        .fix(Block((0, ny, None), (leg, ny, None)))
        .load(Block((nx, arm, None), (nx, arm, None)), (0, -1, 0.2))
    )
