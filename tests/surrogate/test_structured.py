"""Hundreds of coordinates: the model in a fixed metric, conjugate gradients, and what happens if they stall."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest

import sciopt.surrogate.process as process_module
from sciopt.surrogate import KERNELS, Cartesian, GaussianProcess, InverseDistances, Observations
from sciopt.surrogate.dense import DenseSolution
from sciopt.surrogate.factor import Factor, factorised
from sciopt.surrogate.fixed_metric import FixedMetric, Frame, Told
from sciopt.surrogate.structured import StructuredSolution, conjugate_gradients, covariance_product, solve_structured

KERNEL = pytest.mark.parametrize("kernel", sorted(KERNELS))
NEVER = 10**6


def crystal(count: int, seed: int = 0) -> tuple[InverseDistances, Observations]:
    """A block of 32 Morse particles between walls of particles at rest, shaken: 96 coordinates."""
    rng = np.random.default_rng(seed)
    cells = np.stack(np.meshgrid(*[np.arange(4)] * 3, indexing="ij"), -1).reshape(-1, 3)
    sites = cells[cells.sum(axis=1) % 2 == 0] * 1.8
    walls = np.stack(np.meshgrid(*[np.arange(-2, 6)] * 3, indexing="ij"), -1).reshape(-1, 3)
    walls = walls[(walls.sum(axis=1) % 2 == 0) & ((walls < 0) | (walls > 3)).any(axis=1)] * 1.8
    first, second, offsets = [], [], []
    for i, site in enumerate(sites):
        near = [j for j in range(i + 1, len(sites)) if np.linalg.norm(site - sites[j]) < 4.0]
        rest = [wall for wall in walls if np.linalg.norm(site - wall) < 4.0]
        first += [i] * (len(near) + len(rest))
        second += near + [-1] * len(rest)
        offsets += [np.zeros(3)] * len(near) + rest
    size = sites.size
    features = InverseDistances(
        np.array(first), np.array(second), np.array(offsets), np.arange(size), np.zeros(size), np.ones(len(first))
    )
    data = Observations.none(size)
    direction = rng.normal(size=size)
    direction /= np.linalg.norm(direction)
    for _ in range(count):
        x = sites.ravel() + rng.uniform(-1, 1) * direction + 0.03 * rng.normal(size=size)
        values = features.at(x[None])
        decay = np.exp(-1.4 * (1.0 / values.phi - 2.55))
        slope = -0.3 * (-2.8 * decay**2 + 2.8 * decay) / values.phi**2
        energy = 0.3 * float((decay**2 - 2 * decay).sum()) + 40.0
        data = data.add(x, energy, -values.pull(slope)[0], 1e-3, 5e-3)
    return features, data


@pytest.fixture(scope="module")
def block() -> tuple[InverseDistances, Observations]:
    return crystal(12)


def test_the_crystal_is_consistent(block, differentiate, rng):
    """The test's own energies and forces."""
    features, data = block
    x, v = data.X[0], rng.normal(size=data.X.shape[1])

    def energy(x: np.ndarray) -> float:
        decay = np.exp(-1.4 * (1.0 / features.at(x[None]).phi - 2.55))
        return 0.3 * float((decay**2 - 2 * decay).sum())

    order, _ = differentiate(energy, -data.forces[0] @ v, x, v)
    assert order == pytest.approx(2.0, abs=0.1)


def test_factors_grow(rng):
    """A factor extended in pieces is the one made at once, and solves."""
    A = rng.normal(size=(9, 9))
    K = A @ A.T + np.eye(9)
    L = Factor.of(K[:3, :3].copy()).extended(K[:3, 3:5], K[3:5, 3:5]).extended(K[:5, 5:], K[5:, 5:])
    assert len(L) == 9
    assert L.log_determinant == pytest.approx(0.5 * np.linalg.slogdet(K)[1])
    columns = rng.normal(size=(9, 4))
    assert np.allclose(L.whiten(columns), np.linalg.solve(np.linalg.cholesky(K), columns))
    assert np.allclose(L.unwhiten(columns), np.linalg.solve(np.linalg.cholesky(K).T, columns))
    assert np.allclose(L.solve(columns), np.linalg.solve(K, columns))
    known = L.whiten(columns)[:5]
    assert np.allclose(L.continued(known, columns[5:]), L.whiten(columns))
    assert Factor.of(K[:5, :5].copy()).extended(K[:5, 5:], -K[5:, 5:]) is None


