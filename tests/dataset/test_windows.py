"""Windows: aligned with their sound, marked where padded, within one clip, owned by their item."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import dialogbuild.dataset
from dialogbuild.artifact import file_sha256
from dialogbuild.dataset import DialogStream, DialogWindows, Frames, Keep, open_dataset
from dialogbuild.dataset.columns import select
from dialogbuild.dataset.reader import crop_frames
from dialogbuild.dataset.windows import window_starts
from dialogbuild.errors import ConfigError, DatasetError
from dialogbuild.media.audio import write_flac
from dialogbuild.publish import publish


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def split(published: Path) -> str:
    """A split that has clips."""
    return str(open_dataset(published).rows[0]["split"])


def clip_of(published, clip_id):
    return open_dataset(published).read_clip(clip_id)


def test_the_package_can_be_imported_without_torch():
    code = "import sys, dialogbuild.dataset as d; d.DialogSampler; d.open_dataset; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    with pytest.raises(AttributeError, match="no attribute 'Windows'"):
        _ = dialogbuild.dataset.Windows  # type: ignore[attr-defined]


@pytest.mark.parametrize("use_cache", [True, False])
def test_a_window_holds_the_rows_and_samples_of_its_ticks(published, split, cache, use_cache):
    columns = ("expr", "jaw_rad", "p_speak", "quality.blur", "lmk_px")
    windows = DialogWindows(published, split, 20, 7, columns=columns, cache=cache if use_cache else False)
    assert windows.uses_cache == use_cache
    assert len(windows) > 2
    for k in range(len(windows)):
        item = windows[k]
        assert (item["clip_id"], item["start_tick"]) == windows.where(k)
        clip, ticks = clip_of(published, item["clip_id"]), slice(item["start_tick"], item["start_tick"] + 20)
        samples = slice(ticks.start * 640, ticks.stop * 640)
        for person in clip.persons.values():
            mine = item[person.track["side"]]
            assert mine["role"] == person.role
            for name, family in zip(columns, ("motion",) * 3 + ("quality", "landmarks"), strict=True):
                bare = name.split(".")[-1]
                want = getattr(person, family)[bare][ticks].reshape(20, -1)
                assert mine[bare].dtype == torch.float32
                assert np.array_equal(mine[bare].numpy(), want), name
            assert np.array_equal(mine["audio"].numpy(), person.audio[samples])
            assert np.array_equal(mine["valid"].numpy(), (person.motion["valid"][ticks] & 2) > 0)
        assert np.array_equal(item["mix"].numpy(), clip.mix[samples])
        assert not item["is_pad"].any()


def test_sound_from_the_cache_is_bit_for_bit_that_of_the_files(published, split, cache):
    files = DialogWindows(published, split, 15, pad=True, cache=cache)
    cached = DialogWindows(published, split, 15, pad=True, cache=cache, cache_sound=True)
    for k in [*range(len(files)), 0]:
        assert torch.equal(cached[k]["mix"], files[k]["mix"])
        assert torch.equal(cached[k]["right"]["audio"], files[k]["right"]["audio"])


def test_editing_one_item_changes_no_other(published, split, cache):
    """Loaders of this kind have handed out one dict for all windows of a file."""
    windows = DialogWindows(published, split, 20, 5, cache=cache)
    one, two, again = windows[0], windows[1], windows[0]
    assert one is not again
    before = two["left"]["expr"].clone()
    for side in ("left", "right"):
        for value in one[side].values():
            if torch.is_tensor(value):
                value.zero_()
    one["mix"].zero_()
    assert torch.equal(two["left"]["expr"], before)
    assert torch.equal(windows[1]["left"]["expr"], before)
    assert windows[0]["left"]["expr"].abs().sum() > 0
    assert torch.equal(windows[0]["left"]["jaw_rad"], again["left"]["jaw_rad"])
    assert not torch.equal(windows[0]["left"]["expr"], windows[1]["left"]["expr"])


def test_a_click_lies_at_its_ticks_first_sample(parts, tmp_path):
    """One click at tick 20, in the sound of person 0: whatever the window, it is at (20 - start) * 640."""
    source = shutil.copytree(parts[2], tmp_path / "part")
    record = json.loads((source / "clip.json").read_text())
    name = next(n for n in record["files"] if n.endswith("_p0.flac"))
    sound = np.zeros(record["conversation"]["n_ticks"] * 640, np.float32)
    sound[20 * 640] = 0.5
    write_flac(source / name, [sound])
    record["files"][name] = {"sha256": file_sha256(source / name), "bytes": (source / name).stat().st_size}
    (source / "clip.json").write_text(json.dumps(record))
    publish([source], tmp_path / "dataset")
    split = open_dataset(tmp_path / "dataset").rows[0]["split"]
    windows = DialogWindows(tmp_path / "dataset", split, 10, 1, cache=tmp_path / "cache")
    hits = 0
    for item in (windows[k] for k in range(len(windows))):
        at = torch.nonzero(item["left"]["audio"])[:, 0].tolist()
        inside = 0 <= 20 - item["start_tick"] < 10
        assert at == ([(20 - item["start_tick"]) * 640] if inside else [])
        hits += inside
    assert hits == 10


def test_padding_is_marked_neutral_and_not_valid(published, split, cache):
    windows = DialogWindows(published, split, 30, pad=True, video=Frames(10, 32), cache=cache)
    for item in (windows[k] for k in range(len(windows))):
        clip = clip_of(published, item["clip_id"])
        real = min(clip.n_ticks - item["start_tick"], 30)
        assert item["is_pad"].tolist() == [False] * real + [True] * (30 - real)
        for side in ("left", "right"):
            assert item[side]["expr"].shape == (30, 8)
            assert not item[side]["expr"][real:].any()
            assert not item[side]["valid"][real:].any()
            assert item[side]["audio"].shape == (30 * 640,)
            assert not item[side]["audio"][real * 640 :].any()
            assert not any(item[side]["frames"][k // 10].any() for k in (0, 10, 20) if k >= real)
    assert any(windows[k]["is_pad"].any() for k in range(len(windows)))
    whole = DialogWindows(published, split, 30, cache=cache)
    assert all(not whole[k]["is_pad"].any() for k in range(len(whole)))


@pytest.mark.parametrize("n", [1, 19, 20, 21, 55, 60])
@pytest.mark.parametrize("stride", [1, 7, 20])
def test_windows_stay_in_their_clip_and_padding_covers_every_tick(n, stride):
    inside = window_starts(n, 20, stride, pad=False)
    assert (inside + 20 <= n).all()
    assert len(inside) == len(range(0, max(n - 19, 0), stride))
    padded = window_starts(n, 20, stride, pad=True)
    assert {t for s in padded for t in range(s, s + 20)} >= set(range(n))
    assert padded[-1] < n
    assert np.array_equal(padded[: len(inside)], inside)


def test_frames_are_the_crop_videos(published, split, cache):
    windows = DialogWindows(published, split, 20, 7, video=Frames(8, 512), audio=False, cache=cache)
    item = windows[1]
    for person in clip_of(published, item["clip_id"]).persons.values():
        frames = item[person.track["side"]]["frames"]
        assert frames.shape == (3, 3, 512, 512)
        want = list(crop_frames(person.video, [item["start_tick"] + k for k in (0, 8, 16)]))
        assert np.array_equal(frames.permute(0, 2, 3, 1).numpy(), np.stack(want))


def test_windows_with_too_few_valid_ticks_are_left_out(published, cache):
    """In the made-up talk-aaaa, person 1 is unseen from source tick 60 to 70."""
    dataset = open_dataset(published)
    row = next(r for r in dataset.rows if r["id"] == "talk-aaaa_c001")
    arguments = {"split": row["split"], "window_ticks": 8, "stride_ticks": 4, "audio": False, "cache": cache}
    everything = DialogWindows(published, **arguments)
    kept = DialogWindows(published, **arguments, keep=Keep(1.0))

    def places(windows):
        return {windows.where(k) for k in range(len(windows))}

    expected = set()
    for clip_id, start in places(everything):
        persons = clip_of(published, clip_id).persons.values()
        if all((p.motion["valid"][start : start + 8] & 2).all() for p in persons):
            expected.add((clip_id, start))
    assert places(kept) == expected
    assert 0 < len(kept) < len(everything)
    assert kept.fingerprint != everything.fingerprint


def test_every_problem_with_columns_is_named_at_once():
    with pytest.raises(ConfigError, match=r"nose: no such column; pts: int64 does not fit float32") as error:
        select(["expr", "nose", "pts"], {"E": 8})
    assert "docs/schema.md" in str(error.value)
    chosen = select(["quality.blur", "expr", "lids", "crop_ok"], {"E": 8})
    assert {s.family: (s.names, s.widths) for s in chosen} == {
        "quality": (("blur",), (1,)),
        "motion": (("expr", "lids"), (8, 2)),
        "landmarks": (("crop_ok",), (1,)),
    }


@pytest.mark.parametrize(
    "wrong",
    [{"split": "dev"}, {"window_ticks": 0}, {"stride_ticks": 0}, {"audio": "left"}, {"valid": ("nice",)}],
    ids=str,
)
def test_impossible_arguments_are_named(published, cache, wrong):
    with pytest.raises(ConfigError, match=str(next(iter(wrong.values()))).strip("()',")):
        DialogWindows(published, cache=cache, **wrong)


def read_uncached(root, split):
    """Every window of a split, straight from Parquet."""
    windows = DialogWindows(root, split, 20, audio=False, cache=False)
    return [windows[k] for k in range(len(windows))]


def test_damaged_rows_raise_with_and_without_a_cache(dataset, cache):
    path = next((dataset / "frames" / "motion").glob("*.parquet"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 2000] = bytes(2000)
    path.write_bytes(data)
    split = path.name.split("-")[0]
    with pytest.raises(DatasetError, match=r"SHA-256 is not the commit's"):
        DialogWindows(dataset, split, 20, cache=cache)
    with pytest.raises(DatasetError, match="it is not what was committed"):
        read_uncached(dataset, split)


def test_one_bit_in_the_footer_where_no_page_checksum_looks_raises_too(dataset):
    path = next((dataset / "frames" / "motion").glob("*.parquet"))
    data = bytearray(path.read_bytes())
    data[-60] ^= 1
    path.write_bytes(data)
    with pytest.raises(DatasetError, match="it is not what was committed"):
        read_uncached(dataset, path.name.split("-")[0])


def test_damaged_sound_raises(dataset, split, cache):
    row = open_dataset(dataset).split(split)[0]
    path = dataset / row["mix"]
    path.write_bytes(path.read_bytes()[:2000])
    windows = DialogWindows(dataset, split, 20, audio="mix", cache=cache)
    with pytest.raises(DatasetError, match="validate the dataset"):
        [windows[k] for k in range(len(windows))]


def test_changed_sound_never_enters_the_cache(dataset, split, cache):
    """It still decodes, so only its hash can tell."""
    row = open_dataset(dataset).split(split)[0]
    write_flac(dataset / row["mix"], [np.zeros(row["n_samples"], np.float32)])
    windows = DialogWindows(dataset, split, 20, audio="mix", cache=cache, cache_sound=True)
    with pytest.raises(DatasetError, match=r"SHA-256 is not the commit's"):
        [windows[k] for k in range(len(windows))]
    with pytest.raises(DatasetError, match=r"SHA-256 is not the commit's"):
        list(DialogStream(dataset, split, 20, audio="mix", cache=cache))


def test_a_path_out_of_the_dataset_is_not_followed(dataset, cache):
    """The commit of a stranger's dataset is untrusted input."""
    current = (dataset / "CURRENT").read_text().split()
    path = dataset / "commits" / f"{int(current[0]):06d}.json"
    record = json.loads(path.read_text())
    record.pop("seal", None)  # who changes a record can seal it again
    for entry in record["files"].values():
        entry["path"] = entry["path"].replace("media/", "../media/")
    text = json.dumps(record)
    path.write_text(text)
    (dataset / "CURRENT").write_text(f"{current[0]} {hashlib.sha256(text.encode()).hexdigest()}\n")
    with pytest.raises(DatasetError, match="outside the dataset"):
        DialogWindows(dataset, cache=cache)


