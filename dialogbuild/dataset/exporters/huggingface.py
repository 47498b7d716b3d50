"""A folder that Hugging Face ``datasets`` loads and the hub shows: Parquet per table and split, README with configs.

README.md                            the card; its header lists a config per table
data/<table>/<split>-00000-of-00001.parquet    rows as in the dataset; val is called validation
data/audio/<split>-….parquet         one row per track and mix, FLAC bytes as the feature Audio
media/*.mp4                          crop videos, with video=true; tracks.video_file names them
meta/                                info, schema, statistics and conventions of the dataset
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dialogbuild.dataset.arrow import row_group_count, writer_options
from dialogbuild.dataset.card import card
from dialogbuild.dataset.exporters.job import ExportReport, Format, Job, Options, new_export, option
from dialogbuild.dataset.reader import Dataset
from dialogbuild.dataset.schema import AUDIO_RATE_HZ, FAMILIES, RELATIONS, ROLES, SPLITS, TABLE_NAME, Table

_SPLIT: Final = {"train": "train", "val": "validation", "test": "test"}
_GONE: Final = ("row_offset", "motion_file", "landmarks_file", "quality_file", "audio_file", "mix_file")
_ROWS_PER_FILE: Final = 50_000
_AUDIO: Final = pa.schema(
    [
        pa.field("conversation_id", pa.string()),
        pa.field("track_id", pa.string()),
        pa.field("audio", pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])),
    ],
    metadata={
        "huggingface": json.dumps(
            {
                "info": {
                    "features": {
                        "conversation_id": {"dtype": "string", "_type": "Value"},
                        "track_id": {"dtype": "string", "_type": "Value"},
                        "audio": {"sampling_rate": AUDIO_RATE_HZ, "_type": "Audio"},
                    }
                }
            }
        )
    },
)
Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class HuggingFaceOptions(Options):
    """Options of this format."""

    families: tuple[str, ...] = option(
        tuple(f.name for f in FAMILIES), "frame families to write", tuple(f.name for f in FAMILIES)
    )
    audio: bool = option(True, "write the sound, embedded in Parquet")
    video: bool = option(False, "copy the crop videos")


def export(dataset: Dataset, out: Path, options: HuggingFaceOptions | None = None) -> ExportReport:
    """Write a folder for Hugging Face ``datasets``. Errors as ``new_export``."""
    options = options or HuggingFaceOptions()
    with new_export(FORMAT, dataset, out, options) as job:
        rows = job.rows()
        present = [s for s in SPLITS if any(r["split"] == s for r in rows)]
        tables = {split: [r for r in rows if r["split"] == split] for split in present}
        for split, mine in tables.items():
            for family in (f for f in FAMILIES if f.name in options.families):
                _write(job, family.name, split, _frames(dataset, family, mine), writer_options(family))
            _relations(job, dataset, split, mine, options.video)
            if options.audio:
                _write(job, "audio", split, (_sound(dataset, row) for row in mine), {"compression": "none"})
        for row in rows:
            job.keep(row["id"])
            if options.video:
                _copy(dataset, job, [row["persons"][role]["video"] for role in ROLES])
        _meta(job, dataset)
        names = [*options.families, *(t.name for t in RELATIONS), *(["audio"] if options.audio else [])]
        (job.folder / "README.md").write_text(_readme(dataset, rows, names, present))
    return job.report


def _frames(dataset: Dataset, family: Table, rows: Rows) -> Iterable[pa.Table]:
    for row in rows:
        for role in ROLES:
            about = row["persons"][role]
            first = about["row_group"][family.name]
            wanted = list(range(first, first + row_group_count(family, about["n_rows"])))
            with pq.ParquetFile(dataset.root / about["files"][family.name], page_checksum_verification=True) as file:
                yield file.read_row_groups(wanted)


def _write(job: Job, table: str, split: str, parts: Iterable[pa.Table], settings: Mapping[str, Any]) -> None:
    """Write tables into files of at most about 50,000 rows, numbered as the hub expects."""
    written: list[Path] = []
    writer: pq.ParquetWriter | None = None
    n = 0
    for part in parts:
        if writer is None or n + part.num_rows > _ROWS_PER_FILE:
            if writer is not None:
                writer.close()
            written.append(job.path("data", table, f"part-{split}-{len(written)}"))
            writer, n = pq.ParquetWriter(written[-1], part.schema, **settings), 0
        writer.write_table(part)
        n += part.num_rows
    if writer is not None:
        writer.close()
    for i, path in enumerate(written):
        path.rename(path.with_name(f"{_SPLIT[split]}-{i:05d}-of-{len(written):05d}.parquet"))


def _relations(job: Job, dataset: Dataset, split: str, rows: Rows, video: bool) -> None:
    wanted = {
        "conversation_id": {row["id"] for row in rows},
        "video_id": {row["video_id"] for row in rows},
        "identity_id": {p["identity_id"] for row in rows for p in row["persons"].values()},
    }
    for table in RELATIONS:
        path = dataset.commit.path(dataset.root, TABLE_NAME.format(table=table.name))
        full = pq.read_table(path, page_checksum_verification=True)
        key = next(k for k in ("conversation_id", "identity_id", "video_id") if k in full.column_names)
        kept = full.filter(pa.compute.is_in(full[key], pa.array(sorted(wanted[key]), pa.string())))
        gone = [c for c in (*_GONE, *(() if video else ("video_file",))) if c in full.column_names]
        _write(job, table.name, split, [kept.drop_columns(gone)], {"compression": "zstd"})


def _sound(dataset: Dataset, row: Mapping[str, Any]) -> pa.Table:
    tracks = [(row["persons"][role]["track_id"], row["persons"][role]["audio"]) for role in ROLES]
    items = [*tracks, ("mix", row["mix"])]
    audio = [{"bytes": (dataset.root / path).read_bytes(), "path": Path(path).name} for _, path in items]
    columns = {"conversation_id": [row["id"]] * len(items), "track_id": [name for name, _ in items], "audio": audio}
    return pa.Table.from_pydict(columns, schema=_AUDIO)


def _copy(dataset: Dataset, job: Job, paths: Iterable[str]) -> None:
    for path in paths:
        shutil.copyfile(dataset.root / path, job.path(*Path(path).parts))


def _meta(job: Job, dataset: Dataset) -> None:
    """Documents of the dataset that say what its numbers mean; not the lists that only a dataset's own folder needs."""
    wanted = ("meta/info.json", "meta/schema.json", "meta/stats.json", "meta/conventions/")
    for name in (n for n in dataset.commit.files if n.startswith(wanted)):
        shutil.copyfile(dataset.commit.path(dataset.root, name), job.path(*Path(name).parts))


