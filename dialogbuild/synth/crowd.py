"""Scenes of several people for face trackers: who stands where, in which shot, and where their faces then are.

People walk, cross, leave, return, turn away, and show up in cuts, photographs and inset pictures. Persons 0 and 1 hold
the dialogue that is heard; everybody else talks too, but is not heard. A frame is a tick of the clip timeline: 25 per
second.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy.interpolate import PchipInterpolator

from dialogbuild.errors import ConfigError
from dialogbuild.head.model import HeadModel
from dialogbuild.head.pose import HeadPose
from dialogbuild.head.rotation import rodrigues
from dialogbuild.synth.cast import draw_shape, pose_person
from dialogbuild.synth.motion import make_motion
from dialogbuild.synth.script import make_script
from dialogbuild.synth.shots import Seat
from dialogbuild.synth.spec import DEFAULT_FOCAL_OVER_WIDTH, TICK_FPS, DialogueSpec

Floats = npt.NDArray[np.float64]
Box = tuple[int, int, int, int]

ABSENT, LIVE, PHOTO = 0, 1, 2
MAX_FACE_YAW_RAD = float(np.radians(100.0))
"""A head turned farther than this from the viewer shows no face."""

_NEAREST_M = 0.35
_NOWHERE = Seat(True, 0.0, (0.0, 0.0, 0.0), 1.0, 0.0, 0.0, (0, 0, 1, 1))
# Of a walk: the head goes up and down once per step.
_STEP_HZ, _STEP_HEIGHT_M, _STEP_SPEED_M_S = 1.8, 0.010, 0.8


@dataclass(frozen=True)
class Keyframe:
    """Where a head is at one time.

    Attributes:
        time_s: from the start of the video.
        place_m: (x, y, z) of the head's origin, camera axes: right, down, away. At y = -0.04 the face is at the height
            of the camera.
        yaw_rad: of the body; positive turns the face to the image's right, pi shows the back of the head.
    """

    time_s: float
    place_m: tuple[float, float, float]
    yaw_rad: float = 0.0


@dataclass(frozen=True)
class Actor:
    """A person in a panel: moves smoothly from keyframe to keyframe, and stands still before and after."""

    person: int
    path: tuple[Keyframe, ...]


@dataclass(frozen=True)
class Panel:
    """A rectangle of the picture with a view of its own.

    Attributes:
        rect_px: (x0, y0, x1, y1) of the frame, half-open.
        actors: at most one per person and shot.
        backdrop: which part of the room; None = see-through: the people stand before the panels below.
        still: a photograph, taken at the shot's first frame with open eyes; needs a backdrop.
        zoom_per_s: growth of a photograph about its middle, as a share of its size per second.
        focal_over_width: the lens, focal length over the panel's width.
    """

    rect_px: Box
    actors: tuple[Actor, ...] = ()
    backdrop: int | None = 0
    still: bool = False
    zoom_per_s: float = 0.0
    focal_over_width: float = DEFAULT_FOCAL_OVER_WIDTH

    @property
    def camera_px(self) -> tuple[float, float, float]:
        """Focal length and principal point (x, y), pixels of the whole frame."""
        x0, y0, x1, y1 = self.rect_px
        return self.focal_over_width * (x1 - x0), (x0 + x1) / 2, (y0 + y1) / 2


@dataclass(frozen=True)
class CrowdShot:
    """What is shown from ``start_s`` to the next shot: panels, later ones over earlier ones."""

    start_s: float
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class CrowdSpec:
    """Everything that decides a scene; equal specs give equal bytes.

    Attributes:
        seed: looks, performance, light, room and sound.
        shots: in order; the first starts at 0.

    Raises:
        ConfigError: a value is out of range; the message says which.
    """

    shots: tuple[CrowdShot, ...]
    seed: int = 0
    duration_s: float = 12.0
    width_px: int = 1280
    height_px: int = 720
    crf: int = 20

    def __post_init__(self) -> None:
        if self.width_px % 2 or self.height_px % 2 or min(self.width_px, self.height_px) < 64:
            raise ConfigError(f"width_px and height_px must be even and >= 64, not {self.width_px}x{self.height_px}")
        starts = [shot.start_s for shot in self.shots]
        if not starts or starts[0] != 0 or any(b - a < 1 / TICK_FPS for a, b in pairwise([*starts, self.duration_s])):
            raise ConfigError(f"shots must start at 0 and ascend within {self.duration_s} s, not {starts}")
        for shot in self.shots:
            people = [actor.person for panel in shot.panels for actor in panel.actors]
            if len(set(people)) < len(people):
                raise ConfigError(f"the shot at {shot.start_s} s shows a person twice: {sorted(people)}")
            for panel in shot.panels:
                _check_panel(panel, self.width_px, self.height_px)

    @property
    def n_frames(self) -> int:
        """N, at 25 frames per second."""
        return round(self.duration_s * TICK_FPS)

    @property
    def persons(self) -> tuple[int, ...]:
        """Everyone who is ever shown, in ascending order."""
        return tuple(sorted({a.person for shot in self.shots for panel in shot.panels for a in panel.actors}))

    @property
    def spans(self) -> tuple[tuple[int, int], ...]:
        """Half-open frame range of each shot; together they tile the video."""
        edges = [*(round(shot.start_s * TICK_FPS) for shot in self.shots), self.n_frames]
        return tuple(pairwise(edges))

    @property
    def dialogue(self) -> DialogueSpec:
        """The conversation of persons 0 and 1, which is the video's sound."""
        return DialogueSpec(seed=self.seed, duration_s=self.duration_s)


