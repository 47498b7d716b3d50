"""From frames and sound to a file: the usual MP4, unusual timing and containers, and files that are broken."""

from __future__ import annotations

import os
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from dialogbuild.errors import ConfigError
from dialogbuild.media.encode import encode_video
from dialogbuild.synth.spec import DialogueSpec, Fault
from dialogbuild.synth.speech import SAMPLE_RATE_HZ

Image = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.float32]

_AAC_FRAME = 1024


def write_video(path: Path, frames: Iterable[Image], spec: DialogueSpec, mix: FloatArray) -> None:
    """Encode a dialogue to ``path``; equal input gives equal bytes.

    Constant-rate H.264 in MP4 goes through ``media.encode``; irregular rates, offsets, other codecs and containers
    (.mkv, .mov, .ts, .webm, ...) through PyAV.

    Args:
        frames: (H, W, 3) uint8 RGB in presentation order.
        mix: sound at 16 kHz, (n,) or in stereo (n, 2), sample 0 at the first frame's start.

    Raises:
        ConfigError: stereo sound in another container or codec than the usual MP4.
    """
    sound = None if spec.audio == "none" else mix
    usual = path.suffix == ".mp4" and spec.video_codec == "libx264" and spec.audio_offset_s == 0
    if usual and isinstance(spec.fps, Fraction):
        size = (spec.width_px, spec.height_px)
        encode_video(path, frames, spec.fps, size, spec.crf, audio=sound, gop=spec.gop, preset="veryfast")
        return
    if mix.ndim > 1:
        raise ConfigError("stereo_bleed_db is for libx264 at a constant rate in .mp4, without audio_offset_s")
    scratch = path.with_name(f".{path.stem}.part{path.suffix}")
    with av.open(str(scratch), "w", options={"fflags": "+bitexact"}) as container:
        video = _add_video(container, spec)
        audio = _add_audio(container) if sound is not None else None
        # A muxer writes its header at the first packet, and must know all streams by then.
        pts, time_base = spec.frame_pts()
        durations: dict[int, int] = {}
        if audio is not None and sound is not None:
            _encode_audio(container, audio, sound, spec.audio_offset_s)
        for image, start, end in zip(frames, pts[:-1], pts[1:], strict=True):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(
                format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG"
            )
            frame.pts, frame.time_base = int(start), time_base
            durations[int(start)] = int(end - start)
            _mux(container, video.encode(frame), durations)
        _mux(container, video.encode(None), durations)
    os.replace(scratch, path)


def _mux(container: Any, packets: list[Any], durations: dict[int, int]) -> None:
    """Write packets with the duration of their frame: encoders forget it, and the last one's ends the video."""
    for packet in packets:
        packet.duration = durations.get(packet.pts, packet.duration)
        container.mux(packet)


def _add_video(container: Any, spec: DialogueSpec) -> Any:
    _, time_base = spec.frame_pts()
    rate = spec.fps if isinstance(spec.fps, Fraction) else Fraction(30)
    options = {"flags": "+bitexact"}
    if spec.video_codec.startswith("lib"):
        options["crf"] = str(spec.crf)
    if spec.video_codec in ("libx264", "libx265"):
        options |= {"preset": "veryfast", "flags": "+bitexact+cgop"}
    if spec.video_codec == "libx265":
        options["x265-params"] = "log-level=none:pools=none:frame-threads=1"
    stream = container.add_stream(spec.video_codec, rate=rate, options=options)
    stream.width, stream.height, stream.pix_fmt = spec.width_px, spec.height_px, "yuv420p"
    context = stream.codec_context
    context.time_base = time_base
    context.thread_count, context.gop_size, context.max_b_frames = 1, spec.gop, 0
    return stream


def _add_audio(container: Any) -> Any:
    codec = "libopus" if container.format.name == "webm" else "aac"
    rate_hz = 48_000 if codec == "libopus" else SAMPLE_RATE_HZ
    stream = container.add_stream(codec, rate=rate_hz, layout="mono", options={"b": "96000", "flags": "+bitexact"})
    stream.codec_context.thread_count = 1
    return stream


def _encode_audio(container: Any, stream: Any, mix: FloatArray, offset_s: float) -> None:
    """Packets of a sound stream that starts ``offset_s`` after the first frame, in sync with it."""
    skip = round(offset_s * SAMPLE_RATE_HZ)
    sound = mix[skip:] if skip >= 0 else np.concatenate([np.zeros(-skip, np.float32), mix])
    resampler = av.AudioResampler(stream.codec_context.format, "mono", stream.codec_context.sample_rate)
    for start in range(0, len(sound), _AAC_FRAME):
        block = np.ascontiguousarray(sound[None, start : start + _AAC_FRAME])
        frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono")
        frame.sample_rate = SAMPLE_RATE_HZ
        frame.pts, frame.time_base = skip + start, Fraction(1, SAMPLE_RATE_HZ)
        for resampled in resampler.resample(frame):
            container.mux(stream.encode(resampled))
    for resampled in resampler.resample(None):
        container.mux(stream.encode(resampled))
    container.mux(stream.encode(None))


def write_sound(path: Path, mix: FloatArray) -> None:
    """A file without any picture: AAC in the container of the suffix (.m4a, .mp4, ...), or PCM for .wav."""
    if path.suffix == ".wav":
        import soundfile

        soundfile.write(path, mix, SAMPLE_RATE_HZ, subtype="PCM_16")
        return
    with av.open(str(path), "w", format="mp4" if path.suffix in (".m4a", ".mp4") else None) as container:
        _encode_audio(container, _add_audio(container), mix, 0.0)


def make_faulty(kind: Fault, path: Path) -> Path:
    """Write or turn a file at ``path`` into one that no pipeline may accept silently.

    Args:
        kind: "zero_bytes": an empty file. "text": prose under a video's name. "audio_only": a second of tone, as PCM
            for .wav, else as AAC. "truncated": the file at ``path`` loses its last 40 %.

    Returns:
        ``path``.

    Raises:
        ConfigError: the kind is unknown, or "truncated" finds no file to cut.
    """
    if kind == "zero_bytes":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("This is a note, and not a video.\n" * 40, encoding="utf-8")
    elif kind == "audio_only":
        write_sound(path, (0.1 * np.sin(np.arange(SAMPLE_RATE_HZ) * 0.1)).astype(np.float32))
    elif kind == "truncated":
        if not path.is_file():
            raise ConfigError(f"there is no file to cut at {path}")
        whole = path.read_bytes()
        path.write_bytes(whole[: int(len(whole) * 0.6)])
    else:
        raise ConfigError(f"unknown fault {kind!r}")
    return path
