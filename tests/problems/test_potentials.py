"""The cheap potentials: published stationary points, finite differences, and independent implementations."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from functools import partial
from itertools import product

import numpy as np
import pytest
from ase import Atoms
from ase.build import fcc111
from ase.calculators.fd import calculate_numerical_forces
from ase.calculators.morse import MorsePotential
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import root

from sciopt.core.errors import InputError
from sciopt.problems.potentials import MorsePt, Planar, leps, leps_oscillator, muller_brown, wolfe_quapp

DEPTH, STEEPNESS, LENGTH, CUTOFF = 0.7102, 1.6047, 2.8970, 9.5
SURFACES = (muller_brown, leps_oscillator, wolfe_quapp)


def stationary(surface: Callable, guess: tuple[float, float]) -> tuple[np.ndarray, float, int]:
    """Place, value and number of negative curvatures of the stationary point next to `guess`."""
    found = root(lambda p: surface(*p)[1], guess, tol=1e-12)
    assert found.success
    h = 1e-5
    hessian = np.array([(surface(*(found.x + s))[1] - surface(*(found.x - s))[1]) / (2 * h) for s in h * np.eye(2)])
    return found.x, surface(*found.x)[0], int((np.linalg.eigvalsh((hessian + hessian.T) / 2) < 0).sum())


@pytest.mark.parametrize("surface", SURFACES)
@given(x=st.floats(-1.2, 1.2), y=st.floats(-1.5, 1.8))
def test_gradients_are_those_of_the_value(surface: Callable, x: float, y: float) -> None:
    if surface is leps_oscillator:
        x += 1.9
    h = 1e-5
    value, gradient = surface(x, y)
    differences = [
        (surface(x + h, y)[0] - surface(x - h, y)[0]) / (2 * h),
        (surface(x, y + h)[0] - surface(x, y - h)[0]) / (2 * h),
    ]
    assert gradient == pytest.approx(differences, rel=1e-6, abs=1e-6 * (1 + abs(value)))


# Müller and Brown 1979, doi 10.1007/BF00547608.
@pytest.mark.parametrize(
    ("place", "value", "negative"),
    [
        ((-0.558, 1.442), -146.70, 0),
        ((0.623, 0.028), -108.17, 0),
        ((-0.050, 0.467), -80.77, 0),
        ((-0.822, 0.624), -40.66, 1),
        ((0.212, 0.293), -72.25, 1),
    ],
)
def test_muller_brown_has_its_published_stationary_points(
    place: tuple[float, float], value: float, negative: int
) -> None:
    found, at, count = stationary(muller_brown, place)
    assert found == pytest.approx(place, abs=1e-3)
    assert (at, count) == (pytest.approx(value, abs=0.006), negative)


@pytest.mark.parametrize(
    ("place", "negative"), [((-1.174, 1.477), 0), ((1.124, -1.485), 0), ((-0.822, -1.367), 0), ((-0.303, -1.401), 1)]
)
def test_wolfe_quapp_has_stationary_points_of_its_polynomial(place: tuple[float, float], negative: int) -> None:
    found, _, count = stationary(wolfe_quapp, place)
    x, y = found
    # The equations of the polynomial, one eliminated by hand: y from dV/dx = 0, put into dV/dy = 0.
    assert y == pytest.approx(4 * x - 4 * x**3 - 0.3, abs=1e-9)
    assert np.polyval([4, 0, -8, x + 0.1], y) == pytest.approx(0, abs=1e-9)
    assert found == pytest.approx(place, abs=2e-3)
    assert count == negative


@given(r=st.floats(0.4, 4.0))
def test_leps_of_one_bond_is_a_morse_curve(r: float) -> None:
    # Two distances so long that they carry no energy; depths and Sato parameters of the published appendix.
    for pair, (depth, sato) in enumerate([(4.746, 0.05), (4.746, 0.80), (3.445, 0.05)]):
        distances = np.full(3, 60.0)
        distances[pair] = r
        e = np.exp(-1.942 * (r - 0.742))
        coulomb, exchange = depth / 2 * (1.5 * e * e - e), depth / 4 * (e * e - 6 * e)
        assert leps(distances)[0] == pytest.approx((coulomb - abs(exchange)) / (1 + sato), rel=1e-9)


def published_leps(ab: float, bc: float, ac: float) -> float:
    """The formula of Jónsson, Mills and Jacobsen's appendix term by term, Sato parameters a, b and c."""

    def coulomb(depth: float, r: float) -> float:
        return depth / 2 * (1.5 * np.exp(-2 * 1.942 * (r - 0.742)) - np.exp(-1.942 * (r - 0.742)))

    def exchange(depth: float, r: float) -> float:
        return depth / 4 * (np.exp(-2 * 1.942 * (r - 0.742)) - 6 * np.exp(-1.942 * (r - 0.742)))

    a, b, c = 1.05, 1.80, 1.05
    j_ab, j_bc, j_ac = exchange(4.746, ab), exchange(4.746, bc), exchange(3.445, ac)
    squares = j_ab**2 / a**2 + j_bc**2 / b**2 + j_ac**2 / c**2
    products = j_ab * j_bc / (a * b) + j_bc * j_ac / (b * c) + j_ab * j_ac / (a * c)
    sum_of_coulombs = coulomb(4.746, ab) / a + coulomb(4.746, bc) / b + coulomb(3.445, ac) / c
    return float(sum_of_coulombs - np.sqrt(squares - products))


