"""What a media file says about itself: streams, orientation, pixel shape, time bases. Only one frame is decoded."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.stream import Disposition

from dialogbuild.errors import Reject
from dialogbuild.media.hdr import hdr_transfer

U8Image = np.ndarray[Any, np.dtype[np.uint8]]

# Demuxers that turn text, still images or other files' names into "video": never a conversation.
_NO_VIDEO_CONTAINERS = {"tty", "image2", "concat", "hls", "dash", "sdp", "rtsp", "ffmetadata", "lavfi", "gif", "apng"}
# A frame is looked for in this many packets before the stream is called undecodable.
_PROBE_PACKETS = 500


@dataclass(frozen=True)
class Orientation:
    """How stored pixels become displayed pixels: transpose first, then mirror along x, then along y."""

    transpose: bool = False
    flip_x: bool = False
    flip_y: bool = False

    @property
    def mirrored(self) -> bool:
        """Whether left and right are exchanged, beyond what any rotation does."""
        return (self.transpose + self.flip_x + self.flip_y) % 2 == 1

    @property
    def rotation_deg(self) -> int:
        """Clockwise rotation from stored to displayed: 0, 90, 180, 270; if mirrored, after mirroring along x."""
        if self.transpose:
            return 270 if self.flip_y else 90
        return 180 if self.flip_y else 0

    def apply(self, image: U8Image) -> U8Image:
        """(H,W,3) stored -> (H',W',3) displayed, C-contiguous."""
        if self.transpose:
            image = image.transpose(1, 0, 2)
        if self.flip_x:
            image = image[:, ::-1]
        if self.flip_y:
            image = image[::-1]
        return np.ascontiguousarray(image)


@dataclass(frozen=True)
class VideoFacts:
    """One video stream. ``width_px``/``height_px`` are those of the displayed frame: rotated, square pixels."""

    index: int
    codec: str
    pix_fmt: str
    width_px: int
    height_px: int
    coded_width_px: int
    coded_height_px: int
    orientation: Orientation
    sar: Fraction  # width of a stored pixel over its height
    time_base: Fraction  # seconds per pts unit
    end_s: Fraction | None  # where the header says that it ends, container clock; None when it says nothing
    avg_fps: Fraction | None
    hdr: str | None = None  # "pq" or "hlg": readers hand out tone-mapped pixels


@dataclass(frozen=True)
class AudioFacts:
    """One audio stream."""

    index: int
    codec: str
    sample_rate: int
    channels: int
    time_base: Fraction


@dataclass(frozen=True)
class MediaFacts:
    """A file that holds a decodable video stream. ``audio[0]`` is the stream that a player would choose."""

    container: str
    video: VideoFacts
    audio: tuple[AudioFacts, ...]
    streams: tuple[str, ...]  # "video:h264", "audio:aac", ... in file order
    end_s: Fraction | None  # where the header says that the longest stream ends, container clock


def open_input(path: Path) -> Any:
    """Open a local file for demuxing and decoding on one thread; use as a context manager.

    Only the named file is ever opened: playlists that point elsewhere are refused by the protocol list.

    Raises:
        av.error.FFmpegError: the file is no media file.
    """
    options = {"protocol_whitelist": "file", "fflags": "+genpts"}  # AVI stores no pts
    container = av.open(f"file:{path.resolve()}", options=options, metadata_errors="replace")
    for stream in (*container.streams.video, *container.streams.audio):
        if stream.codec_context is not None:
            stream.codec_context.thread_type = "NONE"
            stream.codec_context.thread_count = 1
    return container


def probe(path: Path) -> MediaFacts:
    """Read the headers and decode one frame.

    Raises:
        Reject: ``empty_file``, ``truncated`` (an MP4 whose index never arrived), ``unreadable`` (media that libav
            cannot open or decode), ``not_a_video`` (no media, or no moving picture in it), ``hdr`` (colours that cannot
            be brought to SDR).
        OSError: the file cannot be read: the machine's fault, not the data's.
    """
    with path.open("rb") as file:  # a file that the system refuses raises here, so libav's errors are about the data
        head = file.read(64)
    if not head:
        raise Reject("empty_file", bytes=0)
    try:
        with open_input(path) as container:
            return _facts(container)
    except av.error.MemoryError:
        raise
    except av.error.FFmpegError as error:
        raise _why_unreadable(path, head, error) from error


def _facts(container: Any) -> MediaFacts:
    names = tuple(f"{s.type}:{_codec_name(s)}" for s in container.streams)
    kind = container.format.name
    videos = moving_pictures(container)
    if not videos or kind.endswith("_pipe") or kind in _NO_VIDEO_CONTAINERS:
        raise Reject("not_a_video", container=kind, streams=list(names))
    stream = choose_stream(videos)
    if stream.codec_context is None:
        raise Reject("unreadable", container=kind, streams=list(names), error="no decoder for the video stream")
    audios = [s for s in container.streams.audio if s.codec_context is not None]
    first = choose_stream(audios) if audios else None
    ordered = sorted(audios, key=lambda s: (s is not first, s.index))
    end_s = Fraction((container.start_time or 0) + container.duration, av.time_base) if container.duration else None
    audio = tuple(_audio_facts(s) for s in ordered)
    return MediaFacts(kind, _video_facts(container, stream), audio, names, end_s)


def moving_pictures(container: Any) -> list[Any]:
    """Video streams that are no cover art, thumbnail or still image."""
    return [s for s in container.streams.video if not _is_picture(s)]


def choose_stream(streams: list[Any]) -> Any:
    """The stream marked as default, else the largest picture, else the first."""
    return max(streams, key=lambda s: (bool(s.disposition & Disposition.default), _pixels(s), -s.index))


def _pixels(stream: Any) -> int:
    if stream.type != "video" or stream.codec_context is None:
        return 0
    return int(stream.codec_context.width) * int(stream.codec_context.height)


def _is_picture(stream: Any) -> bool:
    kinds = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
    return bool(stream.disposition & kinds)


def _codec_name(stream: Any) -> str:
    return str(stream.codec_context.name) if stream.codec_context is not None else "unknown"


def _audio_facts(stream: Any) -> AudioFacts:
    context = stream.codec_context
    return AudioFacts(
        stream.index, context.name, int(context.sample_rate or 0), int(context.channels), stream.time_base
    )


def _video_facts(container: Any, stream: Any) -> VideoFacts:
    frame = _first_frame(container, stream)
    if frame is None:
        raise Reject("no_frames", codec=_codec_name(stream), container=container.format.name)
    orientation, sar, (width, height) = displayed_shape(stream, frame)
    return VideoFacts(
        index=stream.index,
        codec=stream.codec_context.name,
        pix_fmt=frame.format.name,
        width_px=width,
        height_px=height,
        coded_width_px=int(frame.width),
        coded_height_px=int(frame.height),
        orientation=orientation,
        sar=sar,
        time_base=stream.time_base,
        end_s=_header_end_s(container, stream),
        avg_fps=Fraction(stream.average_rate) if stream.average_rate else None,
        hdr=frame_hdr(frame),
    )


def _first_frame(container: Any, stream: Any) -> Any | None:
    error: Exception | None = None
    for n, packet in enumerate(container.demux(stream)):
        try:
            frames = packet.decode()
        except av.error.FFmpegError as exc:
            error, frames = exc, []
        if frames:
            return frames[0]
        if n > _PROBE_PACKETS:
            break
    if error is not None:
        raise error
    return None


def displayed_shape(stream: Any, frame: Any) -> tuple[Orientation, Fraction, tuple[int, int]]:
    """(orientation, pixel aspect, (width, height) in px as displayed) of a stream's decoded frame."""
    sar = Fraction(stream.sample_aspect_ratio or 1)
    sar = sar if sar > 0 else Fraction(1)
    orientation = frame_orientation(frame)
    width, height = max(1, round(frame.width * sar)), int(frame.height)
    return orientation, sar, (height, width) if orientation.transpose else (width, height)


