"""Limits that listen to two signals: one says how long steps should be, the other which of them are taken back."""

from __future__ import annotations

from itertools import pairwise, product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import rosen, rosen_der

from sciopt.core import (
    Adaptive,
    Box,
    Budget,
    Evaluation,
    Flat,
    Limit,
    Nonmonotone,
    Ratio,
    State,
    StepMethod,
    run,
)
from sciopt.rules.projected import ProjectedQuasiNewton

FLAT = Flat()
OPINIONS = (-1.0, 0.0, 1.0)


def says(opinion: Any) -> Any:
    return lambda state, ev, space: opinion


def state(limit: Limit, length: float = 1.0) -> State:
    here = Evaluation(np.zeros(2), np.array([1.0, 0.0]), 0.0)
    step = np.array([length, 0.0])
    return State(here, here.x + step, step, (), limit)


ANSWER = Evaluation(np.ones(2), np.zeros(2), 0.0)


def judged(control: Adaptive, limit: Limit, length: float = 1.0) -> Any:
    return control.judge(state(limit, length), ANSWER, FLAT)


@pytest.mark.parametrize(("first", "second"), list(product(OPINIONS, OPINIONS)))
def test_the_second_signal_alone_takes_back(first: float, second: float) -> None:
    verdict = judged(Adaptive(1.0, says(first), grow=2.0, shrink=0.5, reject=says(second)), Limit(1.0))
    assert verdict.accept == (second >= 0.0)
    # What is taken back shrinks whatever the first signal says; all else follows the first.
    assert verdict.limit.size == (0.5 if second < 0.0 else {-1.0: 0.5, 0.0: 1.0, 1.0: 2.0}[first])
    assert verdict.limit.streak == (1 if first > 0.0 and second >= 0.0 else 0)
    assert verdict.limit.judged == 1


@given(
    opinions=st.lists(st.sampled_from(OPINIONS), min_size=1, max_size=20),
    length=st.floats(0.05, 2.0),
    patience=st.integers(0, 2),
)
def test_the_same_signal_twice_is_the_switch(opinions: list[float], length: float, patience: int) -> None:
    one = two = Limit(np.float64(1.0))
    for opinion in opinions:
        options: dict[str, Any] = {"grow": 1.5, "least": 0.02, "most": 3.0, "radius": True, "patience": patience}
        first = judged(Adaptive(1.0, says(opinion), reject=True, **options), one, length)
        second = judged(Adaptive(1.0, says(opinion), reject=says(opinion), **options), two, length)
        assert first == second
        one, two = first.limit, second.limit


def test_limits_of_one_per_block_are_all_shrunk_when_the_step_is_taken_back() -> None:
    limit = Limit(np.array([1.0, 1.0]), np.array([3, 0]), np.array([True, False]))
    mixed = np.array([1.0, -1.0])
    kept = judged(Adaptive(np.ones(2), says(mixed), grow=2.0, reject=says(np.array([0.0, -1.0]))), limit)
    assert kept.accept and kept.limit.size.tolist() == [2.0, 0.5]
    back = judged(Adaptive(np.ones(2), says(mixed), grow=2.0, reject=says(np.array([-1.0, -1.0]))), limit)
    assert not back.accept
    assert back.limit.size.tolist() == [0.5, 0.5] and back.limit.streak.tolist() == [0, 0]


def test_only_what_is_taken_back_goes_below_the_least_limit() -> None:
    kept = judged(Adaptive(0.1, says(-1.0), least=0.08, reject=says(0.0)), Limit(0.1))
    assert kept.accept and kept.limit.size == 0.08
    back = judged(Adaptive(0.1, says(-1.0), least=0.08, reject=says(-1.0)), Limit(0.1))
    assert not back.accept and back.limit.size == 0.05
    # The next step that is kept lifts it back.
    assert judged(Adaptive(0.1, says(0.0), least=0.08, reject=says(0.0)), back.limit).limit.size == 0.08


class Valley:
    """Rosenbrock's function in a box: full of steps that gain less than they promise."""

    def __init__(self) -> None:
        self.space = Box(-2.0, 2.0)

    def start(self) -> np.ndarray:
        return np.array([-1.2, 1.0, -0.5, 1.5])

    def evaluate(self, x: np.ndarray) -> Evaluation:
        return Evaluation(x, -rosen_der(x), float(rosen(x)))


def test_poor_steps_shrink_the_limit_and_are_kept_all_the_same() -> None:
    problem = Valley()

    def way(reject: Any) -> StepMethod:
        control = Adaptive(0.3, Ratio(0.25, 0.75), grow=1.5, least=1e-4, most=1.0, radius=True, reject=reject)
        return StepMethod(ProjectedQuasiNewton(), control, problem.space)

    records = run(problem, way(Nonmonotone(5)), Budget(60)).history.records
    after = [new.accepted and new.limit < old.limit for old, new in pairwise(records)]
    assert sum(after) >= 3
    # Never does it keep what is above all of the last five values.
    kept = [record.value for record in records if record.accepted]
    assert all(new < max(kept[max(0, i - 4) : i + 1]) for i, new in enumerate(kept[1:]))
    # With one signal every one of those steps is lost.
    strict = run(problem, way(True), Budget(60)).history.records
    assert not any(new.accepted and new.limit < old.limit for old, new in pairwise(strict))
