"""``fit-flame`` on a single video: what it writes, what it refuses, and when it is the pipeline's stage instead."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile

from dialogbuild.artifact import Inputs
from dialogbuild.errors import ConfigError
from dialogbuild.fitvideo import Unsuitable, fit_video, lines, pick_device
from dialogbuild.fitvideo.measure import Fitted, verdicts
from dialogbuild.fitvideo.overlay import choose_view
from dialogbuild.fitvideo.prepare import Face
from dialogbuild.fitvideo.seam import chunks, cut
from dialogbuild.head import load_head
from dialogbuild.head.camera import Camera
from dialogbuild.head.pose import HeadPose, pose_head
from dialogbuild.media.audio import read_audio
from dialogbuild.pipeline import Places, run_stages
from dialogbuild.recipe import load_recipe
from dialogbuild.stages import fit_flame, ingest, upstream_of
from dialogbuild.stages.gate import Config as GateConfig
from dialogbuild.tables import read_table


@pytest.fixture(scope="module")
def silent(make_clip) -> Path:
    """3 s without sound, two people side by side."""
    return make_clip(audio="none", duration_s=3.0, width_px=320, height_px=180).path


@pytest.fixture(scope="module")
def done(silent, tmp_path_factory) -> tuple[dict[str, Any], Path]:
    out = tmp_path_factory.mktemp("fitted") / "silent_flame"
    return fit_video(silent, out, quiet=True), out


def test_a_silent_video_gives_both_faces_the_left_one_first(done):
    summary, out = done
    assert [face["seconds"] for face in summary["faces"]] == [3.0, 3.0]
    assert all(face["fitted"] == 75 and face["verdicts"]["none"] == 0 for face in summary["faces"])
    assert json.loads((out / "summary.json").read_text()) == summary
    motion = read_table(out / "motion.parquet")
    assert motion["transl_m"][motion["face"] == 0, 0].max() < motion["transl_m"][motion["face"] == 1, 0].min()
    text = "\n".join(lines(summary))
    assert "silent" in text
    assert "not FLAME" in text


def test_the_columns_are_the_stages_and_the_rows_are_the_videos_ticks(done):
    motion, quality = (read_table(done[1] / name) for name in ("motion.parquet", "quality.parquet"))
    documented = re.findall(r"\w+", (fit_flame.__doc__ or "").split("motion.parquet")[1].split("(bits)")[0])
    assert set(motion) - set(documented) == {"face"}
    assert {"person", "tick", "frame", "pts", "expr", "jaw_rad", "sigma_lip_mm", "valid"} <= set(motion)
    for table in (motion, quality):
        assert table["face"].tolist() == [0] * 75 + [1] * 75
        assert table["tick"].tolist() == list(range(75)) * 2
    wanted = {"reproj_lips_px", "reproj_lips_pct_iod", "reproj_pct_iod", "visible", "verdict", "reason"}
    assert wanted <= set(quality)
    assert set(quality["verdict"]) <= {"good", "doubtful"}
    assert np.allclose(quality["reproj_px"], motion["reproj_px"], atol=1e-2)


def test_the_npz_alone_puts_the_head_where_the_video_shows_it(done, silent):
    """Someone with numpy and the model, but without this package's tables, gets the detected landmarks back."""
    with np.load(done[1] / "faces.npz", allow_pickle=False) as data:
        faces = {name: data[name] for name in data.files}
    head = load_head()
    assert (str(faces["model_id"]), str(faces["sha256"]), float(faces["fps"])) == (head.model_id, head.sha256, 25.0)
    mesh = head.landmarks["mediapipe" if "mediapipe" in head.landmarks else "mp478"]
    landmarks = next((done[1] / "work" / "landmarks").glob("*/*/landmarks.parquet"))
    seen = read_table(landmarks)
    for face in (0, 1):
        rows = (faces["face"] == face) & faces["valid"]
        names = ("expr", "root_rad", "neck_rad", "jaw_rad", "eyes_rad", "transl_m")
        pose = HeadPose(faces["shape"][face], *(faces[name][rows] for name in names))
        in_camera = pose_head(head, pose) @ faces["cam_from_head"].T + pose.transl_m[:, None]
        focal, cx, cy, width, height = faces["camera"][face]
        assert (width, height) == (320, 180)
        points = mesh.points(in_camera, head.faces)
        pixels = points[..., :2] * focal / points[..., 2:] + [cx, cy]
        tracks = [t for t in np.unique(seen["track"]) if abs(pixels[0, :, 0].mean() - _centre(seen, t)) < 30]
        assert len(tracks) == 1
        detected = seen["lmk_px"][seen["track"] == tracks[0]].reshape(-1, 478, 2)[:, mesh.index]
        assert np.median(np.linalg.norm(pixels - detected, axis=2)) < 1.0


