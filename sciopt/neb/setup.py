"""Everything that happens before a band moves: checks, end points, the initial path."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from sciopt.core.errors import EvaluationFailed, InputError
from sciopt.neb.align import align, align_band, rotation
from sciopt.neb.endpoints import check_forces, check_pair, is_rigid
from sciopt.neb.initial_path import candidates, choose, close_contacts, perturb
from sciopt.neb.interpolate import INTERPOLATIONS, interpolate
from sciopt.neb.relax import minimum

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms

    from sciopt.core.types import Array
    from sciopt.neb.coordinates import Coordinates
    from sciopt.neb.images import Answer, Images
    from sciopt.neb.ledger import Ledger

__all__ = ["Ends", "initial_path", "ready_ends", "settled"]

log = logging.getLogger("sciopt")

# Fraction of the sum of covalent radii: closer atoms on the initial path make most electronic-structure codes fail.
_CLOSE = 0.55
_HOPELESS = 0.25
# Forces never leave a symmetry of the path: between planar molecules every band stays planar and converges to the
# highest planar point, be it a saddle or not. This much (Å) lets it fall off.
_BREAK = 0.01


@dataclass(frozen=True, eq=False)
class Ends:
    """Both ends of a path: positions (n,) in Å and answers, and the coordinates to work in."""

    coordinates: Coordinates
    x: tuple[Array, Array]
    answers: tuple[Answer, Answer]


def ready_ends(
    evaluator: Images,
    initial: Atoms,
    final: Atoms,
    count: int,
    ledger: Ledger,
    *,
    relax: bool = False,
    limit: float = 0.1,
    fmax: float = 0.05,
    noise: float = 0.0,
) -> Ends:
    """Check, evaluate and, on request, relax both ends; for free molecules the final one is turned onto the initial.

    Raises
    ------
    InputError
        When an end point is not a minimum (largest force above `limit`) and `relax` is off.
    """
    coordinates = evaluator.coordinates
    unwrapped = check_pair(initial, final)
    places = (0, count + 1)
    xs = [coordinates.reduce(initial.positions), coordinates.reduce(unwrapped.positions)]
    if relax:
        for k, place in enumerate(places):
            with ledger.book("relax"):
                found = minimum(evaluator, place, xs[k], min(0.2 * fmax, 0.01))
            if not found.converged:
                log.warning("%s was not relaxed: %s", evaluator.name(place), found.reason.message)
            xs[k] = found.x
        moved = check_pair(coordinates.atoms(xs[0]), coordinates.atoms(xs[1]))
        xs[1] = coordinates.reduce(moved.positions)
    with ledger.book("endpoints"):
        answers = evaluator.evaluate(dict(zip(places, xs, strict=True)))
    first, last = (answers[place] for place in places)
    for place, answer in ((0, first), (count + 1, last)):
        if (complaint := check_forces(answer, coordinates, limit, evaluator.name(place))) is not None:
            raise InputError(complaint)
    # Noisy forces have a net force and a torque of their own.
    tolerance = 0.01 + 5.0 * noise
    if coordinates.rigid and not all(
        is_rigid(answer, coordinates, x, tolerance) for answer, x in zip((first, last), xs, strict=True)
    ):
        log.warning("the forces turn or move the whole molecule (an external field?): rigid motion is kept")
        coordinates = replace(coordinates, rigid=False)
        evaluator.coordinates = coordinates
    if coordinates.rigid:
        reference, turned = coordinates.positions(xs[0]), coordinates.positions(xs[1])
        xs[1] = coordinates.reduce(align(reference, turned))
        # The forces turn with the molecule; nobody needs to calculate them again.
        force = (last.force.reshape(-1, 3) @ rotation(reference, turned)).ravel()
        last = evaluator.remember(xs[1], last.energy, force)
    return Ends(coordinates, (xs[0], xs[1]), (first, last))


def initial_path(
    ends: Ends,
    count: int,
    how: str | Sequence[Atoms] | Array = "auto",
    seed: int = 0,
    others: list[Array] | None = None,
) -> tuple[str, Array]:
    """Name and (M+2, n) positions of the path to start from.

    Parameters
    ----------
    ends
        Both ends.
    count
        Movable images, M.
    how
        ``"auto"`` (the best of several candidates, its symmetry broken), a name in
        `sciopt.neb.interpolate.INTERPOLATIONS`, a sequence of
        Atoms, or an array (M+2, n).
    seed
        Of the displacements that break the symmetry.
    others
        Gets the candidates (M+2, n) that were not chosen.

    Raises
    ------
    InputError
        For an unknown name, a given path with other atoms or ends, or atoms on top of each other on the path.
    """
    coordinates = ends.coordinates
    if isinstance(how, str):
        if how == "auto":
            made = candidates(*ends.x, count, coordinates)
            chosen = choose(made)
            if others is not None:
                others.extend(one.band for one in made if one is not chosen)
            name, X = chosen.name, perturb(chosen.band, coordinates, _BREAK, seed=seed)
        else:
            if how not in INTERPOLATIONS:
                raise InputError(f"unknown initial path {how!r}; known are auto, {', '.join(INTERPOLATIONS)}")
            name, X = how, interpolate(how, *ends.x, count, coordinates)
    else:
        name, X = "given", _given(ends, count, how)
    if coordinates.rigid:
        X = align_band(X)
    _check_contacts(X, coordinates)
    return name, X


def _given(ends: Ends, count: int, path: Sequence[Atoms] | Array) -> Array:
    coordinates = ends.coordinates
    if isinstance(path, np.ndarray):
        X = np.array(path, dtype=float)
    else:
        for i, atoms in enumerate(path):
            if not np.array_equal(atoms.numbers, coordinates.template.numbers):
                raise InputError(f"image {i} of the given path has other atoms than the initial configuration")
        X = np.array([coordinates.reduce(atoms.positions) for atoms in path])
    if X.shape != (count + 2, coordinates.size):
        raise InputError(
            f"the given path has {len(X)} images with {X.shape[-1]} free components, expected {count + 2} (both ends "
            f"included) with {coordinates.size}"
        )
    X[0], X[-1] = ends.x
    same = np.flatnonzero(np.linalg.norm(np.diff(X, axis=0), axis=1) < 1e-6)
    if same.size:
        raise InputError(f"images {same[0]} and {same[0] + 1} of the given path are identical; space the images out")
    return X


def _check_contacts(X: Array, coordinates: Coordinates) -> None:
    """Refuse atoms on top of each other, warn of close ones."""
    contacts = close_contacts(X, coordinates, _CLOSE)
    if not contacts:
        return
    image, first, second, distance = min(contacts, key=lambda contact: contact.distance)
    symbols = coordinates.template.symbols
    text = (
        f"on the initial path, atoms {first} ({symbols[first]}) and {second} ({symbols[second]}) are {distance:.2f} Å "
        f"apart in image {image}"
    )
    if close_contacts(X, coordinates, _HOPELESS):
        raise InputError(f"{text}; check that equal atoms are numbered alike at both ends, or give a path of your own")
    log.warning("%s; if the calculator fails there, check the numbering of equal atoms or give another path", text)


def settled(evaluator: Images, X: Array, tries: int = 5) -> Array:
    """`X` with images that cannot be evaluated pulled halfway towards their nearest good neighbour, until all can.

    Raises
    ------
    EvaluationFailed
        When an image still fails after `tries` moves.
    """
    X = X.copy()
    for attempt in range(tries + 1):
        try:
            evaluator.evaluate({i: X[i] for i in range(1, len(X) - 1)})
            return X
        except EvaluationFailed as failure:
            if not failure.blocks or attempt == tries:
                raise
            log.warning("%s; pulled towards its neighbours", failure)
            bad = {block + 1 for block in failure.blocks}
            good = np.array([i for i in range(len(X)) if i not in bad])
            for i in bad:
                X[i] = 0.5 * (X[i] + X[good[np.abs(good - i).argmin()]])
    raise AssertionError("unreachable")
