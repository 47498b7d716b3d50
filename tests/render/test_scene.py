from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Literal

import numpy as np
import pytest

from dialogbuild.errors import ConfigError
from dialogbuild.head import HeadModel, load_head
from dialogbuild.head.camera import Camera
from dialogbuild.head.pose import HeadPose, neutral_pose, pose_head, to_camera
from dialogbuild.render.appearance import Appearance, Palette, make_appearance
from dialogbuild.render.overlay import draw_landmarks, overlay_mesh
from dialogbuild.render.scene import render_head
from dialogbuild.render.shading import Lighting, sh_basis, shade_sh, studio_light, vertex_normals
from dialogbuild.render.window import pixel_window

CAMERA = Camera.centred(520.0, 240, 240)


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return load_head()


@pytest.fixture(scope="module")
def look(head: HeadModel) -> Appearance:
    return make_appearance(head, seed=1)


def _vertices(head: HeadModel, pose: HeadPose | None = None) -> np.ndarray:
    pose = neutral_pose(head, 1, 0.7) if pose is None else pose
    return to_camera(pose_head(head, pose) + np.array([0, 0.04, 0], np.float32), pose.transl_m)[0]


def _background() -> np.ndarray:
    return np.full((240, 240, 3), (90, 110, 130), np.uint8)


def test_face_mesh_finds_its_own_landmarks_on_the_rendered_head(head: HeadModel, look: Appearance) -> None:
    from mediapipe.python.solutions.face_mesh import FaceMesh

    vertices = _vertices(head)
    camera = Camera.centred(900.0, 360, 360)
    image = render_head(head, look, vertices, camera, studio_light(), np.full((360, 360, 3), 120, np.uint8))
    truth = camera.project(head.landmarks["mp478"].points(vertices, head.faces))
    with warnings.catch_warnings(), FaceMesh(static_image_mode=True, refine_landmarks=True) as mesh:
        # protobuf's own call inside mediapipe 0.10.21
        warnings.filterwarnings("ignore", message=r".*GetPrototype.*", category=UserWarning)
        found = mesh.process(image).multi_face_landmarks
    assert found, "no face found in the render"
    measured = np.array([[p.x * 360, p.y * 360] for p in found[0].landmark])
    outer_eyes = np.linalg.norm(truth[33] - truth[263])
    error = np.linalg.norm(measured - truth, axis=1) / outer_eyes
    assert error[:468].mean() < 0.035, f"mean error {error[:468].mean():.1%} of the outer-eye distance"
    assert error[468:].max() < 0.04, "iris landmarks are out of order or place"


def test_the_background_stays_outside_the_head_and_is_not_written_to(head: HeadModel, look: Appearance) -> None:
    background = _background()
    image = render_head(head, look, _vertices(head), CAMERA, studio_light(), background)
    assert (background == _background()).all()
    np.testing.assert_array_equal(image[:5, :5], background[:5, :5])
    assert np.abs(image[120, 120].astype(int) - background[120, 120]).max() > 20


def test_rendering_is_deterministic_and_seeds_differ(head: HeadModel, look: Appearance) -> None:
    again = make_appearance(head, seed=1)
    for a, b in zip(look.textures, again.textures, strict=True):
        np.testing.assert_array_equal(a, b)
    other = make_appearance(head, seed=2)
    assert np.abs(other.textures[0] - look.textures[0]).mean() > 0.01
    images = [render_head(head, a, _vertices(head), CAMERA, studio_light(), _background()) for a in (look, again)]
    np.testing.assert_array_equal(*images)


def test_light_adds_up_in_linear_space(head: HeadModel) -> None:
    """Without highlights an image under two lights is the sum of the images under each."""
    matte = make_appearance(head, seed=3, palette=Palette())
    dull = tuple(t * np.array([1, 1, 1, 0], np.float32) for t in matte.textures)
    matte = replace(matte, textures=dull)
    full = studio_light()
    dark = replace(full, sh=np.zeros((9, 3), np.float32))
    lights = [replace(full, directions=full.directions[:0], colours=full.colours[:0]), dark, full]
    black = np.zeros((240, 240, 3), np.uint8)
    sh_only, key_only, both = (
        (render_head(head, matte, _vertices(head), CAMERA, light, black) / 255.0) ** 2.2 for light in lights
    )
    unclipped = both.max(-1) < 0.9
    np.testing.assert_allclose((sh_only + key_only)[unclipped], both[unclipped], atol=0.02)


def test_the_outline_blends_with_the_background(head: HeadModel, look: Appearance) -> None:
    """A white head before a white wall leaves no seam; a black one leaves grey pixels on its outline only."""
    sh = np.zeros((9, 3), np.float32)
    sh[0] = 1 / 0.282095
    wall = np.full((240, 240, 3), 255, np.uint8)
    white = tuple(np.ones_like(t) * np.array([1, 1, 1, 0], np.float32) for t in look.textures)
    image = render_head(head, replace(look, textures=white), _vertices(head), CAMERA, Lighting(sh), wall)
    assert image.min() >= 254
    black = render_head(head, look, _vertices(head), CAMERA, Lighting(0 * sh), wall)
    assert set(np.unique(black[115:125, 115:125])) == {0}
    grey = (black > 0) & (black < 255)
    assert 50 < grey.any(-1).sum() < 3000


