"""Energy profiles: right in every number they show, for every kind of path."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase.build import add_adsorbate, fcc100, molecule
from ase.io import read
from ase.neighborlist import natural_cutoffs, neighbor_list
from matplotlib.axes import Axes
from matplotlib.patches import Circle

from sciopt.core.errors import InputError
from sciopt.neb.band import BandLaw, band_force
from sciopt.neb.draw import draw_structure, viewpoint
from sciopt.neb.path import find_path
from sciopt.neb.path_result import PathResult
from sciopt.neb.plot import new_axes, plot_profile, profile, save_figure
from sciopt.neb.plot_learning import plot_learning
from sciopt.neb.plot_surrogate import projected
from sciopt.neb.stored import plot_run, stored_path
from sciopt.problems import path_problem

PNG = b"\x89PNG"


def searched(name: str, images: int, out: Path, **options: object) -> PathResult:
    problem = path_problem(name)
    return find_path(problem.initial, problem.final, problem.calculator, images=images, out=out, **options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def hop(folder: Path) -> PathResult:
    """Periodic, with constraints."""
    return searched("au_al100_hop", 5, folder / "hop")


@pytest.fixture(scope="module")
def hcn(folder: Path) -> PathResult:
    return searched("hcn_hnc", 4, folder / "hcn")


def cut(result: PathResult, rows: slice | list[int]) -> PathResult:
    """Some images of a path as a path of their own."""
    X, energies, forces = result.X[rows], result.absolute_energies[rows], result.forces[rows]
    band = band_force(X, energies, forces[1:-1], result.coordinates, BandLaw())
    return replace(
        result, X=X, absolute_energies=energies, forces=forces, tangents=band.tangents, climbing=band.climbing
    )


def uphill(result: PathResult) -> PathResult:
    """The part of the path below its top: no interior maximum."""
    assert result.climbing is not None
    part = cut(result, slice(0, result.climbing + 2))
    assert part.climbing is None
    return part


def one_image(result: PathResult) -> PathResult:
    assert result.climbing is not None
    return cut(result, [0, result.climbing + 1, len(result.X) - 1])


KINDS = {
    "whole": lambda hop, hcn: hop,
    "molecule": lambda hop, hcn: hcn,
    "uphill": lambda hop, hcn: uphill(hop),
    "one image": lambda hop, hcn: one_image(hcn),
}


@pytest.fixture(params=list(KINDS))
def result(request: pytest.FixtureRequest, hop: PathResult, hcn: PathResult) -> PathResult:
    return KINDS[request.param](hop, hcn)


def test_the_profile_goes_through_all_energies(result: PathResult) -> None:
    s, energy = profile(result, 20_001)
    lengths = [np.linalg.norm(b - a) for a, b in zip(result.X, result.X[1:], strict=False)]
    places = np.concatenate([[0.0], np.cumsum(lengths)])
    assert (s[0], s[-1]) == pytest.approx((0.0, places[-1]))
    np.testing.assert_allclose(
        np.interp(places, s, energy), result.absolute_energies - result.absolute_energies[0], atol=1e-6
    )


def without_rigid_motion(t: np.ndarray, x: np.ndarray) -> np.ndarray:
    unit = np.eye(3)
    shifts = [np.tile(axis, len(x) // 3) for axis in unit]
    turns = [np.cross(axis, x.reshape(-1, 3)).ravel() for axis in unit]
    modes = np.array([*shifts, *turns]).T
    return t - modes @ np.linalg.lstsq(modes, t)[0]


def test_the_slopes_are_those_of_the_forces(result: PathResult) -> None:
    s, energy = profile(result, 200_001)
    derivative = np.gradient(energy, s)
    measured = np.interp(result.distances, s, derivative)
    checked = 0
    for i in range(len(result.X)):
        if result.climbing is not None and i == result.climbing + 1:
            assert measured[i] == pytest.approx(0.0, abs=2e-3)
            continue
        # Every image that is no extremum looks at its higher neighbour; ends have only one.
        ahead = i + 1 < len(result.X) and (i == 0 or result.energies[i + 1] > result.energies[i])
        pair = (i, i + 1) if ahead else (i - 1, i)
        if 0 < i < len(result.X) - 1:
            rises = np.diff(result.energies[i - 1 : i + 2])
            assert rises[0] * rises[1] > 0, "the paths of these tests have no minimum in between"
        t = result.X[pair[1]] - result.X[pair[0]]
        if result.coordinates.rigid and 0 < i < len(result.X) - 1:
            t = without_rigid_motion(t, result.X[i])
        slope = -result.forces[i] @ t / np.linalg.norm(t)
        assert measured[i] == pytest.approx(slope, abs=5e-3 * max(1.0, abs(slope)))
        checked += 1
    assert checked >= 2


def texts(ax: Axes) -> list[str]:
    return [text.get_text() for text in ax.texts]


def test_the_picture_says_what_was_found(result: PathResult) -> None:
    ax = plot_profile(result)
    points = next(line for line in ax.lines if line.get_marker() == "o")
    np.testing.assert_allclose(points.get_xdata(), result.distances)
    np.testing.assert_allclose(points.get_ydata(), result.energies)
    assert "Å" in ax.get_xlabel() and "eV" in ax.get_ylabel()
    title = ax.get_title(loc="left")
    assert f"{len(result.X) - 2} images" in title and f"{result.calls['images']} evaluations" in title
    assert ": converged" in title
    assert result.coordinates.template.symbols.formula.format("hill") in title
    stars = [line for line in ax.lines if line.get_marker() == "*"]
    if result.climbing is None:
        assert not stars and not texts(ax)
    else:
        assert stars[0].get_ydata()[0] == pytest.approx(result.barrier)
        assert sorted(texts(ax)) == sorted(
            [f"{result.barrier:.3f} eV", f"{result.barrier:.3f} eV →", f"{result.barrier_reverse:.3f} eV ←"]
        )
    # Everything drawn lies within the axes.
    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
    assert left < 0 and right > result.distances[-1]
    assert low < min(result.energies.min(), 0) and high > result.energies.max()
    insets = [other.get_title() for other in ax.figure.axes if other is not ax]
    expected = ["initial", "highest image", "final"]
    # Where an end is the highest image, two pictures say it all.
    assert insets == expected if result.climbing is not None else len(insets) == 2


def test_a_run_that_did_not_converge_says_so(hop: PathResult) -> None:
    ax = plot_profile(replace(hop, converged=False, reason="the budget is used up"))
    assert "not converged, the budget is used up" in ax.get_title(loc="left")


def test_axes_of_ones_own(hop: PathResult) -> None:
    ax = new_axes()
    assert hop.plot(ax) is ax
    assert len(ax.figure.axes) == 1


def test_pictures_are_written(result: PathResult, tmp_path: Path) -> None:
    for name, head in (("a.png", PNG), ("a.pdf", b"%PDF"), ("a.svg", b"<?xml")):
        save_figure(plot_profile(result), tmp_path / name)
        data = (tmp_path / name).read_bytes()
        assert data.startswith(head) and len(data) > 5000


@pytest.mark.parametrize("name", ["CH3CH2OH", "C6H6", "H2O", "HCN"])
def test_molecules_are_drawn_with_their_bonds(name: str) -> None:
    atoms = molecule(name)
    ax = new_axes()
    draw_structure(ax, atoms, viewpoint([atoms]))
    circles = [patch for patch in ax.patches if isinstance(patch, Circle)]
    assert len(circles) == 3 * len(atoms)
    assert len(ax.lines) == len(neighbor_list("i", atoms, natural_cutoffs(atoms, mult=1.2))) // 2
    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
    for circle in circles:
        (x, y), r = circle.center, circle.radius
        assert left <= x - r and x + r <= right and low <= y - r and y + r <= high
    assert right - left == pytest.approx(high - low)


def test_slabs_are_seen_from_the_side_with_near_atoms_in_front() -> None:
    slab = fcc100("Al", (2, 2, 3), vacuum=6.0)
    add_adsorbate(slab, "Au", 1.8, "hollow")
    ax = new_axes()
    draw_structure(ax, slab, viewpoint([slab]))
    discs = sorted((p for p in ax.patches if isinstance(p, Circle)), key=lambda p: -p.radius)[: len(slab)]
    heights = sorted(disc.center[1] for disc in discs)
    np.testing.assert_allclose(np.diff(heights), np.diff(np.sort(slab.positions[:, 2])), atol=1e-9)
    # Looking along +y: what has the smaller y is nearer and is drawn later.
    front, back = (pick(slab.positions[:, 1]) for pick in (np.argmin, np.argmax))
    depth = (slab.positions - slab.positions.mean(axis=0)) @ viewpoint([slab])
    assert depth[front, 2] > depth[back, 2]
    top = max(discs, key=lambda disc: disc.zorder)
    assert top.zorder == pytest.approx(depth[:, 2].max())


@pytest.mark.parametrize("name", ["CH3CH2OH", "C6H6", "H2O", "CO", "H"])
def test_views_are_rotations(name: str) -> None:
    atoms = molecule(name) if name != "H" else molecule("CO")[:1]
    atoms.rotate(40, (1, 2, 3))
    view = viewpoint([atoms])
    np.testing.assert_allclose(view @ view.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(view) == pytest.approx(1.0)
    spread = np.ptp((atoms.positions - atoms.positions.mean(axis=0)) @ view, axis=0)
    if name in ("C6H6", "H2O", "CO", "H"):
        assert spread[2] == pytest.approx(0.0, abs=1e-6)


def assert_same(stored: PathResult, result: PathResult) -> None:
    np.testing.assert_allclose(stored.X, result.X, atol=1e-7)
    np.testing.assert_allclose(stored.energies, result.energies, atol=1e-7)
    np.testing.assert_allclose(stored.forces, result.forces, atol=1e-6)
    assert stored.fmax == pytest.approx(result.fmax, abs=1e-5)
    assert stored.climbing == result.climbing
    assert stored.converged is result.converged and stored.calls["images"] == result.calls["images"]


def test_run_folders_give_the_path_back(hop: PathResult, hcn: PathResult, folder: Path) -> None:
    assert_same(stored_path(folder / "hop"), hop)
    assert_same(stored_path(folder / "hcn"), hcn)


@pytest.mark.parametrize("options", [{"climb": False}, {"springs": "string"}, {"tangent": "bisection", "spring": 0.3}])
def test_paths_of_other_laws_are_read_with_their_law(options: dict[str, object], tmp_path: Path) -> None:
    # In the plane: constraints that only some formats keep.
    found = searched("muller_brown", 5, tmp_path / "run", method="lbfgs", max_calls=400, **options)
    stored = stored_path(tmp_path / "run")
    assert_same(stored, found)
    np.testing.assert_allclose(stored.tangents, found.tangents, atol=1e-6)
    assert plot_run(tmp_path / "run", convergence=True).read_bytes().startswith(PNG)


def unfinished(whole: Path, target: Path) -> Path:
    target.mkdir()
    for name in ("path.traj", "log.csv", "state.npz"):
        shutil.copy(whole / name, target / name)
    return target


def test_runs_that_were_killed_can_be_drawn(hop: PathResult, folder: Path, tmp_path: Path) -> None:
    half = unfinished(folder / "hop", tmp_path / "half")
    found = stored_path(half)
    assert not found.converged and "not finished" in found.reason
    assert found.calls["images"] == hop.calls["images"]
    assert found.fmax == pytest.approx(hop.fmax, abs=1e-5)
    assert plot_run(half).read_bytes().startswith(PNG)
    assert plot_run(half, tmp_path / "c.png", convergence=True).read_bytes().startswith(PNG)
    # Killed while it wrote: the band before is the last whole one.
    (half / "path.traj").write_bytes((half / "path.traj").read_bytes()[:-1500])
    cut_off = stored_path(half)
    assert len(cut_off.X) == len(hop.X)
    assert cut_off.fmax > hop.fmax
    np.testing.assert_allclose(cut_off.X[[0, -1]], hop.X[[0, -1]], atol=1e-7)


def test_folders_without_a_path_are_refused(tmp_path: Path, folder: Path, hop: PathResult) -> None:
    for target in (tmp_path / "nowhere", tmp_path):
        for convergence in (False, True):
            with pytest.raises(InputError, match="run folder" if target.name == "nowhere" else "sciopt neb"):
                plot_run(target, convergence=convergence)
    with pytest.raises(InputError, match="docx"):
        plot_run(folder / "hop", tmp_path / "a.docx")


@pytest.fixture(scope="module")
def found(folder: Path) -> PathResult:
    """By Gaussian process."""
    return searched("au_al100_hop", 5, folder / "gp", method="gp")


def marks(ax: Axes, label: str) -> tuple[np.ndarray, np.ndarray]:
    handles, labels = ax.get_legend_handles_labels()
    line = handles[next(i for i, text in enumerate(labels) if text.startswith(label))]
    line = getattr(line, "lines", [line])[0]
    return np.asarray(line.get_xdata()), np.asarray(line.get_ydata())


def test_predicted_images_are_told_from_evaluated_ones(found: PathResult) -> None:
    assert found.energy_errors is not None
    known = found.energy_errors == 0.0
    assert known[[0, -1]].all() and not known.all()
    ax = plot_profile(found)
    for label, chosen in (("evaluated", known), ("predicted", ~known)):
        places, energies = marks(ax, label)
        np.testing.assert_allclose(places, found.distances[chosen])
        np.testing.assert_allclose(energies, found.energies[chosen])
    assert ax.containers[0].has_yerr
    segments = ax.containers[0].lines[2][0].get_segments()
    np.testing.assert_allclose([np.ptp(one[:, 1]) for one in segments], 4.0 * found.energy_errors[~known])
    places, energies = marks(ax, "all evaluations")
    assert len(places) == found.calls["images"] == len(found.lessons)
    np.testing.assert_allclose(energies, [one.energy - found.absolute_energies[0] for one in found.lessons])
    title = ax.get_title(loc="left")
    assert all(claim in title for claim in found.reason.split("; ")[:3]) and "method gp" in title


def test_points_are_projected_onto_the_path() -> None:
    t = np.linspace(0.0, 0.5 * np.pi, 400)
    circle = np.column_stack([np.cos(t), np.sin(t)])
    angles = np.array([0.2, 0.9, 1.3])
    points = np.column_stack([np.cos(angles), np.sin(angles)]) * [[1.4], [0.7], [1.0]]
    np.testing.assert_allclose(projected(circle, t, points), angles, atol=2e-3)


def test_the_surrogate_itself_is_drawn_where_it_is_kept(found: PathResult) -> None:
    def constant(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return found.absolute_energies[0] + 0.1 * np.ones(len(X)), 0.01 * np.ones(len(X))

    kept = replace(found)
    object.__setattr__(kept, "surrogate", constant)
    ax = plot_profile(kept)
    line = next(line for line in ax.lines if len(line.get_xdata()) == 400)
    np.testing.assert_allclose(line.get_ydata(), 0.1)
    outline = ax.collections[0].get_paths()[0].vertices
    assert (outline[:, 1].min(), outline[:, 1].max()) == pytest.approx((0.08, 0.12))


def test_the_learning_log_is_written_and_read(found: PathResult, folder: Path) -> None:
    with open(folder / "gp" / "learning.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == found.calls["images"]
    assert [float(row["energy_eV"]) for row in rows] == pytest.approx([one.energy for one in found.lessons])
    stored = stored_path(folder / "gp")
    for one, other in zip(stored.lessons, found.lessons, strict=True):
        np.testing.assert_allclose(one.x, other.x, atol=1e-8)
        assert (one.evaluation, one.image, one.why) == (other.evaluation, other.image, other.why)
        for name in ("expected", "energy", "force_error", "force_deviation", "trust", "length", "deviation"):
            assert getattr(one, name) == pytest.approx(getattr(other, name), rel=1e-5, nan_ok=True), name


def test_errors_are_stored_with_the_path(found: PathResult, hop: PathResult, folder: Path) -> None:
    said = json.loads((folder / "gp" / "summary.json").read_text())
    np.testing.assert_allclose(said["energy_errors"], found.energy_errors)
    np.testing.assert_allclose(said["force_errors"], found.force_errors)
    frames = read(folder / "gp" / "path.extxyz", index=":")
    assert [bool(atoms.info["evaluated"]) for atoms in frames] == (found.energy_errors == 0.0).tolist()
    stored = stored_path(folder / "gp")
    assert_same(stored, found)
    np.testing.assert_allclose(stored.energy_errors, found.energy_errors, atol=1e-8)
    np.testing.assert_allclose(stored.force_errors, found.force_errors, atol=1e-8)
    assert stored.reason == found.reason and stored.method == "gp"
    # A band without a surrogate has none.
    assert stored_path(folder / "hop").energy_errors is None


def test_the_learning_picture(found: PathResult, hop: PathResult, folder: Path, tmp_path: Path) -> None:
    left, upper, lower = plot_learning(found.lessons, "title").figure.axes
    asked = [one for one in found.lessons if np.isfinite(one.expected)]
    assert sum(len(line.get_xdata()) for line in left.lines[1:]) == len(asked)
    errors = np.asarray(upper.collections[0].get_offsets())
    np.testing.assert_allclose(errors[:, 1], [one.force_error for one in found.lessons if np.isfinite(one.force_error)])
    np.testing.assert_allclose(lower.lines[0].get_ydata(), [one.trust for one in found.lessons])
    assert plot_run(folder / "gp", tmp_path / "a.png", learning=True).read_bytes().startswith(PNG)
    with pytest.raises(InputError, match="learned nothing"):
        plot_run(folder / "hop", learning=True)
    with pytest.raises(InputError, match="no run folder"):
        plot_run(tmp_path / "nowhere", learning=True)
    with pytest.raises(InputError, match="--learning"):
        plot_run(folder / "gp", convergence=True)
    broken = tmp_path / "broken"
    shutil.copytree(folder / "gp", broken)
    (broken / "learning.csv").write_text("evaluation,image\n1,2\n")
    with pytest.raises(InputError, match=r"learning\.csv"):
        plot_run(broken)


def test_a_killed_path_finder_shows_the_band_of_its_checkpoint(tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    last = []

    def killed(snapshot: object) -> None:
        last[:] = [snapshot.state.memory]
        if len(snapshot.history) == 6:
            raise Killed

    with pytest.raises(Killed):
        searched("au_al100_hop", 5, tmp_path / "run", method="gp", callback=killed)
    stored = stored_path(tmp_path / "run")
    memory = last[0]
    np.testing.assert_allclose(stored.X, memory.X)
    assert not stored.converged and "not finished" in stored.reason
    assert stored.calls["images"] == len(stored.lessons) == len(memory.lessons)
    assert stored.energy_errors is not None and (stored.energy_errors[1:-1] > 0).any()
    assert plot_run(tmp_path / "run").read_bytes().startswith(PNG)
    assert plot_run(tmp_path / "run", learning=True).read_bytes().startswith(PNG)
