"""Lower paths are noticed where the data speak of them, and nowhere else."""

from __future__ import annotations

import logging
import time
from typing import Any

import numpy as np
import pytest

from sciopt.neb.band import BandLaw
from sciopt.neb.coordinates import Coordinates
from sciopt.neb.finder_search import FinderSearch
from sciopt.neb.path import find_path
from sciopt.neb.rivals import LARGEST, Rival, lower_path
from sciopt.neb.surrogate_model import PathModel, path_model
from sciopt.problems import Planar, path_problem
from sciopt.surrogate.data import Observations

IMAGES = 7
# eV: the barriers on the upper and on the lower half of the ring, where ``8 y² ± 0.6 y - 7 = 0`` on x = 0.
TOP, HIGH, LOW = 0.8987, 0.6230, 0.2948


def ring(x: float, y: float) -> tuple[float, np.ndarray]:
    """Minima at x = ±1 on a circular valley, ``2 (r² - 1)² + (0.5 + 0.2 y) y²``."""
    off = x * x + y * y - 1.0
    return 2 * off**2 + (0.5 + 0.2 * y) * y**2, np.array([8 * off * x, 8 * off * y + y + 0.6 * y**2])


def arc(height: float, count: int = IMAGES) -> np.ndarray:
    """(count+2, 2) half an ellipse between the minima."""
    angles = np.linspace(np.pi, 0.0, count + 2)
    X = np.column_stack([np.cos(angles), height * np.sin(angles)])
    X[[0, -1], 1] = 0.0
    return X


def observed(*paths: np.ndarray) -> Observations:
    data = Observations.none(2)
    for x in np.vstack([arc(1.0)[[0, -1]], *(path[1:-1] for path in paths)]):
        energy, gradient = ring(*x)
        data = data.add(x, energy, -gradient, 1e-3, 1e-3)
    return data


@pytest.fixture
def model(mueller: Any) -> PathModel:
    coordinates = Coordinates.of(mueller.initial)
    return path_model(coordinates, *arc(1.0)[[0, -1]])


def look(model: PathModel, data: Observations, *candidates: np.ndarray, X: np.ndarray | None = None) -> Rival | None:
    X = arc(1.0) if X is None else X
    energies = np.array([ring(*x)[0] for x in X])
    return lower_path(model.process.fit(data), model, X, energies, BandLaw(1.0), candidates)


def test_a_lower_path_in_the_data_is_noticed(model: PathModel) -> None:
    X = arc(TOP)
    rival = look(model, observed(X, arc(-1.0), arc(-0.8)), arc(0.8), arc(-0.8), X=X)
    assert rival is not None
    assert rival.below == pytest.approx(HIGH - LOW, abs=0.03)
    assert rival.message.startswith(f"a path lower by about {rival.below:.2f} eV is suspected")
    # It is the other half of the ring, from end to end.
    np.testing.assert_array_equal(rival.X[[0, -1]], arc(1.0)[[0, -1]])
    assert rival.X.shape == (IMAGES + 2, 2)
    assert max(ring(*x)[0] for x in rival.X) == pytest.approx(LOW, abs=0.05)


def test_the_higher_one_is_no_rival_of_the_lower_one(model: PathModel) -> None:
    data = observed(arc(1.0), arc(-1.0))
    assert look(model, data, arc(0.9), X=arc(-1.0)) is None


def test_the_known_path_is_no_rival_of_itself(model: PathModel) -> None:
    """Not even one whose images avoid the top of it."""
    slid = arc(1.0, 31)[np.r_[0, np.linspace(1, 12, 4).astype(int), np.linspace(20, 31, 3).astype(int), 32]]
    data = observed(arc(1.0), arc(-1.0))
    assert look(model, data, arc(0.9), arc(1.0), slid) is None


def test_what_no_data_speak_about_is_not_suspected(model: PathModel) -> None:
    assert look(model, observed(arc(1.0)), arc(-0.8), arc(-1.0)) is None


