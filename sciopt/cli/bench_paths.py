"""`sciopt bench paths`: reaction paths, against ASE from the same initial paths."""

from __future__ import annotations

import sys
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sciopt.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sciopt.bench.path_outcome import Outcome

__all__ = ["known_methods", "paths", "problem_names"]


def paths(
    methods: Annotated[
        str,
        typer.Option(
            help="Comma-separated: auto, gp, gp-saddle, gp-strict, gp-prior, gp-prior-saddle, gp-4, auto-saddle, "
            "imagewise, lbfgs, fire, …, ase-lbfgs, ase-fire, ase-ode."
        ),
    ] = "auto,ase-lbfgs,ase-fire,ase-ode",
    problems: Annotated[str, typer.Option(help="Comma-separated names or kinds, or all.")] = "all",
    starts: Annotated[int, typer.Option(help="Starts per problem; all but the first are perturbed.")] = 5,
    max_calls: Annotated[int, typer.Option(help="Budget per run.")] = 2000,
    jobs: Annotated[int, typer.Option("--jobs", "-j", help="Processes; each runs all methods from one start.")] = 1,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Append every outcome to this CSV file as it comes.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Leave out runs that the output file holds.")] = False,
    table: Annotated[
        list[Path] | None,
        typer.Option(help="Run nothing: print the tables of a CSV file; of several, later runs replace equal ones."),
    ] = None,
) -> int:
    """Evaluations to a converged climbing-image band, against ASE from the same initial paths."""
    from sciopt.bench.path_outcome import Outcome
    from sciopt.bench.path_record import Record, latest, read_rows
    from sciopt.bench.paths import applicable, benchmark
    from sciopt.run_files import versions

    if table:
        _print_tables(latest(row for file in table for row in read_rows(file, Outcome)))
        return 0
    chosen, names = known_methods(methods), problem_names(problems)
    if starts < 1:
        raise InputError(f"starts is {starts}; expected at least 1")
    if resume and output is None:
        raise InputError("--resume needs the file to continue: --output FILE")
    for method, count in applicable(names, chosen)[1].items():
        print(f"{method} does not apply to {count} of {len(names)} problems: skipped there", file=sys.stderr)
    outcomes: list[Outcome] = []
    with ExitStack() as opened:
        record = opened.enter_context(Record(output, Outcome, resume)) if output is not None else None
        done = {row.key for row in record.rows} if record is not None else set()
        running = opened.enter_context(closing(benchmark(names, chosen, starts, max_calls, jobs, done)))
        for outcome in running:
            outcomes.append(outcome)
            if record is not None:
                record.add(outcome)
            _report(outcome)
        order = _Order(chosen)
        outcomes.sort(key=order)
        if record is not None:
            record.sort(order)
            outcomes = record.rows
    print("versions: " + ", ".join(f"{name} {number}" for name, number in versions().items()))
    _print_tables(outcomes)
    return 0


def known_methods(words: str) -> list[str]:
    """The methods of a comma-separated list."""
    from sciopt.bench.path_methods import METHODS

    chosen = [method.strip() for method in words.split(",") if method.strip()]
    if not chosen:
        raise InputError(f"no method is given; known are {', '.join(METHODS)}")
    for method in chosen:
        if method not in METHODS:
            raise InputError(f"unknown method {method!r}; known are {', '.join(METHODS)}")
    return list(dict.fromkeys(chosen))


def problem_names(words: str) -> list[str]:
    """The problems of a comma-separated list of names and kinds."""
    from sciopt.problems import path_problem, path_problem_names
    from sciopt.problems.path_problem import KINDS

    if words == "all":
        return list(path_problem_names())
    names: list[str] = []
    for word in (word.strip() for word in words.split(",")):
        names += path_problem_names(word) if word in KINDS else [path_problem(word).name]
    return list(dict.fromkeys(names))


class _Order:
    """Sorts outcomes by problem, start and method, the methods in the order they were asked for."""

    def __init__(self, methods: Sequence[str]) -> None:
        from sciopt.problems import path_problem_names

        self.problems = {name: i for i, name in enumerate(path_problem_names())}
        self.methods = {name: i for i, name in enumerate(methods)}

    def __call__(self, outcome: Outcome) -> tuple[int, int, int, str]:
        method = self.methods.get(outcome.method, len(self.methods))
        return self.problems.get(outcome.problem, len(self.problems)), outcome.seed, method, outcome.method


def _report(outcome: Outcome) -> None:
    mark = "ok" if outcome.success else "FAILED"
    print(
        f"{outcome.problem} start {outcome.seed} {outcome.method}: {mark} {outcome.calls} calls, barrier "
        f"{1e3 * outcome.barrier_error:+.1f} meV, fmax {outcome.fmax:.3f} ({outcome.note})",
        file=sys.stderr,
        flush=True,
    )


def _print_tables(outcomes: Sequence[Outcome]) -> None:
    from sciopt.bench.table import failure_lines, path_table, summary_lines

    if not outcomes:
        raise InputError("there are no outcomes to print")
    print("median calls of successful starts (successes/starts), ! counts false certificates; * marks problems no")
    print("constant was chosen on")
    _print(path_table(outcomes))
    print(
        "false: the claimed force does not hold up; wrong: it does, at another saddle; ase-*: times the calls it needs,"
    )
    print("geometric mean over problems (smallest); ms/call: median CPU besides calculators, at most 50 coordinates;")
    print("s/path: largest total of it, 300 coordinates or more")
    _print(summary_lines(outcomes))
    failures = list(failure_lines(o for o in outcomes if not o.method.startswith("ase-")))
    if failures:
        print("runs of sciopt that did not succeed")
        _print(failures)


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        print(line)
