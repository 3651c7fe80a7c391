"""Restricted steps on a quadratic model: the walk that both saddle searches and descents take.

The model is the measured energy and force and an updated Hessian. A saddle is a minimum of the *image* of that model,
in which gradient and curvature along one followed mode change sign; the step is the minimum of the model (or its
image) within a radius, and the radius obeys the law of `sciopt.core.control.Adaptive`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import eye_array, sparray

from sciopt.core.control import Adaptive, Limit
from sciopt.core.errors import EvaluationFailed, InputError, NotFinite, ShapeError
from sciopt.core.evaluation import Evaluation
from sciopt.core.method import State
from sciopt.core.signals import virtual_work
from sciopt.core.space import Flat, Space
from sciopt.neb.model_hessian import model_hessian, shortest_pairs
from sciopt.neb.modes import nonrigid, rigid_motion

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sciopt.neb.coordinates import Coordinates
    from sciopt.neb.modes import Evaluate

__all__ = [
    "Walk",
    "checked_matrix",
    "checked_vector",
    "energy_of",
    "guessed_hessian",
    "image_ratio",
    "patched_hessian",
    "restricted_step",
    "stride",
    "trust_radius",
    "unit_direction",
    "without_rigid",
]


@dataclass(frozen=True, kw_only=True)
class PerAtom(Flat):
    """Flat space that measures a step by the atom that moves farthest."""

    coordinates: Coordinates

    def length(self, step: NDArray[np.float64]) -> float:
        return float(self.coordinates.longest(step))


@dataclass(frozen=True, eq=False)
class Walk:
    """Where a restricted-step walk is.

    Attributes
    ----------
    here
        Last accepted evaluation; its force is free of rigid motion.
    hessian
        (n, n) model Hessian, eV/Å².
    limit
        The trust radius, Å of the atom that moves farthest.
    mode
        (n,) followed mode, or None on the way to a minimum.
    curvature
        Model eigenvalue of `mode`, eV/Å².
    refused
        Steps in a row that were taken back or could not be evaluated.
    """

    here: Evaluation
    hessian: NDArray[np.float64]
    limit: Limit
    mode: NDArray[np.float64] | None = None
    curvature: float = 0.0
    refused: int = 0


def trust_radius(size: float, most: float) -> Adaptive:
    """The control of the radius: half after a bad step, 1.5 times after a good one that used it, at most `most`."""
    return Adaptive(size, image_ratio, grow=1.5, shrink=0.5, least=1e-4, most=most, radius=True)


def energy_of(ev: Evaluation) -> float:
    """The energy of an evaluation in eV; InputError where it has none."""
    if ev.value is None:
        raise InputError("the evaluation has no energy; a restricted-step walk needs energies as well as forces")
    return ev.value


def image_ratio(state: State, ev: Evaluation, space: Space) -> float:
    """Actual against predicted decrease of the image of the energy.

    The energy gained along the followed mode v (``state.memory``; None for a minimum) is the trapezoidal work
    ``(F_old + F_new)·v (v·s) / 2``; it counts with opposite sign. Good when the ratio is within 0.75 to 1.5, bad below
    0.25 or above 2.5.
    """
    predicted = 0.0 if state.predicted is None else float(state.predicted)
    if predicted <= 0.0:
        return -1.0
    actual = _decrease(state, ev, space)
    if state.memory is not None:
        v = state.memory
        actual -= space.dot(state.here.force + ev.force, v) * space.dot(v, state.step)
    ratio = actual / predicted
    return 1.0 if 0.75 < ratio < 1.5 else -1.0 if ratio < 0.25 or ratio > 2.5 else 0.0


def _decrease(state: State, ev: Evaluation, space: Space) -> float:
    """The actual decrease of the energy; by the work of the forces where the difference of two energies is noise."""
    if state.predicted is not None and state.predicted > 1e-4:
        return energy_of(state.here) - energy_of(ev)
    return virtual_work(state, ev, space)


def restricted_step(
    force: NDArray[np.float64],
    values: NDArray[np.float64],
    vectors: NDArray[np.float64],
    coordinates: Coordinates,
    radius: float,
    followed: int | None = None,
) -> tuple[NDArray[np.float64], float]:
    """Minimum of the (image of the) quadratic model within the radius.

    ``s = Σ_i v_i f̃_i / (λ̃_i + μ)`` with ``f̃, λ̃`` the force and curvature in the eigenbasis, both with opposite sign
    for the followed mode; ``μ >= 0`` makes all denominators positive and no atom move farther than the radius.

    Parameters
    ----------
    force
        (n,) eV/Å.
    values, vectors
        (n,) eV/Å² and (n, n): eigenpairs of the model Hessian.
    coordinates
        The free coordinates, which measure lengths.
    radius
        Å of the atom that moves farthest.
    followed
        Index of the mode to go uphill along; None goes to a minimum.

    Returns
    -------
    (n,) step in Å and the predicted decrease of the image in eV.

    References
    ----------
    T. Helgaker 1991, doi 10.1016/0009-2614(91)90115-P (trust-region image minimization).

    Examples
    --------
    >>> from ase import Atoms
    >>> from sciopt.neb.coordinates import Coordinates
    >>> free = Coordinates.of(Atoms("H"))
    >>> force, values = np.array([0.1, 0.2, 0.0]), np.array([-1.0, 2.0, 2.0])
    >>> restricted_step(force, values, np.eye(3), free, radius=1.0, followed=0)[0]
    array([-0.1,  0.1,  0. ])
    """
    sign = np.ones_like(values)
    if followed is not None:
        sign[followed] = -1.0
    f, curvature = sign * (vectors.T @ force), sign * values

    def step(shift: float) -> NDArray[np.float64]:
        return f / (curvature + shift)

    def length(shift: float) -> float:
        return float(coordinates.longest(vectors @ step(shift)))

    shift = 0.0
    lowest = float(curvature.min())
    margin = 1e-6 * max(1.0, float(np.abs(curvature).max()))
    if lowest < margin or length(0.0) > radius:
        low = max(0.0, margin - lowest)
        shift = low
        if length(low) > radius:
            # The length falls with the shift, over many decades: bisect its logarithm.
            above, below = np.log(margin), np.log(float(np.linalg.norm(f)) / radius + np.abs(curvature).max() + margin)
            while below - above > 1e-3:
                middle = 0.5 * (above + below)
                above, below = (middle, below) if length(low + np.exp(middle)) > radius else (above, middle)
            shift = low + float(np.exp(below))
    s = step(shift)
    return vectors @ s, float(f @ s - 0.5 * s @ (curvature * s))


def patched_hessian(
    hessian: NDArray[np.float64], basis: NDArray[np.float64], products: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The symmetric matrix nearest to `hessian` that gives the measured `products` in the space of `basis`.

    ``H⁺ = H + J Vᵀ + V Jᵀ - V (VᵀJ) Vᵀ``, ``J = W - H V``; (n, n), with V and W of shape (n, m), V orthonormal.

    Examples
    --------
    >>> patched_hessian(np.eye(2), np.array([[1.0], [0.0]]), np.array([[-1.0], [0.5]])).tolist()
    [[-1.0, 0.5], [0.5, 1.0]]
    """
    j = products - hessian @ basis
    inner = basis.T @ j
    change = j @ basis.T
    return hessian + change + change.T - basis @ (0.5 * (inner + inner.T)) @ basis.T


