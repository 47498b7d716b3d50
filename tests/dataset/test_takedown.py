"""A takedown removes every byte, keeps the rest as it was, and cannot be undone by accident."""

from __future__ import annotations

import json
import re
from datetime import datetime, timezone
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from dialogbuild.dataset.commit import commit_numbers, exclusive, read_current
from dialogbuild.dataset.merge import merge
from dialogbuild.dataset.part import read_part
from dialogbuild.dataset.reader import open_dataset
from dialogbuild.dataset.takedown import mentions, takedown
from dialogbuild.dataset.validate import validate
from dialogbuild.errors import ConfigError, DatasetError
from dialogbuild.publish import append, publish

WHY = {"reason": "consent_withdrawn", "by": "ticket 17"}


def traces(root: Path, needles: set[str]) -> set[str]:
    """Files that hold a needle in their name, in their raw bytes, or in any value or footer of a Parquet table."""
    found = set()
    for path in (p for p in root.rglob("*") if p.is_file()):
        text = path.relative_to(root).as_posix().encode() + b"\n" + path.read_bytes()
        if path.suffix == ".parquet":
            table = pq.read_table(path)
            text += repr(pq.read_metadata(path).metadata).encode()
            strings = [n for n, t in zip(table.column_names, table.schema.types, strict=True) if t == "string"]
            text += repr([table.column(n).unique().to_pylist() for n in strings]).encode()
        if any(needle.encode() in text for needle in needles):
            found.add(path.relative_to(root).as_posix())
    return found


def secrets_of(parts: list[Path]) -> set[str]:
    """Ids, names, and hashes of content of these clips."""
    out = set()
    for part in map(read_part, parts):
        video = part.record["video"]
        out |= {part.clip_id, video["video_id"], video["sha256"], part.digest}
        out |= {about["sha256"] for about in part.record["files"].values()}
        out |= {about["sha256"][:16] for about in part.record["files"].values()}
        out |= {i["identity_id"] for i in part.record["identities"]} | {t["track_id"] for t in part.tracks}
    return out


def frame_hashes(root: Path) -> set[str]:
    return {p.stem.split("-")[1] for p in (root / "frames").rglob("*.parquet")}


@pytest.mark.parametrize("name", ["talk-bbbb", "talk-bbbb_p1", "talk-bbbb_c000"])
def test_nothing_of_a_video_a_person_or_a_conversation_is_left_in_any_byte(dataset, parts, name):
    secrets = secrets_of(parts[2:])
    assert len(traces(dataset, secrets)) > 10, "the search finds nothing even before"
    old_frames = frame_hashes(dataset)
    done = takedown(dataset, name, **WHY)
    assert (done.commit, done.again, done.clips, done.left) == (2, False, ("talk-bbbb_c000",), ())
    assert traces(dataset, secrets) == set()
    assert traces(dataset, old_frames - frame_hashes(dataset)) == set(), "shards that held its rows"
    assert commit_numbers(dataset) == [2], "older commits referred to it"
    assert validate(dataset, deep=True) == []
    assert [row["id"] for row in open_dataset(dataset).rows] == ["talk-aaaa_c000", "talk-aaaa_c001"]


def test_the_rest_is_what_publishing_the_rest_would_have_made(dataset, parts, tmp_path):
    takedown(dataset, "talk-bbbb", **WHY)
    publish(parts[:2], tmp_path / "rest")
    mine, other = read_current(dataset).files, read_current(tmp_path / "rest").files
    differ = {name for name in mine.keys() | other.keys() if mine.get(name) != other.get(name)}
    assert differ == {"meta/takedowns.jsonl", "meta/croissant.json"}, "croissant names the state's version"


def test_one_conversation_of_a_video_goes_and_the_other_stays(dataset, parts):
    before = open_dataset(dataset).read_clip("talk-aaaa_c001")
    takedown(dataset, "talk-aaaa_c000", **WHY)
    assert traces(dataset, secrets_of(parts[:1]) - secrets_of(parts[1:2])) == set()
    after = open_dataset(dataset).read_clip("talk-aaaa_c001")
    for role in ("A", "B"):
        assert (before.persons[role].motion["expr"] == after.persons[role].motion["expr"]).all()
        assert (before.persons[role].audio == after.persons[role].audio).all()
    assert before.row["split"] == after.row["split"]
    assert validate(dataset, deep=True) == []


def test_the_audit_record_says_who_when_and_why_and_names_nobody(dataset, parts):
    when = datetime(2026, 3, 4, 5, 6, 7, tzinfo=timezone.utc)
    takedown(dataset, "talk-bbbb_p0", now=when, **WHY)
    (record,) = [json.loads(line) for line in (dataset / "meta" / "takedowns.jsonl").read_text().splitlines()]
    assert (record["kind"], record["at"], record["by"], record["reason"]) == (
        "identity", "2026-03-04T05:06:07+00:00", "ticket 17", "consent_withdrawn"
    )  # fmt: skip
    assert re.fullmatch(r"[0-9a-f]{64}", record["id_hash"])
    assert record["removed"]["conversations"] == 1
    takedown(dataset, "talk-aaaa_c000", now=when, **WHY)
    both = [json.loads(line) for line in (dataset / "meta" / "takedowns.jsonl").read_text().splitlines()]
    assert both[0] == record
    assert both[0]["salt"] != both[1]["salt"]


