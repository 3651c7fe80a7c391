"""What a path search does when symmetry, tangles or ties stand in its way."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import add_adsorbate, fcc100
from ase.calculators.calculator import Calculator, all_changes

from sciopt.bench.paths import starts
from sciopt.core import Evaluation, EvaluationFailed, Fixed, Flat, Residual, StepMethod, run
from sciopt.core.history import History, Record
from sciopt.core.stop import Progress
from sciopt.neb.coordinates import Coordinates
from sciopt.neb.endpoints import check_pair
from sciopt.neb.path import find_path
from sciopt.neb.recover import Stagnation, through_top
from sciopt.problems import path_problem
from sciopt.rules import GradientDescent


def progress(residuals: list[float]) -> Progress:
    history = History()
    for number, residual in enumerate(residuals, 1):
        history.add(Record(number, np.nan, residual, 0.1, True, 0.0, 0.0))
    here = Evaluation(np.zeros(3), np.array([residuals[-1], 0.0, 0.0]))
    return Progress(here, history, Flat(group=3))


def test_stagnation_needs_a_long_flat_stretch_far_from_convergence() -> None:
    stop = Stagnation(above=0.5, window=5)
    assert stop(progress([10.0, 5.0, 3.0, 2.0])) is None
    assert stop(progress([10.0 * 0.9**k for k in range(40)])) is None
    reason = stop(progress([10.0, 5.0] + [2.0, 2.5, 2.2] * 5))
    assert reason is not None and not reason.converged and "no progress" in reason.message
    # A soft direction near the end is slow, not tangled.
    assert stop(progress([10.0, 5.0] + [0.1, 0.12, 0.11] * 5)) is None


def test_path_through_the_top_keeps_the_ends_and_the_top_and_untangles_the_rest() -> None:
    atoms = Atoms("H", [[0.0, 0.0, 0.0]], pbc=True, cell=[30.0, 30.0, 30.0])
    coordinates = Coordinates.of(atoms)
    # Images 4 to 6 have slid past each other behind the top.
    x = np.array([0.0, 0.5, 1.0, 1.5, 2.6, 2.2, 2.8, 2.4, 3.0])
    X = np.column_stack([x, np.zeros(9), np.zeros(9)])
    energies = np.array([0.0, 0.2, 0.6, 1.0, 0.1, 0.2, 0.05, 0.1, 0.0])
    drawn = through_top(X, energies, coordinates)
    assert drawn.shape == X.shape
    np.testing.assert_array_equal(drawn[[0, -1]], X[[0, -1]])
    assert np.any(np.all(drawn == X[3], axis=1))
    assert (np.diff(drawn[:, 0]) > 0).all()


def test_planar_ends_do_not_keep_the_path_planar() -> None:
    problem = path_problem("carbonic_acid_decomposition")
    planar = find_path(problem.initial, problem.final, problem.calculator, images=7, path="idpp")
    free = find_path(problem.initial, problem.final, problem.calculator, images=7)
    # The reference saddle was found by independent searches; the best planar point lies above it.
    assert planar.barrier > problem.barrier + 0.02
    assert abs(free.barrier - problem.barrier) < 0.01


def test_a_checked_saddle_is_not_claimed_when_it_does_not_connect() -> None:
    # From this bent path the band settles on a stationary point 0.12 eV too high: small forces alone prove nothing.
    start = list(starts("methoxy_hydroxymethyl", 3))[2]
    problem = start.problem
    found = find_path(problem.initial, problem.final, problem.calculator, images=7, path=start.X, check=True)
    assert found.fmax < 0.05
    assert not found.converged or abs(found.barrier - problem.barrier) < 0.01
    assert found.converged or "not reached" in found.reason


def test_a_hop_of_half_a_cell_keeps_the_image_that_was_given() -> None:
    slab = fcc100("Cu", (2, 2, 2), vacuum=5.0)
    add_adsorbate(slab, "Au", 1.9, "hollow")
    final = slab.copy()
    final.positions[-1, 0] += slab.cell[0, 0] / 2
    for nudge in (-1e-9, 0.0, 1e-9):
        moved = final.copy()
        moved.positions[-1, 0] += nudge
        np.testing.assert_allclose(check_pair(slab, moved).positions, moved.positions, atol=1e-12)


class _Still:
    """A problem whose force is finite but whose rule never moves."""

    space = Flat()

    def start(self) -> np.ndarray:
        return np.ones(2)

    def evaluate(self, x: np.ndarray) -> Evaluation:
        return Evaluation(x, np.ones(2))


def test_a_method_that_stays_where_it_is_stops_and_says_so() -> None:
    result = run(_Still(), StepMethod(GradientDescent(), Fixed(0.0), Flat()), Residual(1e-3))
    assert result.reason.kind == "stalled" and not result.converged
    # Once may be an accident; never for long.
    assert result.cost["evaluations"] <= 5


class _Fails(Calculator):
    """Breaks down wherever the atom is not exactly at one of two places."""

    implemented_properties = ["energy", "free_energy", "forces"]  # noqa: RUF012

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        x = float(self.atoms.positions[0, 0])
        if min(abs(x), abs(x - 1.0)) > 1e-9:
            raise RuntimeError("SCF not converged")
        self.results = {"energy": 0.0, "free_energy": 0.0, "forces": np.zeros((1, 3))}


def test_a_calculator_that_never_works_ends_with_one_sentence() -> None:
    initial, final = Atoms("H", [[0, 0, 0]]), Atoms("H", [[1.0, 0, 0]])
    with pytest.raises(EvaluationFailed, match=r"image \d of 3.*SCF not converged"):
        find_path(initial, final, _Fails, images=3)
