"""A video to look at: the frame beside the same frame with every fitted head drawn over it."""

from __future__ import annotations

import colorsys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from dialogbuild.fitvideo.measure import DOUBTFUL, GOOD, Fitted, shown
from dialogbuild.fitvideo.prepare import Material
from dialogbuild.head.camera import Camera
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
_MAX_PANEL_PX = 960  # longer side of a panel
_MARGIN = 0.8  # shown around a face, in sides of its box: hair and shoulders
_SOUND_HZ = 48000
_POSE = ("expr", "root_rad", "neck_rad", "jaw_rad", "eyes_rad", "transl_m")


def face_colour(index: int) -> Colour:
    """A colour per face, RGB 0..1; hues apart by the golden angle, so that neighbours always differ."""
    r, g, b = colorsys.hsv_to_rgb((0.57 + 0.381966 * index) % 1.0, 0.45, 1.0)
    return r, g, b


@dataclass(frozen=True)
class View:
    """The part of the frame that a panel shows, and how large.

    Attributes:
        scale: of the frame before it is cut; at most 1.
        left, top, width, height: of the part, in pixels of the scaled frame.
        zoom: of the part after it was cut; at least 1.
    """

    scale: float
    left: int
    top: int
    width: int
    height: int
    zoom: int

    @property
    def panel_px(self) -> tuple[int, int]:
        """(width, height) of the panel, both even."""
        return self.width * self.zoom, self.height * self.zoom

    def cut(self, rgb: Array) -> Array:
        """The panel of a scaled frame."""
        part = rgb[self.top : self.top + self.height, self.left : self.left + self.width]
        if self.zoom > 1:
            part = cv2.resize(part, self.panel_px, interpolation=cv2.INTER_CUBIC)
        return np.ascontiguousarray(part)

    def camera(self, camera: Camera) -> Camera:
        """The camera that sees the panel."""
        return camera.scaled(self.scale).cropped(self.left, self.top, self.width, self.height).scaled(self.zoom)


def choose_view(boxes_px: Array, frame_px: tuple[int, int]) -> View:
    """The whole frame, or the surroundings of all faces where these are less than half of it.

    Args:
        boxes_px: (N, 4) every face box of the video: x0, y0, x1, y1.
        frame_px: width and height.
    """
    side = (boxes_px[:, 2:] - boxes_px[:, :2]).max(axis=1, keepdims=True)
    low = np.clip((boxes_px[:, :2] - _MARGIN * side).min(axis=0), 0, frame_px)
    high = np.clip((boxes_px[:, 2:] + _MARGIN * side).max(axis=0), 0, frame_px)
    if np.prod(high - low) > 0.5 * np.prod(frame_px):
        low, high = np.zeros(2), np.array(frame_px, float)
    size = np.maximum(high - low, 2)
    scale = min(1.0, *(_MAX_PANEL_PX / size).tolist())
    left, top = (low * scale).astype(int).tolist()
    width, height = (2 * np.maximum(1, (size * scale / 2).astype(int))).tolist()
    zoom = 2 if 2 * max(width, height) <= _MAX_PANEL_PX else 1
    return View(scale, left, top, width, height, zoom)


def write_overlay(
    path: Path,
    material: Material,
    head: HeadModel,
    faces: Sequence[Fitted],
    quality: Sequence[Columns],
    progress: Callable[[int, int], None],
) -> None:
    """Encode the overlay of the whole video, 25 fps, with its sound where there is any."""
    own = np.isin(material.tracks["track"], [track for f in faces for track in f.face.tracks])
    view = choose_view(material.tracks["box_px"][own].astype(float), material.size_px)
    size_px = (round(material.size_px[0] * view.scale), round(material.size_px[1] * view.scale))
    start, stop = material.start_tick, material.end_tick

    def panels() -> Iterator[Array]:
        drawn = [_Drawn(head, f, q, view) for f, q in zip(faces, quality, strict=True)]
        for tick, rgb in material.frames(start, stop, size_px=size_px):
            part = view.cut(rgb)
            yield np.concatenate([part, compose(part, tick, drawn)], axis=1)
            progress(tick + 1 - start, stop - start)

    width, height = view.panel_px
    with tempfile.TemporaryDirectory(prefix=".sound-", dir=path.parent) as scratch:
        sound = _sound(material, Path(scratch) / "sound.flac")
        encode_video(path, panels(), FPS, (2 * width, height), crf=20, audio=sound, preset="veryfast")


