"""WebDataset: tar shards, a sample per clip.

    train-000000.tar    <clip>.json                 manifest row, cameras, shapes, turns
                        <clip>.{a,b}.motion.npz     a column per array, T rows; likewise landmarks and quality
                        <clip>.{a,b,mix}.flac       16 kHz mono
                        <clip>.{a,b}.mp4            the crop video, with video=true

Members of a sample follow each other and share the name up to the first dot, as the reader groups them. Clips are in
an order that depends on their ids alone and mixes videos. Equal datasets give equal bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dialogbuild.dataset.exporters.arrays import Array
from dialogbuild.dataset.exporters.job import ExportReport, Format, Job, Options, new_export, option
from dialogbuild.dataset.reader import Clip, Dataset
from dialogbuild.dataset.schema import FAMILIES, SPLITS


@dataclass(frozen=True)
class WebDatasetOptions(Options):
    """Options of this format."""

    families: tuple[str, ...] = option(
        ("motion", "quality"), "frame families to write", tuple(family.name for family in FAMILIES)
    )
    audio: bool = option(True, "write the sound")
    video: bool = option(False, "write the crop videos")
    shard_mb: int = option(256, "a new tar begins once one holds this many MB")


def export(dataset: Dataset, out: Path, options: WebDatasetOptions | None = None) -> ExportReport:
    """Write the dataset as tar shards. Errors as ``new_export``."""
    options = options or WebDatasetOptions()
    with new_export(FORMAT, dataset, out, options) as job:
        rows = sorted(job.rows(), key=lambda row: hashlib.sha256(row["id"].encode()).digest())
        for split in SPLITS:
            mine = [row for row in rows if row["split"] == split]
            samples = (list(_sample(job, dataset, row, options)) for row in mine)
            _write_shards(job, split, samples, options.shard_mb * 1_000_000)
            for row in mine:
                job.keep(row["id"])
    return job.report


def _write_shards(job: Job, split: str, samples: Iterator[list[tuple[str, bytes]]], limit: int) -> None:
    """The tars of one split; a sample is never divided, and none is held longer than it takes to write."""
    count = 0
    sample = next(samples, None)
    while sample is not None:
        size = 0
        with tarfile.open(job.path(f"{split}-{count:06d}.tar"), "w") as tar:
            while sample is not None and (size == 0 or size < limit):
                for name, data in sample:
                    about = tarfile.TarInfo(name)
                    about.size, about.mode = len(data), 0o644
                    tar.addfile(about, io.BytesIO(data))
                    size += len(data)
                sample = next(samples, None)
        count += 1


def _sample(
    job: Job, dataset: Dataset, row: Mapping[str, Any], options: WebDatasetOptions
) -> Iterator[tuple[str, bytes]]:
    key = job.name(row["id"])
    clip = dataset.read_clip(row["id"], families=options.families, audio=False)
    yield f"{key}.json", json.dumps(_about(clip), sort_keys=True).encode()
    for role, person in clip.persons.items():
        side = role.lower()
        for family in options.families:
            yield f"{key}.{side}.{family}.npz", _npz(getattr(person, family))
        if options.audio:
            yield f"{key}.{side}.flac", (dataset.root / row["persons"][role]["audio"]).read_bytes()
        if options.video:
            yield f"{key}.{side}.mp4", person.video.read_bytes()
    if options.audio:
        yield f"{key}.mix.flac", (dataset.root / row["mix"]).read_bytes()


def _npz(columns: Mapping[str, Array]) -> bytes:
    """Columns as an npz without pickled objects; ``mask_bits`` becomes (T, 512) bytes and ``mask_parts``
    (T, 1024), ``track_id`` is in the JSON."""
    packed = {
        name: np.stack([np.frombuffer(v, np.uint8) for v in values]) if name in ("mask_bits", "mask_parts") else values
        for name, values in columns.items()
        if name != "track_id"
    }
    buffer = io.BytesIO()
    np.savez(buffer, **packed)
    return buffer.getvalue()


def _about(clip: Clip) -> dict[str, Any]:
    plain = {k: v for k, v in clip.row.items() if k not in ("persons", "mix")}
    persons = {
        role.lower(): {
            **{k: _plain(v) for k, v in p.track.items() if not k.endswith("_file")},
            "shape": _plain(p.shape),
        }
        for role, p in clip.persons.items()
    }
    turns = [{k: _plain(v[i]) for k, v in clip.turns.items()} for i in range(len(clip.turns["turn"]))]
    return {**plain, "persons": persons, "turns": turns}


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


FORMAT = Format(
    name="webdataset",
    consumer="webdataset, and any reader of tar files",
    writes="tar shards per split, a sample per clip",
    lost=(
        "random access: a shard is read from its beginning",
        "checksums per page and per file, commits, and with them the ability to withdraw a clip in place",
        "the tables of videos and identities; rights are in the dataset's videos table",
    ),
    options=WebDatasetOptions,
    export=export,
)
