"""What a band costs besides its forces: CPU time per band point on a potential that costs nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.mep.neb import NEB
from ase.optimize import FIRE, LBFGS
from threadpoolctl import threadpool_limits

from sciopt.core import Budget, Residual, run
from sciopt.neb.band import BandLaw
from sciopt.neb.band_problem import BandProblem
from sciopt.neb.coordinates import Coordinates
from sciopt.neb.images import Images
from sciopt.neb.initial_path import perturb
from sciopt.neb.interpolate import linear
from sciopt.neb.methods import band_method
from sciopt.problems import path_problem

__all__ = ["Cost", "overhead"]

POINTS = 60


@dataclass(frozen=True)
class Cost:
    """CPU time per band point outside the calculator, ms."""

    system: str
    method: str
    coordinates: int
    images: int
    milliseconds: float


class _Egg(Calculator):
    """A smooth periodic potential, ``E = sin(x).H.sin(x) / 2``, that books the CPU time spent inside it."""

    implemented_properties = ["energy", "free_energy", "forces"]  # noqa: RUF012 - ASE's own convention
    seconds = 0.0

    def __init__(self, atoms: int) -> None:
        super().__init__()
        square = np.random.default_rng(0).normal(size=(3 * atoms, 3 * atoms))
        self.matrix = 10.0 * square @ square.T / (3 * atoms) + 2.0 * np.eye(3 * atoms)

    def get_property(self, name: str, atoms: Any = None, allow_calculation: bool = True) -> Any:
        begun = time.process_time()
        try:
            return super().get_property(name, atoms, allow_calculation)
        finally:
            _Egg.seconds += time.process_time() - begun

    def calculate(
        self, atoms: Any = None, properties: Sequence[str] = ("energy",), system_changes: Any = all_changes
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        x = atoms.positions.ravel()
        product = self.matrix @ np.sin(x)
        energy = 0.5 * float(np.sin(x) @ product)
        self.results = {"energy": energy, "free_energy": energy, "forces": -(product * np.cos(x)).reshape(-1, 3)}


def overhead(methods: Sequence[str] = ("fire", "lbfgs", "imagewise", "ase-fire", "ase-lbfgs")) -> Iterator[Cost]:
    """CPU time per band point of 7 images: 20 atoms, and the image-wise method on 525 free coordinates.

    L-BFGS runs without preconditioner, like ASE's. One BLAS thread.
    """
    with threadpool_limits(1, user_api="blas"):
        cube = np.array([[i, j, k] for i in range(3) for j in range(3) for k in range(3)][:20]) * 1.5
        ends = [Atoms("C20", cube + 0.1 * np.random.default_rng(1).normal(size=cube.shape))]
        ends.append(ends[0].copy())
        ends[1].positions[:3] += [1.2, 0.3, 0.5]
        coordinates = Coordinates.of(ends[0])
        first, last = (coordinates.reduce(atoms.positions) for atoms in ends)
        X = linear(first, last, 7, coordinates)
        for method in methods:
            measure = _ase if method.startswith("ase-") else _sciopt
            yield Cost("20 atoms", method, coordinates.size, 7, measure(method, coordinates, X, lambda: _Egg(20)))
        if "imagewise" in methods:
            yield _heptamer()


def _sciopt(method: str, coordinates: Coordinates, X: np.ndarray, factory: Any, points: int = POINTS) -> float:
    def once(points: int) -> float:
        with Images(coordinates, factory, count=len(X) - 2) as images:
            answers = images.evaluate({0: X[0], len(X) - 1: X[-1]})
            problem = BandProblem(coordinates, images, X, (answers[0], answers[len(X) - 1]), BandLaw())
            options = {"precondition": False} if method == "lbfgs" else {}
            stepper = band_method(method, coordinates, X, fmax=1e-9, **options)
            _Egg.seconds, begun = 0.0, time.process_time()
            result = run(problem, stepper, Residual(1e-12) | Budget(points))
            return 1e3 * (time.process_time() - begun - _Egg.seconds) / len(result.history)

    once(5)  # compiles and warms up
    return once(points)


def _ase(method: str, coordinates: Coordinates, X: np.ndarray, factory: Any) -> float:
    images = [coordinates.atoms(x) for x in X]
    for atoms in images:
        atoms.calc = factory()
    optimizer = {"ase-fire": FIRE, "ase-lbfgs": LBFGS}[method]
    stepper = optimizer(NEB(images, k=0.1, climb=True, method="improvedtangent"), logfile=None)
    stepper.run(fmax=1e-9, steps=5)
    _Egg.seconds, begun = 0.0, time.process_time()
    stepper.run(fmax=1e-9, steps=POINTS)
    return 1e3 * (time.process_time() - begun - _Egg.seconds) / POINTS


def _heptamer() -> Cost:
    """The whole of a real run, set-up of the models included: the corner atom of a Pt7 island leaves it."""
    problem = path_problem("pt7_corner")
    coordinates = Coordinates.of(problem.initial)
    first, last = (coordinates.reduce(atoms.positions) for atoms in (problem.initial, problem.final))
    X = perturb(linear(first, last, problem.images, coordinates), coordinates, 0.01, seed=0)

    class Timed(type(problem.calculator())):  # type: ignore[misc]
        def get_property(self, name: str, atoms: Any = None, allow_calculation: bool = True) -> Any:
            begun = time.process_time()
            try:
                return super().get_property(name, atoms, allow_calculation)
            finally:
                _Egg.seconds += time.process_time() - begun

    cost = _sciopt("imagewise", coordinates, X, Timed, 15)
    return Cost("Pt7 on Pt(111)", "imagewise", coordinates.size, problem.images, cost)
