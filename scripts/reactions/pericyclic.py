"""Electrocyclic, sigmatropic and cycloaddition steps that were never used to choose anything."""

from __future__ import annotations

from reactions.reaction import Reaction
from reactions.tuned import BAKER_CHAN

BUILT = "geometries built here"

PERICYCLIC = (
    Reaction(
        "hexatriene_cyclohexadiene",
        f"disrotatory closure of cis-hexatriene to 1,3-cyclohexadiene; {BUILT}",
        bonds="0-1 1-2 2-3 3-4 4-5 0-6 0-7 1-8 2-9 3-10 4-11 5-12 5-13",
        forms="0-5",
        saddle="C; C 1 1.38; C 2 1.41 1 122; C 3 1.39 2 122 1 42; C 4 1.41 3 122 2 0; C 5 1.38 4 122 3 -42; "
        "H 1 1.08 2 120 3 50; H 1 1.08 2 120 3 165; H 2 1.09 1 119 3 180; H 3 1.09 2 118 4 180; H 4 1.09 3 118 5 180; "
        "H 5 1.09 4 119 6 180; H 6 1.08 5 120 4 -50; H 6 1.08 5 120 4 -165",
    ),
    Reaction(
        "fulminic_acid_ethylene",
        f"1,3-dipolar addition of fulminic acid to ethylene, from the complex; {BUILT}",
        # N C O C C H(C1) H H H H
        bonds="0-1 0-2 3-4 1-5 3-6 3-7 4-8 4-9",
        forms="1-3 2-4",
        saddle="N; C 1 1.18; O 1 1.24 2 145; C 2 2.2 1 100 3 0; C 3 2.4 1 95 2 0; H 2 1.07 1 140 3 180; "
        "H 4 1.08 5 121 2 100; H 4 1.08 5 121 2 -100; H 5 1.08 4 121 3 100; H 5 1.08 4 121 3 -100",
    ),
    Reaction(
        "claisen",
        f"Claisen rearrangement of allyl vinyl ether to 4-pentenal through the chair, in the set of {BAKER_CHAN}; "
        f"{BUILT}",
        # C=C-O-C-C=C, hydrogens in this order
        bonds="0-1 1-2 2-3 3-4 4-5 0-6 0-7 1-8 3-9 3-10 4-11 5-12 5-13",
        breaks="2-3",
        forms="0-5",
        saddle="C; C 1 1.38; O 2 1.30 1 120; C 3 2.0 2 105 1 65; C 4 1.39 3 100 2 -55; C 5 1.38 4 121 3 65; "
        "H 1 1.08 2 120 3 25; H 1 1.08 2 120 3 165; H 2 1.09 1 122 3 180; H 4 1.08 5 120 6 -25; H 4 1.08 5 120 6 -165; "
        "H 5 1.09 4 119 6 180; H 6 1.08 5 120 4 25; H 6 1.08 5 120 4 165",
    ),
    Reaction(
        "pentadiene_shift",
        f"degenerate suprafacial 1,5-hydrogen shift in cis-1,3-pentadiene; {BUILT}",
        # C C C C C H(moving) H H (C0) H H H H H (C4)
        bonds="0-1 1-2 2-3 3-4 4-5 0-6 0-7 1-8 2-9 3-10 4-11 4-12",
        breaks="4-5",
        forms="0-5",
        saddle="C; C 1 1.39; C 2 1.41 1 122; C 3 1.41 2 124 1 28; C 4 1.39 3 122 2 -28; H 1 1.42 5 22 3 140; "
        "H 1 1.08 2 120 3 25; H 1 1.08 2 120 3 165; H 2 1.09 1 119 3 180; H 3 1.09 2 118 4 180; H 4 1.09 3 118 5 180; "
        "H 5 1.08 4 120 3 -25; H 5 1.08 4 120 3 -165",
    ),
)
