"""Any audio track to mono 16 kHz on the video's clock, streamed; and FLAC in and out.

Sample n of the result is the sound at n/16000 seconds after the first video frame begins. Where the container has no
sound (late start, early end, lost packets) there is silence, so that positions never shift.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from dialogbuild.media.clock import SAMPLE_RATE
from dialogbuild.media.probe import open_input
from dialogbuild.media.reader import decode_frames

F32 = np.ndarray[Any, np.dtype[np.float32]]

# Below this a jump between packet times is rounding or jitter of the container, above it sound is missing or doubled.
# One lost AAC frame at 48 kHz is 21 ms; Matroska and FLV round to 1 ms.
_JUMP_S = Fraction(15, 1000)


@dataclass
class AudioReport:
    """What was found while decoding; filled as the iterator runs."""

    first_s: Fraction | None = None  # start of the first sound, seconds on the container's clock
    end_s: Fraction | None = None  # end of the last sound, likewise
    heard_samples: int = 0  # output samples that carry decoded sound, not padding
    n_jumps: int = 0  # places where packet times jump by 15 ms or more
    errors: list[str] = field(default_factory=list)  # one message per damaged packet


@dataclass(frozen=True)
class _Run:
    """Decoded sound without a gap at one sample rate; ``start_s`` on the container's clock."""

    start_s: Fraction
    sample_rate: int


def iter_audio(
    path: Path,
    stream_index: int,
    zero_s: Fraction,
    n_samples: int,
    report: AudioReport | None = None,
    sample_rate: int = SAMPLE_RATE,
    channels: int = 1,
) -> Iterator[F32]:
    """Decode one audio stream to float32 at ``sample_rate``, placed on the video's clock.

    Args:
        zero_s: container time of the first video frame (``FrameTable.start_s``).
        n_samples: length of the result; sound outside [0, n_samples) is dropped, silence fills what is missing.
        channels: 1 mixes to mono, 2 to stereo.

    Yields:
        (m,) or, for stereo, (m, 2) float32 blocks, together exactly ``n_samples`` long.

    Raises:
        av.error.FFmpegError: the file cannot be opened. Damaged packets only leave silence and are counted.
    """
    report = report if report is not None else AudioReport()
    at = 0
    for start, block in _resampled(path, stream_index, zero_s, sample_rate, report, channels):
        for gap in _silence(min(start, n_samples) - at, channels):
            at += len(gap)
            yield gap
        block = block[max(0, at - start) : max(0, n_samples - start)]
        if len(block):
            at += len(block)
            report.heard_samples += len(block)
            yield block
    yield from _silence(n_samples - at, channels)


def _silence(n: int, channels: int) -> Iterator[F32]:
    while n > 0:
        m = min(n, SAMPLE_RATE)
        n -= m
        yield _zeros(m, channels)


def _zeros(n: int, channels: int) -> F32:
    return np.zeros(n if channels == 1 else (n, channels), np.float32)


def _resampled(
    path: Path, stream_index: int, zero_s: Fraction, rate: int, report: AudioReport, channels: int
) -> Iterator[tuple[int, F32]]:
    """(position in output samples, block) in order of decoding; runs are resampled apart, so no gap is smeared."""
    import soxr

    run: _Run | None = None
    resampler: Any = None
    position = 0
    for new_run, decoded in _runs(path, stream_index, report, Downmixer(channels)):
        if new_run is not run:
            if resampler is not None:
                yield position, resampler.resample_chunk(_zeros(0, channels), last=True)
            run = new_run
            resampler = soxr.ResampleStream(run.sample_rate, rate, channels, dtype="float32")
            position = round((run.start_s - zero_s) * rate)
        block = resampler.resample_chunk(decoded)
        if len(block):
            yield position, block
            position += len(block)
    if resampler is not None:
        yield position, resampler.resample_chunk(_zeros(0, channels), last=True)


def _decoded(path: Path, stream_index: int, report: AudioReport) -> Iterator[Any]:
    with open_input(path) as container:
        yield from decode_frames(container, container.streams[stream_index], errors=report.errors)


