"""Structures in the plane, at any size: positions are parts of the sides."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from sciopt.core.types import Array, Mask
from sciopt.topopt.builder import Grid
from sciopt.topopt.regions import Ball, Block, Line

__all__ = [
    "bridge",
    "cantilever",
    "chip",
    "dam",
    "gripper",
    "heated_square",
    "hook",
    "inverter",
    "l_bracket",
    "mbb",
    "michell",
    "portal",
    "two_loads",
    "wheel",
]


def mbb(nx: int, ny: int) -> Grid:
    """Half of the MBB beam: symmetry on the left, roller in the lower right corner, load in the upper left one."""
    return Grid(nx, ny).symmetry("left").fix((nx, 0), "y").load((0, ny), (0, -1))


def cantilever(nx: int, ny: int) -> Grid:
    """Clamped on the left, loaded in the middle of the right side."""
    return Grid(nx, ny).fix("left").load((nx, ny / 2), (0, -1))


def l_bracket(nx: int, ny: int) -> Grid:
    """A leg of 0.4 of the width, clamped at its top, and an arm of 0.4 of the height, loaded in its upper right end."""
    corner = (0.4 * nx, 0.4 * ny)
    return (
        Grid(nx, ny)
        .void(Block(corner, (None, None)))
        .fix(Line((0, ny), (corner[0], ny)))
        .load((nx, corner[1]), (0, -1))
    )


def bridge(nx: int, ny: int) -> Grid:
    """A solid deck of one 16th of the height, loaded by 1 in all, above feet of one 32nd of the length."""
    foot = nx / 32
    return (
        Grid(nx, ny)
        .solid(Block((None, ny - ny / 16), (None, None)))
        .fix([Line((0, 0), (foot, 0)), Line((nx - foot, 0), (nx, 0))])
        .load("top", (0, -1))
    )


def two_loads(nx: int, ny: int) -> Grid:
    """Clamped on the left; down in the upper right corner with weight 0.6, up in the lower right one with 0.4."""
    return (
        Grid(nx, ny)
        .fix("left")
        .load((nx, ny), (0, -1), "down")
        .load((nx, 0), (0, 1), "up")
        .case_weights({"down": 0.6, "up": 0.4})
    )


def heated_square(nx: int, ny: int) -> Grid:
    """Heat 0.01 at every node; the middle eighth of the left side is cold."""
    return (
        Grid(nx, ny, physics="heat")
        .source("all", 0.01 * (nx + 1) * (ny + 1), spread="equal")
        .fix(Line((0, 0.44 * ny), (0, 0.56 * ny)))
    )


def inverter(nx: int, ny: int) -> Grid:
    """The upper half of the force inverter; springs of 0.1 at the input, lower left, and the output, lower right."""
    return (
        Grid(nx, ny)
        .symmetry("bottom")
        .fix(Line((0, ny - ny / 24), (0, ny)))
        .load((0, 0), (1, 0))
        .spring((0, 0), 0.1, "x")
        .spring((nx, 0), 0.1, "x")
        .output((nx, 0), "x")
    )


def michell(nx: int, ny: int) -> Grid:
    """Pins in both lower corners, a load in the middle between them; Michell 1904, doi 10.1080/14786440409463229."""
    return Grid(nx, ny).fix([(0, 0), (nx, 0)]).load((nx / 2, 0), (0, -1))


def wheel(nx: int, ny: int) -> Grid:
    """A disc clamped around a hole; its solid rim is pressed inward by 1 and braked by 0.5 at four points."""
    radius, middle = 0.5 * min(nx, ny), np.array([0.5 * nx, 0.5 * ny])
    hole, rim = 0.1 * radius, 0.92 * radius

    def beyond(x: Array, y: Array) -> Mask:
        distance = np.hypot(x - middle[0], y - middle[1])
        return (distance > radius) | (distance < hole)

    def outermost(x: Array, y: Array) -> Mask:
        distance = np.hypot(x - middle[0], y - middle[1])
        return (distance > rim) & (distance <= radius)

    grid = Grid(nx, ny).void(beyond).solid(outermost).fix(Ball(tuple(middle), hole + 1.0))
    for name, (x, y) in {"bottom": (0, -1), "right": (1, 0), "top": (0, 1), "left": (-1, 0)}.items():
        grid = grid.load(tuple(middle + radius * np.array([x, y])), (-x - 0.5 * y, -y + 0.5 * x), name)
    return grid


def hook(nx: int, ny: int) -> Grid:
    """Clamped at the top; an empty notch enters from the right, and a load hangs on its lower lip."""
    low, high, depth = 0.35 * ny, 0.6 * ny, 0.4 * nx
    return (
        Grid(nx, ny)
        .void(Block((depth, low), (None, high)))
        .fix(Line((0.3 * nx, ny), (0.7 * nx, ny)))
        .load(Line((0.65 * nx, low), (0.8 * nx, low)), (0, -1))
    )


def portal(nx: int, ny: int) -> Grid:
    """Feet left and right of a doorway; a solid roof carries 1 in all; the wind blows from the left."""
    return (
        Grid(nx, ny)
        .void(Block((0.25 * nx, None), (0.75 * nx, 0.6 * ny)))
        .solid(Block((None, min(0.96 * ny, ny - 1)), (None, None)))
        .fix([Line((0, 0), (0.12 * nx, 0)), Line((0.88 * nx, 0), (nx, 0))])
        .load("top", (0, -1), "roof")
        .load("left", (0.3, 0), "wind")
        .case_weights({"roof": 1.0, "wind": 0.5})
    )


def gripper(nx: int, ny: int) -> Grid:
    """The upper half of a gripper; a push of 1 on the axis at the left should press the solid jaw at the right down."""
    # A whole number of elements: the gap must end where the jaw begins.
    jaw, gap = 0.75 * nx, round(0.2 * ny)
    return (
        Grid(nx, ny)
        .symmetry("bottom")
        .void(Block((jaw, None), (None, gap)))
        .solid(Block((jaw, gap), (None, gap + max(1.0, 0.05 * ny))))
        .fix(Line((0, 0.9 * ny), (0, ny)))
        .load((0, 0), (1, 0))
        .spring((0, 0), 0.1, "x")
        .spring((nx, gap), 0.05, "y")
        .output((nx, gap), "y")
    )


def dam(nx: int, ny: int) -> Grid:
    """Plane strain, clamped at the bottom; the pressure on the solid skin on the left grows with depth, 1 in all."""
    grid = Grid(nx, ny, plane="strain").fix("bottom").solid(Block((None, None), (max(1.0, nx / 70), None)))
    strips = np.linspace(0.0, ny, 11).round()
    for low, high in pairwise(strips):
        if high > low:
            total = (high - low) * (2 * ny - low - high) / ny**2
            grid = grid.load(Line((0, low), (0, high)), (total, 0))
    return grid


def chip(nx: int, ny: int) -> Grid:
    """Heat 1 from a block in the middle and 0.5 from all of the plate; cold: two thirds of the right, a corner."""
    return (
        Grid(nx, ny, physics="heat")
        .source(Block((0.35 * nx, 0.35 * ny), (0.65 * nx, 0.65 * ny)), 1.0)
        .source("all", 0.5)
        .fix(Block((nx, ny / 6), (nx, 5 * ny / 6)))
        .fix(Block((0, 0), (0.1 * nx, 0)))
    )
