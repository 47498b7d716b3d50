"""One clip's sound: the mix and a track per person, in sync as asked, and what is told about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dialogbuild.dataset.audio import bleed, person_tracks
from dialogbuild.dataset.schema import AUDIO_RATE_HZ, SAMPLES_PER_TICK
from dialogbuild.media.channels import read_channels
from dialogbuild.tables import Columns

Float = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class ClipSound:
    """The sound of T ticks.

    Attributes:
        mix: (T*640,) float32;  tracks: (2, T*640) float32, person 0 and 1.
        method: how the tracks were made.
        bleed_db, bleed_corr: of both tracks, see ``audio.bleed``.
    """

    mix: Float
    tracks: Float
    method: Literal["stereo", "mask"]
    bleed_db: tuple[float, float]
    bleed_corr: tuple[float, float]

    def facts(self, person: int) -> dict[str, Any]:
        """What the tracks table says about one person's sound."""
        return {
            "audio_method": self.method,
            "bleed_db": self.bleed_db[person],
            "bleed_corr": self.bleed_corr[person],
        }


@dataclass(frozen=True)
class Sync:
    """What is known of a video's sync, and what was done about it. ms, positive = the sound is late.

    Attributes:
        measured_ms, sigma_ms: zeros where nothing was measured.
        applied_ms: the clip's sound is this much earlier than the source's.
    """

    measured_ms: float = 0.0
    sigma_ms: float = 0.0
    applied_ms: float = 0.0

    @property
    def is_ok(self) -> bool:
        """Measured, and zero is within two sigma of what is left."""
        return self.sigma_ms > 0 and abs(self.measured_ms - self.applied_ms) <= 2.0 * self.sigma_ms

    @property
    def late_samples(self) -> int:
        """``applied_ms`` in samples."""
        return round(self.applied_ms * AUDIO_RATE_HZ / 1000)

    def columns(self) -> dict[str, float]:
        """The three columns of the conversations table."""
        values = (self.measured_ms, self.sigma_ms, self.applied_ms)
        names = ("av_offset_ms", "av_offset_sigma_ms", "av_offset_applied_ms")
        return {name: float(np.float32(value)) for name, value in zip(names, values, strict=True)}


def decide_sync(offset: Mapping[str, Any] | None, apply: bool) -> Sync:
    """From ``av_offset`` of ``assign.json``. An offset is applied in whole samples, and only beyond two sigma.

    Within two sigma it may as well be the lead that the lips of these people have over their voices.
    """
    if offset is None or offset["ms"] is None:
        return Sync()
    measured = Sync(float(offset["ms"]), float(offset["sigma_ms"]))
    if not apply or measured.is_ok:
        return measured
    samples = round(measured.measured_ms * AUDIO_RATE_HZ / 1000)
    return Sync(measured.measured_ms, measured.sigma_ms, samples * 1000 / AUDIO_RATE_HZ)


def clip_sound(
    ingest: Path,
    span: tuple[int, int],
    states: Columns,
    channel: tuple[int, int] | None,
    late_samples: int = 0,
    ramp_s: float = 0.02,
    floor_db: float = -60.0,
) -> ClipSound:
    """Read and divide the sound of the ticks [start, stop) of a video.

    Args:
        ingest: folder of audio.flac, and of channels.flac where ``channel`` is given.
        states: assign's rows of the whole video, one per tick.
        channel: channel of person 0 and of person 1; None makes masks on the mix.
        late_samples: the sound of a picture lies this much later in the file. Who speaks is taken from the file's own
            time line, so masks move along with the sound.
        ramp_s, floor_db: see ``audio.sample_gains``.
    """
    first, last = (tick * SAMPLES_PER_TICK + late_samples for tick in span)
    ticks = np.arange(first // SAMPLES_PER_TICK, -(-last // SAMPLES_PER_TICK))
    begin, end = int(ticks[0]) * SAMPLES_PER_TICK, (int(ticks[-1]) + 1) * SAMPLES_PER_TICK
    at = ticks.clip(0, len(states["tick"]) - 1)
    state = states["state"][at]
    mix = read_channels(ingest / "audio.flac", begin, end)[0]
    if channel is None:
        p_speak = np.stack([states["p_speak_0"][at], states["p_speak_1"][at]], axis=1)
        tracks = person_tracks(mix, p_speak, state == 3, ramp_s, floor_db)
    else:
        tracks = read_channels(ingest / "channels.flac", begin, end)[list(channel)]
    left_db, left_corr = bleed(tracks, state)
    cut = slice(first - begin, last - begin)
    method: Literal["stereo", "mask"] = "mask" if channel is None else "stereo"
    return ClipSound(mix[cut], tracks[:, cut], method, left_db, left_corr)
