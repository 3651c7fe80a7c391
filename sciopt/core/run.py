"""The only loop."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sciopt.core.errors import EvaluationFailed, NotFinite
from sciopt.core.history import History, Record
from sciopt.core.space import everywhere
from sciopt.core.stop import FEASIBLE, Progress, Reason

if TYPE_CHECKING:
    from sciopt.core.average import Mean, Polyak, Tail
    from sciopt.core.evaluation import Evaluation, Problem
    from sciopt.core.method import Method, State
    from sciopt.core.space import Space
    from sciopt.core.stop import Stop
    from sciopt.core.types import Array

__all__ = ["Observer", "Result", "Snapshot", "run"]

log = logging.getLogger("sciopt")

# Evaluations of one point in a row, which may cost nothing and go on for ever, before a run is ended. One alone means
# nothing: a control may start with a limit of zero.
_MOST_STILL = 3


class Snapshot(NamedTuple):
    """All that is needed to continue a run: the method's state, the history, the average, the best point.

    `still` counts the last evaluations that were asked for where the method already was.
    """

    state: State
    history: History
    mean: Mean | None = None
    best: Evaluation | None = None
    still: int = 0


Observer = Callable[[Snapshot], None]


@dataclass(frozen=True, eq=False)
class Result:
    """What a run found, why it stopped and what it cost.

    Attributes
    ----------
    x
        (n,) the answer: the tail average when one was kept (unless a noise-free run converged at a better point),
        otherwise the last accepted point when its residual converged and the best point seen when not (lowest value
        among the points that hold the constraints, or lowest residual where there is no value).
    value
        The value there; None where the problem has none.
    residual
        The residual there.
    reason, converged
        Why the run stopped and whether that is what was asked for.
    history, cost
        One record per evaluation, and totals by name.
    state
        The state to continue from.
    x_error
        (n,) standard error of an answer averaged over a window, None otherwise.
    evaluation
        The evaluation at `x`.
    """

    x: Array
    value: float | None
    residual: float
    reason: Reason
    converged: bool
    history: History
    cost: dict[str, float]
    state: State
    evaluation: Evaluation
    x_error: Array | None = None


def run(
    problem: Problem,
    method: Method,
    stop: Stop,
    *,
    observers: Sequence[Observer] = (),
    average: Tail | Polyak | None = None,
    resume: Snapshot | None = None,
    most_failures: int = 5,
) -> Result:
    """Evaluate, advance, look, until `stop` gives a reason.

    Observers are called after every evaluation, before the next: what they write is what a killed run resumes from,
    at the loss of at most the one evaluation under way. An observer ends the run by raising StopIteration, a user by
    Ctrl-C; both get the best point so far.

    Parameters
    ----------
    problem
        What is evaluated.
    method
        What decides where.
    stop
        When to stop.
    observers
        Called with a `Snapshot` after every evaluation.
    average
        Keep the mean of the tail and answer with it; one more evaluation is made there at the end.
    resume
        Continue from this snapshot.
    most_failures
        Failed evaluations in a row after which the run stops, keeping everything.

    Raises
    ------
    EvaluationFailed, NotFinite
        When the very first point cannot be evaluated: there is nothing to go back to.

    Examples
    --------
    >>> import numpy as np
    >>> from sciopt.core import Budget, Evaluation, Flat, Residual, run
    >>> from sciopt.rules import make_method
    >>> class Bowl:
    ...     space = Flat()
    ...     def start(self): return np.array([3.0, -4.0])
    ...     def evaluate(self, x): return Evaluation(x, -x, 0.5 * x @ x)
    >>> result = run(Bowl(), make_method("lbfgs", Flat()), Residual(1e-6) | Budget(50))
    >>> result.converged, result.cost["evaluations"] <= 3
    (True, True)
    """
    clock = _Clock()
    if resume is None:
        ev = _evaluated(problem, problem.start(), method.space, clock)
        state = method.start(ev)
        paid = _settled(ev)
        mean = average.start(ev) if average is not None else None
        snapshot = Snapshot(state, History(), mean, ev)
        _record(snapshot, method, ev, True, clock, paid)
        reason = _look(snapshot, method, stop, observers)
    else:
        mean = None
        if average is not None:
            mean = resume.mean if resume.mean is not None else average.start(resume.state.here)
        # The run adds to its history; the caller's snapshot must stay what it was.
        snapshot = resume._replace(history=resume.history.copy(), mean=mean)
        reason = stop(Progress(resume.state.here, resume.history, method.space, mean, resume.state))
    failures, still = 0, snapshot.still
    try:
        while reason is None:
            state = snapshot.state
            still = still + 1 if _same(state.trial, state.here.x, method.space) else 0
            if still > _MOST_STILL:
                reason = Reason(
                    "stalled", "stalled: the method proposes no further step, short of the tolerance", False
                )
                break
            try:
                ev = _evaluated(problem, state.trial, method.space, clock)
            except (EvaluationFailed, NotFinite) as error:
                failures += 1
                snapshot.history.failures += 1
                log.warning("evaluation failed (%d in a row): %s", failures, error)
                if failures > most_failures:
                    reason = Reason("failed", f"stopped after {failures} failed evaluations in a row: {error}", False)
                    break
                failure = error if isinstance(error, EvaluationFailed) else EvaluationFailed(str(error))
                snapshot = snapshot._replace(state=method.failed(state, failure))
                continue
            # Back where it came from, a method has not shown that the problem works again.
            failures = failures if _same(ev.x, state.here.x, method.space) else 0
            following = method.advance(state, ev)
            paid = _settled(ev)
            accepted = following.here is ev
            mean = snapshot.mean
            if accepted and average is not None and mean is not None:
                mean = average.add(mean, ev)
            snapshot = Snapshot(following, snapshot.history, mean, _better(snapshot.best, ev, method), still)
            _record(snapshot, method, ev, accepted, clock, paid)
            reason = _look(snapshot, method, stop, observers)
    except KeyboardInterrupt:
        reason = Reason("interrupted", "interrupted by the user", False)
    return _result(snapshot, method, problem, reason, clock)


def _evaluated(problem: Problem, x: Array, space: Space, clock: _Clock) -> Evaluation:
    """The answer at `x`; what fails on one rank has failed on all, or they would part ways."""
    failure: EvaluationFailed | NotFinite | None = None
    try:
        ev = clock.timed(problem.evaluate, x)
    except (EvaluationFailed, NotFinite) as error:
        failure = error
    if not everywhere(space, failure is None):
        raise failure or EvaluationFailed("the evaluation failed on another rank; its message says why")
    return ev


def _same(a: Array, b: Array, space: Space) -> bool:
    return everywhere(space, np.array_equal(a, b))


def _look(snapshot: Snapshot, method: Method, stop: Stop, observers: Sequence[Observer]) -> Reason | None:
    """Observers first, so that what they write is complete when the run ends here."""
    try:
        for observer in observers:
            observer(snapshot)
    except StopIteration as stopped:
        return Reason("observer", str(stopped) or "stopped by an observer", False)
    except KeyboardInterrupt:
        return Reason("interrupted", "interrupted by the user", False)
    return stop(Progress(snapshot.state.here, snapshot.history, method.space, snapshot.mean, snapshot.state))


def _settled(ev: Evaluation) -> dict[str, float]:
    """What the evaluation cost, products of its Hessian included, of which there will be no more."""
    cost = dict(ev.cost)
    if ev.hessian is not None:
        for name, amount in ev.hessian.spent.items():
            cost[name] = cost.get(name, 0.0) + amount
        ev.hessian.release()
    return cost


def _record(
    snapshot: Snapshot, method: Method, ev: Evaluation, accepted: bool, clock: _Clock, cost: dict[str, float]
) -> None:
    evaluating, overhead = clock.lap()
    last = snapshot.state.last
    record = Record(
        evaluations=len(snapshot.history) + 1,
        value=np.nan if ev.value is None else float(ev.value),
        residual=method.space.residual(ev.x, ev.force),
        limit=_mean(snapshot.state.limit.size, method.space),
        accepted=accepted,
        evaluating=evaluating,
        overhead=overhead,
        violation=ev.violation,
        moved=float(np.max(method.space.length(last))) if accepted and last is not None else 0.0,
    )
    snapshot.history.add(record, cost)


def _mean(size: float | Array, space: Space) -> float:
    if np.ndim(size) == 0:
        return float(size)
    total, count = space.total(np.array([np.sum(size), float(np.size(size))]))
    return float(total / count)


def _better(best: Evaluation | None, ev: Evaluation, method: Method) -> Evaluation:
    if best is None:
        return ev
    if max(best.violation, ev.violation) > FEASIBLE:
        return ev if ev.violation < best.violation else best
    if best.value is not None and ev.value is not None:
        return ev if ev.value < best.value else best
    residual = method.space.residual
    return ev if residual(ev.x, ev.force) < residual(best.x, best.force) else best


def _result(snapshot: Snapshot, method: Method, problem: Problem, reason: Reason, clock: _Clock) -> Result:
    state, history, mean, best, _ = snapshot
    answer = state.here if best is None else best
    # A plateau is a statement about the best value; every other convergence is one about the last accepted point.
    if reason.converged and reason.kind != "plateau":
        answer = state.here
    error = None
    if mean is not None and mean.points > 1:
        try:
            averaged = _evaluated(problem, mean.x(), method.space, clock)
            _record(snapshot, method, averaged, True, clock, _settled(averaged))
            residual = method.space.residual
            worse = residual(averaged.x, averaged.force) > residual(answer.x, answer.force)
            # Without noise the mean of the tail only lags behind the point that converged.
            lags = reason.converged and mean.noise == 0 and worse
            answer = answer if lags else averaged
            error = None if lags else mean.x_error()
        except (EvaluationFailed, NotFinite, KeyboardInterrupt) as failure:
            log.warning("the averaged point could not be evaluated (%s); answering with the best point", failure)
    return Result(
        x=answer.x,
        value=answer.value,
        residual=method.space.residual(answer.x, answer.force),
        reason=reason,
        converged=reason.converged,
        history=history,
        cost=dict(history.cost),
        state=state,
        evaluation=answer,
        x_error=error,
    )


class _Clock:
    """Seconds inside and outside the problem since the last lap."""

    def __init__(self) -> None:
        self._last = time.perf_counter()
        self._inside = 0.0

    def timed(self, evaluate: Callable[[Array], Evaluation], x: Array) -> Evaluation:
        begun = time.perf_counter()
        try:
            return evaluate(x)
        finally:
            self._inside += time.perf_counter() - begun

    def lap(self) -> tuple[float, float]:
        now = time.perf_counter()
        inside, total = self._inside, now - self._last
        self._last, self._inside = now, 0.0
        return inside, max(total - inside, 0.0)
