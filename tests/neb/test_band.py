"""Band forces against ASE's NEB, and the properties they must have whatever the band looks like."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms, FixCartesian
from ase.mep.neb import NEB
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from sciopt.core.errors import InputError
from sciopt.neb.align import project_out, rigid_bases
from sciopt.neb.band import TANGENTS, BandForce, BandLaw, band_force, branches, highest
from sciopt.neb.coordinates import Coordinates

ATOMS = 5


class Band(NamedTuple):
    """A random band: positions (M+2, 3N), energies (M+2,) and forces (M+2, 3N)."""

    X: np.ndarray
    energies: np.ndarray
    forces: np.ndarray


def random_band(rng: np.random.Generator, images: int = 5, shape: str = "hump") -> Band:
    start, end = rng.normal(size=(2, 3 * ATOMS)) * 2.0
    X = np.linspace(start, end, images + 2) + 0.15 * rng.normal(size=(images + 2, 3 * ATOMS))
    s = np.linspace(0, 1, images + 2)
    energies = {
        "hump": np.sin(np.pi * s) + 0.4 * s + 0.2 * rng.normal(size=images + 2),
        "uphill": 2 * s + 0.05 * rng.random(images + 2),
        "rough": rng.normal(size=images + 2),
    }[shape]
    if shape == "hump":
        energies[1 + images // 2] = energies.max() + 0.1
    return Band(X, energies, rng.normal(size=X.shape))


def evaluate(band: Band, coordinates: Coordinates, law: BandLaw) -> BandForce:
    free = coordinates.free
    return band_force(band.X[:, free], band.energies, band.forces[1:-1, free], coordinates, law)


def molecule(constraint: object = None, **options: object) -> Atoms:
    return Atoms("CHONF", np.random.default_rng(5).normal(size=(ATOMS, 3)) * 3, constraint=constraint, **options)


def ase_forces(template: Atoms, band: Band, climb: bool, method: str, k: float = 0.1) -> np.ndarray:
    """(M, N, 3) forces of ASE's NEB."""
    images = []
    for x, energy, force in zip(band.X, band.energies, band.forces, strict=True):
        atoms = template.copy()
        atoms.set_positions(x.reshape(-1, 3), apply_constraint=False)
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=force.reshape(-1, 3))
        images.append(atoms)
    return NEB(images, k=k, climb=climb, method=method).get_forces().reshape(len(images) - 2, -1)


def climbs_like_ase(band: Band) -> bool:
    # ASE climbs with the highest movable image even where an end is higher: only then may we differ.
    return highest(band.energies) is not None


@pytest.mark.parametrize("climb", [True, False])
@pytest.mark.parametrize("shape", ["hump", "rough", "uphill"])
@pytest.mark.parametrize("images", [1, 2, 7])
def test_forces_are_those_of_ase(rng: np.random.Generator, climb: bool, shape: str, images: int) -> None:
    for _ in range(10):
        band = random_band(rng, images, shape)
        law = BandLaw(0.7, climb=climb and climbs_like_ase(band))
        ours = evaluate(band, Coordinates.of(molecule(), rigid=False), law).force
        expected = ase_forces(molecule(), band, law.climb, "improvedtangent", k=0.7)
        np.testing.assert_allclose(ours, expected, atol=1e-10, rtol=0)


@pytest.mark.parametrize("constraint", [FixAtoms([1, 3]), FixCartesian([0, 2], mask=(True, False, True))])
def test_forces_with_fixed_components_are_those_of_ase(rng: np.random.Generator, constraint: object) -> None:
    atoms = molecule(constraint)
    coordinates = Coordinates.of(atoms)
    fixed = np.setdiff1d(np.arange(3 * ATOMS), coordinates.free)
    band = random_band(rng)
    band.X[:, fixed] = atoms.positions.ravel()[fixed]
    expected = ase_forces(atoms, band, True, "improvedtangent")
    np.testing.assert_allclose(evaluate(band, coordinates, BandLaw()).force, expected[:, coordinates.free], atol=1e-10)
    np.testing.assert_array_equal(expected[:, fixed], 0.0)


def test_forces_on_an_unwrapped_periodic_band_are_those_of_ase_on_the_wrapped_one(rng: np.random.Generator) -> None:
    cell = 9.0
    atoms = molecule(cell=[cell] * 3, pbc=True)
    band = random_band(rng)
    wrapped = band._replace(X=band.X % cell)
    assert np.abs(np.diff(wrapped.X, axis=0)).max() > cell / 2, "nothing crossed the boundary"
    expected = ase_forces(atoms, wrapped, True, "improvedtangent")
    np.testing.assert_allclose(evaluate(band, Coordinates.of(atoms), BandLaw()).force, expected, atol=1e-10)


