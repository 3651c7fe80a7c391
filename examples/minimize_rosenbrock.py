"""Minimise Rosenbrock's function in 10 dimensions with three of the rules, and say why each run stopped."""

from __future__ import annotations

import sys

from scipy.optimize import rosen, rosen_der

from sciopt import minimize
from sciopt.core import Result

START = [-1.2, 1.0] * 5


def main() -> dict[str, Result]:
    results = {
        "lbfgs": minimize(rosen, START, jac=rosen_der),
        "fire": minimize(rosen, START, jac=rosen_der, method="fire", dt=0.01, dtmax=0.05),
        "adam": minimize(rosen, START, jac=rosen_der, method="adam", learning_rate=0.05),
    }
    for name, result in results.items():
        calls = f"{result.cost['evaluations']:.0f} gradients"
        sys.stdout.write(f"{name:8} {calls:16} f = {result.value:.2e}  {result.reason}\n")
    return results


if __name__ == "__main__":
    main()