@given(ab=st.floats(0.5, 3.2), bc=st.floats(0.5, 3.2), ac=st.floats(1.0, 4.0), y=st.floats(-4.0, 4.0))
def test_leps_is_the_published_formula(ab: float, bc: float, ac: float, y: float) -> None:
    assert leps([ab, bc, ac])[0] == pytest.approx(published_leps(ab, bc, ac), abs=1e-9)
    spring = 2 * 0.2025 * (ab - (3.742 / 2 - y / 1.154)) ** 2
    assert leps_oscillator(ab, y)[0] == pytest.approx(published_leps(ab, 3.742 - ab, 3.742) + spring, abs=1e-9)


def test_leps_knows_which_bond_is_which() -> None:
    short = leps([0.742, 3.0, 3.742])[0]
    assert short == pytest.approx(-4.746 / 1.05, rel=0.01)
    assert leps([3.0, 0.742, 3.742])[0] == pytest.approx(-4.746 / 1.80, rel=0.02)
    r = np.array([0.9, 1.4, 2.1])
    h = 1e-6
    differences = [(leps(r + s)[0] - leps(r - s)[0]) / (2 * h) for s in h * np.eye(3)]
    assert leps(r)[1] == pytest.approx(differences, rel=1e-6)


def test_leps_with_oscillator_is_a_path_between_two_bonds() -> None:
    x, _, bent = stationary(leps_oscillator, (2.0, -0.2))
    assert bent == 1
    # The oscillator is at rest where its spring is: y = c (r_AC/2 - r_AB).
    for guess in ((0.742, 1.3), (3.0, -1.3), tuple(x)):
        place, _, _ = stationary(leps_oscillator, guess)
        assert place[1] == pytest.approx(1.154 * (3.742 / 2 - place[0]), abs=1e-8)


@pytest.mark.parametrize(("surface", "scale"), [(muller_brown, 0.01), (leps_oscillator, 1.0), (wolfe_quapp, 0.2)])
def test_one_atom_feels_the_scaled_surface(surface: Callable, scale: float) -> None:
    factory = pickle.loads(pickle.dumps(partial(Planar, surface, scale)))
    atom = Atoms("H", [[0.9, 0.4, 7.0]], calculator=factory())
    value, gradient = surface(0.9, 0.4)
    assert atom.get_potential_energy() == atom.get_potential_energy(force_consistent=True) == scale * value
    assert atom.get_forces() == pytest.approx(np.array([[*(-scale * gradient), 0.0]]))
    assert atom.get_forces() == pytest.approx(calculate_numerical_forces(atom, eps=1e-5), abs=1e-6)


def test_a_plane_takes_one_atom() -> None:
    with pytest.raises(InputError, match="exactly one atom"):
        Atoms("H2", [[0, 0, 0], [0, 0, 1]], calculator=Planar(muller_brown)).get_forces()


