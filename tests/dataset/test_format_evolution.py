"""A dataset of an older minor format stays readable and valid; publishing over it brings it up to date."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from fabricate import fabricate, shard_parts
from older import FIRST

from dialogbuild.dataset import assemble
from dialogbuild.dataset.commit import read_current
from dialogbuild.dataset.merge import compact
from dialogbuild.dataset.reader import open_dataset
from dialogbuild.dataset.schema import FORMAT_VERSION, QUALITY, TABLES
from dialogbuild.dataset.takedown import takedown
from dialogbuild.dataset.validate import validate
from dialogbuild.errors import DatasetError
from dialogbuild.publish import append, publish
from dialogbuild.tables import from_arrow

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


@pytest.fixture
def newer(parts, tmp_path, monkeypatch):
    """A dataset as a later minor version would write it: a column more in a family and one more in a relation."""
    from dialogbuild.dataset import schema
    from dialogbuild.dataset.arrow import to_arrow
    from dialogbuild.dataset.part import Part
    from dialogbuild.dataset.schema import IDENTITIES, Column

    gaze = Column("gaze_px", "float32", "where the person looks", "px", 2, -1e4, 1e4, "1.99.0")
    age = Column("age_group", "string", "as stated by the person", since="1.99.0")
    table = Part.table

    def with_gaze(part, family, track_id):
        old = table(part, family.at("1.98.0"), track_id)
        if family.name != "quality":
            return old
        columns = {name: from_arrow(old.column(name)) for name in old.column_names}
        columns["gaze_px"] = np.full((old.num_rows, 2), 3.0, np.float32)
        return to_arrow(family, columns, part.widths)

    with monkeypatch.context() as patch:
        patch.setattr(schema, "FORMAT_VERSION", "1.99.0")
        patch.setattr(Part, "table", with_gaze)
        now = QUALITY.columns, IDENTITIES.columns
        real = assemble._relations
        patch.setattr(assemble, "_relations", lambda *given: _aged(real(*given)))
        try:
            object.__setattr__(QUALITY, "columns", (*QUALITY.columns, gaze))
            object.__setattr__(IDENTITIES, "columns", (*IDENTITIES.columns, age))
            publish(parts, tmp_path / "newer")
        finally:
            object.__setattr__(QUALITY, "columns", now[0])
            object.__setattr__(IDENTITIES, "columns", now[1])
    return tmp_path / "newer"


def _aged(relations):
    return relations | {"identities": [{**row, "age_group": "adult"} for row in relations["identities"]]}


def test_a_newer_minor_version_opens_with_columns_that_this_one_does_not_know(newer):
    dataset = open_dataset(newer)
    assert dataset.info["format_version"] == "1.99.0"
    assert set(dataset.table("identities")["age_group"]) == {"adult"}
    clip = dataset.read_clip()
    assert (clip.persons["A"].quality["gaze_px"] == 3.0).all()
    assert validate(newer, deep=True) == [], "the dataset's own meta/schema.json says what they are"


def test_unknown_columns_are_checked_against_the_ranges_that_the_dataset_states(newer):
    from dialogbuild.dataset import validate_rows
    from dialogbuild.dataset.schema import with_described

    described = json.loads((newer / "meta" / "schema.json").read_text())["tables"]["quality"]
    table = with_described(QUALITY, described)
    clip = open_dataset(newer).read_clip(families=("quality",), audio=False)
    columns = dict(clip.persons["A"].quality)
    assert list(validate_rows._values(table, "x", columns)) == []
    columns["gaze_px"] = columns["gaze_px"] + np.float32(2e4)
    assert [f.code for f in validate_rows._values(table, "x", columns)] == ["out_of_range"]


def test_what_a_newer_version_knows_is_never_lost_by_an_older_one_that_rewrites(newer, parts):
    before = read_current(newer)
    for act in (
        lambda: takedown(newer, "talk-bbbb", "consent_withdrawn", "ticket 1"),
        lambda: compact(newer),
        lambda: append(parts[:1], newer),
    ):
        with pytest.raises(DatasetError, match=r"has format 1\.99\.0"):
            act()
    assert read_current(newer) == before


def test_an_unknown_major_version_is_refused_by_reader_and_validation(dataset):
    from dialogbuild.dataset import commit as commits

    state = read_current(dataset)
    with commits.exclusive(dataset) as scratch:
        commits.commit(dataset, scratch, "x", state.files, {"format_version": "2.0.0"})
    with pytest.raises(DatasetError, match="this version reads 1"):
        open_dataset(dataset)
    (found,) = validate(dataset)
    assert "use dialogbuild of the dataset's major version" in found.message
