"""UniLS: an LMDB of npz payloads, pairs per split, and statistics.

    data_lmdb/          key -> npz bytes: audio (T*640,) motioncode (T,112) speech_mask (T,), float32
    pairs.json          split -> {pair id: [key of person A, key of person B, T]}, T of 102 and more
    motion_stats.json   motion_mean and motion_std of the 108 columns that its loader takes, over train

The loader takes columns 0:104, 106:108 and 109:111: expression, rotation, the jaw's opening, pitch and yaw of both
eyes. It drops pairs of 101 ticks and less, and reads ``speech_mask`` in val and test.
"""

from __future__ import annotations

import importlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from dialogbuild.artifact import write_json
from dialogbuild.dataset.exporters import arrays, motioncode, sound
from dialogbuild.dataset.exporters.flame import require_flame
from dialogbuild.dataset.exporters.job import ExportReport, Format, Job, Options, new_export, option
from dialogbuild.dataset.reader import Clip, Dataset
from dialogbuild.dataset.schema import ROLES, SPLITS
from dialogbuild.errors import MissingPart

SHORTEST: Final = 102
TAKEN: Final = (*range(104), 106, 107, 109, 110)
_MAP_BYTES: Final = 1 << 40  # an upper bound of the file, not its size


@dataclass(frozen=True)
class UniLSOptions(Options):
    """Options of this format."""

    rotation: str = option(
        "head", "what the head rotation is: head (root and neck in one), root or neck", ("head", "root", "neck")
    )


def export(dataset: Dataset, out: Path, options: UniLSOptions | None = None) -> ExportReport:
    """Write the dataset for UniLS. Errors as ``new_export``; ConfigError for another head, MissingPart without lmdb."""
    options = options or UniLSOptions()
    lmdb = _lmdb()
    pairs: dict[str, dict[str, list[Any]]] = {split: {} for split in SPLITS}
    codes: dict[str, list[arrays.Float]] = {split: [] for split in SPLITS}
    with new_export(FORMAT, dataset, out, options) as job:
        require_flame(job, "UniLS (FLAME 2020)", motioncode.N_EXPR)
        job.facts |= {"rotation": options.rotation, "motioncode": motioncode.ORDER, "taken_columns": list(TAKEN)}
        with _database(lmdb, job.folder / "data_lmdb") as put:
            for row in job.rows():
                clip = dataset.read_clip(row["id"], families=("motion",))
                _clip(job, clip, options.rotation, put, pairs[row["split"]], codes[row["split"]])
        write_json(job.folder / "pairs.json", pairs)
        found = codes["train"] or [c for split in SPLITS for c in codes[split]]
        if found:
            mean, std = arrays.mean_and_std([c[:, list(TAKEN)] for c in found])
            write_json(job.folder / "motion_stats.json", {"motion_mean": mean, "motion_std": std})
    return job.report


def _lmdb() -> Any:
    try:
        return importlib.import_module("lmdb")
    except ImportError:
        raise MissingPart("UniLS reads LMDB: pip install 'dialogbuild[lmdb]'; or export artalk, plain files") from None


@contextmanager
def _database(lmdb: Any, path: Path) -> Iterator[Any]:
    """A new database; yields the function that stores arrays under a key."""
    with lmdb.open(str(path), map_size=_MAP_BYTES) as env:

        def put(key: str, **payload: arrays.Array) -> None:
            buffer = io.BytesIO()
            np.savez(buffer, **payload)
            with env.begin(write=True) as transaction:
                transaction.put(key.encode(), buffer.getvalue())

        yield put
    (path / "lock.mdb").unlink(missing_ok=True)  # readers open it without a lock


def _clip(
    job: Job, clip: Clip, rotation: str, put: Any, pairs: dict[str, list[Any]], codes: list[arrays.Float]
) -> None:
    stem = job.name(clip.id)
    for k, span in enumerate(motioncode.pair_spans(job, clip, SHORTEST)):
        keys = []
        for number, role in enumerate(ROLES):
            person = clip.persons[role]
            code = motioncode.code(person, span, rotation)
            mask = arrays.speaks(person.motion, number)[slice(*span)].astype(np.float32)
            keys.append(f"{stem}_{k:03d}_{role}")
            put(keys[-1], audio=sound.samples(person, span), motioncode=code, speech_mask=mask)
            codes.append(code)
        pairs[f"{stem}_{k:03d}"] = [*keys, span[1] - span[0]]
        job.keep(clip.id)


FORMAT = Format(
    name="unils",
    consumer="UniLS",
    writes="LMDB of audio and motion codes, pairs.json, motion_stats.json",
    lost=(
        "identity shape: UniLS stores none",
        "eyelids and translation",
        "one rotation instead of root and neck: export.json says which",
        "sigmas, residuals and validity: entries hold only ticks at which both heads are fitted or interpolated",
        "the certainty of speech_mask, turns, backchannels, video",
    ),
    options=UniLSOptions,
    export=export,
)
