"""From clip parts to the files of a dataset: frame families, relation tables, media, manifests."""

from __future__ import annotations

import hashlib
import json
import shutil
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dialogbuild.dataset import rows, stats
from dialogbuild.dataset.arrow import arrow_schema, row_group_count, rows_to_arrow, write_parquet
from dialogbuild.dataset.commit import Entry, store, store_named
from dialogbuild.dataset.conventions import canonical
from dialogbuild.dataset.part import Part
from dialogbuild.dataset.schema import (
    FAMILIES,
    FRAMES_PATH,
    INDEX_NAME,
    MANIFEST_NAME,
    MEDIA_PATH,
    RELATIONS,
    SAMPLES_PER_TICK,
    SPLITS,
    TABLE_NAME,
    TICK_HZ,
    Table,
)
from dialogbuild.errors import DatasetError
from dialogbuild.tables import from_arrow

WRITER_VERSION = 2  # bump when files change for the same parts: published files are reused by what they were made from
MAX_ROWS = 50_000  # face-frames per file: about 150 MB of landmarks
CLIPS_PER_FILE = 16  # on average, where rows do not end it first


@dataclass(frozen=True)
class Placed:
    """Where the rows of one track went."""

    row_offset: int
    files: Mapping[str, str]  # family -> path
    row_group: Mapping[str, int]  # family -> index of the track's first row group


def groups(
    parts: Sequence[Part], splits: Mapping[str, str], clips_per_file: int = CLIPS_PER_FILE
) -> list[tuple[str, list[Part]]]:
    """Clips that share files: one split, at most ``MAX_ROWS`` rows, ``clips_per_file`` on average.

    Borders depend on clip ids, so that one clip more or less changes the file it falls into, not all that follow.
    """
    out: list[tuple[str, list[Part]]] = []
    for split in SPLITS:
        bunch: list[Part] = []
        for part in sorted((p for p in parts if splits[p.clip_id] == split), key=lambda p: p.clip_id):
            if bunch and (_rows([*bunch, part]) > MAX_ROWS or _is_border(part.clip_id, clips_per_file)):
                out.append((split, bunch))
                bunch = []
            bunch.append(part)
        if bunch:
            out.append((split, bunch))
    return out


def _rows(parts: Sequence[Part]) -> int:
    return sum(int(track["n_rows"]) for part in parts for track in part.tracks)


def _is_border(clip_id: str, clips_per_file: int) -> bool:
    return int.from_bytes(hashlib.sha256(clip_id.encode()).digest()[:4], "big") % clips_per_file == 0


def write_group(
    root: Path, scratch: Path, split: str, parts: Sequence[Part], known: Mapping[str, Entry], version: str
) -> tuple[dict[str, Entry], dict[str, Placed]]:
    """Store the three family files of one group.

    Args:
        known: ``made_from`` -> entry of the parent commit; such a file is reused when it is still there.
        version: of the format that is written.

    Returns:
        Entries by path, and where each track's rows went.
    """
    tracks = sorted((track["track_id"], part) for part in parts for track in part.tracks)
    lengths = {t["track_id"]: int(t["n_rows"]) for part in parts for t in part.tracks}
    entries = {}
    paths = {}
    for family in (f.at(version) for f in FAMILIES):
        entry = _write_family(root, scratch, split, family, tracks, known)
        entries[entry.path] = entry
        paths[family.name] = entry.path
    placed = {}
    offset, first = 0, dict.fromkeys(paths, 0)
    for name, _ in tracks:
        placed[name] = Placed(offset, paths, dict(first))
        offset += lengths[name]
        first = {f.name: first[f.name] + row_group_count(f, lengths[name]) for f in FAMILIES}
    return entries, placed


def _write_family(
    root: Path, scratch: Path, split: str, family: Table, tracks: list[tuple[str, Part]], known: Mapping[str, Entry]
) -> Entry:
    file = f"{family.name}.parquet"
    recipe = [
        WRITER_VERSION,
        family.name,
        [c.name for c in family.columns],
        split,
        [(name, part.record["files"][file]["sha256"]) for name, part in tracks],
    ]
    made_from = hashlib.sha256(canonical(recipe)).hexdigest()
    old = known.get(made_from)
    if old is not None and _is_there(root, old):
        return old
    for part in {part.clip_id: part for _, part in tracks}.values():
        part.check_file(file)
    widths = tracks[0][1].widths
    found: dict[str, list[stats.Moments]] = {}
    rows_of = (_counted(part.table(family, name), found) for name, part in tracks)
    write_parquet(scratch / file, family, rows_of, widths, lambda: stats_footer(found))
    n = _verify(scratch / file, family, widths)
    expected = sum(int(t["n_rows"]) for name, part in tracks for t in part.tracks if t["track_id"] == name)
    if n != expected:
        raise DatasetError(f"{file} of {', '.join(name for name, _ in tracks)}: {n} rows, clip.json says {expected}")
    return replace(
        store(root, scratch / file, FRAMES_PATH, family=family.name, split=split), rows=n, made_from=made_from
    )


def _counted(table: pa.Table, found: dict[str, list[stats.Moments]]) -> pa.Table:
    """The table as it came; what its fitted rows say goes to ``found`` (column -> one summary per table)."""
    if "valid" in table.column_names:
        fitted = rows.bit(from_arrow(table["valid"]), "fit_ok")
        for name in stats.STATS_COLUMNS:
            found.setdefault(name, []).append(stats.summary(from_arrow(table[name])[fitted]))
    return table


