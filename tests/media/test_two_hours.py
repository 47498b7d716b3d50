"""Two hours at 25 frames per second: no drift, no growth, and the last minute is reached as exactly as the first."""

from __future__ import annotations

import json
import random
import tracemalloc
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import soundfile
from media_files import chirp, ffmpeg, find_chirp, make_video, number_in

from dialogbuild.artifact import Inputs
from dialogbuild.media.audio import read_audio
from dialogbuild.media.reader import VideoReader
from dialogbuild.stages import ingest
from dialogbuild.tables import read_table

LOOP, SECONDS, RATE = 100, 7200, 8000
CHIRPS_S = (10.0, 3601.3, 7190.52)


def two_hours(folder: Path, fps: Fraction) -> Path:
    """A coded loop of 100 numbered frames, its packets repeated to two hours, and sound with three chirps."""
    import av

    loop = make_video(folder / "loop.mp4", LOOP, fps, codec=("-c:v", "libx264", "-g", "25", "-bf", "0", "-crf", "30"))
    video, wav, path = folder / "video.mp4", folder / "sound.flac", folder / "two_hours.mp4"
    with av.open(str(loop)) as source, av.open(str(video), "w") as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        packets = [(bytes(p), p.pts, p.duration, p.is_keyframe) for p in source.demux(video=0) if p.size]
        time_base, step = source.streams.video[0].time_base, sum(p[2] for p in packets)
        for k in range(round(SECONDS * fps) // LOOP):
            for data, pts, duration, key in packets:
                packet = av.Packet(data)
                packet.pts = packet.dts = pts + k * step
                packet.duration, packet.time_base, packet.is_keyframe, packet.stream = duration, time_base, key, stream
                out.mux(packet)
    with soundfile.SoundFile(wav, "w", RATE, 1, format="FLAC") as file:
        for start in range(0, SECONDS, 10):
            block = np.zeros(10 * RATE, np.float32)
            for at_s in CHIRPS_S:
                if start <= at_s < start + 10:
                    at = round((at_s - start) * RATE)
                    block[at : at + len(chirp(RATE))] = chirp(RATE)[: len(block) - at]
            file.write(block)
    ffmpeg("-i", video, "-i", wav, "-map", "0:v", "-map", "1:a", "-c", "copy", path)
    return path


@pytest.mark.slow
def test_two_hours_do_not_drift_and_any_frame_is_reached(tmp_path: Path) -> None:
    fps = Fraction(25)
    path, out = two_hours(tmp_path, fps), tmp_path / "out"
    out.mkdir()
    tracemalloc.start()
    ingest.run(Inputs("two_hours", "two_hours", path, {}), out, ingest.Config())
    peak_mb = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    record = json.loads((out / "video.json").read_text())
    assert (record["n_frames"], record["n_ticks"], record["is_vfr"]) == (180_000, 180_000, False)
    for at_s in CHIRPS_S:
        samples = read_audio(out / "audio.flac", round((at_s - 1) * 16000), round((at_s + 1) * 16000))
        assert find_chirp(samples) == pytest.approx(1.0, abs=1e-3), f"at {at_s} s"
    pts = read_table(out / "frames.parquet")["pts"]
    with VideoReader(path) as reader:
        for i in [*random.Random(1).sample(range(len(pts)), 20), len(pts) - 1, 0]:
            assert number_in(reader.at(int(pts[i]))) == i % LOOP
    assert peak_mb < 100, "Python's own memory holds the table of frames, not the film"
