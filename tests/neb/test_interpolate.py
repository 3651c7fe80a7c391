"""Interpolated paths, judged against ASE and against what they promise."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import add_adsorbate, fcc100, molecule
from ase.constraints import FixAtoms
from ase.data import covalent_radii
from ase.mep import NEB
from ase.mep.neb import IDPP, idpp_interpolate
from ase.neighborlist import neighbor_list
from ase.optimize import FIRE
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from sciopt.core.errors import InputError, NotFinite, ShapeError
from sciopt.neb.align import align, unwrap
from sciopt.neb.coordinates import Coordinates
from sciopt.neb.geodesic import Pairs, geodesic_length, shorten
from sciopt.neb.initial_path import perturb
from sciopt.neb.interpolate import (
    INTERPOLATIONS,
    geodesic,
    idpp,
    idpp_objective,
    interpolate,
    linear,
    redistribute,
    sequential_idpp,
)

seeds = st.integers(0, 2**32 - 1)
methods = pytest.mark.parametrize("method", list(INTERPOLATIONS))


def ends(start: Atoms, final_positions) -> tuple[np.ndarray, np.ndarray, Coordinates]:
    return start.positions.ravel(), align(start.positions, np.asarray(final_positions)).ravel(), Coordinates.of(start)


def hydrogen_shift():
    """A hydrogen atom moves from the methyl group of acetaldehyde to the oxygen atom."""
    atoms = molecule("CH3CHO")
    oxygen = atoms.symbols.search("O")[0]
    carbon = max(atoms.symbols.search("C"), key=lambda c: atoms.get_distance(c, oxygen))
    shared = min(atoms.symbols.search("H"), key=lambda h: atoms.get_distance(h, oxygen) + atoms.get_distance(h, carbon))
    away = atoms.positions[oxygen] - atoms.positions.mean(axis=0)
    final = atoms.positions.copy()
    final[shared] = final[oxygen] + 0.97 * away / np.linalg.norm(away)
    return ends(atoms, final)


def dissociation():
    """Formaldehyde to hydrogen and carbon monoxide."""
    atoms = molecule("H2CO")
    oxygen, carbon, *hydrogens = (atoms.positions[i] for i in (0, 1, 2, 3))
    axis = (carbon - oxygen) / np.linalg.norm(carbon - oxygen)
    side = (hydrogens[0] - hydrogens[1]) / np.linalg.norm(hydrogens[0] - hydrogens[1])
    final = np.array([oxygen, oxygen + 1.13 * axis, 0 * axis, 0 * axis])
    final[2] = final[1] + 1.6 * axis + 1.6 * side
    final[3] = final[2] - 0.74 * side
    return ends(atoms, final)


def rotation_of_methyl():
    """Ethane turns one methyl group by 60 degrees and stretches."""
    atoms = molecule("C2H6")
    carbons = atoms.symbols.search("C")
    group = [i for i in atoms.symbols.search("H") if atoms.get_distance(i, carbons[0]) < 1.3]
    axis = atoms.positions[carbons[0]] - atoms.positions[carbons[1]]
    axis /= np.linalg.norm(axis)
    final = atoms.positions.copy()
    center = atoms.positions[carbons[0]]
    final[group] = Rotation.from_rotvec(np.pi / 3 * axis).apply(final[group] - center) + center
    final[[*group, carbons[0]]] += 0.4 * axis
    return ends(atoms, final)


def isomerization():
    """HCN to HNC, exactly collinear: the straight line leads hydrogen through both other atoms."""
    start = Atoms("CNH", [[0, 0, 0], [1.15, 0, 0], [-1.07, 0, 0]])
    return start.positions.ravel(), np.array([0, 0, 0, 1.17, 0, 0, 2.17, 0, 0.0]), Coordinates.of(start)


def adatom_hop():
    """A gold atom hops between hollows of Al(100), across the cell face."""
    slab = fcc100("Al", size=(3, 3, 3), vacuum=5.0)
    add_adsorbate(slab, "Au", 1.7, "hollow")
    slab.pbc = (True, True, False)
    slab.set_constraint(FixAtoms([a.index for a in slab if a.tag > 2]))
    slab.positions[-1, :2] += 2 * slab.cell[0, :2] / 3
    final = slab.positions.copy()
    final[-1, :2] -= 2 * slab.cell[0, :2] / 3
    coordinates = Coordinates.of(slab)
    return coordinates.reduce(slab.positions), coordinates.reduce(final), coordinates


MOLECULES = {f.__name__: f for f in (hydrogen_shift, dissociation, rotation_of_methyl)}
molecules = pytest.mark.parametrize("system", list(MOLECULES))


def ase_idpp(initial, final, images, coordinates, **options):
    """The path of ASE's own IDPP and its potential of every image."""
    band = [coordinates.atoms(initial) for _ in range(images + 1)] + [coordinates.atoms(final)]
    neb = NEB(band, method="improvedtangent")
    neb.interpolate()
    idpp_interpolate(neb, traj=None, log=None, **options)
    return np.array([coordinates.reduce(atoms.positions) for atoms in band])


