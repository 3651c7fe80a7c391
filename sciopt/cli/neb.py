"""`sciopt neb`: a reaction path between two structures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sciopt.cli.path_progress import Progress
from sciopt.cli.structures import calculator_from, read_path, read_structure
from sciopt.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms

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
        str, typer.Option("--method", "-m", help="auto, gp, imagewise, lbfgs, fire, fire2, adam, ode12r, …")
    ] = "auto",
    fmax: Annotated[float, typer.Option(help="Tolerance on the largest force on an atom, eV/Å.")] = 0.05,
    climb: Annotated[bool, typer.Option(help="Let the highest image climb to the saddle.")] = True,
    certify: Annotated[
        str,
        typer.Option(
            help="strict: true forces at every image; band: the same, but with gp a surrogate may answer for images "
            "other than the saddle, audited; saddle: the saddle only."
        ),
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
    prior: Annotated[
        str | None,
        typer.Option(help="gp: a cheaper calculator that the Gaussian process corrects, such as tblite:GFN1-xTB."),
    ] = None,
    batch: Annotated[
        int | None, typer.Option("--batch", "-b", help="gp: images asked for at a time; --workers by default.")
    ] = None,
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
    cheaper = calculator_from(prior, None) if prior is not None else None
    progress = None if quiet else Progress()
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
        prior=cheaper,
        batch=batch,
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


def _report(found: PathResult, out: Path) -> None:
    spent = ", ".join(f"{amount} {name}" for name, amount in found.calls.items() if amount)
    claims = found.reason.split("; ")
    print(f"barrier          {found.barrier:.4f} eV   (estimated error {1e3 * found.barrier_error:.1f} meV)")
    print(f"reverse barrier  {found.barrier_reverse:.4f} eV")
    print(f"reaction energy  {found.reaction_energy:+.4f} eV")
    if found.energy_errors is not None:
        known = int((found.energy_errors[1:-1] == 0).sum())
        print(f"images           {known} evaluated, {len(found.X) - 2 - known} predicted")
    print(f"calls            {spent}")
    print(f"{'converged' if found.converged else 'NOT CONVERGED':16s} {claims[0]}")
    for claim in claims[1:]:
        print(f"{'':16s} {claim}")
    names = ["profile.png", "path.extxyz", "path.traj", "learning.csv", "saddle.extxyz", "log.csv", "summary.json"]
    print(f"written to {out}/ ({', '.join(name for name in names if (out / name).exists())})")
