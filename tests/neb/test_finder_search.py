"""Searches by Gaussian process that are interrupted, killed, starved or lied to, and what follows when they give up."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms

import sciopt.neb.finder_search as finder_search
import sciopt.neb.finder_stop as finder_stop
from sciopt.bench.paths import first_start, run_one
from sciopt.core.errors import EvaluationFailed
from sciopt.neb.band import BandLaw, band_force
from sciopt.neb.path import find_path
from sciopt.neb.path_result import PathResult
from sciopt.problems import path_problem

IMAGES = 5
FMAX = 0.05

SCRIPT = """
import sys, time
from sciopt import find_path
from sciopt.problems import path_problem

problem = path_problem("muller-brown")

class Slow(type(problem.calculator())):
    def calculate(self, atoms=None, *args, **kwargs):
        with open(sys.argv[2], "a") as log:
            log.write(atoms.positions.tobytes().hex() + "\\n")
        time.sleep(float(sys.argv[3]))
        super().calculate(atoms, *args, **kwargs)

def slow():
    inner = problem.calculator()
    return Slow(inner.surface, inner.scale)

found = find_path(problem.initial, problem.final, slow, images=5, method="gp", out=sys.argv[1], resume=True)
assert found.converged, found.reason
print(found.barrier, found.calls["images"])
"""


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """These files need not survive a power cut, and nobody looks at the pictures."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    monkeypatch.setattr("sciopt.neb.plot.save_figure", lambda ax, path: None)
    monkeypatch.setattr(PathResult, "plot", lambda found, ax=None: None)


def search(system: Any, calculator: Any = None, **options: Any) -> PathResult:
    options = {"images": IMAGES, "method": "gp", "max_calls": 300, **options}
    return find_path(system.initial, system.final, calculator or system.calculator, **options)


def after(count: int) -> Any:
    """A callback that ends the search after so many points."""
    seen: list[int] = []

    def callback(snapshot: Any) -> None:
        seen.append(len(snapshot.history))
        if len(seen) == count:
            raise StopIteration("seen enough")

    return callback


def assert_nothing_twice(*books: Any) -> None:
    visited = [positions.tobytes() for book in books for positions in book.visited]
    assert len(set(visited)) == len(visited), "a configuration was calculated twice"


def assert_saddle(found: PathResult, system: Any, tolerance: float = 0.01) -> None:
    assert found.converged, found.reason
    assert found.barrier == pytest.approx(system.barrier, abs=tolerance)
    assert found.saddle is not None
    atoms = found.saddle.copy()
    atoms.calc = system.calculator()
    force = found.coordinates.reduce(atoms.get_forces(apply_constraint=False))
    assert found.coordinates.longest(force) < FMAX


def lose(folder: Path, how: str) -> None:
    """Harm the checkpoint."""
    for name in ("state.npz", "state.json", "stage.npz"):
        file = folder / name
        if how == "lost":
            file.unlink(missing_ok=True)
        elif how == "cut" and file.exists():
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