def test_what_is_no_covariance_is_refused():
    with pytest.raises(np.linalg.LinAlgError, match="not positive definite, even with a noise of 1e-3"):
        factorised(lambda: -np.eye(2), np.zeros(2))
    assert len(factorised(lambda: np.ones((2, 2)), np.zeros(2))) == 2


@KERNEL
@pytest.mark.parametrize("constant", [True, False])
def test_the_fixed_metric_is_exact(system, sample, reference, kernel, constant, rng):
    """Against loops over observations whose features are linear: ``phi = R^T x``."""
    data = sample(system, 5, force_noise=0.0)
    frame = Frame.of(system.features.at(data.X), data.X)
    root = frame.metric.root
    variance = 1.7
    other = reference(lambda x: x @ root, kernel, 0.5, variance, data, constant)
    # The noise of forces is isotropic where the metric is the identity; here it is none.
    fixed = FixedMetric.of(frame, data, KERNELS[kernel], 0.5, variance)
    y = np.column_stack([data.energies, data.forces])
    weights = fixed.solve(y) / variance
    assert np.allclose(other.K @ weights.ravel(), y.ravel(), rtol=0, atol=1e-3 * np.abs(y).max())
    X = data.X[:3] + 0.3 * rng.normal(size=data.X[:3].shape)
    without = rng.normal(size=X.shape)
    without /= np.linalg.norm(without, axis=1)[:, None]
    energies, forces = fixed.energy_variances(X), fixed.force_variances(X, without)
    for i, x in enumerate(X):
        _, covariance = other.at(x)
        projector = np.eye(len(x)) - np.outer(without[i], without[i])
        assert variance * energies[i] == pytest.approx(covariance[0, 0], rel=1e-3, abs=1e-5)
        assert np.allclose(
            variance * forces[i], np.diag(projector @ covariance[1:, 1:] @ projector), rtol=1e-3, atol=1e-5
        )
    evidence, found = fixed.evidence(Told.of(frame, data), constant)
    assert found * variance == pytest.approx(other.quadratic * variance / y.size * variance, rel=1e-2)
    assert np.isfinite(evidence)


@KERNEL
def test_the_evidence_in_a_fixed_metric(molecule, sample, reference, kernel):
    """Between two length scales it changes as the reference's does."""
    data = sample(molecule, 4)
    data = replace(data, force_noise=np.full(4, 1e-6), energy_noise=np.full(4, 1e-6))
    frame = Frame.of(molecule.features.at(data.X), data.X)
    told, y = Told.of(frame, data), data.forces.size + len(data)
    found, expected = [], []
    for length in (0.3, 0.4):
        found.append(FixedMetric.of(frame, data, KERNELS[kernel], length, 1.0).evidence(told, True)[0])
        other = reference(lambda x: x @ frame.metric.root, kernel, length, 1.0, data)
        expected.append(-0.5 * y * np.log(other.quadratic / y) - 0.5 * np.linalg.slogdet(other.K)[1])
    assert found[1] - found[0] == pytest.approx(expected[1] - expected[0], rel=1e-3, abs=1e-2)


@KERNEL
def test_products_with_the_covariance(system, sample, reference, kernel, rng):
    data = sample(system, 4)
    data = replace(data, force_noise=np.array([0.01, 0.3, 0.1, 0.2]), energy_noise=np.array([0.1, 0.2, 0.01, 0.3]))
    values, variance = system.features.at(data.X), 2.0
    fixed = FixedMetric.of(Frame.of(values, data.X), data, KERNELS[kernel], 0.4, variance)
    weights = rng.normal(size=(4, data.X.shape[1] + 1))
    other = reference(system.plain, kernel, 0.4, variance, data)
    found = variance * covariance_product(values, data, fixed)(weights)
    assert np.allclose(found.ravel(), other.K @ weights.ravel(), rtol=1e-8, atol=1e-8 * np.abs(found).max())


