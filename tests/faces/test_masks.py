"""Maps of face crops: how they are stored, what is skin and hair, what counts as in front, and the optional parser."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from dialogbuild.errors import ConfigError
from dialogbuild.faces import covered, masks
from dialogbuild.faces.hands import hand_cells, widened
from dialogbuild.faces.labels import (
    BACKGROUND,
    FACE,
    HAIR,
    OCCLUDER,
    OTHER,
    occluder_cells,
    pack_labels,
    unpack_labels,
    unpack_mask,
)
from dialogbuild.faces.maskmaker import at_face
from dialogbuild.faces.parsing import CLASSES, LABEL_OF, FaceParser, to_labels
from dialogbuild.fit.regions import OVAL
from dialogbuild.head import load_head
from dialogbuild.stages.landmarks import Config, model_files

CROP = np.array([200, 180, 256, 0], np.float32)  # 4 px a cell
SKIN, DARK, WALL = (200, 150, 130), (40, 30, 25), (60, 120, 200)


def frontal(width_px: float = 110.0) -> np.ndarray:
    """478 landmarks of the built-in head from the front, in the middle of ``CROP``."""
    head = load_head()
    embedding = head.landmarks["mp478"]
    corners = head.v_template[head.faces[embedding.face_idx]]
    points = np.einsum("nc,nca->na", embedding.bary, corners)[:, :2] * [1, -1]
    points = (points - points.mean(axis=0)) * width_px / np.ptp(points[:, 0])
    out = np.zeros((478, 2), np.float32)
    out[embedding.index] = points + CROP[:2]
    return out


def view_of(points_px: np.ndarray, side: int = 256) -> tuple[np.ndarray, np.ndarray]:
    """A crop with a skin-coloured face, dark hair around its upper half, a dark jacket; and the person's cells."""
    import cv2

    view = np.full((side, side, 3), WALL, np.uint8)
    person = np.zeros((side, side), np.uint8)
    at = np.round(points_px - CROP[:2] + CROP[2] / 2).astype(np.int32)
    low, high = at.min(axis=0), at.max(axis=0)
    middle, half = (low + high) // 2, (high - low) // 2
    for canvas, colour in ((view, DARK), (person, 1)):
        cv2.ellipse(canvas, [int(middle[0]), int(low[1] + 20)], [int(half[0] + 22), 50], 0, 180, 360, colour, -1)
        cv2.rectangle(canvas, [10, int(high[1] + 25)], [side - 10, side], colour, -1)
    for canvas, colour in ((view, SKIN), (person, 1)):
        cv2.rectangle(
            canvas, [int(middle[0] - 25), int(middle[1])], [int(middle[0] + 25), int(high[1] + 26)], colour, -1
        )
        cv2.fillConvexPoly(canvas, cv2.convexHull(at), colour)
    return view, cv2.resize(person, (64, 64), interpolation=cv2.INTER_AREA) > 0


def test_labels_come_back_from_their_bits_and_the_person_bits_keep_their_old_meaning() -> None:
    labels = np.random.default_rng(0).integers(0, 5, (64, 64)).astype(np.uint8)
    hand = np.random.default_rng(1).random((64, 64)) < 0.5
    person, parts = pack_labels(labels, hand)
    np.testing.assert_array_equal(unpack_labels(person, parts), labels)
    np.testing.assert_array_equal(occluder_cells(parts), labels == OCCLUDER)
    own = unpack_mask(person)
    assert (own[(labels != OCCLUDER)] == (labels[labels != OCCLUDER] != BACKGROUND)).all()
    np.testing.assert_array_equal(own[labels == OCCLUDER], hand[labels == OCCLUDER])
    with pytest.raises(ValueError, match="512 and 1024 bytes"):
        unpack_labels(person, parts[:-1])


def test_the_outline_is_the_one_that_the_fit_knows() -> None:
    assert masks.FACE_OVAL == OVAL


def test_hair_neck_and_clothes_are_told_apart_by_place_and_colour() -> None:
    points = frontal()
    view, person = view_of(points)
    base = masks.base_of(view, person, points, CROP)
    cell = masks.to_cells(points, CROP).astype(int)
    top, chin, middle = cell[10], cell[152], cell[5]
    assert base.labels[middle[1], middle[0]] == FACE
    assert base.labels[top[1] - 5, top[0]] == HAIR
    assert base.labels[chin[1] + 3, chin[0]] == FACE, "the neck is bare skin"
    assert (base.labels[60:, 5:55] == OTHER).all(), "a jacket as dark as the hair is not hair"
    assert base.labels[2, 2] == BACKGROUND


