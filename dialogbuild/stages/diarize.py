"""diarize: when is there speech, and which of two voices is it; from the sound alone.

reads   ingest  audio.flac (16 kHz mono), video.json (n_ticks, fps)
writes  vad.parquet        tick, p_speech (0..1)
        voices.parquet     tick, voice_0, voice_1 (smoothed posteriors, both 0 where unknown),
                           llr (nats, voice 0 over voice 1, not smoothed; 0 where unknown)
        embeddings.parquet centre_s, embedding (D, unit): one row per 1.6 s window with speech
        turns.parquet      voice, start_s, end_s
        diarize.rttm       the same turns, labels voice_0, voice_1
        voices.json        n_voices 0..2, doubtful, backend, cosine, separation, evidence_gain, share, centroids,
                           speech_s
rejects nothing: a recording without speech has n_voices 0, and ``assign`` says so
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from dialogbuild.artifact import Inputs, Stage, write_json
from dialogbuild.config import StageConfig
from dialogbuild.tables import write_table

if TYPE_CHECKING:
    from dialogbuild.dialogue.cluster import Voices

Array = npt.NDArray[Any]
WINDOW_S = 1.6


class Config(StageConfig):
    """What counts as speech, and as a voice."""

    backend: Literal["auto", "ge2e", "spectral"] = Field(
        "auto", description="voice embedding; auto takes ge2e where resemblyzer's weights are installed"
    )
    hop_s: float = Field(0.12, gt=0, le=0.8, description="s between embedding windows: three ticks")
    min_p_speech: float = Field(0.5, gt=0, lt=1, description="probability above which a tick holds speech")
    min_window_speech: float = Field(0.6, gt=0, le=1, description="share of a 1.6 s window that must be speech")
    sure_one: float = Field(0.15, ge=0, description="nats/s that two voices gain over one; below, it is one voice")
    sure_two: float = Field(1.0, gt=0, description="nats/s; above, there are two voices; one voice gained 0.84 at most")
    min_voice_s: float = Field(1.0, ge=0, description="s of speech that a second voice must have")
    min_on_s: float = Field(0.2, ge=0, description="s; shorter speech is a click or a breath")
    fill_s: float = Field(0.25, ge=0, description="s; shorter pauses are stop closures")


def window_centres(p_speech: Array, fps: float, hop_s: float, min_p: float, min_share: float) -> Array:
    """Centres of the windows that are mostly speech: (W,) seconds, multiples of ``hop_s``."""
    n = len(p_speech)
    total = np.concatenate([[0], np.cumsum(p_speech > min_p)])
    centres = np.arange(0, int(n / fps / hop_s) + 1) * hop_s
    low = np.round((centres - WINDOW_S / 2) * fps).astype(int).clip(0, n)
    high = np.round((centres + WINDOW_S / 2) * fps).astype(int).clip(0, n)
    share = (total[high] - total[low]) / (WINDOW_S * fps)
    kept: Array = centres[share >= min_share]
    return kept


def voice_activity(p_speech: Array, posterior: Array, min_p: float) -> Array:
    """Each voice's activity without overlap: (T,), (T, 2) -> (T, 2) bool. An unknown voice is the nearest known one."""
    known = np.flatnonzero(posterior.sum(axis=1) > 0)
    label = np.zeros(len(p_speech), dtype=np.int64)
    if len(known):
        middles = (known[1:] + known[:-1]) / 2
        label = posterior[known[np.searchsorted(middles, np.arange(len(p_speech)))]].argmax(axis=1)
    speech = p_speech > min_p
    return np.stack([speech & (label == 0), speech & (label == 1)], axis=1)


def voices_record(
    voices: Voices | None, n_voices: int, doubtful: bool, backend: str, speech_s: float
) -> dict[str, Any]:
    """Content of ``voices.json``; numbers of the split are null where there was too little speech to split."""
    record: dict[str, Any] = {
        "n_voices": n_voices,
        "doubtful": doubtful,
        "backend": backend,
        "speech_s": round(speech_s, 3),
        **dict.fromkeys(("cosine", "separation", "evidence_gain", "share", "centroids")),
    }
    if voices is not None:
        record |= {name: round(getattr(voices, name), 6) for name in ("cosine", "separation", "evidence_gain")}
        record["share"] = [round(s, 6) for s in voices.share]
        record["centroids"] = [[round(float(x), 6) for x in row] for row in voices.centroids]
    return record


