"""`sciopt plot`: draw what a run folder holds, finished or not."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["plot"]


def plot(
    folder: Annotated[Path, typer.Argument(help="Run folder of a path.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Picture; profile.png in the folder.")] = None,
    convergence: Annotated[
        bool, typer.Option("--convergence", help="Draw the largest force of band after band instead of the profile.")
    ] = False,
) -> int:
    """Draw the energy profile of a run, or how it converged."""
    from sciopt.neb.stored import plot_run

    written = plot_run(folder, output, convergence)
    print(f"wrote {written}")
    return 0
