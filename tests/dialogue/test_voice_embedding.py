"""Mel spectra, GE2E and the spectral fallback."""

import numpy as np
import pytest

from dialogbuild.dialogue import embedding, mel
from dialogbuild.dialogue.pcm import Pcm
from dialogbuild.dialogue.spectral import pitch_hz
from dialogbuild.errors import MissingPart
from dialogbuild.synth.speech import VOICES, bank_texts, speak


def two_voices() -> tuple[Pcm, np.ndarray, np.ndarray]:
    """Two sentences of each voice in turn; window centres and the voice that fills each window."""
    parts, owner = [], []
    for i in range(2):
        for k, voice in enumerate(sorted(VOICES)):
            samples = speak(bank_texts(voice, "turn")[i], voice, "bank").samples
            parts.append(samples)
            owner.append(np.full(len(samples), k))
    sound, who = np.concatenate(parts), np.concatenate(owner)
    centre_s = np.arange(0.8, len(sound) / 16_000 - 0.8, 0.2)
    edges = ((centre_s[:, None] + [-0.8, 0.0, 0.8]) * 16_000).astype(int).clip(0, len(who) - 1)
    whole = (who[edges] == who[edges][:, :1]).all(axis=1)
    return Pcm.from_array(sound), centre_s[whole], who[edges[whole, 1]]


def test_mel_filters_equal_librosas() -> None:
    """Values of librosa.filters.mel(sr=16000, n_fft=400, n_mels=40), librosa 0.11.0."""
    filters = mel.mel_filters()
    rows = [0, 1, 10, 20, 39]
    assert filters[rows].sum(axis=1) == pytest.approx(
        [0.02480904, 0.02480904, 0.02480904, 0.02521975, 0.02497876], rel=1e-6
    )
    assert filters[rows].argmax(axis=1).tolist() == [2, 4, 20, 44, 185]
    assert filters[rows].max(axis=1) == pytest.approx(
        [0.01240452, 0.01121657, 0.01187949, 0.00719192, 0.00172494], rel=1e-5
    )


def test_mel_power_equals_librosas() -> None:
    """Values of librosa.feature.melspectrogram(n_fft=400, hop_length=160, n_mels=40), librosa 0.11.0."""
    t = np.arange(1600) / 16_000
    tones = (0.1 * np.sin(2 * np.pi * 440 * t) + 0.05 * np.sin(2 * np.pi * 2500 * t)).astype(np.float32)
    power = mel.mel_power(Pcm.from_array(tones), 0, 11)
    expected = {
        (0, 0): 0.010420049540698528, (0, 7): 0.016187788918614388, (0, 24): 0.034023433923721313,
        (3, 24): 0.07047008723020554, (10, 7): 0.016187788918614388, (10, 39): 8.10737856227206e-06,
    }  # fmt: skip
    for (frame, band), value in expected.items():
        assert power[frame, band] == pytest.approx(value, rel=1e-4)


@pytest.mark.parametrize("backend", ["ge2e", "spectral"])
def test_windows_of_one_voice_lie_closer_than_windows_of_two(backend: embedding.Backend) -> None:
    if backend == "ge2e" and embedding.ge2e_path() is None:
        pytest.skip("GE2E weights are not installed")
    pcm, centre_s, who = two_voices()
    vectors = embedding.load_encoder(backend).embed(pcm, centre_s, 1.0)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1.0, abs=1e-5)
    cosine = vectors @ vectors.T
    same = who[:, None] == who[None]
    other = ~np.eye(len(who), dtype=bool)
    assert cosine[same & other].mean() > cosine[~same].mean() + 0.1
    centroids = np.stack([vectors[who == k].mean(axis=0) for k in (0, 1)])
    assert ((vectors @ centroids.T).argmax(axis=1) == who).mean() > 0.9


def test_the_result_does_not_depend_on_how_windows_are_batched(monkeypatch: pytest.MonkeyPatch) -> None:
    if embedding.ge2e_path() is None:
        pytest.skip("GE2E weights are not installed")
    pcm, centre_s, _ = two_voices()
    encoder = embedding.load_encoder("ge2e")
    whole = encoder.embed(pcm, centre_s[:9], 2.0)
    monkeypatch.setattr(embedding, "BATCH", 4)
    assert encoder.embed(pcm, centre_s[:9], 2.0) == pytest.approx(whole, abs=1e-5)


def test_without_the_weights_auto_falls_back_and_a_wish_by_name_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(embedding, "ge2e_path", lambda: None)
    assert embedding.load_encoder("auto").backend == "spectral"
    with pytest.raises(MissingPart, match="pip install --no-deps resemblyzer"):
        embedding.load_encoder("ge2e")


def test_quiet_speech_is_raised_and_loud_speech_left_alone() -> None:
    rng = np.random.default_rng(0)
    loud = rng.normal(0.0, 0.2, 640 * 50)
    speech = np.ones(50, dtype=bool)
    assert embedding.speech_gain(Pcm.from_array(loud), speech, 640) == 1.0
    quiet = embedding.speech_gain(Pcm.from_array(loud * 0.01), speech, 640)
    assert 0.002 * quiet == pytest.approx(10 ** (-30 / 20), rel=0.05)
    assert embedding.speech_gain(Pcm.from_array(loud * 0.0), speech, 640) == 1.0


@pytest.mark.parametrize("hz", [90.0, 150.0, 260.0])
def test_pitch_of_a_pulse_train_is_its_rate(hz: float) -> None:
    t = np.arange(1024) / 16_000
    frame = sum(np.cos(2 * np.pi * hz * k * t) / k for k in range(1, 12))
    found, periodicity = pitch_hz(np.asarray(frame)[None])
    assert found[0] == pytest.approx(hz, rel=0.02)
    assert periodicity[0] > 0.9


def test_noise_is_not_periodic() -> None:
    _, periodicity = pitch_hz(np.random.default_rng(1).normal(size=(20, 1024)))
    assert np.median(periodicity) < 0.4
