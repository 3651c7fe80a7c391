"""What a surrogate adds to an energy profile: its mean and error along the path, and what it learned from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.interpolate import CubicSpline, PchipInterpolator

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from sciopt.core.types import Array
    from sciopt.neb.path_result import PathResult

__all__ = ["along_path", "draw_errors", "draw_lessons", "projected"]

_LINE, _BAND, _DOT = "#1f4e79", "#1f4e79", "#d68910"


def along_path(result: PathResult, s: Array, energy: Array) -> tuple[Array, Array]:
    """Energy and its standard error along the path.

    Parameters
    ----------
    result
        A path with errors.
    s, energy
        (K,) distances along the path, Å, and a profile through the images there, eV.

    Returns
    -------
    (K,) and (K,) what the surrogate says between the images where the result has it; otherwise the profile itself, and
    the errors of the images interpolated.
    """
    assert result.energy_errors is not None
    places = result.distances
    apart = np.r_[True, np.diff(places) > 0]
    surrogate = getattr(result, "surrogate", None)
    if surrogate is not None:
        energies, deviations = surrogate(CubicSpline(places[apart], result.X[apart])(s))
        return np.asarray(energies) - result.absolute_energies[0], np.asarray(deviations)
    return energy, PchipInterpolator(places[apart], result.energy_errors[apart])(s)


def projected(X: Array, places: Array, points: Array) -> Array:
    """(P,) distances along the path of the points on its straight segments that are nearest to `points` (P, n).

    Examples
    --------
    >>> import numpy as np
    >>> corner = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]])
    >>> projected(corner, np.array([0.0, 1.0, 2.0]), np.array([[0.3, -1.0], [2.0, 0.5]]))
    array([0.3, 1.5])
    """
    steps = np.diff(X, axis=0)
    squares = np.maximum(np.einsum("ij,ij->i", steps, steps), np.finfo(float).tiny)
    away = points[:, None] - X[None, :-1]
    t = np.clip(np.einsum("pij,ij->pi", away, steps) / squares, 0.0, 1.0)
    distances = np.linalg.norm(away - t[:, :, None] * steps, axis=2)
    nearest = np.argmin(distances, axis=1)
    return places[nearest] + t[np.arange(len(points)), nearest] * np.diff(places)[nearest]


def draw_errors(result: PathResult, ax: Axes, s: Array, energy: Array) -> None:
    """The line of the profile with the band of two standard errors, and images: filled where evaluated."""
    assert result.energy_errors is not None
    errors = 2.0 * result.energy_errors
    mean, deviations = along_path(result, s, energy)
    ax.plot(s, mean, color=_LINE, linewidth=2.0, zorder=2)
    if (errors > 0.0).any():
        ax.fill_between(s, mean - 2.0 * deviations, mean + 2.0 * deviations, color=_BAND, alpha=0.18, lw=0, zorder=1)
    known = errors == 0.0
    places, energies = result.distances, result.energies
    ax.plot(places[known], energies[known], "o", color=_LINE, markersize=7, zorder=5, label="evaluated")
    if not known.all():
        ax.errorbar(
            places[~known],
            energies[~known],
            yerr=errors[~known],
            fmt="o",
            color=_LINE,
            markerfacecolor="white",
            markeredgewidth=1.6,
            markersize=7,
            capsize=3.5,
            elinewidth=1.2,
            zorder=4,
            label=f"predicted, ± 2 standard errors (up to {1e3 * errors.max():.2g} meV)",
        )


def draw_lessons(result: PathResult, ax: Axes) -> None:
    """Everything that was evaluated, at the nearest place of the path."""
    points = np.array([lesson.x for lesson in result.lessons if np.isfinite(lesson.x).all()])
    if not len(points):
        return
    energies = np.array([lesson.energy for lesson in result.lessons if np.isfinite(lesson.x).all()])
    places = projected(result.X, result.distances, points)
    ax.plot(
        places,
        energies - result.absolute_energies[0],
        "D",
        color=_DOT,
        alpha=0.55,
        markersize=4,
        markeredgewidth=0,
        zorder=3,
        label="all evaluations",
    )
