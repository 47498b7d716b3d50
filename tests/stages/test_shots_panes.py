"""Split screens in files: what stage shots writes of them."""

from __future__ import annotations

from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from dialogbuild.artifact import Inputs
from dialogbuild.media.encode import encode_video
from dialogbuild.media.panes import Pane, find_panes, picture_stats
from dialogbuild.media.probe import open_input
from dialogbuild.stages import ingest, shots
from dialogbuild.tables import Columns, read_table


def room(seed: int, n: int, width: int, height: int = 144) -> list[np.ndarray]:
    """Soft waves, and a body before them that sways and reaches the sides, as shoulders do."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    fx, fy, phase = rng.uniform(0.02, 0.08, (3, 4, 3))
    wall = rng.uniform(60, 190, 3) + 12 * sum(
        np.sin(fx[k] * x[..., None] + fy[k] * y[..., None] + 60 * phase[k]) for k in range(4)
    )
    shirt, frames = rng.uniform(30, 220, 3), []
    for i in range(n):
        cx = width / 2 + 3 * np.sin(i / 4 + seed)
        body = ((x - cx) / (0.56 * width)) ** 2 + ((y - height) / (0.4 * height)) ** 2 < 1
        frames.append(np.clip(np.where(body[..., None], shirt, wall), 0, 255).astype(np.uint8))
    return frames


def run(frames: list[np.ndarray], folder: Path, **config) -> Columns:
    height, width = frames[0].shape[:2]
    sound = np.zeros(16000 * len(frames) // 25, np.float32)
    encode_video(folder / "a.mp4", frames, Fraction(25), (width, height), audio=sound)
    for name in ("ingest", "shots"):
        (folder / name).mkdir()
    ingest.run(Inputs("v", "v", folder / "a.mp4", {}), folder / "ingest", ingest.Config())
    inputs = Inputs("v", "v", folder / "a.mp4", {"ingest": folder / "ingest"})
    shots.run(inputs, folder / "shots", shots.Config(**config))
    return read_table(folder / "shots" / "panes.parquet")


def split(n: int) -> list[np.ndarray]:
    return [np.concatenate(pair, axis=1) for pair in zip(room(1, n, 144), room(2, n, 112), strict=True)]


def test_each_shot_has_panes_of_its_own(tmp_path):
    panes = run(room(5, 40, 256) + split(40), tmp_path)
    assert panes["shot"].tolist() == [0, 1, 1]
    assert panes["pane"].tolist() == [0, 0, 1]
    assert panes["box_px"].tolist() == [[0, 0, 256, 144], [0, 0, 144, 144], [144, 0, 256, 144]]
    assert panes["confidence"].min() > 0.5


def test_whoever_does_not_want_panes_gets_the_whole_picture(tmp_path):
    panes = run(split(52), tmp_path, panes=False)
    assert panes["box_px"].tolist() == [[0, 0, 256, 144]]
    assert panes["confidence"].tolist() == [0.0], "nobody looked"


def test_boxes_found_on_smaller_pictures_are_given_in_the_videos_pixels():
    table = shots.pane_table({3: [Pane((0, 0, 320, 360), 0.9), Pane((320, 0, 640, 360), 0.8)]}, (3.0, 2.0))
    assert table["box_px"].tolist() == [[0, 0, 960, 720], [960, 0, 1920, 720]]
    assert {k: v.dtype.name for k, v in table.items()} == {
        "shot": "int32", "pane": "int32", "box_px": "float32", "confidence": "float32",
    }  # fmt: skip


def test_frames_are_spread_over_the_shot_without_the_blends_at_its_ends():
    assert shots.pane_ticks(100, 200, 4) == [101, 133, 166, 198]
    assert shots.pane_ticks(7, 9, 8) == [7, 8]
    assert shots.pane_ticks(7, 8, 8) == [7]


@pytest.mark.clips
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("interview_split_screen.mp4", [(169, 0, 632, 720), (647, 0, 1116, 720)]),
        ("talker_vfr.mp4", [(0, 0, 700, 700)]),
        ("head_silent.mp4", [(0, 0, 512, 512)]),
    ],
)
def test_real_clips(clips_dir, name, expected):
    with open_input(clips_dir / name) as container:
        decoded = islice(container.decode(video=0), 0, 113, 16)
        found = find_panes(picture_stats(frame.to_ndarray(format="rgb24") for frame in decoded))
    assert len(found) == len(expected)
    for pane, box in zip(found, expected, strict=True):
        np.testing.assert_allclose(
            pane.box_px, box, atol=16
        )  # the dark suit before the dark bar hides its edge at times
        assert pane.confidence > 0.8
