"""Open a published dataset: its manifest rows, its tables, and the arrays of one clip for both persons."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dialogbuild.artifact import file_sha256
from dialogbuild.dataset.arrow import row_group_count
from dialogbuild.dataset.commit import Commit, Entry, read_current, read_named
from dialogbuild.dataset.conventions import is_known
from dialogbuild.dataset.schema import (
    CONVENTION_NAME,
    CROP_PX,
    FAMILIES,
    INFO_NAME,
    MANIFEST_NAME,
    ROLES,
    SAMPLES_PER_TICK,
    SPLITS,
    TABLE_NAME,
    TABLES,
    TICK_HZ,
)
from dialogbuild.errors import DatasetError
from dialogbuild.tables import Columns, from_arrow

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Person:
    """One side of a conversation. Family columns have T rows each; wide columns are (T, k). Empty when not asked for.

    Args:
        track: the row of the tracks table.
        audio: (T*640,) float32 at 16 kHz, or None when not asked for.
        video: the 512x512 crop video, one frame per tick.
    """

    role: str
    track: Mapping[str, Any]
    shape: Array
    motion: Columns
    landmarks: Columns
    quality: Columns
    audio: Array | None
    video: Path
    video_entry: Entry

    def frames(self, ticks: Iterable[int]) -> Iterator[NDArray[np.uint8]]:
        """Crop images (512, 512, 3) RGB at non-decreasing ticks. DatasetError when the file was changed."""
        check_entry(self.video, self.video_entry)
        return crop_frames(self.video, ticks)


@dataclass(frozen=True, eq=False)
class Clip:
    """One conversation. ``row`` is its manifest row, ``turns`` the columns of its turns."""

    id: str
    n_ticks: int
    row: Mapping[str, Any]
    persons: Mapping[str, Person]
    turns: Columns
    mix: Array | None


class Dataset:
    """The current state of a dataset folder; a later publish does not change an open one.

    Raises:
        DatasetError: nothing was published there, its format is newer, or its conventions are unknown.
    """

    def __init__(self, root: Path) -> None:
        commit = read_current(root)
        if commit is None:
            raise DatasetError(f"{root} holds no dataset: CURRENT is missing; give the folder that publish wrote")
        self.root, self.commit = root, commit
        self._sound: set[str] = set()
        self.info: dict[str, Any] = json.loads(read_named(root, commit, INFO_NAME))
        self.conventions = _conventions(root, commit, self.info)
        self.rows = [row for split in SPLITS for row in self._manifest(split)]

    def _manifest(self, split: str) -> list[dict[str, Any]]:
        text = read_named(self.root, self.commit, MANIFEST_NAME.format(split=split))
        return [json.loads(line) for line in text.splitlines()]

    def split(self, name: str) -> list[dict[str, Any]]:
        """Manifest rows of train, val or test."""
        return [row for row in self.rows if row["split"] == name]

    def table(self, name: str) -> Columns:
        """A relation table's columns. KeyError for a table that the schema does not name."""
        data = read_named(self.root, self.commit, TABLE_NAME.format(table=name))
        table = pq.read_table(pa.BufferReader(data), page_checksum_verification=True)
        return {column: from_arrow(table.column(column)) for column in table.column_names}

    def read_clip(
        self,
        clip_id: str | None = None,
        families: Sequence[str] = ("motion", "landmarks", "quality"),
        audio: bool = True,
    ) -> Clip:
        """The arrays of one clip for both persons; the first clip when no id is given.

        Raises:
            DatasetError: no such clip, or its files are not what was published: each is compared with its SHA-256
                when it is first read.
        """
        row = next((r for r in self.rows if clip_id in (None, r["id"])), None)
        if row is None:
            raise DatasetError(f"the dataset has no clip {clip_id!r}; it has {len(self.rows)}: see Dataset.rows")
        tracks, identities = self.table("tracks"), self.table("identities")
        persons = {role: self._person(row, role, families, audio, tracks, identities) for role in ROLES}
        turns = _where(t := self.table("turns"), t["conversation_id"] == row["id"])
        mix = self._audio(row, row["mix"]) if audio else None
        return Clip(row["id"], int(row["n_ticks"]), row, persons, turns, mix)

    def _person(
        self, row: Mapping[str, Any], role: str, families: Sequence[str], audio: bool, tracks: Columns, people: Columns
    ) -> Person:
        about = row["persons"][role]
        read = {f.name: self._rows(about, f.name) if f.name in families else {} for f in FAMILIES}
        track = {name: values[tracks["track_id"] == about["track_id"]][0] for name, values in tracks.items()}
        shape = people["shape"][people["identity_id"] == about["identity_id"]][0]
        sound = self._audio(row, about["audio"]) if audio else None
        video = self.root / about["video"], self.commit.files[about["video"]]
        return Person(role, track, shape, read["motion"], read["landmarks"], read["quality"], sound, *video)

    def _file(self, path: str) -> Path:
        if path not in self._sound:
            check_entry(self.root / path, self.commit.files[path])
            self._sound.add(path)
        return self.root / path

    def _rows(self, about: Mapping[str, Any], family: str) -> Columns:
        first = about["row_group"][family]
        wanted = range(first, first + row_group_count(TABLES[family], about["n_rows"]))
        path = self._file(about["files"][family])
        try:
            with pq.ParquetFile(path, page_checksum_verification=True) as file:
                table = file.read_row_groups(list(wanted))
        except OSError as error:
            raise DatasetError(f"{path} cannot be read ({error}): validate the dataset, then publish again") from None
        return {name: from_arrow(table.column(name)) for name in table.column_names}

    def _audio(self, row: Mapping[str, Any], path: str) -> Array:
        from dialogbuild.media.audio import read_audio

        samples = read_audio(self._file(path))
        if len(samples) != row["n_ticks"] * SAMPLES_PER_TICK:
            raise DatasetError(f"{path} has {len(samples)} samples for {row['n_ticks']} ticks: validate the dataset")
        return samples


