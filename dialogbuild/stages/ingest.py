"""ingest: decode a video once; write down what it is, when each frame is shown, and its sound on the video's clock.

reads   the source file
writes  video.json      facts of the file (see ``video_record``)
        frames.parquet  frame i32, pts i64, duration i64 (time base units), key bool
        ticks.parquet   tick i32, frame i32, pts i64, repeated bool     (tick k covers [k/25, (k+1)/25) s)
        audio.flac      mono 16 kHz, exactly n_ticks * 640 samples, sample 0 at the first frame's start; only silence
                        when there is no sound and none is required, and then ``audio`` in video.json is null
        channels.flac   the same in stereo, and channels.parquet (tick, level_db_0, level_db_1: dB of full scale of the
                        left and right channel), of stereo sound whose channels differ
rejects empty_file, not_a_video (no media, or only sound or pictures), unreadable (libav cannot open or decode it),
        hdr (colours that cannot be brought to SDR: Dolby Vision without a base layer, ICtCp; PQ and HLG are tone-mapped
        by every reader, and ``hdr`` in video.json says so), no_frames, no_audio (values say which streams exist),
        no_timestamps (packets without presentation times), truncated (ends before its header says), corrupt (too many
        damaged frames), too_short
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from dialogbuild.artifact import Inputs, Stage, file_sha256, write_json
from dialogbuild.config import StageConfig
from dialogbuild.errors import Reject
from dialogbuild.media.audio import F32, AudioReport, iter_audio, write_flac
from dialogbuild.media.channels import channel_levels
from dialogbuild.media.chosen import choose_reader
from dialogbuild.media.clock import FPS, SAMPLE_RATE, FrameTable, TickTable, is_vfr, samples_per_tick, tick_table
from dialogbuild.media.hdr import TONE_MAP
from dialogbuild.media.probe import MediaFacts, probe
from dialogbuild.media.scan import Scan, scan_frames
from dialogbuild.tables import Columns, write_table


class Config(StageConfig):
    """Which files are worth reading."""

    min_duration_s: float = Field(2.0, ge=0, description="s; no exchange of two turns fits into less")
    max_shortfall_s: float = Field(
        0.5, ge=0, description="s the decoded video may end before its header says; covers rounding and last frames"
    )
    max_damaged_fraction: float = Field(
        0.01, ge=0, le=1, description="of frames: undecodable, flagged corrupt or out of order; more smears faces"
    )
    max_duration_s: float | None = Field(
        None, gt=0, description="s; only the beginning is taken, the whole file is still checked. none = all of it"
    )
    min_stereo_db: float = Field(
        -25.0,
        ge=-100,
        description="dB, power of left minus right over that of their sum, from which channels are kept apart as well: "
        "each may be one person's. Mono files in two channels have -100, rooms -25 to -10, own microphones above",
    )
    require_audio: bool = Field(True, description="false takes silent videos too: for tools that only look at faces")
    reader: Literal["pyav", "torchcodec", "decord"] = Field(
        "pyav",
        description="decodes the pictures here and in all later stages. The others are 2 to 3 times as fast and their "
        "colours 1 to 3 grey levels off; a file that one gets wrong is read with pyav, and video.json says why",
    )


def check_scan(facts: MediaFacts, scan: Scan, config: Config) -> FrameTable:
    """The frame table, if the decoded video is whole.

    Raises:
        Reject: no_timestamps, no_frames, truncated, corrupt, too_short, in this order, each with its numbers.
    """
    table = scan.table
    if scan.n_untimed:
        raise Reject("no_timestamps", packets=scan.n_untimed, frames=0 if table is None else len(table))
    if table is None:
        raise Reject("no_frames", codec=facts.video.codec, first_error=scan.first_error, **scan.damage)
    check_end(table, facts.video.end_s, scan, table.start_s + table.duration_s, config)
    share = sum(scan.damage.values()) / (len(table) + scan.n_errors + scan.n_disordered)
    if share > config.max_damaged_fraction:
        raise Reject("corrupt", share=round(share, 4), frames=len(table), first_error=scan.first_error, **scan.damage)
    if float(table.duration_s) < config.min_duration_s:
        raise Reject("too_short", duration_s=round(float(table.duration_s), 3), min_duration_s=config.min_duration_s)
    return table


def check_end(table: FrameTable, header_end_s: Fraction | None, scan: Scan, end_s: Fraction, config: Config) -> None:
    """Compare where decoding ended with where the header says the end is; both seconds on the container's clock.

    Raises:
        Reject: truncated.
    """
    if header_end_s is None or float(header_end_s - end_s) <= config.max_shortfall_s:
        return
    ends = {"end_s": round(float(end_s), 3), "header_end_s": round(float(header_end_s), 3)}
    raise Reject("truncated", **ends, frames=len(table), **scan.damage, first_error=scan.first_error)


def beginning(table: FrameTable, seconds: float | None) -> FrameTable:
    """The frames that start within the first seconds, at least one; all of them for None."""
    if seconds is None:
        return table
    limit = int(table.pts[0]) + Fraction(seconds) / table.time_base
    n = max(1, int(np.searchsorted(table.pts, float(limit))))
    return FrameTable(table.pts[:n], table.duration[:n], table.key[:n], table.time_base)


def video_record(
    inputs: Inputs, facts: MediaFacts, scan: Scan, table: FrameTable, ticks: TickTable, audio: dict[str, Any] | None
) -> dict[str, Any]:
    """What ``video.json`` holds. Sizes are of the displayed frame; rationals are [numerator, denominator]."""
    video = facts.video
    return {
        "video_id": inputs.video_id,
        "name": inputs.source.name,
        "sha256": file_sha256(inputs.source),
        "bytes": inputs.source.stat().st_size,
        "container": facts.container,
        "video_codec": video.codec,
        "pix_fmt": video.pix_fmt,
        "stream": video.index,
        "width_px": video.width_px,
        "height_px": video.height_px,
        "rotation_deg": video.orientation.rotation_deg,
        "mirrored": video.orientation.mirrored,
        "sar": [video.sar.numerator, video.sar.denominator],
        "hdr": None if video.hdr is None else {"transfer": video.hdr, "tone_map": TONE_MAP},
        "interlaced_share": round(scan.n_interlaced / len(scan.table), 6) if scan.table is not None else 0.0,
        "time_base": [video.time_base.numerator, video.time_base.denominator],
        "start_pts": int(table.pts[0]),
        "n_frames": len(table),
        "is_vfr": is_vfr(table),
        "avg_fps": round(float(len(table) / table.duration_s), 6),
        "duration_s": round(float(table.duration_s), 6),
        "longest_frame_s": round(float(int(table.duration.max()) * video.time_base), 6),
        "fps": [FPS.numerator, FPS.denominator],
        "n_ticks": len(ticks.pts),
        "damage": scan.damage,
        "audio": audio,
    }


def audio_record(
    facts: MediaFacts, report: AudioReport, zero_s: Fraction, n_samples: int, stereo_db: float | None
) -> dict[str, Any]:
    """What ``video.json`` says about the sound.

    ``offset_s``: first sound minus first frame, seconds. ``stereo_db``: see ``keep_channels``.
    """
    chosen = facts.audio[0]
    assert report.first_s is not None
    return {
        "codec": chosen.codec,
        "sample_rate": chosen.sample_rate,
        "channels": chosen.channels,
        "stream": chosen.index,
        "streams": len(facts.audio),
        "offset_s": round(float(report.first_s - zero_s), 6),
        "heard_s": round(report.heard_samples / 16000, 6),
        "coverage": round(report.heard_samples / n_samples, 6),
        "jumps": report.n_jumps,
        "errors": len(report.errors),
        "stereo_db": None if stereo_db is None else round(stereo_db, 3),
    }


def keep_channels(
    source: Path, facts: MediaFacts, zero_s: Fraction, n_samples: int, out: Path, min_stereo_db: float
) -> float | None:
    """Write channels.flac and channels.parquet if the sound is stereo and its channels differ.

    Returns:
        Power of their difference over that of their sum in dB; None when there are not two channels.
    """
    if not facts.audio or facts.audio[0].channels != 2:
        return None
    path = out / "channels.flac"
    write_flac(path, iter_audio(source, facts.audio[0].index, zero_s, n_samples, channels=2), channels=2)
    level_db, stereo_db = channel_levels(path, samples_per_tick())
    if stereo_db < min_stereo_db:
        path.unlink()
        return stereo_db
    tick = np.arange(len(level_db), dtype=np.int32)
    write_table(out / "channels.parquet", {"tick": tick, "level_db_0": level_db[:, 0], "level_db_1": level_db[:, 1]})
    return stereo_db


def run(inputs: Inputs, out: Path, config: Config) -> None:
    """Probe, decode every frame once for its time, then stream the sound into the FLAC file."""
    facts = probe(inputs.source)
    if config.require_audio and not facts.audio:
        raise Reject("no_audio", streams=list(facts.streams))
    expected_s = facts.video.end_s or facts.end_s or Fraction(0)
    scan = scan_frames(
        inputs.source,
        facts.video.index,
        lambda at_s: inputs.progress(int(at_s * FPS), max(int(at_s * FPS), int(expected_s * FPS))),
    )
    whole = check_scan(facts, scan, config)
    table = beginning(whole, config.max_duration_s)
    ticks = tick_table(table)
    n_samples = len(ticks.pts) * samples_per_tick()
    report = AudioReport()
    written = write_flac(out / "audio.flac", _sound(inputs.source, facts, table.start_s, n_samples, report))
    assert written == n_samples, (written, n_samples)
    if facts.video.end_s is None:  # containers without a duration per stream: FLV
        decoded_end_s = max(whole.start_s + whole.duration_s, report.end_s or Fraction(0))
        check_end(whole, facts.end_s, scan, decoded_end_s, config)
    heard = report.heard_samples > 0
    if config.require_audio and not heard:
        raise Reject("no_audio", streams=list(facts.streams), decoded_s=0.0, errors=report.errors[:3])
    stereo_db = keep_channels(inputs.source, facts, table.start_s, n_samples, out, config.min_stereo_db)
    sound = audio_record(facts, report, table.start_s, n_samples, stereo_db) if heard else None
    frames: Columns = {"frame": np.arange(len(table), dtype=np.int32), "pts": table.pts, "duration": table.duration}
    write_table(out / "frames.parquet", {**frames, "key": table.key})
    tick = np.arange(len(ticks.pts), dtype=np.int32)
    columns: Columns = {"tick": tick, "frame": ticks.frame, "pts": ticks.pts, "repeated": ticks.repeated}
    write_table(out / "ticks.parquet", columns)
    reader = choose_reader(inputs.source, whole, config.reader, facts.video.index)
    write_json(out / "video.json", {**video_record(inputs, facts, scan, table, ticks, sound), **reader})
    inputs.progress(len(tick), len(tick))


def _sound(source: Path, facts: MediaFacts, zero_s: Fraction, n_samples: int, report: AudioReport) -> Iterator[F32]:
    if facts.audio:
        return iter_audio(source, facts.audio[0].index, zero_s, n_samples, report)
    seconds = range(0, n_samples, SAMPLE_RATE)
    return (np.zeros(min(SAMPLE_RATE, n_samples - at), np.float32) for at in seconds)


STAGE = Stage(name="ingest", version=4, unit="video", config=Config, run=run)