def test_taking_down_again_changes_nothing(dataset):
    takedown(dataset, "talk-bbbb", **WHY)
    before = {p: p.read_bytes() for p in dataset.rglob("*") if p.is_file()}
    again = takedown(dataset, "talk-bbbb", **WHY)
    assert (again.again, again.kind, again.files) == (True, "video", ())
    assert {p: p.read_bytes() for p in dataset.rglob("*") if p.is_file()} == before


def test_what_was_taken_down_is_not_published_appended_or_merged_in_again(dataset, parts, published, tmp_path):
    takedown(dataset, "talk-bbbb_p1", **WHY)
    again = publish(parts, dataset)
    assert (again.created, again.withheld) == (False, ("talk-bbbb_c000",))
    assert append(parts[2:], dataset).withheld == ("talk-bbbb_c000",)
    assert merge([published], dataset).withheld == ("talk-bbbb_c000",)
    target = tmp_path / "target"
    publish(parts[2:], target)
    merged = merge([dataset], target)
    assert merged.withheld == ("talk-bbbb_c000",), "the record goes with the data"
    for root in (dataset, target):
        assert traces(root, secrets_of(parts[2:])) == set()
        assert validate(root) == []


def test_a_renamed_copy_of_the_source_is_recognised_by_its_content(dataset, parts, tmp_path):
    from test_publish import changed_part

    takedown(dataset, "talk-bbbb", **WHY)

    def rename(record):
        text = json.dumps(record).replace("talk-bbbb", "talk-cccc")
        record.clear()
        record.update(json.loads(text))

    other = changed_part(parts[2], tmp_path / "p", rename)
    assert append([other], dataset).withheld == ("talk-cccc_c000",)


def test_a_conversation_stays_out_however_its_video_is_cut_next_time(dataset, parts, tmp_path):
    from test_publish import changed_part

    takedown(dataset, "talk-aaaa_c000", **WHY)
    for start, withheld in ((20, True), (60, False)):
        moved = changed_part(
            parts[0],
            tmp_path / f"p{start}",
            lambda r, start=start: r["conversation"].update(conversation_id="talk-aaaa_c007", start_tick=start),
        )
        record = read_part(moved).record
        record["conversation"]["end_tick"] = start + 5
        from dialogbuild.artifact import write_json
        from dialogbuild.dataset.held import read_held
        from dialogbuild.dataset.withheld import is_withheld

        write_json(moved / "clip.json", record)
        assert is_withheld(read_part(moved), read_held(dataset).takedowns) == withheld


def test_an_unknown_id_a_wordy_reason_and_a_name_in_the_record_are_refused(dataset):
    before = read_current(dataset)
    with pytest.raises(DatasetError, match="no video, identity or conversation 'talk-b'"):
        takedown(dataset, "talk-b", **WHY)
    with pytest.raises(ConfigError, match="one snake_case word"):
        takedown(dataset, "talk-bbbb", "Mrs Example asked", "office")
    with pytest.raises(ConfigError, match="not the person's id"):
        takedown(dataset, "talk-bbbb", "consent_withdrawn", "talk-bbbb")
    with exclusive(dataset), pytest.raises(DatasetError, match="another process"):
        takedown(dataset, "talk-bbbb", **WHY)
    assert read_current(dataset) == before


def test_the_last_clip_can_go_and_the_dataset_is_empty_but_remembers(dataset):
    for name in ("talk-aaaa", "talk-bbbb"):
        takedown(dataset, name, **WHY)
    assert open_dataset(dataset).rows == []
    assert validate(dataset, deep=True) == []
    assert list((dataset / "media").iterdir()) == []
    assert len((dataset / "meta" / "takedowns.jsonl").read_text().splitlines()) == 2


def test_splits_of_what_stays_do_not_change(parts, tmp_path):
    root = tmp_path / "d"
    publish(parts, root)
    before = dict(read_current(root).record["splits"])
    takedown(root, "talk-aaaa", **WHY)
    assert read_current(root).record["splits"] == {"talk-bbbb_c000": before["talk-bbbb_c000"]}


def test_an_older_minor_format_stays_what_it_is(old_format, parts):
    publish_version = open_dataset(old_format).info["format_version"]
    takedown(old_format, "talk-aaaa_c000", **WHY)
    assert open_dataset(old_format).info["format_version"] == publish_version
    assert validate(old_format, deep=True) == []


def test_a_mention_is_not_an_id_that_merely_begins_alike(tmp_path):
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta" / "a.json").write_text('"talk-12_c000"')
    assert list(mentions(tmp_path, ["talk-1"], ["talk-12"])) == []
    (tmp_path / "meta" / "b.json").write_text('"talk-1_c000"')
    assert list(mentions(tmp_path, ["talk-1"], ["talk-12"])) == ["meta/b.json"]
