"""Curvature models save evaluations, keep the minimum, and follow the atoms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from ase.optimize import LBFGS
from ase.optimize.precon import Exp

import sciopt.ase
from sciopt.ase.precondition import BlockInverse, preconditioner
from sciopt.core import InputError


@pytest.mark.parametrize("system", ["gold", "adatom", "ethanol", "band"])
def test_fewer_steps_to_the_same_minimum(make: Callable[..., Any], system: str) -> None:
    one, two = make(system), make(system)
    plain = LBFGS(one, logfile=None)
    assert plain.run(fmax=0.01)
    ours = sciopt.ase.PreconditionedLBFGS(two, logfile=None)
    assert ours.run(fmax=0.01)
    assert ours.nsteps <= 0.6 * plain.nsteps
    if system == "band":
        # Along the path images may differ by what springs of 0.1 eV/Å² leave open at this fmax; the saddle may not.
        energies = [one.emax, two.emax]
    else:
        energies = [one.get_potential_energy(), two.get_potential_energy()]
    assert np.allclose(*energies, atol=2e-3)


def test_fire_gains_too(make: Callable[..., Any]) -> None:
    for system in ("gold", "ethanol"):
        plain = sciopt.ase.FIRE(make(system), logfile=None)
        assert plain.run(fmax=0.02)
        ours = sciopt.ase.PreconditionedFIRE(make(system), logfile=None)
        assert ours.run(fmax=0.02)
        assert ours.nsteps < plain.nsteps


def test_trust_on_a_band_and_on_atoms(make: Callable[..., Any]) -> None:
    for system in ("band", "adatom"):
        assert sciopt.ase.PreconditionedLBFGS(make(system), logfile=None, trust=True).run(fmax=0.02, steps=60)


@pytest.mark.parametrize("system", ["adatom", "ethanol", "bonded", "band"])
def test_inverse_is_symmetric_and_positive(make: Callable[..., Any], rng: np.random.Generator, system: str) -> None:
    optimizable = make(system).__ase_optimizable__()
    solve = preconditioner("auto", optimizable)
    x = optimizable.get_x()
    # Forces on fixed atoms are zero, and their steps must be.
    free = np.abs(solve(x, np.ones_like(x))) > 0
    a, b = (np.where(free, rng.normal(size=x.size), 0.0) for _ in range(2))
    assert a @ solve(x, b) == pytest.approx(b @ solve(x, a), rel=1e-9)
    assert a @ solve(x, a) > 0
    assert np.all(solve(x, a)[~free] == 0)
    assert free.sum() < x.size if system in ("adatom", "band") else free.all()


def test_model_follows_the_atoms(make: Callable[..., Any]) -> None:
    built = []

    def block(x: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        built.append(x[0])
        return lambda force: force * len(built)

    solve = BlockInverse([block], far=0.3)
    points = [np.full(3, size) for size in (0.0, 0.1, 0.2, 0.25, 0.3)]
    for x in points:
        solve(x, x)
    # 0.2 * sqrt(3) is more than 0.3 Å; the reference moves along.
    assert built == [0.0, 0.2]
    assert solve.memory is not None
    assert np.array_equal(solve.memory, [points[2]])


def test_a_function_may_be_given(make: Callable[..., Any]) -> None:
    """With the constant 1/70 and no scaling it is ASE's L-BFGS, on cell filters too."""
    ends = []
    for optimizer in (
        LBFGS(make("cell"), logfile=None),
        sciopt.ase.PreconditionedLBFGS(
            make("cell"), logfile=None, precon=lambda x, force: force / 70.0, auto=False, curvature=None
        ),
    ):
        assert optimizer.run(fmax=1e-3)
        ends.append((optimizer.nsteps, optimizer.optimizable.get_x()))
    assert ends[0][0] == ends[1][0]
    assert np.allclose(ends[0][1], ends[1][1], atol=1e-10)


def test_preconditioners_of_ase(make: Callable[..., Any]) -> None:
    for system in ("gold", "band"):
        precon = Exp(A=3.0, mu=3.0)
        assert sciopt.ase.PreconditionedLBFGS(make(system), logfile=None, precon=precon).run(fmax=0.02, steps=60)


def test_what_has_no_model_is_refused(make: Callable[..., Any]) -> None:
    with pytest.raises(InputError, match="no curvature model for OptimizableFilter"):
        sciopt.ase.PreconditionedLBFGS(make("cell"), logfile=None)
    with pytest.raises(InputError, match="precon is 'Lindh'"):
        sciopt.ase.PreconditionedFIRE(make("gold"), logfile=None, precon="Lindh")
