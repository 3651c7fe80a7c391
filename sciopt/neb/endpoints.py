"""The two ends of a path: what must hold before anything is spent, and relaxing them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.build.rotate import rotation_matrix_from_points
from ase.calculators.calculator import Calculator, all_changes
from ase.data import covalent_radii
from ase.geometry import find_mic, get_distances
from ase.neighborlist import neighbor_list
from ase.optimize import BFGS
from scipy.optimize import linear_sum_assignment

from sciopt.core.errors import InputError
from sciopt.neb.coordinates import Coordinates

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray

    from sciopt.neb.images import Answer, Images

__all__ = ["Minimizer", "Relaxed", "ase_bfgs", "check_forces", "check_pair", "is_rigid", "relax_endpoint"]

logger = logging.getLogger("sciopt")

# Atoms closer than this fraction of their summed covalent radii are on top of each other (H2 itself is at 1.2).
_TOO_CLOSE = 0.4


def check_pair(initial: Atoms, final: Atoms, *, tolerance: float = 1e-3, same: float = 1e-2) -> Atoms:
    """Check that a path can be drawn from `initial` to `final`; return `final` with every atom unwrapped.

    Atoms that moved by more than half a cell are taken at their periodic image nearest to where they started. This,
    and anything else that is legal but looks like a mistake, is logged as a warning that names the atoms.

    Parameters
    ----------
    initial, final
        The two ends, positions in Å.
    tolerance
        Largest difference between cells, and between positions of fixed atoms, in Å.
    same
        Ends whose atoms all agree to within this distance, in Å, are identical.

    Raises
    ------
    InputError
        In one sentence that names the atom by index and symbol and says what to do: non-finite positions, different
        numbers or kinds of atoms, cells, periodicity, charges or constraints, fixed atoms that moved, atoms on top of
        each other, identical ends.

    Examples
    --------
    >>> from ase import Atoms
    >>> check_pair(Atoms("HCN", [[0, 0, 0], [1.1, 0, 0], [2.2, 0, 0]]), Atoms("HNC", [[0, 0, 0], [1, 0, 0], [2, 0, 0]]))
    Traceback (most recent call last):
    ...
    sciopt.core.errors.InputError: atom 1 is C in the initial but N in the final configuration; both contain the same \
