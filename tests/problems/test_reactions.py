"""The stored GFN2-xTB reactions against freshly computed energies, forces, curvatures and bonds."""

from __future__ import annotations

import csv
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import minimize_rotation_and_translation
from ase.data import covalent_radii
from ase.io import read
from tblite.ase import TBLite

import sciopt.problems
from sciopt.neb.coordinates import Coordinates
from sciopt.neb.interpolate import interpolate

DATA = Path(sciopt.problems.__file__).parent / "data"
FMAX = 1e-3  # eV/Å
SHELF = {"diels_alder": 2e-3}  # this one starts on the flat shelf of a complex, not in its minimum

# Bonds lost and gained, as the name of the reaction says.
BONDS = {
    "hcn_hnc": ("C-H", "H-N"),
    "formaldehyde_h2_co": ("C-H C-H", "H-H"),
    "vinyl_alcohol_acetaldehyde": ("H-O", "C-H"),
    "malonaldehyde_transfer": ("H-O", "H-O"),
    "cyclobutene_butadiene": ("C-C", ""),
    "diels_alder": ("", "C-C C-C"),
    "vinylidene_acetylene": ("C-H", "C-H"),
    "formaldehyde_hydroxycarbene": ("C-H", "H-O"),
    "methoxy_hydroxymethyl": ("C-H", "H-O"),
    "nitroxyl_isomerization": ("H-N", "H-O"),
    "methyl_isocyanide": ("C-N", "C-C"),
    "formamide_formimidic_acid": ("H-N", "H-O"),
    "formohydroxamic_acid": ("H-O", "H-O"),
    "acetone_enolization": ("C-H", "H-O"),
    "formic_acid_dimer": ("H-O H-O", "H-O H-O"),
    "formyl_chloride_elimination": ("C-Cl C-H", "Cl-H"),
    "fluoroethane_elimination": ("C-F C-H", "F-H"),
    "carbonic_acid_decomposition": ("C-O H-O", "H-O"),
    "hexatriene_cyclohexadiene": ("", "C-C"),
    "fulminic_acid_ethylene": ("", "C-C C-O"),
    "claisen": ("C-O", "C-C"),
    "pentadiene_shift": ("C-H", "C-H"),
    "butoxy_shift": ("C-H", "H-O"),
    "cyclopropylcarbinyl_opening": ("C-C", ""),
}
# Torsions (atoms, angle before, angle after, degrees, up to a mirror image); the bonds stay.
TORSIONS = {
    "butadiene_rotation": ((0, 1, 2, 3), 180, 30),
    "butane_rotation": ((0, 1, 2, 3), 180, 62),
    "ethanol_rotation": ((0, 1, 2, 3), 180, 60),
    "dimethylformamide_exchange": ((1, 0, 3, 4), 0, 180),
    "hexachloroethane_rotation": ((2, 0, 1, 5), 60, 180),
}
INVERSIONS = ("ammonia_inversion",)
ROWS = {row["name"]: row for row in csv.DictReader((DATA / "reactions.csv").read_text().splitlines())}
STORED = list(ROWS)


@cache
def frames(name: str) -> tuple[Atoms, Atoms, Atoms]:
    """Initial, final and saddle."""
    initial, final, saddle = read(DATA / "paths" / f"{name}.extxyz", ":")
    return initial, final, saddle


def calculated(atoms: Atoms, positions: np.ndarray | None = None) -> Atoms:
    """A copy of `atoms` with a new calculator made from its own `calculator` entry."""
    package, method, *options = atoms.info["calculator"].split(":")
    assert package == "tblite"
    keywords = {key: int(value) for key, value in (option.split("=") for option in options)}
    fresh = Atoms(atoms.symbols, atoms.positions if positions is None else positions)
    fresh.calc = TBLite(method=method, accuracy=0.01, verbosity=0, **keywords)
    return fresh


def bonds(atoms: Atoms) -> set[tuple[int, int]]:
    """Pairs closer than 1.3 times the sum of their covalent radii."""
    radii = covalent_radii[atoms.numbers]
    close = atoms.get_all_distances() < 1.3 * (radii[:, None] + radii)
    return {(i, j) for i, j in np.argwhere(np.triu(close, 1)).tolist()}


def kinds(atoms: Atoms, pairs: set[tuple[int, int]]) -> Counter[str]:
    """How many bonds of each pair of elements."""
    return Counter("-".join(sorted((atoms.symbols[i], atoms.symbols[j]))) for i, j in pairs)


def angle(a: float, b: float) -> float:
    """Smallest angle between two directions in degrees."""
    return abs((a - b + 180) % 360 - 180)


def test_the_set_is_complete() -> None:
    assert len(STORED) >= 16
    assert set(STORED) == set(BONDS) | set(TORSIONS) | set(INVERSIONS)
    tuned = {name for name in STORED if frames(name)[0].info["tuned"]}
    # Six chose constants, four more were looked at when safeguards were added.
    assert len(tuned) == 10
    assert len(STORED) - len(tuned) >= 10


