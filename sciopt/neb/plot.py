"""Energy profiles worth looking at."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.interpolate import CubicHermiteSpline

from sciopt.neb.draw import draw_structure, viewpoint
from sciopt.neb.plot_surrogate import along_path, draw_errors, draw_lessons

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes

    from sciopt.core.types import Array
    from sciopt.neb.path_result import PathResult

__all__ = ["new_axes", "plot_profile", "profile", "save_figure"]

# Larger systems are not told apart at the size of a thumbnail.
_DRAWN = 60
_LINE, _POINT, _SADDLE, _QUIET = "#1f4e79", "#1f4e79", "#c0392b", "#7f8c8d"


def new_axes() -> Axes:
    """Axes on a figure of its own, outside pyplot's registry: nothing to close, no display needed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 4.4))
    FigureCanvasAgg(figure)
    return figure.add_axes((0.11, 0.13, 0.86, 0.74))


def save_figure(ax: Axes, path: str | Path) -> None:
    """Write the figure that `ax` belongs to."""
    figure = ax.get_figure(root=True)
    if figure is not None:
        figure.savefig(path, dpi=150)


def profile(result: PathResult, points: int = 400) -> tuple[Array, Array]:
    """Smooth energy profile: cubic Hermite spline through the energies with the slopes ``-F.t`` of the true forces.

    Returns
    -------
    (points,) distance along the path in Å and (points,) energy relative to the initial configuration in eV.
    """
    # Images on top of each other have no direction, and splines no use for them.
    apart = np.r_[True, np.diff(result.distances) > 0]
    spline = CubicHermiteSpline(result.distances[apart], result.energies[apart], _slopes(result)[apart])
    s = np.linspace(0.0, result.distances[-1], points)
    return s, spline(s)


def _slopes(result: PathResult) -> Array:
    """(M+2,) dE/ds at all images; the tangents at the ends are the first and last segments."""
    first, last = result.X[1] - result.X[0], result.X[-1] - result.X[-2]
    tangents = np.vstack([first, result.tangents, last])
    tangents /= np.maximum(np.linalg.norm(tangents, axis=1, keepdims=True), np.finfo(float).tiny)
    slopes = -np.einsum("ij,ij->i", result.forces, tangents)
    # Arc length between straight segments changes faster than along the unit tangent where the path is curved.
    if result.climbing is not None and result.fmax_climbing < 0.1:
        slopes[result.climbing + 1] = 0.0
    return np.asarray(slopes)


