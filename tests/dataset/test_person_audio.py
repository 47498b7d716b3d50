import numpy as np
import pytest

from dialogbuild.dataset.audio import person_tracks, sample_gains, tick_gains
from dialogbuild.dataset.schema import SAMPLES_PER_TICK

FLOOR = 10 ** (-60 / 20)


def level_db(x):
    return 20 * np.log10(np.sqrt(np.mean(np.square(x))))


def talk():
    """Ten ticks each of: person 0, both, person 1, nobody."""
    p0 = np.repeat([0.98, 0.95, 0.02, 0.01], 10)
    p1 = np.repeat([0.02, 0.95, 0.98, 0.01], 10)
    return np.stack([p0, p1], 1), np.repeat([False, True, False, False], 10)


def test_each_person_is_heard_in_their_turns_and_both_hear_the_overlap():
    p, overlap = talk()
    mix = np.random.default_rng(0).standard_normal(40 * SAMPLES_PER_TICK).astype(np.float32) * 0.1
    a, b = person_tracks(mix, p, overlap)
    inside = [slice((10 * i + 1) * SAMPLES_PER_TICK, (10 * i + 9) * SAMPLES_PER_TICK) for i in range(4)]
    loud = level_db(mix)
    assert level_db(a[inside[0]]) == pytest.approx(loud, abs=0.3)
    assert level_db(b[inside[0]]) < loud - 30
    assert level_db(b[inside[2]]) == pytest.approx(loud, abs=0.3)
    assert np.array_equal(a[inside[1]], mix[inside[1]])
    assert np.array_equal(b[inside[1]], mix[inside[1]])
    assert level_db(a[inside[3]]) < loud - 30


def test_the_floor_is_the_quietest_that_a_track_gets():
    gains = sample_gains(np.array([0.0, 1.0, 0.0]), ramp_s=0.02, floor_db=-60)
    assert gains.min() == pytest.approx(FLOOR)
    assert gains.max() == 1.0


def test_ramps_are_smooth_and_as_long_as_asked():
    gains = sample_gains(np.array([0.0, 1.0]), ramp_s=0.02, floor_db=-120)
    moving = np.flatnonzero((gains > 1e-6) & (gains < 1 - 1e-6))
    assert len(moving) == pytest.approx(320, abs=4)
    assert abs(moving.mean() - (SAMPLES_PER_TICK - 0.5)) < 1
    assert np.abs(np.diff(gains)).max() < 1.6 / 320 * 1.1


def test_a_hard_switch_without_ramp_is_possible_and_a_ramp_longer_than_a_tick_is_not():
    assert np.unique(sample_gains(np.array([0.0, 1.0]), 0.0, -20)) == pytest.approx([0.1, 1.0])
    with pytest.raises(ValueError, match="does not fit into one tick"):
        sample_gains(np.array([0.0, 1.0]), 0.05, -60)


def test_an_uncertain_speaker_is_not_attenuated_when_the_other_is_clearly_silent():
    gains = tick_gains(np.array([[0.6, 0.02]]), np.array([False]))
    assert gains[0, 0] == 1.0
    assert gains[0, 1] < 0.05


def test_tracks_have_exactly_as_many_samples_as_the_mix_or_nothing_is_made():
    p, overlap = talk()
    with pytest.raises(ValueError, match="40 ticks take 25600"):
        person_tracks(np.zeros(25599, np.float32), p, overlap)