@pytest.mark.parametrize("name", STORED)
def test_ends_are_minima_and_the_saddle_is_stationary(name: str) -> None:
    initial, final, saddle = map(calculated, frames(name))
    for point, limit in ((initial, SHELF.get(name, FMAX)), (final, FMAX), (saddle, FMAX)):
        assert np.linalg.norm(point.get_forces(), axis=1).max() < limit
    energies = [point.get_potential_energy() for point in (initial, final, saddle)]
    barrier = frames(name)[0].info["barrier"]
    assert energies[2] - energies[0] == pytest.approx(barrier, abs=1e-3)
    assert float(ROWS[name]["barrier"]) == pytest.approx(barrier, abs=1e-5)
    assert energies[2] - energies[1] == pytest.approx(float(ROWS[name]["reverse_barrier"]), abs=1e-3)
    assert min(energies[2] - energies[0], energies[2] - energies[1]) > 0


@pytest.mark.parametrize("name", STORED)
def test_frames_belong_together(name: str) -> None:
    initial, final, saddle = frames(name)
    assert 3 <= len(initial) <= 16
    for other in (final, saddle):
        assert list(other.symbols) == list(initial.symbols)
        assert other.info == initial.info
    assert initial.info["name"] == name
    assert initial.info["kind"] == "molecule"
    assert not initial.pbc.any()


@pytest.mark.parametrize("name", STORED)
def test_final_state_is_aligned_with_the_initial_state(name: str) -> None:
    initial, final, _ = frames(name)
    if all(np.linalg.svd(end.positions - end.positions.mean(axis=0))[1][1] < 0.01 for end in (initial, final)):
        # Aligned collinear ends would leave every path on one line: these must enclose an angle.
        axes = [end.positions[1] - end.positions[0] for end in (initial, final)]
        assert np.linalg.norm(np.cross(*axes)) > 0.5
        return
    moved = final.copy()
    minimize_rotation_and_translation(initial, moved)
    assert np.linalg.norm(moved.positions - initial.positions) == pytest.approx(
        np.linalg.norm(final.positions - initial.positions), abs=1e-6
    )


@pytest.mark.parametrize("name", sorted(BONDS))
def test_bonds_change_as_the_name_says(name: str) -> None:
    initial, final, _ = frames(name)
    lost, gained = bonds(initial) - bonds(final), bonds(final) - bonds(initial)
    assert (kinds(initial, lost), kinds(initial, gained)) == tuple(Counter(text.split()) for text in BONDS[name])


@pytest.mark.parametrize("name", sorted(TORSIONS))
def test_torsions_change_as_the_name_says(name: str) -> None:
    initial, final, _ = frames(name)
    assert bonds(initial) == bonds(final)
    atoms, before, after = TORSIONS[name]
    angles = initial.get_dihedral(*atoms), final.get_dihedral(*atoms)
    deviations = [max(angle(sign * angles[0], before), angle(sign * angles[1], after)) for sign in (1, -1)]
    assert min(deviations) < 30


def test_idpp_between_the_ends_of_dimethylformamide_runs_through_a_clash() -> None:
    initial, final, _ = frames("dimethylformamide_exchange")
    ends = initial.positions.ravel(), final.positions.ravel()
    path = interpolate("idpp", *ends, 7, Coordinates.of(initial)).reshape(9, -1, 3)
    middle = calculated(initial, path[4])
    assert np.abs(path[:, :6, 2]).max() < 1e-6
    assert middle.get_angle(1, 0, 2) < 1
    assert middle.get_potential_energy() - calculated(initial).get_potential_energy() > 9 * initial.info["barrier"]


@pytest.mark.parametrize("name", INVERSIONS)
def test_inversion_turns_the_pyramid_inside_out(name: str) -> None:
    volumes = []
    for end in frames(name)[:2]:
        a, b, c = end.positions[1:] - end.positions[0]
        volumes.append(np.dot(a, np.cross(b, c)))
    assert volumes[0] == pytest.approx(-volumes[1], rel=1e-3)
    assert abs(volumes[0]) > 0.1


def test_the_opening_of_cyclobutene_is_conrotatory() -> None:
    # In the conrotatory saddle both methylene groups turn the same way: the two-fold axis survives, the mirror does
    # not, so that the four carbons are twisted and the two outer torsions agree in sign and size.
    saddle = frames("cyclobutene_butadiene")[2]
    first, second = (saddle.get_dihedral(*torsion) for torsion in ((1, 0, 3, 8), (0, 1, 2, 6)))
    assert angle(first, second) < 1
    assert angle(saddle.get_dihedral(3, 0, 1, 2), 0) > 5


@pytest.mark.parametrize(
    "name",
    ["hcn_hnc", "formaldehyde_h2_co", "methoxy_hydroxymethyl", "ammonia_inversion", "cyclopropylcarbinyl_opening"],
)
def test_saddle_has_one_negative_mode_and_the_ends_none(name: str) -> None:
    for atoms, negative in zip(frames(name), (0, 0, 1), strict=True):
        point = calculated(atoms)
        h = 1e-2
        columns = []
        for i in np.ndindex(len(atoms), 3):
            sides = []
            for sign in (1, -1):
                point.positions = atoms.positions
                point.positions[i] += sign * h
                sides.append(point.get_forces().ravel())
            columns.append((sides[1] - sides[0]) / (2 * h))
        curvatures = np.linalg.eigvalsh((np.array(columns) + np.array(columns).T) / 2)
        # Rigid motion has zero curvature; the softest true mode of these molecules is well above 0.05 eV/Å².
        assert (curvatures < -0.05).sum() == negative
        assert (np.abs(curvatures) < 0.05).sum() <= 6
