"""The lowest path known between two minima: several searches, each refined into a chain of verified saddles."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
from ase import Atoms
from ase.mep import NEB
from ase.optimize import FIRE, LBFGS
from numpy.typing import NDArray

from sciopt.core.errors import SciOptError
from sciopt.core.run import Snapshot
from sciopt.neb.connect import Descent, connects, displacement
from sciopt.neb.coordinates import Coordinates
from sciopt.neb.initial_path import perturb
from sciopt.neb.interpolate import idpp, linear
from sciopt.neb.path import find_path
from sciopt.neb.saddle import Saddle, refine_saddle

Array = NDArray[np.float64]
log = logging.getLogger("surfaces")

MINIMUM = 1e-4  # eV/Å
STATIONARY = 3e-4  # eV/Å, at saddles
SAME = 0.2  # Å: minima closer than this are one
DEPTH = 4  # chains between intermediate minima may branch this often
BEND = 0.1  # Å
POINTS = 300  # band points after which a search from a bad start is given up


class NotFound(Exception):
    """A search did not end at what it was looking for."""


@dataclass(frozen=True, eq=False)
class Found:
    """A chain of saddles from one minimum to the other, and how it was come by."""

    how: str
    saddles: tuple[Saddle, ...]
    calls: int

    @property
    def top(self) -> Saddle:
        """The highest saddle."""
        return max(self.saddles, key=lambda saddle: saddle.energy)


class Surface:
    """Energy and force of the free coordinates, with one calculator."""

    def __init__(self, template: Atoms, factory: Callable[[], Any]) -> None:
        self.coordinates = Coordinates.of(template)
        self.factory = factory
        self._atoms = self.coordinates.template.copy()
        self._atoms.calc = factory()
        self.calls = 0

    def __call__(self, x: Array) -> tuple[float, Array]:
        """Energy (eV) and force (eV/Å) at `x`."""
        self.calls += 1
        self._atoms.set_positions(self.coordinates.positions(x), apply_constraint=False)
        force = self.coordinates.reduce(self._atoms.get_forces(apply_constraint=False))
        return float(self._atoms.get_potential_energy()), force

    def atoms(self, x: Array) -> Atoms:
        """Atoms at `x` with a calculator of their own."""
        atoms = self.coordinates.atoms(x)
        atoms.calc = self.factory()
        return atoms

    def minimum(self, x: Array) -> Array:
        """The minimum `x` relaxes into, by optimizers of ASE."""
        atoms = self.atoms(x)
        FIRE(atoms, logfile=None).run(fmax=0.02, steps=2000)
        if not LBFGS(atoms, logfile=None, maxstep=0.05).run(fmax=MINIMUM, steps=2000):
            raise NotFound("an end does not relax")
        return self.coordinates.reduce(atoms.positions)

    def same(self, x: Array, y: Array) -> bool:
        """Whether two minima are one."""
        return float(self.coordinates.longest(displacement(self.coordinates, x, y))) < SAME


def search(surface: Surface, a: Array, b: Array, images: int, starts: int) -> list[Found]:
    """Chains found by sciopt and by ASE from different initial bands, the lowest first."""
    straight, curved = (make(a, b, images, surface.coordinates) for make in (linear, idpp))
    attempts: list[tuple[str, Callable[[], tuple[Array, Array, int]]]] = [
        ("sciopt", lambda: by_sciopt(surface, a, b, images)),
        ("ASE", lambda: by_ase(surface, perturb(straight, surface.coordinates, 0.03, seed=100))),
    ]
    for seed in range(starts):
        bent = perturb((straight, curved)[seed % 2], surface.coordinates, BEND, seed=seed, modes=1)
        attempts.append((f"sciopt, bent {seed}", lambda bent=bent: by_sciopt(surface, a, b, images, bent)))
    found = []
    for how, attempt in attempts:
        try:
            x, mode, calls = attempt()
            chain = chained(surface, a, b, x, mode)
        except (NotFound, SciOptError) as error:
            log.warning("    %s: %s", how, error)
            continue
        found.append(Found(how, tuple(chain), calls))
        heights = ", ".join(f"{saddle.energy - surface(a)[0]:.4f}" for saddle in chain)
        log.info("    %s: %d calls, saddles at %s eV", how, calls, heights)
    if not found:
        raise NotFound("no search ended in a verified saddle")
    return sorted(found, key=lambda one: round(one.top.energy, 4))


def by_sciopt(
    surface: Surface, a: Array, b: Array, images: int, path: Array | str = "auto"
) -> tuple[Array, Array, int]:
    """Top image, its tangent, and the calls of `find_path`."""
    coordinates = surface.coordinates
    points = count()

    def give_up(_: Snapshot) -> None:
        if next(points) > POINTS:
            raise StopIteration

    found = find_path(
        coordinates.atoms(a), coordinates.atoms(b), surface.factory, images=images, path=path, callback=give_up
    )
    if not found.converged:
        log.warning("    find_path: %s, largest band force %.3f eV/Å", found.reason, found.fmax)
    if found.climbing is None:
        raise NotFound("no interior maximum")
    return found.X[found.climbing + 1], found.tangents[found.climbing], found.calls["images"]


def by_ase(surface: Surface, X: Array) -> tuple[Array, Array, int]:
    """Top image, its tangent, and the calls of ASE's NEB under FIRE."""
    images = [surface.atoms(x) for x in X]
    optimizer = FIRE(NEB(images, k=0.1, climb=True, method="improvedtangent"), logfile=None)
    converged = optimizer.run(fmax=0.05, steps=1000)
    if not converged:
        log.warning("    ASE: not converged after %d steps", optimizer.nsteps)
    energies = [atoms.get_potential_energy() for atoms in images]
    top = int(np.argmax(energies))
    if top in (0, len(images) - 1):
        raise NotFound("no interior maximum")
    x = [surface.coordinates.reduce(images[top + step].positions) for step in (-1, 0, 1)]
    return x[1], x[2] - x[0], (optimizer.nsteps + 1) * (len(images) - 2)


