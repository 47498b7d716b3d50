"""Mel spectra with the definitions of librosa (Slaney scale and area norm, periodic Hann, centred frames)."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from dialogbuild.dialogue.pcm import SAMPLE_RATE_HZ, Array, Pcm

N_FFT = 400  # 25 ms
HOP = 160  # 10 ms
N_MELS = 40


def hz_to_mel(hz: Array) -> Array:
    """Slaney's mel scale (Auditory Toolbox, 1998): linear to 1 kHz, logarithmic above."""
    log_part = 15.0 + 27.0 * np.log(np.maximum(hz, 1000.0) / 1000.0) / np.log(6.4)
    mel: Array = np.where(hz < 1000.0, 3.0 * hz / 200.0, log_part)
    return mel


def mel_to_hz(mel: Array) -> Array:
    """Inverse of ``hz_to_mel``."""
    hz: Array = np.where(mel < 15.0, 200.0 * mel / 3.0, 1000.0 * np.exp(np.log(6.4) * (mel - 15.0) / 27.0))
    return hz


@lru_cache(maxsize=1)
def mel_filters() -> Array:
    """Triangles over 0..8 kHz, each of unit area in Hz (times 2). (N_MELS, N_FFT // 2 + 1) float64."""
    bins_hz = np.arange(N_FFT // 2 + 1) * (SAMPLE_RATE_HZ / N_FFT)
    top = float(hz_to_mel(np.array(SAMPLE_RATE_HZ / 2)))
    edges_hz = mel_to_hz(np.linspace(0.0, top, N_MELS + 2))
    rise = (bins_hz - edges_hz[:-2, None]) / np.diff(edges_hz)[:-1, None]
    fall = (edges_hz[2:, None] - bins_hz) / np.diff(edges_hz)[1:, None]
    scale = 2.0 / (edges_hz[2:] - edges_hz[:-2])
    filters: Array = np.maximum(0.0, np.minimum(rise, fall)) * scale[:, None]
    filters.setflags(write=False)
    return filters


def frame_samples(pcm: Pcm, first: int, stop: int, length: int = N_FFT) -> Array:
    """Samples around frames ``first..stop-1``; frame i is centred on sample ``i * HOP``. (stop - first, length)."""
    start = first * HOP - length // 2
    flat = pcm.read(start, start + (stop - first - 1) * HOP + length)
    return np.lib.stride_tricks.sliding_window_view(flat, length)[::HOP]


def mel_power(pcm: Pcm, first: int, stop: int) -> Array:
    """Mel power of frames ``first..stop-1`` at 10 ms. (stop - first, N_MELS) float32."""
    window = 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(N_FFT) / N_FFT)
    spectrum = np.fft.rfft(frame_samples(pcm, first, stop) * window, axis=1)
    power = spectrum.real**2 + spectrum.imag**2
    return (power @ mel_filters().T).astype(np.float32)