@pytest.mark.parametrize(("tangent", "ase_method"), [("bisection", "eb"), ("spline", "spline")])
def test_other_tangents_are_those_of_ase(rng: np.random.Generator, tangent: str, ase_method: str) -> None:
    band = random_band(rng)
    # Without springs ASE's force is F - (F.t) t: images pulled along t only feel nothing.
    ours = evaluate(band, Coordinates.of(molecule(), rigid=False), BandLaw(0.0, tangent=tangent, climb=False))
    expected = ase_forces(molecule(), band, False, ase_method, k=0.0)
    np.testing.assert_allclose(ours.force, expected, atol=1e-10)


def test_the_central_tangent_is_the_chord(rng: np.random.Generator) -> None:
    band = random_band(rng)
    chord = band.X[2:] - band.X[:-2]
    found = evaluate(band, Coordinates.of(molecule(), rigid=False), BandLaw(tangent="central")).tangents
    np.testing.assert_allclose(found, chord / np.linalg.norm(chord, axis=1, keepdims=True), atol=1e-14)


def test_three_equal_energies_still_have_a_tangent(rng: np.random.Generator) -> None:
    band = random_band(rng)._replace(energies=np.zeros(7))
    found = evaluate(band, Coordinates.of(molecule(), rigid=False), BandLaw())
    np.testing.assert_allclose(np.linalg.norm(found.tangents, axis=1), 1.0)
    assert found.climbing is None


seeds = st.integers(0, 2**32 - 1)
tangents = st.sampled_from(sorted(TANGENTS))


@given(seed=seeds, tangent=tangents, shape=st.sampled_from(["hump", "rough"]))
def test_turning_and_moving_a_free_band_turns_its_forces(seed: int, tangent: str, shape: str) -> None:
    rng = np.random.default_rng(seed)
    band, law = random_band(rng, shape=shape), BandLaw(tangent=tangent)
    turn, move = Rotation.random(random_state=seed % 2**31).as_matrix(), rng.normal(size=3)

    def turned(v: np.ndarray) -> np.ndarray:
        return (v.reshape(-1, 3) @ turn.T).reshape(len(v), -1)

    other = Band(turned(band.X) + np.tile(move, ATOMS), band.energies, turned(band.forces))
    coordinates = Coordinates.of(molecule())
    assert coordinates.rigid
    before, after = evaluate(band, coordinates, law), evaluate(other, coordinates, law)
    np.testing.assert_allclose(after.force, turned(before.force), atol=1e-9)
    np.testing.assert_allclose(after.tangents, turned(before.tangents), atol=1e-9)
    assert after.climbing == before.climbing


@given(seed=seeds, tangent=tangents)
def test_renumbering_atoms_renumbers_forces(seed: int, tangent: str) -> None:
    rng = np.random.default_rng(seed)
    band, law, order = random_band(rng), BandLaw(tangent=tangent), rng.permutation(ATOMS)

    def permuted(v: np.ndarray) -> np.ndarray:
        return v.reshape(len(v), -1, 3)[:, order].reshape(len(v), -1)

    coordinates = Coordinates.of(molecule())
    before = evaluate(band, coordinates, law).force
    after = evaluate(Band(permuted(band.X), band.energies, permuted(band.forces)), coordinates, law).force
    np.testing.assert_allclose(after, permuted(before), atol=1e-9)


@given(seed=seeds, tangent=tangents, low=st.one_of(st.none(), st.floats(0, 1)))
def test_the_reversed_path_has_reversed_tangents_and_the_same_forces(
    seed: int, tangent: str, low: float | None
) -> None:
    band, law = random_band(np.random.default_rng(seed), shape="rough"), BandLaw(0.5, low, tangent)
    coordinates = Coordinates.of(molecule())
    before = evaluate(band, coordinates, law)
    after = evaluate(Band(*(part[::-1] for part in band)), coordinates, law)
    np.testing.assert_allclose(after.tangents, -before.tangents[::-1], atol=1e-9)
    np.testing.assert_allclose(after.force, before.force[::-1], atol=1e-9)
    np.testing.assert_array_equal(branches(band.energies[::-1]), -branches(band.energies)[::-1])


@given(seed=seeds, tangent=tangents, spring=st.floats(0, 10))
def test_springs_act_along_the_path_and_the_true_force_across(seed: int, tangent: str, spring: float) -> None:
    band = random_band(np.random.default_rng(seed))
    found = evaluate(band, Coordinates.of(molecule()), BandLaw(spring, tangent=tangent))
    np.testing.assert_allclose(np.linalg.norm(found.tangents, axis=1), 1.0, atol=1e-12)
    along = np.einsum("ij,ij->i", found.force, found.tangents)
    across = found.force - along[:, None] * found.tangents
    np.testing.assert_allclose(
        across, found.true - np.einsum("ij,ij->i", found.true, found.tangents)[:, None] * found.tangents, atol=1e-9
    )
    expected = spring * np.diff(found.lengths)
    assert found.climbing is not None
    expected[found.climbing] = -found.along[found.climbing]
    np.testing.assert_allclose(along, expected, atol=1e-9)
    np.testing.assert_allclose(np.einsum("ij,ij->i", across, found.tangents), 0.0, atol=1e-9)