def _centre(seen, track) -> float:
    return float(seen["lmk_px"][seen["track"] == track].reshape(-1, 478, 2)[0, :, 0].mean())


def test_a_second_call_computes_nothing_and_a_changed_setting_only_what_it_must(done, silent):
    summary, out = done
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.parquet")}
    assert fit_video(silent, out, quiet=True) == summary
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.parquet")} == before
    strict = fit_video(silent, out, changes={"gate": {"max_reproj_pct": 0.01}}, overlay=False, quiet=True)
    assert all(face["doubts"] == {"high_reprojection": 75} for face in strict["faces"])
    assert all(path.stat().st_mtime_ns == at for path, at in before.items() if "work" in path.parts)
    assert not (out / "overlay.mp4").exists(), "an overlay of other numbers must not stay"
    assert fit_video(silent, out, quiet=True)["files"] == summary["files"]


def test_the_overlay_shows_the_frame_and_the_heads_beside_it(done, silent):
    with av.open(str(done[1] / "overlay.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert not container.streams.audio
        images = [frame.to_ndarray(format="rgb24").astype(int) for frame in container.decode(stream)]
    assert len(images) == 75
    plain, drawn = np.split(images[40], 2, axis=1)
    changed = np.abs(plain - drawn).max(axis=2) > 40
    half = changed.shape[1] // 2
    for side in (changed[:, :half], changed[:, half:]):
        assert 0.02 < side.mean() < 0.4, "a head on either side, and not everything"


def test_a_clip_of_a_run_is_fitted_with_its_persons_and_its_sound(dialogue, tmp_path):
    places = Places(tmp_path / "run")
    recipe = load_recipe("demo", upstream_of("segment"), {"segment": {"min_s": 2.0}})
    finished = run_stages(recipe, dialogue.path, places, 1, quiet=True)
    cut_at = next(row for row in finished.entries if row.stage == "segment")
    clips = read_table(Path(str(cut_at.path)) / "clips.parquet")
    start, end = int(clips["start_tick"][0]), int(clips["end_tick"][0])
    out = tmp_path / "clip"
    summary = fit_video(Path(str(clips["clip_id"][0])), out, quiet=True, run=places.out)
    assert len(summary["faces"]) == 2
    motion = read_table(out / "motion.parquet")
    assert motion["src_tick"].tolist() == list(range(start, end)) * 2
    with av.open(str(out / "overlay.mp4")) as container:
        assert container.streams.audio
        assert container.streams.video[0].frames == end - start
    with pytest.raises(ConfigError, match="its clips"):
        fit_video(Path("nobody_c000"), out, run=places.out)


def test_files_that_cannot_be_used_say_why(tmp_path):
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(Unsuitable, match="zero bytes"):
        fit_video(tmp_path / "empty.mp4", tmp_path / "a", quiet=True)
    soundfile.write(tmp_path / "only_sound.wav", np.zeros(16000), 16000)
    with pytest.raises(Unsuitable, match="no moving picture"):
        fit_video(tmp_path / "only_sound.wav", tmp_path / "b", quiet=True)
    from dialogbuild.media.encode import encode_video

    grey = np.full((96, 128, 3), 90, np.uint8)
    encode_video(tmp_path / "grey.mp4", [grey] * 50, ingest.FPS, (128, 96))
    with pytest.raises(Unsuitable, match="no face is seen"):
        fit_video(tmp_path / "grey.mp4", tmp_path / "c", quiet=True)
    assert not list(tmp_path.glob("*/summary.json"))


def test_a_device_that_is_not_here_is_a_wrong_argument():
    import torch

    assert pick_device("cpu") == "cpu"
    assert pick_device("auto") == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(ConfigError, match="auto, cpu or cuda"):
        pick_device("tpu")
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="no CUDA device"):
            pick_device("cuda")


def test_a_head_that_lacks_its_companion_files_is_told_before_the_work_or_still_measured(monkeypatch):
    from dialogbuild import fitvideo

    recipe = load_recipe("demo")
    bare = replace(load_head(), landmarks={}, masks={})
    monkeypatch.setattr(fitvideo, "load_head", lambda spec: bare)
    with pytest.raises(ConfigError, match=r"mediapipe_landmark_embedding\.npz"):
        fitvideo._load_head(recipe)
    unmasked = replace(load_head(), masks={})
    monkeypatch.setattr(fitvideo, "load_head", lambda spec: unmasked)
    head, notes = fitvideo._load_head(recipe)
    assert len(head.masks["face"]) == head.n_vertices
    assert "FLAME_masks.pkl" in notes[0]


def call(*words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dialogbuild", "fit-flame", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=cwd)


def test_a_file_is_the_tool_and_a_folder_or_a_recipe_is_the_stage(tmp_path):
    (tmp_path / "videos").mkdir()
    video = tmp_path / "videos" / "empty.mp4"
    video.touch()
    tool = call(video, cwd=tmp_path)
    assert (tool.returncode, tool.stdout) == (1, "")
    assert "zero bytes" in tool.stderr
    assert (tmp_path / "empty_flame" / "work").is_dir()
    for words in ((video.parent,), (video, "--recipe", "demo")):
        stage = call(*words, cwd=tmp_path)
        assert stage.returncode == 0, stage.stderr
        assert "empty_file 1" in stage.stdout
    nothing = call("no_such_clip", cwd=tmp_path)
    assert nothing.returncode == 2
    assert "no file" in nothing.stderr


@pytest.mark.parametrize("n", [1, 749, 750, 751, 4000])
def test_chunks_cover_every_tick_once_and_overlap_their_neighbours(n):
    parts = chunks(n, 750, 50)
    assert [t for _, inner in parts for t in range(inner.start, inner.stop)] == list(range(n))
    for outer, inner in parts:
        assert inner.stop - inner.start <= 750
        assert outer.start in (0, inner.start - 50)
        assert outer.stop in (n, inner.stop + 50)


def test_a_chunks_evidence_keeps_the_links_inside_it():
    from dialogbuild.fit.evidence import Evidence

    linked = np.ones(9, bool)
    linked[4] = False
    flat = np.zeros(10, bool)
    whole = Evidence(np.arange(10), np.zeros((10, 478, 2)), np.zeros((10, 478)), flat, flat, linked)
    part = cut(whole, slice(3, 8))
    assert part.row.tolist() == [3, 4, 5, 6, 7]
    assert part.linked.tolist() == [True, False, True, True]


def test_every_verdict_names_its_reason():
    ok, bridged = fit_flame.FIT_OK, fit_flame.INTERPOLATED
    motion = {"valid": np.array([ok, ok, ok, bridged, 0, 0], np.uint32)}
    seen = np.array([1, 1, 1, 0, 0, 1], bool)
    none = np.zeros(0)
    camera = Camera.centred(500.0, 640, 360)
    f = Fitted(Face(0, 0, (0,), 0, 6), motion, none, none, camera, 1.0, np.zeros((6, 478, 2)), seen)
    fine = {"face_size_px": 60.0, "yaw_deg": -5.0, "brightness": 120.0, "blur": 0.1, "reproj_pct_iod": 1.0}
    columns = {name: np.full(6, value) for name, value in fine.items()}
    columns |= {"lip_gap_px": np.zeros(6), "visible": np.ones(6, bool)}
    columns["yaw_deg"][1] = -75.0
    columns["lip_gap_px"][2] = -3.0
    verdict, reason = verdicts(f, columns, GateConfig())
    assert verdict.tolist() == ["good", "doubtful", "doubtful", "interpolated", "none", "none"]
    assert reason.tolist() == ["", "extreme_yaw", "loose_lips", "no_landmarks", "no_landmarks", "no_fit"]
    lax = replace(f, motion=motion)
    assert verdicts(lax, columns, GateConfig(max_yaw_deg=80, max_lip_gap_pct=9))[0].tolist()[:3] == ["good"] * 3


def test_the_view_closes_in_on_small_faces_and_its_camera_agrees_with_its_picture():
    whole = choose_view(np.array([[100.0, 100, 500, 500], [700, 100, 1100, 500]]), (1280, 720))
    assert (whole.panel_px, whole.zoom) == ((960, 540), 1)
    near = choose_view(np.array([[520.0, 500, 600, 600]]), (1080, 1920))
    assert near.zoom == 2
    assert near.panel_px[0] % 2 == near.panel_px[1] % 2 == 0
    assert near.panel_px[0] < 700
    frame = np.zeros((1920, 1080, 3), np.uint8)
    frame[548:552, 558:562] = 255
    rows, columns = np.nonzero(near.cut(frame)[..., 0] > 128)
    camera = Camera.centred(1300.0, 1080, 1920)
    ray = np.array([(560 - 540) / 1300, (550 - 960) / 1300, 1.0])
    assert np.allclose(near.camera(camera).project(ray), [columns.mean() + 0.5, rows.mean() + 0.5], atol=0.2)


def test_ingest_takes_silent_videos_and_beginnings_only_when_asked(silent, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    config = ingest.Config(require_audio=False, max_duration_s=1.5, min_duration_s=2.0)
    ingest.run(Inputs("a", "a", silent, {}), out, config)
    video = json.loads((out / "video.json").read_text())
    assert (video["n_ticks"], video["audio"]) == (38, None)
    assert len(read_table(out / "frames.parquet")["frame"]) == 38
    samples = read_audio(out / "audio.flac")
    assert len(samples) == 38 * 640
    assert not samples.any()
