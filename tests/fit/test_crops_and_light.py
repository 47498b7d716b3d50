"""Windows cut from pictures, and the light and albedo that explain their colours."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dialogbuild.fit.appearance import Look, PointAlbedo, fit_look, linear, point_albedo
from dialogbuild.fit.crops import Crops, cut_crops, halved, plan_windows
from dialogbuild.fit.look import sample_colours
from dialogbuild.fit.params import ParamLayout
from dialogbuild.fit.surface import build_surface
from dialogbuild.fit.visibility import build_mesh
from dialogbuild.head import load_head
from dialogbuild.head.camera import Camera
from dialogbuild.head.pose import pose_head, to_camera
from dialogbuild.render.appearance import make_appearance
from dialogbuild.render.scene import render_head
from dialogbuild.render.shading import GAMMA, Lighting, sh_basis

CAMERA = (500.0, 60.0, 44.0)


def _picture(height=90, width=120, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def _cut(picture, origin, step, side):
    origin_px = np.array([origin], np.int32)
    return cut_crops([(0, picture)], origin_px, np.ones(1, bool), step, side)


def test_a_window_of_step_one_is_a_slice():
    picture = _picture()
    crops = _cut(picture, (17, 5), 1, 64)
    np.testing.assert_array_equal(crops.rgb[0], picture[5:69, 17:81])
    assert crops.bounds[0].tolist() == [0, 0, 64, 64]
    assert crops.side_px == 64


@pytest.mark.parametrize("step", [2, 3])
def test_a_window_of_larger_step_is_made_of_box_averages(step):
    picture = _picture()
    crops = _cut(picture, (3, 6), step, 24)
    boxes = picture[6 : 6 + 24 * step, 3 : 3 + 24 * step].astype(np.float64).reshape(24, step, 24, step, 3).mean((1, 3))
    assert np.abs(crops.rgb[0] - boxes).max() <= 0.5 + 1e-9, "rounded to the nearest"
    assert crops.bounds[0].tolist() == [0, 0, 24, 24]


@pytest.mark.parametrize(
    ("origin", "step", "bounds"),
    [
        ((-10, 5), 1, [10, 0, 64, 64]),
        ((100, 80), 1, [0, 0, 20, 10]),
        ((-10, -7), 2, [5, 4, 64, 48]),  # 3.5 pixels above the picture are 4 with the one that shows its edge
        ((-300, 5), 1, [64, 0, 64, 64]),
        ((300, 300), 2, [0, 0, 0, 0]),
    ],
)
def test_windows_partly_outside_know_what_shows_the_picture(origin, step, bounds):
    picture = _picture()
    crops = _cut(picture, origin, step, 64)
    x0, y0, x1, y1 = crops.bounds[0]
    if bounds[0] >= bounds[2] or bounds[1] >= bounds[3]:
        assert x0 >= x1 or y0 >= y1, "empty"
        return
    assert crops.bounds[0].tolist() == bounds
    left, top = origin[0] + x0 * step, origin[1] + y0 * step
    right, bottom = origin[0] + x1 * step, origin[1] + y1 * step
    inner = picture[top:bottom, left:right].astype(np.float64)
    boxes = inner.reshape(y1 - y0, step, x1 - x0, step, 3).mean((1, 3))
    assert np.abs(crops.rgb[0, y0:y1, x0:x1] - boxes).max() <= 0.5 + 1e-9
    if step == 1 and x0:
        np.testing.assert_array_equal(crops.rgb[0, y0:y1, 0], picture[top:bottom, 0], err_msg="edges are repeated")


def test_ticks_that_are_not_usable_stay_empty():
    pictures = [(t, _picture(seed=t)) for t in range(3)]
    usable = np.array([True, False, True])
    crops = cut_crops(pictures, np.tile(np.int32([[4, 4]]), (3, 1)), usable, 1, 32)
    assert crops.rgb[1].max() == 0
    assert crops.bounds[1].tolist() == [0, 0, 0, 0]
    np.testing.assert_array_equal(crops.rgb[2], pictures[2][1][4:36, 4:36])
    some = crops.part([2, 0])
    np.testing.assert_array_equal(some.rgb, crops.rgb[[2, 0]])
    np.testing.assert_array_equal(some.bounds, crops.bounds[[2, 0]])
    assert len(some) == 2


@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_windows_camera_sees_a_point_at_the_same_place_of_the_picture(step):
    rng = np.random.default_rng(0)
    origin = np.array([[17, -5], [-8, 30]], np.int32)
    crops = Crops(np.zeros((2, 32, 32, 3), np.uint8), origin, step, np.zeros((2, 4), np.int32))
    x = rng.normal(size=(20, 3)) * 0.05 + [0, 0, 0.7]
    source = CAMERA[0] * x[:, :2] / x[:, 2:] + CAMERA[1:]
    for k, (focal, cx, cy) in enumerate(crops.cameras(CAMERA)):
        window = focal * x[:, :2] / x[:, 2:] + [cx, cy]
        np.testing.assert_allclose(window * step + origin[k], source, atol=1e-9)


def test_a_windows_content_lies_where_its_camera_says():
    """The centre of mass of a bright blob, in the picture and in windows of it."""
    y, x = np.mgrid[:90, :120] + 0.5
    at = np.array([61.3, 40.7])
    blob = 255 * np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / (2 * 3.0**2))
    picture = np.repeat(blob[..., None], 3, -1).round().astype(np.uint8)
    for step, side in ((1, 64), (2, 32), (3, 24)):
        crops = _cut(picture, (30, 9), step, side)
        mass = crops.rgb[0, ..., 0].astype(np.float64)
        row, column = np.mgrid[:side, :side] + 0.5
        centre = np.array([(mass * column).sum(), (mass * row).sum()]) / mass.sum()
        expected = (at - [30, 9]) / step
        np.testing.assert_allclose(centre, expected, atol=0.02)


def test_planned_windows_hold_the_face_and_shrink_large_ones():
    rng = np.random.default_rng(0)
    landmarks = rng.uniform(-1, 1, (4, 478, 2)) * [45, 60] + [[[300, 200]], [[310, 205]], [[0, 0]], [[320, 190]]]
    usable = np.array([True, True, False, True])
    for face_px, steps in ((60.0, 1), (250.0, 3)):
        origin, step, side = plan_windows(landmarks, usable, face_px)
        assert step == steps
        assert side % 8 == 0
        assert side <= 288
        assert side * step >= 2.9 * face_px - 1
        low, high = landmarks[:, :468].min(axis=1), landmarks[:, :468].max(axis=1)
        middle = origin[usable] + side * step / 2
        np.testing.assert_allclose(middle, ((low + high) / 2)[usable], atol=0.51)
        assert origin.dtype == np.int32


def test_halving_averages_two_by_two():
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3)).astype(np.uint8)
    expected = images.astype(np.float64).reshape(2, 4, 2, 4, 2, 3).mean((2, 4))
    np.testing.assert_allclose(halved(images), expected, atol=1e-4)
    np.testing.assert_allclose(halved(halved(images)), expected.reshape(2, 2, 2, 2, 2, 3).mean((2, 4)), atol=1e-4)


def _light(seed=0):
    """Bright from above, with all nine functions in it; positive on every normal."""
    light = 0.12 * np.random.default_rng(seed).normal(size=(9, 3))
    light[0] = [3.0, 2.8, 2.6]
    light[1] = -0.4
    return light


def _sphere(n=600):
    normals = np.random.default_rng(1).normal(size=(4, n, 3))
    return normals / np.linalg.norm(normals, axis=-1, keepdims=True)


def test_light_on_a_sphere_is_recovered_through_outliers():
    normals, light = _sphere(), _light()
    mean = np.random.default_rng(2).uniform(0.1, 0.5, (600, 3))
    albedo = PointAlbedo(mean, np.zeros((600, 3, 0)), np.full(600, 0.2))
    display = Look(light, mean).display(normals)
    assert display.max() < 1
    found = fit_look(albedo, display, normals, np.ones((4, 600)))
    np.testing.assert_allclose(found.light, light, atol=0.01 * light[0].max())
    spoilt = display.copy()
    spoilt[:, ::8] = 0.02  # one point in eight is covered by something dark
    found = fit_look(albedo, spoilt, normals, np.ones((4, 600)))
    np.testing.assert_allclose(found.light, light, atol=0.03 * light[0].max())
    weight = np.ones((4, 600))
    weight[:, ::8] = 0
    found = fit_look(albedo, spoilt, normals, weight)
    np.testing.assert_allclose(found.light, light, atol=0.01 * light[0].max())


def test_albedo_coefficients_are_recovered_with_the_light():
    """Up to one factor per channel, which light and albedo share."""
    rng = np.random.default_rng(3)
    normals, light = _sphere(), _light()
    dirs = 0.05 * rng.normal(size=(600, 3, 2))
    mean = rng.uniform(0.2, 0.5, (600, 3))
    truth = np.maximum(mean + dirs @ [1.2, -0.8], 0.005)
    display = Look(light, truth).display(normals)
    found = fit_look(PointAlbedo(mean, dirs, np.full(600, 0.2)), display, normals, np.ones((4, 600)), rounds=12)
    ratio = found.albedo / truth
    assert np.abs(ratio / np.median(ratio, axis=0) - 1).mean() < 0.03
    before = mean / truth
    assert np.abs(before / np.median(before, axis=0) - 1).mean() > 0.15
    np.testing.assert_allclose(found.display(normals), display, atol=0.02)


def test_light_of_a_rendered_head_is_recovered_to_a_few_percent():
    model = load_head()
    rng = np.random.default_rng(4)
    surface, shape = build_surface(model, 1500), np.zeros(model.n_shape)
    theta = np.zeros((3, 18 + model.n_expr))
    theta[:, :2] = rng.uniform(-0.4, 0.4, (3, 2))
    theta[:, 5] = 0.6
    pose = ParamLayout(model.n_expr).unpack(theta, shape)
    painted = make_appearance(model, seed=1)
    plain = tuple(np.full_like(t, 0.3) * np.float32([1, 1, 1, 0]) for t in painted.textures)  # matte, one colour
    painted, sh = replace(painted, textures=plain), _light().astype(np.float32)
    camera, black = Camera(640.0, 128.0, 110.0, 256, 256), np.zeros((256, 256, 3), np.uint8)
    vertices = to_camera(pose_head(model, pose), pose.transl_m)
    rgb = np.stack([render_head(model, painted, v, camera, Lighting(sh), black) for v in vertices])
    crops = Crops(rgb, np.zeros((3, 2), np.int32), 1, np.tile([0, 0, 256, 256], (3, 1)))
    colours, view = sample_colours(
        surface, build_mesh(model, surface, shape), surface.rig, theta, crops, (640.0, 128.0, 110.0)
    )
    weight = view.weight * (colours[..., 0] >= 0)
    grey = PointAlbedo(np.full((1500, 3), 0.3), np.zeros((1500, 3, 0)), np.full(1500, 0.2))
    found = fit_look(grey, colours, view.normals, weight)
    seen = weight > 0
    basis = sh_basis(view.normals[seen].astype(np.float64))
    ratio = (basis @ found.light) / (basis @ sh)
    # measured 1.4 % and 3.7 %; grazing normals are off most. A face shows half of all normals, on which the constant
    # and the z function hardly differ, so that the nine coefficients themselves need not be near the truth
    assert np.abs(ratio - 1).mean() < 0.02
    assert np.quantile(np.abs(ratio - 1), 0.9) < 0.05


def test_without_an_albedo_model_a_face_is_grey():
    model = load_head()
    surface = build_surface(model, 500, n_eye=200)
    grey = point_albedo(replace(model, albedo=None), surface)
    assert grey.dirs.shape == (500, 3, 0)
    assert np.ptp(grey.mean) == 0
    known = point_albedo(model, surface)
    corners = np.asarray(model.faces)[surface.embedding.face_idx]
    expected = np.einsum("nc,ncx->nx", surface.bary, model.albedo.mean[corners])
    np.testing.assert_allclose(known.mean, np.maximum(expected, 0.005), atol=1e-6)
    assert known.sigma[~surface.eye].min() > 0.01


def test_linear_light_is_the_inverse_of_display_values():
    shade = np.array([0.01, 0.2, 0.9])
    np.testing.assert_allclose(linear(shade ** (1 / GAMMA)), shade, rtol=1e-12)
    assert linear(np.array([-1.0]))[0] > 0, "black pixels keep a logarithm"
    assert linear(np.array([1.5]))[0] == 1
