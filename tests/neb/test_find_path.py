"""Whole searches: barriers against independent references, what they cost, and every way to stop one."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.constraints import FixAtoms
from ase.mep.neb import NEB
from ase.optimize import LBFGS as AseLBFGS

from sciopt.core import Adaptive, power
from sciopt.core.errors import InputError
from sciopt.neb.band import BandLaw, band_force
from sciopt.neb.path import find_path
from sciopt.neb.path_result import PathResult
from sciopt.problems import Planar, path_problem
from sciopt.rules import FIRE

IMAGES = 5
TOLERANCE = 0.010  # eV on barriers
FMAX = 0.05  # eV/Å


def search(system: Any, calculator: Any = None, **options: Any) -> PathResult:
    options = {"images": IMAGES, "max_calls": 1500, **options}
    return find_path(system.initial, system.final, calculator or system.calculator, **options)


def assert_found(found: PathResult, system: Any, springs: float = 0.1, tangent: str = "improved") -> None:
    """The claims of `found`, recalculated with new calculators."""
    assert found.converged, found.reason
    energies, forces = [], []
    for image in found.images:
        atoms = image.copy()
        atoms.calc = system.calculator()
        energies.append(atoms.get_potential_energy())
        forces.append(found.coordinates.reduce(atoms.get_forces(apply_constraint=False)))
    assert max(energies) - energies[0] == pytest.approx(system.barrier, abs=TOLERANCE)
    assert found.barrier == pytest.approx(max(energies) - energies[0], abs=1e-4)
    assert found.barrier_reverse == pytest.approx(max(energies) - energies[-1], abs=1e-4)
    assert found.reaction_energy == pytest.approx(energies[-1] - energies[0], abs=1e-4)
    np.testing.assert_allclose(found.forces, forces, atol=1e-3)
    band = band_force(
        found.X, np.array(energies), np.array(forces[1:-1]), found.coordinates, BandLaw(springs, tangent=tangent)
    )
    assert found.coordinates.longest(band.force).max() < FMAX + 1e-3
    assert found.climbing is not None
    assert found.fmax_climbing < FMAX
    # The saddle is the climbing image, and the estimate of the error is of its order.
    assert found.saddle is not None
    assert found.saddle.get_potential_energy() - energies[0] == pytest.approx(found.barrier, abs=1e-9)
    assert found.barrier_error < TOLERANCE


@pytest.mark.parametrize("method", ["auto", "lbfgs", "fire", "fire2", "adam", "ode12r"])
@pytest.mark.parametrize("name", ["mueller", "hop"])
def test_barriers_are_those_known_from_elsewhere(name: str, method: str, request: pytest.FixtureRequest) -> None:
    system = request.getfixturevalue(name)
    assert_found(search(system, method=method), system)


@pytest.mark.parametrize("method", ["auto", "lbfgs"])
def test_a_molecule(hcn: Any, method: str) -> None:
    assert_found(search(hcn, images=7, method=method, max_calls=200), hcn)


def test_a_band_of_a_molecule_costs_a_fraction_of_what_ase_needs(hop: Any, mueller: Any, counting: Any) -> None:
    """From the same initial path, with the same springs and tolerance; one process."""
    ratios = []
    for system in (hop, mueller):
        theirs, ours = counting(system.calculator), counting(system.calculator)
        start = search(system, max_calls=IMAGES, path="linear").images
        images = [atoms.copy() for atoms in start]
        for atoms in images:
            atoms.calc = theirs()
        assert AseLBFGS(NEB(images, k=0.1, climb=True, method="improvedtangent"), logfile=None).run(FMAX, 1000)
        assert_found(search(system, ours, path="linear"), system)
        ratios.append((ours.calls - 2) / (theirs.calls - 2))
    assert np.prod(ratios) ** 0.5 < 0.6, ratios


def test_the_saddle_alone(hop: Any) -> None:
    found = search(hop, certify="saddle")
    assert found.converged
    assert found.check is not None
    assert found.check.passed
    assert found.check.saddle.order == 1
    assert found.check.connection is not None
    assert found.check.connection.connected
    assert found.calls["check"] > 0
    assert found.fmax_climbing < FMAX
    assert found.barrier == pytest.approx(hop.barrier, abs=TOLERANCE)
    assert "connects both ends" in found.reason


@pytest.mark.parametrize("method", ["auto", "lbfgs"])
def test_the_saddle_of_a_molecule_alone(hcn: Any, method: str) -> None:
    found = search(hcn, images=7, certify="saddle", method=method, max_calls=200)
    assert found.converged
    assert found.check is not None
    assert found.check.passed
    assert found.barrier == pytest.approx(hcn.barrier, abs=1e-3)


@pytest.mark.parametrize("name", ["al_al100_hop", "cu_vacancy_31"])
def test_the_barrier_is_that_of_the_saddle_even_where_loose_images_lie_higher(name: str) -> None:
    problem = path_problem(name)
    found = find_path(problem.initial, problem.final, problem.calculator, method="lbfgs", certify="saddle")
    assert found.converged
    assert found.energies.max() > found.barrier + 0.005, "no image is higher: this tests nothing"
    assert found.barrier == pytest.approx(problem.barrier, abs=TOLERANCE)
    assert found.barrier - found.barrier_reverse == pytest.approx(found.reaction_energy, abs=1e-12)
    assert abs(found.barrier - problem.barrier) < 3 * found.barrier_error + 1e-3 < TOLERANCE
    assert found.saddle is not None
    assert found.saddle.get_potential_energy() - found.absolute_energies[0] == pytest.approx(found.barrier)


@pytest.mark.parametrize("certify", ["band", "saddle"])
def test_a_check_notices_a_minimum_on_the_way(mueller: Any, certify: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Between the two deep minima of this surface lies a third: downhill from the saddle one ends there."""
    with caplog.at_level(logging.WARNING, "sciopt"):
        found = search(mueller, certify=certify, check=True)
    assert not found.converged
    assert found.check is not None
    assert found.check.saddle.order == 1
    assert not found.check.passed
    assert "another minimum" in found.reason
    assert found.barrier == pytest.approx(mueller.barrier, abs=TOLERANCE)
    if certify == "saddle":
        assert any("converging the whole band" in message for message in caplog.messages)


