"""Light-ASD and LR-ASD: networks that say from a face crop and the sound whether this face speaks.

Liao et al., "A Light Weight Model for Active Speaker Detection", CVPR 2023; "LR-ASD: Lightweight and Robust Network
for Active Speaker Detection", IJCV 2025. Written from the shapes of the published weights and the papers' figures, for
evaluation only: batch norms are folded into the convolutions, and video is convolved as pictures in space and as
series in time. No weights are shipped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

Kind = Literal["light-asd", "lr-asd"]
State = Mapping[str, Tensor]
Shape = tuple[int, ...]

_WIDTHS = ((1, 32), (32, 64), (64, 128))
_FEATURES = 128
_NORM_EPS = 1e-3  # of every batch norm; not stored with the weights
_GREY_MEAN, _GREY_SD = 0.4161, 0.1688  # of the training crops, 0..1
_MARGIN_TICKS = {"light-asd": 6, "lr-asd": 9}  # how far the convolutions of the visual encoder look; the audio less


@dataclass(frozen=True)
class _Layer:
    """A convolution without bias, a batch norm and a ReLU: ``axis`` s in space (m: over cepstra), t in time."""

    conv: str
    norm: str
    axis: Literal["s", "t", "1"]
    n_in: int
    n_out: int
    kernel: int

    def shape(self, audio: bool) -> Shape:
        k = self.kernel
        if audio:
            return (self.n_out, self.n_in, *((k, 1) if self.axis == "s" else (1, k)))
        return (self.n_out, self.n_in, *((1, k, k) if self.axis == "s" else (k, 1, 1)))


def _paths(kind: Kind, n_in: int, n_out: int, audio: bool) -> list[list[_Layer]]:
    """The layers of a block: parallel paths, whose sum goes through the last one if there are several."""
    s = "m" if audio else "s"
    if kind == "light-asd":
        split = [
            [
                _Layer(f"{s}_{k}", f"bn_{s}_{k}", "s", n_in, n_out, k),
                _Layer(f"t_{k}", f"bn_t_{k}", "t", n_out, n_out, k),
            ]
            for k in (3, 5)
        ]
        return [*split, [_Layer("last", "bn_last", "1", n_out, n_out, 1)]]
    half = n_out // 2
    first = [_Layer(f"{s}_1", f"{s}_norm_1", "s", n_in, half, 5), _Layer(f"{s}_2", f"{s}_norm_2", "s", half, n_out, 3)]
    then = [_Layer("t_1", "t_norm_1", "t", n_out, n_out, 5), _Layer("t_2", "t_norm_2", "t", n_out, n_out, 3)]
    return [first + then]


def expected_shapes(kind: Kind) -> dict[str, Shape]:
    """Name and shape of every tensor of a published state dict."""
    shapes: dict[str, Shape] = {}
    for encoder, audio in (("visualEncoder", False), ("audioEncoder", True)):
        for b, (n_in, n_out) in enumerate(_WIDTHS, start=1):
            for layer in (layer for path in _paths(kind, n_in, n_out, audio) for layer in path):
                stem = f"model.{encoder}.block{b}"
                shapes[f"{stem}.{layer.conv}.weight"] = layer.shape(audio)
                shapes |= _norm_shapes(f"{stem}.{layer.norm}", layer.n_out)
    if kind == "light-asd":
        shapes |= _gru_shapes("model.GRU", _FEATURES, _FEATURES)
    else:
        shapes |= _gate_shapes("model.fusion", 2 * _FEATURES)
        shapes |= _gru_shapes("model.detector", 2 * _FEATURES, _FEATURES // 2)
        shapes |= _gate_shapes("model.detector.attention", _FEATURES)
    for head in ("lossAV", "lossV"):
        shapes |= {f"{head}.FC.weight": (2, _FEATURES), f"{head}.FC.bias": (2,)}
    return shapes


def _norm_shapes(stem: str, n: int) -> dict[str, Shape]:
    named: dict[str, Shape] = {f"{stem}.{part}": (n,) for part in ("weight", "bias", "running_mean", "running_var")}
    return {**named, f"{stem}.num_batches_tracked": ()}


def _gate_shapes(stem: str, n: int) -> dict[str, Shape]:
    return {f"{stem}.attention.weight": (n, n, 1), **_norm_shapes(f"{stem}.bn", n)}


def _gru_shapes(stem: str, n_in: int, n: int) -> dict[str, Shape]:
    parts: dict[str, Shape] = {
        "weight_ih_l0": (3 * n, n_in),
        "weight_hh_l0": (3 * n, n),
        "bias_ih_l0": (3 * n,),
        "bias_hh_l0": (3 * n,),
    }
    return {f"{stem}.gru_{way}.{part}": s for way in ("forward", "backward") for part, s in parts.items()}


class Network:
    """A network ready to evaluate. ``state`` must have ``expected_shapes(kind)``.

    Attributes:
        margin_ticks: pictures before and after a span that its visual features depend on.
    """

    def __init__(self, kind: Kind, state: State) -> None:
        self.kind = kind
        self.margin_ticks = _MARGIN_TICKS[kind]
        self._state = state
        self._folded: dict[str, tuple[Tensor, Tensor]] = {}
        for stem, conv, norm in _convolutions(kind):
            self._folded[f"{stem}.{conv}"] = _fold(state, f"{stem}.{conv}", f"{stem}.{norm}")
        stem = "model.GRU" if kind == "light-asd" else "model.detector"
        self._gru = [_gru(state, f"{stem}.gru_{way}") for way in ("forward", "backward")]

    def visual(self, crops: Tensor) -> Tensor:
        """Grey crops (T, 112, 112) 0..255 -> (T, 128); zero beyond both ends, as in training."""
        x = ((crops.float() / 255.0 - _GREY_MEAN) / _GREY_SD)[:, None]
        for b, (n_in, n_out) in enumerate(_WIDTHS, start=1):
            x = self._block(x, f"model.visualEncoder.block{b}", _paths(self.kind, n_in, n_out, False), b == 1)
            if b < 3:
                x = F.max_pool2d(x, 3, 2, 1)
        return x.amax(dim=(2, 3))

    def audio(self, mfcc: Tensor) -> Tensor:
        """Cepstra (4 T, 13) at 100 Hz -> (T, 128)."""
        x = mfcc.T[None, None]  # (1, 1, 13, 4 T)
        for b, (n_in, n_out) in enumerate(_WIDTHS, start=1):
            x = self._block(x, f"model.audioEncoder.block{b}", _paths(self.kind, n_in, n_out, True), False)
            if b < 3:
                x = F.max_pool2d(x, (1, 3), (1, 2), (0, 1))
        return x.mean(dim=2)[0].T

    def detect(self, audio: Tensor, visual: Tensor) -> Tensor:
        """Both encoders' features (T, 128) of one span -> (T,) log-odds that the face speaks."""
        if self.kind == "light-asd":
            x = F.gelu(self._gru[0]((audio + visual)[None])[0])
            x = F.gelu(self._gru[1](x.flip(1))[0].flip(1))
        else:
            x = self._gate(torch.cat([audio, visual], dim=1)[None], "model.fusion")
            x = torch.cat([self._gru[0](x)[0], self._gru[1](x.flip(1))[0].flip(1)], dim=2)
            x = self._gate(x, "model.detector.attention")
        out = F.linear(x[0], self._state["lossAV.FC.weight"], self._state["lossAV.FC.bias"])
        return out[:, 1] - out[:, 0]

    def _block(self, x: Tensor, stem: str, paths: list[list[_Layer]], halve: bool) -> Tensor:
        parallel = paths[:-1] if len(paths) > 1 else paths
        total = sum((self._path(x, stem, path, halve) for path in parallel), start=torch.zeros(()))
        return self._path(total, stem, paths[-1], False) if len(paths) > 1 else total

    def _path(self, x: Tensor, stem: str, path: list[_Layer], halve: bool) -> Tensor:
        for i, layer in enumerate(path):
            weight, bias = self._folded[f"{stem}.{layer.conv}"]
            if weight.ndim == 4:
                x = F.conv2d(x, weight, bias, padding=(weight.shape[2] // 2, weight.shape[3] // 2))
            elif layer.axis == "t":
                n, c, h, w = x.shape
                series = x.permute(1, 0, 2, 3).reshape(1, c, n, h * w)
                series = F.conv2d(series, weight[..., 0], bias, padding=(layer.kernel // 2, 0))
                x = series.reshape(-1, n, h, w).permute(1, 0, 2, 3)
            else:
                stride = 2 if halve and i == 0 else 1
                x = F.conv2d(x, weight[:, :, 0], bias, stride, layer.kernel // 2)
            x = F.relu(x)
        return x

    def _gate(self, x: Tensor, stem: str) -> Tensor:
        weight, bias = self._folded[f"{stem}.attention"]
        return x * torch.sigmoid(F.linear(x, weight[:, :, 0], bias))


def _convolutions(kind: Kind) -> Iterator[tuple[str, str, str]]:
    """Where convolutions and their batch norms are: (stem, convolution, norm)."""
    for encoder, audio in (("visualEncoder", False), ("audioEncoder", True)):
        for b, (n_in, n_out) in enumerate(_WIDTHS, start=1):
            for path in _paths(kind, n_in, n_out, audio):
                yield from ((f"model.{encoder}.block{b}", layer.conv, layer.norm) for layer in path)
    if kind == "lr-asd":
        yield "model.fusion", "attention", "bn"
        yield "model.detector.attention", "attention", "bn"


def _fold(state: State, conv: str, norm: str) -> tuple[Tensor, Tensor]:
    weight = state[f"{conv}.weight"]
    scale = state[f"{norm}.weight"] / torch.sqrt(state[f"{norm}.running_var"] + _NORM_EPS)
    bias = state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale
    return weight * scale.reshape(-1, *[1] * (weight.ndim - 1)), bias


def _gru(state: State, stem: str) -> torch.nn.GRU:
    own = {key.removeprefix(f"{stem}."): value for key, value in state.items() if key.startswith(f"{stem}.")}
    size, n_in = own["weight_hh_l0"].shape[1], own["weight_ih_l0"].shape[1]
    gru = torch.nn.GRU(n_in, size, batch_first=True)
    gru.load_state_dict(own)
    return gru.eval()
