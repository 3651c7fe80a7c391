"""Bands at rest in the wrong place: when a second negative mode is looked for, and what is done about it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ase import Atoms

import sciopt.neb.escape as escape
from sciopt.neb.coordinates import Coordinates


class Quadratic:
    """``x H x / 2`` in place of a surrogate."""

    def __init__(self, hessian: np.ndarray) -> None:
        self.matrix = hessian

    def hessian(self, x: np.ndarray) -> np.ndarray:
        return self.matrix

    def predict(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        pull = X @ self.matrix
        return 0.5 * np.einsum("ij,ij->i", X, pull), -pull


@pytest.fixture
def turned() -> Any:
    """A Hessian of one free particle with given curvatures, and its modes."""
    vectors = np.linalg.qr(np.random.default_rng(4).normal(size=(3, 3)))[0]

    def make(curvatures: list[float]) -> tuple[np.ndarray, np.ndarray]:
        return (vectors * curvatures) @ vectors.T, vectors

    return make


@pytest.mark.parametrize(
    ("curvatures", "pushed"),
    [([-2.0, 1.0, 3.0], False), ([-2.0, -0.29, 3.0], False), ([-2.0, -0.31, 3.0], True), ([-2.0, -1.0, -0.5], True)],
)
@pytest.mark.parametrize("askew", [0.0, 0.4])
def test_a_second_negative_mode_is_left(turned: Any, curvatures: list[float], pushed: bool, askew: float) -> None:
    """Whether the tangent is the first mode or leans away from it."""
    hessian, vectors = turned(curvatures)
    tangent = vectors[:, 0] + askew * vectors[:, 2]
    tangent /= np.linalg.norm(tangent)
    X = np.outer(np.linspace(-1.0, 1.0, 7), tangent)
    coordinates = Coordinates.of(Atoms("H"))
    found = escape.elsewhere(Quadratic(hessian), X, 2, np.tile(tangent, (5, 1)), coordinates)
    assert (found is not None) is pushed
    if found is not None:
        moved = found[3] - X[3]
        assert coordinates.longest(moved) == pytest.approx(0.15)
        assert abs(tangent @ moved) < 0.7 * np.linalg.norm(moved)
        np.testing.assert_array_equal(found[[0, -1]], X[[0, -1]])


def test_the_short_cut_never_hides_a_mode() -> None:
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(300):
        A = rng.normal(size=(6, 6))
        hessian = A + A.T + rng.uniform(0.0, 6.0) * np.eye(6)
        tangent = rng.normal(size=6)
        tangent /= np.linalg.norm(tangent)
        count = int((np.linalg.eigvalsh(hessian) < -0.3).sum())
        short = escape._convex_across(hessian, tangent, 0.3)
        assert not short or count < 2
        seen.add((short, min(count, 2)))
    assert {(True, 0), (True, 1), (False, 2)} <= seen
