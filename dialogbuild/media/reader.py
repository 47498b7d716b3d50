"""Frames of a video by presentation time: sequential decoding once, or random access by verified seek.

A seek may land after the target, or on a frame whose references are missing. It is trusted only if the first *key*
frame that comes out is at or before the target; otherwise it backs off further, in the end to the file's first packet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from fractions import Fraction
from itertools import chain, pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import av
import numpy as np
from av.video.reformatter import Colorspace, Interpolation, VideoReformatter

from dialogbuild.media.hdr import BT2020_NCL, tone_map
from dialogbuild.media.probe import U8Image, choose_stream, displayed_shape, frame_hdr, moving_pictures, open_input

_SEEK_GAP_S = 10  # a wanted frame further ahead than this is worth a seek even where the container has no index
_DECODE_GAP_S = 0.5  # one that is nearer than this is never worth one
# MPEG program streams time few of their frames; after a seek libav gets the others wrong by up to a frame.
_NO_SEEKING = {"mpeg"}
_UNSPECIFIED = 2  # AVCOL_SPC_UNSPECIFIED


class FrameReader(Protocol):
    """What a decoding backend must do. Frames are (H,W,3) uint8 RGB as displayed: rotated, square pixels, SDR."""

    width_px: int
    height_px: int

    def frames(self, pts: Iterable[int]) -> Iterator[tuple[int, U8Image]]:
        """Yield (pts, rgb) for each of the non-decreasing ``pts``."""
        ...

    def at(self, pts: int) -> U8Image:
        """The one frame that begins at ``pts``."""
        ...

    def close(self) -> None:
        """Give back decoder and file; leaving a ``with`` block does it too."""
        ...

    def __enter__(self) -> FrameReader: ...

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def decode_frames(
    container: Any, stream: Any, on_packet: Callable[[Any], None] | None = None, errors: list[str] | None = None
) -> Iterator[Any]:
    """Decoded frames of one stream; damaged packets are skipped and their messages appended to ``errors``.

    Skipping is the same for every reader of a file, so that the frame table and later reads agree.
    """
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
            if packet is None:
                return
            if on_packet is not None:
                on_packet(packet)
            frames = packet.decode()
        except MemoryError:
            raise
        except av.error.FFmpegError as error:
            if errors is not None and len(errors) < 10_000:
                errors.append(f"{type(error).__name__}: {getattr(error, 'strerror', error)}")
            continue
        yield from frames


class VideoReader:
    """PyAV backend of ``FrameReader``; use as a context manager. Memory: one frame and the decoder's own buffers.

    Args:
        path: local file.
        stream_index: container index of the video stream; None = the one ``probe`` would choose.
        size_px: (width, height) to scale to while converting; None = the displayed size.

    Attributes:
        width_px, height_px: size of the frames that are handed out.

    Raises:
        av.error.FFmpegError: the file cannot be opened.
        LookupError: it has no video stream.
        Reject: ``hdr``: the colours cannot be brought to SDR.
    """

    _container: Any = None
    _stream: Any

    def __init__(self, path: Path, stream_index: int | None = None, size_px: tuple[int, int] | None = None) -> None:
        self._path, self._stream_index = path, stream_index
        self._reformatter = VideoReformatter()
        self._open()
        first = next(decode_frames(self._container, self._stream), None)
        if first is None:
            self.close()
            raise LookupError(f"{path.name}: no frame of the video stream can be decoded")
        self._orientation, _, displayed_px = displayed_shape(self._stream, first)
        self.width_px, self.height_px = size_px or displayed_px
        self._hdr = frame_hdr(first)
        self._seek_pays = True
        self._open()

    def _open(self) -> None:
        if self._container is not None:
            self._container.close()
        self._container = open_input(self._path)
        if self._stream_index is None:
            moving = moving_pictures(self._container)
            if not moving:
                self.close()
                raise LookupError(f"{self._path.name}: no video stream")
            self._stream_index = choose_stream(moving).index
        self._stream = self._container.streams[self._stream_index]
        self._can_seek = self._container.format.name not in _NO_SEEKING
        self._decoder = decode_frames(self._container, self._stream)
        self._position: int | None = None  # pts of the frame decoded last; None = at the start

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; the reader is of no use afterwards."""
        self._container.close()

    def frames(self, pts: Iterable[int]) -> Iterator[tuple[int, U8Image]]:
        """Yield (pts, rgb (H,W,3) uint8) for each of the non-decreasing presentation times.

        Everything between is decoded once, each source frame is converted once; a repeated pts gets its own copy of
        the array, so a caller may write into what it gets.

        Raises:
            LookupError: no frame begins at that time.
            ValueError: the times decrease.
        """
        shown: int | None = None
        rgb: U8Image | None = None
        for target, following in pairwise(chain(pts, [None])):
            assert target is not None
            if shown is not None and target < shown:
                raise ValueError(f"pts must not decrease: {target} after {shown}")
            if rgb is None or target != shown:
                shown, rgb = target, self._convert(self._decode_to(int(target)))
            yield target, rgb.copy() if following == target else rgb

    def iter_ticks(
        self, ticks: Mapping[str, Any], start: int = 0, stop: int | None = None
    ) -> Iterator[tuple[int, U8Image]]:
        """Yield (tick, rgb) for ticks [start, stop) of ingest's ``ticks.parquet`` as read by ``read_table``."""
        pts = np.asarray(ticks["pts"])[start:stop]
        for offset, (_, rgb) in enumerate(self.frames(pts.tolist())):
            yield start + offset, rgb

    def at(self, pts: int) -> U8Image:
        """The frame that begins at ``pts``, wherever the reader stands.

        Raises:
            LookupError: no frame begins at that time.
        """
        return self._convert(self._decode_to(int(pts)))

    def _decode_to(self, target: int) -> Any:
        gap_s = None if self._position is None else (target - self._position) * self._stream.time_base
        if gap_s is None:
            gap_s = (target - (self._stream.start_time or 0)) * self._stream.time_base
        pending: Any | None = None
        if gap_s < 0 or (self._position is not None and gap_s == 0):
            pending = self._seek(target)
        elif self._is_worth_a_seek(target, gap_s):
            before = self._position
            pending = self._seek(target)
            self._seek_pays = before is None or self._position is None or self._position > before
        while True:
            frame = pending if pending is not None else next(self._decoder, None)
            pending = None
            if frame is not None and frame.pts is None:
                continue
            if frame is None or frame.pts > target:
                self._open()
                raise LookupError(f"{self._path.name}: no frame begins at pts {target}")
            self._position = frame.pts
            if frame.pts == target:
                return frame

    def _is_worth_a_seek(self, target: int, gap_s: Fraction) -> bool:
        """Whether decoding can start at a key frame that lies ahead of where the reader stands."""
        if gap_s <= _DECODE_GAP_S or not (self._can_seek and self._seek_pays):
            return False
        if gap_s > _SEEK_GAP_S:
            return True
        entries = getattr(self._stream, "index_entries", None)  # PyAV before 17 does not show them
        if entries is None or self._position is None:
            return False
        found = entries.search_timestamp(target)
        return found >= 0 and int(entries[found].timestamp) > self._position

    def _seek(self, target: int) -> Any | None:
        """Stand before ``target``; returns a frame that was already decoded on the way, None at the file's start."""
        step = max(1, round(1 / self._stream.time_base))
        start = self._stream.start_time if self._stream.start_time is not None else 0
        goal = target
        while self._can_seek and goal > start:
            try:
                self._container.seek(goal, stream=self._stream)
            except av.error.FFmpegError:  # no index, or not seekable: the start always works
                break
            self._decoder = decode_frames(self._container, self._stream)
            frame = next((f for f in self._decoder if f.key_frame and f.pts is not None), None)
            if frame is not None and frame.pts <= target:
                self._position = frame.pts
                return frame
            goal, step = goal - step, step * 2
        self._open()
        return None

    def _convert(self, frame: Any) -> U8Image:
        width, height = self.width_px, self.height_px
        if self._orientation.transpose:
            width, height = height, width
        shrinking = width * height < frame.width * frame.height / 2
        # the default conversion halves chroma resolution and is 2 to 3 grey levels too dark in saturated colours
        kernel = Interpolation.AREA if shrinking else Interpolation.BILINEAR | Interpolation.FULL_CHR_H_INT
        converted = self._reformatter.reformat(
            frame,
            width=width,
            height=height,
            format="gbrp16le" if self._hdr else "rgb24",  # swscale's rgb48 overflows with this kernel
            src_colorspace=_assumed_colorspace(frame, self._hdr),
            interpolation=int(kernel | Interpolation.ACCURATE_RND | Interpolation.BITEXACT),
            threads=1,
        )
        pixels: Any = converted.to_ndarray()
        rgb: U8Image = tone_map(pixels, self._hdr) if self._hdr else np.asarray(pixels, dtype=np.uint8)
        if converted is frame:  # nothing to convert: these pixels are the decoder's own
            rgb = rgb.copy()
        return self._orientation.apply(rgb)


def _assumed_colorspace(frame: Any, hdr: str | None) -> int | None:
    """BT.2020 for untagged HDR, BT.709 for untagged HD, as players assume; None = as tagged (untagged SD is BT.601)."""
    if frame.colorspace != _UNSPECIFIED:
        return None
    if hdr:
        return BT2020_NCL
    return int(Colorspace.ITU709) if frame.width >= 1280 or frame.height > 576 else None
