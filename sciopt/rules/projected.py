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
    from sciopt.core.products import Products
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

    Where an evaluation offers products of its Hessian H, the step d is improved with some of them before it is taken: e
    minimizes the model about d, ``(e, H e)`` becomes a pair, ``d <- d + t e`` with the best t of the true quadratic.
    Exact curvature along a few directions is worth several evaluations, and the pairs stay.

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
    products
        Most products of the Hessian used for one step, where there are any.
    worth
        No further product is used where the model promises less than this part of what was gained so far.
    inner
        Iterations on the model for one minimum of it; a third of them where products correct the model.

    Raises
    ------
    InputError
        When a number is too small.

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
    products: int = 0
    worth: float = 0.1
    inner: int = 25

    def __post_init__(self) -> None:
        for name, least in (("memory", 1), ("products", 0), ("inner", 1)):
            if getattr(self, name) < least:
                raise InputError(f"{name} is {getattr(self, name)}; expected a whole number of at least {least}")

    def start(self, ev: Evaluation, space: Space) -> Curvature:
        return self.begin._replace(values=_values((), ev, self.window))

    def forget(self, memory: Curvature) -> Curvature:
        return memory._replace(s=(), y=())

    def learn(self, memory: Curvature, here: Evaluation, step: Array, ev: Evaluation, space: Space) -> Curvature:
        return self._taught(memory, step, here.force - ev.force, _bounded(space))

    def _taught(
        self, memory: Curvature, step: Array, y: Array, space: Bounded, model: Quadratic | None = None
    ) -> Curvature:
        """Memory with the pair of a `step` (n,) and the change `y` (n,) of the gradient along it.

        `model` is that of the memory, where it has been made already.
        """
        sy = space.dot(step, y)
        sws = space.dot(step, _metric(space, step) * step)
        if sws == 0.0:
            return memory
        scale = memory.scale
        if scale is None:
            scale = abs(sy) / sws
        if model is None or model.scale != scale:
            model = self._model(memory, y, scale, space)
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
        hessian = here.hessian if self.products and here.hessian is not None and here.hessian.available else None
        # What products will correct needs no precise minimum of the model.
        inner = self.inner if hessian is None else max(1, self.inner // 3)
        step = bounded.minimize(model, x, lower, upper, inner)
        if memory.s and space.dot(step, here.force) <= 0.0:
            memory = self.forget(memory)
            model = self._model(memory, here.force, scale, bounded)
            step = bounded.minimize(model, x, lower, upper, inner)
        if hessian is not None:
            return self._improved(memory, here, hessian, model, step, lower, upper, bounded)
        return Proposal(step, memory, _decrease(model, step, space))

    def _improved(
        self,
        memory: Curvature,
        here: Evaluation,
        hessian: Products,
        model: Quadratic,
        part: Array,
        lower: Array,
        upper: Array,
        space: Bounded,
    ) -> Proposal:
        """The step found with products of the Hessian: `part`, of `model`, is its first part, the last is a model's."""
        step, bent, promised, more = np.zeros_like(part), np.zeros_like(part), 0.0, 0.0
        for _ in range(self.products):
            force = here.force - bent
            product = hessian(part)
            memory = self._taught(memory, part, product, space, model)
            slope, curvature = space.dot(force, part), space.dot(part, product)
            if not slope > 0.0:
                break
            t = 1.0 if curvature <= 0.0 else min(1.0, slope / curvature)
            step, bent = step + t * part, bent + t * product
            gain = t * slope - 0.5 * t * t * curvature
            promised += gain
            assert memory.scale is not None  # a pair was taught
            model = self._model(memory, here.force - bent, memory.scale, space)
            part = space.minimize(model, here.x + step, lower, upper, max(1, self.inner // 3))
            more = _decrease(model, part, space)
            if more < self.worth * promised:
                break
        if more > 0.0:
            step, promised = step + part, promised + more
        return Proposal(step, memory, promised)

    def _model(self, memory: Curvature, force: Array, scale: float, space: Bounded) -> Quadratic:
        metric = _metric(space, force)
        if not memory.s:
            return Quadratic(force, scale, metric, np.zeros((0, force.size)), np.zeros((0, 0)), space.total)
        s, y = np.array(memory.s), np.array(memory.y)
        scaled = scale * metric * s
        sy, sbs = space.total(np.stack([s @ y.T, s @ scaled.T]))
        lower = np.tril(sy, -1)
        middle = np.block([[sbs, lower], [lower.T, -np.diag(np.diag(sy))]])
        return Quadratic(force, scale, metric, np.concatenate([scaled, y]), np.linalg.inv(middle), space.total)


def _decrease(model: Quadratic, step: Array, space: Space) -> float:
    return space.dot(model.force, step) - 0.5 * space.dot(step, model.curve(step))


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
