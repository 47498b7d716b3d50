"""The picture: looks, light and room, and the frames one by one."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter, zoom

from dialogbuild.head.model import HeadModel
from dialogbuild.head.pose import HeadPose, pose_head, to_camera
from dialogbuild.render.appearance import Appearance, Palette, make_appearance
from dialogbuild.render.scene import render_head
from dialogbuild.render.shading import GAMMA, Lighting, studio_light
from dialogbuild.synth.shots import Shot, view_camera
from dialogbuild.synth.spec import DialogueSpec

Image = npt.NDArray[np.uint8]

_BLOCK_FRAMES = 16

_PAIRS = (
    (
        Palette(
            (0.80, 0.61, 0.50), (0.66, 0.41, 0.38), (0.16, 0.11, 0.08),
            (0.30, 0.22, 0.15), (0.24, 0.33, 0.46), 0.5, 0.7, 0.007,
        ),
        Palette(
            (0.91, 0.75, 0.66), (0.78, 0.43, 0.43), (0.45, 0.27, 0.15),
            (0.40, 0.50, 0.46), (0.56, 0.24, 0.26), 0.9, 0.0, 0.010,
        ),
    ),
    (
        Palette(
            (0.55, 0.39, 0.30), (0.50, 0.29, 0.27), (0.09, 0.07, 0.06),
            (0.22, 0.15, 0.11), (0.70, 0.67, 0.60), 0.2, 0.4, 0.005,
        ),
        Palette(
            (0.87, 0.70, 0.59), (0.74, 0.42, 0.41), (0.62, 0.49, 0.33),
            (0.40, 0.52, 0.62), (0.22, 0.42, 0.36), 0.7, 0.0, 0.010,
        ),
    ),
    (
        Palette(
            (0.88, 0.71, 0.62), (0.72, 0.45, 0.43), (0.40, 0.36, 0.33),
            (0.38, 0.48, 0.55), (0.28, 0.38, 0.30), 0.8, 0.9, 0.005,
        ),
        Palette(
            (0.66, 0.48, 0.37), (0.62, 0.34, 0.33), (0.10, 0.08, 0.07),
            (0.25, 0.17, 0.12), (0.72, 0.55, 0.26), 0.4, 0.0, 0.010,
        ),
    ),
)  # fmt: skip
_BYSTANDER = Palette((0.84, 0.66, 0.55), (0.70, 0.44, 0.42), (0.28, 0.20, 0.14), (0.36, 0.40, 0.36), (0.40, 0.40, 0.42))


@lru_cache(maxsize=8)
def appearance_of(model: HeadModel, seed: int, person: int) -> Appearance:
    """How a person looks; the two speakers of any seed differ in skin, hair and shirt."""
    palette = _BYSTANDER if person == 2 else _PAIRS[seed % len(_PAIRS)][person]
    return make_appearance(model, seed=seed * 3 + person, palette=palette)


def scene_light(spec: DialogueSpec) -> Lighting:
    """A key light from the upper left or right, and a weak fill."""
    rng = np.random.default_rng([spec.seed, 4])
    side = 1.0 if rng.uniform() < 0.5 else -1.0
    return studio_light((side * rng.uniform(0.3, 0.5), -rng.uniform(0.4, 0.55), -0.75))


def backdrop(width_px: int, height_px: int, seed: int, shot: int = 0) -> Image:
    """An out-of-focus room, (H, W, 3) uint8: wall, window, shelf with books, lamp."""
    rng = np.random.default_rng([seed, 5])
    scale = height_px / 360.0
    margin = 1.3
    h, w = round(height_px * margin), round(width_px * margin)
    y, x = np.mgrid[0:h, 0:w].astype(np.float32)
    wall = np.array([0.40, 0.36, 0.31]) * rng.uniform(0.85, 1.15, 3)
    image = (wall * (1.15 - 0.5 * y / h + 0.15 * x / w)[..., None]).astype(np.float32)
    cells = rng.normal(size=(12, 20, 1)).astype(np.float32)
    image *= 1 + 0.05 * zoom(cells, (h / 12, w / 20, 1), order=1)
    u, v = w / 100, h / 100
    _box(image, (8 * u, 6 * v, 30 * u, 62 * v), (0.30, 0.24, 0.18))
    _box(image, (9.5 * u, 8 * v, 28.5 * u, 60 * v), (0.62, 0.70, 0.78))
    _box(image, (18.5 * u, 8 * v, 19.5 * u, 60 * v), (0.30, 0.24, 0.18))
    for row in range(3):
        _books(image, rng, (62 * u, (10 + 22 * row) * v, 93 * u, (29 + 22 * row) * v))
    glow = np.exp(-(((x - 48 * u) / (11 * u)) ** 2 + ((y - 30 * v) / (22 * v)) ** 2))
    image += 0.22 * glow[..., None] * np.array([1.0, 0.78, 0.50], np.float32)
    image = gaussian_filter(image, (7 * scale, 7 * scale, 0))
    image *= 1 + 0.015 * gaussian_filter(rng.normal(size=(h, w)), 1.0 * scale)[..., None]
    # Each framing looks at another part of the room.
    left = round((w - width_px) * (0.5, 0.9, 0.1)[shot % 3])
    top = round((h - height_px) * (0.5, 0.35, 0.65)[shot % 3])
    part = image[top : top + height_px, left : left + width_px]
    return np.asarray(np.clip(part, 0, 1) ** (1 / GAMMA) * 255 + 0.5, np.uint8)


def _box(image: npt.NDArray[Any], corners: tuple[float, float, float, float], colour: tuple[float, ...]) -> None:
    x0, y0, x1, y1 = (round(c) for c in corners)
    image[y0:y1, x0:x1] = colour


def _books(image: npt.NDArray[Any], rng: np.random.Generator, box: tuple[float, float, float, float]) -> None:
    x0, y0, x1, y1 = box
    _box(image, (x0, y0, x1, y1), (0.10, 0.07, 0.05))
    at = x0 + 2
    while at < x1 - 4:
        wide = (x1 - x0) * rng.uniform(0.04, 0.10)
        top = y0 + (y1 - y0) * rng.uniform(0.12, 0.45)
        tone = rng.uniform(0.15, 0.55)
        colour = tuple(float(c) for c in tone * rng.uniform(0.5, 1.1, 3))
        _box(image, (at, top, min(at + wide, x1 - 2), y1 - (y1 - y0) * 0.08), colour)
        at += wide * 1.08


def render_frames(
    model: HeadModel, spec: DialogueSpec, shots: list[Shot], poses: list[HeadPose], supersample: int = 2
) -> Iterator[Image]:
    """The video's frames in order, (H, W, 3) uint8 RGB; one block of posed heads is in memory at a time."""
    light = scene_light(spec)
    for index, shot in enumerate(shots):
        order = sorted(range(len(poses)), key=lambda p: -shot.seats[p].transl_m[2])
        seen = [p for p in order if shot.seats[p].visible]
        still = _empty_frame(spec, index, shot)
        for start in range(shot.start_frame, shot.end_frame, _BLOCK_FRAMES):
            frames = slice(start, min(start + _BLOCK_FRAMES, shot.end_frame))
            posed = {p: _posed(model, poses[p].frames(frames)) for p in seen}
            for i in range(frames.stop - frames.start):
                image = still.copy()
                for p in seen:
                    x0, y0, x1, y1 = shot.seats[p].view_px
                    image[y0:y1, x0:x1] = render_head(
                        model,
                        appearance_of(model, spec.seed, p),
                        posed[p][i],
                        view_camera(shot.seats[p]),
                        light,
                        np.ascontiguousarray(image[y0:y1, x0:x1]),
                        supersample,
                    )
                yield image


def _posed(model: HeadModel, pose: HeadPose) -> npt.NDArray[np.float32]:
    return to_camera(pose_head(model, pose), pose.transl_m)


def _empty_frame(spec: DialogueSpec, index: int, shot: Shot) -> Image:
    if spec.layout != "split_screen":
        variant = 2 * index if spec.layout == "close_ups" else index
        return backdrop(spec.width_px, spec.height_px, spec.seed, variant)
    frame = np.zeros((spec.height_px, spec.width_px, 3), np.uint8)
    for panel, x0 in enumerate((0, spec.width_px // 2)):
        x1 = spec.width_px // 2 if panel == 0 else spec.width_px
        frame[:, x0:x1] = backdrop(x1 - x0, spec.height_px, spec.seed * 2 + panel, index + panel)
    return frame
