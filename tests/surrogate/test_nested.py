"""Factors that grow observation by observation: equal to what is factorised at once, whatever order it came in."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

import sciopt.surrogate.fixed_metric as fixed_metric
from sciopt.surrogate import KERNELS, Cartesian, GaussianProcess, Observations
from sciopt.surrogate.fixed_metric import FixedMetric, Frame, Told
from sciopt.surrogate.nested import Nested, Rows

N, SIZE = 7, 120
KERNEL = KERNELS["matern52"]


@pytest.fixture
def data() -> Observations:
    """Seven observations of 120 coordinates; the fourth lies between the second and the third."""
    rng = np.random.default_rng(1)
    X = 0.2 * rng.normal(size=(N, SIZE))
    X[3] = 0.3 * X[1] + 0.7 * X[2]
    found = Observations.none(SIZE)
    for k, x in enumerate(X):
        found = found.add(x, float(np.sin(x).sum()), -np.cos(x), 1e-3, 1e-3 * (1 + k % 3))
    return found


def frames(data: Observations) -> list[Frame]:
    """One observation at a time; from the fourth on the metric is the same."""
    found: list[Frame] = []
    for count in range(1, N + 1):
        X = data.X[:count]
        found.append(Frame.of(Cartesian(SIZE).at(X), X, found[-1] if found else None))
    return found


def first(data: Observations, count: int) -> Observations:
    return data.take(np.arange(count))


def covariances(inside: np.ndarray, length: float) -> np.ndarray:
    """Energy and forces, observation by observation, entry by entry."""
    count, size = inside.shape
    K = np.empty((count, size + 1, count, size + 1))
    for i in range(count):
        for j in range(count):
            d = inside[i] - inside[j]
            radial = KERNEL.radial(np.array([d @ d]), length)
            k, a, b = radial.k[0], radial.a[0], radial.b[0]
            K[i, 0, j, 0], K[i, 0, j, 1:], K[i, 1:, j, 0] = k, -a * d, a * d
            K[i, 1:, j, 1:] = a * np.eye(size) - b * np.outer(d, d)
    return K.reshape(count * (size + 1), -1)


def test_the_frame_spans_its_data(data):
    frame = frames(data)[-1]
    assert np.allclose(frame.span.T @ frame.span, np.eye(frame.span.shape[1]), atol=1e-12)
    Z = (data.X - data.X[0]) @ frame.metric.root
    assert np.allclose(frame.inside @ frame.span.T, Z, atol=1e-12)
    # The first is the origin, the fourth leads nowhere new, and the others see nothing of directions yet to come.
    assert frame.seen.tolist() == [1, 2, 4, 5, 6]
    for p, k in enumerate(frame.seen):
        assert not frame.inside[:k, p].any()
        assert frame.inside[k, p] > 0


def test_frames_grow(data):
    grown = frames(data)
    # The metric is that of all data whenever their number has doubled.
    assert [after.shared(before) for before, after in pairwise(grown)] == [0, 2, 0, 4, 5, 6]
    last = grown[-1]
    fresh = replace(Frame.of(Cartesian(SIZE).at(data.X), data.X), metric=last.metric)
    assert np.allclose(fresh.span, last.span, atol=1e-12)
    assert np.allclose(fresh.inside, last.inside, atol=1e-12)
    # What begins with other data is another frame; where some were left out, it goes on from there.
    other = Frame.of(Cartesian(SIZE).at(data.X[::-1]), data.X[::-1], last)
    assert other.metric is last.metric
    assert other.shared(last) == 0
    fewer = np.delete(data.X, 2, axis=0)
    left = Frame.of(Cartesian(SIZE).at(fewer), fewer, last)
    assert left.shared(last) == 2
    assert left.seen.tolist() == [1, 2, 3, 4, 5]
    assert np.allclose(left.inside @ left.span.T, (fewer - fewer[0]) @ left.metric.root, atol=1e-12)


def test_rows_are_all_energies_and_forces():
    rows = Rows.of(4, np.array([1, 2, 2]))
    assert sorted(rows.places(4)) == list(range(16))
    assert rows.first.tolist() == [0, 2, 8, 12]
    assert rows.width.tolist() == [1, 2, 4, 4]


@pytest.mark.parametrize("known", [0, 1, 4, 6])
def test_a_grown_factor_is_that_of_the_covariance(data, known, rng):
    frame = frames(data)[-1]
    length, noise = 0.8, np.column_stack([np.full(N, 1e-4), np.linspace(1e-4, 1e-3, N)])
    inside, size = frame.inside, frame.inside.shape[1] + 1
    radial = KERNEL.radial(((inside[:, None] - inside[None]) ** 2).sum(axis=2), length)
    outer = np.linalg.cholesky(radial.a + np.diag(noise[:, 1]))
    panels: tuple[np.ndarray, ...] = ()
    if known:
        early = frame.seen[frame.seen < known]
        some = Nested.of(
            inside[:known, : len(early)],
            early,
            KERNEL.radial(((inside[:known, None] - inside[None, :known]) ** 2).sum(axis=2), length),
            outer[:known, :known],
            noise[:known],
        )
        assert some is not None
        panels = some.panels
    factor = Nested.of(inside, frame.seen, radial, outer, noise, panels)
    assert factor is not None
    assert all(one is other for one, other in zip(panels, factor.panels, strict=False))
    K = covariances(inside, length) + np.diag(
        np.column_stack([noise[:, :1], np.repeat(noise[:, 1:], size - 1, 1)]).ravel()
    )
    columns = rng.normal(size=(len(K), 3))
    assert np.allclose(factor.solve(columns[:, 0].reshape(N, size)).ravel(), np.linalg.solve(K, columns[:, 0]))
    white = factor.whiten(columns)
    assert np.allclose(white.T @ white, columns.T @ np.linalg.solve(K, columns))
    assert factor.log_determinant == pytest.approx(0.5 * np.linalg.slogdet(K)[1])


def test_what_is_no_covariance_is_refused(data):
    frame = frames(data)[-1]
    radial = KERNEL.radial(((frame.inside[:, None] - frame.inside[None]) ** 2).sum(axis=2), 0.8)
    outer = np.linalg.cholesky(radial.a + 1e-3 * np.eye(N))
    assert Nested.of(frame.inside, frame.seen, radial, outer, np.full((N, 2), -2.0)) is None


def assert_equal(one: FixedMetric, other: FixedMetric, data: Observations, rng: np.random.Generator) -> None:
    y = rng.normal(size=(len(data), SIZE + 1))
    assert np.allclose(one.solve(y), other.solve(y), rtol=1e-6, atol=1e-6 * np.abs(one.solve(y)).max())
    for constant in (True, False):
        found, expected = (each.evidence(Told.of(each.frame, data), constant) for each in (one, other))
        assert np.allclose(found, expected, rtol=1e-8)
    X = data.X[:2] + 0.1 * rng.normal(size=(2, SIZE))
    assert np.allclose(one.energy_variances(X), other.energy_variances(X), rtol=1e-6, atol=1e-9)
    assert np.allclose(one.force_variances(X, None), other.force_variances(X, None), rtol=1e-6, atol=1e-9)


def test_a_continued_model_is_the_one_made_at_once(data, rng):
    grown = frames(data)[3:]
    found = None
    for count, frame in enumerate(grown, 4):
        before = found
        found = FixedMetric.of(frame, first(data, count), KERNEL, 0.8, 2.0, before)
        if before is not None:
            assert all(one is other for one, other in zip(before.inner.panels, found.inner.panels, strict=False))
        assert_equal(found, FixedMetric.of(frame, first(data, count), KERNEL, 0.8, 2.0), first(data, count), rng)


def test_an_observation_that_is_left_out(data, rng):
    """What was factorised before it is kept; the posterior is that of the others."""
    whole = frames(data)[-1]
    before = FixedMetric.of(whole, data, KERNEL, 0.8, 2.0)
    fewer = data.take(np.array([0, 1, 2, 3, 5, 6]))
    frame = Frame.of(Cartesian(SIZE).at(fewer.X), fewer.X, whole)
    found = FixedMetric.of(frame, fewer, KERNEL, 0.8, 2.0, before)
    assert [one is other for one, other in zip(found.inner.panels, before.inner.panels, strict=False)] == 4 * [True] + [
        False,
        False,
    ]
    assert_equal(found, FixedMetric.of(frame, fewer, KERNEL, 0.8, 2.0), fewer, rng)
    process = GaussianProcess(Cartesian(SIZE), "matern52", length=2.0, lengths=(0.5, 5.0), deviation=(1.0, 1.0))
    one = process.fit(fewer, process.fit(data, optimize=False), optimize=False)
    other = process.fit(fewer, optimize=False)
    assert np.allclose(one.predict(data.X)[0], other.predict(data.X)[0], rtol=0, atol=3e-4)
    assert np.allclose(one.predict(data.X)[1], other.predict(data.X)[1], rtol=0, atol=2e-3)
    assert np.allclose(one.force_deviations(data.X[4:5]), other.force_deviations(data.X[4:5]), rtol=0.05)


def test_what_does_not_fit_is_not_continued(data, rng):
    """Another length scale, variance or noise, or other data: everything is made anew."""
    grown = frames(data)
    earlier = FixedMetric.of(grown[4], first(data, 5), KERNEL, 0.8, 2.0)
    noisier = replace(data, energy_noise=2.0 * data.energy_noise)
    for frame, told, length, variance in (
        (grown[-1], data, 0.9, 2.0),
        (grown[-1], data, 0.8, 3.0),
        (grown[-1], noisier, 0.8, 2.0),
        (grown[-2], first(data, 6).take(np.array([5, 4, 3, 2, 1, 0])), 0.8, 2.0),
    ):
        if len(told) < N:
            frame = Frame.of(Cartesian(SIZE).at(told.X), told.X, frame)
        found = FixedMetric.of(frame, told, KERNEL, length, variance, earlier)
        assert not any(panel is known for panel in found.inner.panels for known in earlier.inner.panels)
        assert_equal(found, FixedMetric.of(frame, told, KERNEL, length, variance), told, rng)


def test_too_many_directions(data, monkeypatch, rng):
    """Beyond what may grow, those in which the data differ most; with all of them the model is the same."""
    whole = frames(data)[-1]
    monkeypatch.setattr(fixed_metric, "_GROWING", 20)
    values = Cartesian(SIZE).at(data.X)
    chosen = Frame.of(values, data.X, whole)
    assert not chosen.seen.any()
    assert not chosen.grows
    assert_equal(
        FixedMetric.of(chosen, data, KERNEL, 0.8, 2.0), FixedMetric.of(whole, data, KERNEL, 0.8, 2.0), data, rng
    )
    monkeypatch.setattr(fixed_metric, "_ROWS", 21)
    assert Frame.of(values, data.X, whole).inside.shape == (N, 2)


def test_nearly_equal_configurations(data):
    """More noise where the factor does not exist, and no new direction out of rounding."""
    twice = data.add(data.X[-1] + 1e-12, data.energies[-1], data.forces[-1], 0.0, 0.0)
    exact = replace(twice, energy_noise=np.zeros(N + 1), force_noise=np.zeros(N + 1))
    frame = Frame.of(Cartesian(SIZE).at(exact.X), exact.X)
    assert frame.seen[-1] == N - 1
    found = FixedMetric.of(frame, exact, KERNEL, 0.8, 2.0)
    assert found.noise.min() >= 1e-10
    assert np.isfinite(found.solve(np.ones((N + 1, SIZE + 1)))).all()


def test_an_answer_that_was_expected_changes_nothing(data, rng):
    """No iteration is needed where the new observation is what was predicted."""
    process = GaussianProcess(Cartesian(SIZE), "matern52", length=2.0, lengths=(0.5, 5.0), deviation=(1e-2, 1e2))
    posterior = process.fit(data)
    for _ in range(3):
        posterior = process.fit(data, posterior)
    x = data.X[0] + 0.05 * rng.normal(size=SIZE)
    energy, force = (part[0] for part in posterior.predict(x[None]))
    after = process.fit(data.add(x, float(energy), force, 1e-3, 1e-3), posterior, optimize=False)
    assert after.solution.iterations == 0
    assert after.energy_deviations(x[None])[0] < 0.2 * posterior.energy_deviations(x[None])[0]
