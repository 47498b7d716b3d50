"""Frame solver, start pose, identity and clip fit on a random little head, where the truth is known exactly."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tiny_head import tiny_head

from dialogbuild.fit.clip import ClipOptions, fit_clip, lid_closure
from dialogbuild.fit.depth import depth_block
from dialogbuild.fit.evidence import Evidence, gather, short_gaps
from dialogbuild.fit.gauss_newton import SolverOptions, plausible, refit_outliers, solve_frames
from dialogbuild.fit.identity import IdentityOptions, fit_identity, select_keyframes
from dialogbuild.fit.init import posit, start_pose
from dialogbuild.fit.landmarks import facing_weight, landmark_block
from dialogbuild.fit.normal import Robust, assemble_all, total_cost
from dialogbuild.fit.params import ParamLayout, PriorSigmas, make_prior
from dialogbuild.fit.regions import N_LANDMARKS, REGIONS, LandmarkNoise
from dialogbuild.fit.rig import build_rig, model_rig, pose_points, project_points
from dialogbuild.fit.smoother import WalkSigmas, walk_sigma

CAMERA = (700.0, 320.0, 180.0)
NOISE = replace(LandmarkNoise(), independence=1.0)


def _head(points=120):
    """Rigid parts carry most points, as in a real head; joints sit inside it."""
    return tiny_head(points=points, pose_dirs=False, moving_joints=False)


def _motion(model, T, seed=0):
    rng = np.random.default_rng(seed)
    theta = np.zeros((T, 18 + model.n_expr))
    phase = np.arange(T)[:, None] / 25.0
    theta[:, :3] = 0.35 * np.sin(phase * rng.uniform(1, 3, 3) + rng.uniform(0, 6, 3))
    theta[:, 3:6] = np.array([0.05, -0.02, 0.8]) + 0.02 * np.sin(phase * rng.uniform(1, 3, 3))
    theta[:, 9] = 0.1 * (1 + np.sin(9 * phase[:, 0]))
    theta[:, 18:] = 0.7 * np.sin(phase * rng.uniform(2, 8, model.n_expr) + rng.uniform(0, 6, model.n_expr))
    return theta


def _detections(rig, theta, sigma_px=0.0, seed=0, camera=CAMERA):
    pixels, _ = project_points(pose_points(rig, theta).points, theta[:, 3:6], camera)
    out = np.zeros((len(theta), N_LANDMARKS, 2))
    out[:, rig.index] = pixels + sigma_px * np.random.default_rng(seed).normal(size=pixels.shape)
    return out


def _block(rig, theta, landmarks, usable=None, robust=Robust()):  # noqa: B008
    T = len(theta)
    usable = np.ones(T, bool) if usable is None else usable
    facing = facing_weight(rig, theta[:, :3], theta[:, 3:6])
    return landmark_block(rig, CAMERA, landmarks, usable, np.full(T, 80.0), facing, NOISE, robust)


def _evidence(landmarks, usable=None, linked=None):
    T = len(landmarks)
    ok = np.ones(T, bool) if usable is None else usable
    link = np.ones(T - 1, bool) if linked is None else linked
    return Evidence(np.arange(T), landmarks.astype(np.float32), np.zeros((T, N_LANDMARKS), np.float32), ok, ok, link)


@pytest.mark.parametrize("kind", ["none", "huber", "student"])
def test_gradient_of_the_landmark_cost_matches_finite_differences(kind):
    model = _head()
    rig = model_rig(model, dtype=np.float64)
    theta = _motion(model, 3)
    block = _block(rig, theta, _detections(rig, theta, 4.0), robust=Robust(kind, 3.0))
    rng = np.random.default_rng(0)
    at = theta + 0.02 * rng.normal(size=theta.shape)
    frames = np.arange(3)
    g = block.assemble(at, frames).g
    for k in range(theta.shape[1]):
        d = np.zeros_like(at)
        d[:, k] = 1e-6
        expected = (block.cost(at + d, frames) - block.cost(at - d, frames)) / 2e-6
        np.testing.assert_allclose(g[:, k], expected, rtol=1e-3, atol=1e-4 * np.abs(g).max(), err_msg=f"column {k}")


def test_float32_normal_equations_agree_with_float64():
    model = _head()
    theta = _motion(model, 4)
    found = []
    for dtype in (np.float64, np.float32):
        rig = model_rig(model, dtype=dtype)
        block = _block(rig, theta, _detections(model_rig(model, dtype=np.float64), theta, 2.0))
        found.append(block.assemble(theta, np.arange(4)))
    scale = np.sqrt(np.einsum("nii->ni", found[0].H)) + 1e-9
    error = np.abs(found[0].H - found[1].H) / (scale[:, :, None] * scale[:, None])
    assert error.max() < 1e-5


def test_posit_finds_exact_poses_from_exact_projections():
    model = _head()
    rig = model_rig(model, dtype=np.float64)
    theta = np.zeros((6, 18 + model.n_expr))
    theta[:, :3] = np.random.default_rng(0).normal(size=(6, 3)) * 0.4
    theta[:, 3:6] = [0.1, -0.05, 0.7]
    pixels = _detections(rig, theta)[:, rig.index]
    root, origin = posit(rig.neutral(), np.ones(rig.n_points), pixels, CAMERA, rounds=40)
    np.testing.assert_allclose(root, theta[:, :3], atol=1e-4)
    np.testing.assert_allclose(origin - rig.joints[0] * [1, -1, -1], theta[:, 3:6], atol=1e-4)


def test_posit_refuses_a_flat_object():
    points = np.random.default_rng(0).normal(size=(20, 3)) * [1, 1, 0]
    with pytest.raises(ValueError, match="not in one plane"):
        posit(points, np.ones(20), np.zeros((1, 20, 2)), CAMERA)


def test_every_frame_converges_from_its_own_start_and_lands_on_the_truth():
    model = _head()
    rig = model_rig(model)
    theta = _motion(model, 60)
    start, _ = start_pose(rig, CAMERA, _detections(rig, theta, 0.2))
    prior = make_prior(ParamLayout(model.n_expr), model, PriorSigmas(expr=3.0))
    block = _block(rig, start, _detections(rig, theta, 0.2))
    fit = solve_frames([block], prior, start, SolverOptions())
    assert fit.converged.all()
    assert fit.iterations.mean() < 12
    fitted, _ = project_points(pose_points(rig, fit.theta).points, fit.theta[:, 3:6], CAMERA)
    truth, _ = project_points(pose_points(rig, theta).points, theta[:, 3:6], CAMERA)
    assert np.linalg.norm(fitted - truth, axis=2).mean() < 0.3
    # start and end are fitted like the middle: no frame depends on another
    alone = solve_frames(
        [_block(rig, start[-1:], _detections(rig, theta, 0.2)[-1:])], prior, start[-1:], SolverOptions()
    )
    np.testing.assert_allclose(alone.theta[0], fit.theta[-1], atol=2e-3)


def test_the_optimum_has_no_gradient_left():
    model = _head()
    rig = model_rig(model, dtype=np.float64)
    theta = _motion(model, 5)
    prior = make_prior(ParamLayout(model.n_expr), model, PriorSigmas())
    block = _block(rig, theta, _detections(rig, theta, 1.0))
    fit = solve_frames([block], prior, theta, SolverOptions(tolerance=1e-9))
    g, H = fit.equations.g[:, prior.free], fit.equations.H[:, prior.free[:, None], prior.free]
    newton = np.einsum("ni,nij,nj->n", g, np.linalg.inv(H), g)
    assert newton.max() < 1e-6
    blocks = [block, prior.block]
    np.testing.assert_allclose(total_cost(blocks, fit.theta, np.arange(5)), fit.equations.cost)
    np.testing.assert_allclose(assemble_all(blocks, fit.theta, np.arange(5)).H, fit.equations.H)


def test_outlying_landmarks_hardly_move_a_robust_fit():
    model = _head()
    rig = model_rig(model)
    theta = _motion(model, 10)
    landmarks = _detections(rig, theta, 0.2)
    landmarks[:, rig.index[:12]] += 40.0
    prior = make_prior(ParamLayout(model.n_expr), model, PriorSigmas())
    turn = {}
    for kind in ("student", "none"):
        fit = solve_frames([_block(rig, theta, landmarks, robust=Robust(kind))], prior, theta, SolverOptions())
        turn[kind] = np.abs(fit.theta[:, :3] - theta[:, :3]).mean()
    assert turn["student"] < 0.25 * turn["none"]


def test_the_neck_stays_at_zero_and_the_root_carries_the_rotation():
    model = _head()
    rig = model_rig(model)
    theta = _motion(model, 8)
    prior = make_prior(ParamLayout(model.n_expr), model, PriorSigmas())
    fit = solve_frames([_block(rig, theta, _detections(rig, theta))], prior, theta, SolverOptions())
    assert (fit.theta[:, 6:9] == 0).all()
    assert set(range(6, 9)).isdisjoint(prior.free)


def test_a_diverged_frame_is_started_again_from_its_neighbour():
    model = _head()
    rig = model_rig(model)
    theta = _motion(model, 12)
    prior = make_prior(ParamLayout(model.n_expr), model, PriorSigmas())
    block = _block(rig, theta, _detections(rig, theta, 0.2))
    fit = solve_frames([block], prior, theta, SolverOptions())
    bad = np.array(fit.theta)
    bad[5, :3] = [0.0, 2.9, 0.0]  # looks backwards
    costs = np.array(fit.equations.cost)
    costs[5] = total_cost([block], bad, np.arange(12))[5]
    broken = replace(fit, theta=bad, equations=replace(fit.equations, cost=costs), finite=plausible(bad, costs))
    assert not broken.finite[5]
    fixed, restarted = refit_outliers([block], prior, broken, np.ones(12, bool), SolverOptions())
    assert restarted.tolist() == [t == 5 for t in range(12)]
    np.testing.assert_allclose(fixed.theta[5], fit.theta[5], atol=5e-3)
    assert fixed.finite.all()


def test_plausible_names_impossible_heads():
    theta = np.zeros((5, 20))
    theta[:, 5] = 0.7
    theta[1, 5] = -0.2
    theta[2, 1] = 3.0
    theta[3, 18] = np.nan
    theta[4, 9] = 2.0
    assert plausible(theta, np.zeros(5)).tolist() == [True, False, False, False, False]


def test_identity_finds_two_shapes_and_the_focal_length_they_share():
    model = _head(points=200)
    rig = model_rig(model)
    rng = np.random.default_rng(4)
    truth = rng.normal(size=(2, model.n_shape))
    camera = (640.0, 320.0, 180.0)
    people = []
    for k in range(2):
        theta = _motion(model, 50, seed=k)
        theta[:, 5] = 0.35 + 0.1 * np.sin(np.arange(50) / 9)  # near: perspective tells the focal length
        people.append((_detections(rig.with_shape(truth[k]), theta, 0.05, camera=camera), np.arange(50) > 2))
    prior = make_prior(ParamLayout(model.n_expr), model, PriorSigmas())
    options = IdentityOptions(keyframes=24, shape_sigma=2.0)
    fit = fit_identity(rig, prior, people, (640.0, 360.0), NOISE, Robust(), options)
    assert fit.converged
    assert fit.focal_px == pytest.approx(640, rel=0.05)
    assert abs(fit.focal_px - 640) < 4 * fit.focal_sigma_px
    assert np.abs(fit.shapes - truth).max() < 0.35
    assert (fit.shape_sigmas < options.shape_sigma).all()
    assert all(len(f) == 24 and f.min() > 2 for f in fit.frames)


def test_keyframes_spread_over_poses_and_repeat_exactly():
    model = _head()
    rig = model_rig(model)
    theta = _motion(model, 200)
    landmarks = _detections(rig, theta)
    start, face_px = start_pose(rig, CAMERA, landmarks)
    usable = np.ones(200, bool)
    usable[:50] = False
    keys = select_keyframes(start, landmarks, face_px, usable, 10)
    assert len(set(keys.tolist())) == 10
    assert keys.min() >= 50
    assert np.ptp(start[keys, 1]) > 0.8 * np.ptp(start[50:, 1])
    np.testing.assert_array_equal(keys, select_keyframes(start, landmarks, face_px, usable, 10))
    assert len(select_keyframes(start, landmarks, face_px, usable, 500)) == 150


def _fit_clip(model, landmarks, **kwargs):
    layout = ParamLayout(model.n_expr)
    prior = make_prior(layout, model, PriorSigmas(expr=2.0))
    walk = walk_sigma(layout, WalkSigmas(), model.lid_expr)
    options = ClipOptions(noise=NOISE)
    return fit_clip(model_rig(model), prior, CAMERA, _evidence(landmarks, **kwargs), walk, model.lid_expr, options)


def test_unseen_ticks_are_bridged_when_few_and_neutral_when_many():
    model = _head()
    theta = _motion(model, 60)
    landmarks = _detections(model_rig(model), theta, 0.2)
    usable = np.ones(60, bool)
    usable[10:14] = False
    usable[30:50] = False
    landmarks[~usable] = 0
    fit = _fit_clip(model, landmarks, usable=usable)
    assert fit.interpolated.tolist() == [10 <= t < 14 for t in range(60)]
    assert not fit.fit_ok[~usable].any()
    assert np.abs(fit.theta[10:14, :3] - theta[10:14, :3]).max() < 0.1
    assert fit.sigma[11, 0] > 1.5 * fit.sigma[5, 0]
    assert (fit.theta[30:50] == 0).all()
    assert np.isfinite(fit.theta).all()
    assert np.isfinite(fit.sigma).all()


def test_a_gap_that_holds_a_cut_is_not_bridged():
    good = np.array([1, 1, 0, 0, 1, 0, 1, 0], bool)
    linked = np.ones(7, bool)
    assert short_gaps(good, linked, 2).tolist() == [False, False, True, True, False, True, False, False]
    assert short_gaps(good, linked, 1).tolist() == [False, False, False, False, False, True, False, False]
    linked[2] = False
    assert short_gaps(good, linked, 2).tolist() == [False, False, False, False, False, True, False, False]


def test_a_person_never_seen_gets_neutral_rows():
    model = _head()
    fit = _fit_clip(model, np.zeros((7, N_LANDMARKS, 2)), usable=np.zeros(7, bool))
    assert not fit.fit_ok.any()
    assert (fit.theta == 0).all()


def test_landmarks_of_nonsense_are_not_called_a_fit():
    model = _head()
    theta = _motion(model, 20)
    landmarks = _detections(model_rig(model), theta, 0.2)
    landmarks[7] = np.random.default_rng(0).uniform(0, 600, landmarks[7].shape)
    fit = _fit_clip(model, landmarks)
    assert fit.fit_ok.tolist() == [t != 7 for t in range(20)]
    assert fit.interpolated[7]


def test_sigmas_cover_the_truth_when_the_noise_is_as_assumed():
    model = _head(points=200)
    rig = model_rig(model)
    theta = _motion(model, 150)
    rng = np.random.default_rng(5)
    landmarks = _detections(rig, theta)
    sigma = np.hypot(NOISE.fractions()[rig.index] * 80.0, NOISE.floor_px)
    landmarks[:, rig.index] += sigma[:, None] * rng.normal(size=(150, rig.n_points, 2))
    prior = make_prior(ParamLayout(model.n_expr), model, PriorSigmas(expr=0.7))
    block = replace(_block(rig, theta, landmarks, robust=Robust("none")), gap_inv_sigma=np.zeros((150, 0), np.float32))
    block = replace(
        block,
        gaps=np.zeros((0, 2), np.int64),
        inv_sigma=np.broadcast_to(1 / sigma, (150, rig.n_points)).astype(np.float32),
    )
    fit = solve_frames([block], prior, theta, SolverOptions(tolerance=1e-4))
    free = np.r_[0:6, 18 : 18 + model.n_expr]
    covariance = np.linalg.inv(fit.equations.H[:, prior.free[:, None], prior.free])
    posterior = np.zeros_like(theta)
    posterior[:, prior.free] = np.sqrt(np.einsum("nii->ni", covariance))
    inside = np.abs(fit.theta - theta)[:, free] < posterior[:, free]
    assert 0.60 < inside.mean() < 0.76


def test_the_better_of_two_tracks_at_one_tick_is_taken():
    tracks = {
        "track": np.array([0, 0, 1, 1]),
        "tick": np.array([5, 6, 5, 6]),
        "shot": np.array([0, 1, 0, 1]),
        "detected": np.ones(4, bool),
    }
    landmarks = {
        "track": tracks["track"],
        "tick": tracks["tick"],
        "lmk_px": np.arange(4, dtype=np.float32)[:, None] * np.ones((1, 4), np.float32),
        "lmk_z_px": np.ones((4, 2), np.float32),
        "presence": np.array([0.9, 0.5, 0.6, 0.7], np.float32),
        "ok": np.array([False, True, True, True]),
    }
    owner = {"track": np.array([0, 1]), "person": np.array([1, 1])}
    found = gather(tracks, landmarks, owner, 1, 4, 8)
    assert found.row.tolist() == [-1, 2, 3, -1]  # ok beats presence; then presence decides
    assert found.linked.tolist() == [True, False, True]
    assert found.usable.tolist() == [False, True, True, False]
    assert (gather(tracks, landmarks, owner, 0, 4, 8).row == -1).all()


def _depths(rig, theta, scale=1.0, offset=None):
    """What a detector of relative depths would say, in px, larger = farther."""
    depth = -pose_points(rig, theta).points[..., 2]
    out = np.zeros((len(theta), N_LANDMARKS))
    out[:, rig.index] = scale * (depth - depth.mean(axis=1, keepdims=True)) * CAMERA[0] / theta[:, 5:6]
    return out if offset is None else out + offset


def _full_head():
    """A model whose landmarks carry face-mesh indices, so that the rigid ones can be told."""
    return tiny_head(points=478, pose_dirs=False, moving_joints=False)


def test_gradient_of_the_depth_cost_matches_finite_differences():
    model = _full_head()
    rig = model_rig(model, dtype=np.float64)
    theta = _motion(model, 4)
    z_px = _depths(rig, theta) + np.random.default_rng(0).normal(size=(4, N_LANDMARKS))
    block = depth_block(rig, theta, z_px, CAMERA[0], np.full(4, 80.0), 0.03, Robust(), 0.2)
    assert block is not None
    at, frames = theta + 0.01 * np.random.default_rng(1).normal(size=theta.shape), np.arange(4)
    found = block.assemble(at, frames)
    np.testing.assert_allclose(found.cost, block.cost(at, frames))
    for k in range(theta.shape[1]):
        d = np.zeros_like(at)
        d[:, k] = 1e-6
        expected = (block.cost(at + d, frames) - block.cost(at - d, frames)) / 2e-6
        np.testing.assert_allclose(found.g[:, k], expected, atol=1e-5 * np.abs(found.g).max(), err_msg=f"column {k}")


def test_constant_errors_of_the_detected_depths_are_forgiven():
    model = _full_head()
    rig = model_rig(model, dtype=np.float64)
    theta = _motion(model, 30)
    wrong = 20 * np.random.default_rng(2).normal(size=N_LANDMARKS)
    block = depth_block(
        rig, theta, _depths(rig, theta, offset=wrong), CAMERA[0], np.full(30, 80.0), 0.03, Robust(), 1.0
    )
    assert block is not None
    assert block.cost(theta, np.arange(30)).max() < 1e-6


def test_depths_are_left_out_where_a_model_has_too_few_rigid_landmarks():
    model = _head()
    rig = model_rig(model).subset(np.arange(3))
    theta = _motion(model, 2)
    assert depth_block(rig, theta, np.zeros((2, N_LANDMARKS)), 700.0, np.full(2, 80.0), 0.03, Robust(), 1.0) is None


def test_depths_restore_nods_that_two_dimensions_shrink():
    model = _full_head()
    rig = model_rig(model)
    theta = _motion(model, 80)
    seen = theta.copy()
    seen[:, 0] *= 0.75  # what two dimensions say of the pitch
    evidence = replace(_evidence(_detections(rig, seen, 0.3)), z_px=_depths(rig, theta).astype(np.float32))
    prior = make_prior(ParamLayout(model.n_expr), model, PriorSigmas(expr=1.0))
    walk = walk_sigma(ParamLayout(model.n_expr), WalkSigmas(), None)
    slope = {}
    for sigma in (np.inf, 0.01):
        options = ClipOptions(noise=NOISE, depth_sigma=sigma)
        fit = fit_clip(rig, prior, CAMERA, evidence, walk, None, options)
        slope[sigma] = np.polyfit(theta[:, 0], fit.theta[:, 0], 1)[0]
    assert slope[np.inf] < 0.85
    assert slope[0.01] > slope[np.inf] + 0.08


def test_lids_come_from_the_lid_coefficients_where_the_model_has_them():
    model = _head()
    theta = np.zeros((2, 18 + model.n_expr))
    theta[0, 20], theta[1, 21] = 0.6, 1.3
    np.testing.assert_allclose(lid_closure(model_rig(model), theta, (2, 3)), [[0.6, 0.0], [0.0, 1.0]])


def test_iris_centres_are_added_where_the_embedding_lacks_them():
    model = _head(points=60)
    rig = model_rig(model)
    assert {468, 473} <= set(rig.index.tolist())
    assert build_rig(model, model.landmarks["mp478"]).n_points == rig.n_points - 2


def test_regions_name_each_side_once():
    for name, members in REGIONS.items():
        assert len(set(members)) == len(members), name
        assert max(members) < N_LANDMARKS, name


def test_a_model_of_flames_size_is_fitted_unchanged():
    """100 expressions, 300 shapes, pose correctives, 105 points inside triangles and no irises of its own."""
    model = tiny_head(n_expr=100, n_shape=300, points=105, pose_dirs=True, moving_joints=True)
    rig = model_rig(model)
    assert rig.v.shape[:2] == (3, 107)
    theta = _motion(model, 12)
    theta[:, 18:] *= 0.1
    landmarks = _detections(rig, theta, 0.2)
    prior = make_prior(ParamLayout(100), model, PriorSigmas())
    options = IdentityOptions(keyframes=6)
    who = fit_identity(rig, prior, [(landmarks, np.ones(12, bool))], (640.0, 360.0), NOISE, Robust(), options)
    assert who.shapes.shape == who.shape_sigmas.shape == (1, 300)
    walk = walk_sigma(ParamLayout(100), WalkSigmas(), None)
    own = rig.with_shape(who.shapes[0])
    camera = (who.focal_px, 320.0, 180.0)
    fit = fit_clip(own, prior, camera, _evidence(landmarks), walk, None, ClipOptions(noise=NOISE))
    assert fit.fit_ok.all()
    assert fit.error_px.mean() < 1.0
