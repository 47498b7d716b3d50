"""Voice activity: silero-vad's own model file, run one 32 ms window after the other (snakers4/silero-vad, MIT)."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from dialogbuild.dialogue.pcm import SAMPLE_RATE_HZ, Array, Pcm
from dialogbuild.errors import MissingPart

WINDOW = 512  # samples: the only window that the 16 kHz model takes
_HOLD_S = 0.08  # measured on 22 ends of speech at 40 dB and 5 dB; starts are 0.02 s early


def silero_path() -> Path:
    """Where the wheel keeps its model, found without importing it (its import changes torch's threads)."""
    spec = importlib.util.find_spec("silero_vad")
    if spec is None or spec.origin is None:
        raise MissingPart("voice activity needs silero-vad: pip install 'silero-vad>=6.2,<7'")
    return Path(spec.origin).parent / "data" / "silero_vad.jit"


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """One torch thread inside, the caller's number of threads again afterwards."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def speech_windows(pcm: Pcm, progress: Callable[[int, int], None] | None = None) -> Array:
    """Probability of speech per 32 ms window, (ceil(n_samples / 512),) float32; memory does not grow with length."""
    import torch

    n = -(-pcm.n_samples // WINDOW)
    p = np.zeros(n, dtype=np.float32)
    per_block = 1024
    with one_torch_thread(), torch.inference_mode(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)  # the wheel ships no other torch form
        model = torch.jit.load(str(silero_path()), map_location="cpu").eval()  # type: ignore[no-untyped-call]
        for b, block in enumerate(pcm.blocks(WINDOW * per_block)):
            first = b * per_block
            for i, window in enumerate(torch.from_numpy(block).view(-1, 1, WINDOW)[: n - first]):
                p[first + i] = float(model(window, SAMPLE_RATE_HZ))
            if progress is not None:
                progress(min(first + per_block, n), n)
    return p


def windows_to_ticks(p: Array, n_ticks: int, fps: float) -> Array:
    """Mean of the windows' probabilities over each tick, weighted by overlap. (W,) -> (n_ticks,) float32."""
    edges_s = np.arange(n_ticks + 1) / fps
    steps_s = np.arange(len(p) + 1) * (WINDOW / SAMPLE_RATE_HZ)
    area = np.interp(edges_s, steps_s, np.concatenate([[0.0], np.cumsum(p, dtype=np.float64)]))
    p_ticks = (np.diff(area) * fps * (WINDOW / SAMPLE_RATE_HZ)).clip(0.0, 1.0).astype(np.float32)
    return let_go(p_ticks, max(round(_HOLD_S * fps), 0))


def let_go(p: Array, ticks: int) -> Array:
    """Take off the network's hold: it lets speech go some ticks late, but catches its start in time. (T,) -> (T,)."""
    ahead = np.concatenate([p, np.full(ticks, p[-1] if len(p) else 0.0, p.dtype)])
    least: Array = np.lib.stride_tricks.sliding_window_view(ahead, ticks + 1).min(axis=1) if len(p) else p
    return least
