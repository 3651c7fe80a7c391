"""Doublets that were never used to choose anything: a hydrogen shift, and the opening of a ring."""

from __future__ import annotations

from reactions.reaction import Reaction

BUILT = "geometries built here"

RADICALS = (
    Reaction(
        "cyclopropylcarbinyl_opening",
        f"cyclopropylcarbinyl -> 3-butenyl radical, a doublet, opening of the ring; {BUILT}",
        # C(radical) C C C (ring) H H (C0) H (C1) H H (C2) H H (C3)
        bonds="0-1 1-2 1-3 2-3 0-4 0-5 1-6 2-7 2-8 3-9 3-10",
        breaks="1-3",
        saddle="C; C 1 1.40; C 2 1.47 1 121; C 3 1.50 2 75 1 110; H 1 1.08 2 121 3 0; H 1 1.08 2 121 3 180; "
        "H 2 1.09 1 118 3 -165; H 3 1.09 2 117 4 108; H 3 1.09 2 117 4 -108; H 4 1.08 3 120 2 95; H 4 1.08 3 120 2 -95",
        multiplicity=2,
    ),
    Reaction(
        "butoxy_shift",
        f"1-butoxy -> 4-hydroxybutyl radical, a doublet, 1,5-hydrogen shift through a chair; {BUILT}",
        # O C C C C H(moving) H H (C1) H H (C2) H H (C3) H H (C4)
        bonds="0-1 1-2 2-3 3-4 4-5 1-6 1-7 2-8 2-9 3-10 3-11 4-12 4-13",
        breaks="4-5",
        forms="0-5",
        saddle="O; C 1 1.41; C 2 1.53 1 109; C 3 1.53 2 111 1 62; C 4 1.51 3 111 2 -62; H 5 1.30 4 104 3 45; "
        "H 2 1.1 1 109 3 120; H 2 1.1 1 109 3 -120; H 3 1.1 2 109 4 120; H 3 1.1 2 109 4 -120; H 4 1.1 3 109 5 120; "
        "H 4 1.1 3 109 5 -120; H 5 1.09 4 115 6 118; H 5 1.09 4 115 6 -118",
        multiplicity=2,
    ),
)
