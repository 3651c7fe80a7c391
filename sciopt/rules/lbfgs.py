"""L-BFGS: a full metric learned from secant pairs, without a line search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np

from sciopt.core.rule import Proposal, Rule
from sciopt.core.space import Flat

if TYPE_CHECKING:
    from sciopt.core.control import Limit
    from sciopt.core.evaluation import Evaluation
    from sciopt.core.space import Space
    from sciopt.core.types import Array

__all__ = ["LBFGS", "Secants"]


class Secants(NamedTuple):
    """Pairs s = x1 - x0 and y = f0 - f1 with ``1 / y.s``, oldest first, and the point the next pair starts from."""

    s: tuple[Array, ...]
    y: tuple[Array, ...]
    rho: tuple[float, ...]
    x: Array
    force: Array


@dataclass(frozen=True)
class LBFGS(Rule):
    """Limited-memory BFGS: ``s = size * H f`` with H from the two-loop recursion over the last `memory` pairs.

    Parameters
    ----------
    memory
        Pairs kept.
    h0
        Initial inverse curvature, ``H0 = h0 * G^-1`` with the space's metric G. ASE's default is 1/70 Å²/eV. None makes
        a first step of unit length and then scales as `auto` does, for functions of unknown scale.
    auto
        Scale ``H0`` by the last pair, ``h0 <- s.y / (y.G^-1 y)`` (Barzilai-Borwein), within `auto_range` times `h0`.
    auto_range
        Least and largest factor on `h0` when `auto` is on.
    curvature
        Accept a pair only if ``s.y > curvature |s| |y|``. None accepts every pair, as ASE does.
    reset
        Drop all pairs when one shows negative curvature, and when the direction points uphill.
    noise_factor
        With noisy forces (``Evaluation.noise`` > 0) a pair is accepted only if ``y.s/|s|`` exceeds this many standard
        errors of a difference of two forces; otherwise the old anchor is kept, so that the difference interval grows
        until the curvature stands out of the noise (Xie, Byrd and Nocedal 2020, doi 10.1137/19M1240794).
    long
        Let `auto` scale by the longer Barzilai-Borwein length, ``h0 <- (s.s / y.s) (y.y / y.G^-1 y)``: the shorter one
        is far too timid where many variables rest at their bounds.

    References
    ----------
    Nocedal 1980, doi 10.1090/S0025-5718-1980-0572855-7; Sheppard, Terrell and Henkelman 2008,
    doi 10.1063/1.2841941, for its use on bands without a line search.
    """

    learns_from_rejected: ClassVar[bool] = True

    memory: int = 100
    h0: float | None = 1.0 / 70.0
    auto: bool = False
    auto_range: tuple[float, float] = (0.0, np.inf)
    curvature: float | None = None
    reset: bool = False
    noise_factor: float = 3.0
    long: bool = False

    def start(self, ev: Evaluation, space: Space) -> Secants:
        return Secants((), (), (), ev.x, ev.force)

    def forget(self, memory: Secants) -> Secants:
        return memory._replace(s=(), y=(), rho=())

    def learn(self, memory: Secants, here: Evaluation, step: Array, ev: Evaluation, space: Space) -> Secants:
        anchored = ev.noise > 0 and memory.x is not here.x
        s = space.between(memory.x, ev.x) if anchored else step
        y = memory.force - ev.force if anchored else here.force - ev.force
        sy = space.dot(y, s)
        if sy != 0.0 and self._trusted(s, y, sy, ev.noise, space):
            return Secants(
                (*memory.s, s)[-self.memory :],
                (*memory.y, y)[-self.memory :],
                (*memory.rho, 1.0 / sy)[-self.memory :],
                ev.x,
                ev.force,
            )
        if ev.noise > 0:
            return memory
        memory = self.forget(memory) if self.reset and sy < 0 else memory
        return memory._replace(x=ev.x, force=ev.force)

    def propose(self, memory: Secants, here: Evaluation, limit: Limit, space: Space) -> Proposal:
        step = self._inverse(memory, here, space)
        if self.reset and memory.s and space.dot(step, here.force) <= 0:
            memory = self.forget(memory)
            step = self._inverse(memory, here, space)
        return Proposal(limit.size * step, memory)

    def metric(self, memory: Secants) -> Array | None:
        """(n, n) the Hessian approximation B that the pairs define, in a space without a metric of its own."""
        if not memory.s:
            return None
        size = memory.x.size
        hessian = np.eye(size) / self._scale(memory, float(memory.y[-1] @ memory.y[-1]), 1.0, Flat())
        for s, y, rho in zip(memory.s, memory.y, memory.rho, strict=True):
            bs = hessian @ s
            hessian = hessian + rho * np.outer(y, y) - np.outer(bs, bs) / (s @ bs)
        return hessian

    @property
    def _scales(self) -> bool:
        return self.auto or self.h0 is None

    def _trusted(self, s: Array, y: Array, sy: float, noise: float, space: Space) -> bool:
        if self.curvature is None and noise == 0:
            return True
        length = np.sqrt(space.dot(s, s))
        if noise > 0 and sy / length < self.noise_factor * np.sqrt(2.0) * noise:
            return False
        return self.curvature is None or sy > self.curvature * length * float(np.sqrt(space.dot(y, y)))

    def _scale(self, memory: Secants, ygy: float, strength: float, space: Space) -> float:
        """``h0`` or its Barzilai-Borwein update; `ygy` is ``y.G^-1 y`` of the last pair, `strength` ``|G^-1 f|``."""
        h0 = self.h0 if self.h0 is not None else 1.0 / max(strength, float(np.finfo(float).tiny))
        if not (self._scales and memory.s) or ygy <= 0:
            return h0
        secant = 1.0 / (memory.rho[-1] * ygy)
        if self.long:
            s, y = memory.s[-1], memory.y[-1]
            secant = memory.rho[-1] * space.dot(s, s) * space.dot(y, y) / ygy
        low, high = self.auto_range
        return float(np.clip(secant, low * h0, high * h0)) if self.h0 is not None else float(secant)

    def _inverse(self, memory: Secants, here: Evaluation, space: Space) -> Array:
        """``H f`` by the two-loop recursion (Nocedal 1980)."""
        q = -here.force
        weights = []
        for s, y, rho in zip(reversed(memory.s), reversed(memory.y), reversed(memory.rho), strict=True):
            weights.append(rho * space.dot(s, q))
            q = q - weights[-1] * y
        ygy = 0.0
        if self._scales and memory.s:
            ygy = space.dot(memory.y[-1], space.sharp(here.x, memory.y[-1]))
        direction = space.sharp(here.x, q)
        strength = float(np.sqrt(space.dot(direction, direction))) if self.h0 is None else 0.0
        z = self._scale(memory, ygy, strength, space) * direction
        for s, y, rho, weight in zip(memory.s, memory.y, memory.rho, reversed(weights), strict=True):
            z = z + s * (weight - rho * space.dot(y, z))
        return -z