def hand_at(x: float, y: float, size: float = 60.0) -> np.ndarray:
    """A hand that points up, its palm's middle at (x, y) px: wrist, then five straight fingers."""
    spread = np.linspace(-0.35, 0.35, 5)
    joints = [(0.0, 0.5)] + [(s, -0.5 - 0.25 * k) for s in spread for k in range(4)]
    joints[1:5] = [(-0.3 - 0.08 * k, 0.3 - 0.2 * k) for k in range(4)]
    return (np.array(joints) * size + [x, y]).astype(np.float32)


def test_a_hand_covers_its_fingers_palm_and_the_beginning_of_its_arm_in_proportion() -> None:
    hand = hand_at(200, 180)
    cells = hand_cells(hand[None], CROP)
    at = masks.to_cells(hand, CROP).astype(int)
    assert cells[at[:, 1], at[:, 0]].all()
    assert cells[at[0, 1] + 4, at[0, 0]], "the wrist"
    assert 0.03 < cells.mean() < 0.2
    moved = hand_cells(hand_at(240, 180)[None], CROP)
    np.testing.assert_array_equal(moved[:, 10:], cells[:, :-10])
    assert not hand_cells(np.zeros((0, 21, 2), np.float32), CROP).any()
    wide = widened(CROP)
    assert wide[2] == 384
    assert wide[1] > CROP[1], "hands come from below"


def test_only_hands_that_reach_the_face_are_in_front_of_it() -> None:
    oval = masks.oval_cells(frontal(), CROP)
    far, near = hand_at(90, 270, 30), hand_at(200, 230)
    cells = at_face(np.stack([far, near]), oval, CROP)
    np.testing.assert_array_equal(cells, hand_cells(near[None], CROP))


def test_the_face_of_somebody_nearer_is_in_front_and_of_somebody_farther_is_not() -> None:
    box = np.array([150, 120, 250, 240], np.float32)
    big, small = np.array([230, 120, 380, 320], np.float32), np.array([230, 150, 270, 190], np.float32)
    assert masks.nearer_face_cells(box, big[None], CROP).any()
    assert not masks.nearer_face_cells(box, small[None], CROP).any()
    assert not masks.nearer_face_cells(box, np.zeros((0, 4), np.float32), CROP).any()


def test_what_is_in_front_wins_and_its_share_is_of_the_outline() -> None:
    oval = masks.oval_cells(frontal(), CROP)
    base = masks.Base(np.full((64, 64), OTHER, np.uint8), np.ones((64, 64), bool))
    front = np.zeros((64, 64), bool)
    front[32:] = True
    labels, _, occluded = masks.compose(base, oval, front)
    assert (labels[front] == OCCLUDER).all()
    assert (labels[oval & ~front] == FACE).all()
    assert occluded == pytest.approx(oval[32:].sum() / oval.sum())
    assert masks.compose(base, oval, np.zeros_like(front))[2] == 0.0