def _check_panel(panel: Panel, width_px: int, height_px: int) -> None:
    x0, y0, x1, y1 = panel.rect_px
    if not (0 <= x0 < x1 <= width_px and 0 <= y0 < y1 <= height_px):
        raise ConfigError(f"panel {panel.rect_px} is not inside {width_px}x{height_px}")
    if panel.still and panel.backdrop is None:
        raise ConfigError("a photograph needs a backdrop of its own")
    for actor in panel.actors:
        times = [key.time_s for key in actor.path]
        if not times or any(b <= a for a, b in pairwise(times)):
            raise ConfigError(f"person {actor.person}'s keyframes must ascend in time, not {times}")
        if any(key.place_m[2] < _NEAREST_M for key in actor.path):
            raise ConfigError(f"person {actor.person} comes nearer than {_NEAREST_M} m")


@dataclass(frozen=True, eq=False)
class Part:
    """What one person does over the N frames, before anything is drawn.

    Attributes:
        pose: N frames, camera axes of the person's panel; arbitrary where ``shown`` is ABSENT.
        shown: (N,) int8 ABSENT, LIVE or PHOTO.
        camera_px: (N, 3) focal length and principal point; of a photograph without its zoom.
        rect_px: (N, 4) int of the panel.
        zoom: (N,) scale of the panel about its middle; 1 outside photographs.
        yaw_rad: (N,) of the face against the line to the camera, in (-pi, pi]; positive = to the image's right.
    """

    person: int
    pose: HeadPose
    shown: npt.NDArray[np.int8]
    camera_px: npt.NDArray[np.float32]
    rect_px: npt.NDArray[np.int32]
    zoom: npt.NDArray[np.float32]
    yaw_rad: npt.NDArray[np.float32]


def plan_part(model: HeadModel, spec: CrowdSpec, person: int) -> Part:
    """One person's performance through all shots."""
    n = spec.n_frames
    time_s = (np.arange(n) + 0.5) / TICK_FPS
    shown, zoom = np.zeros(n, np.int8), np.ones(n, np.float32)
    camera, rect = np.ones((n, 3), np.float32), np.zeros((n, 4), np.int32)
    place, yaw = np.tile([0.0, 0.0, 1.0], (n, 1)), np.zeros(n)
    taken = np.arange(n)  # the frame whose performance is shown; that of a photograph is its first
    for (start, stop), shot in zip(spec.spans, spec.shots, strict=True):
        frames = slice(start, stop)
        for panel in shot.panels:
            for actor in (a for a in panel.actors if a.person == person):
                place[frames], yaw[frames] = _walk(actor.path, time_s[frames])
                camera[frames], rect[frames] = panel.camera_px, panel.rect_px
                shown[frames] = PHOTO if panel.still else LIVE
                if panel.still:
                    taken[frames] = start
                    zoom[frames] = 1 + panel.zoom_per_s * (time_s[frames] - time_s[start])
    pose = _perform(model, spec, person, time_s)
    root = pose.root_rad + yaw[:, None] * np.array([0.0, 1.0, 0.0])
    pose = replace(pose, root_rad=root.astype(np.float32), transl_m=(pose.transl_m + place).astype(np.float32))
    pose = pose.frames(taken)
    assert model.lid_expr is not None
    expr = pose.expr.copy()
    expr[np.ix_(shown == PHOTO, list(model.lid_expr))] = 0.0
    pose = replace(pose, expr=expr)
    return Part(person, pose, shown, camera, rect, zoom, _yaw_seen(pose))


def _walk(path: tuple[Keyframe, ...], time_s: Floats) -> tuple[Floats, Floats]:
    """Place (n, 3) and yaw (n,) along a path, with the bob of steps while walking."""
    keys = np.array([(*key.place_m, key.yaw_rad) for key in path])
    if len(path) == 1:
        return np.repeat(keys[:, :3], len(time_s), 0), np.repeat(keys[:, 3], len(time_s))
    times = np.array([key.time_s for key in path])
    curve = PchipInterpolator(times, keys)
    at = np.clip(time_s, times[0], times[-1])
    values = curve(at)
    inside = (time_s > times[0]) & (time_s < times[-1])
    speed = np.hypot(*curve.derivative()(at)[:, [0, 2]].T) * inside
    share = np.clip(speed / _STEP_SPEED_M_S, 0, 1)
    values[:, 1] += share * _STEP_HEIGHT_M * np.sin(2 * np.pi * _STEP_HZ * time_s)
    return values[:, :3], values[:, 3]


def _perform(model: HeadModel, spec: CrowdSpec, person: int, time_s: Floats) -> HeadPose:
    """Lips, lids, gaze and sway on the spot, at the origin. Each pair of people holds a dialogue of its own."""
    talk = replace(spec.dialogue, seed=spec.seed + 1000 * (person // 2))
    motion = make_motion(talk, make_script(talk), person % 2, 0.0, time_s)
    return pose_person(model, draw_shape(model, spec.seed, person), motion, [_NOWHERE] * len(time_s))


def _yaw_seen(pose: HeadPose) -> npt.NDArray[np.float32]:
    face = (rodrigues(pose.root_rad) @ rodrigues(pose.neck_rad))[:, :, 2]  # out of the face, head axes
    towards = np.arctan2(-pose.transl_m[:, 0], pose.transl_m[:, 2])
    yaw = np.arctan2(face[:, 0], face[:, 2]) - towards
    return np.asarray((yaw + np.pi) % (2 * np.pi) - np.pi, np.float32)
