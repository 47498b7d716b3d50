"""The scores of head tracking on cases whose answer is known."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import fit_score as fs
from fit_data import FitClip, bilabial_frames, clip_spec, every_nth, fast_variant, motion_px, window_origin_px

from dialogbuild.fit.params import ParamLayout
from dialogbuild.head import load_head
from dialogbuild.head.pose import neutral_pose, pose_head, to_camera
from dialogbuild.head.rotation import rodrigues
from dialogbuild.synth import DialogueSpec, make_speech

MODEL = load_head()
LAYOUT = ParamLayout(MODEL.n_expr)
CAMERA = (700.0, 320.0, 180.0)
FACE = MODEL.masks["face"][::20]


def moving_pose(n_frames=40, seed=0, neck=True):
    rng = np.random.default_rng(seed)

    def walk(width, scale):
        return (scale * np.cumsum(rng.normal(size=(n_frames, width)), 0) / np.sqrt(n_frames)).astype(np.float32)

    pose = neutral_pose(MODEL, n_frames, 0.8)
    return replace(
        pose,
        shape=rng.normal(0, 0.7, MODEL.n_shape).astype(np.float32),
        expr=rng.uniform(0, 0.5, (n_frames, MODEL.n_expr)).astype(np.float32),
        root_rad=walk(3, 0.3),
        neck_rad=walk(3, 0.2) if neck else pose.neck_rad,
        jaw_rad=np.abs(walk(3, 0.1)) * [1, 0, 0],
        eyes_rad=walk(6, 0.1),
        transl_m=pose.transl_m + walk(3, 0.02),
    )


def clip_of(pose, **changes) -> FitClip:
    n = len(pose)
    clip = FitClip(
        name="made",
        fps=25.0,
        every=1,
        width_px=640,
        height_px=360,
        frames_rgb=np.zeros((n, 1, 1, 3), np.uint8),
        origin_px=np.zeros((n, 2), np.int32),
        landmarks_px=np.zeros((n, 478, 2), np.float32),
        z_px=np.zeros((n, 478), np.float32),
        usable=np.ones(n, bool),
        box_detected=np.ones(n, bool),
        linked=np.ones(n - 1, bool),
        detect_ms=0.0,
        true_pose=pose,
        true_camera=CAMERA,
        true_lip_gap_m=fs.lip_gap_mm(MODEL, pose) / 1e3,
        true_lids=pose.expr[:, list(MODEL.lid_expr)],
        true_landmarks_px=np.zeros((n, 478, 2), np.float32),
        bilabial=np.full(n, -1, np.int32),
    )
    return replace(clip, **changes)


def result_of(pose, camera=CAMERA, sigma=None, ok=None) -> fs.MethodResult:
    n = len(pose)
    lip = None if sigma is None else np.ones(n)
    return fs.MethodResult(
        LAYOUT.pack(pose), pose.shape, camera, sigma, lip, {}, np.ones(n, bool) if ok is None else ok
    )


def test_the_truth_scores_zero_and_all_events():
    pose = moving_pose()
    lids = pose.expr.copy()
    lids[:, list(MODEL.lid_expr)] = 0.0
    lids[10:13, list(MODEL.lid_expr)] = 1.0
    pose = replace(pose, expr=lids)
    pooled = fs.pool([fs.score(clip_of(pose), result_of(pose), MODEL)])
    for name in ("px", "vertex_mm", "lip_mm", "lip_gap_mm", "rotation_deg", "depth_pct", "focal_pct", "gaze_deg"):
        assert pooled[name] == pytest.approx(0.0, abs=1e-3), name
    assert pooled["blink_recall"] == pooled["blink_precision"] == pooled["ok"] == 1.0
    assert pooled["jitter_m_s2"] == pytest.approx(0.0, abs=1e-6)
    assert "coverage68" not in pooled


def test_a_bent_neck_folded_into_the_root_is_the_same_head_in_the_camera():
    pose = moving_pose()
    folded = fs.fold_neck(MODEL, pose)
    assert not folded.neck_rad.any()
    a, b = (to_camera(pose_head(MODEL, p, FACE), p.transl_m) for p in (pose, folded))
    np.testing.assert_allclose(a, b, atol=2e-6)
    straight = moving_pose(neck=False)
    np.testing.assert_allclose(fs.fold_neck(MODEL, straight).transl_m, straight.transl_m, atol=1e-7)


def test_the_same_head_without_neck_scores_zero():
    pose = moving_pose()
    pooled = fs.pool([fs.score(clip_of(pose), result_of(fs.fold_neck(MODEL, pose)), MODEL)])
    assert pooled["px"] < 1e-3
    assert pooled["rotation_deg"] < 1e-3


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_two_degrees_of_rotation_are_two_degrees_and_an_offset(axis):
    pose = moving_pose(neck=False)
    step = np.zeros(3)
    step[axis] = np.radians(2.0)
    turned = fs.log_so3(rodrigues(pose.root_rad) @ rodrigues(step))
    angle, relative = fs.rotation_error_deg(pose.root_rad, turned)
    np.testing.assert_allclose(angle, 2.0, atol=1e-5)
    np.testing.assert_allclose(relative, 0.0, atol=1e-5)


def test_a_rotation_that_alternates_is_no_offset():
    turned = np.zeros((10, 3))
    turned[::2, 1], turned[1::2, 1] = np.radians(3.0), np.radians(-3.0)
    angle, relative = fs.rotation_error_deg(np.zeros((10, 3)), turned)
    np.testing.assert_allclose(angle, 3.0, atol=1e-9)
    np.testing.assert_allclose(relative, 3.0, atol=1e-9)


def test_a_sideways_shift_is_so_many_pixels_and_no_vertex_error():
    pose = neutral_pose(MODEL, 3, 0.7)
    moved = replace(pose, transl_m=pose.transl_m + np.array([0.002, 0, 0], np.float32))
    frames = fs.score(clip_of(pose), result_of(moved), MODEL).frames
    np.testing.assert_allclose(frames["px"], 0.002 * 700 / 0.7, rtol=0.05)
    np.testing.assert_allclose(frames["vertex_mm"], 0.0, atol=1e-6)
    np.testing.assert_allclose(frames["depth_pct"], 0.0, atol=1e-6)


def test_pixels_are_counted_where_the_face_is_seen():
    x = np.array([[[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]]])
    y = x + np.array([[[0.01, 0.0, 0.0], [1.0, 0.0, 0.0]]])
    camera = (100.0, 0.0, 0.0)
    np.testing.assert_allclose(fs.pixel_error(x, y, camera, camera, np.array([[True, False]])), 1.0)
    np.testing.assert_allclose(fs.pixel_error(x, x, camera, (100.0, 3.0, 4.0), np.ones((1, 2), bool)), 5.0)


def test_the_side_that_is_turned_away_is_not_seen():
    pose = neutral_pose(MODEL, 2)
    pose.root_rad[1, 1] = np.radians(60)  # the face to the image's right: the subject's right side shows
    seen = fs.facing_camera(MODEL, pose, MODEL.masks["face"])
    x = MODEL.v_template[MODEL.masks["face"], 0]
    assert seen[0].mean() > 0.7
    assert seen[0][x > 0.02].mean() == pytest.approx(seen[0][x < -0.02].mean(), abs=0.05)
    assert seen[1][x < -0.02].mean() > seen[1][x > 0.02].mean() + 0.3
    nose = np.isin(MODEL.masks["face"], MODEL.masks["nose"])
    assert seen[0][nose].mean() > 0.6


def test_vertex_error_keeps_scale_and_ignores_the_heads_place():
    pose = moving_pose(neck=False)
    elsewhere = replace(pose, root_rad=pose.root_rad + 0.3, transl_m=pose.transl_m + 0.1)
    np.testing.assert_allclose(fs.skull_error_mm(MODEL, pose, elsewhere, FACE), 0.0, atol=1e-6)
    other = replace(pose, shape=pose.shape + np.eye(MODEL.n_shape, dtype=np.float32)[0])
    expected = 1e3 * np.linalg.norm(MODEL.shape_dirs[FACE][..., 0], axis=1).mean()
    assert expected > 0.1
    np.testing.assert_allclose(fs.skull_error_mm(MODEL, pose, other, FACE), expected, rtol=0.05)


def test_a_longer_lens_and_a_farther_head_leave_their_ratio():
    pose = neutral_pose(MODEL, 4, 0.8)
    far = replace(pose, transl_m=pose.transl_m * np.float32(1.2))
    frames = fs.score(clip_of(pose), result_of(far, (840.0, 320.0, 180.0)), MODEL).frames
    np.testing.assert_allclose(frames["focal_pct"], 20.0, atol=1e-6)
    np.testing.assert_allclose(frames["depth_pct"], 20.0, atol=0.5)
    np.testing.assert_allclose(frames["depth_over_focal_pct"], 0.0, atol=0.5)


def test_gaze_is_the_mean_of_the_open_eyes():
    true, found = np.zeros((3, 6)), np.zeros((3, 6))
    found[:, 1], found[:, 3] = np.radians(4.0), np.radians(2.0)
    found[:, 2] = 0.5  # torsion about the line of sight is no change of direction
    lids = np.array([[0.0, 0.0], [0.9, 0.0], [0.9, 0.9]])
    error = fs.gaze_error_deg(true, found, lids)
    np.testing.assert_allclose(error[:2], [3.0, 2.0], atol=0.15)
    assert np.isnan(error[2])


def test_the_lip_gap_is_the_truths_definition():
    truth = make_speech(DialogueSpec(seed=5, duration_s=4.0, faces=1))[1]
    person = truth.persons[0]
    np.testing.assert_allclose(fs.lip_gap_mm(MODEL, person.pose), 1e3 * person.lip_gap_m, atol=1e-3)
    assert person.lip_gap_m.max() > 0.004


def test_a_wider_mouth_is_a_positive_bias_and_its_size_the_error():
    pose = neutral_pose(MODEL, 5)
    opened = replace(pose, jaw_rad=pose.jaw_rad + np.array([0.1, 0, 0], np.float32))
    frames = fs.score(clip_of(pose), result_of(opened), MODEL).frames
    assert frames["lip_gap_bias_mm"].min() > 1.0
    back = fs.score(clip_of(opened), result_of(pose), MODEL).frames
    np.testing.assert_allclose(back["lip_gap_bias_mm"], -frames["lip_gap_bias_mm"], atol=1e-5)
    np.testing.assert_allclose(back["lip_gap_mm"], frames["lip_gap_mm"], atol=1e-5)


def closure(n, *blinks):
    out = np.zeros(n)
    for start, end, depth in blinks:
        out[start:end] = depth
    return out


def test_runs_are_maximal_and_half_open():
    assert fs.runs(np.array([1, 1, 0, 1, 0, 0, 1], bool)) == [(0, 2), (3, 4), (6, 7)]
    assert fs.runs(np.zeros(3, bool)) == []


@pytest.mark.parametrize(
    ("found", "recall", "precision"),
    [
        (closure(100, (20, 24, 0.6), (50, 54, 0.8)), (2, 2), (2, 2)),
        (closure(100, (25, 27, 0.9), (50, 54, 0.8)), (2, 2), (2, 2)),  # two frames late
        (closure(100, (26, 28, 0.9), (50, 54, 0.8)), (1, 2), (1, 2)),  # three
        (closure(100, (16, 19, 0.9), (50, 54, 0.8)), (2, 2), (2, 2)),  # two early
        (closure(100, (15, 18, 0.9), (50, 54, 0.8)), (1, 2), (1, 2)),  # three
        (closure(100, (20, 24, 0.4)), (0, 2), (0, 0)),  # too weak
        (closure(100, (20, 24, 0.9), (50, 54, 0.9), (80, 84, 0.9)), (2, 2), (2, 3)),  # one invented
        (np.ones(100), (1, 2), (1, 1)),  # eyes that never open have found one blink, not two
    ],
)
def test_blinks_are_matched_one_to_one(found, recall, precision):
    true = closure(100, (20, 24, 1.0), (50, 54, 0.75))
    counts = fs.blink_counts(true, found, tolerance=2)
    assert counts == {"blink_recall": recall, "blink_precision": precision}


def test_a_half_blink_that_is_found_is_neither_expected_nor_wrong():
    half = closure(60, (20, 24, 0.6))
    assert fs.blink_counts(half, half, 2) == {"blink_recall": (0, 0), "blink_precision": (1, 1)}


def test_closures_count_frames_and_bilabials_count_events():
    true = np.array([0.5, 0.5, 1.5, 0.5, 0.5, 1.5, 5.0])
    found = np.array([0.5, 1.5, 0.5, 1.5, 2.0, 5.0, np.inf])
    bilabial = np.array([0, 0, -1, 4, 4, -1, -1])
    assert fs.closure_counts(true, found, bilabial) == {
        "closure_recall": (1, 4),
        "closure_precision": (1, 2),
        "bilabial_recall": (1, 2),
    }


def test_a_frame_without_a_fit_is_a_missed_event_and_no_error():
    pose = neutral_pose(MODEL, 20)
    pose.expr[8:11, list(MODEL.lid_expr)] = 1.0
    wrong = replace(pose, root_rad=pose.root_rad.copy())
    wrong.root_rad[8:11] = 1.0
    ok = np.ones(20, bool)
    ok[8:11] = False
    scored = fs.score(clip_of(pose), result_of(wrong, ok=ok), MODEL)
    assert scored.counts["blink_recall"] == (0, 1)
    assert scored.frames["rotation_deg"].max() < 1e-4
    assert scored.clip["ok"] == pytest.approx(0.85)
    assert scored.counts["closure_recall"][0] == 17


def test_a_clip_without_any_fit_is_scored_as_such():
    pose = neutral_pose(MODEL, 6)
    pooled = fs.pool([fs.score(clip_of(pose), result_of(pose, ok=np.zeros(6, bool)), MODEL)])
    assert pooled["ok"] == 0.0
    assert "px" not in pooled
    assert np.isnan(pooled["jitter_m_s2"])


@pytest.mark.parametrize(("scale", "inside68", "inside95"), [(1.0, 0.683, 0.950), (2.0, 0.383, 0.673)])
def test_gaussian_errors_with_their_own_sigma_are_covered_by_68_and_95_percent(scale, inside68, inside95):
    pose = moving_pose(n_frames=600, neck=False)
    rng = np.random.default_rng(1)
    sigma = LAYOUT.expand({"root": 0.01, "transl": 0.005, "neck": 0.0, "jaw": 0.02, "eyes": 0.05, "expr": 0.1})
    theta = LAYOUT.pack(pose)
    noisy = theta + scale * sigma * rng.normal(size=theta.shape)
    errors = fs.normalised_errors(pose, LAYOUT.unpack(noisy, pose.shape), np.tile(sigma, (600, 1)))
    counts = fs.coverage_counts(errors)
    pooled = fs.pool([fs.Score({}, counts, {})])
    assert {k.split("_")[1] for k in counts} == {"root", "transl", "jaw", "eyes", "expr"}
    for group in ("root", "transl", "jaw", "eyes", "expr"):
        assert pooled[f"coverage68_{group}"] == pytest.approx(inside68, abs=0.05), group
        assert pooled[f"coverage95_{group}"] == pytest.approx(inside95, abs=0.05), group
    assert pooled["coverage68"] == pytest.approx(inside68, abs=0.02)
    assert pooled["coverage95"] == pytest.approx(inside95, abs=0.02)


def test_held_and_idle_entries_are_left_out_of_the_coverage_and_the_lip_gap_is_in_it():
    pose = moving_pose(neck=False)
    sigma = np.zeros((len(pose), LAYOUT.size))
    sigma[:, [0, 10, 11, 14, 17]] = 1.0  # jaw aside and torsion of the eyes, which never move, are left out too
    counts = fs.score(clip_of(pose), result_of(pose, sigma=sigma), MODEL).counts
    covered = {k: v for k, v in counts.items() if k.startswith("coverage")}
    expected = (len(pose), len(pose))
    assert covered == {f"coverage{n}_{g}": expected for n in (68, 95) for g in ("root", "lip_gap")}


def test_noise_is_positive_jitter_and_a_still_face_negative():
    pose = moving_pose(n_frames=200, neck=False)
    ok = np.ones(200, bool)
    rng = np.random.default_rng(0)
    trembling = replace(pose, expr=pose.expr + rng.normal(0, 0.5, pose.expr.shape).astype(np.float32))
    still = replace(pose, expr=np.zeros_like(pose.expr), jaw_rad=np.zeros_like(pose.jaw_rad))
    assert fs.jitter_m_s2(MODEL, pose, trembling, ok, 25.0) > 0.1
    assert fs.jitter_m_s2(MODEL, pose, still, ok, 25.0) < -0.1
    turning = replace(pose, root_rad=pose.root_rad + rng.normal(0, 0.1, (200, 3)).astype(np.float32))
    assert fs.jitter_m_s2(MODEL, pose, turning, ok, 25.0) == pytest.approx(0.0, abs=1e-6)
    ok[::3] = False
    assert np.isnan(fs.jitter_m_s2(MODEL, pose, trembling, ok, 25.0))


def test_jitter_is_in_metres_per_second_squared():
    a = neutral_pose(MODEL, 60)
    b = replace(a, expr=a.expr.copy())
    b.expr[1::2, 0] = 0.2
    size_m = 0.2 * np.sqrt((MODEL.expr_dirs[MODEL.masks["face"][:: fs.FACE_STEP], :, 0] ** 2).sum(1).mean())
    expected = 2 * size_m * 25.0**2  # ... 0, s, 0, s: the second difference is 2 s
    assert fs.jitter_m_s2(MODEL, a, b, np.ones(60, bool), 25.0) == pytest.approx(expected, rel=1e-3)


def test_frames_and_events_are_pooled_by_number_and_clips_by_mean():
    a = fs.Score({"px": np.array([1.0, 1.0, 1.0])}, {"blink_recall": (1, 1)}, {"ok": 1.0})
    b = fs.Score({"px": np.array([5.0, np.nan])}, {"blink_recall": (0, 3)}, {"ok": 0.0})
    pooled = fs.pool([a, b])
    assert pooled["px"] == pytest.approx(2.0)
    assert pooled["blink_recall"] == pytest.approx(0.25)
    assert pooled["ok"] == pytest.approx(0.5)


def test_a_thinned_clip_keeps_truth_and_links_together():
    pose = moving_pose()
    points = np.repeat(np.arange(40.0)[:, None, None], 478, 1) * np.array([1.0, 0.0])
    linked = np.ones(39, bool)
    linked[13] = False
    clip = clip_of(pose, true_landmarks_px=points, linked=linked, bilabial=np.arange(40, dtype=np.int32))
    assert clip.motion_px == pytest.approx(1.0)
    thin = every_nth(clip, 4)
    assert thin.fps == 6.25
    assert thin.whole is clip
    np.testing.assert_array_equal(thin.bilabial, np.arange(0, 40, 4))
    np.testing.assert_array_equal(thin.true_pose.expr, pose.expr[::4])
    assert np.flatnonzero(~thin.linked).tolist() == [3]  # the cut between frames 13 and 14: 12 to 16
    fast = fast_variant(clip, 6.0)
    assert fast.every == 6
    assert fast.motion_px == pytest.approx(6.0)
    assert motion_px(points[:1]) == 0.0


def test_the_window_stays_in_the_frame_and_bridges_frames_without_landmarks():
    points = np.zeros((4, 478, 2), np.float32)
    points[0], points[1], points[3] = (320.4, 180), (10, 350), (600, 10)
    origin = window_origin_px(points, np.array([True, True, False, True]), (640, 360))
    np.testing.assert_array_equal(origin, [[192, 52], [0, 104], [0, 104], [384, 0]])


def test_bilabials_are_numbered_where_the_truth_closes_the_lips():
    truth = make_speech(DialogueSpec(seed=3, duration_s=12.0, faces=1))[1]
    events = bilabial_frames(truth)
    assert len(np.unique(events)) - 1 >= 2
    assert truth.persons[0].lip_gap_m[events >= 0].max() < 1e-3


def test_specs_differ_in_lens_and_side_and_stay_the_same_for_a_seed():
    specs = [clip_spec(seed, 8.0) for seed in range(400, 440)]
    lenses = np.array([s.focal_over_width for s in specs])
    assert lenses.min() >= 0.9
    assert lenses.max() <= 1.8
    assert np.ptp(lenses) > 0.6
    assert [s.swap_sides for s in specs[:3]] == [False, True, False]
    assert clip_spec(417, 8.0) == specs[17]
