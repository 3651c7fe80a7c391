"""Methyl isocyanide to acetonitrile on GFN2-xTB by Gaussian process, alone and on top of a cheaper calculator."""

from __future__ import annotations

import sys

from sciopt import find_path
from sciopt.neb.path_result import PathResult
from sciopt.neb.plot_learning import plot_learning
from sciopt.problems import path_problem


def told(name: str, path: PathResult) -> None:
    sys.stdout.write(f"{name}: barrier {path.barrier:.3f} eV, {dict(path.calls)}\n{path.reason}\n")


def main() -> tuple[PathResult, PathResult]:
    problem = path_problem("methyl_isocyanide")
    ends = problem.initial, problem.final, "tblite:GFN2-xTB"
    alone = find_path(*ends, method="gp")
    told("alone", alone)
    # What the cheaper calculator says is the prior mean: only the difference has to be learned.
    corrected = find_path(*ends, method="gp", prior="tblite:GFN1-xTB", certify="strict")
    told("with GFN1-xTB as prior", corrected)
    alone.plot().figure.savefig("gp_profile.png", dpi=120)
    plot_learning(alone.lessons, "what was expected, and what came").figure.savefig("gp_learning.png", dpi=120)
    return alone, corrected


if __name__ == "__main__":
    main()
