"""Find a reaction path."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from sciopt.core.errors import InputError, RestartMismatch
from sciopt.neb.align import remove_rigid
from sciopt.neb.band import BandLaw, highest
from sciopt.neb.coordinates import Coordinates
from sciopt.neb.endpoints import check_pair
from sciopt.neb.images import Images
from sciopt.neb.imagewise import Learned
from sciopt.neb.interpolate import INTERPOLATIONS
from sciopt.neb.ledger import Ledger
from sciopt.neb.low_rank import DenseHessian
from sciopt.neb.methods import BAND_METHODS, band_method
from sciopt.neb.path_result import PathResult
from sciopt.neb.relax import attached
from sciopt.neb.run_folder import RunFolder
from sciopt.neb.search import Search
from sciopt.neb.setup import initial_path, ready_ends

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Executor
    from pathlib import Path

    from ase import Atoms

    from sciopt.core.control import Control
    from sciopt.core.rule import Rule
    from sciopt.core.run import Result, Snapshot
    from sciopt.core.types import Array
    from sciopt.neb.path_result import SaddleCheck
    from sciopt.neb.setup import Ends

__all__ = ["find_path"]

log = logging.getLogger("sciopt")


def find_path(
    initial: Atoms,
    final: Atoms,
    calculator: Any = None,
    *,
    images: int = 7,
    method: str | tuple[Rule, Control] = "auto",
    climb: bool | float = True,
    fmax: float = 0.05,
    certify: Literal["band", "saddle"] = "band",
    check: bool | None = None,
    path: str | Sequence[Atoms] | Array = "auto",
    springs: Literal["uniform", "energy", "string"] = "uniform",
    spring: float = 0.1,
    tangent: str = "improved",
    precondition: bool | None = None,
    rigid: bool | None = None,
    relax: bool = False,
    endpoint_fmax: float | None = None,
    noise: float = 0.0,
    workers: int = 1,
    executor: Executor | None = None,
    retries: int = 0,
    max_calls: int | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    callback: Callable[[Snapshot], None] | None = None,
    seed: int = 0,
    **options: Any,
) -> PathResult:
    """Find the minimum-energy path between two minima, and the saddle point on it.

    Every image is evaluated exactly once per point it visits, the ends once. Nothing is spent before both ends have
    been checked to belong together.

    Parameters
    ----------
    initial, final
        The minima, same atoms in the same order. Constraints are respected; the input is not changed.
    calculator
        An ASE calculator (shared by all images), a factory ``() -> calculator`` (needed for `workers`), a name such as
        ``"tblite:GFN2-xTB"``, or None for the one attached to `initial`.
    images
        Movable images, M.
    method
        ``"auto"``, ``"imagewise"``, a name in `sciopt.rules.METHODS`, or a pair (rule, control). ``"auto"`` is the
        image-wise quasi-Newton band; preconditioned L-BFGS where `springs` are not uniform, and with tail averaging
        where `noise` is given.
    climb
        Whether the highest image climbs; a number (eV/Å) lets it begin once the band force is below that.
    fmax
        Tolerance on the largest force on an atom, eV/Å: band force of every image, or true force on the climbing image.
    certify
        What to claim: ``"band"`` (true force at every image) or ``"saddle"`` (only the climbing image is converged;
        cheaper; always followed by a check that falls back to the band when it fails).
    check
        Verify that the saddle has one negative mode and connects both ends, at a further cost counted in
        ``calls["check"]``. None: only where `certify` needs it.
    path
        ``"auto"``, an interpolation by name, or the path itself (M+2 Atoms or an array (M+2, n)).
    springs
        ``"uniform"`` springs, ``"energy"``-weighted ones, or ``"string"`` (no springs: images are redistributed).
    spring
        Spring constant, eV/Å².
    tangent
        A key of `sciopt.neb.band.TANGENTS`.
    precondition
        Run a rule under one model Hessian per image; None decides by the method.
    rigid
        Whether the energy ignores translation and rotation; None decides from the atoms and the forces at the ends.
    relax
        Relax both ends first (``calls["relax"]``).
    endpoint_fmax
        Largest force accepted at an end, eV/Å; ``max(2 fmax, 0.1)`` by default.
    noise
        Standard error of one force component, eV/Å.
    workers, executor
        Processes, or any ``concurrent.futures.Executor``, to evaluate images in.
    retries
        How often a failed calculation is tried again.
    max_calls
        Budget of evaluations of movable images.
    out
        Run folder.
    resume
        Continue the run in `out`: nothing that was paid for is computed again. With another method, the search
        continues from the last band.
    callback
        Called with the core's `Snapshot` after every band point; raise StopIteration to stop.
    seed
        Of the small displacements that break the symmetry of an automatic initial path.
    options
        Options of the method.

    Returns
    -------
    PathResult

    Raises
    ------
    InputError
        Ends that do not belong together or are no minima, unknown names, contradictory options, a used run folder.
    EvaluationFailed
        When an end, or an image of the initial path, cannot be evaluated.

    Examples
    --------
    >>> from sciopt.problems import path_problem
    >>> problem = path_problem("muller-brown")
    >>> found = find_path(problem.initial, problem.final, problem.calculator, images=5)
    >>> found.converged, abs(found.barrier - problem.barrier) < 0.01
    (True, True)
    """
    begun = time.perf_counter()
    parameters = {
        "images": images,
        "method": method if isinstance(method, str) else [str(part) for part in method],
        "climb": climb,
        "fmax": fmax,
        "certify": certify,
        "check": check,
        "path": path if isinstance(path, str) else "given",
        "springs": springs,
        "spring": spring,
        "tangent": tangent,
        "precondition": precondition,
        "rigid": rigid,
        "relax": relax,
        "endpoint_fmax": endpoint_fmax,
        "noise": noise,
        "workers": workers,
        "retries": retries,
        "max_calls": max_calls,
        "seed": seed,
        **options,
    }
    _check_arguments(images, method, certify, path, springs, fmax, noise, max_calls)
    check_pair(initial, final)
    coordinates = Coordinates.of(initial, rigid)
    law = BandLaw(
        0.0 if springs == "string" else spring, 0.1 * spring if springs == "energy" else None, tangent, bool(climb)
    )
    chosen = _choose(method, noise, springs)
    setup = {"string": springs == "string", "precondition": precondition, **options}
    # Made once with any band, so that mistakes show before anything is spent.
    any_band = np.array([coordinates.reduce(atoms.positions) for atoms in (initial, initial, final)])
    band_method(chosen, coordinates, any_band, fmax=fmax, **setup)
    calculator = attached(calculator, initial)
    ledger = Ledger()
    folder = RunFolder(out, coordinates, resume, lambda: ledger.purpose, calculator) if out is not None else None
    evaluator = Images(
        coordinates,
        calculator,
        workers,
        executor,
        folder.evaluated if folder is not None else None,
        count=images,
        retries=retries,
    )
    ledger.evaluator = evaluator
    with evaluator:
        if folder is not None:
            ledger.calls.update(folder.remembered(evaluator))
        limit = endpoint_fmax if endpoint_fmax is not None else max(2.0 * fmax, 0.1) + 3.0 * noise
        try:
            ends = ready_ends(
                evaluator, initial, final, images, ledger, relax=relax, limit=limit, fmax=fmax, noise=noise
            )
        except InputError as error:
            if folder is None:
                raise
            raise InputError(
                f"{error}; the folder {out} keeps what was evaluated: to use it again, add resume=True / --resume"
            ) from error
        band = folder.last_band() if folder is not None else None
        if band is None or len(band) != images + 2:
            _, band = initial_path(ends, images, path, seed)
        elif np.abs(band[[0, -1]] - ends.x).max() > 1e-6:
            raise RestartMismatch(f"{out} holds a run between other end points; use another folder")
        search = Search(evaluator, ledger, ends, band, fmax, noise, max_calls, folder, callback, certify, check, climb)
        with ledger.book("images"):
            result, checked = search.run(chosen, law, setup)
        calls = dict(ledger.calls)
        wall = time.perf_counter() - begun
        answer = _answer(result, ends, checked, calls, chosen, parameters, wall, wall - evaluator.seconds, search)
    if folder is not None:
        folder.finish(answer)
    return answer


def _check_arguments(
    images: int,
    method: Any,
    certify: str,
    path: Any,
    springs: str,
    fmax: float,
    noise: float,
    max_calls: int | None,
) -> None:
    if images < 1:
        raise InputError(f"images is {images}; a path needs at least one movable image")
    if isinstance(method, str) and method not in ("auto", *BAND_METHODS):
        raise InputError(f"unknown method {method!r}; known are auto, {', '.join(BAND_METHODS)}")
    if certify not in ("band", "saddle"):
        raise InputError(f"certify is {certify!r}; expected 'band' or 'saddle'")
    if springs not in ("uniform", "energy", "string"):
        raise InputError(f"springs is {springs!r}; expected 'uniform', 'energy' or 'string'")
    if method == "imagewise" and springs != "uniform":
        raise InputError(f"the image-wise method spaces its images itself; use another method with springs={springs!r}")
    if isinstance(path, str) and path != "auto" and path not in INTERPOLATIONS:
        raise InputError(f"unknown initial path {path!r}; known are auto, {', '.join(INTERPOLATIONS)}")
    if not fmax > 0:
        raise InputError(f"fmax is {fmax}; expected a positive number of eV/Å")
    if not noise >= 0:
        raise InputError(f"noise is {noise}; expected a standard error in eV/Å, 0 for none")
    if max_calls is not None and max_calls < images:
        raise InputError(f"max_calls is {max_calls}, but one look at {images} images costs {images}")


def _choose(method: str | tuple[Rule, Control], noise: float, springs: str) -> str | tuple[Rule, Control]:
    if method != "auto":
        return method
    return "lbfgs" if noise > 0 or springs != "uniform" else "imagewise"


def _answer(
    result: Result,
    ends: Ends,
    checked: SaddleCheck | None,
    calls: dict[str, int],
    method: str | tuple[Rule, Control],
    parameters: dict[str, Any],
    wall: float,
    overhead: float,
    search: Search,
) -> PathResult:
    info = result.evaluation.info
    climbing = info["climbing"]
    X, energies, forces = info["X"].copy(), info["energies"].copy(), info["forces"].copy()
    coordinates = ends.coordinates
    fmax_climbing = np.nan
    reason = result.reason.message
    converged = result.converged
    if checked is not None:
        if checked.saddle.converged and climbing is not None:
            place = climbing + 1
            X[place], energies[place] = checked.saddle.x, checked.saddle.energy
            known = search.evaluator.known(checked.saddle.x)
            if known is not None:
                forces[place] = known.force
        reason = f"{reason}; {checked.message}"
        converged = converged and checked.passed
    if climbing is not None:
        fmax_climbing = float(coordinates.longest(info["true"][climbing]))
        if checked is not None:
            fmax_climbing = min(fmax_climbing, checked.saddle.force_norm)
    elif converged and highest(energies) is None:
        reason = f"{reason}; the path has no interior maximum: the higher end is the barrier"
    return PathResult(
        coordinates=coordinates,
        X=X,
        absolute_energies=energies,
        forces=forces,
        tangents=info["tangents"],
        fmax=result.residual,
        fmax_climbing=fmax_climbing,
        climbing=climbing,
        barrier_error=_barrier_error(result, climbing, search, checked),
        converged=converged,
        reason=reason,
        calls=calls,
        method=method if isinstance(method, str) else type(method[0]).__name__,
        history=result.history,
        check=checked,
        parameters=parameters,
        wall_seconds=wall,
        overhead_seconds=overhead,
    )


def _barrier_error(result: Result, climbing: int | None, search: Search, checked: SaddleCheck | None) -> float:
    """Half a Newton decrement of the force left at the top, or what hides between images where nothing climbs."""
    info = result.evaluation.info
    energies, lengths = info["energies"], info["lengths"]
    # Where forces are noisy by sigma, energies usually are by about 0.1 Å times it.
    noise = 0.1 * search.noise
    if climbing is None:
        top = int(np.argmax(energies))
        if top in (0, len(energies) - 1):
            return float(noise)
        i = top - 1
        # A parabola through the top image with its slope and the mean curvature towards its neighbours.
        rise = max(2 * energies[top] - energies[top - 1] - energies[top + 1], 1e-6)
        curvature = rise / (lengths[i] * lengths[i + 1])
        return float(info["along"][i] ** 2 / (2.0 * curvature) + noise)
    if checked is not None and checked.passed and (known := search.evaluator.known(checked.saddle.x)) is not None:
        # The force that is left on the refined saddle, not on the image it was found from.
        force = remove_rigid(checked.saddle.x, known.force) if search.ends.coordinates.rigid else known.force
        return float(abs(0.5 * force @ DenseHessian(checked.saddle.hessian).solve(force, floor=0.05)) + noise)
    force = info["true"][climbing]
    memory = result.state.memory
    if isinstance(memory, Learned):
        return float(abs(0.5 * force @ memory.models[climbing].solve(force, floor=0.05)) + noise)
    return float(0.5 * force @ force + noise)
