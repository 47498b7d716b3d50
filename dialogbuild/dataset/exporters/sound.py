"""Sound files whose samples are the dataset's own float32 values."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dialogbuild.dataset.exporters.arrays import Float, Span
from dialogbuild.dataset.reader import Person
from dialogbuild.dataset.schema import AUDIO_RATE_HZ, SAMPLES_PER_TICK


def samples(person: Person, span: Span) -> Float:
    """A person's sound over the ticks of a span: exactly 640 samples each, float32."""
    assert person.audio is not None, "read_clip reads audio unless told otherwise"
    return np.asarray(person.audio[span[0] * SAMPLES_PER_TICK : span[1] * SAMPLES_PER_TICK], np.float32)


def write_wav(path: Path, values: Float) -> None:
    """16 kHz mono WAV of 32-bit floats."""
    import soundfile

    soundfile.write(path, values, AUDIO_RATE_HZ, subtype="FLOAT")
