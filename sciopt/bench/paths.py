"""The reaction-path benchmark: sciopt and ASE from the same initial paths, in one process, every claim re-checked."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.mep.neb import NEB, NEBOptimizer
from ase.optimize import FIRE, LBFGS

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
    from sciopt.problems import PathProblem

__all__ = ["ASE_METHODS", "Counted", "Outcome", "Start", "benchmark", "run_one", "starts"]

log = logging.getLogger("sciopt")

ASE_METHODS = ("ase-fire", "ase-lbfgs", "ase-ode")
SPRING = 0.1  # eV/Å², ASE's default
FMAX = 0.05  # eV/Å
BARRIER_TOLERANCE = 0.010  # eV
# An optimizer that stops at |F| < 0.05 is not blamed for the last digit of a recalculation.
FORCE_TOLERANCE = 0.0501
# Å, rms per component of each of three sine modes; a displacement of as much energy where there are more components.
AMPLITUDE, COMPONENTS = 0.06, 30


@dataclass(frozen=True, eq=False)
class Start:
    """One start of one problem: the initial path all methods begin from."""

    problem: PathProblem
    seed: int
    coordinates: Coordinates
    X: Array


@dataclass(frozen=True)
class Outcome:
    """What one method did from one start.

    Attributes
    ----------
    problem, seed, method, tuned
        Which run; `tuned` problems were looked at when constants were chosen.
    calls
        Calculator calls on movable images, counted outside the method.
    success
        The barrier is within 10 meV of the reference and the true band force below 0.05 eV/Å, both recalculated.
    claimed
        Whether the method said that it converged.
    barrier_error
        Recalculated barrier minus reference, eV.
    fmax
        Recalculated largest band force, eV/Å.
    cpu_ms
        CPU time of the method per band point, calculator excluded, ms.
    note
        Why it stopped, or what broke.
    """

    problem: str
    seed: int
    method: str
    tuned: bool
    calls: int
    success: bool
    claimed: bool
    barrier_error: float
    fmax: float
    cpu_ms: float
    note: str


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
    problem = path_problem(name)
    coordinates = Coordinates.of(problem.initial)
    with Images(coordinates, problem.calculator, count=problem.images) as evaluator:
        ends = ready_ends(evaluator, problem.initial, problem.final, problem.images, Ledger(evaluator))
    _, X = initial_path(ends, problem.images)
    for seed in range(count):
        amplitude = AMPLITUDE * min(1.0, (COMPONENTS / ends.coordinates.size) ** 0.5)
        bent = X if seed == 0 else perturb(X, ends.coordinates, amplitude, seed=seed)
        yield Start(problem, seed, ends.coordinates, bent)


def run_one(start: Start, method: str, max_calls: int = 2000, **options: Any) -> Outcome:
    """Run `method` from `start`, and judge the band it leaves behind by fresh calculations."""
    counted = Counted(start.problem.calculator)
    begun = time.process_time()
    runner = _run_ase if method in ASE_METHODS else _run_sciopt
    try:
        X, claimed, note, points = runner(start, method, counted, max_calls, options)
    except Exception as error:  # a method may break in any way; the benchmark counts it as a failure and goes on
        log.debug("%s failed on %s", method, start.problem.name, exc_info=True)
        X, claimed, note, points = None, False, f"{type(error).__name__}: {one_line(error)}", 0
    cpu = time.process_time() - begun - counted.seconds
    barrier_error, fmax = np.nan, np.nan
    if X is not None:
        try:
            barrier, fmax = judge(start, X)
            barrier_error = barrier - start.problem.barrier
        except SciOptError as error:
            note = f"{note}; cannot be recalculated: {error}"
    success = bool(claimed and abs(barrier_error) < BARRIER_TOLERANCE and fmax < FORCE_TOLERANCE)
    return Outcome(
        start.problem.name,
        start.seed,
        method,
        start.problem.tuned,
        # Both ends are calculated once by every method that begins at all.
        max(counted.calls - 2, 0),
        success,
        claimed,
        float(barrier_error),
        float(fmax),
        1e3 * cpu / max(points, 1),
        note,
    )


def judge(start: Start, X: Array) -> tuple[float, float]:
    """Barrier (eV) and largest climbing-image band force (eV/Å) of the band `X`, from fresh calculators."""
    with Images(start.coordinates, start.problem.calculator, count=len(X) - 2) as fresh:
        answers = fresh.evaluate(dict(enumerate(X)))
    energies = np.array([answers[i].energy for i in range(len(X))])
    forces = np.array([answers[i].force for i in range(1, len(X) - 1)])
    band = band_force(X, energies, forces, start.coordinates, BandLaw(SPRING))
    return float(energies.max() - energies[0]), float(start.coordinates.longest(band.force).max())


def benchmark(names: Iterable[str], methods: Sequence[str], count: int = 5, max_calls: int = 2000) -> Iterator[Outcome]:
    """All outcomes, one after the other, problem by problem."""
    for name in names:
        for start in starts(name, count):
            for method in methods:
                yield run_one(start, method, max_calls)


class _PerAtom(NEBOptimizer):
    """ASE's ODE12r for bands, held to the same criterion as all others.

    As it comes it stops on the largest force *component*, up to a factor of sqrt(3) looser than the largest force on
    an atom, and most of its results would count as failures.
    """

    def get_residual(self, F: Any = None, X: Any = None) -> float:
        return float(np.linalg.norm(self.neb.get_forces().reshape(-1, 3), axis=1).max())


def _run_sciopt(
    start: Start, method: str, counted: Counted, max_calls: int, options: dict[str, Any]
) -> tuple[Array, bool, str, int]:
    found = find_path(
        start.problem.initial,
        start.problem.final,
        counted,
        images=len(start.X) - 2,
        method=method,
        path=start.X,
        spring=SPRING,
        fmax=FMAX,
        max_calls=max_calls,
        **options,
    )
    return found.X, found.converged, found.reason, len(found.history)


def _run_ase(
    start: Start, method: str, counted: Counted, max_calls: int, options: dict[str, Any]
) -> tuple[Array, bool, str, int]:
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
    return X, bool(converged), "converged" if converged else "did not converge", (counted.calls - 2) // (len(X) - 2)
