"""Files that readers get wrong, each with its truth: container x codec x oddity of timing, picture or sound.

Every frame carries its number as a barcode, the sound has chirps at known times. ``CASES`` says how each file is made
and what must come out; ``check`` runs ingest and reads the file in order and at random. Tests and benchmark share it.
"""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from media_files import barcode, ffmpeg, find_chirp, number_in, sound

from dialogbuild.artifact import Inputs
from dialogbuild.errors import Reject
from dialogbuild.media.audio import read_audio
from dialogbuild.media.clock import FrameTable
from dialogbuild.media.encode import ffmpeg_binary
from dialogbuild.media.reader import FrameReader, VideoReader
from dialogbuild.stages import ingest
from dialogbuild.tables import read_table

WIDTH, HEIGHT, N_FRAMES = 96, 64, 40
CHIRPS_S = (0.35, 1.05)
X264 = ("-c:v", "libx264", "-preset", "veryfast", "-g", "12", "-bf", "2", "-crf", "20")
X265 = ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error:keyint=12:pools=none:bframes=2")
VP9 = ("-c:v", "libvpx-vp9", "-g", "12", "-cpu-used", "8", "-deadline", "realtime", "-b:v", "500k")
AV1 = ("-c:v", "libsvtav1", "-preset", "12", "-g", "12", "-svtav1-params", "lp=1")
ALL_INTRA = ("-c:v", "mjpeg", "-q:v", "3")
MPEG2 = ("-c:v", "mpeg2video", "-g", "12", "-bf", "2", "-q:v", "3")
TO_HDR = (
    "setparams=color_primaries=bt709:color_trc=bt709:colorspace=gbr:range=pc,"
    "zscale=transfer={}:primaries=bt2020:matrix=bt2020nc:range=limited:npl=203,format=yuv420p10le"
)
VFR_STEPS = (1, 1, 2, 1, 4, 1, 3)  # frame n is shown this many 25ths of a second, in turn


@dataclass(frozen=True)
class Case:
    """How one file is made and what must come out of it. Times are seconds from the first frame."""

    name: str  # file name; its suffix is the container
    codec: tuple[str, ...] = X264
    fps: Fraction = Fraction(25)
    n: int = N_FRAMES
    pix_fmt: str = "yuv420p"
    video_filter: str = ""
    sound: tuple[str, ...] = ("-c:a", "aac")  # empty: the file has none
    channels: int = 2
    rate: int = 48000
    audio_s: float | None = None  # None: as long as the video
    before_audio: tuple[str, ...] = ()
    output: tuple[str, ...] = ()
    remux: tuple[str, ...] = ()  # a second pass that copies packets: options before its -i
    remux_out: tuple[str, ...] = ()
    first: int = 0  # frame that is shown first
    audio_shift_s: float = 0.0  # where the sound's second 0 lies on the picture's clock
    times_s: tuple[Fraction, ...] | None = None  # of the frames, when not n / fps
    turned: bool = False  # the upright picture is flagged to lie on its side
    shape: tuple[int, int] = (WIDTH, HEIGHT)
    damage: Callable[[bytearray], None] | None = None
    lost: int = 0  # frames that damage may cost
    max_damaged: float = 0.01  # ingest's own default
    rejects: str | None = None
    record: dict[str, Any] = field(default_factory=dict)  # what video.json must say

    def expected_s(self) -> list[Fraction]:
        times = self.times_s or tuple(i / self.fps for i in range(self.n))
        return [t - times[self.first] for t in times[self.first :]]


def _hurt_middle(share: float) -> Callable[[bytearray], None]:
    """Overwrite a run of bytes in the middle of the file with noise."""

    def damage(data: bytearray) -> None:
        length = max(400, int(len(data) * share))
        at = len(data) // 2
        data[at : at + length] = np.random.default_rng(0).integers(0, 256, length, np.uint8).tobytes()

    return damage


def _vfr(n: int) -> tuple[Fraction, ...]:
    steps = [Fraction(VFR_STEPS[i % len(VFR_STEPS)], 25) for i in range(n)]
    return tuple(sum(steps[:i], Fraction(0)) for i in range(n))


def _vfr_filter() -> str:
    whole = sum(VFR_STEPS)
    within = "+".join(f"{step}*gt(mod(N,{len(VFR_STEPS)}),{i})" for i, step in enumerate(VFR_STEPS))
    return f"setpts='(floor(N/{len(VFR_STEPS)})*{whole}+{within})/25/TB'"


def _rates() -> list[Case]:
    odd = {"2398": (24000, 1001), "2997": (30000, 1001), "50": (50, 1), "5994": (60000, 1001)}
    out = []
    for label, (p, q) in odd.items():
        for suffix in ("mp4", "mkv", "ts"):
            out.append(Case(f"fps{label}.{suffix}", fps=Fraction(p, q), n=round(1.5 * p / q)))
    return out


