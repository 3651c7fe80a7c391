from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sciopt.core.errors import InputError
from sciopt.topopt.convolution import Direct, Fourier, cone, convolution
from sciopt.topopt.filters import Density, Helmholtz, Sensitivity


@dataclass(frozen=True, eq=False)
class Grid:
    """What filters read of a structure."""

    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    material: np.ndarray
    solid: np.ndarray

    @property
    def design(self):
        return (self.material > 0) & ~self.solid

    @property
    def volumes(self):
        return self.material[self.design]


def full(shape, spacing=None):
    n = int(np.prod(shape))
    return Grid(shape, spacing or (1.0,) * len(shape), np.ones(n), np.zeros(n, dtype=bool))


def holed(shape, spacing, seed=0):
    """Voids, solids and elements that are partly outside."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 5, int(np.prod(shape)))
    material = np.where(kind == 0, 0.0, np.where(kind == 1, rng.uniform(0.1, 1.0, kind.size), 1.0))
    return Grid(shape, spacing, material, kind == 2)


GRIDS = [
    full((9, 6)),
    holed((13, 8), (1.0, 1.0)),
    holed((7, 11), (0.5, 1.3)),
    holed((6, 5, 4), (1.0, 1.0, 1.0)),
    holed((4, 5, 7), (1.2, 0.7, 1.0)),
    full((1, 8)),
]


def centres(grid):
    """(elements, dim) by the documented order, x fastest."""
    places = [np.arange(n) * h for n, h in zip(grid.shape, grid.spacing, strict=True)]
    rows = np.meshgrid(*reversed(places), indexing="ij")
    return np.stack([axis.ravel() for axis in reversed(rows)], axis=1)


def cone_matrix(grid, radius):
    """The averages as the papers write them, one row of weights per design element."""
    at = centres(grid)[grid.design]
    weights = np.maximum(0.0, radius - np.linalg.norm(at[:, None] - at[None], axis=2)) * grid.volumes
    return weights / weights.sum(axis=1, keepdims=True)


def helmholtz_matrix(grid, radius):
    """Five- or seven-point differences, neighbour by neighbour, and inverted."""
    at = centres(grid)
    apart = np.abs(at[:, None] - at[None])
    matrix = np.eye(len(at))
    for axis, h in enumerate(grid.spacing):
        neighbours = np.isclose(apart[..., axis], h) & np.isclose(apart.sum(axis=2), h)
        matrix += radius**2 / 12 / h**2 * (np.diag(neighbours.sum(axis=1)) - neighbours)
    kernel = np.linalg.inv(matrix)[np.ix_(grid.design, grid.design)] * grid.volumes
    return kernel / kernel.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("radius", [0.4, 1.5, 2.6, 30.0])
@pytest.mark.parametrize(("filter_", "dense"), [(Density, cone_matrix), (Helmholtz, helmholtz_matrix)])
def test_equals_the_dense_matrix(grid, radius, filter_, dense):
    rng = np.random.default_rng(1)
    x, g = rng.random((2, len(grid.volumes)))
    matrix = dense(grid, radius)
    bound = filter_(radius).on(grid)
    np.testing.assert_allclose(bound.apply(x), matrix @ x, rtol=1e-12, atol=1e-300)
    np.testing.assert_allclose(bound.adjoint(g), matrix.T @ g, rtol=1e-12, atol=1e-300)
    assert bound.modify(x, g) is g


@pytest.mark.parametrize("grid", GRIDS)
def test_sensitivity_filter_by_its_formula(grid):
    rng = np.random.default_rng(2)
    x = rng.random(len(grid.volumes))
    x[0] = 0.0
    g = rng.normal(size=x.size)
    bound = Sensitivity(2.0).on(grid)
    assert bound.apply(x) is x and bound.adjoint(g) is g
    # Sigmund 2007, equation 10: the gradient per volume, averaged with the densities as weights.
    expected = grid.volumes * (cone_matrix(grid, 2.0) @ (x * g / grid.volumes)) / np.maximum(x, 1e-3)
    np.testing.assert_allclose(bound.modify(x, g), expected, rtol=1e-12, atol=1e-13)


def test_an_optimality_condition_survives_the_sensitivity_filter():
    # Where the design is even, a gradient proportional to the volumes is not changed.
    grid = holed((13, 8), (1.0, 1.0))
    x = np.full(len(grid.volumes), 0.4)
    np.testing.assert_allclose(Sensitivity(2.5).on(grid).modify(x, -3.0 * grid.volumes), -3.0 * grid.volumes)


@settings(max_examples=40, deadline=None)
@given(data=st.data(), which=st.sampled_from(range(len(GRIDS))), radius=st.floats(0.1, 20.0))
@pytest.mark.parametrize("filter_", [Density, Helmholtz])
def test_properties(data, which, radius, filter_):
    grid = GRIDS[which]
    n = len(grid.volumes)
    x, g = (data.draw(arrays(float, n, elements=st.floats(0.0, 1.0))) for _ in range(2))
    bound = filter_(radius).on(grid)
    filtered = bound.apply(x)
    assert np.isclose(filtered @ g, x @ bound.adjoint(g), rtol=1e-13, atol=1e-13)
    assert x.min() <= filtered.min() and filtered.max() <= x.max()
    np.testing.assert_allclose(bound.apply(np.full(n, 0.3)), 0.3, rtol=1e-13)
    np.testing.assert_allclose(bound.adjoint(g).sum(), g.sum(), rtol=1e-12, atol=1e-300)


@pytest.mark.parametrize("filter_", [Density, Helmholtz])
@pytest.mark.parametrize(("shape", "spacing"), [((12, 7), (1.0, 0.8)), ((6, 5, 4), (0.9, 1.0, 1.1))])
def test_mirrored_designs_stay_mirrored(filter_, shape, spacing):
    bound = filter_(2.3).on(full(shape, spacing))
    field = np.random.default_rng(3).random(shape[::-1])
    for axis in range(len(shape)):
        mirrored = bound.apply(np.flip(field, axis).ravel()).reshape(shape[::-1])
        np.testing.assert_allclose(
            mirrored, np.flip(bound.apply(field.ravel()).reshape(shape[::-1]), axis), rtol=1e-12, atol=1e-300
        )


def test_radius_is_a_physical_length():
    # Half the element edges and twice as many elements: the same filter.
    coarse = np.zeros((8, 16))
    coarse[3:5, 6:9] = 1.0
    fine = np.kron(coarse, np.ones((2, 2)))
    a = Density(4.0).on(full((16, 8), (1.0, 1.0))).apply(coarse.ravel()).reshape(8, 16)
    b = Density(4.0).on(full((32, 16), (0.5, 0.5))).apply(fine.ravel()).reshape(16, 32)
    assert np.abs(a - b.reshape(8, 2, 16, 2).mean(axis=(1, 3))).max() < 0.02


def test_second_moment_of_helmholtz_is_that_of_the_cone():
    # Lazarov and Sigmund chose the length r / (2 sqrt 3) for it, in one dimension. A cone of radius r has variance
    # r² / 6, the exponential kernel of length l has 2 l² = r² / 6; the five-point differences keep it exactly.
    n, radius = 401, 20.0
    pulse = np.zeros(n)
    pulse[n // 2] = 1.0
    at = np.arange(n) - n // 2
    for filter_, tolerance in ((Helmholtz, 1e-9), (Density, 3e-3)):
        spread = filter_(radius).on(full((n, 1))).adjoint(pulse)
        assert np.isclose(spread @ at**2, radius**2 / 6, rtol=tolerance)


@pytest.mark.parametrize(("shape", "radius"), [((5, 7), 3.2), ((20, 31), 6.0), ((6, 9, 5), 2.5), ((4, 3, 8), 40.0)])
def test_both_ways_to_convolve_agree_with_scipy(shape, radius):
    from scipy.ndimage import convolve

    corner = cone(radius, (1.0, 0.7, 1.3)[: len(shape)])
    kernel = corner
    for axis in range(corner.ndim):
        back = np.flip(np.delete(kernel, 0, axis), axis)
        kernel = np.concatenate([back, kernel], axis)
    field = np.random.default_rng(4).random(shape)
    expected = convolve(field, kernel, mode="constant")
    cut = corner[tuple(slice(n) for n in shape)]
    np.testing.assert_allclose(Direct(corner)(field), expected, rtol=1e-12)
    np.testing.assert_allclose(Fourier(cut, shape)(field), expected, rtol=1e-12)


def test_large_radii_are_transformed_and_small_ones_are_not():
    assert isinstance(convolution(cone(1.5, (1.0, 1.0)), (100, 300)), Direct)
    assert isinstance(convolution(cone(24.0, (1.0, 1.0)), (400, 1200)), Fourier)
    assert isinstance(convolution(cone(8.0, (1.0, 1.0, 1.0)), (48, 48, 96)), Fourier)


@pytest.mark.parametrize("radius", [0.0, -1.0, np.nan, np.inf])
@pytest.mark.parametrize("filter_", [Density, Helmholtz, Sensitivity])
def test_nonsense_is_refused(filter_, radius):
    with pytest.raises(InputError, match="radius"):
        filter_(radius)
