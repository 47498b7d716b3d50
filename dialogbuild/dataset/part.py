"""One clip's part of a dataset on disk: what the shard stage writes and ``publish`` assembles.

clip.json                                      rows of the relation tables, conventions, moments, file hashes
motion.parquet landmarks.parquet quality.parquet
media/<track>.mp4  media/<track>.flac  media/<clip>_mix.flac
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dialogbuild.artifact import file_sha256, write_json
from dialogbuild.dataset.arrow import arrow_schema
from dialogbuild.dataset.conventions import convention_id, is_known
from dialogbuild.dataset.schema import FORMAT_VERSION, Table, major
from dialogbuild.errors import DatasetError

CLIP = "clip.json"
KEPT = ("conversation", "files", "quality", "tracks", "video")  # numbers here are exact, those of tables float32


@dataclass(frozen=True)
class Part:
    """A clip's part, read from its folder. ``record`` is ``clip.json``; ``digest`` its SHA-256."""

    directory: Path
    record: Mapping[str, Any]
    digest: str

    @property
    def clip_id(self) -> str:
        """The conversation's id."""
        return str(self.record["conversation"]["conversation_id"])

    @property
    def tracks(self) -> list[dict[str, Any]]:
        """Track rows of person 0 and person 1."""
        return list(self.record["tracks"])

    @property
    def convention(self) -> str:
        """Id of the conventions that the numbers follow."""
        return convention_id(self.record["convention"])

    @property
    def widths(self) -> dict[str, int]:
        """Number of expressions (``E``) and of shape coefficients (``S``)."""
        head = self.record["convention"]["head_model"]
        return {"E": int(head["n_expr"]), "S": int(head["n_shape"])}

    def kept(self) -> dict[str, Any]:
        """What the dataset keeps of ``record`` beside its tables, so that later commits can go on from it."""
        return {name: self.record[name] for name in KEPT}

    def file(self, name: str) -> Path:
        """Where a file that ``record["files"]`` names lies."""
        return self.directory / name

    def table(self, family: Table, track_id: str) -> pa.Table:
        """The rows of one track.

        Raises:
            DatasetError: the file does not follow the schema.
        """
        path = self.file(f"{family.name}.parquet")
        table = pq.read_table(path, page_checksum_verification=True)
        if not table.schema.equals(arrow_schema(family, self.widths)):
            raise DatasetError(f"{path} has another schema than this version writes; run the shard stage again")
        return table.filter(pa.compute.equal(table["track_id"], track_id)).combine_chunks()

    def check_file(self, name: str) -> None:
        """Compare a file with its hash in ``clip.json``.

        Raises:
            DatasetError: it is missing or changed.
        """
        path = self.file(name)
        if not path.is_file() or file_sha256(path) != self.record["files"][name]["sha256"]:
            raise DatasetError(f"{path} is missing or damaged; delete its folder and run the shard stage again")


def write_part(out: Path, record: Mapping[str, Any]) -> None:
    """Write ``clip.json`` for the files that lie in ``out``: hashes, sizes, and the format's version."""
    files = {
        str(path.relative_to(out).as_posix()): {"sha256": file_sha256(path), "bytes": path.stat().st_size}
        for path in sorted(out.rglob("*"))
        if path.is_file()
    }
    write_json(out / CLIP, {**record, "files": files, "format_version": FORMAT_VERSION})


def read_part(directory: Path) -> Part:
    """Open a clip's part; its files are not read yet.

    Raises:
        DatasetError: no ``clip.json``, or it follows a format or conventions that this version does not know.
    """
    path = directory / CLIP
    if not path.is_file():
        raise DatasetError(f"{directory} is no clip part: {CLIP} is missing; give the shard stage's folders")
    record = json.loads(path.read_text())
    if major(record["format_version"]) != major(FORMAT_VERSION) or not is_known(record["convention"]):
        raise DatasetError(
            f"{directory} was written in format {record['format_version']}, this version writes {FORMAT_VERSION}; "
            "run the shard stage again"
        )
    return Part(directory, record, file_sha256(path))
