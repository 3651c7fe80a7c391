"""Model Hessians against finite differences of the coordinates and energies they stand for."""

from __future__ import annotations

from itertools import combinations, permutations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.constraints import FixAtoms, FixCartesian
from ase.geometry import get_angles, get_dihedrals
from ase.neighborlist import neighbor_list
from ase.units import Bohr, Hartree
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from scipy.spatial.transform import Rotation

from sciopt.core.errors import InputError, ShapeError
from sciopt.neb.coordinates import Coordinates
from sciopt.neb.model_hessian import lindh, model_hessian, pair_stiffness, shortest_pairs

seeds = st.integers(0, 10_000)


def shaken(name, seed=0, stdev=0.06):
    atoms = molecule(name)
    atoms.positions += stdev * np.random.default_rng(seed).standard_normal(atoms.positions.shape)
    return atoms


def central_gradient(function, positions, h=1e-5):
    gradient = np.zeros(positions.size)
    for k in range(positions.size):
        step = np.zeros(positions.size)
        step[k] = h
        step = step.reshape(positions.shape)
        gradient[k] = (function(positions + step) - function(positions - step)) / (2 * h)
    return gradient


def lindh_from_ase_coordinates(atoms):
    """The published formula with every internal coordinate differentiated numerically, nothing left out."""
    period = [1 if z <= 2 else 2 if z <= 10 else 3 for z in atoms.numbers]
    alpha = {(1, 1): 1.0, (1, 2): 0.3949, (1, 3): 0.3949, (2, 2): 0.28, (2, 3): 0.28, (3, 3): 0.28}
    reference = {(1, 1): 1.35, (1, 2): 2.10, (1, 3): 2.53, (2, 2): 2.87, (2, 3): 3.40, (3, 3): 3.40}

    def rho(i, j):
        key = tuple(sorted((period[i], period[j])))
        return np.exp(alpha[key] * (reference[key] ** 2 - (atoms.get_distance(i, j) / Bohr) ** 2))

    def angle(p, i, j, k):
        return np.radians(get_angles([p[i] - p[j]], [p[k] - p[j]])[0])

    def dihedral(p, i, j, k, m):
        return np.radians(get_dihedrals([p[j] - p[i]], [p[k] - p[j]], [p[m] - p[k]])[0])

    p = atoms.positions
    hessian = np.zeros((p.size, p.size))
    for i, j in combinations(range(len(p)), 2):
        g = central_gradient(lambda q, i=i, j=j: np.linalg.norm(q[i] - q[j]), p)
        hessian += 0.45 * Hartree / Bohr**2 * rho(i, j) * np.outer(g, g)
    for i, j, k in permutations(range(len(p)), 3):
        if i < k:
            g = central_gradient(lambda q, a=(i, j, k): angle(q, *a), p)
            hessian += 0.15 * Hartree * rho(i, j) * rho(j, k) * np.outer(g, g)
    for i, j, k, m in permutations(range(len(p)), 4):
        if j < k:
            zero = dihedral(p, i, j, k, m)
            g = central_gradient(lambda q, a=(i, j, k, m), zero=zero: (dihedral(q, *a) - zero + np.pi) % (2 * np.pi), p)
            hessian += 0.005 * Hartree * rho(i, j) * rho(j, k) * rho(k, m) * np.outer(g, g)
    return hessian


def rigid_motions(positions):
    translations = [np.tile(e, len(positions)) for e in np.eye(3)]
    return np.array(translations + [np.cross(e, positions).ravel() for e in np.eye(3)]).T


@pytest.mark.parametrize("name", ["H2O", "NH3", "H2O2", "CH3SH"])
def test_lindh_equals_the_published_formula(name):
    atoms = shaken(name)
    expected = lindh_from_ase_coordinates(atoms)
    # The only difference allowed: bends and torsions too weak to matter are left out.
    np.testing.assert_allclose(lindh(atoms.numbers, atoms.positions), expected, atol=5e-3)


def test_lindh_h2_by_hand():
    r = 0.75
    h = lindh([1, 1], [[0, 0, 0], [0, r, 0]])
    k = 0.45 * np.exp(1.0 * (1.35**2 - (r / 0.529177210903) ** 2)) * 27.211386245988 / 0.529177210903**2
    expected = np.zeros((6, 6))
    expected[np.ix_([1, 4], [1, 4])] = [[k, -k], [-k, k]]
    np.testing.assert_allclose(h, expected, rtol=1e-6, atol=1e-9)


