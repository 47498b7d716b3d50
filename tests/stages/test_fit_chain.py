"""identity, fit_flame, quality and gate on measurements that are projections of a known performance."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from pane_tables import write_panes

from dialogbuild.artifact import Inputs, Outcome, run_stage
from dialogbuild.dataset.schema import FIT_REASONS
from dialogbuild.errors import ConfigError
from dialogbuild.fit.rig import model_rig, pose_points, project_points
from dialogbuild.head import load_head
from dialogbuild.media.encode import encode_video
from dialogbuild.stages import fit_flame, gate, identity, quality
from dialogbuild.tables import read_table, write_table

WIDTH, HEIGHT, FOCAL, T = 320, 180, 352.0, 90
START, END = 10, 80
CLIP = "talk_c000"
NOISE_PX = 0.3
# person 1 has no landmarks at ticks 30-33 (short gap) and no track at all at ticks 50-69 (long gap)
SHORT, LONG = np.arange(30, 34), np.arange(50, 70)


@dataclass(frozen=True, eq=False)
class Case:
    root: Path
    truth: tuple[np.ndarray, np.ndarray]  # theta (T, P) of both persons

    def inputs(self, item: str, **changed: Path) -> Inputs:
        stages = ("ingest", "shots", "tracks", "landmarks", "assign", "segment")
        dirs = {name: self.root / name for name in stages} | changed
        return Inputs(item, "talk", self.root / "talk.mp4", dirs)


def performance(person: int, n_expr: int, aside_m: float = 0.17) -> np.ndarray:
    """theta (T, P): slow turns and nods, a talking jaw, two blinks."""
    t = np.arange(T) / 25
    theta = np.zeros((T, 18 + n_expr))
    theta[:, 0] = 0.12 * np.sin(4.0 * t + person)
    theta[:, 1] = (0.25 if person else -0.25) + 0.2 * np.sin(1.5 * t)
    theta[:, 3:6] = [aside_m if person else -aside_m, 0.01, 0.75]
    theta[:, 9] = 0.1 * (1 - np.cos(12 * t))
    for start in (20 + 5 * person, 60):
        theta[start : start + 5, 18:20] = np.array([0.5, 1.0, 1.0, 0.6, 0.2])[:, None]
    return theta


@pytest.fixture(scope="module")
def case(tmp_path_factory) -> Case:
    head = load_head()
    truth = (performance(0, head.n_expr), performance(1, head.n_expr))
    return write_case(tmp_path_factory.mktemp("chain"), truth, (WIDTH / 2, WIDTH / 2), [(0, 0, WIDTH, HEIGHT)])


def write_case(root: Path, truth: tuple[np.ndarray, np.ndarray], cx_px: tuple[float, float], panes: list) -> Case:
    """What the stages read, and a video; ``cx_px`` of each person's camera."""
    for name in ("ingest", "shots", "tracks", "landmarks", "assign", "segment"):
        (root / name).mkdir()
    head, rng = load_head(), np.random.default_rng(0)
    pixels = np.zeros((2, T, 478, 2))
    z_px = np.zeros((2, T, 478))
    for k, theta in enumerate(truth):
        rig = model_rig(head).with_shape(0.7 * rng.standard_normal(head.n_shape))
        posed = pose_points(rig, theta).points
        pixels[k][:, rig.index], _ = project_points(posed, theta[:, 3:6], (FOCAL, cx_px[k], HEIGHT / 2))
        z_px[k][:, rig.index] = -(posed[..., 2] - posed[..., 2].mean(1, keepdims=True)) * FOCAL / 0.75
    pixels += NOISE_PX * rng.standard_normal(pixels.shape)
    write_panes(root / "shots", panes)
    _write_upstream(root, pixels.astype(np.float32), z_px.astype(np.float32))
    _video(root / "talk.mp4", pixels)
    return Case(root, truth)


def _video(path: Path, pixels: np.ndarray) -> None:
    """Textured discs where the faces are."""
    texture = np.random.default_rng(3).integers(60, 200, (HEIGHT, WIDTH, 1)).astype(np.uint8)
    y, x = np.mgrid[:HEIGHT, :WIDTH]

    def frames():
        for t in range(T):
            image = np.full((HEIGHT, WIDTH, 3), 40, np.uint8)
            for person in (0, 1):
                cx, cy = pixels[person, t].mean(axis=0)
                inside = (x - cx) ** 2 + (y - cy) ** 2 < 50**2
                image[inside] = texture[inside]
            yield image

    encode_video(path, frames(), Fraction(25), (WIDTH, HEIGHT), 18, preset="ultrafast")


