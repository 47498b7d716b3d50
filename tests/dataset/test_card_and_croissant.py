import json
import logging
import warnings

import numpy as np
import pytest
import yaml

from dialogbuild.artifact import file_sha256
from dialogbuild.dataset.card import card, limits
from dialogbuild.dataset.commit import read_current
from dialogbuild.dataset.reader import open_dataset
from dialogbuild.dataset.schema import FAMILIES, FORMAT_VERSION, RELATIONS, TABLES
from dialogbuild.publish import Rights, publish

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what its own dependencies say of each other
    mlcroissant = pytest.importorskip("mlcroissant")
pytestmark = pytest.mark.filterwarnings("ignore:.*is deprecated:DeprecationWarning")


@pytest.fixture(scope="module")
def described(published):
    return json.loads((published / "meta" / "croissant.json").read_text())


@pytest.fixture(scope="module")
def loaded(published):
    logging.disable(logging.WARNING)  # datePublished is for whoever publishes; see test below
    yield mlcroissant.Dataset(jsonld=str(published / "meta" / "croissant.json"))
    logging.disable(logging.NOTSET)


def test_mlcroissant_finds_no_error_and_misses_only_the_date_of_publication(loaded):
    issues = loaded.metadata.ctx.issues
    assert issues.errors == set()
    assert len(issues.warnings) == 1
    assert "datePublished" in next(iter(issues.warnings))


@pytest.mark.parametrize("table", [t.name for t in RELATIONS])
def test_mlcroissant_reads_the_tables_through_the_record_and_checks_their_hashes(loaded, published, table):
    records = list(loaded.records(table))
    columns = open_dataset(published).table(table)
    assert len(records) == len(next(iter(columns.values())))
    for name, values in columns.items():
        read = [r[f"{table}/{name}"] for r in records]
        read = [v.decode() if isinstance(v, bytes) else v for v in read]
        np.testing.assert_array_equal(np.asarray(read).astype(values.dtype), values, err_msg=name)


def test_every_table_and_column_of_the_schema_is_a_record_set_and_a_field(described, published):
    widths = open_dataset(published).info["widths"]
    sets = {r["@id"]: r for r in described["recordSet"]}
    assert set(sets) == set(TABLES)
    for name, table in TABLES.items():
        fields = {f["name"]: f for f in sets[name]["field"]}
        assert list(fields) == [c.name for c in table.columns]
        for c in table.columns:
            assert c.meaning in fields[c.name]["description"]
            assert f"[{c.unit}]" in fields[c.name]["description"] or not c.unit
            k = widths.get(c.width, c.width)
            shape = str(k) if k and c.dtype != "binary" else None
            assert fields[c.name].get("arrayShape") == shape, c.name


def test_every_file_of_the_commit_is_described_with_its_true_hash(described, published):
    objects = {d["@id"]: d for d in described["distribution"] if d["@type"] == "cr:FileObject"}
    named = {n for n in read_current(published).files if not n.startswith("media/")}
    assert set(objects) == named - {"meta/croissant.json"}
    for name, about in objects.items():
        path = (published / "meta" / about["contentUrl"]).resolve()
        assert path == (published / name).resolve()
        assert about["sha256"] == file_sha256(path)
    shards = {d["@id"]: d for d in described["distribution"] if d["@type"] == "cr:FileSet"}
    for family in FAMILIES:
        contained = {c["@id"] for c in shards[f"{family.name}-shards"]["containedIn"]}
        assert contained == {n for n in named if n.startswith(f"frames/{family.name}/")} != set()


def test_the_record_and_the_card_belong_to_the_commit(published):
    files = read_current(published).files
    for name in ("meta/croissant.json", "meta/README.md"):
        assert files[name].sha256 == file_sha256(published / name)


def test_the_version_follows_the_content(parts, published, tmp_path):
    publish(parts[:1], tmp_path / "d")
    versions = [json.loads((r / "meta" / "croissant.json").read_text())["version"] for r in (published, tmp_path / "d")]
    assert versions[0] != versions[1]
    assert all(v.split("+")[0] == FORMAT_VERSION for v in versions)


def test_rights_are_told_where_hubs_and_machines_look(parts, tmp_path):
    rights = {"talk-aaaa": Rights("CC-BY-4.0", "form-1"), "talk-bbbb": Rights("CC-BY-4.0", "form-2")}
    publish(parts, tmp_path / "d", rights)
    text = (tmp_path / "d" / "meta" / "README.md").read_text()
    header = yaml.safe_load(text.split("---")[1])
    assert header["license"] == "cc-by-4.0"
    assert "Consent reference missing for 0 of 2 videos" in " ".join(text.split())
    record = json.loads((tmp_path / "d" / "meta" / "croissant.json").read_text())
    assert record["license"] == ["CC-BY-4.0"]
    assert "missing for 0 of 2" in record["rai:personalSensitiveInformation"][0]


def test_the_card_says_how_much_of_what_there_is_and_how_to_have_it_removed(published):
    text = (published / "meta" / "README.md").read_text()
    header = yaml.safe_load(text.split("---")[1])
    assert (header["license"], header["license_name"]) == ("other", "as-stated-per-video")
    info = open_dataset(published).info
    flat = " ".join(text.split())
    assert f"{info['totals']['identities']} identities" in text
    for split, total in info["splits"].items():
        assert f"| {split} | {total['hours']:.3f} | {total['conversations']} |" in text
    assert "Withdrawal" in text
    assert "@misc" in text
    assert all(" ".join(sentence.split()) in flat for sentence in limits(info))
    assert all(f"`{c.name}`" in text for t in TABLES.values() for c in t.columns)


def test_labels_of_a_real_head_carry_no_warning_of_the_built_in_one(published):
    info = open_dataset(published).info
    info["head_model"]["model_id"] = "flame2023-open-0123456789ab"
    assert "Do not publish" not in card(info, {})
    assert not any("procedural" in text for text in limits(info))


def test_an_empty_dataset_is_described_too(tmp_path):
    publish([], tmp_path / "d")
    logging.disable(logging.WARNING)
    try:
        loaded = mlcroissant.Dataset(jsonld=str(tmp_path / "d" / "meta" / "croissant.json"))
    finally:
        logging.disable(logging.NOTSET)
    assert {r.id for r in loaded.metadata.record_sets} == {t.name for t in RELATIONS}
