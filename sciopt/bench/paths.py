"""The reaction-path benchmark: sciopt and ASE from the same initial paths, in one process, every claim re-checked."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Container, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.mep.neb import NEB, NEBOptimizer
from ase.optimize import FIRE, LBFGS

from sciopt.bench.path_jobs import in_processes
from sciopt.bench.path_methods import ASE_METHODS, METHODS
from sciopt.bench.path_outcome import BARRIER_TOLERANCE, FORCE_TOLERANCE, Outcome
from sciopt.calculators import one_line
from sciopt.core.errors import SciOptError
from sciopt.neb.band import BandLaw, band_force
from sciopt.neb.coordinates import Coordinates
from sciopt.neb.images import Images
from sciopt.neb.initial_path import perturb
from sciopt.neb.ledger import Ledger
from sciopt.neb.path import find_path
from sciopt.neb.setup import initial_path, ready_ends
from sciopt.problems import path_problem

if TYPE_CHECKING:
    from ase import Atoms

    from sciopt.core.types import Array
    from sciopt.neb.path_result import PathResult
    from sciopt.problems import PathProblem

__all__ = [
    "ASE_METHODS",
    "Counted",
    "Left",
    "Outcome",
    "Start",
    "applicable",
    "benchmark",
    "claim_of",
    "first_start",
    "run_one",
    "starts",
]

log = logging.getLogger("sciopt")

SPRING = 0.1  # eV/Å², ASE's default
FMAX = 0.05  # eV/Å
# Å, rms per component of each of three sine modes; a displacement of as much energy where there are more components.
AMPLITUDE, COMPONENTS = 0.06, 30


@dataclass(frozen=True, eq=False)
class Start:
    """One start of one problem: the initial path all methods begin from."""

    problem: PathProblem
    seed: int
    coordinates: Coordinates
    X: Array

    def bent(self, seed: int) -> Start:
        """Start number `seed`: this one, or a smooth random perturbation of it."""
        if seed == 0:
            return self
        amplitude = AMPLITUDE * min(1.0, (COMPONENTS / self.coordinates.size) ** 0.5)
        return replace(self, seed=seed, X=perturb(self.X, self.coordinates, amplitude, seed=seed))


@dataclass(frozen=True, eq=False)
class Left:
    """What a method leaves behind.

    Parameters
    ----------
    X
        (M+2, n) the path.
    claim
        As in `Outcome`; empty when nothing is claimed.
    note
        Why it stopped.
    rounds
        Band points, or batches of evaluations.
    climbing
        The climbing image (from 0 among the movable) of a claimed saddle.
    fallback
        Whether another method had to finish.
    """

    X: Array
    claim: str
    note: str
    rounds: int
    climbing: int | None = None
    fallback: bool = False


class Counted:
    """A factory whose calculators count their calls and the CPU time spent in them."""

    def __init__(self, factory: Callable[[], Any]) -> None:
        self.factory = factory
        self.calls = 0
        self.seconds = 0.0

    def __call__(self) -> Any:
        calculator = self.factory()
        calculate = calculator.calculate

        def counted(*args: Any, **kwargs: Any) -> None:
            self.calls += 1
            begun = time.process_time()
            try:
                calculate(*args, **kwargs)
            finally:
                self.seconds += time.process_time() - begun

        calculator.calculate = counted
        return calculator


def starts(name: str, count: int) -> Iterator[Start]:
    """`count` starts of a problem: the initial path sciopt chooses, and smooth random perturbations of it."""
    first = first_start(name)
    return (first.bent(seed) for seed in range(count))


def first_start(name: str) -> Start:
    """The initial path that sciopt chooses for a problem."""
    problem = path_problem(name)
    coordinates = Coordinates.of(problem.initial)
    with Images(coordinates, problem.calculator, count=problem.images) as evaluator:
        ends = ready_ends(evaluator, problem.initial, problem.final, problem.images, Ledger(evaluator))
    return Start(problem, 0, ends.coordinates, initial_path(ends, problem.images)[1])


def run_one(start: Start, method: str, max_calls: int = 2000, **options: Any) -> Outcome:
    """Run `method` from `start`, and judge what it leaves behind by fresh calculations; `options` are passed on."""
    problem, chosen = start.problem, METHODS[method]
    counted, prior = Counted(problem.calculator), None
    if (factory := chosen.prior_factory(problem)) is not None:
        options["prior"] = prior = Counted(factory)
    left, note = None, ""
    begun = time.process_time()
    try:
        if method in ASE_METHODS:
            left = _run_ase(start, method, counted, max_calls, options)
        else:
            left = _run_sciopt(start, counted, max_calls, {**chosen.options, **options})
        note = left.note
    except Exception as error:  # a method may break in any way; the benchmark counts it as a failure and goes on
        log.debug("%s failed on %s", method, problem.name, exc_info=True)
        note = f"{type(error).__name__}: {one_line(error)}"
    cpu = time.process_time() - begun - counted.seconds - (prior.seconds if prior is not None else 0.0)
    barrier_error, fmax = np.nan, np.nan
    if left is not None:
        try:
            barrier, fmax = judge_saddle(start, left) if left.claim == "saddle" else judge(start, left.X)
            barrier_error = barrier - problem.barrier
        except SciOptError as error:
            note = f"{note}; cannot be recalculated: {error}"
    claim = left.claim if left is not None else ""
    rounds = left.rounds if left is not None else 0
    good = abs(barrier_error) < BARRIER_TOLERANCE and fmax < FORCE_TOLERANCE.get(claim, 0.0)
    return Outcome(
        problem=problem.name,
        seed=start.seed,
        method=method,
        tuned=problem.tuned,
        # Both ends are calculated once by every method that begins at all.
        calls=max(counted.calls - 2, 0),
        success=bool(good),
        claimed=bool(claim),
        barrier_error=float(barrier_error),
        fmax=float(fmax),
        cpu_ms=1e3 * cpu / max(rounds, 1),
        note=note,
        coordinates=start.coordinates.size,
        rounds=rounds,
        prior_calls=prior.calls if prior is not None else 0,
        cpu_seconds=cpu,
        claim=claim,
        fallback=left is not None and left.fallback,
    )


def judge(start: Start, X: Array) -> tuple[float, float]:
    """Barrier (eV) and largest climbing-image band force (eV/Å) of the band `X`, from fresh calculators."""
    with Images(start.coordinates, start.problem.calculator, count=len(X) - 2) as fresh:
        answers = fresh.evaluate(dict(enumerate(X)))
    energies = np.array([answers[i].energy for i in range(len(X))])
    forces = np.array([answers[i].force for i in range(1, len(X) - 1)])
    band = band_force(X, energies, forces, start.coordinates, BandLaw(SPRING))
    return float(energies.max() - energies[0]), float(start.coordinates.longest(band.force).max())


def judge_saddle(start: Start, left: Left) -> tuple[float, float]:
    """Height (eV) of the climbing image and the true force on it (eV/Å); NaN where no image climbs."""
    if left.climbing is None:
        return np.nan, np.nan
    place = left.climbing + 1
    with Images(start.coordinates, start.problem.calculator, count=len(left.X) - 2) as fresh:
        answers = fresh.evaluate({0: left.X[0], place: left.X[place]})
    return answers[place].energy - answers[0].energy, float(start.coordinates.longest(answers[place].force))


def applicable(names: Iterable[str], methods: Sequence[str]) -> tuple[dict[str, list[str]], dict[str, int]]:
    """The methods to run on each problem, and on how many problems each of the others has to be skipped."""
    todo, skipped = {}, dict.fromkeys(methods, 0)
    for name in names:
        problem = path_problem(name)
        todo[name] = [method for method in methods if METHODS[method].applies(problem)]
        for method in set(methods) - set(todo[name]):
            skipped[method] += 1
    return todo, {method: count for method, count in skipped.items() if count}


def benchmark(
    names: Iterable[str],
    methods: Sequence[str],
    count: int = 5,
    max_calls: int = 2000,
    jobs: int = 1,
    done: Container[tuple[str, int, str]] = (),
) -> Generator[Outcome, None, None]:
    """All outcomes as they come: problem by problem with one job, in any order with more.

    Parameters
    ----------
    names
        Problems.
    methods
        Keys of `METHODS`; where one does not apply it is left out.
    count
        Starts per problem.
    max_calls
        Budget per run.
    jobs
        Processes; all methods run from one start in the same one.
    done
        Keys of outcomes that are not wanted again.
    """
    todo, _ = applicable(names, methods)
    tasks = [
        (name, seed, left, max_calls)
        for name, chosen in todo.items()
        for seed in range(count)
        if (left := tuple(method for method in chosen if (name, seed, method) not in done))
    ]
    return in_processes(_from_one_start, tasks, jobs)


def _from_one_start(name: str, seed: int, methods: Sequence[str], max_calls: int) -> Iterator[Outcome]:
    start = _known_start(name).bent(seed)
    for method in methods:
        _warm_up(method)
        yield run_one(start, method, max_calls)


# The one at work, and those for warming up.
_known_start = lru_cache(maxsize=3)(first_start)


@cache
def _warm_up(method: str) -> None:
    """A few points of a small molecule and of a solid, so that imports and compilation are nobody's overhead."""
    for name in ("hcn_hnc", "cu_vacancy_31"):
        start = _known_start(name)
        if METHODS[method].applies(start.problem):
            run_one(start, method, max_calls=30)


