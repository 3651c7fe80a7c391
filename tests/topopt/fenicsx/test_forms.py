"""Physics and objectives given as UFL forms: against closed-form elements, differences, and faults."""

from __future__ import annotations

import json
import re
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sciopt.core.errors import EvaluationFailed, InputError, SciOptError
from sciopt.topopt import SIMP, Compliance, Density, Grid
from sciopt.topopt.fenicsx.form_problem import FormProblem
from sciopt.topopt.fenicsx.form_system import FormSystem
from sciopt.topopt.fenicsx.forms import Forms
from sciopt.topopt.fenicsx.from_grid import mesh_source
from sciopt.topopt.fenicsx.loaded import MPI, dolfinx, ufl
from sciopt.topopt.fenicsx.source import FEniCSx

NU = 0.3
MU, LAM = 0.5 / (1 + NU), NU / ((1 + NU) * (1 - 2 * NU))


def strain(u: Any) -> Any:
    return ufl.sym(ufl.grad(u))


def stress(u: Any, E: Any, lam: float = LAM) -> Any:
    return E * (lam * ufl.tr(strain(u)) * ufl.Identity(len(u)) + 2 * MU * strain(u))


def linear(u: Any, E: Any) -> Any:
    return 0.5 * ufl.inner(stress(u, E), strain(u)) * ufl.dx


def neo_hookean(u: Any, E: Any) -> Any:
    F = ufl.Identity(len(u)) + ufl.grad(u)
    J = ufl.det(F)
    return E * (MU / 2 * (ufl.inner(F, F) - len(u) - 2 * ufl.ln(J)) + LAM / 2 * ufl.ln(J) ** 2) * ufl.dx


def stress_norm(u: Any, E: Any) -> Any:
    deviator = ufl.dev(stress(u, E))
    return (1e-3 + 1.5 * ufl.inner(deviator, deviator)) ** 2 * ufl.dx


def conduction(u: Any, E: Any) -> Any:
    return 0.5 * E * ufl.inner(ufl.grad(u), ufl.grad(u)) * ufl.dx


def mesh(cell: str, *shape: int) -> Any:
    kind = getattr(dolfinx.mesh.CellType, cell)
    if len(shape) == 2:
        return dolfinx.mesh.create_rectangle(MPI.COMM_SELF, [(0, 0), shape], shape, kind)
    return dolfinx.mesh.create_box(MPI.COMM_SELF, [(0, 0, 0), shape], shape, kind)


def cantilever(cell: str, *shape: int, force: float = 0.05) -> FEniCSx:
    down = (0, -force) if len(shape) == 2 else (0, -force, 0)
    return FEniCSx(mesh(cell, *shape)).fix("left").load("right", down)


def plate(cell: str = "triangle", *shape: int) -> FEniCSx:
    return FEniCSx(mesh(cell, *(shape or (8, 6))), physics="heat").fix("left").source("all", 1.0)


def smooth(structure: Any) -> np.ndarray:
    """A modulus per cell that depends on where it is only."""
    return 0.5 + 0.4 * np.sin(3.0 * structure.centres.sum(axis=1))


def test_a_quadratic_energy_is_that_of_closed_form_elements() -> None:
    grid = Grid(9, 5, plane="strain").fix("left").load((9, 2), (0.3, -1)).spring((9, 5), 0.5).structure()
    structure = mesh_source(grid, MPI.COMM_SELF)
    element = structure.mesh.topology.original_cell_index
    E = np.random.default_rng(0).uniform(0.01, 1.0, 45)
    system = FormSystem(structure, Forms.of(structure, linear))
    system.set_moduli(E[element])
    state = system.equilibrium(structure.loads[0], 1e-10)
    adjoint, _ = system.adjoint(-structure.loads[0], 1e-10)
    expected = grid.system("direct").solve(E, grid.loads, 1e-11)
    assert state.steps == 1
    assert structure.loads[0] @ state.u == pytest.approx(np.vdot(grid.loads, expected.u), rel=1e-9)
    energies = grid.system("direct").energies(expected.u[0])
    np.testing.assert_allclose(system.modulus_slope(adjoint), -energies[element], rtol=1e-9, atol=1e-12)


