"""The column cache: never stale, never damaged, never in the way."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from dialogbuild.dataset import DialogWindows, open_dataset
from dialogbuild.dataset.cache import ColumnCache, entry_key, read_entry, write_entry

VALUES = np.arange(60, dtype=np.float32).reshape(20, 3)


def count(values=VALUES):
    calls: list[int] = []

    def make():
        calls.append(1)
        return values

    return calls, make


@pytest.mark.parametrize("dtype", [np.float32, np.uint32, np.int16])
def test_an_entry_is_made_once_and_mapped_without_a_copy(tmp_path, dtype):
    calls, make = count(VALUES.astype(dtype))
    cache = ColumnCache(tmp_path)
    first, second = cache.get("a", make), ColumnCache(tmp_path).get("a", make)
    assert len(calls) == 1
    for got in (first, second):
        assert got.dtype == dtype
        assert np.array_equal(got, VALUES)
        assert not got.flags.writeable
        assert not got.flags.owndata


def test_the_key_changes_with_content_and_columns():
    keys = {entry_key("a" * 64, ("x", "y")), entry_key("b" * 64, ("x", "y")), entry_key("a" * 64, ("y", "x"))}
    assert len(keys) == 3


@pytest.mark.parametrize("damage", ["bit", "cut", "empty", "text", "footer"])
def test_a_damaged_entry_is_seen_and_made_again(tmp_path, damage):
    calls, make = count()
    ColumnCache(tmp_path).get("a", make)
    path = tmp_path / "a.arrow"
    data = bytearray(path.read_bytes())
    at = bytes(data).index(VALUES[7:9].tobytes())
    if damage == "bit":
        data[at] ^= 4
    elif damage == "footer":
        data[-60:-20] = bytes(40)
    path.write_bytes({"cut": data[: len(data) // 2], "empty": b"", "text": b"hello" * 100}.get(damage, data))
    got = ColumnCache(tmp_path).get("a", make)
    assert len(calls) == 2
    assert np.array_equal(got, VALUES)
    assert np.array_equal(read_entry(path, verify=True), VALUES)


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path, caplog):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    cache = ColumnCache(blocked / "cache")
    calls, make = count()
    assert cache.get("a", make) is None
    assert not cache.usable
    assert "Parquet is read instead" in caplog.text
    assert cache.get("b", make) is None
    assert len(calls) == 0


def test_the_entry_used_longest_ago_makes_room(tmp_path):
    size = _entry_bytes(tmp_path / "one")
    old = ColumnCache(tmp_path / "c", max_bytes=10 * size)
    for k, name in enumerate("abc"):
        old.get(name, lambda: VALUES)
        os.utime(tmp_path / "c" / f"{name}.arrow", (k, k))
    read_entry(tmp_path / "c" / "a.arrow", verify=False)  # now b was used longest ago
    new = ColumnCache(tmp_path / "c", max_bytes=3 * size + VALUES.nbytes // 2)
    new.get("d", lambda: VALUES)
    assert sorted(p.stem for p in (tmp_path / "c").glob("*.arrow")) == ["a", "c", "d"]


def test_what_is_in_use_is_not_evicted(tmp_path):
    size = _entry_bytes(tmp_path / "one")
    cache = ColumnCache(tmp_path / "c", max_bytes=size + VALUES.nbytes // 2)
    assert cache.get("a", lambda: VALUES) is not None
    assert cache.get("b", lambda: VALUES) is None
    assert [p.stem for p in (tmp_path / "c").glob("*.arrow")] == ["a"]


def _entry_bytes(path: Path) -> int:
    write_entry(path, VALUES)
    return path.stat().st_size


def test_processes_that_come_at_once_make_an_entry_once(tmp_path):
    """Threads with a cache each: file locks exclude them as they exclude processes."""
    calls, make = count()
    barrier = threading.Barrier(4)

    def work():
        barrier.wait()
        assert np.array_equal(ColumnCache(tmp_path).get("a", make), VALUES)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1
    assert [p.name for p in tmp_path.glob(".*.part")] == []


def test_the_reader_makes_damaged_entries_again(published, tmp_path):
    split = open_dataset(published).rows[0]["split"]
    want = DialogWindows(published, split, 20, cache=tmp_path)[1]["left"]["expr"]
    for path in (tmp_path / "columns").glob("*.arrow"):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 255
        path.write_bytes(data)
    windows = DialogWindows(published, split, 20, cache=tmp_path)
    assert windows.uses_cache
    assert torch.equal(windows[1]["left"]["expr"], want)


def test_the_reader_works_where_no_cache_can_be_written(published, tmp_path):
    split = open_dataset(published).rows[0]["split"]
    (tmp_path / "file").write_text("")
    windows = DialogWindows(published, split, 20, cache=tmp_path / "file", cache_sound=True)
    assert not windows.uses_cache
    want = DialogWindows(published, split, 20, cache=tmp_path / "good")
    assert torch.equal(windows[1]["right"]["expr"], want[1]["right"]["expr"])
    assert torch.equal(windows[1]["right"]["audio"], want[1]["right"]["audio"])
