"""`sciopt bench topopt` and `topopt-speed`: designs counted in solves, and the CPU time of solves and steps."""

from __future__ import annotations

import csv
import io
import sys
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sciopt.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sciopt.bench.topopt_traces import DesignRun

__all__ = ["designs", "speed"]


def designs(
    methods: Annotated[
        str, typer.Option(help="Comma-separated: auto, quasi-newton, spg, mma, gcmma, oc, …")
    ] = "auto,quasi-newton,spg,mma,gcmma,oc",
    problems: Annotated[str, typer.Option(help="Comma-separated names, or seen, unseen, all.")] = "all",
    starts: Annotated[int, typer.Option(help="Starts per problem; all but the first are perturbed.")] = 3,
    budget: Annotated[float, typer.Option(help="Solves on the finest grid, per run.")] = 120.0,
    nx: Annotated[int | None, typer.Option(help="Elements along x instead of the problems' own sizes.")] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Keep every run in this CSV file; runs that it holds already are not done again."
        ),
    ] = None,
    table: Annotated[
        list[Path] | None,
        typer.Option(
            help="Run nothing: print the tables of a file written before. Several are read together, later ones "
            "replace equal runs of earlier ones, and --output writes them to one file."
        ),
    ] = None,
    outcomes: Annotated[
        Path | None, typer.Option(help="Write what every run achieved, measured against all of them, to this CSV file.")
    ] = None,
) -> int:
    """Solves until a design is within 1 % of the best known one: all methods from the same starts."""
    from sciopt.bench.topopt import benchmark
    from sciopt.bench.topopt_traces import merged, read_runs, write_runs

    for file in (output, outcomes):
        if file is not None and not file.parent.is_dir():
            raise InputError(f"there is no folder {file.parent} to write {file.name} into")
    if table:
        runs = merged([read_runs(file) for file in table])
        if output is not None:
            write_runs(output, runs)
        _report(runs, outcomes)
        return 0
    chosen = _methods(methods)
    names = _problems(problems)
    if starts < 1:
        raise InputError(f"starts is {starts}; expected at least 1")
    if not budget >= 1.0:
        raise InputError(f"budget is {budget:g}; expected at least 1 solve")
    runs = read_runs(output) if output is not None and output.exists() else []
    for run in benchmark(names, chosen, starts, budget, nx, [run.key for run in runs]):
        # One file is one benchmark; a run of another size or budget ends here, before anything is overwritten.
        runs = merged([runs, [run]])
        if output is not None:
            write_runs(output, runs)
        last = run.trace.best[-1] if run.trace.best else float("nan")
        print(
            f"{run.problem} {run.shape} start {run.start} {run.method}: {last:.6g} after "
            f"{run.trace.equivalents[-1] if run.trace.equivalents else 0:g} solves, {run.seconds:.1f} CPU s, "
            f"direct solver {run.direct:.6g} ({run.note})",
            file=sys.stderr,
        )
        sys.stderr.flush()
    _report(runs, outcomes)
    return 0


def _report(runs: Sequence[DesignRun], file: Path | None) -> None:
    from sciopt.bench.topopt_measures import Outcome
    from sciopt.bench.topopt_measures import outcomes as measured
    from sciopt.bench.topopt_table import tables
    from sciopt.core.checkpoint import write_atomically

    if file is not None:
        text = io.StringIO()
        writer = csv.DictWriter(text, [field.name for field in fields(Outcome)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(
            {name: f"{cell:.6g}" if isinstance(cell, float) else cell for name, cell in asdict(outcome).items()}
            for outcome in measured(runs)
        )
        write_atomically(file, text.getvalue().encode())
    _versions()
    for line in tables(runs):
        print(line)


def speed(
    cases: Annotated[
        str, typer.Option(help="Comma-separated: plane, space, growth, large, race, peers, or names listed by --list.")
    ] = "plane,space,growth,large,race,peers",
    listed: Annotated[bool, typer.Option("--list", help="List the cases and exit.")] = False,
    iterations: Annotated[int | None, typer.Option(help="Design iterations instead of each case's own number.")] = None,
) -> int:
    """CPU seconds per design iteration, all threads, each case in a process of its own; with pyMOTO beside it."""
    from sciopt.bench.topopt_peers import peers
    from sciopt.bench.topopt_speed import CASES, measure, race

    words = [word.strip() for word in cases.split(",") if word.strip()]
    groups = [*dict.fromkeys(case.group for case in CASES), "race", "peers"]
    if listed:
        for case in CASES:
            print(f"{case.group:8s} {case.name:30s} {case.iterations} iterations")
        return 0
    if not words:
        raise InputError(f"no case is given; known are {', '.join(groups)}")
    for word in words:
        if word not in groups and word not in [case.name for case in CASES]:
            raise InputError(f"unknown case {word!r}; known are {', '.join(groups)}, and single ones that --list shows")
    if iterations is not None and iterations < 3:
        raise InputError(f"iterations is {iterations}; a median needs 3 at least")
    _versions()
    picked = [case for case in CASES if case.group in words or case.name in words]
    if picked:
        _say(measure(picked, iterations))
    if "race" in words:
        _say(race(iterations))
    if "peers" in words:
        _say(peers(iterations))
    return 0


def _say(lines: Iterable[str]) -> None:
    for line in lines:
        print(line, flush=True)


def _versions() -> None:
    from sciopt.run_files import versions

    print("versions: " + ", ".join(f"{name} {number}" for name, number in versions().items()))


def _methods(words: str) -> list[str]:
    from sciopt.topopt.methods import DESIGN_METHODS

    known = ("auto", *DESIGN_METHODS)
    chosen = [word.strip() for word in words.split(",") if word.strip()]
    if not chosen:
        raise InputError(f"no method is given; known are {', '.join(known)}")
    for method in chosen:
        if method not in known:
            raise InputError(f"unknown method {method!r}; known are {', '.join(known)}")
    return list(dict.fromkeys(chosen))


def _problems(words: str) -> list[str]:
    from sciopt.problems import structure_problem, structure_problem_names

    groups: dict[str, bool | None] = {"all": None, "seen": True, "unseen": False}
    names: list[str] = []
    for word in (word.strip() for word in words.split(",") if word.strip()):
        names += structure_problem_names(groups[word]) if word in groups else [structure_problem(word).name]
    if not names:
        raise InputError("no problem is given; name some, or seen, unseen or all")
    return list(dict.fromkeys(names))
