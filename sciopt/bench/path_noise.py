"""Path searches on noisy forces: how many evaluations they take, and the true force where they say the saddle is."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Container, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sciopt.bench.path_jobs import in_processes
from sciopt.bench.path_methods import METHODS
from sciopt.bench.paths import FMAX, SPRING, Counted, first_start
from sciopt.calculators import one_line
from sciopt.neb.images import Images
from sciopt.neb.path import find_path

__all__ = ["NOISE_BARS", "NOISE_PROBLEMS", "NOISE_SIGMAS", "NoiseOutcome", "Noisy", "noise_benchmark", "noise_table"]

log = logging.getLogger("sciopt")

NOISE_PROBLEMS = (
    "au_al100_hop",
    "n_ni111_hop",
    "al_vacancy_31",
    "hcn_hnc",
    "ammonia_inversion",
    "malonaldehyde_transfer",
    "vinyl_alcohol_acetaldehyde",
    "formamide_formimidic_acid",
)
NOISE_SIGMAS = (0.03, 0.1)  # eV/Å: loosely converged self-consistency, and quantum Monte Carlo
NOISE_BARS = {0.03: (0.05, 30), 0.1: (0.08, 60)}
"""Largest true force on the climbing image (eV/Å) and most evaluations that count as good, by noise."""
_ENERGY_NOISE = 0.1  # Å: the energy's noise in units of the force's


class Noisy:
    """A factory whose calculators add Gaussian noise to energies and forces, the same to the same configuration.

    Parameters
    ----------
    factory
        Makes the calculator without noise.
    sigma
        Standard deviation of a force component, eV/Å; that of the energy is 0.1 Å times it.
    seed
        Other seeds give other noise.
    """

    def __init__(self, factory: Callable[[], Any], sigma: float, seed: int) -> None:
        self.factory, self.sigma, self.seed = factory, sigma, seed

    def __call__(self) -> Any:
        calculator = self.factory()
        calculate = calculator.calculate

        def noisy(atoms: Any = None, *args: Any, **kwargs: Any) -> None:
            calculate(atoms, *args, **kwargs)
            place = np.ascontiguousarray((atoms if atoms is not None else calculator.atoms).positions)
            digest = hashlib.sha256(place.tobytes()).digest()
            rng = np.random.default_rng([self.seed, *np.frombuffer(digest, dtype=np.uint32)])
            shift = _ENERGY_NOISE * self.sigma * rng.normal()
            results = dict(calculator.results)
            results["forces"] = results["forces"] + self.sigma * rng.normal(size=results["forces"].shape)
            for name in ("energy", "free_energy"):
                if name in results:
                    results[name] = results[name] + shift
            calculator.results = results

        calculator.calculate = noisy
        return calculator


@dataclass(frozen=True)
class NoiseOutcome:
    """What one search on noisy forces did.

    Attributes
    ----------
    problem, sigma, seed, method
        Which run; `sigma` in eV/Å.
    calls
        Calculator calls on movable images, counted outside the method.
    claimed
        Whether the method said that it converged.
    force
        True force on the reported climbing image, recalculated without noise, eV/Å; NaN where none climbs.
    barrier_error
        Reported barrier minus reference, eV.
    saddle_error
        True energy of the reported climbing image minus reference, eV.
    good
        Within the bar for this noise.
    note
        Why it stopped, or what broke.
    """

    problem: str
    sigma: float
    seed: int
    method: str
    calls: int
    claimed: bool
    force: float
    barrier_error: float
    saddle_error: float
    good: bool
    note: str

    @property
    def key(self) -> tuple[str, float, int, str]:
        """What makes two outcomes the same run."""
        return self.problem, self.sigma, self.seed, self.method


def run_noisy(name: str, sigma: float, seed: int, method: str, max_calls: int) -> NoiseOutcome:
    """One search with ``noise=sigma`` from the initial path sciopt chooses, and the truth about its saddle."""
    start = first_start(name)
    problem = start.problem
    counted = Counted(Noisy(problem.calculator, sigma, seed))
    force = barrier_error = saddle_error = np.nan
    claimed = False
    try:
        found = find_path(
            problem.initial,
            problem.final,
            counted,
            images=problem.images,
            path=start.X,
            spring=SPRING,
            fmax=FMAX,
            noise=sigma,
            max_calls=max_calls,
            **METHODS[method].options,
        )
        claimed, note, barrier_error = found.converged, found.reason, found.barrier - problem.barrier
        if found.climbing is not None:
            with Images(start.coordinates, problem.calculator, count=problem.images) as exact:
                answers = exact.evaluate({0: found.X[0], 1: found.X[found.climbing + 1]})
            force = float(start.coordinates.longest(answers[1].force))
            saddle_error = answers[1].energy - answers[0].energy - problem.barrier
    except Exception as error:  # a method may break in any way; the benchmark counts it as a failure and goes on
        log.debug("%s failed on %s", method, name, exc_info=True)
        note = f"{type(error).__name__}: {one_line(error)}"
    calls = max(counted.calls - 2, 0)
    least, most = NOISE_BARS.get(sigma, (np.inf, np.inf))
    return NoiseOutcome(
        name,
        sigma,
        seed,
        method,
        calls,
        claimed,
        force,
        float(barrier_error),
        float(saddle_error),
        bool(claimed and force < least and calls <= most),
        note,
    )


def noise_benchmark(
    names: Iterable[str],
    methods: Sequence[str],
    sigmas: Sequence[float] = NOISE_SIGMAS,
    seeds: int = 5,
    max_calls: int = 400,
    jobs: int = 1,
    done: Container[tuple[str, float, int, str]] = (),
) -> Generator[NoiseOutcome, None, None]:
    """All outcomes as they come; what is in `done` is not run again."""
    tasks = [
        task
        for name in names
        for sigma in sigmas
        for seed in range(seeds)
        for method in methods
        if (task := (name, sigma, seed, method)) not in done
    ]
    return in_processes(_one, [(*task, max_calls) for task in tasks], jobs)


def _one(*task: Any) -> Iterator[NoiseOutcome]:
    yield run_noisy(*task)


def noise_table(outcomes: Sequence[NoiseOutcome]) -> Iterator[str]:
    """Per method, noise and problem: medians and the worst of evaluations, true force and errors of the barrier."""
    width = max([len(o.problem) for o in outcomes] + [7]) + 2
    for method in dict.fromkeys(o.method for o in outcomes):
        for sigma in sorted({o.sigma for o in outcomes}):
            chosen = [o for o in outcomes if (o.method, o.sigma) == (method, sigma)]
            if not chosen:
                continue
            bar = NOISE_BARS.get(sigma)
            wanted = f", good: true force < {bar[0]:g} within {bar[1]} evaluations" if bar is not None else ""
            yield f"{method}, {sigma:g} eV/Å of noise{wanted}; medians (worst)"
            heads = ("problem".ljust(width), "good", "claimed", "evaluations", "force", "barrier meV", "saddle meV")
            yield "  " + heads[0] + "".join(head.rjust(18) for head in heads[1:])
            for problem in dict.fromkeys(o.problem for o in chosen):
                yield _row(problem.ljust(width), [o for o in chosen if o.problem == problem])
            yield _row("all".ljust(width), chosen)


def _row(title: str, runs: Sequence[NoiseOutcome]) -> str:
    cells = [f"{sum(o.good for o in runs)}/{len(runs)}", f"{sum(o.claimed for o in runs)}/{len(runs)}"]
    cells.append(_spread([o.calls for o in runs], "{:.0f}"))
    cells.append(_spread([o.force for o in runs], "{:.3f}"))
    cells.append(_spread([1e3 * abs(o.barrier_error) for o in runs], "{:.1f}"))
    cells.append(_spread([1e3 * abs(o.saddle_error) for o in runs], "{:.1f}"))
    return "  " + title + "".join(cell.rjust(18) for cell in cells)


def _spread(values: Sequence[float], form: str) -> str:
    """Median and largest; what is unknown is worse than any number."""
    ordered = np.nan_to_num(np.sort(np.array(values, dtype=float)), nan=np.inf)
    return f"{form.format(np.median(ordered))} ({form.format(ordered.max())})"
