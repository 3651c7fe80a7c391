"""Low-rank Hessian models against the same algebra done with whole matrices."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array, diags_array

from sciopt.core.errors import InputError, NotFinite, ShapeError
from sciopt.neb import low_rank
from sciopt.neb.hessian import DenseHessian
from sciopt.neb.low_rank import Base, LowRankHessian, hessian_model

N = 24
seeds = st.integers(0, 10_000)


def spd(rng, n=N, largest=40.0):
    q, _ = np.linalg.qr(rng.standard_normal((n, n)))
    return (q * np.geomspace(1.0, largest, n)) @ q.T


def indefinite(rng, n=N, negative=2):
    q, _ = np.linalg.qr(rng.standard_normal((n, n)))
    curvatures = np.geomspace(0.5, 60.0, n)
    curvatures[:negative] = -np.arange(1.0, negative + 1.0)
    return (q * curvatures) @ q.T


def learned(model, target, rng, steps):
    for _ in range(steps):
        s = rng.standard_normal(len(target))
        model = model.update(s, target @ s)
    return model


def explicit(model, n=N):
    return np.array([model.matvec(e) for e in np.eye(n)]).T


def generalized_absolute(b, h, floor):
    """|B| relative to H by a full generalized eigendecomposition; columns of v obey vᵀ h v = 1."""
    w, v = scipy.linalg.eigh(b, h)
    lengths = np.sum(v * v, axis=0)
    w = np.where(w < 1.0 - 1e-9, np.maximum(np.abs(w), np.minimum(1.0, floor * lengths)), w)
    return (h @ v * w) @ (h @ v).T


def ts_bfgs(b, absolute, s, y):
    """The update in its projector form B + (1-...) with M = y yᵀ + |B|s sᵀ|B|, from Bofill's general expression."""
    z = absolute @ s
    m = np.outer(y, y) + np.outer(z, z)
    u = m @ s / (s @ m @ s)
    r = y - b @ s
    return b + np.outer(u, r) + np.outer(r, u) - (r @ s) * np.outer(u, u)


def start(kind, h):
    return DenseHessian(h) if kind == "dense" else LowRankHessian.start(Base.of(h))


@settings(max_examples=20, deadline=None)
@given(seed=seeds, kind=st.sampled_from(["dense", "low rank"]))
def test_updates_equal_whole_matrices(seed, kind):
    rng = np.random.default_rng(seed)
    h, target = spd(rng), indefinite(rng)
    model, whole = start(kind, h), h
    for _ in range(6):
        s = rng.standard_normal(N)
        # Not quite a quadratic, so that earlier pairs contradict later ones.
        y = target @ s + 0.3 * rng.standard_normal(N)
        if kind == "dense":
            w, v = np.linalg.eigh(whole)
            absolute = (v * np.maximum(np.abs(w), 0.5)) @ v.T
        else:
            absolute = generalized_absolute(whole, h, 0.5)
        whole = ts_bfgs(whole, absolute, s, y)
        model = model.update(s, y)
        np.testing.assert_allclose(model.matvec(s), y, atol=1e-9)
        b = explicit(model)
        np.testing.assert_allclose(b, b.T, atol=1e-10)
        np.testing.assert_allclose(b, whole, atol=1e-8)


@pytest.mark.parametrize("kind", ["dense", "low rank"])
def test_update_with_what_is_known_changes_nothing(kind):
    rng = np.random.default_rng(3)
    model = learned(start(kind, spd(rng)), indefinite(rng), rng, 4)
    for s in rng.standard_normal((3, N)):
        again = model.update(s, model.matvec(s))
        np.testing.assert_allclose(explicit(again), explicit(model), atol=1e-9)
    assert model.update(np.zeros(N), np.zeros(N)) is model


def test_update_where_the_known_curvature_is_exactly_negative():
    # v·s would vanish here if the sign of y·s were dropped.
    model = DenseHessian(np.diag([-2.0, 3.0]))
    s = np.array([1.0, 0.0])
    y = np.array([-2.0, 1e-3])
    b = explicit(model.update(s, y), 2)
    np.testing.assert_allclose(b @ s, y, atol=1e-14)
    np.testing.assert_allclose(b, model.matrix, atol=3e-3)


@settings(max_examples=15, deadline=None)
@given(seed=seeds, floor=st.sampled_from([0.05, 0.5, 1.0]), shift=st.sampled_from([0.0, 0.4, 5.0]))
def test_solve_equals_the_explicit_formula(seed, floor, shift):
    rng = np.random.default_rng(seed)
    h = spd(rng)
    model = learned(start("low rank", h), indefinite(rng), rng, 5)
    b, rhs = explicit(model), rng.standard_normal(N)
    # A generic tangent, and two that lie in the span of what has been learned.
    for t in (rng.standard_normal(N), model.images[:, 0], model.vectors @ rng.standard_normal(model.rank), None):
        z = np.eye(N) if t is None else scipy.linalg.null_space(t[None])
        t = t if t is None else t / np.linalg.norm(t)
        # The columns of z are orthonormal: lengths, and so the floor, mean the same inside the complement.
        inside = generalized_absolute(z.T @ b @ z, z.T @ h @ z, floor) + shift * np.eye(z.shape[1])
        expected = z @ np.linalg.solve(inside, z.T @ rhs)
        found = model.solve(rhs, shift, t, floor)
        np.testing.assert_allclose(found, expected, atol=1e-6 * np.linalg.norm(expected) + 1e-9)