def problem(source: Any, **options: Any) -> FormProblem:
    return FormProblem(source, 0.5, filter=Density(1.5), material=SIMP(Emin=1e-2), **options)


@pytest.mark.parametrize("cell", ["tetrahedron", "hexahedron"])
def test_a_quadratic_energy_is_the_compliance_problem(cell: str) -> None:
    source = cantilever(cell, 4, 2, 2).load((4, 0, 0), (0.1, 0, 0.2), case=1).void(lambda x, y, z: (x < 3) & (z > 1))
    options: dict[str, Any] = {"filter": Density(1.5), "solver": "direct", "tol": 1e-10}
    x = np.random.default_rng(0).uniform(0.1, 1.0, source.structure().size)
    expected = Compliance(source, 0.5, **options).evaluate(x)
    found = FormProblem(source, 0.5, energy=linear, **options).evaluate(x)
    assert found.value == pytest.approx(expected.value, rel=1e-9)
    np.testing.assert_allclose(found.force, expected.force, rtol=1e-7, atol=1e-9 * np.abs(expected.force).max())


def corner(u: Any, E: Any) -> Any:
    """Displacement of the far half, upwards."""
    x = ufl.SpatialCoordinate(u.function_space.mesh)
    return -u[1] * ufl.conditional(ufl.gt(x[0], 3.0), 1.0, 0.0) * ufl.dx


