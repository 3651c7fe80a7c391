"""What noise does to a run, and what averaging, its error bar, noise-aware secants and the noise floor do about it."""

from __future__ import annotations

import numpy as np
import pytest

from sciopt.core import (
    Adaptive,
    Budget,
    Evaluation,
    Fixed,
    Flat,
    Method,
    NoiseFloor,
    Polyak,
    Ratio,
    Residual,
    Result,
    Space,
    StepMethod,
    Tail,
    run,
)
from sciopt.rules import LBFGS, GradientDescent, WithinRadius, make_method

STIFFNESS = np.array([1.0, 2.0, 4.0])


class Bowl:
    """``x.K x / 2`` without noise."""

    space = Flat()

    def start(self) -> np.ndarray:
        return np.array([1.0, -1.0, 2.0])

    def evaluate(self, x: np.ndarray) -> Evaluation:
        return Evaluation(x, -STIFFNESS * x, 0.5 * float(x @ (STIFFNESS * x)))


def descent(learning_rate: float = 0.1, space: Space | None = None) -> StepMethod:
    return make_method("gradient-descent", space or Flat(), learning_rate=learning_rate)


CURVATURES = np.geomspace(1.0, 20.0, 8)
SEEDS = range(20)


class Noisy:
    """A quadratic whose forces are noisy; what a run answers is judged by its true force."""

    space = Flat(maxstep=0.5)

    def __init__(self, seed: int, sigma: float, known: bool = True) -> None:
        self.rng, self.sigma, self.known = np.random.default_rng(seed), sigma, known

    def start(self) -> np.ndarray:
        return np.ones(8)

    def evaluate(self, x: np.ndarray) -> Evaluation:
        force = -CURVATURES * x + self.sigma * self.rng.normal(size=8)
        return Evaluation(x, force, noise=self.sigma if self.known else 0.0)


def true_residual(x: np.ndarray) -> float:
    return float(np.abs(CURVATURES * x).max())


def noisy_runs(
    method: Method, steps: int, average: Tail | Polyak | None, sigma: float = 0.1, known: bool = True
) -> list[Result]:
    return [run(Noisy(seed, sigma, known), method, Budget(steps), average=average) for seed in SEEDS]


def test_the_averages_are_means_of_the_points_they_name() -> None:
    points = np.random.default_rng(2).normal(size=(7, 3))
    for average, expected in ((Tail(3), points[4:]), (Tail(50), points), (Polyak(2), points[2:]), (Polyak(), points)):
        mean = average.start(Evaluation(points[0], -points[0]))
        for x in points[1:]:
            mean = average.add(mean, Evaluation(x, -x))
        assert mean.x() == pytest.approx(expected.mean(axis=0))
        assert mean.force() == pytest.approx(-expected.mean(axis=0))
        assert (mean.points, mean.seen) == (len(expected), 7)


@pytest.mark.parametrize("average", [Tail(150), Polyak(burn_in=150)])
@pytest.mark.parametrize(
    ("name", "learning_rate"), [("gradient-descent", 0.05), ("momentum", 0.005), ("adam", 0.02), ("adabelief", 0.02)]
)
def test_averaging_at_least_halves_the_true_residual(name: str, learning_rate: float, average: Tail | Polyak) -> None:
    """Measured: 0.013 against 0.04 (Adam) to 0.10 (gradient descent)."""
    results = noisy_runs(make_method(name, Noisy.space, learning_rate=learning_rate), 300, average)
    averaged = np.median([true_residual(result.x) for result in results])
    last = np.median([true_residual(result.state.here.x) for result in results])
    assert averaged < 0.5 * last


def test_the_error_of_the_mean_is_the_error_that_is_made() -> None:
    """The spread of the points over the root of their number would be 3 to 6 times too small."""
    for name, learning_rate in (("gradient-descent", 0.05), ("adam", 0.02)):
        results = noisy_runs(make_method(name, Noisy.space, learning_rate=learning_rate), 400, Tail(200))
        ratios = [np.sqrt(np.mean((result.x / result.x_error) ** 2)) for result in results]
        assert 0.6 < np.mean(ratios) < 1.6


