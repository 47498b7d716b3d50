"""Each test reads an export by the rule of its consumer's own loader, written here from the loader's description."""

import gc
import io
import json
import tarfile

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
import yaml

from dialogbuild.dataset.exporters import huggingface, rttm, webdataset
from dialogbuild.dataset.schema import FAMILIES, RELATIONS
from dialogbuild.tables import from_arrow

LONG, SHORT = "speaker1.talk_c000", "talk-35_c000"


@pytest.fixture(scope="module")
def hub(flame, tmp_path_factory):
    out = tmp_path_factory.mktemp("x") / "hub"
    huggingface.export(flame, out, huggingface.HuggingFaceOptions(video=True))
    return out


def load_config(root, name):
    """The hub's rule: the README's YAML header lists configs; each split's glob lists Parquet files, read in order."""
    header = yaml.safe_load((root / "README.md").read_text().split("---\n")[1])
    (config,) = [c for c in header["configs"] if c["config_name"] == name]
    return {d["split"]: [pq.read_table(p) for p in sorted(root.glob(d["path"]))] for d in config["data_files"]}


def test_every_parquet_file_belongs_to_a_config_and_the_header_is_valid(hub):
    header = yaml.safe_load((hub / "README.md").read_text().split("---\n")[1])
    assert header["license"] == "cc-by-4.0"
    assert [c.get("default", False) for c in header["configs"]].count(True) == 1
    listed = {p for c in header["configs"] for d in c["data_files"] for p in hub.glob(d["path"])}
    assert listed == set(hub.rglob("*.parquet")) != set()
    assert {d["split"] for c in header["configs"] for d in c["data_files"]} == {"train", "validation"}


@pytest.mark.parametrize("family", [f.name for f in FAMILIES])
def test_hub_frames_are_the_datasets_with_types_and_units(hub, flame, family):
    loaded = load_config(hub, family)
    for split, clip_id in (("train", LONG), ("validation", SHORT)):
        (table,) = loaded[split]
        clip = flame.read_clip(clip_id, audio=False)
        for column in table.column_names:
            want = np.concatenate([getattr(clip.persons[role], family)[column] for role in "AB"])
            np.testing.assert_array_equal(from_arrow(table.column(column)), want, err_msg=column)
            assert b"unit" in table.schema.field(column).metadata


@pytest.mark.parametrize("name", [t.name for t in RELATIONS])
def test_hub_tables_are_divided_by_split_and_lose_no_row(hub, flame, name):
    loaded = load_config(hub, name)
    rows = sum(t.num_rows for tables in loaded.values() for t in tables)
    assert rows == len(next(iter(flame.table(name).values())))
    for split, tables in loaded.items():
        assert all(SHORT.split("_")[0] in str(t.to_pylist()) for t in tables) == (split == "validation")
    if name == "tracks":
        paths = [r["video_file"] for t in loaded["train"] for r in t.to_pylist()]
        assert all((hub / p).is_file() for p in paths)


def test_hub_sound_is_embedded_and_declared_as_audio(hub, flame):
    (table,) = load_config(hub, "audio")["train"]
    features = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    assert features["audio"] == {"sampling_rate": 16000, "_type": "Audio"}
    assert list(features) == table.column_names
    clip = flame.read_clip(LONG)
    want = [clip.persons["A"].audio, clip.persons["B"].audio, clip.mix]
    for row, samples in zip(table.to_pylist(), want, strict=True):
        assert row["conversation_id"] == LONG
        read, rate = soundfile.read(io.BytesIO(row["audio"]["bytes"]), dtype="float32")
        assert rate == 16000
        np.testing.assert_array_equal(read, samples)


def test_a_hub_export_of_some_clips_holds_nothing_of_the_others(flame, tmp_path):
    options = huggingface.HuggingFaceOptions(clips=(SHORT,), families=("motion",))
    huggingface.export(flame, tmp_path / "h", options)
    for path in (tmp_path / "h").rglob("*.parquet"):
        assert path.name.startswith("validation")
        assert "speaker1" not in str(pq.read_table(path).drop_columns(["audio"] if "audio" in path.parts else []))
    assert "1 of the dataset's 2 clips" in (tmp_path / "h" / "README.md").read_text()


@pytest.fixture(scope="module")
def shards(flame, tmp_path_factory):
    out = tmp_path_factory.mktemp("x") / "wds"
    families = ("motion", "landmarks", "quality")
    webdataset.export(flame, out, webdataset.WebDatasetOptions(families=families, video=True))
    return out


def samples_of(path):
    """webdataset's rule: consecutive members with the same name up to the first dot are one sample."""
    found = []
    with tarfile.open(path) as tar:
        for member in tar:
            key, _, kind = member.name.partition(".")
            if not found or found[-1][0] != key:
                found.append((key, {}))
            found[-1][1][kind] = tar.extractfile(member).read()
    assert len({key for key, _ in found}) == len(found), "a sample's members must follow each other"
    return found


