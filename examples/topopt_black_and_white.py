"""The same cantilever three times: grey, projected to black and white, and robust against wrong manufacturing."""

from __future__ import annotations

import sys

from sciopt.topopt import Compliance, Density, DesignResult, Grid, Projection, optimize_topology


def main(nx: int = 48) -> dict[str, DesignResult]:
    grid = Grid(nx, nx // 2).fix("left").load((nx, nx // 4), (0, -1))
    projections = {"grey": None, "projected": Projection(beta=32), "robust": Projection(beta=32, robust=0.2)}
    found = {}
    for name, projection in projections.items():
        problem = Compliance(grid, volume=0.4, filter=Density(3.0), projection=projection, symmetry=("y",))
        found[name] = optimize_topology(problem)
        sys.stdout.write(
            f"{name:10} compliance {found[name].compliance:7.2f}   greyness {100 * found[name].greyness:5.1f} %   "
            f"{found[name].calls['solves']:.0f} solves\n"
        )
    return found


if __name__ == "__main__":
    main()
