"""Relax a structure in as few evaluations as possible."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sciopt.core import Budget, Evaluation, Preconditioned, Residual, Result, run
from sciopt.core.errors import InputError, RestartMismatch
from sciopt.neb.band_problem import BandSpace
from sciopt.neb.coordinates import Coordinates
from sciopt.neb.endpoints import is_rigid
from sciopt.neb.images import Images
from sciopt.neb.precondition import shifted_model, solver
from sciopt.neb.run_folder import RunFolder, single_point
from sciopt.neb.surrogate_relax import Nowhere, surrogate_relax
from sciopt.rules import make_method
from sciopt.run_files import versions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ase import Atoms

    from sciopt.core.run import Snapshot
    from sciopt.core.types import Array

__all__ = ["RELAX_METHODS", "RelaxResult", "minimum", "relax"]

RELAX_METHODS = ("lbfgs", "gp")

log = logging.getLogger("sciopt")


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
    spent: int = 0,
    **options: Any,
) -> Result:
    """Relax configuration `index` of `evaluator` from `x` (n,) by preconditioned L-BFGS in an adaptive trust radius.

    `spent` calls of an earlier search are charged to this one's first evaluation.
    """
    booked = evaluator.calls - spent
    coordinates = _free(evaluator, index, x)
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
    method: str = "lbfgs",
    fmax: float = 0.05,
    max_calls: int = 1000,
    out: str | Path | None = None,
    resume: bool = False,
    callback: Callable[[Snapshot], None] | None = None,
) -> RelaxResult:
    """Relax the free atoms of `atoms` at fixed cell; the input is not changed.

    ``"lbfgs"`` is preconditioned by a model Hessian (Lindh for molecules, pair stiffness otherwise), in a trust radius
    that adapts to how well the decrease of the energy was predicted. ``"gp"`` learns the energy by a Gaussian process
    and goes on with L-BFGS when it gets nowhere.

    Parameters
    ----------
    atoms
        The start; constraints are respected.
    calculator
        An ASE calculator, a factory of one, or None to use the one attached to `atoms`.
    method
        ``"lbfgs"`` or ``"gp"``.
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
        No calculator, an unknown method, nothing to move, a tolerance or budget that is not positive, or a folder that
        holds another run.
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
    if method not in RELAX_METHODS:
        raise InputError(f"unknown method {method!r}; a structure is relaxed by {' or '.join(RELAX_METHODS)}")
    if not fmax > 0:
        raise InputError(f"fmax is {fmax}; expected a positive number of eV/Å")
    if max_calls < 1:
        raise InputError(f"max_calls is {max_calls}; the first look at the structure costs 1")
    coordinates = Coordinates.of(atoms)
    calculator = attached(calculator, atoms)
    folder = RunFolder(out, coordinates, resume, calculator=calculator) if out is not None else None
    evaluator = Images(coordinates, calculator, on_evaluation=folder.evaluated if folder else None)
    with evaluator:
        if folder is not None:
            folder.remembered(evaluator)
        stages = _Stages(evaluator, fmax, max_calls, folder, callback)
        result = stages.run(method, coordinates.reduce(atoms.positions))
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
                "parameters": {"method": method, "fmax": fmax, "max_calls": max_calls},
                "seed": None,
                "method": stages.ran,
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


@dataclass
class _Stages:
    """The Gaussian process where it is asked for, and L-BFGS, alone or where the former got nowhere."""

    evaluator: Images
    fmax: float
    max_calls: int
    folder: RunFolder | None
    callback: Callable[[Snapshot], None] | None
    ran: str = field(default="", init=False)

    def run(self, method: str, x: Array) -> Result:
        begun = self.folder.stage() if self.folder is not None else None
        self.ran = method
        if method == "lbfgs":
            return self._descend(x, {"fmax": self.fmax}, 0)
        gp = {"fmax": self.fmax, "method": "gp"}
        why, spent = "the surrogate had got nowhere", 0
        if begun is None or begun[0] == "gp":
            result = self._surrogate(x if begun is None else begun[1][0], gp)
            if result.reason.kind not in ("stagnation", "stalled", "failed"):
                return result
            why, spent, x = result.reason.message, int(result.cost.get("calls", 0)), result.x
            log.warning("%s; going on with L-BFGS from the best configuration", why)
            if self.folder is not None:
                self.folder.begin("lbfgs", x[None])
        else:
            x, spent = begun[1][0], self._spent(gp)
        self.ran = "gp, then lbfgs"
        result = self._descend(x, {"fmax": self.fmax, "stage": "lbfgs"}, spent)
        message = f"{result.reason.message}, by L-BFGS after {why}"
        return replace(result, reason=replace(result.reason, message=message))

    def _surrogate(self, x: Array, settings: dict[str, Any]) -> Result:
        observers, snapshot = self._kept(settings)
        if self.folder is not None and snapshot is None:
            self.folder.begin("gp", x[None])
        method = surrogate_relax(_free(self.evaluator, 0, x), x, self.fmax)
        stop = Residual(self.fmax, "fmax", "eV/Å") | Budget(self.max_calls, "calls") | Nowhere()
        problem = _Configuration(self.evaluator, 0, x, method.space, 0)
        return run(problem, method, stop, observers=observers, resume=snapshot)

    def _descend(self, x: Array, settings: dict[str, Any], spent: int) -> Result:
        observers, snapshot = self._kept(settings)
        budget = self.max_calls
        return minimum(
            self.evaluator, 0, x, self.fmax, max_calls=budget, observers=observers, resume=snapshot, spent=spent
        )

    def _spent(self, settings: dict[str, Any]) -> int:
        """Calls of a stage that has ended, where its checkpoint is still the last one."""
        assert self.folder is not None
        try:
            snapshot = self.folder.snapshot(settings)
        except RestartMismatch:
            return 0
        return int(snapshot.history.cost.get("calls", 0)) if snapshot is not None else 0

    def _kept(self, settings: dict[str, Any]) -> tuple[list[Callable[[Snapshot], None]], Snapshot | None]:
        """Observers of a stage, and the checkpoint it continues from."""
        observers: list[Callable[[Snapshot], None]] = []
        if self.folder is not None:
            observers.append(partial(self.folder.band, settings=settings))
        if self.callback is not None:
            observers.append(self.callback)
        try:
            return observers, self.folder.snapshot(settings) if self.folder is not None else None
        except RestartMismatch:
            if "stage" not in settings:
                raise
            # The last checkpoint is that of the stage before.
            return observers, None


def _free(evaluator: Images, index: int, x: Array) -> Coordinates:
    """The coordinates of `evaluator`; in an external field a molecule has to move and turn as a whole."""
    coordinates = evaluator.coordinates
    if coordinates.rigid and not is_rigid(evaluator.evaluate({index: x})[index], coordinates, x):
        return replace(coordinates, rigid=False)
    return coordinates


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
