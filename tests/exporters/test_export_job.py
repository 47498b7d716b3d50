import json

import numpy as np
import pytest

from dialogbuild.dataset.exporters import artalk, dualtalk, rttm, unils, vhap
from dialogbuild.dataset.exporters.arrays import pieces, runs, to_width
from dialogbuild.dataset.exporters.job import Job, Options
from dialogbuild.dataset.exporters.registry import FORMATS, find, make_options
from dialogbuild.errors import ConfigError, DatasetError

HEADS = [dualtalk, unils, artalk, vhap]


@pytest.mark.parametrize("module", HEADS, ids=lambda m: m.FORMAT.name)
def test_labels_of_another_head_are_refused_and_nothing_is_left_behind(procedural, tmp_path, module):
    with pytest.raises(ConfigError, match=r"coefficients of procedural-v1.*--head flame2023\.pkl.*--allow-other-head"):
        module.export(procedural, tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_another_head_that_was_asked_for_is_told_loudly(procedural, tmp_path):
    options = artalk.ARTalkOptions(allow_other_head=True, splits=("val",))
    report = artalk.export(procedural, tmp_path / "x", options)
    assert "**Wrong on purpose**" in (tmp_path / "x" / "LOST.md").read_text()
    assert any("Wrong on purpose" in s for s in report.lost)
    assert any("not for publishing" in s for s in report.lost)
    assert json.loads((tmp_path / "x" / "export.json").read_text())["head_model"]["model_id"] == "procedural-v1"


def test_flame_coefficients_that_are_cut_are_told(flame, tmp_path):
    report = dualtalk.export(flame, tmp_path / "x")
    assert "expression components 50 to 99" in report.lost
    assert "shape components 100 to 299" in report.lost
    assert not any("Wrong on purpose" in s for s in report.lost)


def test_the_report_names_every_file_and_every_lost_thing_is_on_the_page(flame, tmp_path):
    report = rttm.export(flame, tmp_path / "x")
    found = {p.relative_to(tmp_path / "x").as_posix() for p in (tmp_path / "x").rglob("*") if p.is_file()}
    assert set(report.files) == found
    page = (tmp_path / "x" / "LOST.md").read_text()
    record = json.loads((tmp_path / "x" / "export.json").read_text())
    assert all(sentence in page for sentence in report.lost)
    assert set(rttm.FORMAT.lost) <= set(report.lost) == set(record["lost"])
    assert record["n_files"] == len(found)
    assert record["dataset_commit"] == flame.commit.number


def test_an_existing_folder_stays_untouched_without_force(flame, tmp_path):
    rttm.export(flame, tmp_path / "x")
    (tmp_path / "x" / "mine.txt").write_text("kept")
    with pytest.raises(ConfigError, match="--force"):
        rttm.export(flame, tmp_path / "x")
    assert (tmp_path / "x" / "mine.txt").read_text() == "kept"


def test_force_replaces_an_earlier_export_whole(flame, tmp_path):
    rttm.export(flame, tmp_path / "x")
    (tmp_path / "x" / "stale.rttm").write_text("old")
    rttm.export(flame, tmp_path / "x", rttm.RTTMOptions(force=True, audio=False))
    assert not (tmp_path / "x" / "stale.rttm").exists()
    assert not (tmp_path / "x" / "audio").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_force_never_deletes_what_no_export_wrote(flame, tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "thesis.tex").write_text("years of work")
    with pytest.raises(ConfigError, match="not an earlier export"):
        rttm.export(flame, tmp_path / "x", rttm.RTTMOptions(force=True))
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "x")
    with pytest.raises(ConfigError, match="in the way"):
        rttm.export(flame, link, rttm.RTTMOptions(force=True))
    assert (tmp_path / "x" / "thesis.tex").is_file()


