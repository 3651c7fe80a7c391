"""What solving gives: exact linear fields, orders of convergence, and the same answer from both solvers."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.polynomial.legendre import leggauss

from sciopt.core.errors import EvaluationFailed
from sciopt.topopt.grid.element import Conduction, Elasticity, Physics
from sciopt.topopt.grid.multigrid import Multigrid
from sciopt.topopt.grid.system import GridSystem


def nodal_shape(shape: tuple[int, ...], physics: Physics) -> tuple[int, ...]:
    return (physics.components(len(shape)), *(n + 1 for n in reversed(shape)))


def positions(shape: tuple[int, ...], spacing: tuple[float, ...]) -> np.ndarray:
    """Coordinates x, y, z of all nodes."""
    lines = [h * np.arange(n + 1) for n, h in zip(shape, spacing, strict=True)]
    return np.array(np.meshgrid(*reversed(lines), indexing="ij"))[::-1]


def clamped(shape: tuple[int, ...], physics: Physics, **options: object) -> GridSystem:
    fixed = np.zeros(nodal_shape(shape, physics), bool)
    fixed[..., 0] = True
    return GridSystem(shape, (1.0,) * len(shape), physics, fixed, **options)


def random_design(shape: tuple[int, ...], seed: int, scale: float = 4.0) -> np.ndarray:
    """Blobs of solid in a void of 1e-9, with half of the elements solid and one element of border around them."""
    rng = np.random.default_rng(seed)
    wave = sum(
        rng.standard_normal() * np.cos(sum(rng.normal(0.0, 1.0 / scale) * axis for axis in np.indices(shape[::-1])))
        for _ in range(30)
    )
    E = np.where(wave > np.median(wave), 1.0, 1e-9)
    E[..., -2:] = 1.0  # the loaded end
    E[..., 0, :] = 1.0  # a chord that carries it
    return E.ravel()


@pytest.mark.parametrize("solver", ["direct", "multigrid"])
@pytest.mark.parametrize(
    ("shape", "spacing", "physics"),
    [((7, 5), (0.5, 1.25), Elasticity(0.2)), ((6, 9), (1.0, 1.0), Elasticity(0.4, "strain")),
     ((5, 3, 4), (1.0, 2.0, 0.7), Elasticity()), ((9, 9, 9), (1.0, 1.0, 1.0), Elasticity(0.45))],
)  # fmt: skip
def test_constant_stress_is_reproduced(
    solver: str, shape: tuple[int, ...], spacing: tuple[float, ...], physics: Elasticity
) -> None:
    # The patch test: statically determinate supports and tractions of a constant stress.
    dim, nu = len(shape), physics.nu
    x = positions(shape, spacing)
    gradient = np.triu(np.random.default_rng(0).standard_normal((dim, dim)))  # keeps the supports below at rest
    exact = np.einsum("ab,b...->a...", gradient, x)
    strain = (gradient + gradient.T) / 2.0
    bulk = nu / (1.0 - nu**2) if dim == 2 and physics.plane == "stress" else nu / ((1.0 + nu) * (1.0 - 2.0 * nu))
    stress = bulk * np.trace(strain) * np.eye(dim) + strain / (1.0 + nu)
    load = np.zeros(exact.shape)
    for axis in range(dim):
        # Every node of a side has half of each adjacent edge along the other axes.
        weight = np.ones(x.shape[1:])
        for other in range(dim):
            if other != axis:
                ends = np.full(shape[other] + 1, spacing[other])
                ends[[0, -1]] /= 2.0
                weight = weight * ends.reshape([-1 if a == other else 1 for a in reversed(range(dim))])
        for side, sign in ((0, -1.0), (-1, 1.0)):
            at = tuple(side if a == axis else slice(None) for a in reversed(range(dim)))
            for component in range(dim):
                load[(component, *at)] += sign * stress[component, axis] * weight[at]
    fixed = np.zeros(exact.shape, bool)
    for component in range(dim):  # at the origin all; on the x axis all but x; on the y axis z
        for axis in range(component):
            at = [0] * dim
            at[dim - 1 - axis] = -1
            fixed[(component, *at)] = True
        fixed[(component, *[0] * dim)] = True
    system = GridSystem(shape, spacing, physics, fixed, solver=solver)
    u = system.solve(np.ones(system.elements), load[None], tol=1e-12).u[0]
    assert np.abs(u - exact).max() < 1e-10 * np.abs(exact).max()


def sine_load(n: int, dim: int, physics: Physics) -> tuple[np.ndarray, float]:
    """Load of u = (w, ..., w) with w the product of sin πx on the unit cube, and twice its energy."""
    points, weights = leggauss(8)
    t = (points + 1.0) / 2.0
    nodes = {}
    for name, function in (("s", np.sin), ("c", np.cos)):
        values = np.zeros(n + 1)
        for e in range(n):
            f = function(np.pi * (e + t) / n) * weights / (2.0 * n)
            values[e] += f @ (1.0 - t)
            values[e + 1] += f @ t
        nodes[name] = values

    def separable(names: str) -> np.ndarray:
        out = np.ones(())
        for name in reversed(names):  # x is the last axis
            out = np.multiply.outer(out, nodes[name])
        return out

    sines = separable("s" * dim)
    if isinstance(physics, Conduction):
        return dim * np.pi**2 * sines[None], dim * np.pi**2 / 2.0**dim
    nu = physics.nu
    mu = 0.5 / (1.0 + nu)
    lam = nu / (1.0 - nu**2) if dim == 2 else nu / ((1.0 + nu) * (1.0 - 2.0 * nu))
    load = []
    for a in range(dim):
        mixed = sum(separable("".join("c" if i in (a, b) else "s" for i in range(dim))) for b in range(dim) if b != a)
        load.append(np.pi**2 * ((mu * dim + lam + mu) * sines - (lam + mu) * mixed))
    return np.array(load), np.pi**2 * dim * (mu * dim + lam + mu) / 2.0**dim


@pytest.mark.parametrize(
    ("dim", "physics", "sizes"),
    [(2, Conduction(), (10, 20, 40)), (2, Elasticity(), (10, 20, 40)),
     (3, Conduction(), (6, 12, 24)), (3, Elasticity(), (6, 12, 24))],
)  # fmt: skip
def test_displacements_and_energy_converge_with_the_second_order(
    dim: int, physics: Physics, sizes: tuple[int, ...]
) -> None:
    errors = []
    for n in sizes:
        shape = (n,) * dim
        x = positions(shape, (1.0 / n,) * dim)
        exact = np.prod(np.sin(np.pi * x), axis=0)
        fixed = np.zeros(nodal_shape(shape, physics), bool)
        for axis in range(1, dim + 1):
            np.moveaxis(fixed, axis, 0)[[0, -1]] = True
        system = GridSystem(shape, (1.0 / n,) * dim, physics, fixed)
        load, energy = sine_load(n, dim, physics)
        u = system.solve(np.ones(system.elements), load[None], tol=1e-10).u[0]
        errors.append((np.sqrt(np.mean((u - exact) ** 2)), energy - np.vdot(load, u)))
    for (l2, energy), (finer_l2, finer_energy) in pairwise(errors):
        assert np.log2(l2 / finer_l2) == pytest.approx(2.0, abs=0.15)
        assert energy > 0.0  # a conforming element is too stiff
        assert np.log2(energy / finer_energy) == pytest.approx(2.0, abs=0.15)


SHAPES = [
    ((41, 23), Elasticity()), ((64, 32), Elasticity(0.4, "strain")), ((53, 30), Conduction()), ((90, 3), Elasticity()),
    ((13, 7, 9), Elasticity()), ((16, 8, 8), Elasticity(0.4)), ((11, 14, 6), Conduction()), ((19, 9, 1), Elasticity()),
]  # fmt: skip


@pytest.mark.parametrize(("shape", "physics"), SHAPES)
@pytest.mark.parametrize("seed", range(2))
def test_both_solvers_agree_on_designs_of_high_contrast(shape: tuple[int, ...], physics: Physics, seed: int) -> None:
    rng = np.random.default_rng(seed)
    nodal = nodal_shape(shape, physics)
    springs = np.zeros(nodal)
    springs[-1, ..., -1] = 0.1
    E = random_design(shape, seed)
    E.reshape(shape[::-1])[..., -max(shape[1] // 4, 1) :, :-3] = 0.0  # outside the domain
    touched = np.zeros(nodal[1:], bool)
    for corner in product((0, 1), repeat=len(shape)):
        touched[tuple(slice(o, o + n) for o, n in zip(corner, shape[::-1], strict=True))] |= E.reshape(shape[::-1]) > 0
    fixed = np.zeros(nodal, bool)
    fixed[..., 0] = True
    fixed |= ~touched
    fixed[0, ..., 0, -1] = True  # a roller, between the coarse nodes if the grid is odd
    load = np.zeros((2, *nodal))
    load[0, -1, ..., -1] = 1.0
    load[1] = np.where(fixed, 0.0, rng.standard_normal(nodal)) * 1e-3
    load[1][..., :-2] = 0.0
    spacing = (1.0, 1.2, 0.9)[: len(shape)]
    direct, multigrid = (
        GridSystem(shape, spacing, physics, fixed, springs, solver).solve(E, load, tol=1e-8)
        for solver in ("direct", "multigrid")
    )
    assert np.all(multigrid.residual <= 1e-8) and np.all(multigrid.iterations > 0)
    # Work, not displacements: islands in the void move far at almost no cost.
    expected, found = (load.reshape(2, -1) @ solution.u.reshape(2, -1).T for solution in (direct, multigrid))
    sizes = np.sqrt(np.outer(expected.diagonal(), expected.diagonal()))
    assert np.all(np.abs(found - expected) < 1e-5 * sizes)


@pytest.mark.parametrize(("shape", "physics"), SHAPES[:6])
def test_the_reported_residual_is_the_true_one(shape: tuple[int, ...], physics: Physics) -> None:
    system = clamped(shape, physics, solver="multigrid")
    E = random_design(shape, 3)
    load = np.zeros((1, *system.nodal))
    load[0, -1, ..., -1] = 1.0
    K = system.matrix(E)
    f = np.where(system.fixed, 0.0, load[0]).ravel()
    last = 0
    for tol in (1e-2, 1e-5, 1e-8):
        solution = system.solve(E, load, tol)
        residual = np.linalg.norm(f - K @ solution.u.ravel()) / np.linalg.norm(f)
        assert residual <= tol
        assert solution.residual[0] == pytest.approx(residual, rel=1e-3, abs=2e-9)  # islands: large u, rounding
        assert not solution.u[0][system.fixed].any()
        assert solution.iterations[0] > last
        last = solution.iterations[0]


@given(
    shape=st.tuples(st.integers(1, 19), st.integers(1, 19)) | st.tuples(*[st.integers(1, 6)] * 3),
    seed=st.integers(0, 2**16),
)
def test_grids_of_any_size_are_solved(shape: tuple[int, ...], seed: int) -> None:
    rng = np.random.default_rng(seed)
    system = clamped(shape, Elasticity(), solver="multigrid")
    E = rng.uniform(0.1, 1.0, system.elements) * 1e11
    load = rng.standard_normal((1, *system.nodal)) * 1e-12
    solution = system.solve(E, load, tol=1e-7)
    reference = clamped(shape, Elasticity(), solver="direct").solve(E, load, tol=1e-7)
    assert np.abs(solution.u - reference.u).max() <= 1e-4 * np.abs(reference.u).max()


def test_a_good_guess_saves_iterations_and_a_bad_one_does_no_harm() -> None:
    system = clamped((40, 20), Elasticity(), solver="multigrid")
    E = random_design((40, 20), 1)
    load = np.zeros((1, *system.nodal))
    load[0, 1, 0, -1] = -1.0
    cold = system.solve(E, load, tol=1e-6)
    warm = system.solve(E, load, tol=1e-6, guess=cold.u)
    assert warm.iterations[0] == 0
    near = system.solve(E * (1.0 + 1e-3 * np.random.default_rng(0).random(E.size)), load, tol=1e-6, guess=cold.u)
    assert near.iterations[0] < cold.iterations[0]
    spoiled = system.solve(E, load, tol=1e-6, guess=np.full_like(cold.u, np.nan))
    assert np.vdot(load, spoiled.u) == pytest.approx(np.vdot(load, cold.u), rel=1e-6)


def test_the_same_call_gives_the_same_numbers() -> None:
    # Whatever was solved before: a resumed run must find what the uninterrupted one found.
    system = clamped((24, 12, 10), Elasticity(), solver="multigrid")
    E = random_design((24, 12, 10), 0)
    load = np.zeros((1, *system.nodal))
    load[0, 1, ..., -1] = 1.0
    first = system.solve(E, load)
    system.solve(random_design((24, 12, 10), 1), load)
    assert np.array_equal(system.solve(E, load).u, first.u)
    assert np.array_equal(clamped((24, 12, 10), Elasticity(), solver="multigrid").solve(E, load).u, first.u)


@pytest.mark.parametrize("solver", ["direct", "multigrid"])
def test_no_load_gives_no_displacement(solver: str) -> None:
    system = clamped((9, 5), Elasticity(), solver=solver)
    load = np.zeros((2, *system.nodal))
    load[0, :, :, 0] = 1.0  # on the supports only
    solution = system.solve(np.ones(45), load, guess=np.ones_like(load))
    assert not solution.u.any() and not solution.residual.any()


@pytest.mark.parametrize("solver", ["direct", "multigrid"])
def test_what_cannot_be_solved_raises(solver: str) -> None:
    system = clamped((12, 9), Elasticity(), solver=solver)
    E = np.ones(system.elements)
    load = np.zeros((1, *system.nodal))
    load[0, 1, 4, -1] = 1.0
    for bad in (np.nan, np.inf):
        broken = E.copy()
        broken[7] = bad
        with pytest.raises(EvaluationFailed, match="moduli"):
            system.solve(broken, load)
        wrong = load.copy()
        wrong[0, 0, 3, 3] = bad
        with pytest.raises(EvaluationFailed, match="loads"):
            system.solve(E, wrong)
    with pytest.raises(EvaluationFailed):
        system.solve(E, load, tol=1e-30)
    with pytest.raises(EvaluationFailed):
        system.solve(np.zeros_like(E), load)
    cut = E.reshape(9, 12).copy()
    cut[:, 6] = 0.0  # the loaded half floats
    with pytest.raises(EvaluationFailed):
        system.solve(cut.ravel(), load)
    free = GridSystem((12, 9), (1.0, 1.0), Elasticity(), np.zeros(system.nodal, bool), solver=solver)
    with pytest.raises(EvaluationFailed):
        free.solve(E, load)


def test_a_smoother_that_diverges_is_repaired(monkeypatch: pytest.MonkeyPatch) -> None:
    system = clamped((40, 20), Elasticity(), solver="multigrid")
    load = np.zeros((1, *system.nodal))
    load[0, 1, 0, -1] = -1.0
    expected = system.solve(np.ones(800), load, tol=1e-6)
    setup = Multigrid.setup

    def misled(self: Multigrid, E: np.ndarray) -> None:
        setup(self, E)
        self.levels[0].largest *= 0.5

    monkeypatch.setattr(Multigrid, "setup", misled)
    solution = system.solve(np.ones(800), load, tol=1e-6)
    assert solution.residual[0] <= 1e-6
    assert np.vdot(load, solution.u) == pytest.approx(np.vdot(load, expected.u), rel=1e-6)


def test_slender_beams_take_few_iterations() -> None:
    # Bending modes are softer than the digits of single precision; a stiffness of rounding took 31 and 67 iterations.
    for shape, most in (((1000, 20), 25), ((2000, 16), 45)):
        system = clamped(shape, Elasticity(), solver="multigrid")
        load = np.zeros((1, *system.nodal))
        load[0, 1, :, -1] = -1.0
        solution = system.solve(np.ones(system.elements), load, tol=1e-6)
        assert solution.solver == "multigrid" and solution.iterations[0] < most
        direct = clamped(shape, Elasticity(), solver="direct").solve(np.ones(system.elements), load)
        assert np.vdot(load, solution.u) == pytest.approx(np.vdot(load, direct.u), rel=1e-6)


def test_supports_between_coarse_nodes_in_soft_material() -> None:
    # The second coarse grid misses the roller. It must feel what the first does there, not the soft elements around it.
    shape = (108, 52)
    fixed = np.zeros((2, 53, 109), bool)
    fixed[0, :, 0] = True
    fixed[1, 0, 106] = True
    E = np.ones(shape[::-1])
    E[0, 105:107] = 1e-6
    load = np.zeros((1, *fixed.shape))
    load[0, 1, -1, 0] = -1.0
    found, direct = (
        GridSystem(shape, (1.0, 1.0), Elasticity(), fixed, solver=solver).solve(E.ravel(), load, tol=1e-6)
        for solver in ("multigrid", "direct")
    )
    assert found.solver == "multigrid" and found.iterations[0] < 50
    assert np.vdot(load, found.u) == pytest.approx(np.vdot(load, direct.u), rel=1e-6)


def test_what_single_precision_cannot_solve_double_precision_does() -> None:
    # Islands in the void, one of them under the load: 800 iterations in single precision were not enough.
    system = clamped((200, 80), Elasticity(), solver="multigrid")
    E = random_design((200, 80), 0, 6.0)
    load = np.zeros((1, *system.nodal))
    load[0, -1, 0, -1] = 1.0
    solution = system.solve(E, load, tol=1e-3)
    direct = clamped((200, 80), Elasticity(), solver="direct").solve(E, load, tol=1e-3)
    assert solution.solver == "multigrid" and solution.residual[0] <= 1e-3
    assert np.vdot(load, solution.u) == pytest.approx(np.vdot(load, direct.u), rel=1e-3)


@pytest.mark.parametrize("shape", [(40, 20), (12, 6, 6)])
def test_the_way_out_is_double_precision_then_the_factorization(
    shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    system = clamped(shape, Elasticity(), solver="multigrid")
    E = random_design(shape, 1)
    load = np.zeros((3, *system.nodal))
    load[0, 1, ..., 0, -1] = -1.0
    load[2, 0, ..., 0, -1] = 1.0
    expected = system.solve(E, load, tol=1e-6)
    assert expected.iterations[1] == 0 and not expected.u[1].any()
    for name, solver in (("SINGLE_ITERATIONS", "multigrid"), ("ITERATIONS", "direct")):
        monkeypatch.setattr(f"sciopt.topopt.grid.system.{name}", 2)
        solution = system.solve(E, load, tol=1e-6)
        assert solution.solver == solver and np.all(solution.residual <= 1e-6)
        for f, u, reference in zip(load, solution.u, expected.u, strict=True):
            assert np.vdot(f, u) == pytest.approx(np.vdot(f, reference), rel=1e-6)
    monkeypatch.setattr("sciopt.topopt.grid.system.LARGEST_DIRECT", {2: 0, 3: 0})
    with pytest.raises(EvaluationFailed, match="multigrid"):
        system.solve(E, load, tol=1e-6)


def test_small_problems_are_factorized_and_large_ones_are_not() -> None:
    assert clamped((10, 5), Elasticity()).solver == "direct"
    assert clamped((60, 20), Elasticity()).solver == "multigrid"
    assert clamped((60, 20), Elasticity(), solver="direct").solver == "direct"
