"""Adagrad and RMSprop: steps measured by the squares of all forces so far, or of the recent ones."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any

from sciopt.ase.descent import FirstOrderOptimizer, Rate
from sciopt.core.control import Adaptive
from sciopt.core.signals import power

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Adagrad", "FullAdagrad", "RMSprop"]


class Adagrad(FirstOrderOptimizer):
    """Adagrad: ``v <- v + f^2``, ``s = learning_rate * f / (sqrt(v) + eps)``.

    Parameters
    ----------
    atoms, restart, logfile, trajectory, maxstep, kwargs
        See `FirstOrderOptimizer`.
    learning_rate
        In Å: the first step of every coordinate.
    eps
        Added to the metric, in eV/Å.
    weight_decay, decoupled
        Strength of the decay, and whether it acts on the step instead of the force. See `sciopt.ase.descent`: 0
        for atoms.

    References
    ----------
    Duchi, Hazan and Singer 2011, jmlr.org/papers/v12/duchi11a.html.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase.calculators.emt import EMT
    >>> atoms = bulk("Au", cubic=True)
    >>> atoms.rattle(0.1)
    >>> atoms.calc = EMT()
    >>> Adagrad(atoms, logfile=None).run(fmax=0.05)
    True
    """

    def __init__(
        self,
        atoms: Any,
        restart: str | Path | None = None,
        logfile: IO[str] | str | Path | None = "-",
        trajectory: Any = None,
        *,
        learning_rate: Rate = 0.05,
        eps: float = 1e-10,
        weight_decay: float = 0.0,
        decoupled: bool = False,
        maxstep: float | None = None,
        **kwargs: Any,
    ) -> None:
        options = {"learning_rate": learning_rate, "eps": eps, "weight_decay": weight_decay, "decoupled": decoupled}
        super().__init__(atoms, restart, logfile, trajectory, "adagrad", maxstep, options, **kwargs)


class FullAdagrad(FirstOrderOptimizer):
    """Adagrad with the full matrix: ``G <- G + f f^T``, ``s = learning_rate * (G^1/2 + eps)^-1 f``. Few atoms only.

    Parameters
    ----------
    atoms, restart, logfile, trajectory, maxstep, kwargs
        See `FirstOrderOptimizer`.
    learning_rate
        In Å: the length of the first step.
    eps
        Added to the metric, in eV/Å.
    weight_decay, decoupled
        Strength of the decay, and whether it acts on the step instead of the force. See `sciopt.ase.descent`: 0
        for atoms.

    References
    ----------
    Duchi, Hazan and Singer 2011, jmlr.org/papers/v12/duchi11a.html.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase.calculators.emt import EMT
    >>> atoms = bulk("Au", cubic=True)
    >>> atoms.rattle(0.1)
    >>> atoms.calc = EMT()
    >>> FullAdagrad(atoms, logfile=None).run(fmax=0.05)
    True
    """

    def __init__(
        self,
        atoms: Any,
        restart: str | Path | None = None,
        logfile: IO[str] | str | Path | None = "-",
        trajectory: Any = None,
        *,
        learning_rate: Rate = 0.1,
        eps: float = 1e-10,
        weight_decay: float = 0.0,
        decoupled: bool = False,
        maxstep: float | None = None,
        **kwargs: Any,
    ) -> None:
        options = {"learning_rate": learning_rate, "eps": eps, "weight_decay": weight_decay, "decoupled": decoupled}
        super().__init__(atoms, restart, logfile, trajectory, "full-adagrad", maxstep, options, **kwargs)


class RMSprop(FirstOrderOptimizer):
    """RMSprop: ``v <- beta v + (1 - beta) f^2``, ``s = learning_rate * f / (sqrt(v) + eps)``.

    Parameters
    ----------
    atoms, restart, logfile, trajectory, maxstep, kwargs
        See `FirstOrderOptimizer`.
    learning_rate
        In Å: about how far every coordinate moves. A constant rate makes RMSprop circle a minimum at half that
        distance, so the default adapts: from 0.02, by 0.7 whenever the power turns negative, by 1.1 after more than 3
        good steps, at most 0.1.
    beta
        Memory of the squared force.
    eps
        Added to the metric, in eV/Å.
    weight_decay, decoupled
        Strength of the decay, and whether it acts on the step instead of the force. See `sciopt.ase.descent`: 0
        for atoms.

    References
    ----------
    Tieleman and Hinton 2012, lecture 6.5.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase.calculators.emt import EMT
    >>> atoms = bulk("Au", cubic=True)
    >>> atoms.rattle(0.1)
    >>> atoms.calc = EMT()
    >>> RMSprop(atoms, logfile=None).run(fmax=0.05)
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
        beta: float = 0.9,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        decoupled: bool = False,
        maxstep: float | None = None,
        **kwargs: Any,
    ) -> None:
        if learning_rate is None:
            learning_rate = Adaptive(0.02, power, grow=1.1, shrink=0.7, patience=3, most=0.1)
        options = {
            "learning_rate": learning_rate,
            "beta": beta,
            "eps": eps,
            "weight_decay": weight_decay,
            "decoupled": decoupled,
        }
        super().__init__(atoms, restart, logfile, trajectory, "rmsprop", maxstep, options, **kwargs)