def plain_morse(atoms: Atoms) -> tuple[float, np.ndarray]:
    """Shifted Morse energy and forces by looking at all pairs in all neighbouring cells."""
    cells = product(*((-1, 0, 1) if periodic else (0,) for periodic in atoms.pbc))
    d = atoms.positions[:, None, None] - atoms.positions[None, :, None] - (np.array(list(cells)) @ atoms.cell.array)
    r = np.linalg.norm(d, axis=-1)
    seen = (r > 1e-9) & (r < CUTOFF)
    e, e_cut = np.exp(-STEEPNESS * (np.where(seen, r, 1.0) - LENGTH)), np.exp(-STEEPNESS * (CUTOFF - LENGTH))
    energy = DEPTH * ((1 - e) ** 2 - (1 - e_cut) ** 2)
    slope = 2 * DEPTH * STEEPNESS * (1 - e) * e
    forces = -np.where(seen, slope / np.where(seen, r, 1.0), 0.0)[..., None] * d
    return 0.5 * energy[seen].sum(), forces.sum(axis=(1, 2))


def slab(pbc: tuple[bool, bool, bool] = (True, True, False)) -> Atoms:
    """A rattled Pt(111) slab moved so that bonds run through the boundaries."""
    atoms = fcc111("Pt", (7, 8, 2), a=2.7442 * np.sqrt(2), orthogonal=True, vacuum=9.0)
    atoms.pbc = pbc
    atoms.rattle(0.08, seed=3)
    atoms.positions += [5.0, 7.0, 0.0]
    atoms.wrap()
    return atoms


@pytest.mark.parametrize("pbc", list(product((True, False), repeat=3)), ids=str)
def test_morse_is_the_sum_over_all_images(pbc: tuple[bool, bool, bool]) -> None:
    atoms = slab(pbc)
    energy, forces = plain_morse(atoms)
    atoms.calc = MorsePt()
    assert atoms.get_potential_energy() == pytest.approx(energy, rel=1e-12)
    assert atoms.get_forces() == pytest.approx(forces, abs=1e-10)


def test_morse_forces_are_differences_of_its_energy() -> None:
    # Within the cutoff in all directions: the force jumps where a pair crosses it.
    cluster = Atoms("Pt5", [[0, 0, 0], [2.7, 0, 0], [1.3, 2.4, 0.1], [1.4, 0.8, 2.2], [4.1, 2.2, 0.9]])
    cluster.calc = MorsePt()
    assert cluster.get_forces() == pytest.approx(calculate_numerical_forces(cluster, eps=1e-5), abs=1e-7)


def test_morse_agrees_with_ase_up_to_the_shift() -> None:
    cluster = Atoms("Pt5", [[0, 0, 0], [2.7, 0, 0], [1.3, 2.4, 0.1], [1.4, 0.8, 2.2], [4.1, 2.2, 0.9]])
    ours, theirs = cluster.copy(), cluster.copy()
    ours.calc = MorsePt()
    theirs.calc = MorsePotential(epsilon=DEPTH, r0=LENGTH, rho0=STEEPNESS * LENGTH, rcut1=20.0, rcut2=21.0)
    assert ours.get_forces() == pytest.approx(theirs.get_forces(), abs=1e-10)
    at_cutoff = Atoms("Pt2", [[0, 0, 0], [0, 0, CUTOFF]], calculator=theirs.calc).get_potential_energy()
    assert ours.get_potential_energy() == pytest.approx(theirs.get_potential_energy() - 10 * at_cutoff, abs=1e-10)


def test_morse_energy_is_continuous_at_the_cutoff() -> None:
    sides = []
    for r in (CUTOFF - 1e-7, CUTOFF + 1e-7):
        dimer = Atoms("Pt2", [[0, 0, 0], [0, 0, r]], calculator=MorsePt())
        sides.append(dimer.get_potential_energy())
    assert sides[1] == 0.0
    assert sides[0] == pytest.approx(0.0, abs=1e-10)


@pytest.mark.parametrize(
    ("atoms", "words"),
    [
        (Atoms("PtAu", [[0, 0, 0], [0, 0, 3]]), "Pt only"),
        (Atoms("Pt", cell=[18.9, 30, 30], pbc=True), "at least 19"),
        (Atoms("Pt", cell=[[20, 0, 0], [10, 20, 0], [0, 0, 30]], pbc=True), "rectangular"),
    ],
)
def test_morse_says_what_it_cannot_do(atoms: Atoms, words: str) -> None:
    atoms.calc = MorsePt()
    with pytest.raises(InputError, match=words):
        atoms.get_potential_energy()


def test_morse_can_be_sent_to_other_processes() -> None:
    atoms = slab()
    here, there = atoms.copy(), atoms.copy()
    here.calc, there.calc = MorsePt(), pickle.loads(pickle.dumps(partial(MorsePt)))()
    assert here.get_potential_energy() == there.get_potential_energy()
