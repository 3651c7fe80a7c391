"""Describe a structure on a regular grid, one call after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import Any

import numpy as np

from sciopt.core.errors import InputError
from sciopt.core.types import Array, Mask
from sciopt.topopt.distribute import shares
from sciopt.topopt.grid.element import Conduction, Elasticity, Physics
from sciopt.topopt.lattice import AXES, Lattice, axis_names
from sciopt.topopt.regions import FACES, Region, select_elements, select_nodes
from sciopt.topopt.structure import Structure

__all__ = ["Grid"]

Case = str | int


@dataclass(frozen=True, eq=False)
class _Described:
    """What the calls have said so far, as arrays; None where nothing was said."""

    supports: Mask
    solid: Mask
    void: Mask
    springs: Array
    outputs: Array | None = None
    cases: Mapping[Case, Array] = field(default_factory=dict)
    weights: Mapping[Case, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Grid:
    """A rectangle or box of elements with supports, loads and passive regions.

    Every call returns a new grid. Regions are explained in `sciopt.topopt.regions`: points, `Line`, `Block`, `Ball`,
    names of faces, masks, functions of the coordinates. x points right, y up, z backward; the origin is the lower left
    (front) corner. Any consistent units will do: the modulus of the full material is set by the material.

    Parameters
    ----------
    nx, ny, nz
        Number of elements along each axis; without nz the grid is two-dimensional, of unit thickness.
    spacing
        Edges of an element, in units of length: one number, or one per axis.
    physics
        ``"elasticity"``, with displacements and forces, or ``"heat"``, with temperatures and heat sources.
    nu
        Poisson's ratio.
    plane
        ``"stress"`` or ``"strain"``, in two dimensions.

    Raises
    ------
    InputError
        For input that makes no sense; the message names the argument. What can only be judged once all is said (is
        the structure held? does every load act on material?) is judged by `Structure.check`.

    Examples
    --------
    Half of a beam on two supports, loaded in its middle:

    >>> beam = Grid(60, 20).symmetry("left").fix((60, 0), "y").load((0, 20), (0, -1))
    >>> beam.structure().size
    1200

    A square heated everywhere and cooled at a part of its left side:

    >>> from sciopt.topopt.regions import Line
    >>> plate = Grid(50, 50, physics="heat").source("all", 1.0).fix(Line((0, 20), (0, 30)))

    A mechanism that turns a push into a pull (`Mechanism` minimizes the output):

    >>> inverter = (
    ...     Grid(80, 40)
    ...     .symmetry("bottom")
    ...     .fix(Line((0, 38), (0, 40)))
    ...     .load((0, 0), (1, 0))
    ...     .spring((0, 0), 0.1, "x")
    ...     .spring((80, 0), 0.1, "x")
    ...     .output((80, 0), "x")
    ... )
    """

    nx: int
    ny: int
    nz: int | None = None
    _: KW_ONLY
    spacing: float | Sequence[float] = 1.0
    physics: str = "elasticity"
    nu: float = 0.3
    plane: str = "stress"
    _said: _Described | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for axis, n in zip(AXES, self._counts, strict=False):
            if not isinstance(n, int | np.integer) or isinstance(n, bool):
                raise InputError(f"grid: n{axis} is {n!r}; expected a whole number of elements")
        if self.physics not in ("elasticity", "heat"):
            raise InputError(f"physics is {self.physics!r}; expected 'elasticity' or 'heat'")
        dim = len(self._counts)
        edges = [self.spacing] * dim if np.ndim(self.spacing) == 0 else list(self.spacing)  # type: ignore[arg-type]
        object.__setattr__(self, "spacing", tuple(_number(h, "spacing") for h in edges))
        if self._said is None:
            lattice, nodal = self.lattice, (self._components, *self.lattice.nodes)
            nothing = np.zeros(lattice.cells, dtype=bool)
            said = _Described(np.zeros(nodal, dtype=bool), nothing, nothing, np.zeros(nodal))
            object.__setattr__(self, "_said", said)
            # Its arguments are judged where they are used; building it once here tells errors early.
            _ = self.model

    @property
    def lattice(self) -> Lattice:
        """Shape and spacing."""
        return Lattice(tuple(int(n) for n in self._counts), tuple(self.spacing))  # type: ignore[arg-type]

    @property
    def model(self) -> Physics:
        """The equations: `Elasticity` or `Conduction`."""
        return Conduction() if self.physics == "heat" else Elasticity(self.nu, self.plane)

    def fix(self, where: Region, components: str = "all") -> Grid:
        """Hold nodes: displacements are zero, or in heat conduction the temperature (a sink).

        Parameters
        ----------
        where
            Region.
        components
            ``"all"``, or the axes to hold: ``"x"``, ``"yz"`` …
        """
        chosen = select_nodes(where, self.lattice, "fix")
        supports = self._now.supports.copy()
        supports[self._named(components, "fix")] |= chosen
        return self._say(supports=supports)

    def symmetry(self, *faces: str) -> Grid:
        """Make faces planes of symmetry: only displacements in the plane are left; heat does not cross it anyway.

        The grid is then one half of what is meant, and carries one half of every load, those on the plane included.

        Parameters
        ----------
        faces
            ``"left"``, ``"right"``, ``"bottom"`` …
        """
        found = self
        for face in faces:
            if face not in FACES or FACES[face][0] >= self.lattice.dim:
                known = [name for name, (axis, _) in FACES.items() if axis < self.lattice.dim]
                raise InputError(f"symmetry: {face!r} is no face of this grid; known are {', '.join(known)}")
            found = found.fix(face, AXES[FACES[face][0]]) if self.physics == "elasticity" else found
        return found

    def load(self, where: Region, force: Sequence[float], case: Case = 0, spread: str = "consistent") -> Grid:
        """Apply a total force to a region.

        Parameters
        ----------
        where
            Region.
        force
            (fx, fy) or (fx, fy, fz): the sum over the region, in units of force.
        case
            Name or number of the load case; cases act one at a time, and what is said of one case adds up.
        spread
            ``"consistent"``: as a uniform pressure or body force acts on the elements, so that the ends of a line get
            half of what its other nodes get. ``"equal"``: the same for all nodes. See `sciopt.topopt.distribute`.
        """
        if self.physics == "heat":
            raise InputError("load: a heat grid has no forces; use .source(where, total)")
        return self._loaded("load", where, self._vector(force, "load: force"), case, spread)

    def source(self, where: Region, total: float, case: Case = 0, spread: str = "consistent") -> Grid:
        """Produce heat in a region.

        Parameters
        ----------
        where
            Region.
        total
            Heat per time, summed over the region.
        case, spread
            As in `load`.
        """
        if self.physics != "heat":
            raise InputError('source: only Grid(..., physics="heat") has heat sources; use .load(where, force)')
        return self._loaded("source", where, np.array([_number(total, "source: total")]), case, spread)

    def case_weights(self, weights: Sequence[float] | Mapping[Case, float]) -> Grid:
        """Set the weights of load cases in the objective; they are 1 if nothing is said.

        Parameters
        ----------
        weights
            By name, or one per case in the order in which the cases were first loaded. At least zero.
        """
        known = list(self._now.cases)
        if not isinstance(weights, Mapping):
            if len(weights) != len(known):
                raise InputError(
                    f"case_weights: {len(weights)} weights for {len(known)} cases ({', '.join(map(str, known))})"
                )
            weights = dict(zip(known, weights, strict=True))
        for case, weight in weights.items():
            if case not in known:
                raise InputError(f"case_weights: there is no case {case!r}; known are {', '.join(map(repr, known))}")
            if _number(weight, f"case_weights: weight of case {case!r}") < 0.0:
                raise InputError(f"case_weights: weight of case {case!r} is {weight}; expected at least zero")
        return self._say(weights={**self._now.weights, **weights})

    def spring(self, where: Region, stiffness: float, component: str = "all") -> Grid:
        """Tie a region to the ground by springs.

        Parameters
        ----------
        where
            Region.
        stiffness
            Force per displacement (heat per temperature), summed over the region and shared like a load.
        component
            The axes along which the springs act; each gets the full stiffness.
        """
        stiffness = _number(stiffness, "spring: stiffness")
        if stiffness <= 0.0:
            raise InputError(f"spring: stiffness is {stiffness}; expected a positive number")
        springs = self._now.springs.copy()
        springs[self._named(component, "spring")] += stiffness * shares(where, self.lattice, field="spring")
        return self._say(springs=springs)

    def output(self, where: Region, direction: str | Sequence[float]) -> Grid:
        """Name the displacement that a mechanism minimizes; several calls add up.

        Parameters
        ----------
        where
            Region; its mean displacement counts, weighted like a load.
        direction
            ``"x"``, ``"-y"`` … or a vector. The output is the displacement along it: ``sum(outputs * u)``.
        """
        if self.physics == "heat":
            raise InputError("output: a heat grid has no displacements")
        if isinstance(direction, str):
            sign, axis = (-1.0, direction[1:]) if direction.startswith("-") else (1.0, direction)
            if len(axis) != 1 or axis not in AXES[: self.lattice.dim]:
                raise InputError(
                    f"output: direction is {direction!r}; expected one of {axis_names(self.lattice.dim)}, "
                    f"perhaps with a minus sign, or a vector"
                )
            vector = np.zeros(self.lattice.dim)
            vector[AXES.index(axis)] = sign
        else:
            vector = self._vector(direction, "output: direction")
        more = np.multiply.outer(vector, shares(where, self.lattice, field="output"))
        return self._say(outputs=more if self._now.outputs is None else self._now.outputs + more)

    def solid(self, where: Region) -> Grid:
        """Fill elements for good."""
        return self._say(solid=self._now.solid | select_elements(where, self.lattice, "solid"))

    def void(self, where: Region) -> Grid:
        """Keep elements empty for good."""
        return self._say(void=self._now.void | select_elements(where, self.lattice, "void"))

    @property
    def cases(self) -> tuple[Case, ...]:
        """Names of the load cases, in the order in which they were first loaded."""
        return tuple(self._now.cases)

    def structure(self) -> Structure:
        """The arrays that describe the structure; not checked yet, see `Structure.check`."""
        said, lattice = self._now, self.lattice
        empty = np.zeros((0, *said.springs.shape))
        return Structure(
            shape=lattice.shape,
            spacing=lattice.spacing,
            physics=self.model,
            material=(~said.void).astype(float).ravel(),
            solid=said.solid.ravel(),
            fixed=said.supports | ~lattice.touching(~said.void),
            loads=np.stack(list(said.cases.values())) if said.cases else empty,
            weights=np.array([float(said.weights.get(case, 1.0)) for case in said.cases]),
            springs=said.springs,
            outputs=said.outputs,
        )

    @property
    def _counts(self) -> tuple[int, ...]:
        return (self.nx, self.ny) if self.nz is None else (self.nx, self.ny, self.nz)

    @property
    def _components(self) -> int:
        return 1 if self.physics == "heat" else self.lattice.dim

    @property
    def _now(self) -> _Described:
        assert self._said is not None  # set in __post_init__
        return self._said

    def _say(self, **changes: Any) -> Grid:
        return replace(self, _said=replace(self._now, **changes))

    def _loaded(self, call: str, where: Region, total: Array, case: Case, spread: str) -> Grid:
        if not isinstance(case, str | int):
            raise InputError(f"{call}: case is {case!r}; expected a name or a number")
        if not total.any():
            raise InputError(f"{call}: the total is zero; leave the call out")
        more = np.multiply.outer(total, shares(where, self.lattice, spread, call))
        before = self._now.cases.get(case)
        return self._say(cases={**self._now.cases, case: more if before is None else before + more})

    def _vector(self, given: Any, what: str) -> Array:
        dim = self.lattice.dim
        if np.shape(given) != (dim,):
            raise InputError(f"{what} is {given!r}; expected {dim} numbers ({axis_names(dim)})")
        return np.array([_number(g, what) for g in given])

    def _named(self, components: str, call: str) -> list[int]:
        """Indices of components given by their letters."""
        known = AXES[: self.lattice.dim]
        if components == "all":
            return list(range(self._components))
        if self.physics == "heat":
            raise InputError(f"{call}: a temperature has no components; leave {components!r} out")
        if not isinstance(components, str) or not components or set(components) - set(known):
            raise InputError(
                f"{call}: components are {components!r}; expected 'all' or some of {axis_names(len(known))}"
            )
        return [known.index(letter) for letter in dict.fromkeys(components)]


def _number(given: Any, what: str) -> float:
    try:
        number = float(given)
    except (TypeError, ValueError):
        raise InputError(f"{what} is {given!r}; expected a number") from None
    if not np.isfinite(number):
        raise InputError(f"{what} is {given}; expected a finite number")
    return number