def test_a_head_outside_or_behind_the_view_leaves_the_background(head: HeadModel, look: Appearance) -> None:
    for shift in ([5.0, 0, 0], [0, 0, -3.0]):
        image = render_head(head, look, _vertices(head) + np.float32(shift), CAMERA, studio_light(), _background())
        np.testing.assert_array_equal(image, _background())


def test_a_head_cut_by_the_border_is_the_same_inside(head: HeadModel, look: Appearance) -> None:
    whole = render_head(head, look, _vertices(head), CAMERA, studio_light(), _background())
    crop = CAMERA.cropped(110, 60, 100, 120)
    part = render_head(head, look, _vertices(head), crop, studio_light(), _background()[:120, :100].copy())
    np.testing.assert_allclose(part.astype(int), whole[60:180, 110:210].astype(int), atol=1)


def test_a_wrong_background_or_model_is_refused(head: HeadModel, look: Appearance) -> None:
    with pytest.raises(ConfigError, match="background"):
        render_head(head, look, _vertices(head), CAMERA, studio_light(), np.zeros((10, 10, 3), np.uint8))
    with pytest.raises(ConfigError, match="procedural head only"):
        make_appearance(replace(head, model_id="flame2020"))


def test_normals_of_the_head_point_outwards(head: HeadModel) -> None:
    normals = vertex_normals(head.v_template, head.faces)
    scalp = head.masks["scalp"]
    outward = head.v_template[scalp] - np.array([0, 0.04, -0.09])
    assert ((normals[scalp] * outward).sum(1) > 0).mean() > 0.99
    assert (normals[head.masks["nose"], 2] > 0).mean() > 0.9
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1).max(), 1, atol=1e-5)


def test_spherical_harmonics_are_orthonormal() -> None:
    z, azimuth = np.meshgrid(np.linspace(-1, 1, 401)[:-1] + 1 / 400, np.linspace(0, 2 * np.pi, 400, endpoint=False))
    r = np.sqrt(1 - z**2)
    basis = sh_basis(np.stack([r * np.cos(azimuth), r * np.sin(azimuth), z], -1)).reshape(-1, 9)
    gram = basis.T @ basis * (4 * np.pi / len(basis))
    np.testing.assert_allclose(gram, np.eye(9), atol=1e-3)


def test_sh_light_without_directional_part_shades_linearly() -> None:
    sh = np.zeros((9, 3))
    sh[0], sh[1] = 1 / 0.282095, 0.5 / 0.488603
    up, down = shade_sh(np.array([[0, 1.0, 0], [0, -1.0, 0]]), sh)
    np.testing.assert_allclose(up, 1.5, atol=1e-6)
    np.testing.assert_allclose(down, 0.5, atol=1e-6)


def test_lights_of_wrong_shape_are_refused() -> None:
    with pytest.raises(ConfigError, match="sh"):
        Lighting(np.zeros((3, 9), np.float32))


@pytest.mark.parametrize("style", ["shaded", "wireframe"])
def test_an_overlay_touches_the_head_only(head: HeadModel, style: str) -> None:
    image = overlay_mesh(_background(), _vertices(head), head.faces, CAMERA, style=style)  # type: ignore[arg-type]
    changed = (image != _background()).any(-1)
    assert changed[100:140, 100:140].mean() > 0.3
    assert not changed[:5].any()


@pytest.mark.parametrize("style", ["shaded", "wireframe"])
def test_an_overlay_cut_by_the_border_is_the_same_inside(
    head: HeadModel, style: Literal["shaded", "wireframe"]
) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (240, 240, 3), dtype=np.uint8)
    whole = overlay_mesh(noise, _vertices(head), head.faces, CAMERA, style=style)
    crop = CAMERA.cropped(110, 60, 100, 120)
    part = overlay_mesh(noise[60:180, 110:210], _vertices(head), head.faces, crop, style=style)
    np.testing.assert_allclose(part.astype(int), whole[60:180, 110:210].astype(int), atol=1)
    assert (part != noise[60:180, 110:210]).any()


def test_an_overlay_of_a_head_out_of_view_is_the_image_itself(head: HeadModel) -> None:
    for shift in ([5.0, 0, 0], [0, 0, -3.0]):
        image = overlay_mesh(_background(), _vertices(head) + np.float32(shift), head.faces, CAMERA)
        np.testing.assert_array_equal(image, _background())


def test_the_window_holds_every_finite_point_and_stays_in_the_image() -> None:
    points = np.array([[10.2, 5.0, 1], [40.7, 90.1, 1], [np.nan, 3, -1], [np.inf, 3, 1]])
    assert pixel_window(points, (60, 80)) == (10, 5, 41, 60)
    assert pixel_window(points + np.array([100, 0, 0]), (60, 80)) is None
    assert pixel_window(points[2:], (60, 80)) is None


def test_dots_are_drawn_where_asked_and_bad_points_are_left_out() -> None:
    points = np.array([[20.5, 30.5], [np.nan, 3], [1e9, 5], [-50, -50]])
    image = draw_landmarks(np.zeros((40, 40, 3), np.uint8), points, (1, 0, 0))
    assert tuple(image[30, 20]) == (255, 0, 0)
    assert (image.any(-1)).sum() < 20