def track(ticks: int = 60, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Landmarks and colours of a face with a beard and dark brows, in light that comes and goes from one side."""
    rng = np.random.default_rng(seed)
    shape = frontal()
    points = shape[None] + 3 * np.sin(np.arange(ticks) / 9)[:, None, None]
    own = np.tile(np.array(SKIN, float), (468, 1))
    own[shape[:468, 1] > shape[17, 1]] = (70, 55, 45)
    side = (shape[:468, 0] - CROP[0]) / 60
    light = 1 + 0.3 * np.sin(np.arange(ticks) / 7)[:, None] * (1 + 0.5 * side)
    colours = own[None] * light[..., None] + rng.normal(0, 3, (ticks, 468, 3))
    return points.astype(np.float32), colours.clip(0, 255).astype(np.uint8)


def test_a_beard_in_changing_light_covers_nothing() -> None:
    assert not covered.covered_points(*track()).any()


@pytest.mark.parametrize("colour", [(45, 45, 50), (250, 240, 40)])
def test_a_thing_that_passes_is_found_where_it_is_and_only_then(colour: tuple[int, int, int]) -> None:
    points, colours = track()
    place = points[0, 50]
    under = np.linalg.norm(points[0, :468] - place, axis=1) < 18
    colours[20:30, under] = colour
    found = covered.covered_points(points, colours)
    inside = np.intersect1d(np.flatnonzero(under), covered.ASKED)
    assert found[21:29][:, inside].mean() > 0.8
    assert not found[:19].any()
    assert not found[31:].any()
    beside = np.linalg.norm(points[0, :468] - place, axis=1) > 30
    assert not found[:, beside].any()
    cells = covered.covered_cells(points[25], found[25], CROP)
    x, y = masks.to_cells(points[25, 50], CROP).astype(int)
    assert cells[y, x]
    assert cells.sum() < 150


def test_eyes_and_lips_are_not_asked_because_they_open() -> None:
    points, colours = track()
    mouth = np.setdiff1d(np.arange(468), covered.ASKED)
    colours[20:30, mouth] = (20, 10, 10)
    assert not covered.covered_points(points, colours).any()


def test_a_turned_away_side_is_not_asked() -> None:
    points, colours = track()
    middle = points[:, :, 0].mean(axis=1, keepdims=True)
    turned = points.copy()
    far = turned[20:40, :, 0] > middle[20:40]
    turned[20:40, :, 0] = np.where(
        far, middle[20:40] + 0.15 * (turned[20:40, :, 0] - middle[20:40]), turned[20:40, :, 0]
    )
    wrong = np.zeros((60, 468), bool)
    wrong[20:40] = far[:, :468] & (points[20:40, :468, 0] > middle[20:40] + 8)
    colours[wrong] = WALL
    assert not covered.covered_points(turned, colours)[:, np.flatnonzero(wrong[25])].mean() > 0.02


def test_a_short_track_says_nothing() -> None:
    points, colours = track(8)
    colours[3:5] = 0
    assert not covered.covered_points(points, colours).any()


def parser_file(path: Path, side: int = 512, classes: int = len(CLASSES)) -> Path:
    """A network whose class 17 (hair) is red, class 1 (skin) green: a 1 x 1 convolution of the normalised colours."""
    onnx = pytest.importorskip("onnx", reason="onnx makes the files of these tests")
    weight = np.zeros((classes, 3, 1, 1), np.float32)
    weight[17 % classes, 0], weight[1, 1] = 1, 1
    nodes = [onnx.helper.make_node("Conv", ["x", "w"], ["y"])]
    x = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 3, side, side])
    y = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, classes, side, side])
    graph = onnx.helper.make_graph(nodes, "parser", [x], [y], [onnx.numpy_helper.from_array(weight, "w")])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.save(model, path)
    return path


def test_a_parsers_classes_become_our_labels(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    view = np.zeros((320, 320, 3), np.uint8)
    view[:160, :, 0], view[160:, :, 1] = 255, 255
    labels = FaceParser(parser_file(tmp_path / "p.onnx"))(view)
    assert (labels[:30] == HAIR).all()
    assert (labels[34:] == FACE).all()


def test_a_parser_of_other_sizes_is_refused_with_the_setting_that_named_it(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    with pytest.raises(ConfigError, match=r"parsing_weights takes 1x3x512x512"):
        FaceParser(parser_file(tmp_path / "small.onnx", side=64))
    with pytest.raises(ConfigError, match=r"parsing_weights gives 1x19x512x512"):
        FaceParser(parser_file(tmp_path / "few.onnx", classes=11))


def test_glasses_are_a_part_of_the_face_and_a_cell_takes_the_most_frequent_class() -> None:
    assert LABEL_OF[CLASSES.index("eye_g")] == FACE
    assert LABEL_OF[CLASSES.index("cloth")] == OTHER
    classes = np.zeros((512, 512), int)
    classes[:8, :5] = CLASSES.index("hair")
    assert to_labels(classes)[0, 0] == HAIR
    assert to_labels(classes)[0, 1] == BACKGROUND


def test_a_parsers_background_inside_the_face_is_in_front_and_its_hair_stays_hair() -> None:
    oval = masks.oval_cells(frontal(), CROP)
    labels = np.where(oval, np.uint8(FACE), np.uint8(BACKGROUND))
    labels[40:44, 30:36], labels[22:24, 28:36] = BACKGROUND, HAIR
    out, _, occluded = masks.compose(masks.Base(labels, oval, parsed=True), oval, np.zeros_like(oval))
    assert (out[40:44, 30:36] == OCCLUDER).all()
    assert (out[22:24, 28:36] == HAIR).all()
    assert occluded == pytest.approx(24 / oval.sum())


def test_networks_enter_the_key_only_where_they_are_used(tmp_path: Path) -> None:
    weights = parser_file(tmp_path / "p.onnx")
    plain = model_files(Config())
    assert any("palm_detection" in str(p) for p in plain)
    assert not any("palm_detection" in str(p) for p in model_files(Config(hands_every_ticks=0)))
    assert weights in model_files(Config(parsing_weights=str(weights)))
    with pytest.raises(ConfigError, match="there is no file"):
        model_files(Config(parsing_weights=str(tmp_path / "gone.onnx")))


def test_no_hand_is_found_where_there_is_none() -> None:
    from dialogbuild.faces.hands import HandFinder

    with ExitStack() as stack:
        finder = stack.enter_context(HandFinder())
        found = finder(np.full((360, 400, 3), 128, np.uint8), CROP)
    assert found.shape == (0, 21, 2)
