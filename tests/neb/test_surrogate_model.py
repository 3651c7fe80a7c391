"""What the surrogate of a path sees: what must not matter does not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import fcc111, molecule
from ase.constraints import FixAtoms, FixCartesian
from ase.neighborlist import neighbor_list

from sciopt.neb.align import remove_rigid
from sciopt.neb.coordinates import Coordinates
from sciopt.neb.surrogate_model import path_features, path_model
from sciopt.surrogate.data import Observations
from sciopt.surrogate.features import Cartesian, InverseDistances


def ends(initial: Atoms, final: Atoms, rigid: bool | None = None) -> tuple[Coordinates, np.ndarray, np.ndarray]:
    coordinates = Coordinates.of(initial, rigid)
    return coordinates, coordinates.reduce(initial.positions), coordinates.reduce(final.positions)


def shaken(atoms: Atoms, seed: int, by: float = 0.15) -> Atoms:
    moved = atoms.copy()
    moved.positions += np.random.default_rng(seed).normal(scale=by, size=moved.positions.shape)
    return moved


@pytest.fixture
def slab() -> Atoms:
    atoms = fcc111("Cu", (2, 2, 2), vacuum=6.0)
    atoms.set_constraint([FixAtoms([0, 1, 2, 3]), FixCartesian([4], mask=(True, False, False))])
    return atoms


def slopes(features: Any, x: np.ndarray, step: float = 1e-5) -> np.ndarray:
    """(features, n) derivatives by central differences."""
    ahead, behind = (features.at(x + sign * step * np.eye(len(x))).phi for sign in (1, -1))
    return (ahead - behind).T / (2 * step)


def pulled(features: Any, x: np.ndarray) -> np.ndarray:
    """(features, n) derivatives as the features tell them."""
    values = features.at(x[None])
    count = values.phi.shape[1]
    return np.array([features.at(x[None]).pull(unit[None])[0] for unit in np.eye(count)])


def test_derivatives_of_a_molecule_and_a_slab(slab: Atoms) -> None:
    """With fixed atoms, one fixed component and periodic images."""
    for atoms in (molecule("CH3CHO"), slab):
        coordinates, a, b = ends(atoms, shaken(atoms, 1))
        features = path_features(coordinates, a, b)
        assert isinstance(features, InverseDistances)
        np.testing.assert_allclose(pulled(features, 0.5 * (a + b)), slopes(features, 0.5 * (a + b)), atol=1e-7)


def test_features_do_not_see_rigid_motion() -> None:
    atoms = molecule("CH3CHO")
    coordinates, a, b = ends(atoms, shaken(atoms, 1))
    features = path_features(coordinates, a, b)
    turned = shaken(atoms, 2)
    before = features.at(turned.positions.reshape(1, -1)).phi
    turned.rotate(77, (1, 2, 3))
    turned.translate((4, 5, 6))
    np.testing.assert_allclose(features.at(turned.positions.reshape(1, -1)).phi, before, atol=1e-12)


def test_the_order_of_atoms_does_not_matter() -> None:
    atoms = molecule("CH3CHO")
    other, probe = shaken(atoms, 1), shaken(atoms, 2)
    order = np.random.default_rng(0).permutation(len(atoms))
    plain = path_features(*ends(atoms, other))
    mixed = path_features(*ends(atoms[order], other[order]))
    one = plain.at(probe.positions.reshape(1, -1)).phi[0]
    two = mixed.at(probe[order].positions.reshape(1, -1)).phi[0]
    np.testing.assert_allclose(np.sort(one), np.sort(two), atol=1e-12)


def test_crossing_a_cell_boundary_changes_nothing(slab: Atoms) -> None:
    """The same path, drawn one cell further on for an atom that moves."""
    final = shaken(slab, 1)
    final.positions[:4] = slab.positions[:4]
    moved = [slab.copy(), final.copy()]
    for atoms in moved:
        atoms.positions[6] += atoms.cell[0]
    one, two = path_features(*ends(slab, final)), path_features(*ends(*moved))
    coordinates, a, _ = ends(slab, final)
    _, far, _ = ends(*moved)
    np.testing.assert_allclose(np.sort(one.at(a[None]).phi[0]), np.sort(two.at(far[None]).phi[0]), atol=1e-9)
    assert coordinates.size == 11


def test_periodic_images_count(slab: Atoms) -> None:
    """Every pair of a moving atom within the cutoff, those across the boundary of the cell included."""
    coordinates, a, _ = ends(slab, slab)
    features = path_features(coordinates, a, a)
    first, second, distances = neighbor_list("ijd", slab, 5.9)
    moving = set(coordinates.moving.tolist())
    among = [d for i, j, d in zip(first, second, distances, strict=True) if i < j and {i, j} & moving]
    assert features.at(a[None]).phi.shape[1] >= len(among) > 30


def test_fixed_components_have_no_say(slab: Atoms) -> None:
    coordinates, a, b = ends(slab, shaken(slab, 1))
    assert coordinates.size == 11
    features = path_features(coordinates, a, b)
    assert features.coordinates == 11
    assert pulled(features, a).shape[1] == 11


def test_a_lone_particle_is_seen_by_its_coordinates(mueller: Any) -> None:
    coordinates, a, b = ends(mueller.initial, mueller.final)
    features = path_features(coordinates, a, b)
    assert isinstance(features, Cartesian)
    np.testing.assert_array_equal(features.at(a[None]).phi, a[None])
    assert np.isinf(path_model(coordinates, a, b).stretch)


def test_reach_is_measured_from_the_nearest_datum(mueller: Any) -> None:
    coordinates, a, b = ends(mueller.initial, mueller.final)
    model = path_model(coordinates, a, b)
    data = np.array([a, b])
    np.testing.assert_array_equal(model.reach(data, data), 0.0)
    aside = a + np.array([0.0, model.radius])
    assert model.reach(aside[None], data)[0] == pytest.approx(1.0)
    assert model.reach(aside[None], data[1:])[0] > 1.0


def test_a_stretched_bond_leaves_the_region_before_the_atoms_have_moved_far() -> None:
    """In a molecule it is logarithms of distances that count: a short bond tells less about its surroundings."""
    atoms = Atoms("CO", [[0, 0, 0], [0, 0, 1.1]])
    coordinates, a, _ = ends(atoms, atoms)
    longer = a.copy()
    longer[5] = 1.1 * np.exp(0.3)
    model = path_model(coordinates, a, longer)
    half = a.copy()
    half[5] = 1.1 * np.exp(0.15)
    reach = model.reach(np.array([longer, half]), a[None])
    assert reach[0] == pytest.approx(0.3 / model.stretch, rel=1e-6)
    assert reach[1] == pytest.approx(0.5 * reach[0], rel=1e-6)
    assert reach[0] > np.abs(longer - a).max() / model.radius


def test_predictions_turn_with_the_molecule() -> None:
    atoms = molecule("CH3CHO")
    coordinates, a, b = ends(atoms, shaken(atoms, 1))
    process = path_model(coordinates, a, b).process
    rng = np.random.default_rng(5)
    force = rng.normal(size=a.size)
    data = Observations.none(a.size)
    for x, energy in ((a, 0.0), (b, 0.7)):
        data = data.add(x, energy, remove_rigid(x, force), 1e-3, 1e-3)
    posterior = process.fit(data)
    probe = shaken(atoms, 2)
    turned = probe.copy()
    turned.rotate(77, (1, 2, 3))
    matrix = np.linalg.lstsq(probe.positions - probe.positions.mean(0), turned.positions - turned.positions.mean(0))[0]
    (e1, f1), (e2, f2) = (posterior.predict(one.positions.reshape(1, -1)) for one in (probe, turned))
    np.testing.assert_allclose(e1, e2, atol=1e-9)
    np.testing.assert_allclose(f1.reshape(-1, 3) @ matrix, f2.reshape(-1, 3), atol=1e-8)
