"""Find a reaction path."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from sciopt.core.errors import InputError, RestartMismatch
from sciopt.core.tree import describe
from sciopt.neb.answer import path_answer
from sciopt.neb.band import BandLaw
from sciopt.neb.choice import automatic, check_arguments
from sciopt.neb.coordinates import Coordinates
from sciopt.neb.endpoints import check_pair
from sciopt.neb.finder_search import FinderSearch
from sciopt.neb.handover import stored_seconds
from sciopt.neb.images import Images
from sciopt.neb.ledger import Ledger
from sciopt.neb.methods import band_method
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
    from sciopt.core.run import Snapshot
    from sciopt.core.types import Array
    from sciopt.neb.path_result import PathResult

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
    certify: Literal["saddle", "band", "strict"] = "band",
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
    prior: Any = None,
    batch: int | None = None,
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
        ``"auto"``, ``"gp"``, ``"imagewise"``, a name in `sciopt.rules.METHODS`, or a pair (rule, control). ``"auto"``
        is the Gaussian-process path finder where one evaluation takes more than 0.1 s, and otherwise the image-wise
        quasi-Newton band; preconditioned L-BFGS where `springs` are not uniform, and with tail averaging where cheap
        forces are noisy. The result's `method` says what ran and why.
    climb
        Whether the highest image climbs; a number (eV/Å) lets it begin once the band force is below that.
    fmax
        Tolerance on the largest force on an atom, eV/Å: band force of every image, or true force on the climbing image.
    certify
        What to claim. ``"strict"``: true force at every image. ``"band"``: the same, except that the Gaussian process
        may answer for images it was not told about, with calibrated and audited errors; the climbing image is always
        evaluated. ``"saddle"``: only the climbing image is converged; cheaper, and without the Gaussian process always
        followed by a check that falls back to the band when it fails.
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
    prior
        A cheaper calculator (a factory or a name) that the Gaussian process corrects: xTB or a machine-learned
        potential for DFT. Counted in ``calls["prior"]``.
    batch
        Images the Gaussian process asks for at a time; the number of `workers` by default.
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
        "prior": describe(prior),
        "batch": batch,
        "workers": workers,
        "retries": retries,
        "max_calls": max_calls,
        "seed": seed,
        **options,
    }
    check_arguments(images, method, certify, path, springs, fmax, noise, max_calls, batch, prior)
    check_pair(initial, final)
    coordinates = Coordinates.of(initial, rigid)
    law = BandLaw(
        0.0 if springs == "string" else spring, 0.1 * spring if springs == "energy" else None, tangent, bool(climb)
    )
    setup = {"string": springs == "string", "precondition": precondition, **options}
    # Made once with any band, so that mistakes show before anything is spent.
    any_band = np.array([coordinates.reduce(atoms.positions) for atoms in (initial, initial, final)])
    rehearsed = automatic(
        method, seconds=0.0, coordinates=coordinates.size, noise=noise, springs=springs, climb=climb, given=False
    ).method
    band_method("imagewise" if rehearsed == "gp" else rehearsed, coordinates, any_band, fmax=fmax, **setup)
    calculator, prior = attached(calculator, initial), attached(prior) if prior is not None else None
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
        others: list[Array] = []
        band = folder.last_band() if folder is not None else None
        if band is None or len(band) != images + 2:
            _, band = initial_path(ends, images, path, seed, others)
        elif np.abs(band[[0, -1]] - ends.x).max() > 1e-6:
            raise RestartMismatch(f"{out} holds a run between other end points; use another folder")
        stage, seconds = None, evaluator.fastest
        if folder is not None:
            stage = folder.stage()
            seconds = seconds if np.isfinite(seconds) else stored_seconds(folder)
        choice = automatic(
            method,
            seconds=seconds,
            coordinates=coordinates.size,
            noise=noise,
            springs=springs,
            climb=climb,
            given=prior is not None or batch is not None,
            begun=None if stage is None else stage[0],
        )
        if choice.why:
            log.info("%s", choice.why)
        arguments = (evaluator, ledger, ends, band, fmax, noise, max_calls, folder, callback, certify, check, climb)
        if choice.method == "gp":
            search: Search = FinderSearch(*arguments, batch=batch or workers, prior=prior, others=others)
        else:
            search = Search(*arguments)
        with ledger.book("images"):
            result, checked = search.run(choice.method, law, setup)
        calls = {**ledger.calls, **search.further_calls()}
        wall = time.perf_counter() - begun
        name = choice.method if isinstance(choice.method, str) else type(choice.method[0]).__name__
        title = f"{name} ({choice.why})" if choice.why else name
        answer = path_answer(result, ends, checked, calls, title, parameters, wall, wall - evaluator.seconds, search)
    if folder is not None:
        folder.finish(answer)
    return answer
