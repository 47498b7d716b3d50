"""Who says what and when: turns, gaps, overlaps and backchannels drawn from the seed, and the sound they make."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from dialogbuild.synth.spec import SAMPLES_PER_TICK, TICK_FPS, DialogueSpec
from dialogbuild.synth.speech import SAMPLE_RATE_HZ, VOICES, Utterance, bank_texts, speak

FloatArray = npt.NDArray[np.float32]

PERSON_VOICES = tuple(VOICES)
_TAIL_S = 0.2
_BRIDGED_PAUSE_S = 0.25
_OVERLAP_CHANCE, _BACKCHANNEL_CHANCE = 0.15, 0.35


@dataclass(frozen=True)
class Turn:
    """One stretch of speech of one person.

    Attributes:
        person: 0 or 1.
        kind: "turn" takes the floor; "backchannel" lies inside the other's turn.
        start_s, end_s: half-open, first phoneme's start to last phoneme's end, seconds of the sound track.
        gap_s: start minus the end of the other's latest turn; negative = overlap; 0 for the first turn.
    """

    person: int
    kind: Literal["turn", "backchannel"]
    text: str
    start_s: float
    end_s: float
    gap_s: float


@dataclass(frozen=True)
class SpokenPhoneme:
    """A phoneme on the sound track's time line (seconds); an empty symbol is a pause within a turn."""

    person: int
    start_s: float
    end_s: float
    ipa: str


@dataclass(frozen=True, eq=False)
class Script:
    """The sound of a dialogue and its complete labels.

    Attributes:
        turns: by start time.
        phonemes: by person, then time.
        tracks: (2, T*640) float32 at 16 kHz, each person alone, without noise.
        mix: (T*640,) float32, what the video's audio stream carries, without the container's offset; of stereo sound
            the mean of both channels.
        sound: the same as the stream has it: ``mix``, or (T*640, 2) in stereo.
        speaking: (T, 2) bool, the person speaks at the tick's centre (pauses under 0.25 s bridged).
        states: (T,) int8, 0 silence, 1 person 0, 2 person 1, 3 both.
    """

    turns: tuple[Turn, ...]
    phonemes: tuple[SpokenPhoneme, ...]
    tracks: FloatArray
    mix: FloatArray
    sound: FloatArray
    speaking: npt.NDArray[np.bool_]
    states: npt.NDArray[np.int8]


def make_script(spec: DialogueSpec) -> Script:
    """Draw the dialogue's turns and lay down its sound. Pure in the spec.

    Raises:
        MissingPart: ``spec.lines`` asks for a sentence outside the bank and libespeak-ng is absent.
    """
    placed = [] if spec.audio in ("silence", "music") else _schedule(spec)
    placed.sort(key=lambda item: item[0].start_s)
    tracks = np.zeros((2, spec.n_ticks * SAMPLES_PER_TICK), np.float32)
    phonemes = []
    for turn, utterance in placed:
        begin = turn.start_s - utterance.onset_s
        _add(tracks[turn.person], utterance.samples, round(begin * SAMPLE_RATE_HZ))
        phonemes += [SpokenPhoneme(turn.person, p.start_s + begin, p.end_s + begin, p.ipa) for p in utterance.phonemes]
    phonemes.sort(key=lambda p: (p.person, p.start_s))
    speaking = _speaking(phonemes, spec.n_ticks)
    sound = _mix(spec, tracks) if spec.stereo_bleed_db is None else _stereo(spec, tracks, spec.stereo_bleed_db)
    return Script(
        turns=tuple(turn for turn, _ in placed),
        phonemes=tuple(phonemes),
        tracks=tracks,
        mix=sound if sound.ndim == 1 else sound.mean(axis=1),
        sound=sound,
        speaking=speaking,
        states=(speaking[:, 0] + 2 * speaking[:, 1]).astype(np.int8),
    )


class _Lines:
    """Hands out sentences: person 0's line i is answered by person 1's line i."""

    def __init__(self, spec: DialogueSpec, first: int, rng: np.random.Generator) -> None:
        pools = [bank_texts(voice, "turn") for voice in PERSON_VOICES]
        start = int(rng.integers(len(pools[0])))
        # Person 1 opening means that person 0 answers with the line after the opener's partner.
        offsets = (start, start) if first == 0 else (start + 1, start)
        self._pools = [
            [pool[(offset + i) % len(pool)] for i in range(len(pool))]
            for pool, offset in zip(pools, offsets, strict=True)
        ]

    def take(self, person: int, longest_s: float, shortest_s: float = 0.0) -> Utterance | None:
        """The next sentence that fits; sentences come round again when all are used."""
        pool = self._pools[person]
        for i, text in enumerate(pool):
            utterance = speak(text, PERSON_VOICES[person], "bank")
            if shortest_s <= utterance.duration_s <= longest_s:
                pool.append(pool.pop(i))
                return utterance
        return None


