"""Evaluations of a relaxation by Gaussian process, by preconditioned L-BFGS and by ASE's optimizers, from equal starts.

Ends of path problems, every free atom moved by a normal deviate of 0.1 Å per component. Run it as

    python scripts/relax_counts.py > data/benchmarks/relax.txt
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.optimize import BFGS, LBFGS

from sciopt.core.errors import EvaluationFailed
from sciopt.neb.coordinates import Coordinates
from sciopt.neb.relax import relax
from sciopt.problems import path_problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from ase import Atoms

FMAX, MOST, RATTLE = 0.05, 300, 0.1
# Constants of the method were chosen on the first eight.
TUNED = 8
STARTS = (
    "hcn_hnc",
    "ethanol_rotation",
    "formaldehyde_h2_co",
    "vinyl_alcohol_acetaldehyde",
    "malonaldehyde_transfer",
    "cyclobutene_butadiene",
    "au_al100_hop",
    "al_vacancy_31",
    "acetone_enolization",
    "butane_rotation",
    "formic_acid_dimer",
    "formohydroxamic_acid",
    "methyl_isocyanide",
    "hexatriene_cyclohexadiene",
    "diels_alder",
    "o_cu111_hop",
    "cu_vacancy_107",
    "pd_pd100_exchange",
)
METHODS = ("gp", "lbfgs", "ase-lbfgs", "ase-bfgs")


def start(name: str, seed: int) -> tuple[Atoms, Callable[[], Any]]:
    """The initial end of a problem, rattled, and its calculator."""
    problem = path_problem(name)
    atoms = problem.initial.copy()
    coordinates = Coordinates.of(atoms)
    x = coordinates.reduce(atoms.positions)
    return coordinates.atoms(x + np.random.default_rng(seed).normal(scale=RATTLE, size=x.size)), problem.calculator


def spent(method: str, atoms: Atoms, calculator: Callable[[], Any]) -> tuple[int, float]:
    """Evaluations and the energy reached; not finite where it did not converge."""
    if not method.startswith("ase-"):
        try:
            found = relax(atoms, calculator, method=method, fmax=FMAX, max_calls=MOST)
        except EvaluationFailed:
            return MOST, np.nan
        return found.calls, found.energy if found.converged else np.nan
    atoms = atoms.copy()
    atoms.calc = calculator()
    calculate, calls = atoms.calc.calculate, 0

    def counted(*args: Any, **kwargs: Any) -> None:
        nonlocal calls
        calls += 1
        calculate(*args, **kwargs)

    atoms.calc.calculate = counted
    optimizer = {"ase-lbfgs": LBFGS, "ase-bfgs": BFGS}[method](atoms, logfile=None)
    try:
        done = optimizer.run(fmax=FMAX, steps=MOST)
    except Exception:  # whatever a calculator raises is a failure of the relaxation
        return calls, np.nan
    return calls, float(atoms.get_potential_energy()) if done else np.nan


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--starts", default=",".join(STARTS))
    parser.add_argument("--methods", default=",".join(METHODS))
    given = parser.parse_args()
    methods = given.methods.split(",")
    say = sys.stdout.write
    say(f"Evaluations until fmax < {FMAX} eV/Å; starts rattled by {RATTLE} Å. E: energy above the lowest, meV.\n\n")
    say(f"{'start':28s}" + "".join(f"{method:>12s}{'E':>7s}" for method in methods) + "\n")
    counts: dict[str, list[float]] = {method: [] for method in methods}
    groups: dict[str, list[int]] = {"molecules": [], "solids": [], "tuned": [], "unseen": []}
    for name in given.starts.split(","):
        for seed in range(given.seeds):
            outcomes = [spent(method, *start(name, seed)) for method in methods]
            lowest = min((energy for _, energy in outcomes if np.isfinite(energy)), default=np.nan)
            row, number = "", len(counts[methods[0]])
            groups["solids" if start(name, seed)[0].pbc.any() else "molecules"].append(number)
            groups["tuned" if name in STARTS[:TUNED] else "unseen"].append(number)
            for method, (calls, energy) in zip(methods, outcomes, strict=True):
                counts[method].append(calls if np.isfinite(energy) else np.nan)
                above = f"{1e3 * (energy - lowest):7.0f}"
                row += f"{calls:12d}{above}" if np.isfinite(energy) else f"{'failed':>12s}{'':7s}"
            say(f"{name + f' {seed}':28s}{row}\n")
            sys.stdout.flush()
    say("\n")
    for method in methods:
        column = np.array(counts[method])
        say(f"{method:12s} median {np.nanmedian(column):5.1f}   failures {np.isnan(column).sum()} of {len(column)}")
        for other in methods:
            if other != method:
                ratios = column / np.array(counts[other])
                ratio = np.exp(np.nanmean(np.log(ratios)))
                say(f"   / {other} {ratio:.2f}")
        say("\n")
    for other in methods[1:]:
        say(f"\n{methods[0]} / {other}, geometric mean:")
        for label, chosen in groups.items():
            ratios = np.array(counts[methods[0]])[chosen] / np.array(counts[other])[chosen]
            say(f"   {label} ({len(ratios)}) {np.exp(np.nanmean(np.log(ratios))):.2f}")
    say("\n")


if __name__ == "__main__":
    main()
