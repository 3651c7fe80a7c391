"""`sciopt topopt`: the best design of a named structure, or of one that a TOML file describes."""

from __future__ import annotations

import logging
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sciopt.core.errors import InputError

if TYPE_CHECKING:
    from sciopt.topopt.task import Task

__all__ = ["topopt"]

_BACKENDS = ("auto", "grid", "fenicsx")
# What `FEniCSx.read` reads.
_MESHES = (".msh", ".xdmf", ".step", ".stp")


def _list(wanted: bool) -> None:
    if wanted:
        from sciopt.problems import structure_problem, structure_problem_names

        for name in structure_problem_names():
            one = structure_problem(name)
            print(f"{name:9s} {' x '.join(map(str, one.grid.lattice.shape)):12s} {one.about}")
        raise typer.Exit


def topopt(
    problem: Annotated[
        str,
        typer.Argument(
            help="mbb, cantilever, l-bracket, bridge, inverter, heat, cantilever3d, mbb3d, … or a file problem.toml."
        ),
    ],
    known: Annotated[
        bool, typer.Option("--list", callback=_list, is_eager=True, help="List the named problems and exit.")
    ] = False,
    size: Annotated[
        str | None,
        typer.Option("--size", "-s", help="Elements of a named problem: 300x100, or 300 to keep its proportions."),
    ] = None,
    volume: Annotated[float | None, typer.Option(help="Largest share of the region that may be filled.")] = None,
    radius: Annotated[
        float | None, typer.Option(help="Of the filter, in units of length (element widths, if nothing else is said).")
    ] = None,
    filter: Annotated[str | None, typer.Option(help="density, helmholtz or sensitivity.")] = None,
    penalty: Annotated[float | None, typer.Option(help="Of intermediate densities: p of SIMP, q of RAMP.")] = None,
    projection: Annotated[
        float | None, typer.Option(metavar="BETA", help="Black-and-white designs: final sharpness, for example 32.")
    ] = None,
    robust: Annotated[
        float | None,
        typer.Option(metavar="DELTA", help="Half the threshold interval of the robust formulation, for example 0.2."),
    ] = None,
    symmetry: Annotated[
        str | None, typer.Option(help="Axes about whose middle planes the design is mirrored: x, y, xy, …")
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            "--method",
            "-m",
            help="auto, quasi-newton, oc, mma, gcmma, spg, mirror, fire, adam, lbfgs, …",
        ),
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option("--option", "-o", help="key=value for the method; repeatable.")
    ] = None,
    stop: Annotated[
        str | None, typer.Option(help="plateau, or change: no variable moved by 0.01, as in many papers.")
    ] = None,
    max_solves: Annotated[float | None, typer.Option(help="Budget in solves on the finest grid.")] = None,
    solver: Annotated[str | None, typer.Option(help="auto, multigrid or direct.")] = None,
    backend: Annotated[
        str,
        typer.Option(help="grid, or fenicsx: meshes, on any number of MPI ranks; auto: fenicsx for files with [mesh]."),
    ] = "auto",
    out: Annotated[Path | None, typer.Option("--out", help="Run folder; named after the problem.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in the folder.")] = False,
    iterations: Annotated[bool, typer.Option("--iterations", help="Keep every accepted design in the folder.")] = False,
    gif: Annotated[bool, typer.Option("--gif", help="Write an animation of the designs, evolution.gif.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress on the screen.")] = False,
    threads: Annotated[int | None, typer.Option(help="Threads of the linear algebra libraries.")] = None,
) -> int:
    """Optimize the topology of a structure: least compliance, mechanisms, heat, least volume."""
    from sciopt.cli.design_report import Frames, Progress, headline, report
    from sciopt.cli.ranks import on_ranks
    from sciopt.run_files import refuse_existing_run
    from sciopt.topopt.interrupt import interruptible

    mesh = _on_mesh(problem, backend)
    with on_ranks(mesh) as ranks:
        if mesh and gif:
            raise InputError("--gif: animations are drawn on grids only; open the run folder's files in ParaView")
        task = _named(problem, size)
        task = _material(_filter(task, filter, radius), penalty)
        task = _projected(task, projection, robust)
        said: dict[str, Any] = {
            "volume": volume,
            "method": method,
            "stop": stop,
            "max_solves": max_solves,
            "solver": solver,
        }
        task = replace(task, **{name: value for name, value in said.items() if value is not None})
        if volume is not None and task.kind == "minimum-volume":
            raise InputError("--volume: this problem minimizes the volume; change [objective] limit instead")
        if symmetry is not None:
            task = replace(task, symmetry=tuple(letter for letter in symmetry if letter not in ", "))
        if option:
            task = replace(task, options={**task.options, **dict(_option(word) for word in option)})
        folder = Path(task.name) if out is None else out
        if not resume:
            with ranks.together():
                refuse_existing_run(folder)
        with _threads(threads), interruptible(ranks.interrupted()) as interrupted:
            task.check_method()
            task = task.on_mesh() if mesh else task
            posed = task.problem()
            if not quiet:
                print(headline(task, posed))
            observers: list[Any] = [] if quiet else [Progress(posed)]
            frames = Frames(posed) if gif else None
            observers += [frames] if frames is not None else []
            with _warnings_in_the_report():
                found = task.optimize(
                    posed, out=folder, resume=resume, iterations=iterations, callback=[*observers, interrupted]
                )
        if frames is not None:
            frames.write(folder / "evolution.gif")
        print(report(found, folder if ranks.first else None))
        return 0 if found.converged else 2


