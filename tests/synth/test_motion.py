"""The performance: lips that belong to the sounds, blinks, nods, sync error."""

from __future__ import annotations

import numpy as np
import pytest

from dialogbuild.synth import DialogueSpec, make_speech
from dialogbuild.synth.motion import BLINK_CLOSE_S, BLINK_HOLD_S, BLINK_OPEN_S, blink_profile, make_motion
from dialogbuild.synth.script import make_script
from dialogbuild.synth.spec import SAMPLES_PER_TICK
from dialogbuild.synth.truth import Truth
from dialogbuild.synth.visemes import symbols


@pytest.fixture(scope="module")
def long_truth() -> Truth:
    return make_speech(DialogueSpec(seed=3, duration_s=30.0))[1]


def _lips_during(truth: Truth, person: int, sounds: str) -> np.ndarray:
    times_s = truth.frame_times_s
    inside = np.zeros(len(times_s), bool)
    for p in truth.phonemes:
        if p.person == person and p.ipa and p.ipa in sounds:
            inside |= (times_s >= p.start_s) & (times_s < p.end_s)
    assert inside.sum() >= 10, "the dialogue has too few of these sounds to judge"
    return truth.persons[person].lip_gap_m[inside]


@pytest.mark.parametrize("person", [0, 1])
def test_lips_are_closed_in_every_frame_of_a_bilabial_and_open_in_vowels(long_truth: Truth, person: int) -> None:
    assert _lips_during(long_truth, person, "pbm").max() < 0.001
    assert np.median(_lips_during(long_truth, person, ["aɪ", "ɑː", "æ", "eɪ", "aʊ", "ʌ"])) > 0.004  # type: ignore[arg-type]


def test_the_mouth_follows_its_own_voice_and_not_the_others(long_truth: Truth) -> None:
    level = np.sqrt((long_truth.tracks.reshape(2, -1, SAMPLES_PER_TICK) ** 2).mean(2))
    for person in (0, 1):
        gap = long_truth.persons[person].lip_gap_m[long_truth.tick_frames]
        own, other = (np.corrcoef(gap, level[p])[0, 1] for p in (person, 1 - person))
        assert own > 0.5
        assert other < 0.1


def test_a_late_sound_moves_the_lips_ahead_of_it_by_the_offset() -> None:
    in_sync = make_speech(DialogueSpec(seed=1, duration_s=12.0))[1]
    late = make_speech(DialogueSpec(seed=1, duration_s=12.0, av_offset_s=0.12))[1]
    assert np.array_equal(in_sync.tracks, late.tracks), "the truth of the sound must not move"
    moved, still = (t.persons[0].lip_gap_m - t.persons[0].lip_gap_m.mean() for t in (late, in_sync))
    lags = np.arange(-8, 9)
    match = [np.dot(np.roll(still, lag), moved) for lag in lags]
    assert lags[int(np.argmax(match))] == -3


def test_a_blink_shuts_the_eye_for_five_to_seven_frames() -> None:
    since_s = np.arange(-0.1, 0.5, 0.001)
    profile = blink_profile(since_s)
    assert profile.max() == 1.0
    assert 0.2 <= (profile > 0.02).sum() / 1000 <= 0.28
    assert BLINK_CLOSE_S < BLINK_OPEN_S, "lids fall faster than they rise"
    assert profile[np.argmin(np.abs(since_s - BLINK_CLOSE_S - BLINK_HOLD_S / 2))] == 1.0


def test_people_blink_a_plausible_number_of_times(long_truth: Truth) -> None:
    for person in (0, 1):
        pose = long_truth.persons[person].pose
        shut = pose.expr[:, 0] > 0.7
        blinks = int((np.diff(shut.astype(int)) == 1).sum())
        assert 5 <= blinks <= 20, "10 to 40 a minute"


def test_motion_belongs_to_time_and_not_to_the_frame_rate() -> None:
    spec = DialogueSpec(seed=2, duration_s=6.0)
    script = make_script(spec)
    coarse_s = np.arange(0, 6, 0.2)
    fine_s = np.arange(0, 6, 0.02)
    coarse, fine = (make_motion(spec, script, 0, 0.2, t) for t in (coarse_s, fine_s))
    np.testing.assert_allclose(fine.neck_rad[::10], coarse.neck_rad, atol=1e-9)
    np.testing.assert_allclose(fine.mouth["jaw_rad"][::10], coarse.mouth["jaw_rad"], atol=1e-9)


def test_the_bystander_and_the_dumb_keep_their_lips_closed() -> None:
    truth = make_speech(DialogueSpec(seed=1, duration_s=6.4, faces=3))[1]
    assert truth.persons[2].voice is None
    assert truth.persons[2].lip_gap_m.max() < 0.0015
    silent = make_speech(DialogueSpec(seed=1, duration_s=6.4, audio="silence"))[1]
    assert max(p.lip_gap_m.max() for p in silent.persons) < 0.0015


def test_sounds_of_diphthongs_and_affricates() -> None:
    assert symbols("aɪ") == ["a", "ɪ"]
    assert symbols("uː") == ["u"]
    assert symbols("tʃ") == ["ʃ"]
    assert symbols("") == []
