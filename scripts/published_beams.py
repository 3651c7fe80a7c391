"""The six compliances of Andreassen et al. 2011 (doi 10.1007/s00158-010-0594-7), with the optimality criteria.

Half MBB beams of 60 x 20, 150 x 50 and 300 x 100 elements with filter radii 2.4, 6 and 12, penalty 3, move limit 0.2,
stopped when no variable changes by 0.01 any more, in 2000 solves at most.
"""

from __future__ import annotations

import sys

from sciopt.problems.topology import topology_problem
from sciopt.run_files import versions
from sciopt.topopt import Density, Sensitivity, optimize_topology

PUBLISHED = {
    Sensitivity: {60: 216.81, 150: 219.52, 300: 222.29},
    Density: {60: 233.71, 150: 235.73, 300: 238.31},
}


def main() -> None:
    out = sys.stdout
    out.write("versions: " + ", ".join(f"{name} {number}" for name, number in versions().items()) + "\n")
    out.write(
        f"{'filter':12s} {'grid':>9s} {'published':>10s} {'found':>9s} {'difference':>11s} {'solves':>7s}   stopped\n"
    )
    for kind, values in PUBLISHED.items():
        for nx, published in values.items():
            beam = topology_problem("mbb", nx=nx, filter=kind(0.04 * nx), tol=1e-6)
            result = optimize_topology(beam, "oc", stop="change", max_solves=2000)
            share = 100 * (result.compliance / published - 1)
            out.write(
                f"{kind.__name__:12s} {f'{nx} x {nx // 3}':>9s} {published:10.2f} {result.compliance:9.3f} "
                f"{share:+10.3f} % {result.calls['solves']:7.0f}   {result.reason}\n"
            )
            out.flush()


if __name__ == "__main__":
    main()