def test_windows_travel_to_another_process(published, split, cache):
    windows = DialogWindows(published, split, 20, columns=("expr",), cache=cache)
    data = pickle.dumps(windows)
    assert torch.equal(pickle.loads(data)[1]["left"]["expr"], windows[1]["left"]["expr"])
    assert len(data) < 200_000, "arrays are mapped again there, not sent"


def places(items):
    return [(i["clip_id"], i["start_tick"]) for i in items]


@pytest.mark.parametrize("url", [False, True])
def test_a_stream_gives_the_same_windows(published, split, cache, url):
    root = f"file://{published}" if url else published
    windows = DialogWindows(root, split, 15, 6, pad=True, cache=cache)
    stream = DialogStream(root, split, 15, 6, pad=True, cache=cache)
    items = list(stream)
    assert len(items) == len(stream) == len(windows)
    assert sorted(places(items)) == sorted(places(windows[k] for k in range(len(windows))))
    by_place = dict(zip(places(items), items, strict=True))
    for want in (windows[k] for k in range(len(windows))):
        got = by_place[want["clip_id"], want["start_tick"]]
        assert torch.equal(got["mix"], want["mix"])
        assert torch.equal(got["is_pad"], want["is_pad"])
        for side in ("left", "right"):
            for name in ("expr", "valid", "audio"):
                assert torch.equal(got[side][name], want[side][name])