def _write_upstream(root: Path, pixels: np.ndarray, z_px: np.ndarray) -> None:
    i32 = np.int32
    video = {"width_px": WIDTH, "height_px": HEIGHT, "fps": [25, 1], "n_ticks": T}
    (root / "ingest" / "video.json").write_text(json.dumps(video))
    k = np.arange(T)
    ticks = {"tick": k.astype(i32), "frame": k.astype(i32), "pts": k * 512, "repeated": np.zeros(T, bool)}
    write_table(root / "ingest" / "ticks.parquet", ticks)
    seen = [k, np.setdiff1d(k, LONG)]
    track = np.concatenate([np.full(len(s), i) for i, s in enumerate(seen)]).astype(i32)
    tick = np.concatenate(seen).astype(i32)
    points, depth = pixels[track, tick], z_px[track, tick]
    box = np.concatenate([points.min(1), points.max(1)], 1)
    ok = ~((track == 1) & np.isin(tick, SHORT))
    points[~ok], depth[~ok] = 0, 0
    rows = {"track": track, "tick": tick}
    n = len(tick)
    more = {"shot": np.zeros(n, i32), "box_px": box, "score": np.ones(n, np.float32), "detected": tick % 4 == 0}
    write_table(root / "tracks" / "tracks.parquet", {**rows, **more})
    flat = {"lmk_px": points.reshape(n, 956), "lmk_z_px": depth}
    flat |= {"crop_px": np.zeros((n, 4), np.float32), "mask_parts": np.array([bytes(1024)] * n, object)}
    write_table(
        root / "landmarks" / "landmarks.parquet",
        {**rows, **flat, "presence": np.full(n, 0.9, np.float32), "ok": ok},
    )
    who = np.array([0, 1], i32)
    write_table(root / "assign" / "persons.parquet", {"person": who})
    write_table(root / "assign" / "track_person.parquet", {"track": who, "person": who})
    write_table(
        root / "segment" / "clips.parquet",
        {
            "clip_id": np.array([CLIP], object),
            "clip": np.zeros(1, i32),
            "start_tick": np.array([START], i32),
            "end_tick": np.array([END], i32),
            "speak_s_0": np.array([2.0], np.float32),
            "speak_s_1": np.array([1.5], np.float32),
            "overlap_s": np.array([0.2], np.float32),
        },
    )


def _run(case: Case, tmp: Path, stage, config=None, **dirs: Path) -> Outcome:
    """The pictures show discs: pixels are tested on rendered heads, in ``test_photometric_stages``."""
    item = "talk" if stage.unit == "video" else CLIP
    usual = {"photometric": False} if stage in (identity.STAGE, fit_flame.STAGE) else {}
    return run_stage(stage, case.inputs(item, **dirs), config or stage.config(**usual), tmp, "key", {})


@pytest.fixture(scope="module")
def chain(case, tmp_path_factory) -> dict[str, Outcome]:
    """identity, fit_flame and quality, run once with their default configs."""
    tmp = tmp_path_factory.mktemp("work")
    done: dict[str, Outcome] = {}
    for stage in (identity.STAGE, fit_flame.STAGE, quality.STAGE):
        done[stage.name] = _run(case, tmp, stage, **{name: o.path for name, o in done.items()})
        assert done[stage.name].status == "ok"
    return done


def test_identity_writes_shapes_and_one_camera(chain):
    table = read_table(chain["identity"].path / "identity.parquet")
    camera = json.loads((chain["identity"].path / "camera.json").read_text())
    head = load_head()
    assert table["person"].tolist() == [0, 1]
    assert table["shape"].shape == table["shape_sigma"].shape == (2, head.n_shape)
    assert (table["shape_sigma"] > 0).all()
    assert camera["model_id"] == head.model_id
    assert camera["head_sha256"] == head.sha256
    assert camera["converged"] is True
    assert abs(camera["focal_px"] - FOCAL) < 2 * camera["focal_sigma_px"]
    assert (camera["cx_px"], camera["cy_px"]) == (WIDTH / 2, HEIGHT / 2)