def _sound(material: Material, path: Path) -> Path | None:
    """The source's first audio stream on the video's clock, mono; None when there is none."""
    audio: Mapping[str, Any] | None = material.video["audio"]
    if audio is None:
        return None
    zero_s = material.video["start_pts"] * Fraction(*material.video["time_base"]) + material.start_tick / FPS
    n = int((material.end_tick - material.start_tick) * _SOUND_HZ / FPS)
    write_flac(path, iter_audio(material.source, audio["stream"], zero_s, n, sample_rate=_SOUND_HZ), _SOUND_HZ)
    return path


class _Drawn:
    """A face that is posed block by block as the video goes on."""

    def __init__(self, head: HeadModel, fitted: Fitted, quality: Columns, view: View) -> None:
        self.fitted, self.quality, self._view = fitted, quality, view
        self.triangles = _head_only(head)
        self.colour = face_colour(fitted.face.face)
        self.shown = shown(fitted)
        self._head = head
        self._first, self._vertices = -1, np.zeros((0, head.n_vertices, 3), np.float32)

    def row(self, tick: int) -> int | None:
        """The face's row at a tick, None when it is not on screen."""
        k = tick - self.fitted.face.start_tick
        return k if 0 <= k < len(self.shown) else None

    def camera(self, row: int) -> Camera:
        """The camera that sees the face in the panel."""
        cx_px, cy_px = (float(self.fitted.motion[name][row]) for name in ("cx_px", "cy_px"))
        return self._view.camera(replace(self.fitted.camera, cx_px=cx_px, cy_px=cy_px))

    def vertices(self, row: int) -> Array:
        """(V, 3) in camera axes."""
        first = row - row % _BLOCK_TICKS
        if first != self._first:
            part, motion = slice(first, first + _BLOCK_TICKS), self.fitted.motion
            pose = HeadPose(self.fitted.shape, *(motion[name][part] for name in _POSE))
            self._vertices, self._first = to_camera(pose_head(self._head, pose), pose.transl_m), first
        return np.asarray(self._vertices[row - first])


def _head_only(head: HeadModel) -> Array:
    """Triangles (F', 3) without shoulders and neck: nothing in the picture is fitted to these."""
    hidden = np.zeros(head.n_vertices, bool)
    for name in ("torso", "neck"):
        hidden[head.masks.get(name, np.zeros(0, np.int32))] = True
    return np.asarray(head.faces[~hidden[head.faces].any(axis=1)])


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
                image, face.vertices(row), face.triangles, face.camera(row), face.colour, 0.65 if sure else 0.35
            )
    image = np.ascontiguousarray(image if image is not rgb else rgb.copy())
    for line, (_, face, row) in enumerate(on_screen):
        _write(image, line, label(face.fitted.face.face, face.quality, row), face.colour)
    return image


def label(face: int, quality: Columns, row: int) -> str:
    """What is written about a face: its error and, unless it is good, the verdict with its reason."""
    verdict, reason = quality["verdict"][row], quality["reason"][row]
    if verdict in (GOOD, DOUBTFUL):
        text = f"face {face}  error {quality['reproj_pct_iod'][row]:.1f} %"
        return text if verdict == GOOD else f"{text}  doubtful: {reason}"
    return f"face {face}  {verdict}: {reason}" if verdict != "none" else f"face {face}  no fit: {reason}"


def _write(image: Array, line: int, text: str, colour: Colour) -> None:
    scale = max(0.55, min(image.shape[:2]) / 800)
    at = (round(10 * scale), round((26 + 30 * line) * scale))
    for paint, thick in (((0, 0, 0), 4), (tuple(255 * c for c in colour), 1.4)):
        cv2.putText(
            image, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.8 * scale, paint, max(1, round(thick * scale)), cv2.LINE_AA
        )
