"""Crowd scenes: the truth of faces that are covered, leave, turn away, or are photographs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dialogbuild.errors import ConfigError, DatasetError
from dialogbuild.head import load_head
from dialogbuild.synth.crowd import ABSENT, LIVE, PHOTO, Actor, CrowdShot, CrowdSpec, Keyframe, Panel, Part, plan_part
from dialogbuild.synth.crowd_film import CrowdTruth, film, load_crowd, make_crowd, plan_truth, truth_path
from dialogbuild.synth.crowd_scenes import PRESETS, crowd_scene
from dialogbuild.synth.dialogue import project_landmarks

W, H = 320, 180
FULL = (0, 0, W, H)


def actor(person: int, *keys: tuple[float, float, float, float]) -> Actor:
    """From (time s, x m, z m, yaw degrees)."""
    return Actor(person, tuple(Keyframe(t, (x, -0.04, z), float(np.radians(yaw))) for t, x, z, yaw in keys))


def one_shot(*panels: Panel, duration_s: float = 0.16) -> CrowdSpec:
    return CrowdSpec((CrowdShot(0.0, panels),), 0, duration_s, W, H)


def plan(spec: CrowdSpec) -> tuple[list[Part], CrowdTruth]:
    model = load_head()
    parts = [plan_part(model, spec, person) for person in spec.persons]
    return parts, plan_truth(model, spec, parts)


def filmed(spec: CrowdSpec) -> tuple[np.ndarray, CrowdTruth]:
    parts, truth = plan(spec)
    return np.stack(list(film(load_head(), spec, parts, truth.visible))), truth


def row(truth: CrowdTruth, person: int) -> int:
    return truth.persons.tolist().index(person)


def test_equal_specs_give_equal_bytes_and_the_truth_comes_back(tmp_path: Path) -> None:
    spec = one_shot(Panel(FULL, (actor(0, (0.0, -0.1, 0.9, 10.0)),)))
    made = make_crowd(spec, tmp_path / "a.mp4")
    make_crowd(spec, tmp_path / "b.mp4")
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
    assert truth_path(tmp_path / "a.mp4").read_bytes() == truth_path(tmp_path / "b.mp4").read_bytes()
    loaded = load_crowd(spec, tmp_path / "a.mp4")
    for name in ("persons", "shown", "box_px", "visible", "yaw_rad", "shot"):
        assert np.array_equal(getattr(loaded, name), getattr(made, name)), name
    with pytest.raises(DatasetError, match="another spec"):
        load_crowd(replace(spec, seed=1), tmp_path / "a.mp4")
    with pytest.raises(DatasetError, match="absent"):
        load_crowd(spec, tmp_path / "c.mp4")


def test_boxes_are_tight_around_the_projected_landmarks_in_every_panel() -> None:
    inset = Panel((200, 10, 300, 70), (actor(1, (0.0, 0.0, 0.8, 0.0)),), 1)
    spec = one_shot(Panel(FULL, (actor(0, (0.0, -0.1, 0.9, 20.0), (0.16, 0.1, 1.1, -20.0)),)), inset)
    parts, truth = plan(spec)
    for part, box in zip(parts, truth.box_px, strict=True):
        points = project_landmarks(load_head(), part.pose, part.camera_px)[:, :468]
        assert np.allclose(box, np.concatenate([points.min(1), points.max(1)], 1), atol=1e-3)
    assert (truth.box_px[row(truth, 1), :, 0] > 200).all()
    assert (truth.box_px[row(truth, 1), :, 2] < 300).all()


def test_a_box_covers_the_pixels_of_the_face_that_is_drawn() -> None:
    empty = one_shot(Panel(FULL, (actor(0, (0.0, 5.0, 1.0, 0.0)),)))
    there = one_shot(Panel(FULL, (actor(0, (0.0, 0.1, 1.0, 0.0)),)))
    background, _ = filmed(empty)
    images, truth = filmed(there)
    x0, y0, x1, y1 = np.round(truth.box_px[0, 0]).astype(int)
    changed = (images[0] != background[0]).any(-1)
    assert changed[y0:y1, x0:x1].mean() > 0.85, "the box's corners lie beside an oval face"
    assert not changed[: y0 - 30].any(), "nothing is drawn far above the head"


def test_a_face_behind_a_nearer_head_is_hidden_and_the_nearer_one_is_not() -> None:
    far, near = actor(0, (0.0, 0.0, 1.6, 0.0)), actor(1, (0.0, 0.0, 0.9, 0.0))
    _, truth = filmed(one_shot(Panel(FULL, (near, far))))
    assert (truth.visible[row(truth, 0)] < 0.01).all()
    assert (truth.visible[row(truth, 1)] > 0.95).all()


def test_half_a_face_beside_a_nearer_head_is_half_visible() -> None:
    far, near = actor(0, (0.0, 0.0, 1.6, 0.0)), actor(1, (0.0, 0.1, 0.9, 0.0))
    _, truth = filmed(one_shot(Panel(FULL, (far, near))))
    assert 0.1 < truth.visible[row(truth, 0), 0] < 0.9


def test_who_walks_out_of_the_picture_is_less_and_less_visible() -> None:
    spec = one_shot(Panel(FULL, (actor(0, (0.0, 0.3, 1.0, 0.0), (0.4, 0.75, 1.0, 0.0)),)), duration_s=0.4)
    _, truth = filmed(spec)
    visible = truth.visible[0]
    assert visible[0] > 0.95
    assert visible[-1] == 0
    assert (np.diff(visible) <= 0.02).all(), "pixel steps aside, it only falls"
    assert (truth.box_px[0, :, 2] <= W).all()


def test_the_back_of_a_head_shows_no_face_and_a_profile_shows_one() -> None:
    for yaw_deg, low, high in ((75.0, 0.9, 1.0), (180.0, 0.0, 0.0)):
        _, truth = filmed(one_shot(Panel(FULL, (actor(0, (0.0, 0.0, 1.0, yaw_deg)),)), duration_s=0.08))
        assert low <= truth.visible[0, 0] <= high
        turned = np.degrees(truth.yaw_rad[0, 0])
        assert abs((turned - yaw_deg + 180) % 360 - 180) < 12, "sway and nods turn the head a little"


def test_yaw_is_against_the_line_to_the_camera() -> None:
    parts, _ = plan(one_shot(Panel(FULL, (actor(0, (0.0, -1.0, 1.0, 45.0)), actor(1, (0.0, 1.0, 1.0, 45.0))))))
    seen = np.degrees([part.yaw_rad[0] for part in parts])
    assert abs(seen[0]) < 12, "at the left by 45 degrees and turned right by 45, one looks into the camera"
    assert abs(seen[1] - 90) < 12


def photo_spec(zoom_per_s: float) -> CrowdSpec:
    still = Panel(FULL, (actor(2, (0.0, 0.0, 0.8, 0.0)),), 1, still=True, zoom_per_s=zoom_per_s)
    return one_shot(still, duration_s=2.4)


def test_the_photo_does_not_blink_or_move_and_the_living_do() -> None:
    model = load_head()
    assert model.lid_expr is not None
    photo = plan_part(model, photo_spec(0.0), 2)
    pair = Panel(FULL, (actor(2, (0.0, -0.2, 0.8, 0.0)), actor(3, (0.0, 0.2, 0.8, 0.0))))
    live = [plan_part(model, one_shot(pair, duration_s=6.0), person).pose for person in (2, 3)]
    assert np.ptp(photo.pose.expr, axis=0).max() == 0
    assert np.ptp(photo.pose.transl_m, axis=0).max() == 0
    lids = photo.pose.expr[:, list(model.lid_expr)]
    assert (lids == 0).all(), "a photograph is taken with open eyes"
    for pose in live:
        assert pose.expr[:, list(model.lid_expr)].max() > 0.5, "both blink within 6 s"
    assert max(np.ptp(pose.jaw_rad[:, 0]) for pose in live) > 0.03, "who is not heard talks too, one at a time"


def test_a_zoomed_photo_grows_in_picture_and_truth_alike() -> None:
    spec = replace(photo_spec(0.5), duration_s=0.8)
    images, truth = filmed(spec)
    assert (truth.shown == PHOTO).all()
    width = truth.box_px[0, :, 2] - truth.box_px[0, :, 0]
    assert width[-1] / width[0] == pytest.approx(1 + 0.5 * 19 / 25, rel=1e-4)
    assert (truth.visible > 0.95).all()
    factor = width[-1] / width[0]
    middle = images[0][H // 2 - 5 : H // 2 + 5, W // 2 - 5 : W // 2 + 5].mean((0, 1))
    half = round(5 * factor)
    grown = images[-1][H // 2 - half : H // 2 + half, W // 2 - half : W // 2 + half].mean((0, 1))
    assert np.abs(middle - grown).max() < 6


def test_a_panel_covers_the_faces_below_it() -> None:
    cover = Panel((100, 20, 220, 160), (), 2)
    _, truth = filmed(one_shot(Panel(FULL, (actor(0, (0.0, 0.0, 1.0, 0.0)),)), cover, duration_s=0.08))
    assert truth.visible[0, 0] < 0.05


def test_a_person_is_absent_from_shots_without_them() -> None:
    shots = (CrowdShot(0.0, (Panel(FULL, (actor(0, (0.0, 0.0, 1.0, 0.0)),)),)),
             CrowdShot(0.08, (Panel(FULL, (actor(1, (0.0, 0.0, 1.0, 0.0)),)),)))  # fmt: skip
    _, truth = filmed(CrowdSpec(shots, 0, 0.16, W, H))
    assert truth.shown.tolist() == [[LIVE, LIVE, ABSENT, ABSENT], [ABSENT, ABSENT, LIVE, LIVE]]
    assert truth.shot.tolist() == [0, 0, 1, 1]
    assert (truth.box_px[truth.shown == ABSENT] == 0).all()
    assert ((truth.visible > 0) == (truth.shown == LIVE)).all()


def test_people_look_different() -> None:
    images = [
        filmed(one_shot(Panel(FULL, (actor(person, (0.0, 0.0, 1.0, 0.0)),)), duration_s=0.04)) for person in range(4)
    ]
    colours = []
    for picture, truth in images:
        x0, _, x1, y1 = np.round(truth.box_px[0, 0]).astype(int)
        colours.append(picture[0, y1 + 35 : y1 + 45, x0:x1].mean((0, 1)))  # the shirt
    apart = np.linalg.norm(np.array(colours)[:, None] - np.array(colours)[None], axis=-1)
    assert apart[~np.eye(4, dtype=bool)].min() > 15


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_what_their_names_promise(name: str) -> None:
    assert crowd_scene(name, 3) == crowd_scene(name, 3)
    assert crowd_scene(name, 3) != crowd_scene(name, 4)
    _, truth = plan(crowd_scene(name, 3))
    high = truth.face_px[(truth.shown != ABSENT) & (truth.box_px[..., 2] > truth.box_px[..., 0])]
    yaw = np.degrees(np.abs(truth.yaw_rad))
    promise = {
        "crossing": (np.diff(np.sign(np.diff(truth.box_px[:2, :, 0], axis=0)[0])) != 0).sum() >= 2,
        "leave_and_return": (truth.box_px[1, :, 0] >= 1280).sum() > 30 and truth.box_px[1, -1, 2] < 1200,
        "four_faces": len(truth.persons) == 4 and (truth.shown == LIVE).all(),
        "near_and_far": high.max() > 270 and high.min() < 48,
        "turning": (yaw > 150).any() and ((yaw > 65) & (yaw < 80)).any(),
        "cuts_and_close_ups": len(np.unique(truth.shot)) == 7,
        "insets": (truth.shown == PHOTO).any() and len(truth.persons) == 6,
    }
    assert promise[name]


def test_an_unknown_preset_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="crossing"):
        crowd_scene("parade")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: one_shot(Panel((0, 0, W + 1, H))), "not inside"),
        (lambda: one_shot(Panel(FULL, (actor(0, (0, 0, 1, 0)), actor(0, (0, 0.2, 1, 0))))), "twice"),
        (lambda: one_shot(Panel(FULL, (actor(0, (1, 0, 1, 0), (0, 0, 1, 0)),))), "ascend"),
        (lambda: one_shot(Panel(FULL, (actor(0, (0, 0, 0.2, 0)),))), "nearer"),
        (lambda: one_shot(Panel(FULL, backdrop=None, still=True)), "backdrop"),
        (lambda: CrowdSpec((CrowdShot(0.5, ()),), 0, 1.0, W, H), "start at 0"),
        (lambda: CrowdSpec((CrowdShot(0.0, ()),), 0, 1.0, 321, H), "even"),
    ],
)
def test_impossible_specs_are_refused(wrong, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        wrong()