def _on_mesh(problem: str, backend: str) -> bool:
    """Whether the problem is solved on a dolfinx mesh."""
    from sciopt.topopt.task_file import names_mesh

    if backend not in _BACKENDS:
        raise InputError(f"--backend is {backend!r}; expected one of {', '.join(_BACKENDS)}")
    if problem.lower().endswith(_MESHES):
        raise InputError(
            f"{problem} is a mesh, which nothing holds or loads yet; say so in a file problem.toml with the sections "
            f'[mesh] file = "{Path(problem).name}", [[support]] where = "left", and [[load]] where = "right", '
            f"force = [0, -1], where names of physical groups will do, too"
        )
    given = problem.endswith(".toml") and names_mesh(problem)
    if given and backend == "grid":
        raise InputError(f"--backend grid: {problem} has a [mesh]; leave the option out")
    return given or backend == "fenicsx"


def _named(problem: str, size: str | None) -> Task:
    from sciopt.problems import structure_problem
    from sciopt.topopt.filters import Density
    from sciopt.topopt.material import SIMP
    from sciopt.topopt.task import Task
    from sciopt.topopt.task_file import read_task

    if problem.endswith(".toml") or "/" in problem:
        if size is not None:
            raise InputError(f"--size: {problem} says its own; change [grid] size or the mesh there")
        return read_task(problem)
    found = structure_problem(problem, *_counts(size))
    return Task(
        problem,
        found.grid,
        found.kind,
        found.volume,
        filter=Density(found.radius),
        material=SIMP(Emin=found.Emin),
    )


def _counts(size: str | None) -> list[int]:
    words = [] if size is None else size.lower().replace("×", "x").split("x")
    if len(words) > 3 or not all(word.strip().isdecimal() for word in words):
        raise InputError(f"--size is {size!r}; expected numbers of elements such as 300x100, 48x16x16 or 300")
    return [int(word) for word in words]


def _filter(task: Task, kind: str | None, radius: float | None) -> Task:
    from sciopt.topopt.task import FILTERS

    now = task.filter
    assert now is not None  # named problems and files always have one
    if kind is not None and kind not in FILTERS:
        raise InputError(f"--filter is {kind!r}; expected one of {', '.join(FILTERS)}")
    made = type(now) if kind is None else FILTERS[kind]
    return replace(task, filter=made(now.radius if radius is None else radius))


def _material(task: Task, penalty: float | None) -> Task:
    from sciopt.topopt.material import SIMP

    if penalty is None:
        return task
    law = task.material
    return replace(task, material=replace(law, p=penalty) if isinstance(law, SIMP) else replace(law, q=penalty))


def _projected(task: Task, beta: float | None, robust: float | None) -> Task:
    from sciopt.topopt.field import Projection

    if beta is None and robust is None:
        return task
    now = task.projection or Projection()
    return replace(
        task, projection=Projection(now.beta if beta is None else beta, now.robust if robust is None else robust)
    )


def _option(word: str) -> tuple[str, Any]:
    """A number or a switch by its name; as in TOML."""
    key, equals, value = word.partition("=")
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except ValueError:
        what = f"{value!r} is no number, true or false" if equals else "expected key=value"
        raise InputError(f"--option {word}: {what}") from None


@contextmanager
def _threads(number: int | None) -> Iterator[None]:
    from threadpoolctl import threadpool_limits

    if number is not None and number < 1:
        raise InputError(f"--threads is {number}; expected at least 1")
    with threadpool_limits(number):
        yield


@contextmanager
def _warnings_in_the_report() -> Iterator[None]:
    """The report ends with the warnings about the design; said once is enough."""
    logger = logging.getLogger("sciopt")

    def elsewhere(record: logging.LogRecord) -> bool:
        return record.module != "optimize"

    logger.addFilter(elsewhere)
    try:
        yield
    finally:
        logger.removeFilter(elsewhere)
