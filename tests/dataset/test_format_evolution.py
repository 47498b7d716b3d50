"""A dataset of an older minor format stays readable and valid; publishing over it brings it up to date."""

from __future__ import annotations

from pathlib import Path

import pytest
from fabricate import fabricate, shard_parts
from older import FIRST

from dialogbuild.dataset.reader import open_dataset
from dialogbuild.dataset.schema import FORMAT_VERSION, QUALITY, TABLES
from dialogbuild.dataset.validate import validate
from dialogbuild.publish import publish

NEW = {c.name for c in QUALITY.columns if c.since == "1.1.0"}
NEW_IN_TALKS = {"av_offset_ms", "av_offset_sigma_ms", "av_offset_applied_ms"}


@pytest.fixture
def old(old_format: Path) -> Path:
    return old_format


def test_an_older_minor_version_opens_and_is_valid_without_the_columns_that_came_later(old):
    dataset = open_dataset(old)
    assert dataset.info["format_version"] == FIRST
    clip = dataset.read_clip()
    assert not NEW & set(clip.persons["A"].quality)
    assert not NEW_IN_TALKS & (set(dataset.table("conversations")) | set(clip.row))
    assert "audio_method" not in clip.persons["A"].track
    assert set(TABLES["quality"].at(FIRST).columns) == {c for c in QUALITY.columns if c.name not in NEW}
    assert validate(old, deep=True) == []


def test_only_the_stated_version_excuses_a_missing_column(old, monkeypatch):
    monkeypatch.setattr(type(QUALITY), "at", lambda table, version: table)
    assert "wrong_schema" in {f.code for f in validate(old)}


def test_publishing_over_an_older_dataset_writes_the_current_format(old, tmp_path):
    made = fabricate(tmp_path / "new", "talk-bbbb", n_ticks=40, seed=1)
    publish(shard_parts(made, tmp_path / "work"), old)
    dataset = open_dataset(old)
    assert dataset.info["format_version"] == FORMAT_VERSION
    assert set(dataset.read_clip().persons["B"].quality) >= NEW
    assert set(dataset.table("conversations")) >= NEW_IN_TALKS
    assert set(dataset.table("tracks")["audio_method"]) == {"mask"}
    assert validate(old, deep=True) == []


def test_the_report_of_an_older_dataset_can_still_be_written(old, tmp_path):
    from dialogbuild.report import write_report

    write_report(tmp_path / "work", [], old, tmp_path / "report.html")
    assert "talk-aaaa" in (tmp_path / "report.html").read_text()
