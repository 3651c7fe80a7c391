"""Adam and its relatives: running means of the force, measured by running means of its square."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any

from sciopt.ase.descent import FirstOrderOptimizer, Rate

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["AMSGrad", "AdaBelief", "Adam", "AdamW"]


class Adam(FirstOrderOptimizer):
    """Adam: ``s = learning_rate * m^ / (sqrt(v^) + eps)``, m and v the running means of f and f², bias-corrected.

    Parameters
    ----------
    atoms, restart, logfile, trajectory, maxstep, kwargs
        See `FirstOrderOptimizer`.
    learning_rate
        In Å: the first step of every coordinate, and about the longest.
    betas
        Memory of the mean of the force and of its square.
    eps
        Added to the metric, in eV/Å.
    amsgrad
        Keep the largest v: `AMSGrad`.
    weight_decay, decoupled
        Strength of the decay, and whether it acts on the step instead of the force. See `sciopt.ase.descent`: 0
        for atoms.

    References
    ----------
    Kingma and Ba 2015, arXiv:1412.6980.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase.calculators.emt import EMT
    >>> atoms = bulk("Au", cubic=True)
    >>> atoms.rattle(0.1)
    >>> atoms.calc = EMT()
    >>> Adam(atoms, logfile=None).run(fmax=0.05)
    True
    """

    def __init__(
        self,
        atoms: Any,
        restart: str | Path | None = None,
        logfile: IO[str] | str | Path | None = "-",
        trajectory: Any = None,
        *,
        learning_rate: Rate = 0.02,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        amsgrad: bool = False,
        weight_decay: float = 0.0,
        decoupled: bool = False,
        maxstep: float | None = None,
        **kwargs: Any,
    ) -> None:
        options = {
            "learning_rate": learning_rate,
            "beta1": betas[0],
            "beta2": betas[1],
            "eps": eps,
            "amsgrad": amsgrad,
            "weight_decay": weight_decay,
            "decoupled": decoupled,
        }
        super().__init__(atoms, restart, logfile, trajectory, "adam", maxstep, options, **kwargs)


class AMSGrad(FirstOrderOptimizer):
    """AMSGrad: Adam with the running maximum of v, whose metric never shrinks.

    Parameters
    ----------
    atoms, restart, logfile, trajectory, maxstep, kwargs
        See `FirstOrderOptimizer`.
    learning_rate
        In Å: the first step of every coordinate, and about the longest.
    betas
        Memory of the mean of the force and of its square.
    eps
        Added to the metric, in eV/Å.
    weight_decay, decoupled
        Strength of the decay, and whether it acts on the step instead of the force. See `sciopt.ase.descent`: 0
        for atoms.

    References
    ----------
    Reddi, Kale and Kumar 2018, arXiv:1904.09237.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase.calculators.emt import EMT
    >>> atoms = bulk("Au", cubic=True)
    >>> atoms.rattle(0.1)
    >>> atoms.calc = EMT()
    >>> AMSGrad(atoms, logfile=None).run(fmax=0.05)
    True
    """

    def __init__(
        self,
        atoms: Any,
        restart: str | Path | None = None,
        logfile: IO[str] | str | Path | None = "-",
        trajectory: Any = None,
        *,
        learning_rate: Rate = 0.02,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        decoupled: bool = False,
        maxstep: float | None = None,
        **kwargs: Any,
    ) -> None:
        options = {
            "learning_rate": learning_rate,
            "beta1": betas[0],
            "beta2": betas[1],
            "eps": eps,
            "weight_decay": weight_decay,
            "decoupled": decoupled,
        }
        super().__init__(atoms, restart, logfile, trajectory, "amsgrad", maxstep, options, **kwargs)


class AdamW(FirstOrderOptimizer):
    """AdamW: Adam whose weight decay acts on the step, ``s <- s - learning_rate * weight_decay * x``.

    Parameters
    ----------
    atoms, restart, logfile, trajectory, maxstep, kwargs
        See `FirstOrderOptimizer`.
    learning_rate
        In Å: the first step of every coordinate, and about the longest.
    betas
        Memory of the mean of the force and of its square.
    eps
        Added to the metric, in eV/Å.
    weight_decay
        Strength of the decoupled decay, per step and learning rate. 0, which makes it Adam, unlike in machine learning:
        see `sciopt.ase.descent`.
    amsgrad
        Keep the largest v.

    References
    ----------
    Loshchilov and Hutter 2019, arXiv:1711.05101.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase.calculators.emt import EMT
    >>> atoms = bulk("Au", cubic=True)
    >>> atoms.rattle(0.1)
    >>> atoms.calc = EMT()
    >>> AdamW(atoms, logfile=None).run(fmax=0.05)
    True
    """

    def __init__(
        self,
        atoms: Any,
        restart: str | Path | None = None,
        logfile: IO[str] | str | Path | None = "-",
        trajectory: Any = None,
        *,
        learning_rate: Rate = 0.02,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        maxstep: float | None = None,
        **kwargs: Any,
    ) -> None:
        options = {
            "learning_rate": learning_rate,
            "beta1": betas[0],
            "beta2": betas[1],
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
        }
        super().__init__(atoms, restart, logfile, trajectory, "adamw", maxstep, options, **kwargs)


class AdaBelief(FirstOrderOptimizer):
    """AdaBelief: Adam with the variance of the force about its mean, ``v <- b2 v + (1 - b2) (f - m)^2 + eps_root``.

    Parameters
    ----------
    atoms, restart, logfile, trajectory, maxstep, kwargs
        See `FirstOrderOptimizer`.
    learning_rate
        In Å: the first step of every coordinate, and about the longest.
    betas
        Memory of the mean of the force and of its square.
    eps, eps_root
        Added to the metric in eV/Å, and to its square.
    weight_decay, decoupled
        Strength of the decay, and whether it acts on the step instead of the force. See `sciopt.ase.descent`: 0
        for atoms.

    References
    ----------
    Zhuang et al. 2020, arXiv:2010.07468.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase.calculators.emt import EMT
    >>> atoms = bulk("Au", cubic=True)
    >>> atoms.rattle(0.1)
    >>> atoms.calc = EMT()
    >>> AdaBelief(atoms, logfile=None).run(fmax=0.05)
    True
    """

    def __init__(
        self,
        atoms: Any,
        restart: str | Path | None = None,
        logfile: IO[str] | str | Path | None = "-",
        trajectory: Any = None,
        *,
        learning_rate: Rate = 0.02,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-16,
        eps_root: float = 1e-16,
        weight_decay: float = 0.0,
        decoupled: bool = True,
        maxstep: float | None = None,
        **kwargs: Any,
    ) -> None:
        options = {
            "learning_rate": learning_rate,
            "beta1": betas[0],
            "beta2": betas[1],
            "eps": eps,
            "eps_root": eps_root,
            "weight_decay": weight_decay,
            "decoupled": decoupled,
        }
        super().__init__(atoms, restart, logfile, trajectory, "adabelief", maxstep, options, **kwargs)