def test_in_a_split_screen_everyone_has_a_camera_of_their_own(tmp_path):
    n_expr, panes = load_head().n_expr, [(0, 0, WIDTH // 2, HEIGHT), (WIDTH // 2, 0, WIDTH, HEIGHT)]
    truth = (performance(0, n_expr, 0.0), performance(1, n_expr, 0.0))
    turned_deg = {}
    for name, boxes in (("split", panes), ("one camera", [(0, 0, WIDTH, HEIGHT)])):
        (tmp_path / name).mkdir()
        case = write_case(tmp_path / name, truth, (WIDTH / 4, 3 * WIDTH / 4), boxes)
        done: dict[str, Path] = {}
        for stage in (identity.STAGE, fit_flame.STAGE, quality.STAGE):
            done[stage.name] = _run(case, tmp_path / name / "work", stage, **done).path
        motion = read_table(done["fit_flame"] / "motion.parquet")
        rows = read_table(done["quality"] / "quality.parquet")
        ok = (motion["valid"] & fit_flame.FIT_OK) > 0
        np.testing.assert_allclose(rows["reproj_px"][ok], motion["reproj_px"][ok], rtol=5e-3)
        root_rad = np.concatenate([theta[START:END, :3] for theta in truth])
        turned_deg[name] = np.degrees(np.abs(motion["root_rad"] - root_rad)[ok, 1].mean())
        if name == "split":
            assert set(motion["cx_px"][motion["person"] == 0]) == {WIDTH / 4}
            assert set(motion["cx_px"][motion["person"] == 1]) == {3 * WIDTH / 4}
            assert np.abs(motion["transl_m"][ok, 0]).mean() < 0.005
    assert turned_deg["split"] < 1.0
    assert turned_deg["one camera"] > 8.0, "80 px at a focal length of 352 px are 13 degrees"


def test_identity_rejects_a_person_who_is_hardly_seen(case, tmp_path):
    outcome = _run(case, tmp_path, identity.STAGE, identity.Config(min_keyframes=60))
    assert (outcome.status, outcome.reason) == ("rejected", "too_few_keyframes")
    assert outcome.values == {"person": 1, "usable": 46, "needed": 60}


def test_candidate_ticks_are_those_of_the_clips_thinned_evenly():
    clips = {"start_tick": np.array([0, 8, 100]), "end_tick": np.array([10, 12, 104])}
    assert identity.candidate_ticks(clips).tolist() == [*range(12), 100, 101, 102, 103]
    assert identity.candidate_ticks(clips, 8).tolist() == [0, 2, 4, 6, 8, 10, 100, 102]


def test_every_person_and_tick_has_a_row_without_nan(chain):
    motion = read_table(chain["fit_flame"].path / "motion.parquet")
    n = END - START
    assert motion["person"].tolist() == [0] * n + [1] * n
    assert motion["tick"].tolist() == [*range(n)] * 2
    assert motion["src_tick"][:n].tolist() == [*range(START, END)]
    assert motion["pts"][0] == START * 512
    for name, values in motion.items():
        assert np.isfinite(values).all(), name
    assert motion["valid"].dtype == np.uint32
    assert (motion["neck_rad"] == 0).all()


def test_the_fit_recovers_the_performance(case, chain):
    motion = read_table(chain["fit_flame"].path / "motion.parquet")
    for person in (0, 1):
        theta = case.truth[person][START:END]
        mine = motion["person"] == person
        ok = (motion["valid"][mine] & fit_flame.FIT_OK) > 0
        assert np.degrees(np.abs(motion["root_rad"][mine] - theta[:, :3])[ok].mean()) < 1.0
        assert np.corrcoef(motion["jaw_rad"][mine, 0][ok], theta[ok, 9])[0, 1] > 0.97
        for eye in (0, 1):
            assert np.corrcoef(motion["lids"][mine, eye][ok], theta[ok, 18 + eye])[0, 1] > 0.97
        assert motion["lids"][mine][ok].max() > 0.85
        assert motion["reproj_px"][mine][ok].mean() < 2 * NOISE_PX


def test_short_gaps_are_interpolated_and_long_ones_are_neutral(chain):
    motion = read_table(chain["fit_flame"].path / "motion.parquet")
    mine = motion["person"] == 1
    valid, src = motion["valid"][mine], motion["src_tick"][mine]
    short, long = np.isin(src, SHORT), np.isin(src, LONG)
    assert (((valid & fit_flame.INTERPOLATED) > 0) == short).all()
    assert ((valid[short] & (fit_flame.FIT_OK | fit_flame.LANDMARKS_OK)) == 0).all()
    assert (valid[long] == 0).all()
    numbers = ("expr", "root_rad", "transl_m", "jaw_rad", "eyes_rad", "lids", "reproj_px", "sigma_root_rad")
    for name in numbers:
        assert (motion[name][mine][long] == 0).all(), name
    assert motion["sigma_root_rad"][mine][short].min() > np.median(motion["sigma_root_rad"][mine][~short & ~long])
    assert (motion["transl_m"][mine][short][:, 2] > 0.5).all()


def test_valid_bits_tell_detection_and_shot_edges(chain):
    motion = read_table(chain["fit_flame"].path / "motion.parquet")
    valid, src = motion["valid"][: END - START], motion["src_tick"][: END - START]
    assert (((valid & fit_flame.DETECTED) > 0) == (src % 4 == 0)).all()
    edges = np.flatnonzero(valid & fit_flame.SHOT_BOUNDARY)
    assert edges.tolist() == [0, END - START - 1]
    blink = np.isin(src, (21, 22))
    assert ((valid[blink] & fit_flame.EYES_OK) == 0).all()
    assert ((valid[src == 40] & fit_flame.EYES_OK) > 0).all()


def test_another_head_than_the_identitys_is_a_config_error(case, chain, tmp_path):
    other = tmp_path / "identity"
    other.mkdir()
    camera = json.loads((chain["identity"].path / "camera.json").read_text())
    (other / "camera.json").write_text(json.dumps({**camera, "head_sha256": "0" * 64, "model_id": "another"}))
    for stage in (fit_flame.STAGE, quality.STAGE):
        with pytest.raises(ConfigError, match="give both"):
            stage.run(case.inputs(CLIP, identity=other), tmp_path, stage.config())


def test_the_same_inputs_give_the_same_bytes(case, chain, tmp_path):
    done = {"identity": chain["identity"]}
    again = _run(case, tmp_path, identity.STAGE)
    for name in ("identity.parquet", "camera.json"):
        assert (again.path / name).read_bytes() == (chain["identity"].path / name).read_bytes()
    again = _run(case, tmp_path, fit_flame.STAGE, identity=done["identity"].path)
    for name in ("motion.parquet", "fit.json"):
        assert (again.path / name).read_bytes() == (chain["fit_flame"].path / name).read_bytes()


def test_quality_measures_what_is_known(case, chain):
    rows = read_table(chain["quality"].path / "quality.parquet")
    motion = read_table(chain["fit_flame"].path / "motion.parquet")
    assert (rows["person"] == motion["person"]).all()
    assert (rows["tick"] == motion["tick"]).all()
    ok = (motion["valid"] & fit_flame.FIT_OK) > 0
    for name, values in rows.items():
        assert np.isfinite(values).all(), name
        if name not in ("person", "tick", "yaw_deg", "pitch_deg", "roll_deg", "lip_gap_px", "lid_gap_px"):
            assert (values[motion["valid"] == 0] == 0).all(), name
    np.testing.assert_allclose(rows["reproj_px"][ok], motion["reproj_px"][ok], rtol=2e-3)
    yaw = np.degrees(np.concatenate([t[START:END, 1] for t in case.truth]))
    assert np.abs(rows["yaw_deg"] - yaw)[ok].mean() < 1.5
    assert (rows["visible"][ok]).all()
    assert not rows["visible"][motion["valid"] == 0].any()
    assert np.median(rows["face_size_px"][ok]) == pytest.approx(FOCAL * 0.09 / 0.75, rel=0.2)
    assert np.abs(rows["lip_gap_px"][ok]).mean() < 1.0
    assert rows["blur"][ok].min() > 0
    assert 40 < rows["brightness"][ok].mean() < 160


def test_quality_json_has_every_number_that_the_gate_asks_for(chain):
    numbers = json.loads((chain["quality"].path / "quality.json").read_text())
    assert set(numbers["persons"]) == {"0", "1"}
    for person in numbers["persons"].values():
        assert {g.number for g in gate.gates_of(gate.Config())} <= set(person)
    assert numbers["persons"]["0"]["coverage"] == 1.0
    assert numbers["persons"]["1"]["coverage"] == pytest.approx(1 - 24 / 70, abs=1e-4)
    assert numbers["persons"]["1"]["speech_s"] == 1.5
    assert numbers["n_ticks"] == END - START


def test_the_gate_rejects_with_the_first_reason_and_lists_all(case, chain, tmp_path):
    outcome = _run(case, tmp_path, gate.STAGE, gate.Config(min_speech_s=1.8), quality=chain["quality"].path)
    assert (outcome.status, outcome.reason) == ("rejected", "low_coverage")
    assert outcome.values["person"] == "1"
    assert outcome.values["threshold"] == 0.8
    assert [f["reason"] for f in outcome.values["failed"]] == ["low_coverage", "too_little_speech"]


def test_a_good_clip_passes_and_the_verdict_names_the_gates(case, chain, tmp_path):
    outcome = _run(case, tmp_path, gate.STAGE, gate.Config(min_coverage=0.6), quality=chain["quality"].path)
    assert outcome.status == "ok"
    verdict = json.loads((outcome.path / "verdict.json").read_text())
    assert verdict["passed"] is True
    assert {"reason": "low_coverage", "number": "coverage", "side": "min", "threshold": 0.6} in verdict["gates"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"coverage": 0.1}, "low_coverage"),
        ({"face_size_px_p5": 12.0}, "small_face"),
        ({"yaw_deg_p95": 82.0}, "extreme_yaw"),
        ({"brightness_median": 8.0}, "too_dark"),
        ({"brightness_median": 250.0}, "too_bright"),
        ({"blur_median": 0.0005}, "blurry"),
        ({"reproj_pct_median": 9.0}, "high_reprojection"),
        ({"lip_gap_pct_p95": 14.0}, "loose_lips"),
        ({"jitter_mm_median": 4.0}, "jitter"),
        ({"speech_s": 0.2}, "too_little_speech"),
    ],
)
def test_each_gate_has_its_own_reason(case, chain, tmp_path, change, reason):
    numbers = json.loads((chain["quality"].path / "quality.json").read_text())
    numbers["persons"]["1"] = {**numbers["persons"]["0"], **change}
    (tmp_path / "q").mkdir()
    (tmp_path / "q" / "quality.json").write_text(json.dumps(numbers))
    outcome = _run(case, tmp_path, gate.STAGE, quality=tmp_path / "q")
    assert (outcome.status, outcome.reason) == ("rejected", reason)
    assert [f["person"] for f in outcome.values["failed"]] == ["1"]


