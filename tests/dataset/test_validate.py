import itertools
import json
import re
import struct
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dialogbuild.dataset import validate_counts, validate_rows
from dialogbuild.dataset.arrow import arrow_schema
from dialogbuild.dataset.commit import read_current
from dialogbuild.dataset.reader import open_dataset
from dialogbuild.dataset.schema import FAMILIES, MOTION, TABLES
from dialogbuild.dataset.validate import validate
from dialogbuild.publish import publish
from dialogbuild.tables import from_arrow


def codes(findings):
    return {f.code for f in findings}


def stored(root: Path, logical: str) -> Path:
    return read_current(root).path(root, logical)


def test_a_sound_dataset_has_no_findings(published):
    assert validate(published) == []
    assert validate(published, deep=True) == []


def test_one_flipped_bit_is_found_in_every_single_file_and_the_stated_fix_works(dataset, parts):
    for name, entry in sorted(read_current(dataset).files.items()):
        path = dataset / entry.path
        if not entry.bytes:
            continue
        sound = path.read_bytes()
        path.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
        found = [f for f in validate(dataset) if f.level == "error"]
        assert ("wrong_checksum", entry.path) in {(f.code, f.path) for f in found}, name
        assert "delete it and publish again" in next(f for f in found if f.path == entry.path).fix
        path.unlink()
        assert not publish(parts, dataset).created
        assert path.read_bytes() == sound
    assert validate(dataset, deep=True) == []


def cut_file(root):
    path = next((root / "media").glob("*.mp4"))
    path.write_bytes(path.read_bytes()[:-10])


@pytest.mark.parametrize(
    ("damage", "code", "level"),
    [
        (lambda root: next((root / "media").glob("*.flac")).unlink(), "missing_file", "error"),
        (cut_file, "wrong_size", "error"),
        (lambda root: (root / "CURRENT").write_text("1\n"), "damaged_commit", "error"),
        (lambda root: (root / "CURRENT").unlink(), "no_dataset", "error"),
        (lambda root: (root / "commits" / "000001.json").write_text("{}"), "damaged_commit", "error"),
        (lambda root: (root / "manifests" / "train.jsonl").write_text("{}\n"), "stale_copy", "warning"),
        (lambda root: (root / "media" / "stray-0123456789abcdef.mp4").write_bytes(b"x"), "orphan", "warning"),
    ],
)
def test_damage_is_named_with_a_fix(dataset, damage, code, level):
    damage(dataset)
    found = validate(dataset)
    assert (code, level) in {(f.code, f.level) for f in found}
    assert all(f.fix and re.fullmatch(r"[a-z]+(_[a-z]+)*", f.code) for f in found)
    assert f"[{code}]; to fix: " in "\n".join(map(str, found))


def test_publishing_again_repairs_copies_and_sweeps_orphans(dataset, parts):
    (dataset / "meta" / "info.json").unlink()
    (dataset / "media" / "stray-0123456789abcdef.mp4").write_bytes(b"x")
    (dataset / "meta" / "notes.txt").write_text("mine")
    publish(parts, dataset)
    assert validate(dataset) == []


def relations(root: Path):
    opened = open_dataset(root)
    return {name: opened.table(name) for name, table in TABLES.items() if not table.row_group}


def test_a_person_in_two_splits_is_a_leak(published):
    tables = relations(published)
    assert list(validate_rows._leaks(tables)) == []
    split = tables["conversations"]["split"]
    split[0] = "test" if split[0] != "test" else "train"
    found = list(validate_rows._leaks(tables))
    assert codes(found) == {"split_leak"}
    assert {f.message.split()[0] for f in found} == {"identity", "source"}


def test_the_same_source_file_under_two_names_is_a_leak(published):
    tables = relations(published)
    tables["videos"]["sha256"][:] = "same"
    tables["conversations"]["split"][:] = ["train", "train", "test"]
    tables["identities"]["split"][:] = ["train", "train", "test", "test"]
    assert "source file same is in test and train" in {f.message for f in validate_rows._leaks(tables)}


def test_ids_that_lead_nowhere_are_found(published):
    tables = relations(published)
    tables["turns"]["track_id"][0] = "nobody"
    assert codes(validate_rows._links(tables)) == {"dangling_id"}


