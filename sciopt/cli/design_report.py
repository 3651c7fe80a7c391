"""What `sciopt topopt` prints while it runs and at the end, and the animation of what it saw."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sciopt.topopt.material import SIMP

if TYPE_CHECKING:
    from sciopt.core.types import Array
    from sciopt.topopt.problem import TopologyProblem
    from sciopt.topopt.result import DesignResult
    from sciopt.topopt.runner import Visit
    from sciopt.topopt.task import Task

__all__ = ["Frames", "Progress", "headline", "report"]

# More frames than this are thinned out: nobody sees them, and each takes a tenth of a second to draw.
_MOST_FRAMES = 60


def headline(task: Task, problem: TopologyProblem) -> str:
    """What is about to be solved, on one line."""
    structure, law = problem.structure, problem.material
    words = [
        f"{task.name}: {_extent(problem)}, {problem.system.dofs} unknowns ({problem.system.solver})",
        f"compliance up to {task.limit:g}" if task.limit is not None else f"volume {task.volume:.4g}",
        f"{type(problem.filter).__name__.lower()} filter of radius {problem.filter.radius:g}",
        f"SIMP, p = {law.p:g}" if isinstance(law, SIMP) else f"RAMP, q = {law.q:g}",
    ]
    if len(structure.loads) > 1:
        words.append(f"{'worst of ' if task.worst else ''}{len(structure.loads)} load cases")
    if problem.projection is not None:
        robust = f", robust {problem.projection.robust:g}" if problem.projection.robust else ""
        words.append(f"projection to beta {problem.projection.beta:g}{robust}")
    if problem.symmetry:
        words.append(f"mirrored about {', '.join(problem.symmetry)}")
    return "; ".join([*words, f"method {task.method}"])


class Progress:
    """One line per evaluation, after those of the educational codes.

    It.: evaluation; Obj.: objective; Vol.: filled share; ch.: largest change of a variable; then the run it belongs
    to, its grid (of a mesh the number of cells), the penalty of the material, the sharpness of the projection if there
    is one, how far a constraint is exceeded if there is one, and what everything so far has cost in solves on the
    finest grid.
    """

    def __init__(self, problem: TopologyProblem) -> None:
        self._width = len(_size(problem))
        self._projected, self._constrained = problem.projection is not None, problem.constrained

    def __call__(self, visit: Visit) -> None:
        record, law = visit.record, visit.problem.material
        size, penalty = abs(record.objective), law.p if isinstance(law, SIMP) else law.q
        # Always as wide: numbers that do not fit are written with an exponent.
        value = f"{record.objective:12.4f}" if size == 0.0 or 1e-2 <= size < 1e6 else f"{record.objective:12.4e}"
        made_of = "mesh" if _is_mesh(visit.problem) else "grid"
        words = [
            f"It.:{record.evaluation:5d} Obj.:{value} Vol.:{record.volume:6.3f} ch.:{record.change:6.3f}",
            f"stage:{record.stage:3d} {made_of}: {_size(visit.problem):>{self._width}}",
            f"{'p' if isinstance(law, SIMP) else 'q'}:{penalty:5.2f}",
        ]
        if self._projected:
            words.append(f"beta:{record.beta:4.0f}")
        constraints = visit.snapshot.state.here.constraints
        if self._constrained and constraints is not None:
            words.append(f"over:{constraints.max():8.4f}")
        words.append(f"solves:{record.equivalents:7.1f}")
        print(" ".join(words) + ("" if record.accepted else " rejected"))
        sys.stdout.flush()


class Frames:
    """Collects the accepted designs of all grids for an animation."""

    def __init__(self, problem: TopologyProblem) -> None:
        self._structure = problem.structure
        self._densities: list[Array] = []
        self._captions: list[str] = []

    def __call__(self, visit: Visit) -> None:
        if visit.record.accepted:
            structure = visit.problem.structure
            field = structure.full(visit.snapshot.state.here.info["density"]).reshape(structure.lattice.cells)
            # Elements of coarser grids are 2, 4 … of the finest ones wide.
            cells = self._structure.lattice.cells
            widths = [round(h / own) for h, own in zip(structure.spacing, self._structure.spacing, strict=True)][::-1]
            field = field[np.ix_(*[np.arange(n) // width for n, width in zip(cells, widths, strict=True)])]
            self._densities.append(field.ravel())
            record = visit.record
            self._captions.append(f"{record.equivalents:.1f} solves, objective {record.objective:.5g}")

    def write(self, path: Path) -> None:
        """Write what was seen in this session, if anything."""
        from sciopt.topopt.plot import write_animation

        if self._densities:
            last = len(self._densities) - 1
            chosen = np.unique(np.linspace(0, last, min(last + 1, _MOST_FRAMES)).round().astype(int))
            densities, captions = [self._densities[i] for i in chosen], [self._captions[i] for i in chosen]
            write_animation(path, self._structure, densities, captions)


def report(found: DesignResult, folder: Path | None) -> str:
    """What was found, why it ended, what it cost and, if `folder` is known here, where it is, in lines."""
    solves, equivalents = found.calls["solves"], found.calls["equivalents"]
    grids = "" if solves == equivalents else f" ({solves:.0f} on all grids)"
    lines = [f"{'objective':13s} {found.objective:.6g}"]
    if found.problem.constrained:
        lines.append(f"{'compliance':13s} {found.compliance:.6g}")
    cases = found.evaluation.info.get("cases", ())
    if len(cases) > 1:
        lines.append(f"{'of cases':13s} {', '.join(f'{case:.6g}' for case in cases)}")
    lines += [
        f"{'volume':13s} {found.volume:.4f}",
        f"{'greyness':13s} {100 * found.greyness:.1f} %",
        # Under a constraint on the response the gradient alone does not tell how far from stationary a design is.
        *([] if found.problem.constrained else [f"{'residual':13s} {found.residual:.1e}"]),
        f"{'solves':13s} {equivalents:.1f} of the finest grid{grids}, {found.wall_seconds:.1f} s",
        f"{'converged' if found.converged else 'NOT CONVERGED':13s} {found.reason}",
    ]
    lines += [f"{'warning':13s} {sentence}" for sentence in found.warnings]
    if folder is not None:
        names = sorted(file.name for file in folder.iterdir() if file.is_file())
        lines.append(f"written to {folder}/ ({', '.join(names)})")
    return "\n".join(lines)


def _extent(problem: TopologyProblem) -> str:
    """How many elements there are, and on how many ranks."""
    structure = problem.structure
    if not _is_mesh(problem):
        return f"{' x '.join(map(str, structure.shape))} elements"
    ranks = structure.comm.size
    cell = structure.mesh.topology.cell_type.name
    name = {"tetrahedron": "tetrahedra", "hexahedron": "hexahedra"}.get(cell, f"{cell}s")
    return f"{structure.elements} {name} on {ranks} rank{'s' * (ranks > 1)}"


def _size(problem: TopologyProblem) -> str:
    """Elements along each axis, or cells of a mesh."""
    return str(problem.structure.elements) if _is_mesh(problem) else "x".join(map(str, problem.structure.shape))


def _is_mesh(problem: TopologyProblem) -> bool:
    return hasattr(problem.structure, "mesh")
