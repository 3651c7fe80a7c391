"""Adatoms on metal surfaces and vacancies in metals, on ASE's effective medium theory."""

from __future__ import annotations

from functools import partial

import numpy as np
from ase import Atoms
from ase.build import add_adsorbate, bulk, fcc100, fcc110, fcc111
from ase.constraints import FixAtoms

from surfaces.process import Ends, Process

EMT = "effective medium theory (K. W. Jacobsen, P. Stoltze and J. K. Nørskov, doi:10.1016/0039-6028(96)00816-3)"
FACES = {"100": fcc100, "110": fcc110, "111": fcc111}
SIZES = {"100": (2, 2, 3), "110": (2, 3, 4), "111": (2, 2, 3)}
Place = tuple[str, tuple[float, float]]


def slab(metal: str, face: str, size: tuple[int, int, int]) -> Atoms:
    """A clean slab with 8 Å of vacuum on both sides."""
    return FACES[face](metal, size, vacuum=8.0)


def hold(atoms: Atoms, deeper_than: int = 1) -> Atoms:
    """Fix the layers below the first `deeper_than`."""
    atoms.set_constraint(FixAtoms(mask=atoms.get_tags() > deeper_than))
    return atoms


def hop(
    metal: str,
    adsorbate: str,
    face: str,
    places: tuple[Place, Place],
    height: float,
    size: tuple[int, int, int] | None = None,
) -> Ends:
    """An adatom in two sites, each given by its site and the surface cell that lies in."""
    ends = []
    for site, offset in places:
        atoms = slab(metal, face, size or SIZES[face])
        add_adsorbate(atoms, adsorbate, height, site, offset=offset)
        # The lowest layer alone would be too little to hold the four layers of an open face.
        ends.append(hold(atoms, 2 if face == "110" else 1))
    return ends[0], ends[1]


def exchange(metal: str, face: str, across: tuple[int, int], size: tuple[int, int, int], height: float) -> Ends:
    """An adatom pushes a surface atom into the hollow on its other side, and takes its place.

    `across` is the step, in surface cells, from the first hollow to the second; the surface atom lies halfway.
    """
    initial, final = hop(metal, metal, face, (("hollow", (0, 0)), ("hollow", across)), height, size)
    cell = initial.info["adsorbate_info"]["cell"]
    middle = initial.positions[-1, :2] + 0.5 * np.array(across) @ cell
    tops = np.flatnonzero(initial.get_tags() == 1)
    apart = np.linalg.norm(initial.positions[tops, :2] - middle, axis=1)
    leaving = tops[apart.argmin()]
    assert apart.min() < 0.01
    final.positions[[leaving, -1]] = final.positions[[-1, leaving]]
    return initial, final


def vacancy(metal: str, repeats: int, missing: tuple[tuple[float, float, float], ...] = ()) -> Ends:
    """An atom jumps into the vacancy at the origin; `missing` are further vacancies, in lattice constants."""
    atoms = bulk(metal, cubic=True) * (repeats, repeats, repeats)
    a = atoms.cell[0, 0] / repeats
    gone = [nearest(atoms, a * np.array(site)) for site in ((0.0, 0.0, 0.0), *missing)]
    jumper = nearest(atoms, a * np.array([0.5, 0.5, 0.0]))
    jumped = atoms.copy()
    jumped.positions[jumper] = atoms.positions[gone[0]]
    for end in (atoms, jumped):
        del end[gone]
    return atoms, jumped


def nearest(atoms: Atoms, place: np.ndarray) -> int:
    """The atom at `place`."""
    apart = np.linalg.norm(atoms.positions - place, axis=1)
    assert apart.min() < 1e-6
    return int(apart.argmin())


def pair(metal: str) -> Ends:
    """One atom of an adsorbed dimer hops to the next hollow, along the dimer's side."""
    ends = []
    for offset in ((1, 0), (1, 1)):
        atoms = slab(metal, "100", (3, 3, 3))
        add_adsorbate(atoms, metal, 1.8, "hollow", offset=(0, 0))
        add_adsorbate(atoms, metal, 1.8, "hollow", offset=offset)
        ends.append(hold(atoms))
    return ends[0], ends[1]


