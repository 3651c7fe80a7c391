"""`sciopt bench fenicsx`: what meshes cost, next to plain dolfinx."""

from __future__ import annotations

from typing import Annotated

import typer

from sciopt.core.errors import InputError

__all__ = ["fenicsx"]


def fenicsx(
    cases: Annotated[
        str, typer.Option(help="Comma-separated: plane, plane-quasi-newton, space, large, search, ranks.")
    ] = "plane,plane-quasi-newton,space,large,search,ranks",
) -> int:
    """CPU seconds of design iterations on FEniCSx meshes, next to dolfinx's own assembly and the same solver."""
    from sciopt.bench.mesh_cases import CASES
    from sciopt.bench.mesh_table import lines
    from sciopt.run_files import versions

    names = [word.strip() for word in cases.split(",") if word.strip()]
    for name in names:
        if name not in CASES:
            raise InputError(f"unknown case {name!r}; known are {', '.join(CASES)}")
    if not names:
        raise InputError(f"no case is given; known are {', '.join(CASES)}")
    print("versions: " + ", ".join(f"{name} {number}" for name, number in versions().items()))
    for line in lines(names):
        print(line, flush=True)
    return 0
