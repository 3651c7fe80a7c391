"""A pytest plugin that runs ASE's own tests with sciopt's optimizers under ASE's names.

Loaded with ``-p substitute`` into a process of its own. The environment variable SUBSTITUTE names the class that takes
the place of the optimizers sciopt has no namesake of.
"""

from __future__ import annotations

import inspect
import os
from typing import Any

import ase.optimize
import ase.optimize.fire
import ase.optimize.fire2
import ase.optimize.lbfgs
import pytest

import sciopt.ase

CLASSES = [getattr(sciopt.ase, name) for name in sciopt.ase.__all__ if name != "StepOptimizer"]
# There is no curvature model for a function of two variables.
MODELLED = (sciopt.ase.PreconditionedFIRE, sciopt.ase.PreconditionedLBFGS)
SECANT = (sciopt.ase.LBFGS, sciopt.ase.PreconditionedLBFGS)


def pytest_configure() -> None:
    """Put our classes where test modules will import ASE's from."""
    standin = getattr(sciopt.ase, os.environ["SUBSTITUTE"])
    for name in ("FIRE", "FIRE2", "LBFGS", "ODE12r"):
        setattr(ase.optimize, name, getattr(sciopt.ase, name))
    for name in ("BFGS", "QuasiNewton"):
        # Log files and trajectories name the class.
        setattr(ase.optimize, name, type(name, (standin,), {}))
    ase.optimize.MDMin = type("MDMin", (sciopt.ase.FIRE,), {})
    # Basin hopping takes its default optimizer from here.
    ase.optimize.fire.FIRE = sciopt.ase.FIRE
    ase.optimize.fire2.FIRE2 = sciopt.ase.FIRE2
    ase.optimize.lbfgs.LBFGS = sciopt.ase.LBFGS


def pytest_pycollect_makeitem(collector: pytest.Module, name: str, obj: Any) -> None:
    """Let ASE's parametrized tests run over our classes instead of ASE's."""
    if not (name.startswith("test_") and inspect.isfunction(obj)):
        return
    arguments = inspect.signature(obj).parameters
    if "optcls" in arguments:
        pytest.mark.parametrize("optcls", SECANT if name == "test_replay" else CLASSES)(obj)
    elif "optname" in arguments:
        obj.pytestmark = []
        pytest.mark.parametrize("optname", [cls for cls in CLASSES if cls not in MODELLED])(obj)
