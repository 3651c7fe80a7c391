"""Saddle points against analytic Hessians, ASE's finite differences and published stationary points."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import add_adsorbate, fcc100
from ase.calculators.emt import EMT
from ase.cluster import Icosahedron
from ase.constraints import FixAtoms, FixCartesian
from ase.optimize import BFGS
from ase.vibrations import Vibrations
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.sparse import csr_array
from scipy.sparse.linalg import LinearOperator
from scipy.spatial.transform import Rotation

from sciopt.core.errors import EvaluationFailed, InputError, NotFinite, ShapeError
from sciopt.neb.connect import connects, descend, displacement
from sciopt.neb.coordinates import Coordinates
from sciopt.neb.restricted import patched_hessian, restricted_step
from sciopt.neb.saddle import finite_difference_hessian, lowest_modes, refine_saddle


class Surface:
    """Counts the evaluations of a potential."""

    def __init__(self, potential):
        self.potential = potential
        self.calls = 0

    def __call__(self, x):
        self.calls += 1
        return self.potential(x)


# Müller and Brown 1979, doi 10.1007/BF00547608, with the stationary points printed there.
A, a = np.array([-200.0, -100.0, -170.0, 15.0]), np.array([-1.0, -1.0, -6.5, 0.7])
b, c = np.array([0.0, 0.0, 11.0, 0.6]), np.array([-10.0, -10.0, -6.5, 0.7])
X0, Y0 = np.array([1.0, 0.0, -0.5, -1.0]), np.array([0.0, 0.5, 1.5, 1.0])
MINIMA = {"A": (-0.558, 1.442), "B": (-0.050, 0.467), "C": (0.623, 0.028)}
SADDLES = {"AB": (-0.822, 0.624, -40.665), "BC": (0.212, 0.293, -72.249)}
PLANE = Coordinates.of(Atoms("H", constraint=FixCartesian(0, mask=(False, False, True))))


def muller_brown(x):
    dx, dy = x[0] - X0, x[1] - Y0
    terms = A * np.exp(a * dx**2 + b * dx * dy + c * dy**2)
    return terms.sum(), -np.array([(terms * (2 * a * dx + b * dy)).sum(), (terms * (b * dx + 2 * c * dy)).sum()])


def muller_brown_hessian(x):
    dx, dy = x[0] - X0, x[1] - Y0
    terms = A * np.exp(a * dx**2 + b * dx * dy + c * dy**2)
    u, v = 2 * a * dx + b * dy, b * dx + 2 * c * dy
    xy = (terms * (u * v + b)).sum()
    return np.array([[(terms * (u * u + 2 * a)).sum(), xy], [xy, (terms * (v * v + 2 * c)).sum()]])


def lennard_jones(x):
    """ε = 1 eV, σ = 1 Å."""
    r = x.reshape(-1, 3)
    i, j = np.triu_indices(len(r), 1)
    d = r[i] - r[j]
    inverse = 1 / (d * d).sum(axis=1)
    pull = (48 * inverse**7 - 24 * inverse**4)[:, None] * d
    force = np.zeros_like(r)
    np.add.at(force, i, pull)
    np.add.at(force, j, -pull)
    return (4 * (inverse**6 - inverse**3)).sum(), force.ravel()


def lennard_jones_hessian(x):
    r = x.reshape(-1, 3)
    n = len(r)
    hessian = np.zeros((n, 3, n, 3))
    for i in range(n):
        for j in range(i):
            d = r[i] - r[j]
            s = np.linalg.norm(d)
            first = (-48 * s**-12 + 24 * s**-6) / s
            second = (624 * s**-12 - 168 * s**-6) / s**2
            unit = d / s
            block = (second - first / s) * np.outer(unit, unit) + first / s * np.eye(3)
            hessian[i, :, i] += block
            hessian[j, :, j] += block
            hessian[i, :, j] -= block
            hessian[j, :, i] -= block
    return hessian.reshape(3 * n, 3 * n)


def rigid_free(hessian, x):
    """Eigenvalues without rigid motions, these built from finite rotations rather than cross products."""
    r = x.reshape(-1, 3) - x.reshape(-1, 3).mean(axis=0)
    turns = [
        (Rotation.from_rotvec(1e-6 * axis).apply(r) - Rotation.from_rotvec(-1e-6 * axis).apply(r)).ravel()
        for axis in np.eye(3)
    ]
    shifts = [np.tile(axis, len(r)) for axis in np.eye(3)]
    q, singular, _ = np.linalg.svd(np.array([v / max(np.linalg.norm(v), 1e-8) for v in turns + shifts]).T)
    inner = q[:, np.count_nonzero(singular > 1e-4) :]
    return np.linalg.eigvalsh(inner.T @ hessian @ inner)


def cluster(positions):
    positions = np.asarray(positions, dtype=float)
    return Coordinates.of(Atoms(f"Ar{len(positions)}", positions)), positions.ravel()


def square_pyramid():
    """Near the saddle between two labelled trigonal bipyramids."""
    return cluster([[0.8, 0, 0], [0, 0.8, 0], [-0.8, 0.02, 0], [0, -0.8, 0.03], [0, 0, 0.8]])


@pytest.fixture(scope="module")
def hop():
    """A gold adatom on Al(100), its two hollow sites and the surface, with EMT."""
    slab = fcc100("Al", (2, 2, 2), vacuum=8.0)
    add_adsorbate(slab, "Au", 1.7, "hollow")
    slab.set_constraint(FixAtoms(mask=[atom.tag > 1 for atom in slab]))
    ends = [slab, slab.copy()]
    ends[1].positions[-1, 0] += slab.cell[0, 0] / 2
    calculator = EMT()
    for atoms in ends:
        atoms.calc = calculator
        BFGS(atoms, logfile=None).run(fmax=0.005)
        atoms.calc = None
    coordinates = Coordinates.of(ends[0])

    def emt(x):
        atoms = coordinates.template.copy()
        atoms.positions = coordinates.positions(x)
        atoms.calc = calculator
        return atoms.get_potential_energy(), coordinates.reduce(atoms.get_forces(apply_constraint=False))

    return coordinates, coordinates.reduce(ends[0].positions), coordinates.reduce(ends[1].positions), emt


def test_finite_difference_hessian_is_that_of_ase(hop, tmp_path):
    coordinates, initial, final, emt = hop
    x = 0.7 * initial + 0.3 * final
    surface = Surface(emt)
    ours = finite_difference_hessian(surface, x, step=0.01)
    assert surface.calls == 2 * x.size
    atoms = coordinates.atoms(x)
    atoms.calc = EMT()
    vibrations = Vibrations(atoms, indices=coordinates.moving, name=str(tmp_path / "vib"), delta=0.01)
    vibrations.run()
    np.testing.assert_allclose(ours, vibrations.get_vibrations().get_hessian_2d(), atol=1e-8)


def test_forward_differences_cost_half_and_are_first_order():
    x = np.array([0.1, 0.4])
    exact = muller_brown_hessian(x)
    surface = Surface(muller_brown)
    forward = finite_difference_hessian(surface, x, 1e-4, central=False)
    assert surface.calls == 3
    finite_difference_hessian(surface, x, 1e-4, central=False, force0=muller_brown(x)[1])
    assert surface.calls == 5
    central = [np.abs(finite_difference_hessian(muller_brown, x, h) - exact).max() for h in (0.02, 0.01)]
    assert central[0] / central[1] == pytest.approx(4, rel=0.05)
    finer = finite_difference_hessian(muller_brown, x, 5e-5, central=False)
    assert np.abs(forward - exact).max() / np.abs(finer - exact).max() == pytest.approx(2, rel=0.05)
    with pytest.raises(InputError, match="must be positive"):
        finite_difference_hessian(muller_brown, x, 0.0)


@pytest.mark.parametrize("inverse", [False, True])
def test_lowest_modes_of_a_large_cluster_are_those_of_the_dense_hessian(inverse):
    """309 coordinates, not stationary, spectrum up to 860 eV/Å²; the model is the exact Hessian of another place."""
    rng = np.random.default_rng(3)
    ball = Icosahedron("Ar", 4, latticeconstant=1.57)
    ball = ball[np.argsort(np.linalg.norm(ball.positions - ball.positions.mean(axis=0), axis=1))[:103]]
    coordinates, x = cluster(ball.positions + 0.02 * rng.standard_normal((103, 3)))
    assert x.size == 309
    exact = rigid_free(lennard_jones_hessian(x), x)
    assert exact[0] < exact[1] < 0 < exact[2]
    model = lennard_jones_hessian(x + 0.01 * rng.standard_normal(x.size))
    model += (0.5 - np.linalg.eigvalsh(model)[0]) * np.eye(x.size)
    solver = np.linalg.inv(model)
    preconditioner = LinearOperator(model.shape, matvec=lambda v: solver @ v) if inverse else csr_array(model)
    surface = Surface(lennard_jones)
    modes = lowest_modes(
        surface, x, coordinates, 2, start=rng.standard_normal(x.size), preconditioner=preconditioner, step=1e-4
    )
    assert modes.converged
    assert modes.evaluations == surface.calls < (2 * x.size) // 12
    np.testing.assert_allclose(modes.values, exact[:2], atol=0.02)
    tight = lowest_modes(
        lennard_jones, x, coordinates, 2, start=modes.vectors, preconditioner=preconditioner, step=1e-4,
        central=True, rtol=1e-3, atol=1e-3,
    )  # fmt: skip
    np.testing.assert_allclose(tight.values, exact[:2], atol=1e-4)


def test_lowest_modes_without_a_model():
    """300 coupled double wells; the tangent is a rough picture of the soft mode at a weak place of the chain."""
    n = 300
    rng = np.random.default_rng(0)
    wells = np.where(np.abs(np.arange(n) - 100) < 4, 3.0, 0.5)

    def chain(x):
        stretch = np.diff(x)
        pull = np.zeros(n)
        pull[:-1] += stretch
        pull[1:] -= stretch
        return (wells * (x**4 / 4 - x**2 / 2)).sum() + 0.5 * stretch @ stretch, wells * (x - x**3) + pull

    x = np.where(np.abs(np.arange(n) - 100) < 8, 0.0, 1.0) + 0.02 * rng.standard_normal(n)
    hessian = np.diag(wells * (3 * x**2 - 1)) + 2 * np.eye(n) - np.eye(n, k=1) - np.eye(n, k=-1)
    hessian[0, 0] -= 1
    hessian[-1, -1] -= 1
    values, vectors = np.linalg.eigh(hessian)
    coordinates = Coordinates.of(Atoms("H100", rng.standard_normal((100, 3))), rigid=False)
    surface = Surface(chain)
    tangent = np.exp(-((np.arange(n) - 100) ** 2) / 8.0)
    modes = lowest_modes(surface, x, coordinates, start=tangent)
    assert modes.converged
    assert modes.evaluations == surface.calls < 15
    assert modes.values[0] == pytest.approx(values[0], rel=0.02)
    assert abs(modes.vectors[:, 0] @ vectors[:, 0]) > 0.98


def test_a_negative_mode_of_another_symmetry_is_not_missed():
    """Hessian and model fall into the same four blocks, the model is positive and the start is an exact eigenvector.

    Residuals then never leave the block; plain Davidson steps miss the second negative mode in two cases of three.
    """
    missed = evaluations = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        n = 24
        values = np.concatenate([rng.uniform(-2, -0.5, 2), 10 ** rng.uniform(-0.5, 1.5, n - 2)])[rng.permutation(n)]
        hessian, model = np.zeros((n, n)), np.zeros((n, n))
        for block in np.split(rng.permutation(n), 4):
            axes = np.linalg.qr(rng.standard_normal((len(block), len(block))))[0]
            rough = np.linalg.qr(axes + 0.3 * rng.standard_normal(axes.shape))[0]
            guess = np.abs(values[block]) * 3 ** rng.uniform(-1, 1, len(block)) + 0.1
            hessian[np.ix_(block, block)] = (axes * values[block]) @ axes.T
            model[np.ix_(block, block)] = (rough * guess) @ rough.T
        coordinates = Coordinates.of(Atoms("H8", rng.standard_normal((8, 3))), rigid=False)
        start = np.linalg.eigh(hessian)[1][:, 0]
        surface = Surface(lambda x, hessian=hessian: (0.5 * x @ hessian @ x, -hessian @ x))
        modes = lowest_modes(surface, np.zeros(n), coordinates, 2, start=start, preconditioner=model)
        missed += np.count_nonzero(modes.values < 0) != 2
        evaluations += surface.calls
    assert missed <= 1
    assert evaluations < 100 * 18


def test_lowest_modes_within_a_budget_and_bad_input():
    coordinates, x = square_pyramid()
    modes = lowest_modes(lennard_jones, x, coordinates, 3, max_evaluations=4)
    assert modes.evaluations == 4
    assert not modes.converged
    with pytest.raises(InputError, match="ask for 1 to 9"):
        lowest_modes(lennard_jones, x, coordinates, 10)
    with pytest.raises(ShapeError, match="start has shape"):
        lowest_modes(lennard_jones, x, coordinates, start=np.ones(4))
    with pytest.raises(ShapeError, match="preconditioner has shape"):
        lowest_modes(lennard_jones, x, coordinates, preconditioner=np.eye(4))
    with pytest.raises(NotFinite, match="15 components"):
        lowest_modes(lambda x: (np.nan, x * np.nan), x, coordinates)


def test_restricted_step_is_newton_inside_and_on_the_boundary_outside():
    rng = np.random.default_rng(0)
    coordinates, _ = square_pyramid()
    for _ in range(50):
        vectors = np.linalg.qr(rng.standard_normal((15, 15)))[0]
        values = rng.uniform(-5, 20, 15)
        force = rng.standard_normal(15)
        followed = int(rng.integers(15))
        step, predicted = restricted_step(force, values, vectors, coordinates, 0.1, followed)
        assert coordinates.longest(step) == pytest.approx(0.1, rel=2e-3)
        assert predicted > 0
        flip = np.eye(15) - 2 * np.outer(vectors[:, followed], vectors[:, followed])
        image = flip @ (vectors * values) @ vectors.T
        assert predicted == pytest.approx(flip @ force @ step - 0.5 * step @ image @ step)
        # No feasible point on the sphere of the same length does better on the image: a Monte Carlo check.
        others = rng.standard_normal((200, 15))
        others *= np.linalg.norm(step) / np.linalg.norm(others, axis=1)[:, None]
        gains = others @ (flip @ force) - 0.5 * np.einsum("ki,ij,kj->k", others, image, others)
        assert gains.max() < predicted
    newton, _ = restricted_step(force, np.abs(values) + 1, vectors, coordinates, 1e3)
    np.testing.assert_allclose(newton, np.linalg.solve((vectors * (np.abs(values) + 1)) @ vectors.T, force))


def test_patched_hessian_gives_the_measured_products():
    rng = np.random.default_rng(1)
    true = rng.standard_normal((8, 8))
    true += true.T
    basis = np.linalg.qr(rng.standard_normal((8, 3)))[0]
    patched = patched_hessian(np.diag(rng.uniform(1, 9, 8)), basis, true @ basis)
    np.testing.assert_allclose(patched @ basis, true @ basis, atol=1e-12)
    np.testing.assert_allclose(patched, patched.T, atol=1e-12)


@pytest.mark.parametrize(("name", "start"), [("AB", (-0.75, 0.70)), ("BC", (0.30, 0.20)), ("BC", (0.10, 0.40))])
def test_muller_brown_saddles_are_the_published_ones(name, start):
    x, y, energy = SADDLES[name]
    surface = Surface(muller_brown)
    mode = np.subtract(MINIMA[name[1]], MINIMA[name[0]])
    saddle = refine_saddle(surface, np.array(start), PLANE, mode, fmax=1e-3)
    assert saddle.converged and saddle.order == 1 and saddle.measured
    assert saddle.evaluations == surface.calls < 30
    np.testing.assert_allclose(saddle.x, (x, y), atol=6e-4)
    assert saddle.energy == pytest.approx(energy, abs=2e-3)
    np.testing.assert_allclose(saddle.eigenvalues, np.linalg.eigvalsh(muller_brown_hessian(saddle.x)), rtol=0.05)


def test_connection_of_muller_brown_saddles():
    ends = {name: minimize(lambda x: muller_brown(x)[0], m, tol=1e-10).x for name, m in MINIMA.items()}
    saddle = refine_saddle(muller_brown, np.array([-0.75, 0.70]), PLANE)
    surface = Surface(muller_brown)
    good = connects(surface, saddle, ends["A"], ends["B"], PLANE)
    assert good.connected
    assert (good.forward.reached, good.backward.reached) == ("final", "initial")
    assert good.evaluations == surface.calls
    swapped = connects(muller_brown, saddle, ends["B"], ends["A"], PLANE)
    assert swapped.connected
    # The saddle leads to the intermediate minimum B, not to C.
    bad = connects(muller_brown, saddle, ends["A"], ends["C"], PLANE, final_energy=muller_brown(ends["C"])[0])
    assert not bad.connected
    assert bad.backward.reached == "initial" and bad.forward.reached is None
    np.testing.assert_allclose(bad.forward.x, ends["B"], atol=1e-3)
    distance = np.linalg.norm(ends["B"] - ends["C"])
    assert bad.message.startswith("the final state is not reached: downhill from the saddle lies another minimum")
    assert f"{distance:.2f} Å from the final state" in bad.message
    assert f"{muller_brown(ends['B'])[0] - muller_brown(ends['C'])[0]:+.3f} eV against it" in bad.message
    far = connects(muller_brown, saddle, np.array([5.0, 5.0]), ends["C"], PLANE)
    assert far.message.startswith("the initial and the final state are not reached")


def test_adatom_hop(hop, tmp_path):
    coordinates, initial, final, emt = hop
    surface = Surface(emt)
    saddle = refine_saddle(surface, 0.45 * initial + 0.55 * final, coordinates, mode=final - initial)
    assert saddle.converged
    assert saddle.evaluations == surface.calls < 40
    assert coordinates.longest(emt(saddle.x)[1]) == pytest.approx(saddle.force_norm)
    # By symmetry the adatom sits on the bridge.
    np.testing.assert_allclose(saddle.x[-3:-1], (0.5 * (initial + final))[-3:-1], atol=2e-3)
    atoms = coordinates.atoms(saddle.x)
    atoms.calc = EMT()
    vibrations = Vibrations(atoms, indices=coordinates.moving, name=str(tmp_path / "vib"), delta=0.005)
    vibrations.run()
    exact = np.linalg.eigvalsh(vibrations.get_vibrations().get_hessian_2d())
    assert exact[0] < 0 < exact[1]
    np.testing.assert_allclose(saddle.eigenvalues, exact[:2], atol=0.03)
    result = connects(surface, saddle, initial, final, coordinates)
    assert result.connected and result.evaluations < 40
    # The end point through the periodic boundary is the same end point.
    wrapped = final.copy()
    wrapped[-3] -= coordinates.template.cell[0, 0]
    assert connects(emt, saddle, initial, wrapped, coordinates).connected


def test_known_start_costs_nothing_and_the_check_is_optional(hop):
    coordinates, initial, final, emt = hop
    x = 0.5 * (initial + final)
    full = refine_saddle(emt, x, coordinates, mode=final - initial)
    surface = Surface(emt)
    cheap = refine_saddle(surface, full.x, coordinates, full.mode, full.hessian, known=emt(full.x), check=False)
    assert surface.calls == cheap.evaluations == 0
    assert cheap.order == 1 and cheap.converged and not cheap.measured
    assert "not measured" in cheap.reason


@given(st.integers(0, 10_000))
@settings(max_examples=8, deadline=None)
def test_rotated_molecule_gives_the_same_saddle(seed):
    rng = np.random.default_rng(seed)
    rotation = Rotation.random(rng=rng).as_matrix()
    coordinates, x = square_pyramid()
    mode = np.array([0, 0, 1, 0, 0, -1, 0, 0, 1, 0, 0, -1, 0, 0, 0.0])
    turned_coordinates, turned_x = cluster(x.reshape(-1, 3) @ rotation.T + rng.uniform(-5, 5, 3))
    turned_mode = (mode.reshape(-1, 3) @ rotation.T).ravel()
    saddle = refine_saddle(lennard_jones, x, coordinates, mode, fmax=1e-4)
    turned = refine_saddle(lennard_jones, turned_x, turned_coordinates, turned_mode, fmax=1e-4)
    assert saddle.converged and turned.converged
    assert turned.energy == pytest.approx(saddle.energy, abs=1e-7)
    moved = displacement(coordinates, saddle.x, turned.x)
    assert coordinates.longest(moved) < 1e-3
    exact = rigid_free(lennard_jones_hessian(turned.x), turned.x)
    assert exact[0] < 0 < exact[1]
    np.testing.assert_allclose(turned.eigenvalues, exact[:2], rtol=0.1)
    assert abs((saddle.mode.reshape(-1, 3) @ rotation.T).ravel() @ turned.mode) > 0.98


def test_molecules_keep_their_mapping():
    """Two labelled bipyramids are joined; a third one, equal but for its labels, is not an end of this saddle."""
    coordinates, x = square_pyramid()
    saddle = refine_saddle(lennard_jones, x, coordinates, fmax=1e-4)
    ends = [
        descend(lennard_jones, saddle.x, coordinates, sign * saddle.mode, hessian=saddle.hessian, fmax=1e-4)
        for sign in (1.0, -1.0)
    ]
    assert all(end.converged and end.energy == pytest.approx(-9.103852, abs=1e-5) for end in ends)
    turn = Rotation.random(rng=np.random.default_rng(5)).as_matrix()
    initial, final = (((end.x.reshape(-1, 3)) @ turn.T + 3.0).ravel() for end in ends)
    good = connects(lennard_jones, saddle, initial, final, coordinates)
    assert good.connected
    apex_exchanged = initial.reshape(-1, 3)[[4, 1, 2, 3, 0]].ravel()
    assert coordinates.longest(displacement(coordinates, final, apex_exchanged)) > 0.3
    bad = connects(lennard_jones, saddle, initial, apex_exchanged, coordinates)
    assert not bad.connected
    assert "the final state is not reached" in bad.message
    assert "mirror image" in bad.message or "equal atoms exchanged" in bad.message


def test_second_order_saddles_are_detected():
    def hill(x):
        return ((x[:2] ** 2 - 1) ** 2).sum() + x[2] ** 2, np.append(-4 * x[:2] * (x[:2] ** 2 - 1), -2 * x[2])

    saddle = refine_saddle(hill, np.zeros(3), Coordinates.of(Atoms("H")), mode=np.array([1.0, 0, 0]))
    assert saddle.order == 2 and not saddle.converged
    np.testing.assert_allclose(saddle.eigenvalues[:2], -4, atol=0.05)
    assert "2 negative modes" in saddle.reason
    # The linear Lennard-Jones trimer bends in two planes.
    coordinates, x = cluster([[-1.12, 0, 0], [0, 0, 0], [1.12, 0, 0]])
    relaxed = minimize(lambda d: lennard_jones(x * d[0])[0], [1.0], tol=1e-12).x[0] * x
    trimer = refine_saddle(lennard_jones, relaxed, coordinates)
    assert trimer.order == 2 and not trimer.converged
    exact = rigid_free(lennard_jones_hessian(relaxed), relaxed)
    np.testing.assert_allclose(trimer.eigenvalues[:2], exact[:2], rtol=0.1)


def test_a_minimum_is_no_saddle():
    coordinates, x = cluster([[0, 0, 0], [1.12, 0, 0], [0.56, 0.97, 0]])
    relaxed = minimize(lambda x: lennard_jones(x)[0], x, tol=1e-12).x
    saddle = refine_saddle(lennard_jones, relaxed, coordinates, fmax=1e-3)
    assert saddle.order == 0 and not saddle.converged
    assert "a minimum" in saddle.reason


@pytest.mark.parametrize("budget", [1, 3, 6, 12])
def test_budget_is_kept(budget):
    coordinates, x = square_pyramid()
    surface = Surface(lennard_jones)
    saddle = refine_saddle(surface, x + 0.05 * np.sin(np.arange(15.0)), coordinates, max_evaluations=budget)
    assert surface.calls == saddle.evaluations <= budget
    assert not saddle.converged
    assert "budget" in saddle.reason


@pytest.mark.parametrize("failure", [EvaluationFailed("the electrons did not settle"), None])
def test_points_that_cannot_be_evaluated_are_avoided(failure):
    """A wall beside the path: stepping over it fails or gives NaN."""

    def walled(x):
        if x[0] < 0.205:
            if failure is not None:
                raise failure
            return np.nan, np.full(2, np.nan)
        return muller_brown(x)

    saddle = refine_saddle(walled, np.array([0.30, 0.20]), PLANE, radius=0.2)
    assert saddle.converged
    np.testing.assert_allclose(saddle.x, SADDLES["BC"][:2], atol=6e-4)


@pytest.mark.parametrize("calls", [2, 20])
def test_a_failed_curvature_measurement_ends_the_search_with_a_reason(calls):
    coordinates, x = square_pyramid()
    surface = Surface(lennard_jones)

    def failing(x):
        if surface.calls >= calls:
            raise EvaluationFailed("the electrons did not settle")
        return surface(x)

    saddle = refine_saddle(failing, x, coordinates)
    assert not saddle.converged and not saddle.measured
    assert "could not be evaluated: the electrons did not settle" in saddle.reason


def test_both_sides_in_one_basin_is_said():
    """A tilted circular trough: one minimum, and one saddle opposite to it that leads there both ways round."""

    def trough(x):
        r = np.hypot(*x)
        return 5 * (r - 1) ** 2 + 0.2 * x[0], -10 * (r - 1) * x / r - np.array([0.2, 0.0])

    bottom = minimize(lambda x: trough(x)[0], [-1.0, 0.1], tol=1e-12).x
    saddle = refine_saddle(trough, np.array([0.95, 0.1]), PLANE)
    assert saddle.converged
    result = connects(trough, saddle, bottom, np.array([3.0, 0.0]), PLANE)
    assert not result.connected
    assert result.message == "the final state is not reached: both sides of the saddle lead to the initial state"


def test_bad_input_is_refused():
    coordinates, x = square_pyramid()
    with pytest.raises(ShapeError, match="x has shape"):
        refine_saddle(lennard_jones, x[:6], coordinates)
    with pytest.raises(ShapeError, match="hessian has shape"):
        refine_saddle(lennard_jones, x, coordinates, hessian=np.eye(3))
    with pytest.raises(InputError, match="rigid motion"):
        refine_saddle(lennard_jones, x, coordinates, mode=np.tile([1.0, 0, 0], 5))
    with pytest.raises(ShapeError, match="returned a force of shape"):
        refine_saddle(lambda x: (0.0, np.zeros(3)), x, coordinates)
    saddle = refine_saddle(lennard_jones, x, coordinates)
    with pytest.raises(InputError, match="two different ones"):
        connects(lennard_jones, saddle, x, x, coordinates)
