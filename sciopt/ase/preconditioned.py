"""L-BFGS and FIRE in the metric of a curvature model."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any, ClassVar

from sciopt.ase.optimizer import StepOptimizer
from sciopt.ase.precondition import preconditioner
from sciopt.ase.reach import Reach
from sciopt.core.space import Flat, Preconditioned
from sciopt.rules import make_method

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["PreconditionedFIRE", "PreconditionedLBFGS"]
