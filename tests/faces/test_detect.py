"""mediapipe's detectors on rendered heads: what each way of looking can see."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np
import pytest

from dialogbuild.faces.detect import FaceDetector, turn_rad
from dialogbuild.head import load_head
from dialogbuild.head.camera import Camera
from dialogbuild.head.pose import HeadPose, pose_head, to_camera
from dialogbuild.render.scene import render_head
from dialogbuild.synth.cast import draw_shape
from dialogbuild.synth.scene import appearance_of, backdrop, scene_light
from dialogbuild.synth.spec import DialogueSpec

WIDTH, HEIGHT, FOCAL = 1280, 720, 1400.0


@cache
def room() -> np.ndarray:
    return backdrop(WIDTH, HEIGHT, 0)


def picture(distance_m: float, yaw_deg: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """A room with one head, (720, 1280, 3), and the box (4,) around its face."""
    head = load_head()
    zero = np.zeros((1, 3), np.float32)
    pose = HeadPose(
        shape=draw_shape(head, 0, 1),
        expr=np.zeros((1, head.n_expr), np.float32),
        root_rad=np.array([[0, np.radians(yaw_deg), 0]], np.float32),
        neck_rad=zero,
        jaw_rad=zero,
        eyes_rad=np.zeros((1, 6), np.float32),
        transl_m=np.array([[0.25 * distance_m, 0, distance_m]], np.float32),
    )
    points = to_camera(pose_head(head, pose), pose.transl_m)[0]
    camera = Camera(FOCAL, WIDTH / 2, HEIGHT / 2, WIDTH, HEIGHT)
    look = appearance_of(head, 0, 1)
    image = render_head(head, look, points, camera, scene_light(DialogueSpec()), room(), 2)
    face = points[head.masks["face"]]
    at = face[:, :2] / face[:, 2:] * FOCAL + [WIDTH / 2, HEIGHT / 2]
    return np.asarray(image), np.concatenate([at.min(0), at.max(0)]).astype(np.float32)


@pytest.fixture(scope="module")
def detector() -> Iterator[FaceDetector]:
    with FaceDetector() as made:
        yield made


def nearest(box: np.ndarray, boxes: np.ndarray) -> float:
    """Distance of the nearest box's middle, in sides of ``box``; infinite without any."""
    away = np.linalg.norm((boxes[:, :2] + boxes[:, 2:] - box[:2] - box[2:]) / 2, axis=1)
    return float(away.min(initial=np.inf) / (box[3] - box[1]))


def test_a_face_of_35_pixels_is_seen_on_tiles_and_closely_but_not_in_the_whole_picture(detector: FaceDetector) -> None:
    image, box = picture(distance_m=6.5)
    assert 30 < box[3] - box[1] < 45
    assert nearest(box, detector.everywhere(image).box_px) > 1
    assert nearest(box, detector.everywhere(image, tiles=True).box_px) < 0.4
    assert nearest(box, detector.around(image, box[None] + 5).box_px) < 0.4


@pytest.mark.parametrize("distance_m", [0.7, 2.0, 5.0])
@pytest.mark.parametrize("yaw_deg", [-75.0, -45.0, 0.0, 60.0])
def test_looking_closely_sees_heads_near_and_far_turned_by_up_to_75_degrees(
    detector: FaceDetector, distance_m: float, yaw_deg: float
) -> None:
    image, box = picture(distance_m, yaw_deg)
    found = detector.around(image, box[None])
    assert nearest(box, found.box_px) < 0.4
    assert abs(np.degrees(turn_rad(found.points_px)[0]) - yaw_deg) < 30
    assert len(found) == 1


def test_looking_where_nobody_is_finds_nobody(detector: FaceDetector) -> None:
    image, box = picture(2.0)
    assert len(detector.around(image, box[None] - [900, 0, 900, 0])) == 0
    assert len(detector.around(image, np.array([[-500, -500, -440, -440]], np.float32))) == 0, "outside the picture"
    assert len(detector.around(image, np.zeros((0, 4), np.float32))) == 0
