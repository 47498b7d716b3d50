"""Bilinear samples of picture windows with central-difference gradients, on tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

Array = np.ndarray[Any, np.dtype[Any]]

# (dy, dx) from the pixel left above a sample: its four pixels, then the neighbours left, right, above and below them
_CORNERS = ((0, 0), (0, 1), (1, 0), (1, 1))
_TAPS = (*_CORNERS, (0, -1), (1, -1), (0, 2), (1, 2), (-1, 0), (-1, 1), (2, 0), (2, 1))


@dataclass(frozen=True, eq=False)
class Sampler:
    """Windows at one level of the pyramid, laid out for gathering. Twin of ``photometric_kernel.sample_gradient``.

    Attributes:
        flat: (F * H * W, 3) values 0..255 as stored.
        size_hw: H, W;  scale: level pixels per window pixel.
        offsets: (12,) int64 of the taps in ``flat``.
    """

    flat: Tensor
    size_hw: tuple[int, int]
    scale: float
    offsets: Tensor
    dtype: torch.dtype

    @classmethod
    def from_images(cls, images: Array, level: int, device: torch.device, dtype: torch.dtype) -> Sampler:
        """Copy windows (F, H, W, 3), uint8 or float, to a device; uint8 stays uint8 there."""
        H, W = images.shape[1:3]
        flat = torch.as_tensor(np.ascontiguousarray(images).reshape(-1, 3)).to(device)
        offsets = torch.tensor([dy * W + dx for dy, dx in _TAPS], device=device)
        return cls(flat, (int(H), int(W)), 0.5**level, offsets, dtype)

    def values(self, pixels: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Display values (n, 3, N) at window pixels (n, 2, N), and which are far enough from the border (n, N)."""
        at, a, b, inside = self._locate(pixels, frames)
        p = self._taps(at, len(_CORNERS))
        w00, w01, w10, w11 = _weights(a, b)
        return (w00 * p[0] + w01 * p[1] + w10 * p[2] + w11 * p[3]) / 255.0, inside

    def gradients(self, pixels: Tensor, frames: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Display values, their derivatives by window pixel x and y (n, 3, N), and what is inside (n, N)."""
        at, a, b, inside = self._locate(pixels, frames)
        p00, p01, p10, p11, left0, left1, right0, right1, up0, up1, down0, down1 = self._taps(at, len(_TAPS))
        w00, w01, w10, w11 = _weights(a, b)
        value = w00 * p00 + w01 * p01 + w10 * p10 + w11 * p11
        gx = w00 * (p01 - left0) + w01 * (right0 - p00) + w10 * (p11 - left1) + w11 * (right1 - p10)
        gy = w00 * (p10 - up0) + w01 * (p11 - up1) + w10 * (down0 - p00) + w11 * (down1 - p01)
        slope = 0.5 * self.scale / 255.0
        return value / 255.0, slope * gx, slope * gy, inside

    def _locate(self, pixels: Tensor, frames: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Row of ``flat`` left above each sample, fractions of a pixel from there, and what is inside."""
        H, W = self.size_hw
        u, v = (pixels * self.scale - 0.5).unbind(1)
        inside = (u >= 1) & (v >= 1) & (u < W - 3) & (v < H - 3)
        u, v = torch.where(inside, u, 1.0), torch.where(inside, v, 1.0)
        i, j = u.long(), v.long()
        at = frames[:, None] * (H * W) + j * W + i
        return at, (u - i)[:, None], (v - j)[:, None], inside

    def _taps(self, at: Tensor, count: int) -> tuple[Tensor, ...]:
        rows = self.flat[at + self.offsets[:count, None, None]]  # (count, n, N, 3)
        return rows.permute(0, 1, 3, 2).to(self.dtype, memory_format=torch.contiguous_format).unbind(0)


def _weights(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return (1 - a) * (1 - b), a * (1 - b), (1 - a) * b, a * b
