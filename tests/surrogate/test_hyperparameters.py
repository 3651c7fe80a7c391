"""The length scale and the variance that are found, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sciopt.core.errors import InputError, NotFinite, ShapeError
from sciopt.surrogate import KERNELS, Cartesian, GaussianProcess, InverseDistances, Observations

RATIO = 1.35


@pytest.mark.parametrize("kernel", sorted(KERNELS))
@pytest.mark.parametrize("start", [0.2, 1.0])
def test_the_length_scale_against_a_fine_grid(system, sample, reference, kernel, start):
    """The steps of the search are factors of 1.35: the best of a fine grid is within one of them."""
    data = sample(system, 7, width=0.25)
    bounds = (0.1, 2.0)
    process = GaussianProcess(system.features, kernel, length=start, lengths=bounds)

    def log_posterior(length: float) -> float:
        # The unit variance to which the noise of a first fit is compared.
        other = reference(system.plain, kernel, length, 1.0, data)
        evidence = -0.5 * other.rows * np.log(other.quadratic / other.rows) - 0.5 * np.linalg.slogdet(other.K)[1]
        return evidence - 0.5 * process.belief * (np.log(length / start) / process.spread) ** 2

    found = process.fit(data)
    # Four steps at most per fit; a search that goes on ends where the first one would have.
    for _ in range(2):
        found = replace(found, variance=1.0) if found.variance != 1.0 else found
        found = process.fit(data, found)
    grid = np.geomspace(*bounds, 41)
    values = np.array([log_posterior(length) for length in grid])
    best = grid[np.argmax(values)]
    assert abs(np.log(found.length / best)) < np.log(RATIO) + 1e-9
    here = log_posterior(found.length)
    assert all(here >= log_posterior(np.clip(found.length * by, *bounds)) - 1e-6 for by in (RATIO, 1 / RATIO))


def test_the_variance_maximizes_the_evidence(system, sample, reference):
    """Without noise the profiled variance is ``y.K^-1 y / rows`` of the unit kernel."""
    data = sample(system, 5, energy_noise=1e-3, force_noise=1e-2)
    found = GaussianProcess(system.features, length=0.5, deviation=(1e-3, 1e3)).fit(data, optimize=False)
    other = reference(system.plain, "se", 0.5, 1.0, data)
    assert found.variance == pytest.approx(other.quadratic / other.rows, rel=1e-4)


def test_bounds_hold(system, sample):
    data = sample(system, 5, scale=1e3)
    found = GaussianProcess(system.features, length=0.5, lengths=(0.49, 0.51), deviation=(0.1, 3.0)).fit(data)
    assert 0.49 <= found.length <= 0.51
    assert found.variance == pytest.approx(9.0)


def test_scaling_energies_scales_everything(system, sample):
    """Energies, forces, noise and their bounds in another unit: the same model in that unit."""
    data = sample(system, 5, scale=7.0, energy_noise=7e-3, force_noise=7e-2)
    one = GaussianProcess(system.features, deviation=(2.0, 2.0)).fit(sample(system, 5))
    other = GaussianProcess(system.features, deviation=(14.0, 14.0)).fit(data)
    x = system.start[None] + 0.05
    assert other.length == one.length
    assert other.predict(x)[0] == pytest.approx(7.0 * one.predict(x)[0], rel=1e-6)
    assert np.allclose(other.force_deviations(x), 7.0 * one.force_deviations(x), rtol=1e-5)


def test_nearly_equal_configurations(molecule, sample):
    """A repeated configuration makes the matrix singular, and more noise is the answer."""
    data = sample(molecule, 3, energy_noise=0.0, force_noise=0.0)
    twice = data.add(data.X[0] + 1e-9, data.energies[0], data.forces[0], 0.0, 0.0)
    process = GaussianProcess(molecule.features)
    for found in (process.fit(twice), process.fit(twice, process.fit(data))):
        assert np.allclose(found.predict(data.X)[0], data.energies, rtol=0, atol=1e-3)
        assert np.allclose(found.predict(data.X)[1], data.forces, rtol=0, atol=1e-2)


def test_the_order_of_observations_does_not_matter(system, sample):
    data = sample(system, 6)
    process = GaussianProcess(system.features, length=0.5)
    one, other = process.fit(data, optimize=False), process.fit(data.take(np.arange(6)[::-1]), optimize=False)
    x = system.start[None] + 0.03
    assert one.predict(x)[0] == pytest.approx(other.predict(x)[0], abs=1e-6)
    assert np.allclose(one.predict(x)[1], other.predict(x)[1], rtol=0, atol=1e-5)


def test_a_posterior_of_other_observations_lends_hyperparameters_only(system, sample):
    process = GaussianProcess(system.features, length=0.5)
    earlier = process.fit(sample(system, 4, seed=5))
    data = sample(system, 6)
    found = process.fit(data, earlier, optimize=False)
    assert found.length == earlier.length
    fresh = GaussianProcess(system.features, length=earlier.length).fit(data, optimize=False)
    assert found.predict(data.X)[0] == pytest.approx(fresh.predict(data.X)[0], abs=5e-3)


@pytest.mark.parametrize("gone", [0, 3, 7])
@pytest.mark.parametrize("optimize", [True, False])
def test_an_observation_that_is_left_out(system, sample, gone, optimize):
    """The posterior of the others, of which those before it need not be factorised again."""
    process = GaussianProcess(system.features, length=0.5, deviation=(1.0, 1.0))
    posterior = None
    for count in range(4, 9):
        posterior = process.fit(sample(system, 8).take(np.arange(count)), posterior)
    fewer = posterior.data.take(np.delete(np.arange(8), gone))
    found = process.fit(fewer, posterior, optimize)
    assert len(posterior.solution.trained.until(10**6).white) == len(posterior.solution.trained.white)
    before = posterior.solution.trained.factor.panels
    shared = [one for one in found.solution.trained.factor.panels if any(one is other for other in before)]
    assert len(shared) == max(gone - 3, 0)
    errors, deviations = posterior.left_out(gone)
    same = process.fit(fewer, posterior, False)
    assert np.allclose(
        posterior.data.forces[gone] - same.predict(posterior.data.X[gone][None])[1][0], errors, atol=1e-6
    )
    assert np.allclose(same.force_deviations(posterior.data.X[gone][None])[0], deviations, rtol=1e-3, atol=1e-4)
    fresh = replace(process, length=found.length, lengths=(found.length, found.length)).fit(fewer)
    X = posterior.data.X + 0.02
    assert np.allclose(found.predict(X)[0], fresh.predict(X)[0], rtol=0, atol=1e-6)
    assert np.allclose(found.predict(X)[1], fresh.predict(X)[1], rtol=0, atol=1e-5)
    assert np.allclose(found.force_deviations(X), fresh.force_deviations(X), rtol=1e-4, atol=1e-6)


def test_noise_is_set_anew_only_where_the_variance_has_moved(system, sample):
    """Noise is relative to the signal variance: within a factor of 1.4 the earlier one is near enough."""
    process = GaussianProcess(system.features, length=0.5)
    earlier = process.fit(sample(system, 8, energy_noise=1e-7, force_noise=1e-7), optimize=False)
    fewer = earlier.data.take(np.arange(1, 8))
    alone = process.fit(fewer, optimize=False).variance
    for off, near in ((1.1, True), (30.0, False)):
        trained = replace(earlier.solution.trained, variance=off * alone)
        known = replace(earlier, variance=off * alone, solution=replace(earlier.solution, trained=trained))
        found = process.fit(fewer, known, optimize=False)
        assert (found.solution.trained.variance == known.variance) is near
        assert abs(np.log(found.solution.trained.variance / found.variance)) < np.log(1.4)
    other = replace(process, kernel="matern72").fit(fewer, earlier, optimize=False)
    assert other.solution.trained.variance == other.variance


def test_refused():
    with pytest.raises(InputError, match="unknown kernel 'rbf'; known are se, matern52"):
        GaussianProcess(Cartesian(2), "rbf")
    with pytest.raises(InputError, match=r"the length scale 0\.5 is outside its bounds \(0\.6, 1\.0\)"):
        GaussianProcess(Cartesian(2), lengths=(0.6, 1.0))
    with pytest.raises(InputError, match="at least one observation"):
        GaussianProcess(Cartesian(2)).fit(Observations.none(2))
    one = Observations.none(2)
    for part, x, energy, force in (
        ("energy", [0.0, 0.0], np.nan, [0.0, 0.0]),
        ("force", [0.0, 0.0], 0.0, [np.inf, 0.0]),
        ("configuration", [np.nan, 0.0], 0.0, [0.0, 0.0]),
    ):
        with pytest.raises(NotFinite, match=f"an observed {part} is not finite; leave that observation out"):
            one.add(np.array(x), energy, np.array(force), 1e-3, 1e-3)
    with pytest.raises(ShapeError, match="do not belong together"):
        Observations(np.zeros((2, 3)), np.zeros(2), np.zeros((2, 2)), np.zeros(2), np.zeros(2))
    with pytest.raises(ShapeError, match="do not belong together"):
        Observations(np.zeros((2, 3)), np.zeros(1), np.zeros((2, 3)), np.zeros(2), np.zeros(2))
    with pytest.raises(ShapeError, match="configurations have 5 components, the features expect 6"):
        InverseDistances.between(2).at(np.zeros((1, 5)))
    with pytest.raises(ShapeError, match="configurations have 5 components, the features expect 6"):
        data = Observations.none(5).add(np.zeros(5), 0.0, np.zeros(5), 0.1, 0.1)
        GaussianProcess(InverseDistances.between(2)).fit(data)


def test_observations_are_taken_and_added():
    data = Observations.none(2)
    for i in range(3):
        data = data.add(np.full(2, i), float(i), -np.full(2, i), 0.1 * i, 0.2 * i)
    assert len(data) == 3
    assert data.shared(data) == len(data)
    assert data.shared(data.take(np.arange(2))) == data.take(np.arange(2)).shared(data) == 2
    assert data.shared(Observations.none(2)) == 0
    assert data.shared(data.take(np.array([0, 2]))) == 1
    assert data.shared(replace(data, force_noise=data.force_noise + 0.1)) == 0
    some = data.take(np.array([True, False, True]))
    assert np.array_equal(some.X, [[0, 0], [2, 2]])
    assert np.array_equal(some.energies, [0, 2])
    assert np.array_equal(some.forces, [[0, 0], [-2, -2]])
    assert np.allclose(some.energy_noise, [0, 0.2])
    assert np.allclose(some.force_noise, [0, 0.4])
