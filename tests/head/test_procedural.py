from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dialogbuild.head import load_head
from dialogbuild.head.generate import CORE_PATH, write_npz
from dialogbuild.head.model import HeadModel
from dialogbuild.head.pose import neutral_pose, pose_head
from dialogbuild.head.procedural import build
from dialogbuild.head.procedural.fields import load_core
from dialogbuild.head.procedural.landmarks import INNER_LIPS, LEFT_EYE_LOOP, RIGHT_EYE_LOOP

EYE_RADIUS_M = 0.012


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return load_head("procedural-v1")


def _expressed(head: HeadModel, **coefficients: float) -> np.ndarray:
    pose = neutral_pose(head)
    for name, value in coefficients.items():
        pose.expr[0, head.expr_names.index(name)] = value
    return pose_head(head, pose)[0]


def test_it_has_the_promised_sizes(head: HeadModel) -> None:
    assert head.n_expr >= 30
    assert head.n_shape >= 25
    assert head.n_vertices < 25_000
    assert head.model_id == "procedural-v1"


def test_the_neutral_face_is_mirror_symmetric(head: HeadModel) -> None:
    mirror = load_core().mirror
    face = head.v_template[:468]
    np.testing.assert_allclose(face[mirror] * [-1, 1, 1], face, atol=2e-6)


def test_outer_eye_corners_are_90_mm_apart_and_the_head_faces_z(head: HeadModel) -> None:
    v = head.v_template
    assert np.linalg.norm(v[33] - v[263]) == pytest.approx(0.090, abs=0.001)
    assert v[263, 0] > 0 > v[33, 0], "the subject's left eye must be at +x"
    assert v[4, 2] == v[:468, 2].max(), "the tip of the nose must be foremost"
    assert v[10, 1] > v[152, 1], "the forehead must be above the chin"


def test_landmark_i_is_vertex_i_and_irises_ride_on_the_eyeballs(head: HeadModel) -> None:
    e = head.landmarks["mp478"]
    ids = np.take_along_axis(e.vertices(head.faces), e.bary.argmax(1)[:, None], 1)[:, 0]
    assert e.bary.max(1).min() == 1
    np.testing.assert_array_equal(ids[:468], np.arange(468))
    np.testing.assert_array_equal(e.index, np.arange(478))
    assert set(ids[468:473]) <= set(head.masks["right_eye"])
    assert set(ids[473:]) <= set(head.masks["left_eye"])
    points = e.points(head.v_template, head.faces)
    for centre in (468, 473):
        ring = points[centre + 1 : centre + 5] - points[centre]
        assert np.linalg.norm(ring[:, :2], axis=1) == pytest.approx(np.full(4, 0.00585), abs=2e-4)
        assert ring[0, 0] > 0
        assert ring[1, 1] > 0


def test_joints_lie_where_flame_puts_them(head: HeadModel) -> None:
    root, neck, jaw, left, right = head.joint_template
    assert root[1] < neck[1] < jaw[1] < left[1]
    assert left[0] > 0.028
    np.testing.assert_allclose(left * [-1, 1, 1], right, atol=1e-5)
    eye = head.v_template[head.masks["left_eye"]]
    np.testing.assert_allclose(np.linalg.norm(eye - left, axis=1), EYE_RADIUS_M, atol=2e-5)


@pytest.mark.parametrize(("side", "loop"), [("Left", LEFT_EYE_LOOP), ("Right", RIGHT_EYE_LOOP)])
def test_a_blink_closes_its_own_eye_and_leaves_the_other(head: HeadModel, side: str, loop: tuple[int, ...]) -> None:
    closed = _expressed(head, **{f"eyeBlink{side}": 1.0})
    for upper, lower in zip(loop[1:8], loop[:8:-1], strict=True):
        assert np.linalg.norm(closed[upper] - closed[lower]) < 0.0005, f"gap between {upper} and {lower}"
    assert np.linalg.norm(head.v_template[loop[4]] - head.v_template[loop[12]]) > 0.006, "the open eye is open"
    other = head.masks["right_lid" if side == "Left" else "left_lid"]
    assert np.abs(closed[other] - head.v_template[other]).max() < 1e-6