HOLLOWS = (("hollow", (0, 0)), ("hollow", (1, 0)))
# Two cells wide, a hop is half a period, and which way is the short one is left to rounding unless it starts short.
HOLLOWS_IN_TWO = (("hollow", (0, 0)), ("hollow", (0.97, 0)))
ALONG = (("hollow", (0, 0)), ("hollow", (0, 1)))
THREEFOLD = (("fcc", (0, 0)), ("hcp", (0, 0)))


def surface(name: str, ends: partial[Ends], images: int, what: str, tuned: bool = False) -> Process:
    return Process(name, "surface", "emt", ends, images, f"{what}; {EMT}", tuned)


def solid(name: str, ends: partial[Ends], what: str, tuned: bool = False) -> Process:
    return Process(name, "bulk", "emt", ends, 5, f"{what}; {EMT}", tuned)


HOPS = (
    surface(
        "au_al100_hop",
        partial(hop, "Al", "Au", "100", HOLLOWS_IN_TWO, 1.7),
        5,
        "Au adatom on Al(100), hollow to hollow over the bridge, the example of ASE's tutorials",
        tuned=True,
    ),
    surface(
        "al_al100_hop",
        partial(hop, "Al", "Al", "100", HOLLOWS, 1.8, (3, 3, 3)),
        5,
        "Al adatom on Al(100), hop",
        tuned=True,
    ),
    surface("pt_pt100_hop", partial(hop, "Pt", "Pt", "100", HOLLOWS, 1.8, (3, 3, 3)), 5, "Pt adatom on Pt(100), hop"),
    surface("ni_ni100_hop", partial(hop, "Ni", "Ni", "100", HOLLOWS, 1.6, (3, 3, 3)), 5, "Ni adatom on Ni(100), hop"),
    surface(
        "o_cu111_hop", partial(hop, "Cu", "O", "111", THREEFOLD, 1.2), 5, "O on Cu(111), fcc to hcp site", tuned=True
    ),
    surface(
        "cu_cu111_hop", partial(hop, "Cu", "Cu", "111", THREEFOLD, 1.9, (3, 3, 3)), 5, "Cu on Cu(111), fcc to hcp site"
    ),
    surface(
        "au_au111_hop", partial(hop, "Au", "Au", "111", THREEFOLD, 2.2, (3, 3, 3)), 5, "Au on Au(111), fcc to hcp site"
    ),
    surface("n_ni111_hop", partial(hop, "Ni", "N", "111", THREEFOLD, 1.1), 5, "N on Ni(111), fcc to hcp site"),
    surface(
        "ag_ag110_hop",
        partial(hop, "Ag", "Ag", "110", ALONG, 1.3),
        5,
        "Ag adatom on Ag(110), hop along the channel",
    ),
    surface("cu_dimer_cu100", partial(pair, "Cu"), 7, "Cu dimer on Cu(100) turns: one of its atoms hops"),
)
EXCHANGES = (
    surface(
        "al_al100_exchange",
        partial(exchange, "Al", "100", (1, 1), (3, 3, 3), 1.8),
        7,
        "Al adatom on Al(100), concerted exchange with a surface atom (P. J. Feibelman, "
        "doi:10.1103/PhysRevLett.65.729)",
        tuned=True,
    ),
    surface(
        "pd_pd100_exchange",
        partial(exchange, "Pd", "100", (1, 1), (3, 3, 3), 1.8),
        7,
        "Pd adatom on Pd(100), concerted exchange with a surface atom",
    ),
    surface(
        "ag_ag110_exchange",
        partial(exchange, "Ag", "110", (1, 1), (3, 4, 4), 1.3),
        7,
        "Ag adatom on Ag(110), exchange with an atom of the ridge, into the next channel",
    ),
)
VACANCIES = (
    solid("cu_vacancy_31", partial(vacancy, "Cu", 2), "vacancy migration in Cu, 31 atoms", tuned=True),
    solid("cu_vacancy_107", partial(vacancy, "Cu", 3), "vacancy migration in Cu, 107 atoms", tuned=True),
    solid("al_vacancy_31", partial(vacancy, "Al", 2), "vacancy migration in Al, 31 atoms"),
    solid("ni_vacancy_107", partial(vacancy, "Ni", 3), "vacancy migration in Ni, 107 atoms"),
    solid(
        "cu_divacancy_106",
        partial(vacancy, "Cu", 3, ((0.5, 0.0, 0.5),)),
        "rotation of a divacancy in Cu by the jump of an atom next to both vacancies, 106 atoms",
    ),
)
METALS = (*HOPS, *EXCHANGES, *VACANCIES)
