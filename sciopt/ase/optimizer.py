"""The thin base class: one ASE step is one evaluation handed to a `StepMethod`."""

from __future__ import annotations

import logging
from typing import IO, TYPE_CHECKING, Any, ClassVar

import numpy as np
from ase.mep.dimer import DimerOptimizable
from ase.mep.neb import NEBOptimizable
from ase.optimize.optimize import DEFAULT_MAX_STEPS, Optimizer

from sciopt.ase.band import OnceBand
from sciopt.ase.restart import Progress, pack, read_file, unpack, write_file
from sciopt.core.errors import InputError
from sciopt.core.evaluation import Evaluation

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from sciopt.core.method import State, StepMethod
    from sciopt.core.types import Array

__all__ = ["StepOptimizer"]

log = logging.getLogger("sciopt")


class StepOptimizer(Optimizer):
    """Runs a `StepMethod` as an ASE optimizer.

    Everything a user sees (log lines, trajectories, observers, `irun`, `run`, `todict`) is ASE's own code. On top of
    it, `reason` says why a run ended and `force_calls` what it cost; restart files hold the complete state, so that a
    continued run equals the uninterrupted one; and a band of images is evaluated once per point (`OnceBand`).

    Subclasses call `use` with their method at the end of ``__init__``.

    Parameters
    ----------
    atoms
        Atoms, a filter around them, an ASE NEB, or any other ``ase.utils.abc.Optimizable``.
    restart
        JSON file to continue from if it exists, and to write after every step.
    logfile, trajectory
        As in ASE.
    maxstep
        Longest step in Å (default 0.2, ``Optimizer.defaults``).
    kwargs
        ASE's ``append_trajectory``, ``master``, ``comm`` and ``loginterval``.

    Attributes
    ----------
    method
        The `StepMethod` in use.
    state
        Its state, None before the first step.
    force_calls
        Gradients computed so far; a band counts every movable image.

    Raises
    ------
    RestartMismatch
        When `restart` was written by another optimizer, with other options or for another number of atoms.
    """

    keeps_step: ClassVar[bool] = False
    """Judge the step that was meant, as ASE's FIRE does, not the one that constraints or observers made of it."""

    method: StepMethod

    def __init__(
        self,
        atoms: Any,
        restart: str | Path | None = None,
        logfile: IO[str] | str | Path | None = "-",
        trajectory: Any = None,
        *,
        maxstep: float | None = None,
        **kwargs: Any,
    ) -> None:
        self.state: State | None = None
        self.force_calls = 0
        self._values = False
        self._stored: dict[str, Any] | None = None
        self._began = self._left = self._counted = np.empty(0)
        self._gradient: NDArray[np.float64] | None = None
        super().__init__(atoms, restart, logfile, trajectory, **kwargs)
        self._images = 1
        if isinstance(self.optimizable, NEBOptimizable):
            self.optimizable = OnceBand(self.optimizable.neb)
            self._images = self.optimizable.neb.nimages - 2
        self.maxstep = self.defaults["maxstep"] if maxstep is None else maxstep
        if not self.maxstep > 0:
            raise InputError(f"maxstep is {self.maxstep} Å; it must be positive")

    @property
    def has_merit(self) -> bool:
        """Whether a value exists that the forces are the gradient of. Bands and dimers have none."""
        return not isinstance(self.optimizable, NEBOptimizable | DimerOptimizable)

    @property
    def reason(self) -> str:
        """One sentence: why the last run ended, or where it stands."""
        if self._gradient is None or self.fmax is None:
            return "not run yet"
        fmax = float(self.optimizable.gradient_norm(self._gradient))
        cost = f"after {self.nsteps} steps ({self.force_calls} gradient evaluations)"
        if self.optimizable.converged(self._gradient, self.fmax):
            return f"fmax {fmax:.3g} < {self.fmax:g} {cost}"
        if self.nsteps >= self.max_steps:
            return f"not converged: the limit of steps was reached at fmax {fmax:.3g} >= {self.fmax:g} {cost}"
        return f"not converged: under way or interrupted at fmax {fmax:.3g} {cost}"

    def use(self, method: StepMethod, *, values: bool = False) -> None:
        """Run `method` from now on, continuing from the restart file if one was read.

        `values` asks for the merit at every point.
        """
        self.method = method
        self._values = values
        if self._stored is None:
            return
        progress = unpack(self._stored, self.restart, self)
        self.state, self._began, self._left = progress.state, progress.began, progress.left
        # A run killed while the calculator was busy has written the step but not yet its trajectory frame.
        if np.array_equal(self.optimizable.get_x(), self._began):
            self.optimizable.set_x(self._left)

    def initialize(self) -> None:
        self.state = None

    def read(self) -> None:
        self._stored = read_file(self, super().load)

    def dump(self, data: Any) -> None:
        if self.comm.rank == 0 and self.restart is not None:
            write_file(self.restart, data)

    def irun(self, fmax: float = 0.05, steps: int = DEFAULT_MAX_STEPS) -> Iterator[bool]:  # type: ignore[override]
        self._forget_band()
        return super().irun(fmax=fmax, steps=steps)

    def run(self, fmax: float = 0.05, steps: int = DEFAULT_MAX_STEPS) -> bool:  # type: ignore[override]
        self._forget_band()
        converged = bool(super().run(fmax=fmax, steps=steps))
        log.info("%s: %s", type(self).__name__, self.reason)
        return converged

    def log(self, gradient: NDArray[np.float64]) -> None:
        x = self.optimizable.get_x()
        self._count(x)
        self._gradient = gradient
        if self.nsteps > 0:
            # NEB may turn and shift images while it computes forces: that is no move of the user's.
            self._left = x
        super().log(gradient)

    def step(self, forces: NDArray[np.float64] | None = None) -> None:
        """Evaluate here, advance the method, go where it says."""
        # Forces first: NEB may turn and shift images while it computes them.
        gradient = self._get_gradient(forces)
        ev = self._evaluation(gradient)
        self._began = ev.x
        self.state = self._begin(ev) if self.state is None else self._advance(self.state, ev)
        while self.state.correction:
            self.optimizable.set_x(self.state.trial)
            ev = self._evaluation(self.optimizable.get_gradient())
            self.state = self.method.advance(self.state._replace(trial=ev.x), ev)
        self.optimizable.set_x(self.state.trial)
        self._left = self.optimizable.get_x()
        if self.restart is not None:
            self.dump(pack(Progress(self.state, self._began, self._left), self))

    def _begin(self, ev: Evaluation) -> State:
        return self.method.start(ev)

    def _advance(self, state: State, ev: Evaluation) -> State:
        """The state after `ev`, which need not be where the method wanted to go."""
        state = state._replace(trial=ev.x)
        if not self.keeps_step:
            # A point somebody else chose is a new start: learned from, never judged or taken back.
            moved = not np.array_equal(ev.x, self._left)
            state = state._replace(step=ev.x - state.here.x, correction=moved)
        return self.method.advance(state, ev)

    def _evaluation(self, gradient: NDArray[np.float64]) -> Evaluation:
        x = self.optimizable.get_x()
        self._count(x)
        value = float(self.optimizable.get_value()) if self._values and self.has_merit else None
        return Evaluation(x, -gradient, value)

    def _count(self, x: Array) -> None:
        if not np.array_equal(x, self._counted):
            self._counted = x
            self.force_calls += self._images

    def _forget_band(self) -> None:
        # Between two runs anything may have been changed: calculators, springs, the climbing image.
        if isinstance(self.optimizable, OnceBand):
            self.optimizable.forget()