def ase_objective(X, coordinates):
    first, last = coordinates.atoms(X[0]).get_all_distances(), coordinates.atoms(X[-1]).get_all_distances()
    energies, forces = [], []
    for t, x in zip(np.linspace(0, 1, len(X)), X, strict=True):
        atoms = coordinates.atoms(x)
        atoms.calc = IDPP(first + t * (last - first), mic=False)
        energies.append(atoms.get_potential_energy())
        forces.append(atoms.get_forces().ravel())
    return np.array(energies), np.array(forces)


@methods
@pytest.mark.parametrize("images", [1, 2, 3, 8])
@pytest.mark.parametrize("system", [hydrogen_shift, isomerization])
def test_ends_are_exact_and_images_finite(method, images, system):
    initial, final, coordinates = system()
    X = interpolate(method, initial, final, images, coordinates)
    assert X.shape == (images + 2, coordinates.size)
    np.testing.assert_array_equal(X[0], initial)
    np.testing.assert_array_equal(X[-1], final)
    assert np.isfinite(X).all()


@methods
def test_nothing_to_interpolate(method):
    initial, _, coordinates = hydrogen_shift()
    X = interpolate(method, initial, initial, 3, coordinates)
    np.testing.assert_allclose(X, np.tile(initial, (5, 1)), atol=1e-6)


@methods
def test_one_free_atom_without_partners_goes_straight(method):
    coordinates = Coordinates.of(Atoms("H"))
    X = interpolate(method, np.zeros(3), np.array([1.0, 2.0, 3.0]), 3, coordinates)
    np.testing.assert_allclose(X, np.linspace(0, 1, 5)[:, None] * [1.0, 2.0, 3.0], atol=1e-6)


def test_errors_say_what_to_do():
    initial, final, coordinates = hydrogen_shift()
    with pytest.raises(InputError, match="linear, idpp, sequential_idpp, geodesic"):
        interpolate("spline", initial, final, 3, coordinates)
    with pytest.raises(InputError, match="images=0"):
        linear(initial, final, 0, coordinates)
    with pytest.raises(ShapeError, match=r"final .* \(18,\)"):
        linear(initial, final[:-3], 3, coordinates)
    broken = final.copy()
    broken[4] = np.nan
    with pytest.raises(NotFinite, match="atom 1"):
        linear(initial, broken, 3, coordinates)
    on_top = final.copy()
    on_top[:3] = on_top[3:6]
    with pytest.raises(InputError, match=r"atoms 0 and 1 are 0\.000 Å apart"):
        idpp(initial, on_top, 3, coordinates)


@molecules
def test_idpp_objective_is_that_of_ase(system):
    initial, final, coordinates = MOLECULES[system]()
    X = perturb(linear(initial, final, 4, coordinates), coordinates, 0.1, seed=2)
    np.testing.assert_allclose(idpp_objective(X, coordinates), ase_objective(X, coordinates)[0], rtol=1e-10)


