"""Whatever happens to whichever byte: validation names it, and no reader takes it for data."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from fabricate import fabricate, shard_parts

from dialogbuild.dataset import history, validate_history
from dialogbuild.dataset.commit import read_current
from dialogbuild.dataset.reader import open_dataset
from dialogbuild.dataset.repair import repair
from dialogbuild.dataset.validate import Finding, validate
from dialogbuild.errors import DatasetError
from dialogbuild.publish import append, publish

N_DAMAGES = 200


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two commits of a dataset of one second, so that there is a history to damage as well. Read only."""
    root = tmp_path_factory.mktemp("small")
    parts = shard_parts(fabricate(root / "one", "talk-aaaa", n_ticks=29, n_clips=2), root / "work")
    publish(parts[:1], root / "d")
    append(parts[1:], root / "d")
    return root / "d"


def everything(root: Path, name: str = "") -> dict[str, object]:
    """What a reader gives: tables, rows, samples, and the first frame of every crop.

    Args:
        name: the file that was damaged: of frames and media, only what lies in its kind of file is read.
    """
    families = ("motion", "landmarks", "quality") if not name.startswith("media/") else ()
    sound, picture = not name or name.endswith(".flac"), not name or name.endswith(".mp4")
    opened = open_dataset(root)
    out: dict[str, object] = {"rows": opened.rows, "info": opened.info}
    for table in ("videos", "conversations", "identities", "tracks", "turns"):
        out[table] = {k: v.tolist() for k, v in opened.table(table).items()}
    for row in opened.rows:
        clip = opened.read_clip(row["id"], families, sound)
        if sound:
            out[f"{row['id']} mix"] = clip.mix
        for role, person in clip.persons.items():
            for family in families:
                out |= {f"{row['id']} {role} {family} {k}": v for k, v in getattr(person, family).items()}
            if sound:
                out[f"{row['id']} {role} audio"] = person.audio
            if picture:
                out[f"{row['id']} {role} frame"] = next(person.frames([0]))
    return out


def same(read: dict[str, object], truth: dict[str, object]) -> bool:
    return all(np.array_equal(v, truth[k]) if isinstance(v, np.ndarray) else v == truth[k] for k, v in read.items())


def damages(root: Path, n: int):
    """(path, damaged content), spread over all files; large files do not take all of the draws."""
    rng = random.Random(20261121)
    files = sorted(p for p in root.rglob("*") if p.is_file() and p.stat().st_size)
    for k in range(n):
        path = files[k % len(files)] if k < len(files) else rng.choice(files)
        data = bytearray(path.read_bytes())
        if rng.random() < 0.25:
            yield path, bytes(data[: rng.randrange(len(data))])
        else:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            yield path, bytes(data)


def test_every_flipped_bit_and_truncation_is_found_and_none_is_read_as_data(small, tmp_path):
    root = Path(shutil.copytree(small, tmp_path / "d"))
    assert validate(root, deep=True) == []
    truth = everything(root)
    files = {path for path, _ in damages(root, N_DAMAGES)}
    assert len(files) > 50, "all kinds of files are hit"
    for path, damaged in damages(root, N_DAMAGES):
        sound = path.read_bytes()
        path.write_bytes(damaged)
        name = path.relative_to(root).as_posix()
        found = deep_findings(root)
        assert found, name
        assert all(f.fix and f.message for f in found)
        if name not in ("CURRENT", f"commits/{2:06d}.json"):
            assert name in {f.path for f in found}
        try:
            read = everything(root, name)
        except DatasetError:
            pass
        else:
            assert same(read, truth), f"{name}: read as if nothing had happened"
        path.write_bytes(sound)
    assert validate(root, deep=True) == []


def deep_findings(root: Path) -> list[Finding]:
    """What ``validate(root, deep=True)`` finds; what deepens the quick pass, but for decoding, where it is silent."""
    return validate(root) or list(validate_history.check(root, read_current(root), deep=True))


def test_repair_writes_a_lost_or_damaged_pointer_again(small, tmp_path):
    root = Path(shutil.copytree(small, tmp_path / "d"))
    sound = (root / "CURRENT").read_bytes()
    for damaged in (b"1", b"2 " + b"0" * 64 + b"\n", b"\xff" * 10, None):
        (root / "CURRENT").unlink()
        if damaged is not None:
            (root / "CURRENT").write_bytes(damaged)
        assert any("--repair" in f.fix for f in validate(root))
        (line,) = repair(root)
        assert "commit 2 is the newest that is whole" in line
        assert (root / "CURRENT").read_bytes() == sound
    assert repair(root) == []
    assert validate(root, deep=True) == []


