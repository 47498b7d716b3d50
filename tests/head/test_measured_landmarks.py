"""The detector's own points on the built-in head, as measured by ``tools/calibrate_landmarks.py``."""

from __future__ import annotations

import numpy as np
import pytest

from dialogbuild.fit.rig import model_rig
from dialogbuild.head import HeadModel, head_files, load_head
from dialogbuild.head.procedural.fields import load_core
from dialogbuild.head.procedural.landmarks import LEFT_EYE_LOOP, LOWER_LIP, RIGHT_EYE_LOOP, UPPER_LIP
from dialogbuild.head.procedural.regions import MEASURED_PATH


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return load_head()


def _points(head: HeadModel, scheme: str) -> np.ndarray:
    return head.landmarks[scheme].points(head.v_template.astype(np.float64), head.faces)


def test_the_fit_uses_the_measured_points(head: HeadModel) -> None:
    assert 1e3 * np.abs(model_rig(head).neutral() - model_rig(head, "mp478").neutral()).max() > 1, (
        "not the assumed ones"
    )
    np.testing.assert_array_equal(model_rig(head).neutral(), model_rig(head, "mediapipe").neutral())


def test_the_file_was_measured_on_this_head(head: HeadModel) -> None:
    with np.load(MEASURED_PATH) as stored:
        points_m = 0.01 * stored["points_cm"]
    message = "the head's surface has changed: run tools/calibrate_landmarks.py again"
    np.testing.assert_allclose(_points(head, "mediapipe"), points_m, atol=5e-5, err_msg=message)


def test_the_file_is_part_of_the_head(head: HeadModel) -> None:
    assert MEASURED_PATH in head_files()


def test_every_point_lies_within_a_triangle_of_the_part_that_it_was_on(head: HeadModel) -> None:
    measured, assumed = head.landmarks["mediapipe"], head.landmarks["mp478"]
    np.testing.assert_array_equal(measured.index, np.arange(478))
    assert measured.bary.min() >= 0
    eyes = [set(head.masks[name]) for name in ("left_eye", "right_eye")]
    parts = [
        [(set(e.vertices(head.faces)[i]) & eye) != set() for eye in eyes]
        for e in (measured, assumed)
        for i in range(478)
    ]
    assert parts[:478] == parts[478:], "irises stay on their eyeballs and skin points off them"


def test_displacements_are_millimetres(head: HeadModel) -> None:
    length_mm = 1e3 * np.linalg.norm(_points(head, "mediapipe") - _points(head, "mp478"), axis=1)
    assert length_mm.max() < 8
    assert 0.5 < length_mm.mean() < 4


def test_left_and_right_are_mirror_images(head: HeadModel) -> None:
    mirror = load_core().mirror
    points = _points(head, "mediapipe")
    gap_mm = 1e3 * np.linalg.norm(points[:468][mirror] * [-1, 1, 1] - points[:468], axis=1)
    assert gap_mm.max() < 0.3, "the surface itself is symmetric to a tenth of a millimetre only"
    np.testing.assert_allclose(points[473] * [-1, 1, 1], points[468], atol=3e-4)


def test_lips_and_lids_do_not_swap(head: HeadModel) -> None:
    y = _points(head, "mediapipe")[:, 1]
    assert y[list(UPPER_LIP)].min() > y[list(LOWER_LIP)].min()
    assert y[13] > y[14] - 1e-4
    for loop in (LEFT_EYE_LOOP, RIGHT_EYE_LOOP):
        upper, lower = np.array(loop[2:7]), np.array(loop[:8:-1])[1:6]
        assert (y[upper] > y[lower]).all()


def test_the_definition_of_truth_is_untouched(head: HeadModel) -> None:
    assumed = head.landmarks["mp478"]
    corner = np.take_along_axis(assumed.vertices(head.faces), assumed.bary.argmax(1)[:, None], 1)[:, 0]
    np.testing.assert_array_equal(corner[:468], np.arange(468))
    assert assumed.bary.max(1).min() == 1
