"""Calculators: made by name without evaluating code, and called exactly once per configuration."""

from __future__ import annotations

import json
import re
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.calculators.calculator import BaseCalculator, get_calculator_class
from ase.calculators.genericfileio import GenericFileIOCalculator
from ase.calculators.names import names as registered_names
from ase.units import kB

from sciopt.core.errors import InputError, SciOptError

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray

__all__ = ["Bench", "NamedCalculator", "Outcome", "Recipe", "calculator_factory", "calculator_names", "one_line"]

_TBLITE_METHODS = ("GFN2-xTB", "GFN1-xTB", "IPEA1-xTB")
# ASE resolves these names although its list leaves them out.
_UNLISTED_NAMES = ("mace_mp", "mattersim")
_PACKAGES = {"asap3": "asap3", "mace": "mace-torch", "mattersim": "mattersim", "gpaw": "gpaw", "hotbit": "hotbit"}
_DEFAULTS: dict[str, dict[str, Any]] = {
    # Argon: A. Rahman, Phys. Rev. 136, A405 (1964), doi:10.1103/PhysRev.136.A405
    "lj": {"sigma": 3.4, "epsilon": 120.0 * kB, "smooth": True},
    "tblite": {"verbosity": 0},
}
# Only these list all their options, so only there can a misspelt one be found beforehand.
_OPTIONS_ARE_LISTED = ("emt", "lj", "morse", "tblite")


@dataclass(frozen=True, eq=False)
class NamedCalculator:
    """A factory of calculators that can be sent to other processes: ``NamedCalculator(...)() -> Calculator``.

    Parameters
    ----------
    name
        The name it was asked for by, for messages.
    make
        The calculator's class.
    options
        Keyword arguments for `make`.
    """

    name: str
    make: Callable[..., Any]
    options: Mapping[str, Any]

    def describe(self) -> str:
        """Name and options in one line, the same for the same calculator."""
        given = ", ".join(f"{key}={self.options[key]!r}" for key in sorted(self.options))
        return f"{self.name} ({given})" if given else self.name

    def __call__(self) -> Any:
        """Make a new calculator; InputError when it does not accept the options or lacks a program or package."""
        try:
            return self.make(**self.options)
        except ImportError as error:
            raise _missing_package(self.name, error) from error
        except Exception as error:  # each calculator has its own way to refuse what it is given
            given = ", ".join(f"{key}={value!r}" for key, value in self.options.items()) or "no options"
            raise InputError(f"calculator {self.name} cannot be made with {given}: {one_line(error)}") from error


def calculator_names() -> list[str]:
    """All names :func:`calculator_factory` accepts, sorted; some need further packages or programs."""
    return sorted({*registered_names, *_UNLISTED_NAMES, "tblite"})


def calculator_factory(spec: str, options: Iterable[str] | Mapping[str, Any] = ()) -> NamedCalculator:
    """A factory of calculators from a name and options.

    Parameters
    ----------
    spec
        ``emt``, ``lj`` (argon with a smooth cutoff unless options say otherwise), ``tblite:GFN2-xTB``
        (``GFN1-xTB``, ``IPEA1-xTB``), or any name in ASE's registry of calculators. Never an import path.
    options
        ``key=value`` texts or a mapping. Values are read as JSON literals (``1``, ``1e-3``, ``true``, ``[4, 4, 1]``);
        ``True``, ``False`` and ``None`` are understood, anything else is text. Nothing is evaluated.

    Raises
    ------
    InputError
        For an unknown name, a missing package, or an option that the calculator does not have.

    Examples
    --------
    >>> factory = calculator_factory("lj", ["epsilon=0.02"])
    >>> factory.options["epsilon"], factory.options["smooth"]
    (0.02, True)
    >>> type(factory()).__name__
    'LennardJones'
    """
    given = _parse_options(options)
    name, colon, variant = spec.strip().partition(":")
    match = {known.lower(): known for known in calculator_names()}.get(name.lower())
    if match is None:
        raise InputError(_unknown(spec))
    if match == "tblite":
        given = _tblite_options(variant, given)
    elif colon:
        raise InputError(f"calculator {match} takes nothing after a colon, got {spec!r}; give options as key=value")
    make = _calculator_class(match)
    if match in _OPTIONS_ARE_LISTED:
        for key in given:
            if key not in make.default_parameters:
                raise InputError(f"calculator {match} has no option {key!r}{_suggest(key, make.default_parameters)}")
    return NamedCalculator(match, make, {**_DEFAULTS.get(match, {}), **given})


