"""The ends of a path: every mistake is found, named, and nothing is changed silently."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import add_adsorbate, bulk, fcc111, molecule
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.constraints import FixAtoms, FixCartesian, Hookean
from ase.optimize import BFGS
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.transform import Rotation

from sciopt.core.errors import EvaluationFailed, InputError
from sciopt.neb.coordinates import Coordinates
from sciopt.neb.endpoints import check_forces, check_pair, is_rigid, relax_endpoint
from sciopt.neb.images import Answer, Images


def hop() -> tuple[Atoms, Atoms]:
    """An adatom on a slab whose lower layer is fixed, in two hollow sites."""
    ends = []
    for site in ("fcc", "hcp"):
        slab = fcc111("Cu", (2, 2, 2), vacuum=6.0)
        add_adsorbate(slab, "O", 1.2, site)
        slab.set_constraint(FixAtoms(mask=slab.get_tags() == 2))
        ends.append(slab)
    return ends[0], ends[1]


def proton_transfer() -> tuple[Atoms, Atoms]:
    initial = Atoms("HCN", [[0, 0, 0], [1.07, 0, 0], [2.22, 0, 0]])
    final = Atoms("HCN", [[3.2, 0, 0], [1.05, 0, 0], [2.22, 0, 0]])
    return initial, final


def test_good_pairs_pass_silently(caplog: pytest.LogCaptureFixture) -> None:
    for initial, final in (hop(), proton_transfer()):
        before = final.positions.copy()
        checked = check_pair(initial, final)
        np.testing.assert_allclose(checked.positions, before, atol=1e-12)
        assert checked is not final
        np.testing.assert_array_equal(final.positions, before)
    assert not caplog.records


def mistake(change: Callable[[Atoms], object]) -> Callable[[], tuple[Atoms, Atoms]]:
    """The hop with one thing wrong in the final configuration."""

    def pair() -> tuple[Atoms, Atoms]:
        initial, final = hop()
        change(final)
        return initial, final

    return pair


def put(atoms: Atoms, index: int, position: Any) -> None:
    atoms.positions[index] = position


MISTAKES: dict[str, tuple[Callable[[], tuple[Atoms, Atoms]], str]] = {
    "count": (mistake(lambda a: a.pop()), r"initial configuration has 9 atoms \(Cu8O\), the final one 8 \(Cu8\)"),
    "element": (mistake(lambda a: a.symbols.__setitem__(8, "N")), r"atom 8 is O in the initial but N .*Cu8O and Cu8N"),
    "order": (
        mistake(lambda a: a.set_chemical_symbols(["O"] + ["Cu"] * 8)),
        "atom 0 is Cu in the initial but O in the final configuration; .* into the order of the initial",
    ),
    "pbc": (mistake(lambda a: a.set_pbc(False)), r"periodic along \[True, True, False\].*\[False, False, False\]"),
    "cell": (mistake(lambda a: a.set_cell(a.cell * [1, 1, 1.1])), r"cells differ by up to 1\.4.* same cell"),
    "nan": (mistake(lambda a: put(a, 3, np.nan)), r"atom 3 \(Cu\) of the final configuration has position \[nan"),
    "inf cell": (lambda: (lambda a: (a, a))(Atoms("H2", [[0, 0, 0], [0, 0, 1]], cell=[np.inf, 1, 1])), "cell of the"),
    "free": (mistake(lambda a: a.set_constraint()), r"atom 0 \(Cu\) is fixed along x in the initial but free"),
    "one axis": (
        mistake(lambda a: a.set_constraint([*a.constraints, FixCartesian([8], [False, True, False])])),
        r"atom 8 \(O\) is free along y in the initial but fixed in the final",
    ),
    "constraint": (mistake(lambda a: a.set_constraint(Hookean(0, 1, 1.0, 2.0))), "constraint Hookean is not supported"),
    "fixed moved": (
        mistake(lambda a: put(a, 2, a.positions[2] - [0, 0.01, 0])),
        r"atom 2 \(Cu\) is fixed along y but differs by -0\.01 Å",
    ),
    "on top": (
        mistake(lambda a: put(a, 8, a.positions[5] + [0, 0, 0.2])),
        r"atom 5 \(Cu\) and atom 8 \(O\) of the final configuration are on top of each other \(0\.200 Å",
    ),
    "on top across the cell": (
        mistake(lambda a: put(a, 8, a.positions[5] + a.cell[0] + a.cell[1] + [0, 0, 0.2])),
        r"atom 5 \(Cu\) and atom 8 \(O\) of the final .* \(0\.200 Å",
    ),
    "charge": (
        mistake(lambda a: a.set_initial_charges([0] * 8 + [-1])),
        "charges add up to 0 in the initial and -1 in the final",
    ),
    "identical": (lambda: (hop()[0], hop()[0]), "identical to within 0 Å"),
    "empty": (lambda: (Atoms(), Atoms()), "initial configuration has no atoms"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_named(name: str) -> None:
    pair, message = MISTAKES[name]
    with pytest.raises(InputError, match=message) as error:
        check_pair(*pair())
    assert "\n" not in str(error.value)


@given(st.permutations(range(6)), st.lists(st.sampled_from("CHON"), min_size=6, max_size=6))
def test_permuted_species_are_detected(order: list[int], symbols: list[str]) -> None:
    positions = 1.5 * np.eye(6, 3) + 1.5 * np.eye(6, 3, -3)[:, ::-1] * [1, 1, 2]
    initial = Atoms(symbols, positions)
    final = initial[order]
    differ = [i for i in range(6) if symbols[i] != symbols[order[i]]]
    assume(differ)
    first = differ[0]
    expected = f"^atom {first} is {symbols[first]} in the initial but {symbols[order[first]]} in the final .* order of"
    with pytest.raises(InputError, match=expected):
        check_pair(initial, final)


@given(arrays(int, (9, 3), elements=st.integers(-2, 2)))
def test_wrapped_atoms_are_unwrapped(cells: np.ndarray) -> None:
    initial, final = hop()
    cells[:, 2] = 0  # not periodic
    expected = final.positions.copy()
    final.positions += cells @ final.cell.array
    final.set_constraint(initial.constraints)
    np.testing.assert_allclose(check_pair(initial, final).positions, expected, atol=1e-9)


def test_unwrapping_is_announced(caplog: pytest.LogCaptureFixture) -> None:
    initial, final = hop()
    put(final, 8, final.positions[8] + final.cell[0])
    check_pair(initial, final)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith("atom 8 (O) moved by more than half a cell")


@given(st.integers(0, 2**32 - 1))
def test_turned_molecules_are_identical_and_reactions_are_not(seed: int) -> None:
    initial = molecule("CH3OH")
    final = initial.copy()
    turn = Rotation.random(rng=np.random.default_rng(seed))
    final.positions = turn.apply(final.positions) + np.array([1, -2, 3])
    with pytest.raises(InputError, match="identical"):
        check_pair(initial, final)
    final.positions[-1] += [0.1, 0, 0]
    check_pair(initial, final)
    final.set_constraint(FixAtoms([0]))
    initial.set_constraint(FixAtoms([0]))
    final.positions += initial.positions[0] - final.positions[0]
    if np.abs(turn.magnitude()) > 0.5:
        check_pair(initial, final)  # what is held is not free to turn


def test_suspicious_numbering_is_announced(caplog: pytest.LogCaptureFixture) -> None:
    initial = bulk("Cu", cubic=True) * (2, 2, 2)
    del initial[0]
    final = initial.copy()
    final.positions[4] += [0.4, 0.4, 0]
    check_pair(initial, final)
    assert not caplog.records
    final.positions[[7, 12]] = final.positions[[12, 7]]
    check_pair(initial, final)
    assert "atoms 7 (Cu), 12 (Cu) would travel much less" in caplog.records[-1].getMessage()


def answer_of(atoms: Atoms, calculator: Calculator) -> tuple[Answer, Coordinates]:
    coordinates = Coordinates.of(atoms)
    return Answer(calculator.get_potential_energy(atoms), coordinates.reduce(calculator.get_forces(atoms))), coordinates


def test_forces_at_an_end_point() -> None:
    atoms, _ = hop()
    answer, coordinates = answer_of(atoms, EMT())
    norms = np.linalg.norm(EMT().get_forces(atoms), axis=1)
    norms[atoms.get_tags() == 2] = 0
    worst = int(norms.argmax())
    assert check_forces(answer, coordinates, norms.max() + 1e-9) is None
    text = check_forces(answer, coordinates, 0.05, "the final configuration")
    assert text is not None
    assert text.startswith("the final configuration is not a minimum: ")
    assert f"atom {worst} ({atoms.symbols[worst]}) is {norms.max():.3g} eV/Å, expected at most 0.05" in text
    assert "relax=True / --relax" in text


class Field(LennardJones):
    """A uniform field acting on two opposite charges."""

    def __init__(self, charges: list[float]) -> None:
        super().__init__()
        self.charges = np.array(charges)

    def calculate(self, *args: Any) -> None:
        super().calculate(*args)
        field = np.array([0, 0, 0.5])
        self.results["forces"] = self.results["forces"] + self.charges[:, None] * field
        self.results["energy"] -= float(self.charges @ self.atoms.positions @ field)


@given(arrays(float, (4, 3), elements=st.floats(-0.15, 0.15)))
def test_rigid_is_seen_in_the_forces(noise: np.ndarray) -> None:
    atoms = Atoms("Ar4", np.array([[0, 0, 0], [1.1, 0, 0], [0, 1.1, 0], [0, 0, 1.1]]) + noise)
    answer, coordinates = answer_of(atoms, LennardJones())
    assert is_rigid(answer, coordinates)
    assert not is_rigid(*answer_of(atoms, Field([1, 0, 0, 0])))  # a net force
    assert not is_rigid(*answer_of(atoms, Field([0, 1, -1, 0])))  # a torque only
    turned = Rotation.from_euler("xyz", [0.5, 0.6, 0.7]).apply(atoms.positions)
    moved = atoms.copy()
    moved.positions = turned
    assert is_rigid(answer_of(moved, LennardJones())[0], coordinates, turned.ravel())


def test_rigid_needs_a_free_molecule() -> None:
    atoms = Atoms("Ar3", [[0, 0, 0], [1.2, 0, 0], [2.5, 0, 0]])
    assert is_rigid(*answer_of(atoms, LennardJones()))  # linear: five rigid motions
    held, periodic = atoms.copy(), atoms.copy()
    held.set_constraint(FixAtoms([0]))
    periodic.set_cell([9, 9, 9])
    periodic.pbc = True
    for other in (held, periodic, atoms[:1]):
        assert not is_rigid(*answer_of(other, LennardJones()))


def test_relaxing_equals_ase_and_is_counted() -> None:
    atoms, _ = hop()
    reference = atoms.copy()
    reference.calc = EMT()
    BFGS(reference, logfile=None).run(fmax=0.02)
    coordinates = Coordinates.of(atoms)
    with Images(coordinates, EMT) as images:
        relaxed = relax_endpoint(images, 0, coordinates.reduce(atoms.positions), fmax=0.02)
        np.testing.assert_array_equal(coordinates.positions(relaxed.x), reference.positions)
        assert relaxed.converged
        assert relaxed.answer is images.evaluate({0: relaxed.x})[0]
        calls = images.calls
        assert check_forces(relaxed.answer, coordinates, 0.02) is None
        again = relax_endpoint(images, 0, relaxed.x, fmax=0.02)
        np.testing.assert_array_equal(again.x, relaxed.x)
        assert images.calls == calls


def test_relaxing_that_does_not_finish_says_so(caplog: pytest.LogCaptureFixture) -> None:
    atoms, _ = hop()
    coordinates = Coordinates.of(atoms)
    images = Images(coordinates, EMT, count=3)
    relaxed = relax_endpoint(images, 4, coordinates.reduce(atoms.positions), fmax=1e-4, steps=2)
    assert not relaxed.converged
    assert caplog.records[-1].getMessage().startswith("the final configuration was not relaxed: its largest force is")


def test_relaxing_takes_any_minimizer() -> None:
    atoms = Atoms("Ar2", [[0, 0, 0], [1.2, 0, 0]])
    images = Images(Coordinates.of(atoms), LennardJones)

    def descent(evaluate: Any, x: np.ndarray, coordinates: Coordinates, fmax: float, steps: int) -> np.ndarray:
        for _ in range(steps):
            if coordinates.longest(evaluate(x).force) <= fmax:
                break
            x = x + 0.005 * evaluate(x).force
        return x

    relaxed = relax_endpoint(images, 0, atoms.positions.ravel(), fmax=1e-3, minimizer=descent)
    assert relaxed.converged
    assert relaxed.x[3] - relaxed.x[0] == pytest.approx(2 ** (1 / 6), abs=1e-4)


def test_relaxing_with_a_failing_calculator_names_the_end() -> None:
    images = Images(Coordinates.of(molecule("SiH4")), EMT)
    with pytest.raises(EvaluationFailed, match=r"^the initial configuration: No EMT-potential for Si"):
        relax_endpoint(images, 0, molecule("SiH4").positions.ravel())
