"""The topology benchmark: all methods from the same starts, counted in fine-grid solves, designs re-checked."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sciopt.bench.topopt_traces import DesignRun, Trace
from sciopt.bench.topopt_watch import Watch, watched
from sciopt.core.errors import EvaluationFailed, SciOptError
from sciopt.core.stop import Budget
from sciopt.problems import structure_problem
from sciopt.problems.topology import topology_problem
from sciopt.topopt.optimize import optimize_topology

if TYPE_CHECKING:
    from sciopt.core.types import Array
    from sciopt.topopt.problem import TopologyProblem

__all__ = ["METHODS", "RIVALS", "benchmark", "direct_value", "run_one", "start_of"]

log = logging.getLogger("sciopt")

RIVALS = ("oc", "mma", "gcmma", "spg")
METHODS = ("auto", "quasi-newton", *RIVALS)
BUDGET = 120.0

# Perturbed starts: the uniform design times 1 ± 20 %, element by element.
_NOISE = 0.2
# Unknowns whose direct factorization takes seconds, not minutes, by dimension.
_MOST_DIRECT = {2: 200_000, 3: 20_000}
# Never stops by itself: what a stopping rule would have done is told from the trace.
_GO_ON = Budget(np.inf)
# Solves of the run that only compiles.
_WARM = 3.0


def start_of(problem: TopologyProblem, number: int) -> Array | None:
    """(n,) design variables to start from: None (uniform) for 0, else uniform with noise seeded by `number`."""
    if number == 0:
        return None
    space = problem.space
    noise = np.random.default_rng(number).uniform(-1.0, 1.0, problem.size)
    return space.project(problem.start() * (1.0 + _NOISE * noise), space.lower, space.upper)


def run_one(
    name: str, start: int, method: str, budget: float = BUDGET, nx: int | None = None, **options: Any
) -> DesignRun:
    """Run `method` on the problem `name` from start number `start` until the budget is spent.

    Parameters
    ----------
    name, nx
        See `structure_problem`.
    start
        See `start_of`.
    method
        See `optimize_topology`.
    budget
        Solves on the finest grid.
    options
        Of the problem, see `TopologyProblem`.
    """
    chosen = structure_problem(name, nx)
    plain = topology_problem(chosen, **options)
    problem, watch = watched(plain)
    begun = time.process_time()
    try:
        result = optimize_topology(problem, method, start=start_of(plain, start), stop=_GO_ON, max_solves=budget)
        note = str(result.reason)
        # The answer was solved once more, tightly, for the report; that is not a part of the search.
        watch.visits.pop()
    except Exception as error:  # a method may break in any way; the benchmark counts it as a failure and goes on
        log.debug("%s failed on %s", method, name, exc_info=True)
        note = f"{type(error).__name__}: {' '.join(str(error).split())}"
    fine = watch.fine()
    return DesignRun(
        problem=chosen.name,
        shape="x".join(map(str, plain.structure.shape)),
        seen=chosen.seen,
        start=start,
        method=method,
        budget=float(budget),
        seconds=watch.visits[-1].clock - begun if watch.visits else np.nan,
        solve_seconds=float(np.median([visit.seconds for visit in fine])) if fine else np.nan,
        direct=_confirmed(plain, watch),
        note=note,
        trace=Trace.of([visit.equivalents for visit in fine], [visit.value for visit in fine]),
        stopped=_stopped(plain, start, budget) if method == "auto" and plain.structure.dim == 3 else "",
    )


def _stopped(problem: TopologyProblem, start: int, budget: float) -> str:
    """Objective and solves of the default run; empty where it breaks, which its trace tells as well."""
    try:
        result = optimize_topology(problem, start=start_of(problem, start), max_solves=budget)
    except SciOptError as error:
        log.debug("the default run broke: %s", error)
        return ""
    return f"{result.objective:.6g}@{result.calls['equivalents']:.3f}"


def direct_value(problem: TopologyProblem, x: Array) -> float:
    """Objective of the design `x` by a direct solver; NaN where that would take too long."""
    if problem.system.dofs > _MOST_DIRECT[problem.structure.dim]:
        return np.nan
    # Another system on the same grid, that shares no equations, no smoother and no start with the one that was used.
    system = problem.system
    other = problem.at(tol=1e-6)
    other.system = type(system)(
        problem.structure.shape,
        problem.structure.spacing,
        problem.structure.physics,
        problem.structure.fixed,
        problem.structure.springs,
        "direct",
    )
    return float(other.evaluate(x).info["objective"])


def _confirmed(problem: TopologyProblem, watch: Watch) -> float:
    if not np.isfinite(watch.best):
        return np.nan
    try:
        return direct_value(problem, watch.x)
    except EvaluationFailed as failure:
        log.warning("the best design could not be evaluated by the direct solver: %s", failure)
        return np.inf


def benchmark(
    names: Iterable[str],
    methods: Sequence[str] = METHODS,
    starts: int = 3,
    budget: float = BUDGET,
    nx: int | None = None,
    done: Iterable[tuple[str, int, str]] = (),
) -> Iterator[DesignRun]:
    """All runs that are not `done` yet (keys of `DesignRun`), one after the other, problem by problem."""
    skipped = set(done)
    warm: set[tuple[str, int, str]] = set()
    for name in names:
        chosen = structure_problem(name, nx)
        for start in range(starts):
            for method in methods:
                if (chosen.name, start, method) in skipped:
                    continue
                compiled = (chosen.kind, chosen.grid.structure().dim, method)
                if compiled not in warm:
                    run_one(name, start, method, min(_WARM, budget), nx)
                    warm.add(compiled)
                yield run_one(name, start, method, budget, nx)