def test_independent_points_have_the_textbook_error() -> None:
    points = np.random.default_rng(1).normal(size=(400, 300))
    average, mean = Tail(400), None
    for x in points:
        ev = Evaluation(x, x)
        mean = average.start(ev) if mean is None else average.add(mean, ev)
    assert mean.x() == pytest.approx(points.mean(axis=0))
    # The largest of six estimates is biased upwards, by a quarter here.
    assert np.median(mean.x_error()) == pytest.approx(1.2 / np.sqrt(400), rel=0.2)


def test_noise_tolerant_secants_beat_plain_ones() -> None:
    """Medians of the true residual of the mean: 0.0027 against 0.12 at sigma = 0.01, measured."""
    method = make_method("lbfgs", Noisy.space)
    for sigma in (0.01, 0.1):
        aware, plain = (
            np.median([true_residual(r.x) for r in noisy_runs(method, 100, Tail(50), sigma, known)])
            for known in (True, False)
        )
        assert aware < 0.5 * plain


def test_plain_secants_can_leave_the_basin_where_tolerant_ones_do_not() -> None:
    guarded = make_method("lbfgs", Noisy.space)
    unguarded = StepMethod(LBFGS(h0=0.05), Fixed(1.0), Noisy.space)
    worst = [
        max(max(r.history.column("residual")[20:]) for r in noisy_runs(method, 60, None, 0.01, known))
        for method, known in ((guarded, True), (unguarded, False))
    ]
    assert worst[0] < 0.2 * worst[1]


def test_the_noise_floor_is_reached_where_raw_forces_never_would() -> None:
    method = make_method("gradient-descent", Noisy.space, learning_rate=0.05)
    stop = NoiseFloor(0.1) | Budget(400)
    results = [run(Noisy(seed, 0.1), method, stop, average=Tail(60)) for seed in SEEDS]
    assert all(result.reason.kind == "noise floor" and result.converged for result in results)
    assert np.median([true_residual(result.x) for result in results]) < 0.1
    raw = [run(Noisy(seed, 0.1), method, Residual(0.02) | Budget(400)) for seed in SEEDS]
    assert sum(result.converged for result in raw) <= 1


def test_the_noise_floor_waits_for_enough_points_and_for_noise() -> None:
    stop = NoiseFloor(0.1, least=6)
    assert stop.needed(0.0) == 6
    assert stop.needed(0.5) == 192  # 3 (1.6 * 5)^2
    method = descent(0.1)
    assert run(Bowl(), method, stop | Budget(50), average=Tail(20)).reason.kind == "budget", "no noise, no floor"
    assert run(Noisy(0, 0.1), descent(0.05, Noisy.space), stop | Budget(50)).reason.kind == "budget", "no average"


def test_a_converged_run_without_noise_is_not_spoiled_by_its_average() -> None:
    averaged = run(Bowl(), descent(), Residual(1e-6), average=Tail(50))
    assert averaged.converged and averaged.residual < 1e-6
    assert averaged.x_error is None
    assert averaged.cost["evaluations"] == len(averaged.history)


def test_the_averaged_point_is_evaluated_and_answered() -> None:
    problem = Noisy(3, 0.1)
    result = run(problem, descent(0.05, Noisy.space), Budget(30), average=Tail(10))
    assert len(result.history) == 31 and result.cost["evaluations"] == 31
    assert result.evaluation.x is result.x
    assert result.residual == np.abs(result.evaluation.force).max()


def test_only_accepted_points_are_averaged() -> None:
    control = Adaptive(1.0, Ratio(), grow=2.0, radius=True, reject=True)
    method, accepted = StepMethod(WithinRadius(GradientDescent()), control, Flat()), []
    result = run(
        Bowl(), method, Budget(20), average=Polyak(), observers=[lambda snapshot: accepted.append(snapshot.state.here)]
    )
    points = np.array([ev.x for ev in {id(ev): ev for ev in accepted}.values()])
    assert 1 < len(points) < 20
    assert result.x == pytest.approx(points.mean(axis=0))