def test_a_tar_sample_holds_the_clip_of_both_persons(shards, flame):
    ((key, sample),) = samples_of(shards / "train-000000.tar")
    clip = flame.read_clip(LONG)
    assert "." not in key
    about = json.loads(sample["json"])
    assert (about["id"], about["n_ticks"], about["split"]) == (LONG, clip.n_ticks, "train")
    assert len(about["turns"]) == len(clip.turns["turn"])
    for role, side in (("A", "a"), ("B", "b")):
        person = clip.persons[role]
        np.testing.assert_array_equal(np.float32(about["persons"][side]["shape"]), person.shape)
        for family in ("motion", "landmarks", "quality"):
            with np.load(io.BytesIO(sample[f"{side}.{family}.npz"]), allow_pickle=False) as stored:
                columns = getattr(person, family)
                assert set(stored) == set(columns) - {"track_id"}
                for name in set(stored) - {"mask_bits", "mask_parts"}:
                    np.testing.assert_array_equal(stored[name], columns[name])
                if family == "landmarks":
                    for name in ("mask_bits", "mask_parts"):
                        assert stored[name][7].tobytes() == bytes(columns[name][7])
        read, _ = soundfile.read(io.BytesIO(sample[f"{side}.flac"]), dtype="float32")
        np.testing.assert_array_equal(read, person.audio)
        assert sample[f"{side}.mp4"] == person.video.read_bytes()
    assert "mix.flac" in sample


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # it leaves its files open
def test_the_real_webdataset_decodes_the_shards(shards, flame):
    wds = pytest.importorskip("webdataset")
    dataset = wds.WebDataset(str(shards / "train-000000.tar"), shardshuffle=False).decode()
    (sample,) = list(dataset)
    motion = flame.read_clip(LONG, audio=False).persons["B"].motion
    np.testing.assert_array_equal(sample["b.motion.npz"]["expr"], motion["expr"])
    assert sample["json"]["id"] == LONG
    del dataset
    gc.collect()


def test_equal_datasets_give_equal_tars_and_a_full_shard_begins_a_new_one(flame, shards, tmp_path, monkeypatch):
    families = ("motion", "landmarks", "quality")
    webdataset.export(flame, tmp_path / "w", webdataset.WebDatasetOptions(families=families, video=True))
    for path in shards.glob("*.tar"):
        assert (tmp_path / "w" / path.name).read_bytes() == path.read_bytes()
    rows = [{**row, "split": "train"} for row in flame.rows]
    monkeypatch.setattr(webdataset.Job, "rows", lambda _: rows)
    small = webdataset.WebDatasetOptions(families=("motion",), audio=False, shard_mb=0)
    webdataset.export(flame, tmp_path / "s", small)
    assert sorted(p.name for p in (tmp_path / "s").glob("*.tar")) == ["train-000000.tar", "train-000001.tar"]


def read_rttm(path):
    """The rule of diarization tools: ten fields divided by blanks; file, channel, start, duration, speaker."""
    rows = []
    for line in path.read_text().splitlines():
        kind, name, channel, start, duration, *rest = line.split()
        assert (kind, channel, len(rest)) == ("SPEAKER", "1", 5)
        assert [rest[0], rest[1], rest[3], rest[4]] == ["<NA>"] * 4
        rows.append((name, float(start), float(duration), rest[2]))
    return rows


@pytest.mark.parametrize("recording", ["clip", "video"])
def test_turns_come_back_from_rttm_to_the_sample(flame, tmp_path, recording):
    rttm.export(flame, tmp_path / "r", rttm.RTTMOptions(recording=recording))
    turns = flame.table("turns")
    row = next(r for r in flame.rows if r["id"] == SHORT)
    name = SHORT if recording == "clip" else row["video_id"]
    zero = 0 if recording == "clip" else row["start_tick"] * 640
    rows = read_rttm(tmp_path / "r" / "rttm" / f"{name}.rttm")
    mine = turns["conversation_id"] == SHORT
    want = sorted(
        (int(a) + zero, int(b) + zero, f"talk-35_p{p}")
        for a, b, p in zip(*(turns[k][mine] for k in ("start_sample", "end_sample", "person")), strict=True)
    )
    got = sorted((round(s * 16000), round((s + d) * 16000), who) for _, s, d, who in rows)
    assert got == want
    assert {n for n, *_ in rows} == {name}
    fields = (tmp_path / "r" / "uem" / f"{name}.uem").read_text().split()
    assert fields[:2] == [name, "1"]
    assert [round(float(v) * 16000) for v in fields[2:]] == [zero, zero + row["n_samples"]]
    assert (tmp_path / "r" / "audio").exists() == (recording == "clip")


def test_rttm_sound_is_the_mix_that_the_turns_are_counted_on(flame, tmp_path):
    rttm.export(flame, tmp_path / "r", rttm.RTTMOptions(clips=(SHORT,)))
    read, rate = soundfile.read(tmp_path / "r" / "audio" / f"{SHORT}.wav", dtype="float32")
    assert rate == 16000
    np.testing.assert_array_equal(read, flame.read_clip(SHORT).mix)
    assert "not for publishing" not in (tmp_path / "r" / "LOST.md").read_text()
