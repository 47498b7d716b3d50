"""Offsets between sound and picture that were put into a dialogue's sound, and what the estimator says of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile

from dialogbuild.dialogue import av
from dialogbuild.dialogue.avoffset import OffsetRule, estimate_offset
from dialogbuild.dialogue.decide import Evidence, find_people, who_speaks
from dialogbuild.dialogue.offsetdata import frame_times_s, person_apertures
from dialogbuild.dialogue.pcm import Pcm
from dialogbuild.dialogue.turns import TurnRule

Array = npt.NDArray[Any]
INJECTED_TICKS = (-5, -2, 0, 2, 5)  # of 40 ms
TICK_SAMPLES = 640


def offset_errors(evidence: Evidence, ingest: Path, weights: av.Weights) -> list[tuple[float, float | None]]:
    """Pairs of what was injected and what was found, ms, the latter None where the evidence was too weak.

    The sound and what was heard in it are moved by whole ticks, and faces, speakers and offset are found anew.
    """
    sound = soundfile.read(str(ingest / "audio.flac"), dtype="float32")[0]
    times = frame_times_s(ingest)
    found = []
    for ticks in INJECTED_TICKS:
        moved = late(evidence, ticks)
        people = find_people(moved)
        answer = who_speaks(moved, people, weights, TurnRule())
        owner = {track: label.person for track, label in people.labels.items()}
        aperture = person_apertures(moved.rows, owner, len(moved.p_speech))
        pcm = Pcm.from_array(shifted(sound, ticks * TICK_SAMPLES))
        offset = estimate_offset(aperture, times, answer.decoded.p_speak, pcm, moved.fps, OffsetRule())
        found.append((40.0 * ticks, offset.ms))
    return found


def late(evidence: Evidence, ticks: int) -> Evidence:
    """What would have been heard if the sound came some ticks later."""
    return replace(
        evidence,
        p_speech=shifted(evidence.p_speech, ticks),
        voice_llr=shifted(evidence.voice_llr, ticks),
        centre_s=evidence.centre_s + ticks / evidence.fps,
    )


def shifted(values: Array, by: int) -> Array:
    """The same length, moved to later places, zeros moved in. (N,) -> (N,)."""
    out = np.zeros_like(values)
    if by >= 0:
        out[by:] = values[: len(values) - by]
    else:
        out[:by] = values[-by:]
    return out