class _PerAtom(NEBOptimizer):
    """ASE's ODE12r for bands, held to the same criterion as all others.

    As it comes it stops on the largest force *component*, up to a factor of sqrt(3) looser than the largest force on
    an atom, and most of its results would count as failures.
    """

    def get_residual(self, F: Any = None, X: Any = None) -> float:
        return float(np.linalg.norm(self.neb.get_forces().reshape(-1, 3), axis=1).max())


def _run_sciopt(start: Start, counted: Counted, max_calls: int, options: dict[str, Any]) -> Left:
    found = find_path(
        start.problem.initial,
        start.problem.final,
        counted,
        images=len(start.X) - 2,
        path=start.X,
        spring=SPRING,
        fmax=FMAX,
        max_calls=max_calls,
        **options,
    )
    # Only a band that a surrogate vouches for has errors.
    fallback = found.method.split()[0] == "gp" and found.energy_errors is None
    return Left(found.X, claim_of(found), found.reason, len(found.history), found.climbing, fallback)


def claim_of(found: PathResult) -> str:
    """What a search certified, as in `Outcome.claim`."""
    if not found.converged:
        return ""
    certify = str(found.parameters["certify"])
    if found.energy_errors is not None:
        return certify
    # Other methods evaluate every image where it lies, and converge the band when the saddle alone does not pass.
    return "saddle" if certify == "saddle" and not found.fmax < FMAX else "strict"


def _run_ase(start: Start, method: str, counted: Counted, max_calls: int, options: dict[str, Any]) -> Left:
    images: list[Atoms] = [start.coordinates.atoms(x) for x in start.X]
    for atoms in images:
        atoms.calc = counted()
    band = NEB(images, k=SPRING, climb=True, method="improvedtangent")
    points = max_calls // (len(images) - 2)
    if method == "ase-ode":
        converged = _PerAtom(band, method="ode", logfile=None).run(fmax=FMAX, steps=points)
    else:
        optimizer = {"ase-fire": FIRE, "ase-lbfgs": LBFGS}[method]
        converged = optimizer(band, logfile=None, **options).run(fmax=FMAX, steps=points)
    X = np.array([start.coordinates.reduce(atoms.positions) for atoms in images])
    note = "converged" if converged else "did not converge"
    return Left(X, "strict" if converged else "", note, (counted.calls - 2) // (len(X) - 2))
