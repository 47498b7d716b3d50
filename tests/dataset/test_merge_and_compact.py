"""Datasets come together without losing, doubling or moving a clip; compaction changes files, not data."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_publish import changed_part, contents

from dialogbuild.dataset.commit import commit_numbers, read_current
from dialogbuild.dataset.merge import compact, merge
from dialogbuild.dataset.reader import open_dataset
from dialogbuild.dataset.validate import validate
from dialogbuild.errors import DatasetError
from dialogbuild.publish import Rights, append, publish


@pytest.fixture
def two(parts, tmp_path) -> tuple[Path, Path]:
    """A dataset of the first two clips and one of the third."""
    publish(parts[:2], tmp_path / "a", {"talk-aaaa": Rights("CC0-1.0", "form-1")})
    publish(parts[2:], tmp_path / "b")
    return tmp_path / "a", tmp_path / "b"


def files_of(root: Path):
    return {name: e for name, e in read_current(root).files.items() if name not in ("meta/croissant.json",)}


def test_a_merge_is_what_publishing_all_parts_makes(two, parts, tmp_path):
    a, b = two
    before = [contents(a), contents(b)]
    done = merge([a, b], tmp_path / "m")
    assert (done.clips, done.created, done.commit) == (3, True, 1)
    publish(parts, tmp_path / "p", {"talk-aaaa": Rights("CC0-1.0", "form-1")})
    assert files_of(tmp_path / "m") == files_of(tmp_path / "p")
    assert validate(tmp_path / "m", deep=True) == []
    assert [contents(a), contents(b)] == before, "sources stay as they are"


def test_merging_into_a_dataset_is_one_commit_and_again_none(two):
    a, b = two
    assert merge([b], a).commit == 2
    again = merge([b], a)
    assert (again.commit, again.created) == (2, False)
    assert {v["licence"] for v in _videos(a)} == {"CC0-1.0", "unknown"}


def _videos(root):
    table = open_dataset(root).table("videos")
    return [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]


def test_one_id_for_two_things_is_refused_with_all_of_them_named(parts, tmp_path):
    other = changed_part(parts[2], tmp_path / "p", lambda r: r["video"].update(sha256="c" * 64))
    publish(parts[2:], tmp_path / "a")
    publish([other], tmp_path / "b")
    with pytest.raises(DatasetError) as error:
        merge([tmp_path / "a", tmp_path / "b"], tmp_path / "m")
    for words in ("conversation talk-bbbb_c000 is not the same in a and b", "video talk-bbbb", "identity talk-bbbb_p0"):
        assert words in str(error.value)
    assert read_current(tmp_path / "m") is None


def test_two_head_models_and_two_formats_are_refused(parts, old_format, tmp_path):
    other = changed_part(
        parts[2], tmp_path / "p", lambda r: r["convention"]["head_model"].update(model_id="flame-2020")
    )
    publish(parts[:1], tmp_path / "a")
    publish([other], tmp_path / "b")
    with pytest.raises(DatasetError, match=r"flame-2020 \(b\), procedural-v1 \(a\)"):
        merge([tmp_path / "a", tmp_path / "b"], tmp_path / "m")
    with pytest.raises(DatasetError, match=r"formats 1\.0\.0 and "):
        merge([tmp_path / "a", old_format], tmp_path / "m")


def test_no_clip_changes_its_split_unless_that_is_allowed(parts, tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    publish(parts[2:], a)
    publish(parts[:2], b)
    _force_split(b, "test")
    assert merge([a], b).moved == {}
    both = {"talk-aaaa_c000": "test", "talk-aaaa_c001": "test", "talk-bbbb_c000": "train"}
    assert read_current(b).record["splits"] == both, "each keeps what it had, whatever its hash says"
    _force_split(a, "test")
    with pytest.raises(DatasetError, match=r"talk-bbbb_c000 from test to train.*--allow-split-moves"):
        merge([a], b)
    done = merge([a], tmp_path / "m")
    assert done.moved == {}
    joined = merge([b], tmp_path / "m", allow_moves=True)
    assert joined.moved == {"talk-bbbb_c000": ("test", "train")}
    assert read_current(tmp_path / "m").record["moved"] == {"talk-bbbb_c000": ["test", "train"]}
    assert validate(tmp_path / "m", deep=True) == []


def _force_split(root: Path, split: str) -> None:
    """Publish again with every clip in one split, as an earlier state could have had it."""
    from dialogbuild.dataset import commit
    from dialogbuild.dataset.assemble import content_of, install
    from dialogbuild.dataset.held import read_held

    with commit.exclusive(root) as scratch:
        held = read_held(root)
        install(root, scratch, held.commit, content_of(held.parts(), held.rights(), dict.fromkeys(held.splits, split)))


def test_different_licences_of_one_video_are_refused_and_unknown_yields(parts, tmp_path):
    for name, licence in (("a", "CC0-1.0"), ("b", "CC-BY-4.0"), ("c", "unknown")):
        publish(parts[2:], tmp_path / name, {"talk-bbbb": Rights(licence, "form-1")})
    with pytest.raises(DatasetError, match="video talk-bbbb has different licences"):
        merge([tmp_path / "a", tmp_path / "b"], tmp_path / "m")
    merge([tmp_path / "c", tmp_path / "a"], tmp_path / "m")
    assert [v["licence"] for v in _videos(tmp_path / "m")] == ["CC0-1.0"]


def test_a_damaged_source_is_refused_and_the_target_stays(two):
    a, b = two
    path = next((b / "media").glob("*.mp4"))
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(DatasetError, match="missing or damaged"):
        merge([b], a)
    assert read_current(a).number == 1
    with pytest.raises(DatasetError, match="no dataset to merge from"):
        merge([a], a)


def test_appended_clips_join_those_that_are_there(parts, tmp_path):
    root = tmp_path / "d"
    publish(parts[:1], root, {"talk-aaaa": Rights("CC0-1.0", "form-1")})
    done = append(parts[1:], root)
    assert (done.clips, done.commit) == (3, 2)
    assert not append(parts[2:], root).created
    publish(parts, tmp_path / "p", {"talk-aaaa": Rights("CC0-1.0", "form-1")})
    assert files_of(root) == files_of(tmp_path / "p")
    changed = changed_part(parts[2], tmp_path / "other", lambda r: r["quality"].update(n_ticks=0))
    with pytest.raises(DatasetError, match="other clips named talk-bbbb_c000"):
        append([changed], root)


def test_compaction_makes_fewer_files_and_old_commits_stay_readable_until_they_are_dropped(
    parts, tmp_path, monkeypatch
):
    root = tmp_path / "d"
    publish(parts[:1], root)
    compact(root, clips_per_file=1)
    for n in (2, 3):
        append(parts[:n], root)
    first = open_dataset(root)
    before = {row["id"]: first.read_clip(row["id"]) for row in first.rows}
    done = compact(root, clips_per_file=100)
    assert done.created
    assert done.frame_files[1] < done.frame_files[0]
    again = first.read_clip("talk-bbbb_c000")
    assert again.n_ticks == before["talk-bbbb_c000"].n_ticks, "a reader that was open goes on"
    last = open_dataset(root)
    for clip, was in before.items():
        now = last.read_clip(clip)
        for role, person in was.persons.items():
            for family in ("motion", "landmarks", "quality"):
                columns = getattr(person, family)
                assert all((columns[k] == getattr(now.persons[role], family)[k]).all() for k in columns)
    assert not compact(root, clips_per_file=100).created
    assert not append(parts, root).created, "later publishes keep the size"
    assert len(commit_numbers(root)) > 2
    dropped = compact(root, clips_per_file=100, keep=1)
    assert len(dropped.removed) > 4
    assert commit_numbers(root) == [dropped.commit]
    assert validate(root, deep=True) == []


def test_a_dataset_that_forgot_its_parts_can_still_be_rewritten(dataset):
    """Datasets from before meta/parts.jsonl: everything is derived from the tables."""
    from dialogbuild.dataset import commit

    state = read_current(dataset)
    with commit.exclusive(dataset) as scratch:
        files = {n: e for n, e in state.files.items() if n != "meta/parts.jsonl"}
        about = {k: state.record[k] for k in ("clips", "convention_id")}
        commit.commit(dataset, scratch, "older", files, about)
    wanted = open_dataset(dataset).read_clip("talk-bbbb_c000")
    done = compact(dataset, clips_per_file=7)
    assert done.created
    got = open_dataset(dataset).read_clip("talk-bbbb_c000")
    assert (got.persons["B"].motion["expr"] == wanted.persons["B"].motion["expr"]).all()
    assert validate(dataset, deep=True) == []
