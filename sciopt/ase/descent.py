"""Gradient descent and momentum, with learning rates for atoms.

The default learning rates, here and in the modules beside this one, are those that converged a rattled gold crystal and
an adatom on Al(100) (EMT), ethanol and furan (GFN2-xTB) and an elastic band (EMT) to 0.01 eV/Å. Every class takes a
number, or a control of `sciopt.core` (`Adaptive`, `Fade`, `Schedule`) that changes the rate as the run goes on.

Weight decay is here for research and for filters whose coordinates have a meaningful zero. Positions are no weights:
any decay pulls all atoms to the origin of coordinates, and the run converges to another structure, or not at all.
"""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any

from sciopt.ase.optimizer import StepOptimizer
from sciopt.ase.reach import Reach
from sciopt.core.control import Adaptive, Control
from sciopt.core.signals import power
from sciopt.rules import make_method

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["FirstOrderOptimizer", "GradientDescent", "Momentum", "Nesterov"]

Rate = float | Control


class FirstOrderOptimizer(StepOptimizer):
    """Base of the optimizers here: a named method whose steps move no atom farther than `maxstep`.

    Parameters
    ----------
    atoms, restart, logfile, trajectory, kwargs
        See `StepOptimizer`.
    name
        Of the method in `sciopt.rules`.
    maxstep
        Farthest any atom moves in one step, in Å.
    options
        Of the method.
    """

    def __init__(
        self,
        atoms: Any,
        restart: str | Path | None,
        logfile: IO[str] | str | Path | None,
        trajectory: Any,
        name: str,
        maxstep: float | None,
        options: dict[str, Any],
        **kwargs: Any,
    ) -> None:
        super().__init__(atoms, restart, logfile, trajectory, maxstep=maxstep, **kwargs)
        self.use(make_method(name, Reach(self.maxstep, measure=self.optimizable.gradient_norm), **options))


class GradientDescent(FirstOrderOptimizer):
    """Gradient descent: ``s = learning_rate * f``.

    Parameters
    ----------
    atoms, restart, logfile, trajectory, maxstep, kwargs
        See `FirstOrderOptimizer`.
    learning_rate
        In Å²/eV. A constant rate is stable below 2 over the largest curvature, which is 290 eV/Å² in N₂ and about 20
        eV/Å² in metals; so the default adapts: from 0.01, by 0.5 whenever the power turns negative, by 1.1 after more
        than 5 good steps, at most 0.1.
    weight_decay, decoupled
        Strength of the decay, and whether it acts on the step instead of the force. See `sciopt.ase.descent`: 0
        for atoms.

    References
    ----------
    Cauchy 1847.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase.calculators.emt import EMT
    >>> atoms = bulk("Au", cubic=True)
    >>> atoms.rattle(0.1)
    >>> atoms.calc = EMT()
    >>> GradientDescent(atoms, logfile=None).run(fmax=0.05)
    True
    """

    def __init__(
        self,
        atoms: Any,
        restart: str | Path | None = None,
        logfile: IO[str] | str | Path | None = "-",
        trajectory: Any = None,
        *,
        learning_rate: Rate | None = None,
        weight_decay: float = 0.0,
        decoupled: bool = False,
        maxstep: float | None = None,
        **kwargs: Any,
    ) -> None:
        if learning_rate is None:
            learning_rate = Adaptive(0.01, power, grow=1.1, shrink=0.5, patience=5, most=0.1)
        options = {"learning_rate": learning_rate, "weight_decay": weight_decay, "decoupled": decoupled}
        super().__init__(atoms, restart, logfile, trajectory, "gradient-descent", maxstep, options, **kwargs)


class Momentum(FirstOrderOptimizer):
    """Momentum: ``v <- beta v + f``, ``s = learning_rate * v``.

    Parameters
    ----------
    atoms, restart, logfile, trajectory, maxstep, kwargs
        See `FirstOrderOptimizer`.
    learning_rate
        In Å²/eV. Stable below ``2 (1 + beta)`` over the largest curvature.
    beta
        Part of the velocity that is kept.
    nesterov
        Look ahead: `Nesterov`.
    weight_decay, decoupled
        Strength of the decay, and whether it acts on the step instead of the force. See `sciopt.ase.descent`: 0
        for atoms.

    References
    ----------
    Polyak 1964, doi 10.1016/0041-5553(64)90137-5.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase.calculators.emt import EMT
    >>> atoms = bulk("Au", cubic=True)
    >>> atoms.rattle(0.1)
    >>> atoms.calc = EMT()
    >>> Momentum(atoms, logfile=None).run(fmax=0.05)
    True
    """

    def __init__(
        self,
        atoms: Any,
        restart: str | Path | None = None,
        logfile: IO[str] | str | Path | None = "-",
        trajectory: Any = None,
        *,
        learning_rate: Rate = 0.005,
        beta: float = 0.9,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        decoupled: bool = False,
        maxstep: float | None = None,
        **kwargs: Any,
    ) -> None:
        options = {
            "learning_rate": learning_rate,
            "beta": beta,
            "nesterov": nesterov,
            "weight_decay": weight_decay,
            "decoupled": decoupled,
        }
        super().__init__(atoms, restart, logfile, trajectory, "momentum", maxstep, options, **kwargs)


class Nesterov(FirstOrderOptimizer):
    """Nesterov momentum: ``v <- beta v + f``, ``s = learning_rate * (f + beta v)``.

    Parameters
    ----------
    atoms, restart, logfile, trajectory, maxstep, kwargs
        See `FirstOrderOptimizer`.
    learning_rate
        In Å²/eV. Stable below ``2 (1 + beta) / (1 + 2 beta)`` over the largest curvature.
    beta
        Part of the velocity that is kept.
    weight_decay, decoupled
        Strength of the decay, and whether it acts on the step instead of the force. See `sciopt.ase.descent`: 0
        for atoms.

    References
    ----------
    Nesterov 1983; Sutskever et al. 2013 for this form.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase.calculators.emt import EMT
    >>> atoms = bulk("Au", cubic=True)
    >>> atoms.rattle(0.1)
    >>> atoms.calc = EMT()
    >>> Nesterov(atoms, logfile=None).run(fmax=0.05)
    True
    """

    def __init__(
        self,
        atoms: Any,
        restart: str | Path | None = None,
        logfile: IO[str] | str | Path | None = "-",
        trajectory: Any = None,
        *,
        learning_rate: Rate = 0.004,
        beta: float = 0.9,
        weight_decay: float = 0.0,
        decoupled: bool = False,
        maxstep: float | None = None,
        **kwargs: Any,
    ) -> None:
        options = {"learning_rate": learning_rate, "beta": beta, "weight_decay": weight_decay, "decoupled": decoupled}
        super().__init__(atoms, restart, logfile, trajectory, "nesterov", maxstep, options, **kwargs)
