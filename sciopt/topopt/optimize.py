"""`optimize_topology`: a design from a problem, by any method, with everything that was learned on the way."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sciopt.core.errors import EvaluationFailed, InputError
from sciopt.core.stop import Plateau, Still
from sciopt.topopt.coarse_to_fine import coarse_to_fine, single_grid
from sciopt.topopt.methods import DESIGN_METHODS
from sciopt.topopt.result import DesignResult
from sciopt.topopt.run_folder import DesignFolder
from sciopt.topopt.runner import Runner, Visit

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import ArrayLike

    from sciopt.core.evaluation import Evaluation
    from sciopt.core.stop import Stop
    from sciopt.core.types import Array
    from sciopt.topopt.problem import TopologyProblem

__all__ = ["optimize_topology"]

log = logging.getLogger("sciopt")

STOPS: dict[str, Stop] = {"plateau": Plateau(2e-4, 10), "change": Still(0.01)}
"""Stopping rules by name: the default, and that of the papers whose numbers are to be reproduced."""

# The reported objective is solved to this residual, whatever the designs on the way were.
_FINAL_TOL = 1e-8


def optimize_topology(
    problem: TopologyProblem,
    method: str = "auto",
    *,
    start: ArrayLike | None = None,
    stop: str | Stop = "plateau",
    max_solves: float | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    iterations: bool = False,
    callback: Callable[[Visit], None] | Sequence[Callable[[Visit], None]] = (),
    **options: Any,
) -> DesignResult:
    """Find the design that minimizes the objective of `problem`.

    Parameters
    ----------
    problem
        `Compliance`, `ThermalCompliance`, `Mechanism` or `MinimumVolume`.
    method
        ``auto`` (coarse-to-fine projected quasi-Newton) or a single-grid method: ``quasi-newton``, ``oc``, ``mma``,
        ``gcmma``, ``spg``, ``mirror``, ``fire``, ``adam``, ``lbfgs``, …, see `DESIGN_METHODS`.
    start
        Design variables to start from, (n,) or of the grid's shape (nx, ny[, nz]); uniform by default.
    stop
        ``plateau`` (the best objective improved by less than 2e-4 in 10 solves), ``change`` (no variable changed by
        0.01; for reproducing papers), or a stopping rule of `sciopt.core`.
    max_solves
        Budget in solves on the finest grid; coarser ones count by their number of elements.
    out, resume
        Run folder; whether to continue the task found there.
    iterations
        Keep every accepted design in the run folder.
    callback
        Observers, called with a `Visit` after every evaluation; StopIteration ends with the best design so far.
    options
        Of the method.

    Returns
    -------
    DesignResult

    Raises
    ------
    InputError
        For unknown methods, options and stops, and starts of the wrong shape.
    """
    begun = time.perf_counter()
    stopping = _stop_named(stop)
    if method != "auto" and method not in DESIGN_METHODS:
        raise InputError(f"unknown method {method!r}; known are auto, {', '.join(DESIGN_METHODS)}")
    if max_solves is not None and not max_solves > 0:
        raise InputError(f"max_solves is {max_solves}; expected a positive number")
    first = None if start is None else _start_given(problem, start)
    parameters = {
        "problem": problem.describe(),
        "stop": stop if isinstance(stop, str) else repr(stop),
        "max_solves": max_solves,
        "options": options,
    }
    settings = {"method": method, **{key: parameters[key] for key in ("problem", "options")}, "start": first}
    folder = None if out is None else DesignFolder(out, settings, resume, iterations, problem.structure.ranks)
    runner = Runner(
        problem.structure.elements,
        np.inf if max_solves is None else float(max_solves),
        (callback,) if callable(callback) else tuple(callback),
        folder,
    )
    if method == "auto":
        found = coarse_to_fine(runner, problem, first, stopping, options)
    else:
        found = single_grid(runner, problem, method, first, stopping, options)
    final, doubts = _finally(problem, found.x)
    warnings = doubts + problem.structure.warnings(final.info["density"], problem.filter.radius)
    wall = time.perf_counter() - begun
    result = DesignResult(
        problem=problem,
        x=found.x,
        evaluation=final,
        reason=runner.ended or found.reason,
        calls={"solves": runner.cost.get("solves", 0.0), "equivalents": runner.equivalents},
        records=runner.records,
        method=method,
        parameters=parameters,
        warnings=tuple(warnings),
        wall_seconds=wall,
        overhead_seconds=runner.overhead,
    )
    for sentence in result.warnings:
        log.warning("%s", sentence)
    if folder is not None:
        folder.finish(result)
    return result


def _finally(problem: TopologyProblem, x: Array) -> tuple[Evaluation, list[str]]:
    """The answer at the final design, solved tightly where that can be, and a sentence where it cannot."""
    try:
        return problem.at(tol=_FINAL_TOL).evaluate(x), []
    except EvaluationFailed as failure:
        if problem.tol <= _FINAL_TOL:
            raise
        sentence = (
            f"the objective of the final design is known only to the tolerance of the run, {problem.tol:g}: {failure}"
        )
        return problem.evaluate(x), [sentence]


def _stop_named(stop: str | Stop) -> Stop:
    if not isinstance(stop, str):
        return stop
    if stop not in STOPS:
        raise InputError(f"unknown stop {stop!r}; known are {', '.join(STOPS)}")
    return STOPS[stop]


def _start_given(problem: TopologyProblem, start: ArrayLike) -> Array:
    given = problem.structure.variables(start)
    if problem.structure.total(float(np.count_nonzero(~np.isfinite(given)))):
        raise InputError("start holds numbers that are not finite")
    return np.clip(given, 0.0, 1.0)