def _codecs() -> list[Case]:
    opus, pcm = ("-c:a", "libopus"), ("-c:a", "pcm_s16le")
    return [
        Case("h264.mov", sound=pcm),
        Case("h264_444.mp4", pix_fmt="yuv444p"),
        Case("h264_422_10.mkv", pix_fmt="yuv422p10le", sound=("-c:a", "flac")),
        Case("h264_10.mp4", pix_fmt="yuv420p10le"),
        Case("h264_full_range.mp4", pix_fmt="yuvj420p"),
        Case("hevc.mp4", X265),
        Case("hevc_10.mkv", X265, pix_fmt="yuv420p10le"),
        Case("hevc_444.mp4", X265, pix_fmt="yuv444p"),
        Case("hevc.ts", X265, fps=Fraction(50)),
        Case("vp8.webm", ("-c:v", "libvpx", "-g", "12", "-cpu-used", "8", "-b:v", "500k"), sound=opus),
        Case("vp9.webm", VP9, sound=opus),
        Case("vp9_vfr.webm", VP9, sound=opus, times_s=_vfr(20), n=20, video_filter=_vfr_filter()),
        Case("vp9.mp4", VP9),
        Case("av1.mp4", AV1),
        Case("av1.webm", AV1, fps=Fraction(30000, 1001), sound=opus),
        Case("av1_10.mkv", AV1, pix_fmt="yuv420p10le", sound=opus),
        Case("mpeg2.ts", MPEG2, sound=("-c:a", "mp2")),
        Case("mpeg2.mpg", MPEG2, sound=("-c:a", "mp2")),
        Case("mpeg4.avi", ("-c:v", "mpeg4", "-g", "12", "-q:v", "3"), sound=pcm),
        Case("mjpeg.avi", ALL_INTRA, pix_fmt="yuvj420p", sound=pcm),
        Case("prores.mov", ("-c:v", "prores_ks"), pix_fmt="yuv422p10le", sound=pcm),
        Case("ffv1.mkv", ("-c:v", "ffv1"), sound=("-c:a", "flac")),
        Case("theora.ogv", ("-c:v", "libtheora", "-q:v", "8"), sound=("-c:a", "libvorbis")),
        Case("flv1.flv", ("-c:v", "flv", "-q:v", "3"), rate=44100),
        Case("wmv2.wmv", ("-c:v", "wmv2", "-q:v", "3"), sound=("-c:a", "wmav2"), rate=44100),
    ]


def _timing() -> list[Case]:
    vfr = {"times_s": _vfr(20), "n": 20, "video_filter": _vfr_filter(), "record": {"is_vfr": True}}
    cut = {"remux": ("-ss", "0.6"), "first": 15, "audio_shift_s": -0.6}
    return [
        Case("vfr.mp4", **vfr),
        Case("vfr.mkv", **vfr),
        Case("vfr.ts", **vfr),
        Case("start_offset.ts", remux=("-itsoffset", "5"), remux_out=("-muxdelay", "0")),
        Case("start_offset.mkv", remux=("-itsoffset", "1.48")),
        Case("start_offset.mp4", remux=("-itsoffset", "1.48")),
        Case("clock_wraps.ts", output=("-output_ts_offset", "95441.5")),  # 33 bits of 90 kHz end at 95443.7 s
        Case("edit_list.mp4", **cut),
        Case("edit_list.mov", **cut),
        Case("edit_list_hevc.mp4", X265, **cut),
        Case("sound_late.mkv", before_audio=("-itsoffset", "0.25"), audio_shift_s=0.25),
        Case("sound_late.mp4", before_audio=("-itsoffset", "0.25"), audio_shift_s=0.25),
        Case("sound_late.ts", before_audio=("-itsoffset", "0.25"), audio_shift_s=0.25),
        Case("sound_early.mkv", before_audio=("-itsoffset", "-0.2"), audio_shift_s=-0.2),
        Case("fragmented.mp4", output=("-movflags", "+frag_keyframe+empty_moov")),
    ]


