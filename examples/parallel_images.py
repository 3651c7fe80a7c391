"""Images calculated side by side in two processes, the run stopped on the way and continued from its folder."""

from __future__ import annotations

import sys
from pathlib import Path

from sciopt import find_path
from sciopt.neb.path_result import PathResult
from sciopt.problems import path_problem


def main(out: Path = Path("ethanol_run")) -> PathResult:
    problem = path_problem("ethanol_rotation")
    ends = problem.initial, problem.final, problem.calculator  # a factory: every process makes its own calculator
    begun = find_path(*ends, workers=2, out=out, max_calls=14)
    sys.stdout.write(f"{begun.reason}: {begun.calls['images']} calculations so far\n")
    path = find_path(*ends, workers=2, out=out, resume=True)
    sys.stdout.write(f"barrier {path.barrier:.4f} eV after {path.calls['images']} calculations in all\n")
    return path


if __name__ == "__main__":  # processes import this file
    main()