def plot_profile(result: PathResult, ax: Axes | None = None) -> Axes:
    """Draw the energy profile of a path.

    The spline, every image with its slope, the saddle with the barriers in both directions, and a caption that says
    what was claimed and what it cost. Where a surrogate answers for images, they are open, with bars of two standard
    errors, the line has a band of as many, and small marks show everything that was evaluated.

    Returns
    -------
    The matplotlib axes, for further changes or ``ax.figure.savefig``.
    """
    own = ax is None
    if ax is None:
        ax = new_axes()
    s, energy = profile(result)
    distances, energies = result.distances, result.energies
    ax.axhline(0.0, color=_QUIET, linewidth=0.8, zorder=0)
    if result.energy_errors is not None:
        draw_errors(result, ax, s, energy)
        draw_lessons(result, ax)
        energy, deviations = along_path(result, s, energy)
        energy = np.concatenate([energy - 2.0 * deviations, energy + 2.0 * deviations])
    else:
        ax.plot(s, energy, color=_LINE, linewidth=2.0, zorder=2)
    width = 0.035 * distances[-1]
    for place, height, slope in zip(distances, energies, _slopes(result), strict=True):
        ax.plot(
            [place - width, place + width],
            [height - slope * width, height + slope * width],
            color=_QUIET,
            linewidth=1.2,
            zorder=2,
        )
    if result.energy_errors is None:
        ax.plot(
            distances, energies, "o", color="white", markeredgecolor=_POINT, markeredgewidth=1.6, markersize=7, zorder=4
        )
    top = result.top
    if 0 < top < len(energies) - 1:
        _mark_saddle(result, ax, top)
    ax.set_xlabel("distance along the path (Å)")
    ax.set_ylabel("energy (eV)")
    ax.set_xlim(-0.04 * distances[-1], 1.04 * distances[-1])
    low, high = min(energy.min(), 0.0), max(energy.max(), 0.0)
    margin = max(high - low, 1e-3)
    ax.set_ylim(low - 0.12 * margin, high + 0.22 * margin)
    ax.spines[["top", "right"]].set_visible(False)
    state = "converged" if result.converged else "not converged"
    formula = result.coordinates.template.symbols.formula.format("hill")
    # The surrogate's claims are told one by one.
    claims = result.reason.split("; ")[: 1 if result.energy_errors is None else 3]
    ax.set_title(
        f"{formula}: {state}, {claims[0]}\n"
        + "".join(f"{claim}\n" for claim in claims[1:])
        + f"{result.calls.get('images', 0)} evaluations of {len(result.X) - 2} images, method {result.method}",
        fontsize=9,
        color="#444444",
        loc="left",
        pad=6.0 if result.energy_errors is None else 22.0,
    )
    if result.energy_errors is not None:
        ax.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(-0.02, 0.99), ncols=3, columnspacing=1.4)
    if own:
        _make_room(ax, 2 if result.energy_errors is None else len(claims) + 2)
    if own and 1 < len(result.coordinates.template) <= _DRAWN:
        _show_structures(result, ax)
    return ax


def _make_room(ax: Axes, lines: int) -> None:
    """Two lines fit above the profile; for more, the figure grows upwards."""
    figure, more = ax.get_figure(root=True), 0.2 * (lines - 2)
    if figure is None or more <= 0.0:
        return
    height = figure.get_figheight()
    figure.set_figheight(height + more)
    box = ax.get_position()
    shrunk = height / (height + more)
    ax.set_position((box.x0, box.y0 * shrunk, box.width, box.height * shrunk))


def _show_structures(result: PathResult, ax: Axes) -> None:
    """Reactant, highest image and product in a row below the profile, where the path has them."""
    figure = ax.get_figure(root=True)
    if figure is None:
        return
    top = result.top
    places = sorted({0, top, len(result.X) - 1})
    structures = [result.coordinates.atoms(result.X[place]) for place in places]
    view = viewpoint(structures)
    above = figure.get_figheight() - 4.4
    height = 6.2 + above
    figure.set_size_inches(7.0, height)
    ax.set_position((0.11, 2.356 / height, 0.86, 3.286 / height))
    names = {0: "initial", top: "highest image", len(result.X) - 1: "final"}
    for column, (place, atoms) in enumerate(zip(places, structures, strict=True)):
        inset = figure.add_axes(
            (0.03 + column * 0.97 / len(places), 0.062 / height, 0.94 / len(places), 1.488 / height)
        )
        draw_structure(inset, atoms, view)
        inset.set_title(names[place], fontsize=9, color="#444444", pad=2)


def _mark_saddle(result: PathResult, ax: Axes, top: int) -> None:
    place, height = result.distances[top], result.energies[top]
    ax.plot([place], [height], "*", color=_SADDLE, markersize=15, zorder=5)
    ax.annotate(
        f"{result.barrier:.3f} eV",
        (place, height),
        xytext=(0, 13),
        textcoords="offset points",
        ha="center",
        color=_SADDLE,
        fontweight="bold",
    )
    for end, barrier, side in (
        (0, result.barrier, "left"),
        (len(result.energies) - 1, result.barrier_reverse, "right"),
    ):
        ax.annotate(
            f"{barrier:.3f} eV {'→' if end == 0 else '←'}",
            (result.distances[end], result.energies[end]),
            xytext=(0, -16),
            textcoords="offset points",
            ha=side,
            color="#444444",
            fontsize=9,
        )
