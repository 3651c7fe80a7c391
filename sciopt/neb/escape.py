"""Bands that are at rest in the wrong place, as the surrogate sees it: free to notice, and free to leave."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg.lapack import dpotrf

from sciopt.neb.align import rigid_basis
from sciopt.neb.recover import through_top

if TYPE_CHECKING:
    from sciopt.core.types import Array
    from sciopt.neb.coordinates import Coordinates
    from sciopt.neb.surrogate_model import Surrogate

__all__ = ["CLEAR", "FLAT", "elsewhere", "pushed", "second_mode", "vibrations"]

CLEAR = 0.3
"""eV/Å²: a second mode softer than this may be none."""
FLAT = 0.05
"""eV/Å²: curvatures nearer to zero have no sign."""

# eV/Å²: far above any curvature; it makes a Hessian convex along one direction.
_LIFT = 1e3
# Å: how far the band is pushed along such a mode, and over how many images the push fades.
_PUSH, _FADE = 0.15, 1.5
# Points looked at between neighbouring images, and how much higher (eV) the path must be there than at its images.
_BETWEEN, _HIDDEN = 3, 0.15


def vibrations(hessian: Array, x: Array, coordinates: Coordinates) -> tuple[Array, Array]:
    """Curvatures (n - r,), ascending, in eV/Å², and modes (n, n - r) without the r rigid motions of a free molecule."""
    if not coordinates.rigid:
        curvatures, modes = np.linalg.eigh(hessian)
        return curvatures, modes
    rigid = rigid_basis(x)
    # An orthonormal basis of what is left.
    inner = np.linalg.svd(rigid)[2][len(rigid) :]
    curvatures, modes = np.linalg.eigh(inner @ hessian @ inner.T)
    return curvatures, inner.T @ modes


def second_mode(hessian: Array, x: Array, tangent: Array, coordinates: Coordinates, least: float) -> Array | None:
    """(n,) the negative mode of a climbing image x (n,) that is the least like the path; None where there is only one.

    Curvatures above ``-least`` (eV/Å²) do not count.
    """
    if _convex_across(hessian, tangent, least):
        return None
    curvatures, modes = vibrations(hessian, x, coordinates)
    negative = np.flatnonzero(curvatures < -least)
    if len(negative) < 2:
        return None
    return np.asarray(modes[:, negative[int(np.argmin(np.abs(tangent @ modes[:, negative])))]])


def _convex_across(hessian: Array, tangent: Array, least: float) -> bool:
    """Whether all curvatures but one are seen to be above ``-least``, in a fraction of the time they take.

    ``H + c + s t t^T`` has no negative eigenvalue only if ``H + c`` has at most one: eigenvalues interlace.
    """
    lifted = hessian + _LIFT * np.outer(tangent, tangent)
    np.einsum("ii->i", lifted)[:] += least
    return not dpotrf(lifted.T, overwrite_a=1)[1]


def elsewhere(
    surrogate: Surrogate,
    X: Array,
    climbing: int | None,
    tangents: Array,
    coordinates: Coordinates,
    least: float = CLEAR,
) -> Array | None:
    """(M+2, n) where to go on from a band X (M+2, n) that is at rest and should not be; None when nothing speaks so.

    A maximum between images means that they have slid past it: a new path is drawn through it. A climbing image with a
    second negative mode, of at least ``-least`` (eV/Å²), is no saddle: the band is pushed down along that mode, to the
    side where the energy is lower.
    """
    hidden = _hidden(surrogate, X, coordinates)
    if hidden is not None:
        return hidden
    if climbing is None:
        return None
    top = X[climbing + 1]
    mode = second_mode(surrogate.hessian(top), top, tangents[climbing], coordinates, least)
    if mode is None:
        return None
    ways = [pushed(X, climbing, sign * mode, coordinates) for sign in (1.0, -1.0)]
    return ways[int(np.argmin(surrogate.predict(np.array([way[climbing + 1] for way in ways]))[0]))]


def pushed(X: Array, climbing: int, mode: Array, coordinates: Coordinates) -> Array:
    """The band X (M+2, n) with its climbing image moved along `mode` (n,), and its neighbours less and less."""
    fade = np.exp(-(((np.arange(len(X) - 2) - climbing) / _FADE) ** 2))
    moved = X.copy()
    moved[1:-1] += _PUSH * fade[:, None] * mode / coordinates.longest(mode)
    return moved


def _hidden(surrogate: Surrogate, X: Array, coordinates: Coordinates) -> Array | None:
    """The path drawn anew through the highest point between images, where that is clearly above all of them."""
    parts = np.linspace(0.0, 1.0, _BETWEEN + 2)[1:-1]
    between = np.concatenate([(1.0 - t) * X[:-1] + t * X[1:] for t in parts])
    energies, inner = surrogate.predict(X)[0], surrogate.predict(between)[0]
    highest = int(np.argmax(inner))
    if inner[highest] < energies.max() + _HIDDEN:
        return None
    segment = highest % (len(X) - 1)
    place = int(np.clip(segment + (highest // (len(X) - 1) >= _BETWEEN // 2), 1, len(X) - 2))
    through, heights = X.copy(), energies.copy()
    through[place], heights[place] = between[highest], inner[highest]
    return through_top(through, heights, coordinates)
