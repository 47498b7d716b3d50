"""One clock: from the source's own frame times to the clip grid of 25 ticks a second, in integers only.

Tick k covers [k/fps, (k+1)/fps) seconds; second 0 is the presentation start of the first video frame. The image of
tick k is the source frame whose presentation interval contains the tick's centre (k+1/2)/fps. A frame is presented
until the next one begins; the last one for its own duration.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import gcd
from typing import Any

import numpy as np

FPS = Fraction(25)
SAMPLE_RATE = 16000
I64 = np.ndarray[Any, np.dtype[np.int64]]
I32 = np.ndarray[Any, np.dtype[np.int32]]
Bools = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True, eq=False)
class FrameTable:
    """Every decoded frame in presentation order; ``pts`` strictly increasing, in units of ``time_base`` seconds."""

    pts: I64  # (N,)
    duration: I64  # (N,) until the next frame; the last frame's own
    key: Bools  # (N,)
    time_base: Fraction

    def __len__(self) -> int:
        return len(self.pts)

    @property
    def start_s(self) -> Fraction:
        """Presentation start of the first frame, seconds on the container's clock: t=0 of the clip timeline."""
        return int(self.pts[0]) * self.time_base

    @property
    def duration_s(self) -> Fraction:
        """From the first frame's start to the last frame's end."""
        return int(self.pts[-1] + self.duration[-1] - self.pts[0]) * self.time_base


@dataclass(frozen=True, eq=False)
class TickTable:
    """For every tick the source frame that is shown at its centre."""

    frame: I32  # (K,)
    pts: I64  # (K,)
    repeated: Bools  # (K,) the same frame as the tick before


def frame_table(pts: I64, last_duration: int, key: Bools, time_base: Fraction) -> FrameTable:
    """Frame table from presentation times.

    Args:
        pts: (N,) strictly increasing, units of ``time_base``.
        last_duration: how long the last frame is shown; 0 or less = unknown, then the median interval is taken.

    Raises:
        ValueError: no frame, or times that do not increase.
    """
    steps = np.diff(pts)
    if len(pts) == 0 or (steps <= 0).any():
        raise ValueError("a frame table needs at least one frame and strictly increasing pts")
    if last_duration <= 0:
        last_duration = int(np.sort(steps)[len(steps) // 2]) if len(steps) else 1
    duration = np.append(steps, last_duration).astype(np.int64)
    return FrameTable(pts.astype(np.int64), duration, key.astype(bool), time_base)


def samples_per_tick(fps: Fraction = FPS, sample_rate: int = SAMPLE_RATE) -> int:
    """640 at 25 fps and 16 kHz.

    Raises:
        ValueError: the rate does not divide into whole samples.
    """
    samples = sample_rate / fps
    if samples.denominator != 1:
        raise ValueError(f"{sample_rate} Hz has no whole number of samples in a tick of 1/{fps} s")
    return int(samples)


def _scale(time_base: Fraction, fps: Fraction) -> tuple[int, int]:
    """(A, B): pts * A and (2k+1) * B are times of a frame and of a tick's centre in one common unit."""
    a = 2 * fps.numerator * time_base.numerator
    b = fps.denominator * time_base.denominator
    common = gcd(a, b)
    return a // common, b // common


def count_ticks(duration_pts: int, time_base: Fraction, fps: Fraction = FPS) -> int:
    """Ticks whose centre lies before the end of a video of ``duration_pts`` units: rounded to the nearest tick."""
    a, b = _scale(time_base, fps)
    return max(0, (duration_pts * a + b - 1) // (2 * b))


def tick_table(frames: FrameTable, fps: Fraction = FPS) -> TickTable:
    """Map every tick to the frame presented at its centre. Exact for any time base, rate and irregular timing."""
    a, b = _scale(frames.time_base, fps)
    relative = frames.pts - frames.pts[0]
    end = int(relative[-1] + frames.duration[-1])
    n_ticks = count_ticks(end, frames.time_base, fps)
    if max(end * a, (2 * n_ticks + 1) * b) >= 2**63:
        raise ValueError(f"time base {frames.time_base} is too fine for {fps} fps in 64-bit integers")
    centre = (2 * np.arange(n_ticks, dtype=np.int64) + 1) * b
    frame = np.searchsorted(relative * a, centre, side="right") - 1
    repeated = np.zeros(n_ticks, dtype=bool)
    repeated[1:] = frame[1:] == frame[:-1]
    return TickTable(frame.astype(np.int32), frames.pts[frame], repeated)


def is_vfr(frames: FrameTable) -> bool:
    """Whether frame intervals differ by more than rounding to the time base explains (2 units), the last one apart."""
    steps = frames.duration[:-1]
    return bool(len(steps) > 1 and int(steps.max() - steps.min()) > 2)
