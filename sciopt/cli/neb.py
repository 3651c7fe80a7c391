"""`sciopt neb`: a reaction path between two structures."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sciopt.cli.structures import calculator_from, read_path, read_structure
from sciopt.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms

    from sciopt.core.run import Snapshot
    from sciopt.neb.path_result import PathResult

__all__ = ["neb"]


def neb(
    initial: Annotated[Path, typer.Argument(help="Structure of the reactant, any format ASE reads.")],
    final: Annotated[Path, typer.Argument(help="Structure of the product, atoms in the same order.")],
    calculator: Annotated[
        str,
        typer.Option(
            "--calculator", "-c", help="emt, lj, tblite:GFN2-xTB, tblite:GFN1-xTB, or a calculator ASE knows by name."
        ),
    ] = "tblite:GFN2-xTB",
    option: Annotated[
        list[str] | None, typer.Option("--option", "-o", help="key=value for the calculator; repeatable.")
    ] = None,
    images: Annotated[int, typer.Option("--images", "-n", help="Movable images.")] = 7,
    method: Annotated[
        str, typer.Option("--method", "-m", help="auto, imagewise, lbfgs, fire, fire2, adam, ode12r, …")
    ] = "auto",
    fmax: Annotated[float, typer.Option(help="Tolerance on the largest force on an atom, eV/Å.")] = 0.05,
    climb: Annotated[bool, typer.Option(help="Let the highest image climb to the saddle.")] = True,
    certify: Annotated[
        str, typer.Option(help="band: true forces at every image; saddle: the saddle only, checked.")
    ] = "band",
    check: Annotated[
        bool, typer.Option("--check", help="Verify that the saddle has one negative mode and connects both ends.")
    ] = False,
    path: Annotated[
        str,
        typer.Option(help="Initial path: auto, linear, idpp, sequential_idpp, geodesic, or a file with all images."),
    ] = "auto",
    relax: Annotated[bool, typer.Option("--relax", help="Relax both ends first.")] = False,
    spring: Annotated[float, typer.Option(help="Spring constant, eV/Å².")] = 0.1,
    springs: Annotated[str, typer.Option(help="uniform, energy (weighted) or string.")] = "uniform",
    tangent: Annotated[str, typer.Option(help="improved, central, bisection or spline.")] = "improved",
    noise: Annotated[float, typer.Option(help="Standard error of one force component, eV/Å.")] = 0.0,
    workers: Annotated[int, typer.Option("--workers", "-w", help="Processes that evaluate images.")] = 1,
    retries: Annotated[int, typer.Option(help="How often a failed calculation is tried again.")] = 0,
    max_calls: Annotated[int | None, typer.Option(help="Budget of evaluations of movable images.")] = None,
    out: Annotated[Path, typer.Option("--out", help="Run folder.")] = Path("neb"),
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in the folder.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress on the screen.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of what breaks the symmetry of the initial path.")] = 0,
) -> int:
    """Find the minimum-energy path between two structures and the saddle point on it."""
    from sciopt.neb.interpolate import INTERPOLATIONS
    from sciopt.neb.path import find_path
    from sciopt.run_files import refuse_existing_run

    if not resume:
        refuse_existing_run(out)
    reactant, product = read_structure(initial), read_structure(final)
    factory = calculator_from(calculator, option)
    start: str | Sequence[Atoms] = path
    if path not in ("auto", *INTERPOLATIONS):
        if not Path(path).is_file():
            raise InputError(f"initial path {path!r} is no file, nor one of auto, {', '.join(INTERPOLATIONS)}")
        start = read_path(Path(path))
    progress = None if quiet else _Progress()
    found = find_path(
        reactant,
        product,
        factory,
        images=images,
        method=method,
        climb=climb,
        fmax=fmax,
        certify=certify,  # type: ignore[arg-type]  # find_path says what it accepts
        check=check or None,
        path=start,
        springs=springs,  # type: ignore[arg-type]
        spring=spring,
        tangent=tangent,
        relax=relax,
        noise=noise,
        workers=workers,
        retries=retries,
        max_calls=max_calls,
        out=out,
        resume=resume,
        callback=progress,
        seed=seed,
    )
    _report(found, out)
    return 0 if found.converged else 2


class _Progress:
    """One line per band point."""

    def __init__(self) -> None:
        self._begun = False

    def __call__(self, snapshot: Snapshot) -> None:
        if not self._begun:
            print(f"{'band':>5} {'calls':>6} {'barrier/eV':>11} {'fmax':>9} {'limit':>8}   (eV/Å, Å)")
            self._begun = True
        record, info = snapshot.history[-1], snapshot.state.here.info
        barrier = info["energies"].max() - info["energies"][0]
        calls = int(snapshot.history.cost.get("images", 0))
        print(f"{len(snapshot.history):5d} {calls:6d} {barrier:11.4f} {record.residual:9.4f} {record.limit:8.3f}")
        sys.stdout.flush()


def _report(found: PathResult, out: Path) -> None:
    spent = ", ".join(f"{amount} {name}" for name, amount in found.calls.items() if amount)
    print(f"barrier          {found.barrier:.4f} eV   (estimated error {1e3 * found.barrier_error:.1f} meV)")
    print(f"reverse barrier  {found.barrier_reverse:.4f} eV")
    print(f"reaction energy  {found.reaction_energy:+.4f} eV")
    print(f"calls            {spent}")
    print(f"{'converged' if found.converged else 'NOT CONVERGED':16s} {found.reason}")
    print(f"written to {out}/ (profile.png, path.extxyz, path.traj, saddle.extxyz, log.csv, summary.json)")