def _pictures() -> list[Case]:
    interlaced = ("-flags", "+ilme+ildct")
    return [
        Case("rotated_90.mp4", remux=("-display_rotation", "-90"), turned=True, shape=(HEIGHT, WIDTH)),
        Case("rotated_hevc.mov", X265, remux=("-display_rotation", "-90"), turned=True, shape=(HEIGHT, WIDTH)),
        Case("sar.mp4", video_filter="setsar=3/2", shape=(144, HEIGHT)),
        Case("sar.mkv", video_filter="setsar=3/2", shape=(144, HEIGHT)),
        Case("interlaced.ts", MPEG2, video_filter="setfield=tff", output=interlaced, record={"interlaced_share": 1.0}),
        Case("interlaced.mp4", (*X264, "-x264-params", "tff=1"), record={"interlaced_share": 1.0}),
        Case("pq.mp4", X265, pix_fmt="yuv420p10le", video_filter=TO_HDR.format("smpte2084"),
             record={"hdr": {"transfer": "pq", "tone_map": "mobius-203-1000"}}),
        Case("hlg.mkv", X265, pix_fmt="yuv420p10le", video_filter=TO_HDR.format("arib-std-b67"),
             record={"hdr": {"transfer": "hlg", "tone_map": "mobius-203-1000"}}),
        Case("pq_av1.webm", AV1, pix_fmt="yuv420p10le", sound=("-c:a", "libopus"),
             video_filter=TO_HDR.format("smpte2084"),
             record={"hdr": {"transfer": "pq", "tone_map": "mobius-203-1000"}}),
        Case("ictcp.mp4", X265, pix_fmt="yuv420p10le", rejects="hdr",
             video_filter=TO_HDR.format("smpte2084"), output=("-bsf:v", "hevc_metadata=matrix_coefficients=14")),
    ]  # fmt: skip


def _sounds() -> list[Case]:
    twice = ("-map", "0:v", "-map", "1:a", "-map", "1:a")
    first = (*twice, "-filter:a:1", "volume=0", "-disposition:a:0", "default", "-disposition:a:1", "0")
    second = (*twice, "-filter:a:0", "volume=0", "-disposition:a:0", "0", "-disposition:a:1", "default")
    return [
        Case("surround.mp4", channels=6),
        Case("surround_ac3.ts", channels=6, sound=("-c:a", "ac3")),
        Case("mono_44.mp4", channels=1, rate=44100),
        Case("mono_8k.mkv", channels=1, rate=8000, sound=("-c:a", "pcm_s16le")),
        Case("two_streams.mp4", output=first),
        Case("two_streams.mkv", output=first),
        Case("second_is_default.mkv", output=second),
        Case("silent.mp4", sound=(), rejects="no_audio"),
        Case("short_sound.mp4", audio_s=0.8),
        Case("short_sound.mkv", audio_s=0.8, sound=("-c:a", "flac")),
        Case("long_sound.mp4", audio_s=2.4),
        Case("long_sound.ts", audio_s=2.4),
    ]  # fmt: skip


