"""`optimize_topology`: published compliances, every method on a beam, budgets, interruptions, resuming, bad input."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sciopt.core import Budget, EvaluationFailed, InputError, Plateau, RestartMismatch
from sciopt.problems.topology import topology_problem
from sciopt.topopt import (
    DESIGN_METHODS,
    Compliance,
    Density,
    DesignResult,
    Grid,
    Mechanism,
    MinimumVolume,
    Projection,
    Sensitivity,
    Visit,
    optimize_topology,
)
from sciopt.topopt.coarse_to_fine import grids
from sciopt.topopt.regions import Block

FILES = {"summary.json", "log.csv", "design.npz", "design.png", "design.vti", "design.stl", "convergence.png"}


def small(**options: Any) -> Compliance:
    return Compliance(Grid(32, 16).fix("left").load((32, 8), (0, -1)), 0.4, **{"filter": Density(2.0)} | options)


@pytest.mark.parametrize(
    ("filter", "published", "close"),
    [
        # Andreassen et al. 2011, doi 10.1007/s00158-010-0594-7, table 2: 60 x 20, rmin 2.4.
        (Density(2.4), 233.71, 5e-5),
        # That filter has no objective of its own: where the iteration ends depends on the bisection for the multiplier.
        (Sensitivity(2.4), 216.81, 5e-4),
    ],
    ids=["density", "sensitivity"],
)
def test_optimality_criteria_reproduce_the_published_beam(filter: Any, published: float, close: float) -> None:
    beam = topology_problem("mbb", nx=60, filter=filter, tol=1e-8)
    result = optimize_topology(beam, "oc", stop="change", max_solves=400)
    assert result.converged and result.reason.kind == "still"
    assert result.compliance == pytest.approx(published, rel=close)


# Share above the best of them that a method may end at after 120 solves: MMA and its like are within a few tenths of a
# percent; rules made for other domains work, but are not made for this.
FAR = {"rmsprop": 0.08, "adam": 0.04, "amsgrad": 0.04, "adamw": 0.04, "adabelief": 0.04, "lbfgs": 0.08}
FAR |= {"gradient-descent": 0.2, "momentum": 0.04, "nesterov": 0.04, "fire": 0.02, "oc": 0.02}


@pytest.mark.parametrize("method", ["auto", *DESIGN_METHODS])
def test_every_method_works_on_a_beam(method: str) -> None:
    result = optimize_topology(topology_problem("mbb", nx=60), method, max_solves=120)
    assert result.objective < 232.7 * (1.0 + FAR.get(method, 0.01))
    assert result.volume <= 0.5 * (1 + 1e-9)
    assert result.calls["equivalents"] <= 121


def test_the_default_needs_few_fine_solves() -> None:
    """Counted by the problem, not by us."""
    problem = topology_problem("cant", nx=80)
    fine = 0

    def count(visit: Visit) -> None:
        nonlocal fine
        fine += visit.problem.size == problem.size

    reference = optimize_topology(problem, "mma", max_solves=120).objective
    result = optimize_topology(problem, stop=Plateau(2e-3, 5), callback=count)
    assert fine <= 20 and result.calls["equivalents"] < 32
    assert result.objective < 1.005 * reference


def test_symmetric_problems_get_symmetric_designs() -> None:
    result = optimize_topology(small(solver="direct"), max_solves=40)
    assert np.abs(result.density - result.density[:, ::-1]).max() < 1e-6


def test_symmetry_can_be_demanded() -> None:
    problem = Compliance(Grid(24, 16).fix("left").load((24, 4), (0, -1)), 0.4, filter=Density(2.0), symmetry=("y",))
    density = optimize_topology(problem, max_solves=30).density
    assert np.array_equal(density, density[:, ::-1])


def test_projected_designs_are_black_and_white_and_keep_the_volume() -> None:
    result = optimize_topology(small(projection=Projection(32.0)), max_solves=120)
    assert result.greyness < 0.05
    assert result.volume == pytest.approx(0.4, rel=1e-9)
    assert {record.beta for record in result.records} == {0.0, 4.0, 16.0, 32.0}


def test_robust_designs_are_worth_more_when_eroded() -> None:
    projection = Projection(32.0, 0.2)
    plain = optimize_topology(small(projection=Projection(32.0)), max_solves=120)
    robust = optimize_topology(small(projection=projection), max_solves=120)
    judge = small(projection=projection)
    assert judge.evaluate(robust.x).value < judge.evaluate(plain.x).value


@pytest.mark.parametrize("method", ["auto", "mma", "gcmma"])
def test_the_compliance_limit_is_held_and_used(method: str) -> None:
    limit = 1.02 * optimize_topology(small(), max_solves=60).compliance
    problem = MinimumVolume(small().structure, limit, filter=Density(2.0))
    result = optimize_topology(problem, method, max_solves=100)
    assert result.compliance == pytest.approx(limit, rel=2e-3)
    # At 0.4 of the volume the compliance can be 2 % lower, so less must do.
    assert 0.37 < result.volume < 0.405


def test_mechanisms_move_the_right_way() -> None:
    result = optimize_topology(topology_problem("inv", nx=48), max_solves=40)
    assert result.objective < -0.7
    assert isinstance(result.problem, Mechanism)


def test_volume_one_leaves_nothing_to_decide() -> None:
    result = optimize_topology(Compliance(Grid(12, 6).fix("left").load((12, 3), (0, -1)), 1.0), max_solves=20)
    assert result.density.min() == pytest.approx(1.0)


@pytest.mark.parametrize("size", [(3, 3), (5, 2), (7, 4)])
def test_tiny_grids_do_not_need_coarser_ones(size: tuple[int, int]) -> None:
    nx, ny = size
    problem = Compliance(Grid(nx, ny).fix("left").load((nx, 0), (0, -1)), 0.5)
    result = optimize_topology(problem, max_solves=40)
    assert result.objective <= problem.evaluate(problem.start()).value


def test_large_problems_get_more_grids() -> None:
    shapes = [at.structure.shape for at in grids(topology_problem("mbb", nx=600))]
    assert shapes == [(600, 200), (300, 100), (150, 50), (75, 25)]


def same_records(first: DesignResult, second: DesignResult) -> None:
    strip = [record._replace(seconds=0.0) for record in first.records]
    assert strip == [record._replace(seconds=0.0) for record in second.records]


@pytest.mark.parametrize("method", ["auto", "mma"])
@pytest.mark.parametrize("cut", [1, 7, 30, 45])
def test_an_interrupted_task_resumed_is_the_whole_task(tmp_path: Path, method: str, cut: int) -> None:
    def interrupt(visit: Visit) -> None:
        if visit.record.evaluation == cut:
            raise KeyboardInterrupt

    problem = small(solver="direct")
    whole = optimize_topology(problem, method, max_solves=25, out=tmp_path / "whole")
    first = optimize_topology(small(solver="direct"), method, max_solves=25, out=tmp_path / "cut", callback=interrupt)
    if cut < len(whole.records):
        assert not first.converged and first.reason.kind == "interrupted"
    (tmp_path / "cut" / "summary.json").unlink()
    again = optimize_topology(small(solver="direct"), method, max_solves=25, out=tmp_path / "cut", resume=True)
    assert np.array_equal(again.x, whole.x)
    same_records(again, whole)
    with open(tmp_path / "cut" / "log.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == len(whole.records)


def feet(nx: int, nz: int) -> list[Block]:
    return [Block((x, 0, z), (x + 2, 0, z + 2)) for x in (0, nx - 2) for z in (0, nz - 2)]


# What the coarsest grid is used for: the best linear material; nothing; nothing, because a solid skin is thick on it.
SPATIAL = {
    "bar": (Grid(24, 12, 12).fix("left").load("right bottom", (0, -1, 0)), 0.25),
    "plate": (Grid(16, 12, 16).fix(feet(16, 16)).load("top", (0, -1, 0)), 0.15),
    "skin": (Grid(16, 12, 12).solid("top").fix("left").load("right top", (0, -1, 0)), 0.3),
}


@pytest.mark.parametrize("name", SPATIAL)
def test_tasks_in_space_are_resumed_whatever_the_coarse_grids_hold(tmp_path: Path, name: str) -> None:
    def interrupt(visit: Visit) -> None:
        if visit.record.equivalents > 1.5:
            raise KeyboardInterrupt

    def problem() -> Compliance:
        grid, volume = SPATIAL[name]
        return Compliance(grid, volume, filter=Density(1.5), solver="direct")

    whole = optimize_topology(problem(), max_solves=3, out=tmp_path / "whole")
    optimize_topology(problem(), max_solves=3, out=tmp_path / "cut", callback=interrupt)
    (tmp_path / "cut" / "summary.json").unlink()
    again = optimize_topology(problem(), max_solves=3, out=tmp_path / "cut", resume=True)
    assert np.array_equal(again.x, whole.x)
    same_records(again, whole)
    # The last run on a coarse grid has half of the penalty: it does not hold members.
    penalties = [record.penalty for record in whole.records if record.elements < problem().structure.design.size]
    assert penalties[-1] == 0.5


def test_a_finished_task_resumed_costs_nothing(tmp_path: Path) -> None:
    calls = 0

    def count(visit: Visit) -> None:
        nonlocal calls
        calls += 1

    whole = optimize_topology(small(), max_solves=20, out=tmp_path)
    again = optimize_topology(small(), max_solves=20, out=tmp_path, resume=True, callback=count)
    assert calls == 0
    assert np.array_equal(again.x, whole.x)


def test_a_task_can_be_given_more_solves(tmp_path: Path) -> None:
    first = optimize_topology(small(), "oc", max_solves=10, out=tmp_path)
    more = optimize_topology(small(), "oc", max_solves=20, out=tmp_path, resume=True)
    assert (first.calls["equivalents"], more.calls["equivalents"]) == (10.0, 20.0)
    assert more.objective < first.objective


def test_the_run_folder_holds_what_was_promised(tmp_path: Path) -> None:
    result = optimize_topology(small(), max_solves=12, out=tmp_path, iterations=True)
    assert {file.name for file in tmp_path.iterdir()} >= FILES
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["objective"] == result.objective and summary["converged"] is False
    assert summary["calls"]["equivalents"] == result.calls["equivalents"]
    assert {"numpy", "numba", "sciopt"} <= set(summary["versions"])
    assert list((tmp_path / "iterations").glob("*.npz"))
    with np.load(tmp_path / "design.npz") as stored:
        assert np.array_equal(stored["density"], result.density)


def test_another_problem_is_not_resumed(tmp_path: Path) -> None:
    optimize_topology(small(), max_solves=5, out=tmp_path)
    with pytest.raises(RestartMismatch, match="use the same settings"):
        optimize_topology(small(filter=Density(3.0)), max_solves=5, out=tmp_path, resume=True)


def test_a_folder_with_a_run_is_not_overwritten(tmp_path: Path) -> None:
    optimize_topology(small(), max_solves=5, out=tmp_path)
    before = (tmp_path / "log.csv").read_bytes()
    with pytest.raises(InputError, match="already holds a run"):
        optimize_topology(small(), max_solves=5, out=tmp_path)
    assert (tmp_path / "log.csv").read_bytes() == before


def test_observers_can_end_a_task_on_any_grid() -> None:
    def stop(visit: Visit) -> None:
        if visit.record.evaluation == 3:
            raise StopIteration("that will do")

    result = optimize_topology(small(), callback=stop)
    assert str(result.reason) == "that will do" and not result.converged
    assert result.density.shape == (32, 16)


def test_failed_solves_are_survived_and_paid_for() -> None:
    class Fragile(Compliance):
        calls = 0

        def evaluate(self, x: np.ndarray) -> Any:
            self.calls += 1
            if self.calls in (4, 9):
                raise EvaluationFailed("the equations could not be solved")
            return super().evaluate(x)

    problem = Fragile(Grid(32, 16).fix("left").load((32, 8), (0, -1)), 0.4, filter=Density(2.0))
    result = optimize_topology(problem, "quasi-newton", max_solves=20)
    assert len(result.records) == problem.calls - 2
    assert result.calls["solves"] == len(result.records) + 2
    assert result.objective < 0.25 * result.records[0].objective


def test_starts_are_taken_up() -> None:
    problem = small()
    start = np.full((32, 16), 0.1)
    start[:, :6] = 0.9
    seen: list[float] = []
    optimize_topology(problem, "oc", start=start, stop=Budget(1), callback=lambda v: seen.append(v.record.objective))
    x = problem.space.project(start.T.ravel(), 0.0, 1.0)
    assert seen[0] == pytest.approx(problem.evaluate(x).value, rel=1e-5)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"method": "magic"}, "unknown method 'magic'"),
        ({"stop": "never"}, "unknown stop 'never'"),
        ({"max_solves": 0}, "max_solves is 0"),
        ({"start": np.zeros((3, 3))}, r"start has shape \(3, 3\)"),
        ({"start": np.full((32, 16), np.nan)}, "not finite"),
        ({"method": "oc", "mvoe": 0.1}, "no option 'mvoe'"),
    ],
)
def test_bad_arguments_get_one_sentence(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        optimize_topology(small(), **options)


def test_a_final_design_that_cannot_be_solved_tightly_is_kept_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    grid = Grid(12, 6).fix("left").load((12, 3), (0, -1))
    problem = Compliance(grid, 0.4, tol=1e-4)
    solve = type(problem.system).solve

    def rough(self: Any, E: Any, loads: Any, tol: float = 1e-5, guess: Any = None) -> Any:
        if tol < 1e-6:
            raise EvaluationFailed("a residual of 1e-6 is all there is")
        return solve(self, E, loads, tol, guess)

    monkeypatch.setattr(type(problem.system), "solve", rough)
    result = optimize_topology(problem, "oc", max_solves=6)
    assert result.objective == pytest.approx(min(record.objective for record in result.records), rel=1e-3)
    assert result.warnings[0].startswith(
        "the objective of the final design is known only to the tolerance of the run, 0.0001: a"
    )
