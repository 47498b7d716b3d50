"""A dataset of made-up numbers in real formats and sizes, for timing readers: one clip is sharded, many are derived.

Columns are first-order autoregressive noise: smooth like fitted motion, but how well real fits compress may differ.
"""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from dialogbuild.dataset.arrow import to_arrow, width, write_parquet
from dialogbuild.dataset.part import CLIP, Part, read_part, write_part
from dialogbuild.dataset.schema import FAMILIES, SAMPLES_PER_TICK, Column
from dialogbuild.media.audio import write_flac
from dialogbuild.publish import publish

_STEP = {"lmk_px": 1 / 64, "lmk_z_px": 1 / 16}  # as the writer rounds them
_VALID = 0b11010011  # detected, fitted, in sync, landmarks and eyes


@dataclass(frozen=True)
class Head:
    """Sizes of a FLAME head with 100 expressions."""

    n_expr: int = 100
    n_shape: int = 300
    sha256: str = "ab" * 32


def smooth(rng: np.random.Generator, n: int, k: int, scale: float) -> NDArray[np.float32]:
    """(n, k) noise with a memory of ten ticks and deviation ``scale``."""
    steps = rng.standard_normal((n, k)) * scale * np.sqrt(1 - 0.9**2)
    return np.asarray(lfilter([1.0], [1.0, -0.9], steps, axis=0), np.float32)


def column(c: Column, rng: np.random.Generator, n: int, widths: dict[str, int]) -> NDArray[Any]:
    """(n,) or (n, k) values of a column that the validator would accept."""
    k = width(c, widths)
    if c.name == "valid":
        return np.full(n, _VALID, np.uint32)
    if c.dtype == "binary":
        return np.array([rng.bytes(16) * (k // 16)] * n, object)
    if c.dtype == "bool":
        return np.ones(n, bool)
    if c.dtype != "float32":
        return np.zeros(n, c.dtype) if c.name == "state" else np.arange(n, dtype=c.dtype) % 7
    pixels = c.name in _STEP
    values = smooth(rng, n, max(k, 1), 2.0 if pixels else 0.1)
    if pixels:
        values = np.round((values + rng.uniform(50, 250, values.shape[1])) / _STEP[c.name]) * np.float32(_STEP[c.name])
    values = np.abs(values) if c.low == 0 else values
    values = np.clip(values, -np.inf if c.low is None else c.low, np.inf if c.high is None else c.high)
    return np.asarray(values if k else values[:, 0], np.float32)


def derive(template: Part, name: str, out: Path, rng: np.random.Generator) -> Path:
    """A part with other ids, numbers and sound than the template; its pictures are copies."""
    video = str(template.record["video"]["video_id"])
    record = json.loads(json.dumps(dict(template.record)).replace(video, name))
    record["video"]["sha256"] = sha256(name.encode()).hexdigest()
    (out / "media").mkdir(parents=True)
    n = int(record["conversation"]["n_ticks"])
    tracks = [t["track_id"] for t in record["tracks"]]
    for family in FAMILIES:
        tables = []
        for track in tracks:
            made = {c.name: column(c, rng, n, template.widths) for c in family.columns if c.name != "track_id"}
            made |= {"track_id": np.full(n, track, object), "tick": np.arange(n, dtype=np.int32)}
            tables.append(to_arrow(family, made, template.widths))
        write_parquet(out / f"{family.name}.parquet", family, tables, template.widths)
    for path in (template.directory / "media").iterdir():
        target = out / "media" / path.name.replace(video, name)
        if path.suffix == ".flac":
            write_flac(target, [0.05 * smooth(rng, n * SAMPLES_PER_TICK, 1, 1.0)[:, 0]])
        else:
            shutil.copyfile(path, target)
    record.pop("files")
    write_part(out, record)
    return out


def build(folder: Path, clips: int, seconds: float) -> Path:
    """Publish ``clips`` derived clips of two people; the dataset's folder."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
    from fabricate import fabricate, shard_parts

    made = fabricate(folder / "template", "bench-tttt", n_ticks=round(seconds * 25) + 5, head=Head())
    template = read_part(shard_parts(made, folder / "work")[0])
    assert (template.directory / CLIP).is_file()
    rng = np.random.default_rng(0)
    parts = [derive(template, f"bench-{k:04d}", folder / "parts" / f"{k:04d}", rng) for k in range(clips)]
    publish(parts, folder / "dataset")
    shutil.rmtree(folder / "parts")
    return folder / "dataset"