def test_a_manifest_that_contradicts_the_tables_is_found(published):
    tables, rows = relations(published), validate_rows._manifest(published, read_current(published))
    assert list(validate_rows._manifests(tables, rows)) == []
    first = sorted(rows)[0]
    rows[first][1]["persons"]["A"]["row_offset"] += 1
    assert [f.message for f in validate_rows._manifests(tables, rows)] == [
        f"{first}: {first}_p0 differ from the tables"
    ]
    del rows[first]
    assert "missing from the manifests" in next(validate_rows._manifests(tables, rows)).message


@pytest.mark.parametrize(
    ("column", "value", "code"),
    [("expr", np.nan, "not_finite"), ("p_speak", 1.5, "out_of_range"), ("state", 4, "out_of_range")],
)
def test_values_that_break_the_schema_are_found(published, column, value, code):
    path = next((published / "frames" / "motion").glob("*.parquet"))
    table = pq.read_table(path)
    columns = {name: from_arrow(table.column(name)).copy() for name in table.column_names}
    assert list(validate_rows._values(MOTION, "x", columns)) == []
    columns[column][3] = value
    assert codes(validate_rows._values(MOTION, "x", columns)) == {code}
    columns["tick"][1] = columns["tick"][0]
    assert "double_key" in codes(validate_rows._values(MOTION, "x", columns))


def test_a_row_group_that_crosses_a_track_is_found(published, tmp_path):
    """A file rewritten by another tool holds the same rows in other row groups."""
    tracks = relations(published)["tracks"]
    rows = validate_rows._manifest(published, read_current(published))
    for family in FAMILIES:
        first = {p["track_id"]: p["row_group"][family.name] for _, r in rows.values() for p in r["persons"].values()}
        path = next((published / "frames" / family.name).glob("*.parquet"))
        mine = tracks[f"{family.name}_file"] == path.relative_to(published).as_posix()
        own = {k: v[mine] for k, v in tracks.items()}
        pq.write_table(pq.read_table(path), tmp_path / "merged.parquet")
        for file, wanted in ((path, set()), (tmp_path / "merged.parquet", {"wrong_row_groups"})):
            with pq.ParquetFile(file) as opened:
                assert codes(validate_rows._row_groups(opened, family, "x", own, first)) == wanted


def test_audio_and_video_of_the_wrong_length_are_found(published):
    tracks = relations(published)["tracks"]
    assert list(validate_rows._media(published, tracks, set(), deep=True)) == []
    tracks["n_rows"] = tracks["n_rows"] + np.arange(6) // 5
    assert codes(validate_rows._media(published, tracks, set(), deep=False)) == {"wrong_audio_length", "wrong_video"}


def test_the_index_gives_the_start_of_every_line(published):
    data = stored(published, "manifests/train.jsonl").read_bytes()
    raw = stored(published, "manifests/train.jsonl.idx").read_bytes()
    offsets = struct.unpack(f"<{len(raw) // 8}Q", raw)
    assert offsets[-1] == len(data)
    for a, b in itertools.pairwise(offsets):
        assert json.loads(data[a:b])["split"] == "train"


INTERVALS = [
    ("conversations", "end_tick", 1, "n_ticks is not end_tick - start_tick"),
    ("tracks", "n_rows", 1, "n_rows is not the conversation's n_ticks"),
    ("tracks", "convention_id", "other", "convention_id is not that of meta/info.json"),
    ("turns", "end_tick", 10_000, "the tick interval is empty or leaves its clip"),
    ("turns", "end_sample", -10_000_000, "the sample interval is empty or leaves its clip"),
]


@pytest.mark.parametrize(("table", "column", "change", "words"), INTERVALS)
def test_lengths_and_intervals_that_disagree_are_found(published, table, column, change, words):
    info = open_dataset(published).info
    tables = relations(published)
    assert list(validate_counts.check(tables, info)) == []
    values = tables[table][column]
    tables[table][column] = values + change if not isinstance(change, str) else np.full_like(values, change)
    assert words in " ".join(f.message for f in validate_counts.check(tables, info))


