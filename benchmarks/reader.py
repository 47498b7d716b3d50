"""How fast windows come out of a dataset, against WebDataset on the same windows in the same run.

    python benchmarks/reader.py [--clips 60] [--seconds 30] [--data FOLDER]

One process, one thread, warm file cache; CPU time of this process, so that a busy machine counts little. Windows are
100 ticks of both persons (expression, joints, eyes, lids, position, speaking: 121 floats per tick for 100 expressions),
at random places of the training split. WebDataset reads every 4th of these windows from tar shards on the same disk,
one sample per window: .npy per array, one .npz, or everything in a single .npy, which is the leanest that its own
decoder can be given; shuffled the way it can be, through a buffer, or not at all. The fastest of the six counts.
The last line is JSON.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch

from dialogbuild.dataset import DialogLoader, DialogSampler, DialogStream, DialogWindows, Frames, open_dataset
from dialogbuild.dataset.columns import DEFAULT_COLUMNS
from dialogbuild.dataset.schema import FAMILIES

WINDOW, STRIDE = 100, 5
_LAYOUTS = {"npy": "five .npy per sample", "npz": "one .npz per sample", "one": "one .npy per sample"}


def rate(items: Callable[[], Iterator[Any]], limit_s: float = 4.0, repeats: int = 3, every: int = 8) -> float:
    """Items per CPU second, the best of some repeats."""
    best = 0.0
    for _ in range(repeats):
        n, start = 0, time.process_time()
        for _item in items():
            n += 1
            if n % every == 0 and time.process_time() - start > limit_s / repeats:
                break
        best = max(best, n / (time.process_time() - start))
    return best


def shuffled(windows: DialogWindows) -> Callable[[], Iterator[Any]]:
    """Windows in the sampler's order."""
    sampler = DialogSampler(len(windows), seed=1)
    return lambda: (windows[k] for k in sampler)


