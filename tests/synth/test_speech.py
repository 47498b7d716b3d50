"""The sentence bank and eSpeak NG: samples, phoneme times, determinism."""

from __future__ import annotations

from importlib import resources

import numpy as np
import pytest

from dialogbuild.errors import MissingPart
from dialogbuild.synth import espeak
from dialogbuild.synth.speech import SAMPLE_RATE_HZ, SPEECH_RMS, VOICES, bank, bank_texts, from_onsets, speak

needs_espeak = pytest.mark.skipif(not espeak.is_available(), reason="libespeak-ng is absent")
VOWELS = set("aɑæɐəɚɛeɜiɪoɔuʊʌ")


def _rms(samples: np.ndarray) -> float:
    return float(np.sqrt(np.mean(samples**2)))


def test_bank_holds_a_minute_in_two_voices_and_stays_small() -> None:
    total_s = sum(u.duration_s for u in bank().values())
    assert total_s >= 60
    for voice in VOICES:
        assert len(bank_texts(voice, "turn")) >= 10
        assert len(bank_texts(voice, "backchannel")) >= 3
    folder = resources.files("dialogbuild.synth")
    size = sum(len(folder.joinpath(n).read_bytes()) for n in ("bank.json", "bank_m3.flac", "bank_f3.flac"))
    assert size < 600_000


def test_every_utterance_is_one_chain_of_phonemes_within_its_samples() -> None:
    for (voice, text), u in bank().items():
        assert u.samples.dtype == np.float32, text
        assert u.voice == voice
        assert u.phonemes[0].ipa, f"{text!r} starts with a pause"
        assert u.phonemes[-1].ipa, f"{text!r} ends with a pause"
        for before, after in zip(u.phonemes[:-1], u.phonemes[1:], strict=True):
            assert before.end_s == after.start_s, text
            assert before.end_s > before.start_s, text
        assert u.phonemes[-1].end_s <= len(u.samples) / SAMPLE_RATE_HZ
        assert np.abs(u.samples).max() < 0.6


def test_vowels_are_loud_and_pauses_silent_where_the_times_say() -> None:
    loud, quiet = [], []
    for u in bank().values():
        for p in u.phonemes:
            middle = 0.25 * (p.end_s - p.start_s)
            a, b = (round(t * SAMPLE_RATE_HZ) for t in (p.start_s + middle, p.end_s - middle))
            if not p.ipa and p.end_s - p.start_s > 0.14:
                quiet.append(_rms(u.samples[a:b]))
            elif p.ipa and p.ipa[0] in VOWELS:
                loud.append(_rms(u.samples[a:b]))
    assert np.median(loud) > 0.7 * SPEECH_RMS
    assert np.percentile(loud, 5) > 0.02
    # a long pause begins with the last sound's decay, so its middle is quiet, not empty
    assert np.median(quiet) < 0.1 * SPEECH_RMS


def test_the_voices_differ_in_pitch_as_a_man_and_a_woman_do() -> None:
    assert np.median(_pitches_hz("m3")) < 130
    assert np.median(_pitches_hz("f3")) > 190


def _pitches_hz(voice: str) -> list[float]:
    track = np.concatenate([u.samples for (v, _), u in bank().items() if v == voice]).astype(np.float64)
    pitches = []
    for start in range(0, len(track) - 1024, 1024):
        block = track[start : start + 1024]
        if _rms(block) < 0.03:
            continue
        correlation = np.correlate(block, block, "full")[1023:]
        lag = 40 + int(correlation[40:260].argmax())
        if correlation[lag] > 0.5 * correlation[0]:
            pitches.append(SAMPLE_RATE_HZ / lag)
    return pitches


def test_a_nameless_event_inside_a_word_is_not_a_pause() -> None:
    phonemes = from_onsets([(0, "w"), (800, "ɛ"), (2400, ""), (2600, "t"), (4000, ""), (8000, "m")], 9600, 16_000)
    assert [p.ipa for p in phonemes] == ["w", "ɛ", "t", "", "m"]
    assert phonemes[1].end_s == 2600 / 16_000


def test_unknown_voices_and_sentences_are_refused_with_what_there_is() -> None:
    with pytest.raises(KeyError, match="f3"):
        speak("Hello.", "m9")
    with pytest.raises(KeyError, match="no sentence"):
        speak("Not in the bank.", "m3", "bank")


def test_a_new_sentence_without_the_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_library(_: str) -> None:
        raise OSError("not found")

    monkeypatch.setattr(espeak.ctypes, "CDLL", no_library)
    assert not espeak.is_available()
    with pytest.raises(MissingPart, match="apt-get install libespeak-ng1"):
        speak("A sentence that the bank does not have.", "m3")


@needs_espeak
def test_a_new_sentence_is_the_same_in_every_process_and_after_others() -> None:
    text = "Some people make paper boats."
    first = speak(text, "f3")
    speak("Something else in between.", "f3")
    again = speak(text, "f3")
    assert np.array_equal(first.samples, again.samples)
    assert first.phonemes == again.phonemes
    assert [p.ipa for p in first.phonemes if p.ipa in "pbm"] == ["m", "p", "p", "m", "p", "p", "b"]
