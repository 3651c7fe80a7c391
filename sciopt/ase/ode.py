"""ODE12r: the force as a velocity field, followed with an adaptive time step."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any

from sciopt.ase.optimizer import StepOptimizer
from sciopt.ase.reach import Reach
from sciopt.rules import make_method

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["ODE12r"]


class ODE12r(StepOptimizer):
    """Forward Euler along the force, ``s = h f``, with the time step h set by an error estimate and a secant.

    Needs no energy, and was made for bands. A rejected step is one ASE step: the next goes back to the last accepted
    point and takes a shorter step from there. (In ``ase.optimize.ODE12r`` rejected steps are not counted.)

    Parameters
    ----------
    atoms, restart, logfile, trajectory, kwargs
        See `StepOptimizer`.
    maxstep
        Farthest any atom moves in one step, in Å.
    rtol
        Largest local error, in Å.
    contraction, growth
        C1 and C2 of the acceptance test: the residual must fall by ``1 - C1 h``, or grow at most by C2 while the
        error stays below `rtol`.

    References
    ----------
    Makri, Ortner and Kermode 2019, doi 10.1063/1.5064465.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase.calculators.emt import EMT
    >>> atoms = bulk("Au", cubic=True)
    >>> atoms.rattle(0.1)
    >>> atoms.calc = EMT()
    >>> ODE12r(atoms, logfile=None).run(fmax=0.05)
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
        rtol: float = 0.1,
        contraction: float = 1e-2,
        growth: float = 2.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(atoms, restart, logfile, trajectory, maxstep=maxstep, **kwargs)
        space = Reach(self.maxstep, measure=self.optimizable.gradient_norm)
        self.use(make_method("ode12r", space, rtol=rtol, contraction=contraction, growth=growth))
