from __future__ import annotations

import logging
import xml.etree.ElementTree as ET
from base64 import b64decode

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from sciopt.core.errors import InputError
from sciopt.topopt.export import write_npz, write_stl, write_vti
from sciopt.topopt.surface import surface


def read_vti(path):
    """An independent reader: extent, spacing and the arrays of cells and points by name, (number, components)."""
    root = ET.parse(path).getroot()
    assert root.attrib["type"] == "ImageData" and root.attrib["byte_order"] == "LittleEndian"
    image = root.find("ImageData")
    found = {}
    for place in ("CellData", "PointData"):
        found[place] = {}
        for array in image.find("Piece").find(place):
            data = b64decode(array.text.strip())
            kinds = {"Float64": "<f8", "Float32": "<f4", "UInt8": "u1", "Int64": "<i8", "Int32": "<i4"}
            assert array.attrib["format"] == "binary" and root.attrib["header_type"] == "UInt64"
            length = int(np.frombuffer(data[:8], "<u8")[0])
            assert length == len(data) - 8
            values = np.frombuffer(data[8:], kinds[array.attrib["type"]])
            found[place][array.attrib["Name"]] = values.reshape(-1, int(array.attrib["NumberOfComponents"]))
    return (
        [int(word) for word in image.attrib["WholeExtent"].split()],
        [float(word) for word in image.attrib["Spacing"].split()],
        found,
    )


def read_stl(path):
    """Independent of the writer: normals (m, 3) and corners (m, 3, 3)."""
    data = path.read_bytes()
    count = int.from_bytes(data[80:84], "little")
    assert len(data) == 84 + 50 * count
    assert not data.startswith(b"solid")
    rows = np.frombuffer(data[84:], "u1").reshape(count, 50)
    numbers = np.frombuffer(rows[:, :48].tobytes(), "<f4").reshape(count, 4, 3).astype(float)
    return numbers[:, 0], numbers[:, 1:]


def closed_volume(corners):
    """The enclosed volume; asserts that every directed edge occurs once and its opposite once, by coordinates."""
    points, index = np.unique(corners.reshape(-1, 3), axis=0, return_inverse=True)
    triangles = index.reshape(-1, 3)
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    assert np.all(edges[:, 0] != edges[:, 1])
    keys = np.sort(edges[:, 0] * len(points) + edges[:, 1])
    assert np.all(np.diff(keys) > 0)
    np.testing.assert_array_equal(keys, np.sort(edges[:, 1] * len(points) + edges[:, 0]))
    return np.linalg.det(corners).sum() / 6


def ball(shape, radius):
    """Densities of a ball in the middle, linear over one element at its surface."""
    at = np.stack(np.meshgrid(*[np.arange(n) + 0.5 - n / 2 for n in reversed(shape)], indexing="ij"))
    return np.clip(radius + 0.5 - np.linalg.norm(at, axis=0), 0.0, 1.0).ravel()


@pytest.mark.parametrize("shape", [(5, 3), (4, 3, 2)])
def test_vti_is_read_back(tmp_path, shape):
    rng = np.random.default_rng(0)
    n, dim, nodes = int(np.prod(shape)), len(shape), tuple(m + 1 for m in shape[::-1])
    fields = {
        "density": rng.random(n),
        "design": rng.random(n) < 0.5,
        "single": rng.random(n).astype(np.float32),
        "displacement": rng.normal(size=(dim, *nodes)),
        "temperature": rng.normal(size=(1, *nodes)),
    }
    spacing = (0.5, 0.25, 2.0)[:dim]
    write_vti(tmp_path / "design.vti", shape, spacing, fields)
    extent, edges, found = read_vti(tmp_path / "design.vti")
    assert extent == [0, shape[0], 0, shape[1], 0, shape[2] if dim == 3 else 0]
    assert edges[:dim] == list(spacing)
    for name in ("density", "design", "single"):
        np.testing.assert_array_equal(found["CellData"][name][:, 0], fields[name])
    vectors = found["PointData"]["displacement"]
    assert vectors.shape == (int(np.prod(nodes)), 3)
    # x fastest: the node at (1, 2) or (1, 2, 1).
    at = 1 + nodes[-1] * (2 + (nodes[-2] if dim == 3 else 0))
    place = (slice(None), 2, 1) if dim == 2 else (slice(None), 1, 2, 1)
    np.testing.assert_array_equal(vectors[at, :dim], fields["displacement"][place])
    assert np.all(vectors[:, dim:] == 0.0)
    np.testing.assert_array_equal(found["PointData"]["temperature"][:, 0], fields["temperature"].ravel())


def test_vti_refuses_what_fits_nothing(tmp_path):
    with pytest.raises(InputError, match="'u' has shape"):
        write_vti(tmp_path / "a.vti", (3, 2), (1.0, 1.0), {"u": np.zeros(7)})
    assert not list(tmp_path.iterdir())