def test_a_check_that_fails_keeps_the_band(hop: Any, counting: Any) -> None:
    plain = search(hop)

    def breaks(book: Any, atoms: Atoms) -> None:
        if book.calls > plain.calls["images"] + 2:
            raise RuntimeError("licence expired")

    found = search(hop, counting(hop.calculator, breaks), check=True)
    assert not found.converged
    assert "could not be verified" in found.reason
    assert "licence expired" in found.reason
    np.testing.assert_array_equal(found.X, plain.X)


def test_climbing_may_begin_late(mueller: Any) -> None:
    top = []

    def watch(snapshot: Any) -> None:
        top.append((snapshot.history[-1].residual, snapshot.state.here.info["climbing"]))

    found = search(mueller, climb=0.5, callback=watch)
    assert_found(found, mueller)
    began = next(i for i, (_, climbing) in enumerate(top) if climbing is not None)
    assert began > 0
    assert all(residual >= 0.5 for residual, _ in top[: began - 1])
    assert top[began - 1][0] < 0.5


def test_without_climbing_the_top_is_only_approached(mueller: Any) -> None:
    found = search(mueller, climb=False)
    assert found.converged
    assert found.climbing is None
    assert found.saddle is None
    assert np.isnan(found.fmax_climbing)
    assert found.barrier < mueller.barrier
    assert "no interior maximum" not in found.reason


@pytest.mark.parametrize("name", ["mueller", "hop"])
@pytest.mark.parametrize("method", ["auto", "lbfgs"])
def test_energy_weighted_springs(name: str, method: str, request: pytest.FixtureRequest) -> None:
    system = request.getfixturevalue(name)
    weighted, uniform = (search(system, springs=kind, method=method, spring=1.0) for kind in ("energy", "uniform"))
    assert weighted.converged
    assert weighted.barrier == pytest.approx(system.barrier, abs=TOLERANCE)
    if method == "lbfgs" and name == "mueller":
        # Stiff springs where the energy is high crowd the images around the saddle.
        assert np.diff(weighted.distances).min() < np.diff(uniform.distances).min()


@pytest.mark.parametrize("name", ["mueller", "hop"])
@pytest.mark.parametrize("method", ["auto", "lbfgs", "fire"])
def test_the_string_method(name: str, method: str, request: pytest.FixtureRequest) -> None:
    system = request.getfixturevalue(name)
    found = search(system, springs="string", method=method)
    assert_found(found, system, springs=0.0)
    lengths = np.diff(found.distances)
    top = found.climbing + 1  # type: ignore[operator]
    for side in (lengths[:top], lengths[top:]):
        np.testing.assert_allclose(side, side.mean(), rtol=0.05)


