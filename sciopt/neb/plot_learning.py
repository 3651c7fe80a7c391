"""How well a surrogate knew what it asked for: energies foretold, forces missed, and how far it was trusted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from sciopt.neb.path_result import Lesson

__all__ = ["plot_learning"]

_COLOURS = {
    "seed": "#7f8c8d",
    "trust": "#8e44ad",
    "energy": "#1f4e79",
    "climbing": "#c0392b",
    "force": "#16a085",
    "audit": "#d68910",
    "strict": "#2c3e50",
}
_OTHER = "#000000"


def plot_learning(lessons: Sequence[Lesson], title: str = "") -> Axes:
    """Draw what was expected of every evaluation, and what came.

    Left, predicted against true energies; right, over the evaluations, the largest error of the expected force on an
    atom with its predicted standard deviation, and the trust region.

    Returns
    -------
    The axes of the energies; its figure has all three.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(9.5, 4.6))
    FigureCanvasAgg(figure)
    left = figure.add_axes((0.075, 0.13, 0.39, 0.74))
    upper = figure.add_axes((0.56, 0.46, 0.42, 0.41))
    lower = figure.add_axes((0.56, 0.13, 0.42, 0.25), sharex=upper)
    _energies(lessons, left)
    _forces(lessons, upper)
    # A second search of one run numbers its evaluations anew.
    numbers = range(1, len(lessons) + 1)
    lower.step(numbers, [lesson.trust for lesson in lessons], where="mid", color="#444444", linewidth=1.4)
    lower.set_ylim(bottom=0.0)
    lower.xaxis.set_major_locator(MaxNLocator(integer=True))
    lower.set_ylabel("trust region")
    lower.set_xlabel("evaluation")
    upper.tick_params(labelbottom=False)
    for ax in (left, upper, lower):
        ax.spines[["top", "right"]].set_visible(False)
    left.set_title(title, fontsize=9, color="#444444", loc="left")
    return left


def _energies(lessons: Sequence[Lesson], ax: Axes) -> None:
    true = np.array([lesson.energy for lesson in lessons])
    zero = true.min()
    high = max(float(np.ptp(true)), 1e-3)
    low, high = -0.06 * high, 1.06 * high
    ax.plot([low, high], [low, high], color="#bbbbbb", linewidth=1.0, zorder=0)
    for why in dict.fromkeys(lesson.why for lesson in lessons):
        chosen = [lesson for lesson in lessons if lesson.why == why and np.isfinite(lesson.expected)]
        if not chosen:
            continue
        # What was missed by far is drawn at the edge.
        expected = np.clip([lesson.expected - zero for lesson in chosen], low, high)
        energies = [lesson.energy - zero for lesson in chosen]
        ax.plot(energies, expected, "o", color=_COLOURS.get(why, _OTHER), alpha=0.8, markersize=5, label=why)
    ax.set_xlim(low, high)
    ax.set_ylim(low, high)
    ax.set_xlabel("true energy above the lowest (eV)")
    ax.set_ylabel("predicted energy (eV)")
    if ax.get_legend_handles_labels()[0]:
        ax.legend(frameon=False, fontsize=8, loc="upper left")


def _forces(lessons: Sequence[Lesson], ax: Axes) -> None:
    numbers = [number for number, lesson in enumerate(lessons, 1) if np.isfinite(lesson.force_error)]
    asked = [lessons[number - 1] for number in numbers]
    ax.set_yscale("log")
    ax.set_ylabel("force on an atom (eV/Å)")
    if not asked:
        return
    colours = [_COLOURS.get(lesson.why, _OTHER) for lesson in asked]
    errors = [max(lesson.force_error, 1e-6) for lesson in asked]
    ax.plot(
        numbers, [lesson.force_deviation for lesson in asked], "-", color="#1f4e79", lw=1.2, label="predicted deviation"
    )
    ax.scatter(numbers, errors, c=colours, s=22, zorder=3, label="error")
    bounds = [(number, one.bound) for number, one in zip(numbers, asked, strict=True) if np.isfinite(one.bound)]
    if bounds:
        ax.plot(*zip(*bounds, strict=True), "_", color="#444444", markersize=9, label="band force not excluded")
    ax.legend(frameon=False, fontsize=8, loc="best")
