"""Video files out: H.264 without B-frames, closed GOPs, one thread, the same bytes for the same frames.

The command is put together with ffmpeg-python and run as an argument list; the binary is the one that imageio-ffmpeg
brings (``IMAGEIO_FFMPEG_EXE`` overrides it), so that bytes depend on the environment's pins, not on the machine.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import IO, Any

import numpy as np

from dialogbuild.errors import DialogbuildError, MissingPart
from dialogbuild.media.audio import F32, write_flac
from dialogbuild.media.clock import SAMPLE_RATE
from dialogbuild.media.probe import U8Image

_FINISH_S = 600  # ffmpeg has this long to finish after its last frame before it counts as hung
_BITEXACT = {"fflags": "+bitexact", "flags:v": "+bitexact+cgop", "flags:a": "+bitexact", "map_metadata": "-1"}


class EncodeError(DialogbuildError):
    """ffmpeg failed; the message is the end of what it said."""


@cache
def ffmpeg_binary() -> str:
    """Path of the ffmpeg program.

    Raises:
        MissingPart: there is none.
    """
    import imageio_ffmpeg

    try:
        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError as error:
        raise MissingPart("no ffmpeg program: `pip install imageio-ffmpeg` brings one") from error


def encode_video(
    path: Path,
    frames: Iterable[U8Image],
    fps: Fraction,
    size_px: tuple[int, int],
    crf: int = 18,
    audio: Path | F32 | None = None,
    gop: int = 25,
    preset: str = "medium",
) -> int:
    """Encode RGB frames to an MP4 that every reader addresses exactly: a key frame every ``gop`` frames, no B-frames.

    Args:
        path: written under a temporary name and renamed when complete.
        frames: (H,W,3) uint8 RGB.
        size_px: (width, height), both even.
        crf: x264's constant rate factor, 0 (lossless) to 51.
        audio: a file whose first audio stream is taken, or float32 at 16 kHz, (n,) mono or (n, 2) stereo; stored
            as AAC. The video decides the length.
        gop: frames from one key frame to the next.

    Returns:
        The number of frames written.

    Raises:
        EncodeError: ffmpeg failed; nothing is left at ``path``.
        ValueError: odd size, a frame of another size or type, or no frame at all.
    """
    import ffmpeg

    width, height = size_px
    if width % 2 or height % 2 or min(size_px) <= 0:
        raise ValueError(f"4:2:0 video needs even sizes, not {width}x{height}")
    options = {
        "vcodec": "libx264", "preset": preset, "crf": crf, "pix_fmt": "yuv420p", "threads": 1, "g": gop,
        "keyint_min": gop, "sc_threshold": 0, "bf": 0, "x264-params": "open-gop=0:threads=1:lookahead-threads=1",
        "colorspace": "bt709", "color_primaries": "bt709", "color_trc": "bt709", "color_range": "tv",
        "movflags": "+faststart", "format": "mp4", **_BITEXACT,
    }  # fmt: skip
    raw = ffmpeg.input("pipe:0", format="rawvideo", pix_fmt="rgb24", s=f"{width}x{height}", r=str(Fraction(fps)))
    video = raw.video.filter("scale", out_color_matrix="bt709", out_range="tv", flags="bicubic+accurate_rnd+bitexact")

    def build(tmp: Path, sound: Path | None) -> list[str]:
        streams = [video]
        if sound is not None:
            streams.append(ffmpeg.input(_url(sound)).audio.filter("apad"))
            options.update({"acodec": "aac", "audio_bitrate": "128k", "shortest": None})
        return _arguments(ffmpeg.output(*streams, _url(tmp), **options))

    def feed(pipe: IO[bytes]) -> int:
        n = 0
        for n, frame in enumerate(frames, 1):
            if frame.shape != (height, width, 3) or frame.dtype != np.uint8:
                raise ValueError(f"frame {n - 1} is {frame.dtype} {frame.shape}, expected uint8 {(height, width, 3)}")
            pipe.write(np.ascontiguousarray(frame).data.cast("B"))
        if n == 0:
            raise ValueError("a video needs at least one frame")
        return n

    return _produce(path, audio, build, feed)


def mux(video: Path, audio: Path | F32, path: Path) -> None:
    """Put an audio track beside a video whose packets are copied as they are. The video decides the length.

    Args:
        audio: as for ``encode_video``.

    Raises:
        EncodeError: ffmpeg failed; nothing is left at ``path``.
    """
    import ffmpeg

    def build(tmp: Path, sound: Path | None) -> list[str]:
        assert sound is not None
        streams = [ffmpeg.input(_url(video)).video, ffmpeg.input(_url(sound)).audio.filter("apad")]
        options = {"vcodec": "copy", "acodec": "aac", "audio_bitrate": "128k", "shortest": None, "threads": 1}
        return _arguments(
            ffmpeg.output(*streams, _url(tmp), format="mp4", movflags="+faststart", **options, **_BITEXACT)
        )

    _produce(path, audio, build, lambda _: 0)


def _url(path: Path) -> str:
    return f"file:{path.resolve()}"


def _arguments(stream: Any) -> list[str]:
    flags = ["-hide_banner", "-nostats", "-loglevel", "error", "-filter_threads", "1"]
    command: list[str] = stream.global_args(*flags).overwrite_output().compile(cmd=ffmpeg_binary())
    return command


def _produce(
    path: Path,
    audio: Path | F32 | None,
    build: Callable[[Path, Path | None], list[str]],
    feed: Callable[[IO[bytes]], int],
) -> int:
    """Run ffmpeg into a scratch directory beside ``path``, then rename the result into place."""
    with tempfile.TemporaryDirectory(prefix=".encode-", dir=path.parent) as scratch:
        tmp = Path(scratch) / "out.mp4"
        sound = audio if isinstance(audio, Path) else None
        if audio is not None and not isinstance(audio, Path):
            sound = Path(scratch) / "sound.flac"
            write_flac(sound, [audio], SAMPLE_RATE, 1 if audio.ndim == 1 else audio.shape[1])
        n = run_ffmpeg(build(tmp, sound), feed)
        os.replace(tmp, path)
    return n


def run_ffmpeg(command: list[str], feed: Callable[[IO[bytes]], int] | None = None) -> int:
    """Run a complete ffmpeg argument list, writing to its standard input; returns what ``feed`` returns.

    Its messages go to a file, not to a pipe, so it never blocks on an unread pipe; when ``feed`` fails, it is killed.

    Raises:
        EncodeError: a non-zero exit status, with the end of ffmpeg's messages.
    """
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=log)
        assert process.stdin is not None
        result, broken = 0, False
        try:
            try:
                result = feed(process.stdin) if feed is not None else 0
                process.stdin.close()
            except BrokenPipeError:  # ffmpeg is gone: its exit status and messages say why
                broken = True
            status = process.wait(timeout=_FINISH_S)
        except subprocess.TimeoutExpired as error:
            raise EncodeError(f"ffmpeg did not finish within {_FINISH_S} s: {_tail(log)}") from error
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            _close_quietly(process.stdin)
        if status != 0 or broken:
            raise EncodeError(f"ffmpeg ended with status {status}: {_tail(log)}")
    return result


def _close_quietly(pipe: IO[bytes]) -> None:
    with contextlib.suppress(BrokenPipeError):
        pipe.close()


def _tail(log: IO[bytes]) -> str:
    log.seek(0)
    return log.read().decode(errors="replace").strip()[-2000:]
