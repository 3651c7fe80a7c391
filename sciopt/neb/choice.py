"""Which method suits: what is said to go together, and what "auto" means for this calculator and system."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from sciopt.core.errors import InputError
from sciopt.neb.interpolate import INTERPOLATIONS
from sciopt.neb.methods import BAND_METHODS

if TYPE_CHECKING:
    from sciopt.core.control import Control
    from sciopt.core.rule import Rule

__all__ = ["CERTIFICATES", "Choice", "automatic", "check_arguments"]

CERTIFICATES = ("saddle", "band", "strict")

# A surrogate saves about three of four evaluations of the image-wise band, and costs up to this many seconds of its
# own for each that it makes (data/benchmarks/paths.txt).
_WORTH = 0.1
# Coordinates beyond which one fit takes longer than most evaluations.
_LARGEST = 1500


class Choice(NamedTuple):
    """The method to run, and why where it was chosen here."""

    method: str | tuple[Rule, Control]
    why: str = ""


def check_arguments(
    images: int,
    method: Any,
    certify: str,
    path: Any,
    springs: str,
    fmax: float,
    noise: float,
    max_calls: int | None,
    batch: int | None,
    prior: Any,
) -> None:
    """Refuse what makes no sense, before anything is spent.

    Raises
    ------
    InputError
        One sentence that names the argument.
    """
    if images < 1:
        raise InputError(f"images is {images}; a path needs at least one movable image")
    if isinstance(method, str) and method not in ("auto", "gp", *BAND_METHODS):
        raise InputError(f"unknown method {method!r}; known are auto, gp, {', '.join(BAND_METHODS)}")
    if certify not in CERTIFICATES:
        raise InputError(f"certify is {certify!r}; expected 'saddle', 'band' or 'strict'")
    if springs not in ("uniform", "energy", "string"):
        raise InputError(f"springs is {springs!r}; expected 'uniform', 'energy' or 'string'")
    if method in ("imagewise", "gp") and springs != "uniform":
        raise InputError(f"method {method!r} spaces its images itself; use another method with springs={springs!r}")
    if isinstance(path, str) and path != "auto" and path not in INTERPOLATIONS:
        raise InputError(f"unknown initial path {path!r}; known are auto, {', '.join(INTERPOLATIONS)}")
    if not fmax > 0:
        raise InputError(f"fmax is {fmax}; expected a positive number of eV/Å")
    if not noise >= 0:
        raise InputError(f"noise is {noise}; expected a standard error in eV/Å, 0 for none")
    if batch is not None and batch < 1:
        raise InputError(f"batch is {batch}; expected at least 1 image at a time")
    if (prior is not None or batch is not None) and method not in ("gp", "auto"):
        name = "prior" if prior is not None else "batch"
        raise InputError(f"{name} belongs to the Gaussian process; use it with method='gp', not {method!r}")
    least = 1 if method == "gp" else images
    if max_calls is not None and max_calls < least:
        raise InputError(f"max_calls is {max_calls}, but one look at {least} images costs {least}")


def automatic(
    method: str | tuple[Rule, Control],
    *,
    seconds: float,
    coordinates: int,
    noise: float,
    springs: str,
    climb: bool | float,
    given: bool,
    begun: str | None = None,
) -> Choice:
    """What to run for `method`, decided by what one evaluation costs where that is ``"auto"``.

    Parameters
    ----------
    method
        What was asked for.
    seconds
        Measured time of one evaluation, s.
    coordinates
        Number of free coordinates.
    noise, springs, climb
        As given to `find_path`.
    given
        Whether something was asked for that only the Gaussian process can do: a prior, a batch.
    begun
        The stage in which an earlier session of a resumed run was: what it decided holds.
    """
    if method != "auto":
        return Choice(method)
    if springs != "uniform":
        return Choice("lbfgs", f"auto: lbfgs, for {springs} springs")
    if given:
        return Choice("gp", "auto: gp, for the prior or the batch that was asked for")
    if begun is not None and begun.startswith("gp"):
        return Choice("gp", "auto: gp, which this run began with")
    if begun is not None:
        seconds = 0.0
    if isinstance(climb, bool) and coordinates <= _LARGEST and seconds > _WORTH:
        return Choice("gp", f"auto: gp, for {seconds:.3g} s per evaluation")
    if noise > 0:
        return Choice("lbfgs", f"auto: lbfgs with tail averaging, for noisy forces{_of(seconds, begun)}")
    return Choice("imagewise", f"auto: imagewise, for evaluations{_of(seconds, begun)}")


def _of(seconds: float, begun: str | None) -> str:
    return f" of only {seconds:.2g} s" if begun is None else " that were quick when this run began"
