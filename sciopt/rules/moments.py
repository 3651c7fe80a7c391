"""Moment rules: a metric learned from the history of forces, ``G = diag(sqrt(v) + eps)``.

Adagrad sums the squares, RMSprop and Adam keep a running mean, AMSGrad the running maximum of it, AdaBelief the
variance about the mean. In all of them ``s = size * G^-1 m`` with m the force or its running mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sciopt.rules.first_order import Direction, FirstOrder

if TYPE_CHECKING:
    from sciopt.core.evaluation import Evaluation
    from sciopt.core.space import Space
    from sciopt.core.types import Array

__all__ = ["AdaBelief", "Adagrad", "Adam", "FullAdagrad", "Moments", "RMSprop"]


class Moments(NamedTuple):
    """First moment, second moment, running maximum of the second moment, and the number of forces seen."""

    first: Array
    second: Array
    top: Array
    steps: int


def _no_moments(ev: Evaluation) -> Moments:
    zero = np.zeros_like(ev.x)
    return Moments(zero, zero, zero, 0)


@dataclass(frozen=True)
class Adagrad(FirstOrder):
    """Adagrad: ``v <- v + f^2``; ``s = size * f / (sqrt(v) + eps)``.

    Duchi, Hazan and Singer 2011, jmlr.org/papers/v12/duchi11a.html.
    """

    eps: float = 1e-10

    def start(self, ev: Evaluation, space: Space) -> Array:
        return np.zeros_like(ev.x)

    def direction(self, memory: Array, force: Array) -> Direction:
        second = memory + force * force
        metric = self.metric(second)
        return Direction(force / metric, second, metric)

    def metric(self, memory: Array) -> Array:
        return np.sqrt(memory) + self.eps


@dataclass(frozen=True)
class FullAdagrad(FirstOrder):
    """Adagrad with the full matrix: ``G <- G + f f^T``; ``s = size * (G^1/2 + eps)^-1 f``. For small n: O(n^3).

    Duchi, Hazan and Singer 2011, section 1.1, jmlr.org/papers/v12/duchi11a.html.
    """

    eps: float = 1e-10

    def start(self, ev: Evaluation, space: Space) -> Array:
        return np.zeros((ev.x.size, ev.x.size))

    def direction(self, memory: Array, force: Array) -> Direction:
        outer = memory + np.outer(force, force)
        values, vectors = self._roots(outer)
        return Direction(vectors @ ((vectors.T @ force) / values), outer)

    def metric(self, memory: Array) -> Array:
        values, vectors = self._roots(memory)
        return (vectors * values) @ vectors.T

    def _roots(self, outer: Array) -> tuple[Array, Array]:
        values, vectors = np.linalg.eigh(outer)
        # A rank-deficient G has eigenvalues of either sign at rounding level, and f has rounding-level parts there;
        # their quotient would be noise of order one.
        floor = values[-1] * values.size * np.finfo(float).eps
        return np.sqrt(np.maximum(values, floor)) + self.eps, vectors


@dataclass(frozen=True)
class RMSprop(FirstOrder):
    """RMSprop: ``v <- beta v + (1 - beta) f^2``; ``s = size * f / (sqrt(v) + eps)``.

    Tieleman and Hinton 2012, lecture 6.5.
    """

    beta: float = 0.99
    eps: float = 1e-8

    def start(self, ev: Evaluation, space: Space) -> Array:
        return np.zeros_like(ev.x)

    def direction(self, memory: Array, force: Array) -> Direction:
        second = self.beta * memory + (1.0 - self.beta) * (force * force)
        metric = self.metric(second)
        return Direction(force / metric, second, metric)

    def metric(self, memory: Array) -> Array:
        return np.sqrt(memory) + self.eps


@dataclass(frozen=True)
class Adam(FirstOrder):
    """Adam: ``m <- b1 m + (1-b1) f``; ``v <- b2 v + (1-b2) f^2``; ``s = size * m^ / (sqrt(v^) + eps)``.

    Hats are the bias corrections ``m^ = m / (1 - b1^t)``, ``v^ = v / (1 - b2^t)``. With ``amsgrad`` v is replaced by
    its running maximum; with ``decoupled`` decay it is AdamW.

    Kingma and Ba 2015, arXiv:1412.6980; Reddi, Kale and Kumar 2018, arXiv:1904.09237; Loshchilov and Hutter 2019,
    arXiv:1711.05101.
    """

    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    amsgrad: bool = False

    def start(self, ev: Evaluation, space: Space) -> Moments:
        return _no_moments(ev)

    def direction(self, memory: Moments, force: Array) -> Direction:
        first = self.beta1 * memory.first + (1.0 - self.beta1) * force
        second = self.beta2 * memory.second + (1.0 - self.beta2) * (force * force)
        top = np.maximum(memory.top, second) if self.amsgrad else second
        memory = Moments(first, second, top, memory.steps + 1)
        metric = self.metric(memory)
        return Direction(first / (1.0 - self.beta1**memory.steps) / metric, memory, metric)

    def metric(self, memory: Moments) -> Array:
        if memory.steps == 0:
            return np.full_like(memory.top, self.eps)
        return np.sqrt(memory.top / (1.0 - self.beta2**memory.steps)) + self.eps


@dataclass(frozen=True)
class AdaBelief(FirstOrder):
    """AdaBelief: Adam with ``v <- b2 v + (1-b2) (f - m)^2 + eps_root``, the variance about the running mean.

    Zhuang et al. 2020, arXiv:2010.07468.
    """

    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-16
    eps_root: float = 1e-16

    def start(self, ev: Evaluation, space: Space) -> Moments:
        return _no_moments(ev)

    def direction(self, memory: Moments, force: Array) -> Direction:
        first = self.beta1 * memory.first + (1.0 - self.beta1) * force
        surprise = force - first
        second = self.beta2 * memory.second + (1.0 - self.beta2) * (surprise * surprise) + self.eps_root
        memory = Moments(first, second, second, memory.steps + 1)
        metric = self.metric(memory)
        return Direction(first / (1.0 - self.beta1**memory.steps) / metric, memory, metric)

    def metric(self, memory: Moments) -> Array:
        if memory.steps == 0:
            return np.full_like(memory.second, self.eps)
        return np.sqrt(memory.second / (1.0 - self.beta2**memory.steps)) + self.eps
