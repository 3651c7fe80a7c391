"""Shaded pictures of surfaces: a depth buffer, smooth normals, three lights and darker hollows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numba import njit
from scipy.ndimage import gaussian_filter, map_coordinates

from sciopt.topopt.surface import Surface

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sciopt.core.types import Array, Mask

__all__ = ["Camera", "Picture", "render", "smoothed"]

# Samples per pixel and axis.
_SAMPLES = 2
# Directions towards the lights (right, up, towards the reader) and their strengths: key, fill, rim from behind.
_LIGHTS = (((-0.3, 0.6, 0.85), 0.62), ((0.85, 0.15, 0.6), 0.40), ((0.1, 0.5, -0.9), 0.15))
_AMBIENT, _SHINE = 0.27, 0.16
_COLOUR = (0.60, 0.71, 0.82)
# Cosine of the angle between triangles above which the edge between them is sharp.
_CREASE = 0.5


@dataclass(frozen=True)
class Camera:
    """Parallel projection, y up: from the front, turned by `turn` degrees to the right and raised by `rise`."""

    turn: float = -32.0
    rise: float = 24.0

    @property
    def axes(self) -> Array:
        """(3, 3) right, up and towards the reader as rows."""
        turn, rise = np.radians([self.turn, self.rise])
        right = np.array([np.cos(turn), 0.0, -np.sin(turn)])
        towards = np.array([np.sin(turn) * np.cos(rise), np.sin(rise), np.cos(turn) * np.cos(rise)])
        return np.stack([right, np.cross(towards, right), towards])


@dataclass(frozen=True, eq=False)
class Picture:
    """An image and where it belongs.

    Parameters
    ----------
    pixels
        (height, width, 4) red, green, blue and opacity in [0, 1], the top row first.
    extent
        Left, right, bottom and top in the unit of the points, along the camera's right and up.
    depth
        (height, width) of what is seen, larger is nearer; minus infinity where nothing is.
    """

    pixels: Array
    extent: tuple[float, float, float, float]
    depth: Array

    def shows(self, places: Array, tolerance: float) -> Array:
        """(n,) whether nothing hides the places (n, 3), given along the camera's axes."""
        left, right, bottom, top = self.extent
        height, width = self.depth.shape
        column = np.clip((places[:, 0] - left) / (right - left) * width, 0, width - 1).astype(int)
        row = np.clip((top - places[:, 1]) / (top - bottom) * height, 0, height - 1).astype(int)
        return np.asarray(places[:, 2] >= self.depth[row, column] - tolerance)


def smoothed(found: Surface, rounds: int = 12, still: Mask | None = None) -> Surface:
    """The surface without the terraces of its cubes, for the eye only; points that are `still` (n,) stay.

    Taubin, *A signal processing approach to fair surface design* (1995), doi 10.1145/218380.218473.
    """
    edges = np.concatenate([found.triangles[:, [a, b]] for a, b in ((0, 1), (1, 2), (2, 0))])
    points = found.points
    for _ in range(rounds):
        for share in (0.5, -0.53):
            moved = points + share * (_neighbours(points, edges) - points)
            points = moved if still is None else np.where(still[:, None], points, moved)
    return Surface(points, found.triangles)


def render(found: Surface, camera: Camera, corners: Array, longest: int) -> Picture:
    """Picture of a surface.

    Parameters
    ----------
    found
        The surface.
    camera
        Where it is seen from.
    corners
        (n, 3) points that must be in the picture.
    longest
        Width or height of the picture in pixels, whichever is more.
    """
    axes = camera.axes
    points, frame = found.points @ axes.T, corners @ axes.T
    low, high = frame.min(axis=0)[:2], frame.max(axis=0)[:2]
    margin = 0.01 * (high - low).max()
    low, high = low - margin, high + margin
    scale = _SAMPLES * longest / (high - low).max()
    width, height = np.ceil((high - low) * scale / _SAMPLES).astype(int)
    extent = (low[0], low[0] + width * _SAMPLES / scale, high[1] - height * _SAMPLES / scale, high[1])
    screen = np.column_stack(
        [(points[:, 0] - low[0]) * scale - 0.5, (high[1] - points[:, 1]) * scale - 0.5, points[:, 2]]
    )
    depth, normals = _rasterize(screen[found.triangles], _normals(found) @ axes.T, height * _SAMPLES, width * _SAMPLES)
    seen = np.isfinite(depth)
    pixels = np.zeros((*depth.shape, 4))
    pixels[seen, :3] = _shade(normals[seen], _hollows(depth, seen, 0.035 * (high - low).max(), scale))
    pixels[seen, 3] = 1.0
    blocks = (height, _SAMPLES, width, _SAMPLES)
    pixels = pixels.reshape(*blocks, 4).mean(axis=(1, 3))
    pixels[..., :3] /= np.maximum(pixels[..., 3:], 1e-9)
    return Picture(pixels, extent, depth.reshape(blocks).max(axis=(1, 3)))