@pytest.mark.parametrize("constant", [True, False])
def test_conjugate_gradients(constant, rng):
    """Against the linear system with the mean as one unknown more."""
    count, n = 5, 3
    A = rng.normal(size=(count * (n + 1),) * 2)
    K = A @ A.T + 5 * np.eye(len(A))
    y = rng.normal(size=(count, n + 1))
    one = np.tile(np.append(1.0, np.zeros(n)), count)
    solved = conjugate_gradients(
        lambda w: (K @ w.ravel()).reshape(w.shape),
        lambda r: r / np.diag(K).reshape(r.shape),
        y,
        np.zeros_like(y),
        constant,
        (1e-10, 1e-10),
    )
    assert solved.converged
    saddle = np.block([[K, one[:, None]], [one[None], np.zeros((1, 1))]])
    expected = np.linalg.solve(saddle, np.append(y.ravel(), 0.0)) if constant else np.linalg.solve(K, y.ravel())
    assert np.allclose(solved.weights.ravel(), expected[: K.shape[0]], rtol=0, atol=1e-9)
    assert solved.mean == pytest.approx(expected[-1] if constant else 0.0, abs=1e-8)
    few = conjugate_gradients(
        lambda w: (K @ w.ravel()).reshape(w.shape), lambda r: r, y, np.zeros_like(y), constant, (1e-12, 1e-12), 2
    )
    assert not few.converged
    assert few.iterations == 2


def test_any_start_will_do(block, rng):
    """Also one whose weights of energies do not sum to zero."""
    features, data = block
    values = features.at(data.X)
    fixed = FixedMetric.of(Frame.of(values, data.X), data, KERNELS["se"], 0.3, 1.0)
    shape = (len(data), data.X.shape[1] + 1)
    one = solve_structured(values, data, fixed, np.zeros(shape), True)
    other = solve_structured(values, data, fixed, 0.1 * rng.normal(size=shape), True)
    assert one.converged
    assert other.converged
    assert other.weights[:, 0].sum() == pytest.approx(0.0, abs=1e-10)
    assert other.mean == pytest.approx(one.mean, abs=1e-3)


def compared(features, data, kernel: str, **settings):
    """The same posterior by conjugate gradients and by factorisation."""
    prior = GaussianProcess(features, kernel, deviation=(1.0, 1.0), **settings)
    one = prior.fit(data, optimize=False)
    return one, replace(prior, structured=NEVER, dense_rows=NEVER).fit(data, optimize=False)


@KERNEL
@pytest.mark.parametrize("length", [0.2, 0.4])
def test_equals_the_dense_path(block, kernel, length, rng):
    """To a third of the energies' noise, and 2e-3 eV per unit of length; deviations of the fixed metric to a fifth."""
    features, data = block
    structured, dense = compared(features, data, kernel, length=length)
    assert isinstance(structured.solution, StructuredSolution)
    assert isinstance(dense.solution, DenseSolution)
    X = np.vstack([data.X[:3] + 0.02 * rng.normal(size=data.X[:3].shape), 0.5 * (data.X[3:5] + data.X[5:7])])
    energies, forces = structured.predict(X)
    assert np.allclose(energies, dense.predict(X)[0], rtol=0, atol=3e-4)
    assert np.allclose(forces, dense.predict(X)[1], rtol=0, atol=2e-3)
    assert structured.solution.mean == pytest.approx(dense.solution.mean, abs=1e-3)
    assert np.allclose(structured.hessian(X[0]), dense.hessian(X[0]), rtol=0, atol=0.05)
    assert np.allclose(structured.energy_deviations(X), dense.energy_deviations(X), rtol=0.2)
    one, other = structured.force_deviations(X), dense.force_deviations(X)
    assert np.allclose(one.max(axis=1), other.max(axis=1), rtol=0.2)


@KERNEL
def test_coordinates_as_features(kernel, rng):
    """Their metric is fixed, so one iteration is enough."""
    data = Observations.none(120)
    for x in rng.normal(size=(6, 120)) * 0.2:
        data = data.add(x, float(np.sin(x).sum()), -np.cos(x), 1e-3, 1e-3)
    structured, dense = compared(Cartesian(120), data, kernel, length=2.0, lengths=(0.5, 5.0))
    assert structured.solution.iterations <= 4
    X = data.X[:3] + 0.05
    assert np.allclose(structured.predict(X)[0], dense.predict(X)[0], rtol=0, atol=3e-4)
    assert np.allclose(structured.force_deviations(X), dense.force_deviations(X), rtol=0.05)


def test_the_length_scale_is_that_of_the_dense_path(block):
    features, data = block
    prior = GaussianProcess(features, length=0.3, lengths=(0.1, 1.0))
    structured, dense = prior.fit(data), replace(prior, structured=NEVER, dense_rows=NEVER).fit(data)
    assert abs(np.log(structured.length / dense.length)) <= 1.01 * np.log(1.35)
    assert 0.5 < structured.variance / dense.variance * (dense.length / structured.length) ** 4 < 2.0