def test_hidden_faces_are_let_through_unless_a_threshold_is_set(case, chain, tmp_path):
    quality_dir = chain["quality"].path
    assert "hidden_face" not in {g.reason for g in gate.gates_of(gate.Config())}
    strict = gate.Config(min_coverage=0.6, min_visible_frac=0.3)
    outcome = _run(case, tmp_path, gate.STAGE, strict, quality=quality_dir)
    assert (outcome.status, outcome.reason) == ("rejected", "hidden_face"), "no pixels were compared in this chain"


def test_without_pixels_the_tables_say_so(chain):
    camera = json.loads((chain["identity"].path / "camera.json").read_text())
    fit = json.loads((chain["fit_flame"].path / "fit.json").read_text())
    assert (camera["method"], camera["method_reason"]) == ("landmarks", "switched_off")
    assert (fit["method"], fit["method_reason"]) == ("landmarks", "switched_off")
    assert camera["focal_px"] == camera["focal_landmarks_px"]
    assert not (chain["identity"].path / "look.npz").exists()
    motion = read_table(chain["fit_flame"].path / "motion.parquet")
    fitted = (motion["valid"] & fit_flame.FIT_OK) > 0
    assert set(motion["fit_reason"][fitted]) == {FIT_REASONS["landmarks_only"]}
    assert set(motion["fit_reason"][~fitted]) == {FIT_REASONS["no_landmarks"]}
    for name in ("colour_l1", "colour_psnr_db", "visible_frac"):
        assert not motion[name].any(), name
    assert (motion["iterations"][fitted] > 0).all()
    assert (motion["sigma_face_mm"][fitted] > 0).all()
    assert (motion["sigma_eyes_rad"][fitted] > 0).all()


def test_stages_are_importable_without_the_heavy_libraries():
    import subprocess
    import sys

    code = (
        "import sys, dialogbuild.stages.identity, dialogbuild.stages.fit_flame, dialogbuild.stages.quality, "
        "dialogbuild.stages.gate; sys.exit(any(m in sys.modules for m in ('numba', 'torch', 'mediapipe', 'cv2')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_what_the_head_is_made_of_enters_the_key(tmp_path):
    path = tmp_path / "flame.pkl"
    path.write_bytes(b"x")
    for stage in (identity.STAGE, fit_flame.STAGE, quality.STAGE):
        assert list(stage.models(stage.config(head=str(path)))) == [path]
        built_in = {path.name for path in stage.models(stage.config())}
        assert {"procedural_core.npz", "build.py"} <= built_in, "constants and code of the built-in head"


def test_stage_faces_are_as_declared():
    assert replace(identity.STAGE).unit == "video"
    assert {s.unit for s in (fit_flame.STAGE, quality.STAGE, gate.STAGE)} == {"clip"}
    assert gate.STAGE.reads == ("quality",)
