"""Lower paths that the data hint at: noticed on the surrogate, reported, and never paid for."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sciopt.neb.align import align_band
from sciopt.neb.methods import band_method
from sciopt.neb.surrogate_band import SurrogateBand, relax_band

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sciopt.core.types import Array
    from sciopt.neb.band import BandLaw
    from sciopt.neb.surrogate_model import PathModel, Surrogate

__all__ = ["LARGEST", "Rival", "lower_path"]

LARGEST = 100
"""Coordinates beyond which nobody looks for rivals: there they would take longer than they are worth."""

# In units of the trust region: where the surrogate is believed, and how far from the path another one is another.
_BELIEVED, _OTHER = 1.0, 0.5
# eV, and standard deviations of the energy, by which a rival must be lower; the larger of the two counts.
_LOWER, _SURE = 0.05, 3.0
_STEPS, _STEP = 40, 0.1  # band points, and Å per step
# eV/Å: band force a rival is relaxed to, and what is left at most, or it may yet fall back onto the known path.
_RELAXED, _CLOSE = 0.1, 0.5
_BETWEEN = 3  # points looked at between neighbouring images: a path may not jump over a ridge


class Rival(NamedTuple):
    """A path that looks lower.

    Attributes
    ----------
    X
        (M+2, n) the path, Å.
    below
        By how much its highest point is expected to be lower, eV.
    """

    X: Array
    below: float

    @property
    def message(self) -> str:
        """One sentence for people."""
        return f"a path lower by about {self.below:.2f} eV is suspected: start it with path=result.rival"


def lower_path(
    surrogate: Surrogate,
    model: PathModel,
    X: Array,
    energies: Array,
    law: BandLaw,
    candidates: Sequence[Array],
) -> Rival | None:
    """The lowest of the paths that some `candidates` relax to on the surrogate, if it is clearly lower than X.

    Clearly: everywhere on it, between images too, it is below the highest of `energies` by more than 0.05 eV and by
    three standard deviations. Paths on which the surrogate is not believed, or that are the known one, do not count.

    Parameters
    ----------
    surrogate, model
        What was learned, and where it is believed.
    X, energies
        (M+2, n) the path that was found, Å, and (M+2,) its energies, eV.
    law
        The band force; nothing climbs.
    candidates
        Other initial paths (M+2, n), Å.
    """
    coordinates, known = model.coordinates, surrogate.data.X
    barrier, best = float(energies.max()), None
    if coordinates.size > LARGEST or max(energies[0], energies[-1]) + _LOWER >= barrier:
        return None
    band = SurrogateBand(
        surrogate, coordinates, (X[0], X[-1]), (float(energies[0]), float(energies[-1])), replace(law, climb=False)
    )
    path = _between(X)
    for candidate in candidates:
        start = align_band(candidate) if coordinates.rigid else candidate
        if start.shape != X.shape or model.reach(start[1:-1], known).max() > _BELIEVED:
            continue
        relaxed = relax_band(
            band,
            start[1:-1].ravel(),
            lambda band: band_method("lbfgs", coordinates, band, precondition=False, maxstep=_STEP),
            lambda images: model.reach(images, known),
            tolerance=_RELAXED,
            trust=_BELIEVED,
            climb=False,
            most=_STEPS,
        )
        other = relaxed.ev.info["X"]
        inner = _between(other)[1:-1]
        if relaxed.residual > _CLOSE or model.reach(inner, known).max() > _BELIEVED:
            continue
        if model.reach(inner, path).max() < _OTHER:
            continue
        expected = surrogate.predict(inner)[0]
        highest = float(np.max(expected + np.maximum(_LOWER, _SURE * surrogate.energy_deviations(inner))))
        below = barrier - max(float(expected.max()), float(energies[0]), float(energies[-1]))
        if highest < barrier and (best is None or below > best.below):
            best = Rival(other, below)
    return best


def _between(X: Array) -> Array:
    """(K, n) the images and points on the straight lines between them."""
    parts = np.linspace(0.0, 1.0, _BETWEEN + 1, endpoint=False)[:, None, None]
    lines = X[:-1] + parts * np.diff(X, axis=0)
    return np.vstack([lines.transpose(1, 0, 2).reshape(-1, X.shape[1]), X[-1:]])
