"""A video to look at: the frame beside the same frame with every fitted head drawn over it."""

from __future__ import annotations

import colorsys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from dialogbuild.fitvideo.measure import DOUBTFUL, GOOD, Fitted, shown
from dialogbuild.fitvideo.prepare import Material
from dialogbuild.head.model import HeadModel
from dialogbuild.head.pose import HeadPose, pose_head, to_camera
from dialogbuild.media.audio import iter_audio, write_flac
from dialogbuild.media.clock import FPS
from dialogbuild.media.encode import encode_video
from dialogbuild.render.overlay import overlay_mesh
from dialogbuild.tables import Columns

Array = np.ndarray[Any, np.dtype[Any]]
Colour = tuple[float, float, float]
_BLOCK_TICKS = 16  # heads posed at once
_MAX_PANEL_PX = (1280, 960)  # a panel is never larger; frames are shrunk to fit, never enlarged
_SOUND_HZ = 48000
_POSE = ("expr", "root_rad", "neck_rad", "jaw_rad", "eyes_rad", "transl_m")


def face_colour(index: int) -> Colour:
    """A colour per face, RGB 0..1; hues apart by the golden angle, so that neighbours always differ."""
    r, g, b = colorsys.hsv_to_rgb((0.57 + 0.381966 * index) % 1.0, 0.45, 1.0)
    return r, g, b


def panel_size(width_px: int, height_px: int) -> tuple[int, int]:
    """Even (width, height) of a panel in the shape of the frame."""
    scale = min(1.0, _MAX_PANEL_PX[0] / width_px, _MAX_PANEL_PX[1] / height_px)
    return max(2, 2 * round(width_px * scale / 2)), max(2, 2 * round(height_px * scale / 2))


def write_overlay(
    path: Path,
    material: Material,
    head: HeadModel,
    faces: Sequence[Fitted],
    quality: Sequence[Columns],
    progress: Callable[[int, int], None],
) -> None:
    """Encode the overlay of the whole video, 25 fps, with its sound where there is any."""
    size = panel_size(*material.size_px)
    n = len(material.ticks["tick"])

    def panels() -> Iterator[Array]:
        drawn = [_Drawn(head, f, q, size[0] / material.size_px[0]) for f, q in zip(faces, quality, strict=True)]
        for tick, rgb in material.frames(0, n, size_px=size):
            yield np.concatenate([rgb, compose(rgb, tick, drawn)], axis=1)
            progress(tick + 1, n)

    with tempfile.TemporaryDirectory(prefix=".sound-", dir=path.parent) as scratch:
        sound = _sound(material, Path(scratch) / "sound.flac", n)
        encode_video(path, panels(), FPS, (2 * size[0], size[1]), crf=20, audio=sound, preset="fast")


def _sound(material: Material, path: Path, n_ticks: int) -> Path | None:
    """The source's first audio stream on the video's clock, mono; None when there is none."""
    audio: Mapping[str, Any] | None = material.video["audio"]
    if audio is None:
        return None
    zero_s = material.video["start_pts"] * Fraction(*material.video["time_base"])
    n = int(n_ticks * _SOUND_HZ / FPS)
    write_flac(path, iter_audio(material.source, audio["stream"], zero_s, n, sample_rate=_SOUND_HZ), _SOUND_HZ)
    return path


class _Drawn:
    """A face that is posed block by block as the video goes on."""

    def __init__(self, head: HeadModel, fitted: Fitted, quality: Columns, scale: float) -> None:
        self.fitted, self.quality = fitted, quality
        self.camera = fitted.camera.scaled(scale)
        self.triangles = _above_shoulders(head)
        self.colour = face_colour(fitted.face.face)
        self.shown = shown(fitted)
        self._head = head
        self._first, self._vertices = -1, np.zeros((0, head.n_vertices, 3), np.float32)

    def row(self, tick: int) -> int | None:
        """The face's row at a tick, None when it is not on screen."""
        k = tick - self.fitted.face.start_tick
        return k if 0 <= k < len(self.shown) else None

    def vertices(self, row: int) -> Array:
        """(V, 3) in camera axes."""
        first = row - row % _BLOCK_TICKS
        if first != self._first:
            part, motion = slice(first, first + _BLOCK_TICKS), self.fitted.motion
            pose = HeadPose(self.fitted.shape, *(motion[name][part] for name in _POSE))
            self._vertices, self._first = to_camera(pose_head(self._head, pose), pose.transl_m), first
        return np.asarray(self._vertices[row - first])


def _above_shoulders(head: HeadModel) -> Array:
    torso = np.zeros(head.n_vertices, bool)
    torso[head.masks.get("torso", np.zeros(0, np.int32))] = True
    return np.asarray(head.faces[~torso[head.faces].any(axis=1)])


def compose(rgb: Array, tick: int, faces: Sequence[_Drawn]) -> Array:
    """The frame with the heads of one tick, the farthest first, and a line of text per face on screen."""
    image, on_screen = rgb, []
    for face in faces:
        row = face.row(tick)
        if row is not None:
            on_screen.append((-float(face.fitted.motion["transl_m"][row, 2]), face, row))
    for _, face, row in sorted(on_screen, key=lambda item: item[0]):
        if face.shown[row]:
            sure = face.quality["verdict"][row] in (GOOD, DOUBTFUL)
            image = overlay_mesh(
                image, face.vertices(row), face.triangles, face.camera, face.colour, 0.7 if sure else 0.35
            )
    image = np.ascontiguousarray(image if image is not rgb else rgb.copy())
    for line, (_, face, row) in enumerate(on_screen):
        _write(image, line, label(face.fitted.face.face, face.quality, row), face.colour)
    return image


def label(face: int, quality: Columns, row: int) -> str:
    """What is written about a face: its error and, unless it is good, the verdict with its reason."""
    verdict, reason = quality["verdict"][row], quality["reason"][row]
    if verdict in (GOOD, DOUBTFUL):
        text = f"face {face}  {quality['reproj_pct_iod'][row]:.1f} %"
        return text if verdict == GOOD else f"{text}  doubtful: {reason}"
    return f"face {face}  {verdict}: {reason}" if verdict != "none" else f"face {face}  no fit: {reason}"


def _write(image: Array, line: int, text: str, colour: Colour) -> None:
    scale = max(0.4, min(image.shape[:2]) / 800)
    at = (round(10 * scale), round((26 + 30 * line) * scale))
    for paint, thick in (((0, 0, 0), 4), (tuple(255 * c for c in colour), 1.4)):
        cv2.putText(
            image, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.8 * scale, paint, max(1, round(thick * scale)), cv2.LINE_AA
        )
