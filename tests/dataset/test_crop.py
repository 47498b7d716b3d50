import numpy as np
import pytest

from dialogbuild.dataset import crop


def blob(width, height, x, y, sigma):
    """A Gaussian spot whose centre lies at continuous (x, y), first pixel's centre at .5."""
    gy, gx = np.mgrid[:height, :width] + 0.5
    spot = 250 * np.exp(-((gx - x) ** 2 + (gy - y) ** 2) / (2 * sigma**2))
    return np.repeat(spot[..., None], 3, 2).round().astype(np.uint8)


def centroid(image):
    weight = image[..., 0].astype(float)
    gy, gx = np.mgrid[: image.shape[0], : image.shape[1]] + 0.5
    return np.array([(gx * weight).sum(), (gy * weight).sum()]) / weight.sum()


@pytest.mark.parametrize("side", [128.0, 300.0, 512.0, 1100.0, 2000.0])
def test_a_point_lands_where_the_matrix_says_at_any_scale(side):
    x, y = 700.3, 611.8
    image = blob(1400, 1200, x, y, sigma=max(3.0, side / 100))
    matrix = crop.crop_matrices(np.array([[x - 7, y + 4, side]]))[0]
    expected = crop.apply(matrix, np.array([x, y]))
    assert centroid(crop.warp(image, matrix)) == pytest.approx(expected, abs=0.06)


def test_a_window_of_the_crops_size_copies_pixels():
    image = np.random.default_rng(0).integers(0, 255, (600, 700, 3)).astype(np.uint8)
    matrix = crop.crop_matrices(np.array([[300.0, 280.0, 512.0]]))[0]
    assert np.array_equal(crop.warp(image, matrix), image[24:536, 44:556])


def test_shrinking_does_not_alias():
    """A checkerboard of single pixels has no detail left at a fourth of its size: it must turn grey."""
    board = (np.indices((2048, 2048)).sum(0) % 2 * 255).astype(np.uint8)
    image = np.repeat(board[..., None], 3, 2)
    matrix = crop.crop_matrices(np.array([[1024.0, 1024.0, 2048.0]]))[0]
    assert crop.warp(image, matrix).std() < 3


def test_the_window_follows_the_face_but_not_its_jitter():
    t = np.arange(200)
    centre = 300 + 0.2 * t
    jitter = np.random.default_rng(0).normal(0, 4, 200)
    box = np.stack([centre + jitter - 40, np.full(200, 100.0), centre + jitter + 40, np.full(200, 200.0)], 1)
    windows = crop.steady_windows(box, np.ones(200, bool), np.zeros(200, int), margin=1.5, smooth_s=0.4)
    inner = slice(20, -20)
    assert np.abs(windows[inner, 0] - centre[inner]).max() < 4
    assert np.diff(windows[inner, 0]).std() < 0.2 * np.diff(jitter).std()
    assert windows[:, 2] == pytest.approx(150)


def test_windows_do_not_glide_across_a_cut_and_hold_where_nobody_is_seen():
    box = np.zeros((60, 4))
    box[:30], box[40:] = (0, 0, 100, 100), (500, 0, 600, 100)
    seen = np.r_[np.ones(30, bool), np.zeros(10, bool), np.ones(20, bool)]
    runs = np.r_[np.zeros(30, int), np.full(10, -1), np.ones(20, int)]
    windows = crop.steady_windows(box, seen, runs, margin=1, smooth_s=0.4)
    assert set(windows[:, 0].round(6)) == {50.0, 550.0}
    assert windows[34, 0] == pytest.approx(50)
    assert windows[36, 0] == pytest.approx(550)


def test_a_person_who_is_never_seen_gets_a_window_without_extent_and_a_finite_matrix():
    windows = crop.steady_windows(np.zeros((5, 4)), np.zeros(5, bool), np.zeros(5, int), 2.0, 0.4)
    assert not windows.any()
    assert np.isfinite(crop.crop_matrices(windows)).all()
