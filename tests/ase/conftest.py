"""Structures that every test starts from anew."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import add_adsorbate, bulk, fcc100, molecule
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.constraints import FixAtoms, FixBondLength
from ase.filters import FrechetCellFilter
from ase.mep import NEB
from tblite.ase import TBLite


class CountedEMT(EMT):
    """EMT that counts its calculations, over all instances."""

    calls = 0

    def calculate(self, *args: object, **kwargs: object) -> None:
        CountedEMT.calls += 1
        super().calculate(*args, **kwargs)


def gold() -> Atoms:
    atoms = bulk("Au") * (2, 2, 2)
    atoms.rattle(0.1, seed=7)
    atoms.calc = EMT()
    return atoms


def adatom(rattle: float = 0.05) -> Atoms:
    atoms = fcc100("Al", size=(2, 2, 3))
    add_adsorbate(atoms, "Au", 1.7, "hollow")
    atoms.center(axis=2, vacuum=4.0)
    atoms.set_constraint(FixAtoms(mask=atoms.get_tags() > 1))
    if rattle:
        atoms.rattle(rattle, seed=3)
    atoms.calc = EMT()
    return atoms


def cell() -> FrechetCellFilter:
    atoms = bulk("Cu", cubic=True)
    strain = np.array([[1.03, 0.02, 0.0], [0.0, 0.98, 0.0], [0.0, 0.01, 1.01]])
    atoms.set_cell(atoms.cell @ strain, scale_atoms=True)
    atoms.rattle(0.05, seed=1)
    atoms.calc = EMT()
    return FrechetCellFilter(atoms)


def cluster() -> Atoms:
    """13 argon atoms in reduced units; the calculator keeps nothing between two calculations."""
    rng = np.random.default_rng(5)
    near = [[0, 0, 0], *(sign * np.eye(3)[axis] for sign in (1, -1) for axis in range(3))]
    near += [[1, 1, 0], [1, 0, 1], [0, 1, 1], [-1, -1, 0], [-1, 0, -1], [0, -1, -1]]
    atoms = Atoms("Ar13", 1.1 * np.array(near) + rng.normal(0, 0.05, (13, 3)))
    atoms.calc = LennardJones(rc=20.0)
    return atoms


def bonded() -> Atoms:
    """A cluster with one fixed bond, so that atoms do not land where an optimizer sends them."""
    atoms = cluster()
    atoms.set_constraint(FixBondLength(0, 1))
    return atoms


def ethanol() -> Atoms:
    atoms = molecule("CH3CH2OH")
    atoms.rattle(0.05, seed=2)
    atoms.calc = TBLite(method="GFN2-xTB", verbosity=0)
    return atoms


_ENDS: list[Atoms] = []


def band(shared: bool = False, calculator: type[Calculator] = EMT, climb: bool = True, images: int = 3) -> NEB:
    """Gold hopping on Al(100)."""
    if not _ENDS:
        from ase.optimize import BFGS

        for shift in (0.0, 0.5):
            end = adatom(rattle=0.0)
            end[-1].x += shift * end.cell[0, 0]
            BFGS(end, logfile=None).run(fmax=0.01)
            _ENDS.append(end)
    path = [_ENDS[0].copy(), *(_ENDS[0].copy() for _ in range(images)), _ENDS[1].copy()]
    one = calculator()
    for image in path:
        image.calc = one if shared else calculator()
    neb = NEB(path, climb=climb, method="improvedtangent", allow_shared_calculator=shared)
    neb.interpolate()
    return neb


SYSTEMS: dict[str, Callable[..., Any]] = {
    "gold": gold,
    "adatom": adatom,
    "cell": cell,
    "cluster": cluster,
    "bonded": bonded,
    "ethanol": ethanol,
    "band": band,
}


@pytest.fixture
def make() -> Callable[..., Any]:
    """``make(name, **options)``: a new structure, always the same."""
    return lambda name, **options: SYSTEMS[name](**options)


@pytest.fixture
def counted() -> type[CountedEMT]:
    """An EMT calculator class whose `calls` start at zero."""
    CountedEMT.calls = 0
    return CountedEMT