@molecules
@pytest.mark.parametrize("method", [idpp, sequential_idpp])
def test_idpp_is_relaxed_across_the_band(system, method):
    initial, final, coordinates = MOLECULES[system]()
    X = method(initial, final, 7, coordinates)
    _, forces = ase_objective(X, coordinates)
    _, at_start = ase_objective(linear(initial, final, 7, coordinates), coordinates)
    tangents = X[2:] - X[:-2]
    tangents /= np.linalg.norm(tangents, axis=1)[:, None]
    across = forces[1:-1] - (forces[1:-1] * tangents).sum(axis=1)[:, None] * tangents
    assert np.abs(across).max() < max(0.03, 0.02 * np.abs(at_start).max())
    chords = np.linalg.norm(np.diff(X, axis=0), axis=1)
    assert chords.max() < 1.15 * chords.min()


@molecules
def test_idpp_is_not_worse_than_ases(system):
    initial, final, coordinates = MOLECULES[system]()
    ours = idpp(initial, final, 7, coordinates)
    # With its default settings; converged further, ASE's images slide to where the potential is low.
    theirs = ase_idpp(initial, final, 7, coordinates)
    value = [ase_objective(X, coordinates)[0].sum() for X in (ours, theirs)]
    assert value[0] <= 1.02 * value[1]
    tight = redistribute(ase_idpp(initial, final, 7, coordinates, optimizer=FIRE, fmax=0.003, steps=3000))
    aside = [align(a.reshape(-1, 3), b.reshape(-1, 3)).ravel() - a for a, b in zip(ours, tight, strict=True)]
    assert np.sqrt(np.mean(np.square(aside))) < 0.12


def test_idpp_on_a_surface_matches_ase():
    initial, final, coordinates = adatom_hop()
    final, _ = unwrap(initial, final, coordinates)
    ours = idpp(initial, final, 5, coordinates)
    theirs = ase_idpp(initial, final, 5, coordinates, mic=True, optimizer=FIRE, fmax=0.003, steps=2000)
    assert np.abs(ours - theirs).max() < 0.1
    lift = [coordinates.positions(X[3])[-1, 2] - coordinates.positions(X[0])[-1, 2] for X in (ours, theirs)]
    assert lift[0] == pytest.approx(lift[1], abs=0.05)
    assert lift[0] > 0.1


@methods
def test_atoms_take_the_short_way_across_a_cell_face(method):
    initial, final, coordinates = adatom_hop()
    near, moved = unwrap(initial, final, coordinates)
    spacing = coordinates.template.cell[0, 0] / 3
    assert moved.argmax() == len(moved) - 1 and moved[-1] == pytest.approx(spacing)
    X = interpolate(method, initial, near, 3, coordinates)
    adatom = np.array([coordinates.positions(x)[-1] for x in X])
    assert np.ptp(adatom[:, 0]) == pytest.approx(spacing, abs=0.05)
    assert np.ptp(adatom[:, 1]) < 0.1
    # Seen from the slab across the face, the adatom never comes nearer than in the hollow by much.
    closest = [min(np.delete(coordinates.atoms(x).get_distances(-1, range(len(moved)), mic=True), -1)) for x in X]
    assert min(closest) > 0.8 * closest[0]


@given(seed=seeds)
@settings(max_examples=6, deadline=None)
@pytest.mark.parametrize("method", [idpp, sequential_idpp, geodesic])
def test_paths_turn_with_the_molecule(method, seed):
    rng = np.random.default_rng(seed)
    initial, final, coordinates = hydrogen_shift()
    turn, shift = Rotation.random(rng=rng), rng.normal(scale=3.0, size=3)

    def moved(x):
        return (turn.apply(x.reshape(-1, 3)) + shift).ravel()

    expected = [moved(x) for x in method(initial, final, 3, coordinates)]
    np.testing.assert_allclose(method(moved(initial), moved(final), 3, coordinates), expected, atol=1e-2)


