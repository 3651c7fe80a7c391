"""`sciopt bench`: published benchmarks, side by side with what people use today."""

from __future__ import annotations

import csv
import sys
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sciopt.cli.bench_topopt import designs, speed
from sciopt.core.errors import InputError

if TYPE_CHECKING:
    from sciopt.bench.paths import Outcome

__all__ = ["app"]

app = typer.Typer(help="Benchmarks; each prints its table and says what failed.")
app.command("topopt")(designs)
app.command("topopt-speed")(speed)


@app.callback()
def _group() -> None:
    """Benchmarks; each prints its table and says what failed."""


@app.command("paths")
def paths(
    methods: Annotated[
        str, typer.Option(help="Comma-separated: auto, imagewise, lbfgs, fire, …, ase-lbfgs, ase-fire, ase-ode.")
    ] = "auto,ase-lbfgs,ase-fire,ase-ode",
    problems: Annotated[str, typer.Option(help="Comma-separated names or kinds, or all.")] = "all",
    starts: Annotated[int, typer.Option(help="Starts per problem; all but the first are perturbed.")] = 5,
    max_calls: Annotated[int, typer.Option(help="Budget per run.")] = 2000,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write every outcome to this CSV file.")] = None,
    table: Annotated[
        Path | None, typer.Option(help="Run nothing: print the tables of a CSV file written before.")
    ] = None,
) -> int:
    """Evaluations to a converged climbing-image band, against ASE from the same initial paths."""
    from sciopt.bench.paths import ASE_METHODS, Outcome, benchmark
    from sciopt.bench.table import stored_outcomes
    from sciopt.neb.methods import BAND_METHODS
    from sciopt.run_files import versions

    if table is not None:
        _print_tables(stored_outcomes(table))
        return 0
    chosen = [method.strip() for method in methods.split(",") if method.strip()]
    known = ("auto", *BAND_METHODS, *ASE_METHODS)
    if not chosen:
        raise InputError(f"no method is given; known are {', '.join(known)}")
    for method in chosen:
        if method not in known:
            raise InputError(f"unknown method {method!r}; known are {', '.join(known)}")
    if starts < 1:
        raise InputError(f"starts is {starts}; expected at least 1")
    if output is not None and not output.parent.is_dir():
        raise InputError(f"there is no folder {output.parent} to write {output.name} into")
    outcomes: list[Outcome] = []
    for outcome in benchmark(_problem_names(problems), chosen, starts, max_calls):
        outcomes.append(outcome)
        mark = "ok" if outcome.success else "FAILED"
        print(
            f"{outcome.problem} start {outcome.seed} {outcome.method}: {mark} {outcome.calls} calls, barrier "
            f"{1e3 * outcome.barrier_error:+.1f} meV, fmax {outcome.fmax:.3f} ({outcome.note})",
            file=sys.stderr,
        )
        sys.stderr.flush()
    if output is not None:
        with open(output, "w", newline="") as file:
            writer = csv.DictWriter(file, [field.name for field in fields(Outcome)])
            writer.writeheader()
            writer.writerows(asdict(outcome) for outcome in outcomes)
    print("versions: " + ", ".join(f"{name} {number}" for name, number in versions().items()))
    _print_tables(outcomes)
    return 0


def _print_tables(outcomes: list[Outcome]) -> None:
    from sciopt.bench.table import path_table, summary_lines

    print("median calls of successful starts (successes/starts); * marks problems no constant was chosen on")
    for line in path_table(outcomes):
        print(line)
    for line in summary_lines(outcomes, outcomes[0].method):
        print(line)


@app.command("overhead")
def overhead() -> int:
    """CPU time per band point besides the forces, and calculator calls per image, next to ASE's optimizers."""
    from sciopt.bench.overhead import overhead as measure
    from sciopt.bench.sharing import sharing
    from sciopt.run_files import versions

    print("versions: " + ", ".join(f"{name} {number}" for name, number in versions().items()))
    print(f"{'system':16s} {'coordinates':>11s} {'images':>6s} {'method':12s} {'ms per band':>11s}")
    for cost in measure():
        row = f"{cost.system:16s} {cost.coordinates:11d} {cost.images:6d} {cost.method:12s} {cost.milliseconds:11.2f}"
        print(row)
    print()
    print(f"{'calls per image and band point':32s} {'separate':>9s} {'shared':>9s}")
    for method, separate, shared in sharing():
        print(f"{method:32s} {separate:9.2f} {shared:9.2f}")
    return 0


def _problem_names(words: str) -> list[str]:
    from sciopt.problems import path_problem, path_problem_names

    if words == "all":
        return list(path_problem_names())
    names: list[str] = []
    for word in (word.strip() for word in words.split(",")):
        of_kind = [name for name in path_problem_names() if path_problem(name).kind == word]
        names += of_kind or [path_problem(word).name]
    return names
