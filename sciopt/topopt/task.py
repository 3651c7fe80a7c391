"""A design task as data: a grid or mesh, what is minimized on it, and how."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from sciopt.core.errors import InputError
from sciopt.rules.named import METHODS, method_options
from sciopt.rules.named_box import BOX_METHODS
from sciopt.rules.projected import ProjectedQuasiNewton
from sciopt.topopt.field import Projection
from sciopt.topopt.filters import Density, Filter, Helmholtz, Sensitivity
from sciopt.topopt.material import RAMP, SIMP
from sciopt.topopt.methods import DESIGN_METHODS, design_method, quasi_newton
from sciopt.topopt.objectives import Compliance, Mechanism, MinimumVolume, ThermalCompliance
from sciopt.topopt.optimize import STOPS, optimize_topology
from sciopt.topopt.toml_table import suggestion

if TYPE_CHECKING:
    from sciopt.topopt.builder import Grid
    from sciopt.topopt.fenicsx.source import FEniCSx
    from sciopt.topopt.fenicsx.structure import MeshStructure
    from sciopt.topopt.problem import TopologyProblem
    from sciopt.topopt.result import DesignResult
    from sciopt.topopt.structure import Structure

__all__ = ["FILTERS", "OBJECTIVES", "SOLVERS", "Task", "task_options"]

FILTERS: Mapping[str, type[Filter]] = {"density": Density, "helmholtz": Helmholtz, "sensitivity": Sensitivity}
OBJECTIVES = ("compliance", "heat", "mechanism", "minimum-volume")
SOLVERS = ("auto", "multigrid", "direct")


@dataclass(frozen=True, eq=False)
class Task:
    """Everything `optimize_topology` needs, before any of it is computed.

    Parameters
    ----------
    name
        What the task is called.
    grid
        Supports, loads and passive regions of a grid or a mesh; or a structure.
    kind
        ``"compliance"``, ``"heat"``, ``"mechanism"`` or ``"minimum-volume"``.
    volume
        Largest share of the region that may be filled; not for ``"minimum-volume"``.
    limit
        Largest compliance, for ``"minimum-volume"`` only.
    worst
        The worst load case instead of their weighted sum, for compliances.
    filter, material, projection, symmetry, solver, tol
        See `TopologyProblem`.
    method, stop, max_solves, options
        See `optimize_topology`.

    Examples
    --------
    >>> from sciopt.topopt import Grid
    >>> Task("beam", Grid(8, 4).fix("left").load((8, 2), (0, -1)), volume=0.4).problem().volume
    0.4
    """

    name: str
    grid: Grid | FEniCSx | Structure | MeshStructure
    kind: str = "compliance"
    volume: float = 0.5
    limit: float | None = None
    worst: bool = False
    filter: Filter | None = None
    material: SIMP | RAMP = field(default_factory=SIMP)
    projection: Projection | None = None
    symmetry: tuple[str, ...] = ()
    solver: str = "auto"
    tol: float = 1e-3
    method: str = "auto"
    stop: str = "plateau"
    max_solves: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def problem(self) -> TopologyProblem:
        """The problem to be optimized.

        Raises
        ------
        InputError
            For anything that does not go together.
        """
        shared: dict[str, Any] = {
            name: getattr(self, name) for name in ("filter", "material", "projection", "symmetry", "solver", "tol")
        }
        if self.limit is not None and self.kind != "minimum-volume":
            raise InputError(f'limit: a limit on the compliance belongs to kind "minimum-volume", not to {self.kind!r}')
        match self.kind:
            case "compliance":
                return Compliance(self.grid, self.volume, worst=self.worst, **shared)
            case "heat":
                return ThermalCompliance(self.grid, self.volume, worst=self.worst, **shared)
            case "mechanism":
                return Mechanism(self.grid, self.volume, **shared)
            case "minimum-volume":
                if self.limit is None:
                    raise InputError('limit: kind "minimum-volume" needs the largest compliance that is allowed')
                return MinimumVolume(self.grid, self.limit, worst=self.worst, **shared)
        raise InputError(
            f"kind is {self.kind!r}{suggestion(self.kind, OBJECTIVES)}; expected one of {', '.join(OBJECTIVES)}"
        )

    def on_mesh(self) -> Task:
        """The same task on a dolfinx mesh, of the same elements if it is one on a grid."""
        from sciopt.topopt.builder import Grid
        from sciopt.topopt.fenicsx.from_grid import mesh_source
        from sciopt.topopt.structure import Structure

        found = self.grid.structure() if isinstance(self.grid, Grid) else self.grid
        return replace(self, grid=mesh_source(found)) if isinstance(found, Structure) else self

    def check_method(self) -> None:
        """Refuse unknown methods, options, stops and solvers before anything is spent.

        Raises
        ------
        InputError
            With the closest known one.
        """
        words = {"method": ("auto", *DESIGN_METHODS), "stop": tuple(STOPS), "solver": SOLVERS}
        for what, choices in words.items():
            word = getattr(self, what)
            if word not in choices:
                raise InputError(f"{what} is {word!r}{suggestion(word, choices)}; expected one of {', '.join(choices)}")
        known = task_options(self.method, self.kind)
        for option, value in self.options.items():
            if option not in known:
                raise InputError(
                    f"method {self.method!r} has no option {option!r}{suggestion(option, tuple(known))}; "
                    f"its options are {', '.join(known)}"
                )
            _check_option(option, value, known[option])

    def optimize(self, problem: TopologyProblem | None = None, **options: Any) -> DesignResult:
        """The answer of `optimize_topology`, with its other arguments as `options`; `problem` if it is at hand.

        Raises
        ------
        InputError
            Before anything is written, for anything that cannot be run.
        """
        self.check_method()
        problem = self.problem() if problem is None else problem
        design_method(_run_as(self.method, self.kind), problem.space, **self.options)
        given: dict[str, Any] = {"stop": self.stop, "max_solves": self.max_solves, **options, **self.options}
        return optimize_topology(problem, self.method, **given)


def task_options(method: str, kind: str = "compliance") -> dict[str, Any]:
    """Options of a method with their defaults.

    Examples
    --------
    >>> task_options("oc")["move"]
    0.2
    """
    runs = _run_as(method, kind)
    if runs in BOX_METHODS or runs in METHODS:
        return method_options(runs)
    rule = {one.name: one.default for one in fields(ProjectedQuasiNewton) if one.name != "begin"}
    # The coarse-to-fine method sets the first move limit by itself.
    return rule if method == "auto" else rule | {"move": inspect.signature(quasi_newton).parameters["move"].default}


def _run_as(method: str, kind: str) -> str:
    """The single-grid method behind ``auto``."""
    if method != "auto":
        return method
    return "mma" if kind == "minimum-volume" else "quasi-newton"


def _check_option(name: str, value: Any, default: Any) -> None:
    """Options of methods are numbers, and some are whole or switches; their defaults tell."""
    kind = type(default) if isinstance(default, bool | int) else float
    if kind is bool:
        right, expected = isinstance(value, bool), "true or false"
    elif kind is int:
        right, expected = isinstance(value, int) and not isinstance(value, bool) and value > 0, "a whole number above 0"
    else:
        right = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        expected = "a finite number"
    if not right:
        raise InputError(f"method option {name} is {value!r}; expected {expected}")
