"""The cantilever of FEniTop (Jia, Wang and Zhang 2024, doi 10.1007/s00158-024-03818-7) on their mesh, next to theirs.

200 x 60 quadrilaterals on 60 x 20, plane strain with E = 100 and nu = 0.25, void 1e-6 of it, clamped on the left, a
traction of 0.2 on the right where 8 < y < 12, half the volume, SIMP with p = 3, a Helmholtz filter of length 1.2,
projected to black and white.

FEniTop's program (revision e8db11c, its calls renamed for dolfinx 0.11, everything else as it is) was run with the
settings of its ``scripts/beam_2d.py``: 400 steps of optimality criteria, beta doubled every 50. Its densities live on
nodes; data/benchmarks/fenitop_beam.npz holds them as it left them. Both designs are evaluated here, with the same
equations: as they are, by cell, and cut to 0 and 1 at the allowed volume.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from sciopt.run_files import versions
from sciopt.topopt import SIMP, Compliance, Helmholtz, Projection, optimize_topology
from sciopt.topopt.fenicsx import FEniCSx
from sciopt.topopt.fenicsx.loaded import MPI, dolfinx

# What FEniTop printed in its last step, and CPU seconds of its run, on an otherwise idle machine.
THEIRS = {"compliance": 0.715, "solves": 400, "seconds": 65.4}
DATA = Path(__file__).parents[1] / "data" / "benchmarks" / "fenitop_beam.npz"


def beam() -> Compliance:
    quadrilateral = dolfinx.mesh.CellType.quadrilateral
    mesh = dolfinx.mesh.create_rectangle(MPI.COMM_SELF, [[0.0, 0.0], [60.0, 20.0]], [200, 60], quadrilateral)
    source = FEniCSx(mesh, nu=0.25, plane="strain").fix("left")
    # Ten edges lie between 8 and 12 with both ends.
    source = source.load(lambda x, y: np.isclose(x, 60) & (y > 8) & (y < 12), (0.0, -0.2 * 10.0 / 3.0))
    return Compliance(
        source,
        0.5,
        filter=Helmholtz(1.2 * 2.0 * np.sqrt(3.0)),
        projection=Projection(32.0),
        material=SIMP(E0=100.0, Emin=1e-4),
    )


def main() -> None:
    problem = beam()
    structure = problem.structure
    column, row = (np.floor(structure.centres / [0.3, 1.0 / 3.0])).astype(int).T
    with np.load(DATA) as stored:
        nodes = stored["nodes"].astype(float)
    theirs = 0.25 * (nodes[row, column] + nodes[row, column + 1] + nodes[row + 1, column] + nodes[row + 1, column + 1])

    def compliance(density: np.ndarray) -> float:
        loads = structure.loads
        return float(np.vdot(loads[0], problem.system.solve(problem.moduli(density), loads, 1e-8).u[0]))

    def cut(density: np.ndarray) -> float:
        solid = np.zeros_like(density)
        solid[np.argsort(-density, kind="stable")[: density.size // 2]] = 1.0
        return compliance(solid)

    begun = time.process_time()
    found = optimize_topology(problem)
    seconds = time.process_time() - begun
    on_mesh = sum(record.elements == structure.elements for record in found.records)
    out = sys.stdout
    out.write("versions: " + ", ".join(f"{name} {number}" for name, number in versions().items()) + "\n")
    out.write(f"{'':10s} {'compliance':>10s} {'by cell':>8s} {'cut':>8s} {'volume':>7s} {'solves':>7s} {'CPU s':>6s}\n")
    filled = float(structure.sizes @ theirs / structure.region)
    out.write(
        f"{'FEniTop':10s} {THEIRS['compliance']:10.3f} {compliance(theirs):8.4f} {cut(theirs):8.4f} {filled:7.4f} "
        f"{THEIRS['solves']:7.0f} {THEIRS['seconds']:6.1f}\n"
    )
    out.write(
        f"{'sciopt':10s} {found.compliance:10.4f} {found.compliance:8.4f} {cut(found.elements):8.4f} "
        f"{found.volume:7.4f} {on_mesh:7d} {seconds:6.1f}\n"
    )
    if len(sys.argv) > 1:
        figure, axes = plt.subplots(2, 1, figsize=(7, 5.2), layout="constrained")
        for axis, name, density in zip(axes, ("FEniTop", "sciopt"), (theirs, found.elements), strict=True):
            picture = np.zeros((60, 200))
            picture[row, column] = density
            axis.imshow(picture, origin="lower", cmap="Greys", vmin=0, vmax=1, extent=(0, 60, 0, 20))
            axis.set_title(name, loc="left", fontsize=10)
            axis.set_axis_off()
        figure.savefig(sys.argv[1], dpi=110)


if __name__ == "__main__":
    main()
