"""Projected quasi-Newton steps: a learned quadratic model, minimized over the feasible part of a move-limit box."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, cast

import numpy as np

from sciopt.core.box import Bounded, Quadratic
from sciopt.core.errors import InputError
from sciopt.core.rule import Proposal, Rule

if TYPE_CHECKING:
    from sciopt.core.control import Limit
    from sciopt.core.evaluation import Evaluation
    from sciopt.core.space import Space
    from sciopt.core.types import Array

__all__ = ["NOTHING", "Curvature", "ProjectedQuasiNewton"]


class Curvature(NamedTuple):
    """What a projected quasi-Newton method remembers.

    Attributes
    ----------
    s, y
        Displacements and changes of the gradient, oldest first.
    scale
        Curvature per unit of the metric; None before the first pair.
    values
        Accepted values, newest last, for nonmonotone acceptance.
    """

    s: tuple[Array, ...] = ()
    y: tuple[Array, ...] = ()
    scale: float | None = None
    values: tuple[float, ...] = ()


NOTHING = Curvature()
"""Nothing learned yet."""


@dataclass(frozen=True)
class ProjectedQuasiNewton(Rule):
    """Minimize ``-f.d + d.B d / 2`` over ``{x + d feasible, |d_i| <= limit}``, B learned from the last pairs.

    B is the compact limited-memory BFGS matrix on ``scale * metric``, with the scale ``s.y / s.W s`` of the last pair
    (the longer Barzilai-Borwein length; the shorter one is far too timid where many variables rest at their bounds).
    Pairs are damped (Powell) so that B stays positive definite. The subproblem costs no evaluation.

    Parameters
    ----------
    memory
        Pairs kept.
    damping
        Least ``s.y / s.B s`` of a pair; smaller ones are mixed with ``B s``.
    window
        Accepted values kept for nonmonotone acceptance.
    first
        The first step moves the steepest variable this far, in units of the limit.
    begin
        Memory to start from, for example that of a coarser grid.

    References
    ----------
    Schmidt, van den Berg, Friedlander and Murphy 2009, *Optimizing costly functions with simple constraints*, for
    projected quasi-Newton with inner spectral projected gradients; Powell 1978, doi 10.1007/BFb0067703, for damping.
    """

    learns_from_rejected: ClassVar[bool] = True
    raw_force: ClassVar[bool] = True

    memory: int = 5
    damping: float = 0.2
    window: int = 5
    first: float = 1.0
    begin: Curvature = NOTHING

    def start(self, ev: Evaluation, space: Space) -> Curvature:
        return self.begin._replace(values=_values((), ev, self.window))

    def forget(self, memory: Curvature) -> Curvature:
        return memory._replace(s=(), y=())

    def learn(self, memory: Curvature, here: Evaluation, step: Array, ev: Evaluation, space: Space) -> Curvature:
        bounded = _bounded(space)
        y = here.force - ev.force
        sy = space.dot(step, y)
        sws = space.dot(step, _metric(bounded, step) * step)
        if sws == 0.0:
            return memory
        scale = memory.scale
        if scale is None:
            scale = abs(sy) / sws
        model = self._model(memory, here.force, scale, bounded)
        bs = model.curve(step)
        sbs = space.dot(step, bs)
        if sy < self.damping * sbs:
            theta = (1.0 - self.damping) * sbs / (sbs - sy)
            y = theta * y + (1.0 - theta) * bs
        if sy > 0.0:
            scale = sy / sws
        elif not memory.s:
            scale = scale / 4.0
        learned = memory._replace(scale=scale)
        if space.dot(step, y) > 1e-14 * scale * sws:
            learned = learned._replace(s=(*memory.s, step)[-self.memory :], y=(*memory.y, y)[-self.memory :])
        return learned

    def propose(self, memory: Curvature, here: Evaluation, limit: Limit, space: Space) -> Proposal:
        bounded = _bounded(space)
        if here.value is not None and (not memory.values or memory.values[-1] != here.value):
            memory = memory._replace(values=_values(memory.values, here, self.window))
        x, size = here.x, limit.size
        lower, upper = np.maximum(bounded.lower, x - size), np.minimum(bounded.upper, x + size)
        scale = memory.scale
        if scale is None:
            steepest = space.largest(float(np.abs(here.force / _metric(bounded, x)).max(initial=0.0)))
            tightest = -space.largest(-float(np.min(size, initial=np.inf)))
            scale = float(steepest / max(self.first * tightest, 1e-12)) or 1.0
        model = self._model(memory, here.force, scale, bounded)
        step = bounded.minimize(model, x, lower, upper)
        if memory.s and space.dot(step, here.force) <= 0.0:
            memory = self.forget(memory)
            model = self._model(memory, here.force, scale, bounded)
            step = bounded.minimize(model, x, lower, upper)
        predicted = space.dot(here.force, step) - 0.5 * space.dot(step, model.curve(step))
        return Proposal(step, memory, predicted)

    def _model(self, memory: Curvature, force: Array, scale: float, space: Bounded) -> Quadratic:
        metric = _metric(space, force)
        if not memory.s:
            return Quadratic(force, scale, metric, np.zeros((0, force.size)), np.zeros((0, 0)), space.total)
        s, y = np.array(memory.s), np.array(memory.y)
        scaled = scale * metric * s
        sy, sbs = space.total(np.array([[[np.vdot(a, b) for b in other] for a in s] for other in (y, scaled)]))
        lower = np.tril(sy, -1)
        middle = np.block([[sbs, lower], [lower.T, -np.diag(np.diag(sy))]])
        return Quadratic(force, scale, metric, np.concatenate([scaled, y]), np.linalg.inv(middle), space.total)


def _values(values: tuple[float, ...], ev: Evaluation, window: int) -> tuple[float, ...]:
    return values if ev.value is None else (*values, float(ev.value))[-window:]


def _metric(space: Bounded, like: Array) -> Array:
    return np.ones_like(like) if space.weights is None else space.weights


def _bounded(space: Any) -> Bounded:
    if not hasattr(space, "project"):
        raise InputError(
            f"a projected quasi-Newton method needs a space with bounds (sciopt.core.Box), not {type(space).__name__}"
        )
    return cast("Bounded", space)
