"""Choosing an initial path without energies."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.constraints import FixAtoms
from ase.data import covalent_radii
from ase.neighborlist import neighbor_list
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from sciopt.core.errors import InputError
from sciopt.neb.align import rigid_basis
from sciopt.neb.coordinates import Coordinates
from sciopt.neb.initial_path import (
    Candidate,
    candidates,
    choose,
    clash_score,
    close_contacts,
    log_length,
    perturb,
)
from sciopt.neb.interpolate import idpp, linear

seeds = st.integers(0, 2**32 - 1)


def collinear_isomerization():
    start = Atoms("CNH", [[0, 0, 0], [1.15, 0, 0], [-1.07, 0, 0]])
    return start.positions.ravel(), np.array([0, 0, 0, 1.17, 0, 0, 2.17, 0, 0.0]), Coordinates.of(start)


def vacancy_hop():
    atoms = bulk("Cu", cubic=True) * 2
    hole = atoms.positions[0].copy()
    del atoms[0]
    mover = int(np.argmin(np.linalg.norm(atoms.positions - hole, axis=1)))
    final = atoms.positions.copy()
    final[mover] = hole
    coordinates = Coordinates.of(atoms)
    return coordinates.reduce(atoms.positions), coordinates.reduce(final), coordinates


def path(name, clash, length):
    return Candidate(name, np.zeros((3, 3)), clash, length)


def test_molecules_get_every_kind_and_the_same_ones_each_time():
    initial, final, coordinates = collinear_isomerization()
    found = candidates(initial, final, 5, coordinates)
    assert [c.name for c in found] == [
        "idpp", "kicked 1", "kicked 2", "kicked 3", "kicked 4", "geodesic", "sequential_idpp",
    ]  # fmt: skip
    again = candidates(initial, final, 5, coordinates)
    for one, other in zip(found, again, strict=True):
        np.testing.assert_array_equal(one.band, other.band)
        np.testing.assert_array_equal(one.band[[0, -1]], [initial, final])
        assert one.clash == clash_score(one.band, coordinates)
        assert one.length == log_length(one.band, coordinates)
        assert not close_contacts(one.band, coordinates)
    np.testing.assert_array_equal(found[0].band, idpp(initial, final, 5, coordinates))


def test_solids_get_idpp_unless_asked():
    initial, final, coordinates = vacancy_hop()
    assert [c.name for c in candidates(initial, final, 3, coordinates)] == ["idpp"]
    found = candidates(initial, final, 3, coordinates, names=["sequential_idpp"])
    assert [c.name for c in found] == ["idpp", "sequential_idpp"]


def test_unknown_kinds_are_named():
    initial, final, coordinates = vacancy_hop()
    with pytest.raises(InputError, match="'kick'; use any of idpp, kicked, geodesic, sequential_idpp"):
        candidates(initial, final, 3, coordinates, names=["kick"])


def test_choice_needs_both_less_clash_and_a_shorter_way():
    plain = path("idpp", 3.0, 2.0)
    assert choose([plain]).name == "idpp"
    assert choose([plain, path("no clash but far", 0.0, 2.1), path("short but clashing", 2.9, 1.0)]).name == "idpp"
    assert choose([plain, path("a", 2.5, 1.9)]).name == "a"
    assert choose([plain, path("a", 2.4, 1.0), path("b", 0.1, 1.9), path("c", 0.0, 2.5)]).name == "b"
    with pytest.raises(InputError, match="candidates"):
        choose([])


def test_a_path_through_an_atom_is_replaced():
    initial, final, coordinates = collinear_isomerization()
    through = perturb(linear(initial, final, 7, coordinates), coordinates, 0.02, seed=1)
    around = idpp(initial, final, 7, coordinates)
    paths = [
        Candidate(name, X, clash_score(X, coordinates), log_length(X, coordinates))
        for name, X in {"through": through, "around": around}.items()
    ]
    assert paths[0].clash > paths[1].clash + 5.0
    assert choose(paths).name == "around"


def test_scores_of_a_diatomic_by_hand():
    coordinates = Coordinates.of(Atoms("CO"))
    r = np.array([1.1, 0.6, 1.5, 2.0])
    X = np.zeros((4, 6))
    X[:, 5] = r
    stretch = r - covalent_radii[6] - covalent_radii[8]
    energy = 2.0 * ((1 - np.exp(-1.9 * stretch)) ** 2 - 1)
    assert clash_score(X, coordinates) == pytest.approx(energy.max() - max(energy[0], energy[-1]))
    assert log_length(X, coordinates) == pytest.approx(np.log(1.1 / 0.6) + np.log(1.5 / 0.6) + np.log(2.0 / 1.5))


def test_scores_without_pairs_are_zero():
    coordinates = Coordinates.of(Atoms("H"))
    X = np.linspace(0, 1, 4)[:, None] * np.ones(3)
    assert clash_score(X, coordinates) == log_length(X, coordinates) == 0.0


@given(seed=seeds)
@settings(max_examples=20, deadline=None)
def test_scores_do_not_see_rigid_motion_direction_or_order(seed):
    rng = np.random.default_rng(seed)
    atoms = molecule("CH3CHO")
    X = atoms.positions.ravel() + np.cumsum(rng.normal(scale=0.1, size=(5, 3 * len(atoms))), axis=0)
    turn, shift = Rotation.random(rng=rng), rng.normal(size=3)
    order = rng.permutation(len(atoms))
    moved = np.array([(turn.apply(x.reshape(-1, 3)) + shift)[order].ravel() for x in X])[::-1]
    for score in (clash_score, log_length):
        assert score(moved, Coordinates.of(atoms[order])) == pytest.approx(score(X, Coordinates.of(atoms)), rel=1e-9)


@given(seed=seeds)
@settings(max_examples=20, deadline=None)
def test_close_contacts_are_those_of_ase(seed):
    rng = np.random.default_rng(seed)
    atoms = Atoms(
        "CCuHCuC",
        rng.uniform(0, 4, (5, 3)),
        cell=np.diag([4.0, 4.5, 5.0]) + rng.uniform(-0.5, 0.5, (3, 3)),
        pbc=True,
        constraint=FixAtoms([0]),
    )
    coordinates = Coordinates.of(atoms)
    X = coordinates.reduce(atoms.positions) + rng.uniform(0, 1, (3, 12))
    found = close_contacts(X, coordinates, fraction=0.6)
    expected = []
    for image, x in enumerate(X):
        now = coordinates.atoms(x)
        i, j, r = neighbor_list("ijd", now, list(0.6 * covalent_radii[now.numbers]))
        expected += [(image, *sorted(pair), d) for *pair, d in zip(i, j, r, strict=True) if pair[0] < pair[1]]
    assert len(found) == len(expected)
    ours = sorted((c.image, *sorted((c.first, c.second)), c.distance) for c in found)
    np.testing.assert_allclose(ours, sorted(expected), atol=1e-9) if expected else None
    assert [c.distance for c in found] == sorted(c.distance for c in found)


def test_close_contact_across_a_cell_face_is_named():
    atoms = Atoms("OH", [[0.2, 2, 2], [2.5, 2, 2]], cell=[5, 5, 5], pbc=True, constraint=FixAtoms([0]))
    X = np.array([[2.5, 2.0, 2.0], [4.0, 2.0, 2.0], [4.9, 2.0, 2.0]])
    (contact,) = close_contacts(X, Coordinates.of(atoms))
    assert contact[:3] == (2, 1, 0)
    assert contact.distance == pytest.approx(0.3)


def test_perturbation_is_smooth_seeded_and_free_of_rigid_motion():
    initial, final, coordinates = collinear_isomerization()
    X = idpp(initial, final, 7, coordinates)
    bent = perturb(X, coordinates, 0.06, seed=4)
    np.testing.assert_array_equal(bent, perturb(X, coordinates, 0.06, seed=4))
    np.testing.assert_array_equal(bent[[0, -1]], X[[0, -1]])
    assert not np.allclose(bent, perturb(X, coordinates, 0.06, seed=5))
    for x, move in zip(X[1:-1], (bent - X)[1:-1], strict=True):
        np.testing.assert_allclose(rigid_basis(x) @ move, 0.0, atol=1e-12)


def test_perturbation_has_three_sine_modes_of_the_given_amplitude():
    initial, final, coordinates = vacancy_hop()
    X = linear(initial, final, 9, coordinates)
    moves = perturb(X, coordinates, 0.1, seed=0) - X
    t = np.linspace(0, 1, 11)
    # Discrete sine transform: the first three modes hold everything.
    modes = np.array([2 / 10 * np.sin(np.pi * q * t) @ moves for q in range(1, 10)])
    np.testing.assert_allclose(np.sqrt((modes[:3] ** 2).mean(axis=1)), 0.1, rtol=0.2)
    np.testing.assert_allclose(modes[3:], 0.0, atol=1e-12)
