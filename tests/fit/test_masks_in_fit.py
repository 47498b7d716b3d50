"""What is in front of a face does not move its fit: covered pixels are not compared, covered landmarks are guesses."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import photo_scene
import pytest

from dialogbuild.faces.labels import OCCLUDER, pack_labels
from dialogbuild.fit.appearance import point_albedo
from dialogbuild.fit.cover import GUESSED_TRUST, NOTHING, Cover, landmark_trust, read_cover
from dialogbuild.fit.crops import Crops
from dialogbuild.fit.evidence import Evidence, gather
from dialogbuild.fit.look import PersonLook, look_of_person, sample_colours
from dialogbuild.fit.params import ParamLayout, PriorSigmas, make_prior
from dialogbuild.fit.regions import LIP_PAIRS, N_LANDMARKS
from dialogbuild.fit.rig import blended, model_rig, pose_points, project_points
from dialogbuild.fit.smoother import WalkSigmas, walk_sigma
from dialogbuild.fit.track import REASONS, Person, TrackFit, TrackOptions, track_clip

SIDE = photo_scene.SIDE_PX
CROP = np.array([SIDE / 2, SIDE / 2, 128, 0], np.float32)  # 2 px a cell, its corner at (16, 16)
OPTIONS = TrackOptions(levels=((1, 600, 2), (0, 1200, 2)), calibration=None)


def parts_of(cells: np.ndarray) -> bytes:
    return pack_labels(np.where(cells, np.uint8(OCCLUDER), np.uint8(0)), cells)[1]


def block_of_cells(rows: slice, columns: slice) -> np.ndarray:
    cells = np.zeros((64, 64), bool)
    cells[rows, columns] = True
    return cells


def cover_of(cells: np.ndarray, landmarks_px: np.ndarray) -> Cover:
    n = len(landmarks_px)
    parts = np.array([parts_of(cells)] * n, object)
    return read_cover(parts, np.tile(CROP, (n, 1)), landmarks_px, np.ones(n, bool))


def test_a_cover_hides_its_cells_and_one_more_around_them() -> None:
    landmarks = np.full((2, N_LANDMARKS, 2), 80.0)
    cover = cover_of(block_of_cells(slice(10, 12), slice(20, 24)), landmarks).placed(landmarks)
    x, y = 16 + 2 * np.array([19.1, 24.9, 18.9, 25.1, 22]), 16 + 2 * np.array([9.1, 12.9, 11, 11, 13.1])
    hidden = cover.hides(np.tile(np.column_stack([x, y]), (2, 1, 1)))
    assert hidden.tolist() == [[True, True, False, False, False]] * 2


def test_a_cover_goes_with_the_landmarks_wherever_they_are_moved() -> None:
    landmarks = np.full((1, N_LANDMARKS, 2), 80.0)
    cover = cover_of(block_of_cells(slice(10, 12), slice(20, 24)), landmarks)
    point = np.array([[[16 + 2 * 22.0, 16 + 2 * 11.0]]])
    assert cover.placed(landmarks).hides(point).all()
    shift = np.array([300.0, -40.0])
    assert cover.placed(landmarks + shift).hides(point + shift).all()
    assert not cover.placed(landmarks + shift).hides(point).any()


def test_nothing_in_front_is_nothing_for_any_number_of_ticks() -> None:
    landmarks = np.full((3, N_LANDMARKS, 2), 80.0)
    assert cover_of(np.zeros((64, 64), bool), landmarks) is NOTHING
    assert NOTHING[np.array([0, 5])] is NOTHING
    assert NOTHING[1:] is NOTHING
    assert (landmark_trust(NOTHING, landmarks) == 1).all()
    assert not NOTHING.placed(landmarks).hides(landmarks).any()


def test_the_maps_of_the_landmarks_table_become_the_evidences_cover() -> None:
    rows = {"track": np.zeros(3, np.int32), "tick": np.arange(3, dtype=np.int32)}
    tracks = {**rows, "shot": np.zeros(3, np.int32), "detected": np.ones(3, bool)}
    empty, full = bytes(1024), parts_of(np.ones((64, 64), bool))
    landmarks = {
        **rows,
        "lmk_px": np.full((3, 2 * N_LANDMARKS), 80, np.float32),
        "lmk_z_px": np.zeros((3, N_LANDMARKS), np.float32),
        "presence": np.ones(3, np.float32),
        "ok": np.array([True, True, False]),
        "crop_px": np.tile(CROP, (3, 1)),
        "mask_parts": np.array([empty, full, full], object),
    }
    person = {"track": np.zeros(1, np.int32), "person": np.zeros(1, np.int32)}
    evidence = gather(tracks, landmarks, person, 0, 0, 3)
    assert evidence.cover.any().tolist() == [False, True, False], "without landmarks nothing is known to be in front"
    del landmarks["mask_parts"]
    assert gather(tracks, landmarks, person, 0, 0, 3).cover is NOTHING


@cache
def person() -> tuple[Person, np.ndarray, Crops]:
    """The scene's head with the look of its own clean windows; its true landmarks; the windows."""
    s = photo_scene.scene()
    n = len(s.theta)
    bounds = np.tile(np.array([0, 0, SIDE, SIDE], np.int32), (n, 1))
    crops = Crops(s.images, np.zeros((n, 2), np.int32), 1, bounds)
    rig = s.surface.rig.with_shape(s.shape.astype(np.float32))
    albedo, sigma, seen = look_of_person(
        s.surface, point_albedo(s.model, s.surface), s.mesh, rig, s.theta, crops, photo_scene.CAMERA
    )
    look = PersonLook(albedo.astype(np.float32), seen, np.zeros((N_LANDMARKS, 2), np.float32), colour_sigma=sigma)
    landmark_rig = model_rig(s.model).with_shape(s.shape.astype(np.float32))
    points = np.zeros((n, N_LANDMARKS, 2), np.float32)
    pixels, _ = project_points(pose_points(landmark_rig, s.theta).points, s.theta[:, 3:6], photo_scene.CAMERA)
    points[:, landmark_rig.index] = pixels
    return Person(blended(landmark_rig), s.surface, rig, s.mesh, look), points, crops


