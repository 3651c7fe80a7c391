"""The stored problems that are not molecules, against freshly computed energies, forces and curvatures."""

from __future__ import annotations

import pickle
import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.constraints import FixAtoms
from ase.io import read
from ase.optimize import FIRE

import sciopt.problems
from sciopt.core.errors import InputError
from sciopt.problems import PathProblem, path_problem, path_problem_names

DATA = Path(sciopt.problems.__file__).parent / "data" / "paths"
# From the files' names and kinds only: how they are loaded is what is under test.
STORED = sorted(
    file.stem
    for file in DATA.glob("*.extxyz")
    if " kind=molecule " not in file.read_text(encoding="utf-8").splitlines()[1]
)
TUNED = {
    "leps",
    "muller_brown",
    "au_al100_hop",
    "al_al100_hop",
    "al_al100_exchange",
    "o_cu111_hop",
    "cu_vacancy_31",
    "cu_vacancy_107",
    "pt7_slide",
    "pt7_corner",
    "pt7_pair",
}


@cache
def problem(name: str) -> PathProblem:
    return path_problem(name)


def calculated(one: PathProblem, atoms: Atoms) -> Atoms:
    """A copy with a calculator whose factory has been to another process and back."""
    fresh = atoms.copy()
    fresh.calc = pickle.loads(pickle.dumps(one.calculator))()
    return fresh


def free(atoms: Atoms) -> np.ndarray:
    """(N, 3) components that ASE lets move."""
    trial = atoms.copy()
    trial.set_positions(atoms.positions + 1.0)
    return np.abs(trial.positions - atoms.positions) > 0.5


def way(a: Atoms, b: Atoms) -> float:
    """Farthest way of an atom from `a` to `b` through periodic boundaries; drift of a whole crystal does not count."""
    d = b.positions - a.positions
    if a.pbc.any():
        cell = a.cell.complete().array
        d -= (np.rint(np.linalg.solve(cell.T, d.T).T) * a.pbc) @ cell
    if free(a).all():
        d -= d.mean(axis=0)
    return float(np.linalg.norm(d, axis=1).max())


SMALL = [name for name in STORED if free(problem(name).initial).sum() <= 40]
# Where the path passes several saddles, other minima may lie next to the highest.
SINGLE = [name for name in SMALL if "the highest is stored" not in problem(name).source]


def test_there_are_enough_and_enough_untouched_ones() -> None:
    assert len(STORED) >= 16
    assert {name for name in STORED if problem(name).tuned} == TUNED
    assert len(STORED) - len(TUNED) >= 6
    assert {problem(name).kind for name in STORED} == {"analytic", "surface", "bulk", "cluster"}


def test_names_are_those_of_the_files() -> None:
    assert set(path_problem_names()) == {file.stem for file in DATA.glob("*.extxyz")}
    kinds = ("analytic", "surface", "bulk", "cluster", "molecule")
    assert [name for kind in kinds for name in path_problem_names(kind)] == list(path_problem_names())
    assert set(STORED) == set(path_problem_names()) - set(path_problem_names("molecule"))


@pytest.mark.parametrize("name", STORED)
def test_frames_belong_together(name: str) -> None:
    one = problem(name)
    assert one.name == name
    assert one.images in (5, 7)
    assert re.search(r"doi:10\.\d+/", one.source)
    for atoms in (one.initial, one.final, one.saddle):
        assert atoms.calc is None
        assert list(atoms.symbols) == list(one.initial.symbols)
        assert np.array_equal(atoms.cell.array, one.initial.cell.array)
        assert np.array_equal(atoms.pbc, one.initial.pbc)
        # Fixed components do not differ between the frames: no path could change them.
        assert np.array_equal(free(atoms), free(one.initial))
        assert np.array_equal(atoms.positions[~free(atoms)], one.initial.positions[~free(atoms)])
    assert way(one.initial, one.final) > 1.0


