"""CPU time of a product of the Hessian, as a part of the solve it follows, next to what it is charged.

Designs after 25 quasi-Newton steps, moved a little and solved again from where they were, as in a run; medians of 7.
Usage: python scripts/hessian_product_cost.py > data/benchmarks/hessian_products.txt
"""

from __future__ import annotations

import time

import numpy as np

from sciopt.core.run import run
from sciopt.core.stop import Budget
from sciopt.problems import structure_problem
from sciopt.problems.topology import topology_problem
from sciopt.run_files import versions
from sciopt.topopt.methods import quasi_newton

CASES = (("mbb", 144), ("mbb", 300), ("chip", 120), ("cooler", 24), ("c3m", 48), ("c3m", 96))


def measure(name: str, nx: int) -> str:
    """One line of the table."""
    problem = topology_problem(structure_problem(name, nx))
    x = run(problem, quasi_newton(problem.space), Budget(25)).x
    rng = np.random.default_rng(0)
    solving, multiplying, charged, iterations = [], [], [], []
    for _ in range(7):
        moved = problem.space.move(x, 0.1 * rng.standard_normal(x.size))
        problem.evaluate(x)
        begun = time.process_time()
        ev = problem.evaluate(moved)
        solving.append(time.process_time() - begun)
        assert ev.hessian is not None
        begun = time.process_time()
        ev.hessian(rng.standard_normal(x.size))
        multiplying.append(time.process_time() - begun)
        charged.append(ev.hessian.spent["solves"])
        iterations.append(ev.cost["iterations"] / len(problem.structure.loads))
    solve, product = float(np.median(solving)), float(np.median(multiplying))
    shape = "x".join(map(str, problem.structure.shape))
    return (
        f"{name:8}{shape:>10}{np.median(iterations):>12.0f}{1e3 * solve:>12.1f}{1e3 * product:>12.1f}"
        f"{product / solve:>9.2f}{np.median(charged):>9.2f}"
    )


def main() -> None:
    print("versions: " + ", ".join(f"{name} {version}" for name, version in versions().items()))
    print(f"{'problem':8}{'elements':>10}{'iterations':>12}{'solve ms':>12}{'product ms':>12}{'part':>9}{'charged':>9}")
    for name, nx in CASES:
        print(measure(name, nx), flush=True)


if __name__ == "__main__":
    main()
