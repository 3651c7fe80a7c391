"""L-BFGS against dense BFGS, SciPy's inverse-Hessian product and the secant equation; its guards; its metric."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
from scipy.optimize import LbfgsInvHessProduct, rosen, rosen_der

from sciopt.core import Evaluation, Fixed, Flat, Limit, Preconditioned, State, StepMethod
from sciopt.rules import LBFGS
from sciopt.rules.lbfgs import Secants

FLAT = Flat()
ONE = Limit(1.0)
START = np.array([-1.2, 1.0, 0.7, -0.4, 0.9])


def evaluate(x: np.ndarray) -> Evaluation:
    return Evaluation(x, -rosen_der(x), float(rosen(x)))


def states(rule: LBFGS, steps: int, damping: float = 0.3) -> Iterator[State]:
    """States of a run on Rosenbrock whose steps are cut short, so that curvature of both signs is met."""
    method = StepMethod(rule, Fixed(damping), Flat(maxstep=0.2, norm="whole"))
    state = method.start(evaluate(START))
    for _ in range(steps):
        yield state
        state = method.advance(state, evaluate(state.trial))


def dense_inverse(state: State, h0: float) -> np.ndarray:
    """The BFGS inverse Hessian written out: ``H <- (1 - rho s y^T) H (1 - rho y s^T) + rho s s^T``."""
    eye = np.eye(state.here.x.size)
    inverse = h0 * eye
    for s, y in zip(state.memory.s, state.memory.y, strict=True):
        rho = 1.0 / (y @ s)
        inverse = (eye - rho * np.outer(s, y)) @ inverse @ (eye - rho * np.outer(y, s)) + rho * np.outer(s, s)
    return inverse


@pytest.mark.parametrize("memory", [1, 3, 100])
def test_the_step_is_that_of_dense_bfgs(memory: int) -> None:
    h0 = 1.0 / 70.0
    rule = LBFGS(memory, h0)
    for state in states(rule, 25):
        assert len(state.memory.s) <= memory
        step = rule.propose(state.memory, state.here, ONE, FLAT).step
        assert step == pytest.approx(dense_inverse(state, h0) @ state.here.force, rel=1e-9, abs=1e-12)


def test_the_step_is_that_of_scipy() -> None:
    rule = LBFGS(10, h0=1.0, curvature=1e-8)
    for state in states(rule, 25):
        if state.memory.s:
            product = LbfgsInvHessProduct(np.array(state.memory.s), np.array(state.memory.y))
            step = rule.propose(state.memory, state.here, ONE, FLAT).step
            assert step == pytest.approx(product @ state.here.force, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("h0", [None, 1.0 / 70.0])
def test_automatic_scale_is_the_barzilai_borwein_quotient_of_the_last_pair(h0: float | None) -> None:
    rule = LBFGS(10, h0, auto=True, curvature=1e-8)
    checked = 0
    for state in states(rule, 25):
        if state.memory.s:
            s, y = state.memory.s[-1], state.memory.y[-1]
            step = rule.propose(state.memory, state.here, ONE, FLAT).step
            assert step == pytest.approx(dense_inverse(state, s @ y / (y @ y)) @ state.here.force, rel=1e-9, abs=1e-12)
            checked += 1
    assert checked > 15


def test_the_automatic_scale_stays_in_its_range() -> None:
    rule = LBFGS(1, 0.01, auto=True, auto_range=(0.5, 2.0))
    here = evaluate(START)
    for curvature, h0 in ((1.0, 0.02), (1e6, 0.005), (80.0, 1 / 80.0)):
        s = np.array([1.0, 0.0, 0.0, 0.0, 0.0])
        memory = rule.start(here, FLAT)._replace(s=(s,), y=(curvature * s,), rho=(1.0 / curvature,))
        step = rule.propose(memory, here, ONE, FLAT).step
        assert step[1:] == pytest.approx(h0 * here.force[1:])


@pytest.mark.parametrize("auto", [True, False])
def test_without_a_scale_the_first_step_has_unit_length_and_later_ones_the_scale_of_the_pairs(auto: bool) -> None:
    rule = LBFGS(10, None, auto=auto, curvature=1e-8)
    first, *others = states(rule, 10)
    assert np.linalg.norm(rule.propose(first.memory, first.here, ONE, FLAT).step) == pytest.approx(1.0)
    for state in others:
        if state.memory.s:
            inverse = np.linalg.inv(rule.metric(state.memory))
            step = rule.propose(state.memory, state.here, ONE, FLAT).step
            assert step == pytest.approx(inverse @ state.here.force, rel=1e-7, abs=1e-10)


@pytest.mark.parametrize(("h0", "auto"), [(1.0 / 70.0, False), (1.0 / 70.0, True), (None, True)])
def test_the_metric_is_the_matrix_of_the_step(h0: float | None, auto: bool) -> None:
    """B from `metric` is symmetric, positive definite, satisfies ``B s = y``, and the step is ``B^-1 f``."""
    rule = LBFGS(10, h0, auto, curvature=1e-8)
    checked = 0
    for state in states(rule, 25):
        metric = rule.metric(state.memory)
        if not state.memory.s:
            assert metric is None
            continue
        assert metric is not None
        assert metric == pytest.approx(metric.T, rel=1e-10, abs=1e-10)
        assert np.linalg.eigvalsh(metric).min() > 0
        assert metric @ state.memory.s[-1] == pytest.approx(state.memory.y[-1], rel=1e-9, abs=1e-9)
        step = rule.propose(state.memory, state.here, ONE, FLAT).step
        assert metric @ step == pytest.approx(state.here.force, rel=1e-6, abs=1e-8)
        checked += 1
    assert checked > 15


def learned(rule: LBFGS, change: np.ndarray, **memory: tuple) -> Secants:
    """Memory after the step (1, 0, 0, 0, 0) changed the gradient by `change`."""
    here = Evaluation(np.zeros(5), np.ones(5))
    step = np.eye(5)[0]
    start = rule.start(here, FLAT)._replace(**memory)
    return rule.learn(start, here, step, Evaluation(step, np.ones(5) - change), FLAT)


def test_only_the_guard_refuses_negative_curvature() -> None:
    y = np.array([-1.0, 0.5, 0.0, 0.0, 0.0])
    assert len(learned(LBFGS(), y).s) == 1
    assert len(learned(LBFGS(curvature=1e-8), y).s) == 0
    assert len(learned(LBFGS(curvature=1e-8), -y).s) == 1
    assert len(learned(LBFGS(curvature=0.99), -y).s) == 0, "nearly orthogonal: s.y = 0.89 |s||y|"


def test_a_pair_of_zero_curvature_is_never_kept() -> None:
    assert len(learned(LBFGS(), np.array([0.0, 1.0, 0.0, 0.0, 0.0])).s) == 0


def test_reset_drops_all_pairs_at_negative_curvature() -> None:
    pair = {"s": (np.eye(5)[1],), "y": (np.eye(5)[1],), "rho": (1.0,)}
    bad = np.array([-1.0, 0.0, 0.0, 0.0, 0.0])
    assert len(learned(LBFGS(curvature=1e-8, reset=True), bad, **pair).s) == 0
    assert len(learned(LBFGS(curvature=1e-8, reset=False), bad, **pair).s) == 1


def test_reset_never_proposes_an_uphill_step() -> None:
    here = evaluate(START)
    s = here.force / np.linalg.norm(here.force)
    memory = LBFGS().start(here, FLAT)._replace(s=(s,), y=(-s,), rho=(-1.0,))
    assert LBFGS(reset=False).propose(memory, here, ONE, FLAT).step @ here.force < 0
    proposal = LBFGS(reset=True).propose(memory, here, ONE, FLAT)
    assert proposal.step @ here.force > 0
    assert proposal.memory.s == ()


def test_noise_widens_the_difference_until_the_curvature_stands_out() -> None:
    """The anchor stays while ``y.s/|s| < 3 sqrt(2) sigma``; the pair that is finally kept spans all steps since."""
    rule = LBFGS(h0=1.0, curvature=1e-8)
    noise, step = 0.1, np.array([0.1, 0.0])
    points = [Evaluation(k * step, -k * step, noise=noise) for k in range(10)]  # curvature 1: y = s
    memory = rule.start(points[0], FLAT)
    spans = []
    for here, ev in pairwise(points):
        memory = rule.learn(memory, here, step, ev, FLAT)
        spans.append(np.linalg.norm(memory.s[-1]) if memory.s else 0.0)
    threshold = 3.0 * np.sqrt(2.0) * noise
    first = next(k for k in range(1, 10) if 0.1 * k >= threshold)
    assert spans[: first - 1] == [0.0] * (first - 1)
    assert spans[first - 1] == pytest.approx(0.1 * first)


def test_a_rejected_point_still_gives_a_secant_pair() -> None:
    assert LBFGS.learns_from_rejected


def test_the_fixed_metric_of_the_space_is_the_initial_one() -> None:
    stiffness = np.array([1.0, 2.0, 4.0, 8.0, 16.0])
    space = Preconditioned(FLAT, lambda x, f: f / stiffness)
    rule = LBFGS(h0=1.0)
    here = evaluate(START)
    assert rule.propose(rule.start(here, space), here, ONE, space).step == pytest.approx(here.force / stiffness)


def test_a_quadratic_is_solved_in_n_steps_by_exact_line_searches() -> None:
    """BFGS with exact line searches generates conjugate directions: an invariant no single step shows."""
    rng = np.random.default_rng(0)
    factor = rng.normal(size=(6, 6))
    matrix = factor @ factor.T + np.eye(6)
    x, rule = rng.normal(size=6), LBFGS(100, h0=1.0)
    here = Evaluation(x, -matrix @ x)
    memory = rule.start(here, FLAT)
    for _ in range(6):
        direction = rule.propose(memory, here, ONE, FLAT).step
        step = direction * (direction @ here.force) / (direction @ matrix @ direction)
        ev = Evaluation(here.x + step, -matrix @ (here.x + step))
        memory, here = rule.learn(memory, here, step, ev, FLAT), ev
    assert np.linalg.norm(here.force) < 1e-9 * np.linalg.norm(matrix @ x)
    assert rule.metric(memory) == pytest.approx(matrix, rel=1e-7, abs=1e-7)
