"""The methods of the reaction-path benchmark by name: what they ask of `find_path`, and where they apply."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sciopt.neb.methods import BAND_METHODS
from sciopt.problems.path_problem import path_calculator

if TYPE_CHECKING:
    from sciopt.problems import PathProblem

__all__ = ["ASE_METHODS", "METHODS", "PathMethod"]

ASE_METHODS = ("ase-fire", "ase-lbfgs", "ase-ode")


@dataclass(frozen=True)
class PathMethod:
    """One way to call `find_path`.

    Parameters
    ----------
    options
        Arguments of `find_path`.
    prior
        ``(surface, cheaper)``: on problems on `surface`, the calculator `cheaper` is the prior mean. The method does
        not apply to other problems.
    serial
        The method of which this one evaluates several images at a time, to compare with.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    prior: tuple[str, str] | None = None
    serial: str | None = None

    def applies(self, problem: PathProblem) -> bool:
        """Whether the method can run on `problem` at all."""
        return self.prior is None or f"{problem.potential}:".startswith(f"{self.prior[0]}:")

    def prior_factory(self, problem: PathProblem) -> Callable[[], Any] | None:
        """Makes the calculator of the prior mean, in the charge and spin state of the problem; None without prior."""
        if self.prior is None:
            return None
        return path_calculator(problem.potential.replace(*self.prior))


_GFN1 = ("tblite:GFN2-xTB", "tblite:GFN1-xTB")

METHODS: Mapping[str, PathMethod] = {
    "auto": PathMethod({"method": "auto"}),
    "auto-saddle": PathMethod({"method": "auto", "certify": "saddle"}),
    "gp": PathMethod({"method": "gp"}),
    "gp-saddle": PathMethod({"method": "gp", "certify": "saddle"}),
    "gp-strict": PathMethod({"method": "gp", "certify": "strict"}),
    "gp-prior": PathMethod({"method": "gp"}, prior=_GFN1),
    "gp-prior-saddle": PathMethod({"method": "gp", "certify": "saddle"}, prior=_GFN1),
    "gp-4": PathMethod({"method": "gp", "batch": 4}, serial="gp"),
    **{name: PathMethod({"method": name}) for name in BAND_METHODS if name != "gp"},
    **{name: PathMethod() for name in ASE_METHODS},
}
"""All methods that `sciopt bench paths` knows."""
