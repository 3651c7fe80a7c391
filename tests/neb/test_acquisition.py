"""Which image is asked about next, on bands and surrogates made by hand."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from hypothesis import given
from hypothesis import strategies as st

from sciopt.core import Evaluation
from sciopt.neb.acquisition import View, next_images
from sciopt.neb.coordinates import Coordinates
from sciopt.neb.surrogate_band import Relaxed
from sciopt.neb.surrogate_model import PathModel
from sciopt.surrogate import Cartesian
from sciopt.surrogate.data import Observations

M, N = 5, 3
FMAX = 0.05
COORDINATES = Coordinates.of(Atoms("H"), rigid=False)
SURE = {"spread": 0.001, "deviation": 0.001, "force": 0.01}


@dataclass(frozen=True, eq=False)
class Told:
    """A surrogate whose deviations are what is told, and next to nothing at its data."""

    X: np.ndarray
    spreads: np.ndarray
    sigmas: np.ndarray
    data: Observations
    length: float = 1.0
    variance: float = 1.0

    @property
    def process(self) -> Any:
        return SimpleNamespace(features=Cartesian(N), fit=lambda data, previous, optimize: replace(self, data=data))

    def predict(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros(len(X)), np.zeros(X.shape)

    def _at(self, X: np.ndarray, values: np.ndarray) -> np.ndarray:
        rows = [int(np.argmin(np.abs(self.X - x).max(axis=1))) for x in X]
        known = [(np.abs(self.data.X - x).max(axis=1) < 1e-9).any() for x in X]
        return np.where(known, 1e-9, values[rows])

    def energy_deviations(self, X: np.ndarray) -> np.ndarray:
        return self._at(X, self.spreads)

    def force_deviations(self, X: np.ndarray, without: np.ndarray | None = None) -> np.ndarray:
        return np.column_stack([self._at(X, self.sigmas), np.zeros((len(X), N - 1))])

    def left_out(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        others = replace(self, data=self.data.take(np.arange(len(self.data)) != index))
        return self.data.forces[index], others.force_deviations(self.data.X[[index]])[0]


@dataclass
class Band:
    """A straight band of one particle along x, five images 1 Å apart, and what is believed about it."""

    spreads: Any = field(default_factory=lambda: np.full(M, SURE["spread"]))
    deviations: Any = field(default_factory=lambda: np.full(M, SURE["deviation"]))
    forces: Any = field(default_factory=lambda: np.full(M, SURE["force"]))
    climbing: int | None = 2
    outside: int | None = None
    top: bool = False
    known: tuple[int, ...] = ()
    noise: float = 0.0

    def view(self) -> View:
        X = np.zeros((M + 2, N))
        X[:, 0] = np.arange(M + 2.0)
        data = Observations.none(N)
        for x in X[[0, -1, *(image + 1 for image in self.known)]]:
            data = data.add(x, 0.0, np.zeros(N), 1e-3, 1e-3)
        force = np.zeros((M, N))
        force[:, 1] = self.forces
        tangents = np.zeros((M, N))
        tangents[:, 2] = 1.0
        info = {
            "X": X,
            "energies": np.zeros(M + 2),
            "forces": np.zeros((M + 2, N)),
            "tangents": tangents,
            "climbing": self.climbing,
        }
        relaxed = Relaxed(Evaluation(X[1:-1].ravel(), force.ravel(), info=info), 0.0, self.outside, 3, True)
        posterior: Any = Told(X[1:-1], np.asarray(self.spreads), np.asarray(self.deviations), data)
        model = PathModel(posterior.process, posterior.process, COORDINATES, 0.5, np.inf)
        top = X[1 + (self.climbing or 0)] if self.top else None
        return View(posterior, relaxed, model, data, 1.0, top, self.noise)


def at(image: int, value: float, other: float) -> np.ndarray:
    values = np.full(M, other)
    values[image] = value
    return values


EVERYTHING: dict[str, Any] = {
    "outside": 0,
    "spreads": at(1, 0.3, 0.001),
    "deviations": at(3, 0.2, 0.02),
    "forces": np.full(M, 0.01),
}


def test_one_reason_comes_after_the_other() -> None:
    """Trust, energy, climbing image, force, audit, then nothing: each is asked when those before are settled."""
    band = Band(**EVERYTHING)
    assert next_images(band.view(), FMAX, 0, "band").picks == ((0, "trust"),)
    band.outside = None
    assert next_images(band.view(), FMAX, 0, "band").picks == ((1, "energy"),)
    band.spreads = np.full(M, 0.001)
    assert next_images(band.view(), FMAX, 0, "band").picks == ((2, "climbing"),)
    band.top, band.known = True, (2,)
    assert next_images(band.view(), FMAX, 0, "band").picks == ((3, "force"),)
    band.deviations = at(4, 0.03, 0.02)
    plan = next_images(band.view(), FMAX, 0, "band")
    assert plan.picks == ((4, "audit"),)
    assert plan.bound == pytest.approx(0.04)
    plan = next_images(band.view(), FMAX, 9, "band")
    assert plan.picks == ()
    assert plan.complete
    assert plan.bound == pytest.approx(0.04)


def test_an_audit_is_only_for_what_is_in_doubt() -> None:
    band = Band(top=True, known=(2,))
    plan = next_images(band.view(), FMAX, 0, "band")
    assert plan.picks == ()
    assert plan.complete


def test_an_image_is_as_doubtful_as_what_was_seen_nearest_to_it() -> None:
    """A surrogate that does not foresee one of its data, given all others, is wrong in that place by as much."""
    band = Band(top=True, known=(2,), deviations=at(2, 0.001, 0.02))
    view = band.view()
    # Next to image 4 (from 0) a force of 0.09 was seen that the others, at 0.02 of deviation, call 0.
    seen = view.data.add(view.X[4] + [0.05, 0.0, 0.0], 0.0, np.array([0.0, 0.09, 0.0]), 1e-3, 1e-3)
    view = replace(view, data=seen, posterior=replace(view.posterior, data=seen), second=lambda: view.posterior)
    assert view.missed(4) == pytest.approx(4.5)
    assert view.missed(3) == 0.0
    np.testing.assert_allclose(view.disputed(FMAX), [0.03, 0.03, 0.0, 0.03, 0.1])
    assert next_images(view, FMAX, 9, "band").picks == ((4, "audit"),)
    assert next_images(replace(view, second=None), FMAX, 9, "band").complete


def test_the_saddle_alone_needs_no_certain_band() -> None:
    band = Band(deviations=np.full(M, 0.5))
    assert next_images(band.view(), FMAX, 0, "saddle").picks == ((2, "climbing"),)
    band.top, band.known = True, (2,)
    plan = next_images(band.view(), FMAX, 0, "saddle")
    assert plan.picks == ()
    assert plan.complete
    assert next_images(band.view(), FMAX, 0, "band").picks[0][1] == "force"


def test_without_an_interior_maximum_the_saddle_is_the_band() -> None:
    band = Band(deviations=at(3, 0.2, 0.001), climbing=None)
    plan = next_images(band.view(), FMAX, 0, "saddle")
    assert plan.picks == ((3, "force"),)
    assert not plan.complete
    assert next_images(Band(climbing=None).view(), FMAX, 0, "saddle").complete


def test_a_saddle_that_moved_is_asked_again() -> None:
    view = Band(top=True, known=(2,)).view()
    near, far = view.X[2] + [0.02, 0, 0], view.X[2] + [0.05, 0, 0]
    assert replace(view, top=near).converged
    moved = replace(view, top=far)
    assert not moved.converged
    # The configuration itself is known here; then the one that is farthest from all data is asked.
    assert next_images(moved, FMAX, 0, "band").picks[0][0] != 2


def test_noise_changes_what_is_asked_for() -> None:
    """Noisy forces are never exact: the climbing image is done when its uncertainty is, and may be asked again."""
    noisy = Band(noise=0.1, deviations=np.full(M, 0.3), known=(2,)).view()
    assert noisy.allowed(FMAX)[2] == pytest.approx(0.08)
    assert noisy.allowed(FMAX)[0] == pytest.approx(np.hypot(FMAX, 0.5))
    assert not noisy.asked.any()
    sure = Band(noise=0.1, deviations=np.full(M, 0.01)).view()
    assert next_images(sure, FMAX, 9, "band").complete


def test_with_noise_the_farthest_above_its_tolerance_comes_first() -> None:
    """The climbing image is never settled for good; a lone saddle waits for nothing, and nothing is audited."""
    others = Band(noise=0.1, deviations=at(4, 3.0, 0.2))
    assert next_images(others.view(), FMAX, 0, "band").picks == ((4, "force"),)
    assert next_images(others.view(), FMAX, 0, "saddle").picks == ((2, "climbing"),)
    assert next_images(Band(noise=0.1, deviations=np.full(M, 0.2)).view(), FMAX, 0, "band").picks == ((2, "climbing"),)
    assert next_images(Band(deviations=at(4, 3.0, 0.2)).view(), FMAX, 0, "band").picks == ((2, "climbing"),)
    assert next_images(Band(noise=0.1, deviations=np.full(M, 0.06)).view(), FMAX, 0, "band").complete


def test_a_batch_is_of_different_images_and_each_counts_on_the_last() -> None:
    band = Band(**EVERYTHING)
    band.spreads = np.array([0.2, 0.3, 0.001, 0.1, 0.001])
    plan = next_images(band.view(), FMAX, 0, "band", 4)
    assert plan.picks == ((0, "trust"), (1, "energy"), (3, "energy"), (2, "climbing"))
    assert len(next_images(band.view(), FMAX, 0, "band", 99).picks) <= M


@given(
    st.lists(st.floats(0.0, 0.5), min_size=M, max_size=M),
    st.lists(st.floats(0.0, 0.5), min_size=M, max_size=M),
    st.lists(st.floats(0.0, 0.2), min_size=M, max_size=M),
    st.sets(st.integers(0, M - 1)),
    st.one_of(st.none(), st.integers(0, M - 1)),
    st.one_of(st.none(), st.integers(0, M - 1)),
    st.sampled_from(["saddle", "band", "strict"]),
    st.integers(1, M),
)
def test_nothing_is_asked_twice(
    spreads: list[float],
    deviations: list[float],
    forces: list[float],
    known: set[int],
    climbing: int | None,
    outside: int | None,
    certify: str,
    batch: int,
) -> None:
    band = Band(
        np.array(spreads), np.array(deviations), np.array(forces), climbing, outside, known=tuple(sorted(known))
    )
    plan = next_images(band.view(), FMAX, 0, certify, batch)
    images = [image for image, _ in plan.picks]
    assert len(images) <= batch
    assert len(set(images)) == len(images)
    assert not set(images) & known
    # Nothing is complete that still asks, or whose climbing image was never converged.
    assert not (plan.complete and images)
    if plan.complete and climbing is not None:
        assert climbing in known