def _header_end_s(container: Any, stream: Any) -> Fraction | None:
    if stream.duration is not None and stream.duration > 0:
        return int((stream.start_time or 0) + stream.duration) * Fraction(stream.time_base)
    tag = stream.metadata.get("DURATION")  # Matroska's own duration is that of the longest stream
    if tag is not None and len(parts := tag.split(":")) == 3:
        try:
            hours, minutes, seconds = (Fraction(part) for part in parts)
        except ValueError:
            return None
        return Fraction(hours * 3600 + minutes * 60 + seconds)
    return None


def frame_hdr(frame: Any) -> str | None:
    """ "pq" or "hlg" of an HDR frame, None for SDR.

    Raises:
        Reject: ``hdr``, see ``hdr_transfer``.
    """
    return hdr_transfer(int(frame.color_trc), int(frame.colorspace), [side.type.name for side in frame.side_data])


def frame_orientation(frame: Any) -> Orientation:
    """The display matrix of a decoded frame, reduced to quarter turns and mirrors (ISO/IEC 14496-12, 6.2.2)."""
    for side in frame.side_data:
        if side.type.name == "DISPLAYMATRIX":
            return matrix_orientation(struct.unpack("=9i", bytes(side)[:36]))
    return Orientation()


def matrix_orientation(matrix: tuple[int, ...]) -> Orientation:
    """(a,b,u, c,d,v, x,y,w) with x' = a x + c y and y' = b x + d y (y down) -> the nearest quarter turn and mirror."""
    a, b, _, c, d = matrix[:5]
    if abs(b) + abs(c) > abs(a) + abs(d):
        return Orientation(transpose=True, flip_x=c < 0, flip_y=b < 0)
    return Orientation(flip_x=a < 0, flip_y=d < 0)


