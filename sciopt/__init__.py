"""sciopt: adaptive-step optimization for problems whose every evaluation is expensive."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from sciopt.core import SciOptError
    from sciopt.minimization import minimize
    from sciopt.neb.path import find_path
    from sciopt.neb.path_result import PathResult
    from sciopt.neb.relax import relax
    from sciopt.topopt import Compliance, Density, DesignResult, Grid, optimize_topology

__all__ = [
    "Compliance",
    "Density",
    "DesignResult",
    "Grid",
    "PathResult",
    "SciOptError",
    "__version__",
    "find_path",
    "minimize",
    "optimize_topology",
    "relax",
]

_HOMES = {
    "Compliance": "sciopt.topopt",
    "Density": "sciopt.topopt",
    "DesignResult": "sciopt.topopt",
    "Grid": "sciopt.topopt",
    "PathResult": "sciopt.neb.path_result",
    "SciOptError": "sciopt.core",
    "find_path": "sciopt.neb.path",
    "minimize": "sciopt.minimization",
    "optimize_topology": "sciopt.topopt",
    "relax": "sciopt.neb.relax",
}


def __getattr__(name: str) -> Any:
    """Import public names on first use, so that `import sciopt` stays light."""
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'sciopt' has no attribute {name!r}")
