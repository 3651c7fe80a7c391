"""What a band costs: one call per image and band point, whoever evaluates it and whatever goes wrong."""

from __future__ import annotations

import logging
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from hypothesis import given
from hypothesis import strategies as st

from sciopt.core.errors import EvaluationFailed, InputError
from sciopt.neb.band import BandLaw, band_force
from sciopt.neb.band_problem import BandProblem, BandSpace
from sciopt.neb.coordinates import Coordinates
from sciopt.neb.images import Answer, Images
from sciopt.neb.path import find_path

IMAGES = 5

WORKER_MODULE = '''
import os
from ase.calculators.emt import EMT

class Logged(EMT):
    """Writes one line per call into a file, in any process."""
    def __init__(self, log):
        super().__init__()
        self.log = log
    def calculate(self, atoms=None, properties=None, system_changes=("positions",)):
        with open(self.log, "a") as file:
            file.write(f"{os.getpid()} {atoms.positions.tobytes().hex()}\\n")
        super().calculate(atoms, properties, system_changes)
'''


def molecule_coordinates() -> Coordinates:
    return Coordinates.of(Atoms("CHON", np.random.default_rng(1).normal(size=(4, 3)) * 2))


@given(seed=st.integers(0, 2**32 - 1), cap=st.sampled_from(["image", "band"]), size=st.floats(1e-3, 10))
def test_clipping_keeps_directions_and_never_lengthens(seed: int, cap: Any, size: float) -> None:
    rng = np.random.default_rng(seed)
    space = BandSpace(molecule_coordinates(), 3, 0.2, cap)
    step = size * rng.normal(size=36) * np.repeat(10.0 ** rng.uniform(-2, 1, 3), 12)
    clipped = space.clip(step)
    before, after = space.length(step), space.length(clipped)
    assert (after <= np.minimum(before, 0.2) + 1e-12).all()
    factors = after / before
    np.testing.assert_allclose(clipped, np.repeat(factors, 12) * step, atol=1e-12)
    if cap == "band":
        np.testing.assert_allclose(factors, factors[0])
    else:
        np.testing.assert_allclose(after, np.minimum(before, 0.2))


def test_moves_of_a_free_molecule_neither_shift_nor_turn_it(rng: np.random.Generator) -> None:
    space = BandSpace(molecule_coordinates(), 2)
    x, step = rng.normal(size=24), 1e-4 * rng.normal(size=24)
    step[12:] = 0.0
    y = space.move(x, step)
    moved = (y - x).reshape(2, 4, 3)
    arms = x.reshape(2, 4, 3)
    np.testing.assert_allclose(moved.sum(axis=1), 0.0, atol=1e-12)
    np.testing.assert_allclose(np.cross(arms, moved).sum(axis=1), 0.0, atol=1e-11)
    assert y[12:].tobytes() == x[12:].tobytes()


def test_an_evaluation_holds_the_band_and_its_cost(mueller: Any, counting: Any) -> None:
    calculator = counting(mueller.calculator)
    coordinates = Coordinates.of(mueller.initial)
    X = np.linspace(coordinates.reduce(mueller.initial.positions), coordinates.reduce(mueller.final.positions), 5)
    with Images(coordinates, calculator, count=3) as images:
        ends = (Answer(-1.0, np.zeros(2)), Answer(-0.5, np.zeros(2)))
        problem = BandProblem(coordinates, images, X, ends, BandLaw(), noise=0.01)
        first = problem.evaluate(problem.start())
        assert first.cost == {"images": 3.0}
        moved = problem.start()
        moved[2:4] += 0.01
        assert problem.evaluate(moved).cost == {"images": 1.0}, "images that did not move were paid for again"
    assert calculator.calls == 4
    np.testing.assert_array_equal(first.info["X"], X)
    assert first.noise == 0.01
    for place, x in enumerate(X[1:-1], start=1):
        atoms = coordinates.atoms(x)
        atoms.calc = mueller.calculator()
        assert first.info["energies"][place] == atoms.get_potential_energy()
        np.testing.assert_array_equal(first.info["forces"][place], coordinates.reduce(atoms.get_forces()))
    expected = band_force(X, first.info["energies"], first.info["forces"][1:-1], coordinates, BandLaw())
    np.testing.assert_array_equal(first.force, expected.force.ravel())


def test_a_band_needs_an_image(mueller: Any) -> None:
    with pytest.raises(InputError, match="at least one movable image"):
        BandProblem(Coordinates.of(mueller.initial), None, np.zeros((2, 2)), (), BandLaw())  # type: ignore[arg-type]


def assert_one_call_each(calls: int, found: Any, exactly: bool) -> None:
    assert found.converged
    points = found.history.cost["evaluations"]
    assert calls - 2 == found.calls["images"], "the ends were not evaluated once each"
    per_point = (calls - 2) / (points * IMAGES)
    assert per_point == 1.0 if exactly else 0.3 < per_point <= 1.0


@pytest.mark.parametrize("method", ["auto", "lbfgs", "fire2", "ode12r"])
@pytest.mark.parametrize("shared", [False, True])
def test_every_image_is_calculated_once_per_band_point(hop: Any, counting: Any, method: str, shared: bool) -> None:
    calculator = counting(hop.calculator)
    found = find_path(
        hop.initial, hop.final, calculator() if shared else calculator, images=IMAGES, method=method, max_calls=1000
    )
    assert_one_call_each(calculator.calls, found, exactly=method != "auto")
    visited = Counter(positions.tobytes() for positions in calculator.visited)
    assert max(visited.values()) == 1, "a configuration was calculated twice"
    if not shared:
        # Each calculator may reuse what it knows of its image: nobody else's configuration is given to it.
        assert calculator.made == IMAGES + 2
    assert found.calls["endpoints"] == 2


