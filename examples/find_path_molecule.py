"""Hydrogen cyanide to hydrogen isocyanide on GFN2-xTB: from two guesses to a verified saddle point."""

from __future__ import annotations

import sys

from ase import Atoms

from sciopt import find_path
from sciopt.neb.path_result import PathResult

HCN = Atoms("HCN", [[-1.07, 0.0, 0.0], [0.0, 0.0, 0.0], [1.15, 0.0, 0.0]])
HNC = Atoms("HCN", [[2.15, 0.0, 0.0], [0.0, 0.0, 0.0], [1.17, 0.0, 0.0]])


def main() -> PathResult:
    path = find_path(HCN, HNC, "tblite:GFN2-xTB", relax=True, check=True)
    sys.stdout.write(f"barrier {path.barrier:.3f} eV, reaction energy {path.reaction_energy:+.3f} eV\n")
    sys.stdout.write(f"{path.reason}\n{sum(path.calls.values())} calculations\n")
    path.write("hcn_path.extxyz")
    path.plot().figure.savefig("hcn_profile.png", dpi=150)
    return path


if __name__ == "__main__":
    main()
