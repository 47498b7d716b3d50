"""One voice or two."""

from dataclasses import replace

import numpy as np
import pytest

from dialogbuild.dialogue import cluster

RULE = cluster.VoiceRule(sure_one=0.15, sure_two=1.0, min_voice_s=1.0)
STEP_S, WINDOW_S = 0.12, 1.6


def cloud(rng: np.random.Generator, owner: np.ndarray, cosine: float, spread: float = 0.35) -> np.ndarray:
    """Unit vectors around two directions whose cosine is given; neighbours share most of their noise."""
    centres = np.zeros((2, 64))
    centres[0, 0] = centres[1, 0] = 1.0
    angle = np.arccos(cosine) / 2
    centres[:, 0] = np.cos(angle)
    centres[:, 1] = (np.sin(angle), -np.sin(angle))
    noise = rng.normal(size=(len(owner) + 12, 64))
    smooth = np.stack([np.convolve(column, np.ones(13) / np.sqrt(13), "valid") for column in noise.T], axis=1)
    raw = centres[owner] + spread * smooth / 8.0
    return (raw / np.linalg.norm(raw, axis=1, keepdims=True)).astype(np.float32)


def owners(turn: int, n: int) -> np.ndarray:
    return (np.arange(n) // turn) % 2


def split(vectors: np.ndarray) -> cluster.Voices:
    voices = cluster.split(vectors, np.arange(len(vectors)), STEP_S, WINDOW_S)
    assert voices is not None
    return voices


@pytest.mark.parametrize("seed", range(4))
def test_two_voices_in_turn_are_told_apart(seed: int) -> None:
    who = owners(20, 160)
    voices = split(cloud(np.random.default_rng(seed), who, cosine=0.65))
    assert (voices.posterior.argmax(axis=1) == who).mean() > 0.95
    assert voices.cosine == pytest.approx(0.65, abs=0.12)
    assert cluster.count_voices(voices, 160 * STEP_S, RULE, "ge2e")[0] == 2


@pytest.mark.parametrize("seed", range(4))
def test_one_voice_is_never_surely_two_and_gains_less_than_two_do(seed: int) -> None:
    rng = np.random.default_rng(seed)
    one = split(cloud(rng, np.zeros(160, int), cosine=0.65))
    two = split(cloud(rng, owners(20, 160), cosine=0.65))
    count, doubtful = cluster.count_voices(one, 160 * STEP_S, RULE, "ge2e")
    assert count == 1 or doubtful
    assert one.evidence_gain < 0.5 * two.evidence_gain


def test_the_count_is_sure_only_outside_the_doubtful_zone() -> None:
    two = split(cloud(np.random.default_rng(0), owners(20, 160), cosine=0.65))
    for gain, expected in ((0.1, (1, False)), (0.5, (2, True)), (1.5, (2, False))):
        assert cluster.count_voices(replace(two, evidence_gain=gain), 20.0, RULE, "ge2e") == expected
    brief = replace(two, share=(0.99, 0.01), evidence_gain=0.5)
    assert cluster.count_voices(brief, 20.0, RULE, "ge2e") == (1, True)


def test_a_rare_voice_keeps_its_few_windows() -> None:
    who = np.zeros(200, int)
    who[90:106] = 1
    voices = split(cloud(np.random.default_rng(3), who, cosine=0.6))
    assert (voices.posterior.argmax(axis=1) == who).mean() > 0.97
    assert min(voices.share) == pytest.approx(16 / 200, abs=0.03)


def test_voice_zero_is_heard_first() -> None:
    for first in (0, 1):
        who = owners(20, 120) ^ first
        voices = split(cloud(np.random.default_rng(0), who, cosine=0.6))
        assert voices.posterior[:10].argmax(axis=1).mean() < 0.5
        assert voices.llr[:10].mean() > 0 > voices.llr[24:36].mean()


def test_too_little_speech_is_one_voice_in_doubt_and_none_is_none() -> None:
    assert cluster.split(np.ones((3, 8), np.float32), np.arange(3), STEP_S, WINDOW_S) is None
    assert cluster.count_voices(None, 0.9, RULE, "ge2e") == (1, True)
    assert cluster.count_voices(None, 0.0, RULE, "ge2e") == (0, False)


def test_the_spectral_backend_never_claims_to_know_the_count() -> None:
    voices = split(cloud(np.random.default_rng(0), np.zeros(160, int), cosine=0.65))
    assert cluster.count_voices(voices, 20.0, RULE, "spectral")[1] is True


def test_the_same_windows_give_the_same_bytes() -> None:
    vectors = cloud(np.random.default_rng(5), owners(15, 90), cosine=0.7)
    assert split(vectors).llr.tobytes() == split(vectors).llr.tobytes()


def test_ticks_take_the_nearest_window_within_reach() -> None:
    values = np.array([1.0, 2.0])
    ticks = cluster.to_ticks(values, np.array([1.0, 2.0]), 100, 25.0, reach_s=0.6)
    assert ticks[25] == 1.0
    assert ticks[36] == 1.0
    assert ticks[38] == 2.0
    assert ticks[:9].tolist() == [0.0] * 9
    assert ticks[70:].max() == 0.0
    assert cluster.to_ticks(np.zeros((0, 2)), np.zeros(0), 5, 25.0, 0.5).shape == (5, 2)
