"""The backend that needs nothing brought along: silero voice activity, voice embeddings, two clusters over time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from dialogbuild.dialogue import cluster, vad
from dialogbuild.dialogue.backends.heard import Heard
from dialogbuild.dialogue.embedding import VoiceEncoder, speech_gain
from dialogbuild.dialogue.pcm import Array, Pcm
from dialogbuild.dialogue.turns import TurnRule, pause_units

WINDOW_S = 1.6
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class WindowRule:
    """Which windows are embedded: one every ``hop_s`` if ``min_speech`` of it is likelier speech than ``min_p``."""

    hop_s: float
    min_p: float
    min_speech: float


def window_centres(p_speech: Array, fps: float, rule: WindowRule) -> Array:
    """Centres of the windows that are mostly speech: (W,) seconds, multiples of ``hop_s``."""
    n = len(p_speech)
    total = np.concatenate([[0], np.cumsum(p_speech > rule.min_p)])
    centres = np.arange(0, int(n / fps / rule.hop_s) + 1) * rule.hop_s
    low = np.round((centres - WINDOW_S / 2) * fps).astype(int).clip(0, n)
    high = np.round((centres + WINDOW_S / 2) * fps).astype(int).clip(0, n)
    share = (total[high] - total[low]) / (WINDOW_S * fps)
    kept: Array = centres[share >= rule.min_speech]
    return kept


def embed_speech(
    pcm: Pcm, p_speech: Array, fps: float, encoder: VoiceEncoder, rule: WindowRule, progress: Progress
) -> tuple[Array, Array]:
    """Window centres (W,) in seconds, and the voice in each window (W, D)."""
    centre_s = window_centres(p_speech, fps, rule)
    gain = speech_gain(pcm, p_speech > rule.min_p, pcm.n_samples // len(p_speech))
    return centre_s, encoder.embed(pcm, centre_s, gain, progress)


def voice_activity(p_speech: Array, posterior: Array, min_p: float) -> Array:
    """Each voice's activity without overlap: (T,), (T, 2) -> (T, 2) bool. An unknown voice is the nearest known one."""
    known = np.flatnonzero(posterior.sum(axis=1) > 0)
    label = np.zeros(len(p_speech), dtype=np.int64)
    if len(known):
        middles = (known[1:] + known[:-1]) / 2
        label = posterior[known[np.searchsorted(middles, np.arange(len(p_speech)))]].argmax(axis=1)
    speech = p_speech > min_p
    return np.stack([speech & (label == 0), speech & (label == 1)], axis=1)


def listen(
    pcm: Pcm,
    n_ticks: int,
    fps: float,
    encoder: VoiceEncoder,
    windows: WindowRule,
    count: cluster.VoiceRule,
    pauses: TurnRule,
    progress: Progress,
) -> tuple[Heard, Array, Array]:
    """Find speech and voices; also returns the window centres (W,) in seconds and their embeddings (W, D)."""
    p_speech = vad.windows_to_ticks(vad.speech_windows(pcm, progress), n_ticks, fps)
    centre_s, vectors = embed_speech(pcm, p_speech, fps, encoder, windows, progress)
    speech_s = float((p_speech > windows.min_p).sum() / fps)
    voices = cluster.split(vectors, np.round(centre_s / windows.hop_s).astype(int), windows.hop_s, WINDOW_S)
    n_voices, doubtful = cluster.count_voices(voices, speech_s, count, encoder.backend)
    posterior, llr = np.zeros((n_ticks, 2), np.float32), np.zeros(n_ticks, np.float32)
    facts: dict[str, Any] = {"n_voices": n_voices, "doubtful": doubtful, "speech_s": round(speech_s, 3)}
    if voices is not None:
        posterior = cluster.to_ticks(voices.posterior, centre_s, n_ticks, fps, WINDOW_S / 2)
        llr = cluster.to_ticks(voices.llr, centre_s, n_ticks, fps, WINDOW_S / 2)
        facts |= {name: round(getattr(voices, name), 6) for name in ("cosine", "separation", "evidence_gain")}
        facts["share"] = [round(s, 6) for s in voices.share]
        facts["centroids"] = [[round(float(x), 6) for x in row] for row in voices.centroids]
    told_apart = posterior if n_voices == 2 else np.tile([1.0, 0.0], (n_ticks, 1))
    activity = voice_activity(p_speech, told_apart, windows.min_p)
    units = [(k, a / fps, b / fps) for k in (0, 1) for a, b in pause_units(activity[:, k], fps, pauses)]
    units.sort(key=lambda unit: (unit[1], unit[0]))
    return Heard(p_speech, posterior, llr, units, facts), centre_s, vectors
