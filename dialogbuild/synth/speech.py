"""Speech of the synthetic dialogue: 16 kHz samples with the time of every phoneme.

Two sources behind one call. The **bank** is the default: sentences spoken once by eSpeak NG 1.51 and committed as FLAC
with their phoneme times, so that every machine gets the same dialogue, with or without the library, whatever its
version. **espeak** makes sentences that the bank lacks, where libespeak-ng is installed; its samples depend on the
installed version, so no committed expectation may rest on them.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass, replace
from importlib import resources
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import soundfile
from scipy.signal import resample_poly

from dialogbuild.errors import MissingPart
from dialogbuild.synth import espeak

FloatArray = npt.NDArray[np.float32]

SAMPLE_RATE_HZ = 16_000
VOICES = {
    "m3": espeak.Voice("en-us+m3", rate_wpm=165, pitch=42, pitch_range=55),
    "f3": espeak.Voice("en-us+f3", rate_wpm=170, pitch=68, pitch_range=60),
}
SPEECH_RMS = 0.06
_MARGIN_S = 0.03
_ACTIVE = 0.01
_SHORTEST_PAUSE_S = 0.1


@dataclass(frozen=True)
class Phoneme:
    """One phoneme: half-open interval in seconds and its IPA symbol; an empty symbol is a pause."""

    start_s: float
    end_s: float
    ipa: str


@dataclass(frozen=True, eq=False)
class Utterance:
    """One spoken sentence.

    Attributes:
        voice: key of ``VOICES``.
        samples: (N,) float32 at 16 kHz, active level ``SPEECH_RMS``.
        phonemes: in order, without gaps between the first and the last; times relative to the first sample.
    """

    text: str
    voice: str
    samples: FloatArray
    phonemes: tuple[Phoneme, ...]

    @property
    def onset_s(self) -> float:
        """Start of the first phoneme."""
        return self.phonemes[0].start_s

    @property
    def duration_s(self) -> float:
        """From the start of the first phoneme to the end of the last."""
        return self.phonemes[-1].end_s - self.onset_s


def speak(text: str, voice: str, source: Literal["auto", "bank", "espeak"] = "auto") -> Utterance:
    """Speak one sentence.

    Args:
        text: the sentence.
        voice: "m3" or "f3".
        source: "bank", "espeak", or "auto" (the bank, and eSpeak NG for what it lacks).

    Raises:
        KeyError: the voice is unknown, or ``source="bank"`` and the sentence is not in it.
        MissingPart: the sentence needs libespeak-ng, which is absent.
    """
    if voice not in VOICES:
        raise KeyError(f"unknown voice {voice!r}; there are {sorted(VOICES)}")
    if source != "espeak":
        found = bank().get((voice, text))
        if found is not None:
            return found
        if source == "bank":
            raise KeyError(f"the bank has no sentence {text!r} in voice {voice!r}")
    return _speak_new(text, voice)


def bank_texts(voice: str, kind: Literal["turn", "backchannel"]) -> tuple[str, ...]:
    """The bank's sentences of a voice in their order: lines of a conversation, or listener's short tokens."""
    index = _bank_index()
    return tuple(entry["text"] for entry in index["utterances"] if entry["voice"] == voice and entry["kind"] == kind)


@functools.cache
def bank() -> dict[tuple[str, str], Utterance]:
    """All committed sentences by (voice, text)."""
    tracks = {voice: _bank_track(voice) for voice in VOICES}
    utterances = {}
    for entry in _bank_index()["utterances"]:
        voice, text = entry["voice"], entry["text"]
        start = int(entry["start_sample"])
        samples = tracks[voice][start : start + int(entry["n_samples"])]
        phonemes = from_onsets([(int(i), str(p)) for i, p in entry["onsets"]], int(entry["end_sample"]), SAMPLE_RATE_HZ)
        utterances[voice, text] = Utterance(text, voice, samples, phonemes)
    return utterances


def from_onsets(onsets: list[tuple[int, str]], end: int, rate_hz: int) -> tuple[Phoneme, ...]:
    """Phoneme intervals from onsets (sample index, IPA) and the sample where the last one ends.

    eSpeak NG also sends nameless events inside words; one shorter than ``_SHORTEST_PAUSE_S`` extends what precedes it.
    """
    stops = [sample for sample, _ in onsets[1:]] + [end]
    phonemes: list[Phoneme] = []
    for (start, ipa), stop in zip(onsets, stops, strict=True):
        if phonemes and not ipa and (stop - start) / rate_hz < _SHORTEST_PAUSE_S:
            phonemes[-1] = replace(phonemes[-1], end_s=stop / rate_hz)
        elif stop > start:
            phonemes.append(Phoneme(start / rate_hz, stop / rate_hz, ipa))
    return tuple(phonemes)


def _speak_new(text: str, voice: str) -> Utterance:
    samples, onsets, end = trimmed(text, voice)
    return Utterance(text, voice, samples, from_onsets(onsets, end, SAMPLE_RATE_HZ))


def trimmed(text: str, voice: str) -> tuple[FloatArray, list[tuple[int, str]], int]:
    """Speak with eSpeak NG: 16 kHz, level set, silence around the words cut off.

    Returns:
        samples (N,), onsets (sample index, IPA) without leading and trailing pauses, and the last phoneme's end.
    """
    raw, rate_hz, onsets = espeak.synthesize(text, VOICES[voice])
    if not any(ipa for _, ipa in onsets):
        raise MissingPart(f"eSpeak NG gave no phoneme for {text!r}: its voice data is not installed")
    divisor = int(np.gcd(SAMPLE_RATE_HZ, rate_hz))
    samples = resample_poly(raw.astype(np.float64) / 32768.0, SAMPLE_RATE_HZ // divisor, rate_hz // divisor)
    samples *= SPEECH_RMS / np.sqrt(np.mean(samples[np.abs(samples) > _ACTIVE] ** 2))
    at = [(round(sample * SAMPLE_RATE_HZ / rate_hz), ipa) for sample, ipa in onsets]
    spoken = [i for i, (_, ipa) in enumerate(at) if ipa]
    end = at[spoken[-1] + 1][0] if spoken[-1] + 1 < len(at) else len(samples)
    margin = round(_MARGIN_S * SAMPLE_RATE_HZ)
    first = max(at[spoken[0]][0] - margin, 0)
    last = min(end + margin, len(samples))
    cut = [(sample - first, ipa) for sample, ipa in at[spoken[0] : spoken[-1] + 1]]
    return _faded(samples[first:last]).astype(np.float32), cut, end - first


def _faded(samples: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    length = round(0.01 * SAMPLE_RATE_HZ)
    ramp = np.linspace(0.0, 1.0, length)
    out = samples.copy()
    out[:length] *= ramp
    out[-length:] *= ramp[::-1]
    return out


@functools.cache
def _bank_index() -> dict[str, Any]:
    text = resources.files("dialogbuild.synth").joinpath("bank.json").read_text(encoding="utf-8")
    index: dict[str, Any] = json.loads(text)
    return index


def _bank_track(voice: str) -> FloatArray:
    with resources.files("dialogbuild.synth").joinpath(f"bank_{voice}.flac").open("rb") as stream:
        samples, rate_hz = soundfile.read(stream, dtype="float32")
    assert rate_hz == SAMPLE_RATE_HZ
    track: FloatArray = samples
    track.setflags(write=False)
    return track
