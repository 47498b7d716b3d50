"""The part of validation that opens tables and media: schema, counts, row groups, ranges, links, leakage."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dialogbuild.dataset import validate_counts
from dialogbuild.dataset.arrow import arrow_schema, row_group_count
from dialogbuild.dataset.audio import flac_length
from dialogbuild.dataset.commit import Commit, read_named
from dialogbuild.dataset.finding import Finding
from dialogbuild.dataset.schema import (
    CROP_PX,
    FAMILIES,
    INFO_NAME,
    MANIFEST_NAME,
    RELATIONS,
    SAMPLES_PER_TICK,
    SCHEMA_NAME,
    SPLITS,
    TABLE_NAME,
    TABLES,
    TICK_HZ,
    Table,
    with_described,
)
from dialogbuild.tables import Columns, from_arrow

_BUG = "publish again from the clip parts; if it comes back, report it: the writer broke its contract"
_FOREIGN = (
    ("conversations", "video_id", "videos"),
    ("identities", "video_id", "videos"),
    ("tracks", "conversation_id", "conversations"),
    ("tracks", "identity_id", "identities"),
    ("turns", "conversation_id", "conversations"),
    ("turns", "track_id", "tracks"),
)


def check(root: Path, commit: Commit, broken: set[str], deep: bool) -> list[Finding]:
    """Findings about tables, frame families, manifests and media; files in ``broken`` are not opened.

    Raises:
        DatasetError: a table or document is damaged, and so is its copy.
    """
    info = json.loads(read_named(root, commit, INFO_NAME))
    described = json.loads(read_named(root, commit, SCHEMA_NAME))["tables"]
    widths, version = info["widths"], info["format_version"]
    widths = widths if all(widths.values()) else {"E": 1, "S": 1}  # an empty dataset has no head model
    tables = {name: with_described(t.at(version), described[name]) for name, t in TABLES.items()}
    relations: dict[str, Columns] = {}
    found: list[Finding] = []
    for table in (tables[t.name] for t in RELATIONS):
        name = TABLE_NAME.format(table=table.name)
        data = pa.BufferReader(read_named(root, commit, name))
        arrow = pq.read_table(data, page_checksum_verification=True)
        faults = list(_schema(table, name, arrow.schema, widths))
        found += faults
        if not faults:
            relations[table.name] = {c: from_arrow(arrow.column(c)) for c in arrow.column_names}
            found += _values(table, name, relations[table.name])
    if len(relations) < len(RELATIONS):
        return found
    found += _links(relations)
    found += _leaks(relations)
    found += validate_counts.check(relations, info)
    rows = _manifest(root, commit)
    found += _manifests(relations, rows)
    for family in (tables[f.name] for f in FAMILIES):
        found += _family(root, commit, family, relations, rows, widths, broken, deep)
    found += _media(root, relations["tracks"], broken, deep)
    return found


def _schema(table: Table, name: str, found: pa.Schema, widths: Mapping[str, int]) -> Iterator[Finding]:
    """Every column that is missing, unknown, or of another type or unit. Their order does not matter."""
    want = {f.name: f for f in arrow_schema(table, widths)}
    have = {f.name: f for f in found}
    faults = [f"{c} is missing" for c in sorted(want.keys() - have.keys())]
    faults += [f"{c} is not in the schema" for c in sorted(have.keys() - want.keys())]
    for column in sorted(want.keys() & have.keys()):
        a, b = want[column], have[column]
        if not a.equals(b):
            faults.append(f"{column} is {b.type}{'' if b.nullable == a.nullable else ' and nullable'}, not {a.type}")
        elif (b.metadata or {}).get(b"unit") != a.metadata[b"unit"]:
            faults.append(f"{column} is in another unit than {a.metadata[b'unit'].decode()!r}")
    if faults:
        yield Finding("error", "wrong_schema", name, "; ".join(faults), _BUG)


def _values(table: Table, name: str, columns: Columns) -> Iterator[Finding]:
    """Finite, within the schema's range, keys unique."""
    for column in table.columns:
        values = columns[column.name]
        if values.dtype.kind not in "fiu" or not values.size:
            continue
        bad = ~np.isfinite(values) if values.dtype.kind == "f" else np.zeros(values.shape, bool)
        if bad.any():
            yield Finding("error", "not_finite", name, f"{column.name}: {int(bad.sum())} values are not finite", _BUG)
            continue
        low, high = float(values.min()), float(values.max())
        if (column.low is not None and low < column.low) or (column.high is not None and high > column.high):
            limits = f"{column.low} to {column.high}"
            yield Finding("error", "out_of_range", name, f"{column.name}: {low:g} to {high:g}, allowed {limits}", _BUG)
    keys = list(zip(*(columns[k].tolist() for k in table.key), strict=True))
    if len(set(keys)) != len(keys):
        yield Finding("error", "double_key", name, f"{len(keys) - len(set(keys))} rows share a key", _BUG)