def test_npz_is_read_back(tmp_path):
    density = np.random.default_rng(0).random((4, 3))
    write_npz(tmp_path / "design.npz", density=density, spacing=np.array([1.0, 2.0]))
    with np.load(tmp_path / "design.npz") as found:
        np.testing.assert_array_equal(found["density"], density)
        np.testing.assert_array_equal(found["spacing"], [1.0, 2.0])


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.5, 0.25, 2.0)])
def test_solid_block_is_a_block(tmp_path, spacing):
    shape = (6, 4, 3)
    write_stl(tmp_path / "block.stl", np.ones(72), shape, spacing)
    normals, corners = read_stl(tmp_path / "block.stl")
    size = np.array(shape) * spacing
    assert np.isclose(closed_volume(corners), size.prod(), rtol=1e-3)
    # Two hundredths of an element are what the flat faces are thick at most.
    assert np.all(np.abs(corners.min(axis=(0, 1))) < 0.02 * np.array(spacing))
    assert np.all(np.abs(corners.max(axis=(0, 1)) - size) < 0.02 * np.array(spacing))
    outwards = np.einsum("ij,ij->i", normals, corners.mean(axis=1) - size / 2)
    assert np.all(outwards > 0.0)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1.0, rtol=1e-5)


def test_ball_has_its_volume_and_area():
    density = ball((24, 24, 24), 9.0)
    found = surface(density, (24, 24, 24))
    assert np.isclose(found.volume, density.sum(), rtol=1e-5)
    assert np.isclose(found.volume, 4 / 3 * np.pi * 9.0**3, rtol=5e-3)
    assert np.isclose(np.linalg.norm(found.areas, axis=1).sum(), 4 * np.pi * 9.0**2, rtol=1e-2)
    np.testing.assert_allclose(found.areas.sum(axis=0), 0.0, atol=1e-9)


@pytest.mark.parametrize("shape", [(9, 7), (8, 7, 6)])
@pytest.mark.parametrize("kind", ["noise", "black and white", "few values"])
def test_surfaces_of_the_worst_designs_are_closed(tmp_path, shape, kind):
    for seed in range(6):
        field = np.random.default_rng(seed).random(shape[::-1])
        if kind == "black and white":
            field = (field < 0.5).astype(float)
        elif kind == "few values":
            field = np.round(4 * field) / 4
        write_stl(tmp_path / "noise.stl", field.ravel(), shape, thickness=2.0)
        volume = closed_volume(read_stl(tmp_path / "noise.stl")[1])
        # The volume jumps with the level where densities touch along an edge only, more so where they are the same.
        target = field.sum() * (2.0 if len(shape) == 2 else 1.0)
        assert np.isclose(volume, target, rtol=0.2 if kind == "few values" else 0.02)


@pytest.mark.parametrize("shape", [(30, 20), (18, 12, 10)])
@pytest.mark.parametrize("sharpness", [8.0, 60.0, 1000.0])
def test_designs_keep_their_volume(tmp_path, shape, sharpness, caplog):
    smooth = gaussian_filter(np.random.default_rng(0).random(shape[::-1]), 1.5)
    smooth = (smooth - smooth.mean()) / np.ptp(smooth)
    field = 1 / (1 + np.exp(-sharpness * smooth))
    write_stl(tmp_path / "design.stl", field.ravel(), shape, thickness=2.0)
    volume = closed_volume(read_stl(tmp_path / "design.stl")[1])
    assert np.isclose(volume, field.sum() * (2.0 if len(shape) == 2 else 1.0), rtol=1e-3)
    assert not caplog.records


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), level=st.floats(0.05, 0.95))
def test_any_level_gives_a_closed_surface(seed, level):
    shape = (5, 4, 4)
    field = np.random.default_rng(seed).random(80)
    field[0] = 1.0
    found = surface(field, shape, level=level)
    assert np.isclose(closed_volume(found.points[found.triangles].astype(np.float32).astype(float)), found.volume)
    assert found.volume > 0.0


def test_large_grids_survive_single_precision(tmp_path):
    field = np.random.default_rng(0).random(400 * 3 * 3)
    write_stl(tmp_path / "long.stl", field, (400, 3, 3))
    closed_volume(read_stl(tmp_path / "long.stl")[1])


def test_extruded_disc(tmp_path):
    density = ball((30, 20), 8.0)
    write_stl(tmp_path / "disc.stl", density, (30, 20))
    _, corners = read_stl(tmp_path / "disc.stl")
    assert np.isclose(closed_volume(corners), np.pi * 8.0**2 * 3.0, rtol=5e-3)
    assert np.isclose(np.ptp(corners[..., 2]), 3.0, atol=0.03)


def test_what_has_no_surface(tmp_path, caplog):
    with pytest.raises(InputError, match="no density exceeds"):
        surface(np.zeros(6), (3, 2))
    with pytest.raises(InputError, match=r"no density exceeds 0\.9"):
        surface(np.full(6, 0.5), (3, 2), level=0.9)
    with pytest.raises(InputError, match="expected 6 finite numbers"):
        surface(np.full(7, 0.5), (3, 2))
    with caplog.at_level(logging.WARNING, logger="sciopt"):
        write_stl(tmp_path / "grey.stl", np.full(6, 0.5), (3, 2))
    assert "too grey" in caplog.text
