"""Other decoders behind ``FrameReader``: torchcodec and decord, trusted only as far as they agree with the frame table.

Both are wrong on some files without saying so (frames of another time after an edit list, no rotation, times moved to
zero). So each is checked when it is opened: number and times of frames against the table, and pixels of some frames,
out of order, against PyAV; and where it tells the time of a frame that it hands out, that time, always. What differs
is refused by name; PyAV then reads the file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import av
import numpy as np
from av.video.reformatter import Interpolation

from dialogbuild.errors import ConfigError, DialogbuildError, MissingPart
from dialogbuild.media.clock import FrameTable
from dialogbuild.media.probe import MediaFacts, U8Image, probe
from dialogbuild.media.reader import FrameReader, VideoReader

F64 = np.ndarray[Any, np.dtype[np.float64]]

_N_SAMPLES = 8  # frames whose pixels are compared, beside the first two and the last
# Mean absolute grey levels by which two right conversions of one frame differ: kernels for chroma, rounding.
_MAX_DIFFERENCE = 4.0


class ReaderRefused(DialogbuildError):
    """A reader that gets this file wrong; the message says which reader, which file, what differed and what to do."""

    def __init__(self, reader: str, name: str, difference: str) -> None:
        self.reader, self.name, self.difference = reader, name, difference
        super().__init__(f"{reader} gets {name} wrong: {difference}; read it with the reader 'pyav'")

    def __reduce__(self) -> tuple[Any, ...]:
        return (ReaderRefused, (self.reader, self.name, self.difference))


class IndexedDecoder(Protocol):
    """What a library must offer to be guarded. Frames are addressed by their place in presentation order."""

    def __len__(self) -> int: ...

    def start_s(self) -> F64 | None:
        """(N,) presentation start of every frame in seconds; None when ``frame`` tells it with each frame."""
        ...

    def frame(self, index: int) -> tuple[U8Image, float | None]:
        """(H,W,3) uint8 RGB and, when the library tells with each frame, its presentation start in seconds."""
        ...


class TorchcodecDecoder:
    """torchcodec 0.13 with ``seek_mode="exact"``; needs FFmpeg's libraries on the system.

    Raises:
        MissingPart: torchcodec or the libraries are absent.
    """

    def __init__(self, path: Path, stream_index: int) -> None:
        try:
            from torchcodec.decoders import VideoDecoder
        except (ImportError, RuntimeError, OSError) as error:  # RuntimeError: no FFmpeg library that it knows
            raise MissingPart(
                "the reader 'torchcodec' needs pip install 'dialogbuild[torchcodec]' and FFmpeg 4 to 8 on the system "
                f"(apt install ffmpeg): {str(error).splitlines()[0]}"
            ) from error
        self._decoder = VideoDecoder(
            str(path.resolve()), stream_index=stream_index, dimension_order="NHWC", seek_mode="exact"
        )

    def __len__(self) -> int:
        return int(self._decoder.metadata.num_frames or 0)

    def start_s(self) -> F64 | None:
        """None: a list would cost a decode of the whole file."""
        return None

    def frame(self, index: int) -> tuple[U8Image, float | None]:
        """Frame and its time."""
        got = self._decoder.get_frame_at(index)
        return got.data.numpy(), float(got.pts_seconds)


class DecordDecoder:
    """decord 0.6.0 on one thread.

    Raises:
        MissingPart: decord is absent.
    """

    def __init__(self, path: Path, stream_index: int) -> None:
        del stream_index  # decord chooses for itself; the comparison with PyAV finds another choice
        try:
            import decord
        except (ImportError, OSError) as error:
            raise MissingPart(
                "the reader 'decord' needs pip install 'dialogbuild[decord]' (x86-64 Linux and Windows)"
            ) from error
        self._decoder = decord.VideoReader(str(path.resolve()), num_threads=1)

    def __len__(self) -> int:
        return len(self._decoder)

    def start_s(self) -> F64 | None:
        """(N,) seconds."""
        if len(self._decoder) == 0:
            return np.zeros(0)
        return np.asarray(self._decoder.get_frame_timestamp(range(len(self._decoder))), np.float64)[:, 0]

    def frame(self, index: int) -> tuple[U8Image, float | None]:
        """Frame; decord does not say when it is shown."""
        return self._decoder[index].asnumpy(), None


_DECODERS: dict[str, Callable[[Path, int], IndexedDecoder]] = {
    "torchcodec": TorchcodecDecoder,
    "decord": DecordDecoder,
}
READERS = ("pyav", *_DECODERS)


def open_reader(
    path: Path,
    table: FrameTable,
    reader: str = "pyav",
    stream_index: int | None = None,
    size_px: tuple[int, int] | None = None,
    checked: bool = False,
) -> FrameReader:
    """Open a video with one of ``READERS``; ``close()`` the result, or use it as a context manager.

    Args:
        table: the file's frame table from ``scan_frames``, which the reader must agree with.
        stream_index: as ``VideoReader``.
        size_px: (width, height) to scale to; None = the displayed size.
        checked: the reader was opened on this file before: compare only frames that it hands out. ``table`` may end
            early then.

    Raises:
        ConfigError: there is no such reader.
        MissingPart: its package is absent.
        ReaderRefused: it gets this file wrong.
        Reject: the file is no readable video.
    """
    if reader == "pyav":
        return VideoReader(path, stream_index, size_px)
    if reader not in _DECODERS:
        raise ConfigError(f"there is no reader {reader!r}; choose one of {', '.join(READERS)}")
    return GuardedReader(path, table, reader, _DECODERS[reader], stream_index, size_px, checked)


class GuardedReader:
    """An ``IndexedDecoder`` as a ``FrameReader``, refused when it disagrees with the frame table or with PyAV.

    Args:
        name: what messages call the decoder.
        make: opens it: (path, stream index) -> decoder.
        path, table, stream_index, size_px, checked: as for ``open_reader``.

    Attributes:
        width_px, height_px: size of the frames that are handed out.

    Raises:
        MissingPart, ReaderRefused, Reject: as ``open_reader``.
    """

    def __init__(
        self,
        path: Path,
        table: FrameTable,
        name: str,
        make: Callable[[Path, int], IndexedDecoder],
        stream_index: int | None = None,
        size_px: tuple[int, int] | None = None,
        checked: bool = False,
    ) -> None:
        self._path, self._table, self._name = path, table, name
        facts = probe(path)  # refuses playlists, which the other libraries would follow
        if facts.video.hdr is not None:
            raise self._refusal(f"it does not tone-map {facts.video.hdr.upper()}")
        self._shape = (facts.video.height_px, facts.video.width_px, 3)
        self.width_px, self.height_px = size_px or (facts.video.width_px, facts.video.height_px)
        self._tolerance_s = float(min(table.duration.min(), 1 << 30) * table.time_base) / 2
        self._decoder: IndexedDecoder | None = None
        index = facts.video.index if stream_index is None else stream_index
        self._decoder = self._guarded("cannot open it", lambda: make(path, index))
        if not checked:
            self._check_times()
            self._check_pixels(index, facts)

    def __enter__(self) -> GuardedReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the decoder; the reader is of no use afterwards."""
        self._decoder = None

    def frames(self, pts: Iterable[int]) -> Iterator[tuple[int, U8Image]]:
        """Yield (pts, rgb (H,W,3) uint8) for each of the non-decreasing presentation times, each array its own.

        Raises:
            LookupError: no frame begins at that time.
            ValueError: the times decrease.
            ReaderRefused: a frame of another time or size came out.
        """
        shown: int | None = None
        for target in pts:
            if shown is not None and target < shown:
                raise ValueError(f"pts must not decrease: {target} after {shown}")
            shown = int(target)
            yield shown, self.at(shown)

    def at(self, pts: int) -> U8Image:
        """The frame that begins at ``pts``, (H,W,3) uint8.

        Raises:
            LookupError: no frame begins at that time.
            ReaderRefused: a frame of another time or size came out.
        """
        index = int(np.searchsorted(self._table.pts, pts))
        if index == len(self._table) or self._table.pts[index] != pts:
            raise LookupError(f"{self._path.name}: no frame begins at pts {pts}")
        return self._scaled(self._frame(index))

    def _refusal(self, difference: str) -> ReaderRefused:
        return ReaderRefused(self._name, self._path.name, difference)

    def _guarded(self, what: str, call: Callable[[], Any]) -> Any:
        """The other libraries raise errors of every type; all of them mean that the library cannot do it."""
        try:
            return call()
        except (DialogbuildError, MemoryError):
            raise
        except Exception as error:
            said = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise self._refusal(f"{what} ({said[:200]})") from error

    def _frame(self, index: int) -> U8Image:
        decoder = self._decoder
        if decoder is None:
            raise ValueError(f"the reader of {self._path.name} is closed")
        rgb, start_s = self._guarded(f"cannot decode frame {index}", lambda: decoder.frame(index))
        if rgb.shape != self._shape or rgb.dtype != np.uint8:
            raise self._refusal(f"frame {index} is {rgb.dtype} {rgb.shape}, the displayed frame is {self._shape}")
        if start_s is not None:
            self._check_time(index, start_s)
        return np.asarray(rgb, dtype=np.uint8)

    def _check_time(self, index: int, start_s: float) -> None:
        wanted_s = float(int(self._table.pts[index]) * self._table.time_base)
        if not abs(start_s - wanted_s) < self._tolerance_s:
            raise self._refusal(f"frame {index} begins at {start_s:.6f} s instead of {wanted_s:.6f} s")

    def _check_times(self) -> None:
        decoder = self._decoder
        assert decoder is not None
        n = self._guarded("cannot count its frames", lambda: len(decoder))
        if n != len(self._table):
            raise self._refusal(f"it sees {n} frames instead of {len(self._table)}")
        start_s = self._guarded("cannot say when frames begin", decoder.start_s)
        if start_s is None:
            return
        wanted_s = self._table.pts * float(self._table.time_base)
        wrong = np.flatnonzero(~(np.abs(start_s - wanted_s) < self._tolerance_s))
        if len(wrong):
            self._check_time(int(wrong[0]), float(start_s[wrong[0]]))

    def _check_pixels(self, stream_index: int, facts: MediaFacts) -> None:
        """Sampled frames must look like PyAV's frame of that time, and not more like one of its neighbours."""
        n = len(self._table)
        samples = sampled_frames(n)
        near = sorted({j for i in samples for j in (i - 1, i, i + 1) if 0 <= j < n})
        mine = {i: self._frame(i).astype(np.int16) for i in samples}
        distance: dict[tuple[int, int], float] = {}
        with VideoReader(self._path, stream_index, (facts.video.width_px, facts.video.height_px)) as truth:
            for j, (_, rgb) in zip(near, truth.frames(self._table.pts[near].tolist()), strict=True):
                for i in {j - 1, j, j + 1} & mine.keys():
                    distance[i, j] = float(np.abs(mine[i] - rgb).mean())
        for i in samples:
            if distance[i, i] > _MAX_DIFFERENCE:
                raise self._refusal(f"frame {i} differs from PyAV's by {distance[i, i]:.1f} grey levels on average")
            for j in (i - 1, i + 1):
                if distance.get((i, j), np.inf) < distance[i, i]:
                    raise self._refusal(f"frame {i} looks like frame {j}")

    def _scaled(self, rgb: U8Image) -> U8Image:
        if rgb.shape[:2] == (self.height_px, self.width_px):
            return rgb.copy()
        kernel = Interpolation.AREA if self.width_px * self.height_px < rgb.size / 6 else Interpolation.BILINEAR
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
        scaled = picture.reformat(self.width_px, self.height_px, interpolation=int(kernel))
        return np.asarray(scaled.to_ndarray(), dtype=np.uint8)


def sampled_frames(n: int) -> list[int]:
    """Indices below ``n`` whose pixels are compared: the last, then some at random places, then the first two."""
    inner = np.random.default_rng(n).permutation(n)[:_N_SAMPLES].tolist()
    return list(dict.fromkeys([n - 1, *inner, 0, min(1, n - 1)]))
