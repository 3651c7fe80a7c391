from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sciopt.core.errors import InputError
from sciopt.topopt.field import Projection
from sciopt.topopt.projection import (
    Threshold,
    preserving_threshold,
    project,
    slope,
    threshold_slope,
)

X = np.linspace(0.0, 1.0, 41)


def published(x, beta, eta):
    """Wang, Lazarov and Sigmund 2011, equation 9, in extended precision: it cancels where thresholds leave [0, 1]."""
    x, beta, eta = np.longdouble(x), np.longdouble(beta), np.longdouble(eta)
    start = np.tanh(beta * eta)
    return ((start + np.tanh(beta * (x - eta))) / (start + np.tanh(beta * (1 - eta)))).astype(float)


def sample(n=60, seed=0):
    rng = np.random.default_rng(seed)
    return rng.random(n), rng.uniform(0.2, 1.0, n), rng.normal(size=n)


@pytest.mark.parametrize("beta", [0.01, 1.0, 8.0, 64.0])
@pytest.mark.parametrize("eta", [0.0, 0.3, 0.5, 0.98, 1.0])
def test_published_formula(beta, eta):
    np.testing.assert_allclose(project(X, beta, eta), published(X, beta, eta), rtol=1e-12, atol=1e-15 / beta)


@pytest.mark.parametrize("eta", [-0.2, 1.2])
def test_thresholds_outside_are_as_good(eta):
    np.testing.assert_allclose(project(X, 8.0, eta), published(X, 8.0, eta), rtol=1e-12, atol=1e-15)
    # Here the published formula is 0 / 0.
    sharp = project(X, 300.0, eta)
    assert np.isfinite(sharp).all() and sharp[0] < 1e-12 and np.isclose(sharp[-1], 1.0)
    assert np.isfinite(slope(X, 300.0, eta)).all() and np.isfinite(threshold_slope(X, 300.0, eta)).all()


@settings(max_examples=60, deadline=None)
@given(beta=st.floats(1e-2, 300.0), eta=st.floats(-0.3, 1.3))
def test_projection_is_monotone_between_its_ends(beta, eta):
    rho = project(X, beta, eta)
    assert rho[0] < 1e-12 and np.isclose(rho[-1], 1.0, rtol=1e-12)
    assert rho.min() >= 0.0 and rho.max() <= 1.0
    assert np.all(np.diff(rho) >= -1e-13)
    assert np.all(slope(X, beta, eta) >= 0.0)


@pytest.mark.parametrize(("beta", "eta"), [(1.0, 0.5), (8.0, 0.35), (20.0, 0.9), (6.0, -0.1), (6.0, 1.15)])
@pytest.mark.parametrize(
    ("derivative", "shift"),
    [
        (slope, lambda h, beta, eta: project(X + h, beta, eta)),
        (threshold_slope, lambda h, beta, eta: project(X, beta, eta + h)),
    ],
)
def test_slopes_fall_with_second_order(beta, eta, derivative, shift):
    errors = []
    inside = (X > 0.02) & (X < 0.98)
    for h in (4e-4, 2e-4):
        central = (shift(h, beta, eta) - shift(-h, beta, eta)) / (2 * h)
        errors.append(np.abs(central - derivative(X, beta, eta))[inside].max())
    assert 3.8 < errors[0] / errors[1] < 4.2


@settings(max_examples=100, deadline=None)
@given(x=arrays(float, 17, elements=st.floats(0.0, 1.0)), seed=st.integers(0, 99), beta=st.floats(0.1, 300.0))
def test_volume_is_preserved(x, seed, beta):
    v = np.random.default_rng(seed).uniform(0.1, 1.0, x.size)
    eta = preserving_threshold(x, v, beta)
    assert 0.0 <= eta <= 1.0
    assert np.isclose(v @ project(x, beta, eta), v @ x, rtol=1e-11, atol=1e-12)
    assert np.isclose(v @ Threshold(beta).forward(x, v), v @ x, rtol=1e-11, atol=1e-12)


def test_symmetric_densities_have_threshold_one_half():
    x = np.r_[X, 0.25, 0.75]
    assert np.isclose(preserving_threshold(x, np.ones(x.size), 12.0), 0.5, atol=1e-12)


def test_eroded_below_intermediate_below_dilated():
    x, v, _ = sample()
    eroded, intermediate, dilated = (Threshold(10.0, shift).forward(x, v) for shift in (0.1, 0.0, -0.1))
    assert np.all(eroded <= intermediate) and np.all(intermediate <= dilated)
    eta = preserving_threshold(x, v, 10.0)
    np.testing.assert_array_equal(dilated, project(x, 10.0, eta - 0.1))


@pytest.mark.parametrize("beta", [1.0, 8.0, 32.0])
@pytest.mark.parametrize("shift", [0.0, 0.15, -0.6])
def test_pullback_is_the_derivative(beta, shift):
    """The error of forward differences along a line falls with h, what the derivative leaves with h²."""
    projection = Threshold(beta, shift)
    x, v, g = sample()
    step = np.random.default_rng(5).normal(size=x.size) * np.minimum(x, 1 - x)
    start, pulled = projection.forward(x, v), projection.pullback(x, v, g) @ step
    sizes = np.array([2e-3, 1e-3]) / beta
    left = [abs(g @ (projection.forward(x + h * step, v) - start) - h * pulled) for h in sizes]
    assert left[0] < 0.2 * abs(sizes[0] * pulled)
    assert 3.5 < left[0] / left[1] < 4.5


@pytest.mark.parametrize("beta", [1.0, 16.0, 64.0])
def test_preserved_volume_has_the_volumes_as_derivative(beta):
    x, v, _ = sample()
    np.testing.assert_allclose(Threshold(beta).pullback(x, v, v), v, rtol=1e-10)


@pytest.mark.parametrize("shift", [0.0, 0.1, -0.1])
@pytest.mark.parametrize("x", [np.zeros(6), np.ones(6), np.array([0.0, 0, 1, 1, 1, 0]), np.array([0.0, 0, 0, 0, 1, 1])])
def test_designs_of_void_and_solid_are_harmless(x, shift):
    v, g = np.linspace(0.5, 1.0, 6), np.linspace(-1.0, 2.0, 6)
    for beta in (1.0, 300.0):
        np.testing.assert_allclose(Threshold(beta, shift).forward(x, v), x, atol=1e-12)
        assert np.isfinite(Threshold(beta, shift).pullback(x, v, g)).all()


@pytest.mark.parametrize("beta", [0.0, -1.0, np.nan, np.inf, 301.0])
@pytest.mark.parametrize("projection", [Projection, Threshold])
def test_nonsense_is_refused(projection, beta):
    with pytest.raises(InputError, match="beta"):
        projection(beta)
