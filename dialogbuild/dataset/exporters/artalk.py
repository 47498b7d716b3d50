"""ARTalk: one wav and one npy per person, and a list of them; a folder per split is a data root.

train|val|test/audios/<name>.wav      16 kHz mono float32, exactly T*640 samples
train|val|test/motions/<name>.npy     (T,106) float32: expr 0:100, head rotation 100:103, jaw 103:106
train|val|test/metadata.json          [{audio_path, motion_path, duration (s)}]; its chunks are a second or longer
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from dialogbuild.artifact import write_json
from dialogbuild.dataset.exporters import motioncode, sound
from dialogbuild.dataset.exporters.flame import require_flame
from dialogbuild.dataset.exporters.job import ExportReport, Format, Job, Options, new_export, option
from dialogbuild.dataset.reader import Clip, Dataset
from dialogbuild.dataset.schema import ROLES, SPLITS, TICK_HZ

WIDTH: Final = 106


@dataclass(frozen=True)
class ARTalkOptions(Options):
    """Options of this format."""

    rotation: str = option(
        "head", "what the head rotation is: head (root and neck in one), root or neck", ("head", "root", "neck")
    )


def export(dataset: Dataset, out: Path, options: ARTalkOptions | None = None) -> ExportReport:
    """Write the dataset for ARTalk. Errors as ``new_export``; ConfigError for another head model."""
    options = options or ARTalkOptions()
    lists: dict[str, list[dict[str, Any]]] = {split: [] for split in SPLITS}
    with new_export(FORMAT, dataset, out, options) as job:
        require_flame(job, "ARTalk", motioncode.N_EXPR)
        job.facts |= {"rotation": options.rotation, "order": motioncode.ORDER.split(", left eye")[0]}
        for row in job.rows():
            clip = dataset.read_clip(row["id"], families=("motion",))
            lists[row["split"]] += _clip(job, clip, row["split"], options.rotation)
        for split, entries in lists.items():
            write_json(job.path(split, "metadata.json"), entries)
    return job.report


def _clip(job: Job, clip: Clip, split: str, rotation: str) -> list[dict[str, Any]]:
    out = []
    stem = job.name(clip.id)
    for role in ROLES:
        person = clip.persons[role]
        for k, span in enumerate(motioncode.person_spans(job, clip, role, TICK_HZ)):
            name = f"{stem}_{role}_{k:03d}"
            sound.write_wav(job.path(split, "audios", f"{name}.wav"), sound.samples(person, span))
            code = motioncode.code(person, span, rotation)[:, :WIDTH]
            np.save(job.path(split, "motions", f"{name}.npy"), code)
            paths = {"audio_path": f"audios/{name}.wav", "motion_path": f"motions/{name}.npy"}
            out.append({**paths, "duration": (span[1] - span[0]) / TICK_HZ})
            job.keep(clip.id)
    return out


FORMAT = Format(
    name="artalk",
    consumer="ARTalk",
    writes="train, val and test folders of wav and npy; metadata.json",
    lost=(
        "the other person: every file is one voice and one face",
        "identity shape, eyes, eyelids and translation",
        "one rotation instead of root and neck: export.json says which",
        "sigmas, residuals and validity: files hold only ticks at which the head is fitted or interpolated",
        "who speaks, turns, video",
    ),
    options=ARTalkOptions,
    export=export,
)
