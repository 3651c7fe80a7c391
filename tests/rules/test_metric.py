"""metric(): the matrix G of the step ``s = size G^-1 m``; and weight decay, which it must not touch."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import sqrtm

from sciopt.core import Evaluation, Flat, Limit
from sciopt.rules import (
    FIRE,
    FIRE2,
    LBFGS,
    AdaBelief,
    Adagrad,
    Adam,
    FullAdagrad,
    GradientDescent,
    Momentum,
    RMSprop,
    WithinRadius,
)

FLAT = Flat()
X = np.array([1.0, -2.0, 0.5])
DIAGONAL = [Adagrad(), RMSprop(), Adam(beta1=0.0), Adam(beta1=0.0, amsgrad=True), AdaBelief(beta1=0.3)]


def forces(count: int, seed: int = 0) -> list[np.ndarray]:
    return list(np.random.default_rng(seed).normal(size=(count, 3)))


def feed(rule, history: list[np.ndarray], size: float = 0.1, x: np.ndarray = X):
    """Memory after, and the last proposal from, a history of forces at one point."""
    memory = rule.start(Evaluation(x, history[0]), FLAT)
    for force in history:
        proposal = rule.propose(memory, Evaluation(x, force), Limit(size), FLAT)
        memory = proposal.memory
    return memory, proposal


def label(rule) -> str:
    return f"{type(rule).__name__}{'-amsgrad' * getattr(rule, 'amsgrad', False)}"


@pytest.mark.parametrize("rule", DIAGONAL, ids=label)
def test_the_metric_is_the_one_of_the_step(rule) -> None:
    history = forces(7)
    memory, proposal = feed(rule, history)
    metric = rule.metric(memory)
    assert (metric == proposal.metric).all()
    assert (metric > 0).all()
    beta = getattr(rule, "beta1", 0.0)
    first = sum((1 - beta) * beta ** (6 - k) * force for k, force in enumerate(history)) / (1 - beta**7)
    assert metric * proposal.step == pytest.approx(0.1 * first, rel=1e-12)


def test_adagrad_metrics_are_the_root_of_the_sum_of_outer_products() -> None:
    history = forces(9)
    outer = sum(np.outer(force, force) for force in history)
    memory, proposal = feed(FullAdagrad(), history)
    metric = FullAdagrad().metric(memory)
    assert metric == pytest.approx(sqrtm(outer), rel=1e-9, abs=1e-9)
    assert metric @ proposal.step == pytest.approx(0.1 * history[-1], rel=1e-9)
    diagonal = Adagrad().metric(feed(Adagrad(), history)[0])
    assert diagonal == pytest.approx(np.sqrt(np.diag(outer)), rel=1e-9)
    assert np.abs(np.diag(metric) - diagonal).max() > 1e-2, "the diagonal of a root is not the root of the diagonal"


def test_full_and_diagonal_adagrad_agree_on_forces_along_the_axes() -> None:
    history = list(np.diag([1.0, -2.0, 3.0])) + list(np.diag([0.5, 1.5, -1.0]))
    full, diagonal = FullAdagrad(), Adagrad()
    memory, proposal = feed(full, history)
    assert full.metric(memory) == pytest.approx(np.diag(diagonal.metric(feed(diagonal, history)[0])), abs=1e-7)
    assert proposal.step == pytest.approx(feed(diagonal, history)[1].step, rel=1e-7)


def test_rmsprop_and_adam_estimate_the_root_mean_square_of_the_forces() -> None:
    sigma = np.array([0.1, 1.0, 10.0])
    history = [sigma * force for force in forces(4000, seed=3)]
    for rule in (RMSprop(beta=0.999), Adam()):
        assert rule.metric(feed(rule, history)[0]) == pytest.approx(sigma, rel=0.1)


def test_adabelief_measures_the_spread_about_the_mean() -> None:
    mean, spread = np.array([1.0, -0.6, 0.4]), np.array([0.1, 0.2, 0.3])
    history = [mean + spread * force for force in forces(4000, seed=4)]
    # f - m = 0.9 (f - m_before), and m_before has the variance 0.1^2 / (1 - 0.9^2) of a running mean.
    expected = spread * np.sqrt(0.9**2 * (1 + 0.1**2 / (1 - 0.9**2)))
    rule = AdaBelief()
    assert rule.metric(feed(rule, history)[0]) == pytest.approx(expected, rel=0.1)


def test_amsgrad_metric_never_shrinks_under_a_fading_force() -> None:
    history = [force * 0.5**k for k, force in enumerate(forces(30))]
    ams, adam = Adam(beta2=0.9, amsgrad=True), Adam(beta2=0.9)
    tops = [feed(ams, history[:k])[0].top for k in range(1, 30)]
    assert all((after >= before).all() for before, after in pairwise(tops))
    assert (ams.metric(feed(ams, history)[0]) > 3 * adam.metric(feed(adam, history)[0])).all()


@pytest.mark.parametrize("rule", [GradientDescent(), Momentum(), FIRE(), FIRE2(), LBFGS()], ids=label)
def test_rules_that_learned_no_metric_say_so(rule) -> None:
    assert rule.metric(rule.start(Evaluation(X, X), FLAT)) is None


@pytest.mark.parametrize("rule", [*DIAGONAL, FullAdagrad()], ids=label)
def test_the_metric_of_nothing_learned_is_eps(rule) -> None:
    metric = rule.metric(rule.start(Evaluation(X, X), FLAT))
    expected = rule.eps * np.eye(3) if metric.ndim == 2 else np.full(3, rule.eps)
    assert metric == pytest.approx(expected)


def test_a_radius_does_not_hide_the_metric() -> None:
    rule = Adam()
    memory, _ = feed(WithinRadius(rule), forces(5))
    assert (WithinRadius(rule).metric(memory) == rule.metric(memory)).all()


@given(seed=st.integers(0, 2**32 - 1), scale=st.floats(1e-3, 1e3))
@pytest.mark.parametrize("kind", [Adam, AdaBelief, RMSprop, Adagrad, FullAdagrad, Momentum])
def test_decoupled_decay_does_not_depend_on_the_history_of_forces(kind, seed: int, scale: float) -> None:
    history = [scale * force for force in forces(4, seed)]
    decayed = feed(kind(weight_decay=0.3, decoupled=True), history)[1].step
    plain = feed(kind(), history)[1].step
    assert decayed - plain == pytest.approx(-0.1 * 0.3 * X, rel=1e-9, abs=1e-12 * np.abs(plain).max())


@pytest.mark.parametrize("kind", [Adam, AdaBelief, RMSprop, Adagrad, FullAdagrad])
def test_coupled_decay_is_rescaled_by_the_metric(kind) -> None:
    parts = []
    for scale in (1.0, 100.0):
        history = [scale * force for force in forces(4)]
        parts.append(feed(kind(weight_decay=0.3), history)[1].step - feed(kind(), history)[1].step)
    assert np.abs(parts[1]).max() < 0.1 * np.abs(parts[0]).max(), "100 times the force, a hundredth of the decay"


@pytest.mark.parametrize("kind", [GradientDescent, Momentum])
def test_coupled_and_decoupled_decay_are_the_same_without_a_metric(kind) -> None:
    one = [np.array([1.0, 2.0, 3.0])]
    coupled = feed(kind(weight_decay=0.3), one)[1].step
    assert coupled == pytest.approx(feed(kind(weight_decay=0.3, decoupled=True), one)[1].step, rel=1e-14)


def test_adagrad_stays_finite_where_no_force_was_ever_felt() -> None:
    history = [np.array([1.0, 0.0, 0.0])] * 3
    for rule in (Adagrad(), RMSprop(), Adam(), FullAdagrad()):
        step = feed(rule, history)[1].step
        assert np.isfinite(step).all() and (np.abs(step[1:]) <= 1e-6 * abs(step[0])).all()
