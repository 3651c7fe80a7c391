"""Rotations and inversions, without a change of bonds, that were never used to choose anything.

Rotations between two planar ends (nitrous acid, acrolein, amides) are left out: straight and IDPP paths between them
stay in the plane, by symmetry, so do the forces, and the band ends at an inversion far above the rotation.
"""

from __future__ import annotations

from reactions.reaction import Reaction

BUILT = "geometries built here"

_BUTANE = (
    "C; C 1 1.53; C 2 1.53 1 112; C 3 1.53 2 112 1 {}; H 1 1.1 2 111 3 60; H 1 1.1 2 111 3 180; H 1 1.1 2 111 3 300; "
    "H 2 1.1 1 109 3 121; H 2 1.1 1 109 3 -121; H 3 1.1 4 109 2 121; H 3 1.1 4 109 2 -121; H 4 1.1 3 111 2 60; "
    "H 4 1.1 3 111 2 180; H 4 1.1 3 111 2 300"
)
_ETHANOL = (
    "C; C 1 1.52; O 2 1.42 1 109; H 3 0.96 2 108 1 {}; H 1 1.09 2 110 3 60; H 1 1.09 2 110 3 180; "
    "H 1 1.09 2 110 3 300; H 2 1.1 1 110 3 120; H 2 1.1 1 110 3 240"
)
_DIFLUOROETHANE = (
    "F; C 1 1.39; C 2 1.51 1 109; F 3 1.39 2 109 1 {}; H 2 1.09 3 110 4 {}; H 2 1.09 3 110 4 {}; H 3 1.09 2 110 1 {}; "
    "H 3 1.09 2 110 1 {}"
)

CONFORMERS = (
    Reaction(
        "ammonia_inversion",
        f"inversion of NH3; {BUILT}",
        bonds="0-1 0-2 0-3",
        saddle="N; H 1 1.0; H 1 1.0 2 120; H 1 1.0 2 120 3 180",
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
        "difluoroethane_rotation",
        f"gauche -> anti 1,2-difluoroethane; {BUILT}",
        bonds="0-1 1-2 2-3 1-4 1-5 2-6 2-7",
        initial=_DIFLUOROETHANE.format(70, -170, -50, -170, -50),
        final=_DIFLUOROETHANE.format(180, -60, 60, -60, 60),
        torsion=(0, 1, 2, 3),
    ),
)
