"""Time and memory of the diarizer over hours of sound: real-time factor and peak memory must not grow with length.

    python benchmarks/dialogue_long.py --minutes 10 120

Each length is one fresh process with one thread: an hour of ``diarize`` is an hour of generated talk, different
sentences order per dialogue, without a picture. The named baseline is the shortest length. Last line: JSON.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dialogbuild.artifact import Inputs
from dialogbuild.media.audio import write_flac
from dialogbuild.stages import diarize
from dialogbuild.synth import DialogueSpec
from dialogbuild.synth.script import make_script

_PIECE_S = 60.0


def talk(minutes: int) -> Iterator[npt.NDArray[np.float32]]:
    """A minute of dialogue after the other, each from a seed of its own."""
    for seed in range(minutes):
        yield make_script(DialogueSpec(seed=seed % 20, duration_s=_PIECE_S)).mix


def measure(minutes: int) -> dict[str, Any]:
    """Diarize so many minutes here and now."""
    with tempfile.TemporaryDirectory() as scratch:
        ingest, out = Path(scratch) / "ingest", Path(scratch) / "out"
        ingest.mkdir()
        out.mkdir()
        written = write_flac(ingest / "audio.flac", talk(minutes))
        (ingest / "video.json").write_text(json.dumps({"n_ticks": written // 640, "fps": [25, 1]}))
        before_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        start = time.process_time()
        diarize.run(Inputs("long", "long", ingest / "audio.flac", {"ingest": ingest}), out, diarize.Config())
        seconds = time.process_time() - start
        voices = json.loads((out / "voices.json").read_text())
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    rtf = seconds / (minutes * 60)
    return {"rtf": rtf, "mb": peak_mb, "before_mb": before_mb, "voices": voices["n_voices"]}


def main() -> None:
    """Print the table and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=int, nargs="+", default=[10, 120])
    parser.add_argument("--here", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.here:
        print(json.dumps(measure(args.here)))
        return
    rows = {}
    print(f"{'minutes':>8}{'RTF':>8}{'peak MB':>9}{'before':>8}{'voices':>8}")
    for minutes in args.minutes:
        done = subprocess.run([sys.executable, __file__, "--here", str(minutes)], stdout=subprocess.PIPE, check=True)
        rows[minutes] = r = json.loads(done.stdout)
        print(f"{minutes:>8}{r['rtf']:>8.3f}{r['mb']:>9.0f}{r['before_mb']:>8.0f}{r['voices']:>8}", flush=True)
    first, last = rows[args.minutes[0]], rows[args.minutes[-1]]
    figures = {"minutes": args.minutes[-1], "rtf": last["rtf"], "mb": last["mb"], "mb_growth": last["mb"] - first["mb"]}
    figures["ratio_rtf"] = last["rtf"] / first["rtf"]
    print(json.dumps({k: round(v, 4) for k, v in figures.items()}))


if __name__ == "__main__":
    main()
