"""A picture laid over another, and rectangles that belong to the scene."""

from __future__ import annotations

import numpy as np
import pytest
from test_panes import H, W, beside, boxes, scene

from dialogbuild.media.insets import find_insets
from dialogbuild.media.panes import find_panes, picture_stats


def laid_over(below: list[np.ndarray], above: list[np.ndarray], x: int, y: int) -> list[np.ndarray]:
    out = [frame.copy() for frame in below]
    for frame, inset in zip(out, above, strict=True):
        frame[y : y + inset.shape[0], x : x + inset.shape[1]] = inset
    return out


def insets(frames: list[np.ndarray]) -> list[tuple[int, int, int, int]]:
    stats = picture_stats(frames)
    return [pane.box_px for pane in find_insets(stats, find_panes(stats))]


@pytest.mark.parametrize(("x", "y"), [(210, 20), (18, 100)])
def test_an_inset_is_found_where_it_lies(x, y):
    frames = laid_over(scene(1), scene(2, 90, 60), x, y)
    (found,) = insets(frames)
    np.testing.assert_allclose(found, (x, y, x + 90, y + 60), atol=1)
    assert boxes(frames) == [(0, 0, W, H)], "the picture below goes on behind it"


def test_an_inset_within_a_pane_is_given_in_the_pictures_pixels():
    left = laid_over(scene(1, 160), scene(3, 60, 50), 80, 20)
    (found,) = insets(beside(left, scene(2, 160)))
    np.testing.assert_allclose(found, (80, 20, 140, 70), atol=1)
    left = laid_over(scene(1, 160), scene(3, 60, 50), 80, 20)
    (found,) = insets(beside(scene(2, 160), left))
    np.testing.assert_allclose(found, (240, 20, 300, 70), atol=1)


@pytest.mark.parametrize("seed", range(4))
def test_an_ordinary_shot_has_none(seed):
    assert insets(scene(seed)) == []


def test_a_picture_on_the_wall_is_none_because_nothing_moves_beside_it():
    painting = [scene(2, 90, 60)[0]] * 6
    assert insets(laid_over(scene(1, sway_px=0.0), painting, 215, 15)) == []


def test_of_overlapping_rectangles_the_surest_is_kept():
    frames = laid_over(scene(1), scene(2, 90, 60), 210, 20)
    stats = picture_stats(frames)
    found = find_insets(stats, find_panes(stats), min_confidence=1e-9)
    assert len(found) == 1
