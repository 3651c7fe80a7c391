"""The benchmark must not be fooled: what it counts and claims, recounted and recalculated by other means."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from ase.mep.neb import NEB

import sciopt.bench.paths as paths
from sciopt.bench.overhead import _Egg, overhead
from sciopt.bench.paths import Outcome, Start, benchmark, judge, run_one, starts
from sciopt.bench.table import path_table, ratios, summary_lines

NAME = "au_al100_hop"


@pytest.fixture(scope="module")
def start() -> Start:
    return next(starts(NAME, 1))


class Counting:
    """A factory that counts every call of its calculators, and can break the calls after some number."""

    def __init__(self, factory: Callable[[], Any], breaks_after: float = math.inf) -> None:
        self.factory = factory
        self.breaks_after = breaks_after
        self.calls = 0

    def __call__(self) -> Any:
        calculator = self.factory()
        calculate = calculator.calculate

        def counted(*args: Any, **kwargs: Any) -> None:
            self.calls += 1
            if self.calls > self.breaks_after:
                raise RuntimeError("the cluster is on fire")
            calculate(*args, **kwargs)

        calculator.calculate = counted
        return calculator


def with_problem(start: Start, **changes: Any) -> Start:
    return replace(start, problem=replace(start.problem, **changes))


@pytest.mark.parametrize("which", [NAME, "muller_brown"])
def test_bands_are_judged_as_ase_would(which: str) -> None:
    for start in starts(which, 2):
        images = [start.coordinates.atoms(x) for x in start.X]
        for atoms in images:
            atoms.calc = start.problem.calculator()
        forces = NEB(images, k=0.1, climb=True, method="improvedtangent").get_forces()
        energies = [atoms.get_potential_energy() for atoms in images]
        barrier, fmax = judge(start, start.X)
        assert barrier == pytest.approx(max(energies) - energies[0], abs=1e-9)
        assert fmax == pytest.approx(np.linalg.norm(forces, axis=1).max(), rel=1e-6)
        assert fmax > 0.05


@pytest.mark.parametrize("method", ["auto", "lbfgs", "ase-lbfgs", "ase-ode"])
def test_every_call_is_counted(method: str, start: Start) -> None:
    counting = Counting(start.problem.calculator)
    outcome = run_one(with_problem(start, calculator=counting), method)
    judged, at_the_ends = len(start.X), 2
    assert outcome.success, outcome.note
    assert outcome.calls == counting.calls - judged - at_the_ends
    assert outcome.calls >= len(start.X) - 2
    assert outcome.fmax < 0.0501 and abs(outcome.barrier_error) < 0.010
    assert 0.0 < outcome.cpu_ms < 10_000.0
    assert (outcome.problem, outcome.seed, outcome.method, outcome.tuned) == (NAME, 0, method, start.problem.tuned)


def claiming(X: np.ndarray, claimed: bool = True) -> Callable[..., tuple[np.ndarray, bool, str, int]]:
    return lambda *_: (X, claimed, "so it says", 1)


def test_a_claim_is_not_a_success(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "_run_sciopt", claiming(start.X))
    outcome = run_one(start, "auto")
    assert outcome.claimed and not outcome.success
    assert outcome.fmax > 0.05


def test_success_needs_barrier_and_force_and_the_claim(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    found = paths.find_path(
        start.problem.initial, start.problem.final, start.problem.calculator, images=len(start.X) - 2, path=start.X
    )
    monkeypatch.setattr(paths, "_run_sciopt", claiming(found.X))
    assert run_one(start, "auto").success
    for wrong in (-0.02, 0.02):
        outcome = run_one(with_problem(start, barrier=start.problem.barrier + wrong), "auto")
        assert outcome.claimed and not outcome.success
        assert outcome.barrier_error == pytest.approx(found.barrier - start.problem.barrier - wrong, abs=1e-6)
        assert outcome.fmax < 0.05
    # Sliding the other images along the path keeps the saddle, not the springs' balance.
    uneven = found.X.copy()
    assert found.climbing is not None
    beside = 1 if found.climbing != 0 else len(uneven) - 2
    uneven[beside] = 0.05 * uneven[beside] + 0.95 * uneven[0 if beside == 1 else -1]
    uneven[beside, -1] += 0.1
    monkeypatch.setattr(paths, "_run_sciopt", claiming(uneven))
    outcome = run_one(start, "auto")
    assert abs(outcome.barrier_error) < 0.010 and outcome.fmax > 0.05 and not outcome.success
    monkeypatch.setattr(paths, "_run_sciopt", claiming(found.X, claimed=False))
    assert not run_one(start, "auto").success


@pytest.mark.parametrize("method", ["auto", "ase-fire"])
@pytest.mark.parametrize("after", [0, 12])
def test_what_breaks_is_a_failure_with_its_reason(method: str, after: int, start: Start) -> None:
    outcome = run_one(with_problem(start, calculator=Counting(start.problem.calculator, after)), method)
    assert not outcome.success and not outcome.claimed
    assert outcome.calls >= 0
    assert math.isnan(outcome.barrier_error) or outcome.fmax > 0.05
    if after == 0:
        assert "on fire" in outcome.note


def test_unusable_bands_are_failures(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "_run_sciopt", claiming(np.full_like(start.X, np.nan)))
    outcome = run_one(start, "auto")
    assert not outcome.success and "cannot be recalculated" in outcome.note


def test_a_budget_that_is_too_small_is_a_failure(start: Start) -> None:
    movable = len(start.X) - 2
    for method in ("auto", "ase-fire"):
        outcome = run_one(start, method, max_calls=2 * movable)
        assert not outcome.success and not outcome.claimed
        assert outcome.calls <= 3 * movable


def test_starts_are_the_same_every_time_and_differ_from_each_other() -> None:
    first, again = list(starts(NAME, 3)), list(starts(NAME, 3))
    assert [start.seed for start in first] == [0, 1, 2]
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.X, other.X)
    for one, other in itertools.combinations(first, 2):
        np.testing.assert_array_equal(one.X[[0, -1]], other.X[[0, -1]])
        apart = np.sqrt(((one.X - other.X)[1:-1] ** 2).mean())
        assert 0.005 < apart < 0.3
    coordinates, problem = first[0].coordinates, first[0].problem
    for end, atoms in ((0, problem.initial), (-1, problem.final)):
        np.testing.assert_allclose(coordinates.positions(first[0].X[end]), atoms.positions, atol=1e-6)
    # More starts do not change the earlier ones.
    np.testing.assert_array_equal(next(itertools.islice(starts(NAME, 5), 2, 3)).X, first[2].X)


def test_perturbed_starts_of_molecules_are_not_turned() -> None:
    straight, bent = starts("hcn_hnc", 2)
    centres = [start.X.reshape(len(start.X), -1, 3).mean(axis=1) for start in (straight, bent)]
    np.testing.assert_allclose(*centres, atol=1e-8)


def test_all_outcomes_in_order() -> None:
    outcomes = list(benchmark(["muller_brown"], ["auto", "lbfgs"], count=2))
    assert [(o.seed, o.method) for o in outcomes] == [(0, "auto"), (0, "lbfgs"), (1, "auto"), (1, "lbfgs")]
    assert all(o.success for o in outcomes)


def outcome(problem: str, seed: int, method: str, calls: int, success: bool = True, **more: Any) -> Outcome:
    values = {"tuned": True, "claimed": success, "barrier_error": 0.0, "fmax": 0.01, "cpu_ms": 1.0, "note": ""}
    return Outcome(problem=problem, seed=seed, method=method, calls=calls, success=success, **{**values, **more})


SYNTHETIC = [
    outcome("a", 0, "ours", 10),
    outcome("a", 0, "ase-x", 20),
    outcome("a", 1, "ours", 20),
    outcome("a", 1, "ase-x", 10),
    outcome("a", 2, "ours", 1),
    outcome("a", 2, "ase-x", 1000, success=False, claimed=True),
    outcome("b", 0, "ours", 30, tuned=False),
    outcome("b", 0, "ase-x", 120, tuned=False),
    outcome("b", 0, "ase-y", 60, tuned=False),
    outcome("c", 0, "ours", 5, success=False, tuned=False),
    outcome("c", 0, "ase-x", 50, tuned=False),
]


def test_ratios_pair_only_starts_on_which_both_succeed() -> None:
    # a: sqrt(10/20 * 20/10) = 1; its third start and problem c have no pair.
    assert ratios(SYNTHETIC, "ours", "ase-x") == pytest.approx({"a": 1.0, "b": 0.25})
    assert ratios(SYNTHETIC, "ase-x", "ours") == pytest.approx({"a": 1.0, "b": 4.0})
    assert ratios(SYNTHETIC, "ours", "ase-y") == pytest.approx({"b": 0.5})
    assert ratios(SYNTHETIC, "ours", "nobody") == {}


def test_tables_show_medians_successes_and_what_is_unseen() -> None:
    header, *rows = path_table(SYNTHETIC)
    assert header.split() == ["problem", "unseen", "ours", "ase-x", "ase-y"]
    assert [row.split() for row in rows] == [
        ["a", "10", "(3/3)", "15", "(2/3)", "-", "(0/0)"],
        ["b", "*", "30", "(1/1)", "120", "(1/1)", "60", "(1/1)"],
        ["c", "*", "-", "(0/1)", "50", "(1/1)", "-", "(0/0)"],
    ]
    assert len({len(line) for line in (header, *rows)}) == 1


def test_summaries_of_all_and_of_unseen_problems() -> None:
    lines = list(summary_lines(SYNTHETIC, "ours"))
    whole, unseen = (i for i, line in enumerate(lines) if not line.startswith(" "))
    assert "3 problems" in lines[whole] and "2 problems" in lines[unseen]

    def of(method: str, begin: int) -> str:
        return next(line for line in lines[begin:] if line.split()[0] == method and "succeeded" in line)

    assert "4/5" in of("ours", whole) and "false claims   0" in of("ours", whole)
    assert "4/5" in of("ase-x", whole) and "false claims   1" in of("ase-x", whole)
    # The mean over problems, not over starts: sqrt(1 * 1/4).
    assert "ours/ase-x: 0.50 (worst 1.00, a; 2 problems)" in of("ase-x", whole)
    assert "ours/ase-y: 0.50 (worst 0.50, b; 1 problems)" in of("ase-y", whole)
    assert "1/2" in of("ours", unseen)
    assert "ours/ase-x: 0.25 (worst 0.25, b; 1 problems)" in of("ase-x", unseen)
    # Medians: a 10 against 15, b 30 against the better one's 60.
    best = [line for line in lines if "best of ASE" in line]
    assert "at worst 0.67 (a)" in best[0] and "at worst 0.50 (b)" in best[1]


def test_tables_of_nothing_but_failures() -> None:
    failed = [outcome("a", 0, "ours", 10, success=False), outcome("a", 0, "ase-x", 10, success=False)]
    assert "- (0/1)" in list(path_table(failed))[1]
    assert all("nan" not in line for line in summary_lines(failed, "ours"))


def test_the_free_potential_has_true_forces(rng: np.random.Generator) -> None:
    from ase import Atoms

    atoms = Atoms("C4", rng.normal(size=(4, 3)))
    atoms.calc = _Egg(4)
    forces = atoms.get_forces()
    step = 1e-5
    for i, k in ((0, 0), (2, 1), (3, 2)):
        energies = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[i, k] += sign * step
            moved.calc = _Egg(4)
            energies.append(moved.get_potential_energy())
        assert forces[i, k] == pytest.approx((energies[1] - energies[0]) / (2 * step), rel=1e-6, abs=1e-7)


def test_overheads_leave_the_potential_out() -> None:
    costs = list(overhead(("lbfgs", "ase-lbfgs")))
    assert [cost.method for cost in costs] == ["lbfgs", "ase-lbfgs"]
    for cost in costs:
        assert (cost.coordinates, cost.images) == (60, 7)
        assert 0.0 < cost.milliseconds < 1000.0