def open_dataset(root: Path | str) -> Dataset:
    """Open the dataset under ``root``. Errors as ``Dataset``."""
    return Dataset(Path(root))


def _conventions(root: Path, commit: Commit, info: Mapping[str, Any]) -> dict[str, Any]:
    if info["convention_id"] is None:
        return {}
    record: dict[str, Any] = json.loads(read_named(root, commit, CONVENTION_NAME.format(id=info["convention_id"])))
    if not is_known(record):
        raise DatasetError(
            f"{root} follows conventions {info['convention_id']}, which this version does not know: its axes or units "
            "may differ; use the dialogbuild version named in meta/info.json"
        )
    return record


def check_entry(file: Path, entry: Entry) -> None:
    """Compare a file with what the commit says of it. DatasetError when it is missing or another."""
    if not file.is_file() or file.stat().st_size != entry.bytes or file_sha256(file) != entry.sha256:
        raise DatasetError(f"{file} is missing or damaged: validate the dataset, then publish or copy it again")


def crop_frames(video: Path, ticks: Iterable[int], size_px: int = CROP_PX) -> Iterator[NDArray[np.uint8]]:
    """Images (size_px, size_px, 3) RGB of a crop video at non-decreasing ticks. LookupError for a tick beyond it."""
    from dialogbuild.media.reader import VideoReader

    step = _pts_per_tick(video)
    with VideoReader(video, size_px=(size_px, size_px)) as reader:
        for _, image in reader.frames(int(tick) * step for tick in ticks):
            yield image


def _where(columns: Columns, mask: NDArray[np.bool_]) -> Columns:
    return {name: values[mask] for name, values in columns.items()}


def _pts_per_tick(path: Path) -> int:
    from dialogbuild.media.probe import open_input

    with open_input(path) as container:
        step = Fraction(1, TICK_HZ) / Fraction(container.streams.video[0].time_base)
    if step.denominator != 1:
        raise DatasetError(f"{path.name}: its time base does not hold whole ticks; publish the clip again")
    return int(step)
