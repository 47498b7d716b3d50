"""A dataset of an older minor format stays readable and valid; publishing over it brings it up to date."""

from __future__ import annotations

from pathlib import Path

import pytest
from fabricate import fabricate, shard_parts

from dialogbuild.dataset import rows, schema
from dialogbuild.dataset.reader import open_dataset
from dialogbuild.dataset.schema import FAMILIES, FORMAT_VERSION, QUALITY, RELATIONS, TABLES
from dialogbuild.dataset.validate import validate
from dialogbuild.publish import publish
from dialogbuild.stages import shard

FIRST = "1.0.0"
NEW = {c.name for c in QUALITY.columns if c.since == "1.1.0"}
NEW_IN_TALKS = {"av_offset_ms", "av_offset_sigma_ms", "av_offset_applied_ms"}


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A dataset as version 1.0.0 wrote it: that schema in force while its parts are made and published."""
    tables = (*FAMILIES, *RELATIONS)
    now = {t.name: t.columns for t in tables}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schema, "FORMAT_VERSION", FIRST)
        patch.setattr(shard, "_identity_rows", _identity_rows_of(FIRST))
        for name in ("conversation", "track"):
            patch.setattr(rows, f"{name}_row", _row_of(f"{name}s", getattr(rows, f"{name}_row")))
        try:
            for table in tables:
                object.__setattr__(table, "columns", table.at(FIRST).columns)
            made = fabricate(tmp_path / "old", "talk-aaaa", n_ticks=40)
            publish(shard_parts(made, tmp_path / "work_old"), tmp_path / "dataset")
        finally:
            for table in tables:
                object.__setattr__(table, "columns", now[table.name])
    return tmp_path / "dataset"


def _identity_rows_of(version):
    now = shard._identity_rows
    known = {c.name for c in schema.IDENTITIES.at(version).columns}
    return lambda *given: [{k: v for k, v in row.items() if k in known} for row in now(*given)]


def _row_of(table, now):
    """A row without the columns that came after the first version."""
    later = {c.name for c in schema.TABLES[table].columns if c.since != FIRST}
    return lambda *given: {k: v for k, v in now(*given).items() if k not in later}


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
