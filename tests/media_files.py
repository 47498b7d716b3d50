"""Small video files whose frames and sound say where they belong: a binary barcode and chirps at known times."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from dialogbuild.media.encode import ffmpeg_binary, run_ffmpeg

WIDTH, HEIGHT, BITS = 192, 128, 12
CHIRP_HZ, CHIRP_S = (400.0, 5000.0), 0.04


def barcode(number: int) -> np.ndarray[Any, Any]:
    """(128,192,3) uint8: 2 x 6 black or white blocks on top; below blue at the left, green at the right."""
    bits = np.array([number >> i & 1 for i in range(BITS)]).reshape(2, 6)
    frame = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    frame[:64] = np.repeat(np.repeat(bits, 32, 0), 32, 1)[:, :, None] * 255
    frame[64:, :96, 2] = 255
    frame[64:, 96:, 1] = 255
    return frame


def number_in(rgb: np.ndarray[Any, Any]) -> int:
    """The number drawn by ``barcode``, at any scale; checks that the picture stands upright and unmirrored."""
    h, w = rgb.shape[:2]

    def at(row: float, column: float) -> np.ndarray[Any, Any]:
        y, x = int(row * h), int(column * w)
        return rgb[y - 2 : y + 3, x - 2 : x + 3].reshape(-1, 3).mean(0)

    blue, green = at(0.75, 0.25), at(0.75, 0.75)
    assert blue[2] > 150 > blue[1], f"lower left is {blue}, expected blue"
    assert green[1] > 150 > green[2], f"lower right is {green}, expected green"
    cells = [at(0.125 + 0.25 * r, (c + 0.5) / 6).mean() > 128 for r in range(2) for c in range(6)]
    return sum(1 << i for i, on in enumerate(cells) if on)


def chirp(rate: int) -> np.ndarray[Any, Any]:
    """(n,) float32 sweep of 40 ms with a soft start and end."""
    t = np.arange(round(CHIRP_S * rate)) / rate
    low, high = CHIRP_HZ
    phase = 2 * np.pi * (low * t + (high - low) / (2 * CHIRP_S) * t**2)
    return (0.8 * np.sin(phase) * np.hanning(len(t))).astype(np.float32)


def sound(duration_s: float, chirps_s: list[float], rate: int = 48000, channels: int = 2) -> np.ndarray[Any, Any]:
    """(n, channels) float32 silence with a chirp starting at each time."""
    out = np.zeros((round(duration_s * rate), channels), np.float32)
    for at_s in chirps_s:
        start = round(at_s * rate)
        piece = chirp(rate)[: len(out) - start]
        out[start : start + len(piece)] = piece[:, None]
    return out


def find_chirp(samples: np.ndarray[Any, Any], rate: int = 16000, near_s: float | None = None) -> float:
    """Start of the strongest chirp, seconds; ``near_s`` limits the search to half a second around it."""
    template = chirp(rate)
    lo = 0 if near_s is None else max(0, round((near_s - 0.5) * rate))
    hi = len(samples) if near_s is None else round((near_s + 0.5) * rate)
    match = np.correlate(samples[lo:hi], template, "valid")
    return (lo + int(match.argmax())) / rate


def ffmpeg(*arguments: str | Path) -> None:
    run_ffmpeg([ffmpeg_binary(), "-hide_banner", "-loglevel", "error", "-y", *map(str, arguments)])


def raw_frames(path: Path, numbers: list[int]) -> list[str]:
    """Write the frames to a raw file; returns ffmpeg's input arguments before ``-i path`` except the rate."""
    path.write_bytes(b"".join(barcode(n).tobytes() for n in numbers))
    return ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{WIDTH}x{HEIGHT}"]


def make_video(
    path: Path,
    n_frames: int = 75,
    fps: Fraction = Fraction(25),
    chirps_s: list[float] | None = None,
    audio_s: float | None = None,
    codec: tuple[str, ...] = ("-c:v", "libx264", "-g", "30", "-bf", "2", "-crf", "20"),
    audio_codec: tuple[str, ...] = ("-c:a", "aac"),
    before_audio: tuple[str, ...] = (),
    extra: tuple[str, ...] = (),
    rate: int = 48000,
    channels: int = 2,
) -> Path:
    """A constant-rate file with barcode frames 0.. and, unless ``chirps_s`` is None, sound with chirps."""
    raw = path.with_suffix(".raw")
    arguments: list[str | Path] = [*raw_frames(raw, list(range(n_frames))), "-r", str(fps), "-i", raw]
    wav = path.with_suffix(".in.wav")
    if chirps_s is not None:
        length_s = audio_s if audio_s is not None else float(n_frames / fps)
        soundfile.write(wav, sound(length_s, chirps_s, rate, channels), rate, subtype="FLOAT")
        arguments += [*before_audio, "-i", wav, *audio_codec]
    ffmpeg(*arguments, *codec, "-pix_fmt", "yuv420p", "-threads", "1", *extra, path)
    raw.unlink()
    wav.unlink(missing_ok=True)
    return path


def make_vfr(path: Path, times_ms: list[int], chirps_s: list[float] | None = None) -> Path:
    """Frames 0.. shown at the given milliseconds (rounded to the encoder's time base of 1/1000 s)."""
    import av

    with av.open(str(path), "w", container_options={"movie_timescale": "1000"}) as out:
        stream = out.add_stream("libx264", rate=30, options={"g": "20", "bf": "0", "crf": "20", "threads": "1"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        audio = out.add_stream("aac", rate=48000, layout="mono") if chirps_s is not None else None
        for number, ms in enumerate(times_ms):
            frame = av.VideoFrame.from_ndarray(barcode(number), format="rgb24")
            frame.pts, frame.time_base = ms, Fraction(1, 1000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
        if audio is not None:
            samples = sound(times_ms[-1] / 1000 + 0.05, chirps_s or [], channels=1).T
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 48000, 0
            out.mux(audio.encode(frame))
            out.mux(audio.encode(None))
    return path
