"""Where faces are looked for, with a detector that only notes what it was asked."""

from __future__ import annotations

from itertools import pairwise
from typing import cast

import numpy as np
import pytest

from dialogbuild.faces.detect import FaceDetector, Image, Sightings, distinct, merge, tile_corners, turn_rad
from dialogbuild.faces.lookout import Lookout, SearchRule

BLANK = np.zeros((72, 128, 3), np.uint8)
RULE = SearchRule(search_ticks=4, tile_ticks=8, hold_ticks=6)


def faces(*places: tuple[float, float], side: float = 20, score: float = 0.9) -> Sightings:
    middle = np.array(places, np.float32).reshape(-1, 2)
    box = np.concatenate([middle - side / 2, middle + side / 2], axis=1)
    return Sightings(box, np.full(len(middle), score, np.float32), np.zeros((len(middle), 6, 2), np.float32))


class Noting:
    """Shows faces at given places, and remembers where it was told to look."""

    def __init__(self, *places: tuple[float, float]) -> None:
        self.shown = faces(*places)
        self.asked: list[str | np.ndarray] = []

    def everywhere(self, rgb: Image, tiles: bool = False) -> Sightings:
        self.asked.append("tiles" if tiles else "everywhere")
        return self.shown

    def around(self, rgb: Image, box_px: np.ndarray) -> Sightings:
        self.asked.append(box_px)
        near = np.abs(self.shown.box_px[:, None] - box_px[None]).max(-1) < 20
        return self.shown.pick(near.any(1))


def lookout(detector: Noting) -> Lookout:
    return Lookout(cast(FaceDetector, detector), RULE)


def test_a_new_shot_is_searched_on_tiles_and_then_only_now_and_then() -> None:
    detector = Noting((30, 30))
    look = lookout(detector)
    for tick in range(0, 18, 2):
        assert len(look(BLANK, tick)) == 1
    wide = [what for what in detector.asked if isinstance(what, str)]
    assert wide == ["tiles", "everywhere", "tiles", "everywhere", "tiles"]
    look.new_shot()
    look(BLANK, 18)
    assert detector.asked[-1] == "tiles"


def test_a_moving_face_is_looked_for_where_it_is_going() -> None:
    detector = Noting((30, 30))
    look = lookout(detector)
    for tick in (0, 2, 4):
        detector.shown = faces((30 + 3 * tick, 30))
        look(BLANK, tick)
    look(BLANK, 6)
    asked = detector.asked[-1]
    assert not isinstance(asked, str)
    assert asked[0, [0, 2]].mean() > 42 + 3, "beyond where it was last"


def test_a_place_is_left_when_nobody_was_there_for_long() -> None:
    detector = Noting((30, 30))
    look = lookout(detector)
    look(BLANK, 0)
    detector.shown = faces()
    for tick in (2, 6, 10):
        look(BLANK, tick)
    closely = [len(what) for what in detector.asked if not isinstance(what, str)]
    assert closely == [1, 1], "at ticks 2 and 6, not at 10"


def test_a_face_found_closely_keeps_that_box_when_the_search_finds_it_again() -> None:
    near, wide = faces((30, 30)), faces((31, 30), (90, 40), side=22)
    assert merge(near, wide).box_px[:, 0].tolist() == [20, 79]


def test_one_face_seen_by_two_models_is_one_sighting() -> None:
    both = Sightings.join([faces((30, 30), score=0.6), faces((33, 30), side=24, score=0.8)])
    assert distinct(both).score.tolist() == pytest.approx([0.8])


@pytest.mark.parametrize(("width", "height"), [(1280, 720), (1920, 1080), (720, 1280), (640, 640), (64, 48)])
def test_tiles_cover_the_picture_and_overlap_by_three_tenths(width: int, height: int) -> None:
    corners, side = tile_corners(width, height)
    for axis, length in ((0, width), (1, height)):
        starts = sorted({corner[axis] for corner in corners})
        assert starts[0] == 0
        assert starts[-1] + side == length
        assert all(b - a <= 0.7 * side + 1 for a, b in pairwise(starts))


def test_the_turn_of_a_head_follows_the_nose_and_not_the_tilt() -> None:
    turned = np.radians([-60, -30, 0, 30, 60])
    half, lead = np.cos(turned), 1.4 * np.sin(turned)
    zero = np.zeros(5)
    points = np.stack([np.stack(p, -1) for p in [
        (-0.5 * half, zero), (0.5 * half, zero), (lead, zero + 0.6), (zero, zero + 1), (-half, zero), (half, zero),
    ]], 1)  # fmt: skip
    np.testing.assert_allclose(turn_rad(points.astype(np.float32)), turned, atol=1e-5)
    tilt = np.array([[np.cos(0.5), -np.sin(0.5)], [np.sin(0.5), np.cos(0.5)]])
    np.testing.assert_allclose(turn_rad((points @ tilt.T).astype(np.float32)), turned, atol=1e-5)
