import json
import shutil
from pathlib import Path

import pytest

from dialogbuild.artifact import write_json
from dialogbuild.dataset.commit import commit_numbers, exclusive, read_current
from dialogbuild.dataset.history import purge
from dialogbuild.dataset.reader import open_dataset
from dialogbuild.dataset.validate import validate
from dialogbuild.errors import DatasetError
from dialogbuild.publish import Rights, publish


def contents(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def test_the_same_parts_give_the_same_bytes_in_any_order(parts, published, tmp_path):
    publish(reversed(parts), tmp_path / "other")
    assert contents(tmp_path / "other") == contents(published)


def test_publishing_again_makes_no_commit_and_touches_no_byte(parts, dataset):
    before = contents(dataset)
    again = publish(parts, dataset)
    assert (again.commit, again.created) == (1, False)
    assert contents(dataset) == before


def test_what_was_published_is_valid_and_complete(published, parts):
    assert validate(published, deep=True) == []
    opened = open_dataset(published)
    assert [row["id"] for row in opened.rows] == sorted(d.parent.name for d in parts)
    assert {row["split"] for row in opened.rows} <= {"train", "val", "test"}
    assert opened.info["totals"]["conversations"] == 3
    assert opened.info["totals"]["face_frames"] == 2 * sum(row["n_ticks"] for row in opened.rows)
    assert not opened.info["publishable_labels"]


def test_a_new_clip_is_a_new_commit_with_its_parent_and_the_old_media_stay(parts, tmp_path):
    root = tmp_path / "d"
    first = publish(parts[:1], root)
    kept = {p: p.stat().st_mtime_ns for p in (root / "media").iterdir()}
    second = publish(parts, root)
    assert (first.commit, second.commit, second.created) == (1, 2, True)
    record = json.loads((root / "commits" / "000002.json").read_text())
    assert record["parent"]["commit"] == 1
    assert all(p.stat().st_mtime_ns == t for p, t in kept.items())
    assert validate(root, deep=True) == []


def test_frame_files_whose_clips_did_not_change_are_not_written_again(parts, tmp_path, monkeypatch):
    root = tmp_path / "d"
    publish(parts, root)
    before = set((root / "frames").rglob("*.parquet"))
    monkeypatch.setattr("dialogbuild.dataset.writer.write_parquet", _refuse_frames)
    publish(parts, root, rights={"talk-aaaa": Rights("CC0-1.0", "form-17")})
    assert set((root / "frames").rglob("*.parquet")) == before
    licences = dict(zip(*(open_dataset(root).table("videos")[k] for k in ("video_id", "licence")), strict=True))
    assert licences == {"talk-aaaa": "CC0-1.0", "talk-bbbb": "unknown"}


def _refuse_frames(path, table, *rest):
    from dialogbuild.dataset.arrow import write_parquet

    assert not table.row_group, f"{table.name} was written again"
    return write_parquet(path, table, *rest)


def test_a_clip_that_is_left_out_leaves_the_dataset_and_purge_removes_its_bytes(parts, dataset):
    gone = parts[2].parent.name
    publish(parts[:2], dataset)
    assert gone not in [row["id"] for row in open_dataset(dataset).rows]
    assert any(gone in p.name for p in (dataset / "media").iterdir()), "the parent commit still has it"
    removed = purge(dataset)
    assert any(gone in name for name in removed)
    assert not any(gone in p.name for p in dataset.rglob("*"))
    assert validate(dataset, deep=True) == []
    assert commit_numbers(dataset) == [2]


def test_purge_keeps_at_least_the_current_commit(dataset, tmp_path):
    with pytest.raises(ValueError, match="at least the current"):
        purge(dataset, keep=0)
    with pytest.raises(DatasetError, match="holds no dataset"):
        purge(tmp_path / "empty")


def test_no_clip_at_all_makes_a_valid_empty_dataset(tmp_path):
    done = publish([], tmp_path / "d")
    assert (done.clips, done.hours, done.created) == (0, 0.0, True)
    assert validate(tmp_path / "d", deep=True) == []
    opened = open_dataset(tmp_path / "d")
    assert opened.rows == []
    with pytest.raises(DatasetError, match="it has 0"):
        opened.read_clip()


def test_the_card_warns_that_procedural_labels_are_not_for_publishing(published):
    text = (published / "meta" / "README.md").read_text()
    assert "procedural-v1" in text
    assert "**Do not publish.**" in text
    assert "Consent reference missing for 2 of 2 videos" in text


def changed_part(part: Path, to: Path, change) -> Path:
    copy = Path(shutil.copytree(part, to))
    record = json.loads((copy / "clip.json").read_text())
    change(record)
    write_json(copy / "clip.json", record)
    return copy


def test_two_head_models_never_share_a_dataset(parts, tmp_path):
    other = changed_part(
        parts[2], tmp_path / "p", lambda r: r["convention"]["head_model"].update(model_id="flame-2020")
    )
    with pytest.raises(DatasetError, match=r"flame-2020, procedural-v1.*cannot share"):
        publish([*parts[:2], other], tmp_path / "d")


def test_one_clip_given_twice_is_refused(parts, tmp_path):
    with pytest.raises(DatasetError, match="two parts each for talk-aaaa_c000"):
        publish([parts[0], parts[0]], tmp_path / "d")


def test_a_part_of_another_major_format_is_refused(parts, tmp_path):
    other = changed_part(parts[2], tmp_path / "p", lambda r: r.update(format_version="2.0.0"))
    with pytest.raises(DatasetError, match=r"written in format 2\.0\.0"):
        publish([other], tmp_path / "d")
    with pytest.raises(DatasetError, match=r"clip\.json is missing"):
        publish([tmp_path], tmp_path / "d")


@pytest.mark.parametrize("name", ["motion.parquet", "media"])
def test_a_damaged_part_is_refused_and_the_current_commit_stays(parts, tmp_path, name):
    root = tmp_path / "d"
    publish(parts[:2], root)
    bad = Path(shutil.copytree(parts[2], tmp_path / "p"))
    target = bad / name if name != "media" else next((bad / "media").glob("*.mp4"))
    data = bytearray(target.read_bytes())
    data[len(data) // 2] ^= 1
    target.write_bytes(data)
    with pytest.raises(DatasetError, match="missing or damaged"):
        publish([*parts[:2], bad], root)
    assert read_current(root).number == 1
    assert not [f for f in validate(root) if f.level == "error"]


def test_two_publishers_exclude_each_other(parts, tmp_path):
    with exclusive(tmp_path / "d"), pytest.raises(DatasetError, match="another process is publishing"):
        publish(parts, tmp_path / "d")