def _links(relations: Mapping[str, Columns]) -> Iterator[Finding]:
    for source, column, target in _FOREIGN:
        lost = set(relations[source][column]) - set(relations[target][TABLES[target].key[0]])
        if lost:
            name = TABLE_NAME.format(table=source)
            yield Finding("error", "dangling_id", name, f"{column} {sorted(lost)[0]!r} is not in {target}", _BUG)


def _leaks(relations: Mapping[str, Columns]) -> Iterator[Finding]:
    """No person, conversation or source content in two splits."""
    talks, tracks, videos = relations["conversations"], relations["tracks"], relations["videos"]
    split = dict(zip(talks["conversation_id"], talks["split"], strict=True))
    content = dict(zip(videos["video_id"], videos["sha256"], strict=True))
    members: dict[tuple[str, str], set[str]] = {}
    for identity, talk in zip(tracks["identity_id"], tracks["conversation_id"], strict=True):
        members.setdefault(("identity", identity), set()).add(split.get(talk, ""))
    for video, where in zip(talks["video_id"], talks["split"], strict=True):
        members.setdefault(("source file", content.get(video, "")), set()).add(where)
    people = relations["identities"]
    for identity, where in zip(people["identity_id"], people["split"], strict=True):
        members.setdefault(("identity", identity), set()).add(where)
    for (kind, name), splits in sorted(members.items()):
        if len(splits) > 1:
            fix = "publish again: splits are assigned to whole components; never edit a split by hand"
            message = f"{kind} {name} is in {' and '.join(sorted(splits))}"
            yield Finding("error", "split_leak", "tables/conversations.parquet", message, fix)


def _manifest(root: Path, commit: Commit) -> dict[str, tuple[str, dict[str, Any]]]:
    """Clip id -> (split of the manifest it stands in, row)."""
    rows = {}
    for split in SPLITS:
        for line in read_named(root, commit, MANIFEST_NAME.format(split=split)).splitlines():
            row = json.loads(line)
            rows[row["id"]] = (split, row)
    return rows


def _manifests(relations: Mapping[str, Columns], rows: Mapping[str, tuple[str, dict[str, Any]]]) -> Iterator[Finding]:
    talks, tracks = relations["conversations"], relations["tracks"]
    listed = dict(zip(talks["conversation_id"], zip(talks["split"], talks["n_ticks"], strict=True), strict=True))
    where = {t: i for i, t in enumerate(tracks["track_id"])}
    for clip in sorted(listed.keys() ^ rows.keys()):
        name = "the tables" if clip in rows else "the manifests"
        yield Finding("error", "manifest_mismatch", "manifests", f"{clip} is missing from {name}", _BUG)
    for clip in sorted(listed.keys() & rows.keys()):
        split, row = rows[clip]
        wrong = [] if (split, row["n_ticks"]) == listed[clip] and row["split"] == split else ["split or n_ticks"]
        for about in row["persons"].values():
            i = where.get(about["track_id"], -1)
            same = i >= 0 and all(
                (tracks["row_offset"][i] == about["row_offset"], tracks["n_rows"][i] == about["n_rows"],
                 tracks["video_file"][i] == about["video"], tracks["audio_file"][i] == about["audio"],
                 all(tracks[f"{f}_file"][i] == path for f, path in about["files"].items()))
            )  # fmt: skip
            wrong += [] if same else [about["track_id"]]
        if wrong:
            message = f"{clip}: {', '.join(wrong)} differ from the tables"
            yield Finding("error", "manifest_mismatch", f"manifests/{split}.jsonl", message, _BUG)