def _calculator_class(name: str) -> Any:
    try:
        if name == "tblite":
            from tblite.ase import TBLite

            return TBLite
        return get_calculator_class(name)
    except ImportError as error:
        raise _missing_package(name, error) from error


def _missing_package(name: str, error: ImportError) -> InputError:
    package = (error.name or name).partition(".")[0]
    return InputError(
        f"calculator {name} needs the Python package {package}, which is not installed; "
        f"try: pip install {_PACKAGES.get(package, package)}"
    )


def _tblite_options(method: str, options: Mapping[str, Any]) -> dict[str, Any]:
    if method and "method" in options:
        raise InputError(f"the method of tblite is given twice: {method!r} and method={options['method']!r}")
    method = method or str(options.get("method", _TBLITE_METHODS[0]))
    found = {known.lower(): known for known in _TBLITE_METHODS}.get(method.lower())
    if found is None:
        raise InputError(f"tblite has no method {method!r}{_suggest(method, _TBLITE_METHODS)}")
    return {**options, "method": found}


def _unknown(spec: str) -> str:
    hint = " (did you mean tblite:GFN2-xTB?)" if re.search("gfn|xtb", spec, re.IGNORECASE) else None
    names = calculator_names()
    return f"unknown calculator {spec!r}{hint or _suggest(spec, names, listed=False)}; known: {', '.join(names)}"


def _suggest(word: str, known: Iterable[str], listed: bool = True) -> str:
    by_lower = {name.lower(): name for name in known}
    close = get_close_matches(word.lower(), by_lower, n=1)
    hint = f" (did you mean {by_lower[close[0]]}?)" if close else ""
    return hint + (f"; known: {', '.join(by_lower.values())}" if listed else "")


def _parse_options(options: Iterable[str] | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(options, Mapping):
        return dict(options)
    if isinstance(options, str):
        options = [options]
    parsed: dict[str, Any] = {}
    for text in options:
        key, equals, value = text.partition("=")
        key = key.strip()
        if not (equals and key.isidentifier()):
            raise InputError(f"calculator option {text!r} is not of the form key=value")
        if key in parsed:
            raise InputError(f"calculator option {key!r} is given twice")
        parsed[key] = _literal(key, value.strip())
    return parsed


def _literal(key: str, text: str) -> Any:
    if text in ("True", "False", "None"):
        return {"True": True, "False": False, "None": None}[text]
    if re.fullmatch(r"[+-]?\d+", text):
        return int(text)
    if re.fullmatch(r"[+-]?(\d+\.\d*|\.?\d+)([eE][+-]?\d+)?", text):
        return float(text)
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        if text[:1] in ("[", "{", '"'):
            raise InputError(f"calculator option {key}={text} is not valid JSON: {error}") from error
        return text
    return text if isinstance(value, float) else value  # only NaN and Infinity get here as numbers


@dataclass(frozen=True, eq=False)
class Recipe:
    """All that a worker needs to make calculators.

    Parameters
    ----------
    token
        Tells runs apart within one worker.
    factory
        Makes a calculator.
    template
        Atoms without calculator; only their positions change.
    shared
        Whether `factory` always returns the same calculator, which belongs to the user.
    """

    token: str
    factory: Callable[[], Any]
    template: Atoms
    shared: bool = False


@dataclass(frozen=True, eq=False)
class Outcome:
    """What came of one configuration, in a form that any process can send back.

    `calls` made of the calculator, `seconds` they took, `energy` in eV and `forces` (N, 3) in eV/Å; or the `error` in
    one line, with its `trace`.
    """

    calls: int
    seconds: float
    energy: float = np.nan
    forces: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 3)))
    error: str | None = None
    trace: str = ""


