"""The loop: why it ends, and what it keeps when evaluations fail."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from sciopt.core import (
    Adaptive,
    Budget,
    Evaluation,
    EvaluationFailed,
    Fixed,
    Flat,
    History,
    Limit,
    NotFinite,
    Plateau,
    Progress,
    Reason,
    Record,
    Residual,
    ShapeError,
    Snapshot,
    Space,
    State,
    StepMethod,
    Verdict,
    power,
    run,
)
from sciopt.rules import GradientDescent, make_method

STIFFNESS = np.array([1.0, 2.0, 4.0])


class Bowl:
    """``x.K x / 2`` that does something else at chosen evaluations (counted from 1)."""

    space = Flat()

    def __init__(self, accidents: dict[int, Callable[[], None]] | None = None, has_value: bool = True) -> None:
        self.accidents = accidents or {}
        self.has_value = has_value
        self.visited: list[np.ndarray] = []

    def start(self) -> np.ndarray:
        return np.array([1.0, -1.0, 2.0])

    def evaluate(self, x: np.ndarray) -> Evaluation:
        self.visited.append(x)
        self.accidents.get(len(self.visited), lambda: None)()
        value = 0.5 * float(x @ (STIFFNESS * x)) if self.has_value else None
        return Evaluation(x, -STIFFNESS * x, value)


def descent(learning_rate: float = 0.1, space: Space | None = None) -> StepMethod:
    return make_method("gradient-descent", space or Flat(), learning_rate=learning_rate)


def failing(message: str = "no convergence", blocks: tuple[int, ...] = ()) -> Callable[[], None]:
    def accident() -> None:
        raise EvaluationFailed(message, blocks)

    return accident


def interrupt() -> None:
    raise KeyboardInterrupt


# Stopping ------------------------------------------------------------------------------------------------------------


def test_residual_is_where_the_run_ends() -> None:
    result = run(Bowl(), descent(), Residual(1e-3, "fmax", "eV/Å") | Budget(1000))
    assert result.converged and result.reason.kind == "residual"
    assert str(result.reason).startswith("fmax ") and str(result.reason).endswith("< 0.001 eV/Å")
    assert result.residual == np.abs(STIFFNESS * result.x).max() < 1e-3
    residuals = result.history.column("residual")
    assert (residuals[:-1] >= 1e-3).all() and residuals[-1] < 1e-3
    assert result.history.column("evaluations").tolist() == list(range(1, len(residuals) + 1))


def test_a_stationary_start_needs_one_evaluation() -> None:
    problem = Bowl()
    problem.start = lambda: np.zeros(3)
    assert len(run(problem, descent(), Residual(1e-3)).history) == 1


def test_a_budget_is_not_convergence_and_gives_the_best_point() -> None:
    diverging = run(Bowl(), descent(learning_rate=0.6), Budget(20))
    assert (diverging.converged, diverging.reason.kind, diverging.cost) == (False, "budget", {"evaluations": 20.0})
    values = diverging.history.column("value")
    assert diverging.value == values.min() < values[-1]


def test_the_best_point_is_that_of_lowest_residual_where_there_is_no_value() -> None:
    diverging = run(Bowl(has_value=False), descent(learning_rate=0.6), Budget(20))
    residuals = diverging.history.column("residual")
    assert diverging.value is None
    assert diverging.residual == residuals.min() < residuals[-1]


def test_budgets_of_other_costs() -> None:
    class Band(Bowl):
        def evaluate(self, x: np.ndarray) -> Evaluation:
            ev = super().evaluate(x)
            return Evaluation(x, ev.force, cost={"images": 7})

    result = run(Band(), descent(), Budget(30, "images"))
    assert result.cost == {"evaluations": 5.0, "images": 35.0}
    assert str(result.reason) == "the budget of 30 images is used up"


def test_converging_with_the_last_affordable_evaluation_is_converging() -> None:
    needed = len(run(Bowl(), descent(), Residual(1e-3)).history)
    assert run(Bowl(), descent(), Residual(1e-3) | Budget(needed)).converged
    assert run(Bowl(), descent(), Budget(needed) | Residual(1e-3)).converged
    assert not run(Bowl(), descent(), Residual(1e-3) | Budget(needed - 1)).converged


def test_and_waits_for_both_and_names_both() -> None:
    class Raised(Bowl):
        """A minimum of 1, not 0: a plateau is relative to the value."""

        def evaluate(self, x: np.ndarray) -> Evaluation:
            ev = super().evaluate(x)
            return Evaluation(x, ev.force, ev.value + 1.0)

    result = run(Raised(), descent(), (Residual(1e-1) & Plateau(1e-3, window=5)) | Budget(1000))
    loose = run(Raised(), descent(), Residual(1e-1))
    assert result.converged and " and " in str(result.reason)
    assert len(result.history) > len(loose.history)
    assert Plateau(1e-3, window=5)(Progress(result.evaluation, result.history, Flat())) is not None


def progress(values: list[float]) -> Progress:
    history = History()
    for k, value in enumerate(values, 1):
        history.add(Record(k, value, 1.0, 0.1, True, 0.0, 0.0))
    return Progress(Evaluation(np.zeros(1), np.ones(1)), history, Flat())


@pytest.mark.parametrize(
    ("values", "stops"),
    [
        ([1.0] * 5, False),  # not a full window yet
        ([1.0] * 6, True),
        ([2.0, 1.0, 1.0, 1.0, 1.0, 1.0], False),  # improved within the window
        ([1.0, 9.0, 1.0, 1.0, 1.0, 1.0, 1.0], True),  # coming back from 9 is no improvement of the best
        ([3.0, 1.0, 9.0, 1.0, 9.0, 1.0, 1.1], False),  # astray in the window; it may come back
        ([3.0, 1.0, 9.0, 1.0, 9.0, 1.0, 1.1, 1.2, 1.1, 1.0], True),  # it did
        ([1.0, 1.0, 1.0, 1.0, 1.0, 1.0 - 1e-3], False),
        ([1.0, 1.0, 1.0, 1.0, 1.0, 1.0 - 1e-5], True),
        ([-100.0] * 5 + [-100.01], True),  # relative to the value
        ([np.nan] * 9, False),  # a problem without values has no plateau
    ],
)
def test_plateau(values: list[float], stops: bool) -> None:
    reason = Plateau(rtol=2e-4, window=5)(progress(values))
    assert (reason is not None) == stops
    if reason is not None:
        assert reason.converged and reason.kind == "plateau"


def test_a_method_that_does_not_come_back_ends_without_having_converged() -> None:
    stop = Plateau(rtol=2e-4, window=5)
    values = [1.0, *([9.0, 8.0] * 10)]
    assert stop(progress(values[:-1])) is None
    reason = stop(progress(values))
    assert reason is not None and (reason.kind, reason.converged) == ("astray", False)


def test_a_step_limit_cannot_fake_convergence() -> None:
    result = run(Bowl(), descent(learning_rate=1e-12), Residual(1e-3) | Budget(30))
    assert not result.converged


# Ends that were not asked for ----------------------------------------------------------------------------------------


def test_ctrl_c_in_the_problem_keeps_everything() -> None:
    result = run(Bowl({6: interrupt}), descent(), Residual(1e-9))
    assert (result.reason.kind, result.converged) == ("interrupted", False)
    assert len(result.history) == 5
    assert result.value == result.history.column("value").min()


def test_ctrl_c_in_the_method_keeps_everything() -> None:
    class Slow(StepMethod):
        def advance(self, state: State, ev: Evaluation) -> State:
            if state.accepted == 3:
                raise KeyboardInterrupt
            return super().advance(state, ev)

    result = run(Bowl(), Slow(GradientDescent(), Fixed(0.1), Flat()), Residual(1e-9))
    assert result.reason.kind == "interrupted"
    assert len(result.history) == 4


def test_ctrl_c_in_an_observer_keeps_the_evaluation() -> None:
    def observer(snapshot: Snapshot) -> None:
        if len(snapshot.history) == 4:
            raise KeyboardInterrupt

    result = run(Bowl(), descent(), Residual(1e-9), observers=[observer])
    assert result.reason.kind == "interrupted" and len(result.history) == 4


@pytest.mark.parametrize("at", [1, 4])
@pytest.mark.parametrize("message", ["", "enough"])
def test_an_observer_ends_the_run_with_stop_iteration(at: int, message: str) -> None:
    seen = []

    def observer(snapshot: Snapshot) -> None:
        seen.append(len(snapshot.history))
        if seen[-1] == at:
            raise StopIteration(message) if message else StopIteration

    result = run(Bowl(), descent(), Residual(1e-9), observers=[observer])
    assert seen == list(range(1, at + 1))
    assert result.reason == Reason("observer", message or "stopped by an observer", False)


def test_observers_see_the_evaluation_that_converged() -> None:
    seen: list[int] = []
    result = run(Bowl(), descent(), Residual(1e-3), observers=[lambda snapshot: seen.append(len(snapshot.history))])
    assert seen == list(range(1, len(result.history) + 1))


# Failures ------------------------------------------------------------------------------------------------------------


def test_a_failed_evaluation_is_tried_again_halfway(caplog: pytest.LogCaptureFixture) -> None:
    problem = Bowl({3: failing("SCF did not converge")})
    result = run(problem, descent(), Residual(1e-6))
    _, second, third, retry = problem.visited[:4]
    assert retry == pytest.approx(second + 0.5 * (third - second), rel=1e-15)
    assert result.converged and result.history.failures == 1
    assert len(result.history) == len(problem.visited) - 1
    assert "SCF did not converge" in caplog.text


def test_the_step_halves_until_it_works() -> None:
    problem = Bowl({k: failing() for k in (2, 3, 4)})
    run(problem, descent(), Budget(2))
    steps = [np.linalg.norm(x - problem.visited[0]) for x in problem.visited[1:]]
    assert steps == pytest.approx([steps[0] / 2**k for k in range(4)])


def test_too_many_failures_in_a_row_stop_the_run_and_keep_everything() -> None:
    problem = Bowl({k: failing("walltime") for k in range(5, 100)})
    result = run(problem, descent(), Residual(1e-6), most_failures=3)
    assert (result.reason.kind, result.converged) == ("failed", False)
    assert "walltime" in str(result.reason) and "4 failed" in str(result.reason)
    assert len(problem.visited) == 8 and len(result.history) == 4
    assert result.value == result.history[3].value


def test_failures_in_between_do_not_add_up() -> None:
    result = run(Bowl({k: failing() for k in range(2, 60, 2)}), descent(), Residual(1e-3), most_failures=1)
    assert result.converged and result.history.failures > 10


@pytest.mark.parametrize(
    "accident", [lambda x: Evaluation(x, np.full(3, np.nan)), lambda x: Evaluation(x, -x, float("inf"))]
)
def test_numbers_that_are_none_are_failures(accident: Callable) -> None:
    class Sometimes(Bowl):
        def evaluate(self, x: np.ndarray) -> Evaluation:
            ev = super().evaluate(x)
            return accident(x) if len(self.visited) == 4 else ev

    result = run(Sometimes(), descent(), Residual(1e-6))
    assert result.converged and result.history.failures == 1


def test_failure_of_the_first_point_is_raised() -> None:
    with pytest.raises(EvaluationFailed, match="image 3") as caught:
        run(Bowl({1: failing("image 3", (2,))}), descent(), Residual(1e-6))
    assert caught.value.blocks == (2,)


def test_other_errors_are_errors() -> None:
    def bug() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(Bowl({3: bug}), descent(), Residual(1e-6))


def test_an_evaluation_says_what_is_wrong_with_it() -> None:
    with pytest.raises(ShapeError, match=r"\(3,\).*\(2,\)"):
        Evaluation(np.zeros(3), np.zeros(2))
    with pytest.raises(ShapeError):
        Evaluation(np.zeros((2, 2)), np.zeros((2, 2)))
    with pytest.raises(NotFinite, match="component 1 of the force is nan"):
        Evaluation(np.zeros(2), np.array([0.0, np.nan]))


# Blocks --------------------------------------------------------------------------------------------------------------


class Blocks(Flat):
    """Three blocks of two variables; limits are per block."""

    def length(self, step: np.ndarray) -> np.ndarray:
        return np.linalg.norm(step.reshape(3, 2), axis=1)

    def clip(self, step: np.ndarray) -> np.ndarray:
        return step


class BlockBowl(Bowl):
    space = Blocks()

    def start(self) -> np.ndarray:
        return np.array([1.0, -1.1, 0.37, 0.7, -1.3, 0.9]) / 7.0

    def evaluate(self, x: np.ndarray) -> Evaluation:
        self.visited.append(x)
        self.accidents.get(len(self.visited), lambda: None)()
        return Evaluation(x, -np.arange(1, 7) * x)


def test_failing_blocks_are_shortened_and_the_others_stay_exactly_where_they_were() -> None:
    problem = BlockBowl({3: failing("image 1", (1,)), 4: failing("images 1 and 2", (1, 2))})
    run(problem, descent(0.31, Blocks()), Budget(4))
    here, third, fourth, fifth = (x.reshape(3, 2) for x in problem.visited[1:5])
    assert (fourth[[0, 2]] == third[[0, 2]]).all()
    assert fourth[1] == pytest.approx(here[1] + 0.5 * (third[1] - here[1]), rel=1e-14)
    assert (fifth[0] == third[0]).all()
    assert fifth[1] == pytest.approx(here[1] + 0.25 * (third[1] - here[1]), rel=1e-14)
    assert fifth[2] == pytest.approx(here[2] + 0.5 * (third[2] - here[2]), rel=1e-14)


class Circles(Blocks):
    """Three points, each on the unit circle: a move ends with a division that rounds."""

    def move(self, x: np.ndarray, step: np.ndarray, metric: np.ndarray | None = None) -> np.ndarray:
        points = (x + step).reshape(3, 2)
        return (points / np.linalg.norm(points, axis=1)[:, None]).ravel()


def test_coordinates_that_were_paid_for_keep_their_last_bit(rng: np.random.Generator) -> None:
    space = Circles()
    method, spoiled = descent(0.1, space), 0
    for _ in range(50):
        state = method.start(Evaluation(space.move(rng.normal(size=6), np.zeros(6)), rng.normal(size=6)))
        after = method.failed(state, EvaluationFailed("image 1", (1,)))
        assert after.trial[[0, 1, 4, 5]].tobytes() == state.trial[[0, 1, 4, 5]].tobytes()
        spoiled += (space.move(state.here.x, state.step) != state.trial).any()
    assert spoiled > 5, "moving by the same step again must be able to change a bit, or nothing was tested"


def test_a_failure_that_names_no_block_shortens_all() -> None:
    problem = BlockBowl({3: failing()})
    run(problem, descent(0.31, Blocks()), Budget(3))
    here, third, fourth = problem.visited[1:4]
    assert fourth == pytest.approx(here + 0.5 * (third - here), rel=1e-14)


def test_limits_per_block_shrink_where_the_block_failed() -> None:
    class PerBlock(GradientDescent):
        def propose(self, memory, here, limit, space):
            proposal = super().propose(memory, here, limit._replace(size=1.0), space)
            return proposal._replace(step=proposal.step * np.repeat(limit.size, 2))

    method = StepMethod(PerBlock(), Adaptive(np.full(3, 0.1), power, shrink=0.25), Blocks())
    result = run(BlockBowl({3: failing("image 1", (1,))}), method, Budget(2))
    before = result.state.limit.size
    after = method.failed(result.state, EvaluationFailed("image 1", (1,)))
    assert after.limit.size.tolist() == [before[0], before[1] * 0.25, before[2]]


def test_rejected_blocks_go_back_halfway_and_keep_the_rest() -> None:
    class Picky:
        """Accepts block 0 and 2 of the second point, everything later."""

        def start(self) -> Limit:
            return Limit(0.123)

        def judge(self, state: State, ev: Evaluation, space: Space) -> Verdict:
            first = state.limit.judged == 0
            return Verdict(state.limit._replace(judged=1), np.array([True, not first, True]))

        def failed(self, limit: Limit, blocks: tuple[int, ...]) -> Verdict:
            return Verdict(limit, False)

    problem = BlockBowl()
    result = run(problem, StepMethod(GradientDescent(), Picky(), Blocks()), Budget(4))
    first, second, third = (x.reshape(3, 2) for x in problem.visited[:3])
    assert (third[[0, 2]] == second[[0, 2]]).all()
    assert third[1] == pytest.approx(first[1] + 0.5 * (second[1] - first[1]), rel=1e-14)
    assert result.history.column("accepted").tolist() == [1, 0, 1, 1]
