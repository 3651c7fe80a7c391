"""The band a path finder ends with: true where it was evaluated, the surrogate's with its error elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sciopt.core.evaluation import Evaluation
from sciopt.neb.band import band_force, band_info
from sciopt.neb.escape import vibrations
from sciopt.neb.finder_memory import calibration

if TYPE_CHECKING:
    from sciopt.neb.band import BandLaw
    from sciopt.neb.finder_memory import Memory
    from sciopt.neb.path_finder import PathFinder

__all__ = ["certified_band"]


def certified_band(finder: PathFinder, memory: Memory, law: BandLaw) -> Evaluation:
    """Evaluation of the final band, with the `info` of `BandProblem` and more.

    ``bound`` is the largest band force that cannot be excluded (eV/Å), ``energy_errors`` (M+2,) and ``force_errors``
    (M+2,) the calibrated standard deviations of energies (eV) and of the band force on an atom (eV/Å), zero where the
    configuration was evaluated; ``hessian`` (n, n) and ``curvatures`` the surrogate's at the climbing image, eV/Å².
    """
    posterior = finder.posterior(memory)
    coordinates = finder.model.coordinates
    X = memory.X.copy()
    if memory.top is not None and memory.climbing is not None:
        X[memory.climbing + 1] = memory.top
    energies, forces = posterior.predict(X)
    factor = calibration(memory.ratios, finder.model.caution, finder.noise)
    energy_errors = factor * posterior.energy_deviations(X)
    force_errors = np.zeros(len(X))
    known = memory.data.X
    for i, x in enumerate(X):
        same = np.flatnonzero((known == x).all(axis=1))
        if same.size and finder.noise == 0.0:
            energies[i], forces[i] = memory.data.energies[same[0]], memory.data.forces[same[0]]
            energy_errors[i] = 0.0
    # Ends are always calculated, whatever noise there is.
    for i, answer in ((0, finder.ends[0]), (-1, finder.ends[1])):
        energies[i], forces[i], energy_errors[i] = answer.energy, answer.force, 0.0
    band = band_force(X, energies, forces[1:-1], coordinates, law)
    across = band.tangents.copy()
    if band.climbing is not None:
        across[band.climbing] = 0.0
    unknown = energy_errors[1:-1] > 0.0
    deviations = coordinates.longest(posterior.force_deviations(X[1:-1], without=across))
    force_errors[1:-1] = np.where(unknown, factor * deviations, 0.0)
    left = coordinates.longest(band.force.reshape(len(X) - 2, -1))
    bound = float((left + force_errors[1:-1]).max())
    hessian, curvatures = None, None
    if band.climbing is not None:
        hessian = posterior.hessian(X[band.climbing + 1])
        curvatures = vibrations(hessian, X[band.climbing + 1], coordinates)[0]
    info = {
        **band_info(X, energies, forces, band),
        "bound": bound,
        "energy_errors": energy_errors,
        "force_errors": force_errors,
        "hessian": hessian,
        "curvatures": curvatures,
    }
    return Evaluation(X[1:-1].ravel(), band.force.ravel(), info=info)
