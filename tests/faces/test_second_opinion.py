"""The second opinion: the package's own network, with weights made here, and the comparison with mediapipe."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dialogbuild.errors import ConfigError, MissingPart
from dialogbuild.faces import second_opinion
from dialogbuild.faces.second_opinion import MP_OF_INNER_IBUG, SecondOpinion, disagreement, load_network, weights_file
from dialogbuild.head.procedural.landmarks import IBUG68

needs_package = pytest.mark.skipif(
    importlib.util.find_spec("face_alignment") is None, reason="face-alignment is not installed"
)
BOX = np.array([120, 60, 220, 180], np.float32)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random 2DFAN with one hourglass: 25 MB instead of the published network's 96."""
    import torch

    path = tmp_path_factory.mktemp("fan") / "2DFAN1-random.pth.tar"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        torch.save(second_opinion._fan_class()(1).state_dict(), path)
    return path


def two_opinions(shift_px: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    mesh = np.random.default_rng(0).random((478, 2)).astype(np.float32) * 100
    mesh[33], mesh[263] = (20, 50), (70, 50)
    ibug = np.zeros((68, 2), np.float32)
    ibug[17:] = mesh[list(MP_OF_INNER_IBUG)] + np.array([0, shift_px], np.float32)
    return mesh, ibug


def test_a_point_means_the_same_here_as_on_the_heads() -> None:
    assert IBUG68[17:] == MP_OF_INNER_IBUG
    assert len(MP_OF_INNER_IBUG) == 51


def test_disagreement_is_a_fraction_of_the_outer_eye_distance() -> None:
    mesh, ibug = two_opinions(shift_px=5)
    assert disagreement(mesh, ibug) == pytest.approx(5 / 50)
    assert disagreement(3 * mesh, 3 * ibug) == pytest.approx(5 / 50), "a closer face is not a worse one"
    several = disagreement(np.stack([mesh, mesh]), np.stack([ibug, two_opinions()[1]]))
    np.testing.assert_allclose(several, [5 / 50, 0], atol=1e-6)


def test_the_outline_does_not_count_because_it_slides_with_the_view() -> None:
    mesh, ibug = two_opinions()
    ibug[:17] = 1e4
    assert disagreement(mesh, ibug) == 0
    ibug[17] += 51
    assert disagreement(mesh, ibug) == pytest.approx(np.sqrt(2) / 50), "the first brow point does"


def test_a_face_without_width_has_no_disagreement_rather_than_a_nan() -> None:
    mesh, ibug = two_opinions()
    mesh[33] = mesh[263]
    assert disagreement(mesh, ibug) == -1
    assert disagreement(two_opinions()[0], np.full((68, 2), np.nan, np.float32)) == -1


@needs_package
def test_points_are_those_of_the_package_before_it_cuts_them_to_whole_pixels(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from face_alignment import LandmarksType, api

    monkeypatch.setitem(api.models_urls, "2DFAN-1", "unused")
    monkeypatch.setattr(api, "load_file_from_url", lambda url: str(weights))
    theirs = api.FaceAlignment(
        LandmarksType.TWO_D, network_size=1, device="cpu", flip_input=False, face_detector="folder", compile=False
    )
    image = np.random.default_rng(0).integers(0, 256, (200, 320, 3), dtype=np.uint8)
    ours = SecondOpinion(weights)
    for box in (BOX, BOX - np.array([110, 50, 110, 50], np.float32)):
        points = ours(image, box)
        assert points is not None
        cut = theirs.get_landmarks_from_image(image, detected_faces=[box])[0]
        assert len(np.unique(cut, axis=0)) > 10, "a network that says one thing everywhere would prove nothing"
        assert np.abs(np.trunc(points + 1e-3 * np.sign(points)) - cut).max() == 0


class _DotFinder:
    """In place of the network: every heatmap is the picture itself at a quarter of its size."""

    def __call__(self, view: Any) -> list[Any]:
        import torch

        return [torch.nn.functional.avg_pool2d(view.mean(1, keepdim=True), 4).repeat(1, 68, 1, 1)]


@needs_package
@pytest.mark.parametrize("dot", [(170, 110), (130, 70), (215, 175)])
def test_what_lies_at_a_pixel_is_found_at_that_pixel(
    weights: Path, dot: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    opinion = SecondOpinion(weights)
    monkeypatch.setattr(opinion, "_net", _DotFinder())
    image = np.zeros((240, 360, 3), np.uint8)
    image[dot[1] - 1 : dot[1] + 2, dot[0] - 1 : dot[0] + 2] = 255
    points = opinion(image, BOX)
    assert points is not None
    cell_px = 200 / 195 * (100 + 120) / 64
    np.testing.assert_allclose(points, np.tile(np.add(dot, 0.5), (68, 1)), atol=0.75 * cell_px)


@needs_package
def test_a_box_beside_the_picture_or_without_size_gets_no_opinion(weights: Path) -> None:
    opinion = SecondOpinion(weights)
    image = np.zeros((100, 100, 3), np.uint8)
    for box in ([400, 10, 440, 50], [-400, 10, -360, 50], [10, 400, 50, 440], [10, -400, 50, -360], [50, 50, 51, 51]):
        assert opinion(image, np.array(box, np.float32)) is None
    for edge in range(-60, 160, 20):
        opinion(image, np.array([edge, 30, edge + 40, 70], np.float32))


@needs_package
def test_an_opinion_leaves_torchs_threads_and_generator_as_they_were(weights: Path) -> None:
    import torch

    before, state = torch.get_num_threads(), torch.get_rng_state()
    SecondOpinion(weights)(np.zeros((100, 100, 3), np.uint8), np.array([20, 20, 80, 80], np.float32))
    assert torch.get_num_threads() == before
    assert torch.equal(torch.get_rng_state(), state)


@needs_package
def test_weights_of_another_network_are_refused_by_name(weights: Path, tmp_path: Path) -> None:
    import torch

    state = torch.load(weights, weights_only=True)
    broken = {**state, "conv1.bias": torch.full((64,), torch.nan)}
    without = {key: value for key, value in state.items() if key != "m0.b1_4.conv1.weight"}
    for name, content, message in (
        ("other", {"fc.weight": torch.zeros(3)}, "is no 2DFAN"),
        ("short", without, "m0.b1_4.conv1.weight"),
        ("more", {**state, "extra": torch.zeros(1)}, "extra"),
        ("shape", {**state, "conv1.bias": torch.zeros(3)}, "conv1.bias"),
        ("nan", broken, "not finite"),
        ("nested", {"state_dict": state}, "state dict of tensors"),
    ):
        torch.save(content, tmp_path / name)
        with pytest.raises(ConfigError, match=message):
            load_network(tmp_path / name)
    (tmp_path / "text").write_text("no weights")
    with pytest.raises(ConfigError, match="no plain state dict"):
        load_network(tmp_path / "text")


class _Harmful:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("harm"),))


@needs_package
def test_weights_that_hold_code_are_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.chdir(tmp_path)
    torch.save({"conv1.bias": _Harmful()}, tmp_path / "bad.pth")
    with pytest.raises(ConfigError, match="no plain state dict"):
        load_network(tmp_path / "bad.pth")
    assert not (tmp_path / "harm").exists()


def test_what_is_missing_is_said_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(second_opinion.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingPart, match=r"dialogbuild\[face-alignment\]"):
        weights_file(str(tmp_path / "fan.pth"))
    monkeypatch.setattr(second_opinion.importlib.util, "find_spec", lambda name: object())
    for absent in (None, "", str(tmp_path / "fan.pth"), str(tmp_path)):
        with pytest.raises(ConfigError, match="second_opinion_weights"):
            weights_file(absent)
