"""From phonemes to lips: what the jaw and the lips do for each sound, blended over time as neighbours pull on it.

A bell kernel over the targets is the dominance model of coarticulation in its simplest form (M. Cohen, D. Massaro,
"Modeling coarticulation in synthetic visual speech", 1993). Bilabials are not blended away: their closure is a curve of
its own that overrides the jaw, because people never say "b" with open lips.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter1d

from dialogbuild.synth.script import SpokenPhoneme

Curve = npt.NDArray[np.float64]

GRID_HZ = 250
CHANNELS = ("jaw_rad", "pucker", "funnel", "stretch", "upper_up", "lower_down", "tuck")
BILABIAL = "pbm"

_BLEND_S = 0.032
_CLOSURE_LEAD_S, _CLOSURE_SHORTEST_S, _CLOSURE_BLEND_S = 0.02, 0.055, 0.012
_TARGETS: dict[str, dict[str, float]] = {
    "pbm": {"jaw_rad": 0.02},
    "fv": {"jaw_rad": 0.04, "tuck": 0.8, "upper_up": 0.25},
    "w": {"jaw_rad": 0.05, "pucker": 0.95},
    "uʊ": {"jaw_rad": 0.06, "pucker": 0.85},
    "oɔ": {"jaw_rad": 0.13, "funnel": 0.6, "pucker": 0.3},
    "ɑaæ": {"jaw_rad": 0.20, "stretch": 0.15, "lower_down": 0.25},
    "ʌɐ": {"jaw_rad": 0.15, "lower_down": 0.15},
    "ɛeɜ": {"jaw_rad": 0.12, "stretch": 0.3, "lower_down": 0.2},
    "əɚᵻ": {"jaw_rad": 0.09, "stretch": 0.1},
    "iɪj": {"jaw_rad": 0.07, "stretch": 0.5, "lower_down": 0.2},
    "ɹʃʒ": {"jaw_rad": 0.05, "funnel": 0.5, "pucker": 0.15},
    "tdnszlɾ": {"jaw_rad": 0.06, "stretch": 0.15, "lower_down": 0.15},
    "kɡŋhx": {"jaw_rad": 0.09},
    "θð": {"jaw_rad": 0.08, "lower_down": 0.15},
}
_BY_SYMBOL = {symbol: target for symbols, target in _TARGETS.items() for symbol in symbols}
_DEFAULT = {"jaw_rad": 0.08}
_FRICATIVE_OF_AFFRICATE = {"tʃ": "ʃ", "dʒ": "ʒ"}


def symbols(ipa: str) -> list[str]:
    """The sounds of one phoneme in order: "aɪ" -> a, ɪ; no length marks; affricates keep their fricative's lips."""
    return list(_FRICATIVE_OF_AFFRICATE.get(ipa, ipa.replace("ː", "")))


def grid_s(length_s: float) -> Curve:
    """Times of the curves' samples: (G,) seconds, from 0 to at least ``length_s``."""
    return np.arange(int(np.ceil(length_s * GRID_HZ)) + 2) / GRID_HZ


def mouth_curves(
    phonemes: Sequence[SpokenPhoneme], length_s: float, gains: Iterable[tuple[str, float]] = ()
) -> tuple[dict[str, Curve], Curve]:
    """Mouth curves of one person on the grid.

    Args:
        phonemes: of one person, by time; their times are the picture's.
        length_s: how long the curves shall last.
        gains: (channel, factor) of a person's own way of speaking.

    Returns:
        channel -> (G,) curve (``jaw_rad`` in radians, others 0..1), and (G,) lip closure, 1 = pressed shut.
        The channels are already released where the closure holds.
    """
    time_s = grid_s(length_s)
    targets = {channel: np.zeros(len(time_s)) for channel in CHANNELS}
    closed = np.zeros(len(time_s))
    for phoneme in phonemes:
        sounds = symbols(phoneme.ipa)
        edges_s = np.linspace(phoneme.start_s, phoneme.end_s, len(sounds) + 1)
        for sound, start_s, end_s in zip(sounds, edges_s[:-1], edges_s[1:], strict=True):
            span = slice(*np.searchsorted(time_s, [start_s, end_s]))
            for channel, value in _BY_SYMBOL.get(sound, _DEFAULT).items():
                targets[channel][span] = np.maximum(targets[channel][span], value)
            if sound in BILABIAL:
                stop_s = max(end_s, start_s + _CLOSURE_SHORTEST_S)
                closed[slice(*np.searchsorted(time_s, [start_s - _CLOSURE_LEAD_S, stop_s + 0.01]))] = 1.0
    for channel, gain in gains:
        targets[channel] *= gain
    closure = np.clip(1.25 * gaussian_filter1d(closed, _CLOSURE_BLEND_S * GRID_HZ), 0.0, 1.0)
    blended = {c: gaussian_filter1d(curve, _BLEND_S * GRID_HZ) * (1.0 - closure) for c, curve in targets.items()}
    return blended, closure
