"""identity, fit_flame and quality with pixels, on a rendered dialogue whose landmarks are the true ones, moved."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from pane_tables import write_panes

from dialogbuild.artifact import Inputs, Outcome, run_stage
from dialogbuild.dataset.schema import FIT_REASONS
from dialogbuild.errors import ConfigError
from dialogbuild.fit.bundle import BundleOptions
from dialogbuild.fit.person import PersonOptions
from dialogbuild.fit.photometric import PhotometricNoise
from dialogbuild.fit.regions import REGIONS
from dialogbuild.fit.track import REASONS, TrackOptions
from dialogbuild.fit.view import whole_view
from dialogbuild.head import load_head
from dialogbuild.head.pose import HeadPose, pose_head, to_camera
from dialogbuild.media.reader import VideoReader
from dialogbuild.pixels.looks import SurfaceSpec, load_looks
from dialogbuild.pixels.windows import Faces, cut_windows
from dialogbuild.stages import fit_flame, identity, quality
from dialogbuild.tables import read_table, write_table

START, END, CLIP = 20, 56, "talk_c000"
HIDDEN = np.arange(40, 44)  # person 1 has no landmarks there
FEW = {"surface_points": 1200, "photometric_keyframes": 8, "keyframes": 12}


@dataclass(frozen=True, eq=False)
class Case:
    root: Path
    source: Path
    truth: object
    pts: np.ndarray
    landmarks_px: np.ndarray  # (2, T, 478, 2) as the stages get them

    def inputs(self, item: str, **more: Path) -> Inputs:
        dirs = {name: self.root / name for name in ("ingest", "shots", "tracks", "landmarks", "assign", "segment")}
        return Inputs(item, "talk", self.source, dirs | more)


@pytest.fixture(scope="module")
def case(dialogue, tmp_path_factory) -> Case:
    root, truth = tmp_path_factory.mktemp("pixels"), dialogue.truth
    frames = truth.tick_frames
    rng = np.random.default_rng(0)
    points = np.stack([p.landmarks_px[frames] for p in truth.persons])
    points += rng.normal(0, 0.8, (2, 1, 478, 2)) + rng.normal(0, 0.4, points.shape)  # this detector's habits, and noise
    points[..., REGIONS["lips"], 1] += 1.0
    with VideoReader(dialogue.path) as reader:
        step = round(1 / 25 / reader._stream.time_base)
    case = Case(root, dialogue.path, truth, np.arange(len(frames)) * step, points.astype(np.float32))
    _write(case)
    return case


def _write(case: Case) -> None:
    i32, n = np.int32, len(case.pts)
    for name in ("ingest", "shots", "tracks", "landmarks", "assign", "segment"):
        (case.root / name).mkdir()
    spec = case.truth.spec
    write_panes(case.root / "shots", [(0, 0, spec.width_px, spec.height_px)])
    (case.root / "ingest" / "video.json").write_text(
        json.dumps({"width_px": spec.width_px, "height_px": spec.height_px})
    )
    k = np.arange(n, dtype=i32)
    write_table(case.root / "ingest" / "ticks.parquet", {"tick": k, "frame": k, "pts": case.pts})
    rows = {"track": np.repeat([0, 1], n).astype(i32), "tick": np.tile(k, 2)}
    ok = ~((rows["track"] == 1) & np.isin(rows["tick"], HIDDEN))
    points = case.landmarks_px.reshape(2 * n, 478, 2)
    box = np.concatenate([points.min(1), points.max(1)], 1)
    more = {"shot": np.zeros(2 * n, i32), "box_px": box, "detected": np.ones(2 * n, bool)}
    write_table(case.root / "tracks" / "tracks.parquet", {**rows, **more})
    flat = {"lmk_px": case.landmarks_px.reshape(2 * n, 956), "lmk_z_px": np.zeros((2 * n, 478), np.float32)}
    flat |= {"crop_px": np.zeros((2 * n, 4), np.float32), "mask_parts": np.array([bytes(1024)] * (2 * n), object)}
    write_table(
        case.root / "landmarks" / "landmarks.parquet",
        {**rows, **flat, "presence": np.ones(2 * n, np.float32), "ok": ok},
    )
    who = np.array([0, 1], i32)
    write_table(case.root / "assign" / "persons.parquet", {"person": who})
    write_table(case.root / "assign" / "track_person.parquet", {"track": who, "person": who})
    one = {"clip_id": np.array([CLIP], object), "start_tick": np.array([START], i32), "end_tick": np.array([END], i32)}
    spoken = {name: np.ones(1, np.float32) for name in ("speak_s_0", "speak_s_1", "overlap_s")}
    write_table(case.root / "segment" / "clips.parquet", {**one, **spoken})


def _run(case: Case, tmp: Path, stage, config=None, **dirs: Path) -> Outcome:
    item = "talk" if stage.unit == "video" else CLIP
    return run_stage(stage, case.inputs(item, **dirs), config or stage.config(), tmp, "key", {})


@pytest.fixture(scope="module")
def who(case, tmp_path_factory) -> Path:
    return _run(case, tmp_path_factory.mktemp("who"), identity.STAGE, identity.Config(**FEW)).path


@pytest.fixture(scope="module")
def fitted(case, who, tmp_path_factory) -> Path:
    return _run(
        case, tmp_path_factory.mktemp("fit"), fit_flame.STAGE, fit_flame.Config(depth_sigma=10), identity=who
    ).path


def person_rows(motion, person):
    return {name: values[motion["person"] == person] for name, values in motion.items()}


def test_the_identity_says_how_it_was_found_and_how_far_its_halves_agree(who):
    camera = json.loads((who / "camera.json").read_text())
    assert (camera["method"], camera["method_reason"]) == ("photometric", "")
    assert camera["focal_px"] != camera["focal_landmarks_px"]
    assert 0 < camera["focal_sigma_px"] < camera["focal_px"]
    for person in camera["persons"].values():
        assert person["n_photometric_keyframes"] == FEW["photometric_keyframes"]
        assert 0 < person["shape_split_half_mm"] < 15
        assert 0 < person["shape_shift_mm"] < 15


def test_looks_hold_every_point_of_both_people_and_refuse_another_head(who, case):
    head = load_head()
    spec, looks = load_looks(who / "look.npz", head)
    assert spec == SurfaceSpec(FEW["surface_points"])
    assert sorted(looks) == [0, 1]
    for look in looks.values():
        assert look.albedo.shape == (FEW["surface_points"], 3)
        assert look.albedo.min() > 0
        assert look.landmark_offset.shape == (478, 2)
    noise = case.landmarks_px[0] - case.truth.persons[0].landmarks_px[case.truth.tick_frames]
    size = np.linalg.norm(case.landmarks_px[0, :, 33] - case.landmarks_px[0, :, 263], axis=1)
    habit = np.median(noise / size[:, None, None], axis=0)
    for axis in (0, 1):
        assert np.corrcoef(habit[:, axis], looks[0].landmark_offset[:, axis])[0, 1] > 0.6, "the detector's habits"

    class Other:
        sha256, model_id = "0" * 64, "other"

    with pytest.raises(ConfigError, match="another head"):
        load_looks(who / "look.npz", Other())


def test_pixels_bring_the_face_nearer_to_the_truth_in_the_picture(case, fitted, who, tmp_path):
    plain = {"photometric": False}
    other = _run(case, tmp_path, identity.STAGE, identity.Config(**FEW, **plain)).path
    alone = _run(case, tmp_path, fit_flame.STAGE, fit_flame.Config(depth_sigma=10, **plain), identity=other).path
    for person in (0, 1):
        assert face_error_px(case, fitted, who, person) < 0.95 * face_error_px(case, alone, other, person)


def face_error_px(case: Case, fit: Path, who: Path, person: int) -> float:
    """Mean distance of face vertices from their true places in the picture."""
    head = load_head()
    ids = head.masks["face"][::25]
    camera = json.loads((who / "camera.json").read_text())
    shape = read_table(who / "identity.parquet")["shape"][person]
    motion = person_rows(read_table(fit / "motion.parquet"), person)
    keep = np.flatnonzero((motion["valid"] & fit_flame.FIT_OK) > 0)
    names = ("expr", "root_rad", "neck_rad", "jaw_rad", "eyes_rad", "transl_m")
    found = HeadPose(shape, *(motion[name][keep] for name in names))
    true = case.truth.persons[person].pose.frames(case.truth.tick_frames[motion["src_tick"][keep]])
    spec = case.truth.spec

    def project(pose, focal):
        x = to_camera(pose_head(head, pose, ids), pose.transl_m)
        return x[..., :2] * (focal / x[..., 2:]) + [spec.width_px / 2, spec.height_px / 2]

    off = project(found, camera["focal_px"]) - project(true, case.truth.camera.focal_px)
    return float(np.linalg.norm(off, axis=-1).mean())


def test_every_tick_says_what_its_fit_rests_on(fitted):
    motion = read_table(fitted / "motion.parquet")
    report = json.loads((fitted / "fit.json").read_text())
    hidden = (motion["person"] == 1) & np.isin(motion["src_tick"], HIDDEN)
    assert set(motion["fit_reason"][hidden]) == {FIT_REASONS["no_landmarks"]}
    used = motion["fit_reason"] == FIT_REASONS["ok"]
    assert used[~hidden].mean() > 0.9
    assert motion["colour_psnr_db"][used].min() > 20
    assert 0 < motion["colour_l1"][used].max() < 0.1
    assert motion["visible_frac"][used].min() > 0.12
    assert not motion["colour_psnr_db"][hidden].any()
    assert motion["fit_reason"].dtype == np.int8
    assert motion["iterations"].dtype == np.int16
    for person in ("0", "1"):
        numbers = report["persons"][person]
        assert numbers["median_psnr_db"] > numbers["median_psnr_landmarks_db"]
        assert sum(numbers["share_by_reason"].values()) == pytest.approx(1, abs=1e-3)


def test_a_covered_face_is_marked_occluded_and_falls_back_to_landmarks(case, who, tmp_path):
    """A looks file with wrong colours stands for a covered face: nothing in the picture fits them."""
    painted = tmp_path / "identity"
    painted.mkdir()
    for name in ("identity.parquet", "camera.json"):
        (painted / name).write_bytes((who / name).read_bytes())
    with np.load(who / "look.npz") as file:
        arrays = dict(file)
    rng = np.random.default_rng(0)
    arrays["albedo_0"] = (arrays["albedo_0"] * np.exp(rng.normal(0, 1.2, arrays["albedo_0"].shape))).astype(np.float32)
    np.savez(painted / "look.npz", **arrays)
    out = _run(case, tmp_path, fit_flame.STAGE, fit_flame.Config(depth_sigma=10), identity=painted).path
    motion = person_rows(read_table(out / "motion.parquet"), 0)
    occluded = motion["fit_reason"] == FIT_REASONS["occluded"]
    assert occluded.mean() > 0.9
    assert (((motion["valid"] & fit_flame.OCCLUDED) > 0) == occluded).all()
    assert (motion["valid"][occluded] & fit_flame.FIT_OK).all(), "landmarks still fit"


def test_quality_carries_colours_and_the_halves(case, who, fitted, tmp_path):
    out = _run(case, tmp_path, quality.STAGE, identity=who, fit_flame=fitted).path
    numbers = json.loads((out / "quality.json").read_text())
    assert numbers["method"] == "photometric"
    camera = json.loads((who / "camera.json").read_text())
    for name, person in numbers["persons"].items():
        assert person["shape_split_half_mm"] == pytest.approx(camera["persons"][name]["shape_split_half_mm"], abs=1e-4)
        assert person["colour_psnr_db_median"] > 20
        assert 0.85 < person["pixels_used"] <= 1
    rows, motion = read_table(out / "quality.parquet"), read_table(fitted / "motion.parquet")
    assert (rows["colour_psnr_db"] == motion["colour_psnr_db"]).all()


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"min_photometric_keyframes": 10}, "too_few_keyframes"), ({"max_shape": 0.01}, "implausible_shape")],
)
def test_pixels_that_cannot_serve_leave_the_landmark_identity_and_say_so(case, who, tmp_path, change, reason):
    cheap = {**FEW, "split_half": False, "surface_points": 500, **change}
    outcome = _run(case, tmp_path, identity.STAGE, identity.Config(**cheap))
    camera = json.loads((outcome.path / "camera.json").read_text())
    assert (camera["method"], camera["method_reason"]) == ("landmarks", reason)
    assert camera["focal_px"] == camera["focal_landmarks_px"]
    assert not (outcome.path / "look.npz").exists()
    with_pixels = json.loads((who / "camera.json").read_text())
    assert camera["focal_px"] == pytest.approx(with_pixels["focal_landmarks_px"], rel=1e-6)


def test_the_same_pixels_give_the_same_bytes(case, who, fitted, tmp_path):
    again = _run(case, tmp_path, identity.STAGE, identity.Config(**FEW, split_half=False)).path
    for name in ("identity.parquet", "look.npz"):
        assert (again / name).read_bytes() == (who / name).read_bytes(), name
    again = _run(case, tmp_path, fit_flame.STAGE, fit_flame.Config(depth_sigma=10), identity=who).path
    for name in ("motion.parquet", "fit.json"):
        assert (again / name).read_bytes() == (fitted / name).read_bytes(), name


def test_windows_show_the_pixels_of_their_ticks(case):
    ticks = np.array([30, 33, 60])
    usable = np.array([True, False, True])
    view = whole_view(3, (case.truth.spec.width_px, case.truth.spec.height_px))
    faces = Faces(ticks, case.landmarks_px[0][ticks], usable, 60.0, view)
    shared = Faces(ticks[:1], case.landmarks_px[1][ticks[:1]], usable[:1], 60.0, view.at(slice(1)))
    first, second = cut_windows(case.source, case.root / "ingest", case.pts, [faces, shared])
    assert (len(first), len(second), first.step) == (3, 1, 1)
    assert not first.rgb[1].any()
    assert first.bounds[1].tolist() == [0, 0, 0, 0]
    with VideoReader(case.source) as reader:
        picture = reader.at(int(case.pts[60]))
    x, y = first.origin_px[2]
    x0, y0, x1, y1 = first.bounds[2]
    assert (first.rgb[2, y0:y1, x0:x1] == picture[y + y0 : y + y1, x + x0 : x + x1]).all()


def test_the_stages_defaults_are_the_solvers_own():
    bundle, people = BundleOptions(), PersonOptions()
    ours = identity.Config()
    assert (ours.photometric_keyframes, ours.surface_points) == (bundle.keyframes, people.points)
    assert (ours.photometric_independence, ours.photometric_landmark_frames) == (
        bundle.independence, bundle.landmark_frames,
    )  # fmt: skip
    fit, track, noise = fit_flame.Config(), TrackOptions(), PhotometricNoise()
    assert (fit.pixel_sigma, fit.pixel_independence) == (noise.skin, noise.independence)
    assert (fit.min_visible_frac, fit.max_occluded_frac, fit.max_colour_error) == (
        track.min_visible, track.max_outliers, track.max_l1,
    )  # fmt: skip
    assert {name: k for k, name in enumerate(REASONS)} == {n: c for n, c in FIT_REASONS.items() if c >= 0}
