"""The topology benchmark must not be fooled: tables computed by hand, solves recounted, stops as users get them."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sciopt.bench.topopt as bench
import sciopt.bench.topopt_peers as bench_peers
from sciopt.bench.topopt import benchmark, run_one, start_of
from sciopt.bench.topopt_measures import best_known, cost_to, objective_at, outcomes, stopped_at
from sciopt.bench.topopt_speed import Case, measure, speed_of
from sciopt.bench.topopt_table import bars, profile, tables
from sciopt.bench.topopt_traces import DesignRun, Trace, merged, read_runs, write_runs
from sciopt.bench.topopt_watch import watched
from sciopt.cli.main import main
from sciopt.core.errors import EvaluationFailed, InputError
from sciopt.core.history import History, Record
from sciopt.core.stop import Plateau, Progress
from sciopt.problems.topology import topology_problem
from sciopt.topopt.optimize import optimize_topology

NX = 24


def made(
    problem: str, start: int, method: str, points: dict[float, float], direct: float = math.nan, **more: Any
) -> DesignRun:
    values = {"shape": "2x1", "seen": True, "budget": 120.0, "seconds": 1.5, "solve_seconds": 0.01, "note": ""} | more
    trace = Trace.of(points.keys(), points.values())
    return DesignRun(problem=problem, start=start, method=method, direct=direct, trace=trace, **values)


SYNTHETIC = [
    made("a", 0, "auto", {6.5: 110, 7.5: 101, 8.5: 100.05, 9.5: 100}),
    made("a", 0, "oc", {1: 500, 2: 150, 119: 102, 120: 50.0}, direct=102.0),
    made("a", 0, "spg", {1: 500, 120: 101, 120.7: 100.5}),
    made("a", 1, "auto", {20: 101.5, 61: 101.0}),
    made("a", 1, "oc", {1: 103}),
    made("b", 0, "auto", {14: -9.9, 15: -10.0}, seen=False),
    made("b", 0, "oc", {1: -1.0, 90: -9.0}, seen=False),
    made("c", 0, "auto", {}, seen=False, note="broke"),
    made("c", 0, "oc", {1: 7.0}, seen=False),
]


def test_costs_and_objectives_by_hand() -> None:
    run = SYNTHETIC[0]
    assert [cost_to(run, level) for level in (110.0, 109.9, 100.1, 99.0)] == [6.5, 7.5, 8.5, math.inf]
    assert [objective_at(run, solves) for solves in (6.0, 6.5, 9.0, 120.0)] == [math.inf, 110.0, 100.05, 100.0]


def test_a_value_that_the_direct_solver_refutes_is_not_the_best_known() -> None:
    assert best_known(SYNTHETIC) == {"a": 100.0, "b": -10.0, "c": 7.0}


def test_outcomes_by_hand() -> None:
    found = {(o.problem, o.start, o.method): o for o in outcomes(SYNTHETIC)}
    first = found["a", 0, "auto"]
    assert (first.cost_1, first.cost_01, first.at_15, first.at_120) == (7.5, 8.5, 100.0, 100.0)
    # Of the rivals from the same start SPG is best: what it found beyond 120 solves does not count, and OC is refuted.
    assert first.gap_120 == pytest.approx(-1 / 101) and first.gap_stop == first.gap_120
    refuted = found["a", 0, "oc"]
    assert refuted.wrong == pytest.approx(0.52) and math.isnan(refuted.cost_1) and math.isnan(refuted.at_120)
    second = found["a", 1, "auto"]
    assert second.cost_1 == 61.0 and math.isnan(second.cost_01) and math.isnan(second.at_15)
    assert second.gap_120 == pytest.approx(-2 / 103)
    # Objectives below zero: within 1 % of -10 is at most -9.9, and -10 is better than -9.
    assert found["b", 0, "auto"].cost_1 == 14.0 and found["b", 0, "auto"].gap_120 == pytest.approx(-1 / 9)
    broken = found["c", 0, "auto"]
    assert all(math.isnan(x) for x in (broken.cost_1, broken.at_120, broken.stop_objective, broken.gap_stop))


def test_profiles_count_what_never_happens() -> None:
    assert profile([9.0, 15.1, math.nan, 120.0], (9.0, 15.0, 30.0, 120.0)) == [0.25, 0.25, 0.5, 0.75]


def test_promises_by_hand() -> None:
    middle, early, late, rivals, better, cantilever = bars(outcomes(SYNTHETIC))
    # Costs 7.5, 61, 14 and never: the median is (14 + 61) / 2.
    assert middle.measured == "37.5" and middle.holds is False
    assert early.measured == "2/4" and early.holds is False
    assert late.measured == "2/4: a (1), c (0)" and late.holds is False
    # Where there is no design at all, a rival's design is a loss.
    assert rivals.measured == "worst -0.99 % (a start 0); no design: c (0)" and rivals.holds is False
    assert better.measured == "3/4" and better.holds is True
    assert cantilever.holds is None

    good = [run for run in SYNTHETIC if run.problem == "b"]
    costs = bars(outcomes([*good, made("c3s", 0, "auto", {8: 11.45}, shape="24x12x12")]))
    assert [bar.holds for bar in costs] == [False, True, True, True, True, True]
    worse = [made("b", 0, "auto", {5: 10.031}), made("b", 0, "mma", {5: 10.0})]
    lost = bars(outcomes(worse))
    assert [bar.holds for bar in lost] == [True, True, True, False, False, None]
    assert bars(outcomes([made("b", 0, "auto", {5: 10.029}), worse[1]]))[3].holds is True
    assert [bar.holds for bar in bars(outcomes([worse[1]]))] == [None] * 6


def test_tables_say_medians_losers_and_what_is_unseen() -> None:
    lines = list(tables(SYNTHETIC))
    rows = [line.split() for line in lines]
    assert ["a", "100", "34.2", "(2/2)", "-", "(0/2)", "120.0", "(1/1)"] in rows
    assert ["b", "*", "-10", "14.0", "(1/1)", "-", "(0/1)", "-", "(0/0)"] in rows
    assert "auto never within 1 %: 1 of 4 runs: c (0)" in lines
    assert "oc never within 1 %: 3 of 4 runs: a (0, 1), b (0)" in lines
    assert "objectives that the direct solver refutes, not counted: a start 0 oc" in lines
    at = next(i for i, line in enumerate(lines) if line.startswith("problems no constant was chosen on"))
    assert lines[at + 2].split() == ("auto 2 0 % 50 % 50 % 50 % 50 % - | 0 % 50 % 50 % 50 % 50 % -".split())


def test_tables_of_nothing_but_failures() -> None:
    failed = [made("a", 0, method, {}, note="broke") for method in ("auto", "oc")]
    lines = list(tables(failed))
    assert "auto never within 1 %: 1 of 1 runs: a (0)" in lines
    assert not any("nan" in line for line in lines)


@given(
    st.lists(st.floats(1.0, 1.02) | st.just(math.inf), min_size=1, max_size=40),
    st.floats(0.0, 10.0),
)
def test_the_default_stop_fires_when_the_rule_of_the_core_does(values: list[float], offset: float) -> None:
    run = made("a", 0, "auto", {offset + i + 1: value for i, value in enumerate(values)})
    rule, history, expected = Plateau(2e-4, 10), History(), len(values) - 1
    for i, value in enumerate(values):
        stored = float(f"{value:.6g}")
        violation = 0.0 if math.isfinite(value) else 1.0
        history.add(Record(i + 1, stored, 0.0, 0.1, True, 0.0, 0.0, violation))
        if rule(Progress(None, history, None)) is not None:  # type: ignore[arg-type] # looks at the history alone
            expected = i
            break
    assert stopped_at(run) == (run.trace.best[expected], run.trace.equivalents[expected])


@given(st.lists(st.tuples(st.floats(1e-3, 3.0), st.floats(-1e9, 1e9) | st.just(math.inf)), max_size=30))
def test_traces_survive_being_written(steps: list[tuple[float, float]]) -> None:
    trace = Trace.of(np.cumsum([step for step, _ in steps]), [value for _, value in steps])
    assert Trace.parse(trace.text()) == trace


def test_runs_survive_being_written_and_merged(tmp_path: Path) -> None:
    write_runs(tmp_path / "all.csv", SYNTHETIC)
    again = read_runs(tmp_path / "all.csv")
    assert list(map(repr, again)) == list(map(repr, SYNTHETIC))
    newer = made("a", 0, "auto", {5: 99})
    together = merged([SYNTHETIC[:4], [newer, SYNTHETIC[5]]])
    assert together == [newer, *SYNTHETIC[1:4], SYNTHETIC[5]]
    with pytest.raises(InputError, match="2x1 and with 4x2"):
        merged([SYNTHETIC, [made("a", 2, "oc", {1: 2}, shape="4x2")]])
    with pytest.raises(InputError, match="budgets of 60 and of 120"):
        merged([SYNTHETIC, [made("d", 2, "oc", {1: 2}, budget=60.0)]])


def test_starts_are_the_same_every_time_feasible_and_different() -> None:
    problem = topology_problem("mbb", nx=NX)
    assert start_of(problem, 0) is None
    first, again, other = start_of(problem, 1), start_of(problem, 1), start_of(problem, 2)
    assert first is not None and again is not None and other is not None
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.05
    for x in (first, other):
        assert problem.space.dot(problem.field.weights, x) <= problem.capacity * (1 + 1e-9)
        assert 0.05 < np.abs(x / problem.start() - 1.0).max() < 0.25


@pytest.mark.parametrize("method", ["auto", "oc", "gcmma"])
def test_solves_are_counted_outside_of_the_method(method: str) -> None:
    plain = topology_problem("mbb", nx=NX)
    result = optimize_topology(plain, method, stop=bench._GO_ON, max_solves=20)
    run = run_one("mbb", 0, method, 20, nx=NX)
    fine = [r for r in result.records if r.elements == plain.structure.design.size]
    # A record holds the products that chose the next design as well, the watch books them on the visit of that one.
    assert len(run.trace.equivalents) == len(fine)
    for before, spent, record in zip((0.0, *run.trace.equivalents), run.trace.equivalents, fine, strict=False):
        assert before < spent <= record.equivalents + 1e-3
    for spent, last in zip(run.trace.equivalents[1:], fine, strict=False):
        assert spent == pytest.approx(last.equivalents + 1.0, abs=1e-3)
    assert run.trace.best[-1] == pytest.approx(result.objective, rel=1e-4)
    # The design that counts was evaluated anew by a solver that shares nothing with the one that was used.
    assert run.direct == pytest.approx(run.trace.best[-1], rel=1e-4)
    assert 0.0 < run.solve_seconds < run.seconds < 60.0
    assert (run.problem, run.shape, run.seen, run.note) == ("mbb", "24x8", True, str(result.reason))


def test_the_stop_told_from_a_trace_is_the_one_a_user_gets() -> None:
    result = optimize_topology(topology_problem("mbb", nx=NX))
    value, solves = stopped_at(run_one("mbb", 0, "auto", 120, nx=NX))
    # What chose a design that was never evaluated is paid for, too.
    assert solves <= result.calls["equivalents"] + 1e-3 < solves + 1.5
    assert value == pytest.approx(result.objective, rel=1e-4)


def test_designs_that_break_their_volume_do_not_count() -> None:
    problem, watch = watched(topology_problem("mbb", nx=NX))
    full = problem.start()
    assert np.isfinite(problem.evaluate(full).value)
    problem.evaluate(1.01 * full)
    problem.evaluate(np.where(np.arange(full.size) == 0, -0.1, full))
    soft, coarse = problem.at(penalty=0.5), problem.coarsened()
    soft.evaluate(full)
    coarse.evaluate(coarse.start())
    assert [np.isfinite(visit.value) for visit in watch.visits] == [True, False, False, True, True]
    assert [visit.fine for visit in watch.visits] == [True, True, True, False, False]
    assert watch.equivalents == pytest.approx(4 + coarse.structure.design.size / full.size)
    np.testing.assert_array_equal(watch.x, full)


def test_what_breaks_is_a_run_without_a_design(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise EvaluationFailed("the grid\nis on fire")

    monkeypatch.setattr(bench, "optimize_topology", broken)
    run = run_one("mbb", 0, "auto", 20, nx=NX)
    assert run.trace == Trace((), ()) and run.note == "EvaluationFailed: the grid is on fire"
    assert math.isnan(run.direct)


def test_what_is_done_is_not_done_again() -> None:
    done = [("mbb", 0, "oc"), ("mbb", 1, "spg")]
    runs = list(benchmark(["mbb"], ["oc", "spg"], starts=2, budget=3, nx=NX, done=done))
    assert [run.key for run in runs] == [("mbb", 0, "spg"), ("mbb", 1, "oc")]


def command(*words: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_a_small_benchmark_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["bench", "topopt", "--nx", 48, "--starts", 1, "--budget", 20, "--problems", "mbb"]
    assert command(*words, "--methods", "auto", "-o", tmp_path / "a.csv") == 0
    assert command(*words, "--methods", "oc", "-o", tmp_path / "b.csv") == 0
    before = (tmp_path / "b.csv").read_bytes()
    assert command(*words, "--methods", "oc", "-o", tmp_path / "b.csv") == 0
    out, err = capsys.readouterr()
    assert (tmp_path / "b.csv").read_bytes() == before and err.count(" oc:") == 1
    tabled = ["bench", "topopt", "--table", tmp_path / "a.csv", "--table", tmp_path / "b.csv"]
    assert command(*tabled, "-o", tmp_path / "all.csv", "--outcomes", tmp_path / "outcomes.csv") == 0
    out, err = capsys.readouterr()
    assert err == "" and "auto never within 1 %: 0 of 1 runs" in out
    assert [run.method for run in read_runs(tmp_path / "all.csv")] == ["auto", "oc"]
    with open(tmp_path / "outcomes.csv", newline="") as file:
        ours, theirs = csv.DictReader(file)
    assert ours["method"] == "auto" and float(ours["cost_1"]) <= 20.5 and float(ours["gap_120"]) < 0
    assert float(theirs["at_15"]) > float(ours["at_15"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["topopt", "--methods", "ox"], "unknown method 'ox'"),
        (["topopt", "--methods", ","], "no method is given"),
        (["topopt", "--problems", "mbbb"], "did you mean 'mbb'"),
        (["topopt", "--problems", ","], "no problem is given"),
        (["topopt", "--starts", "0"], "starts is 0"),
        (["topopt", "--budget", "0"], "budget is 0"),
        (["topopt", "--output", "nowhere/a.csv"], "there is no folder nowhere"),
        (["topopt", "--table", "nothing.csv"], "nothing.csv does not hold runs of this benchmark"),
        (["topopt-speed", "--cases", "fast"], "unknown case 'fast'"),
        (["topopt-speed", "--cases", ""], "no case is given"),
        (["topopt-speed", "--iterations", "2"], "iterations is 2"),
    ],
)
def test_bad_arguments_are_one_sentence(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("bench", *words) == 1
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and said in err


def test_another_size_does_not_touch_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "a.csv"
    write_runs(file, [made("mbb", 0, "oc", {1: 2.0}, budget=2.0)])
    before = file.read_bytes()
    words = ["bench", "topopt", "--problems", "mbb", "--methods", "spg", "--starts", 1, "--budget", 2, "--nx", NX]
    assert command(*words, "-o", file) == 1
    assert "24x8" in capsys.readouterr().err and file.read_bytes() == before


def test_speeds_add_up() -> None:
    case = Case("plane", "mbb", (24, 8), 1.5, "oc", 6)
    speed = speed_of(case)
    assert speed.dofs == 2 * 25 * 9 - 9 - 1
    assert 0.0 < speed.median <= speed.worst < 10.0
    assert 0.0 <= speed.step < 1.0 and 0.0 <= speed.filtering < 1.0 and speed.step + speed.filtering < 1.0
    assert speed.wrong < 1e-4 and speed.failed == 0
    header, *rows = list(measure([case], 4))[1:]
    assert len(rows) == 1 and rows[0].split()[:2] == [case.name, str(speed.dofs)]
    assert "peak GB" in header


def test_missing_peers_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_peers.importlib.util, "find_spec", lambda name: None)
    (line,) = bench_peers.peers()
    assert "pip install pymoto" in line
