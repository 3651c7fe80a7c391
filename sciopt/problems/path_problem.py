"""Reaction paths with known barriers, to measure path finders on."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from importlib.resources import as_file, files
from typing import TYPE_CHECKING, Any, Literal

from ase.constraints import FixCartesian
from ase.io import read
from ase.io.extxyz import key_val_str_to_dict

from sciopt.calculators import calculator_factory
from sciopt.core.errors import InputError
from sciopt.problems.potentials import MorsePt, Planar, leps_oscillator, muller_brown, wolfe_quapp

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["KINDS", "PathProblem", "path_calculator", "path_problem", "path_problem_names"]

_DATA = files("sciopt.problems") / "data" / "paths"
_POTENTIALS: dict[str, Callable[[], Any]] = {
    "muller-brown": partial(Planar, muller_brown, 0.01),
    "leps": partial(Planar, leps_oscillator),
    "wolfe-quapp": partial(Planar, wolfe_quapp, 0.2),
    "morse-pt": partial(MorsePt),
}

Kind = Literal["analytic", "surface", "bulk", "cluster", "molecule"]
KINDS: tuple[Kind, ...] = ("analytic", "surface", "bulk", "cluster", "molecule")


@dataclass(frozen=True, eq=False)
class PathProblem:
    """Two minima, the potential they live on, and what the path between them must find.

    Attributes
    ----------
    name, kind
        What it is.
    initial, final
        The minima, constraints set, no calculator.
    calculator
        Makes a calculator; can be sent to other processes.
    images
        Movable images to use.
    barrier
        Energy of the lowest known saddle that connects them (the highest one on the lowest path), relative to
        `initial`, eV.
    saddle
        That saddle point, refined until one negative mode and forces below 2 meV/Å were left.
    tuned
        Whether a constant of this package was chosen looking at this problem.
    source
        What it is and where it comes from.
    potential
        Name of the calculator, as `path_calculator` takes it.
    """

    name: str
    kind: Kind
    initial: Atoms
    final: Atoms
    calculator: Callable[[], Any]
    images: int
    barrier: float
    saddle: Atoms
    tuned: bool
    source: str
    potential: str


def path_problem_names(kind: Kind | None = None) -> tuple[str, ...]:
    """Names of all problems, or of those of one kind: analytic ones first, molecules last.

    Examples
    --------
    >>> "hcn_hnc" in path_problem_names("molecule")
    True
    """
    if kind is not None and kind not in KINDS:
        raise InputError(f"unknown kind of problem {kind!r}; known are {', '.join(KINDS)}")
    of_kind = _kinds()
    ordered = sorted(of_kind, key=lambda name: (KINDS.index(of_kind[name]), name))
    return tuple(name for name in ordered if kind is None or of_kind[name] == kind)


def path_problem(name: str) -> PathProblem:
    """The problem called `name`; underscores and hyphens are the same.

    Raises
    ------
    InputError
        For an unknown name, with the closest known one.

    Examples
    --------
    >>> path_problem("hcn_hnc").barrier > 3
    True
    """
    known = _kinds()
    found = next((one for one in known if one.replace("-", "_") == name.replace("-", "_")), None)
    if found is None:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise InputError(f"unknown problem {name!r}{hint}")
    initial, final, saddle = _frames(found)
    info = initial.info
    for atoms in (initial, final, saddle):
        atoms.info = {}
        _planar(atoms, str(info["calculator"]))
    return PathProblem(
        found,
        known[found],
        initial,
        final,
        path_calculator(str(info["calculator"])),
        int(info["images"]),
        float(info["barrier"]),
        saddle,
        bool(info["tuned"]),
        str(info["source"]),
        str(info["calculator"]),
    )


def path_calculator(spec: str) -> Callable[[], Any]:
    """Factory for the calculator of a problem: one of our potentials, or a name with ``:key=value`` options.

    GFN2-xTB runs at a tight accuracy, so that forces are smooth to well below every tolerance used here.
    """
    if spec in _POTENTIALS:
        return _POTENTIALS[spec]
    words = spec.split(":")
    name = ":".join(word for word in words if "=" not in word)
    options = [word for word in words if "=" in word]
    if name.startswith("tblite"):
        options = ["accuracy=0.1", *options]
    return calculator_factory(name, options)


@cache
def _kinds() -> Mapping[str, Kind]:
    """The kind of every stored problem by name, from the first header of its file."""
    kinds = {}
    for entry in _DATA.iterdir():
        if entry.name.endswith(".extxyz"):
            with entry.open(encoding="utf-8") as file:
                file.readline()
                header = file.readline()
            kinds[entry.name.removesuffix(".extxyz")] = key_val_str_to_dict(header)["kind"]
    return kinds


def _frames(name: str) -> list[Atoms]:
    with as_file(_DATA / f"{name}.extxyz") as file:
        frames = read(file, index=":")
    assert isinstance(frames, list)
    return frames


def _planar(atoms: Atoms, calculator: str) -> None:
    """Particles on two-dimensional surfaces do not move in z; extxyz stores only whole fixed atoms reliably."""
    if calculator in ("muller-brown", "leps", "wolfe-quapp"):
        atoms.set_constraint(FixCartesian(list(range(len(atoms))), mask=(False, False, True)))