@pytest.mark.parametrize("how", ["whole", "lost", "cut"])
@pytest.mark.parametrize("points", [1, 4, 9])
@pytest.mark.parametrize("name", ["mueller", "hcn"])
def test_an_interrupted_search_goes_on(
    name: str, points: int, how: str, counting: Any, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    system = request.getfixturevalue(name)
    whole = search(system)
    first, second = counting(system.calculator), counting(system.calculator)
    stopped = search(system, first, out=tmp_path, callback=after(points))
    assert not stopped.converged
    assert stopped.reason.startswith("seen enough")
    assert len(stopped.images) == IMAGES + 2
    assert stopped.calls["images"] == first.calls - 2
    lose(tmp_path, how)
    found = search(system, second, out=tmp_path, resume=True)
    assert_saddle(found, system)
    assert_nothing_twice(first, second)
    assert found.calls["images"] == first.calls + second.calls - 2
    assert found.barrier == pytest.approx(whole.barrier, abs=1e-4)
    # Without its checkpoint a search begins anew with everything it knew, and need not ask for the same again.
    assert found.calls["images"] <= whole.calls["images"] + 3


def test_ctrl_c_in_the_calculator(counting: Any, tmp_path: Path) -> None:
    hop = path_problem("au_al100_hop")

    def interrupt(book: Any, atoms: Atoms) -> None:
        if book.calls == 8:
            raise KeyboardInterrupt

    whole = search(hop)
    first, second = counting(hop.calculator, interrupt), counting(hop.calculator)
    stopped = search(hop, first, out=tmp_path)
    assert not stopped.converged
    assert "interrupted" in stopped.reason
    assert first.calls == 8
    found = search(hop, second, out=tmp_path, resume=True)
    assert_saddle(found, hop)
    # The calculation that was interrupted is the only one that is made again.
    first.visited.pop()
    assert_nothing_twice(first, second)
    assert found.barrier == pytest.approx(whole.barrier, abs=1e-4)
    assert first.calls + second.calls - 2 <= whole.calls["images"] + 3


def test_a_finished_search_costs_nothing_to_repeat(mueller: Any, counting: Any, tmp_path: Path) -> None:
    whole = search(mueller, out=tmp_path)
    book = counting(mueller.calculator)
    again = search(mueller, book, out=tmp_path, resume=True)
    assert book.calls == 0
    assert again.converged
    assert again.barrier == whole.barrier
    np.testing.assert_allclose(again.X, whole.X, atol=1e-6)


def test_a_stricter_question_starts_from_what_is_known(mueller: Any, counting: Any, tmp_path: Path) -> None:
    first, second = counting(mueller.calculator), counting(mueller.calculator)
    loose = search(mueller, first, certify="saddle", out=tmp_path)
    found = search(mueller, second, certify="strict", out=tmp_path, resume=True)
    assert loose.converged
    assert_saddle(found, mueller)
    assert_nothing_twice(first, second)
    assert first.calls + second.calls - 2 <= search(mueller, certify="strict").calls["images"] + 3


def test_the_finder_takes_over_from_a_band(mueller: Any, counting: Any, tmp_path: Path) -> None:
    first, second = counting(mueller.calculator), counting(mueller.calculator)
    band = search(mueller, first, method="imagewise", out=tmp_path, callback=after(4))
    assert not band.converged
    found = search(mueller, second, out=tmp_path, resume=True)
    assert_saddle(found, mueller)
    assert found.method == "gp"
    assert "surrogate" in found.reason
    assert_nothing_twice(first, second)
    assert second.calls < search(mueller).calls["images"]


@pytest.mark.parametrize("wait", [4, 9])
def test_a_killed_process(mueller: Any, tmp_path: Path, wait: int) -> None:
    """SIGKILL at an arbitrary moment, then the same command again."""
    out, log = tmp_path / "run", tmp_path / "calls"
    command = [sys.executable, "-c", SCRIPT, str(out), str(log)]
    process = subprocess.Popen([*command, "0.05"])
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and (not log.exists() or len(log.read_text().splitlines()) < wait):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = log.read_text().split()
    assert len(before) >= wait
    answer = subprocess.run([*command, "0"], capture_output=True, text=True, check=True)
    barrier, images = answer.stdout.split()
    calls = log.read_text().split()
    # What was under way when it died is paid for twice; nothing else is.
    assert len(calls) - len(set(calls)) <= 1
    assert float(barrier) == pytest.approx(mueller.barrier, abs=0.01)
    assert int(images) <= search(mueller).calls["images"] + 3


@pytest.mark.parametrize("call", [3, 4, 5, 9, 14])
def test_one_failure(hop: Any, counting: Any, call: int) -> None:
    """Failures of seeds (3 and 4) and later ones."""

    def fails(book: Any, atoms: Atoms) -> None:
        if book.calls == call:
            raise RuntimeError("not converged")

    book = counting(hop.calculator, fails)
    found = search(hop, book)
    assert_saddle(found, hop)
    assert found.calls["images"] == book.calls - 2
    assert book.calls - 2 <= search(hop).calls["images"] + 12


@pytest.mark.parametrize("every", [3, 4])
def test_a_calculator_that_fails_again_and_again(mueller: Any, counting: Any, every: int) -> None:
    def fails(book: Any, atoms: Atoms) -> None:
        if book.calls > 2 and book.calls % every == 0:
            raise RuntimeError("not converged")

    book = counting(mueller.calculator, fails)
    found = search(mueller, book)
    assert_saddle(found, mueller)
    assert found.calls["images"] == book.calls - 2


def test_forces_that_are_no_numbers(hop: Any, counting: Any) -> None:
    def make() -> Any:
        calculator = hop.calculator()
        calculate, calls = calculator.calculate, []

        def poisoned(atoms: Any = None, *args: Any, **kwargs: Any) -> None:
            calculate(atoms, *args, **kwargs)
            calls.append(1)
            if len(calls) in (3, 7):
                calculator.results["forces"] = np.full((len(atoms), 3), np.nan)

        calculator.calculate = poisoned
        return calculator

    found = search(hop, make())
    assert_saddle(found, hop)
    assert np.isfinite(found.forces).all()


def test_a_calculator_that_fails_beyond_a_distance(mueller: Any, counting: Any) -> None:
    """A detour of the initial path is out of reach, the path itself is not."""
    straight = np.linspace(*(atoms.positions[0, :2] for atoms in (mueller.initial, mueller.final)), IMAGES + 2)
    bent = straight + np.sin(np.pi * np.linspace(0, 1, IMAGES + 2))[:, None] * [1.0, 1.0]

    def fails(book: Any, atoms: Atoms) -> None:
        if atoms.positions[0, 0] + atoms.positions[0, 1] > 1.3:
            raise RuntimeError("out of reach")

    book = counting(mueller.calculator, fails)
    found = search(mueller, book, path=bent)
    assert_saddle(found, mueller)
    assert found.calls["images"] == book.calls - 2


def test_a_calculator_that_always_fails_is_one_sentence(hop: Any, counting: Any) -> None:
    def always(book: Any, atoms: Atoms) -> None:
        raise RuntimeError("no licence")

    with pytest.raises(EvaluationFailed, match="the initial configuration: no licence") as caught:
        search(hop, counting(hop.calculator, always))
    assert "\n" not in str(caught.value)


def test_a_calculator_that_fails_everywhere_but_at_the_ends_is_one_sentence(hop: Any, counting: Any) -> None:
    def images(book: Any, atoms: Atoms) -> None:
        if book.calls > 2:
            raise RuntimeError("no licence")

    book = counting(hop.calculator, images)
    with pytest.raises(EvaluationFailed, match=r"image 2 of 5: no licence") as caught:
        search(hop, book)
    assert "\n" not in str(caught.value)
    assert book.calls < 20


def test_a_calculator_that_breaks_for_good_leaves_the_best_band(hop: Any, counting: Any) -> None:
    def broken(book: Any, atoms: Atoms) -> None:
        if book.calls > 8:
            raise RuntimeError("disk full")

    book = counting(hop.calculator, broken)
    found = search(hop, book)
    assert not found.converged
    assert "disk full" in found.reason
    assert found.calls["images"] == book.calls - 2 < 80
    assert len(found.images) == IMAGES + 2


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("budget", [1, 2, 3, 5, 8])
def test_a_budget_is_kept(hop: Any, counting: Any, budget: int, batch: int) -> None:
    book = counting(hop.calculator)
    found = search(hop, book, max_calls=budget, batch=batch)
    assert not found.converged
    assert f"the budget of {budget} evaluations of images is used up" in found.reason
    assert budget <= book.calls - 2 <= budget + batch - 1
    assert found.calls["images"] == book.calls - 2
    # The best band there is: the surrogate's, with the ends as they are.
    assert np.isfinite(found.barrier)
    assert found.energy_errors is not None
    assert found.energy_errors[0] == found.energy_errors[-1] == 0.0
    assert found.energy_errors[1:-1].max() > 0.0


@pytest.mark.parametrize("budget", [1, 4, 6])
def test_failures_are_paid_from_the_budget(hop: Any, counting: Any, budget: int) -> None:
    def fails(book: Any, atoms: Atoms) -> None:
        if book.calls > 4:
            raise RuntimeError("not converged")

    book = counting(hop.calculator, fails)
    found = search(hop, book, max_calls=budget)
    assert not found.converged
    assert "budget" in found.reason
    assert book.calls - 2 == budget


def test_a_budget_that_ends_among_failing_seeds_is_one_sentence(hop: Any, counting: Any) -> None:
    def fails(book: Any, atoms: Atoms) -> None:
        if book.calls > 2:
            raise RuntimeError("not converged")

    book = counting(hop.calculator, fails)
    with pytest.raises(EvaluationFailed, match="not converged"):
        search(hop, book, max_calls=3)
    assert book.calls - 2 <= 4


def test_a_budget_that_just_suffices(hop: Any) -> None:
    needed = search(hop).calls["images"]
    found = search(hop, max_calls=needed)
    assert_saddle(found, hop)
    assert found.calls["images"] == needed


def test_initial_paths_through_a_clash(hcn: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Atoms that pass through each other: huge energies and forces that say nothing about the rest.

    What comes of it depends on the last digits of the calculator, which differ from run to run, so that several paths
    are tried. Of 80 such paths three did not arrive in 300 evaluations; the median was 42.
    """
    X = search(hcn, path="idpp", max_calls=1).X
    # Hydrogen goes right through the bond.
    carbon, nitrogen, hydrogen = (X[:, 3 * k : 3 * k + 3] for k in range(3))
    through = 0.5 * (carbon + nitrogen) + 0.2 * (hydrogen - carbon) / np.linalg.norm(hydrogen - carbon, axis=1)[:, None]
    X[2:-2, 6:] = through[2:-2]
    nearby = [X + 1e-7 * np.random.default_rng(seed).standard_normal(X.shape) for seed in range(5)]
    with caplog.at_level(logging.WARNING, "sciopt"):
        found = [search(hcn, path=path) for path in nearby]
    assert any("Å apart" in message for message in caplog.messages)
    arrived = [path for path in found if path.converged]
    assert len(arrived) >= 3
    for path in arrived:
        assert_saddle(path, hcn)
    highest = [max(lesson.energy for lesson in path.lessons) - path.absolute_energies[0] for path in found]
    assert min(highest) > 2 * hcn.barrier
    # The image-wise band takes 79 from a path without a clash.
    assert np.median([path.calls["images"] for path in found]) < 70


def test_a_slab_with_a_clash_on_the_path(hop: Any) -> None:
    """The adatom is pushed into the slab half way."""
    X = search(hop, path="linear", max_calls=1).X
    X[:, -1] -= 1.2 * np.sin(np.pi * np.linspace(0, 1, IMAGES + 2))
    found = search(hop, path=X)
    assert_saddle(found, hop)
    assert max(lesson.energy - found.absolute_energies[0] for lesson in found.lessons) > 5 * hop.barrier


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A finder that gives up almost at once."""
    monkeypatch.setattr(finder_search, "_PATIENCE", 0.8)


def assert_band(found: PathResult, system: Any) -> None:
    """Converged by the band force that the image-wise band claims."""
    assert_saddle(found, system)
    energies, forces = found.absolute_energies, found.forces
    band = band_force(found.X, energies, forces[1:-1], found.coordinates, BandLaw())
    assert found.coordinates.longest(band.force.reshape(len(forces) - 2, -1)).max() < FMAX


@pytest.mark.parametrize("certify", ["band", "strict", "saddle"])
@pytest.mark.parametrize("name", ["mueller", "hop", "hcn"])
def test_a_finder_that_gives_up_is_followed_by_the_band(
    name: str,
    certify: Any,
    counting: Any,
    impatient: None,
    caplog: pytest.LogCaptureFixture,
    request: pytest.FixtureRequest,
) -> None:
    system = request.getfixturevalue(name)
    book = counting(system.calculator)
    with caplog.at_level(logging.WARNING, "sciopt"):
        found = search(system, book, certify=certify)
    told = [message for message in caplog.messages if "no certificate after" in message]
    assert any(message.endswith("trying another path") for message in told)
    assert any(message.endswith("going on with the image-wise band") for message in told)
    if certify == "saddle" and name == "mueller":
        # Between the minima of this surface lies another one, which the check of a lone saddle notices.
        assert "another minimum" in found.reason
    elif certify == "saddle":
        assert_saddle(found, system)
    else:
        assert_band(found, system)
    assert "the image-wise band went on where the surrogate got nowhere (no certificate after" in found.reason
    assert_nothing_twice(book)
    assert sum(found.calls.values()) == book.calls
    # Both paths of the finder have taught it something.
    assert len(found.lessons) >= IMAGES


def test_a_check_that_nobody_asked_for_may_fail(hop: Any, counting: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a lost surrogate the saddle is verified; where that is impossible the band is still what it is."""
    monkeypatch.setattr(finder_search, "_PATIENCE", 1)
    whole = search(hop)
    assert whole.calls["check"] > 0

    def breaks(book: Any, atoms: Atoms) -> None:
        if book.calls > whole.calls["images"] + 2:
            raise RuntimeError("licence expired")

    found = search(hop, counting(hop.calculator, breaks))
    assert_band(found, hop)
    assert found.check is None
    np.testing.assert_array_equal(found.X[:: IMAGES + 1], whole.X[:: IMAGES + 1])
    asked = search(hop, counting(hop.calculator, breaks), check=True)
    assert not asked.converged
    assert "licence expired" in asked.reason


def test_a_pinched_finder_is_followed_by_the_band(
    mueller: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(finder_stop, "_PINCHED", -1)
    with caplog.at_level(logging.WARNING, "sciopt"):
        found = search(mueller)
    assert any("mispredicted too often" in message for message in caplog.messages)
    assert_band(found, mueller)


def test_another_path_keeps_what_the_first_has_learned(
    hop: Any, counting: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finder_search, "_PATIENCE", 1.2)
    book = counting(hop.calculator)
    found = search(hop, book, certify="saddle")
    assert_saddle(found, hop)
    assert "the surrogate sees" in found.reason, "the second path did not finish: this tests nothing"
    assert_nothing_twice(book)
    assert book.calls - 2 <= search(hop, certify="saddle").calls["images"] + 4


@pytest.mark.parametrize("budget", [7, 9, 12])
def test_a_budget_that_ends_after_the_finder_gave_up(hop: Any, counting: Any, impatient: None, budget: int) -> None:
    book = counting(hop.calculator)
    found = search(hop, book, max_calls=budget, fmax=0.002)
    assert not found.converged
    assert "evaluations" in found.reason
    assert book.calls - 2 <= budget + IMAGES - 1
    if book.calls - 2 < budget:
        assert "too few for another band" in found.reason


@pytest.mark.parametrize("points", [3, 6, 8, 9])
def test_a_search_that_fell_back_goes_on(hcn: Any, counting: Any, impatient: None, points: int, tmp_path: Path) -> None:
    whole = search(hcn)
    first, second = counting(hcn.calculator), counting(hcn.calculator)
    stopped = search(hcn, first, out=tmp_path, callback=after(points))
    assert not stopped.converged
    found = search(hcn, second, out=tmp_path, resume=True)
    assert_saddle(found, hcn)
    assert_nothing_twice(first, second)
    assert found.calls["images"] <= whole.calls["images"] + 2 * IMAGES


@pytest.mark.parametrize("method", ["gp", "gp-4"])
def test_a_band_led_astray_comes_back(method: str) -> None:
    """Predictions that were far too low lead these paths out of a molecule, to a saddle 0.48 eV too high."""
    first = first_start("nitroxyl_isomerization")
    errors = [run_one(first.bent(seed), method).barrier_error for seed in (7, 8, 10, 11)]
    # Whether one of them gets away is chance.
    assert np.count_nonzero(np.abs(errors) < 0.01) >= 3, errors
