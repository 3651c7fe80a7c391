"""FIRE 2.0 against a plain loop, ODE12r against ASE's function, and what a step cut to a radius promises."""

from __future__ import annotations

import numpy as np
import pytest
from ase.optimize.ode import ode12r
from scipy.optimize import rosen_der

from sciopt.core import Evaluation, Flat, Limit, Preconditioned, Space
from sciopt.rules import FIRE2, LBFGS, GradientDescent, WithinRadius, make_method

START = np.array([-1.2, 1.0, 0.7])


def visited(name: str, space: Space, count: int, **options: object) -> np.ndarray:
    """(count, n) the points a method asks for on Rosenbrock's function, the first included."""
    state = make_method(name, space, **options).start(Evaluation(START, -rosen_der(START)))
    points, method = [START, state.trial], make_method(name, space, **options)
    while len(points) < count:
        state = method.advance(state, Evaluation(state.trial, -rosen_der(state.trial)))
        points.append(state.trial)
    return np.array(points)


def plain_fire2(count: int, dt: float, dtmax: float, dtmin: float, delay: int, abc: bool, cap: float) -> tuple:
    """Guénolé et al. 2020: force, power, half a step back after an uphill one, Euler, mixing, move."""
    x, v, alpha, good = START, np.zeros_like(START), 0.25, 0
    points, sizes = [x], [dt]
    while len(points) < count:
        f = -rosen_der(x)
        if v.any():
            if f @ v > 0:
                good += 1
                if good > delay:
                    dt, alpha = min(1.1 * dt, dtmax), 0.99 * alpha
            else:
                good, alpha, dt = 0, 0.25, max(0.5 * dt, dtmin)
                x, v = x - 0.5 * dt * v, np.zeros_like(v)
                f = -rosen_der(x)
                points.append(x)
        v = v + dt * f
        v = (1 - alpha) * v + alpha * np.linalg.norm(v) * f / np.linalg.norm(f)
        if abc:
            v = np.clip(v / (1 - (1 - alpha) ** (good + 1)), -cap / dt, cap / dt)
        x = x + dt * v
        points.append(x)
        sizes.append(dt)
    return np.array(points[:count]), sizes


@pytest.mark.parametrize("abc", [False, True])
def test_fire2_is_the_published_loop(abc: bool) -> None:
    constants = {"dt": 0.01, "dtmax": 0.08, "dtmin": 2e-3}
    ours = visited("fire2", Flat(), 150, **constants, patience=5, abc=abc, maxstep=0.05)
    reference, sizes = plain_fire2(150, **constants, delay=5, abc=abc, cap=0.05)
    assert np.abs(ours - reference).max() < 1e-8
    assert max(sizes) > 0.015 and min(np.diff(sizes)) < 0, "the time step must grow and shrink, or little was compared"


@pytest.mark.parametrize("preconditioned", [False, True])
def test_ode12r_visits_the_points_of_ase(preconditioned: bool) -> None:
    scale = np.array([900.0, 700.0, 200.0]) if preconditioned else np.ones(3)
    asked: list[np.ndarray] = []

    def force(x: np.ndarray) -> np.ndarray:
        asked.append(x)
        return -rosen_der(x)

    def precondition(f: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, float]:
        return f / scale, float(np.abs(f / scale).max())

    # ASE takes the first step from the plain force; ours is given the same length below.
    size = 0.5 * np.sqrt(0.1) / np.abs(rosen_der(START) / scale).max()
    ode12r(force, START, h=size, verbose=0, fmax=1e-5, maxtol=1e8, steps=200, rtol=0.1, apply_precon=precondition)
    space = Preconditioned(Flat(), lambda x, f: f / scale) if preconditioned else Flat()
    ours = visited("ode12r", space, len(asked))
    # Rounding errors grow a millionfold in forty steps along the valley, which hold rejections too.
    assert len(asked) > 40
    assert np.abs(ours[:40] - np.array(asked)[:40]).max() < 1e-7


@pytest.mark.parametrize("radius", [1e3, 1.0, 0.3, 0.01])
def test_a_step_cut_to_the_radius_promises_what_a_quadratic_gives(radius: float) -> None:
    """With the exact Hessian as metric the uncut step is Newton's, and the promise is the decrease itself."""
    matrix = np.array([[4.0, 1.0, 0.0], [1.0, 3.0, 0.5], [0.0, 0.5, 1.0]])
    space = Preconditioned(Flat(norm="whole"), lambda x, f: np.linalg.solve(matrix, f))
    here = Evaluation(START, -matrix @ START, 0.5 * float(START @ matrix @ START))
    for rule in (GradientDescent(), LBFGS(h0=1.0)):
        cut = WithinRadius(rule)
        proposal = cut.propose(cut.start(here, space), here, Limit(radius), space)
        there = START + proposal.step
        assert proposal.predicted == pytest.approx(here.value - 0.5 * float(there @ matrix @ there), rel=1e-12)
        assert np.linalg.norm(proposal.step) == pytest.approx(min(radius, np.linalg.norm(START)))


def test_a_fire2_at_rest_has_nothing_to_undo() -> None:
    rule = FIRE2()
    here = Evaluation(np.zeros(2), np.array([1.0, -2.0]))
    resting = rule.forget(rule.start(here, Flat()))
    assert not rule.propose(resting, here, Limit(0.1), Flat()).correction
    moving = rule.forget(resting._replace(velocity=np.array([0.0, 3.0])))
    undone = rule.propose(moving, here, Limit(0.1), Flat())
    assert undone.correction and undone.step.tolist() == pytest.approx([0.0, -0.15])
    assert not rule.propose(undone.memory, here, Limit(0.1), Flat()).correction
