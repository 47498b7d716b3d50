import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from dialogbuild.dataset import crop
from dialogbuild.dataset.reader import open_dataset
from dialogbuild.dataset.schema import FAMILIES, SAMPLES_PER_TICK, TABLES
from dialogbuild.errors import DatasetError
from dialogbuild.tables import read_table

SCHEMA = Path(__file__).resolve().parents[2] / "manifests" / "manifest.schema.json"


def test_a_clip_comes_back_with_both_persons_aligned(published):
    clip = open_dataset(published).read_clip("talk-aaaa_c001")
    n = clip.n_ticks
    assert set(clip.persons) == {"A", "B"}
    for person in clip.persons.values():
        for family in FAMILIES:
            columns = getattr(person, family.name)
            assert set(columns) == {c.name for c in family.columns}
            assert np.array_equal(columns["tick"], np.arange(n))
            assert set(columns["track_id"]) == {person.track["track_id"]}
        assert person.audio.shape == (n * SAMPLES_PER_TICK,)
    assert clip.mix.shape == (n * SAMPLES_PER_TICK,)
    a, b = (clip.persons[role].motion for role in "AB")
    assert np.array_equal(a["src_tick"], b["src_tick"])


def test_rows_are_the_ones_that_the_part_held(published, parts):
    opened = open_dataset(published)
    for part in parts:
        clip = opened.read_clip(part.parent.name, audio=False)
        for family in FAMILIES:
            made = read_table(part / f"{family.name}.parquet")
            for person in clip.persons.values():
                mine = made["track_id"] == person.track["track_id"]
                for name, values in getattr(person, family.name).items():
                    assert np.array_equal(values, made[name][mine]), (family.name, name)


def test_crop_frames_show_the_face_where_the_landmarks_say(published):
    person = open_dataset(published).read_clip("talk-bbbb_c000", audio=False).persons["B"]
    ticks = [0, 1, 17, 33]
    for tick, image in zip(ticks, person.frames(ticks), strict=True):
        matrix = person.landmarks["crop_m"][tick].reshape(2, 3)
        centre = crop.apply(matrix, person.landmarks["lmk_px"][tick].reshape(-1, 2)).mean(0)
        skin = np.abs(image.astype(int) - (205, 160, 130)).sum(-1) < 60
        y, x = np.nonzero(skin)
        assert (x.mean() + 0.5, y.mean() + 0.5) == pytest.approx(centre, abs=12)


def test_only_what_is_asked_for_is_read(published):
    clip = open_dataset(published).read_clip(families=("motion",), audio=False)
    assert clip.persons["A"].landmarks == {}
    assert clip.persons["A"].audio is None
    assert clip.mix is None


def test_an_unknown_clip_and_an_empty_folder_say_what_is_there(published, tmp_path):
    with pytest.raises(DatasetError, match="no clip 'nope'; it has 3"):
        open_dataset(published).read_clip("nope")
    with pytest.raises(DatasetError, match="CURRENT is missing"):
        open_dataset(tmp_path)


def test_unknown_conventions_are_refused(dataset, monkeypatch):
    from dialogbuild.dataset import conventions

    monkeypatch.setitem(conventions._FIXED, "camera", "OpenGL axes")
    with pytest.raises(DatasetError, match="does not know: its axes or units may differ"):
        open_dataset(dataset)


def test_damaged_rows_raise_instead_of_giving_wrong_numbers(dataset):
    path = next((dataset / "frames" / "motion").glob("train-*.parquet"))
    data = bytearray(path.read_bytes())
    data[200:220] = bytes(20)
    path.write_bytes(data)
    opened = open_dataset(dataset)
    clip_id = opened.split("train")[0]["id"]
    with pytest.raises(DatasetError, match="missing or damaged"):
        opened.read_clip(clip_id)


def test_tables_hold_the_rows_of_all_clips(published):
    opened = open_dataset(published)
    assert len(opened.table("tracks")["track_id"]) == 6
    assert len(opened.table("identities")["identity_id"]) == 4
    turns = opened.table("turns")
    n = {row["id"]: row["n_ticks"] for row in opened.rows}
    for talk, start, end, a, b in zip(
        *(turns[k] for k in ("conversation_id", "start_tick", "end_tick", "start_sample", "end_sample")), strict=True
    ):
        assert 0 <= start < end <= n[talk]
        assert 0 <= a < b <= n[talk] * SAMPLES_PER_TICK
    assert set(turns["kind"]) <= {"turn", "backchannel"}
    assert set(TABLES) >= {"videos", "conversations"}


def test_manifest_rows_follow_the_committed_json_schema(published):
    schema = json.loads(SCHEMA.read_text())
    check = jsonschema.Draft202012Validator(schema)
    check.check_schema(schema)
    rows = open_dataset(published).rows
    for row in rows:
        assert list(check.iter_errors(row)) == []
    for broken in (
        {**rows[0], "split": "dev"},
        {**rows[0], "surprise": 1},
        {k: v for k, v in rows[0].items() if k != "tb"},
    ):
        assert list(check.iter_errors(broken))
