"""Active speaker detection with weights that somebody brings: does this face make this sound?

Published weights (MIT): ``weight/finetuning_TalkSet.model`` of the repositories Junhua-Liao/Light-ASD and
Junhua-Liao/LR-ASD. Not shipped: they were trained on AVA, VoxCeleb2 and LRS3, whose terms are the user's to judge.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.fft import dct

from dialogbuild.dialogue.pcm import SAMPLE_RATE_HZ, Array, Pcm
from dialogbuild.dialogue.vad import one_torch_thread
from dialogbuild.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

    from dialogbuild.dialogue.asd_net import Kind, Network

FPS = 25  # pictures per second that the networks were trained on
CROP_PX = 112
TICK_SAMPLES = SAMPLE_RATE_HZ // FPS
_FRAMES = 4  # cepstra per tick
_WINDOW_TICKS = (25, 50, 75, 100, 125, 150)
_BLOCK_TICKS = 100  # pictures that are encoded at once; bounds memory

# Cepstra as the networks were trained on: python_speech_features 0.6 with its defaults.
_FRAME, _HOP, _N_FFT, _N_MELS, _N_CEPSTRA, _LIFTER, _PREEMPHASIS = 400, 160, 512, 26, 13, 22, 0.97


def load_network(path: Path) -> Network:
    """Read the weights of Light-ASD or LR-ASD with torch's restricted unpickler; the names tell which it is.

    Raises:
        ConfigError: no file, no plain state dict, or not exactly one of these networks: the message names the first
            tensor that differs.
    """
    import torch

    from dialogbuild.dialogue.asd_net import Network, expected_shapes

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ConfigError(f"asd_weights: {path} does not exist; give a .model file of Light-ASD or LR-ASD") from None
    except Exception as error:  # torch raises many kinds for a foreign file
        raise ConfigError(f"asd_weights: {path} holds no plain torch state dict: {str(error)[:200]}") from None
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ConfigError(f"asd_weights: {path} holds no plain torch state dict")
    kinds: tuple[Kind, ...] = ("light-asd", "lr-asd")
    kind = max(kinds, key=lambda k: len(expected_shapes(k).keys() & state.keys()))
    problem = _first_difference(expected_shapes(kind), state)
    if problem is not None:
        raise ConfigError(
            f"asd_weights: {path} is neither Light-ASD nor LR-ASD; nearest is {kind}, but {problem}. Only their "
            "published networks can be read; another one needs its own code"
        )
    return Network(kind, {key: value.float() for key, value in state.items()})


def _first_difference(expected: dict[str, tuple[int, ...]], state: dict[str, Any]) -> str | None:
    for key in (*expected, *(key for key in state if key not in expected)):
        if key not in state:
            return f"{key!r} is missing"
        if key not in expected:
            return f"{str(key)!r} is not part of it"
        if tuple(state[key].shape) != expected[key]:
            return f"{key!r} has the shape {tuple(state[key].shape)}, not {expected[key]}"
        if not state[key].float().isfinite().all():
            return f"{key!r} holds numbers that are not finite"
    return None


def score(net: Network, crops: Array, pcm: Pcm, first_tick: int = 0) -> Array:
    """Log-odds that the face makes the sound, from pictures at 25 fps.

    Args:
        crops: (T, 112, 112) uint8 grey: the lower middle of the face, see ``asd_faces.crop_square``.
        pcm: the recording; picture k belongs to samples ``(first_tick + k) * 640`` onwards.

    Returns:
        (T,) float32. Positive is more likely speaking; not calibrated.
    """
    scorer = Scorer(net, pcm, first_tick)
    scorer.push(crops)
    return scorer.finish()


class Scorer:
    """Scores one face whose crops come bit by bit; holds a few seconds of pictures, whatever the length."""

    def __init__(self, net: Network, pcm: Pcm, first_tick: int) -> None:
        self._net, self._pcm, self._first = net, pcm, first_tick
        self._held: list[Array] = []
        self._held_from = 0  # which crop the first held one is
        self._visual: list[Any] = []
        self._encoded = 0

    def push(self, crops: Array) -> None:
        """Take the next crops, (n, 112, 112) uint8.

        Raises:
            ValueError: another shape or type.
        """
        if crops.shape[1:] != (CROP_PX, CROP_PX) or crops.dtype != np.uint8:
            raise ValueError(f"crops must be (n, {CROP_PX}, {CROP_PX}) uint8, not {crops.shape} {crops.dtype}")
        self._held += list(crops)
        while self._held_from + len(self._held) >= self._encoded + _BLOCK_TICKS + self._net.margin_ticks:
            self._encode(self._encoded + _BLOCK_TICKS)

    def finish(self) -> Array:
        """(T,) float32 log-odds of all crops so far."""
        import torch

        n = self._held_from + len(self._held)
        while self._encoded < n:
            self._encode(min(n, self._encoded + _BLOCK_TICKS))
        if n == 0:
            return np.zeros(0, np.float32)
        with one_torch_thread(), torch.inference_mode():
            audio = torch.cat([self._audio(a, min(n, a + _BLOCK_TICKS), n) for a in range(0, n, _BLOCK_TICKS)])
            return _windowed(self._net, audio, torch.cat(self._visual))

    def _encode(self, stop: int) -> None:
        """Visual features of crops up to ``stop``, with as many neighbours as they depend on."""
        import torch

        start, margin = self._encoded, self._net.margin_ticks
        low = max(start - margin, 0)
        near = np.stack(self._held[low - self._held_from : stop + margin - self._held_from])
        with one_torch_thread(), torch.inference_mode():
            self._visual.append(self._net.visual(torch.from_numpy(near))[start - low : stop - low].clone())
        self._encoded = stop
        drop = max(stop - margin - self._held_from, 0)
        del self._held[:drop]
        self._held_from += drop

    def _audio(self, start: int, stop: int, n: int) -> Tensor:
        import torch

        low, high = max(start - self._net.margin_ticks, 0), min(stop + self._net.margin_ticks, n)
        cepstra = mfcc(self._pcm, (self._first + low) * TICK_SAMPLES, (high - low) * _FRAMES)
        return self._net.audio(torch.from_numpy(cepstra))[start - low : stop - low]


def _windowed(net: Network, audio: Tensor, visual: Tensor) -> Array:
    """Log-odds averaged over windows of 1 to 6 s: the recurrent part was trained on clips and drifts over minutes.

    The authors average over the same lengths, but side by side; here windows overlap by half and count most in their
    middle, so that their edges do not show.
    """
    n = len(audio)
    total, weight = np.zeros(n), np.zeros(n)
    for length in _WINDOW_TICKS:
        for start in range(0, max(n - length, 0) + length // 2, length // 2):
            a = min(start, max(n - length, 0))
            b = min(a + length, n)
            ramp = np.minimum(np.arange(1, b - a + 1), np.arange(b - a, 0, -1)) / (b - a)
            total[a:b] += ramp * net.detect(audio[a:b], visual[a:b]).numpy()
            weight[a:b] += ramp
    return (total / weight).astype(np.float32)


def mfcc(pcm: Pcm, start: int, n_frames: int) -> Array:
    """Cepstra every 10 ms, the first replaced by log energy. (n_frames, 13) float32.

    Frame i covers the 400 samples from ``start + 160 i``; the networks know the level of 16-bit samples.
    """
    samples = pcm.read(start - 1, start + (n_frames - 1) * _HOP + _FRAME).astype(np.float64) * 32768.0
    signal = samples[1:] - _PREEMPHASIS * samples[:-1]
    frames = np.lib.stride_tricks.sliding_window_view(signal, _FRAME)[::_HOP]
    power = np.abs(np.fft.rfft(frames, _N_FFT, axis=1)) ** 2 / _N_FFT
    tiny = np.finfo(np.float64).eps
    energy, bands = power.sum(axis=1), power @ _mel_filters().T
    log_bands = np.log(np.where(bands == 0.0, tiny, bands))
    lift = 1.0 + _LIFTER / 2.0 * np.sin(np.pi * np.arange(_N_CEPSTRA) / _LIFTER)
    cepstra = dct(log_bands, type=2, norm="ortho", axis=1)[:, :_N_CEPSTRA] * lift
    cepstra[:, 0] = np.log(np.where(energy == 0.0, tiny, energy))
    out: Array = cepstra.astype(np.float32)
    return out


@lru_cache(maxsize=1)
def _mel_filters() -> Array:
    """Triangles between whole bins of the spectrum, on the mel scale of HTK. (26, 257) float64."""
    edges_mel = np.linspace(0.0, 2595.0 * np.log10(1.0 + SAMPLE_RATE_HZ / 2 / 700.0), _N_MELS + 2)
    edges = np.floor((_N_FFT + 1) * 700.0 * (10.0 ** (edges_mel / 2595.0) - 1.0) / SAMPLE_RATE_HZ)
    bins = np.arange(_N_FFT // 2 + 1)
    low, middle, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        rise, fall = (bins - low) / (middle - low), (high - bins) / (high - middle)
    out: Array = np.where((bins >= low) & (bins < middle), rise, np.where((bins >= middle) & (bins < high), fall, 0.0))
    out.setflags(write=False)
    return out