@settings(max_examples=20, deadline=None)
@given(seed=seeds, name=st.sampled_from(["H2O", "C2H4", "CH3SH", "HCN", "C2H2", "CO2", "H2COH"]))
def test_lindh_properties(seed, name):
    rng = np.random.default_rng(seed)
    # Half of the cases are hardly shaken at all, so that linear molecules stay nearly linear.
    atoms = shaken(name, seed, stdev=rng.choice([1e-5, 1e-3, 0.1]))
    n = 3 * len(atoms)
    h = lindh(atoms.numbers, atoms.positions)
    np.testing.assert_array_equal(h, h.T)
    scale = np.linalg.norm(h, 2)
    np.testing.assert_allclose(h @ rigid_motions(atoms.positions), 0.0, atol=1e-9 * scale)
    w = np.linalg.eigvalsh(h)
    assert w[0] > -1e-10 * scale
    assert np.count_nonzero(w > 1e-6) == n - 6

    turn = Rotation.random(rng=rng).as_matrix()
    everyone = np.kron(np.eye(len(atoms)), turn)
    turned = lindh(atoms.numbers, atoms.positions @ turn.T + rng.standard_normal(3))
    np.testing.assert_allclose(turned, everyone @ h @ everyone.T, atol=1e-6 * scale)

    order = rng.permutation(len(atoms))
    components = (3 * order[:, None] + np.arange(3)).ravel()
    permuted = lindh(atoms.numbers[order], atoms.positions[order])
    np.testing.assert_allclose(permuted, h[np.ix_(components, components)], atol=1e-8 * scale)


@pytest.mark.parametrize(("name", "vibrations"), [("HCN", 4), ("CO2", 4), ("C2H2", 7)])
def test_lindh_linear_molecules_have_both_bends(name, vibrations):
    atoms = molecule(name)
    atoms.rotate(40, (1, 2, 3))
    w = np.linalg.eigvalsh(lindh(atoms.numbers, atoms.positions))
    assert np.count_nonzero(w > 1e-6) == vibrations
    assert w[-vibrations] == pytest.approx(w[1 - vibrations], rel=1e-9)


def test_lindh_is_continuous_where_a_group_becomes_straight():
    # A chain that is bent elsewhere: nothing about the whole molecule is special when H-C-C turns straight.
    def chain(angle):
        c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
        positions = [[1.06 * c, 1.06 * s, 0.0], [0, 0, 0], [1.2, 0, 0], [2.0, 1.2, 0.3], [2.1, -0.9, 0.8]]
        return lindh([1, 6, 6, 8, 1], positions)

    straight = chain(180.0)
    assert np.isfinite(straight).all()
    for step in (1e-2, 1e-4, 1e-7):
        for angle in (180.0 - step, 180.0 + step):
            np.testing.assert_allclose(chain(angle), straight, atol=60.0 * np.radians(step) + 1e-6)
    path = np.array([chain(a) for a in np.arange(150.0, 180.0, 0.25)])
    assert np.abs(np.diff(path, axis=0)).max() < 0.05 * np.abs(path).max()


def test_lindh_refuses_nonsense():
    with pytest.raises(ShapeError, match=r"\(2, 2\)"):
        lindh([1, 1], np.zeros((2, 2)))
    with pytest.raises(InputError, match="atoms 0 and 2"):
        lindh([1, 8, 1], [[0, 0, 0], [0, 0, 1], [0, 0, 0]])


def slab():
    atoms = fcc111("Cu", (2, 2, 3), vacuum=6.0)
    atoms.numbers[-1] = 79
    atoms.positions += 0.1 * np.random.default_rng(2).standard_normal(atoms.positions.shape)
    # Outside the cell, and with atoms fixed wholly and in part.
    atoms.positions[7] += 3 * atoms.cell[0] - atoms.cell[1]
    atoms.set_constraint([FixAtoms([0, 1, 2, 3]), FixCartesian([5], (True, False, False))])
    return atoms


