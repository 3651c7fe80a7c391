"""What a design task found, why it stopped and what it cost."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sciopt.run_files import versions

if TYPE_CHECKING:
    from sciopt.core.evaluation import Evaluation
    from sciopt.core.stop import Reason
    from sciopt.core.types import Array
    from sciopt.topopt.problem import TopologyProblem
    from sciopt.topopt.record import DesignRecord

__all__ = ["DesignResult"]


@dataclass(frozen=True, eq=False)
class DesignResult:
    """The answer of `optimize_topology`.

    Attributes
    ----------
    problem
        What was asked.
    x
        (n,) the design variables.
    evaluation
        The problem's answer there, solved tightly.
    reason, converged
        Why the task ended and whether that is what was asked for.
    calls
        ``solves`` on all grids, ``equivalents`` in solves on the finest grid by number of elements.
    records
        One `DesignRecord` per evaluation.
    method, parameters
        What was run.
    warnings
        Sentences about the problem or the design that a user should read.
    wall_seconds, overhead_seconds
        In all, and outside of the problem.
    """

    problem: TopologyProblem
    x: Array
    evaluation: Evaluation
    reason: Reason
    calls: dict[str, float]
    records: list[DesignRecord]
    method: str
    parameters: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    wall_seconds: float = 0.0
    overhead_seconds: float = 0.0

    @property
    def converged(self) -> bool:
        """Whether the stop was the one asked for."""
        return self.reason.converged

    @property
    def objective(self) -> float:
        """The value minimized."""
        assert self.evaluation.value is not None
        return self.evaluation.value

    @property
    def compliance(self) -> float:
        """The response of the design: its compliance (weighted over load cases), or the output of a mechanism."""
        return float(self.evaluation.info["objective"])

    @property
    def volume(self) -> float:
        """Filled share of the region."""
        return float(self.evaluation.info["volume"])

    @property
    def greyness(self) -> float:
        """Mean of 4 rho (1 - rho) over the design elements."""
        return float(self.evaluation.info["greyness"])

    @property
    def residual(self) -> float:
        """How far from stationary the design is, independent of every move limit; see `sciopt.core.Box`."""
        return self.problem.space.residual(self.x, self.evaluation.force)

    @property
    def elements(self) -> Array:
        """(elements,) physical densities of all elements: passive solid 1, passive void 0."""
        return self.problem.structure.full(self.evaluation.info["density"])

    @property
    def density(self) -> Array:
        """(nx, ny) or (nx, ny, nz) physical densities: `density[i, j]` belongs to the i-th element in x, j-th in y.

        On a mesh (cells,), those of this rank.
        """
        return self.problem.structure.shaped(self.elements)

    @property
    def caption(self) -> str:
        """A line that says how good the design is, as above its picture."""
        from sciopt.topopt.plot import caption_of

        return caption_of(self.compliance, self.volume, self.greyness)

    def plot(self) -> Any:
        """A matplotlib figure of the design. On several ranks all must call it; those after the first get None."""
        return self.problem.structure.plot(self)

    def files(self) -> tuple[str, ...]:
        """Names of what a run folder holds of the result."""
        return (*self.problem.structure.files(), "convergence.png")

    def write(self, file: str | Path) -> None:
        """Write the design: .png, .vti, .stl or .npz by the ending of `file`; meshes as .vtu, .xdmf … instead of .vti.

        A picture named convergence is one of the objective over the solves.

        Raises
        ------
        InputError
            For another ending.
        """
        from sciopt.topopt import plot

        file = Path(file)
        if file.stem == "convergence" and file.suffix in (".png", ".svg", ".pdf"):
            self.problem.structure.ranks.agree(lambda: plot.save(plot.plot_convergence(self), file))
        else:
            self.problem.structure.write(file, self)

    def summary(self) -> dict[str, Any]:
        """Everything worth keeping as plain data; what `summary.json` holds."""
        found = versions()
        return {
            "sciopt": found.get("sciopt"),
            "versions": found,
            "parameters": self.parameters,
            "method": self.method,
            "converged": self.converged,
            "reason": str(self.reason),
            "calls": self.calls,
            "wall_seconds": self.wall_seconds,
            "overhead_seconds": self.overhead_seconds,
            "objective": self.objective,
            "compliance": self.compliance,
            "volume": self.volume,
            "greyness": self.greyness,
            "residual": self.residual,
            "elements": self.problem.structure.elements,
            "dofs": self.problem.system.dofs,
            "warnings": list(self.warnings),
        }
