"""Which pane shows which face, and where that pane's camera points."""

from __future__ import annotations

import numpy as np
import pytest

from dialogbuild.faces.panes import camera_scale, pane_offset, track_views

IMAGE = (640, 360)
HALVES = [(0, 0, 320, 360), (320, 0, 640, 360)]


def tracks(*faces: tuple[int, int, tuple[float, float, float, float]]) -> dict[str, np.ndarray]:
    """Five rows per (track, shot, box)."""
    rows = [face for face in faces for _ in range(5)]
    return {
        "track": np.array([t for t, _, _ in rows]),
        "shot": np.array([s for _, s, _ in rows]),
        "box_px": np.array([b for _, _, b in rows], np.float32),
    }


def panes(**boxes_of_shot: list[tuple[int, int, int, int]]) -> dict[str, np.ndarray]:
    rows = [(int(name[1:]), box) for name, boxes in boxes_of_shot.items() for box in boxes]
    return {"shot": np.array([s for s, _ in rows]), "box_px": np.array([b for _, b in rows], np.float32)}


def test_every_track_belongs_to_the_pane_that_holds_its_box():
    rows = tracks((0, 0, (100, 80, 200, 200)), (1, 0, (420, 80, 520, 200)))
    offset, box = track_views(rows, panes(s0=HALVES), IMAGE)
    assert offset[[0, 5]].tolist() == [[-160, 0], [160, 0]]
    assert box[[0, 5]].tolist() == [list(b) for b in HALVES]
    assert (offset.dtype, box.dtype) == (np.int32, np.int32)


def test_a_face_across_a_border_refutes_the_panes_of_its_shot_only():
    across = (260, 80, 380, 200)
    rows = tracks((0, 0, (100, 80, 200, 200)), (1, 0, across), (2, 1, (100, 80, 200, 200)))
    offset, box = track_views(rows, panes(s0=HALVES, s1=HALVES), IMAGE)
    assert offset[[0, 5, 10]].tolist() == [[0, 0], [0, 0], [-160, 0]]
    assert box[[0, 5]].tolist() == [[0, 0, *IMAGE]] * 2


def test_a_face_that_leans_out_of_its_pane_a_little_stays_in_it():
    offset, _ = track_views(tracks((0, 0, (230, 80, 350, 200))), panes(s0=HALVES), IMAGE)
    assert offset[0].tolist() == [-160, 0]


def test_a_face_on_a_graphic_beside_the_panes_is_seen_by_the_pictures_own_camera():
    beside = [(200, 0, 500, 360)]
    rows = tracks((0, 0, (20, 80, 100, 180)), (1, 0, (250, 80, 350, 180)))
    offset, box = track_views(rows, panes(s0=beside), IMAGE)
    assert offset[0].tolist() == [0, 0]
    assert box[[0, 5]].tolist() == [[0, 0, *IMAGE], [200, 0, 500, 360]]


def test_a_shot_without_a_row_of_panes_is_one_camera():
    offset, box = track_views(tracks((0, 3, (100, 80, 200, 200))), panes(s0=HALVES), IMAGE)
    assert not offset.any()
    assert (box == [0, 0, *IMAGE]).all()


@pytest.mark.parametrize(
    ("box", "offset"),
    [
        ((0, 0, 640, 360), (0, 0)),
        ((0, 3, 640, 360), (0, 0)),  # 1.5 px of a line at the edge says nothing about the lens
        ((0, 20, 640, 360), (0, 10)),
        ((0, 0, 321, 360), (-160, 0)),
    ],
)
def test_offsets_are_whole_pixels_and_none_for_a_line_at_the_edge(box, offset):
    assert pane_offset(np.array(box), IMAGE).tolist() == list(offset)


def test_a_panes_camera_has_a_picture_of_the_videos_shape_that_fills_the_pane():
    boxes = np.array([(0, 0, 640, 360), (0, 0, 320, 360), (0, 0, 320, 180), (0, 90, 320, 270), (0, 3, 640, 360)])
    assert camera_scale(boxes, IMAGE).tolist() == [1.0, 1.0, 0.5, 0.5, 1.0]


def test_bars_around_one_pane_say_nothing_of_the_lens():
    letterbox = [(0, 40, 640, 320)]
    offset, box = track_views(tracks((0, 0, (100, 80, 200, 200))), panes(s0=letterbox), IMAGE)
    assert not offset.any()
    assert (box == [0, 0, *IMAGE]).all()


def test_of_an_inset_and_the_pane_below_it_the_inset_shows_its_face():
    inset, whole = (400, 20, 600, 140), (0, 0, *IMAGE)
    rows = tracks((0, 0, (450, 40, 530, 130)), (1, 0, (150, 100, 250, 220)))
    offset, box = track_views(rows, panes(s0=[whole, inset]), IMAGE)
    assert box[[0, 5]].tolist() == [list(inset), list(whole)]
    assert offset[[0, 5]].tolist() == [[180, -100], [0, 0]]


def test_a_face_across_an_inset_refutes_it_and_not_what_lies_below():
    inset, whole = (400, 20, 600, 140), (0, 0, *IMAGE)
    rows = tracks((0, 0, (350, 40, 450, 130)))
    offset, box = track_views(rows, panes(s0=[whole, inset]), IMAGE)
    assert box[0].tolist() == list(whole)
    assert not offset.any()
