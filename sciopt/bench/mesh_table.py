"""`sciopt bench fenicsx`: every case in processes of its own, and its numbers in lines to read."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sciopt.bench.mesh_cases import CASES
from sciopt.core.errors import SciOptError

__all__ = ["lines", "measured"]


def measured(name: str, ranks: int) -> dict[str, Any]:
    """The numbers of one case on so many ranks.

    Raises
    ------
    SciOptError
        When the case failed, with the end of what it said.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "numbers.json"
        command = [sys.executable, "-m", "sciopt.bench.mesh_cases", name, str(file)]
        if ranks > 1:
            beside = Path(sys.executable).with_name("mpiexec")
            command = [str(beside) if beside.exists() else str(shutil.which("mpiexec")), "-n", str(ranks), *command]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode or not file.exists():
            raise SciOptError(f"case {name} on {ranks} ranks failed: {(done.stderr or done.stdout).strip()[-500:]}")
        found: dict[str, Any] = json.loads(file.read_text())
        return found


def lines(names: Sequence[str]) -> Iterator[str]:
    """Run the cases called `names` and say what they cost, one line each as soon as it is known."""
    said = False
    for name in names:
        _, _, numbers_of_ranks = CASES[name]
        before: dict[str, Any] | None = None
        for ranks in numbers_of_ranks:
            found = measured(name, ranks)
            if not said:
                yield found["versions"]
                said = True
            if "rows" in found:
                yield from _rows(name, found["rows"])
            else:
                yield f"{name}: {_told(found, before)}"
            before = found


def _rows(name: str, rows: list[dict[str, Any]]) -> Iterator[str]:
    yield (
        f"{name}: {'problem':8s} {'cells':>6s} {'method':12s} {'objective':>10s} {'on mesh':>7s} {'to 1 %':>6s} "
        f"{'in all':>7s} {'CPU s':>6s}"
    )
    for row in rows:
        close = "-" if row["close"] is None else str(row["close"])
        yield (
            f"{'':{len(name) + 1}s} {row['problem']:8s} {row['cells']:6d} {row['method']:12s} {row['objective']:10.5g} "
            f"{row['solves']:7d} {close:>6s} {row['equivalents']:7.1f} {row['seconds']:6.1f}"
        )


def _told(found: dict[str, Any], before: dict[str, Any] | None) -> str:
    words = [f"{found['cells']} cells, {found['unknowns']} unknowns"]
    if "ranks" in found:
        words.append(
            f"{found['ranks']} rank{'s' * (found['ranks'] > 1)}: {found['iteration']:.3f} s per design iteration"
        )
        if before is not None:
            difference = abs(found["value"] / before["value"] - 1.0)
            words.append(f"{before['iteration'] / found['iteration']:.2f} x faster, values differ by {difference:.0e}")
    elif "naive" in found:
        words += [
            f"{found['solver']}: {found['seconds']:.1f} CPU s, {found['CG']} iterations, "
            f"true residual {found['residual']:.1e}",
            f"compliance {found['compliance']:.6g}, by the grid's own solver {found['grid']:.6g} "
            f"(relative difference {found['error']:.1e})",
            f"CG with GAMG, Chebyshev and Jacobi: {found['naive']:.4g}, PETSc's reason {found['reason']}",
        ]
    else:
        plain = found["assemble"] + found["solve"]
        words += [
            f"{found['solver']}: {found['iteration']:.3f} CPU s per design iteration (worst {found['worst']:.3f})",
            f"plain dolfinx: {found['assemble']:.3f} assemble_matrix + {found['solve']:.3f} solve",
            f"ratio {found['iteration'] / plain:.2f}",
        ]
    return "; ".join([*words, f"peak {found['memory']:.2f} GB"])