@settings(max_examples=15, deadline=None)
@given(seed=seeds, shift=st.sampled_from([0.0, 2.0]))
def test_dense_solve_equals_the_explicit_formula(seed, shift):
    rng = np.random.default_rng(seed)
    b, rhs, t = indefinite(rng), rng.standard_normal(N), rng.standard_normal(N)
    t /= np.linalg.norm(t)
    for z, tangent in ((np.eye(N), None), (scipy.linalg.null_space(t[None]), t)):
        w, v = scipy.linalg.eigh(z.T @ b @ z)
        expected = z @ v @ ((v.T @ z.T @ rhs) / (np.maximum(np.abs(w), 0.7) + shift))
        np.testing.assert_allclose(DenseHessian(b).solve(rhs, shift, tangent, 0.7), expected, atol=1e-9)


def test_both_kinds_agree_where_all_curvatures_are_large():
    rng = np.random.default_rng(5)
    h, target = spd(rng), spd(rng, largest=90.0) + 2.0 * np.eye(N)
    model = learned(start("low rank", h), target, rng, N)
    dense = DenseHessian(explicit(model))
    rhs, t = rng.standard_normal(N), np.eye(N)[2]
    for tangent in (None, t):
        np.testing.assert_allclose(
            model.solve(rhs, 1.5, tangent, 1e-3), dense.solve(rhs, 1.5, tangent, 1e-3), rtol=1e-6, atol=1e-8
        )


def test_solve_ascends_nothing():
    rng = np.random.default_rng(8)
    model = learned(start("low rank", spd(rng)), indefinite(rng), rng, 8)
    assert np.linalg.eigvalsh(explicit(model))[0] < 0.0
    for force in rng.standard_normal((20, N)):
        assert force @ model.solve(force) > 0.0


@pytest.mark.parametrize("kind", ["dense", "low rank"])
def test_a_quadratic_is_learned_on_the_explored_subspace(kind):
    rng = np.random.default_rng(11)
    target, model = indefinite(rng), start(kind, spd(rng))
    directions, _ = np.linalg.qr(rng.standard_normal((N, 5)))
    # Conjugate directions: later updates leave the earlier secant equations alone.
    conjugate = directions @ np.linalg.eigh(directions.T @ target @ directions)[1]
    for _ in range(60):
        for s in conjugate.T:
            model = model.update(s, target @ s)
    np.testing.assert_allclose(explicit(model) @ conjugate, target @ conjugate, atol=1e-6)


@pytest.mark.parametrize("kind", ["dense", "low rank"])
def test_lowest_and_negative_mode(kind):
    rng = np.random.default_rng(7)
    target = indefinite(rng)
    model = learned(start(kind, spd(rng)), target, rng, 6)
    for s in np.linalg.eigh(target)[1][:, :2].T:
        model = model.update(s, target @ s)
    w, v = np.linalg.eigh(explicit(model))
    assert w[1] < 0.0 < w[2]
    found, vectors = model.lowest(4)
    np.testing.assert_allclose(found, w[:4], atol=1e-6)
    np.testing.assert_allclose(np.abs(np.sum(vectors * v[:, :4], axis=0)), 1.0, atol=1e-6)
    for k in range(2):
        tangent = -0.8 * v[:, k] + 0.6 * v[:, 5]
        mode = model.negative_mode(tangent)
        assert mode.curvature == pytest.approx(w[k], abs=1e-6)
        assert mode.overlap == pytest.approx(0.8, abs=1e-3)
        assert mode.vector @ tangent == pytest.approx(mode.overlap)
    assert start(kind, spd(rng)).negative_mode(v[:, 0]) is None


def test_lowest_of_an_untaught_model():
    rng = np.random.default_rng(2)
    h = spd(rng)
    np.testing.assert_allclose(start("low rank", h).lowest(3)[0], np.linalg.eigvalsh(h)[:3], atol=1e-6)
    np.testing.assert_allclose(start("low rank", h).solve(h[0]), np.eye(N)[0], atol=1e-9)