def _runs(path: Path, stream_index: int, report: AudioReport, downmix: Downmixer) -> Iterator[tuple[_Run, F32]]:
    """Decoded blocks, each with the gap-free run that it belongs to."""
    run: _Run | None = None
    samples = 0  # of the run so far
    for frame in _decoded(path, stream_index, report):
        rate = int(frame.sample_rate)
        expected_s = run.start_s + Fraction(samples, run.sample_rate) if run is not None else None
        start_s = frame.pts * Fraction(frame.time_base) if frame.pts is not None else expected_s
        if start_s is None or frame.samples == 0:
            continue
        jumped = expected_s is not None and abs(start_s - expected_s) >= _JUMP_S
        report.n_jumps += jumped
        if run is None or jumped or rate != run.sample_rate:
            run, samples = _Run(start_s, rate), 0
            report.first_s = start_s if report.first_s is None else report.first_s
        samples += frame.samples
        report.end_s = run.start_s + Fraction(samples, rate)
        yield run, downmix(frame)


class Downmixer:
    """Decoded audio frames of any sample format and layout to mono or stereo float32.

    Two channels make mono as their mean, so that one sound in both keeps its level: libswresample adds 3 dB, which
    clips. Other layouts are libswresample's mix.
    """

    def __init__(self, channels: int = 1) -> None:
        self._stereo = channels == 2
        self._kind: tuple[Any, ...] = ()
        self._resampler: Any = None

    def __call__(self, frame: Any) -> F32:
        """One frame of n samples -> (n,), or (n, 2) for stereo. No resampling, hence no delay and nothing to flush."""
        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        if kind != self._kind:
            self._kind = kind
            layout = "stereo" if self._stereo or frame.layout.nb_channels == 2 else "mono"
            self._resampler = av.AudioResampler(format="fltp", layout=layout, rate=frame.sample_rate)
        frame.pts = None  # times are honoured by the caller; the resampler would invent samples for them
        parts = [out.to_ndarray() for out in self._resampler.resample(frame)]
        planes = np.concatenate(parts, axis=1) if parts else np.zeros((2, 0), np.float32)
        assert planes.shape[1] == frame.samples
        return np.ascontiguousarray(planes.T if self._stereo else planes.mean(axis=0), dtype=np.float32)


def to_pcm16(samples: F32) -> np.ndarray[Any, np.dtype[np.int16]]:
    """[-1, 1) float32 to int16, rounded and clipped."""
    scaled = np.clip(np.rint(samples * np.float32(32768.0)), -32768, 32767)
    return np.asarray(scaled, dtype=np.int16)


def write_flac(path: Path, blocks: Iterable[F32], sample_rate: int = SAMPLE_RATE, channels: int = 1) -> int:
    """Write float32 blocks, (m,) or (m, channels), as 16-bit FLAC; returns their length. Memory: one block.

    Raises:
        OSError: what was written cannot be read back whole (libsndfile does not tell of a disk that fills at the end).
    """
    import soundfile

    n = 0
    try:
        with soundfile.SoundFile(path, "w", sample_rate, channels, subtype="PCM_16", format="FLAC") as file:
            for block in blocks:
                file.write(to_pcm16(block))
                n += len(block)
        whole = soundfile.info(path).frames == n and (n == 0 or len(soundfile.read(path, start=n - 1)[0]) == 1)
    except soundfile.LibsndfileError as error:
        raise OSError(errno.ENOSPC if _disk_is_full(path) else errno.EIO, f"writing {path.name}: {error}") from error
    if not whole:
        raise OSError(errno.ENOSPC if _disk_is_full(path) else errno.EIO, f"{path.name} was not written whole")
    return n


def _disk_is_full(path: Path) -> bool:
    return shutil.disk_usage(path.parent).free < 1 << 20


def read_audio(path: Path, start: int = 0, stop: int | None = None) -> F32:
    """Samples [start, stop) of a mono FLAC or WAV file as (n,) float32.

    Raises:
        ValueError: the file has more than one channel.
    """
    import soundfile

    samples, _ = soundfile.read(path, start=start, stop=stop, dtype="float32")
    if samples.ndim != 1:
        raise ValueError(f"{path.name} has {samples.shape[1]} channels, expected one")
    return np.asarray(samples, dtype=np.float32)
