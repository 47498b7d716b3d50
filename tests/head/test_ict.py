"""The ICT-FaceKit loader on a made-up folder of the official layout, and on damaged ones."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from made_up_ict import EXPRESSIONS, SCALE, SHIFT_CM, made_up_points, write_folder

from dialogbuild.errors import ConfigError, MissingPart
from dialogbuild.fit.params import ParamLayout, PriorSigmas, has_blendshapes, make_prior
from dialogbuild.fit.rig import model_rig, pose_points
from dialogbuild.fit.surface import build_surface
from dialogbuild.head import head_files, load_head
from dialogbuild.head.ict import load_ict
from dialogbuild.head.ict_parts import KEPT_VERTICES, PARTS
from dialogbuild.head.model import JAW, LEFT_EYE, HeadModel
from dialogbuild.head.obj import read_obj, triangulate
from dialogbuild.head.pose import neutral_pose, pose_head
from dialogbuild.head.procedural.fields import load_core
from dialogbuild.head.procedural.landmarks import N_FACE
from dialogbuild.head.transfer import closest_points, similarity


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("ict") / "FaceXModel")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def head(folder: Path, cache: Path) -> HeadModel:
    return load_ict(folder, cache=cache)


def copy(folder: Path, to: Path) -> Path:
    """The folder by links, so that one file can be replaced."""
    to.mkdir()
    for file in folder.iterdir():
        (to / file.name).symlink_to(file)
    return to


def put(file: Path, text: str) -> None:
    file.unlink(missing_ok=True)
    file.write_text(text)


def test_centimetres_become_metres_and_directions_are_differences(head: HeadModel) -> None:
    v, _ = made_up_points()
    assert (head.n_vertices, head.n_shape, head.expr_names) == (KEPT_VERTICES, 3, EXPRESSIONS)
    np.testing.assert_allclose(head.v_template, v[:KEPT_VERTICES] / 100, atol=1e-6)
    expected = 0.001 * np.sin(v[:KEPT_VERTICES, [1, 2, 0]] / 4)
    np.testing.assert_allclose(head.shape_dirs[..., 1], expected, atol=2e-7)
    assert head.lid_expr == (0, 1)
    assert head.licence.startswith("MIT")
    assert head.model_id == f"ict-facekit-{head.sha256[:12]}"


def test_quads_become_two_triangles_that_keep_their_winding(head: HeadModel) -> None:
    np.testing.assert_array_equal(head.faces[:2], [[0, 1, 83], [0, 83, 82]])
    a, b, c = head.v_template[head.faces[:200]].transpose(1, 0, 2)
    assert (np.cross(b - a, c - a)[:, 2] > 0).mean() > 0.95, "seen from the front the face is counter-clockwise"


def test_the_jaw_joint_moves_nothing_and_the_eye_joint_turns_the_ball_about_its_centre(head: HeadModel) -> None:
    still, moved = neutral_pose(head), neutral_pose(head)
    moved.jaw_rad[0, 0] = 0.3
    np.testing.assert_allclose(pose_head(head, moved), pose_head(head, still), atol=1e-6)
    assert head.weights[:, JAW].max() == 0
    moved.eyes_rad[0, :3] = [0.2, 0.4, 0]
    ball = head.masks["left_eye"]
    turned = pose_head(head, moved, ball)[0]
    centre = head.joint_template[LEFT_EYE]
    expected = (load_core().eye_centres[0] * SCALE + SHIFT_CM) / 100
    np.testing.assert_allclose(centre, expected, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(turned - centre, axis=1), 0.013, atol=1e-5)
    assert np.linalg.norm(turned - head.v_template[ball], axis=1).max() > 0.004


def test_expressions_do_not_move_the_eyeballs_as_gaze_is_the_joints(head: HeadModel) -> None:
    assert np.abs(head.expr_dirs[head.masks["left_eye"]]).max() == 0
    assert np.abs(head.joint_expr_dirs[LEFT_EYE]).max() < 1e-9
    assert np.abs(head.expr_dirs[head.masks["face"]]).max() > 1e-3


def test_landmarks_of_a_face_like_the_built_in_one_are_carried_to_where_they_are(head: HeadModel) -> None:
    points = head.landmarks["mp478"].points(head.v_template, head.faces)
    expected = (load_core().neutral * SCALE + SHIFT_CM) / 100
    error_m = np.linalg.norm(points[:N_FACE] - expected, axis=1)
    # the grid of the made-up face is 2 mm wide and its mouth a slit between two rows
    assert np.median(error_m) < 0.0005
    assert np.percentile(error_m, 95) < 0.002
    centre = head.joint_template[LEFT_EYE]
    assert np.abs(points[473, :2] - centre[:2]).max() < 0.002, "landmark 473 is the subject's left pupil"
    assert points[474, 0] - points[473, 0] > 0.004, "the iris's edge towards +x comes first"


def test_upper_and_lower_lip_are_told_apart_by_what_opening_the_mouth_moves(head: HeadModel) -> None:
    open_m = head.v_template + head.expr_dirs[..., EXPRESSIONS.index("jawOpen")]
    points = head.landmarks["mp478"].points(open_m, head.faces)
    assert (points[[82, 13, 312], 1] - points[[87, 14, 317], 1]).min() > 0.015


def test_regions_lie_where_they_belong(head: HeadModel) -> None:
    y = {name: head.v_template[head.masks[name], 1].mean() for name in ("brows", "left_lid", "nose", "lips")}
    assert y["brows"] > y["left_lid"] > y["nose"] > y["lips"]
    x = head.v_template[head.masks["left_lid"], 0]
    assert x.min() > 0, "left is the subject's left, +x"
    assert not set(head.masks["skin"]) & set(head.masks["lips"])
    assert head.masks["face"].max() < PARTS["narrow_face"][1]


def test_the_fit_takes_the_model_as_it_is(head: HeadModel) -> None:
    rig = model_rig(head)
    assert rig.n_points == 478
    assert has_blendshapes(head), "coefficients run from 0 to 1, and the prior must know"
    prior = make_prior(ParamLayout(head.n_expr), head, PriorSigmas())
    posed = pose_points(rig, np.zeros((2, rig.size), np.float32))
    np.testing.assert_allclose(posed.points[0], pose_points(rig, np.zeros((1, rig.size))).points[0], atol=1e-6)
    assert len(prior.block.lower) == rig.size
    surface = build_surface(head, n_points=300, n_eye=20)
    assert surface.eye.sum() == 20


def test_the_second_reading_comes_from_the_cache_and_a_damaged_cache_is_no_harm(
    folder: Path, cache: Path, head: HeadModel
) -> None:
    (kept,) = cache.iterdir()
    again = load_ict(folder.parent, cache=cache)  # the folder that holds FaceXModel will do
    np.testing.assert_array_equal(again.expr_dirs, head.expr_dirs)
    assert again.sha256 == head.sha256
    whole = kept.read_bytes()
    kept.write_bytes(whole[:1000])
    repaired = load_ict(folder, cache=cache)
    np.testing.assert_array_equal(repaired.expr_dirs, head.expr_dirs)
    assert kept.read_bytes()[:4] == whole[:4]
    assert len(kept.read_bytes()) == len(whole)


def test_one_changed_number_changes_the_hash_and_so_the_key(folder: Path, head: HeadModel, tmp_path: Path) -> None:
    other = copy(folder, tmp_path / "x")
    text = (folder / "jawOpen.obj").read_text()
    put(other / "jawOpen.obj", text.replace("\nv -", "\nv -1", 1))
    changed = load_ict(other, cache=tmp_path / "cache")
    assert changed.sha256 != head.sha256
    assert changed.model_id != head.model_id


def test_load_head_finds_the_folder_and_names_its_files(
    folder: Path, cache: Path, head: HeadModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "dialogbuild").mkdir()
    (tmp_path / "dialogbuild" / "heads").symlink_to(cache)
    assert load_head(folder).model_id == head.model_id
    names = [file.name for file in head_files(str(folder))]
    assert names == [
        "generic_neutral_mesh.obj", "vertex_indices.json", "identity000.obj", "identity001.obj", "identity002.obj",
        *(f"{n}.obj" for n in EXPRESSIONS),
    ]  # fmt: skip


def test_a_missing_file_says_where_to_get_it(folder: Path, tmp_path: Path) -> None:
    other = copy(folder, tmp_path / "x")
    (other / "jawOpen.obj").unlink()
    with pytest.raises(MissingPart, match=r"lacks jawOpen\.obj.*ICT-VGL/ICT-FaceKit"):
        load_ict(other)


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a/b", "", "x.y", 3])
def test_expression_names_cannot_leave_the_folder(folder: Path, tmp_path: Path, name: object) -> None:
    other = copy(folder, tmp_path / "x")
    table = json.loads((folder / "vertex_indices.json").read_text())
    put(other / "vertex_indices.json", json.dumps(table | {"expressions": ["jawOpen", name]}))
    with pytest.raises(ConfigError, match="expressions are not"):
        load_ict(other)


@pytest.mark.parametrize("ids", [[1] * 67, [-1] * 68, [26718] * 68, [1.5] * 68, "x", [True] * 68])
def test_landmarks_must_be_68_vertices(folder: Path, tmp_path: Path, ids: object) -> None:
    other = copy(folder, tmp_path / "x")
    put(other / "vertex_indices.json", json.dumps({"expressions": ["jawOpen"], "idx_to_landmark_verts": ids}))
    with pytest.raises(ConfigError, match="not 68 vertices"):
        load_ict(other)


def test_a_file_of_another_vertex_order_is_refused(folder: Path, tmp_path: Path) -> None:
    other = copy(folder, tmp_path / "x")
    text = (folder / "identity001.obj").read_text()
    put(other / "identity001.obj", text.replace("f 1/2 2/1", "f 2/1 1/2"))
    with pytest.raises(ConfigError, match=r"identity001\.obj: another mesh"):
        load_ict(other, cache=tmp_path / "cache")
    put(other / "identity001.obj", text.replace("f 1/2 2/1", "f 1/1 2/2"))
    assert load_ict(other, cache=tmp_path / "cache").n_shape == 3, "texture coordinates may be numbered otherwise"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("v 0 0 0\n", "1 vertices and 0 polygons"),
        ("v 0 0\n", "not 3 numbers|not 3 finite"),
        ("v 0 nan 0\n", "not 3 finite"),
        ("v 0 1e999 0\n", "not 3 finite"),
        ("v 0 0 eval(1)\n", "not 3 numbers"),
        ("call shell\n", r"obj:1: not a line of a mesh"),
        ("v 0 0 \xff\n", "not 3 numbers"),
    ],
)
def test_what_is_no_mesh_is_refused_with_its_place(folder: Path, tmp_path: Path, text: str, message: str) -> None:
    other = copy(folder, tmp_path / "x")
    put(other / "generic_neutral_mesh.obj", text)
    with pytest.raises(ConfigError, match=message):
        load_ict(other, cache=tmp_path / "cache")


@pytest.mark.parametrize("line", ["f 1/1 2/1", "f 1/1 2/1 3/1 1/1 2/1", "f 1 2 3", "f 0/1 1/1 2/1", "f 1/1 2/1 9/1",
                                  "f 1/1 2/1 3/7", "f -1/1 2/1 3/1", "f a/1 2/1 3/1"])  # fmt: skip
def test_bad_polygons_are_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / "x.obj").write_text(f"v 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\n{line}\n")
    with pytest.raises(ConfigError, match=r"x\.obj"):
        triangulate(read_obj(tmp_path / "x.obj"), 3, 1)


def test_a_huge_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "x.obj").open("wb") as out:
        out.truncate(2**40)
    with pytest.raises(ConfigError, match="more than 32 MB"):
        read_obj(tmp_path / "x.obj")


def test_a_similarity_is_found_exactly() -> None:
    rng = np.random.default_rng(2)
    points = rng.normal(size=(9, 3))
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    scale, rotation, shift = similarity(points, 1.3 * points @ turn.T + [1, 2, 3])
    np.testing.assert_allclose(rotation, turn, atol=1e-12)
    assert scale == pytest.approx(1.3)
    np.testing.assert_allclose(shift, [1, 2, 3])


def test_the_closest_point_is_inside_on_an_edge_or_on_a_corner() -> None:
    corners = np.array([[[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[5, 5, 5], [6, 5, 5], [5, 6, 5]]], float)
    points = np.array([[0.2, 0.3, 4], [0.5, -3, 0], [-1, -1, 0], [2, 2, 0]])
    triangle, bary = closest_points(points, corners, np.array([0, 1]))
    np.testing.assert_array_equal(triangle, 0)
    at = np.einsum("nc,ncx->nx", bary, corners[triangle])
    np.testing.assert_allclose(at, [[0.2, 0.3, 0], [0.5, 0, 0], [0, 0, 0], [0.5, 0.5, 0]], atol=1e-12)


def test_the_folder_is_not_followed_to_what_its_files_name(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "deep" / "x"
    shutil.copytree(folder, other)
    (tmp_path / "elsewhere.mtl").mkdir()  # opening what mtllib names would raise
    assert load_ict(other, cache=tmp_path / "cache").n_shape == 3