def test_a_failure_half_way_leaves_no_folder_and_the_old_one_as_it_was(flame, tmp_path, monkeypatch):
    rttm.export(flame, tmp_path / "x")
    before = sorted(p.name for p in (tmp_path / "x").rglob("*"))
    monkeypatch.setattr(rttm, "write_text", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        rttm.export(flame, tmp_path / "x", rttm.RTTMOptions(force=True))
    with pytest.raises(OSError, match="disk full"):
        rttm.export(flame, tmp_path / "y")
    assert [p.name for p in tmp_path.iterdir()] == ["x"]
    assert sorted(p.name for p in (tmp_path / "x").rglob("*")) == before


def test_an_export_into_the_dataset_is_refused(flame):
    with pytest.raises(ConfigError, match="inside the dataset"):
        rttm.export(flame, flame.root / "media" / "x")


def test_an_export_of_nothing_is_an_error_that_says_why(flame, tmp_path):
    options = dualtalk.DualTalkOptions(clips=("talk-35_c000",))
    with pytest.raises(DatasetError, match="no 201 ticks in a row"):
        dualtalk.export(flame, tmp_path / "x", options)
    with pytest.raises(DatasetError, match="no clip was selected"):
        rttm.export(flame, tmp_path / "x", rttm.RTTMOptions(splits=("test",)))
    assert list(tmp_path.iterdir()) == []


def test_a_clip_that_does_not_exist_is_named(flame, tmp_path):
    with pytest.raises(ConfigError, match="no clip nobody_c000"):
        rttm.export(flame, tmp_path / "x", rttm.RTTMOptions(clips=("nobody_c000",)))


def test_file_names_are_safe_and_two_ids_never_share_one(flame, tmp_path):
    job = Job(flame, tmp_path, Options(), ())
    ids = ["../../etc/passwd", "a.b", "a_b", "a b", "", "ä", "talk_c000"]
    names = [job.name(i) for i in ids]
    assert len(set(names)) == len(ids)
    assert all(n and set(n) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") for n in names)
    assert names[-1] == "talk_c000"
    assert [job.name(i) for i in ids] == names


@pytest.mark.parametrize("length", [200, 201, 399, 400, 401, 402, 600, 798, 799, 1200, 5000])
def test_pieces_are_never_too_short_or_too_long_and_follow_each_other(length):
    cut = pieces((10, 10 + length), 201, 399)
    assert all(201 <= b - a <= 399 for a, b in cut)
    assert [a for a, _ in cut[1:]] == [b for _, b in cut[:-1]]
    lost = length - sum(b - a for a, b in cut)
    assert lost == (length if length < 201 else length - 399 if length in (400, 401) else 0)


def test_runs_are_half_open():
    assert runs(np.array([1, 1, 0, 0, 1], bool)) == [(0, 2), (4, 5)]
    assert runs(np.zeros(3, bool)) == []


def test_widths_are_cut_or_padded_with_zeros():
    x = np.arange(6, dtype=np.float64).reshape(2, 3)
    np.testing.assert_array_equal(to_width(x, 2), [[0, 1], [3, 4]])
    np.testing.assert_array_equal(to_width(x, 4), [[0, 1, 2, 0], [3, 4, 5, 0]])
    assert to_width(x, 4).dtype == np.float32


def test_settings_are_read_by_their_type_and_wrong_ones_say_what_there_is():
    options = make_options(find("vhap"), ["every=3", "images=no", "camera=crop"])
    assert (options.every, options.images, options.camera) == (3, False, "crop")
    assert make_options(find("webdataset"), ["families=motion,landmarks"]).families == ("motion", "landmarks")
    for text, reason in (
        ("speed=3", r"no setting 'speed=3'; it has: camera=centred"),
        ("every=0", "whole number of 1 or more"),
        ("images=maybe", "true or false"),
        ("camera=left", "it may be: centred, crop"),
    ):
        with pytest.raises(ConfigError, match=reason):
            make_options(find("vhap"), [text])
    with pytest.raises(ConfigError, match="it may be: train, val, test"):
        make_options(find("rttm"), splits=("dev",))
    with pytest.raises(ConfigError, match="there are: dualtalk, unils"):
        find("mp3")


def test_every_format_says_what_it_loses_and_explains_its_settings():
    for form in FORMATS.values():
        assert form.lost, form.name
        for f in form.options.__dataclass_fields__.values():
            assert f.metadata["meaning"], (form.name, f.name)
