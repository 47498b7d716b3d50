"""A crowd scene on film: the frames one by one, the video file, and the truth of every face in every frame."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, fields
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from dialogbuild.errors import DatasetError
from dialogbuild.head import load_head
from dialogbuild.head.camera import Camera
from dialogbuild.head.model import HeadModel
from dialogbuild.head.pose import pose_head, to_camera
from dialogbuild.media.encode import encode_video
from dialogbuild.render.appearance import Appearance
from dialogbuild.render.scene import render_head
from dialogbuild.render.shading import Lighting
from dialogbuild.synth.crowd import ABSENT, MAX_FACE_YAW_RAD, CrowdSpec, Panel, Part, plan_part
from dialogbuild.synth.dialogue import project_landmarks
from dialogbuild.synth.scene import appearance_of, backdrop, scene_light
from dialogbuild.synth.script import make_script
from dialogbuild.synth.spec import TICK_FPS

Image = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int8]
Floats = npt.NDArray[np.float32]

_BLOCK_FRAMES = 16
_NOBODY = -1
_HAIR_M = 0.015  # hair stands off the skin by less than this
_BUST_BOTTOM_M = 0.34  # below the head's origin the built-in model ends
_HEM_M = 0.09  # the part of the bust whose lower edge a body is hung from; above it are chin and nose in profile
_RIM_M = 0.03
_FACE_HEIGHT_M, _LARGE_FACE_PX = 0.16, 110
_FRAME_COLOUR = (46, 36, 30)


@dataclass(frozen=True, eq=False)
class CrowdTruth:
    """Where every face is. N frames (= ticks), P people.

    Attributes:
        persons: (P,) int32 identities; 0 and 1 are heard.
        shown: (P, N) int8 ABSENT from the shot, LIVE, or PHOTO.
        box_px: (P, N, 4) float32 x0, y0, x1, y1, tight around the 468 face landmarks, clipped to the person's panel;
            zeros where absent.
        visible: (P, N) float32 share of the face's surface that faces the camera, by area in the picture, which lies
            in the picture and is not covered by a nearer person or another panel; 0 where the head is turned away by
            more than 100 degrees.
        yaw_rad: (P, N) float32 of the face against the line to the camera; positive = to the image's right.
        shot: (N,) int32.
    """

    persons: npt.NDArray[np.int32]
    shown: npt.NDArray[np.int8]
    box_px: Floats
    visible: Floats
    yaw_rad: Floats
    shot: npt.NDArray[np.int32]

    @property
    def face_px(self) -> Floats:
        """(P, N) height of the box."""
        return np.asarray(self.box_px[..., 3] - self.box_px[..., 1])


def make_crowd(spec: CrowdSpec, path: Path) -> CrowdTruth:
    """Render a scene to ``path`` (.mp4, 25 frames per second, with sound) and save its truth beside it.

    Raises:
        EncodeError: ffmpeg failed.
    """
    model = load_head()
    parts = [plan_part(model, spec, person) for person in spec.persons]
    truth = plan_truth(model, spec, parts)
    frames = film(model, spec, parts, truth.visible)
    sound = make_script(spec.dialogue).sound
    size = (spec.width_px, spec.height_px)
    encode_video(path, frames, Fraction(TICK_FPS), size, spec.crf, audio=sound, preset="veryfast")
    arrays = {field.name: getattr(truth, field.name) for field in fields(truth)}
    np.savez_compressed(truth_path(path), spec=_mark(spec), **arrays)
    return truth


def truth_path(video: Path) -> Path:
    """Where a scene's truth lies."""
    return video.with_suffix(".crowd.npz")


def load_crowd(spec: CrowdSpec, video: Path) -> CrowdTruth:
    """The truth that ``make_crowd`` saved beside a video.

    Raises:
        DatasetError: it is absent, or of another spec.
    """
    path = truth_path(video)
    if not path.is_file():
        raise DatasetError(f"{path} is absent: the truth lies beside its video, make both again")
    with np.load(path, allow_pickle=False) as stored:
        if str(stored["spec"]) != _mark(spec):
            raise DatasetError(f"{path} belongs to another spec: delete it and its video")
        return CrowdTruth(**{field.name: stored[field.name] for field in fields(CrowdTruth)})


def _mark(spec: CrowdSpec) -> str:
    return hashlib.sha256(repr(spec).encode()).hexdigest()


