"""Frames and sound of awkward files against their truth, and how fast each reader is, in one run.

    python benchmarks/media.py [--seconds 10] [--data FOLDER]

Exactness: every file of the test matrix (tests/media_matrix.py) goes through ingest and PyAV, and its frames through
torchcodec and decord where they are installed: wrong frames, or refused by name. Rates: 640x360 H.264 with key frames
10 s and 1 s apart, and HDR; one thread, CPU time of this process, the best of two passes; opening, which holds the
self-check, apart. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from media_files import ffmpeg
from media_matrix import CASES, TO_HDR, Finding, check, make, missing_part, read_numbers, table_of, wrong_frames

from dialogbuild.errors import MissingPart
from dialogbuild.media.backends import READERS, ReaderRefused, open_reader
from dialogbuild.media.probe import probe
from dialogbuild.media.scan import scan_frames

_N_SEEKS = 30
_WINDOW = 100


def matrix(folder: Path) -> tuple[dict[str, Any], dict[str, dict[str, int]]]:
    """Figures of the whole matrix through ingest, and per other reader: files read, wrong frames, files refused."""
    found: dict[str, Finding] = {}
    others = {name: {"read": 0, "wrong_frames": 0, "refused": 0} for name in READERS[1:]}
    misjudged: list[str] = []
    for case in (case for case in CASES if missing_part(case) is None):
        path, out = make(case, folder), folder / f"{case.name}.out"
        found[case.name] = finding = check(case, path, out)
        if finding.rejected != case.rejects:
            misjudged.append(case.name)
        if finding.rejected is not None:
            continue
        table = table_of(out)
        for name, counts in others.items():
            try:
                with open_reader(path, table, name, finding.record["stream"]) as reader:
                    numbers = read_numbers(case, reader, table)
            except ReaderRefused:
                counts["refused"] += 1
            except MissingPart:
                continue
            else:
                counts["read"] += 1
                counts["wrong_frames"] += wrong_frames(case, table.pts, table.time_base, numbers)
    figures = {
        "files": len(found),
        "wrong_frames": sum(f.wrong_frames for f in found.values()),
        "max_av_error_ms": round(max(f.av_error_ms for f in found.values()), 4),
        "rejected_by_name": sum(f.rejected is not None for f in found.values()),
        "wrongly_judged": misjudged,
    }
    return figures, others


def rates(path: Path, name: str) -> dict[str, float]:
    """Frames per CPU second in order and at random, windows of 100 frames in ms, and the cost of opening in ms."""
    table = scan_frames(path, probe(path).video.index).table
    assert table is not None
    opening = time.process_time()
    with open_reader(path, table, name) as reader:
        opened_s = time.process_time() - opening
        jumps = [int(table.pts[i]) for i in random.Random(1).sample(range(len(table)), _N_SEEKS)]
        starts = random.Random(2).sample(range(len(table) - _WINDOW), 3)

        def in_order() -> int:
            return sum(1 for _ in reader.frames(table.pts.tolist()))

        def at_random() -> int:
            return sum(1 for pts in jumps if reader.at(pts) is not None)

        def windows() -> int:
            return sum(1 for s in starts for _ in reader.frames(table.pts[s : s + _WINDOW].tolist())) // _WINDOW

        return {
            "decode_fps": round(1 / _cpu_s(in_order), 1),
            "seeks_per_s": round(1 / _cpu_s(at_random), 1),
            "window_ms": round(1000 * _cpu_s(windows), 1),
            "open_ms": round(1000 * opened_s, 1),
        }


def _cpu_s(work: Callable[[], int]) -> float:
    """CPU seconds per item."""
    best = float("inf")
    for _ in range(2):
        start = time.process_time()
        n = work()
        best = min(best, (time.process_time() - start) / n)
    return best


def speed_files(folder: Path, seconds: int) -> dict[str, Path]:
    """Moving test pictures, as one H.264 file per distance of key frames, and as PQ."""
    out = {}
    picture = ("-f", "lavfi", "-i", f"testsrc2=s=640x360:r=25:d={seconds}")
    for label, gop in (("h264 g250", "250"), ("h264 g25", "25")):
        out[label] = folder / f"speed_{gop}.mp4"
        codec = ("-c:v", "libx264", "-preset", "veryfast", "-g", gop, "-pix_fmt", "yuv420p", "-threads", "1")
        ffmpeg(*picture, *codec, out[label])
    out["pq hevc g25"] = folder / "speed_pq.mp4"
    x265 = ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error:keyint=25:pools=none")
    ffmpeg(*picture, "-vf", f"format=gbrp,{TO_HDR.format('smpte2084')}", *x265, out["pq hevc g25"])
    return out


def table_of_rates(folder: Path, seconds: int) -> dict[str, Any]:
    """Print the table; returns its figures by file and reader."""
    print("| file | reader | frames/s in order | ratio | seeks/s | ratio | 100-frame window ms | opening ms |")
    print("|---|---|---|---|---|---|---|---|")
    result: dict[str, Any] = {}
    for label, path in speed_files(folder, seconds).items():
        base: dict[str, float] = {}
        for name in READERS:
            try:
                got = rates(path, name)
            except (ReaderRefused, MissingPart) as error:
                print(f"| {label} | {name} | {type(error).__name__} | | | | | |")
                continue
            base = base or got
            ratios = [f"{got[key] / base[key]:.2f}" for key in ("decode_fps", "seeks_per_s")]
            print(
                f"| {label} | {name} | {got['decode_fps']:.0f} | {ratios[0]} | {got['seeks_per_s']:.1f} | {ratios[1]} "
                f"| {got['window_ms']:.0f} | {got['open_ms']:.0f} |"
            )
            result.setdefault(label, {})[name] = got
    return result


def main() -> None:
    """Run both parts and print the tables and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=10, help="length of the files for the rates")
    parser.add_argument("--data", type=Path, help="keep the generated files here")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.data or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        figures, others = matrix(folder)
        print("| reader | files read | wrong frames | refused |\n|---|---|---|---|")
        read = figures["files"] - figures["rejected_by_name"]
        print(f"| pyav | {read} | {figures['wrong_frames']} | {figures['rejected_by_name']} by ingest |")
        for name, counts in others.items():
            print(f"| {name} | {counts['read']} | {counts['wrong_frames']} | {counts['refused']} |")
        print()
        figures |= {"readers": others, "rates": table_of_rates(folder, arguments.seconds)}
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
