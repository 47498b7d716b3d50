"""Mono 16 kHz speech as a random-access source, so that two hours never lie in memory at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

SAMPLE_RATE_HZ = 16_000


@dataclass(frozen=True, eq=False)
class Pcm:
    """Mono audio at 16 kHz behind one function; samples outside the recording read as zero.

    Args:
        n_samples: length of the recording.
        fetch: ``(start, stop) -> (stop - start,)`` float32 in [-1, 1), called inside the recording only.
    """

    n_samples: int
    fetch: Callable[[int, int], Array]

    @classmethod
    def from_array(cls, samples: Array) -> Pcm:
        """Wrap samples that are in memory already. (N,) float."""
        if samples.ndim != 1:
            raise ValueError(f"mono samples expected, got shape {samples.shape}")
        data = np.asarray(samples, dtype=np.float32)
        return cls(len(data), lambda start, stop: data[start:stop])

    @classmethod
    def open(cls, path: Path) -> Pcm:
        """Open an audio file that libsndfile reads.

        Raises:
            ValueError: not mono or not 16 kHz; ``ingest`` writes both.
        """
        import soundfile

        info = soundfile.info(str(path))
        if info.channels != 1 or info.samplerate != SAMPLE_RATE_HZ:
            raise ValueError(f"{path.name} has {info.channels} channels at {info.samplerate} Hz, not 1 at 16000")

        def fetch(start: int, stop: int) -> Array:
            samples: Array = soundfile.read(str(path), start=start, stop=stop, dtype="float32")[0]
            return samples

        return cls(int(info.frames), fetch)

    def read(self, start: int, stop: int) -> Array:
        """Samples ``[start, stop)`` as float32, zero outside the recording."""
        out = np.zeros(stop - start, dtype=np.float32)
        a, b = max(start, 0), min(stop, self.n_samples)
        if b > a:
            out[a - start : b - start] = self.fetch(a, b)
        return out

    def blocks(self, size: int) -> Iterator[Array]:
        """The recording in consecutive blocks of ``size`` samples; the last one is padded with zeros."""
        for start in range(0, self.n_samples, size):
            yield self.read(start, start + size)
