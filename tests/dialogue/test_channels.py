"""Whose the channels of a stereo recording are."""

from __future__ import annotations

import numpy as np
import pytest

from dialogbuild.dialogue.channels import channel_owners, weighted_median

FPS = 25.0


def talk(bleed_db: float, wrong: float = 0.05) -> tuple[np.ndarray, np.ndarray]:
    """Levels (T, 2) of channels whose left one is person 0's, and posteriors of which a share is wrong."""
    rng = np.random.default_rng(0)
    state = np.repeat([1, 0, 2, 3, 1, 2], (100, 20, 100, 20, 60, 60))
    own = np.stack([(state & 1) > 0, (state & 2) > 0], axis=1)
    power = np.where(own, 10.0 ** rng.normal(-2.0, 0.3, own.shape), 0.0)
    level_db = 10.0 * np.log10(power + 10 ** (bleed_db / 10) * power[:, ::-1] + 1e-7)
    p_speak = np.where(own, 0.95, 0.05)
    flip = rng.uniform(size=len(state)) < wrong
    p_speak[flip] = p_speak[flip][:, ::-1]
    return level_db, p_speak


@pytest.mark.parametrize("bleed_db", [-40.0, -20.0, -10.0])
def test_each_channel_goes_to_the_person_who_is_louder_in_it(bleed_db) -> None:
    level_db, p_speak = talk(bleed_db)
    found = channel_owners(level_db, p_speak, FPS)
    assert (found.channel, found.reason) == ((0, 1), "ok")
    assert found.gap_db == pytest.approx(-bleed_db, abs=2.0)
    assert found.agreement == pytest.approx(0.95, abs=0.03)
    swapped = channel_owners(level_db[:, ::-1], p_speak, FPS)
    assert (swapped.channel, swapped.gap_db) == ((1, 0), pytest.approx(found.gap_db, abs=0.1))


def test_a_room_in_which_both_are_heard_in_both_channels_is_mixed() -> None:
    found = channel_owners(*talk(-3.0), FPS)
    assert (found.channel, found.reason) == (None, "mixed")


def test_a_channel_that_is_louder_throughout_is_nobodys() -> None:
    level_db, p_speak = talk(0.0)
    found = channel_owners(level_db + np.array([12.0, 0.0]), p_speak, FPS)
    assert (found.channel, found.reason) == (None, "mixed")
    assert found.gap_db == pytest.approx(-12.0, abs=1.0)


def test_channels_that_contradict_who_speaks_are_not_believed() -> None:
    level_db, p_speak = talk(-20.0, wrong=0.3)
    assert channel_owners(level_db, p_speak, FPS).reason == "mixed"


def test_too_little_speech_of_one_person_decides_nothing() -> None:
    level_db, p_speak = talk(-40.0)
    p_speak[:, 1] = 0.05
    assert channel_owners(level_db, p_speak, FPS).reason == "short"


def test_the_weighted_median_halves_the_weight() -> None:
    assert weighted_median(np.array([5.0, 1.0, 3.0]), np.array([1.0, 1.0, 5.0])) == 3.0
    assert weighted_median(np.array([5.0, 1.0, 3.0]), np.array([0.0, 9.0, 1.0])) == 1.0
