"""Reading structures and calculators from command-line words, with errors that name the file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ase.io import read

from sciopt.calculators import NamedCalculator, calculator_factory, one_line
from sciopt.core.errors import InputError

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["calculator_from", "read_path", "read_structure"]


def read_structure(path: Path) -> Atoms:
    """The last structure in a file of any format ASE reads."""
    atoms = _read(path, None)
    if isinstance(atoms, list):
        raise InputError(f"{path} holds several structures; give one")
    # Energies and forces in the file may come from any method; only our own calculations count.
    atoms.calc = None
    return atoms


def read_path(path: Path) -> list[Atoms]:
    """All structures in a file of any format ASE reads."""
    return list(_read(path, ":"))


def _read(path: Path, index: str | None) -> Atoms | list[Atoms]:
    if not path.exists():
        raise InputError(f"there is no file {path}")
    try:
        return read(path, index=index)
    except Exception as error:  # every reader of ASE has its own ways to give up
        raise InputError(f"{path} cannot be read as a structure: {one_line(error)}") from error


def calculator_from(spec: str, options: list[str] | None) -> NamedCalculator:
    """A factory of the calculator called `spec`, made once here so that mistakes show before anything is spent."""
    factory = calculator_factory(spec, options or ())
    factory()
    return factory