def _readme(dataset: Dataset, rows: Rows, names: Sequence[str], splits: Sequence[str]) -> str:
    configs = [
        {
            "config_name": name,
            "data_files": [{"split": _SPLIT[s], "path": f"data/{name}/{_SPLIT[s]}-*.parquet"} for s in splits],
            **({"default": True} if i == 0 else {}),
        }
        for i, name in enumerate(names)
    ]
    videos = dataset.table("videos")
    mine = np.isin(videos["video_id"].astype(str), sorted({row["video_id"] for row in rows}))
    columns = [videos[k][mine].astype(str) for k in ("video_id", "licence", "consent_ref")]
    rights = {v: {"licence": a, "consent_ref": b} for v, a, b in zip(*columns, strict=True)}
    reading = f"""## Reading it
This export holds {len(rows)} of the dataset's {len(dataset.rows)} clips; the figures above are the whole dataset's.
```python
from datasets import load_dataset
motion = load_dataset("path/to/this/folder", "{names[0]}", split="{_SPLIT[splits[0]]}")
```
Configs: {", ".join(names)}. Rows of the frame families belong together by `track_id` and `tick`.
"""
    return card(dataset.info, rights, configs, reading)


FORMAT = Format(
    name="huggingface",
    consumer="Hugging Face datasets and its hub",
    writes="Parquet per table and split, README.md with configs",
    lost=(
        "reading a window without its file's other rows: rows are found by track_id, not by row group",
        "commits, hashes per file, manifests, and with them the ability to withdraw a clip in place",
        "crop videos, unless video=true; they are files beside the tables, not a column",
    ),
    options=HuggingFaceOptions,
    export=export,
)
