"""Rearrangements and eliminations that were never used to choose anything."""

from __future__ import annotations

from reactions.conformers import CONFORMERS
from reactions.pericyclic import PERICYCLIC
from reactions.radicals import RADICALS
from reactions.reaction import Reaction
from reactions.tuned import BAKER_CHAN

BUILT = "geometries built here"

REARRANGEMENTS = (
    Reaction(
        "vinylidene_acetylene",
        f"H2C=C: -> HCCH, in the set of {BAKER_CHAN}; {BUILT}",
        bonds="0-1 0-2 0-3",
        breaks="0-3",
        forms="1-3",
        saddle="C; C 1 1.26; H 1 1.08 2 170; H 1 1.35 2 60 3 180",
    ),
    Reaction(
        "formaldehyde_hydroxycarbene",
        f"H2CO -> HCOH (trans); {BUILT}",
        bonds="0-1 0-2 0-3",
        breaks="0-3",
        forms="1-3",
        saddle="C; O 1 1.31; H 1 1.1 2 115; H 1 1.25 2 57 3 180",
    ),
    Reaction(
        "methoxy_hydroxymethyl",
        f"CH3O -> CH2OH, a doublet, in the set of {BAKER_CHAN}; {BUILT}",
        bonds="0-1 0-2 0-3 0-4",
        breaks="0-4",
        forms="1-4",
        saddle="C; O 1 1.38; H 1 1.09 2 118; H 1 1.09 2 118 3 160; H 1 1.25 2 57 3 260",
        multiplicity=2,
    ),
    Reaction(
        "nitroxyl_isomerization",
        f"HNO -> HON (singlet); {BUILT}",
        bonds="0-1 0-2",
        breaks="0-2",
        forms="1-2",
        saddle="N; O 1 1.32; H 1 1.15 2 65",
    ),
    Reaction(
        "methyl_isocyanide",
        f"CH3NC -> CH3CN; {BUILT}",
        # C N H H H C
        bonds="0-1 0-2 0-3 0-4 1-5",
        breaks="0-1",
        forms="0-5",
        saddle="C; N 1 1.9; H 1 1.08 2 105; H 1 1.08 2 105 3 120; H 1 1.08 2 105 3 240; C 1 1.85 2 38 3 60",
    ),
    Reaction(
        "formamide_formimidic_acid",
        f"HCONH2 -> HC(OH)NH, 1,3-hydrogen shift; {BUILT}",
        # C O N H(N) H(N) H(C)
        bonds="0-1 0-2 2-3 2-4 0-5",
        breaks="2-3",
        forms="1-3",
        initial="C; O 1 1.21; N 1 1.36 2 125; H 3 1.0 1 120 2 0; H 3 1.0 1 120 2 180; H 1 1.1 2 122 3 180",
        final="C; O 1 1.35; N 1 1.26 2 122; H 2 0.97 1 106 3 0; H 3 1.02 1 110 2 180; H 1 1.09 2 112 3 180",
    ),
    Reaction(
        "formohydroxamic_acid",
        f"HCONHOH -> HC(OH)NHO, 1,4-hydrogen shift, in the set of {BAKER_CHAN}; {BUILT}",
        # C O N H(C) H(N) O H(O)
        bonds="0-1 0-2 0-3 2-4 2-5 5-6",
        breaks="5-6",
        forms="1-6",
        saddle="C; O 1 1.28; N 1 1.32 2 120; H 1 1.09 2 122 3 180; H 3 1.02 1 120 2 180; O 3 1.37 1 115 2 0; "
        "H 6 1.25 3 90 1 0",
    ),
    Reaction(
        "acetone_enolization",
        f"CH3COCH3 -> CH2=C(OH)CH3; {BUILT}",
        # C C C O H H H (first methyl) H H H (second)
        bonds="0-1 1-2 1-3 0-4 0-5 0-6 2-7 2-8 2-9",
        breaks="0-4",
        forms="3-4",
        saddle="C; C 1 1.40; C 2 1.50 1 126; O 2 1.30 1 110 3 180; H 4 1.3 2 77 1 0; H 1 1.08 2 118 4 80; "
        "H 1 1.08 2 118 4 200; H 3 1.09 2 110 1 0; H 3 1.09 2 110 1 120; H 3 1.09 2 110 1 240",
    ),
    Reaction(
        "formic_acid_dimer",
        f"double hydrogen transfer in the cyclic formic acid dimer; {BUILT}",
        # C O O H(C) H(O) | O C O H(C) H(O)
        bonds="0-1 0-2 0-3 2-4 5-6 6-7 6-8 7-9",
        breaks="2-4 7-9",
        forms="4-5 1-9",
        saddle="C; O 1 1.26; O 1 1.26 2 127; H 1 1.09 2 116.5 3 180; H 3 1.2 1 116.5 2 0; O 3 2.41 1 116.5 2 0; "
        "C 6 1.26 3 116.5 1 0; O 7 1.26 6 127 3 0; H 7 1.09 6 116.5 8 180; H 8 1.2 7 116.5 6 0",
    ),
)

ELIMINATIONS = (
    Reaction(
        "formyl_chloride_elimination",
        f"HCOCl -> HCl + CO, in the set of {BAKER_CHAN}; {BUILT}",
        bonds="0-1 0-2 0-3",
        breaks="0-2 0-3",
        forms="2-3",
        saddle="C; O 1 1.15; Cl 1 2.3 2 125; H 1 1.2 3 48 2 180",
    ),
    Reaction(
        "fluoroethane_elimination",
        f"CH3CH2F -> CH2CH2 + HF, in the set of {BAKER_CHAN}; {BUILT}",
        # C C F H(leaving) H H (C0) H H (C1)
        bonds="0-1 0-2 1-3 0-4 0-5 1-6 1-7",
        breaks="0-2 1-3",
        forms="2-3",
        saddle="C; C 1 1.40; F 1 1.85 2 98; H 2 1.3 1 80 3 0; H 1 1.08 2 121 3 105; H 1 1.08 2 121 3 -105; "
        "H 2 1.08 1 119 3 105; H 2 1.08 1 119 3 -105",
    ),
    Reaction(
        "carbonic_acid_decomposition",
        f"H2CO3 -> CO2 + H2O; {BUILT}",
        # C O(=) O O H(O2) H(O3)
        bonds="0-1 0-2 0-3 2-4 3-5",
        breaks="0-2 3-5",
        forms="2-5",
        saddle="C; O 1 1.18; O 1 1.75 2 115; O 1 1.26 3 92 2 180; H 3 0.97 1 110 2 60; H 4 1.25 1 78 3 0",
    ),
)

HELD_OUT = (*REARRANGEMENTS, *ELIMINATIONS, *PERICYCLIC, *CONFORMERS, *RADICALS)
