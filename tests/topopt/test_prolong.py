"""Designs carried onto finer grids: constants and straight slopes are kept, nothing overshoots, voids do not count."""

from __future__ import annotations

import numpy as np
import pytest

from sciopt.topopt import Grid
from sciopt.topopt.prolong import interpolated
from sciopt.topopt.regions import Block

SHAPES = [(8, 6), (7, 5), (6, 4, 4), (5, 7, 3)]


@pytest.mark.parametrize("shape", SHAPES)
def test_constants_are_kept_beside_voids(shape: tuple[int, ...]) -> None:
    corner = Block(tuple(n // 2 for n in shape), (None,) * len(shape))
    fine = Grid(*shape).void(corner).structure()
    coarse = fine.coarsened()
    np.testing.assert_allclose(interpolated(coarse, fine, np.full(coarse.size, 0.3)), 0.3, rtol=1e-14)


@pytest.mark.parametrize("shape", SHAPES)
def test_nothing_overshoots(shape: tuple[int, ...]) -> None:
    fine = Grid(*shape).structure()
    coarse = fine.coarsened()
    x = np.random.default_rng(0).uniform(0.2, 0.9, coarse.size)
    found = interpolated(coarse, fine, x)
    assert found.shape == (fine.size,)
    assert x.min() <= found.min() and found.max() <= x.max()


def test_slopes_are_kept_away_from_faces() -> None:
    fine = Grid(12, 8).structure()
    coarse = fine.coarsened()
    slope = np.tile((np.arange(6) + 0.5) / 6, (4, 1))
    found = interpolated(coarse, fine, slope.ravel()).reshape(8, 12)
    np.testing.assert_allclose(found[:, 1:-1], np.tile((np.arange(12) + 0.5) / 12, (8, 1))[:, 1:-1], rtol=1e-13)


def test_solid_counts_as_material() -> None:
    fine = Grid(8, 4).solid(Block((None, None), (2, None))).structure()
    coarse = fine.coarsened()
    found = interpolated(coarse, fine, np.zeros(coarse.size)).reshape(4, 6)
    np.testing.assert_allclose(found, np.tile([0.25, 0, 0, 0, 0, 0], (4, 1)), atol=1e-15)
