"""Rotations and inversions, without a change of bonds, that were never used to choose anything.

Rotations between two planar ends (nitrous acid, acrolein, primary amides) are left out but for one: straight and IDPP
paths between them stay in the plane, by symmetry, so do the forces, and a band that begins there ends at an inversion
far above the rotation.
"""

from __future__ import annotations

from reactions.reaction import Reaction
from reactions.tuned import BAKER_CHAN

BUILT = "geometries built here"

_DIENE = (
    "C; C 1 1.34; C 2 1.46 1 124; C 3 1.34 2 124 1 {}; H 1 1.08 2 121 3 0; H 1 1.08 2 121 3 180; H 2 1.09 1 119 3 180; "
    "H 3 1.09 4 119 2 180; H 4 1.08 3 121 2 0; H 4 1.08 3 121 2 180"
)
_BUTANE = (
    "C; C 1 1.53; C 2 1.53 1 112; C 3 1.53 2 112 1 {}; H 1 1.1 2 111 3 60; H 1 1.1 2 111 3 180; H 1 1.1 2 111 3 300; "
    "H 2 1.1 1 109 3 121; H 2 1.1 1 109 3 -121; H 3 1.1 4 109 2 121; H 3 1.1 4 109 2 -121; H 4 1.1 3 111 2 60; "
    "H 4 1.1 3 111 2 180; H 4 1.1 3 111 2 300"
)
_ETHANOL = (
    "C; C 1 1.52; O 2 1.42 1 109; H 3 0.96 2 108 1 {}; H 1 1.09 2 110 3 60; H 1 1.09 2 110 3 180; "
    "H 1 1.09 2 110 3 300; H 2 1.1 1 110 3 120; H 2 1.1 1 110 3 240"
)

_DMF = (
    "C; O 1 1.21; H 1 1.11 2 123; N 1 {0} 2 125 3 180; C 4 1.46 1 {1} 2 {2}; C 4 1.46 1 {1} 2 {3}; "
    "H 5 1.1 4 110 1 {4}; H 5 1.1 4 110 1 {5}; H 5 1.1 4 110 1 {6}; H 6 1.1 4 110 1 {4}; "
    "H 6 1.1 4 110 1 {5}; H 6 1.1 4 110 1 {6}"
)
_C2CL6 = (
    "C; C 1 1.55; Cl 1 1.77 2 110; Cl 1 1.77 2 110 3 120; Cl 1 1.77 2 110 3 240; Cl 2 1.77 1 110 3 {0}; "
    "Cl 2 1.77 1 110 3 {1}; Cl 2 1.77 1 110 3 {2}"
)

CONFORMERS = (
    Reaction(
        "ammonia_inversion",
        f"inversion of NH3; {BUILT}",
        bonds="0-1 0-2 0-3",
        saddle="N; H 1 1.0; H 1 1.0 2 120; H 1 1.0 2 120 3 180",
    ),
    Reaction(
        "butadiene_rotation",
        f"s-trans -> gauche butadiene, in the set of {BAKER_CHAN}; {BUILT}",
        bonds="0-1 1-2 2-3 0-4 0-5 1-6 2-7 3-8 3-9",
        initial=_DIENE.format(180),
        final=_DIENE.format(35),
        torsion=(0, 1, 2, 3),
    ),
    Reaction(
        "butane_rotation",
        f"anti -> gauche butane; {BUILT}",
        bonds="0-1 1-2 2-3 0-4 0-5 0-6 1-7 1-8 2-9 2-10 3-11 3-12 3-13",
        initial=_BUTANE.format(180),
        final=_BUTANE.format(65),
        torsion=(0, 1, 2, 3),
    ),
    Reaction(
        "ethanol_rotation",
        f"trans -> gauche ethanol, rotation of the hydroxyl group; {BUILT}",
        bonds="0-1 1-2 2-3 0-4 0-5 0-6 1-7 1-8",
        initial=_ETHANOL.format(180),
        final=_ETHANOL.format(60),
        torsion=(0, 1, 2, 3),
    ),
    Reaction(
        "dimethylformamide_exchange",
        "both methyl groups of planar N,N-dimethylformamide change places by half a turn about the amide bond; IDPP "
        "between the ends stays in the plane and drives the formyl hydrogen in between carbon and oxygen; the other of "
        f"the two saddles lies 6.7 meV higher; {BUILT}",
        # C O H N C C, hydrogens of the first methyl, of the second
        bonds="0-1 0-2 0-3 3-4 3-5 4-6 4-7 4-8 5-9 5-10 5-11",
        initial=_DMF.format(1.36, 121, 0, 180, 0, 120, 240),
        final=_DMF.format(1.36, 121, 180, 0, 0, 120, 240),
        saddle=_DMF.format(1.43, 112, 118, -118, 60, 180, 300),
        torsion=(1, 0, 3, 4),
        mirror="6-7 10-11",
    ),
    Reaction(
        "hexachloroethane_rotation",
        f"one third of a turn of hexachloroethane, chlorine past chlorine; {BUILT}",
        bonds="0-1 0-2 0-3 0-4 1-5 1-6 1-7",
        initial=_C2CL6.format(60, 180, 300),
        final=_C2CL6.format(180, 300, 60),
        saddle=_C2CL6.format(120, 240, 0),
        torsion=(2, 0, 1, 5),
    ),
)
