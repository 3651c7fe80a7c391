"""The lowest saddle of a reaction: many climbing bands, every maximum refined, every saddle walked down both sides."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

import numpy as np
from ase import Atoms
from ase.calculators.calculator import CalculationFailed
from ase.mep import NEB
from ase.optimize import FIRE
from numpy.typing import NDArray

from reactions.reaction import Reaction, aligned, bonds_of, difference, dihedral, distance
from reactions.surface import NotFound, Stationary, Surface, climb, descend, minimize

Array = NDArray[np.float64]
log = logging.getLogger("reactions")
IMAGES = 7
MARGIN = 0.5  # eV; bands that end this far above the lowest saddle are not worth refining


@dataclass(frozen=True)
class Connection:
    """A saddle and the two minima below it, initial first."""

    initial: Stationary
    saddle: Stationary
    final: Stationary


@dataclass
class Search:
    """The search for one reaction: all saddles seen, and where each initial band led."""

    reaction: Reaction
    surface: Surface
    saddles: list[tuple[Stationary, Connection | None]] = field(default_factory=list)
    outcomes: list[str] = field(default_factory=list)

    def run(self) -> Connection:
        """Search until the ends that belong to the lowest saddle give no lower one."""
        reaction = self.reaction
        best: Connection | None = None
        if reaction.saddle:
            best = self.examine(reaction.geometry("saddle").positions.ravel(), None)
            if best is None and not (reaction.initial and reaction.final):
                raise NotFound(f"{reaction.name}: the saddle guess does not lead to the reaction")
        if best is None:
            ends = [minimize(self.surface, reaction.geometry(end).positions.ravel()).x for end in ("initial", "final")]
            best = self.bands(*ends)
            if best is None:
                raise NotFound(f"{reaction.name}: no saddle connects the ends; {self.outcomes}")
        for _ in range(4):
            lower = self.bands(best.initial.x, best.final.x)
            if lower is None or lower.saddle.energy > best.saddle.energy - 1e-4:
                return best
            log.info("%s: a lower saddle, by %.3f eV", reaction.name, best.saddle.energy - lower.saddle.energy)
            best = lower
        return best

    def bands(self, initial: Array, final: Array) -> Connection | None:
        """Climb from several initial bands and return the lowest saddle that makes the reaction."""
        self.outcomes.clear()
        found = []
        for seed in range(-2, self.reaction.starts):
            kind = {-2: "linear", -1: "idpp"}.get(seed, f"idpp+{seed}")
            try:
                guesses = maxima(self.surface, initial, aligned(final, initial), seed)
            except (CalculationFailed, NotFound) as error:
                self.outcomes.append(f"{kind}: {error}")
                continue
            lowest = min((c.saddle.energy for _, c in self.saddles if c), default=np.inf)
            if max(energy for *_, energy in guesses) > lowest + MARGIN:
                self.outcomes.append(f"{kind}: {len(guesses)} maxima, far above the lowest saddle")
                continue
            connections = [self.examine(x, tangent) for x, tangent, _ in guesses]
            top = max((c.saddle.energy for c in connections if c), default=None)
            self.outcomes.append(f"{kind}: {len(guesses)} maxima, {'no saddle' if top is None else f'{top:.4f} eV'}")
            found += [c for c in connections if c]
        return min(found, key=lambda c: c.saddle.energy, default=None)

    def examine(self, x: Array, tangent: Array | None) -> Connection | None:
        """Refine a guess and return what it connects, if that is the reaction."""
        try:
            saddle = climb(self.surface, x, tangent)
        except (NotFound, CalculationFailed) as error:
            log.info("%s: %s", self.reaction.name, error)
            return None
        for known, connection in self.saddles:
            if abs(known.energy - saddle.energy) < 1e-6 and distance(known.x, saddle.x) < 1e-2:
                return connection
        connection = self.connect(saddle)
        self.saddles.append((saddle, connection))
        return connection

    def connect(self, saddle: Stationary) -> Connection | None:
        """Walk down both sides of `saddle`; None when the minima are not those of the reaction."""
        try:
            sides = [self.end(saddle, side) for side in (1, -1)]
        except (NotFound, CalculationFailed) as error:
            log.info("%s: %s", self.reaction.name, error)
            return None
        numbers, reaction = self.surface.numbers, self.reaction
        graphs = [bonds_of(numbers, side.x) for side in sides]
        if graphs == [reaction.final_bonds, reaction.initial_bonds]:
            sides.reverse()
        elif graphs != [reaction.initial_bonds, reaction.final_bonds]:
            log.info(
                "%s: saddle at %.4f eV connects %s",
                reaction.name,
                saddle.energy,
                [describe(reaction, g) for g in graphs],
            )
            return None
        if reaction.torsion is not None:
            wanted = [
                dihedral(reaction.geometry(end).positions.ravel(), reaction.torsion) for end in ("initial", "final")
            ]
            if off(sides, wanted, reaction) > off(sides[::-1], wanted, reaction):
                sides.reverse()
            if off(sides, wanted, reaction) > 30:
                angles = [round(dihedral(side.x, reaction.torsion)) for side in sides]
                log.info("%s: saddle at %.4f eV connects torsions %s", reaction.name, saddle.energy, angles)
                return None
        if distance(sides[0].x, sides[1].x) < 0.05:
            return None
        return Connection(sides[0], saddle, sides[1])

    def end(self, saddle: Stationary, side: int) -> Stationary:
        """Find the end of the reaction on one side of `saddle`."""
        shelf = self.reaction.shelf
        x = descend(self.surface, saddle, side, shelf or 0.02)
        if shelf and bonds_of(self.surface.numbers, x) == self.reaction.initial_bonds:
            return self.surface.stationary(x)
        return minimize(self.surface, x)


def off(sides: list[Stationary], wanted: list[float], reaction: Reaction) -> float:
    """Largest deviation of the torsion from the wanted angles, mirror images counted as equal."""
    assert reaction.torsion is not None
    angles = [dihedral(side.x, reaction.torsion) for side in sides]
    return min(max(difference(sign * a, w) for a, w in zip(angles, wanted, strict=True)) for sign in (1, -1))


def describe(reaction: Reaction, graph: frozenset[tuple[int, int]]) -> str:
    """Bonds gained and lost against the initial state."""
    gained, lost = sorted(graph - reaction.initial_bonds), sorted(reaction.initial_bonds - graph)
    return " ".join([f"+{i}-{j}" for i, j in gained] + [f"-{i}-{j}" for i, j in lost]) or "initial"


def maxima(surface: Surface, initial: Array, final: Array, seed: int) -> list[tuple[Array, Array, float]]:
    """Positions, tangents and energies of the maxima of a band started from path number `seed`.

    -2 is the straight line, -1 the image-dependent pair potential, others are that plus a smooth random bulge.
    """
    images = [surface.atoms(initial) for _ in range(IMAGES + 1)] + [surface.atoms(final)]
    for image in images:
        image.calc = surface.calculator()
    band = NEB(images, k=0.1, method="improvedtangent", climb=False, remove_rotation_and_translation=True)
    band.interpolate(method="linear" if seed == -2 else "idpp")
    if seed >= 0:
        rng = np.random.default_rng(seed)
        bulges = 0.15 * rng.normal(size=(2, len(surface.numbers), 3))
        for k, image in enumerate(images[1:-1], start=1):
            t = k / (IMAGES + 1)
            image.positions += np.sin(np.pi * t) * bulges[0] + np.sin(2 * np.pi * t) * bulges[1] / 2
    FIRE(band, logfile=None, maxstep=0.1).run(fmax=0.5, steps=120)
    relaxed = peaks(images)
    band.climb = True
    FIRE(band, logfile=None, maxstep=0.1).run(fmax=0.05, steps=300)
    climbed = peaks(images)
    # Where images are far apart the tangent can miss the ridge, and the climbing image runs away uphill.
    runaway = max((e for *_, e in climbed), default=-np.inf) > max((e for *_, e in relaxed), default=np.inf) + 1.0
    found = relaxed if runaway or not climbed else climbed
    if not found:
        raise NotFound("the band has no interior maximum")
    return found


def peaks(images: list[Atoms]) -> list[tuple[Array, Array, float]]:
    """Positions, tangents and energies of the maxima along a band."""
    energies = [image.get_potential_energy() for image in images]
    xs = [image.positions.ravel().copy() for image in images]
    return [
        (xs[k], (xs[k + 1] - xs[k - 1]) / np.linalg.norm(xs[k + 1] - xs[k - 1]), energies[k])
        for k in range(1, len(images) - 1)
        if energies[k] > max(energies[k - 1], energies[k + 1])
    ]
