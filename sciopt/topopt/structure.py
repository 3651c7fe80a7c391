"""The arrays that describe one structure on one grid."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from sciopt.core.errors import InputError, ShapeError
from sciopt.core.tree import describe
from sciopt.core.types import Array, Mask
from sciopt.topopt.grid.element import Physics
from sciopt.topopt.grid.system import GridSystem
from sciopt.topopt.lattice import Lattice
from sciopt.topopt.ranks import ALONE
from sciopt.topopt.space import DesignSpace

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

    from sciopt.topopt.filters import Filter, GridFilter
    from sciopt.topopt.ranks import Ranks
    from sciopt.topopt.result import DesignResult

__all__ = ["Structure"]


@dataclass(frozen=True, eq=False)
class Structure:
    """Where material may be, what holds it and what loads it.

    Element fields are flat, x fastest: element (i, j, k) is entry ``i + nx (j + ny k)``. Nodal fields have the shape
    (c, ny+1, nx+1) or (c, nz+1, ny+1, nx+1) with c components: displacements along the axes, or one temperature.

    Parameters
    ----------
    shape
        Number of elements per axis, (nx, ny) or (nx, ny, nz).
    spacing
        Edges of an element, in units of length.
    physics
        `Elasticity` or `Conduction`.
    material
        (elements,) the part of each element that may hold material: 1 inside, 0 in passive void and outside; between
        them on coarsened grids.
    solid
        (elements,) what is filled for good.
    fixed
        (c, *nodes) supports, and every node that touches no element with material.
    loads
        (cases, c, *nodes) forces or heat.
    weights
        (cases,) weight of each case in the objective.
    springs
        (c, *nodes) stiffness of springs to the ground.
    outputs
        (c, *nodes), or None: the output displacement of a mechanism is ``sum(outputs * u)``.

    Raises
    ------
    ShapeError
        When an array does not fit the grid.
    """

    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    physics: Physics
    material: Array
    solid: Mask
    fixed: Mask
    loads: Array
    weights: Array
    springs: Array
    outputs: Array | None = None

    def __post_init__(self) -> None:
        nodal = (self.physics.components(self.dim), *self.lattice.nodes)
        elements = (self.lattice.elements,)
        expected = {"material": elements, "solid": elements, "fixed": nodal, "springs": nodal}
        if self.outputs is not None:
            expected["outputs"] = nodal
        seen = {name: np.shape(getattr(self, name)) for name in expected}
        seen |= {"loads": np.shape(self.loads)[1:], "weights": np.shape(self.weights)}
        expected |= {"loads": nodal, "weights": np.shape(self.loads)[:1]}
        for name, shape in expected.items():
            if seen[name] != shape:
                raise ShapeError(
                    f"structure: {name} has shape {np.shape(getattr(self, name))}; a grid of "
                    f"{' x '.join(map(str, self.shape))} elements needs {shape}"
                    + (" for every case" if name == "loads" else "")
                )

    @property
    def dim(self) -> int:
        """2 or 3."""
        return len(self.shape)

    @cached_property
    def lattice(self) -> Lattice:
        """Shape and spacing, with the coordinates of nodes and centres."""
        return Lattice(self.shape, self.spacing)

    @cached_property
    def design(self) -> Mask:
        """(elements,) the elements whose densities are variables."""
        return (self.material > 0.0) & ~self.solid

    @cached_property
    def volumes(self) -> Array:
        """(n_design,) volume of each variable's element, in elements of this grid."""
        return self.material[self.design]

    @cached_property
    def size(self) -> int:
        """Number of design variables."""
        return int(np.count_nonzero(self.design))

    @cached_property
    def held(self) -> Mask:
        """(*nodes) nodes that touch an element with material."""
        return self.lattice.touching((self.material > 0.0).reshape(self.lattice.cells))

    @cached_property
    def supports(self) -> Mask:
        """(c, *nodes) the fixed components of nodes that touch material."""
        return self.fixed & self.held

    @property
    def elements(self) -> int:
        """Number of elements, those without material included."""
        return self.lattice.elements

    @cached_property
    def region(self) -> float:
        """Volume that may hold material, in elements of this grid."""
        return float(self.material.sum())

    @cached_property
    def solid_volume(self) -> float:
        """Volume that is filled for good, in elements of this grid."""
        return float(self.material[self.solid].sum())

    @cached_property
    def design_volume(self) -> float:
        """Volume of the design, in elements of this grid."""
        return float(self.volumes.sum())

    @property
    def unit(self) -> float:
        """Volume in which `region` and `solid_volume` are counted: that of an element."""
        return float(np.prod(self.spacing))

    @property
    def ranks(self) -> Ranks:
        """The processes that share it."""
        return ALONE

    def everywhere(self, compute: Callable[[], Any]) -> Any:
        """What `compute` says; a grid lives on one rank."""
        return compute()

    def total(self, part: Any) -> Any:
        """The sum over all ranks of what each has summed; a grid lives on one."""
        return part

    def describe(self) -> Any:
        """What tells this structure from others, as plain data."""
        return describe(self)

    def system(self, solver: str) -> GridSystem:
        """The equations, to be solved by ``auto``, ``direct`` or ``multigrid``."""
        return GridSystem(self.shape, self.spacing, self.physics, self.fixed, self.springs, solver)

    def filtering(self, filter: Filter) -> GridFilter:
        """`filter` bound to the design elements."""
        return filter.on(self)

    def box(self, weights: Array | None = None, capacity: float = np.inf, full: bool = False) -> DesignSpace:
        """The space of densities in [0, 1], of which `weights` (n_design,) take at most (or just) `capacity`."""
        return DesignSpace(0.0, 1.0, weights, capacity, full)

    def variables(self, given: ArrayLike) -> Array:
        """Design variables (n_design,) from an array of them or from one of the grid's shape, (nx, ny[, nz]).

        Raises
        ------
        InputError
            For another shape.
        """
        found = np.asarray(given, dtype=float)
        if found.shape == self.shape:
            found = found.T.ravel()[self.design]
        if found.shape != (self.size,):
            raise InputError(
                f"start has shape {np.shape(given)}; expected ({self.size},) design variables "
                f"or the grid's {self.shape}"
            )
        return found

    def shaped(self, field: Array) -> Array:
        """An element field (elements,) as (nx, ny) or (nx, ny, nz)."""
        return field.reshape(self.lattice.cells).T

    def warnings(self, density: Array, radius: float) -> list[str]:
        """Sentences about the design (n_design,) and the filter radius that a user should read."""
        from sciopt.topopt.length_scale import radius_warning, thin_warning

        found = (radius_warning(radius, self.spacing), thin_warning(self, self.full(density), radius))
        return [sentence for sentence in found if sentence is not None]

    def files(self) -> tuple[str, ...]:
        """Names of the files that hold a design."""
        return ("design.npz", "design.png", "design.vti", "design.stl")

    def write(self, file: Path, result: DesignResult) -> None:
        """Write a design; see `DesignResult.write`."""
        from sciopt.topopt.files import write_design

        write_design(file, result)

    def plot(self, result: DesignResult) -> Figure:
        """Figure of a design."""
        from sciopt.topopt.plot import plot_design

        return plot_design(result)

    def full(self, x: Array, solid: float = 1.0, void: float = 0.0) -> Array:
        """The element field (elements,) with `x` (n_design,) on the design and constants elsewhere."""
        field = np.full(self.lattice.elements, void)
        field[self.solid] = solid
        field[self.design] = self._variables(x)
        return field

    def check(self) -> None:
        """Ask whether the structure can be solved at all.

        Raises
        ------
        InputError
            For numbers that are not finite, contradictory passive regions, missing, useless or misplaced loads,
            supports and outputs, and parts that can move freely. One sentence says which, where, and what to do.
        """
        from sciopt.topopt.checks import check_structure

        check_structure(self)

    def can_coarsen(self, least: int = 3) -> bool:
        """Whether the coarsened structure has `least` elements along each axis and still passes `check`."""
        if min((n + 1) // 2 for n in self.shape) < least:
            return False
        try:
            self.coarsened().check()
        except InputError:
            return False
        return True

    def coarsened(self) -> Structure:
        """The same structure on elements twice as long; see `sciopt.topopt.coarsen`."""
        from sciopt.topopt.coarsen import coarsened

        return coarsened(self)

    def prolong(self, fine: Any, x: Array) -> Array:
        """The densities `x` (n_design,) of this structure on the finer one that it was coarsened from.

        Returns
        -------
        Array
            (fine.n_design,) the density of the coarse element each fine one lies in; 1 where that is passive solid.
        """
        if not isinstance(fine, Structure):
            return np.asarray(fine.sampled(self, x, smooth=False))
        field = self.full(x).reshape(self.lattice.cells)
        return field[self._parents_of(fine)].ravel()[fine.design]

    def restrict(self, coarse: Structure, x: Array) -> Array:
        """The densities `x` (n_design,) of this structure on `coarse`, which was coarsened from it.

        Returns
        -------
        Array
            (coarse.n_design,) mean over the elements inside each coarse one, weighted by their volumes; passive solid
            counts as 1. It keeps the mass of all that is in the coarse design.
        """
        from sciopt.topopt.coarsen import sum_of_children

        coarse._parents_of(self)
        mass = sum_of_children((self.material * self.full(x)).reshape(self.lattice.cells))
        most = sum_of_children(self.material.reshape(self.lattice.cells))
        return mass.ravel()[coarse.design] / most.ravel()[coarse.design]

    def _variables(self, x: Array) -> Array:
        if np.shape(x) != (self.size,):
            raise ShapeError(
                f"x has shape {np.shape(x)}; the structure has {self.size} design elements: ({self.size},)"
            )
        return np.asarray(x, dtype=float)

    def _parents_of(self, fine: Structure) -> tuple[Array, ...]:
        if tuple((n + 1) // 2 for n in fine.shape) != self.shape:
            raise ShapeError(f"a grid of shape {self.shape} was not coarsened from one of shape {fine.shape}")
        return np.ix_(*[np.arange(n) // 2 for n in fine.lattice.cells])
