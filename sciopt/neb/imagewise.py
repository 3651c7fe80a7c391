"""The image-wise quasi-Newton band: every image has its own Hessian model of the true potential.

The band force is no gradient, so one quasi-Newton model of it must mislead. The true potential is one: each image
learns its Hessian from true forces, and the Newton equations of the band are solved block by block. With the improved
tangent an image depends on its higher neighbour only: substitution starts at the highest image and runs outward.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.linalg import solve_banded
from threadpoolctl import ThreadpoolController

from sciopt.core.control import Adaptive, Limit, Verdict
from sciopt.core.method import StepMethod
from sciopt.core.rule import Proposal, Rule
from sciopt.neb.band import branches
from sciopt.neb.low_rank import DENSE_MODEL, hessian_model

if TYPE_CHECKING:
    from collections.abc import Callable

    from scipy.sparse import csr_array

    from sciopt.core.evaluation import Evaluation
    from sciopt.core.method import State
    from sciopt.core.space import Space
    from sciopt.core.types import Array, Mask
    from sciopt.neb.band_problem import BandSpace
    from sciopt.neb.hessian import HessianModel

__all__ = ["ImageControl", "Imagewise", "Learned", "imagewise_method"]


# The matrices are small: threads of BLAS would fight over them, and with calculators that have threads of their own.
_SMALL = ThreadpoolController()


class Learned(NamedTuple):
    """Memory of the rule.

    Attributes
    ----------
    models
        One Hessian model per image.
    pairs
        Per image, its last secant pairs (s, y), oldest first.
    floors
        (M,) least curvature a step of each image trusts, eV/Å².
    following
        Whether the climbing image follows an eigenvector of its model.
    saddle_only
        Largest force on the climbing image when the rule last decided to move it alone; None while the band moves.
    """

    models: tuple[HessianModel, ...]
    pairs: tuple[tuple[tuple[Array, Array], ...], ...]
    floors: Array
    following: bool = False
    saddle_only: float | None = None


@dataclass(frozen=True)
class Imagewise(Rule):
    """Newton steps of a climbing-image band from one Hessian model per image.

    With ``Q = 1 - t t^T``, B the model, F the true force and u the higher neighbour, the climbing image follows its
    mode (or a projected Newton step with the force along the path reversed), tangential displacements p equalise the
    spacing, and then, outward from the highest image,

    ``(|Q B Q| + kappa) d = Q (F - B t p + kappa d_u)``, ``kappa = |F.t| / |x_u - x|`` where energy rises towards u.

    The constants were chosen on the problems marked ``tuned`` in `sciopt.problems`.

    Parameters
    ----------
    start_model
        ``x -> symmetric positive definite (n, n)``, eV/Å²: the model every image starts from.
    space
        The band's space.
    fmax
        Tolerance in eV/Å. Images with less than `rest` times this rest until their neighbours disturb them.
    floor, softest, soften_below
        Least curvature a step trusts at first, eV/Å²; the fraction of it that images may come down to once the band
        force is below `soften_below` times `fmax`. Farther out soft directions are where models are wrong most.
    scales
        Least and largest factor by which the first step of all images may rescale the start models.
    replay
        Most secant pairs per image that are learned again after a new one.
    rest
        See `fmax`; 0 keeps all images moving.
    overlap
        Least overlap of an eigenvector with the tangent for the climbing image to follow it.
    saddle_below
        With the saddle search on, the force on the climbing image (eV/Å) below which it moves alone. None: never.
    """

    start_model: Callable[[Array], Array | csr_array]
    space: BandSpace
    fmax: float = 0.05
    floor: float = 3.0
    replay: int = 4
    scales: tuple[float, float] = (1.0, 1.0)
    rest: float = 0.5
    softest: float = 0.03
    soften_below: float = 5.0
    overlap: float = 0.6
    saddle_below: float | None = None

    @_SMALL.wrap(limits=1, user_api="blas")
    def start(self, ev: Evaluation, space: Space) -> Learned:
        models = self._started(ev.info["X"][1:-1], 1.0)
        return Learned(models, ((),) * len(models), np.full(len(models), self.floor))

    def _started(self, X: Array, scale: float) -> tuple[HessianModel, ...]:
        """The models of images X (M, n) before they learned anything, with all curvatures times `scale`."""
        if X.shape[1] > DENSE_MODEL:
            # Factorising H0 is most of the work then, and images of large systems differ in few places.
            return (hessian_model(scale * self.start_model(X[len(X) // 2])),) * len(X)
        return tuple(hessian_model(scale * self.start_model(x)) for x in X)

    def _scale(self, models: list[HessianModel], steps: Array, gradients: Array) -> float:
        """How stiff the potential is against its model, over the first step of all images: ``sum s.y / sum s.B.s``."""
        expected = sum(float(s @ model.matvec(s)) for s, model in zip(steps, models, strict=True))
        found = float(np.einsum("ij,ij->", steps, gradients))
        low, high = self.scales
        return float(np.clip(found / expected, low, high)) if expected > 0 else 1.0

    @_SMALL.wrap(limits=1, user_api="blas")
    def learn(self, memory: Learned, here: Evaluation, step: Array, ev: Evaluation, space: Space) -> Learned:
        steps = step.reshape(len(memory.models), -1)
        gradients = (here.info["forces"] - ev.info["forces"])[1:-1]
        models, pairs = list(memory.models), list(memory.pairs)
        if not any(pairs):
            models = list(self._started(here.info["X"][1:-1], self._scale(models, steps, gradients)))
        size = steps.shape[1]
        keep = int(np.clip((size - 6) // 4, 1, self.replay))
        for i, (s, y) in enumerate(zip(steps, gradients, strict=True)):
            if s @ s < 1e-10:
                continue
            pairs[i] = (*pairs[i], (s, y))[-keep:]
            # The newest pair first and last: the others are learned again on a model that knows it.
            models[i] = models[i].update_all([(s, y), *pairs[i]] if keep > 1 else [(s, y)])
        floors = self._soften(memory.floors, steps, here.force, ev.force)
        return memory._replace(models=tuple(models), pairs=tuple(pairs), floors=floors)

    @_SMALL.wrap(limits=1, user_api="blas")
    def propose(self, memory: Learned, here: Evaluation, limit: Limit, space: Space) -> Proposal:
        radii = np.asarray(limit.size)
        info = here.info
        top = int(np.argmax(info["energies"]))
        climbing = info["climbing"]
        steps = np.zeros_like(info["true"])
        images = len(steps)
        moving = self.space.coordinates.longest(here.force.reshape(steps.shape)) > self.rest * self.fmax
        if not moving.any():
            moving[:] = True
        following, alone = False, None
        if climbing is not None:
            up, following = self._climb(memory.models[climbing], memory.floors[climbing], info, climbing)
            alone = self._alone(memory, info, following)
            if alone is not None:
                moving = np.arange(images) == climbing
            if moving[climbing]:
                steps[climbing] = self._cap(up, radii[climbing])
        slide = self._equalise(info, steps, moving, climbing, radii)
        # Image numbers on the path, from the highest point downhill on both sides.
        order = [*range(min(top, images + 1) - 1, 0, -1), *range(max(top, 0) + 1, images + 1)]
        if 1 <= top <= images and climbing is None:
            order = [top, *order]
        for place in order:
            i = place - 1
            # A resting image must not seem to move to the ones below it, or they wait for a step that never comes.
            if moving[i]:
                higher = place + 1 if place < top else place - 1
                down = self._descend(memory.models[i], memory.floors[i], info, i, higher, slide[i], steps)
                steps[i] = self._cap(down, radii[i])
        return Proposal(steps.ravel(), memory._replace(following=following, saddle_only=alone))

    def _soften(self, floors: Array, steps: Array, before: Array, after: Array) -> Array:
        """(M,) floors after a step: an image whose band force hardly changed had been held too stiff, and vice versa.

        ``r = G_new.G_old / G_old.G_old`` would be 0 after a perfect Newton step: halve the floor above 0.5 (down to a
        fraction `softest` of its start), double it below -0.3 (up to its start).
        """
        old, new = before.reshape(steps.shape), after.reshape(steps.shape)
        if self.space.residual(after, after) > self.soften_below * self.fmax:
            return floors
        kept = np.einsum("ij,ij->i", new, old) / np.maximum(np.einsum("ij,ij->i", old, old), 1e-300)
        moved = np.einsum("ij,ij->i", steps, steps) > 1e-10
        floors = np.where(moved & (kept > 0.5), 0.5 * floors, np.where(moved & (kept < -0.3), 2.0 * floors, floors))
        return np.clip(floors, self.softest * self.floor, self.floor)

    def _climb(self, model: HessianModel, floor: float, info: Any, i: int) -> tuple[Array, bool]:
        """Up along the path and down across it; by the eigenvector that resembles the tangent, where there is one."""
        force, tangent = info["true"][i], info["tangents"][i]
        mode = model.negative_mode(tangent)
        if mode is not None and mode.overlap > self.overlap and mode.curvature < -0.05:
            up, curvature = mode.vector, max(-mode.curvature, 1.0)
            return model.solve(force, tangent=up, floor=floor) - up * (force @ up) / curvature, True
        curvature = max(abs(tangent @ model.matvec(tangent)), floor)
        along = info["along"][i]
        return model.solve(force, tangent=tangent, floor=floor) - tangent * along / curvature, False

    def _equalise(self, info: Any, steps: Array, moving: Mask, climbing: int | None, radii: Array) -> Array:
        """(M,) displacements along the tangents that make the spacing equal between images that do not slide."""
        lengths, images = info["lengths"], len(steps)
        slide = np.zeros(images)
        # The ends, the climbing image and resting ones do not slide; everything between two of them does.
        posts = [-1, *(i for i in range(images) if i == climbing or not moving[i]), images]
        for left, right in pairwise(posts):
            inner = slice(left + 1, right)
            count = right - left - 1
            if count == 0:
                continue
            excess = np.diff(lengths[left + 1 : right + 1])
            if climbing is not None and climbing in (left, right):
                shift = steps[climbing] @ info["tangents"][climbing]
                excess[-1 if right == climbing else 0] += shift
            matrix = np.zeros((3, count))
            matrix[1], matrix[0, 1:], matrix[2, :-1] = 2.0, -1.0, -1.0
            slide[inner] = solve_banded((1, 1), matrix, excess)
        return np.clip(slide, -radii, radii)

    def _descend(
        self, model: HessianModel, floor: float, info: Any, i: int, higher: int, slide: float, steps: Array
    ) -> Array:
        """The Newton step of one image across the path, coupled to its higher neighbour, plus its slide along it."""
        tangent = info["tangents"][i]
        branch = branches(info["energies"])[i]
        shift = 0.0
        rhs = info["true"][i] - slide * model.matvec(tangent)
        if branch == higher - (i + 1):
            shift = abs(info["along"][i]) / info["lengths"][i + 1 if branch > 0 else i]
            if 1 <= higher <= len(steps):
                rhs = rhs + shift * steps[higher - 1]
        return model.solve(rhs, shift=shift, tangent=tangent, floor=floor) + slide * tangent

    def _alone(self, memory: Learned, info: Any, following: bool) -> float | None:
        """The force on the climbing image if it is to move alone, None if the band moves.

        The search for the saddle begins when the image follows its mode below `saddle_below`, and goes back to the
        band when the mode is lost or the force has doubled.
        """
        climbing = info["climbing"]
        if self.saddle_below is None or climbing is None or not following:
            return None
        force = float(self.space.coordinates.longest(info["true"][climbing]))
        if memory.saddle_only is None:
            return force if force < self.saddle_below else None
        return force if force < 2.0 * memory.saddle_only else None

    def _cap(self, step: Array, radius: float) -> Array:
        longest = float(self.space.coordinates.longest(step))
        return step * (radius / longest) if longest > radius else step


def prediction(state: State, ev: Evaluation, space: Space) -> Array:
    """Opinion per image: how well its model predicted its change of energy. 0 for images that rested.

    ``error = |dE - (-F.s + s.B.s/2)| / (|F.s| + |s.B.s|/2 + 1 meV)``: bad above 0.6, good below 0.25.
    """
    before, after = state.here.info, ev.info
    steps = state.step.reshape(before["true"].shape)
    opinion = np.zeros(len(steps))
    for i, (step, model) in enumerate(zip(steps, state.memory.models, strict=True)):
        if step @ step < 1e-10:
            continue
        slope = before["forces"][i + 1] @ step
        curvature = 0.5 * step @ model.matvec(step)
        change = after["energies"][i + 1] - before["energies"][i + 1]
        error = abs(change + slope - curvature) / (abs(slope) + abs(curvature) + 1e-3)
        opinion[i] = -1.0 if error > 0.6 else 1.0 if error < 0.25 else 0.0
    return opinion


@dataclass(frozen=True)
class ImageControl:
    """One adaptive trust radius per image; images that jump far above the band are taken back halfway.

    Parameters
    ----------
    law
        The radius per image.
    jump
        An image whose energy ends this much (eV) above the highest of the band is taken back.
    least
        Steps shorter than this (Å) are never taken back.
    """

    law: Adaptive
    jump: float = 3.0
    least: float = 0.01

    def start(self) -> Limit:
        return self.law.start()

    def judge(self, state: State, ev: Evaluation, space: Space) -> Verdict:
        ceiling = state.here.info["energies"].max() + self.jump
        high = (ev.info["energies"][1:-1] > ceiling) & (np.asarray(space.length(state.step)) > self.least)
        if high.any():
            blocks = tuple(int(i) for i in np.flatnonzero(high))
            return Verdict(self.law.failed(state.limit, blocks).limit, ~high)
        return self.law.judge(state, ev, space)

    def failed(self, limit: Limit, blocks: tuple[int, ...]) -> Verdict:
        return self.law.failed(limit, blocks)


def imagewise_method(
    start_model: Callable[[Array], Array | csr_array],
    space: BandSpace,
    *,
    fmax: float = 0.05,
    radius: float = 0.15,
    radius_max: float = 0.3,
    floor: float = 3.0,
    saddle_below: float | None = None,
    scales: tuple[float, float] = (1.0, 1.0),
) -> StepMethod:
    """The image-wise band with its usual control: radius 0.15 Å at first, at most 0.3 Å, at least 0.02 Å."""
    law = Adaptive(
        np.full(space.images, radius), prediction, grow=1.5, shrink=0.5, least=0.02, most=radius_max, radius=True
    )
    rule = Imagewise(start_model, space, fmax=fmax, floor=floor, saddle_below=saddle_below, scales=scales)
    return StepMethod(rule, ImageControl(law), space)
