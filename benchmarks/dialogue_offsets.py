"""Offsets between sound and picture that were put into a dialogue's sound, and what the estimator says of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

from dialogbuild.dialogue.avoffset import OffsetRule, estimate_offset
from dialogbuild.dialogue.decide import Answer, Evidence, People
from dialogbuild.dialogue.offsetdata import frame_times_s, person_apertures
from dialogbuild.dialogue.pcm import SAMPLE_RATE_HZ, Pcm

INJECTED_MS = (-200.0, -80.0, 0.0, 80.0, 200.0)


def offset_errors(
    evidence: Evidence, people: People, answer: Answer, ingest: Path
) -> list[tuple[float, float | None]]:
    """Pairs of what was injected and what was found, ms, the latter None where the evidence was too weak.

    The sound alone is moved; who speaks when was decided once, for the sound as it was, moved along with it.
    """
