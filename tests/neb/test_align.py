"""Alignment, rigid motion and the minimum image convention."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from ase import Atoms
from ase.constraints import FixAtoms, FixCartesian
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from sciopt.core.errors import ShapeError
from sciopt.neb.align import align, align_band, project_out, remove_rigid, rigid_bases, rigid_basis, unwrap
from sciopt.neb.coordinates import Coordinates

seeds = st.integers(0, 2**32 - 1)


def rotated(positions, rng):
    return Rotation.random(rng=rng).apply(positions) + rng.normal(scale=5.0, size=3)


@given(seed=seeds, natoms=st.integers(2, 12))
@settings(max_examples=40, deadline=None)
def test_a_moved_copy_comes_back(seed, natoms):
    rng = np.random.default_rng(seed)
    reference = rng.normal(scale=2.0, size=(natoms, 3))
    np.testing.assert_allclose(align(reference, rotated(reference, rng)), reference, atol=1e-9)


@given(seed=seeds)
@settings(max_examples=40, deadline=None)
def test_alignment_is_as_good_as_scipys_and_keeps_handedness(seed):
    rng = np.random.default_rng(seed)
    reference, positions = rng.normal(size=(2, 6, 3))
    aligned = align(reference, positions)
    _, rssd = Rotation.align_vectors(reference - reference.mean(0), positions - positions.mean(0))
    assert np.linalg.norm(aligned - reference) == pytest.approx(rssd, rel=1e-9)
    volume = [np.linalg.det(p[1:4] - p[0]) for p in (positions, aligned)]
    assert volume[0] == pytest.approx(volume[1], rel=1e-8)


def test_a_mirror_image_is_not_matched():
    chiral = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1.3, 0], [0, 0, 1.7]])
    mirrored = chiral * [1, 1, -1]
    assert np.linalg.norm(align(chiral, mirrored) - chiral) > 0.5


@pytest.mark.parametrize("shape", [(3, 3), (4, 2), (12,)])
def test_different_atoms_cannot_be_aligned(shape):
    with pytest.raises(ShapeError, match="same atoms"):
        align(np.zeros((4, 3)), np.zeros(shape))


def test_aligned_band_keeps_distances_and_becomes_straight():
    rng = np.random.default_rng(1)
    start = rng.normal(size=(5, 3))
    end = start + 0.3 * rng.normal(size=(5, 3))
    shapes = [start + t * (end - start) for t in np.linspace(0, 1, 6)]
    turned = np.array([shapes[0], *(rotated(p, rng) for p in shapes[1:-1]), shapes[-1]]).reshape(6, -1)
    aligned = align_band(turned, sweeps=500, tolerance=1e-9)

    for before, after in zip(turned, aligned, strict=True):
        gap = [np.linalg.norm(p.reshape(-1, 1, 3) - p.reshape(-1, 3), axis=2) for p in (before, after)]
        np.testing.assert_allclose(gap[0], gap[1], atol=1e-9)
    np.testing.assert_array_equal(aligned[[0, -1]], turned[[0, -1]])
    # The straight line it came from is itself a path; the aligned one may only be shorter.
    straight = np.linalg.norm(end - start) ** 2 / 5
    assert (np.diff(aligned, axis=0) ** 2).sum() <= straight * (1 + 1e-6)


@given(seed=seeds, natoms=st.integers(3, 10))
@settings(max_examples=40, deadline=None)
def test_rigid_projection(seed, natoms):
    rng = np.random.default_rng(seed)
    positions = rng.normal(scale=2.0, size=(natoms, 3))
    x = positions.ravel()
    basis = rigid_basis(x)
    assert basis.shape == (6, 3 * natoms)
    np.testing.assert_allclose(basis @ basis.T, np.eye(6), atol=1e-10)

    v = rng.normal(size=(4, x.size))
    once = remove_rigid(x, v)
    np.testing.assert_allclose(remove_rigid(x, once), once, atol=1e-10)
    motions = [np.cross(rng.normal(size=3), positions).ravel(), np.tile(rng.normal(size=3), natoms)]
    np.testing.assert_allclose(remove_rigid(x, np.array(motions)), 0.0, atol=1e-9)
    # What is left has neither momentum nor angular momentum, and is the nearest such vector.
    left = once.reshape(4, natoms, 3)
    np.testing.assert_allclose(left.sum(axis=1), 0.0, atol=1e-9)
    np.testing.assert_allclose(np.cross(positions, left).sum(axis=1), 0.0, atol=1e-8)
    np.testing.assert_allclose(((v - once) * once).sum(axis=1), 0.0, atol=1e-9)


@given(seed=seeds)
@settings(max_examples=20, deadline=None)
def test_rigid_projection_turns_with_the_molecule(seed):
    rng = np.random.default_rng(seed)
    positions, v = rng.normal(size=(2, 5, 3))
    turn = Rotation.random(rng=rng)
    turned = remove_rigid(turn.apply(positions).ravel(), turn.apply(v).ravel())
    np.testing.assert_allclose(
        turned, turn.apply(remove_rigid(positions.ravel(), v.ravel()).reshape(5, 3)).ravel(), atol=1e-9
    )


@given(seed=seeds, natoms=st.integers(2, 6))
@settings(max_examples=20, deadline=None)
def test_linear_molecules_have_five_rigid_motions(seed, natoms):
    rng = np.random.default_rng(seed)
    line = np.cumsum(1.0 + rng.random(natoms))[:, None] * [0.0, 0.0, 1.0]
    positions = rotated(line, rng)
    basis = rigid_basis(positions.ravel())
    assert len(basis) == 5
    np.testing.assert_allclose(basis @ basis.T, np.eye(5), atol=1e-10)
    turning = np.cross(rng.normal(size=3), positions).ravel()
    np.testing.assert_allclose(remove_rigid(positions.ravel(), turning), 0.0, atol=1e-7)


def test_one_atom_only_translates():
    np.testing.assert_allclose(np.abs(rigid_basis(np.array([1.0, 2.0, 3.0]))), np.eye(3))


def test_rigid_motion_needs_whole_atoms():
    with pytest.raises(ShapeError, match="rigid=False"):
        rigid_basis(np.zeros(7))


def test_many_configurations_at_once():
    rng = np.random.default_rng(3)
    X, V = rng.normal(size=(2, 4, 12))
    X[1] = np.outer(np.arange(4), [1.0, 2.0, 0.5]).ravel()
    bases = rigid_bases(X)
    assert [int(rows.any(axis=1).sum()) for rows in bases] == [6, 5, 6, 6]
    each = [remove_rigid(x, v) for x, v in zip(X, V, strict=True)]
    np.testing.assert_allclose(project_out(bases, V), each, atol=1e-12)


@given(seed=seeds)
@example(seed=1066)
@settings(max_examples=40, deadline=None)
def test_unwrap_finds_the_nearest_image(seed):
    rng = np.random.default_rng(seed)
    pbc = rng.random(3) < 0.7
    atoms = Atoms("H5", rng.normal(scale=4.0, size=(5, 3)), cell=np.eye(3) * 5.0 + rng.normal(size=(3, 3)), pbc=pbc)
    coordinates = Coordinates.of(atoms, rigid=False)
    initial, final = atoms.positions.ravel(), rng.normal(scale=4.0, size=15)
    near, moved = unwrap(initial, final, coordinates)

    # Wide: in a flat cell the nearest image may be many cells away.
    span = [range(-14, 15) if periodic else (0,) for periodic in pbc]
    shifts = np.array(list(itertools.product(*span))) @ np.asarray(atoms.cell)
    ways = (final - initial).reshape(5, 1, 3) + shifts
    np.testing.assert_allclose(moved, np.linalg.norm(ways, axis=2).min(axis=1), atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm((near - initial).reshape(5, 3), axis=1), moved, atol=1e-9)
    jumps = np.linalg.solve(np.asarray(atoms.cell).T, (near - final).reshape(5, 3).T)
    np.testing.assert_allclose(jumps, np.round(jumps), atol=1e-9)


def test_unwrap_changes_nothing_needlessly():
    atoms = Atoms("H2", [[0.1, 0.2, 0.3], [1.1, 1.2, 1.3]], cell=[4, 4, 4], pbc=True, constraint=FixAtoms([0]))
    coordinates = Coordinates.of(atoms)
    final = np.array([1.3, 1.1, 1.7])
    near, moved = unwrap(np.array([1.1, 1.2, 1.3]), final, coordinates)
    np.testing.assert_array_equal(near, final)
    assert moved[0] == 0.0 and moved[1] == pytest.approx(np.sqrt(0.04 + 0.01 + 0.16))


def test_unwrap_leaves_fixed_components_alone():
    # The short way would shift x, which is fixed.
    cell = [[5.0, 0.0, 0.0], [2.5, 4.0, 0.0], [0.0, 0.0, 5.0]]
    atoms = Atoms("H", cell=cell, pbc=True, constraint=FixCartesian([0], mask=(True, False, False)))
    coordinates = Coordinates.of(atoms)
    near, moved = unwrap(np.zeros(2), np.array([3.9, 0.0]), coordinates)
    np.testing.assert_array_equal(near, [3.9, 0.0])
    assert moved == pytest.approx([3.9])
