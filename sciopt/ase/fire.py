"""FIRE, FIRE 2.0 and ABC-FIRE, bit by bit those of ASE."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any, ClassVar

import numpy as np

from sciopt.ase.optimizer import StepOptimizer
from sciopt.core.errors import InputError
from sciopt.core.space import Flat
from sciopt.rules import make_method

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sciopt.core.evaluation import Evaluation
    from sciopt.core.method import State

__all__ = ["ABCFIRE", "FIRE", "FIRE2"]


class FIRE(StepOptimizer):
    """Fast inertial relaxation engine: ``v <- (1-a) v + a |v| f/|f|``, ``v <- v + dt f``, ``s = dt v``.

    Takes the keywords of ``ase.optimize.FIRE`` and the same steps to the last bit.

    Parameters
    ----------
    atoms, restart, logfile, trajectory, kwargs
        See `StepOptimizer`.
    dt, dtmax
        First and longest time step.
    maxstep
        Longest step in Å, the norm over all coordinates.
    Nmin
        Good steps before the time step grows.
    finc, fdec
        Factors by which the time step grows and shrinks.
    astart, fa, a
        Mixing factor after a stop, the factor by which it fades, and its first value.
    downhill_check
        Go back also when the energy went up. Not for bands, which have no energy of their own.
    position_reset_callback
        ``(optimizable, x, energy, last_energy)``, called before going back to `x`.

    Raises
    ------
    InputError
        For `downhill_check` on a band.

    References
    ----------
    Bitzek, Koskinen, Gähler, Moseler and Gumbsch 2006, doi 10.1103/PhysRevLett.97.170201.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase.calculators.emt import EMT
    >>> atoms = bulk("Au", cubic=True)
    >>> atoms.rattle(0.1)
    >>> atoms.calc = EMT()
    >>> FIRE(atoms, logfile=None).run(fmax=0.05)
    True
    """

    keeps_step: ClassVar[bool] = True

    def __init__(
        self,
        atoms: Any,
        restart: str | Path | None = None,
        logfile: IO[str] | str | Path | None = "-",
        trajectory: Any = None,
        *,
        dt: float = 0.1,
        maxstep: float | None = None,
        dtmax: float = 1.0,
        Nmin: int = 5,
        finc: float = 1.1,
        fdec: float = 0.5,
        astart: float = 0.1,
        fa: float = 0.99,
        a: float = 0.1,
        downhill_check: bool = False,
        position_reset_callback: Callable[..., Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(atoms, restart, logfile, trajectory, maxstep=maxstep, **kwargs)
        if downhill_check and not self.has_merit:
            raise InputError(
                "downhill_check compares energies, and a band or dimer has none that its forces derive from; "
                "leave it False"
            )
        self.downhill_check = downhill_check
        self.position_reset_callback = position_reset_callback
        self._first_mixing = a
        space = Flat(self.maxstep, norm="whole")
        method = make_method(
            "fire", space, dt=dt, dtmax=dtmax, grow=finc, shrink=fdec, patience=Nmin, alpha=astart, fade=fa
        )
        self.use(method, values=downhill_check)

    def _begin(self, ev: Evaluation) -> State:
        state = super()._begin(ev)
        # The first step mixes nothing, so that the first value of `a` may still be put in.
        return state._replace(memory=state.memory._replace(alpha=self._first_mixing))

    def _advance(self, state: State, ev: Evaluation) -> State:
        here = state.here
        if here.value is None or ev.value is None or ev.value <= here.value:
            return super()._advance(state, ev)
        if self.position_reset_callback is not None:
            self.position_reset_callback(self.optimizable, here.x, ev.value, here.value)
        self.optimizable.set_x(here.x)
        # ASE's FIRE starts again from the lower point, but along the force of the higher one: it points away from the
        # wall that was hit. A step of length zero has no power, which makes the control stop the motion.
        back = type(ev)(self.optimizable.get_x(), ev.force, here.value)
        return super()._advance(state._replace(step=np.zeros_like(state.step)), back)


class FIRE2(StepOptimizer):
    """FIRE 2.0: semi-implicit Euler ``v <- v + dt f``, then mixing; half a step back when the power turns negative.

    Takes the keywords of ``ase.optimize.FIRE2`` and the same steps to the last bit. A half step back costs one more
    evaluation within the same step.

    Parameters
    ----------
    atoms, restart, logfile, trajectory, kwargs
        See `StepOptimizer`.
    dt, dtmax, dtmin
        First, longest and shortest time step.
    maxstep
        Longest step in Å, the norm over all coordinates; with `use_abc` the longest change of one coordinate.
    Nmin
        Good steps before the time step grows.
    finc, fdec
        Factors by which the time step grows and shrinks.
    astart, fa
        Mixing factor after a stop, and the factor by which it fades.
    position_reset_callback
        Accepted and never called, as in ASE.
    use_abc
        Accelerated bias-corrected FIRE.

    References
    ----------
    Guénolé et al. 2020, doi 10.1016/j.commatsci.2020.109584; Echeverri Restrepo and Andric 2023,
    doi 10.1016/j.commatsci.2022.111978.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase.calculators.emt import EMT
    >>> atoms = bulk("Au", cubic=True)
    >>> atoms.rattle(0.1)
    >>> atoms.calc = EMT()
    >>> FIRE2(atoms, logfile=None, use_abc=True).run(fmax=0.05)
    True
    """

    keeps_step: ClassVar[bool] = True

    def __init__(
        self,
        atoms: Any,
        restart: str | Path | None = None,
        logfile: IO[str] | str | Path | None = "-",
        trajectory: Any = None,
        *,
        dt: float = 0.1,
        maxstep: float | None = None,
        dtmax: float = 1.0,
        dtmin: float = 2e-3,
        Nmin: int = 20,
        finc: float = 1.1,
        fdec: float = 0.5,
        astart: float = 0.25,
        fa: float = 0.99,
        position_reset_callback: Callable[..., Any] | None = None,
        use_abc: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(atoms, restart, logfile, trajectory, maxstep=maxstep, **kwargs)
        self.position_reset_callback = position_reset_callback
        # ABC-FIRE has clipped every component already.
        space = Flat() if use_abc else Flat(self.maxstep, norm="whole")
        method = make_method(
            "fire2",
            space,
            dt=dt,
            dtmax=dtmax,
            dtmin=dtmin,
            grow=finc,
            shrink=fdec,
            patience=Nmin,
            alpha=astart,
            fade=fa,
            abc=bool(use_abc),
            maxstep=self.maxstep,
        )
        self.use(method)


class ABCFIRE(FIRE2):
    """Accelerated bias-corrected FIRE: `FIRE2` with ``use_abc=True``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"use_abc": True, **kwargs})
