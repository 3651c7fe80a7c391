"""The six reactions that were used to choose constants."""

from __future__ import annotations

from reactions.reaction import Reaction

BAKER_CHAN = "Baker and Chan, doi:10.1002/(SICI)1096-987X(199605)17:7<888::AID-JCC12>3.0.CO;2-7"

TUNED = (
    Reaction(
        "hcn_hnc",
        f"HCN -> HNC, in the set of {BAKER_CHAN}; geometries built here",
        bonds="0-1 0-2",
        breaks="0-2",
        forms="1-2",
        saddle="C; N 1 1.19; H 1 1.2 2 75",
        tuned=True,
    ),
    Reaction(
        "formaldehyde_h2_co",
        f"H2CO -> H2 + CO, in the set of {BAKER_CHAN}; geometries built here",
        bonds="0-1 0-2 0-3",
        breaks="0-2 0-3",
        forms="2-3",
        initial="C; O 1 1.2; H 1 1.1 2 120; H 1 1.1 2 120 3 180",
        saddle="C; O 1 1.17; H 1 1.1 2 163; H 1 1.7 2 112 3 0",
        tuned=True,
    ),
    Reaction(
        "vinyl_alcohol_acetaldehyde",
        f"CH2=CHOH -> CH3CHO, in the set of {BAKER_CHAN}; geometries built here",
        # C1 C2 O H(O) H(C1) H H(C2)
        bonds="0-1 1-2 2-3 1-4 0-5 0-6",
        breaks="2-3",
        forms="0-3",
        initial="C; C 1 1.33; O 2 1.36 1 125; H 3 0.96 2 108 1 0; H 2 1.08 1 123 3 180; H 1 1.08 2 120 3 0; "
        "H 1 1.08 2 120 3 180",
        final="C; C 1 1.50; O 2 1.21 1 124; H 1 1.09 2 110 3 0; H 2 1.1 1 116 3 180; H 1 1.09 2 110 3 120; "
        "H 1 1.09 2 110 3 240",
        saddle="C; C 1 1.40; O 2 1.29 1 111; H 3 1.28 2 77 1 0; H 2 1.09 1 127 3 180; H 1 1.08 2 118 3 80; "
        "H 1 1.08 2 118 3 200",
        tuned=True,
    ),
    Reaction(
        "malonaldehyde_transfer",
        "intramolecular hydrogen transfer of malonaldehyde; geometries built here",
        # O C C C O H(O) H H H
        bonds="0-1 1-2 2-3 3-4 0-5 1-6 2-7 3-8",
        breaks="0-5",
        forms="4-5",
        initial="O; C 1 1.32; C 2 1.37 1 124; C 3 1.43 2 120 1 0; O 4 1.24 3 123 2 0; H 1 1.0 2 106 3 0; "
        "H 2 1.09 1 115 3 180; H 3 1.08 2 120 4 180; H 4 1.1 3 118 5 180",
        final="O; C 1 1.24; C 2 1.43 1 123; C 3 1.37 2 120 1 0; O 4 1.32 3 124 2 0; H 5 1.0 4 106 3 0; "
        "H 2 1.1 1 119 3 180; H 3 1.08 2 120 4 180; H 4 1.09 3 120 5 180",
        tuned=True,
    ),
    Reaction(
        "cyclobutene_butadiene",
        "conrotatory opening of cyclobutene to butadiene; Woodward and Hoffmann, doi:10.1021/ja01080a054; "
        "geometries built here",
        # ring C0=C1, C1-C2, C3-C0, C2-C3 breaks; H on C0, C1, two on C2, two on C3
        bonds="0-1 1-2 2-3 0-3 0-4 1-5 2-6 2-7 3-8 3-9",
        breaks="2-3",
        saddle="C; C 1 1.38; C 2 1.42 1 105; C 1 1.42 2 105 3 22; H 1 1.08 2 127 4 180; H 2 1.08 1 127 3 180; "
        "H 3 1.09 2 122 1 60; H 3 1.09 2 118 1 -140; H 4 1.09 1 122 2 60; H 4 1.09 1 118 2 -140",
        tuned=True,
    ),
    Reaction(
        "diels_alder",
        f"ethylene + butadiene -> cyclohexene, in the set of {BAKER_CHAN}; geometries built here; "
        "starts on the shelf of the van der Waals complex (1.2e-3 eV/Å), 9 meV above and 3.5 Å before its minimum",
        # diene C0=C1-C2=C3, ethylene C4=C5; C3-C4 and C5-C0 form
        bonds="0-1 1-2 2-3 4-5 0-6 0-7 1-8 2-9 3-10 3-11 4-12 4-13 5-14 5-15",
        forms="3-4 0-5",
        saddle="C; C 1 1.37; C 2 1.41 1 122; C 3 1.37 2 122 1 0; C 4 2.25 3 102 2 -60; C 1 2.25 2 102 3 60; "
        "H 1 1.09 2 120 3 -30; H 1 1.09 2 120 3 165; H 2 1.09 1 120 3 175; H 3 1.09 4 120 2 175; "
        "H 4 1.09 3 120 2 30; H 4 1.09 3 120 2 -165; H 5 1.09 6 120 4 105; H 5 1.09 6 120 4 -105; "
        "H 6 1.09 5 120 1 105; H 6 1.09 5 120 1 -105",
        # The complex has a nearly force-free tail: the steepest-descent path drifts by another 3.5 Å, ethylene sliding
        # and butadiene twisting, for 9 meV. The reaction happens before that.
        shelf=1.2e-3,
        starts=2,
        tuned=True,
    ),
)