def _neighbours(values: Array, edges: NDArray[np.int64]) -> Array:
    """(n, 3) mean of the values at the other ends of each point's edges, which are listed in both directions."""
    sums = [np.bincount(edges[:, 0], values[edges[:, 1], axis], len(values)) for axis in range(3)]
    return np.stack(sums, axis=1) / np.bincount(edges[:, 0], minlength=len(values))[:, None]


def _normals(found: Surface) -> Array:
    """(m, 3, 3) normal at each corner of each triangle: the mean around the corner, the triangle's own at creases."""
    areas = found.areas
    around = np.zeros_like(found.points)
    for axis in range(3):
        for corner in range(3):
            around[:, axis] += np.bincount(found.triangles[:, corner], areas[:, axis], len(around))
    own, around = (n / np.maximum(np.linalg.norm(n, axis=1, keepdims=True), 1e-300) for n in (areas, around))
    smooth = around[found.triangles]
    sharp = np.einsum("mij,mj->mi", smooth, own) < _CREASE
    return np.where(sharp[..., None], own[:, None], smooth)


def _shade(normals: Array, hollow: Array) -> Array:
    """(n, 3) colours of pixels with the normals (n, 3), darker where they are hollow (n,)."""
    light, gloss = _AMBIENT + 0.10 * normals[:, 1], np.zeros(len(normals))
    for place, (towards, strength) in enumerate(_LIGHTS):
        direction = np.array(towards) / np.linalg.norm(towards)
        light += strength * np.maximum(normals @ direction, 0.0)
        if place == 0:
            halfway = direction + np.array([0.0, 0.0, 1.0])
            gloss = _SHINE * np.maximum(normals @ (halfway / np.linalg.norm(halfway)), 0.0) ** 24
    light *= 1.0 - 0.55 * hollow
    return np.clip(np.array(_COLOUR) * light[:, None] + gloss[:, None], 0.0, 1.0)


def _hollows(depth: Array, seen: Array, radius: float, scale: float) -> Array:
    """(n,) how far the pixels that show something lie behind their surroundings, in [0, 1].

    Luft, Colditz and Deussen, *Image enhancement by unsharp masking the depth buffer* (2006),
    doi 10.1145/1141911.1142016.
    """
    # The mean is smooth: eight samples per radius are enough.
    step = max(int(scale * radius / 8), 1)
    known = np.where(seen, depth, 0.0)[::step, ::step]
    weight = gaussian_filter(seen[::step, ::step].astype(float), scale * radius / step, truncate=2.0)
    mean = gaussian_filter(known, scale * radius / step, truncate=2.0) / np.maximum(weight, 1e-9)
    rows, columns = np.nonzero(seen)
    behind = map_coordinates(mean, [rows / step, columns / step], order=1, mode="nearest") - depth[seen]
    return np.asarray(np.clip(behind / (2.5 * radius), 0.0, 1.0))


@njit(cache=True)
def _rasterize(corners, normals, height, width):
    """Depth of the nearest triangle at each pixel, minus infinity for none, and its normal there."""
    depth = np.full((height, width), -np.inf)
    image = np.zeros((height, width, 3))
    for m in range(len(corners)):
        (ax, ay, az), (bx, by, bz), (cx, cy, cz) = corners[m]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area >= 0.0:
            continue  # seen from inside: rows count downwards
        for i in range(max(int(np.ceil(min(ay, by, cy))), 0), min(int(max(ay, by, cy)), height - 1) + 1):
            for j in range(max(int(np.ceil(min(ax, bx, cx))), 0), min(int(max(ax, bx, cx)), width - 1) + 1):
                v = ((j - ax) * (cy - ay) - (i - ay) * (cx - ax)) / area
                w = ((bx - ax) * (i - ay) - (by - ay) * (j - ax)) / area
                u = 1.0 - v - w
                if u < -1e-9 or v < -1e-9 or w < -1e-9:
                    continue
                z = u * az + v * bz + w * cz
                if z > depth[i, j]:
                    depth[i, j] = z
                    x, y, t = u * normals[m, 0] + v * normals[m, 1] + w * normals[m, 2]
                    length = np.sqrt(x * x + y * y + t * t)
                    image[i, j, 0], image[i, j, 1], image[i, j, 2] = x / length, y / length, t / length
    return depth, image