@given(seed=seeds)
@settings(max_examples=6, deadline=None)
@pytest.mark.parametrize("method", [idpp, sequential_idpp, geodesic])
def test_paths_do_not_depend_on_the_order_of_atoms(method, seed):
    initial, final, coordinates = hydrogen_shift()
    order = np.random.default_rng(seed).permutation(coordinates.size // 3)

    def shuffled(x):
        return x.reshape(-1, 3)[order].ravel()

    other = Coordinates.of(coordinates.template[order])
    expected = [shuffled(x) for x in method(initial, final, 3, coordinates)]
    np.testing.assert_allclose(method(shuffled(initial), shuffled(final), 3, other), expected, atol=1e-2)


@pytest.mark.parametrize("method", [idpp, sequential_idpp, geodesic])
@pytest.mark.parametrize("order", [[0, 1, 2], [2, 0, 1], [1, 2, 0]])
def test_collinear_atoms_go_around_each_other(method, order):
    initial, final, coordinates = isomerization()
    initial, final = (x.reshape(-1, 3)[order].ravel() for x in (initial, final))
    coordinates = Coordinates.of(coordinates.template[order])
    X = method(initial, final, 7, coordinates)
    r = Pairs.along(initial, final, coordinates).distances(X)
    assert r.min() > 0.99
    hydrogen = X.reshape(9, 3, 3)[:, order.index(2)]
    heavy = X.reshape(9, 3, 3)[:, [order.index(0), order.index(1)]].mean(axis=1)
    aside = np.linalg.norm(np.cross(hydrogen - heavy, [1.0, 0.0, 0.0]), axis=1)
    assert aside[4] > 1.0
    assert np.linalg.norm(np.diff(X, axis=0), axis=1).max() < 0.7
    np.testing.assert_array_equal(X, method(initial, final, 7, coordinates))


def test_exchange_of_two_atoms_head_on():
    atoms = Atoms("OHH", [[0, 0, 0], [0.96, 0, 0.0], [-0.96, 0, 0.0]])
    initial = atoms.positions.ravel()
    final = atoms.positions[[0, 2, 1]].ravel()
    X = idpp(initial, final, 5, Coordinates.of(atoms))
    assert Pairs.along(initial, final, Coordinates.of(atoms)).distances(X).min() > 0.7


@molecules
def test_geodesic_is_shorter_than_idpp_and_longer_than_the_chord(system):
    initial, final, coordinates = MOLECULES[system]()
    start = idpp(initial, final, 7, coordinates)
    short = shorten(start, coordinates)
    length = geodesic_length(short, coordinates)
    assert length < geodesic_length(start, coordinates)
    assert length >= plain_length(short[[0, -1]], coordinates) - 1e-12
    for seed in range(5):
        nearby = perturb(short, coordinates, 0.02, seed)
        assert geodesic_length(nearby, coordinates) > length - 2e-3


def plain_length(points, coordinates):
    """Length of a polygon in scaled distances, pair by pair."""
    radii = covalent_radii[coordinates.template.numbers]
    length, last = 0.0, None
    for x in points:
        p = x.reshape(-1, 3)
        q = []
        for i in range(len(p)):
            for j in range(i):
                r, r0 = np.linalg.norm(p[i] - p[j]), radii[i] + radii[j]
                q.append(np.exp(1.7 * (1 - r / r0)) + 0.01 * r0 / r)
        length += 0.0 if last is None else np.linalg.norm(np.subtract(q, last))
        last = q
    return length


def test_geodesic_length_counts_half_segments():
    initial, final, coordinates = dissociation()
    X = perturb(linear(initial, final, 3, coordinates), coordinates, 0.05, seed=0)
    halves = np.empty((9, coordinates.size))
    halves[::2], halves[1::2] = X, (X[1:] + X[:-1]) / 2
    assert geodesic_length(X, coordinates) == pytest.approx(plain_length(halves, coordinates), rel=1e-12)


def test_geodesic_of_a_diatomic_is_even_in_its_own_coordinate():
    coordinates = Coordinates.of(Atoms("H2", [[0, 0, 0], [0, 0, 0.7]]))
    X = geodesic(np.array([0, 0, -0.35, 0, 0, 0.35]), np.array([0, 0, -0.7, 0, 0, 0.7]), 9, coordinates)
    r, r0 = X[:, 5] - X[:, 2], 2 * covalent_radii[1]
    q = np.exp(1.7 * (1 - r / r0)) + 0.01 * r0 / r
    assert (np.diff(r) > 0).all()
    np.testing.assert_allclose(np.diff(q), (q[-1] - q[0]) / 10, rtol=0.05)


@given(seed=seeds)
@settings(max_examples=20, deadline=None)
def test_pairs_of_a_small_cell_are_those_of_ase(seed):
    rng = np.random.default_rng(seed)
    cell = np.diag([3.0, 4.0, 5.0]) + rng.uniform(-0.6, 0.6, (3, 3))
    atoms = Atoms("H4", rng.uniform(-4, 4, (4, 3)), cell=cell, pbc=rng.random(3) < 0.6, constraint=FixAtoms([0, 1]))
    coordinates = Coordinates.of(atoms)
    x = coordinates.reduce(atoms.positions)
    pairs = Pairs.along(x, x, coordinates, cutoff=6.0)
    i, j, r = neighbor_list("ijd", atoms, 6.0)
    counted = (i != j) & (i >= 2) & ((i < j) | (j < 2))
    np.testing.assert_allclose(np.sort(pairs.distances(x[None])[:, 0]), np.sort(r[counted]), atol=1e-9)


def test_pairs_that_only_meet_on_the_way_are_kept():
    # The free atom passes a fixed one from 10 Å away to 10 Å away.
    atoms = Atoms("H2", [[0, 1.0, 0], [-10, 0, 0]], constraint=FixAtoms([0]))
    pairs = Pairs.along(np.array([-10.0, 0, 0]), np.array([10.0, 0, 0]), Coordinates.of(atoms), cutoff=2.0)
    assert len(pairs) == 1


@given(seed=seeds, count=st.integers(2, 12), images=st.one_of(st.none(), st.integers(1, 15)))
@settings(max_examples=40, deadline=None)
def test_redistributed_images_are_equidistant(seed, count, images):
    rng = np.random.default_rng(seed)
    t = np.sort(np.r_[0.0, rng.random(count - 2), 1.0])
    X = np.stack([3 * t, np.sin(2 * t), 0.3 * t**2], axis=1)
    new = redistribute(X, images)
    assert len(new) == (count if images is None else images + 2)
    np.testing.assert_array_equal(new[[0, -1]], X[[0, -1]])
    chords = np.linalg.norm(np.diff(new, axis=0), axis=1)
    np.testing.assert_allclose(chords, chords.mean(), rtol=1e-6)


def test_redistributing_an_equidistant_path_changes_nothing():
    initial, final, coordinates = hydrogen_shift()
    X = redistribute(idpp(initial, final, 7, coordinates))
    np.testing.assert_allclose(redistribute(X), X, atol=1e-7)


def test_redistribution_follows_the_curve():
    angle = np.array([0.0, 0.1, 0.4, 0.5, 0.9, 1.4, 1.5, 2.0])
    new = redistribute(np.stack([np.cos(angle), np.sin(angle)], axis=1), images=9)
    np.testing.assert_allclose(np.linalg.norm(new, axis=1), 1.0, atol=5e-3)
    np.testing.assert_allclose(np.diff(np.arctan2(new[:, 1], new[:, 0])), 0.2, atol=5e-3)


def test_redistribution_of_repeated_and_of_single_points():
    X = np.array([[0.0, 0.0], [0.0, 0.0], [1.0, 0.0], [3.0, 0.0]])
    np.testing.assert_allclose(redistribute(X)[:, 0], [0, 1, 2, 3], atol=1e-8)
    np.testing.assert_array_equal(redistribute(np.ones((4, 2))), np.ones((4, 2)))