def model_files(config: Config) -> Sequence[Path]:
    """The files whose content decides the result."""
    from dialogbuild.dialogue.embedding import ge2e_path, resolve_backend
    from dialogbuild.dialogue.vad import silero_path

    voice = ge2e_path() if resolve_backend(config.backend) == "ge2e" else None
    return [silero_path()] + ([voice] if voice is not None else [])


def run(inputs: Inputs, out: Path, config: Config) -> None:
    """See the module's docstring."""
    from dialogbuild.dialogue import cluster, embedding, vad
    from dialogbuild.dialogue.pcm import Pcm
    from dialogbuild.dialogue.turns import TurnRule, pause_units, rttm

    video = json.loads((inputs["ingest"] / "video.json").read_text())
    n_ticks, fps = int(video["n_ticks"]), video["fps"][0] / video["fps"][1]
    pcm = Pcm.open(inputs["ingest"] / "audio.flac")
    p_speech = vad.windows_to_ticks(vad.speech_windows(pcm, inputs.progress), n_ticks, fps)
    speech = p_speech > config.min_p_speech
    speech_s = float(speech.sum() / fps)
    centre_s = window_centres(p_speech, fps, config.hop_s, config.min_p_speech, config.min_window_speech)
    encoder = embedding.load_encoder(config.backend)
    gain = embedding.speech_gain(pcm, speech, pcm.n_samples // n_ticks)
    vectors = encoder.embed(pcm, centre_s, gain, inputs.progress)
    voices = cluster.split(vectors, np.round(centre_s / config.hop_s).astype(int), config.hop_s, WINDOW_S)
    rule = cluster.VoiceRule(config.sure_one, config.sure_two, config.min_voice_s)
    n_voices, doubtful = cluster.count_voices(voices, speech_s, rule, encoder.backend)
    posterior, llr = np.zeros((n_ticks, 2), np.float32), np.zeros(n_ticks, np.float32)
    if voices is not None:
        reach_s = WINDOW_S / 2
        posterior = cluster.to_ticks(voices.posterior, centre_s, n_ticks, fps, reach_s)
        llr = cluster.to_ticks(voices.llr, centre_s, n_ticks, fps, reach_s)
    heard = posterior if n_voices == 2 else np.tile([1.0, 0.0], (n_ticks, 1))
    activity = voice_activity(p_speech, heard, config.min_p_speech)
    pauses = TurnRule(min_on_s=config.min_on_s, fill_s=config.fill_s)
    units = [(k, a / fps, b / fps) for k in (0, 1) for a, b in pause_units(activity[:, k], fps, pauses)]
    units.sort(key=lambda u: (u[1], u[0]))

    ticks = np.arange(n_ticks, dtype=np.int32)
    write_table(out / "vad.parquet", {"tick": ticks, "p_speech": p_speech})
    write_table(
        out / "voices.parquet", {"tick": ticks, "voice_0": posterior[:, 0], "voice_1": posterior[:, 1], "llr": llr}
    )
    write_table(out / "embeddings.parquet", {"centre_s": centre_s, "embedding": vectors})
    write_table(
        out / "turns.parquet",
        {
            "voice": np.array([u[0] for u in units], np.int32),
            "start_s": np.array([u[1] for u in units], np.float64),
            "end_s": np.array([u[2] for u in units], np.float64),
        },
    )
    (out / "diarize.rttm").write_text(rttm([(f"voice_{k}", a, b) for k, a, b in units], inputs.video_id))
    write_json(out / "voices.json", voices_record(voices, n_voices, doubtful, encoder.backend, speech_s))


STAGE = Stage(name="diarize", version=1, unit="video", config=Config, run=run, reads=("ingest",), models=model_files)