def test_lids_never_enter_the_eyeball(head: HeadModel) -> None:
    for side, joint in (("left", 3), ("right", 4)):
        for closure in (0.0, 0.25, 0.5, 0.75, 1.0):
            posed = _expressed(head, **{f"eyeBlink{side.capitalize()}": closure})
            lid = posed[head.masks[f"{side}_lid"]]
            clearance = np.linalg.norm(lid - head.joint_template[joint], axis=1).min() - EYE_RADIUS_M
            assert clearance > 0, f"{side} lid is {-clearance * 1e3:.2f} mm inside the eyeball at closure {closure}"


def test_left_and_right_expressions_are_mirror_images_and_separate(head: HeadModel) -> None:
    mirror = load_core().mirror
    lefts = [n for n in head.expr_names if n.endswith("Left")]
    assert len(lefts) >= 13
    for name in lefts:
        a = head.expr_dirs[:468, :, head.expr_names.index(name)]
        b = head.expr_dirs[:468, :, head.expr_names.index(name[:-4] + "Right")]
        np.testing.assert_allclose(a[mirror] * [-1, 1, 1], b, atol=2e-6, err_msg=name)
        if name != "mouthLeft":
            far_side = head.v_template[:468, 0] < -0.02
            assert np.abs(a[far_side]).max() < 0.1 * np.abs(a).max(), f"{name} moves the right half of the face"


def test_expressions_keep_skull_ears_neck_and_eyes_still(head: HeadModel) -> None:
    for region in ("scalp", "ears", "torso", "left_eye", "right_eye", "teeth"):
        moved = np.linalg.norm(head.expr_dirs[head.masks[region]], axis=1)
        assert moved.max() < 2e-4, f"{head.expr_names[moved.max(0).argmax()]} moves {region}"
    low_neck = head.masks["neck"][head.v_template[head.masks["neck"], 1] < -0.14]
    assert np.abs(head.expr_dirs[low_neck]).max() < 2e-4
    assert np.abs(head.joint_expr_dirs).max() < 1e-6


def test_the_jaw_opens_the_mouth_and_moves_nothing_above_it(head: HeadModel) -> None:
    pose = replace(neutral_pose(head), jaw_rad=np.array([[0.25, 0, 0]], np.float32))
    posed = pose_head(head, pose)[0]
    assert posed[13, 1] - posed[14, 1] > 0.012
    assert np.linalg.norm(posed - head.v_template, axis=1)[head.v_template[:, 1] > -0.02].max() < 1e-6


def test_mouth_close_undoes_a_hanging_jaw(head: HeadModel) -> None:
    pose = replace(neutral_pose(head), jaw_rad=np.array([[0.2, 0, 0]], np.float32))
    pose.expr[0, head.expr_names.index("mouthClose")] = 1
    posed = pose_head(head, pose)[0]
    for upper, lower in zip(INNER_LIPS[1:10], INNER_LIPS[:10:-1], strict=True):
        assert abs(posed[upper, 1] - posed[lower, 1]) < 0.0015


def test_teeth_stay_behind_closed_lips(head: HeadModel) -> None:
    """Only slivers within the lips' line may be seen from the front."""
    from dialogbuild.head.camera import Camera
    from dialogbuild.head.pose import to_camera
    from dialogbuild.render.raster_numba import NumbaRasterizer

    camera = Camera.centred(2600.0, 400, 400)
    tooth = np.zeros(head.n_vertices, bool)
    tooth[head.masks["teeth"]] = True
    closed = [n for n in head.expr_names if n.startswith(("mouthSmile", "mouthFrown", "mouthPress", "mouthDimple"))]
    for name in [*closed, "mouthPucker", "mouthShrugLower", "mouthClose"]:
        v = _expressed(head, **{name: 1.0})
        x = to_camera((v - [0, v[13, 1], 0])[None], np.array([[0, 0, 0.9]]))[0]
        fragments = NumbaRasterizer().rasterize(camera.project_with_depth(x), head.faces, (400, 400))
        seen = tooth[head.faces[fragments.face_id, 0]] & (fragments.face_id >= 0)
        assert seen.sum() < 60, f"{name} shows {seen.sum()} px of teeth, about {seen.sum() * 0.12:.0f} mm^2"


