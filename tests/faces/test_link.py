"""Faces through one shot, on boxes and colours alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from dialogbuild.faces.appearance import LOOK_SIZE
from dialogbuild.faces.detect import iou, suppress
from dialogbuild.faces.link import Track, fill, link, occluded
from dialogbuild.faces.linkworth import assign, look_nats
from dialogbuild.faces.tracklets import LinkRule, Sighted, match_cost
from dialogbuild.stages.tracks import Config, keep_track, looked_at

RULE = LinkRule(step_ticks=2)


def box(cx: float, cy: float = 300.0, side: float = 60.0) -> np.ndarray:
    return np.array([cx - side / 2, cy - side / 2, cx + side / 2, cy + side / 2], np.float32)


def colours(person: int) -> np.ndarray:
    """A look that has nothing in common with another person's."""
    look = np.zeros((9, LOOK_SIZE // 9), np.float32)
    look[:, person] = 1 / np.sqrt(3)
    return look.reshape(-1)


def seen(
    faces: dict[int, Callable[[int], np.ndarray | None]], stop: int, step: int = 2, alike: bool = False
) -> Sighted:
    """What a perfect detector would see of moving faces; None = not in view."""
    rows = [(t, p, b) for t in range(0, stop, step) for p, where in faces.items() if (b := where(t)) is not None]
    looks = [colours(0 if alike else p) for _, p, _ in rows]
    return Sighted(
        np.array([t for t, _, _ in rows], np.int32),
        np.array([b for _, _, b in rows], np.float32),
        np.full(len(rows), 0.9, np.float32),
        np.array(looks, np.float32),
    )


def owners(
    sighted: Sighted, tracks: list[Track], faces: dict[int, Callable[[int], np.ndarray | None]]
) -> list[set[int]]:
    """Whose sightings each track holds."""
    out = []
    for track in tracks:
        mine = set()
        for row in track.rows:
            tick, at = int(sighted.tick[row]), sighted.box_px[row]
            mine |= {p for p, where in faces.items() if (b := where(tick)) is not None and np.array_equal(b, at)}
        out.append(mine)
    return out


def kept(ticks: np.ndarray, shot_ticks: int, config: Config, score: float = 0.9) -> bool:
    return keep_track(ticks, np.full(len(ticks), score, np.float32), shot_ticks, config)


def test_two_still_faces_are_two_tracks() -> None:
    faces = {0: lambda t: box(100), 1: lambda t: box(400)}
    sighted = seen(faces, 100)
    tracks = link(sighted, RULE)
    assert owners(sighted, tracks, faces) == [{0}, {1}]
    assert [len(t.rows) for t in tracks] == [50, 50]


@pytest.mark.parametrize("alike", [False, True], ids=["in different clothes", "in the same clothes"])
def test_faces_that_cross_keep_their_tracks_while_the_farther_one_is_hidden(alike: bool) -> None:
    def behind(t: int) -> np.ndarray | None:
        return None if 44 <= t <= 56 else box(500 - 4 * t, 300, 50)

    faces = {0: lambda t: box(100 + 4 * t, 300, 70), 1: behind}
    sighted = seen(faces, 100, alike=alike)
    assert owners(sighted, link(sighted, RULE), faces) == [{0}, {1}]


def test_faces_that_meet_and_part_again_are_told_apart_by_their_colours_or_not_at_all() -> None:
    """They walk up to each other, stand cheek to cheek, and walk back, or go through: motion alone cannot say which."""

    def meeting(side: int) -> Callable[[int], np.ndarray | None]:
        return lambda t: None if 40 < t < 60 else box(300 + side * 4 * abs(t - 50))

    faces = {0: meeting(-1), 1: meeting(1)}
    sighted = seen(faces, 100)
    assert owners(sighted, link(sighted, RULE), faces) == [{0}, {1}]
    assert len(link(seen(faces, 100, alike=True), RULE)) == 4


def test_what_cannot_be_told_apart_is_split_rather_than_merged() -> None:
    """Two faces of one look vanish side by side, and two come back there: four tracks, and nobody's name is guessed."""

    def of(x: float) -> Callable[[int], np.ndarray | None]:
        return lambda t: None if 40 <= t < 100 else box(x)

    sighted = seen({0: of(300), 1: of(330)}, 140, alike=True)
    assert len(link(sighted, RULE)) == 4


def test_a_face_that_turns_away_for_three_seconds_keeps_its_track_and_leaves_a_hole() -> None:
    sighted = seen({0: lambda t: None if 40 <= t < 115 else box(300), 1: lambda t: box(700)}, 160)
    tracks = link(sighted, RULE)
    assert len(tracks) == 2
    ticks, _, _, confidence = fill(sighted, tracks[0], 0, 160, max_gap=15)
    assert not ((ticks > 38) & (ticks < 116)).any(), "nobody knows where the face was"
    assert confidence.min() > 0.4


def test_somebody_else_at_the_place_of_one_who_left_is_a_new_track() -> None:
    faces = {0: lambda t: box(300) if t < 40 else None, 1: lambda t: box(300) if t >= 60 else None}
    sighted = seen(faces, 120)
    assert owners(sighted, link(sighted, RULE), faces) == [{0}, {1}]


def test_a_face_that_comes_back_after_the_longest_return_is_a_new_track() -> None:
    sighted = seen({0: lambda t: box(300) if t < 40 or t > 200 else None}, 240)
    assert len(link(sighted, RULE)) == 1
    assert len(link(sighted, LinkRule(step_ticks=2, reach_ticks=100))) == 2


def test_a_link_is_as_sure_as_the_next_best_assignment_is_bad() -> None:
    worth = np.array([[-np.inf, 6.0, 5.0], [-np.inf] * 3, [-np.inf] * 3])
    assert assign(worth, 3.0)[0] == [-1, -1, -1], "the other start is nearly as good"
    successor, sure = assign(worth, 0.5)
    assert successor[0] == 1
    assert sure[0] == pytest.approx(1 / (1 + np.exp(-1.0)))


def test_the_assignment_gives_up_the_best_single_link_for_the_best_sum() -> None:
    worth = np.full((4, 4), -np.inf)
    worth[0, 2], worth[0, 3], worth[1, 2] = 10.0, 9.0, 8.0
    assert assign(worth, 3.0)[0][:2] == [3, 2]


def test_nothing_seen_is_no_track() -> None:
    assert link(seen({}, 10), RULE) == []


def test_a_look_without_a_zone_says_nothing_of_it() -> None:
    whole, hidden = colours(0), colours(1)
    hidden[:48] = 0
    assert look_nats(whole, np.stack([whole, hidden])).tolist() == pytest.approx([3.6, -3.0])


def test_a_much_larger_box_at_the_same_place_is_another_face() -> None:
    assert match_cost(box(100)[None], box(100, side=200)[None])[0, 0] > 0.8
    assert match_cost(box(100)[None], box(100)[None])[0, 0] == 0


def test_bridged_ticks_lie_on_the_line_between_their_neighbours_and_are_less_sure() -> None:
    sighted = seen({0: lambda t: box(100 + 2 * t) if t in (0, 4, 12) else None}, 14)
    ticks, boxes, _, confidence = fill(sighted, Track(np.arange(3), np.array([1.0, 1.0, 0.5])), 0, 14, max_gap=15)
    assert ticks.tolist() == list(range(14))
    np.testing.assert_allclose(boxes[:13, 0], 70 + 2 * np.arange(13))
    assert boxes[13, 0] == boxes[12, 0], "held at the end"
    assert confidence[2] == pytest.approx(0.9 * 0.5**0.2), "two ticks from the nearest sighting"
    assert confidence[8] < 0.5 * confidence[2], "and the link over this gap is even odds"
    assert confidence[[0, 4, 12]] == pytest.approx(0.9)


def test_overlapping_boxes_of_two_detectors_become_one() -> None:
    boxes = np.stack([box(100), box(104), box(300)])
    assert suppress(boxes, np.array([0.6, 0.9, 0.7], np.float32)).tolist() == [1, 2]
    assert iou(boxes[:1], boxes[2:])[0, 0] == 0
    assert iou(boxes[:1], boxes[:1])[0, 0] == 1


def test_a_box_behind_a_nearer_face_is_hidden_and_the_nearer_one_is_not() -> None:
    ticks = np.array([0, 0, 1, 1], np.int32)
    boxes = np.stack([box(300, side=100), box(320, side=50), box(300, side=100), box(500, side=50)])
    assert occluded(ticks, boxes, np.ones(4, bool), 0.3).tolist() == [False, True, False, False]
    unseen = np.array([False, True, True, True])
    assert occluded(ticks, boxes, unseen, 0.2)[0], "a face that is not seen, with another where it should be"


def test_flicker_is_no_track() -> None:
    rare = np.arange(0, 40, 12, dtype=np.int32)
    assert not kept(rare, 500, Config(min_detected=0.5)), "seen in 4 of 19 looks"
    assert kept(rare, 500, Config(min_detected=0.2))
    assert not kept(np.arange(0, 20, 2, dtype=np.int32), 500, Config()), "under a second"


def test_what_the_detector_hardly_believes_is_a_hand() -> None:
    assert not kept(np.arange(0, 100, 2, dtype=np.int32), 100, Config(), score=0.6)


def test_time_out_of_sight_does_not_make_a_face_flicker() -> None:
    halves = np.concatenate([np.arange(0, 30, 2), np.arange(400, 430, 2)]).astype(np.int32)
    assert kept(halves, 500, Config())


def test_a_face_throughout_a_shot_of_less_than_a_second_is_a_track() -> None:
    assert kept(np.arange(0, 20, 2, dtype=np.int32), 20, Config())
    assert not kept(np.arange(0, 10, 2, dtype=np.int32), 20, Config())


def test_the_last_tick_of_a_shot_is_looked_at() -> None:
    assert looked_at(10, 20, 4).tolist() == [10, 14, 18, 19]