def _why_unreadable(path: Path, head: bytes, error: Exception) -> Reject:
    said = str(getattr(error, "strerror", None) or error)
    if not looks_like_media(head):
        return Reject("not_a_video", error=said)
    boxes = mp4_boxes(path) if head[4:8] == b"ftyp" else []
    if boxes and boxes[-1][1] > path.stat().st_size:
        return Reject("truncated", box=boxes[-1][0], box_end_bytes=boxes[-1][1], bytes=path.stat().st_size)
    if boxes and "moov" not in [name for name, _ in boxes]:
        return Reject("truncated", missing_box="moov", bytes=path.stat().st_size)
    return Reject("unreadable", error=said)


def looks_like_media(head: bytes) -> bool:
    """Whether the first 64 bytes carry the signature of a container that can hold video."""
    starts = (b"\x1aE\xdf\xa3", b"FLV", b"OggS", b"0&\xb2u\x8ef\xcf\x11", b"\x00\x00\x01\xba", b"\x00\x00\x01\xb3")
    riff = head[:4] == b"RIFF" and head[8:12] == b"AVI "
    return head.startswith(starts) or riff or head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide") or head[:1] == b"\x47"


def mp4_boxes(path: Path) -> list[tuple[str, int]]:
    """Top-level boxes of an ISO media file: (name, end offset in bytes). The last may end beyond the file."""
    boxes: list[tuple[str, int]] = []
    size, at = path.stat().st_size, 0
    with path.open("rb") as file:
        while at + 8 <= size:
            file.seek(at)
            length, name = struct.unpack(">I4s", file.read(8))
            if length == 1:
                length = struct.unpack(">Q", file.read(8).rjust(8, b"\xff"))[0]
            at = size if length == 0 else at + max(length, 8)
            boxes.append((name.decode("latin-1"), at))
    return boxes