def test_totals_that_the_tables_do_not_have_are_found(published):
    info = json.loads(json.dumps(open_dataset(published).info))
    info["totals"]["identities"] += 1
    (found,) = validate_counts.check(relations(published), info)
    assert (found.code, found.message) == ("wrong_totals", "identities: 5, tables have 4")


@pytest.mark.parametrize(
    ("column", "row", "value", "code"),
    [
        ("src_tick", 3, 0, "wrong_rows"),
        ("pts", 5, 0, "wrong_rows"),
        ("valid", 2, 1 << 8, "out_of_range"),
        ("valid", 2, 0, "not_neutral"),
    ],
)
def test_motion_rows_that_contradict_their_clip_are_found(published, column, row, value, code):
    tables = relations(published)
    path = next((published / "frames" / "motion").glob("*.parquet"))
    table = pq.read_table(path)
    columns = {name: from_arrow(table.column(name)).copy() for name in table.column_names}
    mine = np.flatnonzero(tables["tracks"]["motion_file"] == path.relative_to(published).as_posix())
    assert list(validate_counts.check_rows(MOTION, "x", columns, tables, mine)) == []
    columns[column][row] = value
    assert code in codes(validate_counts.check_rows(MOTION, "x", columns, tables, mine))


def test_another_unit_type_or_column_is_found_and_all_of_them_are_named():
    widths = {"E": 2, "S": 2}
    want = arrow_schema(MOTION, widths)
    assert list(validate_rows._schema(MOTION, "x", want, widths)) == []
    shuffled = pa.schema(list(want)[::-1])
    assert list(validate_rows._schema(MOTION, "x", shuffled, widths)) == [], "the order of columns means nothing"
    other = want.remove(want.get_field_index("lids")).append(pa.field("extra", pa.int8()))
    i = other.get_field_index("jaw_rad")
    other = other.set(i, other.field(i).with_metadata({"unit": "degree", "meaning": "jaw joint"}))
    i = other.get_field_index("pts")
    other = other.set(i, other.field(i).with_type(pa.int32()))
    (found,) = validate_rows._schema(MOTION, "x", other, widths)
    for words in (
        "lids is missing",
        "extra is not in the schema",
        "jaw_rad is in another unit than 'rad'",
        "pts is int32",
    ):
        assert words in found.message


def test_a_crop_frame_at_another_time_than_its_row_is_found(published, tmp_path):
    """Right count, right size, wrong stamps: as an encoder at another frame rate would write them."""
    from dialogbuild.media.encode import encode_video

    tracks = relations(published)["tracks"]
    n = int(tracks["n_rows"][0])
    (tmp_path / "media").mkdir()
    frames = (np.zeros((512, 512, 3), np.uint8) for _ in range(n))
    encode_video(tmp_path / "media" / "slow.mp4", frames, Fraction(20), (512, 512), 40, preset="ultrafast", gop=25)
    one = {name: values[:1].copy() for name, values in tracks.items()}
    one["video_file"][0] = "media/slow.mp4"
    sound = {one["audio_file"][0], one["mix_file"][0]}
    assert codes(validate_rows._media(tmp_path, one, sound, deep=True)) == {"wrong_pts"}
    assert codes(validate_rows._media(tmp_path, one, sound, deep=False)) == set()


def test_damage_in_what_only_an_older_commit_names_is_a_warning_with_its_way_out(parts, tmp_path):
    from dialogbuild.dataset.merge import compact
    from dialogbuild.publish import append

    root = tmp_path / "d"
    for k in range(3):
        append(parts[k : k + 1], root)
    now = {e.path for e in read_current(root).files.values()}
    old = next(p for p in sorted((root / "commits" / "objects").iterdir()) if p.relative_to(root).as_posix() not in now)
    old.write_bytes(bytes([old.read_bytes()[0] ^ 1]) + old.read_bytes()[1:])
    assert validate(root) == [], "the quick pass looks at sizes there"
    (found,) = validate(root, deep=True)
    assert (found.level, found.code, found.path) == ("warning", "damaged_history", old.relative_to(root).as_posix())
    assert "compact --keep 1" in found.fix
    (root / "commits" / "000001.json").write_text("{}")
    assert codes(validate(root)) == {"damaged_history"}
    append(parts, root)
    compact(root, keep=1)
    assert validate(root, deep=True) == []
