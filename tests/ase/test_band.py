"""Every image of an ASE band is calculated once per point, and nothing stale is ever used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ase.optimize
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.mep import NEB

import sciopt.ase

IMAGES = 3


@pytest.mark.parametrize("name", ["FIRE", "FIRE2", "LBFGS", "AMSGrad", "PreconditionedLBFGS"])
def test_one_calculation_per_image_and_point(make: Callable[..., Any], counted: type[EMT], name: str) -> None:
    make("band")  # relaxes the ends, which is not counted
    calls = {}
    for shared in (False, True):
        neb = make("band", shared=shared, calculator=counted)
        counted.calls = 0
        optimizer = getattr(sciopt.ase, name)(neb, logfile=None)
        optimizer.run(fmax=0.03, steps=15)
        assert optimizer.nsteps > 3
        # Two ends, once.
        calls[shared] = counted.calls - 2
        assert calls[shared] == optimizer.force_calls
        if name != "FIRE2":
            assert calls[shared] == IMAGES * (optimizer.nsteps + 1)
    assert calls[True] == calls[False]


def test_ase_pays_three_times(make: Callable[..., Any], counted: type[EMT]) -> None:
    """What the memory is for; when ASE stops doing this, it can go."""
    neb = make("band", shared=True, calculator=counted)
    counted.calls = 0
    optimizer = ase.optimize.LBFGS(neb, logfile=None)
    optimizer.run(fmax=0.0, steps=10)
    assert counted.calls > 2.5 * IMAGES * 11


def test_shared_and_separate_calculators_agree(make: Callable[..., Any]) -> None:
    ends = []
    for shared in (False, True):
        neb = make("band", shared=shared)
        assert sciopt.ase.LBFGS(neb, logfile=None).run(fmax=0.01)
        ends.append(neb.get_positions())
    assert np.allclose(*ends, atol=1e-6)


def test_an_observer_may_move_images(make: Callable[..., Any], counted: type[EMT]) -> None:
    """Positions changed between two steps are noticed: the next step starts from forces at the new ones."""
    neb = make("band", shared=True, calculator=counted)
    optimizer = sciopt.ase.GradientDescent(neb, logfile=None, learning_rate=0.01)
    moved: list[np.ndarray] = []

    def push() -> None:
        if optimizer.nsteps == 3:
            neb.images[2].positions[-1] += [0.0, 0.05, 0.02]
            moved.append(neb.get_positions())

    optimizer.attach(push)
    optimizer.run(fmax=0.0, steps=4)
    (start,) = moved
    reference = make("band", shared=True)
    reference.set_positions(start)
    expected = start + 0.01 * reference.get_forces()
    assert np.allclose(neb.get_positions(), expected, atol=1e-10)


@pytest.mark.parametrize(
    "change",
    [
        lambda neb: setattr(neb, "climb", False),
        lambda neb: neb.k.__setitem__(1, 5.0),
        lambda neb: setattr(neb.images[2], "calc", Stiff()),
        lambda neb: neb.images[0].positions.__iadd__([0.0, 0.3, 0.0]),
        lambda neb: neb.images[1].set_cell(1.01 * neb.images[1].cell),
    ],
    ids=["climb", "springs", "calculator", "end point", "cell"],
)
def test_changes_in_the_middle_of_a_run_are_noticed(make: Callable[..., Any], change: Callable[[Any], None]) -> None:
    neb = make("band")
    neb.images[2].positions[-1] += [0.1, 0.05, 0.1]
    optimizer = sciopt.ase.LBFGS(neb, logfile=None)
    optimizable = optimizer.optimizable
    before = optimizable.get_gradient()
    assert np.array_equal(optimizable.get_gradient(), before)
    change(neb)
    after = optimizable.get_gradient()
    assert not np.allclose(after, before, atol=1e-6)
    assert np.allclose(after, -neb.get_forces().ravel(), atol=1e-12)


class Stiff(EMT):
    """EMT with doubled forces."""

    def calculate(self, *args: Any, **kwargs: Any) -> None:
        super().calculate(*args, **kwargs)
        self.results["forces"] = 2.0 * self.results["forces"]


def test_forces_asked_for_elsewhere_do_not_mix(make: Callable[..., Any]) -> None:
    """Energies on the band always belong to the positions that are written to a trajectory."""
    neb = make("band", shared=True)
    optimizer = sciopt.ase.LBFGS(neb, logfile=None)
    optimizer.optimizable.get_gradient()
    energies = neb.energies.copy()
    x = optimizer.optimizable.get_x()
    optimizer.optimizable.set_x(x + 0.05 * np.sin(np.arange(x.size)))
    neb.get_forces()
    assert not np.allclose(neb.energies, energies)
    optimizer.optimizable.set_x(x)
    optimizer.optimizable.get_gradient()
    assert np.allclose(neb.energies, energies)


def test_end_points_get_their_calculator_back(make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    neb = make("band", shared=True)
    shared = neb.images[0].calc
    sciopt.ase.FIRE(neb, logfile=None).run(fmax=0.0, steps=2)
    assert all(image.calc is shared for image in neb.images)

    def fail(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("SCF did not converge")

    optimizer = sciopt.ase.FIRE(neb, logfile=None)
    optimizer.step()
    monkeypatch.setattr(shared, "calculate", fail)
    with pytest.raises(RuntimeError, match="SCF"):
        optimizer.step()
    assert all(image.calc is shared for image in neb.images)


def test_shared_calculators_must_still_be_allowed(make: Callable[..., Any]) -> None:
    neb = make("band", shared=True)
    neb.allow_shared_calculator = False
    with pytest.raises(ValueError, match="share the same calculator"):
        sciopt.ase.FIRE(neb, logfile=None).run()


def test_rotating_bands(make: Callable[..., Any]) -> None:
    """Bands that turn images while computing forces converge, and a trust radius is not confused by the turns."""
    square = np.array([[0.0, 0, 0], [1.1, 0, 0], [0.55, 0.95, 0], [0.55, 0.3, 0.9]])
    images = [Atoms("Ar4", square) for _ in range(4)]
    images[-1].rotate(30, "z")
    for number, image in enumerate(images):
        image.positions[:, 0] += 0.2 * number
        image.positions[3, 2] -= 0.6 * number
        image.calc = LennardJones(rc=20.0)
    neb = NEB(images, method="improvedtangent", remove_rotation_and_translation=True)
    optimizer = sciopt.ase.LBFGS(neb, logfile=None, trust=True)
    optimizer.run(fmax=0.1, steps=60)
    assert optimizer.state is not None
    assert optimizer.state.limit.judged > 0.8 * (optimizer.nsteps - 1)
