"""What a run of the topology benchmark achieved, told from its trace alone."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sciopt.bench.topopt import RIVALS
from sciopt.bench.topopt_traces import DesignRun, Trace
from sciopt.core.stop import Plateau
from sciopt.topopt.optimize import STOPS

__all__ = ["DEFAULT_STOP", "REFUTED", "Outcome", "best_known", "cost_to", "objective_at", "outcomes", "stopped_at"]

# Of another rule the traces could not tell when it would have fired.
assert isinstance(STOPS["plateau"], Plateau)
DEFAULT_STOP: Plateau = STOPS["plateau"]
"""What `optimize_topology` stops at unless told otherwise."""

REFUTED = 1e-3
"""A larger difference from the direct solver, as part of the best known objective, is none of an inexact solve."""

_NOTHING = Trace((), ())


@dataclass(frozen=True)
class Outcome:
    """What one run achieved; numbers are NaN where it never got there.

    Attributes
    ----------
    problem, shape, seen, start, method
        Which run, see `DesignRun`.
    cost_1, cost_01
        Solves on the finest grid to within 1 % and 0.1 % of the best known objective.
    at_15, at_30, at_60, at_120
        Best objective by then.
    stop_objective, stop_solves
        Best objective and solves when the default stopping rule would have stopped; at the end of the run if never.
    gap_stop, gap_120
        By how much of it the objective at the default stop, and after 120 solves, is above that of the best of OC, MMA,
        GCMMA and SPG after 120 solves from the same start.
    wrong
        Difference between the objective and that of the direct solver, as part of the best known one; NaN where nothing
        was recalculated.
    seconds, solve_seconds, note
        See `DesignRun`.
    """

    problem: str
    shape: str
    seen: bool
    start: int
    method: str
    cost_1: float
    cost_01: float
    at_15: float
    at_30: float
    at_60: float
    at_120: float
    stop_objective: float
    stop_solves: float
    gap_stop: float
    gap_120: float
    wrong: float
    seconds: float
    solve_seconds: float
    note: str


def best_known(runs: Iterable[DesignRun]) -> dict[str, float]:
    """The best feasible objective of all runs, problem by problem; inf where no run has one.

    Where a direct solver was asked its answer counts: a value that is too good to be true must not spoil all others.
    """
    found: dict[str, float] = {}
    for run in runs:
        lowest = run.trace.best[-1] if run.trace.best else math.inf
        lowest = lowest if math.isnan(run.direct) else run.direct
        found[run.problem] = min(found.get(run.problem, math.inf), lowest)
    return found


def cost_to(run: DesignRun, level: float) -> float:
    """Solves until the objective is `level` at most, inf if that never happens."""
    pairs = zip(run.trace.equivalents, run.trace.best, strict=True)
    return next((spent for spent, best in pairs if best <= level), math.inf)


def objective_at(run: DesignRun, solves: float) -> float:
    """Best objective when that many solves are spent, inf while there is none."""
    known = [best for spent, best in zip(run.trace.equivalents, run.trace.best, strict=True) if spent <= solves]
    return known[-1] if known else math.inf


def stopped_at(run: DesignRun, rule: Plateau = DEFAULT_STOP) -> tuple[float, float]:
    """Objective and solves when `rule` first fires on the finest grid, and those at the end if it never does.

    A run that was repeated with the default rule is asked instead of its trace.
    """
    trace = run.trace
    if not trace.best:
        return math.inf, math.inf
    if run.stopped:
        value, _, spent = run.stopped.partition("@")
        return float(value), float(spent)
    best = np.array(trace.best)
    with np.errstate(invalid="ignore"):
        fires = best[: -rule.window] - best[rule.window :] <= rule.rtol * np.abs(best[rule.window :])
    index = rule.window + int(np.argmax(fires)) if fires.any() else len(best) - 1
    return trace.best[index], trace.equivalents[index]


def excess(value: float, reference: float) -> float:
    """By how much of it `value` is above `reference`; NaN where one of them is missing."""
    if not (math.isfinite(value) and math.isfinite(reference)) or reference == 0.0:
        return math.nan
    return (value - reference) / abs(reference)


def outcomes(runs: Sequence[DesignRun]) -> list[Outcome]:
    """What all `runs` achieved, measured against the best of them and against the rivals among them.

    A run whose objective the direct solver refutes has achieved nothing.
    """
    known = best_known(runs)
    wrong = [_wrong(run, known[run.problem]) for run in runs]
    runs = [
        replace(run, trace=_NOTHING, stopped="") if off > REFUTED else run for run, off in zip(runs, wrong, strict=True)
    ]
    rivals: dict[tuple[str, int], float] = {}
    for run in runs:
        if run.method in RIVALS:
            where = run.problem, run.start
            rivals[where] = min(rivals.get(where, math.inf), objective_at(run, 120.0))
    found = []
    for run, off in zip(runs, wrong, strict=True):
        best = known[run.problem]
        value, spent = stopped_at(run)
        rival = rivals.get((run.problem, run.start), math.inf)
        found.append(
            Outcome(
                problem=run.problem,
                shape=run.shape,
                seen=run.seen,
                start=run.start,
                method=run.method,
                cost_1=_number(cost_to(run, best + 0.01 * abs(best))),
                cost_01=_number(cost_to(run, best + 0.001 * abs(best))),
                at_15=_number(objective_at(run, 15.0)),
                at_30=_number(objective_at(run, 30.0)),
                at_60=_number(objective_at(run, 60.0)),
                at_120=_number(objective_at(run, 120.0)),
                stop_objective=_number(value),
                stop_solves=_number(spent),
                gap_stop=excess(value, rival),
                gap_120=excess(objective_at(run, 120.0), rival),
                wrong=off,
                seconds=run.seconds,
                solve_seconds=run.solve_seconds,
                note=run.note,
            )
        )
    return found


def _wrong(run: DesignRun, known: float) -> float:
    if not run.trace.best or math.isnan(run.direct):
        return math.nan
    return abs(run.trace.best[-1] - run.direct) / abs(known)


def _number(value: float) -> float:
    return value if math.isfinite(value) else math.nan