atoms, so put those of the final configuration into the order of the initial one
    """
    ends = {"initial": initial, "final": final}
    for name, atoms in ends.items():
        _check_finite(name, atoms)
    _check_species(initial, final)
    _check_cell(initial, final, tolerance)
    _check_charges(initial, final)
    free = _check_constraints(initial, final)
    for name, atoms in ends.items():
        _check_contacts(name, atoms)
    shift = final.positions - initial.positions
    move = _minimum_image(shift, initial)
    # Half a cell is as far one way as the other: rounding must not decide, the given image stays.
    nearer = np.linalg.norm(move, axis=1) < np.linalg.norm(shift, axis=1) - tolerance
    move = np.where(nearer[:, None], move, shift)
    _check_fixed(initial, move, free, tolerance)
    if wrapped := np.flatnonzero(np.linalg.norm(shift - move, axis=1) > tolerance).tolist():
        logger.warning(
            "%s moved by more than half a cell from the initial to the final configuration; the nearest periodic "
            "image is used for the final one",
            _atoms_text(initial, wrapped),
        )
    unwrapped = final.copy()
    unwrapped.set_positions(initial.positions + move, apply_constraint=False)
    _check_different(initial, unwrapped, same)
    _warn_about_numbering(initial, unwrapped)
    return unwrapped


def check_forces(
    answer: Answer, coordinates: Coordinates, limit: float, name: str = "the initial configuration"
) -> str | None:
    """What is wrong with an end point whose largest force per atom exceeds `limit` in eV/Å, or None if it is fine.

    The text suits an error and a warning: it gives the value, the atom and the remedy.
    """
    forces = coordinates.atom_norms(answer.force)
    worst = int(forces.argmax())
    if forces[worst] <= limit:
        return None
    atom = _atom_text(coordinates.template, coordinates.moving[worst])
    return (
        f"{name} is not a minimum: the force on {atom} is {forces[worst]:.3g} eV/Å, expected at most {limit:.3g}; "
        "relax it (relax=True / --relax)"
    )


def is_rigid(
    answer: Answer, coordinates: Coordinates, x: NDArray[np.float64] | None = None, tolerance: float = 1e-2
) -> bool:
    """Whether the forces leave the position and orientation of the whole molecule alone.

    Net force and torque vanish when the energy depends on distances only. Removing rigid motion is then legitimate;
    in an external field, or next to anything that is held, it is not. The part of the forces that the removal would
    discard, their projection on translations and rotations, must be at most `tolerance` (eV/Å) on every atom.

    One configuration can look rigid by symmetry (a dipole along the field), so ask at more than one.

    Parameters
    ----------
    answer
        Forces at `x`.
    coordinates
        Without constraints and periodicity, or the answer is False.
    x
        (n,) free components in Å; the template's positions if not given.
    """
    template = coordinates.template
    if coordinates.size != 3 * len(template) or len(template) < 2 or template.pbc.any():
        return False
    positions = template.positions if x is None else coordinates.positions(x)
    # Left singular vectors with a vanishing singular value are rotations of a linear molecule about its axis.
    modes, sizes, _ = np.linalg.svd(_rigid_motions(positions), full_matrices=False)
    modes = modes[:, sizes > 1e-6 * sizes[0]]
    return bool(coordinates.longest(modes @ (modes.T @ answer.force)) <= tolerance)


@dataclass(frozen=True, eq=False)
class Relaxed:
    """A relaxed end point: `x` (n,) in Å, the `answer` there, and whether it `converged` within the steps allowed."""

    x: NDArray[np.float64]
    answer: Answer
    converged: bool


type Minimizer = Callable[
    [Callable[["NDArray[np.float64]"], "Answer"], "NDArray[np.float64]", Coordinates, float, int], "NDArray[np.float64]"
]
"""``minimizer(evaluate, x, coordinates, fmax, steps) -> x`` walks downhill with ``evaluate(x) -> Answer``."""


def ase_bfgs(
    evaluate: Callable[[NDArray[np.float64]], Answer],
    x: NDArray[np.float64],
    coordinates: Coordinates,
    fmax: float,
    steps: int,
) -> NDArray[np.float64]:
    """Minimize with ASE's BFGS from x (n,) in Å until the largest force per atom is below `fmax` in eV/Å."""
    atoms = coordinates.atoms(x)
    atoms.calc = _Asked(evaluate, coordinates)
    BFGS(atoms, logfile=None).run(fmax=fmax, steps=steps)
    return coordinates.reduce(atoms.positions)


def relax_endpoint(
    images: Images,
    index: int,
    x: NDArray[np.float64],
    fmax: float = 0.01,
    steps: int = 500,
    minimizer: Minimizer = ase_bfgs,
) -> Relaxed:
    """Relax image `index` (0 or M+1) from x (n,) in Å until its largest force per atom is at most `fmax` in eV/Å.

    Every evaluation goes through `images`, so it is counted, logged and remembered.

    Raises
    ------
    EvaluationFailed
        When the calculator fails on the way.
    """
    coordinates = images.coordinates

    def evaluate(at: NDArray[np.float64]) -> Answer:
        return images.evaluate({index: at})[index]

    relaxed = minimizer(evaluate, np.array(x, dtype=float), coordinates, fmax, steps)
    answer = evaluate(relaxed)
    force = float(coordinates.longest(answer.force))
    if force > fmax:
        logger.warning(
            "%s was not relaxed: its largest force is %.3g eV/Å after %d steps, expected at most %.3g; allow more "
            "steps or start closer to a minimum",
            images.name(index),
            force,
            steps,
            fmax,
        )
    return Relaxed(relaxed, answer, force <= fmax)


