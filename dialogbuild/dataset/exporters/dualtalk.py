"""DualTalk and TIMAR: one npz and one wav per speaker, in folders train, test and ood.

    train|test|ood/<clip>_<part>_speaker{1,2}.npz   exp (T,50) pose (T,6) shape (T,100) tex (T,50) cam (T,3)
                                                    light (T,9,3)
    train|test|ood/<clip>_<part>_speaker{1,2}.wav   16 kHz mono float32, exactly T*640 samples
    stat_flame.json                                 mean and std of exp, jawpose, neck over train

All arrays are float32. ``pose`` is rotation, then jaw; their models take exp50, jaw3, neck3. Both train loaders keep
one dictionary per file while they cut it into windows of 200 frames, so every window is the last one; files of 201 to
399 frames hold a single window and come out right. That is the default; ``length=whole`` writes up to 750 frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from dialogbuild.artifact import write_json
from dialogbuild.dataset.exporters import arrays, sound
from dialogbuild.dataset.exporters.flame import require_flame
from dialogbuild.dataset.exporters.job import ExportReport, Format, Job, Options, new_export, option
from dialogbuild.dataset.reader import Clip, Dataset, Person
from dialogbuild.dataset.schema import ROLES, SPLITS

N_EXPR: Final = 50
N_SHAPE: Final = 100
_LENGTHS: Final = {"window": (201, 399), "whole": (201, 750)}


@dataclass(frozen=True)
class DualTalkOptions(Options):
    """Options of this format."""

    rotation: str = option(
        "head", "what pose[:, :3] holds: head (root and neck in one), root or neck", ("head", "root", "neck")
    )
    length: str = option("window", "window: 201 to 399 frames per file, the safe one; whole: to 750", tuple(_LENGTHS))
    ood: str = option("val", "the split that goes into the folder ood, which is read as validation", ("val", "test"))


def export(dataset: Dataset, out: Path, options: DualTalkOptions | None = None) -> ExportReport:
    """Write the dataset for DualTalk and TIMAR. Errors as ``new_export``; ConfigError for another head model."""
    options = options or DualTalkOptions()
    with new_export(FORMAT, dataset, out, options) as job:
        require_flame(job, "DualTalk and TIMAR (FLAME 2020)", N_EXPR, N_SHAPE)
        folders = {split: "ood" if split == options.ood else split for split in SPLITS}
        if options.ood != "val":
            folders["val"] = "test"  # a folder val would be read by nobody
        for name in ("train", "test", "ood"):
            (job.folder / name).mkdir()
        job.facts |= {"rotation": options.rotation, "folders": folders, "order": "exp50 jaw3 neck3"}
        job.facts["partition"] = {"speaker1": ROLES[0], "speaker2": ROLES[1]}
        written: dict[str, list[dict[str, Any]]] = {"train": [], "all": []}
        for row in job.rows():
            _clip(job, dataset.read_clip(row["id"]), folders[row["split"]], options, written)
        if written["all"]:
            write_json(job.folder / "stat_flame.json", _statistics(written["train"] or written["all"]))
    return job.report


def _clip(
    job: Job, clip: Clip, folder: str, options: DualTalkOptions, written: dict[str, list[dict[str, Any]]]
) -> None:
    shortest, longest = _LENGTHS[options.length]
    both = np.logical_and(*(arrays.shown(clip.persons[role].motion) for role in ROLES))
    found = [arrays.pieces(span, shortest, longest) for span in arrays.runs(both)]
    spans = [piece for cut in found for piece in cut]
    used = sum(b - a for a, b in spans)
    if not spans:
        job.drop(clip.id, f"no {shortest} ticks in a row in which both heads are fitted")
        return
    if used < clip.n_ticks:
        job.drop(clip.id, f"{clip.n_ticks - used} of its {clip.n_ticks} ticks: not fitted, or no whole piece left")
    stem = job.name(clip.id.replace("speaker", "spk"))  # files are paired by replacing speaker1 in their names
    for k, span in enumerate(spans):
        for number, role in enumerate(ROLES, 1):
            columns = _columns(clip.persons[role], span, options.rotation)
            base = f"{stem}_{k:03d}_speaker{number}"
            np.savez(job.path(folder, f"{base}.npz"), **columns)
            sound.write_wav(job.path(folder, f"{base}.wav"), sound.samples(clip.persons[role], span))
            written["all"].append(columns)
            if folder == "train":
                written["train"].append(columns)
    job.keep(clip.id)


def _columns(person: Person, span: arrays.Span, rotation: str) -> dict[str, Any]:
    motion = {name: values[slice(*span)] for name, values in person.motion.items()}
    n = span[1] - span[0]
    crop_k = arrays.crop_camera(person, slice(*span))
    return {
        "exp": arrays.to_width(motion["expr"], N_EXPR),
        "pose": np.concatenate([arrays.head_rotation(motion, rotation), motion["jaw_rad"]], axis=1, dtype=np.float32),
        "shape": np.repeat(arrays.to_width(person.shape, N_SHAPE)[None], n, axis=0),
        "tex": np.zeros((n, 50), np.float32),
        "cam": arrays.weak_camera(motion["transl_m"], crop_k),
        "light": np.zeros((n, 9, 3), np.float32),
    }


def _statistics(columns: list[dict[str, Any]]) -> dict[str, Any]:
    """What TIMAR wants beside its data, by its own names."""
    parts = {
        "exp": [c["exp"] for c in columns],
        "jawpose": [c["pose"][:, 3:] for c in columns],
        "neck": [c["pose"][:, :3] for c in columns],
    }
    stats = {name: arrays.mean_and_std(values) for name, values in parts.items()}
    return {name: {"mean": mean, "std": std} for name, (mean, std) in stats.items()}


FORMAT = Format(
    name="dualtalk",
    consumer="DualTalk and TIMAR",
    writes="train, test and ood folders of npz and wav; stat_flame.json",
    lost=(
        "eyes, eyelids and translation",
        "one rotation instead of root and neck: export.json says which",
        "texture and light: tex and light are zeros, they were not fitted",
        "cam is the weak-perspective camera of the 512 px crop at the head's depth, not of SPECTRE's 224 px crop",
        "sigmas, residuals and validity: files hold only ticks at which both heads are fitted or interpolated",
        "who speaks, turns, video, identity across files",
    ),
    options=DualTalkOptions,
    export=export,
)