def stats_footer(found: Mapping[str, Sequence[stats.Moments]]) -> dict[str, str]:
    """The footer entry of a motion file; nothing for the other families."""
    merged = {name: stats.merge_summaries(same) for name, same in found.items()}
    return {stats.FOOTER: stats.pack(merged)} if merged else {}


def file_stats(path: Path) -> dict[str, stats.Moments]:
    """What a motion file says of its fitted rows, from its footer; counted anew where an older version wrote it."""
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        text = (file.metadata.metadata or {}).get(stats.FOOTER.encode())
        if text is not None:
            return stats.unpack(text)
        found: dict[str, list[stats.Moments]] = {}
        _counted(file.read(columns=["valid", *stats.STATS_COLUMNS]), found)
    return {name: same[0] for name, same in found.items()}


def _verify(path: Path, table: Table, widths: Mapping[str, int]) -> int:
    """Read a file back with its page checksums before anything refers to it; its number of rows."""
    n = 0
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        if not file.schema_arrow.equals(arrow_schema(table, widths)):
            raise DatasetError(f"{path.name} was not written as its schema says")
        for batch in file.iter_batches():
            n += batch.num_rows
    return n


def _is_there(root: Path, entry: Entry) -> bool:
    path = root / entry.path
    return path.is_file() and path.stat().st_size == entry.bytes


def write_media(root: Path, scratch: Path, part: Part) -> tuple[dict[str, Entry], dict[str, str]]:
    """Copy a part's media under the names of their content; entries by path, and part's name -> path.

    Raises:
        DatasetError: a file of the part is missing or is not what its ``clip.json`` says.
    """
    entries, paths = {}, {}
    for name, about in sorted(part.record["files"].items()):
        if not name.startswith("media/"):
            continue
        stem, suffix = Path(name).stem, Path(name).suffix
        entry = Entry(
            MEDIA_PATH.format(stem=stem, h=about["sha256"][:16], suffix=suffix), about["sha256"], about["bytes"]
        )
        if not _is_there(root, entry):
            part.check_file(name)
            shutil.copyfile(part.file(name), scratch / "media")
            if store(root, scratch / "media", MEDIA_PATH, stem=stem, suffix=suffix) != entry:
                raise DatasetError(f"{name} of {part.clip_id} changed while it was copied; publish again")
        entries[entry.path] = entry
        paths[name] = entry.path
    return entries, paths


def write_relations(
    root: Path, scratch: Path, records: Mapping[str, list[dict[str, Any]]], widths: Mapping[str, int], version: str
) -> dict[str, Entry]:
    """Store the relation tables. Entries by logical name."""
    out = {}
    for table in (t.at(version) for t in RELATIONS):
        file = scratch / "table.parquet"
        write_parquet(file, table, [rows_to_arrow(table, records[table.name], widths)], widths)
        n = _verify(file, table, widths)
        name = TABLE_NAME.format(table=table.name)
        out[name] = store_named(root, file, name, n)
    return out


def manifest_row(
    part: Part, tracks: Sequence[Mapping[str, Any]], placed: Mapping[str, Placed], split: str
) -> dict[str, Any]:
    """One conversation's manifest row: everything a reader needs to find its arrays, audio and video."""
    talk = part.record["conversation"]
    persons = {}
    for track in tracks:
        spot = placed[track["track_id"]]
        persons[track["role"]] = {
            "track_id": track["track_id"],
            "identity_id": track["identity_id"],
            "side": track["side"],
            "row_offset": spot.row_offset,
            "n_rows": track["n_rows"],
            "files": dict(spot.files),
            "row_group": dict(spot.row_group),
            "video": track["video_file"],
            "audio": track["audio_file"],
            "valid_frac": track["valid_frac"],
        }
    taken = [name for name in talk if name not in ("conversation_id", "speak_s_0", "speak_s_1")]
    return {
        "id": part.clip_id,
        **{name: talk[name] for name in taken},
        "split": split,
        "fps": [TICK_HZ, 1],
        "tb": [part.record["video"]["tb_num"], part.record["video"]["tb_den"]],
        "n_samples": talk["n_ticks"] * SAMPLES_PER_TICK,
        "speak_s": {"A": talk["speak_s_0"], "B": talk["speak_s_1"]},
        "persons": persons,
        "mix": tracks[0]["mix_file"],
        "quality": part.record["quality"],
        "convention_id": part.convention,
    }


def write_manifests(root: Path, scratch: Path, records: Sequence[Mapping[str, Any]]) -> dict[str, Entry]:
    """Store one JSONL per split and its index: N+1 little-endian 64-bit offsets. Entries by logical name."""
    out = {}
    for split in SPLITS:
        lines = [canonical(row) + b"\n" for row in records if row["split"] == split]
        for name, data in (
            (MANIFEST_NAME.format(split=split), b"".join(lines)),
            (INDEX_NAME.format(split=split), line_index(lines)),
        ):
            (scratch / "manifest").write_bytes(data)
            out[name] = store_named(root, scratch / "manifest", name, len(lines))
    return out


def line_index(lines: Sequence[bytes]) -> bytes:
    """Where each line starts, and where the last one ends: little-endian 64-bit offsets."""
    offsets = [0]
    for line in lines:
        offsets.append(offsets[-1] + len(line))
    return struct.pack(f"<{len(offsets)}Q", *offsets)


def write_documents(root: Path, scratch: Path, documents: Mapping[str, str]) -> dict[str, Entry]:
    """Store text files under their logical names."""
    out = {}
    for name, text in sorted(documents.items()):
        (scratch / "document").write_text(text)
        out[name] = store_named(root, scratch / "document", name)
    return out


def to_text(value: Any) -> str:
    """Readable JSON of equal bytes for equal values."""
    return json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n"
