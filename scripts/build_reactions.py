"""Build the GFN2-xTB reactions in sciopt/problems/data: minima, lowest saddle, barrier.

Run ``python scripts/build_reactions.py [NAME ...]``: all reactions, or the named ones. Nothing is downloaded; every
geometry starts from a z-matrix in ``scripts/reactions``. Each finished reaction writes ``paths/NAME.extxyz`` and
replaces its row of ``reactions.csv``.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import logging
import os
import time
from importlib.metadata import version
from pathlib import Path

# The molecules are small: threads of the linear algebra library only get in each other's way.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from ase import Atoms
from ase.io.extxyz import key_val_dict_to_str
from reactions.held_out import HELD_OUT
from reactions.reaction import Reaction, aligned, in_plane, pairs, symmetric
from reactions.search import IMAGES, Connection, Search
from reactions.surface import NotFound, Surface
from reactions.tuned import TUNED

DATA = Path(__file__).resolve().parents[1] / "sciopt" / "problems" / "data"
COLUMNS = (
    "name", "formula", "atoms", "tuned", "barrier", "reverse_barrier", "imaginary_eigenvalue", "next_eigenvalue",
    "max_force_saddle", "max_force_ends", "tblite", "ase", "date",
)  # fmt: skip
log = logging.getLogger("reactions")


def main() -> int:
    """Build the reactions named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="reactions to build (default: all)")
    names = parser.parse_args().names
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    known = {reaction.name: reaction for reaction in (*TUNED, *HELD_OUT)}
    if unknown := set(names) - set(known):
        parser.error(f"unknown reactions {sorted(unknown)}; known: {', '.join(known)}")
    failed = []
    for name in names or known:
        start = time.perf_counter()
        try:
            build(known[name])
        except NotFound as error:
            log.error("%s failed: %s", name, error)
            failed.append(name)
        log.info("%s: %.0f s\n", name, time.perf_counter() - start)
    return 1 if failed else 0


def build(reaction: Reaction) -> None:
    """Find the reference of one reaction and write its files."""
    numbers = reaction.geometry("saddle" if reaction.saddle else "initial").numbers
    search = Search(reaction, Surface(numbers, reaction.multiplicity))
    connection = search.run()
    barrier = connection.saddle.energy - connection.initial.energy
    log.info("%s: barrier %.4f eV, absolute %.4f", reaction.name, barrier, connection.saddle.energy)
    for outcome in search.outcomes:
        log.info("    %s", outcome)
    write(reaction, search.surface, connection)
    record(reaction, search.surface, connection)


def write(reaction: Reaction, surface: Surface, connection: Connection) -> None:
    """Write initial, final and saddle, in this order, with 15 decimals."""
    frames = []
    for x in place(reaction, connection):
        atoms = surface.atoms(x)
        atoms.info = {
            "name": reaction.name,
            "kind": "molecule",
            "images": IMAGES,
            "tuned": reaction.tuned,
            "calculator": "tblite:GFN2-xTB" + (f":multiplicity={reaction.multiplicity}" * (reaction.multiplicity != 1)),
            "barrier": connection.saddle.energy - connection.initial.energy,
            "source": reaction.source,
        }
        frames.append(atoms)
    (DATA / "paths").mkdir(parents=True, exist_ok=True)
    with (DATA / "paths" / f"{reaction.name}.extxyz").open("w") as file:
        file.writelines(map(extxyz, frames))


def extxyz(atoms: Atoms) -> str:
    """One frame with 15 decimals; ASE's own writer keeps 8, too few for forces of 1e-6 eV/Å."""
    header = f'Properties=species:S:1:pos:R:3 {key_val_dict_to_str(atoms.info)} pbc="F F F"'
    rows = [f"{a.symbol:<2} {a.x:22.15f} {a.y:22.15f} {a.z:22.15f}" for a in atoms]
    return "\n".join([str(len(atoms)), header, *rows]) + "\n"


def place(reaction: Reaction, connection: Connection) -> list[np.ndarray]:
    """Put the three geometries into one frame: centred, final and saddle as close to the initial state as can be.

    Ends with a mirror plane are put into it exactly, so that straight and IDPP paths between them stay there.
    The orientation of a linear molecule about its axis is free, and two collinear ends would leave every straight
    path on one line, where forces cannot bend it; the ends are then put onto the saddle instead.
    """
    initial, saddle, final = (point.x for point in (connection.initial, connection.saddle, connection.final))
    initial = (initial.reshape(-1, 3) - initial.reshape(-1, 3).mean(axis=0)).ravel()
    if all(linear(x) for x in (initial, final)):
        saddle = aligned(saddle, initial)
        return [aligned(initial, saddle), aligned(final, saddle), saddle]
    if reaction.mirror:
        initial = in_plane(initial, pairs(reaction.mirror))
        final = symmetric(aligned(final, initial), pairs(reaction.mirror))
    return [initial, aligned(final, initial), aligned(saddle, initial)]


def linear(x: np.ndarray) -> bool:
    """Whether all atoms lie on one line."""
    positions = x.reshape(-1, 3)
    return bool(np.linalg.svd(positions - positions.mean(axis=0), compute_uv=False)[1] < 1e-2)


def record(reaction: Reaction, surface: Surface, connection: Connection) -> None:
    """Replace the row of this reaction in reactions.csv."""
    path = DATA / "reactions.csv"
    rows = list(csv.DictReader(path.open(newline=""))) if path.exists() else []
    initial, saddle, final = connection.initial, connection.saddle, connection.final
    rows = [row for row in rows if row["name"] != reaction.name]
    rows.append(
        {
            "name": reaction.name,
            "formula": surface.atoms(saddle.x).get_chemical_formula(),
            "atoms": len(surface.numbers),
            "tuned": reaction.tuned,
            "barrier": f"{saddle.energy - initial.energy:.6f}",
            "reverse_barrier": f"{saddle.energy - final.energy:.6f}",
            "imaginary_eigenvalue": f"{saddle.curvatures[0]:.4f}",
            "next_eigenvalue": f"{saddle.curvatures[1]:.4f}",
            "max_force_saddle": f"{saddle.fmax:.1e}",
            "max_force_ends": f"{max(initial.fmax, final.fmax):.1e}",
            "tblite": version("tblite"),
            "ase": version("ase"),
            "date": datetime.date.today().isoformat(),
        }
    )
    order = [known.name for known in (*TUNED, *HELD_OUT)]
    rows.sort(key=lambda row: order.index(row["name"]) if row["name"] in order else len(order))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    raise SystemExit(main())