def plan_truth(model: HeadModel, spec: CrowdSpec, parts: list[Part]) -> CrowdTruth:
    """Boxes and yaw; ``visible`` is still zero and is filled in by ``film``."""
    n = spec.n_frames
    box = np.zeros((len(parts), n, 4), np.float32)
    for row, part in enumerate(parts):
        seen = np.flatnonzero(part.shown != ABSENT)
        points = project_landmarks(model, part.pose.frames(seen), part.camera_px[seen])[:, :468]
        rect = part.rect_px[seen].astype(np.float32)
        middle = (rect[:, None, :2] + rect[:, None, 2:]) / 2
        points = middle + (points - middle) * part.zoom[seen, None, None]
        low, high = rect[:, None, :2], rect[:, None, 2:]
        box[row, seen] = np.clip(np.stack([points.min(1), points.max(1)], 1), low, high).reshape(-1, 4)
    shot = np.concatenate([np.full(b - a, i, np.int32) for i, (a, b) in enumerate(spec.spans)])
    return CrowdTruth(
        persons=np.array([part.person for part in parts], np.int32),
        shown=np.stack([part.shown for part in parts]),
        box_px=box,
        visible=np.zeros((len(parts), n), np.float32),
        yaw_rad=np.stack([part.yaw_rad for part in parts]),
        shot=shot,
    )


