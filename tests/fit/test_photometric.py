"""The compiled pixel term: its rows against float64 finite differences, its compression against plain algebra."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import photo_scene
import pytest

from dialogbuild.fit.jacobian import frame_jacobian
from dialogbuild.fit.params import ParamLayout
from dialogbuild.fit.photometric import PhotometricBlock, PhotometricNoise, colour_error
from dialogbuild.fit.photometric_kernel import sample_points
from dialogbuild.fit.rig import pose_points, project_points

# So long that the kernel's central differences of a bilinear picture are its true slopes to 2e-4.
WAVES_PX = ((400.0, 330.0), (350.0, 420.0), (460.0, 380.0))


def _picture(x, y):
    """Smooth colours (..., 3) in 0..255 at pixel coordinates, and their slopes by x and y."""
    value, dx, dy = [], [], []
    for c, (a, b) in enumerate(WAVES_PX):
        p, q = 2 * np.pi * x / a + 1.3 * c, 2 * np.pi * y / b + 0.7 * c
        value.append(128 + 60 * np.sin(p) + 60 * np.sin(q + 0.4))
        dx.append(60 * 2 * np.pi / a * np.cos(p))
        dy.append(60 * 2 * np.pi / b * np.cos(q + 0.4))
    return tuple(np.stack(v, axis=-1) for v in (value, dx, dy))


def _smooth_case(pose_dirs, moving_joints, n=2):
    """A tiny head in front of ``_picture`` with residuals of about one sigma."""
    _, theta, block = photo_scene.tiny_case(n, pose_dirs, moving_joints)
    y, x = np.mgrid[: block.images.shape[1], : block.images.shape[2]] + 0.5
    images = np.repeat(_picture(x, y)[0][None], n, axis=0).astype(np.float32)
    pixels, _ = _pixels(block, theta)
    target = _picture(pixels[..., 0], pixels[..., 1])[0] / 255
    target += 0.02 * np.random.default_rng(4).normal(size=target.shape)
    return theta, replace(block, images=images, target=target.astype(np.float32))


def _pixels(block, theta):
    rig = block.rig.astype(np.float64)
    return project_points(pose_points(rig, theta).points, theta[:, 3:6], tuple(block.cameras[0]))


def _one_point(block, i):
    """The block with one of its points."""
    return replace(
        block, rig=block.rig.subset(np.array([i])), weight=block.weight[:, i : i + 1],
        target=block.target[:, i : i + 1], sigma=block.sigma[i : i + 1],
    )  # fmt: skip


@pytest.mark.parametrize("moving_joints", [False, True])
@pytest.mark.parametrize("pose_dirs", [False, True])
def test_rows_match_finite_differences_of_the_residuals_for_every_parameter(pose_dirs, moving_joints):
    theta, block = _smooth_case(pose_dirs, moving_joints)

    def residual(at):
        pixels, _ = _pixels(block, at)
        return _picture(pixels[..., 0], pixels[..., 1])[0] / 255 - block.target  # (n, N, 3)

    step, P = 1e-5, theta.shape[1]
    J3 = np.empty((*block.target.shape, P))
    for k in range(P):
        d = np.zeros_like(theta)
        d[:, k] = step
        J3[..., k] = (residual(theta + d) - residual(theta - d)) / (2 * step)
    r3 = residual(theta)
    w = _weight(block, r3)
    H = np.einsum("fncp,fncq,fn->fnpq", J3, J3, w)
    g = np.einsum("fncp,fnc,fn->fnp", J3, r3, w)
    frames = np.arange(len(theta))
    points = [_one_point(block, i).assemble(theta, frames) for i in range(block.rig.n_points)]
    size = np.sqrt(np.einsum("fnpp->fnp", H).max(axis=(0, 1)))  # of the largest row entry, per parameter
    apart = np.abs(np.stack([p.H for p in points], axis=1) - H).max(axis=(0, 1)) / (size[:, None] * size)
    for name, where in ParamLayout(P - 18).blocks.items():
        # products of two entries: 1e-3 of a row's entry is 2e-3 of theirs
        assert apart[where].max() < 2e-3, f"{name}: {apart[where].max():.1e}"
    # in sigmas; a bilinear picture sags by 1e-4 of them here
    np.testing.assert_allclose(np.stack([p.g for p in points], axis=1) / size, g / size, atol=5e-4)


def _weight(block, r3):
    """Information (n, N) of each channel's squared residual, float64."""
    s2 = (r3**2).sum(-1) / block.sigma.astype(np.float64) ** 2
    share = block.independence * block.weight.astype(np.float64)
    return share * (block.dof + 3) / (block.dof + s2) / block.sigma.astype(np.float64) ** 2


