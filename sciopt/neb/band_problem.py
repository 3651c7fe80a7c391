"""A band of images as a problem of the core: its space, and its evaluation through whoever evaluates images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from sciopt.core.errors import InputError
from sciopt.core.evaluation import Evaluation
from sciopt.core.space import Undivided
from sciopt.neb.align import project_out, rigid_bases
from sciopt.neb.band import BandLaw, band_force, band_info

if TYPE_CHECKING:
    from sciopt.core.types import Array
    from sciopt.neb.coordinates import Coordinates
    from sciopt.neb.images import Answer, Images

__all__ = ["BandProblem", "BandSpace"]


@dataclass(frozen=True)
class BandSpace(Undivided):
    """The geometry of a band: x is the (M n,) flattened array of movable images, one block per image.

    Parameters
    ----------
    coordinates
        The free coordinates of every image.
    images
        M.
    maxstep
        Longest displacement of an atom per step, in Å.
    cap
        What is shortened when an atom would move too far: every image by itself, or the whole band (direction kept).
    """

    coordinates: Coordinates
    images: int
    maxstep: float = 0.2
    cap: Literal["image", "band"] = "band"

    def _band(self, v: Array) -> Array:
        return v.reshape(self.images, -1)

    def dot(self, a: Array, b: Array) -> float:
        return float(np.vdot(a, b))

    def sharp(self, x: Array, force: Array) -> Array:
        return force

    def tangent(self, x: Array, force: Array) -> Array:
        return force

    def length(self, step: Array) -> Array:
        return self.coordinates.longest(self._band(step))

    def clip(self, step: Array) -> Array:
        lengths = self.length(step)
        if self.cap == "band":
            lengths = np.full_like(lengths, lengths.max())
        factors = np.where(lengths > self.maxstep, self.maxstep / np.maximum(lengths, self.maxstep), 1.0)
        return (self._band(step) * factors[:, None]).ravel()

    def move(self, x: Array, step: Array, metric: Array | None = None) -> Array:
        if self.coordinates.rigid:
            step = project_out(rigid_bases(self._band(x)), self._band(step)).ravel()
        # Adding a zero that is not exactly zero would make a resting image look new and cost an evaluation.
        return np.where(step == 0.0, x, x + step)

    def between(self, x: Array, y: Array) -> Array:
        return y - x

    def residual(self, x: Array, force: Array) -> float:
        return float(self.length(force).max())


@dataclass(frozen=True)
class BandProblem:
    """Movable images between two fixed ends.

    Every image is evaluated once per point it is at: an image that did not move costs nothing.

    Parameters
    ----------
    coordinates
        The free coordinates.
    evaluator
        Who evaluates images.
    path
        (M+2, n) the initial path, ends included, in Å.
    ends
        Energies and forces of both ends.
    law
        The band force.
    noise
        Standard error of one force component in eV/Å.
    """

    coordinates: Coordinates
    evaluator: Images
    path: Array
    ends: tuple[Answer, Answer]
    law: BandLaw
    noise: float = 0.0

    def __post_init__(self) -> None:
        if len(self.path) < 3:
            raise InputError(f"a path needs at least one movable image, got {len(self.path) - 2}")

    @property
    def space(self) -> BandSpace:
        """Plain band space; methods bring their own with caps and redistribution."""
        return BandSpace(self.coordinates, len(self.path) - 2)

    def start(self) -> Array:
        return self.path[1:-1].flatten()

    def evaluate(self, x: Array) -> Evaluation:
        """Energies and true forces of all images, and the band force.

        `info` holds ``X`` (M+2, n), ``energies`` (M+2,), ``forces`` (M+2, n) as calculated, ``true`` (M, n) without
        rigid motion, ``tangents`` (M, n), ``along`` (M,), ``lengths`` (M+1,), ``climbing`` (index or None).
        """
        X = np.vstack([self.path[:1], x.reshape(-1, self.path.shape[1]), self.path[-1:]])
        before = self.evaluator.calls
        answers = self.evaluator.evaluate({i: X[i] for i in range(1, len(X) - 1)})
        first, last = self.ends
        energies = np.array([first.energy, *(answers[i].energy for i in range(1, len(X) - 1)), last.energy])
        forces = np.vstack([first.force, *(answers[i].force for i in range(1, len(X) - 1)), last.force])
        band = band_force(X, energies, forces[1:-1], self.coordinates, self.law)
        info = band_info(X, energies, forces, band)
        cost = {"images": float(self.evaluator.calls - before)}
        return Evaluation(x, band.force.ravel(), noise=self.noise, cost=cost, info=info)
