"""Boxes through time, on boxes alone."""

from __future__ import annotations

import numpy as np
import pytest

from dialogbuild.faces.detect import iou, suppress
from dialogbuild.faces.link import fill, link, match_cost
from dialogbuild.stages.tracks import Config, keep_track, looked_at


def box(cx: float, cy: float = 100.0, side: float = 60.0) -> np.ndarray:
    return np.array([cx - side / 2, cy - side / 2, cx + side / 2, cy + side / 2], np.float32)


def seen(tick: int, *boxes: np.ndarray) -> tuple[int, np.ndarray, np.ndarray]:
    return tick, np.array(boxes, np.float32).reshape(-1, 4), np.full(len(boxes), 0.9, np.float32)


def test_two_still_faces_are_two_tracks_whatever_order_the_detector_returns_them_in() -> None:
    detections = [seen(t, *((box(100), box(400)) if t % 8 else (box(400), box(100)))) for t in range(0, 100, 4)]
    tracks = link(detections, max_gap=15)
    assert [len(t.ticks) for t in tracks] == [25, 25]
    assert [t.boxes[-1][0] for t in tracks] == [70, 370]


def test_faces_that_cross_keep_their_tracks_because_they_keep_their_motion() -> None:
    detections = [seen(t, box(100 + 3 * t, 90), box(400 - 3 * t, 160)) for t in range(0, 101, 4)]
    left, right = link(detections, max_gap=15)
    assert left.boxes[-1][0] > left.boxes[0][0]
    assert right.boxes[-1][0] < right.boxes[0][0]


@pytest.mark.parametrize(("gap", "n_tracks"), [(8, 1), (40, 2)])
def test_a_short_gap_is_bridged_and_a_long_one_is_not(gap: int, n_tracks: int) -> None:
    ticks = [*range(0, 40, 4), *range(40 + gap, 80 + gap, 4)]
    assert len(link([seen(t, box(100)) for t in ticks], max_gap=15)) == n_tracks


def test_a_much_larger_box_at_the_same_place_is_another_face() -> None:
    assert match_cost(box(100)[None], box(100, side=200)[None])[0, 0] > 0.8
    assert match_cost(box(100)[None], box(100)[None])[0, 0] == 0


def test_bridged_ticks_lie_on_the_line_between_their_neighbours() -> None:
    [track] = link([seen(0, box(100)), seen(4, box(108)), seen(12, box(124))], max_gap=15)
    ticks, boxes, _ = fill(track, 0, 14)
    assert ticks.tolist() == list(range(14))
    np.testing.assert_allclose(boxes[:13, 0], 70 + 2 * np.arange(13))
    assert boxes[13, 0] == boxes[12, 0], "held at the end"


def test_overlapping_boxes_of_two_detectors_become_one() -> None:
    boxes = np.stack([box(100), box(104), box(300)])
    assert suppress(boxes, np.array([0.6, 0.9, 0.7], np.float32)).tolist() == [1, 2]
    assert iou(boxes[:1], boxes[2:])[0, 0] == 0
    assert iou(boxes[:1], boxes[:1])[0, 0] == 1


def test_flicker_is_no_track() -> None:
    [rare] = link([seen(0, box(100)), seen(12, box(100)), seen(24, box(100)), seen(36, box(100))], max_gap=15)
    assert not keep_track(rare, 4, Config(min_detected=0.5)), "seen in 4 of 10 looks"
    assert keep_track(rare, 4, Config(min_detected=0.3))


def test_the_last_tick_of_a_shot_is_looked_at() -> None:
    assert looked_at(10, 20, 4).tolist() == [10, 14, 18, 19]
