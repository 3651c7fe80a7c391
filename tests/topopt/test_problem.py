"""What topology problems answer: gradients against differences, values against other equations, symmetry, bad input."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sciopt.core import InputError, ShapeError
from sciopt.topopt import (
    RAMP,
    SIMP,
    Block,
    Compliance,
    Density,
    Grid,
    Helmholtz,
    Mechanism,
    MinimumVolume,
    Projection,
    Sensitivity,
    ThermalCompliance,
)
from sciopt.topopt.problem import TopologyProblem


def beam(nx: int = 18, ny: int = 9) -> Grid:
    """A cantilever with a deck, a hole and two load cases."""
    return (
        Grid(nx, ny)
        .fix("left")
        .load((nx, 0), (0, -1), case="down")
        .load((nx, ny), (0.5, 0.3), case="up")
        .case_weights([0.7, 0.3])
        .solid(Block((12, 4), (14, 6)))
        .void(Block((4, 3), (7, 6)))
    )


def brick() -> Grid:
    return Grid(8, 4, 4, spacing=(1.0, 0.8, 1.2)).fix("left").load("right bottom", (0, -1, 0.2))


def plate() -> Grid:
    return Grid(16, 16, physics="heat").source("all", 1.0).fix(Block((0, 6), (0, 10)))


def inverter() -> Grid:
    return (
        Grid(20, 10)
        .symmetry("bottom")
        .fix(Block((0, 9), (0, 10)))
        .load((0, 0), (1, 0))
        .spring((0, 0), 0.1, "x")
        .spring((20, 0), 0.1, "x")
        .output((20, 0), "x")
    )


FILTERS = {"density": Density(2.3), "helmholtz": Helmholtz(2.3)}
PROJECTIONS = {"grey": None, "projected": Projection(6.0), "robust": Projection(6.0, 0.15)}
OBJECTIVES: dict[str, Any] = {
    "compliance": lambda **options: Compliance(beam(), 0.5, **options),
    "worst": lambda **options: Compliance(beam(), 0.5, worst=True, **options),
    "solid": lambda **options: Compliance(brick(), 0.4, **options),
    "heat": lambda **options: ThermalCompliance(plate(), 0.4, material=SIMP(Emin=1e-3), **options),
    "mechanism": lambda **options: Mechanism(inverter(), 0.4, **options),
    "minimum volume": lambda **options: MinimumVolume(beam(), 100.0, **options),
}


@pytest.mark.parametrize("projection", PROJECTIONS)
@pytest.mark.parametrize("filter", FILTERS)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_gradients_have_slope_two(objective: str, filter: str, projection: str) -> None:
    problem = OBJECTIVES[objective](filter=FILTERS[filter], projection=PROJECTIONS[projection], solver="direct")
    check = problem.check_gradient()
    assert check.order == pytest.approx(2.0, abs=0.15), check
    assert check.error < 1e-3, check


@pytest.mark.parametrize("material", [SIMP(p=1.0), SIMP(p=4.0), RAMP(q=5.0)])
def test_gradients_of_other_materials(material: Any) -> None:
    check = Compliance(beam(), 0.5, material=material, symmetry=(), solver="direct").check_gradient(seed=3)
    assert check.order == pytest.approx(2.0, abs=0.15), check


def test_gradient_of_a_mirrored_design() -> None:
    check = Compliance(Grid(12, 8).fix("left").load((12, 2), (0, -1)), 0.5, symmetry=("y",)).check_gradient()
    assert check.order == pytest.approx(2.0, abs=0.15), check


def test_the_check_sees_a_wrong_gradient() -> None:
    class Wrong(Compliance):
        def evaluate(self, x: np.ndarray) -> Any:
            from dataclasses import replace

            ev = super().evaluate(x)
            return replace(ev, force=1.01 * ev.force)

    check = Wrong(beam(), 0.5, solver="direct").check_gradient()
    assert check.order < 1.0 or check.error > 1e-3


def test_the_sensitivity_filter_has_no_gradient() -> None:
    with pytest.raises(InputError, match="no function it belongs to"):
        Compliance(beam(), 0.5, filter=Sensitivity(2.0)).check_gradient()


def test_compliance_is_load_times_displacement() -> None:
    """Independently: assemble the matrix and solve with SciPy."""
    from scipy.sparse.linalg import spsolve

    problem = Compliance(beam(), 0.5, filter=Density(2.0))
    x = problem.start()
    structure = problem.structure
    matrix = problem.system.matrix(problem.moduli(problem.field.filtered(x))).tocsc()
    free = np.flatnonzero(~structure.fixed.ravel())
    expected = 0.0
    for weight, load in zip(structure.weights, structure.loads, strict=True):
        f = load.ravel()[free]
        expected += weight * f @ spsolve(matrix[free][:, free], f)
    assert problem.at(tol=1e-10).evaluate(x).value == pytest.approx(expected, rel=1e-9)


def test_an_inexact_solve_has_an_error_of_second_order() -> None:
    problem = Compliance(Grid(48, 24, 24).fix("left").load("right bottom", (0, -1, 0)), 0.3, filter=Density(1.5))
    x = problem.space.project(np.random.default_rng(0).uniform(0, 0.6, problem.size), 0.0, 1.0)
    exact = problem.at(tol=1e-10).evaluate(x).value
    for tol in (1e-2, 1e-3):
        problem._warm.clear()
        assert abs(problem.at(tol=tol).evaluate(x).value / exact - 1.0) < tol**1.5


def test_the_worst_case_is_close_to_the_largest() -> None:
    problem = Compliance(beam(), 0.5, worst=True)
    ev = problem.evaluate(problem.start())
    largest = float((problem.structure.weights * ev.info["cases"]).max())
    assert largest <= ev.value <= largest * 2 ** (1 / 64)


def test_volume_is_what_the_weights_say() -> None:
    """With passive solid, void, filter and projection the physical volume is linear in the variables."""
    problem = Compliance(beam(), 0.5, filter=Density(2.5), projection=Projection(12.0))
    x = problem.space.project(np.random.default_rng(1).uniform(0, 1, problem.size), 0.0, 1.0)
    structure = problem.structure
    density = problem.field.realize(x)[0].density
    filled = structure.material @ structure.full(density) / structure.material.sum()
    assert filled == pytest.approx(0.5, rel=1e-9)
    assert problem.evaluate(x).info["volume"] == pytest.approx(0.5, rel=1e-9)


@given(st.integers(0, 1000))
def test_mirrored_problems_have_mirrored_answers(seed: int) -> None:
    up = Compliance(Grid(10, 6).fix("left").load((10, 6), (0, -1)), 0.5, filter=Density(1.8), solver="direct")
    down = Compliance(Grid(10, 6).fix("left").load((10, 0), (0, 1)), 0.5, filter=Density(1.8), solver="direct")
    x = np.random.default_rng(seed).uniform(0.1, 1, 60)
    flipped = x.reshape(6, 10)[::-1].ravel()
    first, second = up.evaluate(x), down.evaluate(flipped)
    assert first.value == pytest.approx(second.value, rel=1e-9)
    assert np.allclose(first.force.reshape(6, 10)[::-1].ravel(), second.force, rtol=1e-7)


def test_coarser_problems_answer_alike() -> None:
    fine = Compliance(Grid(64, 32).fix("left").load("right", (0, -1)), 0.5, filter=Density(6.0))
    coarse = fine.coarsened()
    assert coarse.volume == fine.volume and coarse.structure.shape == (32, 16)
    assert coarse.evaluate(coarse.start()).value == pytest.approx(fine.evaluate(fine.start()).value, rel=0.02)


def test_softer_materials_and_sharper_projections_share_the_equations() -> None:
    problem = Compliance(beam(), 0.5, projection=Projection(16.0))
    soft = problem.at(penalty=0.0, beta=0.0)
    assert soft.system is problem.system
    assert (soft.penalty, soft.beta, problem.penalty, problem.beta) == (0.0, 0.0, 1.0, 16.0)
    assert soft.at(penalty=1.0, beta=16.0).evaluate(problem.start()).value == pytest.approx(
        problem.evaluate(problem.start()).value, rel=1e-4
    )


BAD: list[tuple[str, Any, str]] = [
    ("volume", lambda: Compliance(beam(), 0.0), "volume is 0.0; expected a fraction in (0, 1]"),
    ("volume", lambda: Compliance(beam(), 1.2), "volume is 1.2"),
    ("volume", lambda: Compliance(beam(), float("nan")), "volume is nan"),
    ("solid", lambda: Compliance(beam(), 0.01), "the passive solid alone fills"),
    ("radius", lambda: Compliance(beam(), 0.5, filter=Density(-1.0)), "radius"),
    ("tol", lambda: Compliance(beam(), 0.5, tol=0.0), "tol is 0.0"),
    ("solver", lambda: Compliance(beam(), 0.5, solver="magic"), "solver"),
    ("symmetry", lambda: Compliance(beam(), 0.5, symmetry=("z",)), "axis 'z' does not exist"),
    ("symmetry", lambda: Compliance(beam(), 0.5, symmetry=("x",)), "not symmetric"),
    ("beta", lambda: Projection(-1.0), "beta is -1.0"),
    ("robust", lambda: Projection(8.0, 0.6), "robust is 0.6"),
    ("output", lambda: Mechanism(beam(), 0.5), "needs an output"),
    ("heat", lambda: ThermalCompliance(beam(), 0.5), 'physics="heat"'),
    ("limit", lambda: MinimumVolume(beam(), 0.0), "limit is 0.0"),
    ("support", lambda: Compliance(Grid(8, 4).load((8, 2), (0, -1)), 0.5), "support"),
    (
        "floating",
        lambda: Compliance(Grid(9, 3).fix("left").load("right", (0, -1)).void(Block((4, 0), (5, 3))), 0.5),
        "is loaded but not held",
    ),
]


@pytest.mark.parametrize(("name", "build", "sentence"), BAD, ids=[f"{name}-{i}" for i, (name, _, _) in enumerate(BAD)])
def test_bad_input_gets_one_sentence(name: str, build: Any, sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        build()
    message = str(caught.value)
    assert sentence in message and "\n" not in message


def test_a_design_of_the_wrong_size_is_refused() -> None:
    problem = Compliance(beam(), 0.5)
    with pytest.raises(ShapeError, match=r"the problem has \d+ design elements"):
        problem.evaluate(np.ones(7))


def test_subclasses_must_say_what_is_minimized() -> None:
    problem = TopologyProblem(beam(), 0.5)
    with pytest.raises(NotImplementedError):
        problem.evaluate(problem.start())
