"""`sciopt bench noise`: path searches on noisy forces."""

from __future__ import annotations

import sys
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Annotated

import typer

from sciopt.cli.bench_paths import known_methods, problem_names
from sciopt.core.errors import InputError

__all__ = ["noise"]


def noise(
    methods: Annotated[str, typer.Option(help="Comma-separated: gp, gp-saddle, auto, …; not those of ASE.")] = "auto",
    problems: Annotated[str, typer.Option(help="Comma-separated names or kinds, or all; eight by default.")] = "",
    sigmas: Annotated[
        str, typer.Option(help="Comma-separated standard errors of a force component, eV/Å.")
    ] = "0.03,0.1",
    seeds: Annotated[int, typer.Option(help="Draws of the noise.")] = 5,
    max_calls: Annotated[int, typer.Option(help="Budget per run.")] = 400,
    jobs: Annotated[int, typer.Option("--jobs", "-j", help="Processes.")] = 1,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Append every outcome to this CSV file as it comes.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Leave out runs that the output file holds.")] = False,
    table: Annotated[Path | None, typer.Option(help="Run nothing: print the table of such a file.")] = None,
) -> int:
    """Evaluations on noisy forces, and the true force where the saddle is said to be."""
    from sciopt.bench.path_methods import ASE_METHODS, METHODS
    from sciopt.bench.path_noise import NOISE_PROBLEMS, NoiseOutcome, noise_benchmark, noise_table
    from sciopt.bench.path_record import Record, latest, read_rows
    from sciopt.run_files import versions

    if table is not None:
        outcomes = latest(read_rows(table, NoiseOutcome))
    else:
        chosen, names = known_methods(methods), problem_names(problems) if problems else list(NOISE_PROBLEMS)
        for method in chosen:
            if method in ASE_METHODS or METHODS[method].prior is not None:
                raise InputError(f"{method} is not measured on noisy forces; use methods of sciopt without a prior")
        if seeds < 1:
            raise InputError(f"seeds is {seeds}; expected at least 1")
        if resume and output is None:
            raise InputError("--resume needs the file to continue: --output FILE")
        amounts, outcomes = _amounts(sigmas), []
        with ExitStack() as opened:
            record = opened.enter_context(Record(output, NoiseOutcome, resume)) if output is not None else None
            done = {row.key for row in record.rows} if record is not None else set()
            running = noise_benchmark(names, chosen, amounts, seeds, max_calls, jobs, done)
            for outcome in opened.enter_context(closing(running)):
                outcomes.append(outcome)
                if record is not None:
                    record.add(outcome)
                print(
                    f"{outcome.problem} {outcome.sigma:g} eV/Å seed {outcome.seed} {outcome.method}: {outcome.calls} "
                    f"calls, true force {outcome.force:.3f} ({outcome.note})",
                    file=sys.stderr,
                    flush=True,
                )
            places = {name: i for i, name in enumerate(names)}

            def order(row: NoiseOutcome) -> tuple[int, str, float, int, str]:
                return places.get(row.problem, len(places)), row.problem, row.sigma, row.seed, row.method

            outcomes.sort(key=order)
            if record is not None:
                record.sort(order)
                outcomes = record.rows
        print("versions: " + ", ".join(f"{name} {number}" for name, number in versions().items()))
    if not outcomes:
        raise InputError("there are no outcomes to print")
    for line in noise_table(outcomes):
        print(line)
    return 0


def _amounts(words: str) -> list[float]:
    try:
        amounts = [float(word) for word in words.split(",")]
    except ValueError as error:
        raise InputError(f"sigmas is {words!r}; expected numbers of eV/Å, as 0.03,0.1") from error
    if not all(amount > 0 for amount in amounts):
        raise InputError(f"sigmas is {words!r}; expected positive numbers of eV/Å")
    return amounts
