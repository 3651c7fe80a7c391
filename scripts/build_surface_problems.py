"""Build the problems on cheap potentials in sciopt/problems/data/paths: minima, lowest saddle, barrier.

Run ``python scripts/build_surface_problems.py [NAME ...]``: all processes, or the named ones. Nothing is downloaded;
the processes are defined in ``scripts/surfaces``. For each one

1. both ends are relaxed to 1e-4 eV/Å by optimizers of ASE,
2. the path is searched by `sciopt.find_path`, by ASE's NEB with FIRE from another band, and by `find_path` from bent
   bands,
3. the top of every path is refined until its forces are below 3e-4 eV/Å and its number of negative modes, measured by
   finite differences, is one; walks downhill on both sides must reach the ends, or intermediate minima from which
   further saddles, found and refined in the same way, lead to the ends,
4. the path with the lowest top is kept: its highest saddle is the reference, and its energy the barrier.
"""

from __future__ import annotations

import argparse
import logging
import os
import time
from pathlib import Path

# Small matrices: threads of the linear algebra library only get in each other's way.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from ase import Atoms
from ase.io.extxyz import key_val_dict_to_str
from surfaces.islands import ISLANDS
from surfaces.metals import METALS
from surfaces.planar import PLANAR
from surfaces.process import Process
from surfaces.search import Found, NotFound, Surface, search

from sciopt.core.errors import SciOptError
from sciopt.neb.endpoints import check_pair
from sciopt.problems import path_calculator

PATHS = Path(__file__).resolve().parents[1] / "sciopt" / "problems" / "data" / "paths"
log = logging.getLogger("surfaces")


def main() -> int:
    """Build the processes named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="processes to build (default: all)")
    names = parser.parse_args().names
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    known = {process.name: process for process in (*PLANAR, *METALS, *ISLANDS)}
    if unknown := set(names) - set(known):
        parser.error(f"unknown processes {sorted(unknown)}; known: {', '.join(known)}")
    failed = []
    for name in names or known:
        start = time.perf_counter()
        log.info("%s", name)
        try:
            build(known[name])
        except (NotFound, SciOptError) as error:
            log.error("    failed: %s", error)
            failed.append(name)
        log.info("    %.0f s\n", time.perf_counter() - start)
    return 1 if failed else 0


def build(process: Process) -> None:
    """Find the reference of one process and write its file."""
    initial, final = process.ends()
    surface = Surface(initial, path_calculator(process.calculator))
    reduce = surface.coordinates.reduce
    a, b = (surface.minimum(reduce(end.positions)) for end in (initial, final))
    # The short way through periodic boundaries, for every atom.
    b = reduce(check_pair(surface.coordinates.atoms(a), surface.coordinates.atoms(b)).positions)
    best = search(surface, a, b, process.images, process.starts)[0]
    barrier = best.top.energy - surface(a)[0]
    log.info(
        "    %d atoms, %d free; barrier %.4f eV by %s; force at the saddle %.1e eV/Å, curvatures %s",
        len(initial),
        surface.coordinates.size,
        barrier,
        best.how,
        best.top.force_norm,
        best.top.eigenvalues.round(3),
    )
    write(process, [surface.coordinates.atoms(x) for x in (a, b, best.top.x)], barrier, best)


def write(process: Process, frames: list[Atoms], barrier: float, best: Found) -> None:
    """Write initial, final and saddle, in this order."""
    source = process.source
    if len(best.saddles) > 1:
        source += (
            f"; the lowest path known passes {len(best.saddles)} saddles, each refined and followed to its two minima, "
            "and the highest is stored"
        )
    info = {
        "name": process.name,
        "kind": process.kind,
        "images": process.images,
        "tuned": process.tuned,
        "calculator": process.calculator,
        "barrier": barrier,
        "source": source,
    }
    with (PATHS / f"{process.name}.extxyz").open("w", encoding="utf-8") as file:
        file.writelines(extxyz(atoms, info) for atoms in frames)


def extxyz(atoms: Atoms, info: dict[str, object]) -> str:
    """One frame with 15 decimals; ASE's own writer keeps 8, too few for forces of 1e-6 eV/Å.

    Whole fixed atoms are marked by `move_mask`, which ASE reads back as FixAtoms.
    """
    fixed = {i for constraint in atoms.constraints if type(constraint).__name__ == "FixAtoms" for i in constraint.index}
    lattice = " ".join(f"{value:.15f}" for value in atoms.cell.array.ravel())
    header = f'Lattice="{lattice}" ' if atoms.cell.rank else ""
    header += "Properties=species:S:1:pos:R:3" + (":move_mask:L:1" if fixed else "")
    header += f' {key_val_dict_to_str(info)} pbc="{" ".join("FT"[flag] for flag in atoms.pbc.astype(int))}"'
    marks = ["F" if i in fixed else "T" for i in range(len(atoms))] if fixed else [""] * len(atoms)
    rows = [
        f"{symbol:<2} {x:22.15f} {y:22.15f} {z:22.15f} {mark}".rstrip()
        for symbol, (x, y, z), mark in zip(atoms.symbols, np.asarray(atoms.positions), marks, strict=True)
    ]
    return "\n".join([str(len(atoms)), header, *rows]) + "\n"


if __name__ == "__main__":
    raise SystemExit(main())
