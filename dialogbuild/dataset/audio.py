"""One audio track per person: the person's own channel, or of a mono mix a soft mask on speaking posteriors.

A mask attenuates the other person's turns; it cannot separate two voices that sound at once. Where both speak, both
tracks hold the mix, and the motion table's ``state`` says so. How much of the other is left is measured either way.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from dialogbuild.dataset.schema import AUDIO_RATE_HZ, SAMPLES_PER_TICK, TICK_HZ

Float = NDArray[np.float32]


def tick_gains(p_speak: NDArray[Any], overlap: NDArray[Any]) -> Float:
    """Gain of each person's track at every tick, before ramps and floor.

    The likelier speaker gets 1 once their posterior passes one half; the other gets the ratio of the posteriors; both
    get 1 where both speak; both fade with the posterior where neither is likely.

    Args:
        p_speak: (T, 2) posterior that the person speaks, 0..1.
        overlap: (T,) bool, both speak.

    Returns:
        (T, 2) float32 in 0..1.
    """
    p = np.asarray(p_speak, np.float32)
    gains = np.minimum(p / np.maximum(p.max(axis=1, keepdims=True), 0.5), 1.0)
    gains[np.asarray(overlap, bool)] = 1.0
    return np.asarray(gains, np.float32)


def sample_gains(gains: NDArray[Any], ramp_s: float, floor_db: float) -> Float:
    """Tick gains (T,) to sample gains (T*640,): steps become raised-cosine ramps, nothing goes below the floor.

    Args:
        ramp_s: full length of a ramp, centred on the tick border; at most one tick (0.04 s).
        floor_db: the smallest gain, decibel (negative).

    Raises:
        ValueError: the ramp is longer than a tick.
    """
    half = round(ramp_s * AUDIO_RATE_HZ / 2)
    if not 0 <= half <= SAMPLES_PER_TICK // 2:
        raise ValueError(f"a ramp of {ramp_s} s does not fit into one tick")
    out = np.repeat(np.asarray(gains, np.float32), SAMPLES_PER_TICK)
    if half:
        weight = 0.5 - 0.5 * np.cos(np.pi * (np.arange(2 * half) + 0.5) / (2 * half))
        for k in np.flatnonzero(np.diff(gains)):
            border = (k + 1) * SAMPLES_PER_TICK
            out[border - half : border + half] = gains[k] + (gains[k + 1] - gains[k]) * weight
    return np.asarray(np.maximum(out, np.float32(10 ** (floor_db / 20))))


def person_tracks(
    mix: NDArray[Any], p_speak: NDArray[Any], overlap: NDArray[Any], ramp_s: float = 0.02, floor_db: float = -60.0
) -> Float:
    """Both persons' tracks. (T*640,), (T, 2), (T,) -> (2, T*640) float32.

    Raises:
        ValueError: the mix is not T*640 samples long.
    """
    n = len(p_speak) * SAMPLES_PER_TICK
    if mix.shape != (n,):
        raise ValueError(f"the mix has {mix.shape} samples, {len(p_speak)} ticks take {n}")
    gains = tick_gains(p_speak, overlap)
    return np.stack([np.asarray(mix * sample_gains(gains[:, k], ramp_s, floor_db), np.float32) for k in (0, 1)])


def bleed(tracks: NDArray[Any], state: NDArray[Any]) -> tuple[tuple[float, float], tuple[float, float]]:
    """How much of the other person is in each track, judged by who speaks according to the labels.

    Args:
        tracks: (2, T*640). state: (T,) 0 silence, 1 person 0, 2 person 1, 3 both.

    Returns:
        Of both tracks, the median level while the other speaks alone over that while the own person does, dB; and how
        much of the sound in the other's turns is the other's voice: the greatest correlation with the other's track
        within 10 ms, 0..1, over the half of these ticks in which the track is weaker against the other's. Zeros where
        one of them speaks alone for less than half a second.

    Medians and halves, because turns' ends are known to a few ticks only, and there the own voice would pass for bleed;
    ticks beside another state do not count for the same reason.
    """
    alone = [_inner(state == 1), _inner(state == 2)]
    if min(mask.sum() for mask in alone) < TICK_HZ // 2:
        return (0.0, 0.0), (0.0, 0.0)
    power = np.square(tracks.astype(np.float64)).reshape(2, -1, SAMPLES_PER_TICK).mean(axis=2)
    level_db = 10.0 * np.log10(power + 1e-12)
    left_db = [float(np.median(level_db[k, alone[1 - k]]) - np.median(level_db[k, alone[k]])) for k in (0, 1)]
    shared = []
    for k in (0, 1):
        against_db = np.where(alone[1 - k], level_db[k] - level_db[1 - k], np.inf)
        weaker = against_db <= np.median(against_db[alone[1 - k]])
        shared.append(_correlation(tracks[:, np.repeat(weaker, SAMPLES_PER_TICK)]))
    return (left_db[0], left_db[1]), (shared[0], shared[1])


def _inner(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return mask & np.roll(mask, 1) & np.roll(mask, -1)


def _correlation(pair: NDArray[Any]) -> float:
    """Greatest absolute correlation of two signals (2, n) over lags of 10 ms, from blocks of two seconds."""
    size, reach = 2 * AUDIO_RATE_HZ, AUDIO_RATE_HZ // 100
    product = np.zeros(2 * reach + 1)
    energy = np.zeros(2)
    for start in range(0, pair.shape[1], size):
        block = pair[:, start : start + size].astype(np.float64)
        spectrum = np.fft.rfft(block, block.shape[1] + 2 * reach, axis=1)
        cross = np.fft.irfft(spectrum[0] * np.conj(spectrum[1]), block.shape[1] + 2 * reach)
        product += np.concatenate([cross[-reach:], cross[: reach + 1]])
        energy += (block**2).sum(axis=1)
    return float(min(np.abs(product).max() / np.sqrt(energy.prod() + 1e-18), 1.0))


def flac_length(path: Path) -> int:
    """Samples that the header promises; reads no audio."""
    return int(soundfile.info(str(path)).frames)
