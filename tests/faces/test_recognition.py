"""Face recognition with a network that the user brings: tiny ones are made here and run by the real runtime."""

from __future__ import annotations

import importlib.util
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from dialogbuild.artifact import Inputs
from dialogbuild.dialogue.facedata import FaceRows
from dialogbuild.errors import ConfigError, MissingPart
from dialogbuild.faces import recognition
from dialogbuild.media.encode import encode_video
from dialogbuild.media.reader import VideoReader
from dialogbuild.pixels.traits import read_traits, track_embeddings
from dialogbuild.stages import assign

onnx = pytest.importorskip("onnx", reason="onnx makes the files of these tests")
pytest.importorskip("onnxruntime")


def network(path: Path, side: int = 112, dims: int = 512, scale: float = 1.0) -> Path:
    """Mean colours of 16 x 16 tiles, times a random matrix: a face's embedding is where its light and dark lie."""
    weight = np.random.default_rng(0).normal(size=(3 * 49, dims)).astype(np.float32) * scale
    make, value = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    nodes = [
        make("AveragePool", ["x"], ["tiles"], kernel_shape=[side // 7, side // 7], strides=[side // 7, side // 7]),
        make("Flatten", ["tiles"], ["flat"]),
        make("MatMul", ["flat", "w"], ["y"]),
    ]
    graph = onnx.helper.make_graph(
        nodes,
        "g",
        [value("x", onnx.TensorProto.FLOAT, ["n", 3, side, side])],
        [value("y", onnx.TensorProto.FLOAT, ["n", dims])],
        [onnx.numpy_helper.from_array(weight, "w")],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.save(model, path)
    return path


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return network(tmp_path_factory.mktemp("nets") / "arc.onnx")


def mesh(five_px: np.ndarray) -> np.ndarray:
    points = np.zeros((478, 2))
    points[list(recognition.FIVE)] = five_px
    return points


UPRIGHT = recognition._PLACES_PX


def picture(seed: int) -> np.ndarray:
    """Soft blobs, (112, 112, 3): what survives turning and scaling."""
    coarse = np.random.default_rng(seed).uniform(0, 255, (5, 5, 3))
    grid = np.linspace(0, 4, 112)
    rows = np.stack([np.stack([np.interp(grid, range(5), coarse[r, :, c]) for c in range(3)], 1) for r in range(5)])
    out = [np.stack([np.interp(grid, range(5), rows[:, x, c]) for x in range(112)], 1) for c in range(3)]
    return np.stack(out, axis=2).astype(np.uint8)


def test_a_face_is_the_same_however_it_lies_in_the_picture(weights: Path) -> None:
    import cv2

    net = recognition.FaceEmbedder(weights)
    upright = net(picture(1), mesh(UPRIGHT))
    angle, scale = np.radians(20), 1.7
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * scale
    matrix = np.column_stack([turn, [120.0, 30.0]])
    moved = cv2.warpAffine(picture(1), matrix, (400, 400), borderMode=cv2.BORDER_REPLICATE)
    found = net(moved, mesh(UPRIGHT @ turn.T + [120.0, 30.0]))
    assert np.linalg.norm(found) == pytest.approx(1.0)
    assert float(upright @ found) > 0.995
    assert float(upright @ net(picture(2), mesh(UPRIGHT))) < 0.9, "another picture is another face"


def test_the_similarity_is_found_exactly_and_never_mirrors() -> None:
    source = np.random.default_rng(0).normal(size=(5, 2)) * 30
    turn = 0.6 * np.array([[0.8, -0.6], [0.6, 0.8]])
    matrix = recognition.similarity(source, source @ turn.T + [5.0, -7.0])
    np.testing.assert_allclose(matrix, np.column_stack([turn, [5.0, -7.0]]), atol=1e-9)
    mirrored = recognition.similarity(source, source * [-1.0, 1.0])
    assert np.linalg.det(mirrored[:, :2]) >= 0


def test_a_foreign_network_is_refused_before_any_picture_is_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"takes \?x3x224x224, but face recognition takes 1x3x112x112"):
        recognition.FaceEmbedder(network(tmp_path / "big.onnx", side=224))
    with pytest.raises(ConfigError, match=r"gives \?x128, but face recognition gives 1x512"):
        recognition.FaceEmbedder(network(tmp_path / "short.onnx", dims=128))
    with pytest.raises(ConfigError, match="there is no file"):
        recognition.FaceEmbedder(tmp_path / "absent.onnx")


def test_a_network_that_gives_no_direction_is_told(tmp_path: Path) -> None:
    for name, scale in (("zeros", 0.0), ("endless", np.inf)):
        net = recognition.FaceEmbedder(network(tmp_path / f"{name}.onnx", scale=scale))
        with pytest.raises(ConfigError, match="zeros, or numbers that are not finite"):
            net(picture(1), mesh(UPRIGHT))


def test_without_the_runtime_the_message_says_what_to_install(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else real(name))
    with pytest.raises(MissingPart, match=r"pip install 'dialogbuild\[recognition\]'"):
        recognition.FaceEmbedder(weights)


def test_the_file_is_part_of_the_key_only_when_it_is_given(weights: Path) -> None:
    assert assign.model_files(assign.Config(recognition_weights=str(weights))) == [weights]
    assert assign.model_files(assign.Config()) == []


def test_a_missing_file_stops_assign_before_it_reads_anything(tmp_path: Path) -> None:
    inputs = Inputs("v", "v", tmp_path / "v.mp4", {})
    with pytest.raises(ConfigError, match="there is no file"):
        read_traits(inputs, rows_of(np.zeros((0, 478, 2))), str(tmp_path / "absent.onnx"))


def rows_of(samples: np.ndarray) -> FaceRows:
    """A row per tick of track 0 and then of track 1, all of them sampled."""
    n = len(samples)
    return FaceRows(
        np.repeat([0, 1], n // 2), np.tile(np.arange(n // 2), 2), np.ones(n, bool), np.zeros(n), np.zeros(n),
        np.zeros((n, 16, 2), np.float32), samples.astype(np.float32), np.arange(n),
    )  # fmt: skip


def test_the_faces_of_a_video_are_cut_out_and_tell_two_people_apart(weights: Path, tmp_path: Path) -> None:
    frame = np.full((240, 480, 3), 90, np.uint8)
    frame[60:172, 50:162], frame[60:172, 300:412] = picture(1), picture(2)
    video = tmp_path / "v.mp4"
    encode_video(video, iter([frame] * 6), Fraction(25), (480, 240), crf=10)
    samples = np.concatenate([np.tile(mesh(UPRIGHT + np.array([x, 60.0])), (6, 1, 1)) for x in (50.0, 300.0)])
    with av.open(str(video)) as file:
        pts = np.array([picture.pts for picture in file.decode(video=0)])
    net = recognition.FaceEmbedder(weights)
    with VideoReader(video) as reader:
        found = track_embeddings(reader, pts, rows_of(samples), net)
    assert sorted(found) == [0, 1]
    assert float(found[0] @ net(picture(1), mesh(UPRIGHT))) > 0.99
    assert float(found[1] @ net(picture(2), mesh(UPRIGHT))) > 0.99
    assert float(found[0] @ found[1]) < 0.9
