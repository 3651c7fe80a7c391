"""`sciopt plot`: draw what a run folder holds, finished or not."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sciopt.core.errors import InputError

__all__ = ["plot"]


def plot(
    folder: Annotated[Path, typer.Argument(help="Run folder of a path or of a design.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Picture; by default a .png in the folder.")
    ] = None,
    convergence: Annotated[
        bool, typer.Option("--convergence", help="Draw how the run converged instead of the profile or the design.")
    ] = False,
    learning: Annotated[
        bool, typer.Option("--learning", help="Draw how well a Gaussian process predicted what it asked for.")
    ] = False,
    mirror: Annotated[
        str | None, typer.Option(help="Faces at which a design is half of a symmetric one: left, left,front, …")
    ] = None,
) -> int:
    """Draw the energy profile of a path, or a design, or how it converged, or what a surrogate has learned."""
    from sciopt.topopt import stored

    if convergence and learning:
        raise InputError("--convergence and --learning are two pictures; ask for one at a time")
    if stored.holds_design(folder):
        if learning:
            raise InputError(f"--learning: {folder} holds a design, which has no surrogate")
        faces = [] if mirror is None else [face.strip() for face in mirror.split(",")]
        written = stored.plot_run(folder, output, convergence, faces)
    else:
        from sciopt.neb.stored import plot_run

        if mirror is not None:
            raise InputError(f"--mirror: {folder} holds no design; it has nothing to mirror")
        written = [plot_run(folder, output, convergence, learning)]
    print(f"wrote {', '.join(map(str, written))}")
    return 0