def batches(windows: DialogWindows) -> Callable[[], Iterator[Any]]:
    """Collated batches of 32, complete ones."""
    return lambda: itertools.islice(DialogLoader(windows, 32, seed=1), len(windows) // 32)


def write_tars(windows: DialogWindows, folder: Path, per_shard: int = 500) -> dict[str, tuple[str, int]]:
    """Both layouts; layout -> (url pattern, bytes)."""
    import webdataset as wds

    folder.mkdir()
    out = {}
    for layout in ("npy", "npz", "one"):
        with wds.ShardWriter(f"file:{folder}/{layout}-%04d.tar", maxcount=per_shard, verbose=0) as sink:
            for k in range(len(windows)):
                sink.write(sample(windows[k], k, layout))
        files = sorted(folder.glob(f"{layout}-*.tar"))
        pattern = f"file:{folder}/{layout}-{{0000..{len(files) - 1:04d}}}.tar"
        out[layout] = (pattern, sum(f.stat().st_size for f in files))
    return out


def sample(item: dict[str, Any], k: int, layout: str) -> dict[str, Any]:
    """One window as a tar writer's record."""
    arrays = {"is_pad": item["is_pad"].numpy()}
    for side in ("left", "right"):
        arrays[side] = np.concatenate([item[side][c].numpy() for c in DEFAULT_COLUMNS], axis=1)
        arrays[f"{side}_valid"] = item[side]["valid"].numpy()
    about = {"clip_id": item["clip_id"], "start_tick": item["start_tick"]}
    if layout == "one":
        whole = [arrays[n].reshape(WINDOW, -1).astype(np.float32) for n in sorted(arrays)]
        return {"__key__": f"{k:08d}", "json": about, "npy": np.concatenate(whole, axis=1)}
    if layout == "npy":
        return {"__key__": f"{k:08d}", "json": about, **{f"{n}.npy": v for n, v in arrays.items()}}
    packed = io.BytesIO()
    np.savez(packed, **arrays)
    return {"__key__": f"{k:08d}", "json": about, "arrays.npz": packed.getvalue()}


def webdataset(pattern: str, layout: str, buffer: int) -> Callable[[], Iterator[Any]]:
    """Decoded samples of all shards; ``buffer`` 0 = not shuffled."""
    import webdataset as wds

    def items() -> Iterator[Any]:
        data = wds.WebDataset(pattern, shardshuffle=False, empty_check=False)
        data = data.shuffle(buffer) if buffer else data
        for got in data.decode():
            if layout == "npz":  # decoding a zip member is lazy
                arrays = dict(got["arrays.npz"])
                assert arrays["left"].shape == (WINDOW, arrays["left"].shape[1])
            yield got

    return items


def bytes_per_row(root: Path) -> dict[str, float]:
    """Of the Parquet files on disk, by family."""
    out = {}
    for family in FAMILIES:
        files = sorted((root / "frames" / family.name).glob("*.parquet"))
        out[family.name] = sum(f.stat().st_size for f in files) / sum(pq.read_metadata(f).num_rows for f in files)
    return out


def measure(root: Path, scratch: Path) -> dict[str, Any]:
    """Everything, printed as a table; the figures of the last line."""
    rows: list[tuple[str, float]] = []
    common: dict[str, Any] = {"window_ticks": WINDOW, "stride_ticks": STRIDE}
    start = time.process_time()
    motion = DialogWindows(root, audio=False, cache=scratch / "cache", **common)
    print(f"{len(motion)} windows; cache made in {time.process_time() - start:.2f} CPU s")
    start = time.process_time()
    motion = DialogWindows(root, audio=False, cache=scratch / "cache", **common)
    print(f"opened and verified again in {time.process_time() - start:.2f} CPU s")
    ours = rate(shuffled(motion))
    rows.append(("DialogWindows, motion", ours))
    rows.append(("the same in batches of 32 by DialogLoader, no workers", 32 * rate(batches(motion), every=1)))
    plain = DialogWindows(root, audio=False, cache=False, **common)
    rows.append(("the same without a cache (Parquet)", rate(shuffled(plain))))
    stream = DialogStream(root, audio=False, cache=scratch / "cache", **common)
    rows.append(("DialogStream, motion", rate(lambda: iter(stream))))
    # every 20th window: the same size of item, and fewer tars to write
    few = DialogWindows(root, audio=False, cache=scratch / "cache", window_ticks=WINDOW, stride_ticks=20)
    theirs = 0.0
    for layout, (pattern, size) in write_tars(few, scratch / "tars").items():
        for buffer in (0, 1000):
            got = rate(webdataset(pattern, layout, buffer))
            rows.append((f"WebDataset, {_LAYOUTS[layout]}, {f'buffer of {buffer}' if buffer else 'not shuffled'}", got))
            theirs = max(theirs, got)
        print(f"tars of {layout}: {size / len(few) / 2 / WINDOW:.0f} bytes per face-frame of a window")
    again = rate(shuffled(motion))
    rows.append(("DialogWindows, motion, once more", again))
    sound = {}
    for audio, name in (("mix", "the mix"), ("persons", "both persons"), ("all", "both persons and the mix")):
        windows = DialogWindows(root, audio=audio, cache=scratch / "cache", **common)
        sound[audio] = rate(shuffled(windows))
        rows.append((f"DialogWindows, FLAC of {name}", sound[audio]))
    windows = DialogWindows(root, cache=scratch / "sound", cache_sound=True, **common)
    for k in range(len(windows)):
        windows[k]
    rows.append(("the same with decoded sound in the cache", rate(shuffled(windows))))
    stream = DialogStream(root, cache=scratch / "cache", **common)
    rows.append(("DialogStream, FLAC of both persons and the mix", rate(lambda: iter(stream))))
    video = DialogWindows(root, audio=False, video=Frames(5, 128), cache=scratch / "cache", **common)
    rows.append(("DialogWindows, 20 crop frames of 128 px per person", rate(shuffled(video))))
    print("\n| reader | windows per CPU second |\n|---|---|")
    for name, value in rows:
        print(f"| {name} | {value:,.0f} |")
    sizes = bytes_per_row(root)
    print("bytes per face-frame: " + ", ".join(f"{k} {v:.0f}" for k, v in sizes.items()))
    cached = sum(f.stat().st_size for f in (scratch / "cache" / "columns").glob("*.arrow"))
    n = open_dataset(root).info["splits"]["train"]["face_frames"]
    print(f"cache: {cached / n:.0f} bytes per face-frame")
    return {
        "motion_windows_per_s": round(min(ours, again)),
        "ratio_webdataset": round(min(ours, again) / theirs, 2),
        "flac_windows_per_s": round(sound["persons"]),
        "flac_mix_windows_per_s": round(sound["mix"]),
        "flac_all_windows_per_s": round(sound["all"]),
        "bytes_per_face_frame": {k: round(v, 1) for k, v in sizes.items()},
    }


def main() -> None:
    """Make or find the data, measure, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--clips", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--data", type=Path, help="folder to keep the data in; used again when it holds a dataset")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.data or Path(scratch) / "data"
        root = folder / "dataset"
        if not (root / "CURRENT").is_file():
            from reader_data import build

            start = time.monotonic()
            folder.mkdir(parents=True, exist_ok=True)
            build(folder, args.clips, args.seconds)
            print(f"{args.clips} clips of {args.seconds:g} s made in {time.monotonic() - start:.0f} s")
        print(f"load {os.getloadavg()[0]:.1f}")
        print(json.dumps(measure(root, Path(scratch))))


if __name__ == "__main__":
    main()
