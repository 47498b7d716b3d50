"""The verbs say what they did, and fail with the exit status that scripts rely on."""

import pytest
import typer
from typer.testing import CliRunner

from dialogbuild.dataset.reader import open_dataset
from dialogbuild.dataset_cli import add_verbs
from dialogbuild.errors import DatasetError


@pytest.fixture
def call():
    app = typer.Typer(pretty_exceptions_enable=False)
    add_verbs(app)

    def run(*arguments, status=0):
        result = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
        assert result.exit_code == status, result.output
        return result.output

    return run


def test_validate_lists_all_findings_with_their_fix_and_fails(dataset, call):
    assert "all well" in call("validate", dataset)
    (dataset / "meta" / "info.json").unlink()
    (dataset / "media" / "stray-0123456789abcdef.mp4").write_bytes(b"x")
    told = call("validate", dataset, status=1)
    assert "[stale_copy]; to fix: " in told
    assert "[orphan]; to fix: " in told
    assert "2 findings" in told
    repaired = call("validate", dataset, "--repair")
    assert "renewed the copy meta/info.json" in repaired
    assert "removed media/stray-0123456789abcdef.mp4" in repaired
    assert "all well" in repaired


def test_takedown_says_what_is_gone_and_what_it_does_not_reach(dataset, tmp_path, call, monkeypatch):
    (tmp_path / "work" / "ingest" / "talk-bbbb").mkdir(parents=True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "cache" / "dialogbuild" / "columns").mkdir(parents=True)
    more = ("--by", "ticket 1", "--work", tmp_path / "work", "--clear-cache")
    told = call("takedown", dataset, "talk-bbbb", *more)
    assert "video: 1 conversations are gone; commit 2" in told
    assert "not touched: the source file, exports" in told
    assert not (tmp_path / "work" / "ingest" / "talk-bbbb").exists()
    assert not (tmp_path / "cache" / "dialogbuild" / "columns").exists()
    assert "was taken down before" in call("takedown", dataset, "talk-bbbb", *more)
    with pytest.raises(DatasetError, match="no video, identity or conversation"):
        call("takedown", dataset, "nobody", "--by", "ticket 1")


def test_merge_and_compact_say_what_they_did(published, tmp_path, call):
    target = tmp_path / "all"
    assert "commit 1, 3 clips" in call("merge", published, "--into", target)
    assert "frame files" in call("compact", target, "--clips-per-file", 64, "--keep", 1)
    assert len(open_dataset(target).rows) == 3
