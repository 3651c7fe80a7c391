"""CPU time of design iterations: by size, by method, by part, and of a whole task against optimality criteria."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numba
import numpy as np

from sciopt.bench.fresh_process import in_fresh_process, peak_memory
from sciopt.bench.topopt import direct_value
from sciopt.bench.topopt_watch import Watch, watched
from sciopt.core.errors import SciOptError
from sciopt.core.run import run
from sciopt.core.stop import Budget
from sciopt.problems.topology import topology_problem
from sciopt.topopt.filters import Density
from sciopt.topopt.methods import design_method
from sciopt.topopt.optimize import optimize_topology

if TYPE_CHECKING:
    from sciopt.core.types import Array
    from sciopt.topopt.problem import TopologyProblem
    from sciopt.topopt.runner import Visit as Seen

__all__ = ["CASES", "Case", "Speed", "measure", "race", "speed_of"]


@dataclass(frozen=True)
class Case:
    """One problem at one size with one method.

    Attributes
    ----------
    group
        What it is asked for.
    problem, shape
        Name and elements per axis.
    radius
        Of the density filter, in elements.
    method
        A single-grid method.
    iterations
        Evaluations of the run.
    tol
        Relative residual of the equations.
    """

    group: str
    problem: str
    shape: tuple[int, ...]
    radius: float
    method: str
    iterations: int
    tol: float = 1e-3

    @property
    def name(self) -> str:
        """``problem-sizes-method``."""
        return f"{self.problem}-{'x'.join(map(str, self.shape))}-{self.method}"

    def make(self) -> TopologyProblem:
        """The problem."""
        return topology_problem(self.problem, *self.shape, filter=Density(self.radius), tol=self.tol)


CASES = (
    *(Case("plane", "mbb", (300, 100), 12.0, method, 40) for method in ("oc", "mma", "quasi-newton")),
    *(Case("space", "c3m", (48, 24, 24), 2.4, method, 20) for method in ("oc", "mma", "quasi-newton")),
    Case("space", "c3m", (96, 48, 48), 2.4, "quasi-newton", 15),
    *(Case("growth", "mbb", (3 * n, n), 6.0, "quasi-newton", 10) for n in (92, 292, 920)),
    *(Case("growth", "c3m", (2 * n, n, n), 2.4, "quasi-newton", 10) for n in (20, 44, 92)),
    Case("large", "c3m", (192, 96, 96), 2.4, "quasi-newton", 10),
)


class Speed(NamedTuple):
    """What one run cost.

    Attributes
    ----------
    dofs
        Unknowns.
    setup
        CPU seconds before the second evaluation begins: grid, filter, first solve.
    median, worst
        CPU seconds per design iteration after that.
    step, filtering
        Shares of that time outside of the problem, and inside it but outside of the equations and element energies.
    iterations
        Of the linear solver, median.
    peak
        Largest resident memory of the run, GB.
    objective
        Best of the run.
    wrong
        Relative difference from the direct solver's objective of that design, NaN where it would take too long.
    failed
        Evaluations that failed; with any, the times mean nothing.
    """

    dofs: int
    setup: float
    median: float
    worst: float
    step: float
    filtering: float
    iterations: float
    peak: float
    objective: float
    wrong: float
    failed: int


def speed_of(case: Case, iterations: int | None = None) -> Speed:
    """Run `case` in this process."""
    _compile(case)
    begun = time.process_time()
    problem, watch = watched(case.make())
    run(problem, design_method(case.method, problem.space), Budget(iterations or case.iterations))
    return summarized(problem, watch, begun)


def summarized(problem: TopologyProblem, watch: Watch, begun: float) -> Speed:
    """The costs of the evaluations, the first of which belongs to the setup that began at `begun`."""
    visits = watch.visits
    laps = np.diff([visit.clock for visit in visits])
    inside = np.array([visit.seconds for visit in visits[1:]])
    equations = np.array([visit.equations for visit in visits[1:]])
    total = float(laps.sum())
    peak = peak_memory()  # before the direct solver, which needs far more
    direct = direct_value(watch.problem, watch.x)
    return Speed(
        problem.system.dofs,
        visits[0].clock - begun,
        float(np.median(laps)),
        float(laps.max()),
        (total - float(inside.sum())) / total,
        float((inside - equations).sum()) / total,
        float(np.median([visit.iterations for visit in visits])),
        peak,
        watch.best,
        abs(watch.best - direct) / abs(direct),
        sum(not np.isfinite(visit.value) for visit in visits),
    )


def measure(cases: Sequence[Case], iterations: int | None = None) -> Iterator[str]:
    """One line per case as it is measured; then how costs grow with the size."""
    yield f"threads: numba {numba.get_num_threads()}, OMP_NUM_THREADS {os.environ.get('OMP_NUM_THREADS', 'not set')}"
    yield (
        f"{'case':30s} {'unknowns':>9s} {'CG its':>6s} {'CPU s/iteration':>15s} {'worst':>8s} {'setup':>8s} "
        f"{'step':>6s} {'filter':>6s} {'peak GB':>7s} {'objective':>10s} {'direct':>8s}"
    )
    found: list[tuple[Case, Speed]] = []
    for case in cases:
        try:
            speed = in_fresh_process(speed_of, case, iterations)
        except SciOptError as error:
            yield f"{case.name:30s} failed: {error}"
            continue
        found.append((case, speed))
        yield (
            f"{case.name:30s} {speed.dofs:9d} {speed.iterations:6.0f} {speed.median:15.4f} {speed.worst:8.3f} "
            f"{speed.setup:8.2f} {100 * speed.step:4.0f} % {100 * speed.filtering:4.0f} % {speed.peak:7.2f} "
            f"{speed.objective:10.5g} {speed.wrong:8.1e}" + (f"  {speed.failed} FAILED" if speed.failed else "")
        )
    for problem in dict.fromkeys(case.problem for case, _ in found if case.group == "growth"):
        grown = [speed for case, speed in found if (case.group, case.problem) == ("growth", problem)]
        if len(grown) > 1:
            power = np.log(grown[-1].median / grown[0].median) / np.log(grown[-1].dofs / grown[0].dofs)
            yield f"{problem}: CPU seconds per iteration grow like unknowns to the power {power:.2f}"


# The cantilever of the published comparison, and what optimality criteria reach on it in 60 iterations.
_RACE_SHAPE, _RACE_VOLUME, _RACE_RADIUS = (64, 32, 32), 0.2, 2.5
_RACE_TARGET, _RACE_MOST = 7.84, 200.0


class Raced(NamedTuple):
    """A whole task: what it reached and cost; `reached` is the CPU time to the target, NaN if it never got there."""

    objective: float
    solves: float
    seconds: float
    reached: float
    besides: float
    peak: float
    exact: float
    residual: float


def race(iterations: int | None = None) -> Iterator[str]:
    """The default method with its own stop against optimality criteria that run until they reach 7.84."""
    shape = " x ".join(map(str, _RACE_SHAPE))
    yield f"cantilever {shape}, volume {_RACE_VOLUME}, radius {_RACE_RADIUS}; target {_RACE_TARGET}"
    results = {}
    for method in ("auto", "oc"):
        raced = in_fresh_process(raced_by, method, iterations)
        results[method] = raced
        yield (
            f"  {method:5s} objective {raced.objective:.4f} after {raced.solves:.1f} solves, {raced.seconds:.1f} CPU s "
            f"({raced.reached:.1f} to the target), {100 * raced.besides:.0f} % of it outside of the equations, peak "
            f"{raced.peak:.2f} GB; solved to 1e-10: {raced.exact:.5f}, residual with the assembled matrix "
            f"{raced.residual:.1e}"
        )
    ours, other = results["auto"], results["oc"]
    yield (
        f"  auto/oc: CPU time {ours.seconds / other.seconds:.2f}, to the target {ours.reached / other.reached:.2f}; "
        f"objective {100 * (ours.objective / other.objective - 1):+.1f} %"
    )


def raced_by(method: str, iterations: int | None = None) -> Raced:
    """One task of the race, in this process."""
    _compile(Case("race", "c3m", _RACE_SHAPE, _RACE_RADIUS, "oc" if method == "oc" else "quasi-newton", 3))
    begun = time.process_time()
    problem, watch = watched(topology_problem("c3m", *_RACE_SHAPE, volume=_RACE_VOLUME, filter=Density(_RACE_RADIUS)))

    def there(seen: Seen) -> None:
        if method == "oc" and seen.record.objective <= _RACE_TARGET:
            raise StopIteration

    budget = _RACE_MOST if iterations is None else float(iterations)
    optimize_topology(problem, method, max_solves=budget, callback=there)
    watch.visits.pop()  # the tight solve of the report
    seconds = watch.visits[-1].clock - begun
    reached = next((visit.clock - begun for visit in watch.fine() if visit.value <= _RACE_TARGET), np.nan)
    besides = 1.0 - sum(visit.equations for visit in watch.visits) / seconds
    return Raced(watch.best, watch.equivalents, seconds, reached, besides, peak_memory(), *_exact(problem, watch.x))


def _exact(problem: TopologyProblem, x: Array) -> tuple[float, float]:
    """Compliance of `x` solved to 1e-10, and the residual of that solution with the assembled sparse matrix."""
    structure, system = problem.structure, problem.system
    moduli = problem.moduli(problem.field.realize(x)[0].density)
    u = system.solve(moduli, structure.loads, 1e-10).u[0].ravel()
    load = np.where(structure.fixed, 0.0, structure.loads[0]).ravel()
    missing = load - system.matrix(moduli) @ u
    return float(load @ u), float(np.linalg.norm(missing) / np.linalg.norm(load))


def _compile(case: Case) -> None:
    """A few iterations on a small grid, so that compiling is not measured."""
    small = tuple(max(n * 16 // max(case.shape), 8) for n in case.shape)
    problem = topology_problem(case.problem, *small, filter=Density(case.radius), tol=case.tol)
    run(problem, design_method(case.method, problem.space), Budget(4))