@dataclass(frozen=True, eq=False)
class _Scene:
    model: HeadModel
    spec: CrowdSpec
    parts: list[Part]
    light: Lighting
    face: npt.NDArray[np.int32]  # (F, 3) triangles of the face without eyes and mouth

    def look(self, row: int) -> Appearance:
        """Neighbouring persons get different palettes: six in all."""
        person = self.parts[row].person
        return appearance_of(self.model, self.spec.seed + person // 2, person % 2)


def film(model: HeadModel, spec: CrowdSpec, parts: list[Part], visible: Floats) -> Iterator[Image]:
    """The frames in order, (H, W, 3) uint8 RGB; fills in ``visible`` (P, N) of each frame as it is drawn."""
    is_face = np.zeros(model.n_vertices, bool)
    is_face[model.masks["face"]] = True
    face = model.faces[is_face[model.faces].all(1)]
    scene = _Scene(model, spec, parts, scene_light(spec.dialogue), face)
    for (start, stop), shot in zip(spec.spans, spec.shots, strict=True):
        empty = [_empty(panel, spec.seed) for panel in shot.panels]
        for begin in range(start, stop, _BLOCK_FRAMES):
            block = slice(begin, min(begin + _BLOCK_FRAMES, stop))
            posed = {
                row: to_camera(pose_head(model, part.pose.frames(block)), part.pose.transl_m[block])
                for row, part in enumerate(parts)
                if part.shown[block.start] != ABSENT
            }
            for frame in range(block.start, block.stop):
                vertices = {row: cam[frame - block.start] for row, cam in posed.items()}
                image = np.zeros((spec.height_px, spec.width_px, 3), np.uint8)
                labels = np.full(image.shape[:2], _NOBODY, np.int8)
                for panel, still in zip(shot.panels, empty, strict=True):
                    _draw_panel(scene, panel, still, vertices, frame, image, labels)
                for row, cam in vertices.items():
                    visible[row, frame] = _visible(scene, row, frame, cam, labels)
                yield image


def _empty(panel: Panel, seed: int) -> Image | None:
    x0, y0, x1, y1 = panel.rect_px
    return None if panel.backdrop is None else backdrop(x1 - x0, y1 - y0, seed, panel.backdrop)


def _draw_panel(
    scene: _Scene,
    panel: Panel,
    empty: Image | None,
    vertices: dict[int, Floats],
    frame: int,
    image: Image,
    labels: Labels,
) -> None:
    """One panel over what is already there, in place; its people far ones first."""
    x0, y0, x1, y1 = panel.rect_px
    picture, who = image[y0:y1, x0:x1], labels[y0:y1, x0:x1]
    if empty is not None:
        if panel.still:
            image[max(y0 - 4, 0) : y1 + 4, max(x0 - 4, 0) : x1 + 4] = _FRAME_COLOUR
            labels[max(y0 - 4, 0) : y1 + 4, max(x0 - 4, 0) : x1 + 4] = _NOBODY
        picture[:], who[:] = empty, _NOBODY
    focal, cx, cy = panel.camera_px
    camera = Camera(focal, cx - x0, cy - y0, x1 - x0, y1 - y0)
    cast = {actor.person for actor in panel.actors}
    rows = [row for row in vertices if scene.parts[row].person in cast]
    for row in sorted(rows, key=lambda r: -float(scene.parts[r].pose.transl_m[frame, 2])):
        _draw_person(scene, row, vertices[row], float(scene.parts[row].pose.transl_m[frame, 1]), camera, picture, who)
        if panel.still and scene.parts[row].zoom[frame] != 1:
            _enlarge(float(scene.parts[row].zoom[frame]), picture, who)


def _draw_person(
    scene: _Scene, row: int, cam: Floats, origin_y_m: float, camera: Camera, picture: Image, who: Labels
) -> None:
    """Head and shoulders, then a body down to the picture's lower edge, in place."""
    per_m = camera.focal_px / float(np.median(cam[:, 2]))
    window = _window(camera.project(cam), int(np.ceil(_HAIR_M * per_m)) + 2, who.shape)
    if window is None:
        return
    x0, y0, x1, y1 = window
    before = np.ascontiguousarray(picture[y0:y1, x0:x1])
    view = camera.cropped(x0, y0, x1 - x0, y1 - y0)
    # Eyes and lips of a large face are many pixels wide; a video encoder hides what is left of its jagged outline.
    supersample = 1 if per_m * _FACE_HEIGHT_M > _LARGE_FACE_PX else 2
    after = render_head(scene.model, scene.look(row), cam, view, scene.light, before, supersample)
    changed = after != before
    drawn = changed[..., 0] | changed[..., 1] | changed[..., 2]
    picture[y0:y1, x0:x1] = after
    who[y0:y1, x0:x1][drawn] = row
    hem_px = camera.cy_px + per_m * (origin_y_m + _BUST_BOTTOM_M - _HEM_M)
    _hang_body(drawn, hem_px - y0, 2 + int(_RIM_M * per_m), row, picture[y0:, x0:x1], who[y0:, x0:x1])


def _window(points_px: npt.NDArray[Any], pad_px: int, size_hw: tuple[int, ...]) -> tuple[int, int, int, int] | None:
    """Half-open box of whole pixels around points and a margin, within the picture; None when nothing is left."""
    x, y = points_px[:, 0], points_px[:, 1]
    x0, y0 = max(int(x.min()) - pad_px, 0), max(int(y.min()) - pad_px, 0)
    x1, y1 = min(int(x.max()) + pad_px, size_hw[1]), min(int(y.max()) + pad_px, size_hw[0])
    return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None


def _hang_body(drawn: npt.NDArray[np.bool_], hem: float, rim_px: int, row: int, picture: Image, who: Labels) -> None:
    """Continue each column of the bust's lower edge downwards in its colour: the model ends at the chest."""
    height = len(drawn)
    lowest = height - 1 - np.argmax(drawn[::-1], axis=0)
    columns = np.flatnonzero(drawn.any(0) & (lowest > hem) & (lowest < len(picture) - 1))
    if not len(columns):
        return
    # Above the rim, which is lit from below, and above the pixels that are blended with the background.
    colour = picture[np.maximum(lowest[columns] - rim_px, 0), columns]
    top = max(int(lowest[columns].min()) - rim_px, 0)
    below = np.arange(top, len(picture))[:, None] >= lowest[columns] - rim_px
    at = np.ix_(np.arange(top, len(picture)), columns)
    picture[at] = np.where(below[..., None], colour, picture[at])
    who[at] = np.where(below, row, who[at])


def _enlarge(factor: float, picture: Image, who: Labels) -> None:
    """Scale a panel about its middle, in place."""
    height, width = who.shape
    # Pixel i has its centre at i + 0.5, warpAffine puts it at i.
    shift = [(1 - factor) * (side - 1) / 2 for side in (width, height)]
    matrix = np.array([[factor, 0, shift[0]], [0, factor, shift[1]]])
    picture[:] = cv2.warpAffine(picture, matrix, (width, height), flags=cv2.INTER_CUBIC)
    who[:] = cv2.warpAffine(who.astype(np.int16), matrix, (width, height), flags=cv2.INTER_NEAREST).astype(np.int8)


def _visible(scene: _Scene, row: int, frame: int, cam: Floats, labels: Labels) -> float:
    part = scene.parts[row]
    if abs(float(part.yaw_rad[frame])) > MAX_FACE_YAW_RAD:
        return 0.0
    x0, y0, x1, y1 = (int(v) for v in part.rect_px[frame])
    focal, cx, cy = (float(v) for v in part.camera_px[frame])
    points: npt.NDArray[Any] = cam[:, :2] * (focal / cam[:, 2:]) + np.array([cx, cy], np.float32)
    middle = np.array([(x0 + x1) / 2, (y0 + y1) / 2], np.float32)
    corners = (middle + (points - middle) * part.zoom[frame])[scene.face]
    (ax, ay), (bx, by) = (corners[:, 1] - corners[:, 0]).T, (corners[:, 2] - corners[:, 0]).T
    area = np.maximum(ay * bx - ax * by, 0.0)  # counter-clockwise with y up is towards the camera
    column, line = np.floor(corners.mean(1)).astype(int).T
    inside = (column >= x0) & (column < x1) & (line >= y0) & (line < y1)
    on_top = np.zeros(len(area), bool)
    on_top[inside] = labels[line[inside], column[inside]] == row
    return float(area[on_top].sum() / max(float(area.sum()), 1e-9))