@pytest.mark.parametrize("name", STORED)
def test_constraints_survive_the_file(name: str) -> None:
    one = problem(name)
    for atoms in (one.initial, one.final, one.saddle):
        moves = free(atoms)
        if one.kind == "analytic":
            assert moves.tolist() == [[True, True, False]]
        elif one.kind == "bulk":
            assert moves.all()
            assert atoms.pbc.all()
        else:
            (constraint,) = atoms.constraints
            assert isinstance(constraint, FixAtoms)
            # What is fixed are whole layers, and they lie lowest.
            height = atoms.positions[:, 2]
            assert height[constraint.index].max() < height[moves[:, 2]].min() - 0.5
    if one.kind == "cluster":
        assert int(free(one.initial).sum()) == 525


@pytest.mark.parametrize("name", STORED)
def test_points_are_stationary_and_the_barrier_is_theirs(name: str) -> None:
    one = problem(name)
    points = [calculated(one, atoms) for atoms in (one.initial, one.final, one.saddle)]
    for point in points:
        assert np.linalg.norm(point.get_forces(), axis=1).max() < 1e-3
    energies = [point.get_potential_energy() for point in points]
    assert energies[2] - energies[0] == pytest.approx(one.barrier, abs=1e-4)
    assert min(energies[2] - energies[0], energies[2] - energies[1]) > 0.02


@pytest.mark.parametrize("name", SMALL)
def test_the_saddle_has_one_negative_mode_and_the_ends_none(name: str) -> None:
    one = problem(name)
    for atoms, negative in ((one.initial, 0), (one.final, 0), (one.saddle, 1)):
        point = calculated(one, atoms)
        h, columns = 5e-3, []
        for i in np.argwhere(free(atoms)):
            sides = []
            for sign in (1, -1):
                moved = atoms.positions.copy()
                moved[tuple(i)] += sign * h
                point.set_positions(moved, apply_constraint=False)
                sides.append(point.get_forces(apply_constraint=False)[free(atoms)])
            columns.append((sides[1] - sides[0]) / (2 * h))
        curvatures = np.linalg.eigvalsh((np.array(columns) + np.array(columns).T) / 2)
        assert int((curvatures < 0).sum()) == negative
        assert np.abs(curvatures).min() > 0.02


@pytest.mark.parametrize("name", SINGLE)
def test_both_ends_lie_downhill_from_a_single_saddle(name: str) -> None:
    one = problem(name)
    # The ends as seen from the saddle, through periodic boundaries: no hop is longer than half a cell.
    for sign, end in ((1, one.final), (-1, one.initial)):
        point = calculated(one, one.saddle)
        top = point.get_potential_energy()
        along = np.where(free(point), sign * (one.final.positions - one.initial.positions), 0.0)
        point.set_positions(point.positions + 0.1 * along / np.linalg.norm(along, axis=1).max(), apply_constraint=False)
        FIRE(point, logfile=None, maxstep=0.05).run(fmax=0.02, steps=1000)
        assert point.get_potential_energy() < top
        assert way(point, end) < 0.3


def test_unknown_names_are_met_with_the_closest_one() -> None:
    with pytest.raises(InputError, match=r"muller_braun.*muller_brown"):
        path_problem("muller_braun")
    with pytest.raises(InputError, match="unknown problem"):
        path_problem("")
    with pytest.raises(InputError, match="unknown kind"):
        path_problem_names("liquid")  # type: ignore[arg-type]


def test_hyphens_and_underscores_are_the_same() -> None:
    assert path_problem("cu-vacancy-31").name == path_problem("cu_vacancy_31").name == "cu_vacancy_31"


def test_loaded_problems_share_nothing() -> None:
    first, second = path_problem("leps"), path_problem("leps")
    first.initial.positions += 1.0
    assert not np.allclose(first.initial.positions, second.initial.positions)


@pytest.mark.parametrize("name", STORED)
def test_the_files_keep_all_digits(name: str) -> None:
    # ASE's own writer keeps eight decimals.
    frames = read(DATA / f"{name}.extxyz", ":")
    assert len(frames) == 3
    assert np.abs(frames[2].positions.round(8) - frames[2].positions).max() > 1e-11
