from __future__ import annotations

import io
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from sciopt.core.errors import InputError
from sciopt.topopt.marks import marks_of, thinned
from sciopt.topopt.plot import (
    caption_of,
    convergence_figure,
    design_figure,
    plot_convergence,
    plot_design,
    save,
    write_animation,
)
from sciopt.topopt.record import DesignRecord
from sciopt.topopt.render import Camera, render, smoothed
from sciopt.topopt.surface import surface


def beam(shape=(12, 4), spacing=(1.0, 1.0)):
    """Half of a beam on two supports: symmetric about x = 0, a roller at the lower right, a load at the upper left."""
    n, nodes, dim = int(np.prod(shape)), tuple(m + 1 for m in shape[::-1]), len(shape)
    fixed, loads = np.zeros((dim, *nodes), dtype=bool), np.zeros((1, dim, *nodes))
    fixed[0][..., 0] = True
    fixed[1][..., 0, -1] = True
    loads[0, 1][..., -1, 0] = -1.0
    return SimpleNamespace(shape=shape, spacing=spacing, material=np.ones(n), fixed=fixed, loads=loads, outputs=None)


def pixels(figure, dpi=100):
    """(height, width, 3) in [0, 1], and the map from data of the first axes to columns and rows."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    image = np.asarray(Image.open(buffer).convert("RGB")) / 255.0
    ax, scale = figure.axes[0], dpi / figure.dpi

    def place(x, y):
        column, row = ax.transData.transform((x, y)) * scale
        return int(column), int(image.shape[0] - row)

    return image, place


def record(**changes):
    plain = {
        **{"evaluation": 1, "stage": 0, "elements": 48, "penalty": 1.0, "beta": 0.0, "objective": 5.0, "volume": 0.5},
        **{"change": 0.1, "equivalents": 1.0, "limit": 0.2, "residual": 0.1, "accepted": True, "seconds": 0.1},
    }
    return DesignRecord(**plain | changes)


def test_elements_are_where_they_belong():
    density = np.random.default_rng(0).random(48)
    image, place = pixels(design_figure(beam(), density, marks=False))
    black = np.array([0.10, 0.13, 0.18])
    for element, rho in enumerate(density):
        column, row = place(element % 12 + 0.5, element // 12 + 0.5)
        np.testing.assert_allclose(image[row, column], rho * black + 1 - rho, atol=0.01)


def test_elements_keep_their_proportions():
    _, place = pixels(design_figure(beam(spacing=(0.5, 2.0)), np.ones(48)))
    (left, bottom), (right, top) = place(0, 0), place(6, 8)
    assert np.isclose((right - left) / (bottom - top), 6 / 8, rtol=0.01)


def test_mirrored_halves_are_mirrored():
    density = np.random.default_rng(0).random(48)
    image, place = pixels(design_figure(beam(), density, mirror=["left"], marks=False))
    left, right = place(-11.5, 1.5), place(11.5, 1.5)
    np.testing.assert_allclose(image[left[1], left[0]], image[right[1], right[0]], atol=0.01)
    assert np.abs(image - image[:, ::-1]).mean() < 0.01


@pytest.mark.parametrize(("face", "half"), [("right", (12.5, 1.5)), ("bottom", (11.5, -1.5)), ("top", (11.5, 6.5))])
def test_halves_are_mirrored_at_any_face(face, half):
    density = np.random.default_rng(0).random(48)
    image, place = pixels(design_figure(beam(), density, mirror=[face], marks=False))
    here, there = place(11.5, 1.5), place(*half)
    np.testing.assert_allclose(image[here[1], here[0]], image[there[1], there[0]], atol=0.01)
    with pytest.raises(InputError, match="'front'; its faces are left, right, bottom, top"):
        design_figure(beam(), density, mirror=["front"])


def test_tall_designs_are_not_larger_than_wide_ones():
    wide, tall = (design_figure(beam(shape), np.ones(48), "caption").get_size_inches() for shape in ((12, 4), (4, 12)))
    assert max(wide) < 9 and max(tall) < 9 and min(tall) > 4  # inches


def test_passive_voids_are_framed_and_not_supports():
    structure = beam()
    structure.material = structure.material.reshape(4, 12).copy()
    structure.material[2:, 6:] = 0.0
    inside = structure.material > 0
    structure.fixed[:, 3:, 7:] = True  # as builders fix nodes without material
    structure.material = structure.material.ravel()
    marks = marks_of(structure, inside)
    assert not np.any((marks.places[:, 0] > 6) & (marks.places[:, 1] > 2))
    assert {tuple(place) for place in marks.places} == {(0, 0), (0, 1), (0, 2), (0, 3), (0, 4), (12, 0)}


def test_supports_and_loads_of_both_halves():
    structure = beam()
    marks = marks_of(structure, np.ones((4, 12), dtype=bool)).mirrored(0, 0.0)
    # Rollers at the plane of symmetry stand for the other half.
    np.testing.assert_array_equal(marks.places, [[12, 0], [-12, 0]])
    np.testing.assert_array_equal(marks.held, [[False, True], [False, True]])
    (arrow,) = marks.arrows
    np.testing.assert_array_equal(arrow.place, [0, 4])
    np.testing.assert_array_equal(arrow.vector, [0, -1])


def test_colours_of_marks_are_seen():
    image, _ = pixels(design_figure(beam(), np.zeros(48)))
    for colour in ("c0392b", "1f4e79"):
        rgb = np.array(bytearray.fromhex(colour)) / 255
        assert (np.abs(image - rgb).max(axis=2) < 0.02).sum() > 20
    image, _ = pixels(design_figure(beam(), np.zeros(48), marks=False))
    assert image.min() > 0.6  # nothing but the frame


def test_body_loads_get_no_arrows():
    structure = beam()
    structure.loads[:] = 1.0
    assert marks_of(structure, np.ones((4, 12), dtype=bool)).arrows == ()


def test_thinned_marks_are_even():
    x = np.arange(25.0)
    np.testing.assert_array_equal(thinned(np.stack([x, 0 * x], axis=1), (1.0, 1.0), 5.2), [0, 5, 10, 15, 20])
    np.testing.assert_array_equal(thinned(np.zeros((0, 2)), (1.0, 1.0), 5.2), [])


def sphere(n=20, radius=7.0):
    at = np.stack(np.meshgrid(*[np.arange(n) + 0.5 - n / 2] * 3, indexing="ij"))
    return surface(np.clip(radius + 0.5 - np.linalg.norm(at, axis=0), 0, 1).ravel(), (n,) * 3)


CORNERS = np.array([[x, y, z] for x in (0, 20) for y in (0, 20) for z in (0, 20)], dtype=float)


@pytest.mark.parametrize("camera", [Camera(), Camera(0.0, 0.0), Camera(70.0, -20.0)])
def test_a_sphere_is_a_disc_from_everywhere(camera):
    np.testing.assert_allclose(camera.axes @ camera.axes.T, np.eye(3), atol=1e-15)
    assert np.isclose(np.linalg.det(camera.axes), 1.0)
    picture = render(sphere(), camera, CORNERS, 300)
    left, right, bottom, top = picture.extent
    pixel = (right - left) / picture.pixels.shape[1] * (top - bottom) / picture.pixels.shape[0]
    assert np.isclose(picture.pixels[..., 3].sum() * pixel, np.pi * 49.0, rtol=0.01)
    middle = camera.axes @ np.full(3, 10.0)
    assert np.isclose(picture.depth.max() - middle[2], 7.0, rtol=0.01)
    rows, columns = np.nonzero(picture.pixels[..., 3] > 0.5)
    assert np.isclose(left + (columns.mean() + 0.5) / picture.pixels.shape[1] * (right - left), middle[0], atol=0.05)
    assert np.isclose(top - (rows.mean() + 0.5) / picture.pixels.shape[0] * (top - bottom), middle[1], atol=0.05)
    # Light comes from above.
    bright, third = picture.pixels[rows, columns, :3].mean(axis=1), 0.3 * np.ptp(rows)
    assert bright[rows < rows.min() + third].mean() > bright[rows > rows.max() - third].mean() + 0.1
    towards = np.array([0.0, 0.0, 8.0])
    before, behind = middle + towards, middle - towards
    np.testing.assert_array_equal(picture.shows(np.array([before, behind]), 0.1), [True, False])


def test_camera_keeps_up_up_and_right_right():
    right, up, towards = Camera().axes
    assert up[1] > 0.8 and right[0] > 0.8 and right[1] == 0.0 and towards[2] > 0.5 and towards[1] > 0.0


def test_smoothing_for_the_eye_keeps_the_volume():
    ball = sphere()
    assert np.isclose(smoothed(ball).volume, ball.volume, rtol=0.01)
    radii = [np.linalg.norm(body.points - 10.0, axis=1).std() for body in (ball, smoothed(ball))]
    assert radii[1] < radii[0]


def test_solids_are_drawn():
    structure = beam((12, 4, 3), (1.0, 1.0, 1.0))
    image, _ = pixels(design_figure(structure, np.ones(144), "block", mirror=["left"]))
    assert (image.std(axis=2) > 0.03).mean() > 0.15  # the body is blue


def test_result_is_captioned():
    result = SimpleNamespace(
        problem=SimpleNamespace(structure=beam()),
        elements=np.full(48, 0.5),
        caption=caption_of(195.61, 0.5, 1.0),
    )
    (text,) = plot_design(result).texts
    assert text.get_text() == "objective 195.61, volume 50.0 %, greyness 100.0 %"


def test_convergence_shows_what_was_recorded():
    records = [record(evaluation=i + 1, equivalents=float(i), objective=9.0 - i, accepted=i != 3) for i in range(6)]
    records += [record(stage=1, equivalents=6.0 + i, objective=4.0 - i, beta=8.0) for i in range(3)]
    figure = plot_convergence(SimpleNamespace(records=records))
    top = figure.axes[0]
    curves = [line.get_xydata() for line in top.lines if line.get_marker() == "."]
    np.testing.assert_array_equal(curves[0], [[i, 9.0 - i] for i in (0, 1, 2, 4, 5)])
    np.testing.assert_array_equal(curves[1], [[6, 4], [7, 3], [8, 2]])
    rejected = [line.get_xydata() for line in top.lines if line.get_marker() == "x"]
    np.testing.assert_array_equal(rejected[0], [[3, 6]])
    assert [text.get_text() for text in top.texts] == ["48 elements", "48 elements\nbeta 8"]
    assert top.get_yscale() == "linear"
    steep = [record(equivalents=float(i), objective=10.0**i) for i in range(4)]
    assert convergence_figure(steep).axes[0].get_yscale() == "log"
    with pytest.raises(InputError, match="no evaluations"):
        convergence_figure([])


@pytest.mark.parametrize(("name", "begins"), [("a.png", b"\x89PNG"), ("a.pdf", b"%PDF"), ("a.svg", b"<?xml")])
def test_figures_are_saved_by_their_ending(tmp_path, name, begins):
    save(design_figure(beam(), np.ones(48)), tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(begins)


def test_animation_has_all_frames(tmp_path):
    designs = [np.full(48, share) for share in (0.2, 0.5, 1.0)]
    write_animation(tmp_path / "a.gif", beam(), designs, ["one", "two", "three"], seconds=1.5)
    with Image.open(tmp_path / "a.gif") as film:
        assert film.n_frames == 3 and film.info["loop"] == 0
        shades, durations = [], []
        for frame in range(3):
            film.seek(frame)
            shades.append(np.asarray(film.convert("L")).mean())
            durations.append(film.info["duration"])
    assert shades[0] > shades[1] > shades[2]
    assert durations == [500, 500, 1500]
    with pytest.raises(InputError, match="3 frames with 1 captions"):
        write_animation(tmp_path / "b.gif", beam(), designs, ["one"])
    with pytest.raises(InputError, match="0 frames"):
        write_animation(tmp_path / "b.gif", beam(), [])
