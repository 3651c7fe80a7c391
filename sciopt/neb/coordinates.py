"""The free coordinates of a path: which Cartesian components move, and how atoms are put together from them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from ase.constraints import FixAtoms, FixCartesian, FixedLine, FixedPlane

from sciopt.core.errors import InputError

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray

__all__ = ["Coordinates"]


@dataclass(frozen=True, eq=False)
class Coordinates:
    """The map between whole configurations and the vector of components that may move.

    ``x = positions.ravel()[free]``: constrained components are not part of the problem at all, so that norms, models
    and dot products never see them.

    Parameters
    ----------
    template
        Atoms without calculator: species, cell, periodicity, constraints and the positions of fixed components (Å).
    free
        (n,) flat indices into ``positions.ravel()``, ascending.
    rigid
        Whether the energy is unchanged by translating and rotating all atoms (a free molecule). Rigid motion is then
        removed from steps and forces.
    """

    template: Atoms
    free: NDArray[np.intp]
    rigid: bool

    @classmethod
    def of(cls, atoms: Atoms, rigid: bool | None = None) -> Coordinates:
        """Read the free components from the constraints of `atoms`.

        `rigid=None` decides from the atoms: free molecules are those with two or more atoms, without periodicity and
        without constraints.

        Raises
        ------
        InputError
            For a constraint that does not fix single Cartesian components, or when nothing can move.

        Examples
        --------
        >>> from ase import Atoms
        >>> from ase.constraints import FixAtoms
        >>> dimer = Atoms("H2", [[0, 0, 0], [0, 0, 1]], constraint=FixAtoms([0]))
        >>> Coordinates.of(dimer).free
        array([3, 4, 5])
        """
        fixed = np.zeros((len(atoms), 3), dtype=bool)
        for constraint in atoms.constraints:
            fixed |= _fixed_components(constraint, len(atoms))
        free = np.flatnonzero(~fixed.ravel())
        if free.size == 0:
            raise InputError("every atom is fixed by constraints, so nothing can move; free at least one atom")
        if rigid is None:
            rigid = len(atoms) > 1 and not atoms.pbc.any() and not fixed.any()
        template = atoms.copy()
        template.calc = None
        return cls(template, free, rigid)

    @property
    def size(self) -> int:
        """Number of free components, n."""
        return int(self.free.size)

    @cached_property
    def atom(self) -> NDArray[np.intp]:
        """(n,) index of the atom each free component belongs to."""
        return self.free // 3

    @cached_property
    def moving(self) -> NDArray[np.intp]:
        """(m,) indices of the atoms with at least one free component."""
        return np.unique(self.atom)

    @cached_property
    def starts(self) -> NDArray[np.intp]:
        """(m,) position in x where the components of each moving atom begin."""
        return np.searchsorted(self.atom, self.moving)

    def reduce(self, positions: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N, 3) positions or forces to the (n,) free components."""
        return np.asarray(positions, dtype=float).reshape(-1)[self.free]

    def positions(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n,) free components to whole (N, 3) positions in Å."""
        flat = self.template.positions.ravel().copy()
        flat[self.free] = x
        return flat.reshape(-1, 3)

    def atoms(self, x: NDArray[np.float64]) -> Atoms:
        """The configuration at `x` as new Atoms, constraints included."""
        atoms = self.template.copy()
        atoms.set_positions(self.positions(x), apply_constraint=False)
        return atoms

    def atom_norms(self, v: NDArray[np.float64]) -> NDArray[np.float64]:
        """Lengths of the per-atom vectors in `v`: (..., n) to (..., m)."""
        return np.sqrt(np.add.reduceat(v * v, self.starts, axis=-1))

    def longest(self, v: NDArray[np.float64]) -> NDArray[np.float64]:
        """Largest per-atom length of `v`: (..., n) to (...,)."""
        return self.atom_norms(v).max(axis=-1)


def _fixed_components(constraint: object, natoms: int) -> NDArray[np.bool_]:
    """(natoms, 3) mask of the Cartesian components an ASE constraint holds fixed."""
    fixed = np.zeros((natoms, 3), dtype=bool)
    match constraint:
        case FixAtoms():
            fixed[constraint.get_indices()] = True
            return fixed
        case FixCartesian():
            fixed[constraint.get_indices()] = constraint.mask
            return fixed
        case FixedPlane() | FixedLine() if np.count_nonzero(constraint.dir) == 1:
            axis = constraint.dir != 0
            fixed[constraint.get_indices()] = axis if isinstance(constraint, FixedPlane) else ~axis
            return fixed
    raise InputError(
        f"constraint {type(constraint).__name__} is not supported on a path: it does not fix single Cartesian "
        "components; use FixAtoms, FixCartesian, or FixedPlane/FixedLine along an axis"
    )
