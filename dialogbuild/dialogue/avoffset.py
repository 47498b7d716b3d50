"""How late the sound is against the picture, from how the loudness of the speaker follows the opening of the lips.

Sign: positive = the sound is late, it lags the picture; the remedy is to play the sound earlier by that much.

The statistic is the mutual information of two jointly normal signals, I = -1/2 log(|C| / (|Ca| |Cl|)), between the
inner-lip opening and the log mel energy in three bands, both at 100 Hz and between 1 and 8 Hz, over the time in which
one person speaks alone. Information of several people adds, each with a covariance of their own (J. Hershey, J.
Movellan, "Audio vision: using audio-visual synchrony to locate sounds", 1999, with a lag). The answer is the lag of
the greatest information less ``LIP_LEAD_MS``, by which lips precede the sound that they shape; its sigma is a
jackknife over stretches of the recording (some 5 ms) and, in square, what is not known of that lead (50 ms). So
differences between recordings of the same people are known much better than any one offset.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from dialogbuild.dialogue import mel
from dialogbuild.dialogue.pcm import Array, Pcm

Reason = Literal["ok", "short", "edge", "flat", "halves", "spread"]

RATE_HZ = 100
# How far the sound trails the lips when both are in sync. Synthetic dialogues of seeds 700 to 706, seen by our own
# detector, read -13 with a deviation of 3 (clean, 15 and 5 dB). People are not as uniform: chained syllables lie in
# -20 to 70 ms, other speech in -40 to 200 (J.-L. Schwartz, C. Savariaux, "No, there is no 150 ms lead of visual speech
# on auditory speech", 2014); two real clips of unknown sync read -3 and 50. Against -13 that is 50 ms.
LIP_LEAD_MS = -13.0
LIP_LEAD_SIGMA_MS = 50.0
_SEARCH_MS = 600.0
_BAND_HZ = (1.0, 8.0)  # syllables come at 3 to 8 Hz, words at 1 to 3; below lie posture and level
_BANDS = ((3, 12), (12, 24), (24, 40))  # mel channels: 200 to 800 Hz, to 2.4 kHz, to 8 kHz
_PER_S = 4.0  # independent values of a signal of that bandwidth, per second and side
_BLOCKS = 10
_PEAK_MS = 150.0  # half a syllable: what lies farther away is another peak
_MAX_GAP_S = 0.13  # lips that were not seen for longer are not interpolated
_SHRINK = 1e-3


@dataclass(frozen=True)
class OffsetRule:
    """What an offset needs to be believed.

    Attributes:
        min_solo_s: seconds in which one person who is seen speaks alone; fewer are "short".
        min_gain_nats: information at the peak over that of any lag more than 150 ms away; less is "flat".
        max_halves_ms: how far the answers of the odd and the even stretches may lie apart; more is "halves".
        max_spread_ms: the jackknife's deviation; more is "spread".
        lead_ms, lead_sigma_ms: by how much lips lead the sound in this material, and how sure that is.
    """

    min_solo_s: float = 5.0
    min_gain_nats: float = 2.0
    max_halves_ms: float = 60.0
    max_spread_ms: float = 25.0
    lead_ms: float = LIP_LEAD_MS
    lead_sigma_ms: float = LIP_LEAD_SIGMA_MS


@dataclass(frozen=True)
class AvOffset:
    """Offset of a recording; positive = the sound is late.

    Attributes:
        ms: None when the evidence is weak; ``reason`` then says why, else it is "ok".
        sigma_ms: one standard deviation, of the measurement and the lead of the lips together; None with ``ms``.
        z: height of the peak over the median, in robust deviations over all lags; 0 where nothing was looked at. Told,
            not judged by: wrong peaks of short recordings reach 6.
        solo_s: seconds of speech that were looked at.
    """

    ms: float | None
    sigma_ms: float | None
    z: float
    solo_s: float
    reason: Reason


def estimate_offset(
    aperture: Array, frame_s: Array, p_speak: Array, pcm: Pcm, fps: float, rule: OffsetRule = OffsetRule()
) -> AvOffset:
    """Offset of sound against picture over a whole recording.

    Args:
        aperture: (T, P) inner-lip opening of each person over the face's height at each tick, NaN where unseen.
        frame_s: (T,) when the frame that a tick shows begins, seconds; a frame may be shown at several ticks.
        p_speak: (T, P) probability that each person speaks.
        pcm: the sound, sample 0 at second 0.
        fps: ticks per second.

    Raises:
        ValueError: shapes disagree.
    """
    if aperture.shape != p_speak.shape or frame_s.shape != aperture.shape[:1]:
        raise ValueError(f"lips {aperture.shape}, speech {p_speak.shape} and times {frame_s.shape} on different ticks")
    n = int(len(frame_s) * RATE_HZ / fps)
    lips = np.stack([lip_curve(column, frame_s, n) for column in aperture.T], axis=1)
    weight = np.where(np.isfinite(lips), _solo(p_speak, fps, n), 0.0)
    solo_s = float(weight.sum() / RATE_HZ)
    if solo_s < rule.min_solo_s:
        return AvOffset(None, None, 0.0, solo_s, "short")
    lag_ms, sums = lagged_sums(np.nan_to_num(lips), loudness(pcm, n), weight)
    return judge(lag_ms, sums, solo_s, rule)


def lip_curve(aperture: Array, frame_s: Array, n: int) -> Array:
    """Opening and closing of the lips at 100 Hz. (T,) -> (n,), NaN where the face is not seen.

    Frames count at their own time, not at the tick's that shows them, and once: a tick may lie 20 ms after its frame.
    """
    out = np.full(n, np.nan)
    fresh = np.isfinite(aperture) & (np.diff(frame_s, prepend=-np.inf) > 0)
    at_s, value = frame_s[fresh], aperture[fresh]
    for run in np.split(np.arange(len(at_s)), np.flatnonzero(np.diff(at_s) > _MAX_GAP_S) + 1):
        if len(run) == 0 or at_s[run[-1]] - at_s[run[0]] < 1.0:
            continue
        span = slice(int(np.ceil(at_s[run[0]] * RATE_HZ)), min(n, int(at_s[run[-1]] * RATE_HZ) + 1))
        out[span] = band_pass(np.interp(np.arange(span.start, span.stop) / RATE_HZ, at_s[run], value[run]))
    return out


def loudness(pcm: Pcm, n: int) -> Array:
    """Log mel power in three bands at 100 Hz, band-passed. (n, 3).

    What lies far below speech is cut off, so that neither the depth of a pause nor the noise in it counts.
    """
    block = 60 * RATE_HZ
    edges = [*range(0, n, block), n]
    power = np.concatenate([_bands(mel.mel_power(pcm, a, b)) for a, b in pairwise(edges)])
    quiet, loud = np.percentile(power, [20, 95], axis=0)
    floor = np.maximum(quiet, loud * 10.0**-2.5) + 1e-12
    return np.stack([band_pass(np.log(column)) for column in (power + floor).T], axis=1)


def _bands(power: Array) -> Array:
    return np.stack([power[:, a:b].sum(axis=1, dtype=np.float64) for a, b in _BANDS], axis=1)


def band_pass(curve: Array) -> Array:
    """Second-order Butterworth, forwards and backwards: no delay. (n,) at 100 Hz -> (n,)."""
    from scipy.signal import butter, sosfiltfilt  # half a second to import

    sos = butter(2, _BAND_HZ, "bandpass", fs=RATE_HZ, output="sos")
    smooth: Array = sosfiltfilt(sos, curve - curve.mean(), padlen=min(len(curve) - 1, 2 * RATE_HZ))
    return smooth


def _solo(p_speak: Array, fps: float, n: int) -> Array:
    """Probability of each person speaking alone, (T, P) at ticks -> (n, P) at 100 Hz."""
    silent = 1.0 - p_speak
    others = np.stack([np.prod(np.delete(silent, k, axis=1), axis=1) for k in range(p_speak.shape[1])], axis=1)
    tick = np.minimum((np.arange(n) * fps / RATE_HZ).astype(np.int64), len(p_speak) - 1)
    alone: Array = (p_speak * others)[tick]
    return alone


def lagged_sums(lips: Array, sound: Array, weight: Array) -> tuple[Array, Array]:
    """Weighted moments of lips against sound that comes later by each lag.

    Args:
        lips: (n, P). sound: (n, B). weight: (n, P), 0 where the lips do not count.

    Returns:
        (G,) lags in ms, and (_BLOCKS, P, G, 1 + D, 1 + D) sums of ``w z z'`` with z = (1, lip, sound), D = 1 + B, over
        stretches of equal weight.
    """
    reach = round(_SEARCH_MS * RATE_HZ / 1000)
    lags = np.arange(-reach, reach + 1)
    total = weight.sum(axis=1)
    block = np.minimum((np.cumsum(total) / total.sum() * _BLOCKS).astype(np.int64), _BLOCKS - 1)
    width = 2 + sound.shape[1]
    sums = np.zeros((_BLOCKS, lips.shape[1], len(lags), width, width))
    for person in range(lips.shape[1]):
        inside = np.arange(len(lips))
        at = inside[(weight[:, person] > 0.05) & (inside >= reach) & (inside < len(sound) - reach)]
        if not len(at):
            continue
        z = np.empty((len(at), width))
        z[:, 0], z[:, 1] = 1.0, lips[at, person]
        edges = np.searchsorted(block[at], np.arange(_BLOCKS + 1))
        for i, lag in enumerate(lags):
            z[:, 2:] = sound[at + lag]
            weighted = z * weight[at, person, None]
            for b in range(_BLOCKS):
                part = slice(edges[b], edges[b + 1])
                sums[b, person, i] = weighted[part].T @ z[part]
    return lags * (1000.0 / RATE_HZ), sums


def information(sums: Array) -> Array:
    """Nats of mutual information at each lag, added over people. (P, G, 1 + D, 1 + D) -> (G,)."""
    count = np.maximum(sums[..., 0, 0], 1e-9)
    mean = sums[..., 0, 1:] / count[..., None]
    covariance = sums[..., 1:, 1:] / count[..., None, None] - mean[..., :, None] * mean[..., None, :]
    scale = np.sqrt(np.maximum(np.diagonal(covariance, axis1=-2, axis2=-1), 1e-18))
    r = covariance / (scale[..., :, None] * scale[..., None, :]) + _SHRINK * np.eye(covariance.shape[-1])
    nats = -0.5 * (np.linalg.slogdet(r)[1] - np.linalg.slogdet(r[..., 1:, 1:])[1] - np.log(r[..., 0, 0]))
    added: Array = (nats * sums[..., 0, 0] / RATE_HZ * _PER_S).sum(axis=0)
    return added


def peak_ms(lag_ms: Array, nats: Array) -> float:
    """Lag of the greatest value, by a parabola through it and its neighbours; NaN at the edge of the search."""
    i = int(np.argmax(nats))
    if not 0 < i < len(nats) - 1:
        return float("nan")
    before, top, after = nats[i - 1 : i + 2]
    shift = 0.5 * (before - after) / min(before - 2.0 * top + after, -1e-12)
    return float(lag_ms[i] + shift * (lag_ms[1] - lag_ms[0]))


def judge(lag_ms: Array, sums: Array, solo_s: float, rule: OffsetRule) -> AvOffset:
    """The offset from the moments of every stretch, or why there is none."""
    whole = sums.sum(axis=0)
    nats = information(whole)
    z = _height(nats)
    top = peak_ms(lag_ms, nats)
    if not np.isfinite(top):
        return AvOffset(None, None, z, solo_s, "edge")
    if nats.max() - nats[np.abs(lag_ms - top) > _PEAK_MS].max() < rule.min_gain_nats:
        return AvOffset(None, None, z, solo_s, "flat")
    halves = [peak_ms(lag_ms, information(sums[k::2].sum(axis=0))) for k in (0, 1)]
    if not abs(halves[0] - halves[1]) <= rule.max_halves_ms:
        return AvOffset(None, None, z, solo_s, "halves")
    without = np.array([peak_ms(lag_ms, information(whole - part)) for part in sums])
    spread = float(np.sqrt((_BLOCKS - 1) / _BLOCKS * np.sum((without - without.mean()) ** 2)))
    if not spread <= rule.max_spread_ms:
        return AvOffset(None, None, z, solo_s, "spread")
    return AvOffset(top - rule.lead_ms, float(np.hypot(spread, rule.lead_sigma_ms)), z, solo_s, "ok")


def _height(nats: Array) -> float:
    """The greatest value over the median, in robust standard deviations."""
    middle = np.median(nats)
    return float((nats.max() - middle) / max(1.4826 * np.median(np.abs(nats - middle)), 1e-9))