class _Asked(Calculator):
    """An ASE calculator that asks somebody else."""

    implemented_properties = ["energy", "free_energy", "forces"]  # noqa: RUF012  (ASE's own convention)

    def __init__(self, evaluate: Callable[[NDArray[np.float64]], Answer], coordinates: Coordinates) -> None:
        super().__init__()
        self._evaluate = evaluate
        self._coordinates = coordinates

    def calculate(
        self, atoms: Any = None, properties: Iterable[str] = ("energy",), system_changes: Any = all_changes
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        answer = self._evaluate(self._coordinates.reduce(atoms.positions))
        forces = np.zeros(3 * len(atoms))
        forces[self._coordinates.free] = answer.force
        self.results = {"energy": answer.energy, "free_energy": answer.energy, "forces": forces.reshape(-1, 3)}


def _atom_text(atoms: Atoms, index: int) -> str:
    return f"atom {index} ({atoms.symbols[index]})"


def _atoms_text(atoms: Atoms, indices: Iterable[int]) -> str:
    names = [f"{i} ({atoms.symbols[i]})" for i in indices]
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return f"{'atom' if len(names) == 1 else 'atoms'} {', '.join(names[:8])}{more}"


def _minimum_image(vectors: NDArray[np.float64], atoms: Atoms) -> NDArray[np.float64]:
    return find_mic(vectors, atoms.cell, atoms.pbc)[0] if atoms.pbc.any() else vectors.copy()


def _check_finite(name: str, atoms: Atoms) -> None:
    if len(atoms) == 0:
        raise InputError(f"the {name} configuration has no atoms; give a file that contains the structure")
    bad = np.flatnonzero(~np.isfinite(atoms.positions).all(axis=1))
    if bad.size:
        raise InputError(
            f"{_atom_text(atoms, bad[0])} of the {name} configuration has position {atoms.positions[bad[0]]}, expected "
            "finite numbers; correct the file"
        )
    if not np.isfinite(atoms.cell.array).all():
        raise InputError(f"the cell of the {name} configuration is not finite; correct the file")


def _check_species(initial: Atoms, final: Atoms) -> None:
    if len(initial) != len(final):
        raise InputError(
            f"the initial configuration has {len(initial)} atoms ({initial.symbols.formula.format('hill')}), the final "
            f"one {len(final)} ({final.symbols.formula.format('hill')}); both must contain the same atoms"
        )
    differ = np.flatnonzero(initial.numbers != final.numbers)
    if not differ.size:
        return
    first = differ[0]
    seen = f"atom {first} is {initial.symbols[first]} in the initial but {final.symbols[first]} in the final"
    if Counter(initial.numbers.tolist()) == Counter(final.numbers.tolist()):
        raise InputError(
            f"{seen} configuration; both contain the same atoms, so put those of the final configuration into the "
            "order of the initial one"
        )
    raise InputError(
        f"{seen} configuration ({initial.symbols.formula.format('hill')} and "
        f"{final.symbols.formula.format('hill')}); both must contain the same atoms in the same order"
    )


def _check_cell(initial: Atoms, final: Atoms, tolerance: float) -> None:
    if (initial.pbc != final.pbc).any():
        raise InputError(
            f"the initial configuration is periodic along {initial.pbc.tolist()}, the final one along "
            f"{final.pbc.tolist()}; set the same pbc for both"
        )
    difference = np.abs(initial.cell.array - final.cell.array).max()
    if difference > tolerance:
        raise InputError(
            f"the cells differ by up to {difference:.3g} Å: lengths and angles are "
            f"{initial.cell.cellpar().round(4).tolist()} in the initial and {final.cell.cellpar().round(4).tolist()} "
            "in the final configuration; relax both in the same cell"
        )


def _check_charges(initial: Atoms, final: Atoms) -> None:
    charges = [float(atoms.get_initial_charges().sum()) for atoms in (initial, final)]
    if abs(charges[0] - charges[1]) > 1e-6:
        raise InputError(
            f"the initial charges add up to {charges[0]:g} in the initial and {charges[1]:g} in the final "
            "configuration; a path keeps its charge, so set the same for both"
        )


def _check_constraints(initial: Atoms, final: Atoms) -> NDArray[np.intp]:
    """Flat indices of the components free in both."""
    free = Coordinates.of(initial).free
    only = np.setxor1d(free, Coordinates.of(final).free)
    if only.size:
        atom, axis = divmod(int(only[0]), 3)
        how = ("free", "fixed") if only[0] in free else ("fixed", "free")
        raise InputError(
            f"{_atom_text(initial, atom)} is {how[0]} along {'xyz'[axis]} in the initial but {how[1]} in the final "
            "configuration; give both the same constraints"
        )
    return free


def _check_contacts(name: str, atoms: Atoms) -> None:
    radii = _TOO_CLOSE * covalent_radii[atoms.numbers]
    first, second, distance = neighbor_list("ijd", atoms, radii)
    if first.size:
        worst = int(distance.argmin())
        i, j = sorted((int(first[worst]), int(second[worst])))
        raise InputError(
            f"{_atom_text(atoms, i)} and {_atom_text(atoms, j)} of the {name} configuration are on top of each other "
            f"({distance[worst]:.3f} Å apart); correct the file, or the cell if they are periodic images"
        )


def _check_fixed(initial: Atoms, move: NDArray[np.float64], free: NDArray[np.intp], tolerance: float) -> None:
    fixed = move.ravel().copy()
    fixed[free] = 0.0
    worst = int(np.abs(fixed).argmax())
    if abs(fixed[worst]) > tolerance:
        raise InputError(
            f"{_atom_text(initial, worst // 3)} is fixed along {'xyz'[worst % 3]} but differs by {fixed[worst]:+.3g} Å "
            "between the two configurations; give fixed atoms the same positions in both, or free them"
        )


def _check_different(initial: Atoms, final: Atoms, same: float) -> None:
    a, b = initial.positions, final.positions
    if Coordinates.of(initial).rigid:
        a, b = a - a.mean(axis=0), b - b.mean(axis=0)
        b = b @ rotation_matrix_from_points(b.T, a.T).T
    distance = float(np.linalg.norm(b - a, axis=1).max())
    if distance <= same:
        raise InputError(
            f"the initial and final configurations are identical to within {distance:.2g} Å; a path needs two "
            "different minima"
        )


def _warn_about_numbering(initial: Atoms, final: Atoms) -> None:
    """Warn where atoms of one kind seem to have been numbered differently. Free molecules may simply have turned."""
    if Coordinates.of(initial).rigid:
        return
    move = np.linalg.norm(final.positions - initial.positions, axis=1)
    for number in np.unique(initial.numbers):
        far = np.flatnonzero((initial.numbers == number) & (move > 0.5))
        if far.size < 2:
            continue
        _, distances = get_distances(initial.positions[far], final.positions[far], initial.cell, initial.pbc)
        rows, columns = linear_sum_assignment(distances**2)
        if (distances[rows, columns] ** 2).sum() < 0.25 * (move[far] ** 2).sum():
            swapped = far[rows != columns].tolist()
            logger.warning(
                "%s would travel much less if the final configuration numbered them differently; reorder them unless "
                "they are meant to change places",
                _atoms_text(initial, swapped),
            )


def _rigid_motions(positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """(3N, 6) translations and infinitesimal rotations about the centre of (N, 3) positions."""
    arms = positions - positions.mean(axis=0)
    translations = np.tile(np.eye(3), (len(arms), 1))
    rotations = np.stack([np.cross(axis, arms).ravel() for axis in np.eye(3)], axis=1)
    return np.hstack([translations, rotations])
