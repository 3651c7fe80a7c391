"""The benchmark must not be fooled: what it counts and claims, recounted and recalculated by other means."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from ase.mep.neb import NEB

import sciopt.bench.paths as paths
from sciopt.bench.overhead import _Egg, overhead
from sciopt.bench.path_methods import METHODS
from sciopt.bench.paths import (
    Left,
    Outcome,
    Start,
    applicable,
    benchmark,
    claim_of,
    judge,
    judge_saddle,
    run_one,
    starts,
)
from sciopt.bench.table import failure_lines, path_table, ratios, summary_lines
from sciopt.problems import path_problem

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
    assert outcome.cpu_seconds == pytest.approx(1e-3 * outcome.cpu_ms * outcome.rounds)
    # Images that came to rest are not evaluated again.
    assert outcome.rounds == math.ceil(outcome.calls / judged_movable(start))
    assert outcome.coordinates == start.X.shape[1] == 15
    assert (outcome.claim, outcome.prior_calls, outcome.fallback) == ("strict", 0, False)
    assert (outcome.problem, outcome.seed, outcome.method, outcome.tuned) == (NAME, 0, method, start.problem.tuned)


def judged_movable(start: Start) -> int:
    return len(start.X) - 2


def claiming(X: np.ndarray, claim: str = "strict", climbing: int | None = None) -> Callable[..., Left]:
    return lambda *_: Left(X, claim, "so it says", 1, climbing)


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
    monkeypatch.setattr(paths, "_run_sciopt", claiming(found.X, claim=""))
    assert not run_one(start, "auto").success


def raised(X: np.ndarray, image: int, way: float) -> np.ndarray:
    """`X` with one image moved across the path."""
    along = X[image + 1] - X[image - 1]
    across = np.eye(len(along))[-1]
    across -= across @ along / (along @ along) * along
    moved = X.copy()
    moved[image] += way * across / np.linalg.norm(across)
    return moved


def test_tolerances_go_by_the_claim(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    found = paths.find_path(
        start.problem.initial, start.problem.final, start.problem.calculator, images=len(start.X) - 2, path=start.X
    )
    assert found.climbing is not None
    top = found.climbing + 1
    beside = top + 1
    # Between 0.0501 and 0.055 eV/Å: enough for a model's word, not for forces that were evaluated.
    low, high = 0.0, 0.2
    while not 0.0505 < judge(start, raised(found.X, beside, low))[1] < 0.0545:
        middle = (low + high) / 2
        low, high = (middle, high) if judge(start, raised(found.X, beside, middle))[1] < 0.0525 else (low, middle)
        assert high - low > 1e-9
    for claim, success in (("band", True), ("strict", False), ("saddle", True), ("", False)):
        monkeypatch.setattr(paths, "_run_sciopt", claiming(raised(found.X, beside, low), claim, found.climbing))
        outcome = run_one(start, "auto")
        assert (outcome.success, outcome.claim) == (success, claim)
        assert not outcome.false_certificate and not outcome.wrong_barrier
    # A saddle is judged by the true force on the climbing image alone.
    monkeypatch.setattr(paths, "_run_sciopt", claiming(raised(found.X, beside, 0.3), "saddle", found.climbing))
    outcome = run_one(start, "auto")
    assert outcome.success and outcome.fmax == pytest.approx(found.fmax_climbing, rel=1e-3)
    for way, climbing in ((0.2, found.climbing), (0.0, found.climbing + 1), (0.0, None)):
        monkeypatch.setattr(paths, "_run_sciopt", claiming(raised(found.X, top, way), "saddle", climbing))
        outcome = run_one(start, "auto")
        assert outcome.claimed and not outcome.success and outcome.false_certificate
    # Wrong barriers and false certificates are not the same mistake.
    monkeypatch.setattr(paths, "_run_sciopt", claiming(found.X, "band", found.climbing))
    outcome = run_one(with_problem(start, barrier=start.problem.barrier + 0.02), "auto")
    assert outcome.wrong_barrier and not outcome.false_certificate and not outcome.success
    monkeypatch.setattr(paths, "_run_sciopt", claiming(raised(found.X, beside, 0.3), "band", found.climbing))
    outcome = run_one(start, "auto")
    assert outcome.false_certificate and not outcome.wrong_barrier and not outcome.success


def test_saddles_are_judged_by_the_true_force(start: Start) -> None:
    climbing = 2
    atoms = start.coordinates.atoms(start.X[climbing + 1])
    ends = start.coordinates.atoms(start.X[0])
    atoms.calc, ends.calc = start.problem.calculator(), start.problem.calculator()
    height, force = judge_saddle(start, Left(start.X, "saddle", "", 1, climbing))
    assert height == pytest.approx(atoms.get_potential_energy() - ends.get_potential_energy(), abs=1e-9)
    assert force == pytest.approx(np.linalg.norm(atoms.get_forces(), axis=1).max(), rel=1e-6)


def test_claims_are_those_of_the_search() -> None:
    def found(converged: bool, fmax: float, certify: str = "band", errors: Any = None) -> Any:
        return SimpleNamespace(converged=converged, fmax=fmax, parameters={"certify": certify}, energy_errors=errors)

    assert claim_of(found(False, 0.3)) == ""
    assert claim_of(found(True, 0.04)) == "strict"
    assert claim_of(found(True, 0.3, "saddle")) == "saddle"
    # The fallback converged the band.
    assert claim_of(found(True, 0.04, "saddle")) == "strict"
    for certify in ("saddle", "band", "strict"):
        assert claim_of(found(True, 0.04, certify, np.zeros(7))) == certify
        assert claim_of(found(False, 0.04, certify, np.zeros(7))) == ""


@pytest.mark.parametrize("method", ["gp", "gp-saddle", "gp-strict", "gp-4"])
def test_the_gaussian_process_is_counted_and_judged(method: str, start: Start) -> None:
    counting = Counting(start.problem.calculator)
    outcome = run_one(with_problem(start, calculator=counting), method)
    assert outcome.success, outcome.note
    assert outcome.claim == {"gp-saddle": "saddle", "gp-strict": "strict"}.get(method, "band")
    judged = 2 if outcome.claim == "saddle" else len(start.X)
    assert outcome.calls == counting.calls - judged - 2
    assert outcome.calls < 4 * judged_movable(start) and not outcome.fallback
    # Two images at first, then one or up to four at a time.
    if method == "gp-4":
        assert outcome.rounds < outcome.calls <= 4 * outcome.rounds
    else:
        assert outcome.rounds == outcome.calls - 1


def test_saddle_searches_are_counted_with_their_checks(start: Start) -> None:
    counting = Counting(start.problem.calculator)
    outcome = run_one(with_problem(start, calculator=counting), "auto-saddle")
    assert outcome.success and outcome.claim in ("saddle", "strict")
    judged = 2 if outcome.claim == "saddle" else len(start.X)
    assert outcome.calls == counting.calls - judged - 2
    assert outcome.calls > outcome.rounds * judged_movable(start)


class FoundBy:
    """Stands in for `find_path`: remembers what it was asked, and uses the prior and the images a little."""

    def __init__(self, **more: Any) -> None:
        self.more = more

    def __call__(self, initial: Any, final: Any, calculator: Any, *, path: np.ndarray, **options: Any) -> Any:
        self.options = options
        calls = {calculator: 4, options.get("prior"): 3}
        for factory, amount in calls.items():
            for k in range(amount if factory is not None else 0):
                atoms = initial.copy()
                atoms.positions[-1] += 0.01 * k
                atoms.calc = factory()
                atoms.get_forces()
        values = {"converged": False, "reason": "", "history": [1, 2], "climbing": None, "energy_errors": None}
        values["method"] = f"{options['method']} (for a reason)"
        return SimpleNamespace(X=path, **{**values, **self.more})


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("gp", {"method": "gp"}),
        ("gp-saddle", {"method": "gp", "certify": "saddle"}),
        ("gp-strict", {"method": "gp", "certify": "strict"}),
        ("gp-4", {"method": "gp", "batch": 4}),
        ("auto", {"method": "auto"}),
        ("lbfgs", {"method": "lbfgs"}),
    ],
)
def test_names_stand_for_arguments(
    method: str, options: dict[str, Any], start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    called = FoundBy()
    monkeypatch.setattr(paths, "find_path", called)
    outcome = run_one(start, method, 77)
    common = {"images": len(start.X) - 2, "spring": 0.1, "fmax": 0.05, "max_calls": 77}
    assert called.options == {**common, **options}
    assert (outcome.calls, outcome.prior_calls, outcome.rounds) == (2, 0, 2)
    # What ends without errors of a surrogate has not been its work.
    assert outcome.fallback == method.startswith("gp")


def test_priors_are_counted_apart_and_only_where_they_belong(monkeypatch: pytest.MonkeyPatch) -> None:
    called = FoundBy(energy_errors=np.zeros(9))
    monkeypatch.setattr(paths, "find_path", called)
    radical = next(starts("methoxy_hydroxymethyl", 1))
    outcome = run_one(radical, "gp-prior-saddle")
    assert called.options["certify"] == "saddle"
    assert (outcome.calls, outcome.prior_calls, outcome.fallback) == (2, 3, False)
    # GFN1-xTB in the spin state of the problem.
    calculator = called.options["prior"]()
    assert (calculator.parameters.method, calculator.parameters.multiplicity) == ("GFN1-xTB", 2)
    assert outcome.cpu_seconds < 1.0
    todo, skipped = applicable([NAME, "hcn_hnc", "muller_brown"], ["gp-prior", "auto"])
    assert todo == {NAME: ["auto"], "hcn_hnc": ["gp-prior", "auto"], "muller_brown": ["auto"]}
    assert skipped == {"gp-prior": 2}
    assert [name for name in METHODS if not METHODS[name].applies(path_problem(NAME))] == [
        "gp-prior",
        "gp-prior-saddle",
    ]


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
    # What is done is not done again.
    rest = list(benchmark(["muller_brown"], ["auto", "lbfgs"], count=2, done={o.key for o in outcomes[:3]}))
    assert [o.key for o in rest] == [outcomes[3].key]
    assert rest[0].calls == outcomes[3].calls


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


def table_of(lines: list[str]) -> dict[str, dict[str, str]]:
    """Cells of the first table of a summary by method and column."""
    heads, rows = lines[1].split(), {}
    for line in lines[2:]:
        words = line.replace(" (", "(").split()
        if len(words) != len(heads) + 1 or "/" not in words[1]:
            break
        rows[words[0]] = dict(zip(heads, words[1:], strict=True))
    return rows


def test_summaries_of_all_and_of_unseen_problems() -> None:
    lines = list(summary_lines(SYNTHETIC))
    whole, unseen = (i for i, line in enumerate(lines) if not line.startswith(" "))
    assert "3 problems" in lines[whole] and "2 problems" in lines[unseen]
    all_of_them, fresh = table_of(lines[whole:]), table_of(lines[unseen:])
    assert list(all_of_them) == ["ours", "ase-x", "ase-y"]
    assert all_of_them["ours"]["succeeded"] == "4/5" and all_of_them["ours"]["unclaimed"] == "1"
    assert all_of_them["ase-x"]["succeeded"] == "4/5" and all_of_them["ase-x"]["unclaimed"] == "0"
    # Over problems, not over starts: medians 10 and 30; sqrt(1 * 4), and the smallest.
    assert all_of_them["ours"]["median"] == "20.0"
    assert all_of_them["ours"]["ase-x"] == "2.00(1.00)" and all_of_them["ours"]["ase-y"] == "2.00(2.00)"
    assert all_of_them["ase-x"]["ase-x"] == "-"
    assert fresh["ours"]["succeeded"] == "1/2" and fresh["ours"]["ase-x"] == "4.00(4.00)"
    # Medians: a 10 against 15, b 30 against the better one's 60.
    best = [line for line in lines if "best of ASE" in line]
    assert "at worst 0.67 (a)" in best[0] and "at worst 0.50 (b)" in best[1]


def test_mistakes_are_told_apart() -> None:
    runs = [
        outcome("a", 0, "gp", 10, claim="band"),
        outcome("a", 1, "gp", 11, success=False, claimed=True, fmax=0.056, claim="band"),
        outcome("a", 2, "gp", 12, success=False, claimed=True, fmax=math.nan, claim="band"),
        outcome("a", 3, "gp", 13, success=False, claimed=True, barrier_error=-0.03, claim="band", fallback=True),
        outcome("a", 4, "gp", 14, success=False, note="gave up"),
        outcome("a", 5, "gp", 15, success=False, claimed=True, fmax=0.052, claim="strict"),
    ]
    cells = table_of(list(summary_lines(runs)))["gp"]
    assert (cells["succeeded"], cells["false"], cells["wrong"], cells["unclaimed"]) == ("1/6", "2", "1", "1")
    assert cells["fallbacks"] == "1"
    assert list(path_table(runs))[1].split() == ["a", "10", "(1/6)", "!2"]
    told = list(failure_lines(runs))
    whats = ["false certificate", "false certificate", "wrong barrier", "no claim", "force"]
    assert all(f"start {seed} gp: {what}" in line for seed, what, line in zip(range(1, 6), whats, told, strict=True))
    assert "gave up" in told[3] and "-30.0 meV" in told[2]


def test_overheads_priors_and_rounds_in_summaries() -> None:
    runs = [
        outcome("a", 0, "gp", 20, coordinates=50, cpu_seconds=1.0, rounds=20),
        outcome("a", 1, "gp", 10, coordinates=50, cpu_seconds=1.0, rounds=10),
        outcome("a", 0, "gp-4", 24, coordinates=50, cpu_seconds=1.2, rounds=5, prior_calls=30),
        outcome("a", 1, "gp-4", 12, coordinates=50, cpu_seconds=1.2, rounds=5, prior_calls=50),
        outcome("b", 0, "gp", 20, coordinates=51, cpu_seconds=9.0, rounds=20),
        outcome("b", 0, "gp-4", 20, coordinates=299, cpu_seconds=9.0, rounds=0),
        outcome("c", 0, "gp", 10, coordinates=300, cpu_seconds=2.0, rounds=10),
        outcome("c", 1, "gp", 10, coordinates=525, cpu_seconds=2.5, success=False),
        outcome("c", 0, "auto", 10, cpu_ms=3.0),
    ]
    lines = list(summary_lines(runs))
    cells = table_of(lines)
    assert (cells["gp"]["ms/call"], cells["gp"]["s/path"]) == ("75.0", "2.50")
    assert (cells["gp-4"]["ms/call"], cells["gp-4"]["s/path"], cells["gp-4"]["prior"]) == ("75.0", "-", "40")
    # What older files do not hold is not zero.
    assert (cells["auto"]["ms/call"], cells["auto"]["s/path"], cells["auto"]["prior"]) == ("-", "-", "-")
    # Rounds: sqrt(5/20 * 5/10); evaluations: sqrt(1.2² * 1) over problems a and b.
    (serial,) = [line for line in lines if "gp-4 against gp" in line]
    assert "0.35 times the rounds" in serial and "1.10 times the evaluations" in serial


def test_tables_of_nothing_but_failures() -> None:
    failed = [outcome("a", 0, "ours", 10, success=False), outcome("a", 0, "ase-x", 10, success=False)]
    assert "- (0/1)" in list(path_table(failed))[1]
    assert all("nan" not in line for line in summary_lines(failed))


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
