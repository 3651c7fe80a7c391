"""Single configurations, one or a few at a time, as a problem of the core."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

import numpy as np

from sciopt.core.errors import EvaluationFailed
from sciopt.core.evaluation import Evaluation
from sciopt.core.space import Undivided

if TYPE_CHECKING:
    from collections.abc import Callable

    from sciopt.core.run import Snapshot
    from sciopt.core.types import Array
    from sciopt.neb.coordinates import Coordinates
    from sciopt.neb.images import Images

__all__ = ["ConfigurationSpace", "Configurations", "pulled"]


@dataclass(frozen=True)
class ConfigurationSpace(Undivided):
    """The geometry of batches: x is (b n,), one block per configuration, b free to change from point to point."""

    coordinates: Coordinates

    def dot(self, a: Array, b: Array) -> float:
        return float(np.vdot(a, b))

    def sharp(self, x: Array, force: Array) -> Array:
        return force

    def tangent(self, x: Array, force: Array) -> Array:
        return force

    def clip(self, step: Array) -> Array:
        return step

    def length(self, step: Array) -> Array:
        """(b,) largest displacement of an atom in each configuration."""
        return self.coordinates.longest(step.reshape(-1, self.coordinates.size))

    def move(self, x: Array, step: Array, metric: Array | None = None) -> Array:
        return x + step

    def between(self, x: Array, y: Array) -> Array:
        return y - x

    def residual(self, x: Array, force: Array) -> float:
        """Largest true force on an atom, eV/Å."""
        return float(self.length(force).max())


@dataclass
class Configurations:
    """Evaluates what a path finder asks for, under the numbers of the images it asks about.

    Parameters
    ----------
    evaluator
        Who evaluates.
    images
        Image numbers (from 0 among the movable ones) of the batch that comes next; an observer keeps them up to date.
    x0
        (b n,) the first batch.
    noise
        Standard error of one force component, eV/Å.
    left
        How many more evaluations may be paid for; then nothing is evaluated any more.
    """

    evaluator: Images
    images: tuple[int, ...]
    x0: Array
    noise: float = 0.0
    left: Callable[[], float] = lambda: inf

    @property
    def space(self) -> ConfigurationSpace:
        """One block per configuration."""
        return ConfigurationSpace(self.evaluator.coordinates)

    def start(self) -> Array:
        return self.x0

    def expect(self, snapshot: Snapshot) -> None:
        """Observer: what comes next belongs to these images."""
        self.images = snapshot.state.memory.picks

    def evaluate(self, x: Array) -> Evaluation:
        """Energies and true forces; `info` holds ``X`` (b, n), ``energies`` (b,) and ``forces`` (b, n).

        Raises
        ------
        EvaluationFailed
            With the places in the batch that failed.
        """
        X = x.reshape(len(self.images), -1)
        before = self.evaluator.calls
        if self.left() <= 0 and any(self.evaluator.known(x) is None for x in X):
            raise EvaluationFailed("the budget of evaluations is used up")
        try:
            answers = self.evaluator.evaluate({image + 1: x for image, x in zip(self.images, X, strict=True)})
        except EvaluationFailed as failure:
            blocks = tuple(self.images.index(block) for block in failure.blocks)
            raise EvaluationFailed(str(failure), blocks) from failure
        found = [answers[image + 1] for image in self.images]
        energies = np.array([answer.energy for answer in found])
        forces = np.array([answer.force for answer in found])
        cost = {"images": float(self.evaluator.calls - before)}
        return Evaluation(
            x, forces.ravel(), noise=self.noise, cost=cost, info={"X": X, "energies": energies, "forces": forces}
        )


def pulled(x: Array, blocks: tuple[int, ...], path: Array) -> Array:
    """The batch x (b n,) with the configurations `blocks`, or all, halfway to the nearer end of a path (M+2, n)."""
    X = x.reshape(-1, path.shape[1]).copy()
    for block in blocks or range(len(X)):
        ends = path[[0, -1]]
        nearest = ends[int(np.argmin(np.linalg.norm(ends - X[block], axis=1)))]
        X[block] = 0.5 * (X[block] + nearest)
    return X.ravel()
