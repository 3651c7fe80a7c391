"""Systems with barriers known from elsewhere, and calculators that keep books of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from ase import Atoms
from ase.build import add_adsorbate, fcc100
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms, FixCartesian
from ase.optimize import BFGS

from sciopt.problems import Planar, muller_brown, path_problem
from sciopt.problems.potentials import PlanarSurface


class System(NamedTuple):
    """Two minima, what makes their calculator, and the barrier between them in eV."""

    initial: Atoms
    final: Atoms
    calculator: Callable[[], Any]
    barrier: float


class Counting:
    """A factory whose calculators, or the one they share, note the positions of every true call."""

    def __init__(self, factory: Callable[[], Any], before: Callable[[Counting, Atoms], None] | None = None) -> None:
        self.factory = factory
        self.before = before
        self.made = 0
        self.visited: list[np.ndarray] = []
        self.makers: list[int] = []

    @property
    def calls(self) -> int:
        return len(self.visited)

    def __call__(self) -> Any:
        calculator = self.factory()
        calculate, number = calculator.calculate, self.made
        self.made += 1

        def counted(atoms: Atoms, *args: Any, **kwargs: Any) -> None:
            self.visited.append(atoms.positions.copy())
            self.makers.append(number)
            if self.before is not None:
                self.before(self, atoms)
            calculate(atoms, *args, **kwargs)

        calculator.calculate = counted
        return calculator


@pytest.fixture
def counting() -> type[Counting]:
    return Counting


def _planar(x: float, y: float) -> Atoms:
    return Atoms("H", [[x, y, 0.0]], constraint=FixCartesian([0], mask=(False, False, True)))


@pytest.fixture
def planar() -> Callable[..., System]:
    """Makes a system of one particle on a surface, between two points; the barrier is not known."""

    def make(surface: PlanarSurface, initial: tuple[float, float], final: tuple[float, float]) -> System:
        return System(_planar(*initial), _planar(*final), lambda: Planar(surface, 1.0), np.nan)

    return make


@pytest.fixture
def mueller() -> System:
    """Müller and Brown 1979, doi 10.1007/BF00547608, in units of 0.01: minimum -146.700, highest saddle -40.665."""
    return System(
        _planar(-0.558224, 1.441726), _planar(0.623499, 0.028038), lambda: Planar(muller_brown, 0.01), 1.060347
    )


@pytest.fixture(scope="session")
def _hop() -> System:
    def relaxed(shift: float, bridge: bool = False) -> Atoms:
        slab = fcc100("Al", size=(3, 2, 2), vacuum=8.0)
        add_adsorbate(slab, "Au", 1.7, "hollow")
        slab.positions[-1, 0] += shift
        slab.set_constraint(FixAtoms(range(6)))
        if bridge:
            # By symmetry the saddle is where the adatom sits on the bridge.
            slab.set_constraint([FixAtoms(range(6)), FixCartesian([12], mask=(True, True, False))])
        slab.calc = EMT()
        BFGS(slab, logfile=None).run(fmax=1e-3)
        return slab

    spacing = 4.05 / np.sqrt(2)
    initial, final, saddle = relaxed(0.0), relaxed(spacing), relaxed(spacing / 2, bridge=True)
    barrier = saddle.get_potential_energy() - initial.get_potential_energy()
    for atoms in (initial, final):
        atoms.calc = None
    return System(initial, final, EMT, barrier)


@pytest.fixture
def hop(_hop: System) -> System:
    """A gold adatom hops between hollows of Al(100); half of the slab is fixed."""
    return System(_hop.initial.copy(), _hop.final.copy(), EMT, _hop.barrier)


@pytest.fixture
def hcn() -> System:
    """HCN to HNC with GFN2-xTB; the barrier is that of a saddle refined on its own."""
    problem = path_problem("hcn_hnc")
    return System(problem.initial, problem.final, problem.calculator, problem.barrier)
