"""Soften and harden again: out of a poor minimum of the penalized problem, by way of problems with less penalty."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from sciopt.core.stop import Any, Budget, Plateau, Reason
from sciopt.topopt.carried import Carried, Found

if TYPE_CHECKING:
    from sciopt.core.method import StepMethod
    from sciopt.core.run import Result
    from sciopt.core.stop import Progress, Stop
    from sciopt.topopt.problem import TopologyProblem
    from sciopt.topopt.runner import Runner

__all__ = ["rehardened"]

# Chosen on the problems marked `seen` in sciopt.problems: parts of the penalty with which a settled design is softened,
# and the evaluations there; when a design has settled; how often it is softened at most, and the part of the objective
# that this must have been worth to be done once more.
_SOFTER = ((0.5, Budget(3)), (0.75, Budget(2)))
_ROUGHLY = Plateau(0.002, 3)
_MOST, _WORTH = 3, 0.001


def rehardened(
    runner: Runner,
    problem: TopologyProblem,
    method: Callable[[TopologyProblem, Carried], StepMethod],
    carried: Carried,
    stop: Stop,
) -> Found:
    """The best of several minima of `problem`, each found from the best so far through softer problems.

    A design commits itself where its first members happen to form. With half of the penalty members that carry little
    fade and others appear; the penalty then makes them void and solid again. The best is gone on with until `stop`,
    which every run of `problem` is asked for.
    """

    def settled(carried: Carried, known: Result | None = None) -> Result:
        return runner.run(problem, method(problem, carried), Any((stop, _settled)), carried.x, known)

    result = best = settled(carried)
    for _ in range(_MOST):
        if result.reason.kind != "settled":
            break
        x = best.x
        for penalty, solves in _SOFTER:
            softer = problem.at(penalty=penalty)
            x = runner.run(softer, method(softer, Carried(x)), solves, x).x
            if runner.ended is not None:
                return Found(best.x, runner.ended)
        result = settled(Carried(x))
        gain = _gain(best, result)
        best = result if gain > 0.0 else best
        if gain < _WORTH:
            break
    if result.reason.kind != "settled":
        return Found(best.x, result.reason)
    carried = Carried.of(best)
    final = runner.run(problem, method(problem, carried), stop, carried.x, best)
    return Found(final.x if _gain(best, final) >= 0.0 else best.x, final.reason)


def _settled(progress: Progress) -> Reason | None:
    """A plateau that is not the one that was asked for."""
    reason = _ROUGHLY(progress)
    return None if reason is None else Reason("settled", "the best value hardly improves any more", False)


def _gain(old: Result, new: Result) -> float:
    """By what part of it `new` is better than `old`."""
    assert old.value is not None
    assert new.value is not None
    return (old.value - new.value) / abs(old.value) if old.value else 0.0