def test_identity_directions_are_orthogonal_on_the_face_and_keep_eyes_round(head: HeadModel) -> None:
    d = head.shape_dirs[:468].reshape(-1, head.n_shape).astype(float)
    norms = np.linalg.norm(d, axis=0)
    assert norms.min() > 0
    correlation = np.abs((d.T @ d) / np.outer(norms, norms) - np.eye(head.n_shape))
    assert correlation.max() < 0.75
    eye = head.masks["left_eye"]
    spread = head.shape_dirs[eye] - head.shape_dirs[eye].mean(0)
    assert np.abs(spread).max() < 1e-6, "an eyeball may move with identity but not deform"


def test_people_within_two_sigma_keep_their_lids_on_and_mouths_closed(head: HeadModel) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        shape = rng.normal(size=head.n_shape).clip(-2, 2).astype(np.float32)
        v = pose_head(head, replace(neutral_pose(head), shape=shape))[0]
        for side, joint in (("left", 3), ("right", 4)):
            centre = head.joint_template[joint] + head.joint_shape_dirs[joint] @ shape
            clearance = np.linalg.norm(v[head.masks[f"{side}_lid"]] - centre, axis=1).min() - EYE_RADIUS_M
            assert clearance > -0.0004
        assert abs(v[13, 1] - v[14, 1]) < 0.001


def test_the_neck_bends_without_tearing_or_folding(head: HeadModel) -> None:
    rest = head.v_template
    edges = np.concatenate([head.faces[:, [0, 1]], head.faces[:, [1, 2]]])
    neck = np.isin(edges, head.masks["neck"]).all(1)
    before = np.linalg.norm(rest[edges[neck, 0]] - rest[edges[neck, 1]], axis=1)
    for pitch in (-0.44, 0.44):
        pose = replace(neutral_pose(head), neck_rad=np.array([[pitch, 0, 0]], np.float32))
        v = pose_head(head, pose)[0]
        after = np.linalg.norm(v[edges[neck, 0]] - v[edges[neck, 1]], axis=1)
        assert (after / before).max() < 3, f"an edge of the neck stretches {(after / before).max():.1f}x"


def test_the_skin_is_one_closed_surface_but_for_eyes_mouth_and_chest(head: HeadModel) -> None:
    n_skin = 1 + max(head.masks[k].max() for k in ("face", "scalp", "neck", "torso"))
    faces = head.faces[(head.faces < n_skin).all(1)]
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), 1)
    _, count = np.unique(edges, axis=0, return_counts=True)
    assert set(count) == {1, 2}
    assert (count == 1).sum() == (16 + 16 + 20 + 36) * 4


def test_building_twice_gives_the_same_arrays(head: HeadModel) -> None:
    again = build.load_procedural.__wrapped__()
    assert again.sha256 == head.sha256
    np.testing.assert_array_equal(again.v_template, head.v_template)
    np.testing.assert_array_equal(again.expr_dirs, head.expr_dirs)
    np.testing.assert_array_equal(again.shape_dirs, head.shape_dirs)


def test_the_constants_file_is_small_and_its_bytes_reproducible(tmp_path) -> None:
    assert CORE_PATH.stat().st_size < 80_000
    with np.load(CORE_PATH, allow_pickle=False) as stored:
        arrays = dict(stored)
    write_npz(tmp_path / "a.npz", arrays)
    write_npz(tmp_path / "b.npz", dict(reversed(arrays.items())))
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes() == CORE_PATH.read_bytes()
