"""A heptamer island on Pt(111), on a Morse potential."""

from __future__ import annotations

from functools import partial

import numpy as np
from ase import Atoms
from ase.build import fcc111
from ase.constraints import FixAtoms

from surfaces.process import Ends, Process

NEAREST = 2.7442  # Å
CENTRE = (3, 3)  # surface cell of the atom in the middle
HEXAGON = ((1, 0), (0, 1), (-1, 1), (-1, 0), (0, -1), (1, -1))  # steps to the six neighbours, in surface cells
Steps = tuple[tuple[int, int], ...]
PT7 = (
    "heptamer on Pt(111), 343 atoms of which 175 move; Morse potential and slab of G. Henkelman, G. Jóhannesson and "
    "H. Jónsson, doi:10.1007/0-306-46949-9_10"
)


def island(ring: Steps, site: str = "fcc") -> Atoms:
    """An atom in the middle and six more, `ring` cells away from it, on six layers of which three are fixed."""
    atoms = fcc111("Pt", (7, 8, 6), a=NEAREST * np.sqrt(2.0), orthogonal=True, vacuum=8.0)
    atoms.pbc = (True, True, False)
    info = atoms.info["adsorbate_info"]
    spacing = NEAREST * np.sqrt(2.0 / 3.0)
    height = atoms.positions[:, 2].max() + spacing
    top = atoms.positions[atoms.get_tags() == 1][0, :2]
    for step in ((0, 0), *ring):
        flat = top + (np.array(CENTRE) + step + info["sites"][site]) @ info["cell"]
        atoms.append("Pt")
        atoms.positions[-1] = [*flat, height]
    atoms.set_constraint(FixAtoms(np.flatnonzero(atoms.get_tags() > 3)))
    return atoms


def slide() -> Ends:
    """All seven atoms from fcc to hcp sites."""
    return island(HEXAGON), island(HEXAGON, "hcp")


def corner() -> Ends:
    """One corner atom moves on by one site: out of the hexagon, still touching one atom of it."""
    # The other site of this kind, (1, 1), is no minimum: the atom falls back.
    return island(HEXAGON), island(((2, -1), *HEXAGON[1:]))


def shear() -> Ends:
    """Two adjacent corner atoms slide by one site along the edge they form."""
    return island(HEXAGON), island(((0, 1), (-1, 2), *HEXAGON[2:]))


def process(name: str, ends: partial[Ends], what: str) -> Process:
    return Process(name, "cluster", "morse-pt", ends, 7, f"{what}; {PT7}", tuned=True)


ISLANDS = (
    process("pt7_slide", partial(slide), "all atoms together from fcc to hcp sites"),
    process("pt7_corner", partial(corner), "a corner atom moves out of the hexagon by one site"),
    process("pt7_pair", partial(shear), "a pair of edge atoms slides along its edge by one site"),
)
