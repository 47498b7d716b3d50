"""Engines against each other, batches, the choice by name; every engine's own rules are in test_raster.py."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from parity import assert_parity

from dialogbuild.errors import ConfigError, MissingPart
from dialogbuild.head import HeadModel, load_head
from dialogbuild.head.camera import Camera
from dialogbuild.head.pose import neutral_pose, pose_head, to_camera
from dialogbuild.render import raster_pytorch3d
from dialogbuild.render.fragments import Fragments, Rasterizer
from dialogbuild.render.raster_numba import NumbaRasterizer
from dialogbuild.render.raster_pytorch3d import Pytorch3dRasterizer, ndc_from_pixels
from dialogbuild.render.raster_reference import ReferenceRasterizer
from dialogbuild.render.raster_torch import TorchRasterizer
from dialogbuild.render.rasterizers import make_rasterizer

NUMBA = NumbaRasterizer()
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA"))]


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return load_head()


def _seen(head: HeadModel, height: int, width: int, turn_rad: float = 0.0) -> np.ndarray:
    """A head that fills most of the image's height, px and metres."""
    pose = neutral_pose(head, 1, 0.7)
    pose = replace(pose, root_rad=np.array([[0.1, turn_rad, 0.05]], np.float32))
    verts = to_camera(pose_head(head, pose) + np.array([0, 0.04, 0], np.float32), pose.transl_m)[0]
    return Camera.centred(2.2 * height, width, height).project_with_depth(verts.astype(np.float64))


@pytest.mark.parametrize("device", DEVICES)
def test_torch_draws_the_head_as_numba_does_on_any_device(head: HeadModel, device: str) -> None:
    points = _seen(head, 256, 256)
    a, b = (
        NUMBA.rasterize(points, head.faces, (256, 256)),
        TorchRasterizer(device).rasterize(points, head.faces, (256, 256)),
    )
    assert (a.face_id >= 0).sum() > 15_000
    assert_parity(a, b, points, head.faces)
    if device == "cpu":
        np.testing.assert_array_equal(a.face_id, b.face_id)
        np.testing.assert_array_equal(a.depth, b.depth)


def test_the_numpy_twin_draws_the_head_as_numba_does(head: HeadModel) -> None:
    points = _seen(head, 256, 256)
    a, b = (e.rasterize(points, head.faces, (256, 256)) for e in (NUMBA, ReferenceRasterizer()))
    assert_parity(a, b, points, head.faces)
    np.testing.assert_array_equal(a.face_id, b.face_id)


@pytest.mark.parametrize("max_samples", [7_000, 100_000, 1 << 19], ids=["image by image", "two by two", "at once"])
@pytest.mark.parametrize("device", DEVICES)
def test_a_batch_gives_each_image_as_it_would_be_alone(head: HeadModel, device: str, max_samples: int) -> None:
    """Heads turned differently in a wide image: one in view, one cut by the border, one behind the camera, one tiny."""
    size = (60, 100)
    batch = np.stack([_seen(head, *size, turn) for turn in (0.0, 0.7, -0.4, 0.2)])
    batch[1, :, 0] += 45
    batch[2, :, 2] *= -1
    batch[3, :, :2] = batch[3, :, :2] * 0.05 + 20  # faces far below a pixel
    faces = torch.tensor(head.faces, device=device)
    out = TorchRasterizer(device, max_samples).rasterize_batch(torch.tensor(batch, device=device), faces, size)
    hits = [(out.image(b).face_id >= 0).sum() for b in range(4)]
    assert hits[0] > 1000
    assert hits[1] > 300
    assert hits[2] == 0
    assert 0 < hits[3] < 12
    for b in range(4):
        assert_parity(NUMBA.rasterize(batch[b], head.faces, size), out.image(b), batch[b], head.faces)


def test_the_piece_size_does_not_change_the_result(head: HeadModel) -> None:
    points, faces = torch.tensor(_seen(head, 64, 64))[None], torch.tensor(head.faces)
    one, many = (TorchRasterizer("cpu", n).rasterize_batch(points, faces, (64, 64)) for n in (1 << 24, 977))
    assert torch.equal(one.face_id, many.face_id)
    assert torch.equal(one.bary, many.bary)
    assert torch.equal(one.depth, many.depth)


def test_a_batch_of_the_wrong_shape_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"\(B, V, 3\)"):
        TorchRasterizer().rasterize_batch(torch.zeros(5, 3), torch.zeros((1, 3), dtype=torch.int64), (4, 4))


