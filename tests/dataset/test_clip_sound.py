"""A clip's sound: masks or own channels, how much of the other is left, and sound that is moved into sync."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dialogbuild.dataset.audio import bleed
from dialogbuild.dataset.schema import SAMPLES_PER_TICK
from dialogbuild.dataset.sound import Sync, clip_sound, decide_sync
from dialogbuild.media.audio import write_flac
from dialogbuild.tables import Columns

N_TICKS = 200
SPAN = (20, 180)


@pytest.fixture
def states() -> Columns:
    """Person 0 speaks, then both, then person 1, then nobody."""
    state = np.repeat(np.array([1, 3, 2, 0], np.int8), (80, 20, 80, 20))
    p = [np.where(state & own, 0.97, 0.03) for own in (1, 2)]
    return {"tick": np.arange(N_TICKS), "state": state, "p_speak_0": p[0], "p_speak_1": p[1]}


@pytest.fixture
def voices(states: Columns) -> np.ndarray:
    state = np.repeat(states["state"], SAMPLES_PER_TICK)
    noise = 0.1 * np.random.default_rng(0).standard_normal((2, len(state)))
    return np.where([(state & 1) > 0, (state & 2) > 0], noise, 0.0).astype(np.float32)


@pytest.fixture
def ingest(tmp_path: Path, voices: np.ndarray) -> Path:
    """A stereo recording with person 1 in the left channel and bleed of -20 dB, and its mono mix."""
    stereo = voices[::-1] + 0.1 * voices
    write_flac(tmp_path / "channels.flac", [np.ascontiguousarray(stereo.T)], channels=2)
    write_flac(tmp_path / "audio.flac", [stereo.mean(axis=0)])
    return tmp_path


def inside(ticks: tuple[int, int]) -> slice:
    return slice(*(t * SAMPLES_PER_TICK for t in ticks))


def test_own_channels_are_taken_whole_and_each_by_its_person(ingest: Path, states: Columns, voices: np.ndarray) -> None:
    sound = clip_sound(ingest, SPAN, states, (1, 0))
    assert sound.method == "stereo"
    assert np.abs(sound.tracks - (voices + 0.1 * voices[::-1])[:, inside(SPAN)]).max() < 1e-4
    assert sound.bleed_db == pytest.approx((-20.0, -20.0), abs=0.3)
    assert min(sound.bleed_corr) > 0.99, "what is heard in the other's turns is the other"
    assert sound.facts(1) == {
        "audio_method": "stereo", "bleed_db": sound.bleed_db[1], "bleed_corr": sound.bleed_corr[1],
    }  # fmt: skip


def test_masks_of_a_mix_mute_the_other_and_say_by_how_much(ingest: Path, states: Columns) -> None:
    sound = clip_sound(ingest, SPAN, states, None)
    assert sound.method == "mask"
    assert sound.tracks.shape == (2, 160 * SAMPLES_PER_TICK)
    assert sound.bleed_db == pytest.approx((20 * np.log10(0.03 / 0.97),) * 2, abs=0.5)
    both = inside((82 - SPAN[0], 98 - SPAN[0]))
    assert np.array_equal(sound.tracks[0, both], sound.mix[both])


def test_noise_of_an_own_microphone_is_no_voice_of_the_other() -> None:
    rng = np.random.default_rng(1)
    state = np.repeat([1, 2], 60)
    tracks = 0.001 * rng.standard_normal((2, 120 * SAMPLES_PER_TICK))
    tracks += np.where(np.repeat([state == 1, state == 2], SAMPLES_PER_TICK, axis=1), 0.1, 0.0) * rng.standard_normal(
        tracks.shape
    )
    level_db, shared = bleed(tracks, state)
    assert level_db == pytest.approx((-40.0, -40.0), abs=0.5)
    assert max(shared) < 0.05


def test_bleed_that_arrives_later_through_the_room_is_still_bleed() -> None:
    rng = np.random.default_rng(2)
    state = np.repeat([1, 2], 60)
    voice = np.where(np.repeat([state == 1, state == 2], SAMPLES_PER_TICK, axis=1), 0.1, 0.0)
    voice = voice * rng.standard_normal(voice.shape)
    tracks = voice + 0.2 * np.roll(voice[::-1], 90, axis=1)  # 5.6 ms: two metres
    _, shared = bleed(tracks, state)
    assert min(shared) > 0.9


def test_bleed_is_not_measured_where_one_of_them_never_speaks_alone() -> None:
    assert bleed(np.ones((2, 40 * SAMPLES_PER_TICK)), np.ones(40, np.int8)) == ((0.0, 0.0), (0.0, 0.0))


@pytest.mark.parametrize("late", [2400, -2081, 7])
@pytest.mark.parametrize("channel", [None, (1, 0)])
def test_late_sound_is_read_later_and_masks_move_along(ingest, states, late, channel) -> None:
    plain = clip_sound(ingest, (0, N_TICKS), states, channel)
    moved = clip_sound(ingest, SPAN, states, channel, late)
    at = slice(*(t * SAMPLES_PER_TICK + late for t in SPAN))
    assert np.array_equal(moved.mix, plain.mix[at])
    assert np.array_equal(moved.tracks, plain.tracks[:, at]), "a mask belongs to the sound that it was made for"
    assert moved.mix.shape == (160 * SAMPLES_PER_TICK,)


def test_sound_that_was_never_recorded_is_silence(ingest: Path, states: Columns) -> None:
    late = clip_sound(ingest, (100, N_TICKS), states, None, 6400)
    early = clip_sound(ingest, (0, 100), states, (1, 0), -6400)
    assert not late.mix[-6400:].any()
    assert not early.tracks[:, :6400].any()
    assert early.tracks[0, 6400:].any()


def test_only_an_offset_beyond_two_sigma_is_applied_and_only_when_asked() -> None:
    large, small = {"ms": -150.02, "sigma_ms": 51.0}, {"ms": 60.0, "sigma_ms": 51.0}
    assert decide_sync(large, apply=False) == Sync(-150.02, 51.0, 0.0)
    assert decide_sync(large, apply=True) == Sync(-150.02, 51.0, -150.0), "whole samples"
    assert decide_sync(small, apply=True) == Sync(60.0, 51.0, 0.0)
    assert decide_sync(large, apply=True).late_samples == -2400


def test_sync_is_claimed_where_zero_is_within_two_sigma_of_what_is_left() -> None:
    assert not Sync(150.0, 51.0).is_ok
    assert Sync(150.0, 51.0, 150.0).is_ok
    assert Sync(60.0, 51.0).is_ok
    for unknown in (None, {"ms": None, "sigma_ms": None}):
        assert decide_sync(unknown, apply=True) == Sync()
        assert not decide_sync(unknown, apply=True).is_ok


def test_wrong_labels_at_the_ends_of_turns_do_not_pass_for_bleed(voices: np.ndarray, states: Columns) -> None:
    tracks = voices + 0.1 * voices[::-1]
    late = np.roll(states["state"], 8)  # labels a third of a second late
    right, wrong = bleed(tracks, states["state"]), bleed(tracks, late)
    assert wrong[0] == pytest.approx(right[0], abs=0.5)
    assert min(wrong[1]) > 0.99
