"""Tables of reaction-path outcomes: medians per problem, and one line per method over many problems."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from sciopt.bench.path_methods import METHODS

if TYPE_CHECKING:
    from sciopt.bench.path_outcome import Outcome

__all__ = ["failure_lines", "path_table", "ratios", "serial_lines", "summary_lines"]

SMALL, LARGE = 50, 300  # coordinates up to and from which overheads are summarised


def path_table(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """One line per problem: median calls over the successful starts of every method, with successes out of starts.

    An exclamation mark counts false certificates.
    """
    methods = _ordered(outcome.method for outcome in outcomes)
    problems = _ordered(outcome.problem for outcome in outcomes)
    width = max([len(problem) for problem in problems] + [7]) + 2
    yield "problem".ljust(width) + "unseen " + "".join(method.rjust(18) for method in methods)
    for problem in problems:
        cells = []
        for method in methods:
            runs = [o for o in outcomes if o.problem == problem and o.method == method]
            good = [o.calls for o in runs if o.success]
            median = f"{np.median(good):.0f}" if good else "-"
            false = sum(o.false_certificate for o in runs)
            cells.append(f"{median} ({len(good)}/{len(runs)}){f' !{false}' if false else ''}".rjust(18))
        tuned = next(o.tuned for o in outcomes if o.problem == problem)
        yield problem.ljust(width) + ("       " if tuned else "   *   ") + "".join(cells)


def ratios(
    outcomes: Iterable[Outcome], method: str, other: str, amount: Callable[[Outcome], float] = lambda o: o.calls
) -> dict[str, float]:
    """Per problem, geometric mean over starts on which both succeed of amount(method) / amount(other); calls at first.

    Runs of which the amount is not known (0) are left out.
    """
    known = {o.key: amount(o) for o in outcomes if o.success and amount(o) > 0}
    logs: dict[str, list[float]] = {}
    for (problem, seed, who), value in known.items():
        if who == method and (problem, seed, other) in known:
            logs.setdefault(problem, []).append(np.log(value / known[problem, seed, other]))
    return {problem: float(np.exp(np.mean(values))) for problem, values in logs.items()}


def summary_lines(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """One line per method, over all problems and over those no constant was chosen on.

    Successes out of runs; false certificates (the claimed force does not hold up), wrong barriers (it does, at another
    saddle) and runs that claim nothing; the median over problems of the median calls of successful starts; for every
    method of ASE, how many times the calls it needs: the geometric mean over problems and the smallest; runs that fell
    back to another method; calls of the prior mean; and what a run costs besides its calculator.
    """
    methods = _ordered(outcome.method for outcome in outcomes)
    others = [method for method in methods if method.startswith("ase-")]
    for title, chosen in (
        ("all problems", list(outcomes)),
        ("problems no constant was chosen on", [o for o in outcomes if not o.tuned]),
    ):
        if not chosen:
            continue
        yield f"{title} ({len({o.problem for o in chosen})} problems, {len({o.seed for o in chosen})} starts each)"
        heads = [
            "succeeded",
            "false",
            "wrong",
            "unclaimed",
            "median",
            *others,
            "fallbacks",
            "prior",
            "ms/call",
            "s/path",
        ]
        rows = [(method, _cells(chosen, method, others)) for method in methods]
        widths = [max(len(head), *(len(cells[head]) for _, cells in rows)) + 2 for head in heads]
        first = max(len(method) for method in methods) + 2
        yield "  " + " " * first + "".join(head.rjust(width) for head, width in zip(heads, widths, strict=True))
        for method, cells in rows:
            line = "".join(cells[head].rjust(width) for head, width in zip(heads, widths, strict=True))
            yield "  " + method.ljust(first) + line
        for method in [method for method in methods if method not in others][:1]:
            yield from _against_best(chosen, method, others)
        yield from serial_lines(chosen)


def _cells(outcomes: Sequence[Outcome], method: str, others: Sequence[str]) -> Mapping[str, str]:
    runs = [o for o in outcomes if o.method == method]
    medians = [m for p in _ordered(o.problem for o in runs) if (m := _median(outcomes, p, method)) is not None]
    priors = [o.prior_calls for o in runs if o.success and o.prior_calls]
    each = [1e3 * o.cpu_seconds / o.calls for o in runs if 0 < o.coordinates <= SMALL and o.calls]
    whole = [o.cpu_seconds for o in runs if o.coordinates >= LARGE]
    cells = {
        "succeeded": f"{sum(o.success for o in runs)}/{len(runs)}",
        "false": str(sum(o.false_certificate for o in runs)),
        "wrong": str(sum(o.wrong_barrier for o in runs)),
        "unclaimed": str(sum(not o.claimed for o in runs)),
        "median": f"{np.median(medians):.1f}" if medians else "-",
        "fallbacks": str(sum(o.fallback for o in runs)),
        "prior": f"{np.median(priors):.0f}" if priors else "-",
        "ms/call": f"{np.median(each):.1f}" if each else "-",
        "s/path": f"{max(whole):.2f}" if whole else "-",
    }
    for other in others:
        times = sorted(1.0 / ratio for ratio in ratios(outcomes, method, other).values())
        known = times and other != method
        cells[other] = f"{np.exp(np.mean(np.log(times))):.2f} ({times[0]:.2f})" if known else "-"
    return cells


def serial_lines(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Methods that evaluate several images at a time against the same one image at a time: rounds and evaluations."""
    for method in _ordered(o.method for o in outcomes):
        serial = METHODS[method].serial if method in METHODS else None
        if serial is None:
            continue
        rounds, calls = ratios(outcomes, method, serial, lambda o: o.rounds), ratios(outcomes, method, serial)
        if rounds:
            yield (
                f"  {method} against {serial}: {_mean(rounds):.2f} times the rounds, {_mean(calls):.2f} times the "
                f"evaluations ({len(rounds)} problems)"
            )


def failure_lines(outcomes: Iterable[Outcome]) -> Iterator[str]:
    """One line per run that did not succeed, and what was wrong with it."""
    for o in outcomes:
        if o.success:
            continue
        if o.false_certificate:
            what = "false certificate"
        elif o.wrong_barrier:
            what = "wrong barrier"
        else:
            what = "force" if o.claimed else "no claim"
        yield (
            f"  {o.problem} start {o.seed} {o.method}: {what}, {o.calls} calls, "
            f"barrier {1e3 * o.barrier_error:+.1f} meV, force {o.fmax:.3f} ({o.note})"
        )


def _against_best(outcomes: Sequence[Outcome], method: str, others: Sequence[str]) -> Iterator[str]:
    """Medians of `method` against the best median of any of `others`, problem by problem."""
    worst, name = 0.0, ""
    for problem in _ordered(o.problem for o in outcomes):
        best = [m for other in others if (m := _median(outcomes, problem, other)) is not None]
        ours = _median(outcomes, problem, method)
        if best and ours is not None and ours / min(best) > worst:
            worst, name = ours / min(best), problem
    if name:
        yield f"  {method} against the best of ASE on each problem (medians): at worst {worst:.2f} ({name})"


def _median(outcomes: Sequence[Outcome], problem: str, method: str) -> float | None:
    good = [o.calls for o in outcomes if o.problem == problem and o.method == method and o.success]
    return float(np.median(good)) if good else None


def _mean(pairs: Mapping[str, float]) -> float:
    return float(np.exp(np.mean(np.log(list(pairs.values())))))


def _ordered(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))
