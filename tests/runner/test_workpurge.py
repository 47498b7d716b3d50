"""What a takedown removes from a run's work folder, and what it leaves alone."""

import json

import pytest

from dialogbuild.artifact import write_json
from dialogbuild.errors import ConfigError
from dialogbuild.workpurge import purge_work

SOURCE, OTHER = "a" * 64, "b" * 64


@pytest.fixture
def work(tmp_path):
    """Two videos whose ids begin alike; the first has two clips and a quarantined one."""
    work = tmp_path / "work"
    for video, sha256 in (("talk-1", SOURCE), ("talk-1-2", OTHER)):
        items = [("ingest", video), ("tracks", video), ("shard", f"{video}_c000"), ("fit_flame", f"{video}_c001")]
        for stage, item in items:
            folder = work / stage / item / "0123"
            folder.mkdir(parents=True)
            (folder / "data.bin").write_bytes(item.encode())
            write_json(folder / "_done.json", {"source_sha256": sha256, "item": item})
        (work / "_quarantine" / "quality").mkdir(parents=True, exist_ok=True)
        write_json(work / "_quarantine" / "quality" / f"{video}_c001.json", {"item": video})
    run = work / "_run"
    run.mkdir()
    write_json(run / "funnel.json", [{"item": f"{v}_c000", "video_id": v} for v in ("talk-1", "talk-1-2")])
    write_json(run / "hashes.0of1.json", {"/v/one.mp4|1|2": SOURCE, "/v/two.mp4|1|2": OTHER})
    write_json(run / "last.json", {"src": "/v"})
    lines = [{"event": "start"}, {"item": "talk-1_c000"}, {"item": "talk-1-2_c000"}]
    (run / "20260101T000000Z.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return work


def names(folder):
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("name", ["talk-1", "talk-1_p0", "talk-1_c000", SOURCE])
def test_everything_of_the_video_goes_and_nothing_of_the_other(work, name):
    others = {p for p in names(work) if "talk-1-2" in p}
    purge_work(work, name)
    left = names(work)
    assert {p for p in left if not p.startswith("_run/")} == others
    text = "".join(p.read_text() for p in (work / "_run").iterdir())
    assert SOURCE not in text
    assert "talk-1_c000" not in text
    assert OTHER in text
    assert "talk-1-2_c000" in text
    assert json.loads((work / "_run" / "last.json").read_text()) == {"src": "/v"}
    assert purge_work(work, name) == []


def test_an_interrupted_purge_can_be_repeated(work, monkeypatch):
    import shutil

    real, calls = shutil.rmtree, []

    def rmtree(path, *given, **named):
        calls.append(path)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(path, *given, **named)

    monkeypatch.setattr(shutil, "rmtree", rmtree)
    with pytest.raises(KeyboardInterrupt):
        purge_work(work, SOURCE)
    assert (work / "ingest" / "talk-1").is_dir(), "the last to go: it says which video the hash belongs to"
    purge_work(work, SOURCE)
    assert {p for p in names(work) if not p.startswith("_run/") and "talk-1-2" not in p} == set()


def test_an_unknown_name_changes_nothing_and_a_wrong_folder_is_an_error(work, tmp_path):
    before = names(work)
    assert purge_work(work, "talk") == []
    assert names(work) == before
    with pytest.raises(ConfigError, match="out/work"):
        purge_work(tmp_path / "nowhere", "talk-1")