@pytest.mark.parametrize("tangent", ["central", "bisection", "spline"])
@pytest.mark.parametrize("method", ["auto", "lbfgs"])
def test_other_tangents(mueller: Any, tangent: str, method: str) -> None:
    assert_found(search(mueller, tangent=tangent, method=method), mueller, tangent=tangent)


@pytest.mark.parametrize("method", ["lbfgs", "fire", "adam"])
@pytest.mark.parametrize("precondition", [True, False])
def test_preconditioning_is_a_choice(hop: Any, method: str, precondition: bool) -> None:
    assert_found(search(hop, method=method, precondition=precondition), hop)


@pytest.mark.parametrize("images", [1, 3])
def test_few_images(mueller: Any, images: int) -> None:
    assert_found(search(mueller, images=images), mueller)


def test_a_path_may_be_given(mueller: Any) -> None:
    first = search(mueller, max_calls=2 * IMAGES)
    whole = search(mueller)
    for path in (whole.images, whole.X, tuple(whole.images)):
        found = search(mueller, path=path)
        assert found.converged
        assert found.calls["images"] == IMAGES, "a converged path was not recognised"
        np.testing.assert_array_equal(found.X, whole.X)
    assert not first.converged
    assert search(mueller, path=first.images).converged


def test_a_given_path_keeps_its_shape_for_a_molecule_that_was_turned(hcn: Any) -> None:
    whole = search(hcn, images=3, max_calls=200)
    turned = [atoms.copy() for atoms in whole.images]
    for k, atoms in enumerate(turned):
        atoms.rotate(40 * k, "xyz")
        atoms.translate([k, 0, 0])
    found = find_path(hcn.initial, hcn.final, hcn.calculator, images=3, path=turned, max_calls=3)
    np.testing.assert_allclose(found.energies, whole.energies, atol=1e-4)
    # Images that were turned against each other would be far apart.
    assert found.distances[-1] < 1.05 * whole.distances[-1]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("sideways", "unknown initial path 'sideways'; known are auto"),
        (np.zeros((4, 2)), "has 4 images with 2 free components, expected 7"),
        ([Atoms("He")] * 7, "other atoms"),
        (np.array([[0, 0], [0, 1], [0.3, 1], [0.3, 1], [0, 2], [0, 3], [0, 4.0]]), "images 2 and 3 .* are identical"),
    ],
)
def test_a_bad_path_is_refused(mueller: Any, path: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        search(mueller, path=path)


def test_ends_are_relaxed_on_request(hop: Any, counting: Any) -> None:
    initial, final = hop.initial.copy(), hop.final.copy()
    initial.rattle(0.05, seed=1)
    final.rattle(0.05, seed=2)
    before = initial.copy(), final.copy()
    with pytest.raises(InputError, match=r"the initial configuration is not a minimum: .*relax"):
        find_path(initial, final, hop.calculator, images=IMAGES)
    book = counting(hop.calculator)
    found = find_path(initial, final, book, images=IMAGES, relax=True)
    assert found.converged
    assert found.barrier == pytest.approx(hop.barrier, abs=TOLERANCE)
    assert found.calls["relax"] > 4
    assert sum(found.calls.values()) == book.calls
    for image in (found.images[0], found.images[-1]):
        assert np.linalg.norm(image.get_forces(), axis=1).max() <= 0.01
    for now, then in zip((initial, final), before, strict=True):
        assert now == then, "the input was changed"


def test_the_input_is_not_changed_and_constraints_hold_bit_for_bit(hop: Any) -> None:
    calculator = hop.calculator()
    hop.initial.calc = calculator
    before = hop.initial.copy(), hop.final.copy()
    found = find_path(hop.initial, hop.final, images=IMAGES, method="lbfgs")
    assert found.converged
    for now, then in zip((hop.initial, hop.final), before, strict=True):
        assert now == then
        assert now.positions.tobytes() == then.positions.tobytes()
        assert len(now.constraints) == 1
    assert hop.initial.calc is calculator
    fixed = hop.initial.constraints[0].index
    for image in found.images:
        assert image.positions[fixed].tobytes() == before[0].positions[fixed].tobytes()
        assert isinstance(image.constraints[0], FixAtoms)


class Noisy(Planar):
    """Normal noise on every force component."""

    def __init__(self, surface: Any, scale: float, sigma: float, seed: int) -> None:
        super().__init__(surface, scale)
        self.sigma = sigma
        self.random = np.random.default_rng(seed)

    def calculate(self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        self.results["forces"] = self.results["forces"] + self.random.normal(0.0, self.sigma, (1, 3))


@pytest.mark.parametrize("method", ["auto", "fire"])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_noisy_forces(mueller: Any, method: str, seed: int) -> None:
    sigma = 0.05
    clean = mueller.calculator()
    noisy = Noisy(clean.surface, clean.scale, sigma, seed)
    found = search(mueller, noisy, noise=sigma, fmax=0.1, method=method, max_calls=4000)
    assert found.converged
    assert "noise floor" in found.reason
    forces, energies = [], []
    for image in found.images:
        atoms = image.copy()
        atoms.calc = clean
        energies.append(atoms.get_potential_energy())
        forces.append(found.coordinates.reduce(atoms.get_forces()))
    band = band_force(found.X, np.array(energies), np.array(forces[1:-1]), found.coordinates, BandLaw())
    assert found.coordinates.longest(band.force).max() < 0.15, "the mean path is not converged"
    assert found.barrier == pytest.approx(mueller.barrier, abs=0.02)


def test_noise_is_not_mistaken_for_an_external_field(hcn: Any, caplog: pytest.LogCaptureFixture) -> None:
    class Shaken(Calculator):
        implemented_properties = ("energy", "forces")

        def __init__(self) -> None:
            super().__init__()
            self.inner = hcn.calculator()
            self.random = np.random.default_rng(3)

        def calculate(self, atoms: Any = None, properties: Any = (), system_changes: Any = all_changes) -> None:
            super().calculate(atoms, properties, system_changes)
            forces = self.inner.get_forces(atoms) + self.random.normal(0, 0.05, (3, 3))
            self.results = {"energy": self.inner.get_potential_energy(atoms), "forces": forces}

    with caplog.at_level(logging.WARNING, "sciopt"):
        found = search(hcn, Shaken(), images=1, noise=0.05, max_calls=2)
    assert found.coordinates.rigid
    assert not caplog.messages


def test_a_budget_ends_with_the_best_path(mueller: Any) -> None:
    found = search(mueller, method="fire", max_calls=10 * IMAGES)
    assert not found.converged
    assert found.calls["images"] == 10 * IMAGES
    assert "budget" in found.reason
    assert found.fmax == min(record.residual for record in found.history)
    assert len(found.images) == IMAGES + 2


def test_a_budget_is_for_all_stages_together(mueller: Any) -> None:
    loose = search(mueller, climb=0.5).history.cost["images"]
    total = search(mueller, climb=0.5).calls["images"]
    assert total > loose, "there is only one stage"
    found = search(mueller, climb=0.5, max_calls=total - IMAGES)
    assert not found.converged
    assert found.calls["images"] <= total - 1


def test_a_callback_can_stop_the_search(mueller: Any) -> None:
    seen = []

    def enough(snapshot: Any) -> None:
        seen.append(len(snapshot.history))
        if len(seen) == 4:
            raise StopIteration("seen enough")

    found = search(mueller, callback=enough)
    assert seen == [1, 2, 3, 4]
    assert not found.converged
    assert found.reason.startswith("seen enough")


@pytest.mark.parametrize("shared", [False, True])
def test_ctrl_c_in_a_calculator_keeps_the_best_path(mueller: Any, counting: Any, shared: bool) -> None:
    def interrupt(book: Any, atoms: Atoms) -> None:
        if book.calls == 20:
            raise KeyboardInterrupt

    book = counting(mueller.calculator, interrupt)
    found = search(mueller, book() if shared else book)
    assert not found.converged
    assert "interrupted" in found.reason
    assert found.fmax == min(record.residual for record in found.history)
    assert book.calls == 20


def test_ctrl_c_while_the_saddle_is_verified_keeps_the_band(hop: Any, counting: Any) -> None:
    plain = search(hop)

    def interrupt(book: Any, atoms: Atoms) -> None:
        if book.calls == plain.calls["images"] + 6:
            raise KeyboardInterrupt

    found = search(hop, counting(hop.calculator, interrupt), check=True)
    assert not found.converged
    assert "interrupted" in found.reason
    np.testing.assert_array_equal(found.X, plain.X)


def test_a_rule_of_ones_own(hop: Any) -> None:
    own = (FIRE(), Adaptive(0.1, power, grow=1.2, shrink=0.5, patience=3, most=1.0, forget=True))
    found = search(hop, method=own)
    assert_found(found, hop)
    assert found.method == "FIRE"
    with pytest.raises(InputError, match="belong to named methods"):
        search(hop, method=own, learning_rate=0.1)


def slope(x: float, y: float) -> tuple[float, np.ndarray]:
    """A tilted channel: flat ends, and nothing but downhill between them."""
    return -np.cos(x) + 2 * (y - 0.3 * np.sin(x)) ** 2, np.array(
        [np.sin(x) - 1.2 * (y - 0.3 * np.sin(x)) * np.cos(x), 4 * (y - 0.3 * np.sin(x))]
    )


def test_a_path_without_interior_maximum(mueller: Any) -> None:
    top, bottom = mueller.initial.copy(), mueller.initial.copy()
    top.positions[0], bottom.positions[0] = (np.pi, 0.0, 0.0), (0.0, 0.0, 0.0)
    for method in ("auto", "lbfgs"):
        found = find_path(top, bottom, lambda: Planar(slope), images=IMAGES, method=method, max_calls=500)
        assert found.converged
        assert "no interior maximum" in found.reason
        assert found.climbing is None
        assert found.saddle is None
        assert found.barrier == 0.0
        assert found.barrier_reverse == pytest.approx(2.0, abs=1e-6)
        assert found.plot() is not None


class InField(Calculator):
    """A molecule in a field that turns it."""

    implemented_properties = ("energy", "forces")

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner

    def calculate(self, atoms: Any = None, properties: Any = (), system_changes: Any = all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        field = np.zeros((len(atoms), 3))
        field[0, 1], field[-1, 1] = 0.05, -0.05
        energy = self.inner.get_potential_energy(atoms) - float((field * atoms.positions).sum())
        self.results = {"energy": energy, "forces": self.inner.get_forces(atoms) + field}


def test_a_field_that_turns_the_molecule_is_noticed(hcn: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "sciopt"):
        found = search(hcn, lambda: InField(hcn.calculator()), images=1, max_calls=1)
    assert not found.coordinates.rigid
    assert any("external field" in message for message in caplog.messages)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"images": 0}, "images is 0; a path needs at least one movable image"),
        ({"method": "lbgfs"}, "unknown method 'lbgfs'"),
        ({"method": "fire", "warp": 9}, "warp"),
        ({"radios": 0.1}, "'imagewise' has no option 'radios'"),
        ({"certify": "all"}, "expected 'saddle', 'band' or 'strict'"),
        ({"springs": "stiff"}, "expected 'uniform', 'energy' or 'string'"),
        ({"tangent": "sideways"}, "unknown tangent"),
        ({"fmax": 0.0}, "fmax is 0.0"),
        ({"noise": -1.0}, "noise is -1.0"),
        ({"max_calls": 2}, "one look at 5 images costs 5"),
        ({"method": "imagewise", "springs": "string"}, "'imagewise' spaces its images itself"),
        ({"precondition": False}, "image-wise method always starts from model Hessians"),
    ],
)
def test_bad_arguments_cost_nothing(mueller: Any, counting: Any, options: dict[str, Any], words: str) -> None:
    book = counting(mueller.calculator)
    with pytest.raises(InputError, match=words):
        search(mueller, book, **options)
    assert book.calls == 0


def test_no_calculator_is_an_error(mueller: Any) -> None:
    with pytest.raises(InputError, match="no calculator"):
        find_path(mueller.initial, mueller.final)


def test_a_path_is_written_and_summarised(mueller: Any, tmp_path: Any) -> None:
    from ase.io import read

    found = search(mueller)
    found.write(tmp_path / "path.traj")
    stored = read(tmp_path / "path.traj", index=":")
    np.testing.assert_array_equal([atoms.get_potential_energy() for atoms in stored], found.absolute_energies)
    np.testing.assert_array_equal([atoms.positions for atoms in stored], [a.positions for a in found.images])
    assert found.summary()["parameters"]["images"] == IMAGES
    assert found.distances[0] == 0.0
    assert found.distances[-1] == pytest.approx(np.linalg.norm(np.diff(found.X, axis=0), axis=1).sum())