def test_parity_excuses_edges_and_ties_and_nothing_else() -> None:
    verts = np.array([(0.0, 0, 1), (0, 100, 1), (100, 100, 1), (100, 0, 1)])
    faces = np.array([(0, 1, 2), (0, 2, 3)], np.int32)
    truth = NUMBA.rasterize(verts, faces, (100, 100))
    flipped = truth.face_id.copy()
    flipped[40, 40] = 1 - flipped[40, 40]  # on the diagonal
    assert_parity(truth, replace(truth, face_id=flipped), verts, faces)
    flipped[40, 43] = 0  # three columns off, at equal depth
    assert_parity(truth, replace(truth, face_id=flipped), verts, faces)
    depth = truth.depth.copy()
    depth[40, 43] += 1e-3
    with pytest.raises(AssertionError, match="40, 43"):
        assert_parity(truth, Fragments(flipped, truth.bary, depth), verts, faces)
    with pytest.raises(AssertionError, match="faces differ"):
        assert_parity(truth, replace(truth, face_id=1 - truth.face_id), verts, faces)
    with pytest.raises(AssertionError):
        assert_parity(truth, replace(truth, bary=truth.bary + np.float32(3e-4)), verts, faces)


def test_ndc_puts_the_image_corners_where_pytorch3d_has_them() -> None:
    """A 2:1 image spans -2..2 along its longer side; x grows to the left and y upwards."""
    corners = torch.tensor([[0.0, 0.0, 0.7], [200.0, 100.0, 0.7], [100.0, 50.0, 0.5], [0.5, 0.5, 1.0]])
    wide = ndc_from_pixels(corners, (100, 200))
    torch.testing.assert_close(wide[:3], torch.tensor([[2.0, 1.0, 0.7], [-2.0, -1.0, 0.7], [0.0, 0.0, 0.5]]))
    # its own formula for the centre of pixel i of W, counted from the right: -range / 2 + range * (i + 0.5) / W
    assert wide[3, 0] == pytest.approx(-2 + 4 * (199 + 0.5) / 200)
    tall = ndc_from_pixels(corners[:, [1, 0, 2]], (200, 100))
    torch.testing.assert_close(tall[:, :2], wide[:, [1, 0]])


def _fake_missing(name: str) -> None:
    raise ImportError(f"no module named {name}")


def test_a_missing_pytorch3d_names_the_build_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raster_pytorch3d, "import_module", _fake_missing)
    with pytest.raises(MissingPart, match="PYTORCH3D_FORCE_NO_CUDA=1 pip install --no-build-isolation"):
        Pytorch3dRasterizer()


@pytest.mark.parametrize("size", [(96, 96), (64, 100), (100, 64)])
def test_pytorch3d_agrees_on_the_head(head: HeadModel, size: tuple[int, int]) -> None:
    pytest.importorskip("pytorch3d", reason="built from source only")
    batch = np.stack([_seen(head, *size), _seen(head, *size, 0.6)])
    batch[1, :200, 2] = -1  # its ids shift when triangles are left out
    faces = torch.tensor(head.faces)
    out = Pytorch3dRasterizer().rasterize_batch(torch.tensor(batch), faces, size)
    for b in range(2):
        # its weights come from float32 edge functions: 1.6e-4 was the most over ten views of 64 to 128 px
        assert_parity(NUMBA.rasterize(batch[b], head.faces, size), out.image(b), batch[b], head.faces, bary=5e-4)


def test_pytorch3d_gives_an_empty_image_for_nothing() -> None:
    pytest.importorskip("pytorch3d", reason="built from source only")
    out = Pytorch3dRasterizer().rasterize(np.zeros((0, 3)), np.zeros((0, 3), np.int32), (4, 5))
    assert (out.face_id == -1).all()
    assert out.bary.shape == (4, 5, 3)


def test_engines_are_chosen_by_name_and_device() -> None:
    assert make_rasterizer().name == "numba"
    assert make_rasterizer("auto", "meta").name == "torch"
    made: list[Rasterizer] = [make_rasterizer(name) for name in ("numba", "torch", "reference")]
    assert [engine.name for engine in made] == ["numba", "torch", "reference"]


def test_a_wrong_choice_is_told_what_there_is() -> None:
    with pytest.raises(ConfigError, match=r"no rasteriser 'opengl'.*numba \(cpu\).*torch"):
        make_rasterizer("opengl")
    with pytest.raises(ConfigError, match=r"'numba' does not run on 'cuda:0'.*torch"):
        make_rasterizer("numba", "cuda:0")


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is here")
def test_a_missing_cuda_device_is_said_before_any_work() -> None:
    with pytest.raises(MissingPart, match="no CUDA device"):
        make_rasterizer("auto", "cuda")
