"""L-BFGS and FIRE in the metric of a curvature model."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any, ClassVar

from sciopt.ase.lbfgs import SecantOptimizer
from sciopt.ase.optimizer import StepOptimizer
from sciopt.ase.precondition import preconditioner
from sciopt.ase.reach import Reach
from sciopt.core.space import Flat, Preconditioned
from sciopt.rules import make_method

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["PreconditionedFIRE", "PreconditionedLBFGS"]


class PreconditionedLBFGS(SecantOptimizer):
    """L-BFGS that starts from a curvature model H instead of ``alpha * 1``: ``s = L-BFGS(H^-1) f``.

    The model costs no evaluation: Lindh's for free molecules, springs between near atoms for everything else. A band
    has one block per image. A block is rebuilt once an atom has moved 0.3 Å since it was built.

    Parameters
    ----------
    atoms, restart, logfile, trajectory, kwargs
        See `StepOptimizer`. Atoms or a band; anything else needs a function as `precon`.
    precon
        ``"auto"``, a preconditioner of ``ase.optimize.precon``, or a function ``(x, force) -> step`` on the flat
        coordinates (n,) in Å, symmetric and positive definite in `force`. The first two are restored exactly by restart
        files, save for what an ASE preconditioner estimates from forces; what a function remembers is its own affair.
    maxstep
        Farthest any atom moves in one step, in Å.
    memory
        Pairs of steps and force differences kept.
    auto, auto_range
        Scale ``H^-1`` by the last pair, within these factors. The models are rather too stiff than too soft.
    curvature
        Accept a pair only if ``s.y > curvature |s| |y|``; None accepts every pair.
    trust
        Take bad steps back inside an adaptive radius, as in `LBFGS`.

    Raises
    ------
    InputError
        For an unknown `precon`, or ``"auto"`` on something without a model (cell filters).

    References
    ----------
    Packwood et al. 2016, doi 10.1063/1.4947024; Lindh et al. 1995, doi 10.1016/0009-2614(95)00646-L.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase.calculators.emt import EMT
    >>> atoms = bulk("Au", cubic=True)
    >>> atoms.rattle(0.1)
    >>> atoms.calc = EMT()
    >>> PreconditionedLBFGS(atoms, logfile=None).run(fmax=0.05)
    True
    """

    def __init__(
        self,
        atoms: Any,
        restart: str | Path | None = None,
        logfile: IO[str] | str | Path | None = "-",
        trajectory: Any = None,
        *,
        precon: Any = "auto",
        maxstep: float | None = None,
        memory: int = 100,
        auto: bool = True,
        auto_range: tuple[float, float] = (1.0, 4.0),
        curvature: float | None = 1e-8,
        trust: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(atoms, restart, logfile, trajectory, maxstep=maxstep, **kwargs)
        self.memory = memory
        space = Reach(self.maxstep, measure=self.optimizable.gradient_norm)
        radius: dict[str, Any] = {"radius": self.maxstep, "radius_max": self.maxstep} if trust else {}
        method = make_method(
            "lbfgs",
            Preconditioned(space, preconditioner(precon, self.optimizable)),
            memory=memory,
            h0=1.0,
            auto=auto,
            auto_range=auto_range,
            curvature=curvature,
            reset=trust,
            **radius,
        )
        self.use(method, values=trust)


class PreconditionedFIRE(StepOptimizer):
    """FIRE with forces turned by a curvature model H: ``v <- v + dt H^-1 f``.

    The time step has no unit here: at ``dt = 1`` the first step is Newton's.

    Parameters
    ----------
    atoms, restart, logfile, trajectory, kwargs
        See `StepOptimizer`.
    precon
        See `PreconditionedLBFGS`.
    maxstep
        Longest step in Å, the norm over all coordinates.
    dt, dtmax, Nmin, finc, fdec, astart, fa
        See `FIRE`.

    Raises
    ------
    InputError
        See `PreconditionedLBFGS`.

    References
    ----------
    Bitzek et al. 2006, doi 10.1103/PhysRevLett.97.170201; Packwood et al. 2016, doi 10.1063/1.4947024.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase.calculators.emt import EMT
    >>> atoms = bulk("Au", cubic=True)
    >>> atoms.rattle(0.1)
    >>> atoms.calc = EMT()
    >>> PreconditionedFIRE(atoms, logfile=None).run(fmax=0.05)
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
        precon: Any = "auto",
        dt: float = 0.5,
        maxstep: float | None = None,
        dtmax: float = 1.0,
        Nmin: int = 5,
        finc: float = 1.1,
        fdec: float = 0.5,
        astart: float = 0.1,
        fa: float = 0.99,
        **kwargs: Any,
    ) -> None:
        super().__init__(atoms, restart, logfile, trajectory, maxstep=maxstep, **kwargs)
        space = Preconditioned(Flat(self.maxstep, norm="whole"), preconditioner(precon, self.optimizable))
        method = make_method(
            "fire", space, dt=dt, dtmax=dtmax, grow=finc, shrink=fdec, patience=Nmin, alpha=astart, fade=fa
        )
        self.use(method)
