"""Photographs against people who keep still, and copies of a face against two faces."""

from __future__ import annotations

import numpy as np
import pytest

from dialogbuild.faces import liveness
from dialogbuild.synth import DialogueSpec, make_speech

FPS = 25.0
FACE_PX = 180.0


@pytest.fixture(scope="module")
def listeners() -> list[np.ndarray]:
    """Both people of a dialogue in which nobody speaks, 12 s each at 25 fps, (300, 16, 2) px, perfect landmarks."""
    _, truth = make_speech(DialogueSpec(seed=4, duration_s=12.0, audio="silence", width_px=1280, height_px=720))
    return [p.landmarks_px[truth.tick_frames][:, liveness.POINTS].astype(np.float64) for p in truth.persons]


def photographed(points: np.ndarray, n: int, noise: float = 0.005, seed: int = 0) -> np.ndarray:
    """One frame, panned, zoomed and turned for n ticks; noise as measured, in radii of the face."""
    rng = np.random.default_rng(seed)
    t = np.linspace(0, 1, n)[:, None, None]
    angle = 0.1 * t[:, 0, 0]
    turn = np.stack([np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)], 1).reshape(n, 2, 2)
    moved = np.einsum("tij,pj->tpi", turn, points[0] - points[0].mean(0)) * (1 + 0.2 * t)
    radius = np.sqrt(((points[0] - points[0].mean(0)) ** 2).sum(1).mean())
    return moved + [300.0, 200.0] + 80 * t + rng.normal(0, noise * radius / np.sqrt(2), (n, 16, 2))


def test_a_photograph_that_is_panned_zoomed_and_turned_is_one(listeners: list[np.ndarray]) -> None:
    for points in listeners:
        assert liveness.is_photograph(photographed(points, 150), FACE_PX, FPS)
        assert liveness.is_photograph(photographed(points, 400), FACE_PX, FPS), "and stays one"


def test_nobody_who_only_listens_is_a_photograph_at_any_time(listeners: list[np.ndarray]) -> None:
    rng = np.random.default_rng(1)
    for points in listeners:
        noisy = points + rng.normal(0, 0.2, points.shape)
        for start in range(0, 150, 25):
            assert not liveness.is_photograph(noisy[start : start + 150], FACE_PX, FPS)


def test_a_shorter_stillness_proves_nothing(listeners: list[np.ndarray]) -> None:
    still = photographed(listeners[0], 149)
    assert not liveness.is_photograph(still, FACE_PX, FPS), "a real listener is as still for 4 s"
    assert not liveness.is_photograph(photographed(listeners[0], 300), 50.0, FPS), "a small face is all noise"


def test_one_blink_or_one_nod_is_life(listeners: list[np.ndarray]) -> None:
    blink = photographed(listeners[0], 150)
    for upper, lower in ((2, 3), (6, 7)):
        blink[70:76, upper] = blink[70:76, lower]
    assert not liveness.is_photograph(blink, FACE_PX, FPS)
    late = np.concatenate([photographed(listeners[0], 300), listeners[0][:150]])
    assert not liveness.is_photograph(late, FACE_PX, FPS), "who moves later was alive before"


def test_the_residual_of_a_moved_picture_is_zero_whatever_its_shape(listeners: list[np.ndarray]) -> None:
    rest = liveness.residual_motion(photographed(listeners[0], 50, noise=0.0))
    assert np.abs(rest).max() < 1e-9
    assert np.abs(liveness.residual_motion(listeners[0])).max() > 0.01


def test_a_copy_moves_alike_also_smaller_and_late_and_two_people_do_not(listeners: list[np.ndarray]) -> None:
    one, other = listeners
    rng = np.random.default_rng(2)
    copy = 0.4 * one + [900.0, 50.0] + rng.normal(0, 0.3, one.shape)
    assert liveness.moves_alike(one, copy, FPS)
    assert liveness.moves_alike(one[3:], copy[:-3], FPS), "through a mixing desk"
    assert not liveness.moves_alike(one, other, FPS)
    assert not liveness.moves_alike(one[:40], copy[:40], FPS), "too short to tell"
    still = photographed(one, 150)
    assert not liveness.moves_alike(still, still, FPS), "two still pictures have no motion in common"
