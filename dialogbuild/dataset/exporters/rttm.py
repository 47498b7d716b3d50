"""RTTM and UEM: who speaks when, for diarization tools.

    rttm/<recording>.rttm   SPEAKER <recording> 1 <start s> <duration s> <NA> <NA> <speaker> <NA> <NA>
    uem/<recording>.uem     <recording> 1 <start s> <end s>: the stretches that were labelled
    audio/<recording>.wav   the mono mix, with recording=clip

A recording is a clip, or with ``recording=video`` the source video and its own time; then the labelled stretches are
the clips. Turns and backchannels are speech alike. Format: NIST, Rich Transcription 2009 evaluation plan, appendix A.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dialogbuild.dataset.exporters import sound
from dialogbuild.dataset.exporters.job import ExportReport, Format, Job, Options, new_export, option, write_text
from dialogbuild.dataset.reader import Dataset
from dialogbuild.dataset.schema import AUDIO_RATE_HZ, SAMPLES_PER_TICK
from dialogbuild.tables import Columns

Labels = dict[str, list[tuple[int, int, str]]]  # recording -> first sample, one past the last, speaker


@dataclass(frozen=True)
class RTTMOptions(Options):
    """Options of this format."""

    recording: str = option("clip", "what one file describes: clip or video", ("clip", "video"))
    audio: bool = option(True, "with recording=clip: write the mix beside the labels")


def export(dataset: Dataset, out: Path, options: RTTMOptions | None = None) -> ExportReport:
    """Write speaking turns for diarization tools. Errors as ``new_export``."""
    options = options or RTTMOptions()
    with new_export(FORMAT, dataset, out, options) as job:
        labels: Labels = defaultdict(list)
        covered: Labels = defaultdict(list)
        turns = dataset.table("turns")
        for row in job.rows():
            _collect(job, row, turns, options, labels, covered)
            if options.audio and options.recording == "clip":
                mix = dataset.read_clip(row["id"], families=()).mix
                assert mix is not None, "read_clip reads audio unless told otherwise"
                sound.write_wav(job.path("audio", f"{job.name(row['id'])}.wav"), mix)
            job.keep(row["id"])
        for name, spans in covered.items():
            write_text(job.path("uem", f"{name}.uem"), [f"{name} 1 {_s(a)} {_s(b)}" for a, b, _ in sorted(spans)])
            lines = [
                f"SPEAKER {name} 1 {_s(a)} {_s(b - a)} <NA> <NA> {who} <NA> <NA>" for a, b, who in sorted(labels[name])
            ]
            write_text(job.path("rttm", f"{name}.rttm"), lines)
    return job.report


def _collect(
    job: Job, row: Mapping[str, Any], turns: Columns, options: RTTMOptions, labels: Labels, covered: Labels
) -> None:
    whole = options.recording == "video"
    name = job.name(row["video_id"] if whole else row["id"])
    zero = row["start_tick"] * SAMPLES_PER_TICK if whole else 0
    covered[name].append((zero, zero + row["n_samples"], ""))
    people = {p["track_id"]: job.name(p["identity_id"]) for p in row["persons"].values()}
    mine = turns["conversation_id"] == row["id"]
    found = zip(*(turns[k][mine] for k in ("start_sample", "end_sample", "track_id")), strict=True)
    labels[name] += [(zero + int(a), zero + int(b), people[str(track)]) for a, b, track in found]


def _s(sample: int) -> str:
    """Seconds of a sample at 16 kHz, exact to a tenth of a sample."""
    return f"{sample / AUDIO_RATE_HZ:.6f}"


FORMAT = Format(
    name="rttm",
    consumer="pyannote, dscore, md-eval and other diarization tools",
    writes="rttm, uem and audio folders",
    lost=(
        "everything that is seen: video, landmarks, heads",
        "per-person sound: the audio is the mono mix",
        "the confidence of a turn, and whether it is a turn or a backchannel",
        "speaker names are identities within one video; the same person in two videos has two names",
    ),
    options=RTTMOptions,
    export=export,
    heads=False,
)