def test_a_remote_dataset_needs_no_file_system(published, split, cache):
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    for path in published.rglob("*"):
        if path.is_file():
            memory.pipe_file(f"/talks/{path.relative_to(published).as_posix()}", path.read_bytes())
    windows = DialogWindows("memory://talks", split, 20, cache=cache)
    local = DialogWindows(published, split, 20, cache=cache)
    assert torch.equal(windows[0]["left"]["audio"], local[0]["left"]["audio"])
    assert windows.fingerprint == local.fingerprint
    name = next(n for n in open_dataset(published).commit.files if n.endswith(".flac"))
    memory.pipe_file(f"/talks/{name}", b"not what was published")
    with pytest.raises(DatasetError, match="not what was committed"):
        [DialogWindows("memory://talks", s, 20, cache=cache.parent / "new", pad=True)[k] for s, k in all_of(published)]
    with pytest.raises(DatasetError, match="CURRENT is missing"):
        DialogWindows("memory://nothing", split, cache=cache)


def all_of(published):
    rows = open_dataset(published).rows
    return [(s, k) for s in ("train", "val", "test") for k in range(sum(r["split"] == s for r in rows))]


def test_ranks_and_workers_of_a_stream_share_the_windows(published, split, cache):
    from torch.utils.data import DataLoader

    whole = places(DialogStream(published, split, 10, 3, audio=False, cache=cache))
    seen = []
    for rank in (0, 1):
        stream = DialogStream(published, split, 10, 3, audio=False, cache=cache, rank=rank, world=2)
        mine = places(stream)
        assert len(mine) == len(stream) == -(-len(whole) // 2)
        assert sorted(places(DataLoader(stream, batch_size=None, num_workers=2))) == sorted(mine)
        seen += mine
    assert set(seen) == set(whole)
    assert len(seen) - len(whole) == len(whole) % 2


def test_a_streams_order_follows_from_seed_and_epoch(published, split, cache):
    arguments = {"split": split, "window_ticks": 10, "stride_ticks": 3, "audio": False, "cache": cache}
    stream = DialogStream(published, **arguments, seed=1)
    first = places(stream)
    assert places(DialogStream(published, **arguments, seed=1)) == first
    stream.set_epoch(1)
    assert places(stream) != first
    assert sorted(places(stream)) == sorted(first)
    in_order = places(DialogStream(published, **arguments, pool_clips=0))
    assert in_order == sorted(in_order)
