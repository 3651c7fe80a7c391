"""Relax a structure in as few evaluations as possible."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sciopt.core import Budget, Evaluation, Preconditioned, Residual, Result, run
from sciopt.core.errors import InputError
from sciopt.neb.band_problem import BandSpace
from sciopt.neb.coordinates import Coordinates
from sciopt.neb.endpoints import is_rigid
from sciopt.neb.images import Images
from sciopt.neb.precondition import shifted_model, solver
from sciopt.neb.run_folder import RunFolder, single_point
from sciopt.rules import make_method
from sciopt.run_files import versions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ase import Atoms

    from sciopt.core.run import Snapshot
    from sciopt.core.types import Array

__all__ = ["RelaxResult", "minimum", "relax"]


@dataclass(frozen=True, eq=False)
class RelaxResult:
    """A relaxed structure: the atoms with energy and forces attached, and why the search stopped.

    Attributes
    ----------
    atoms
        The best configuration found.
    energy
        eV.
    fmax
        Largest force on a free atom, eV/Å.
    converged, reason
        Whether `fmax` is below the tolerance, and the sentence.
    calls
        Calculator calls.
    result
        The core's result, with its history.
    """

    atoms: Atoms
    energy: float
    fmax: float
    converged: bool
    reason: str
    calls: int
    result: Result


@dataclass
class _Configuration:
    """One configuration as a problem of the core; `booked` are the evaluator's calls already charged to someone."""

    evaluator: Images
    index: int
    x0: Array
    space: Any
    booked: int

    def start(self) -> Array:
        return self.x0

    def evaluate(self, x: Array) -> Evaluation:
        answer = self.evaluator.evaluate({self.index: x})[self.index]
        calls, self.booked = self.evaluator.calls - self.booked, self.evaluator.calls
        info = {"X": x[None], "energies": np.array([answer.energy]), "forces": answer.force[None]}
        return Evaluation(x, answer.force, answer.energy, cost={"calls": float(calls)}, info=info)


def minimum(
    evaluator: Images,
    index: int,
    x: Array,
    fmax: float,
    *,
    max_calls: float = 1000,
    observers: Sequence[Callable[[Snapshot], None]] = (),
    resume: Snapshot | None = None,
    **options: Any,
) -> Result:
    """Relax configuration `index` of `evaluator` from `x` (n,) by preconditioned L-BFGS in an adaptive trust radius."""
    coordinates, booked = evaluator.coordinates, evaluator.calls
    if coordinates.rigid and not is_rigid(evaluator.evaluate({index: x})[index], coordinates, x):
        # In an external field the molecule has to move and turn as a whole.
        coordinates = replace(coordinates, rigid=False)
    inverse = solver(shifted_model(coordinates, (x, x), molecule=2.0, solid=1.0)(x))
    space = Preconditioned(BandSpace(coordinates, 1, maxstep=0.3), lambda x, force: inverse(force))
    defaults = {"h0": 1.0, "auto": True, "auto_range": (0.2, 5.0), "radius": 0.2, "radius_max": 0.3, "curvature": 1e-4}
    method = make_method("lbfgs", space, **{**defaults, **options})
    stop = Residual(fmax, "fmax", "eV/Å") | Budget(max_calls, "calls")
    return run(_Configuration(evaluator, index, x, space, booked), method, stop, observers=observers, resume=resume)


def relax(
    atoms: Atoms,
    calculator: Any = None,
    *,
    fmax: float = 0.05,
    max_calls: int = 1000,
    out: str | Path | None = None,
    resume: bool = False,
    callback: Callable[[Snapshot], None] | None = None,
) -> RelaxResult:
    """Relax the free atoms of `atoms` at fixed cell; the input is not changed.

    L-BFGS preconditioned by a model Hessian (Lindh for molecules, pair stiffness otherwise), in a trust radius that
    adapts to how well the decrease of the energy was predicted.

    Parameters
    ----------
    atoms
        The start; constraints are respected.
    calculator
        An ASE calculator, a factory of one, or None to use the one attached to `atoms`.
    fmax
        Tolerance on the largest force on an atom, eV/Å.
    max_calls
        Budget of calculator calls.
    out
        Run folder: `log.csv`, `evaluations.traj`, `path.traj` (the accepted steps), `state.npz`, `relaxed.extxyz`,
        `summary.json`.
    resume
        Continue the run in `out`.
    callback
        Called with the core's `Snapshot` after every evaluation; raise StopIteration to stop.

    Raises
    ------
    InputError
        No calculator, nothing to move, a tolerance or budget that is not positive, or a folder that holds another run.
    EvaluationFailed
        When the start itself cannot be evaluated.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase.calculators.emt import EMT
    >>> atoms = bulk("Cu", cubic=True)
    >>> atoms.rattle(0.1, seed=1)
    >>> relax(atoms, EMT(), fmax=0.01).converged
    True
    """
    begun = time.perf_counter()
    if not fmax > 0:
        raise InputError(f"fmax is {fmax}; expected a positive number of eV/Å")
    if max_calls < 1:
        raise InputError(f"max_calls is {max_calls}; the first look at the structure costs 1")
    coordinates = Coordinates.of(atoms)
    calculator = attached(calculator, atoms)
    folder = RunFolder(out, coordinates, resume, calculator=calculator) if out is not None else None
    evaluator = Images(coordinates, calculator, on_evaluation=folder.evaluated if folder else None)
    settings = {"fmax": fmax}
    observers: list[Callable[[Snapshot], None]] = []
    if folder is not None:
        observers.append(partial(folder.band, settings=settings))
    if callback is not None:
        observers.append(callback)
    with evaluator:
        snapshot = None
        if folder is not None:
            folder.remembered(evaluator)
            snapshot = folder.snapshot(settings)
        start = coordinates.reduce(atoms.positions)
        result = minimum(evaluator, 0, start, fmax, max_calls=max_calls, observers=observers, resume=snapshot)
    value = result.value if result.value is not None else np.nan
    found = single_point(coordinates, result.x, value, result.evaluation.force)
    calls = int(result.cost.get("calls", 0))
    if folder is not None:
        found.write(folder.path / "relaxed.extxyz")
        wall = time.perf_counter() - begun
        folder.summary(
            {
                "sciopt": versions().get("sciopt"),
                "versions": versions(),
                "parameters": {"fmax": fmax, "max_calls": max_calls},
                "seed": None,
                "method": "lbfgs",
                "converged": result.converged,
                "reason": result.reason.message,
                "calls": {"images": calls},
                "wall_seconds": wall,
                "overhead_seconds": wall - evaluator.seconds,
                "energy": value,
                "fmax": result.residual,
            }
        )
    return RelaxResult(found, value, result.residual, result.converged, result.reason.message, calls, result)


def attached(calculator: Any, *configurations: Atoms) -> Any:
    """`calculator`, or the one attached to the first configuration that has one."""
    if isinstance(calculator, str):
        from sciopt.calculators import calculator_factory

        return calculator_factory(calculator)
    if calculator is not None:
        return calculator
    for atoms in configurations:
        if atoms.calc is not None:
            return atoms.calc
    raise InputError("no calculator: give calculator=..., or attach one to the initial configuration")