@KERNEL
def test_the_variance_is_that_of_the_dense_path(block, kernel):
    features, data = block
    prior = GaussianProcess(features, kernel, length=0.3, deviation=(1e-3, 1e2))
    structured = prior.fit(data, optimize=False)
    dense = replace(prior, structured=NEVER, dense_rows=NEVER).fit(data, optimize=False)
    assert isinstance(structured.solution, StructuredSolution)
    assert structured.variance == pytest.approx(dense.variance, rel=0.05)


def test_observation_by_observation(block):
    """Warm starts lead to the weights of a cold one."""
    features, data = block
    prior = GaussianProcess(features, length=0.3, deviation=(1.0, 1.0))
    found = None
    for count in range(6, 13):
        found = prior.fit(data.take(np.arange(count)), found, optimize=False)
    cold = prior.fit(data, optimize=False)
    X = data.X[:4] + 0.02
    assert np.allclose(found.predict(X)[0], cold.predict(X)[0], rtol=0, atol=3e-4)
    assert np.allclose(found.predict(X)[1], cold.predict(X)[1], rtol=0, atol=2e-3)


def test_an_observation_is_left_out_without_a_fit(block):
    """Within half of what a fit without it says; with features whose metric is fixed the deviations are exact."""
    features, data = block
    posterior = GaussianProcess(features, "matern52", length=0.3, deviation=(1.0, 1.0)).fit(data, optimize=False)
    for index in (2, 7, 11):
        fewer = data.take(np.delete(np.arange(len(data)), index))
        others = posterior.process.fit(fewer, posterior, optimize=False)
        errors, deviations = posterior.left_out(index)
        expected = data.forces[index] - others.predict(data.X[index][None])[1][0]
        assert np.linalg.norm(errors - expected) < 0.5 * np.linalg.norm(expected)
        assert np.allclose(deviations, others.force_deviations(data.X[index][None])[0], rtol=0.05)


def test_many_rows_of_few_coordinates(molecule, sample):
    """`dense_rows` bounds the factorisation of small systems too."""
    data = sample(molecule, 8)
    found = GaussianProcess(molecule.features, dense_rows=20).fit(data)
    dense = GaussianProcess(molecule.features).fit(data, replace(found, solution=None), optimize=False)
    assert np.allclose(found.predict(data.X)[0], dense.predict(data.X)[0], rtol=0, atol=5e-3)


def test_stalled_iterations_are_factorised(block, monkeypatch, caplog):
    features, data = block
    prior = GaussianProcess(features, length=0.3, deviation=(1.0, 1.0))
    whole = process_module.solve_structured
    monkeypatch.setattr(process_module, "solve_structured", lambda *given: whole(*given)._replace(converged=False))
    with caplog.at_level(logging.INFO, "sciopt"):
        found = prior.fit(data.take(np.arange(10)), optimize=False)
    assert "1164 rows) stalled" not in caplog.text
    assert "970 rows) stalled" in caplog.text
    assert "solved by factorisation" in caplog.text
    assert isinstance(found.solution, DenseSolution)
    # The next fit does not try again, and goes on with what was factorised.
    monkeypatch.setattr(process_module, "solve_structured", None)
    again = prior.fit(data, found)
    assert isinstance(again.solution, DenseSolution)


def test_stalled_iterations_beyond_what_can_be_factorised(block, monkeypatch, caplog):
    features, data = block
    monkeypatch.setattr(process_module, "_AFFORDABLE", 10)
    whole, noises = process_module.solve_structured, []

    def stalls_once(values, told, *rest):
        noises.append(float(told.force_noise[0]))
        return whole(values, told, *rest)._replace(converged=len(noises) > 1)

    monkeypatch.setattr(process_module, "solve_structured", stalls_once)
    found = GaussianProcess(features, length=0.3, deviation=(1.0, 1.0)).fit(data, optimize=False)
    assert noises == pytest.approx([5e-3, 2.5e-2])
    assert "forces are taken to be 5 times as noisy" in caplog.text
    assert np.array_equal(found.data.force_noise, data.force_noise)
    assert np.allclose(found.predict(data.X)[0], data.energies, rtol=0, atol=0.05)
