"""When a band gets nowhere: notice it, and draw a new path through the best that is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sciopt.core import Reason
from sciopt.neb.interpolate import idpp

if TYPE_CHECKING:
    from sciopt.core.stop import Progress
    from sciopt.core.types import Array
    from sciopt.neb.coordinates import Coordinates

__all__ = ["Stagnation", "through_top"]


@dataclass(frozen=True)
class Stagnation:
    """Stops, not converged, when the best residual of the last `window` points is not clearly below the best before.

    Parameters
    ----------
    above
        Residual below which slow progress is progress: what is left then is a soft direction, not a tangle.
    window
        Band points.
    gain
        Factor on the residual that counts as progress.
    """

    above: float
    window: int = 15
    gain: float = 0.9

    def __call__(self, progress: Progress) -> Reason | None:
        residuals = progress.history.column("residual")
        if len(residuals) <= 2 * self.window:
            return None
        before, lately = residuals[: -self.window].min(), residuals[-self.window :].min()
        if lately < self.gain * before or min(lately, before) < self.above:
            return None
        message = f"no progress in {self.window} band points: the smallest band force stays at {before:.3g} eV/Å"
        return Reason("stagnation", message, False)


def through_top(X: Array, energies: Array, coordinates: Coordinates) -> Array:
    """A smooth path from end to end through the highest image of a tangled band.

    Images that have slid past each other into one valley cannot sort themselves out: the energy there is as flat as
    the order is wrong. The highest image is kept exactly; IDPP places the others, in proportion to the distances.

    Parameters
    ----------
    X
        (M+2, n) the band, Å.
    energies
        (M+2,) eV.

    Returns
    -------
    (M+2, n). Without an interior maximum, the IDPP path between the ends.
    """
    count, top = len(X) - 2, int(np.argmax(energies))
    if top in (0, count + 1) or count < 3:
        return idpp(X[0], X[-1], count, coordinates)
    ahead, behind = (coordinates.longest(X[top] - X[end]) for end in (0, -1))
    left = int(np.clip(np.rint((count - 1) * ahead / (ahead + behind)), 1, count - 2))
    first = idpp(X[0], X[top], left, coordinates)
    second = idpp(X[top], X[-1], count - 1 - left, coordinates)
    return np.vstack([first, second[1:]])