def stride(walk: Walk, evaluate: Evaluate, coordinates: Coordinates, control: Adaptive, *, monotone: bool) -> Walk:
    """One evaluation farther: propose, evaluate, update the Hessian, judge the radius.

    A step is taken back when the radius law calls it bad and the force has grown, or with `monotone` whenever the
    energy has risen. A point that cannot be evaluated is taken back too, with a shorter radius.
    """
    here = walk.here
    rigid = rigid_motion(coordinates, here.x)
    model = nonrigid(walk.hessian, rigid)
    values, vectors = model.eigen
    followed, mode = None, walk.mode
    if mode is not None:
        overlap = mode @ vectors
        followed = int(np.abs(overlap).argmax())
        mode = vectors[:, followed] * np.copysign(1.0, overlap[followed])
    curvature = 0.0 if followed is None else float(values[followed])
    radius = float(walk.limit.size)
    step, predicted = restricted_step(here.force, values, vectors, coordinates, radius, followed)
    try:
        energy, force = evaluate(here.x + step)
    except (EvaluationFailed, NotFinite):
        limit = control.failed(walk.limit, ()).limit
        return replace(walk, limit=limit, mode=mode, curvature=curvature, refused=walk.refused + 1)
    there = Evaluation(here.x + step, without_rigid(force, here.x + step, coordinates), energy)
    space = PerAtom(coordinates=coordinates)
    state = State(here, there.x, step, mode, walk.limit, predicted)
    limit = control.judge(state, there, space).limit
    hessian = model.update(step, here.force - there.force).matrix
    if monotone:
        refuse = _decrease(state, there, space) < 0.0
    else:
        refuse = image_ratio(state, there, space) < 0 and space.length(there.force) > 1.2 * space.length(here.force)
    if refuse:
        return replace(walk, hessian=hessian, limit=limit, mode=mode, curvature=curvature, refused=walk.refused + 1)
    return Walk(there, hessian, limit, mode, curvature)


def guessed_hessian(coordinates: Coordinates, x: NDArray[np.float64]) -> NDArray[np.float64] | sparray:
    """The model Hessian where none is given; slightly lifted, for it is only semi-definite."""
    model = model_hessian(coordinates, x, shortest_pairs([coordinates.atoms(x)]))
    return model + 0.1 * eye_array(coordinates.size)


def without_rigid(v: NDArray[np.float64], x: NDArray[np.float64], coordinates: Coordinates) -> NDArray[np.float64]:
    """`v` (n,) without its rigid motion at `x`, where there is any."""
    rigid = rigid_motion(coordinates, x)
    return v - rigid @ (rigid.T @ v)


def unit_direction(mode: NDArray[np.float64], x: NDArray[np.float64], coordinates: Coordinates) -> NDArray[np.float64]:
    """A direction (n,) without rigid motion, of unit length; InputError where nothing is left."""
    mode = checked_vector(mode, coordinates, "mode")
    inner = without_rigid(mode, x, coordinates)
    length = float(np.linalg.norm(inner))
    if length <= 1e-6 * np.linalg.norm(mode):
        raise InputError("mode is zero or a rigid motion; give a direction that changes the structure, or None")
    return inner / length


def checked_vector(v: NDArray[np.float64], coordinates: Coordinates, name: str) -> NDArray[np.float64]:
    """A finite vector (n,), or ShapeError."""
    v = np.array(v, dtype=float)
    if v.shape != (coordinates.size,) or not np.isfinite(v).all():
        raise ShapeError(f"{name} has shape {v.shape}; expected {coordinates.size} finite free components")
    return v


def checked_matrix(hessian: NDArray[np.float64] | sparray, coordinates: Coordinates) -> NDArray[np.float64]:
    """A finite dense matrix (n, n), symmetrised, or ShapeError."""
    dense = hessian.toarray() if isinstance(hessian, sparray) else np.array(hessian, dtype=float)
    n = coordinates.size
    if dense.shape != (n, n) or not np.isfinite(dense).all():
        raise ShapeError(f"hessian has shape {dense.shape}; expected finite ({n}, {n}), one row per free component")
    return 0.5 * (dense + dense.T)
