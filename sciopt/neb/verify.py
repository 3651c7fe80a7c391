"""Saddle points of a band: search from the climbing image, count negative modes, walk down to both ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sciopt.neb.connect import connects
from sciopt.neb.path_result import SaddleCheck
from sciopt.neb.saddle import refine_saddle

if TYPE_CHECKING:
    from sciopt.core.evaluation import Evaluation
    from sciopt.core.types import Array
    from sciopt.neb.images import Images
    from sciopt.neb.setup import Ends

__all__ = ["verify_saddle"]


def verify_saddle(
    evaluator: Images, ends: Ends, ev: Evaluation, fmax: float, *, hessian: Array | None = None, search: bool = False
) -> SaddleCheck | None:
    """Verify the climbing image of the band `ev`; None when no image climbs.

    Parameters
    ----------
    evaluator
        Who evaluates; every call is counted there.
    ends
        Both ends.
    ev
        Evaluation of the band.
    fmax
        Tolerance on the force, eV/Å.
    hessian
        (n, n) what the climbing image has learned, where it has.
    search
        Whether to walk on to the saddle when the climbing image is not there yet.
    """
    info = ev.info
    climbing = info["climbing"]
    if climbing is None:
        return None
    coordinates = ends.coordinates
    X, energies, forces = info["X"], info["energies"], info["forces"]
    place = len(X)

    def evaluate(x: Array) -> tuple[float, Array]:
        answer = evaluator.evaluate({place: np.asarray(x)})[place]
        return answer.energy, answer.force

    top = climbing + 1
    force = float(coordinates.longest(info["true"][climbing]))
    saddle = refine_saddle(
        evaluate,
        X[top],
        coordinates,
        mode=info["tangents"][climbing],
        hessian=hessian,
        fmax=fmax if search else max(fmax, 1.0001 * force),
        known=(float(energies[top]), forces[top]),
    )
    if not saddle.measured or saddle.order != 1 or not saddle.force_norm <= max(fmax, 1.0001 * force):
        return SaddleCheck(saddle, None)
    connection = connects(
        evaluate,
        saddle,
        *ends.x,
        coordinates,
        initial_energy=ends.answers[0].energy,
        final_energy=ends.answers[1].energy,
    )
    return SaddleCheck(saddle, connection)
