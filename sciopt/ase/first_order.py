"""Gradient descent, momentum and the rules of machine learning, with learning rates in Å."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any

from sciopt.ase.optimizer import StepOptimizer
from sciopt.ase.reach import Reach
from sciopt.rules import make_method

if TYPE_CHECKING:
    from pathlib import Path

    from sciopt.core.control import Control

__all__ = [
    "AMSGrad",
    "AdaBelief",
    "Adagrad",
    "Adam",
    "AdamW",
    "FullAdagrad",
    "GradientDescent",
    "Momentum",
    "Nesterov",
    "RMSprop",
]
