"""Rotations and inversions, without a change of bonds, that were never used to choose anything.

Rotations between two planar ends (nitrous acid, acrolein, amides) are left out: straight and IDPP paths between them
stay in the plane, by symmetry, so do the forces, and the band ends at an inversion far above the rotation.
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
)