def _bilinear(image, x, y):
    """Value, d/dx, d/dy (N, 3) of an image by plain numpy: slopes are interpolated central differences."""
    image = image.astype(np.float64)
    slope_x, slope_y = (0.5 * (np.roll(image, -1, axis) - np.roll(image, 1, axis)) for axis in (1, 0))
    u, v = x - 0.5, y - 0.5
    i, j = np.floor(u).astype(int), np.floor(v).astype(int)
    a, b = (u - i)[:, None], (v - j)[:, None]
    return tuple(
        (1 - b) * ((1 - a) * p[j, i] + a * p[j, i + 1]) + b * ((1 - a) * p[j + 1, i] + a * p[j + 1, i + 1])
        for p in (image, slope_x, slope_y)
    )


def _three_rows(block: PhotometricBlock, theta, frame):
    """Normal equations of one frame from three rows per point, float64, out of parts with tests of their own."""
    rig, at, scale = block.rig.astype(np.float64), theta[frame : frame + 1], 0.5**block.level
    posed = pose_points(rig, at)
    pixels, D = project_points(posed.points, at[:, 3:6], tuple(block.cameras[frame]))
    J = np.zeros((*D.shape[:3], rig.size))
    frame_jacobian(rig, at, posed, D, J)
    x, y = pixels[0].T * scale
    height, width = block.images.shape[1:3]
    on = (x >= 1.5) & (y >= 1.5) & (x < width - 2.5) & (y < height - 2.5) & (block.weight[frame] > 0)
    value, dx, dy = (v / 255 for v in _bilinear(block.images[frame], x[on], y[on]))
    r = value - block.target[frame, on]
    s2 = (r**2).sum(-1) / block.sigma[on].astype(np.float64) ** 2
    share = block.independence * block.weight[frame, on].astype(np.float64)
    w = share * (block.dof + 3) / (block.dof + s2) / block.sigma[on].astype(np.float64) ** 2
    J3 = scale * (dx[..., None] * J[0, on, None, 0] + dy[..., None] * J[0, on, None, 1])  # (N, 3, P)
    H, g = np.einsum("icp,icq,i->pq", J3, J3, w), np.einsum("icp,ic,i->p", J3, r, w)
    return H, g, (0.5 * (block.dof + 3) * share * np.log1p(s2 / block.dof)).sum(), int(on.sum())


def _check_compression(block, theta, bound):
    found = block.assemble(theta, np.arange(len(theta)))
    for f in range(len(theta)):
        H, g, cost, count = _three_rows(block, theta, f)
        assert count > 10
        assert np.abs(found.H[f] - H).max() < bound * np.abs(H).max()
        assert np.abs(found.g[f] - g).max() < bound * np.abs(g).max()
        assert found.cost[f] == pytest.approx(cost, rel=bound)
        np.testing.assert_array_equal(found.H[f], found.H[f].T)


@pytest.mark.parametrize("level", [0, 1])
def test_two_rows_per_point_equal_three_rows_on_a_rendered_head(level):
    s = photo_scene.scene()
    sigma = np.full(s.theta.shape[1], 0.05)
    sigma[:18], sigma[3:6] = 0.01, 0.002
    theta = s.theta + sigma * np.random.default_rng(0).normal(size=s.theta.shape)
    _check_compression(photo_scene.pixel_block(s, level), theta, 1e-5)


