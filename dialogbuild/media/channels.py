"""The two channels of a stereo recording, kept apart: whether they differ, how loud each is, and how to read them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from dialogbuild.media.audio import F32

_FLOOR = 1e-10  # power of a channel that is silent: -100 dB of full scale
_BLOCK_TICKS = 25  # a second


def channel_levels(path: Path, samples_per_tick: int) -> tuple[np.ndarray[Any, np.dtype[np.float32]], float]:
    """Level of both channels at every tick, and how much they differ.

    Args:
        path: a stereo file of T * ``samples_per_tick`` samples.

    Returns:
        (T, 2) float32 dB of full scale; and the power of the channels' difference over that of their sum in dB, -100
        when they are the same.

    Raises:
        ValueError: the file has not two channels.
    """
    import soundfile

    powers: list[Any] = []
    side, middle = 0.0, 0.0
    for block in soundfile.blocks(path, blocksize=_BLOCK_TICKS * samples_per_tick, dtype="float32", always_2d=True):
        if block.shape[1] != 2:
            raise ValueError(f"{path.name} has {block.shape[1]} channels, expected two")
        wide = block.astype(np.float64)
        powers.append((wide**2).reshape(-1, samples_per_tick, 2).mean(axis=1))
        side += float(np.sum((wide[:, 0] - wide[:, 1]) ** 2))
        middle += float(np.sum((wide[:, 0] + wide[:, 1]) ** 2))
    power = np.concatenate(powers) if powers else np.zeros((0, 2))
    level_db = 10.0 * np.log10(power + _FLOOR)
    apart_db = 10.0 * np.log10((side + _FLOOR) / (middle + _FLOOR)) if side > 0 else -100.0
    return level_db.astype(np.float32), max(float(apart_db), -100.0)


def read_channels(path: Path, start: int, stop: int) -> F32:
    """Samples [start, stop) of a sound file as (channels, n) float32; zero outside the recording."""
    import soundfile

    info = soundfile.info(path)
    out = np.zeros((info.channels, stop - start), np.float32)
    first, last = max(start, 0), min(stop, info.frames)
    if last > first:
        samples, _ = soundfile.read(path, start=first, stop=last, dtype="float32", always_2d=True)
        out[:, first - start : last - start] = samples.T
    return out
