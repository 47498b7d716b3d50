"""Borders between the pictures of several cameras, and edges of a scene that look much like them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from dialogbuild.media.panes import PictureStats, find_panes, line_features, picture_stats

W, H, N = 320, 180, 6


def scene(seed: int, width: int = W, height: int = H, sway_px: float = 2.0) -> list[np.ndarray]:
    """N pictures of a room: soft colours, noise of a codec, and somebody in front who sways."""
    rng = np.random.default_rng(seed)
    room = cv2.resize(rng.uniform(40, 210, (5, 8, 3)), (width, height), interpolation=cv2.INTER_CUBIC)
    someone = rng.uniform(30, 220, 3)
    y, x = np.mgrid[:height, :width]
    frames = []
    for i in range(N):
        cx = width / 2 + sway_px * np.sin(i * 2.1 + seed)
        head = ((x - cx) / (0.16 * width)) ** 2 + ((y - 0.4 * height) / (0.28 * height)) ** 2 < 1
        body = ((x - cx) / (0.52 * width)) ** 2 + ((y - height) / (0.35 * height)) ** 2 < 1
        picture = np.where((head | body)[..., None], someone + 8 * np.sin(x / 9.0)[..., None], room)
        frames.append(cv2.GaussianBlur(picture, (0, 0), 0.8) + rng.normal(0, 1.0, (height, width, 1)))
    return [np.clip(f, 0, 255).astype(np.uint8) for f in frames]


def beside(*parts: list[np.ndarray]) -> list[np.ndarray]:
    return [np.concatenate(row, axis=1) for row in zip(*parts, strict=True)]


def above(*parts: list[np.ndarray]) -> list[np.ndarray]:
    return [np.concatenate(column, axis=0) for column in zip(*parts, strict=True)]


def plain(width: int, height: int, grey: int = 16) -> list[np.ndarray]:
    return [np.full((height, width, 3), grey, np.uint8)] * N


def boxes(frames: list[np.ndarray]) -> list[tuple[int, int, int, int]]:
    return [pane.box_px for pane in find_panes(picture_stats(frames))]


@pytest.mark.parametrize("seed", range(6))
def test_an_ordinary_shot_is_one_pane_and_sure_of_it(seed):
    (pane,) = find_panes(picture_stats(scene(seed)))
    assert pane.box_px == (0, 0, W, H)
    assert pane.confidence > 0.9


@pytest.mark.parametrize("at", [120, 160, 215])
def test_two_pictures_side_by_side_are_parted_at_the_very_column(at):
    panes = find_panes(picture_stats(beside(scene(1, at), scene(2, W - at))))
    assert [p.box_px for p in panes] == [(0, 0, at, H), (at, 0, W, H)]
    assert min(p.confidence for p in panes) > 0.5


def test_bars_between_and_around_panes_belong_to_none():
    call = beside(plain(10, 120), scene(3, 140, 120), plain(20, 120), scene(4, 140, 120), plain(10, 120))
    assert boxes(above(plain(W, 30), call, plain(W, 30))) == [(10, 30, 150, 150), (170, 30, 310, 150)]


def test_a_grid_of_four_is_read_row_by_row():
    grid = above(
        beside(scene(1, 160, 90), scene(2, 160, 90)),
        beside(scene(3, 160, 90), scene(4, 160, 90)),
    )
    assert boxes(grid) == [(0, 0, 160, 90), (160, 0, 320, 90), (0, 90, 160, 180), (160, 90, 320, 180)]


def test_pictures_one_above_the_other_are_parted():
    assert boxes(above(scene(1, W, 100), scene(2, W, 100))) == [(0, 0, W, 100), (0, 100, W, 200)]


def test_a_banner_over_both_panes_neither_hides_the_border_nor_cuts_the_panes():
    frames = beside(scene(1, 160), scene(2, 160))
    rng = np.random.default_rng(0)
    letters = cv2.resize(rng.integers(0, 255, (3, 40, 3)).astype(np.uint8), (W, 24), interpolation=cv2.INTER_NEAREST)
    for frame in frames:
        frame[H - 26 : H - 2] = letters
    assert boxes(frames) == [(0, 0, 160, H), (160, 0, W, H)]


def test_letterbox_bars_leave_one_pane_without_them():
    assert boxes(above(plain(W, 24), scene(5, W, 132), plain(W, 24))) == [(0, 24, W, 156)]


def with_door(frames: list[np.ndarray], lean_px: float, blur_px: float, height: float = 1.0) -> list[np.ndarray]:
    """A door frame: darker from x = 90 on, at a lean over the picture's height, down to ``height`` of it."""
    y, x = np.mgrid[:H, :W]
    dark = ((x > 90 + lean_px * (y / H - 0.5)) & (y < height * H)).astype(np.float32)
    shade = 1 - 0.4 * cv2.GaussianBlur(dark, (0, 0), blur_px)
    return [(f * shade[..., None]).astype(np.uint8) for f in frames]


@pytest.mark.parametrize(
    ("lean_px", "blur_px", "height"),
    [(4.0, 0.6, 1.0), (0.0, 2.5, 1.0), (0.0, 0.6, 0.7), (1.2, 0.6, 1.0)],
    ids=["leans", "out of focus", "hidden below", "leans by a pixel"],
)
def test_a_door_frame_is_no_border(lean_px, blur_px, height):
    frames = with_door(scene(7, sway_px=0.0), lean_px, blur_px, height)
    assert boxes(frames) == [(0, 0, W, H)]


def test_a_scene_shaken_by_hand_has_no_lasting_lines():
    frames = with_door(scene(7), 0.0, 0.6)
    shaken = [np.roll(f, (i * 3) % 7 - 3, axis=1) for i, f in enumerate(frames)]
    assert boxes(shaken) == [(0, 0, W, H)]


def test_a_line_that_could_be_either_parts_nothing_and_lowers_the_confidence():
    doubtful = with_door(scene(7, sway_px=0.0), 1.2, 0.6)
    (pane,) = find_panes(picture_stats(doubtful))
    (sure,) = find_panes(picture_stats(scene(7, sway_px=0.0)))
    assert pane.confidence < sure.confidence


def test_what_moves_beside_a_line_speaks_for_a_border():
    still = picture_stats(beside(scene(1, 160, sway_px=0.0), scene(2, 160, sway_px=0.0)))
    moving = picture_stats(beside(scene(1, 160, sway_px=6.0), scene(2, 160, sway_px=6.0)))
    assert line_features(still)[1][159:161].max() == 0.0
    assert line_features(moving)[1][159:161].max() > 0.05


def test_statistics_are_differences_to_the_left_and_above_and_the_spread_over_time():
    frames = [np.zeros((20, 30, 3), np.uint8) for _ in range(2)]
    frames[0][:, 10:, 0] = 40
    frames[1][5:, :, 1] = 20
    stats = picture_stats(frames)
    assert isinstance(stats, PictureStats)
    assert (stats.step_x[:, 10] == 20).all()
    assert (stats.step_y[5] == 10).all()
    assert (stats.mean[5:] == 10).all()
    assert (stats.change[5:] == 10).all()
    assert stats.step_x.sum() == 20 * 20


def test_no_pictures_is_an_error():
    with pytest.raises(ValueError, match="no pictures"):
        picture_stats([])


def test_pictures_too_small_to_judge_are_one_pane():
    assert boxes([np.zeros((12, 12, 3), np.uint8)] * 2) == [(0, 0, 12, 12)]
