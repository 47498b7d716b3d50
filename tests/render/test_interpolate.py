from __future__ import annotations

import numpy as np
import pytest
import torch

from dialogbuild.render.interpolate import interpolate
from dialogbuild.render.raster_numba import NumbaRasterizer
from dialogbuild.render.raster_torch import TorchRasterizer

SIZE = (24, 31)


def _scene(batch: int = 2) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Sheets of 5 x 5 vertices with uneven depth, so that perspective matters; (B, V, 3), faces, (B, H, W) ids."""
    rng = np.random.default_rng(4)
    y, x = np.meshgrid(np.linspace(1, 23, 5), np.linspace(2, 29, 5), indexing="ij")
    flat = np.stack([x, y, np.full_like(x, 1.0)], -1).reshape(1, -1, 3).repeat(batch, 0)
    verts = torch.tensor(flat + rng.uniform(-1, 1, flat.shape) * [1.2, 1.2, 0.45])
    corner = np.array([r * 5 + c for r in range(4) for c in range(4)])[:, None]
    lower, upper = np.array([0, 5, 6]), np.array([0, 6, 1])
    faces = torch.tensor(np.concatenate([corner + lower, corner + upper]).astype(np.int32))
    return verts, faces, TorchRasterizer().rasterize_batch(verts, faces, SIZE).face_id


def _weights(shape: tuple[int, ...]) -> torch.Tensor:
    return torch.tensor(np.random.default_rng(9).normal(size=shape))


def test_values_are_those_of_the_rasterisers_own_weights() -> None:
    verts, faces, face_id = _scene()
    attributes = _weights((2, 25, 4))
    out = interpolate(attributes, verts, faces, face_id)
    assert out.shape == (2, *SIZE, 4)
    for b in range(2):
        fragments = NumbaRasterizer().rasterize(verts[b].numpy(), faces.numpy(), SIZE)
        expected = NumbaRasterizer().interpolate(attributes[b].numpy(), faces.numpy(), fragments)
        np.testing.assert_allclose(out[b].numpy(), expected, atol=1e-5)


def test_depth_interpolated_as_an_attribute_is_the_z_buffer() -> None:
    verts, faces, _ = _scene()
    fragments = TorchRasterizer().rasterize_batch(verts, faces, SIZE)
    depth = interpolate(verts[..., 2:], verts, faces, fragments.face_id)[..., 0]
    torch.testing.assert_close(depth.float(), fragments.depth, atol=1e-6, rtol=0)


@pytest.mark.parametrize("what", ["attributes", "verts_px"])
def test_gradients_equal_finite_differences(what: str) -> None:
    """Central differences in float64 at fixed face ids, for every entry; relative to the largest gradient."""
    verts, faces, face_id = _scene()
    inputs = {"attributes": _weights((2, 25, 3)), "verts_px": verts}
    weight = _weights((2, *SIZE, 3))

    def loss(value: torch.Tensor) -> torch.Tensor:
        filled = {**inputs, what: value}
        return (interpolate(filled["attributes"], filled["verts_px"], faces, face_id) ** 2 * weight).sum()

    x = inputs[what].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(x), x)
    measured = torch.zeros_like(gradient)
    flat, step = inputs[what].flatten(), 1e-5
    for i in range(flat.numel()):
        moved = [flat.clone() for _ in range(2)]
        moved[0][i] += step
        moved[1][i] -= step
        up, down = (loss(m.view_as(x)) for m in moved)
        measured.view(-1)[i] = (up - down) / (2 * step)
    error = (gradient - measured).abs().max() / measured.abs().max()
    assert measured.abs().max() > 0.1
    assert (measured.abs() > 1e-3).float().mean() > 0.8, "nearly every entry moves the image"
    assert error < 1e-6, f"relative error {error:.1e}"


def test_single_precision_gradients_are_within_a_thousandth() -> None:
    verts, faces, face_id = _scene()
    grads = []
    for dtype in (torch.float64, torch.float32):
        a = _weights((2, 25, 3)).to(dtype).requires_grad_()
        v = verts.to(dtype).requires_grad_()
        out = interpolate(a, v, faces, face_id)
        assert out.dtype == dtype
        grads.append(torch.autograd.grad((out**2).sum(), (a, v)))
    for exact, single in zip(*grads, strict=True):
        assert (single.double() - exact).abs().max() < 1e-3 * exact.abs().max()


def test_a_sliver_in_single_precision_leaves_gradients_finite() -> None:
    """Its area, 2^-26 px^2, is lost when products are rounded to float32; 0 / 0 would poison the whole step."""
    e = 2.0**-13
    corners = [[1.5, 1.5, 1.0], [2.5 + e, 2.5, 1.0], [0.5, 0.5 + e, 1.0]]
    v = torch.tensor([corners], dtype=torch.float32).requires_grad_()
    face_id = torch.tensor([[[-1, -1], [-1, 0]]])
    out = interpolate(torch.ones(1, 3, 1), v, torch.tensor([[0, 1, 2]]), face_id)
    out.sum().backward()
    assert out[0, 1, 1].item() == 1
    assert v.grad is not None
    assert torch.isfinite(v.grad).all()


def test_nothing_hit_gives_zeros_and_zero_gradients() -> None:
    verts, faces, face_id = _scene()
    v = verts.requires_grad_()
    out = interpolate(_weights((2, 25, 3)), v, faces, torch.full_like(face_id, -1))
    assert not out.any()
    out.sum().backward()
    assert v.grad is not None
    assert not v.grad.any()
