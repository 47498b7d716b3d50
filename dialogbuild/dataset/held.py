"""A published dataset seen as clip parts, so that it can be assembled anew without the folders it was made from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dialogbuild.artifact import file_sha256
from dialogbuild.dataset.arrow import arrow_schema, row_group_count
from dialogbuild.dataset.assemble import Rights
from dialogbuild.dataset.commit import Commit, read_current, read_named
from dialogbuild.dataset.conventions import canonical
from dialogbuild.dataset.part import Part
from dialogbuild.dataset.schema import (
    CONVENTION_NAME,
    FAMILIES,
    FORMAT_VERSION,
    INFO_NAME,
    MANIFEST_NAME,
    PARTS_NAME,
    RELATIONS,
    SPLITS,
    TABLE_NAME,
    Table,
    version_parts,
)
from dialogbuild.dataset.writer import CLIPS_PER_FILE
from dialogbuild.errors import DatasetError

Rows = list[dict[str, Any]]
_PLACED = ("row_offset", "video_file", "audio_file", "mix_file", "convention_id", *(f"{f.name}_file" for f in FAMILIES))


@dataclass(frozen=True)
class HeldPart(Part):
    """One clip of a published dataset. ``directory`` is the dataset's folder."""

    held: Held
    row: Mapping[str, Any]  # its manifest row

    def file(self, name: str) -> Path:
        """Where the file is: a medium itself, or the shared family file that has the clip's rows."""
        return self.directory / self._stored(name)

    def table(self, family: Table, track_id: str) -> pa.Table:
        """As ``Part.table``."""
        about = next(p for p in self.row["persons"].values() if p["track_id"] == track_id)
        first = about["row_group"][family.name]
        groups = list(range(first, first + row_group_count(family, about["n_rows"])))
        path = self.directory / about["files"][family.name]
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            if not file.schema_arrow.equals(arrow_schema(family, self.widths)):
                raise DatasetError(f"{path} does not follow its schema: validate the dataset")
            table = file.read_row_groups(groups)
        return table.replace_schema_metadata(None).cast(arrow_schema(family, self.widths))

    def check_file(self, name: str) -> None:
        """As ``Part.check_file``."""
        self.held.check(self._stored(name))

    def _stored(self, name: str) -> str:
        persons = self.row["persons"].values()
        if not name.startswith("media/"):
            return str(next(iter(persons))["files"][name.removesuffix(".parquet")])
        stored = {f"media/{p['track_id']}.mp4": p["video"] for p in persons}
        stored |= {f"media/{p['track_id']}.flac": p["audio"] for p in persons}
        return str({**stored, f"media/{self.clip_id}_mix.flac": self.row["mix"]}[name])