@pytest.mark.parametrize("moving_joints", [False, True])
@pytest.mark.parametrize("pose_dirs", [False, True])
def test_two_rows_per_point_equal_three_rows_with_correctives_and_moving_joints(pose_dirs, moving_joints):
    _, theta, block = photo_scene.tiny_case(2, pose_dirs, moving_joints)
    _check_compression(block, theta + 0.003, 1e-5)


def test_a_grey_picture_whose_channels_share_one_gradient_has_rank_one_points_and_stays_exact():
    _, theta, block = photo_scene.tiny_case(2)
    grey = np.repeat(block.images[..., :1], 3, axis=-1)
    target = np.repeat(block.target[..., :1], 3, axis=-1)
    _check_compression(replace(block, images=grey, target=target), theta + 0.003, 1e-5)


def test_a_flat_picture_says_nothing_about_the_parameters():
    _, theta, block = photo_scene.tiny_case(2)
    flat = replace(block, images=np.full_like(block.images, 77.0))
    found = flat.assemble(theta, np.arange(2))
    textured = block.assemble(theta, np.arange(2))
    assert np.abs(found.H).max() < 1e-9 * np.abs(textured.H).max()
    assert np.abs(found.g).max() < 1e-9 * np.abs(textured.H).max()
    assert (found.cost > 0).all(), "its colours are still wrong"


def test_points_of_zero_weight_and_points_outside_the_window_say_nothing():
    _, theta, block = photo_scene.tiny_case(2)
    theta, frames = theta + 0.002, np.arange(2)
    pixels, _ = _pixels(block, theta)
    # a narrow window around the middle: some points lie outside in every frame
    x0, x1 = (int(v) for v in np.quantile(pixels[..., 0], [0.3, 0.7]))
    cut = replace(
        block,
        images=np.ascontiguousarray(block.images[:, :, x0:x1]),
        cameras=block.cameras - [0, x0, 0],
        weight=np.where(np.arange(block.rig.n_points) % 3 == 0, 0, block.weight).astype(np.float32),
    )
    u = pixels[..., 0] - x0 - 0.5
    on = (u >= 1) & (u < x1 - x0 - 3) & (cut.weight > 0)
    assert 10 < on.sum() < on.size // 2
    found = cut.assemble(theta, frames)
    for f in frames:
        rows = np.flatnonzero(on[f])
        rest = replace(
            block, rig=block.rig.subset(rows), weight=block.weight[:, rows], target=block.target[:, rows],
            sigma=block.sigma[rows],
        )  # fmt: skip
        alone = rest.assemble(theta, frames)
        assert np.abs(found.H[f] - alone.H[f]).max() < 1e-5 * np.abs(alone.H[f]).max()
        assert np.abs(found.g[f] - alone.g[f]).max() < 1e-5 * np.abs(alone.g[f]).max()
        assert found.cost[f] == pytest.approx(alone.cost[f], rel=1e-5)
        assert cut.cost(theta, frames)[f] == pytest.approx(found.cost[f], rel=1e-6)


@pytest.mark.parametrize("residual_sigmas", [0.05, 3.0])
def test_the_gradient_is_the_slope_of_the_cost(residual_sigmas):
    theta, block = _smooth_case(True, True, n=1)
    pixels, _ = _pixels(block, theta)
    noise = np.random.default_rng(7).normal(size=block.target.shape) * block.sigma[:, None]
    target = _picture(pixels[..., 0], pixels[..., 1])[0] / 255 + residual_sigmas * noise
    block, frames = replace(block, target=target.astype(np.float32)), np.arange(1)
    found = block.assemble(theta, frames)
    sensitivity = np.sqrt(np.einsum("pp->p", found.H[0]))
    for k, g in enumerate(found.g[0]):
        step = np.zeros_like(theta)
        step[0, k] = min(0.3 / sensitivity[k], 0.02)  # changes the cost by about 0.05: far above its rounding
        slope = (block.cost(theta + step, frames) - block.cost(theta - step, frames))[0] / (2 * step[0, k])
        assert abs(g - slope) < 0.005 * sensitivity[k], f"column {k}"  # measured 0.003
    assert np.abs(found.g[0] / sensitivity).max() > 0.02, "no gradient to compare"


