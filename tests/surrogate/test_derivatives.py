"""Forces are minus the slope of the energy, the Hessian is minus the slope of the forces: errors fall as h²."""

from __future__ import annotations

import numpy as np
import pytest

from sciopt.surrogate import KERNELS, GaussianProcess

KERNEL = pytest.mark.parametrize("kernel", sorted(KERNELS))


def posterior(system, sample, kernel: str, **settings):
    process = GaussianProcess(system.features, kernel, length=0.6, **settings)
    return process.fit(sample(system, 6), optimize=False)


@KERNEL
def test_forces(system, sample, kernel, differentiate, rng):
    found = posterior(system, sample, kernel)
    x, v = system.start + 0.05, rng.normal(size=len(system.start))
    _, force = found.predict(x[None])
    order, error = differentiate(lambda x: found.predict(x[None])[0], -force[0] @ v, x, v)
    assert order == pytest.approx(2.0, abs=0.1)
    assert error < 1e-3 * np.abs(force).max()


@KERNEL
def test_hessian(system, sample, kernel, differentiate, rng):
    found = posterior(system, sample, kernel)
    x, v = system.start + 0.05, rng.normal(size=len(system.start))
    hessian = found.hessian(x)
    assert np.allclose(hessian, hessian.T, rtol=0, atol=1e-10 * np.abs(hessian).max())
    order, error = differentiate(lambda x: -found.predict(x[None])[1][0], hessian @ v, x, v)
    assert order == pytest.approx(2.0, abs=0.1)
    assert error < 1e-2 * np.abs(hessian @ v).max()


def test_features_and_their_derivatives(system, differentiate, rng):
    """Against the plain map: values, Jacobian by complex steps, push and pull, and the second derivatives."""
    X = system.start + 0.1 * rng.normal(size=(3, len(system.start)))
    values = system.features.at(X)
    weights, vectors = rng.normal(size=values.phi.shape), rng.normal(size=X.shape)
    pulled, pushed = values.pull(weights), values.push(vectors)
    for i, x in enumerate(X):
        J = np.array([system.plain(x + 1e-30j * unit).imag / 1e-30 for unit in np.eye(len(x))]).T
        assert np.allclose(values.phi[i], system.plain(x), rtol=1e-14)
        assert np.allclose(values.jacobian(i), J, rtol=0, atol=1e-13)
        assert np.allclose(pulled[i], J.T @ weights[i], rtol=0, atol=1e-13)
        assert np.allclose(pushed[i], J @ vectors[i], rtol=0, atol=1e-13)
    if np.abs(values.bend(0, weights[0])).max() > 0:
        order, _ = differentiate(
            lambda x: system.features.at(x[None]).pull(weights[:1])[0],
            values.bend(0, weights[0]) @ vectors[0],
            X[0],
            vectors[0],
        )
        assert order == pytest.approx(2.0, abs=0.1)


@KERNEL
def test_radial_derivatives(kernel):
    """``dk/ds = -a/2``, ``da/ds = -b/2``, ``db/ds = -e/2``, by differences."""
    s = np.linspace(0.1, 3.0, 7)
    radial = KERNELS[kernel].radial
    h = 1e-6
    ahead, behind, here = radial(s + h, 0.7), radial(s - h, 0.7), radial(s, 0.7)
    for value, slope in (("k", "a"), ("a", "b"), ("b", "e")):
        found = (getattr(ahead, value) - getattr(behind, value)) / (2 * h)
        assert np.allclose(found, -getattr(here, slope) / 2, rtol=1e-7)