def test_a_band_may_not_jump_over_what_lies_between_its_images(model: PathModel) -> None:
    """Few images: the lower half is as it is only if somebody looks between them."""
    data = observed(arc(1.0), arc(-1.0))
    jumping = np.array([arc(1.0)[0], arc(-1.0)[1], arc(-1.0)[-2], arc(1.0)[-1]])
    X = arc(1.0, 2)
    X[1:-1] = arc(1.0, 4)[[2, 3]]
    energies = np.array([ring(*x)[0] for x in X])
    rival = lower_path(model.process.fit(data), model, X, energies, BandLaw(1.0), [jumping])
    # Straight through the middle there is a hill of 2 eV, whatever the two images say.
    assert rival is None


@pytest.mark.parametrize("problem", ["flat", "large"])
def test_where_nothing_can_be_lower_nothing_is_looked_for(model: PathModel, problem: str) -> None:
    def never(*arguments: Any) -> Any:
        raise AssertionError("looked")

    X = arc(1.0)
    energies = np.array([ring(*x)[0] for x in X])
    surrogate: Any = model.process.fit(observed(X))
    if problem == "flat":
        # The higher end is the barrier.
        energies = np.linspace(1.0, 0.0, len(X))
    if problem == "large":
        big = path_problem("cu_vacancy_107")
        coordinates = Coordinates.of(big.initial)
        assert coordinates.size > LARGEST
        model = PathModel(model.process, model.process, coordinates, 0.5, np.inf)
    assert lower_path(surrogate, model, X, energies, BandLaw(1.0), [arc(-1.0)]) is None


def test_a_suspicion_is_told_and_can_be_followed(
    mueller: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """From the search on the upper half to the one on the lower: a warning, a sentence and a path to start from."""
    initial, final = mueller.initial.copy(), mueller.final.copy()
    initial.positions[0, :2], final.positions[0, :2] = (-1.0, 0.0), (1.0, 0.0)
    X = arc(0.9)
    seen: list[float] = []

    def suspicious(surrogate: Any, model: Any, path: Any, energies: Any, law: Any, candidates: Any) -> Rival | None:
        """As if the data had spoken of the lower half as well."""
        seen.append(float(energies.max()))
        return lower_path(model.process.fit(observed(arc(1.0), arc(-1.0))), model, path, energies, law, candidates)

    def one_of_two(*arguments: Any) -> Any:
        arguments[4].append(arc(-0.8))
        return "upper", X

    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING, "sciopt"):
        patch.setattr("sciopt.neb.finder_search.lower_path", suspicious)
        patch.setattr("sciopt.neb.path.initial_path", one_of_two)
        found = find_path(initial, final, Planar(ring, 1.0), method="gp")
    assert found.converged
    assert found.barrier == pytest.approx(HIGH, abs=0.01)
    assert len(seen) == 1
    assert found.rival is not None
    told = "is suspected: start it with path=result.rival"
    assert told in found.reason
    assert any(message.endswith(told) for message in caplog.messages)
    better = find_path(initial, final, Planar(ring, 1.0), method="gp", path=found.rival)
    assert better.converged
    assert better.barrier == pytest.approx(LOW, abs=0.01)
    assert better.rival is None


@pytest.mark.parametrize("name", ["hcn_hnc", "malonaldehyde_transfer"])
def test_no_suspicion_and_no_evaluation_on_paths_that_are_the_lowest(
    name: str, counting: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[float] = []
    compared = FinderSearch._compared

    def timed(self: Any, *arguments: Any) -> Any:
        begun = time.process_time()
        answer = compared(self, *arguments)
        taken.append(time.process_time() - begun)
        assert len(self.others) == 6, "the other initial paths are not known"
        return answer

    monkeypatch.setattr(FinderSearch, "_compared", timed)
    problem = path_problem(name)
    book = counting(problem.calculator)
    found = find_path(problem.initial, problem.final, book, method="gp")
    assert found.converged
    assert found.rival is None
    assert "suspected" not in found.reason
    assert found.calls["images"] == book.calls - 2
    # 0.03 s where nothing else runs.
    assert taken
    assert max(taken) < 1.0
