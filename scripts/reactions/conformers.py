"""Rotations and inversions, without a change of bonds, that were never used to choose anything."""

from __future__ import annotations

from reactions.reaction import Reaction
from reactions.tuned import BAKER_CHAN

BUILT = "geometries built here"

_DIENE = (
    "C; C 1 1.34; C 2 1.46 1 124; C 3 1.34 2 124 1 {}; H 1 1.08 2 121 3 0; H 1 1.08 2 121 3 180; H 2 1.09 1 119 3 180; "
    "H 3 1.09 4 119 2 180; H 4 1.08 3 121 2 0; H 4 1.08 3 121 2 180"
)
_ENAL = (
    "C; C 1 1.34; C 2 1.47 1 121; O 3 1.21 2 124 1 {}; H 1 1.08 2 121 3 0; H 1 1.08 2 121 3 180; H 2 1.09 1 122 3 180; "
    "H 3 1.11 2 115 4 180"
)
_BUTANE = (
    "C; C 1 1.53; C 2 1.53 1 112; C 3 1.53 2 112 1 {}; H 1 1.1 2 111 3 60; H 1 1.1 2 111 3 180; H 1 1.1 2 111 3 300; "
    "H 2 1.1 1 109 3 121; H 2 1.1 1 109 3 -121; H 3 1.1 4 109 2 121; H 3 1.1 4 109 2 -121; H 4 1.1 3 111 2 60; "
    "H 4 1.1 3 111 2 180; H 4 1.1 3 111 2 300"
)
_GLYCINE = (
    "N; C 1 1.45; C 2 1.52 1 114; O 3 1.21 2 125 1 {}; O 3 1.35 2 112 1 {}; H 5 0.97 3 106 4 0; H 1 1.01 2 110 3 60; "
    "H 1 1.01 2 110 3 -60; H 2 1.09 1 109 3 120; H 2 1.09 1 109 3 -120"
)
_AMIDE = (
    "O; C 1 1.22; N 2 1.36 1 125; C 3 1.45 2 121 1 {}; H 2 1.1 1 122 3 180; H 3 1.0 2 119 1 {}; H 4 1.09 3 109 2 60; "
    "H 4 1.09 3 109 2 180; H 4 1.09 3 109 2 300"
)

CONFORMERS = (
    Reaction(
        "ammonia_inversion",
        f"inversion of NH3; {BUILT}",
        bonds="0-1 0-2 0-3",
        saddle="N; H 1 1.0; H 1 1.0 2 120; H 1 1.0 2 120 3 180",
    ),
    Reaction(
        "hydrogen_peroxide_torsion",
        f"rotation of H2O2 between its mirror images through the trans form; {BUILT}",
        bonds="0-1 1-2 2-3",
        initial="H; O 1 0.97; O 2 1.45 1 100; H 3 0.97 2 100 1 115",
        final="H; O 1 0.97; O 2 1.45 1 100; H 3 0.97 2 100 1 -115",
        torsion=(0, 1, 2, 3),
    ),
    Reaction(
        "nitrous_acid_rotation",
        f"cis-HONO -> trans-HONO; {BUILT}",
        bonds="0-1 1-2 2-3",
        initial="O; N 1 1.18; O 2 1.38 1 110; H 3 0.97 2 105 1 0",
        final="O; N 1 1.18; O 2 1.38 1 110; H 3 0.97 2 105 1 180",
        torsion=(0, 1, 2, 3),
    ),
    Reaction(
        "acrolein_rotation",
        f"s-trans -> s-cis acrolein, in the set of {BAKER_CHAN}; {BUILT}",
        bonds="0-1 1-2 2-3 0-4 0-5 1-6 2-7",
        initial=_ENAL.format(180),
        final=_ENAL.format(0),
        torsion=(0, 1, 2, 3),
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
        "methylformamide_rotation",
        f"rotation of the peptide bond of N-methylformamide, cis -> trans; {BUILT}",
        # O C N C H(C) H(N) H H H
        bonds="0-1 1-2 2-3 1-4 2-5 3-6 3-7 3-8",
        initial=_AMIDE.format(180, 0),
        final=_AMIDE.format(0, 180),
        torsion=(0, 1, 2, 3),
    ),
    Reaction(
        "glycine_rotation",
        f"glycine, rotation of the carboxyl group from the lowest neutral conformer; {BUILT}",
        # N C C O(=) O H(O) H H (N) H H (C)
        bonds="0-1 1-2 2-3 2-4 4-5 0-6 0-7 1-8 1-9",
        initial=_GLYCINE.format(180, 0),
        final=_GLYCINE.format(0, 180),
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
)
