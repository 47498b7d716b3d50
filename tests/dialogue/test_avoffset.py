"""The offset of sound against picture: injected shifts come back, weak evidence gives none."""

from __future__ import annotations

import numpy as np
import pytest

from dialogbuild.dialogue import avoffset
from dialogbuild.dialogue.avoffset import AvOffset, OffsetRule, estimate_offset
from dialogbuild.dialogue.pcm import Array, Pcm
from dialogbuild.synth import DialogueSpec, make_speech

SEED, SECONDS = 730, 20.0  # seeds 700 to 706 set the constants


@pytest.fixture(scope="module")
def talk() -> tuple[Array, Array, Array, Array]:
    """Lips with a detector's noise, frame times, who speaks, and sound in sync."""
    sound, truth = make_speech(DialogueSpec(seed=SEED, duration_s=SECONDS))
    rng = np.random.default_rng(SEED)
    aperture = np.stack([p.lip_gap_m[truth.tick_frames] / 0.2 for p in truth.persons[:2]], axis=1)
    aperture = aperture + rng.normal(0.0, 0.003, aperture.shape)
    return aperture, truth.frame_times_s[truth.tick_frames], truth.speaking.astype(float), sound


def late(sound: Array, ms: float) -> Array:
    moved = np.roll(sound, n := round(ms * 16))
    moved[: max(n, 0)] = 0.0
    moved[len(sound) + min(n, 0) :] = 0.0
    return moved


def noisy(sound: Array, snr_db: float) -> Array:
    """White noise under the speech: the louder half of the recording."""
    speech = np.mean(np.sort(sound**2)[len(sound) // 2 :])
    noise = np.random.default_rng(1).normal(0.0, np.sqrt(speech * 10 ** (-snr_db / 10)), len(sound))
    return np.asarray(sound + noise, np.float32)


def estimate(talk: tuple[Array, Array, Array, Array], sound: Array | None = None, **changed: Array) -> AvOffset:
    given = dict(zip(("aperture", "frame_s", "p_speak"), talk[:3], strict=True)) | changed
    pcm = Pcm.from_array(talk[3] if sound is None else sound)
    return estimate_offset(given["aperture"], given["frame_s"], given["p_speak"], pcm, 25.0)


@pytest.mark.parametrize("ms", [-400.0, -120.0, 0.0, 45.0, 200.0])
def test_sound_that_comes_late_gives_a_positive_offset_of_that_size(talk, ms) -> None:
    found = estimate(talk, late(talk[3], ms))
    assert found.reason == "ok"
    assert found.ms == pytest.approx(ms, abs=20.0)


def test_noise_of_5_db_moves_the_answer_little(talk) -> None:
    assert estimate(talk, noisy(late(talk[3], 120.0), 5.0)).ms == pytest.approx(120.0, abs=20.0)


def test_a_difference_between_two_shifts_is_known_to_milliseconds(talk) -> None:
    a, b = estimate(talk, late(talk[3], 31.0)), estimate(talk, late(talk[3], -52.0))
    assert a.ms - b.ms == pytest.approx(83.0, abs=3.0)


def test_sigma_never_claims_more_than_is_known_of_lips(talk) -> None:
    found = estimate(talk)
    assert avoffset.LIP_LEAD_SIGMA_MS <= found.sigma_ms < avoffset.LIP_LEAD_SIGMA_MS + 5.0


def test_a_lead_measured_on_own_footage_replaces_the_constant(talk) -> None:
    rule = OffsetRule(lead_ms=avoffset.LIP_LEAD_MS + 40.0, lead_sigma_ms=3.0)
    pcm = Pcm.from_array(talk[3])
    own = estimate_offset(*talk[:3], pcm, 25.0, rule)
    assert own.ms == pytest.approx(estimate(talk).ms - 40.0)
    assert own.sigma_ms < 15.0


def test_the_time_of_the_frame_counts_and_not_the_ticks_that_show_it(talk) -> None:
    shown_later = estimate(talk, frame_s=talk[1] + 0.1, sound=late(talk[3], 100.0))
    assert shown_later.ms == pytest.approx(estimate(talk).ms, abs=5.0)


def test_frames_shown_twice_count_once(talk) -> None:
    aperture, frame_s = talk[0].copy(), talk[1].copy()
    aperture[1::2], frame_s[1::2] = aperture[::2][: len(aperture[1::2])], frame_s[::2][: len(frame_s[1::2])]
    assert estimate(talk, aperture=aperture, frame_s=frame_s).ms == pytest.approx(0.0, abs=25.0)


def test_unseen_lips_and_cuts_leave_the_rest(talk) -> None:
    aperture = talk[0].copy()
    aperture[60:110, 0] = np.nan
    aperture[::7, 1] = np.nan
    found = estimate(talk, late(talk[3], 80.0), aperture=aperture)
    assert found.ms == pytest.approx(80.0, abs=20.0)
    assert found.solo_s < estimate(talk).solo_s


@pytest.mark.parametrize("seconds", [4.0, 0.0])
def test_little_speech_of_one_visible_person_gives_no_offset(talk, seconds) -> None:
    p_speak = talk[2].copy()
    p_speak[round(seconds * 25) :] = 0.0
    found = estimate(talk, p_speak=p_speak)
    assert (found.ms, found.sigma_ms, found.reason) == (None, None, "short")


def test_faces_nobody_saw_give_no_offset(talk) -> None:
    assert estimate(talk, aperture=np.full_like(talk[0], np.nan)).reason == "short"


@pytest.mark.parametrize("seed", [731, 732, 733])
def test_the_sound_of_another_conversation_gives_no_offset(talk, seed) -> None:
    other = make_speech(DialogueSpec(seed=seed, duration_s=SECONDS))[0]
    found = estimate(talk, other)
    assert found.ms is None
    assert found.reason in ("flat", "halves", "edge", "spread")


def test_an_offset_beyond_the_search_is_not_mistaken_for_one_inside(talk) -> None:
    assert estimate(talk, late(talk[3], 1500.0)).ms is None


def test_halves_that_disagree_give_no_offset(talk) -> None:
    lags = np.arange(-600.0, 601.0, 10.0)
    lips = np.stack([avoffset.lip_curve(c, talk[1], 2000) for c in talk[0].T], axis=1)
    weight = np.where(np.isfinite(lips), np.repeat(talk[2], 4, axis=0), 0.0)
    sounds = [avoffset.loudness(Pcm.from_array(late(talk[3], ms)), 2000) for ms in (-150.0, 150.0)]
    sums = [avoffset.lagged_sums(np.nan_to_num(lips), s, weight)[1] for s in sounds]
    mixed = np.where((np.arange(10) % 2 == 0)[:, None, None, None, None], sums[0], sums[1])
    assert avoffset.judge(lags, mixed, 15.0, OffsetRule(min_gain_nats=0.0)).reason == "halves"


def test_digital_silence_gives_no_offset(talk) -> None:
    assert estimate(talk, np.zeros_like(talk[3])).ms is None


def test_shapes_that_disagree_are_an_error(talk) -> None:
    with pytest.raises(ValueError, match="different ticks"):
        estimate(talk, p_speak=talk[2][:-1])


def test_a_parabola_finds_the_peak_between_lags() -> None:
    lags = np.arange(-50.0, 51.0, 10.0)
    assert avoffset.peak_ms(lags, -((lags - 13.0) ** 2)) == pytest.approx(13.0)
    assert np.isnan(avoffset.peak_ms(lags, lags))
