"""Diarization error of the sound alone on a real recording with reference turns."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
import soundfile

from dialogbuild.artifact import Inputs
from dialogbuild.dialogue.metrics import diarization_error
from dialogbuild.media.audio import write_flac
from dialogbuild.stages import diarize
from dialogbuild.tables import read_table


def ami_error(folder: Path) -> float:
    """DER of ``ami_sample.wav``, collar 0, overlap scored, number of speakers unknown to the diarizer."""
    samples, rate_hz = soundfile.read(str(folder / "ami_sample.wav"), dtype="float32")
    if rate_hz != 16_000 or samples.ndim != 1:
        raise SystemExit("ami_sample.wav must be mono at 16 kHz")
    n_ticks = -(-len(samples) // 640)
    ref = []
    for line in (folder / "ami_sample.rttm").read_text().splitlines():
        part = line.split()
        if part and part[0] == "SPEAKER":
            ref.append((part[7], float(part[3]), float(part[3]) + float(part[4])))
    with tempfile.TemporaryDirectory() as scratch:
        ingest, out = Path(scratch) / "ingest", Path(scratch) / "out"
        ingest.mkdir()
        out.mkdir()
        write_flac(ingest / "audio.flac", [np.pad(samples, (0, n_ticks * 640 - len(samples)))])
        (ingest / "video.json").write_text(json.dumps({"n_ticks": n_ticks, "fps": [25, 1]}))
        diarize.run(Inputs("ami", "ami", folder / "ami_sample.wav", {"ingest": ingest}), out, diarize.Config())
        turns = read_table(out / "turns.parquet")
    hyp = list(zip(turns["voice"].tolist(), turns["start_s"].tolist(), turns["end_s"].tolist(), strict=True))
    error = diarization_error(ref, hyp, (0.0, len(samples) / rate_hz))
    parts = f"missed {error.missed_s:.1f}, false alarm {error.false_alarm_s:.1f}, confusion {error.confusion_s:.1f}"
    print(f"\nami_sample: DER {error.rate:.3f}; seconds {parts} of {error.total_s:.1f}")
    return error.rate