def _damaged() -> list[Case]:
    return [
        Case("hurt_intra.avi", ALL_INTRA, pix_fmt="yuvj420p", sound=("-c:a", "pcm_s16le"), damage=_hurt_middle(0.02),
             lost=4, max_damaged=0.1),
        Case("hurt.ts", damage=_hurt_middle(0.3), rejects="corrupt"),
        Case("cut_off.mp4", damage=lambda data: data.__delitem__(slice(len(data) // 2, None)), rejects="truncated"),
    ]  # fmt: skip


CASES = tuple(_rates() + _codecs() + _timing() + _pictures() + _sounds() + _damaged())


@cache
def _listed(what: str) -> str:
    command = [ffmpeg_binary(), "-hide_banner", f"-{what}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def missing_part(case: Case) -> str | None:
    """The encoder or filter that the installed ffmpeg lacks for this case."""
    for name in (case.codec[1], *case.sound[1:2]):
        if f" {name} " not in _listed("encoders"):
            return name
    return "zscale" if "zscale" in case.video_filter and " zscale " not in _listed("filters") else None


def make(case: Case, folder: Path) -> Path:
    """Generate the file of a case; raw frames and sound are shared by all cases in the folder."""
    raw, wav = _raw(folder, case.n), _wav(folder, case)
    path = folder / case.name
    target = folder / f"whole_{case.name}" if case.remux else path
    command: list[str | Path] = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{WIDTH}x{HEIGHT}", "-r", str(case.fps)]
    command += ["-i", raw, *(case.before_audio if case.sound else ()), *(("-i", wav) if case.sound else ())]
    command += ["-vf", case.video_filter, "-fps_mode", "passthrough"] if case.video_filter else []
    if case.times_s is not None:
        command += ["-enc_time_base", "1/1000" if path.suffix in (".mkv", ".webm") else "1/12800"]
    ffmpeg(*command, *case.codec, "-pix_fmt", case.pix_fmt, *case.sound, "-threads", "1", *case.output, target)
    if case.remux:
        ffmpeg(*case.remux, "-i", target, "-map", "0", "-c", "copy", *case.remux_out, path)
    if case.damage is not None:
        data = bytearray(path.read_bytes())
        case.damage(data)
        path.write_bytes(data)
    return path


def _raw(folder: Path, n: int) -> Path:
    path = folder / f"frames_{n}.raw"
    if not path.exists():
        path.write_bytes(b"".join(barcode(i)[::2, ::2].tobytes() for i in range(n)))
    return path


def _wav(folder: Path, case: Case) -> Path:
    length_s = case.audio_s if case.audio_s is not None else float(max(case.expected_s()[-1], case.n / case.fps))
    path = folder / f"sound_{case.rate}_{case.channels}_{length_s:.3f}.wav"
    if not path.exists():
        chirps = [t for t in CHIRPS_S if t + 0.05 < length_s]
        soundfile.write(path, sound(length_s, chirps, case.rate, case.channels), case.rate, subtype="FLOAT")
    return path


@dataclass(frozen=True)
class Finding:
    """What came out of one file."""

    frames: int = 0
    wrong_frames: int = 0  # another number, or another time, than the truth's; in order, at random, and per tick
    av_error_ms: float = 0.0  # largest distance of a chirp from where it belongs on the picture's clock
    rejected: str | None = None
    record: dict[str, Any] = field(default_factory=dict)


def check(case: Case, path: Path, out: Path) -> Finding:
    """Ingest the file, read it in order and at random, find the chirps; compare with the truth."""
    out.mkdir(parents=True)
    try:
        ingest.run(Inputs(path.stem, path.stem, path, {}), out, _config(case))
    except Reject as reject:
        return Finding(rejected=reject.reason)
    record = json.loads((out / "video.json").read_text())
    frames, ticks = read_table(out / "frames.parquet"), read_table(out / "ticks.parquet")
    time_base = Fraction(*record["time_base"])
    with VideoReader(path, record["stream"]) as reader:
        shape = (reader.width_px, reader.height_px)
        in_order = [_number(rgb, case) for _, rgb in reader.frames(frames["pts"].tolist())]
        jumps = random.Random(5).sample(range(len(in_order)), min(12, len(in_order)))
        at_random = {i: _number(reader.at(int(frames["pts"][i])), case) for i in jumps}
    wrong = wrong_frames(case, frames["pts"], time_base, in_order)
    wrong += sum(at_random[i] != in_order[i] for i in jumps)
    wrong += _wrong_ticks(case, [in_order[i] for i in ticks["frame"]], time_base)
    wrong += len(in_order) if shape != case.shape else 0
    return Finding(len(in_order), wrong, _av_error_ms(case, read_audio(out / "audio.flac")), None, record)


def _config(case: Case) -> ingest.Config:
    return ingest.Config(min_duration_s=0.5, max_damaged_fraction=case.max_damaged)


def _number(rgb: Any, case: Case) -> int:
    try:
        return number_in(np.rot90(rgb) if case.turned else rgb)
    except AssertionError:  # not upright, mirrored, or smeared
        return -1


def wrong_frames(case: Case, pts: Any, time_base: Fraction, numbers: list[int]) -> int:
    """Frames whose number does not belong to their time, and frames that are missing beyond what damage may cost."""
    times_s, wrong = case.expected_s(), 0
    rounding_s = time_base  # of this frame's time and of the first one's, half a unit each
    for value, number in zip(pts, numbers, strict=True):
        shown_s = int(value - pts[0]) * time_base
        known = 0 <= number - case.first < len(times_s)
        wrong += not known or abs(times_s[number - case.first] - shown_s) > rounding_s
    damaged = min(wrong, case.lost)
    missing = abs(len(times_s) - len(numbers))
    return max(0, wrong - damaged) + max(0, missing - case.lost)


def _wrong_ticks(case: Case, numbers: list[int], time_base: Fraction) -> int:
    if case.lost:
        return 0
    times_s, wrong = case.expected_s(), 0
    for k, number in enumerate(numbers):
        centre = Fraction(2 * k + 1, 50)
        allowed = {sum(t <= centre + d for t in times_s) - 1 + case.first for d in (-time_base, 0, time_base)}
        wrong += number not in allowed
    return wrong


def _av_error_ms(case: Case, samples: Any) -> float:
    inside = [t + case.audio_shift_s for t in CHIRPS_S]
    heard = [t for t in inside if t > 0.02 and t + 0.05 < min(len(samples) / 16000, case.audio_s or 1e9)]
    assert heard, "a case without a chirp inside the picture tests nothing"
    return 1000 * max(abs(find_chirp(samples, near_s=t) - t) for t in heard)


def read_numbers(case: Case, reader: FrameReader, table: FrameTable) -> list[int]:
    """The number in every frame, read in an order that jumps about."""
    numbers = dict.fromkeys(range(len(table)), -1)
    for i in random.Random(3).sample(range(len(table)), len(table)):
        numbers[i] = _number(reader.at(int(table.pts[i])), case)
    return list(numbers.values())


def table_of(out: Path) -> FrameTable:
    """The frame table that ``check`` left in a folder."""
    frames = read_table(out / "frames.parquet")
    record = json.loads((out / "video.json").read_text())
    return FrameTable(frames["pts"], frames["duration"], frames["key"], Fraction(*record["time_base"]))
