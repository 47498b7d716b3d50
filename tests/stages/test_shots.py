from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from dialogbuild.artifact import Inputs
from dialogbuild.media.cuts import detect_cuts
from dialogbuild.media.encode import encode_video
from dialogbuild.stages import ingest, shots
from dialogbuild.tables import read_table


def scene(seed: int, n: int, speed_px: float = 0.7) -> list[np.ndarray]:
    """n frames of 128x96: soft coloured waves that drift steadily, as the view of a moving camera does."""
    rng = np.random.default_rng(seed)
    y, x = (axis[:, :, None] for axis in np.mgrid[:96, :128])
    colour, fx, fy = rng.uniform(50, 200, 3), rng.uniform(0.02, 0.12, (4, 3)), rng.uniform(0.02, 0.12, (4, 3))
    phase = rng.uniform(0, 6, (4, 3))
    frames = []
    for i in range(n):
        waves = sum(np.sin(fx[k] * (x + speed_px * i) + fy[k] * y + phase[k]) for k in range(4))
        frames.append(np.clip(colour + 25 * waves, 0, 255).astype(np.uint8))
    return frames


def film(*lengths: int) -> list[np.ndarray]:
    return [frame for seed, n in enumerate(lengths) for frame in scene(seed, n)]


def found(frames: list[np.ndarray], **options) -> list[int]:
    return detect_cuts(enumerate(frames), **options)


def run(path: Path, folder: Path, **config) -> dict[str, list[int]]:
    for name in ("ingest", "shots"):
        (folder / name).mkdir(parents=True)
    ingest.run(Inputs("v", "v", path, {}), folder / "ingest", ingest.Config())
    shots.run(Inputs("v", "v", path, {"ingest": folder / "ingest"}), folder / "shots", shots.Config(**config))
    return {k: v.tolist() for k, v in read_table(folder / "shots" / "shots.parquet").items()}


SILENCE = np.zeros(16000 * 4, np.float32)


def test_shots_tile_the_video():
    table = shots.shot_table([10, 40], 100)
    assert {k: (v.dtype.name, v.tolist()) for k, v in table.items()} == {
        "shot": ("int32", [0, 1, 2]),
        "start_tick": ("int32", [0, 10, 40]),
        "end_tick": ("int32", [10, 40, 100]),
    }


def test_a_video_without_cuts_is_one_shot():
    assert shots.shot_table([], 7)["end_tick"].tolist() == [7]


@pytest.mark.parametrize("cuts", [[0], [100], [40, 10], [10, 10], [-1]])
def test_cuts_outside_the_video_or_out_of_order_are_refused(cuts):
    with pytest.raises(ValueError, match="cuts must increase"):
        shots.shot_table(cuts, 100)


@pytest.mark.parametrize(("detector", "threshold"), [("adaptive", 3.0), ("content", 27.0), ("histogram", 0.05)])
def test_hard_cuts_are_found_on_the_exact_frame(detector, threshold):
    assert found(film(20, 33, 15, 40), detector=detector, threshold=threshold) == [20, 53, 68]


def test_a_drifting_camera_is_no_cut():
    assert found(scene(0, 120)) == []


def test_a_cut_too_near_to_the_one_before_is_dropped():
    assert found(film(30, 3, 30), min_frames=5) == [30]
    assert found(film(30, 3, 30), min_frames=1) == [30, 33]


def test_cuts_are_given_in_the_ticks_that_came_with_the_frames():
    frames = film(20, 20)
    assert detect_cuts([(3 * i + 7, f) for i, f in enumerate(frames)]) == [3 * 20 + 7]


def test_no_frame_at_all_has_no_cut():
    assert detect_cuts([]) == []


def test_the_stage_finds_cuts_in_a_file_on_the_right_ticks(tmp_path):
    frames = film(30, 45, 25)
    encode_video(tmp_path / "a.mp4", frames, Fraction(25), (128, 96), audio=SILENCE)
    assert run(tmp_path / "a.mp4", tmp_path / "w") == {
        "shot": [0, 1, 2], "start_tick": [0, 30, 75], "end_tick": [30, 75, 100],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("fps", "lengths"), [(Fraction(12), (18, 30)), (Fraction(50), (60, 90)), (Fraction(24000, 1001), (30, 50))]
)
def test_frames_shown_twice_or_skipped_do_not_move_or_make_cuts(tmp_path, fps, lengths):
    encode_video(tmp_path / "a.mp4", film(*lengths), fps, (128, 96), audio=SILENCE)
    starts = run(tmp_path / "a.mp4", tmp_path / "w")["start_tick"]
    cut_s = lengths[0] / fps
    first = min(k for k in range(1000) if (k + Fraction(1, 2)) / 25 >= cut_s)
    assert starts == [0, first]


def test_fast_motion_at_a_low_rate_is_no_cut_although_ticks_repeat_frames(tmp_path):
    frames = scene(3, 30, speed_px=14)
    assert found([f for f in frames for _ in range(3)]) != [], "shown three times, this motion would look like cuts"
    encode_video(tmp_path / "a.mp4", frames, Fraction(25, 3), (128, 96), audio=SILENCE)
    assert run(tmp_path / "a.mp4", tmp_path / "w")["start_tick"] == [0]


def test_frames_are_shrunk_with_their_shape_and_never_enlarged():
    assert shots.small_size(1920, 1080, 256) == (256, 144)
    assert shots.small_size(1080, 1920, 256) == (256, 455)
    assert shots.small_size(128, 96, 256) == (128, 96)
    assert shots.small_size(4000, 20, 256) == (256, 16)


def test_importing_the_stages_does_not_load_the_detector():
    code = "import sys, dialogbuild.stages.shots, dialogbuild.stages.ingest; print([m for m in sys.modules if m in " \
           "('scenedetect','cv2','torch','mediapipe','numba','sklearn','soxr','soundfile')])"  # fmt: skip
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.clips
@pytest.mark.parametrize(
    ("name", "n_ticks"),
    [("interview_split_screen.mp4", 438), ("talker_vfr.mp4", 152), ("talker_hevc_portrait.mp4", 250)],
)
def test_real_clips_of_one_shot_stay_one_shot(clips_dir, tmp_path, name, n_ticks):
    assert run(clips_dir / name, tmp_path) == {"shot": [0], "start_tick": [0], "end_tick": [n_ticks]}


@pytest.mark.clips
def test_real_scenes_spliced_together_are_cut_where_they_were_joined(clips_dir):
    from dialogbuild.media.reader import VideoReader
    from dialogbuild.media.scan import scan_frames

    names = ["interview_split_screen.mp4", "talker_vfr.mp4", "head_silent.mp4", "interview_split_screen.mp4"]
    frames: list[np.ndarray] = []
    cuts = []
    for offset, name in enumerate(names):
        table = scan_frames(clips_dir / name, 0).table
        assert table is not None
        with VideoReader(clips_dir / name, size_px=(256, 144)) as reader:
            frames += [rgb for _, rgb in reader.frames(table.pts[20 * offset : 20 * offset + 50].tolist())]
        cuts.append(len(frames))
    assert found(frames) == cuts[:-1]
