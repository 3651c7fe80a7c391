"""Tables of the topology benchmark: problem by problem, performance profiles, losers, and what was promised."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from sciopt.bench.topopt import RIVALS
from sciopt.bench.topopt_measures import DEFAULT_STOP, REFUTED, Outcome, best_known, outcomes
from sciopt.bench.topopt_traces import DesignRun

__all__ = ["Bar", "bars", "profile", "tables"]

PROFILE = (9.0, 15.0, 30.0, 60.0, 120.0)
OURS = "auto"
_TOLERATED = 0.003


class Bar(NamedTuple):
    """Something promised: what was measured, and whether it holds; None where the runs are missing."""

    promise: str
    measured: str
    holds: bool | None


def tables(runs: Sequence[DesignRun]) -> Iterator[str]:
    """All tables, line by line."""
    found = outcomes(runs)
    budget = max(run.budget for run in runs)
    yield f"costs are solves on the finest grid, coarser ones by their number of elements; budget {budget:g}"
    yield ""
    yield "median cost to 1 % of the best known (successes/starts); * marks problems no constant was chosen on"
    yield from _costs(found, best_known(runs))
    yield ""
    rule = f"the best improved by < {DEFAULT_STOP.rtol:g} in {DEFAULT_STOP.window} solves"
    yield f"default stop ({rule}): median solves, and median / worst objective in % above the best of"
    yield "OC, MMA, GCMMA and SPG after 120 solves from the same start"
    yield from _stops(found)
    for title, chosen in _groups(found):
        yield ""
        yield f"{title}: share of runs within 1 % after so many solves, median cost; the same within 0.1 %"
        yield from _profiles(chosen)
    yield ""
    yield from _losers(found)
    yield ""
    yield from _effort(found)
    yield ""
    yield "what is promised of auto"
    for bar in bars(found):
        verdict = {True: "holds", False: "FAILS", None: "no runs"}[bar.holds]
        yield f"  {bar.promise:94s} {verdict:8s} {bar.measured}"


def profile(costs: Sequence[float], levels: Sequence[float] = PROFILE) -> list[float]:
    """Share of `costs` (NaN: never) that are at most each of `levels`."""
    return [float(np.mean([cost <= level for cost in costs])) for level in levels]


def bars(found: Sequence[Outcome]) -> list[Bar]:
    """What is promised of the default method, measured on all its runs."""
    ours = [o for o in found if o.method == OURS]
    costs = [o.cost_1 for o in ours]
    gaps = [o for o in ours if not math.isnan(o.gap_stop)]
    blind = [o for o in ours if math.isnan(o.gap_stop) and _rivals(found, o)]
    middle = _median(costs)
    late = [o for o in ours if not o.cost_1 <= 60.0]
    worst = max(gaps, key=lambda o: o.gap_stop, default=None)
    better = sum(o.gap_stop < 0.0 for o in gaps)
    early = sum(cost <= 15.0 for cost in costs)
    total = len(costs)
    compared = bool(gaps or blind)
    return [
        Bar("within 1 % of the best known: median cost at most 9", _cost(middle), middle <= 9.0 if ours else None),
        Bar(
            "within 1 % of the best known: 80 % of the runs within 15",
            f"{early}/{total}",
            early >= 0.8 * total if ours else None,
        ),
        Bar(
            "within 1 % of the best known: all runs within 60",
            f"{total - len(late)}/{total}" + _names(late),
            not late if ours else None,
        ),
        Bar(
            "at the default stop at most 0.3 % above the best rival after 120 solves",
            ("-" if worst is None else f"worst {100 * worst.gap_stop:+.2f} % ({worst.problem} start {worst.start})")
            + (f"; no design: {_names(blind)[2:]}" if blind else ""),
            not blind and all(o.gap_stop <= _TOLERATED for o in gaps) if compared else None,
        ),
        Bar(
            "at the default stop better than the best rival after 120 solves on most runs",
            f"{better}/{len(gaps) + len(blind)}",
            better > 0.5 * (len(gaps) + len(blind)) if compared else None,
        ),
        _small_cantilever(found),
    ]


def _small_cantilever(found: Sequence[Outcome]) -> Bar:
    promise = "the 24 x 12 x 12 cantilever reaches 11.5 by default, where OC ends at 13.8"
    runs = {o.method: o for o in found if (o.problem, o.shape, o.start) == ("c3s", "24x12x12", 0)}
    if OURS not in runs:
        return Bar(promise, "-", None)
    measured = f"{runs[OURS].stop_objective:.3f}"
    if "oc" in runs:
        measured += f", OC after 120 solves {runs['oc'].at_120:.3f}"
    return Bar(promise, measured, runs[OURS].stop_objective <= 11.5)


def _costs(found: Sequence[Outcome], known: dict[str, float]) -> Iterator[str]:
    methods = _ordered(o.method for o in found)
    yield f"{'problem':10s} {'':1s} {'best known':>10s}" + "".join(method.rjust(16) for method in methods)
    for problem, chosen in _by_problem(found):
        cells = []
        for method in methods:
            runs = [o.cost_1 for o in chosen if o.method == method]
            good = [cost for cost in runs if not math.isnan(cost)]
            cells.append(f"{_cost(_median(good))} ({len(good)}/{len(runs)})".rjust(16))
        yield f"{problem:10s} {_mark(chosen)} {known[problem]:10.5g}" + "".join(cells)


def _stops(found: Sequence[Outcome]) -> Iterator[str]:
    methods = _ordered(o.method for o in found)
    yield f"{'problem':12s}" + "".join(method.rjust(24) for method in methods)
    for problem, chosen in _by_problem(found):
        cells = []
        for method in methods:
            runs = [o for o in chosen if o.method == method]
            gaps = [100.0 * o.gap_stop for o in runs if not math.isnan(o.gap_stop)]
            gap = f"{np.median(gaps):+.2f} / {max(gaps):+.2f}" if gaps else "-"
            cells.append(f"{_cost(_median([o.stop_solves for o in runs]))}: {gap}".rjust(24))
        yield f"{problem:10s} {_mark(chosen)}" + "".join(cells)


def _profiles(found: Sequence[Outcome]) -> Iterator[str]:
    levels = "".join(f"{level:8g}" for level in PROFILE)
    yield f"  {'method':14s} {'runs':>5s}{levels}  median |{levels}  median"
    for method in _ordered(o.method for o in found):
        runs = [o for o in found if o.method == method]
        halves = []
        for costs in ([o.cost_1 for o in runs], [o.cost_01 for o in runs]):
            shares = "".join(f"{100.0 * share:6.0f} %" for share in profile(costs))
            halves.append(f"{shares} {_cost(_median(costs)):>7s}")
        yield f"  {method:14s} {len(runs):5d}" + " |".join(halves)


def _losers(found: Sequence[Outcome]) -> Iterator[str]:
    for method in _ordered(o.method for o in found):
        runs = [o for o in found if o.method == method]
        never = [o for o in runs if math.isnan(o.cost_1)]
        yield f"{method} never within 1 %: {len(never)} of {len(runs)} runs" + _names(never)
    refuted = [f"{o.problem} start {o.start} {o.method}" for o in found if o.wrong > REFUTED]
    yield f"objectives that the direct solver refutes, not counted: {', '.join(refuted) or 'none'}"
    for what, field in (("at the default stop", "gap_stop"), ("after 120 solves", "gap_120")):
        lost = [o for o in found if o.method == OURS and getattr(o, field) > _TOLERATED]
        gaps = [f"{o.problem} start {o.start} {100.0 * getattr(o, field):+.2f} %" for o in lost]
        yield f"{OURS} more than 0.3 % above the best rival {what}: {', '.join(gaps) or 'never'}"


def _effort(found: Sequence[Outcome]) -> Iterator[str]:
    yield "CPU seconds of all runs; largest difference from the direct solver, as part of the best known objective"
    for method in _ordered(o.method for o in found):
        runs = [o for o in found if o.method == method]
        checks = [o for o in runs if not math.isnan(o.wrong)]
        worst = max(checks, key=lambda o: o.wrong, default=None)
        checked = "-" if worst is None else f"{worst.wrong:.1e} ({worst.problem} start {worst.start})"
        yield f"  {method:14s} {np.nansum([o.seconds for o in runs]):8.1f} s   {checked} of {len(checks)} checked"


def _groups(found: Sequence[Outcome]) -> Iterator[tuple[str, list[Outcome]]]:
    for title, chosen in (
        ("problems used for choosing constants", [o for o in found if o.seen]),
        ("problems no constant was chosen on", [o for o in found if not o.seen]),
    ):
        if chosen:
            yield title, chosen


def _by_problem(found: Sequence[Outcome]) -> Iterator[tuple[str, list[Outcome]]]:
    for problem in _ordered(o.problem for o in found):
        yield problem, [o for o in found if o.problem == problem]


def _rivals(found: Sequence[Outcome], run: Outcome) -> bool:
    """Whether a rival has a design for the start of `run`."""
    return any(
        o.method in RIVALS and (o.problem, o.start) == (run.problem, run.start) and not math.isnan(o.at_120)
        for o in found
    )


def _median(costs: Sequence[float]) -> float:
    """Median with NaN as never, NaN if it is never."""
    if not costs:
        return math.nan
    middle = float(np.median(np.where(np.isnan(costs), np.inf, costs)))
    return middle if math.isfinite(middle) else math.nan


def _cost(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.1f}"


def _names(runs: Sequence[Outcome]) -> str:
    """Which problems, with the starts that are meant."""
    starts: dict[str, list[int]] = {}
    for o in runs:
        starts.setdefault(o.problem, []).append(o.start)
    words = [f"{problem} ({', '.join(map(str, sorted(numbers)))})" for problem, numbers in starts.items()]
    return ": " + ", ".join(words) if words else ""


def _mark(found: Sequence[Outcome]) -> str:
    return " " if found[0].seen else "*"


def _ordered(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))