def test_compress_keeps_the_leading_action():
    rng = np.random.default_rng(4)
    h = spd(rng)
    model = learned(start("low rank", h), indefinite(rng), rng, 8)
    w, v = scipy.linalg.eigh(explicit(model), h)
    assert w[0] < 0.0
    changed = np.abs(w - 1.0) / np.minimum(np.abs(w), 1.0)
    for rank in (model.rank, 9, 4):
        small = model.compress(rank)
        assert small.rank == rank
        importance = np.where(w < 0.0, np.inf, changed)
        kept = np.argsort(importance)[N - rank :]
        w_kept = np.ones(N)
        w_kept[kept] = w[kept]
        np.testing.assert_allclose(explicit(small), (h @ v * w_kept) @ (h @ v).T, atol=1e-7)
        assert np.count_nonzero(np.linalg.eigvalsh(explicit(small)) < 0.0) == np.count_nonzero(w < 0.0)


def test_the_rank_stays_bounded_and_the_last_pair_exact():
    rng = np.random.default_rng(6)
    h, target = spd(rng), indefinite(rng)
    model = LowRankHessian.start(Base.of(h), max_rank=8)
    for _ in range(20):
        s = rng.standard_normal(N)
        model = model.update(s, target @ s)
        assert model.rank <= 8
        np.testing.assert_allclose(model.matvec(s), target @ s, atol=1e-9)
        np.testing.assert_allclose(model.vectors.T @ h @ model.vectors, np.eye(model.rank), atol=1e-10)


def test_models_never_change():
    rng = np.random.default_rng(1)
    model = learned(start("low rank", spd(rng)), indefinite(rng), rng, 3)
    before = explicit(model)
    model.update(rng.standard_normal(N), rng.standard_normal(N))
    model.negative_mode(np.eye(N)[0])
    model.compress(2)
    np.testing.assert_array_equal(explicit(model), before)


def test_affine_invariance():
    # Coordinates x = T z: B becomes Tᵀ B T, steps scale with T⁻¹, and without an active floor nothing else changes.
    rng = np.random.default_rng(9)
    h, target, t = spd(rng), indefinite(rng), rng.standard_normal((N, N)) + 3.0 * np.eye(N)
    plain, other = start("low rank", h), start("low rank", t.T @ h @ t)
    for s in rng.standard_normal((5, N)):
        plain = plain.update(s, target @ s, floor=0.0)
        other = other.update(np.linalg.solve(t, s), t.T @ target @ s, floor=0.0)
    np.testing.assert_allclose(explicit(other), t.T @ explicit(plain) @ t, rtol=1e-6, atol=1e-6)
    b = rng.standard_normal(N)
    np.testing.assert_allclose(t @ other.solve(t.T @ b, floor=0.0), plain.solve(b, floor=0.0), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("whole", [1, 10_000])
def test_sparse_start(monkeypatch, whole):
    monkeypatch.setattr(low_rank, "DENSE_INVERSE", whole)
    n = 300
    rng = np.random.default_rng(12)
    chain = diags_array([-np.ones(n - 1), np.full(n, 3.0), -np.ones(n - 1)], offsets=[-1, 0, 1])
    model = hessian_model(csr_array(chain))
    assert isinstance(model, LowRankHessian)
    u = rng.standard_normal(n) / np.sqrt(n)
    target = chain.toarray() - 12.0 * np.outer(u, u)
    for s in (u, *rng.standard_normal((3, n))):
        model = model.update(s, target @ s)
    w, v = np.linalg.eigh(explicit(model, n))
    mode = model.negative_mode(u / np.linalg.norm(u))
    assert mode.curvature == pytest.approx(w[0], abs=1e-6)
    assert abs(mode.vector @ v[:, 0]) == pytest.approx(1.0, abs=1e-6)
    rhs = rng.standard_normal(n)
    found = model.solve(rhs, 2.0, v[:, 0])
    # On the complement of its one negative mode B is positive; the floor lifts a mode only if it is below 1 eV/Å².
    z = scipy.linalg.null_space(v[:, :1].T)
    inside = generalized_absolute(z.T @ explicit(model, n) @ z, z.T @ chain.toarray() @ z, 1.0) + 2.0 * np.eye(n - 1)
    np.testing.assert_allclose(found, z @ np.linalg.solve(inside, z.T @ rhs), atol=1e-6)


def test_bad_starts_are_refused(monkeypatch):
    n = 120
    with pytest.raises(ShapeError, match=r"\(120, 3\)"):
        hessian_model(np.ones((n, 3)))
    with pytest.raises(InputError, match="not symmetric"):
        hessian_model(np.triu(np.ones((4, 4))))
    with pytest.raises(NotFinite):
        hessian_model(np.full((3, 3), np.nan))
    bad = np.diag(np.r_[-1.0, np.ones(n - 1)])
    with pytest.raises(InputError, match="positive definite"):
        hessian_model(bad)
    monkeypatch.setattr(low_rank, "DENSE_INVERSE", 1)
    for singular in (bad, np.ones((n, n))):
        with pytest.raises(InputError, match="positive definite"):
            hessian_model(csr_array(singular))
    with pytest.raises(InputError, match="max_rank is 1"):
        hessian_model(np.eye(n), max_rank=1)