@given(seed=seeds, low=st.floats(0.0, 1.0), extra=st.floats(0.0, 5.0), shape=st.sampled_from(["hump", "rough"]))
def test_energy_weighted_springs_lie_between_their_bounds(seed: int, low: float, extra: float, shape: str) -> None:
    band = random_band(np.random.default_rng(seed), shape=shape)
    high = low + extra
    coordinates = Coordinates.of(molecule(), rigid=False)
    found = evaluate(band, coordinates, BandLaw(high, low, climb=False))
    lengths = np.diff(band.X, axis=0)
    lengths = np.linalg.norm(lengths, axis=1)
    pull = np.einsum("ij,ij->i", found.force, found.tangents)
    # The spring constants follow from the pulls: k_{i+1} l_{i+1} - k_i l_i, one equation short of the unknowns.
    assert (pull <= high * lengths[1:] - low * lengths[:-1] + 1e-9).all()
    assert (pull >= low * lengths[1:] - high * lengths[:-1] - 1e-9).all()
    if shape == "hump":
        top = int(band.energies.argmax())
        # Both segments at the top have the stiffest spring.
        assert pull[top - 1] == pytest.approx(high * (lengths[top] - lengths[top - 1]), abs=1e-9)


def test_energy_weighted_springs_of_a_monotone_path_are_the_soft_ones(rng: np.random.Generator) -> None:
    band = random_band(rng, shape="uphill")
    coordinates = Coordinates.of(molecule(), rigid=False)
    weighted = evaluate(band, coordinates, BandLaw(1.0, 0.3))
    np.testing.assert_allclose(weighted.force, evaluate(band, coordinates, BandLaw(0.3)).force, atol=1e-12)


@pytest.mark.parametrize("turn", [1, -1])
def test_nothing_climbs_on_a_monotone_path(rng: np.random.Generator, turn: int) -> None:
    band = random_band(rng)._replace(energies=np.sort(rng.normal(size=7))[::turn])
    assert highest(band.energies) is None
    assert evaluate(band, Coordinates.of(molecule()), BandLaw(climb=True)).climbing is None


@given(seed=seeds, count=st.integers(2, 6), linear=st.booleans(), size=st.floats(0.5, 50.0))
def test_rigid_motions_are_orthonormal_and_complete(seed: int, count: int, linear: bool, size: float) -> None:
    rng = np.random.default_rng(seed)
    positions = size * rng.normal(size=(count, 3))
    if linear or count == 2:
        axis = rng.normal(size=3)
        positions = size * np.cumsum(0.5 + rng.random(count))[:, None] * axis / np.linalg.norm(axis)
    linear = linear or count == 2
    bases = rigid_bases((positions + rng.normal(size=3)).reshape(1, -1))[0]
    motions = 5 if linear else 6
    kept = bases[np.linalg.norm(bases, axis=1) > 0.5]
    assert len(kept) == motions
    np.testing.assert_allclose(kept @ kept.T, np.eye(motions), atol=1e-8)
    # Rotating about any axis and moving anywhere is in the span.
    arms = positions - positions.mean(axis=0)
    for axis in np.eye(3):
        for motion in (np.cross(axis, arms), np.tile(axis, (count, 1))):
            left = project_out(bases[None], motion.reshape(1, -1))
            assert np.abs(left).max() < 1e-7 * max(size, 1.0)


def test_rigid_motion_is_taken_out_of_a_free_molecule(rng: np.random.Generator) -> None:
    band = random_band(rng)
    found = evaluate(band, Coordinates.of(molecule()), BandLaw())
    for vectors in (found.force, found.tangents, found.true):
        net = vectors.reshape(-1, ATOMS, 3)
        arms = band.X[1:-1].reshape(-1, ATOMS, 3)
        np.testing.assert_allclose(net.sum(axis=1), 0.0, atol=1e-10)
        np.testing.assert_allclose(np.cross(arms, net).sum(axis=1), 0.0, atol=1e-9)


@pytest.mark.parametrize(
    ("options", "words"),
    [({"tangent": "sideways"}, "improved"), ({"spring": -1.0}, "negative"), ({"spring_low": -0.1}, "negative")],
)
def test_bad_laws_are_refused(options: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        BandLaw(**options)
