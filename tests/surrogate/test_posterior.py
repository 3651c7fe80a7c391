"""The posterior against loops and `numpy.linalg.solve`, and what noise, interpolation and symmetry demand of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from sciopt.surrogate import KERNELS, Cartesian, GaussianProcess, InverseDistances, Observations

KERNEL = pytest.mark.parametrize("kernel", sorted(KERNELS))


def directions(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    v = rng.normal(size=shape)
    return v / np.linalg.norm(v, axis=1)[:, None]


@KERNEL
def test_the_reference_itself(system, reference, kernel):
    """Its covariances are derivatives of one another: central differences in the first argument."""
    rng = np.random.default_rng(3)
    x, y = system.start + 0.1 * rng.normal(size=(2, len(system.start)))
    one = reference.__new__(reference)
    one.plain, one.kernel, one.length, one.variance = system.plain, kernel, 0.5, 2.0
    h, found, other = 1e-4, one.covariance(one.point(x), one.point(y)), one.point(y)
    for c, u in enumerate(h * np.eye(len(x))):
        slope = (one.covariance(one.point(x + u), other)[0] - one.covariance(one.point(x - u), other)[0]) / (2 * h)
        assert np.allclose(found[1 + c], -slope, rtol=0, atol=1e-5)
    assert np.allclose(found.T, one.covariance(other, one.point(x)), rtol=0, atol=1e-12)


@KERNEL
@pytest.mark.parametrize("constant", [True, False])
def test_equals_the_reference(system, sample, reference, kernel, constant, rng):
    data = sample(system, 5)
    data = replace(data, force_noise=np.array([0.01, 0.05, 0.02, 0.1, 0.03]))
    process = GaussianProcess(system.features, kernel, length=0.5, constant=constant)
    found = process.fit(data, optimize=False)
    other = reference(system.plain, kernel, found.length, found.variance, data, constant)
    X = system.start + 0.15 * rng.normal(size=(4, len(system.start)))
    without = directions(rng, X.shape)
    energies, forces = found.predict(X)
    spread, force_spread = found.energy_deviations(X), found.force_deviations(X)
    across = found.force_deviations(X, without)
    for i, x in enumerate(X):
        mean, covariance = other.at(x)
        assert energies[i] == pytest.approx(mean[0], abs=1e-6)
        # The smoother the kernel, the worse the equations are conditioned.
        assert np.allclose(forces[i], mean[1:], rtol=2e-6, atol=1e-6)
        assert spread[i] == pytest.approx(np.sqrt(covariance[0, 0]), rel=1e-3)
        assert np.allclose(force_spread[i], np.sqrt(np.diag(covariance)[1:]), rtol=1e-3, atol=1e-5)
        projector = np.eye(len(x)) - np.outer(without[i], without[i])
        left = np.diag(projector @ covariance[1:, 1:] @ projector)
        assert np.allclose(across[i], np.sqrt(np.maximum(left, 0)), rtol=1e-3, atol=1e-5)


@KERNEL
def test_extended_equals_at_once(system, sample, reference, kernel):
    """Observation by observation, with factors continued, gives what the reference makes of the whole."""
    data = sample(system, 9, energy_noise=0.02, force_noise=0.05)
    process = GaussianProcess(system.features, kernel, length=0.5)
    found = process.fit(data.take(np.arange(3)))
    for count in (4, 5, 7, 9):
        found = process.fit(data.take(np.arange(count)), found)
    # The variance that the noise is relative to lags behind, by no more than a factor of 1.4.
    lag = found.variance / found.solution.trained.variance
    assert 1 / 1.4 <= lag <= 1.4
    told = replace(data, energy_noise=data.energy_noise * lag**0.5, force_noise=data.force_noise * lag**0.5)
    other = reference(system.plain, kernel, found.length, found.variance, told)
    X = system.start + 0.1 * np.random.default_rng(4).normal(size=(3, len(system.start)))
    energies, forces = found.predict(X)
    deviations = found.energy_deviations(X)
    for x, energy, force, deviation in zip(X, energies, forces, deviations, strict=True):
        mean, covariance = other.at(x)
        assert energy == pytest.approx(mean[0], abs=1e-5)
        assert np.allclose(force, mean[1:], rtol=0, atol=1e-4)
        assert deviation == pytest.approx(covariance[0, 0] ** 0.5, rel=1e-3)


def test_what_is_factorised_is_not_factorised_again(molecule, sample):
    """The panels of a factor are shared by those that continue it."""
    data = sample(molecule, 8)
    process = GaussianProcess(molecule.features, length=0.5, belief=1e6, deviation=(1.0, 1.0))
    known = process.fit(data.take(np.arange(6)))
    # A fit without a search keeps what the next search will continue.
    found = process.fit(data, process.fit(data.take(np.arange(7)), known, optimize=False))
    assert found.solution.trained.factor.panels[0] is known.solution.trained.factor.panels[0]
    assert len(found.solution.trained.factor.panels) == 3
    assert len(found.solution.others) == len(known.solution.others) == 2
    before = {one.length: one.factor.panels[0] for one in known.solution.others}
    assert all(one.factor.panels[0] is before[one.length] for one in found.solution.others)


@KERNEL
def test_interpolates(system, sample, kernel):
    data = sample(system, 4, energy_noise=0.0, force_noise=0.0)
    found = GaussianProcess(system.features, kernel).fit(data)
    energies, forces = found.predict(data.X)
    assert np.allclose(energies, data.energies, rtol=0, atol=1e-5)
    if isinstance(system.features, Cartesian):
        assert np.allclose(forces, data.forces, rtol=0, atol=1e-4)
        assert found.force_deviations(data.X).max() < 1e-3
    assert found.energy_deviations(data.X).max() < 1e-3


@given(seed=st.integers(0, 1000))
@settings(max_examples=15)
def test_rotation_and_translation(molecule_posterior, seed):
    """Energies do not notice; forces, deviations of energies and Hessians turn along."""
    rng = np.random.default_rng(seed)
    turn = Rotation.random(rng=rng).as_matrix()
    start, found = molecule_posterior
    x = start + 0.1 * rng.normal(size=start.size)
    moved = (x.reshape(-1, 3) @ turn.T + rng.normal(size=3)).ravel()
    energies, forces = found.predict(np.array([x, moved]))
    assert energies[0] == pytest.approx(energies[1], abs=1e-9)
    assert np.allclose(forces[0].reshape(-1, 3) @ turn.T, forces[1].reshape(-1, 3), rtol=0, atol=1e-8)
    deviations = found.energy_deviations(np.array([x, moved]))
    assert deviations[0] == pytest.approx(deviations[1], rel=1e-6)
    T = np.kron(np.eye(start.size // 3), turn)
    assert np.allclose(T @ found.hessian(x) @ T.T, found.hessian(moved), rtol=0, atol=1e-7)


@given(order=st.permutations(range(4)))
@settings(max_examples=15)
def test_permutation(molecule_observations, order):
    """Renaming the particles in the data and in the question renames them in the answer."""
    start, data = molecule_observations
    components = np.arange(start.size).reshape(-1, 3)[list(order)].ravel()
    process = GaussianProcess(InverseDistances.between(4))
    renamed = replace(data, X=data.X[:, components], forces=data.forces[:, components])
    one, other = process.fit(data, optimize=False), process.fit(renamed, optimize=False)
    x = start[None] + 0.05
    energy, force = one.predict(x)
    energy_renamed, force_renamed = other.predict(x[:, components])
    assert energy == pytest.approx(energy_renamed, abs=1e-7)
    assert np.allclose(force[:, components], force_renamed, rtol=0, atol=1e-6)
    spread, renamed_spread = one.force_deviations(x), other.force_deviations(x[:, components])
    assert np.allclose(spread[:, components], renamed_spread, rtol=1e-5)


@pytest.fixture(scope="module")
def molecule_observations():
    from_center = np.array([[0.0, 0.0, 0.0], [1.1, 0.1, 0.0], [0.2, 1.2, -0.1], [0.3, 0.2, 1.3]]).ravel()
    rng = np.random.default_rng(1)
    data = Observations.none(12)
    for x in from_center + 0.1 * rng.normal(size=(5, 12)):
        data = data.add(x, float(np.sin(x).sum()), -np.cos(x), 1e-3, 1e-2)
    return from_center, data


@pytest.fixture(scope="module")
def molecule_posterior(molecule_observations):
    start, data = molecule_observations
    return start, GaussianProcess(InverseDistances.between(4)).fit(data, optimize=False)


def test_a_very_noisy_observation_has_no_influence(system, sample):
    data = sample(system, 6)
    nonsense = data.add(system.start + 0.02, 50.0, np.full(len(system.start), -30.0), 1e6, 1e6)
    process = GaussianProcess(system.features, length=0.5)
    one, other = process.fit(data, optimize=False), process.fit(nonsense, optimize=False)
    # The variance counts rows, so it falls by a known factor; the noise in units of it shifts predictions a little.
    x = system.start[None] - 0.03
    assert one.predict(x)[0] == pytest.approx(other.predict(x)[0], abs=1e-3)
    assert np.allclose(one.predict(x)[1], other.predict(x)[1], rtol=0, atol=2e-2)
    assert np.allclose(
        one.energy_deviations(x) / one.variance**0.5, other.energy_deviations(x) / other.variance**0.5, rtol=0.1
    )


def test_noisy_repetitions_average():
    """The deviation at a point measured N times is that of one measurement over the root of N."""
    x, noise = np.zeros(3), 0.3
    process = GaussianProcess(Cartesian(3), length=1.0, lengths=(0.5, 2.0), deviation=(5.0, 5.0), constant=False)
    energy, force = [], []
    for count in (4, 16, 64):
        data = Observations.none(3)
        for _ in range(count):
            data = data.add(x, 1.0, np.full(3, 0.5), noise, noise)
        found = process.fit(data, optimize=False)
        assert found.variance == pytest.approx(25.0)
        energy.append(found.energy_deviations(x[None])[0])
        force.append(found.force_deviations(x[None])[0, 0])
    assert np.allclose(energy, noise / np.sqrt([4, 16, 64]), rtol=0.01)
    assert np.allclose(force, noise / np.sqrt([4, 16, 64]), rtol=0.01)


def test_far_away_the_prior_is_left(sample, molecule):
    found = GaussianProcess(Cartesian(12), length=0.5).fit(sample(molecule, 4), optimize=False)
    far = molecule.start[None] + 20.0
    assert np.allclose(found.predict(far)[1], 0.0, atol=1e-12)
    assert found.energy_deviations(far)[0] == pytest.approx(found.variance**0.5, rel=1e-6)
    assert found.force_deviations(far)[0] == pytest.approx(found.variance**0.5 / found.length, rel=1e-6)
