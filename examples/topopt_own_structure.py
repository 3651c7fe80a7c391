"""A structure from your own arrays: a disc heated all over and cooled at its rim below, with its gradient checked."""

from __future__ import annotations

import sys

import numpy as np

from sciopt.topopt import SIMP, Conduction, Density, DesignResult, Structure, ThermalCompliance, optimize_topology


def disc(n: int) -> Structure:
    """Elements are numbered with x fastest; nodal arrays are (components, y, x)."""
    middle = np.arange(n) + 0.5 - n / 2
    inside = np.hypot(*np.meshgrid(middle, middle)) < n / 2
    heat = np.zeros((n + 1, n + 1))
    for dy, dx in np.ndindex(2, 2):
        # Every element gives a quarter of its heat to each of its corners.
        heat[dy : n + dy, dx : n + dx] += 0.25 * inside / inside.sum()
    touched = heat > 0
    cold = np.zeros_like(touched)
    cold[: n // 20 + 1] = True
    return Structure(
        shape=(n, n),
        spacing=(1.0, 1.0),
        physics=Conduction(),
        material=inside.ravel().astype(float),
        solid=np.zeros(n * n, dtype=bool),
        fixed=(cold | ~touched)[None],
        loads=heat[None, None],
        weights=np.ones(1),
        springs=np.zeros((1, n + 1, n + 1)),
    )


def main(n: int = 40) -> DesignResult:
    problem = ThermalCompliance(disc(n), volume=0.3, filter=Density(1.5), material=SIMP(Emin=1e-3), symmetry=("x",))
    sys.stdout.write(f"gradient: {problem.check_gradient()}\n")
    result = optimize_topology(problem)
    sys.stdout.write(f"mean temperature {result.compliance:.2f}, volume {result.volume:.3f}: {result.reason}\n")
    return result


if __name__ == "__main__":
    main().write("disc.png")