def tracked(points: np.ndarray, crops: Crops, cover: Cover) -> TrackFit:
    who, _, _ = person()
    model, n = photo_scene.scene().model, len(points)
    layout, ok = ParamLayout(model.n_expr), np.ones(n, bool)
    evidence = Evidence(
        np.arange(n), points, np.zeros(points.shape[:2], np.float32), ok, ok, np.zeros(n - 1, bool), cover
    )
    walk = walk_sigma(layout, WalkSigmas(), model.lid_expr)
    return track_clip(
        who,
        make_prior(layout, model, PriorSigmas()),
        photo_scene.CAMERA,
        evidence,
        crops,
        walk,
        model.lid_expr,
        OPTIONS,
    )


def behind_an_object() -> tuple[np.ndarray, Crops, np.ndarray]:
    """A dark disc before mouth and cheek, where the detector's landmarks are off; and its cells."""
    _, points, crops = person()
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5
    rgb, wrong = crops.rgb.copy(), points.copy()
    centre = points[:, 13] + [6, 2]
    for k, at in enumerate(centre):
        rgb[k][np.hypot(x - at[0], y - at[1]) < 20] = (45, 45, 50)
        under = np.hypot(*(points[k] - at).T) < 20
        wrong[k, under] += [4.0, -3.0]
        wrong[k, [b for _, b in LIP_PAIRS]] += [0.0, 5.0]
    cells_y, cells_x = np.mgrid[:64, :64] * 2 + 17.0
    cells = np.stack([np.hypot(cells_x - at[0], cells_y - at[1]) < 20 for at in centre])
    return wrong, replace(crops, rgb=rgb), cells


def lip_error_mm(fit: TrackFit) -> float:
    s = photo_scene.scene()
    rig = model_rig(s.model).with_shape(s.shape.astype(np.float32))
    lips = np.isin(rig.index, [i for pair in LIP_PAIRS for i in pair])
    skull = np.zeros_like(s.theta)
    skull[:, 9:] = 1.0  # jaw, eyes and expression: the head's own frame
    found, true = (pose_points(rig, theta * skull).points[:, lips] for theta in (fit.clip.theta, s.theta))
    return float(1e3 * np.linalg.norm(found - true, axis=2).mean())


def test_with_the_mask_lips_behind_an_object_are_nearer_to_the_truth_and_less_sure() -> None:
    points, crops, cells = behind_an_object()
    parts = np.array([parts_of(c) for c in cells], object)
    cover = read_cover(parts, np.tile(CROP, (len(points), 1)), points, np.ones(len(points), bool))
    without, masked = tracked(points, crops, NOTHING), tracked(points, crops, cover)
    assert lip_error_mm(masked) < 0.8 * lip_error_mm(without)
    assert (masked.clip.sigma_lip_mm > 1.3 * without.clip.sigma_lip_mm).all(), "what is hidden is less sure"
    assert (masked.visible < without.visible).all()
    assert [REASONS[r] for r in masked.reason] == ["ok"] * len(points)


def test_a_face_that_is_covered_for_the_most_part_is_called_occluded_and_keeps_its_landmark_fit() -> None:
    _, points, crops = person()
    cover = cover_of(block_of_cells(slice(0, 64), slice(0, 64)), points)
    fit = tracked(points, crops, cover)
    assert [REASONS[r] for r in fit.reason] == ["occluded"] * len(points)
    assert fit.clip.fit_ok.all()


def test_masks_with_nothing_in_front_change_no_bit_of_the_fit() -> None:
    _, points, crops = person()
    beside = cover_of(block_of_cells(slice(0, 1), slice(0, 1)), points)
    assert len(beside), "the cover must have a cell for this test to say anything"
    plain, masked = tracked(points, crops, NOTHING), tracked(points, crops, beside)
    np.testing.assert_array_equal(plain.clip.theta, masked.clip.theta)
    np.testing.assert_array_equal(plain.clip.sigma, masked.clip.sigma)


def test_covered_points_do_not_teach_the_look() -> None:
    who, points, crops = person()
    theta = photo_scene.scene().theta
    cover = cover_of(block_of_cells(slice(30, 50), slice(20, 44)), points).placed(points)
    colours, view = sample_colours(who.surface, who.mesh, who.surface_rig, theta, crops, photo_scene.CAMERA)
    again, less = sample_colours(
        who.surface, who.mesh, who.surface_rig, theta, replace(crops, cover=cover), photo_scene.CAMERA
    )
    np.testing.assert_array_equal(colours, again)
    lost = (view.weight > 0) & (less.weight == 0)
    assert 0.02 < lost.sum() / (view.weight > 0).sum() < 0.9
    np.testing.assert_array_equal(less.weight[~lost], view.weight[~lost])


@pytest.mark.parametrize("hidden", [True, False])
def test_a_covered_landmark_has_five_times_the_sigma(hidden: bool) -> None:
    _, points, _ = person()
    trust = landmark_trust(cover_of(np.full((64, 64), hidden), points), points)[:, [i for p in LIP_PAIRS for i in p]]
    assert np.unique(trust).tolist() == [GUESSED_TRUST if hidden else 1.0]
