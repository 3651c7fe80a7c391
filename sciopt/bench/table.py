"""Tables of benchmark outcomes: medians per problem, and geometric means of paired ratios."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np

from sciopt.core.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from sciopt.bench.paths import Outcome

__all__ = ["path_table", "ratios", "stored_outcomes", "summary_lines"]


def path_table(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """One line per problem: median calls over the successful starts of every method, with successes out of starts."""
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
            cells.append(f"{median} ({len(good)}/{len(runs)})".rjust(18))
        tuned = next(o.tuned for o in outcomes if o.problem == problem)
        yield problem.ljust(width) + ("       " if tuned else "   *   ") + "".join(cells)


def stored_outcomes(file: Path) -> list[Outcome]:
    """Outcomes that ``sciopt bench paths --output`` wrote.

    Raises
    ------
    InputError
        When the file is missing or holds something else.
    """
    from sciopt.bench.paths import Outcome

    kinds: dict[str, Callable[[str], Any]] = {
        "int": int,
        "float": float,
        "str": str,
        "bool": lambda text: text == "True",
    }
    try:
        with open(file, newline="") as opened:
            rows = [
                Outcome(**{field.name: kinds[str(field.type)](row[field.name]) for field in fields(Outcome)})
                for row in csv.DictReader(opened)
            ]
    except (OSError, KeyError, ValueError) as error:
        raise InputError(f"{file} does not hold outcomes of this benchmark: {error}") from error
    if not rows:
        raise InputError(f"{file} holds no outcomes")
    return rows


def ratios(outcomes: Iterable[Outcome], method: str, other: str) -> dict[str, float]:
    """Per problem, geometric mean over starts on which both succeed of calls(method) / calls(other)."""
    calls = {(o.problem, o.seed, o.method): o.calls for o in outcomes if o.success}
    logs: dict[str, list[float]] = {}
    for (problem, seed, who), amount in calls.items():
        if who == method and (problem, seed, other) in calls:
            logs.setdefault(problem, []).append(np.log(amount / calls[problem, seed, other]))
    return {problem: float(np.exp(np.mean(values))) for problem, values in logs.items()}


def summary_lines(outcomes: Sequence[Outcome], method: str) -> Iterator[str]:
    """Success rates of all methods, and how `method` compares with each other: overall and on unseen problems."""
    methods = _ordered(outcome.method for outcome in outcomes)
    for title, chosen in (
        ("all problems", list(outcomes)),
        ("problems no constant was chosen on", [o for o in outcomes if not o.tuned]),
    ):
        if not chosen:
            continue
        yield f"{title} ({len({o.problem for o in chosen})} problems, {len({o.seed for o in chosen})} starts each)"
        for who in methods:
            runs = [o for o in chosen if o.method == who]
            good = [o for o in runs if o.success]
            false = sum(o.claimed and not o.success for o in runs)
            cpu = np.median([o.cpu_ms for o in runs]) if runs else np.nan
            line = (
                f"  {who:14s} succeeded {len(good):4d}/{len(runs):<4d} false claims {false:3d}  {cpu:6.1f} ms per band"
            )
            if who != method:
                pairs = ratios(chosen, method, who)
                if pairs:
                    mean = np.exp(np.mean(np.log(list(pairs.values()))))
                    worst = max(pairs, key=lambda name: pairs[name])
                    line += f"  {method}/{who}: {mean:.2f} (worst {pairs[worst]:.2f}, {worst}; {len(pairs)} problems)"
            yield line
        yield from _against_best(chosen, method, [m for m in methods if m.startswith("ase-")])


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


def _ordered(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))