CASES: dict[str, Callable[[], FormProblem]] = {
    "compliance of a rubber, triangles": lambda: problem(cantilever("triangle", 8, 4), energy=neo_hookean),
    "stress norm of a rubber, quadrilaterals": lambda: problem(
        cantilever("quadrilateral", 8, 4), energy=neo_hookean, objective=stress_norm
    ),
    "displacement, tetrahedra": lambda: problem(cantilever("tetrahedron", 4, 2, 2), energy=linear, objective=corner),
    "compliance of a rubber, hexahedra": lambda: problem(cantilever("hexahedron", 4, 2, 2), energy=neo_hookean),
    "heat that radiates": lambda: problem(
        plate(),
        energy=lambda u, E: conduction(u, E) + 0.1 * abs(u) ** 5 / 5 * ufl.ds,
        objective=lambda u, E: u**2 * ufl.dx,
    ),
    "heat that is carried along, without energy": lambda: problem(
        plate(),
        residual=lambda u, E, v: (E * (1 + u**2) * ufl.inner(ufl.grad(u), ufl.grad(v)) + 0.7 * u.dx(0) * v) * ufl.dx,
        objective=lambda u, E: E * u**2 * ufl.dx,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_gradients_agree_with_differences(case: str) -> None:
    check = CASES[case]().check_gradient()
    assert check.order == pytest.approx(2.0, abs=0.05) and check.error < 1e-4


def test_load_cases_and_springs_count() -> None:
    source = cantilever("triangle", 8, 4).load((8, 0), (0.02, 0), case=1).case_weights([2.0, 0.5]).spring((8, 4), 0.3)
    both = problem(source, energy=neo_hookean, tol=1e-10)
    ev = both.evaluate(both.start())
    assert ev.value == pytest.approx(np.array([2.0, 0.5]) @ ev.info["cases"], rel=1e-12)
    assert both.check_gradient().order == pytest.approx(2.0, abs=0.05)
    # The force of a spring is one that the rubber is spared.
    loose = problem(cantilever("triangle", 8, 4), energy=neo_hookean, tol=1e-10)
    assert ev.info["cases"][0] < loose.evaluate(loose.start()).value


def test_values_are_of_second_order_in_the_tolerance() -> None:
    exact = problem(plate(), energy=conduction, solver="multigrid", tol=1e-11)
    x = exact.start()
    value = exact.evaluate(x).value
    assert value is not None
    for tol in (1e-2, 1e-3):
        coarse = problem(plate(), energy=conduction, solver="multigrid", tol=tol)
        ev = coarse.evaluate(x)
        assert 0.0 < ev.info["equations"] <= tol
        assert ev.value == pytest.approx(value, rel=10 * tol**2)


@pytest.mark.parametrize("forms", [{"energy": neo_hookean}, {"residual": "of the energy"}])
def test_multigrid_finds_what_a_factorization_finds(forms: dict[str, Any]) -> None:
    if "residual" in forms:
        forms = {"residual": lambda u, E, v: ufl.derivative(neo_hookean(u, E), u, v)}
    answers = []
    for solver in ("direct", "multigrid"):
        chosen = problem(cantilever("hexahedron", 4, 2, 2), **forms, solver=solver, tol=1e-9)
        answers.append(chosen.evaluate(chosen.start()))
    assert answers[0].cost["iterations"] == 0 < answers[1].cost["iterations"]
    assert answers[1].value == pytest.approx(answers[0].value, rel=1e-9)
    np.testing.assert_allclose(answers[1].force, answers[0].force, rtol=1e-6, atol=1e-9)


def test_forms_are_compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[Any] = []
    compile_form = dolfinx.jit.ffcx_jit
    monkeypatch.setattr(
        dolfinx.jit, "ffcx_jit", lambda *args, **kwargs: compiled.append(args) or compile_form(*args, **kwargs)
    )
    stiff = problem(cantilever("triangle", 8, 4), energy=neo_hookean)
    assert len(compiled) == 4  # energy, residual, Jacobian and the slope by the moduli
    x = stiff.start()
    first = stiff.evaluate(x)
    stiff.evaluate(0.5 * x)
    again = stiff.at(tol=1e-6).evaluate(x)
    assert len(compiled) == 4
    assert again.info["newton"] > 0 and again.value == pytest.approx(first.value, rel=1e-4)


def test_a_state_is_found_again_without_a_step() -> None:
    warm = problem(cantilever("triangle", 8, 4), energy=neo_hookean)
    x = warm.start()
    assert warm.evaluate(x).info["newton"] > 3
    assert warm.evaluate(x).info["newton"] == 0


def test_passive_void_may_turn_inside_out() -> None:
    """Void cells have no energy, whatever the logarithm of their volume is."""
    source = FEniCSx(mesh("triangle", 8, 4)).fix("left").load((8, 2), (0, -0.3)).void(lambda x, y: y > 2.0)
    bent = FormProblem(source, 1.0, energy=neo_hookean, filter=Density(1.5))
    x = bent.start()
    tip = bent.state(x)
    assert np.isfinite(bent.evaluate(x).value or np.nan)
    assert np.abs(tip.x.array).max() > 1.5  # more than a cell


def test_no_equilibrium_is_a_failed_evaluation() -> None:
    """u'' + lambda exp(u) = 0, which has no solution beyond lambda = 0.88 (Bratu, held on one side)."""
    structure = FEniCSx(mesh("triangle", 12, 2), physics="heat").fix("left").source("all", 1.0).structure()

    def at(strength: float) -> float:
        forms = Forms.of(structure, lambda u, E: conduction(u, E) - strength / 144 * ufl.exp(u) * ufl.dx)
        system = FormSystem(structure, forms)
        system.set_moduli(np.ones(structure.cells))
        return float(system.equilibrium(np.zeros(structure.unknowns), 1e-8).u.max())

    assert 0.4 < at(0.6) < 1.2
    with pytest.raises(EvaluationFailed, match=r"no equilibrium beyond .* % of the load"):
        at(1.5)


def test_loads_grow_step_by_step_where_newton_stalls() -> None:
    """Without an energy to descend, Newton's method does not find this bent state from rest."""
    structure = cantilever("triangle", 12, 4, force=0.1).structure()
    forms = Forms.of(structure, residual=lambda u, E, v: ufl.derivative(neo_hookean(u, E), u, v))
    state = FormSystem(structure, forms)
    state.set_moduli(np.ones(structure.cells))
    found = state.equilibrium(structure.loads[0], 1e-9)
    reference = FormSystem(structure, Forms.of(structure, neo_hookean))
    reference.set_moduli(np.ones(structure.cells))
    expected = reference.equilibrium(structure.loads[0], 1e-9)
    assert found.steps > 25 > expected.steps
    np.testing.assert_allclose(found.u, expected.u, rtol=1e-6, atol=1e-8)


BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "nothing": ({}, "give either energy="),
    "two physics": ({"energy": linear, "residual": linear}, "give either energy="),
    "no function": ({"energy": 3.0}, "can be called as energy"),
    "one argument": ({"energy": lambda u: u}, "can be called as energy"),
    "no integral": ({"energy": lambda u, E: E * ufl.inner(u, u)}, "returned a Product; expected an integral"),
    "UFL refuses": ({"energy": lambda u, E: E * ufl.inner(u, ufl.grad(u)) * ufl.dx}, "raised ValueError: Shapes"),
    "no u": ({"energy": lambda u, E: E * ufl.dx}, "does not depend on u"),
    "no E": ({"energy": lambda u, E: ufl.inner(u, u) * ufl.dx}, "does not depend on E"),
    "linear": ({"energy": lambda u, E: E * u[0] * ufl.dx}, "no equilibrium"),
    "other mesh": (
        {"energy": lambda u, E: E * ufl.inner(u, u) * ufl.dx(domain=mesh("triangle", 2, 2))},
        "integrates over another mesh",
    ),
    "no test function": ({"residual": lambda u, E, v: E * ufl.inner(u, u) * ufl.dx}, "with 0 arguments"),
    "v squared": ({"residual": lambda u, E, v: E * ufl.inner(u, v) * v[0] * ufl.dx}, "not linear in the test function"),
    "objective without u": (
        {"energy": linear, "objective": lambda u, E: E * ufl.dx},
        "objective.* does not depend on u",
    ),
    "objective no scalar": ({"energy": linear, "objective": lambda u, E: u}, "returned a Function"),
    "FFCx refuses": (
        {"energy": lambda u, E: E * u[0] ** 2 * ufl.dS},
        "could not compile the energy|must be restricted",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_forms_are_told(case: str) -> None:
    forms, sentence = BROKEN[case]
    with pytest.raises(InputError, match=sentence):
        Forms.of(cantilever("triangle", 4, 2).structure(), **forms)


def test_grids_have_no_forms() -> None:
    with pytest.raises(InputError, match="forms need a mesh"):
        FormProblem(Grid(4, 2).fix("left").load((4, 1), (0, -1)), energy=linear)


def test_signatures_tell_forms_apart() -> None:
    structure, other = cantilever("triangle", 4, 2).structure(), cantilever("triangle", 6, 3).structure()
    assert Forms.of(structure, linear).signature == Forms.of(other, linear).signature
    assert Forms.of(structure, linear).signature != Forms.of(structure, neo_hookean).signature


ON_RANKS = """
import json
import re
import runpy
import numpy as np
from sciopt.core.errors import EvaluationFailed, InputError, SciOptError
from sciopt.topopt import SIMP, Density
from sciopt.topopt.fenicsx.form_problem import FormProblem
from sciopt.topopt.fenicsx.loaded import MPI, dolfinx, ufl
from sciopt.topopt.fenicsx.source import FEniCSx

comm = MPI.COMM_WORLD


def energy(u, E):
    F = ufl.Identity(2) + ufl.grad(u)
    J = ufl.det(F)
    return E * (0.2 * (ufl.inner(F, F) - 2 - 2 * ufl.ln(J)) + 0.3 * ufl.ln(J) ** 2) * ufl.dx


def norm(u, E):
    return E**2 * ufl.inner(ufl.sym(ufl.grad(u)), ufl.sym(ufl.grad(u))) ** 2 * ufl.dx


mesh = dolfinx.mesh.create_rectangle(comm, [(0, 0), (8, 4)], (8, 4))
source = FEniCSx(mesh).fix("left").load("right", (0, -0.05)).void(lambda x, y: (x > 4) & (x < 7) & (y < 1))
found = []
for solver in ("direct", "multigrid"):
    options = dict(filter=Density(1.5), material=SIMP(Emin=1e-2), solver=solver, tol=1e-10)
    problem = FormProblem(source, 0.5, energy=energy, objective=norm, **options)
    where = problem.structure.centres[problem.structure.design].sum(axis=1)
    ev = problem.evaluate(0.5 + 0.3 * np.sin(where))
    slope = problem.structure.total(float(ev.force @ np.cos(where)))
    found.append([ev.value, slope, problem.forms.signature])
failed = 0
try:
    explosive = FormProblem(source, 0.5, energy=lambda u, E: energy(u, E) - 5 * ufl.exp(ufl.inner(u, u)) * ufl.dx)
    explosive.evaluate(0 * where)
except EvaluationFailed:
    failed += 1
try:
    FormProblem(source, 0.5, energy=lambda u, E: E * u[0] ** 2 * ufl.dS)
except InputError as error:
    failed += "must be restricted" in str(error)
failed = comm.allreduce(failed)
if comm.rank == 0:
    print(json.dumps([found, failed]))
"""


def test_answers_and_failures_are_the_same_on_ranks(
    mpi: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    exec(ON_RANKS, {})
    one, failed = json.loads(capsys.readouterr().out.splitlines()[-1])
    two, failed_on_two = json.loads(mpi(ON_RANKS, 2).splitlines()[-1])
    assert (failed, failed_on_two) == (2, 4)
    for expected, found in zip(one, two, strict=True):
        assert found[:2] == pytest.approx(expected[:2], rel=1e-8)
        assert found[2] == expected[2]


NO_COMPILER = """
from sciopt.core.errors import SciOptError
from sciopt.topopt.fenicsx.forms import Forms
from sciopt.topopt.fenicsx.loaded import MPI, dolfinx, ufl
from sciopt.topopt.fenicsx.source import FEniCSx

mesh = dolfinx.mesh.create_rectangle(MPI.COMM_WORLD, [(0, 0), (4, 2)], (4, 2))
structure = FEniCSx(mesh, physics="heat").fix("left").source("all", 1.0).structure()
told = 0
try:
    Forms.of(structure, lambda u, E: E * u**2 * ufl.dx)
except SciOptError as error:
    told, sentence = 1, error
if MPI.COMM_WORLD.allreduce(told) == MPI.COMM_WORLD.size and MPI.COMM_WORLD.rank == 0:
    print(sentence)
"""


def test_without_a_compiler_it_is_said_what_to_install(
    mpi: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    assert "is not on the PATH; install one, for example with apt install gcc" in mpi(NO_COMPILER, 2)


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setitem(dolfinx.jit.DOLFINX_DEFAULT_JIT_OPTIONS, "cache_dir", (tmp_path / "file" / "fenics", ""))
    with pytest.raises(SciOptError, match=r"which cannot be written \(Not a directory\); set XDG_CACHE_HOME"):
        Forms.of(cantilever("triangle", 4, 2).structure(), linear)


def test_loads_may_be_part_of_the_energy() -> None:
    bare = FEniCSx(mesh("triangle", 8, 6), physics="heat").fix("left")
    heated = problem(
        bare, energy=lambda u, E: conduction(u, E) - u / 48 * ufl.dx, objective=lambda u, E: u / 48 * ufl.dx
    )
    x, expected = heated.start(), problem(plate(), energy=conduction)
    assert heated.evaluate(x).value == pytest.approx(expected.evaluate(x).value, rel=1e-6)
    with pytest.raises(InputError, match="without loads there is no compliance"):
        problem(bare, energy=conduction)


def test_the_example_bends(capsys: pytest.CaptureFixture[str]) -> None:
    example = Path(__file__).parents[3] / "examples" / "fenicsx_own_energy.py"
    results = runpy.run_path(str(example))["main"](24)
    told = dict(re.findall(r"designed for (\w+) *: compliance of the rubber ([\d.]+)", capsys.readouterr().out))
    assert float(told["rubber"]) == pytest.approx(results["rubber"].compliance, rel=1e-3)
    assert float(told["rubber"]) < 0.95 * float(told["linear"])
    assert all(result.converged and result.volume == pytest.approx(0.5, abs=1e-6) for result in results.values())