def test_repair_goes_back_when_the_last_commit_is_damaged_and_keeps_what_it_had(small, tmp_path):
    root = Path(shutil.copytree(small, tmp_path / "d"))
    record = root / "commits" / "000002.json"
    record.write_bytes(record.read_bytes().replace(b'"clips": 2', b'"clips": 3'))
    media = sorted((root / "media").iterdir())
    (line,) = [text for text in repair(root) if "CURRENT" in text]
    assert "commit 1 is the newest that is whole; commits [2] are damaged" in line
    assert len(open_dataset(root).rows) == 1
    assert sorted((root / "media").iterdir()) == media, "no byte of the lost state is deleted"
    assert {f.code for f in validate(root)} == {"orphan"}


def test_repair_restores_small_files_from_copies_copies_from_them_and_removes_litter(small, tmp_path):
    root = Path(shutil.copytree(small, tmp_path / "d"))
    state = read_current(root)
    for name in ("tables/turns.parquet", "meta/info.json", "manifests/train.jsonl.idx"):
        state.path(root, name).write_bytes(b"x")
    (root / "meta" / "stats.json").unlink()
    (root / "_tmp").mkdir()
    (root / "_tmp" / "half").write_bytes(b"x")
    (root / "media" / "stray-0123456789abcdef.mp4").write_bytes(b"x")
    (root / "meta" / "notes.txt").write_text("mine")
    done = repair(root)
    assert len(done) == 6
    assert "removed media/stray-0123456789abcdef.mp4, which no commit names" in done
    assert [(f.code, f.path) for f in validate(root, deep=True)] == [("orphan", "meta/notes.txt")]
    assert (root / "meta" / "notes.txt").read_text() == "mine"


def test_derived_documents_that_are_lost_with_their_copies_are_made_anew_as_they_were(small, tmp_path):
    root = Path(shutil.copytree(small, tmp_path / "d"))
    state = read_current(root)
    names = ["meta/README.md", "meta/croissant.json", "meta/info.json", "meta/schema.json", "meta/stats.json"]
    names += [f"manifests/{split}.jsonl.idx" for split in ("train", "val")]
    for name in names:
        state.path(root, name).unlink(missing_ok=True)
        (root / name).unlink()
    assert {f"made {name} anew" for name in names} <= set(repair(root))
    assert validate(root, deep=True) == []
    for name in ("tables/turns.parquet", "meta/info.json"):
        state.path(root, name).write_bytes(b"x")
        (root / name).write_bytes(b"y")
    assert repair(root) == [], "what they follow from is lost too"
    assert validate(root)


def test_repair_never_touches_rows_or_media(small, tmp_path):
    root = Path(shutil.copytree(small, tmp_path / "d"))
    hurt = [next((root / "media").glob("*.mp4")), next((root / "frames").rglob("*.parquet"))]
    for path in hurt:
        path.write_bytes(path.read_bytes()[:-1])
    before = {p: p.read_bytes() for p in root.rglob("*") if p.is_file()}
    assert repair(root) == []
    assert {p: p.read_bytes() for p in root.rglob("*") if p.is_file()} == before
    assert {f.code for f in validate(root)} == {"wrong_size"}
    with pytest.raises(DatasetError, match="holds no dataset"):
        repair(tmp_path)


def test_all_findings_are_listed_not_only_the_first(small, tmp_path):
    root = Path(shutil.copytree(small, tmp_path / "d"))
    (root / "meta" / "info.json").write_text("{}")
    read_current(root).path(root, "tables/turns.parquet").write_bytes(b"x")
    next((root / "media").glob("*.flac")).unlink()
    (root / "_tmp").mkdir()
    assert {f.code for f in validate(root)} >= {"stale_copy", "wrong_size", "missing_file", "orphan"}


def test_a_takedown_that_was_cut_before_its_purge_is_told(small, tmp_path, monkeypatch):
    from dialogbuild.dataset.takedown import takedown

    root = Path(shutil.copytree(small, tmp_path / "d"))
    with monkeypatch.context() as patch:
        patch.setattr(history, "forget", lambda *given: [])
        takedown(root, "talk-aaaa_c000", reason="consent_withdrawn", by="ticket 1")
    found = [f for f in validate(root) if f.code == "unfinished_takedown"]
    assert [f.path for f in found] == ["commits/000002.json", "commits/000001.json"]
    assert takedown(root, "talk-aaaa_c000", reason="consent_withdrawn", by="ticket 1").again
    assert validate(root, deep=True) == []
