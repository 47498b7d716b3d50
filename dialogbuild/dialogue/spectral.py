"""Per-frame descriptors of a voice that need no trained weights: cepstrum, pitch, band centroids."""

from __future__ import annotations

import numpy as np
from scipy.fft import dct

from dialogbuild.dialogue import mel
from dialogbuild.dialogue.pcm import SAMPLE_RATE_HZ, Array, Pcm

N_CEPSTRA = 18
_PITCH_SAMPLES = 1024  # 64 ms: three periods of 47 Hz
_PITCH_HZ = (65.0, 400.0)
_OCTAVE_COST = 0.03  # per octave of lag: two periods repeat as well as one
_BANDS_HZ = ((250.0, 1000.0), (1000.0, 2600.0), (2600.0, 4500.0))  # where the first three formants of adults lie
FRAME_FEATURES = N_CEPSTRA + 2 + len(_BANDS_HZ)


def frame_features(pcm: Pcm, first: int, stop: int, gain: float) -> tuple[Array, Array]:
    """Descriptors of 10 ms frames ``first..stop-1``.

    Returns:
        (F, FRAME_FEATURES): cepstra 1..18 of the log mel spectrum, log2 pitch, periodicity 0..1, log2 centroid of
        three formant bands. And (F,) log energy.
    """
    power = mel.mel_power(pcm, first, stop).astype(np.float64) * gain**2
    log_mel = np.log(power + 1e-6)
    cepstra = dct(log_mel, type=2, norm="ortho", axis=1)[:, 1 : N_CEPSTRA + 1]
    pitch, periodicity = pitch_hz(mel.frame_samples(pcm, first, stop, _PITCH_SAMPLES))
    columns = [cepstra, np.log2(pitch)[:, None], periodicity[:, None], _band_centroids(power)]
    return np.concatenate(columns, axis=1), np.log(power.sum(axis=1) + 1e-9)


def pitch_hz(frames: Array) -> tuple[Array, Array]:
    """Pitch by the normalised autocorrelation's highest peak (Boersma 1993, without path search).

    Args:
        frames: (F, n) samples.

    Returns:
        (F,) Hz and (F,) height of the peak, 0..1 (near 1 = periodic).
    """
    n = frames.shape[1]
    window = np.hanning(n)
    spectrum = np.fft.rfft((frames - frames.mean(axis=1, keepdims=True)) * window, 2 * n, axis=1)
    own = np.fft.irfft(np.abs(spectrum) ** 2, axis=1)
    window_own = np.fft.irfft(np.abs(np.fft.rfft(window, 2 * n)) ** 2)
    low, high = int(SAMPLE_RATE_HZ / _PITCH_HZ[1]), int(SAMPLE_RATE_HZ / _PITCH_HZ[0])
    r = own[:, low:high] / np.maximum(own[:, :1], 1e-12) * (window_own[0] / window_own[low:high])
    lag = (r - _OCTAVE_COST * np.log2(np.arange(low, high))).argmax(axis=1)
    return SAMPLE_RATE_HZ / (lag + low), np.take_along_axis(r, lag[:, None], axis=1)[:, 0].clip(0.0, 1.0)


def _band_centroids(power: Array) -> Array:
    centres_hz = mel.mel_to_hz(np.linspace(0.0, float(mel.hz_to_mel(np.array(8000.0))), mel.N_MELS + 2))[1:-1]
    out = np.zeros((len(power), len(_BANDS_HZ)))
    for i, (low, high) in enumerate(_BANDS_HZ):
        band = (centres_hz >= low) & (centres_hz < high)
        weight = power[:, band] + 1e-12
        out[:, i] = (weight @ np.log2(centres_hz[band])) / weight.sum(axis=1)
    return out