def spring_energy(coordinates, x0, r0, strength, decay, cutoff):
    """½ Σ k (r - r_now)² over all pairs and images seen by ASE at x0; k and the springs stay as they are there."""
    atoms = coordinates.atoms(x0)
    i, j, d, shift = neighbor_list("ijdS", atoms, cutoff)
    rest = np.array([r0[tuple(sorted(p))] for p in zip(atoms.numbers[i], atoms.numbers[j], strict=True)])
    k = strength * np.exp(-decay * (d / rest - 1.0))

    def energy(x):
        p = coordinates.positions(x)
        r = np.linalg.norm(p[j] + shift @ atoms.cell.array - p[i], axis=1)
        return 0.25 * np.sum(k * (r - d) ** 2)  # every pair is listed twice

    return energy


@pytest.mark.parametrize("cutoff", [3.0, 5.0, 8.0])
@pytest.mark.parametrize("build", [slab, lambda: bulk("Cu") * (1, 1, 2), lambda: shaken("C2H6")])
def test_pair_stiffness_is_the_hessian_of_springs(build, cutoff):
    atoms = build()
    coordinates = Coordinates.of(atoms)
    x = coordinates.reduce(atoms.positions)
    r0 = shortest_pairs([atoms], cutoff)
    found = pair_stiffness(coordinates, x, r0, strength=3.0, decay=2.0, cutoff=cutoff)
    assert isinstance(found, csr_array)
    energy = spring_energy(coordinates, x, r0, 3.0, 2.0, cutoff)
    h, n = 1e-3, coordinates.size
    steps = h * np.eye(n)
    expected = np.empty((n, n))
    for a in range(n):
        for b in range(a + 1):
            u, v = steps[a], steps[b]
            expected[a, b] = expected[b, a] = (
                energy(x + u + v) - energy(x + u - v) - energy(x - u + v) + energy(x - u - v)
            ) / (4 * h * h)
    np.testing.assert_allclose(found.toarray(), expected, atol=2e-4)
    assert np.linalg.eigvalsh(found.toarray())[0] > -1e-10


def test_shortest_pairs_against_ase():
    one, other = slab(), slab()
    other.rattle(0.2, seed=4)
    found = shortest_pairs([one, other])
    expected = {}
    for atoms in (one, other):
        for i, j, d in zip(*neighbor_list("ijd", atoms, 5.0), strict=True):
            key = tuple(sorted((int(atoms.numbers[i]), int(atoms.numbers[j]))))
            expected[key] = min(d, expected.get(key, np.inf))
    # ASE's cutoff list is the reference; two gold atoms meet only as periodic images, if at all within 5 Å.
    assert found == pytest.approx(expected)


def test_pairs_never_met_use_covalent_radii():
    atoms = Atoms("CuAu", [[0, 0, 0], [0, 0, 2.68]], constraint=FixAtoms([0]))
    # 1.32 Å + 1.36 Å
    k = pair_stiffness(Coordinates.of(atoms), atoms.positions[1], {})
    np.testing.assert_allclose(k.toarray(), np.diag([0.0, 0.0, 4.0]), atol=1e-12)


def test_pair_stiffness_refuses_atoms_on_top_of_each_other():
    atoms = Atoms("Cu2", [[0, 0, 0], [0, 0, 4.0]], cell=[4, 4, 4], pbc=True)
    with pytest.raises(InputError, match="same position"):
        pair_stiffness(Coordinates.of(atoms), atoms.positions.ravel(), {})


def test_model_hessian_chooses_by_system():
    water = molecule("H2O")
    coordinates = Coordinates.of(water)
    x = coordinates.reduce(water.positions)
    np.testing.assert_array_equal(model_hessian(coordinates, x, {}), lindh(water.numbers, water.positions))

    particle = Coordinates.of(Atoms("H", constraint=FixCartesian([0], (False, False, True))))
    np.testing.assert_array_equal(model_hessian(particle, np.zeros(2), {}), 20.0 * np.eye(2))

    atoms = slab()
    coordinates, r0 = Coordinates.of(atoms), shortest_pairs([atoms])
    x = coordinates.reduce(atoms.positions)
    difference = model_hessian(coordinates, x, r0) - pair_stiffness(coordinates, x, r0)
    assert abs(difference).max() == 0.0
