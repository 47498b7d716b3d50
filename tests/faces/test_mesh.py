"""Crops, masks and the mapping back to the image."""

from __future__ import annotations

from typing import Any

import numpy as np

from dialogbuild.faces.labels import pack_mask, unpack_mask
from dialogbuild.faces.mesh import FaceMesher, cut, square_crop, to_image, unmirror
from dialogbuild.faces.mirror import PARTNER
from dialogbuild.head import load_head
from dialogbuild.media.reader import VideoReader
from dialogbuild.stages.landmarks import presence, smooth_boxes


def test_a_crop_shows_the_pixels_that_its_numbers_say() -> None:
    image = np.zeros((100, 200, 3), np.uint8)
    image[40:60, 90:110] = 255
    crop = square_crop(np.array([90, 40, 110, 60], np.float32), 2.0)
    assert crop.tolist() == [100, 50, 40, 0]
    view = cut(image, crop, 40)
    assert (view[10:30, 10:30] == 255).all()
    assert view.sum() == 20 * 20 * 3 * 255


def test_a_crop_over_the_edge_is_black_outside() -> None:
    image = np.full((50, 50, 3), 200, np.uint8)
    view = cut(image, np.array([0, 0, 40, 0], np.float32), 40)
    assert (view[:20] == 0).all()
    assert (view[20:, 20:] == 200).all()
    assert (cut(image, np.array([-100, 10, 20, 0], np.float32), 20) == 0).all(), "a crop outside the image is all black"


def test_landmarks_return_to_the_pixels_they_came_from() -> None:
    crop = np.array([100, 50, 40, 0], np.float32)
    mesh = to_image(np.array([[0, 0, 0], [0.5, 0.5, -0.1]], np.float32), crop)
    assert mesh.points_px.tolist() == [[80, 30], [100, 50]]
    np.testing.assert_allclose(mesh.z_px, [0, -4])


def test_a_mask_survives_packing() -> None:
    mask = np.random.default_rng(0).random((64, 64)) > 0.5
    packed = pack_mask(mask)
    assert len(packed) == 512
    np.testing.assert_array_equal(unpack_mask(packed), mask)


def test_smoothing_keeps_a_still_box_and_halves_a_shake() -> None:
    still = np.tile(np.array([10, 10, 50, 50], np.float32), (30, 1))
    np.testing.assert_allclose(smooth_boxes(still, 3.0), still)
    shaking = still + np.where(np.arange(30) % 2, 4, -4)[:, None].astype(np.float32)
    assert np.abs(smooth_boxes(shaking, 3.0) - still)[5:-5].max() < 0.5


def test_presence_is_the_overlap_with_the_tracked_box() -> None:
    points = np.array([[0, 0], [10, 10]], np.float32)
    assert presence(points, np.array([0, 0, 10, 10], np.float32)) == 1.0
    assert presence(points, np.array([20, 20, 30, 30], np.float32)) == 0.0


def test_partners_are_the_mirror_images_on_the_built_in_head() -> None:
    assert (PARTNER[PARTNER] == np.arange(478)).all()
    head = load_head()
    points = head.landmarks["mp478"].points(head.v_template[None], head.faces)[0]
    gap_m = np.linalg.norm(points[PARTNER] * [-1, 1, 1] - points, axis=1)
    assert gap_m.max() < 1e-4, "each point's partner lies where a mirror shows it"


def test_a_mirrored_answer_turns_back() -> None:
    points = np.random.default_rng(0).random((478, 3)).astype(np.float32)
    np.testing.assert_allclose(unmirror(unmirror(points)), points, atol=1e-6)


def test_the_mirror_takes_the_meshs_own_asymmetry_away(dialogue: Any) -> None:
    with VideoReader(dialogue.path) as video:
        image = next(iter(video.frames([0])))[1]
    box = dialogue.truth.persons[0].box_px[0]
    crop = square_crop(box, 1.9)
    twin = np.ascontiguousarray(image[:, ::-1])
    twin_crop = np.array([image.shape[1] - crop[0], *crop[1:]], np.float32)
    asymmetry = {}
    for mirrored in (False, True):
        with FaceMesher(mirrored=mirrored) as a, FaceMesher(mirrored=mirrored) as b:
            plain = [a(image, crop) for _ in range(3)][-1]
            other = [b(twin, twin_crop) for _ in range(3)][-1]
        assert plain is not None
        assert other is not None
        back = other.points_px[PARTNER] * [-1, 1] + [image.shape[1], 0]
        asymmetry[mirrored] = np.linalg.norm(plain.points_px - back, axis=1).mean()
        assert (plain.spread_px > 0) == mirrored
    assert asymmetry[True] < 0.25 * asymmetry[False], "a face and its mirror image get mirrored landmarks"
