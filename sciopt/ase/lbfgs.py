"""L-BFGS, bit by bit that of ASE, with the options ASE's does not have."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any

import numpy as np

from sciopt.ase.optimizer import StepOptimizer
from sciopt.ase.reach import Reach
from sciopt.core.errors import InputError
from sciopt.core.evaluation import Evaluation
from sciopt.rules import make_method

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["LBFGS", "SecantOptimizer"]


class SecantOptimizer(StepOptimizer):
    """Base of the quasi-Newton optimizers, which can learn from the trajectory of another run."""

    def _replay_trajectory(self, traj: Any) -> None:
        """Learn from the frames of a trajectory of atoms, all but the last, where the next step begins."""
        # Frames are points somebody else chose: none is judged.
        self._left = np.empty(0)
        for number in range(len(traj) - 1):
            frame = traj[number]
            value = float(frame.get_potential_energy()) if self._values and self.has_merit else None
            ev = Evaluation(frame.get_positions().ravel(), frame.get_forces().ravel(), value)
            self.state = self._begin(ev) if self.state is None else self._advance(self.state, ev)


class LBFGS(SecantOptimizer):
    """Limited-memory BFGS without a line search: ``s = damping * H f``, no atom moving farther than `maxstep`.

    With its defaults, and with any of ASE's keywords, it takes the steps of ``ase.optimize.LBFGS`` to the last bit.

    Parameters
    ----------
    atoms, restart, logfile, trajectory, kwargs
        See `StepOptimizer`.
    maxstep
        Farthest any atom moves in one step, in Å; with `trust` the first and largest radius.
    memory
        Pairs of steps and force differences kept.
    damping
        Factor on every step.
    alpha
        First curvature in eV/Å².
    use_line_search
        Refused: see *Raises*.
    trust
        Run inside a radius that adapts to how well the last step was predicted, and take bad steps back. Where no
        energy exists (bands) the work along the step takes its place. Pairs must then show positive curvature.
    auto
        Scale the first curvature by the last pair instead of keeping `alpha`.
    curvature
        Accept a pair only if ``s.y > curvature |s| |y|``; None accepts every pair.
    reset
        Drop all pairs when one shows negative curvature or the direction points uphill.

    Raises
    ------
    InputError
        For `use_line_search`, which needs a merit function and several evaluations per step; `trust` is the safeguard
        that needs neither. For `trust` together with `damping`, and for a `maxstep` above 1 Å.

    References
    ----------
    Nocedal 1980, doi 10.1090/S0025-5718-1980-0572855-7.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase.calculators.emt import EMT
    >>> atoms = bulk("Au", cubic=True)
    >>> atoms.rattle(0.1)
    >>> atoms.calc = EMT()
    >>> LBFGS(atoms, logfile=None).run(fmax=0.05)
    True
    """

    def __init__(
        self,
        atoms: Any,
        restart: str | Path | None = None,
        logfile: IO[str] | str | Path | None = "-",
        trajectory: Any = None,
        *,
        maxstep: float | None = None,
        memory: int = 100,
        damping: float = 1.0,
        alpha: float = 70.0,
        use_line_search: bool = False,
        trust: bool = False,
        auto: bool = False,
        curvature: float | None = None,
        reset: bool = False,
        **kwargs: Any,
    ) -> None:
        if use_line_search:
            raise InputError(
                "use_line_search=True is not offered: a line search needs an energy its forces derive from, and "
                "several evaluations per step; use trust=True, which takes bad steps back at one evaluation each"
            )
        if trust and damping != 1.0:
            raise InputError(f"trust=True sets the step length itself, but damping is {damping}; give one of the two")
        if memory < 1:
            raise InputError(f"memory is {memory}; L-BFGS needs at least one pair")
        super().__init__(atoms, restart, logfile, trajectory, maxstep=maxstep, **kwargs)
        if self.maxstep > 1.0:
            raise InputError(f"maxstep is {self.maxstep} Å; steps above 1 Å are much too large, the default is 0.2 Å")
        self.memory = memory
        self.damping = damping
        radius: dict[str, Any] = {}
        if trust:
            curvature, reset = 1e-8 if curvature is None else curvature, True
            radius = {"radius": self.maxstep, "radius_max": self.maxstep}
        method = make_method(
            "lbfgs",
            Reach(self.maxstep, measure=self.optimizable.gradient_norm, damping=damping),
            memory=memory,
            h0=1.0 / alpha,
            auto=auto,
            curvature=curvature,
            reset=reset,
            **radius,
        )
        self.use(method, values=trust)
