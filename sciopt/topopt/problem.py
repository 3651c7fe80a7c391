"""What all topology problems share: variables, equations, caches, and answers for the core."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sciopt.core.errors import InputError, ShapeError
from sciopt.core.evaluation import Evaluation
from sciopt.core.tree import describe
from sciopt.topopt.field import DensityField, Projection
from sciopt.topopt.filters import Density, Sensitivity
from sciopt.topopt.gradient import GradientCheck, check_gradient
from sciopt.topopt.hessian import design_products
from sciopt.topopt.length_scale import LEAST_RADIUS
from sciopt.topopt.material import RAMP, SIMP

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sciopt.core.box import Box
    from sciopt.core.types import Array
    from sciopt.topopt.field import Realization
    from sciopt.topopt.filters import Filter
    from sciopt.topopt.grid.system import Solution
    from sciopt.topopt.hessian import Curve

__all__ = ["Response", "TopologyProblem"]


class Response(NamedTuple):
    """What one realization answered.

    Attributes
    ----------
    value
        The objective.
    slope
        (elements,) its derivative with respect to the element moduli.
    iterations
        Of the linear solver.
    report
        Numbers worth telling, by name.
    curve
        The second derivative by the moduli, along directions; None where it is not offered.
    """

    value: float
    slope: Array
    iterations: int
    report: dict[str, Any]
    curve: Curve | None = None


class TopologyProblem:
    """Densities in [0, 1] on the design elements of a grid or a mesh; subclasses say what is minimized.

    Parameters
    ----------
    grid
        A `Grid` or a `FEniCSx` mesh, or their `Structure` or `MeshStructure`.
    volume
        Largest share of the region (passive solid included, passive void not) that may be filled.
    filter
        `Density`, `Helmholtz` or `Sensitivity`; the radius is in units of length, which are element widths unless the
        grid says otherwise.
    material
        `SIMP` or `RAMP`.
    projection
        A `Projection` for black-and-white designs, or None.
    symmetry
        Axes about whose middle planes the design is mirrored, for example ``("x",)``.
    solver
        ``auto``, ``multigrid`` or ``direct``.
    tol
        Relative residual of the equations. The objective's error is second order in it.

    Raises
    ------
    InputError
        For input that cannot be run; the message names the field.
    """

    def __init__(
        self,
        grid: Any,
        volume: float = 0.5,
        filter: Filter | None = None,
        material: SIMP | RAMP | None = None,
        projection: Projection | None = None,
        symmetry: Sequence[str] = (),
        solver: str = "auto",
        tol: float = 1e-3,
    ) -> None:
        structure = grid.structure() if hasattr(grid, "structure") else grid
        structure.check()
        # A Structure or a MeshStructure, which answer the same questions.
        self.structure: Any = structure
        self.volume = float(volume)
        self.filter: Filter = Density(LEAST_RADIUS * max(structure.spacing)) if filter is None else filter
        self.material: SIMP | RAMP = SIMP() if material is None else material
        self.full_material = self.material
        self.projection = projection
        self.symmetry = tuple(symmetry)
        self.solver = solver
        self.tol = tol
        self.penalty = 1.0
        self._prepare()

    def _prepare(self) -> None:
        structure = self.structure
        if not 0.0 < self.volume <= 1.0:
            raise InputError(f"volume is {self.volume}; expected a fraction in (0, 1]")
        if not 0.0 < self.tol < 1.0:
            raise InputError(f"tol is {self.tol}; expected a relative residual between 0 and 1, for example 1e-3")
        available = self.volume * structure.region - structure.solid_volume
        if available <= 0.0:
            raise InputError(
                f"volume is {self.volume}, but the passive solid alone fills "
                f"{structure.solid_volume / structure.region:.3g} of the region"
            )
        self.field = DensityField(structure, structure.filtering(self.filter), self.projection, self.symmetry)
        self.capacity = available / structure.region
        self.system = structure.system(self.solver)
        self.filter_rule = self.field.filter
        self._solid_share = structure.solid_volume / structure.region
        # Last displacements by realization, to start the next solve from.
        self._warm: dict[int, Array] = {}
        self._space = self._make_space()

    def _make_space(self) -> Box:
        space: Box = self.structure.box(self.field.weights, self.capacity)
        return space

    @property
    def space(self) -> Box:
        """Box and volume of the design variables."""
        return self._space

    @property
    def size(self) -> int:
        """Number of design variables."""
        return int(self.structure.size)

    @property
    def constrained(self) -> bool:
        """Whether evaluations carry constraints beside the volume."""
        return False

    @property
    def fragile(self) -> bool:
        """Whether bold first steps end in a trap: a stationary design that does nothing."""
        return False

    def describe(self) -> dict[str, Any]:
        """What was asked, as plain data."""
        return {
            "kind": type(self).__name__,
            "volume": self.volume,
            "symmetry": list(self.symmetry),
            **{name: describe(getattr(self, name)) for name in ("filter", "material", "projection")},
            "structure": self.structure.describe(),
        }

    @property
    def beta(self) -> float:
        """Sharpness of the projection now, 0 without one."""
        return 0.0 if self.field.projection is None else self.field.projection.beta

    def start(self) -> Array:
        """(n,) the uniform design that uses the volume up."""
        structure = self.structure
        fraction = self.capacity * structure.region / structure.design_volume
        return np.full(self.size, min(fraction, 1.0))

    def at(self, penalty: float | None = None, beta: float | None = None, tol: float | None = None) -> TopologyProblem:
        """The same problem with a softer material, another sharpness or another tolerance; caches are shared.

        Parameters
        ----------
        penalty
            0 for a material linear in the density, 1 for the full penalty.
        beta
            Sharpness of the projection; 0 turns it off.
        tol
            Relative residual of the equations.
        """
        other = copy.copy(self)
        if penalty is not None:
            other.material, other.penalty = self.full_material.softened(penalty), penalty
        if beta is not None and self.projection is not None:
            projection = replace(self.projection, beta=beta) if beta > 0 else None
            other.field = replace(self.field, projection=projection)
        if tol is not None:
            other.tol = tol
        return other

    def coarsened(self) -> TopologyProblem:
        """The same problem on elements twice as large; the filter keeps its size, but spans 1.5 elements at least."""
        other = copy.copy(self)
        other.structure = self.structure.coarsened()
        # A thin solid skin becomes twice as thick; what is left to design must not shrink for that.
        share = self.capacity * self.structure.region / self.structure.design_volume
        material, solid = other.structure.material, other.structure.solid
        other.volume = float((share * material[~solid].sum() + material[solid].sum()) / material.sum())
        least = LEAST_RADIUS * max(other.structure.spacing)
        other.filter = replace(self.filter, radius=max(self.filter.radius, least))
        other._prepare()
        other.field = replace(other.field, projection=self.field.projection)
        return other

    def widened(self, factor: float) -> TopologyProblem:
        """The same problem with a filter `factor` times as wide."""
        other = copy.copy(self)
        other.filter = replace(self.filter, radius=factor * self.filter.radius)
        other.field = replace(self.field, filter=self.structure.filtering(other.filter))
        other._space = other._make_space()
        return other

    def evaluate(self, x: Array) -> Evaluation:
        """Solve the equations for the design `x` (n,) and differentiate the objective."""
        if np.shape(x) != (self.size,):
            raise ShapeError(f"x has shape {np.shape(x)}, the problem has {self.size} design elements: ({self.size},)")
        found: Evaluation = self.structure.everywhere(lambda: self._evaluated(x))
        return found

    def _evaluated(self, x: Array) -> Evaluation:
        structure = self.structure
        realizations = self.field.realize(x)
        answers = [(real, self._respond(self.moduli(real.density), i)) for i, real in self._decisive(realizations)]
        # The worst realization decides. Where two are equally bad the derivative jumps; nonmonotone methods bear that.
        worst, response = max(answers, key=lambda answer: answer[1].value)
        slope = structure.material[structure.design] * self.material.slope(worst.density)
        slope = slope * response.slope[structure.design]
        gradient = self.filter_rule.modify(x, self.field.pullback(worst, slope))
        blueprint = realizations[len(realizations) // 2].density
        filled = self.space.dot(self.field.weights, x) + self._solid_share
        grey = greyness(blueprint, structure.volumes, structure.total)
        info = {"density": blueprint, "volume": filled, "greyness": grey}
        cost = {"solves": float(len(answers)), "iterations": float(response.iterations)}
        evaluation = self._evaluation(x, response.value, gradient, info | response.report, cost)
        # Products need what the last solve left behind.
        last, _ = answers[-1]
        hessian = None if self.constrained or worst is not last else design_products(self, worst, response)
        return evaluation if hessian is None else replace(evaluation, hessian=hessian)

    def moduli(self, density: Array) -> Array:
        """(elements,) moduli of the design with these (n,) densities."""
        structure = self.structure
        found = structure.material * self.material.modulus(np.asarray(1.0))
        found[~structure.solid] = 0.0
        found[structure.design] = structure.material[structure.design] * self.material.modulus(density)
        return found

    def check_gradient(self, x: Array | None = None, seed: int = 0) -> GradientCheck:
        """Compare the derivative along a random direction with central differences; see `GradientCheck`."""
        if isinstance(self.filter, Sensitivity):
            raise InputError(
                "the sensitivity filter changes the gradient on purpose: there is no function it belongs to"
            )
        return check_gradient(self.at(tol=1e-11), x, seed)

    def _evaluation(
        self, x: Array, value: float, gradient: Array, info: dict[str, Any], cost: dict[str, float]
    ) -> Evaluation:
        return Evaluation(x, -gradient, value, cost=cost, info=info | {"objective": value})

    def _decisive(self, realizations: tuple[Realization, ...]) -> list[tuple[int, Realization]]:
        """The realizations that must be solved for the worst to be known, with their numbers.

        Last comes the eroded one, the worst of designs that work.
        """
        return list(enumerate(realizations))[::-1]

    def _respond(self, moduli: Array, number: int) -> Response:
        raise NotImplementedError

    def _solve(self, moduli: Array, loads: Array, number: int) -> Solution:
        """Solve for several loads, starting from the last answer for the same realization."""
        guess = self._warm.get(number)
        solution = self.system.solve(moduli, loads, self.tol, guess)
        self._warm[number] = solution.u
        return solution


def greyness(density: Array, volumes: Array, total: Callable[[Array], Array] = np.asarray) -> float:
    """Mean of ``4 rho (1 - rho)``, weighted by (n,) `volumes`: 0 for black and white, 1 for grey all over.

    `total` sums over ranks.

    Sigmund 2007, doi 10.1007/s00158-006-0087-x.

    Examples
    --------
    >>> import numpy as np
    >>> greyness(np.array([0.0, 1.0, 0.5, 0.5]), np.ones(4))
    0.5
    """
    grey, all_of_it = total(np.array([volumes @ (4.0 * density * (1.0 - density)), volumes.sum()]))
    return float(grey / all_of_it)
