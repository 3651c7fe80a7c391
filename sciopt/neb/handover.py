"""What one method knows, for the next: evaluations of earlier sessions, and curvatures that a surrogate has learned."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import numpy as np

from sciopt.neb.align import remove_rigid
from sciopt.neb.finder_memory import observed
from sciopt.neb.low_rank import DENSE_MODEL, hessian_model
from sciopt.neb.run_folder import whole_frames
from sciopt.surrogate.data import Observations

if TYPE_CHECKING:
    from collections.abc import Callable

    from scipy.sparse import csr_array

    from sciopt.core.types import Array
    from sciopt.neb.coordinates import Coordinates
    from sciopt.neb.run_folder import RunFolder
    from sciopt.neb.surrogate_model import Surrogate

__all__ = ["informed", "stored_observations", "stored_seconds"]

# Observations an image's curvatures are taken along, within this many Å of it, and the least of the curvatures that
# are left, eV/Å².
_NEAREST, _NEAR, _LEAST = 4, 0.6, 0.5


def stored_observations(folder: RunFolder, coordinates: Coordinates, noise: float, most: int) -> Observations | None:
    """The last `most` evaluations of images in a run folder; None where there are none."""
    frames = [atoms for atoms in whole_frames(folder.path / "evaluations.traj")[0] if atoms.info["purpose"] == "images"]
    data = Observations.none(coordinates.size)
    for atoms in frames[-most:]:
        x = coordinates.reduce(atoms.positions)
        force = coordinates.reduce(atoms.get_forces(apply_constraint=False))
        if not (data.X == x).all(axis=1).any():
            data = observed(data, x, atoms.get_potential_energy(force_consistent=True), force, coordinates, noise)
    return data if len(data) else None


def stored_seconds(folder: RunFolder) -> float:
    """The shortest time (s) an evaluation took that a run folder has logged; infinite where there is none."""
    file = folder.path / "log.csv"
    if not file.exists():
        return np.inf
    # A crash may have left the last line unfinished, and its number too small.
    lines = [line for line in file.read_text().splitlines(keepends=True) if line.endswith("\n")]
    times = [row.get("seconds") or "" for row in csv.DictReader(lines)]
    return min((float(time) for time in times if time.replace(".", "", 1).isdigit()), default=np.inf)


def informed(
    model: Callable[[Array], Array | csr_array], surrogate: Surrogate, coordinates: Coordinates
) -> Callable[[Array], Array | csr_array]:
    """Start models of an image-wise band that know what a surrogate knows.

    The model Hessian at an image learns ``y = H s`` with H the surrogate's Hessian and s the displacements to the
    nearest observations: what no data speak about stays as it was. It is made positive definite again.

    Parameters
    ----------
    model
        ``x -> (n, n)``, eV/Å²: the model Hessian.
    surrogate
        The surrogate.
    coordinates
        The free coordinates.
    """

    def known(x: Array) -> Array | csr_array:
        matrix = model(x)
        if coordinates.size > DENSE_MODEL:
            return matrix
        away = surrogate.data.X - x
        distances = coordinates.longest(away)
        order = [int(k) for k in np.argsort(distances) if 1e-3 < distances[k] < _NEAR][:_NEAREST]
        # The nearest comes last, and is obeyed exactly.
        steps = [remove_rigid(x, away[k]) if coordinates.rigid else away[k] for k in order[::-1]]
        if not steps:
            return matrix
        hessian = surrogate.hessian(x)
        learned = hessian_model(matrix).update_all([(step, hessian @ step) for step in steps])
        curvatures, vectors = learned.eigen
        return (vectors * np.maximum(np.abs(curvatures), _LEAST)) @ vectors.T

    return known