def _schedule(spec: DialogueSpec) -> list[tuple[Turn, Utterance]]:
    rng = np.random.default_rng([spec.seed, 2])
    person = 0 if spec.audio == "one_voice" else int(rng.integers(2))
    lines = _Lines(spec, person, rng)
    lead_s = float(rng.uniform(0.25, 0.4)) + max(spec.audio_offset_s, 0.0)
    last_s = spec.length_s - _TAIL_S - max(spec.av_offset_s, 0.0)
    placed: list[tuple[Turn, Utterance]] = []
    end_s = lead_s
    for index in range(10_000):
        gap_s = 0.0 if index == 0 else _gap_s(rng, overlap=index == 1, floor_s=-0.5 if spec.audio == "both" else 0.1)
        start_s = end_s + gap_s
        utterance = _next_line(spec, lines, index, person, last_s - start_s)
        if utterance is None:
            break
        speaker, spoken = utterance
        turn = Turn(speaker, "turn", spoken.text, start_s, start_s + spoken.duration_s, gap_s)
        placed.append((turn, spoken))
        if spec.audio != "one_voice" and (index == 0 or rng.uniform() < _BACKCHANNEL_CHANCE):
            placed += _backchannel(turn, rng)
        end_s = turn.end_s
        person = speaker if spec.audio == "one_voice" else 1 - speaker
    return placed


def _next_line(
    spec: DialogueSpec, lines: _Lines, index: int, person: int, room_s: float
) -> tuple[int, Utterance] | None:
    if spec.lines:
        if index >= len(spec.lines):
            return None
        speaker, text = spec.lines[index]
        utterance = speak(text, PERSON_VOICES[speaker])
        return (speaker, utterance) if utterance.duration_s <= room_s else None
    # The first turn must be long enough for the backchannel inside it, and leave room for an answer.
    first = index == 0 and room_s > 5.0
    found = lines.take(person, min(room_s, 3.1) if first else room_s, 2.6 if first else 0.0)
    return None if found is None else (person, found)


def _gap_s(rng: np.random.Generator, overlap: bool, floor_s: float) -> float:
    drawn = float(np.clip(rng.normal(0.18, 0.1), 0.06, 0.5))
    early = -float(rng.uniform(0.35, 0.55))
    if overlap or rng.uniform() < _OVERLAP_CHANCE:
        return early if floor_s < 0 else floor_s
    return drawn


def _backchannel(turn: Turn, rng: np.random.Generator) -> list[tuple[Turn, Utterance]]:
    """A short token of the listener in the middle of a turn, clear of its end, where the next speaker may start."""
    listener = 1 - turn.person
    voice = PERSON_VOICES[listener]
    start_s = turn.start_s + float(rng.uniform(0.3, 0.4)) * (turn.end_s - turn.start_s)
    tokens = [speak(text, voice, "bank") for text in bank_texts(voice, "backchannel")]
    fitting = [token for token in tokens if start_s + token.duration_s < turn.end_s - 0.75]
    if not fitting:
        return []
    token = fitting[int(rng.integers(len(fitting)))]
    end_s = start_s + token.duration_s
    return [(Turn(listener, "backchannel", token.text, start_s, end_s, start_s - turn.end_s), token)]


def _add(track: FloatArray, samples: FloatArray, start: int) -> None:
    first, last = max(start, 0), min(start + len(samples), len(track))
    track[first:last] += samples[first - start : last - start]


def _speaking(phonemes: list[SpokenPhoneme], n_ticks: int) -> npt.NDArray[np.bool_]:
    speaking = np.zeros((n_ticks, 2), bool)
    centres_s = (np.arange(n_ticks) + 0.5) / TICK_FPS
    for p in phonemes:
        if p.ipa or p.end_s - p.start_s < _BRIDGED_PAUSE_S:
            speaking[(centres_s >= p.start_s) & (centres_s < p.end_s), p.person] = True
    return speaking


def _mix(spec: DialogueSpec, tracks: FloatArray) -> FloatArray:
    if spec.audio in ("silence", "none"):
        return np.zeros(tracks.shape[1], np.float32)
    rng = np.random.default_rng([spec.seed, 3])
    noise = rng.normal(0.0, 10.0 ** (spec.noise_db / 20.0), tracks.shape[1])
    heard = tracks.sum(0) if spec.audio != "music" else _music(rng, tracks.shape[1])
    mix: FloatArray = np.clip(heard + noise, -1.0, 1.0).astype(np.float32)
    if spec.audio_offset_s > 0:
        mix[: round(spec.audio_offset_s * SAMPLE_RATE_HZ)] = 0.0
    return mix


def _stereo(spec: DialogueSpec, tracks: FloatArray, bleed_db: float) -> FloatArray:
    rng = np.random.default_rng([spec.seed, 3])
    noise = rng.normal(0.0, 10.0 ** (spec.noise_db / 20.0), tracks.shape)
    heard = tracks + 10.0 ** (bleed_db / 20.0) * tracks[::-1] + noise
    heard[:, : round(max(spec.audio_offset_s, 0.0) * SAMPLE_RATE_HZ)] = 0.0
    return np.ascontiguousarray(np.clip(heard.T, -1.0, 1.0), np.float32)


def _music(rng: np.random.Generator, n_samples: int) -> npt.NDArray[np.float64]:
    """Plucked triads, one every half second: tonal sound without any speech."""
    time_s = np.arange(n_samples) / SAMPLE_RATE_HZ
    out = np.zeros(n_samples)
    for beat in range(int(time_s[-1] / 0.5) + 1):
        root = 110.0 * 2.0 ** (int(rng.choice([0, 3, 5, 7, 8, 10])) / 12.0)
        local_s = time_s - 0.5 * beat
        envelope = np.where(local_s >= 0, np.exp(-np.maximum(local_s, 0) / 0.25), 0.0)
        for ratio in (1.0, 1.25, 1.5, 2.0):
            out += 0.04 * envelope * np.sin(2 * np.pi * root * ratio * local_s)
    return out