@dataclass(frozen=True, eq=False)
class Held:
    """The current state of a dataset folder; ``commit`` is None where nothing was published."""

    root: Path
    commit: Commit | None
    _sound: set[str] = field(default_factory=set)

    @cached_property
    def version(self) -> str:
        """Format version of the data; what the commit says where ``meta/info.json`` is lost."""
        if self.commit is None:
            return FORMAT_VERSION
        try:
            return str(self._json(INFO_NAME)["format_version"])
        except DatasetError:
            return str(self.commit.record["format_version"])

    @property
    def head_model(self) -> str:
        """Id of the head model that the coefficients belong to."""
        return str((self._json(INFO_NAME)["head_model"] or {}).get("model_id", "none"))

    @property
    def takedowns(self) -> tuple[Mapping[str, Any], ...]:
        """Audit records, oldest first."""
        return () if self.commit is None else tuple(self.commit.record.get("takedowns", ()))

    @property
    def clips_per_file(self) -> int:
        """How many clips share a file on average."""
        return CLIPS_PER_FILE if self.commit is None else int(self.commit.record.get("clips_per_file", CLIPS_PER_FILE))

    @cached_property
    def splits(self) -> dict[str, str]:
        """Clip id -> split."""
        if self.commit is None:
            return {}
        if "splits" in self.commit.record:
            return dict(self.commit.record["splits"])
        return {row["id"]: row["split"] for row in self.rows}

    @cached_property
    def rows(self) -> Rows:
        """Manifest rows of all splits."""
        if self.commit is None:
            return []
        texts = (self._bytes(MANIFEST_NAME.format(split=s)) for s in SPLITS)
        return [json.loads(line) for text in texts for line in text.splitlines()]

    def rights(self) -> dict[str, Rights]:
        """Video id -> licence and consent."""
        return {v["video_id"]: Rights(v["licence"], v["consent_ref"]) for v in self._tables.get("videos", [])}

    def parts(self) -> list[HeldPart]:
        """Every clip.

        Raises:
            DatasetError: a table or document is damaged, or a newer format has columns that would be lost.
        """
        if self.commit is None:
            return []
        if version_parts(self.version) > version_parts(FORMAT_VERSION):
            raise DatasetError(
                f"{self.root} has format {self.version}, this version writes {FORMAT_VERSION} and would lose what is "
                "new in it: use the version of dialogbuild that meta/info.json names"
            )
        return [self._part(row) for row in self.rows]

    def check(self, path: str) -> None:
        """Compare a file of the stores with its hash in the commit, once. DatasetError when it differs."""
        if path in self._sound:
            return
        assert self.commit is not None
        file = self.root / path
        if not file.is_file() or file_sha256(file) != self.commit.files[path].sha256:
            raise DatasetError(f"{file} is missing or damaged: validate the dataset and follow what it says first")
        self._sound.add(path)

    def _bytes(self, name: str) -> bytes:
        assert self.commit is not None
        return read_named(self.root, self.commit, name)

    def _json(self, name: str) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(self._bytes(name))
        return value

    @cached_property
    def _tables(self) -> dict[str, Rows]:
        if self.commit is None:
            return {}
        raw = {t.name: self._bytes(TABLE_NAME.format(table=t.name)) for t in RELATIONS}
        return {name: pq.read_table(pa.BufferReader(data)).to_pylist() for name, data in raw.items()}

    @cached_property
    def _kept(self) -> dict[str, dict[str, Any]]:
        """Clip id -> what its part said; empty for a dataset from before that was kept."""
        if self.commit is None or PARTS_NAME not in self.commit.files:
            return {}
        rows = [json.loads(line) for line in self._bytes(PARTS_NAME).splitlines()]
        return {row["conversation"]["conversation_id"]: row for row in rows}

    @cached_property
    def _convention(self) -> dict[str, Any]:
        assert self.commit is not None
        return self._json(CONVENTION_NAME.format(id=self.commit.record["convention_id"]))

    @cached_property
    def _people(self) -> dict[str, dict[str, Any]]:
        return {row["identity_id"]: _without(row, "split") for row in self._tables["identities"]}

    @cached_property
    def _by_talk(self) -> dict[str, dict[str, Rows]]:
        """Table -> conversation id -> its rows."""
        out: dict[str, dict[str, Rows]] = {}
        for name in ("conversations", "tracks", "turns"):
            for row in self._tables[name]:
                out.setdefault(name, {}).setdefault(row["conversation_id"], []).append(row)
        return out

    def _part(self, row: Mapping[str, Any]) -> HeldPart:
        clip = row["id"]
        kept = self._kept.get(clip) or self._derived(row)
        record = {
            **_without(kept, "digest"),
            "identities": [self._people[t["identity_id"]] for t in kept["tracks"]],
            "turns": self._by_talk.get("turns", {}).get(clip, []),
            "convention": self._convention,
        }
        return HeldPart(self.root, record, kept["digest"], self, row)

    def _derived(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """What the part may have said, from the tables."""
        assert self.commit is not None
        clip, persons = row["id"], row["persons"].values()
        files: dict[str, dict[str, Any]] = {}
        for family in FAMILIES:
            paths = [p["files"][family.name] for p in persons]
            about = [clip, [self.commit.files[path].sha256 for path in paths]]
            files[f"{family.name}.parquet"] = {"sha256": hashlib.sha256(canonical(about)).hexdigest()}
        media = {f"media/{p['track_id']}.mp4": p["video"] for p in persons}
        media |= {f"media/{p['track_id']}.flac": p["audio"] for p in persons} | {f"media/{clip}_mix.flac": row["mix"]}
        for name, path in media.items():
            entry = self.commit.files[path]
            files[name] = {"sha256": entry.sha256, "bytes": entry.bytes}
        talk = _without(self._by_talk["conversations"][clip][0], "split")
        video = next(v for v in self._tables["videos"] if v["video_id"] == talk["video_id"])
        kept = {
            "conversation": talk,
            "files": files,
            "quality": row["quality"],
            "tracks": [_without(t, *_PLACED) for t in self._by_talk["tracks"][clip]],
            "video": _without(video, "licence", "consent_ref"),
        }
        return {**kept, "digest": hashlib.sha256(canonical(kept)).hexdigest()}


def _without(row: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {k: v for k, v in row.items() if k not in names}


def read_held(root: Path) -> Held:
    """The current state of the dataset under ``root``. DatasetError as ``read_current``."""
    return Held(root, read_current(root))
