"""`sciopt relax`: the nearest minimum."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sciopt.cli.structures import calculator_from, read_structure

if TYPE_CHECKING:
    from sciopt.core.run import Snapshot

__all__ = ["relax"]


def relax(
    structure: Annotated[Path, typer.Argument(help="Structure, any format ASE reads.")],
    calculator: Annotated[
        str, typer.Option("--calculator", "-c", help="emt, lj, tblite:GFN2-xTB, or a calculator ASE knows by name.")
    ] = "tblite:GFN2-xTB",
    option: Annotated[
        list[str] | None, typer.Option("--option", "-o", help="key=value for the calculator; repeatable.")
    ] = None,
    method: Annotated[
        str,
        typer.Option("--method", "-m", help="lbfgs, or gp: a Gaussian process, for calculations of seconds and more."),
    ] = "lbfgs",
    fmax: Annotated[float, typer.Option(help="Tolerance on the largest force on an atom, eV/Å.")] = 0.05,
    max_calls: Annotated[int, typer.Option(help="Budget of calculator calls.")] = 1000,
    out: Annotated[Path, typer.Option("--out", help="Run folder.")] = Path("relax"),
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in the folder.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress on the screen.")] = False,
) -> int:
    """Relax the free atoms of a structure at fixed cell."""
    from sciopt.neb.relax import relax as relax_atoms
    from sciopt.run_files import refuse_existing_run

    if not resume:
        refuse_existing_run(out)
    atoms = read_structure(structure)
    found = relax_atoms(
        atoms,
        calculator_from(calculator, option),
        method=method,
        fmax=fmax,
        max_calls=max_calls,
        out=out,
        resume=resume,
        callback=None if quiet else _progress,
    )
    print(f"energy   {found.energy:.6f} eV   fmax {found.fmax:.4f} eV/Å   {found.calls} calls")
    print(f"{'converged' if found.converged else 'NOT CONVERGED'}: {found.reason}")
    print(f"written to {out}/ (relaxed.extxyz, path.traj, log.csv, summary.json)")
    return 0 if found.converged else 2


def _progress(snapshot: Snapshot) -> None:
    record = snapshot.history[-1]
    print(f"{len(snapshot.history):5d} {record.value:16.6f} eV {record.residual:10.4f} eV/Å")
    sys.stdout.flush()
