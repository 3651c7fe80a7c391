"""Design a beam on two supports in ten lines: half of it, with a plane of symmetry on the left."""

from __future__ import annotations

import sys

from sciopt.topopt import Compliance, Density, DesignResult, Grid, optimize_topology


def main(nx: int = 90) -> DesignResult:
    ny = nx // 3
    beam = Grid(nx, ny).symmetry("left").fix((nx, 0), "y").load((0, ny), (0, -1))
    problem = Compliance(beam, volume=0.5, filter=Density(0.04 * nx))
    result = optimize_topology(problem)
    sys.stdout.write(f"compliance {result.compliance:.2f}, {result.calls['equivalents']:.0f} solves: {result.reason}\n")
    return result


if __name__ == "__main__":
    main().write("beam.png")