def chained(surface: Surface, a: Array, b: Array, x: Array, mode: Array, depth: int = 0) -> list[Saddle]:
    """The saddle near `x`, and the saddles that join the minima on its two sides to `a` and `b`.

    Raises
    ------
    NotFound
        When the saddle has not exactly one negative mode, or the chain does not close.
    """
    saddle = refine_saddle(surface, x, surface.coordinates, mode=mode, fmax=STATIONARY, max_evaluations=3000)
    if not (saddle.converged and saddle.measured):
        raise NotFound(f"no saddle: {saddle.reason}")
    connection = connects(surface, saddle, a, b, surface.coordinates, fmax=0.01, max_evaluations=3000)
    if connection.connected:
        return [saddle]
    if depth == DEPTH:
        raise NotFound(f"the chain does not close: {connection.message}")
    log.info("    chain %d: %s", depth, connection.message)
    sides = [connection.backward, connection.forward]
    if sides[0].reached == "final" or sides[1].reached == "initial":
        # On a bent path the direction at the saddle may point away from where it leads.
        sides.reverse()
    left, right = (_bottom(surface, down, a, b) for down in sides)
    before = _joined(surface, a, left, depth + 1)
    return [*before, saddle, *_joined(surface, right, b, depth + 1)]


def _bottom(surface: Surface, down: Descent, a: Array, b: Array) -> Array:
    return {"initial": a, "final": b}[down.reached] if down.reached else surface.minimum(down.x)


def _joined(surface: Surface, a: Array, b: Array, depth: int) -> list[Saddle]:
    if surface.same(a, b):
        return []
    x, mode, _ = by_sciopt(surface, a, b, 5)
    return chained(surface, a, b, x, mode, depth)