def test_threads_cost_the_same_and_give_the_same(hop: Any, counting: Any) -> None:
    calculator = counting(hop.calculator)
    alone = find_path(hop.initial, hop.final, hop.calculator, images=IMAGES, method="lbfgs")
    with ThreadPoolExecutor(3) as executor:
        found = find_path(hop.initial, hop.final, calculator, images=IMAGES, method="lbfgs", executor=executor)
        assert executor.submit(int).result() == 0, "the user's executor was shut down"
    assert_one_call_each(calculator.calls, found, exactly=True)
    np.testing.assert_allclose(found.X, alone.X, atol=1e-9)


def test_processes_cost_the_same_and_give_the_same(hop: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "logged_emt.py").write_text(WORKER_MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    from functools import partial

    import logged_emt

    try:
        log = tmp_path / "calls.log"
        found = find_path(
            hop.initial, hop.final, partial(logged_emt.Logged, str(log)), images=IMAGES, method="lbfgs", workers=2
        )
    finally:
        sys.modules.pop("logged_emt")
    lines = [line.split() for line in log.read_text().splitlines()]
    assert_one_call_each(len(lines), found, exactly=True)
    assert len({pid for pid, _ in lines}) == 2
    assert max(Counter(where for _, where in lines).values()) == 1
    alone = find_path(hop.initial, hop.final, hop.calculator, images=IMAGES, method="lbfgs")
    # EMT keeps a neighbour list between calls, so that the order of its sums depends on where it was before.
    np.testing.assert_allclose(found.X, alone.X, atol=1e-9)


@pytest.mark.parametrize("method", ["auto", "lbfgs"])
@pytest.mark.parametrize("how", ["raise", "nan"])
def test_an_image_that_fails_once_is_named_and_recovered_from(
    mueller: Any, counting: Any, caplog: pytest.LogCaptureFixture, method: str, how: str
) -> None:
    """The calculator breaks down on the 20th call: in the middle of a band, not on the first one."""

    def make() -> Any:
        calculator = mueller.calculator()
        calculate = calculator.calculate

        def broken(*args: Any, **kwargs: Any) -> None:
            calculate(*args, **kwargs)
            if book.calls == 20:
                if how == "raise":
                    raise RuntimeError("SCF did not converge")
                calculator.results["forces"] = np.full((1, 3), np.nan)

        calculator.calculate = broken
        return calculator

    book = counting(make)
    with caplog.at_level(logging.WARNING, "sciopt"):
        found = find_path(mueller.initial, mueller.final, book, images=IMAGES, method=method)
    assert found.converged
    assert found.barrier == pytest.approx(mueller.barrier, abs=0.01)
    text = "SCF did not converge" if how == "raise" else "not finite"
    assert any(f"of {IMAGES}" in message and text in message for message in caplog.messages)
    assert found.calls["images"] == book.calls - 2, "failed calls are paid for as well"


def test_a_failed_image_is_tried_again_on_request(mueller: Any, counting: Any, caplog: Any) -> None:
    def fail_once(book: Any, atoms: Atoms) -> None:
        if book.calls == 9:
            raise RuntimeError("node lost")

    plain = find_path(mueller.initial, mueller.final, mueller.calculator, images=IMAGES)
    book = counting(mueller.calculator, fail_once)
    found = find_path(mueller.initial, mueller.final, book, images=IMAGES, retries=1)
    np.testing.assert_array_equal(found.X, plain.X)
    assert found.calls["images"] == plain.calls["images"] + 1


@pytest.mark.parametrize("method", ["auto", "lbfgs"])
def test_a_region_where_the_calculator_fails_is_walked_around(mueller: Any, counting: Any, method: str) -> None:
    hits = []

    def forbidden(book: Any, atoms: Atoms) -> None:
        # The straight path leads through it, the minimum-energy path does not.
        if np.linalg.norm(atoms.positions[0] - (0.03, 0.75, 0.0)) < 0.2:
            hits.append(book.calls)
            raise RuntimeError("forbidden")

    book = counting(mueller.calculator, forbidden)
    found = find_path(mueller.initial, mueller.final, book, images=IMAGES, path="linear", method=method, max_calls=500)
    assert hits[0] == 5, "the third image of the first band was to fail"
    assert found.converged
    assert found.barrier == pytest.approx(mueller.barrier, abs=0.01)


def test_a_calculator_that_never_works_is_an_error_that_names_the_image(mueller: Any, counting: Any) -> None:
    def only_ends(book: Any, atoms: Atoms) -> None:
        if book.calls > 2:
            raise RuntimeError("licence expired")

    with pytest.raises(EvaluationFailed, match=r"image 1 of 5: licence expired \(also failed: image 2 of 5"):
        find_path(mueller.initial, mueller.final, counting(mueller.calculator, only_ends), images=IMAGES)


def test_an_end_that_cannot_be_calculated_is_an_error(mueller: Any, counting: Any) -> None:
    def never(book: Any, atoms: Atoms) -> None:
        raise RuntimeError("licence expired")

    with pytest.raises(EvaluationFailed, match="the initial configuration: licence expired"):
        find_path(mueller.initial, mueller.final, counting(mueller.calculator, never), images=IMAGES)


def test_a_calculator_that_stops_working_leaves_the_best_path(mueller: Any, counting: Any) -> None:
    def dies(book: Any, atoms: Atoms) -> None:
        if book.calls > 20:
            raise RuntimeError("licence expired")

    found = find_path(mueller.initial, mueller.final, counting(mueller.calculator, dies), images=IMAGES)
    assert not found.converged
    assert "licence expired" in found.reason
    assert found.fmax == min(record.residual for record in found.history)
