"""Diffusion on surfaces and in crystals: the two ends of a jump, from lattice sites, not relaxed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from ase import Atoms
from ase.build import add_adsorbate, bulk, fcc111
from ase.constraints import FixAtoms

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["adatom_exchange", "adatom_hop", "held_below", "platinum_island", "vacancy_hop"]

PLATINUM = 2.7442 * np.sqrt(2.0)  # Å, cubic lattice constant of the Morse potential's benchmark


def held_below(slab: Atoms, free: int) -> Atoms:
    """Fix all layers but the uppermost `free`, by ASE's tags (1 on top; adsorbates have 0).

    Examples
    --------
    >>> from ase.build import fcc100
    >>> slab = held_below(fcc100("Al", (2, 2, 3)), free=1)
    >>> slab.constraints[0].get_indices().tolist()
    [0, 1, 2, 3, 4, 5, 6, 7]
    """
    slab.set_constraint(FixAtoms(mask=slab.get_tags() > free))
    return slab


def adatom_hop(
    slab: Atoms, symbol: str, height: float, start: tuple[str, ArrayLike], end: tuple[str, ArrayLike]
) -> tuple[Atoms, Atoms]:
    """Both ends of the hop of one adatom.

    Parameters
    ----------
    slab
        From ``ase.build``, which knows its sites; constraints set.
    symbol, height
        The adatom, and its height above the surface in Å.
    start, end
        Name of a site, and (2,) offset in surface unit cells.

    Examples
    --------
    >>> from ase.build import fcc111
    >>> ends = adatom_hop(fcc111("Cu", (3, 3, 3)), "O", 1.2, ("fcc", (1, 1)), ("hcp", (1, 1)))
    >>> len(ends[0]), bool(np.linalg.norm(ends[1].positions[-1] - ends[0].positions[-1]) > 1)
    (28, True)
    """
    ends = []
    for site, offset in (start, end):
        atoms = slab.copy()
        add_adsorbate(atoms, symbol, height, site, tuple(np.asarray(offset).tolist()))
        ends.append(atoms)
    return ends[0], ends[1]


def adatom_exchange(slab: Atoms, symbol: str, height: float, start: tuple[str, ArrayLike]) -> tuple[Atoms, Atoms]:
    """Both ends of an exchange: the adatom takes the place of a surface atom, which comes up on the far side.

    Parameters
    ----------
    slab, symbol, height, start
        As for `adatom_hop`.

    Returns
    -------
    Both ends; the surface atom is the nearest one, the last of several.

    Examples
    --------
    >>> from ase.build import fcc100
    >>> initial, final = adatom_exchange(fcc100("Al", (3, 3, 3)), "Al", 1.6, ("hollow", (0, 0)))
    >>> int((np.linalg.norm(final.positions - initial.positions, axis=1) > 1).sum())
    2
    """
    initial = adatom_hop(slab, symbol, height, start, start)[0]
    adatom = len(initial) - 1
    top = np.flatnonzero(initial.get_tags() == 1)
    distances = np.linalg.norm(initial.positions[top] - initial.positions[adatom], axis=1)
    surface = top[distances < distances.min() + 1e-6][-1]
    final = initial.copy()
    place, over = initial.positions[surface], initial.positions[adatom]
    final.positions[adatom] = place
    final.positions[surface] = [*(2.0 * place - over)[:2], over[2]]
    return initial, final


def vacancy_hop(symbol: str, repeat: int, missing: ArrayLike, jump: ArrayLike) -> tuple[Atoms, Atoms]:
    """Both ends of the jump of one atom into a vacancy of an fcc crystal.

    Parameters
    ----------
    symbol
        An fcc element.
    repeat
        Cubic cells in each direction.
    missing
        (k, 3) sites without atoms, in cubic lattice constants; the first is filled by the jump.
    jump
        (3,) site of the atom that jumps, in cubic lattice constants.

    Examples
    --------
    >>> initial, final = vacancy_hop("Cu", 2, [[0, 0, 0]], [0.5, 0.5, 0])
    >>> len(initial), round(float(np.linalg.norm(final.positions - initial.positions)), 3)
    (31, 2.553)
    """
    crystal = bulk(symbol, cubic=True)
    a = crystal.cell[0, 0]
    crystal *= (repeat, repeat, repeat)
    empty = [_at(crystal, a * np.asarray(site)) for site in np.atleast_2d(np.asarray(missing, dtype=float))]
    mover = _at(crystal, a * np.asarray(jump, dtype=float))
    final = crystal.copy()
    final.positions[mover] = crystal.positions[empty[0]]
    del crystal[empty], final[empty]
    return crystal, final


def platinum_island(
    move: Literal["slide", "corner", "dimer", "edge"], size: tuple[int, int, int] = (7, 8, 6), free: int = 3
) -> tuple[Atoms, Atoms]:
    """Both ends of a process of the seven-atom island on Pt(111), for `sciopt.problems.potentials.MorsePt`.

    Parameters
    ----------
    move
        "slide": the whole island from fcc to hcp sites. "corner": one atom of the rim leaves towards the side and keeps
        one neighbour. "dimer": two neighbours of the rim shift along the edge by one lattice step. "edge": three
        atoms of the rim, those to one side of a row, shift along that row by one lattice step.
    size
        Atoms along x and y, and layers.
    free
        Layers that may move.

    Returns
    -------
    Both ends; the island is the last seven atoms, its centre first.

    Examples
    --------
    >>> initial, final = platinum_island("slide")
    >>> len(initial), 3 * (len(initial) - len(initial.constraints[0].get_indices()))
    (343, 525)
    """
    slab = fcc111("Pt", size, a=PLATINUM, orthogonal=True)
    d, spacing = PLATINUM / np.sqrt(2.0), PLATINUM / np.sqrt(3.0)
    middle = np.diag(slab.cell.array)[:2] / 2.0
    # Seen from above, fcc sites lie over the third layer and hcp sites over the second.
    fcc = _nearest(slab, 3, middle)
    angles = np.arange(6) * np.pi / 3.0
    rim = d * np.column_stack([np.cos(angles), np.sin(angles)])
    height = slab.positions[:, 2].max() + spacing
    island = np.column_stack([fcc + np.vstack([np.zeros(2), rim]), np.full(7, height)])
    initial = held_below(slab + Atoms("Pt7", island, tags=np.zeros(7, dtype=int)), free)
    initial.center(vacuum=10.0, axis=2)
    initial.pbc = (True, True, False)
    step = d * np.array([-0.5, np.sqrt(0.75)])
    moves = {
        "slide": (range(-7, 0), _nearest(slab, 2, fcc) - fcc),
        "corner": ([-6], rim[1]),
        "dimer": ([-6, -5], step),
        "edge": ([-6, -5, -1], step),
    }
    who, shift = moves[move]
    final = initial.copy()
    final.positions[list(who), :2] += shift
    return initial, final


def _nearest(slab: Atoms, layer: int, point: NDArray[np.float64]) -> NDArray[np.float64]:
    """(2,) place of the atom of a layer that is nearest to a point of the surface."""
    places = slab.positions[slab.get_tags() == layer, :2]
    return places[np.linalg.norm(places - point, axis=1).argmin()]


def _at(crystal: Atoms, point: NDArray[np.float64]) -> int:
    """Index of the atom at a point, periodic images included."""
    shifts = np.linalg.solve(crystal.cell.array.T, (crystal.positions - point).T).T
    return int(np.linalg.norm(shifts - np.rint(shifts), axis=1).argmin())
