"""Pictures of designs and of the way to them."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sciopt.core.checkpoint import write_atomically
from sciopt.core.errors import InputError
from sciopt.topopt.draw import draw_design

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from sciopt.core.types import Array
    from sciopt.topopt.marks import Drawable
    from sciopt.topopt.record import DesignRecord
    from sciopt.topopt.render import Camera
    from sciopt.topopt.result import DesignResult

__all__ = [
    "caption_of",
    "convergence_figure",
    "design_figure",
    "framed",
    "plot_convergence",
    "plot_design",
    "save",
    "write_animation",
]

_LINE, _BAD, _QUIET, _FRAME, _TEXT = "#1f4e79", "#c0392b", "#7f8c8d", "#b8c0c8", "#333333"
# Inches: the longest side of a design, and what its caption needs.
_SIZE, _NARROWEST = 8.0, 5.0
_DPI, _GIF_DPI = 150, 80


def plot_design(
    result: DesignResult, mirror: Sequence[str] = (), marks: bool = True, camera: Camera | None = None
) -> Figure:
    """Figure of a design on a grid with its supports and loads, and a line that says how good it is.

    Parameters
    ----------
    result
        The answer of `optimize_topology`. On a mesh `DesignResult.plot` draws it.
    mirror, marks, camera
        See `sciopt.topopt.draw.draw_design`.
    """
    return design_figure(result.problem.structure, result.elements, result.caption, mirror, marks, camera)


def caption_of(objective: float, volume: float, greyness: float) -> str:
    """The line above the picture of a finished design."""
    return f"objective {objective:.5g}, volume {100 * volume:.1f} %, greyness {100 * greyness:.1f} %"


def design_figure(
    structure: Drawable,
    density: Array,
    caption: str = "",
    mirror: Sequence[str] = (),
    marks: bool = True,
    camera: Camera | None = None,
    dpi: int = _DPI,
) -> Figure:
    """Figure of any densities (elements,) of a structure, to be saved at `dpi`; see `sciopt.topopt.draw`."""

    def draw(ax: Axes, pixels: int) -> None:
        draw_design(ax, structure, density, mirror, marks, camera, pixels)

    return framed(draw, caption, dpi)


def framed(draw: Callable[[Axes, int], None], caption: str = "", dpi: int = _DPI) -> Figure:
    """Figure that is as large as what `draw(axes, pixels)` draws, with a line above it."""
    figure, ax = _new_figure(_SIZE, _SIZE)
    draw(ax, int(_SIZE * dpi))
    span = np.array([np.ptp(ax.get_xlim()), np.ptp(ax.get_ylim())])
    width, height = _SIZE * span / span.max()
    across, above = max(width, _NARROWEST if caption else 0.0), 0.4 if caption else 0.0
    figure.set_size_inches(across, height + above)
    ax.set_position((0.5 - 0.5 * width / across, 0.0, width / across, height / (height + above)))
    figure.text(0.5, 1.0 - 0.13 / (height + above), caption, ha="center", va="top", fontsize=11, color=_TEXT)
    return figure


def plot_convergence(result: DesignResult) -> Figure:
    """Figure of the objective, the volume and the largest change over the solves paid for."""
    return convergence_figure(result.records)


def convergence_figure(records: Sequence[DesignRecord]) -> Figure:
    """As `plot_convergence`, of the records of a task.

    Raises
    ------
    InputError
        When there are none.
    """
    from matplotlib.ticker import NullFormatter

    if not records:
        raise InputError("there is nothing to plot: the task has no evaluations")
    figure, top = _new_figure(_SIZE, 5.2)
    top.set_position((0.11, 0.42, 0.86, 0.48))
    bottom = figure.add_axes((0.11, 0.11, 0.86, 0.27), sharex=top)
    solves = np.array([record.equivalents for record in records])
    accepted = np.array([record.accepted for record in records])
    objective = np.array([record.objective for record in records])
    change = np.array([record.change for record in records])
    limit = np.array([record.limit for record in records])
    stages = _stages(records)
    for begin, end in stages:
        good = np.arange(begin, end)[accepted[begin:end]]
        bad = np.arange(begin, end)[~accepted[begin:end]]
        top.plot(solves[good], objective[good], ".-", color=_LINE, linewidth=1.6, markersize=4)
        top.plot(solves[bad], objective[bad], "x", color=_BAD, markersize=5)
        moved = good[change[good] > 0]
        bottom.plot(solves[moved], change[moved], ".-", color=_LINE, linewidth=1.2, markersize=3)
        (limits,) = bottom.plot(solves[begin:end], limit[begin:end], color=_QUIET, linewidth=1.0, zorder=1)
        for ax in (top, bottom) if begin else ():
            ax.axvline(0.5 * (solves[begin - 1] + solves[begin]), color=_FRAME, linewidth=0.9, zorder=0)
    shown = np.abs(objective[accepted])
    if np.all(objective[accepted] > 0) and shown.max() > 10 * shown.min():
        top.set_yscale("log")
    _name_stages(top, records, stages, solves)
    bottom.set_yscale("log")
    bottom.yaxis.set_minor_formatter(NullFormatter())
    bottom.legend([limits], ["move limit"], frameon=False, fontsize=8, loc="lower right", labelcolor=_QUIET)
    top.set_ylabel("objective")
    bottom.set_ylabel("largest change")
    bottom.set_xlabel("solves on the finest grid")
    top.tick_params(labelbottom=False)
    for ax in (top, bottom):
        ax.spines[["top", "right"]].set_visible(False)
    return figure


def _stages(records: Sequence[DesignRecord]) -> list[tuple[int, int]]:
    """First and one past the last record of everything that minimizes the same function."""
    kinds = [(record.stage, record.elements, record.penalty, record.beta) for record in records]
    begins = [i for i in range(len(kinds)) if i == 0 or kinds[i] != kinds[i - 1]]
    return list(zip(begins, [*begins[1:], len(kinds)], strict=True))


def _name_stages(
    ax: Axes, records: Sequence[DesignRecord], stages: list[tuple[int, int]], solves: NDArray[np.float64]
) -> None:
    """Grid and sharpness above each stage that is wide enough for them."""
    span = max(solves[-1] - solves[0], 1e-9)
    for begin, end in stages:
        if solves[end - 1] - solves[begin] < 0.12 * span:
            continue
        record = records[begin]
        words = [f"{record.elements} elements"]
        if record.penalty < 1.0:
            words.append(f"{100 * record.penalty:.0f} % penalty")
        if record.beta > 0.0:
            words.append(f"beta {record.beta:g}")
        ax.text(
            0.5 * (solves[begin] + solves[end - 1]),
            1.02,
            "\n".join(words),
            transform=ax.get_xaxis_transform(),
            ha="center",
            va="bottom",
            fontsize=8,
            color=_QUIET,
        )


def save(figure: Figure, path: str | Path) -> None:
    """Write a figure; its format is the ending of `path`."""
    path = Path(path)
    buffer = io.BytesIO()
    figure.savefig(buffer, format=path.suffix[1:], dpi=_DPI)
    write_atomically(path, buffer.getvalue())


def write_animation(
    path: str | Path,
    structure: Drawable,
    densities: Sequence[Array],
    captions: Sequence[str] = (),
    mirror: Sequence[str] = (),
    marks: bool = True,
    camera: Camera | None = None,
    seconds: float = 6.0,
) -> None:
    """Write designs one after the other as an animated GIF; the last stays for a moment.

    Parameters
    ----------
    path
        The file, ``.gif``.
    structure
        The grid, supports and loads.
    densities
        (elements,) physical densities of each frame.
    captions
        A line above each frame, or nothing.
    mirror, marks, camera
        See `sciopt.topopt.draw.draw_design`.
    seconds
        How long it takes from the first frame to the last.

    Raises
    ------
    InputError
        When there are no frames, or not as many captions.
    """
    from PIL import Image

    if not len(densities) or len(captions) not in (0, len(densities)):
        raise InputError(
            f"{len(densities)} frames with {len(captions)} captions; expected one caption per frame or none"
        )
    frames = []
    for density, caption in zip(densities, captions or [""] * len(densities), strict=True):
        figure = design_figure(structure, density, caption, mirror, marks, camera, _GIF_DPI)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=_GIF_DPI)
        # Of the methods to choose colours this one keeps those of small marks.
        frames.append(Image.open(buffer).convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE))
    each = max(int(1000 * seconds / len(frames)), 20)
    buffer = io.BytesIO()
    frames[0].save(
        buffer,
        format="GIF",
        save_all=True,
        append_images=frames[1:],
        duration=[each] * (len(frames) - 1) + [1500],
        loop=0,
    )
    write_atomically(Path(path), buffer.getvalue())


def _new_figure(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure of its own, outside pyplot's registry: nothing to close, no display needed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure, figure.add_axes((0.09, 0.12, 0.83, 0.78))
