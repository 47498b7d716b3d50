"""Colours of hair, face and clothes."""

from __future__ import annotations

import numpy as np
import pytest

from dialogbuild.faces.appearance import LOOK_SIZE, describe, mean_look, zone_distance

BOX = np.array([60, 60, 120, 120], np.float32)


def person(hair: tuple[int, int, int], skin: tuple[int, int, int], shirt: tuple[int, int, int]) -> np.ndarray:
    image = np.full((220, 180, 3), 128, np.uint8)
    image[35:60, 60:120], image[60:130, 60:120], image[130:200, 40:140] = hair, skin, shirt
    return image


DARK = person((40, 30, 25), (200, 150, 130), (40, 60, 160))


def test_only_the_zone_that_differs_is_far() -> None:
    other = person((40, 30, 25), (200, 150, 130), (180, 40, 40))
    hair, face, clothes = zone_distance(describe(DARK, BOX), describe(other, BOX))
    assert hair < 0.05
    assert face < 0.05
    assert clothes > 0.7


def test_a_little_less_light_moves_the_look_little() -> None:
    dimmer = np.asarray(DARK * 0.95, np.uint8)
    assert zone_distance(describe(DARK, BOX), describe(dimmer, BOX)).max() < 0.35


def test_the_size_of_the_face_does_not_matter() -> None:
    large = np.asarray(DARK.repeat(3, axis=0).repeat(3, axis=1), np.uint8)
    assert zone_distance(describe(DARK, BOX), describe(large, 3 * BOX)).max() < 0.1


@pytest.mark.parametrize(
    ("box", "missing"),
    [((60, 0, 120, 60), 0), ((60, 150, 120, 215), 2), ((170, 60, 230, 120), 1)],
    ids=["hair above the picture", "clothes below it", "face half out of it"],
)
def test_a_zone_outside_the_picture_is_unknown(box: tuple[int, ...], missing: int) -> None:
    distance = zone_distance(describe(DARK, np.array(box, np.float32)), describe(DARK, BOX))
    assert np.isnan(distance[missing])


def test_the_mean_look_takes_each_zone_from_where_it_was_seen() -> None:
    high = describe(DARK, np.array([60, 0, 120, 60], np.float32))
    mean = mean_look(np.stack([high, describe(DARK, BOX), describe(DARK, BOX)]))
    assert mean.shape == (LOOK_SIZE,)
    assert zone_distance(mean, describe(DARK, BOX))[0] == pytest.approx(0, abs=1e-3)
    assert np.square(mean.reshape(3, -1)).sum(1) == pytest.approx(1, abs=1e-5)


def test_the_mean_look_of_nothing_known_is_nothing_known() -> None:
    assert not mean_look(np.zeros((3, LOOK_SIZE), np.float32)).any()


def test_a_box_wholly_outside_gives_no_look_and_no_error() -> None:
    assert not describe(DARK, np.array([500, 500, 560, 560], np.float32)).any()
