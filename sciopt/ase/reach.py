"""Step lengths as ASE measures them: by the atom that moves farthest, or as an `Optimizable` says otherwise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sciopt.core.space import Flat
from sciopt.core.types import Array

__all__ = ["Reach"]


@dataclass(frozen=True)
class Reach(Flat):
    """Euclidean space whose lengths are ``optimizable.gradient_norm``; steps are capped first and damped after.

    Parameters
    ----------
    maxstep
        Longest step in Å.
    measure
        ``(vector) -> length``; for atoms the longest of the per-atom vectors.
    damping
        Factor on every step after it was capped, the order of ASE's L-BFGS.

    Examples
    --------
    >>> import numpy as np
    >>> Reach(maxstep=0.2, measure=np.linalg.norm, damping=0.5).clip(np.array([3.0, 4.0]))
    array([0.06, 0.08])
    """

    measure: Callable[[Array], float] = max
    damping: float = 1.0

    def clip(self, step: Array) -> Array:
        return super().clip(step) * self.damping

    def length(self, step: Array) -> float:
        return float(self.measure(step))

    def residual(self, x: Array, force: Array) -> float:
        return float(self.measure(force))