def test_a_ramp_is_sampled_exactly_and_the_border_is_refused():
    y, x = np.mgrid[:20, :30] + 0.5
    ramp = np.stack([4 * x, 3 * y, 2 * x + 5 * y], axis=-1).astype(np.float32)
    inside = np.array([[1.5, 1.5], [27.49, 17.49], [10.0, 9.25], [13.37, 2.0]], np.float32)
    out = np.empty((4, 3, 3), np.float32)
    sample_points(ramp[:, :], inside, np.float32(1), out)
    expected = np.stack([4 * inside[:, 0], 3 * inside[:, 1], 2 * inside[:, 0] + 5 * inside[:, 1]], axis=-1)
    np.testing.assert_allclose(out[..., 0] * 255, expected, atol=1e-4)
    np.testing.assert_allclose(out[..., 1:] * 255, np.tile([[4, 0], [0, 3], [2, 5]], (4, 1, 1)), atol=1e-4)
    outside = np.array([[1.49, 5], [5, 1.49], [27.5, 5], [5, 17.5], [-400, 5], [5, 1e6]], np.float32)
    out = np.empty((6, 3, 3), np.float32)
    sample_points(ramp, outside, np.float32(1), out)
    assert (out[..., 0] == -1).all()
    assert (out[..., 1:] == 0).all()
    # the same place of a picture twice as wide and high, halved once
    half = np.empty((4, 3, 3), np.float32)
    sample_points(ramp, 2 * inside, np.float32(0.5), half)
    np.testing.assert_allclose(half[..., 0] * 255, expected, atol=1e-4)


def test_uint8_windows_give_what_the_same_values_in_float_give():
    s = photo_scene.scene()
    block = photo_scene.pixel_block(s)
    other = replace(block, images=block.images.astype(np.float32))
    a, b = block.assemble(s.theta, np.arange(3)), other.assemble(s.theta, np.arange(3))
    np.testing.assert_allclose(a.H, b.H, rtol=1e-5, atol=1e-6 * np.abs(a.H).max())
    np.testing.assert_allclose(a.cost, b.cost, rtol=1e-6)


def test_colour_errors_are_measured_on_visible_skin():
    s = photo_scene.scene()
    block = photo_scene.pixel_block(s)
    sampled = np.empty_like(block.target)
    for k in range(3):
        pixels, _ = project_points(pose_points(block.rig, s.theta).points, s.theta[:, 3:6], photo_scene.CAMERA)
        look = np.empty((s.surface.n_points, 3, 3), np.float32)
        sample_points(block.images[k], pixels[k].astype(np.float32), np.float32(1), look)
        sampled[k] = look[..., 0]
    target = sampled.copy()
    target[1] += 0.05
    hidden = block.weight[2] == 0
    target[2, hidden] += 1.0  # nobody sees it
    target[2, s.surface.eye] += 1.0  # and eyes are no skin
    found = colour_error(replace(block, target=target), s.theta)
    np.testing.assert_allclose(found.l1, [0, 0.05, 0], atol=1e-5)
    np.testing.assert_allclose(found.psnr_db[1], -20 * np.log10(0.05), atol=0.01)
    assert found.outliers.tolist() == [0, 0, 0]
    far = replace(block, target=np.where(np.arange(s.surface.n_points)[:, None] % 4 == 0, sampled + 0.11, sampled))
    np.testing.assert_allclose(colour_error(far, s.theta).outliers, 0.25, atol=0.05)


def test_eyes_get_the_larger_sigma():
    noise = PhotometricNoise(skin=0.02, eye=0.08)
    np.testing.assert_allclose(noise.sigma(np.array([True, False])), [0.08, 0.02])