class Bench:
    """Calculators ready for use, one per seat (an image, or a worker), and the one place where they are called."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self._seats: dict[int, tuple[Any, Atoms, Path | None]] = {}

    def clear(self) -> None:
        """Let go of all calculators; those made here are closed if they know how to."""
        for calculator, _, _ in self._seats.values():
            if not self.recipe.shared and hasattr(calculator, "close"):
                calculator.close()
        self._seats.clear()

    def outcome(self, seat: int, index: int, positions: NDArray[np.float64], retries: int = 0) -> Outcome:
        """Compute `positions` (N, 3) in Å of image `index`; failures of the calculator are outcomes, not exceptions.

        Raises
        ------
        InputError
            When the calculator cannot be made.
        """
        outcome = self._attempt(seat, index, positions)
        for _ in range(retries):
            if outcome.error is None:
                break
            again = self._attempt(seat, index, positions)
            outcome = replace(again, calls=outcome.calls + again.calls, seconds=outcome.seconds + again.seconds)
        return outcome

    def _attempt(self, seat: int, index: int, positions: NDArray[np.float64]) -> Outcome:
        started = time.perf_counter()
        calculator, atoms, directory = self._take(seat)
        atoms.set_positions(positions, apply_constraint=False)
        if directory is not None:
            calculator.directory = directory / f"image-{index:02d}"
        calls = 1
        try:
            energy, forces, calls = _single_point(calculator, atoms)
            _check_numbers(energy, forces, len(atoms))
        except Exception as error:  # a calculator may raise anything; whoever asked decides what it means
            self._discard(seat)
            return Outcome(calls, time.perf_counter() - started, error=one_line(error), trace=traceback.format_exc())
        return Outcome(calls, time.perf_counter() - started, energy.item(), forces)

    def _take(self, seat: int) -> tuple[Any, Atoms, Path | None]:
        if seat not in self._seats:
            try:
                calculator = self.recipe.factory()
            except SciOptError:
                raise
            except Exception as error:  # whatever a constructor raises is a mistake in the set-up
                raise InputError(f"the calculator could not be created: {one_line(error)}") from error
            if not hasattr(calculator, "get_forces"):
                raise InputError(f"the calculator factory returned {calculator!r}, expected an ASE calculator")
            # Several images at work in one directory would overwrite each other's files.
            files = isinstance(calculator, GenericFileIOCalculator) or hasattr(calculator, "write_input")
            directory = Path(calculator.directory) if files and not self.recipe.shared else None
            self._seats[seat] = calculator, self.recipe.template.copy(), directory
        return self._seats[seat]

    def _discard(self, seat: int) -> None:
        # A failed calculation can leave a spoilt wavefunction behind.
        calculator = self._seats.pop(seat)[0]
        method = "reset" if self.recipe.shared else "close"
        if hasattr(calculator, method):
            getattr(calculator, method)()


def _single_point(calculator: Any, atoms: Atoms) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
    """Energy and forces from one call, and how many calls that took: none if the calculator had them already."""
    if not (isinstance(calculator, BaseCalculator) and type(calculator).get_property is BaseCalculator.get_property):
        forces, energy = calculator.get_forces(atoms), calculator.get_potential_energy(atoms)
        return np.array(energy, dtype=float), np.array(forces, dtype=float), 1
    # get_property() asks for one property at a time, which costs some calculators one call each.
    needed = [name for name in ("energy", "free_energy", "forces") if name in calculator.implemented_properties]
    changes = calculator.check_state(atoms)
    if changes:
        calculator.atoms, calculator.results = None, {}
    calls = int(any(name not in calculator.results for name in needed))
    if calls:
        if calculator.use_cache:
            calculator.atoms = atoms.copy()
        calculator.calculate(atoms, needed, changes)
    results = calculator.results
    if absent := [name for name in ("energy", "forces") if name not in results]:
        raise ValueError(f"{type(calculator).__name__} gave no {' and no '.join(absent)}")
    energy = results.get("free_energy", results["energy"])
    return np.array(energy, dtype=float), np.array(results["forces"], dtype=float), calls


def _check_numbers(energy: NDArray[np.float64], forces: NDArray[np.float64], natoms: int) -> None:
    if energy.size != 1:
        raise ValueError(f"the energy has shape {energy.shape}, expected one number")
    if forces.shape != (natoms, 3):
        raise ValueError(f"the forces have shape {forces.shape}, expected ({natoms}, 3)")
    if not np.isfinite(energy).all():
        raise ValueError(f"the energy is not finite ({energy.item()} eV)")
    if not np.isfinite(forces).all():
        atom = np.flatnonzero(~np.isfinite(forces).all(axis=1))[0]
        raise ValueError(f"the force on atom {atom} is not finite ({forces[atom]} eV/Å)")


def one_line(error: BaseException) -> str:
    """The message of an exception in one line of at most 300 characters."""
    text = " ".join(str(error).split())
    return (text if len(text) <= 300 else text[:297] + "...") or type(error).__name__
