"""Vinyl alcohol to acetaldehyde on GFN2-xTB forces: what `make demo` runs.

Writes both ends as files, then calls the command line as anyone would.
"""

import os
import sys
from pathlib import Path

from sciopt.cli.main import main
from sciopt.problems import path_problem


def demo(folder: Path) -> None:
    """Run `sciopt neb` on two files below `folder`."""
    problem = path_problem("vinyl_alcohol_acetaldehyde")
    folder.mkdir(parents=True, exist_ok=True)
    ends = [folder / "vinyl_alcohol.xyz", folder / "acetaldehyde.xyz"]
    for file, atoms in zip(ends, (problem.initial, problem.final), strict=True):
        atoms.write(file)
    run = folder / "run"
    number = 1
    while run.exists():
        number += 1
        run = folder / f"run{number}"
    arguments = ["neb", *map(str, ends), "--calculator", "tblite:GFN2-xTB", "--check", "--out", str(run)]
    print("$ sciopt " + " ".join(arguments))
    main(arguments)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    demo(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("out/demo"))
