"""Everyone is shown to the solvers as if their camera's centre were the picture's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dialogbuild.fit.clip import ClipFit, nothing
from dialogbuild.fit.crops import Crops
from dialogbuild.fit.evidence import Evidence
from dialogbuild.fit.view import (
    View,
    centred,
    centred_crops,
    in_picture,
    person_view,
    whole_view,
    with_centre_sigma,
)

IMAGE = (640, 360)
LEFT, RIGHT = (0, 0, 320, 360), (320, 0, 640, 360)
OFFSET = {LEFT: (-160, 0), RIGHT: (160, 0), (0, 0, *IMAGE): (0, 0)}


def evidence(row: list[int], linked: list[bool] | None = None) -> Evidence:
    n = len(row)
    points = np.random.default_rng(0).uniform(0, 360, (n, 478, 2)).astype(np.float32)
    points[np.array(row) < 0] = 0
    seen = np.array(row) >= 0
    links = np.ones(n - 1, bool) if linked is None else np.array(linked)
    return Evidence(np.array(row), points, np.zeros((n, 478), np.float32), seen, seen, links)


def view_of(*boxes: tuple[int, int, int, int]) -> View:
    return View(np.array([OFFSET[b] for b in boxes], np.int32), np.array(boxes, np.int32), IMAGE)


def test_landmarks_of_one_camera_are_left_as_they_are_to_the_bit():
    given = evidence([0, 1, -1, 2])
    same = centred(given, whole_view(4, IMAGE))
    assert same.landmarks_px.tobytes() == given.landmarks_px.tobytes()
    assert same.landmarks_px.dtype == np.float32
    assert same.linked.tolist() == given.linked.tolist()


def test_landmarks_move_by_the_panes_offset_and_back():
    given = evidence([0, 1])
    view = view_of(LEFT, RIGHT)
    moved = centred(given, view)
    np.testing.assert_allclose(moved.landmarks_px[0] - given.landmarks_px[0], [[160, 0]] * 478, atol=1e-4)
    np.testing.assert_allclose(moved.landmarks_px[1] - given.landmarks_px[1], [[-160, 0]] * 478, atol=1e-4)
    np.testing.assert_allclose(in_picture(moved.landmarks_px, view), given.landmarks_px, atol=1e-4)


def test_a_trajectory_does_not_go_on_into_another_pane():
    moved = centred(evidence([0, 1, 2]), view_of(LEFT, LEFT, RIGHT))
    assert moved.linked.tolist() == [True, False]


def test_ticks_that_show_nothing_take_the_view_of_the_nearest_in_their_shot():
    rows_box = np.array([LEFT, RIGHT], np.int32)
    rows_offset = np.array([OFFSET[LEFT], OFFSET[RIGHT]], np.int32)
    # shot one: ticks 0 to 4, shown in its tick 1; shot two: 5 to 7, shown in 7; shot three: 8, not shown
    given = evidence([-1, 0, -1, -1, -1, -1, -1, 1, -1], [True, True, True, True, False, True, True, False])
    view = person_view(given, rows_offset, rows_box, IMAGE)
    assert view.offset_px[:, 0].tolist() == [-160] * 5 + [160] * 3 + [0]
    assert view.box_px[8].tolist() == [0, 0, *IMAGE]


def test_a_person_who_is_never_shown_has_the_pictures_own_camera():
    view = person_view(evidence([-1, -1]), np.zeros((0, 2), np.int32), np.zeros((0, 4), np.int32), IMAGE)
    assert view.columns()["cx_px"].tolist() == [320.0, 320.0]
    assert view.columns()["cy_px"].tolist() == [180.0, 180.0]


def test_columns_are_the_panes_centres():
    assert view_of(LEFT, RIGHT).columns()["cx_px"].tolist() == [160.0, 480.0]
    assert view_of(LEFT).shown_px.tolist() == [[160, 0, 480, 360]]


def crops(origin: tuple[int, int], step: int = 1) -> Crops:
    return Crops(
        np.zeros((1, 64, 64, 3), np.uint8), np.array([origin], np.int32), step, np.array([[0, 0, 64, 64]], np.int32)
    )


def test_the_camera_of_a_centred_window_is_that_of_the_pane_in_the_uncentred_one():
    plain = crops((400, 100), step=2)
    moved = centred_crops(plain, view_of(RIGHT))
    ours = moved.cameras((700.0, 320.0, 180.0))
    np.testing.assert_allclose(ours, plain.cameras((700.0, 480.0, 180.0)))


def test_a_window_over_the_border_shows_its_own_pane_only():
    assert centred_crops(crops((300, 100)), view_of(RIGHT)).bounds.tolist() == [[20, 0, 64, 64]]
    assert centred_crops(crops((300, 100)), view_of(LEFT)).bounds.tolist() == [[0, 0, 20, 64]]
    assert centred_crops(crops((299, 100), step=2), view_of(RIGHT)).bounds.tolist() == [[11, 0, 64, 64]]


def test_windows_of_one_camera_and_windows_not_cut_stay_as_they_are():
    plain = crops((300, 100))
    same = centred_crops(plain, whole_view(1, IMAGE))
    assert same.bounds.tolist() == plain.bounds.tolist()
    assert same.origin_px.tolist() == plain.origin_px.tolist()
    empty = Crops(plain.rgb, np.array([[-40, -40]], np.int32), 1, np.zeros((1, 4), np.int32))
    assert centred_crops(empty, view_of(RIGHT)).bounds.tolist() == [[0, 0, 0, 0]]
    beyond = centred_crops(crops((100, 100)), view_of(RIGHT)).bounds[0]
    assert beyond[0] >= beyond[2], "a window in the other pane shows nothing"


def fit_of(n: int, depth_m: float) -> ClipFit:
    theta = np.zeros((n, 20))
    theta[:, 5] = depth_m
    shown = np.arange(n) > 0
    plain = nothing(n, 20)
    return replace(plain, theta=theta, sigma=np.full((n, 20), 0.01) * shown[:, None], fit_ok=shown)


def test_a_panes_centre_adds_to_the_sigmas_of_yaw_and_of_the_place_across():
    fit = with_centre_sigma(fit_of(3, 2.0), view_of(LEFT, LEFT, LEFT), 700.0)
    angle = 320 / 2 / 12**0.5 / 700  # half of what a pane of half the width could be cut from, evenly
    np.testing.assert_allclose(fit.sigma[1, 1], np.hypot(0.01, angle))
    np.testing.assert_allclose(fit.sigma[1, 3], np.hypot(0.01, 2.0 * angle))
    assert fit.sigma[1, [0, 2, 4, 5]].tolist() == [0.01] * 4, "the pane has the picture's full height"
    assert not fit.sigma[0].any(), "nothing is fitted there"


def test_one_camera_adds_nothing():
    given = fit_of(3, 2.0)
    assert with_centre_sigma(given, whole_view(3, IMAGE), 700.0) is given
