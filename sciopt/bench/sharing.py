"""Calculator calls per image and band point, with one calculator per image and with one shared by all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from ase import Atoms
from ase.mep.neb import NEB
from ase.optimize import FIRE as AseFIRE
from ase.optimize import LBFGS as AseLBFGS

from sciopt.ase import FIRE, LBFGS
from sciopt.bench.paths import Counted
from sciopt.neb.coordinates import Coordinates
from sciopt.neb.interpolate import linear
from sciopt.neb.path import find_path
from sciopt.problems import path_problem

__all__ = ["Sharing", "sharing"]


class Sharing(NamedTuple):
    """Calls per movable image and band point; both ends are calculated once and not counted."""

    method: str
    separate: float
    shared: float


def sharing(name: str = "au_al100_hop") -> Iterator[Sharing]:
    """ASE's optimizers, ours on ASE's band, and `find_path`, on one problem."""
    problem = path_problem(name)
    coordinates = Coordinates.of(problem.initial)
    first, last = (coordinates.reduce(atoms.positions) for atoms in (problem.initial, problem.final))
    X = linear(first, last, problem.images, coordinates)
    for title, optimizer in (
        ("ase.optimize.FIRE", AseFIRE),
        ("ase.optimize.LBFGS", AseLBFGS),
        ("sciopt.ase.FIRE", FIRE),
        ("sciopt.ase.LBFGS", LBFGS),
    ):
        yield Sharing(
            title,
            *(
                _on_band([coordinates.atoms(x) for x in X], problem.calculator, optimizer, shared)
                for shared in (False, True)
            ),
        )
    for method in ("fire", "lbfgs"):
        calls = []
        for shared in (False, True):
            counter = Counted(problem.calculator)
            found = find_path(
                problem.initial,
                problem.final,
                counter() if shared else counter,
                images=problem.images,
                path=X,
                method=method,
                fmax=0.05,
            )
            calls.append((counter.calls - 2) / (len(found.history) * problem.images))
        yield Sharing(f"find_path, {method}", *calls)


def _on_band(images: list[Atoms], factory: Callable[[], Any], optimizer: Any, shared: bool) -> float:
    counter = Counted(factory)
    one = counter()
    for atoms in images:
        atoms.calc = one if shared else counter()
    band = NEB(images, k=0.1, climb=True, method="improvedtangent", allow_shared_calculator=shared)
    stepper = optimizer(band, logfile=None)
    stepper.run(fmax=0.05, steps=200)
    points = stepper.nsteps + 1
    return (counter.calls - 2) / (points * (len(images) - 2))