def _family(
    root: Path,
    commit: Commit,
    family: Table,
    relations: Mapping[str, Columns],
    rows: Mapping[str, tuple[str, dict[str, Any]]],
    widths: Mapping[str, int],
    broken: set[str],
    deep: bool,
) -> Iterator[Finding]:
    tracks = relations["tracks"]
    groups = {p["track_id"]: p["row_group"][family.name] for _, row in rows.values() for p in row["persons"].values()}
    for path in sorted(set(tracks[f"{family.name}_file"])):
        if path in broken:
            continue
        entry = commit.files.get(path)
        if entry is None:
            yield Finding("error", "unlisted_file", path, "tracks names it, the commit does not", _BUG)
            continue
        mine = np.flatnonzero(tracks[f"{family.name}_file"] == path)
        with pq.ParquetFile(root / path, page_checksum_verification=True) as file:
            if faults := list(_schema(family, path, file.schema_arrow, widths)):
                yield from faults
                continue
            if file.metadata.num_rows != entry.rows or entry.rows != int(tracks["n_rows"][mine].sum()):
                message = f"{file.metadata.num_rows} rows; commit {entry.rows}, tracks {tracks['n_rows'][mine].sum()}"
                yield Finding("error", "wrong_row_count", path, message, _BUG)
                continue
            yield from _row_groups(file, family, path, {k: tracks[k][mine] for k in tracks}, groups)
            if deep:
                columns = _columns(file.read())
                yield from _values(family, path, columns)
                yield from validate_counts.check_rows(family, path, columns, relations, mine)


def _columns(table: pa.Table) -> Columns:
    return {name: from_arrow(table.column(name)) for name in table.column_names}


def _row_groups(
    file: pq.ParquetFile, family: Table, path: str, tracks: Columns, first_group: Mapping[str, int]
) -> Iterator[Finding]:
    """Each track is one contiguous run of rows, ticks 0..n-1, in row groups of its own, where tracks says."""
    keys = _columns(file.read(columns=list(family.key)))
    sizes = [file.metadata.row_group(g).num_rows for g in range(file.metadata.num_row_groups)]
    starts = np.concatenate([[0], np.cumsum(sizes)])
    for i in np.argsort(tracks["row_offset"]):
        name, offset, n = tracks["track_id"][i], int(tracks["row_offset"][i]), int(tracks["n_rows"][i])
        span = slice(offset, offset + n)
        if (keys["track_id"][span] != name).any() or not np.array_equal(keys["tick"][span], np.arange(n)):
            yield Finding("error", "wrong_rows", path, f"{name}: rows {offset} to {offset + n} are not its ticks", _BUG)
        first = first_group.get(name, -1)
        last = first + row_group_count(family, n)
        if not 0 <= first < last < len(starts) or starts[first] != offset or starts[last] != offset + n:
            yield Finding("error", "wrong_row_groups", path, f"{name}: a row group crosses the track's border", _BUG)
    if max(sizes, default=0) > family.row_group:
        yield Finding("error", "wrong_row_groups", path, f"a row group has {max(sizes)} rows", _BUG)


def _media(root: Path, tracks: Columns, broken: set[str], deep: bool) -> Iterator[Finding]:
    again = "delete it, run the shard stage for its clip again, and publish"
    for column in ("audio_file", "mix_file"):
        for path, n in sorted(set(zip(tracks[column], tracks["n_rows"].tolist(), strict=True))):
            if path not in broken and (samples := _samples(root / path, deep)) != n * SAMPLES_PER_TICK:
                message = f"{samples} samples for {n} ticks: {n * SAMPLES_PER_TICK} expected"
                yield Finding("error", "wrong_audio_length", path, message, again)
    for path, n in sorted(set(zip(tracks["video_file"], tracks["n_rows"].tolist(), strict=True))):
        if path in broken:
            continue
        frames, size, off = _video_facts(root / path, deep)
        if frames != n or size != (CROP_PX, CROP_PX):
            yield Finding("error", "wrong_video", path, f"{frames} frames of {size} px for {n} ticks", again)
        if off:
            message = f"{off} frames are not presented at the start of their tick"
            yield Finding("error", "wrong_pts", path, message, again)


def _samples(path: Path, decode: bool) -> int:
    from dialogbuild.media.audio import read_audio

    return len(read_audio(path)) if decode else flac_length(path)


def _video_facts(path: Path, decode: bool) -> tuple[int, tuple[int, int], int]:
    """Frames, size, and how many frames have another stamp than their row; without decoding, by the header."""
    from dialogbuild.media.probe import open_input

    with open_input(path) as container:
        stream = container.streams.video[0]
        size = int(stream.width), int(stream.height)
        if not decode:
            return int(stream.frames), size, 0
        stamps = [frame.pts for frame in container.decode(stream)]
        step = Fraction(1, TICK_HZ) / stream.time_base
        return len(stamps), size, sum(pts != k * step for k, pts in enumerate(stamps))
