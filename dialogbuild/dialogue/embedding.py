"""Voice embeddings of short windows: GE2E where its weights are installed, spectral statistics where they are not."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from dialogbuild.dialogue import mel
from dialogbuild.dialogue.pcm import SAMPLE_RATE_HZ, Array, Pcm
from dialogbuild.dialogue.spectral import FRAME_FEATURES, frame_features
from dialogbuild.dialogue.vad import one_torch_thread
from dialogbuild.errors import MissingPart

if TYPE_CHECKING:
    import torch

Backend = Literal["auto", "ge2e", "spectral"]
Progress = Callable[[int, int], None]

WINDOW_FRAMES = 160  # 1.6 s at 10 ms: the length GE2E was trained on
TARGET_DBFS = -30.0  # level that GE2E was trained at; quieter speech is raised to it, louder speech is left alone
BATCH = 64  # windows per LSTM call


class VoiceEncoder(Protocol):
    """Says whose voice a 1.6 s window holds, as a unit vector."""

    @property
    def backend(self) -> str:
        """Name that results carry."""
        ...

    def embed(self, pcm: Pcm, centre_s: Array, gain: float, progress: Progress | None = None) -> Array:
        """(W,) ascending window centres in seconds -> (W, D) float32 of unit length."""
        ...


def ge2e_path() -> Path | None:
    """Where resemblyzer's wheel keeps ``pretrained.pt``, found without importing it; None when absent."""
    spec = importlib.util.find_spec("resemblyzer")
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / "pretrained.pt"
    return path if path.is_file() else None


def resolve_backend(wanted: Backend) -> Literal["ge2e", "spectral"]:
    """Which backend ``wanted`` means on this machine.

    Raises:
        MissingPart: GE2E was asked for by name and its weights are not installed.
    """
    if wanted == "spectral":
        return "spectral"
    if ge2e_path() is not None:
        return "ge2e"
    if wanted == "ge2e":
        raise MissingPart("GE2E voices need resemblyzer's weights: pip install --no-deps resemblyzer")
    return "spectral"


def load_encoder(wanted: Backend = "auto") -> VoiceEncoder:
    """The encoder for a backend name; see ``resolve_backend``."""
    path = ge2e_path()
    return Ge2e.load(path) if resolve_backend(wanted) == "ge2e" and path is not None else Spectral()


def speech_gain(pcm: Pcm, speech: Array, tick_samples: int) -> float:
    """Factor that raises the speech ticks' RMS to ``TARGET_DBFS``; never below 1. ``speech`` is bool (n_ticks,)."""
    energy, count = 0.0, 0
    per_block = 1500
    for b, block in enumerate(pcm.blocks(tick_samples * per_block)):
        mask = speech[b * per_block : (b + 1) * per_block]
        ticks = block.reshape(-1, tick_samples)[: len(mask)][mask]
        energy += float(np.square(ticks, dtype=np.float64).sum())
        count += ticks.size
    if energy == 0.0:
        return 1.0
    return max(1.0, float(10.0 ** (TARGET_DBFS / 20.0) / np.sqrt(energy / count)))


@dataclass(frozen=True, eq=False)
class Ge2e:
    """Generalized end-to-end speaker verification (Wan et al., ICASSP 2018): three LSTM layers, 256 dimensions.

    Weights: resemblyzer's ``pretrained.pt`` (Apache-2.0). Input: mel power, 40 bands, 1.6 s.
    """

    lstm: torch.nn.LSTM
    linear: torch.nn.Linear
    backend: str = "ge2e"

    @classmethod
    def load(cls, path: Path) -> Ge2e:
        """Read the weights with torch's restricted unpickler."""
        import torch

        state = torch.load(path, map_location="cpu", weights_only=True)["model_state"]
        lstm = torch.nn.LSTM(mel.N_MELS, 256, 3, batch_first=True)
        linear = torch.nn.Linear(256, 256)
        lstm.load_state_dict({k[5:]: v for k, v in state.items() if k.startswith("lstm.")})
        linear.load_state_dict({k[7:]: v for k, v in state.items() if k.startswith("linear.")})
        return cls(lstm.eval(), linear.eval())

    def embed(self, pcm: Pcm, centre_s: Array, gain: float, progress: Progress | None = None) -> Array:
        """See ``VoiceEncoder``."""
        import torch

        out = np.zeros((len(centre_s), 256), dtype=np.float32)
        first = _first_frames(centre_s)
        with one_torch_thread(), torch.inference_mode():
            for a in range(0, len(first), BATCH):
                starts = first[a : a + BATCH]
                frames = mel.mel_power(pcm, int(starts[0]), int(starts[-1]) + WINDOW_FRAMES) * np.float32(gain**2)
                picks = (starts - starts[0])[:, None] + np.arange(WINDOW_FRAMES)
                hidden = self.lstm(torch.from_numpy(frames[picks]))[1][0][-1]
                raw = torch.relu(self.linear(hidden))
                out[a : a + BATCH] = torch.nn.functional.normalize(raw, dim=1).numpy()
                if progress is not None:
                    progress(min(a + BATCH, len(first)), len(first))
        return out


@dataclass(frozen=True)
class Spectral:
    """Weight-free fallback: mean and spread of cepstra, pitch and band centroids over the window.

    Columns are z-scored over the recording, so the vectors separate the voices of one recording and mean nothing
    across recordings. Weaker than GE2E; results carry ``backend="spectral"``.
    """

    backend: str = "spectral"

    def embed(self, pcm: Pcm, centre_s: Array, gain: float, progress: Progress | None = None) -> Array:
        """See ``VoiceEncoder``."""
        raw = np.zeros((len(centre_s), 2 * FRAME_FEATURES))
        first = _first_frames(centre_s)
        for a in range(0, len(first), BATCH):
            starts = first[a : a + BATCH]
            features, level = frame_features(pcm, int(starts[0]), int(starts[-1]) + WINDOW_FRAMES, gain)
            for i, start in enumerate(starts - starts[0]):
                window, loud = features[start : start + WINDOW_FRAMES], level[start : start + WINDOW_FRAMES]
                voiced = window[loud >= np.percentile(loud, 50)]  # pauses say nothing about the voice
                raw[a + i] = np.concatenate([voiced.mean(axis=0), voiced.std(axis=0)])
            if progress is not None:
                progress(min(a + BATCH, len(first)), len(first))
        scored = (raw - raw.mean(axis=0)) / np.maximum(raw.std(axis=0), 1e-9) if len(raw) else raw
        length = np.linalg.norm(scored, axis=1, keepdims=True)
        unit: Array = (scored / np.maximum(length, 1e-9)).astype(np.float32)
        return unit


def _first_frames(centre_s: Array) -> Array:
    frames: Array = np.round(np.asarray(centre_s) * (SAMPLE_RATE_HZ / mel.HOP)).astype(np.int64) - WINDOW_FRAMES // 2
    return frames
