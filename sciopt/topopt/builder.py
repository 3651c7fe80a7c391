"""Describe a structure on a regular grid, one call after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field

import numpy as np

from sciopt.core.errors import InputError
from sciopt.core.types import Array, Mask
from sciopt.topopt.described import Described, Said, finite_number
from sciopt.topopt.distribute import shares
from sciopt.topopt.lattice import AXES, Lattice
from sciopt.topopt.regions import FACES, Region, select_elements, select_nodes
from sciopt.topopt.structure import Structure

__all__ = ["Grid"]


@dataclass(frozen=True, eq=False)
class Grid(Described):
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
    _said: Said | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for axis, n in zip(AXES, self._counts, strict=False):
            if not isinstance(n, int | np.integer) or isinstance(n, bool):
                raise InputError(f"grid: n{axis} is {n!r}; expected a whole number of elements")
        if self.physics not in ("elasticity", "heat"):
            raise InputError(f"physics is {self.physics!r}; expected 'elasticity' or 'heat'")
        dim = len(self._counts)
        edges = [self.spacing] * dim if np.ndim(self.spacing) == 0 else list(self.spacing)  # type: ignore[arg-type]
        object.__setattr__(self, "spacing", tuple(finite_number(h, "spacing") for h in edges))
        if self._said is None:
            lattice, nodal = self.lattice, (self._components, *self.lattice.nodes)
            nothing = np.zeros(lattice.cells, dtype=bool)
            said = Said(np.zeros(nodal, dtype=bool), nothing, nothing, np.zeros(nodal))
            object.__setattr__(self, "_said", said)
            # Its arguments are judged where they are used; building it once here tells errors early.
            _ = self.model

    @property
    def lattice(self) -> Lattice:
        """Shape and spacing."""
        return Lattice(tuple(int(n) for n in self._counts), tuple(self.spacing))  # type: ignore[arg-type]

    @property
    def dim(self) -> int:
        return len(self._counts)

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

    def structure(self) -> Structure:
        """The arrays that describe the structure; not checked yet, see `Structure.check`."""
        said, lattice = self._now, self.lattice
        return Structure(
            shape=lattice.shape,
            spacing=lattice.spacing,
            physics=self.model,
            material=(~said.void).astype(float).ravel(),
            solid=said.solid.ravel(),
            fixed=said.supports | ~lattice.touching(~said.void),
            loads=self.case_loads,
            weights=self.weights_of_cases,
            springs=said.springs,
            outputs=said.outputs,
        )

    @property
    def _counts(self) -> tuple[int, ...]:
        return (self.nx, self.ny) if self.nz is None else (self.nx, self.ny, self.nz)

    def _nodes(self, where: Region, call: str) -> Mask:
        return select_nodes(where, self.lattice, call)

    def _cells(self, where: Region, call: str) -> Mask:
        return select_elements(where, self.lattice, call)

    def _shares(self, where: Region, spread: str, call: str) -> Array:
        return shares(where, self.lattice, spread, call)
