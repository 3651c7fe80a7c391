"""The arrays that describe one structure on one mesh, each rank holding those of its own cells and unknowns."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from sciopt.core.errors import InputError, ShapeError
from sciopt.core.tree import describe
from sciopt.core.types import Array, Mask
from sciopt.topopt.fenicsx.loaded import MPI
from sciopt.topopt.grid.element import Physics
from sciopt.topopt.space import DesignSpace

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

    from sciopt.core.box import Box
    from sciopt.topopt.fenicsx.embedded import EmbeddedGrid
    from sciopt.topopt.fenicsx.system import MeshSystem
    from sciopt.topopt.filters import Filter
    from sciopt.topopt.ranks import Ranks
    from sciopt.topopt.result import DesignResult

__all__ = ["GRAIN", "MeshStructure", "cell_corners", "settled"]

log = logging.getLogger("sciopt")

# Without it errors of rounding grow by a half with every step of a quasi-Newton run, and after a hundred the design is
# another one on two ranks than on one.
GRAIN = 2.0**-20


@dataclass(frozen=True, eq=False)
class MeshStructure:
    """Where material may be, what holds it and what loads it: `Structure` for meshes.

    Element fields have one entry per cell that this rank owns, in dolfinx's local order. Nodal fields have one entry
    per unknown that this rank owns, ``c node + component``.

    Parameters
    ----------
    space
        Linear Lagrange elements on the mesh: vectors for elasticity, a scalar for conduction.
    physics
        `Elasticity` or `Conduction`.
    material
        (cells,) 1 where material may be, 0 in passive void.
    solid
        (cells,) what is filled for good.
    fixed
        (unknowns,) supports, and every node that touches no cell with material.
    loads
        (cases, unknowns) forces or heat.
    weights
        (cases,) weight of each case in the objective.
    springs
        (unknowns,) stiffness of springs to the ground.
    outputs
        (unknowns,), or None: the output displacement of a mechanism is ``sum(outputs * u)`` over all ranks.
    supports
        (unknowns,) what was asked to be fixed, for pictures and checks.

    Raises
    ------
    ShapeError
        When an array does not fit the mesh.
    """

    space: Any
    physics: Physics
    material: Array
    solid: Mask
    fixed: Mask
    loads: Array
    weights: Array
    springs: Array
    outputs: Array | None = None
    supports: Mask | None = None

    def __post_init__(self) -> None:
        cells, unknowns = (self.cells,), (self.unknowns,)
        expected = {"material": cells, "solid": cells, "fixed": unknowns, "springs": unknowns}
        expected |= {name: unknowns for name in ("outputs", "supports") if getattr(self, name) is not None}
        seen = {name: np.shape(getattr(self, name)) for name in expected}
        seen |= {"loads": np.shape(self.loads)[1:], "weights": np.shape(self.weights)}
        expected |= {"loads": unknowns, "weights": np.shape(self.loads)[:1]}
        for name, shape in expected.items():
            if seen[name] != shape:
                raise ShapeError(
                    f"structure: {name} has shape {np.shape(getattr(self, name))}; this rank owns {cells[0]} cells and "
                    f"{unknowns[0]} unknowns: {shape}" + (" for every case" if name == "loads" else "")
                )

    @property
    def mesh(self) -> Any:
        """The dolfinx mesh."""
        return self.space.mesh

    @property
    def comm(self) -> Any:
        """The communicator of the mesh (mpi4py)."""
        return self.space.mesh.comm

    @property
    def dim(self) -> int:
        """2 or 3."""
        return int(self.mesh.topology.dim)

    @property
    def cells(self) -> int:
        """Number of cells that this rank owns."""
        return int(self.mesh.topology.index_map(self.dim).size_local)

    @property
    def elements(self) -> int:
        """Number of cells over all ranks."""
        return int(self.mesh.topology.index_map(self.dim).size_global)

    @property
    def unknowns(self) -> int:
        """Number of unknowns that this rank owns."""
        dofmap = self.space.dofmap
        return int(dofmap.index_map.size_local * dofmap.index_map_bs)

    def total(self, part: Any) -> Any:
        """Sum over all ranks of `part`, a number or an array of the same shape everywhere."""
        if self.comm.size == 1:
            return part
        if np.ndim(part) == 0:
            return float(self.comm.allreduce(float(part)))
        found = np.empty(np.shape(part))
        self.comm.Allreduce(np.ascontiguousarray(part, dtype=float), found)
        return found

    def extremes(self, x: Array) -> tuple[float, float]:
        """Least and largest number of `x` over all ranks; inf and -inf where no rank has any."""
        low, high = float(x.min(initial=np.inf)), float(x.max(initial=-np.inf))
        if self.comm.size > 1:
            low, high = self.comm.allreduce(low, MPI.MIN), self.comm.allreduce(high, MPI.MAX)
        return low, high

    @cached_property
    def sizes(self) -> Array:
        """(cells,) volume of every cell: area in two dimensions."""
        return cell_volumes(self.mesh)

    @cached_property
    def centres(self) -> Array:
        """(cells, dim) middle of every cell, the mean of its vertices."""
        return cell_corners(self.mesh).mean(axis=1)

    @cached_property
    def design(self) -> Mask:
        """(cells,) the cells whose densities are variables."""
        return (self.material > 0.0) & ~self.solid

    @cached_property
    def volumes(self) -> Array:
        """(n,) volume of each variable's cell."""
        return self.sizes[self.design]

    @cached_property
    def size(self) -> int:
        """Number of design variables of this rank."""
        return int(np.count_nonzero(self.design))

    @cached_property
    def region(self) -> float:
        """Volume that may hold material, over all ranks."""
        return float(settled(self.total(float(self.sizes @ self.material))))

    @cached_property
    def solid_volume(self) -> float:
        """Volume that is filled for good, over all ranks."""
        return float(settled(self.total(float(self.sizes[self.solid].sum()))))

    @cached_property
    def design_volume(self) -> float:
        """Volume of the design, over all ranks."""
        return float(settled(self.total(float(self.volumes.sum()))))

    @property
    def unit(self) -> float:
        """Volume in which `sizes`, `region` and `solid_volume` are counted."""
        return 1.0

    @cached_property
    def spacing(self) -> tuple[float, ...]:
        """A length scale of the largest cell, the edge of a cube (or square) as large, for each axis."""
        return (self.extremes(self.sizes)[1] ** (1.0 / self.dim),) * self.dim

    def full(self, x: Array, solid: float = 1.0, void: float = 0.0) -> Array:
        """The element field (cells,) with `x` (n,) on the design and constants elsewhere."""
        if np.shape(x) != (self.size,):
            raise ShapeError(f"x has shape {np.shape(x)}; this rank has {self.size} design cells: ({self.size},)")
        field = np.full(self.cells, void)
        field[self.solid] = solid
        field[self.design] = x
        return field

    def describe(self) -> dict[str, Any]:
        """What tells this structure from others, the same on any number of ranks."""
        from sciopt.topopt.fenicsx.gather import fingerprint

        marked = {"material": self.material, "solid": self.solid.astype(float), "sizes": self.sizes}
        found: dict[str, Any] = {name: fingerprint(self, values) for name, values in marked.items()}
        # Nodes have no order that all numbers of ranks share; sums that weight every place differently tell as much.
        nodes = self.space.tabulate_dof_coordinates()[: self.space.dofmap.index_map.size_local]
        place = np.repeat(np.cos(nodes @ np.array([1.0, np.sqrt(2.0), np.sqrt(3.0)])), self.space.dofmap.index_map_bs)
        component = 1.0 + np.arange(place.size) % self.space.dofmap.index_map_bs
        for name in ("fixed", "springs", "outputs"):
            values = getattr(self, name)
            if values is not None:
                found[name] = _rounded(self.total(float(place @ (component * values))))
        found["loads"] = [_rounded(self.total(float(place @ (component * load)))) for load in self.loads]
        return found | {"elements": self.elements, "weights": self.weights.tolist(), "physics": describe(self.physics)}

    def system(self, solver: str) -> MeshSystem:
        """The equations, to be solved by ``auto``, ``direct`` or ``multigrid``."""
        from sciopt.topopt.fenicsx.system import MeshSystem

        return MeshSystem(self.space, self.physics, self.fixed, self.springs, solver)

    def filtering(self, filter: Filter) -> Any:
        """`filter` bound to the design cells."""
        from sciopt.topopt.fenicsx.filters import bound

        return bound(filter, self)

    def box(self, weights: Array | None = None, capacity: float = np.inf, full: bool = False) -> Box:
        """The space of densities in [0, 1], of which `weights` (n,) take at most (or just) `capacity`."""
        if self.comm.size == 1:
            return DesignSpace(0.0, 1.0, weights, capacity, full, grain=GRAIN)
        from sciopt.topopt.fenicsx.space import DistributedSpace

        return DistributedSpace(0.0, 1.0, weights, capacity, full, grain=GRAIN, comm=self.comm)

    def variables(self, given: ArrayLike) -> Array:
        """The design variables of this rank (n,) from an array of them.

        Raises
        ------
        InputError
            For another shape.
        """
        found = np.asarray(given, dtype=float)
        if self.total(float(found.shape != (self.size,))):
            raise InputError(
                f"start has shape {found.shape}; expected one density per design cell of this rank: ({self.size},)"
            )
        return found

    def shaped(self, field: Array) -> Array:
        """An element field as it is."""
        return field

    def warnings(self, density: Array, radius: float) -> list[str]:
        """Sentences about the filter radius that a user should read."""
        from sciopt.topopt.length_scale import radius_warning

        sentence = radius_warning(radius, self.spacing)
        return [] if sentence is None else [sentence]

    def files(self) -> tuple[str, ...]:
        """Names of the files that hold a design."""
        from sciopt.topopt.fenicsx.files import FILES

        return FILES

    def write(self, file: Path, result: DesignResult) -> None:
        """Write a design; see `DesignResult.write`. All ranks must call it."""
        from sciopt.topopt.fenicsx.files import write

        write(file, self, result.elements, result.caption)

    def plot(self, result: DesignResult) -> Figure | None:
        """Figure of a design on the first rank, None on the others. All ranks must call it."""
        from sciopt.topopt.fenicsx.pictures import plot_design

        return plot_design(self, result.elements, result.caption)

    @cached_property
    def grid(self) -> EmbeddedGrid | None:
        """A regular grid around the mesh, see `sciopt.topopt.fenicsx.embedded`; None where that makes no sense."""
        from sciopt.topopt.fenicsx.embedded import embedded

        found = embedded(self)
        try:
            if found is not None:
                found.check()
        except InputError as error:
            log.info("no search on a grid around the mesh: %s", error)
            return None
        return found

    def can_coarsen(self, least: int = 3) -> bool:
        """Whether there is a grid around the mesh that has `least` elements along each axis and can be solved."""
        return self.grid is not None and min(self.grid.shape) >= least

    def coarsened(self) -> EmbeddedGrid:
        """The grid around the mesh."""
        assert self.grid is not None  # asked before, by can_coarsen
        return self.grid

    def restrict(self, coarse: EmbeddedGrid, x: Array) -> Array:
        """The densities `x` (n,) of this mesh on the grid around it."""
        from sciopt.topopt.fenicsx.embedded import restricted

        return restricted(self, coarse, x)

    def sampled(self, coarse: Any, x: Array, smooth: bool = True) -> Array:
        """The densities `x` (coarse.n_design,) of the grid around it on this mesh (n,)."""
        from sciopt.topopt.fenicsx.embedded import sampled

        return sampled(coarse, self, x, smooth)

    @property
    def ranks(self) -> Ranks:
        """The processes that share it, each with its own design variables."""
        from sciopt.topopt.fenicsx.ranks import Pieces

        # Also on one rank: checkpoints are in the order of the input, for any number of ranks to continue from.
        return Pieces(self)

    def everywhere(self, compute: Callable[[], Any]) -> Any:
        """What all ranks compute together."""
        return compute()

    def check(self) -> None:
        """Ask whether the structure can be solved at all; see `sciopt.topopt.fenicsx.checks`."""
        from sciopt.topopt.fenicsx.checks import check_structure

        check_structure(self)


def cell_corners(mesh: Any) -> Array:
    """(cells, corners, dim) coordinates of the corners of this rank's cells, in dolfinx's (tensor-product) order."""
    geometry, dim = mesh.geometry, mesh.topology.dim
    if geometry.dim != dim:
        raise InputError(
            f"the mesh is {dim}-dimensional in {geometry.dim} dimensions; expected a plane mesh with gdim=2 or a solid"
        )
    count = mesh.topology.index_map(dim).size_local
    return np.asarray(geometry.x[geometry.dofmaps[0][:count], :dim], dtype=float)


def cell_volumes(mesh: Any) -> Array:
    """(cells,) volumes of this rank's cells; of quadrilaterals and hexahedra by quadrature of the Jacobian."""
    from sciopt.topopt.fenicsx.cells import cell_volumes as measured

    return measured(mesh)


def settled(values: Any) -> Any:
    """Sums over ranks without the last digits, which depend on the number of ranks."""
    largest = float(np.abs(values).max(initial=0.0))
    unit = np.exp2(np.ceil(np.log2(largest)) - 44.0) if largest else 1.0
    return np.round(values / unit) * unit


def _rounded(value: float) -> str:
    """A sum over ranks, whose last digits depend on their number."""
    return f"{value:.9g}"
