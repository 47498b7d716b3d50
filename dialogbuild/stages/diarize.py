"""diarize: when is there speech, and which of two voices is it; from the sound alone.

``backend`` says who finds that out; whatever it is, the tables mean the same:
    offline   silero voice activity, voice embeddings and two clusters; needs nothing brought along
    pyannote  a pyannote.audio pipeline from a local folder
    rttm      turns that somebody brings: one RTTM file per video, or one for all

reads   ingest  audio.flac (16 kHz mono), video.json (n_ticks, fps)
writes  vad.parquet        tick, p_speech (0..1)
        voices.parquet     tick, voice_0, voice_1 (how sure each is heard: both 0 where unknown; both 1 where pyannote
                           or an RTTM says that both speak, which the offline backend cannot hear),
                           llr (nats, voice 0 over voice 1, not smoothed; 0 where unknown or both)
        embeddings.parquet centre_s, embedding (D, unit): one row per 1.6 s window with speech
        turns.parquet      voice, start_s, end_s
        diarize.rttm       the same turns, labels voice_0, voice_1
        voices.json        backend, embedding, n_voices 0..2, doubtful, cosine, separation, evidence_gain, share,
                           centroids, speech_s; for pyannote and rttm also labels (of voices 0 and 1), other_labels_s
                           (seconds of further labels: speech of an unknown voice), outside_s (seconds of speech that
                           were cut off because they lie outside the video)
rejects nothing: a recording without speech has n_voices 0, and ``assign`` says so
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from dialogbuild.artifact import Inputs, Stage, write_json
from dialogbuild.config import StageConfig
from dialogbuild.tables import write_table

if TYPE_CHECKING:
    from dialogbuild.dialogue.backends.heard import Heard, Span
    from dialogbuild.dialogue.pcm import Pcm

_NUMBERS = ("cosine", "separation", "evidence_gain", "share", "centroids")


class Config(StageConfig):
    """Who listens, what counts as speech, and as a voice."""

    backend: Literal["offline", "pyannote", "rttm"] = Field("offline", description="who finds the speakers' turns")
    embedding: Literal["auto", "ge2e", "spectral"] = Field(
        "auto", description="voice embedding; auto takes ge2e where resemblyzer's weights are installed"
    )
    pyannote_path: str | None = Field(
        None, description="pyannote: folder with a pipeline's config.yaml and its models; no token, no download"
    )
    pyannote_python: str | None = Field(
        None, description="pyannote: interpreter of another environment with pyannote.audio, such as one with 4.x"
    )
    max_speakers: int = Field(
        2, ge=2, le=20, description="pyannote: it may find so many; of more than two, the two that speak most are taken"
    )
    rttm_dir: str | None = Field(
        None, description="rttm: folder with NAME.rttm for every video NAME.*, or one file for all videos"
    )
    label_error: float = Field(
        0.05,
        gt=0,
        lt=0.5,
        description="pyannote, rttm: chance that a label is wrong; weighs labels against lips",
    )
    hop_s: float = Field(0.12, gt=0, le=0.8, description="s between embedding windows: three ticks")
    min_p_speech: float = Field(0.5, gt=0, lt=1, description="probability above which a tick holds speech")
    min_window_speech: float = Field(0.6, gt=0, le=1, description="share of a 1.6 s window that must be speech")
    sure_one: float = Field(0.15, ge=0, description="nats/s that two voices gain over one; below, it is one voice")
    sure_two: float = Field(1.0, gt=0, description="nats/s; above, there are two voices; one voice gained 0.84 at most")
    min_voice_s: float = Field(1.0, ge=0, description="s of speech that a second voice must have")
    min_on_s: float = Field(0.2, ge=0, description="s; shorter speech is a click or a breath")
    fill_s: float = Field(0.25, ge=0, description="s; shorter pauses are stop closures")

    @model_validator(mode="after")
    def _has_what_its_backend_needs(self) -> Config:
        needed = {"pyannote": "pyannote_path", "rttm": "rttm_dir"}.get(self.backend)
        if needed is not None and not getattr(self, needed):
            raise ValueError(f"backend = '{self.backend}' needs {needed}")
        return self


def model_files(config: Config) -> Sequence[Path]:
    """The files whose content decides the result of every video."""
    from dialogbuild.dialogue.backends.pyannote import pipeline_files
    from dialogbuild.dialogue.embedding import ge2e_path, resolve_backend
    from dialogbuild.dialogue.vad import silero_path

    voice = ge2e_path() if resolve_backend(config.embedding) == "ge2e" else None
    files = [voice] if voice is not None else []
    if config.backend == "offline":
        files.insert(0, silero_path())
    elif config.backend == "pyannote":
        files += pipeline_files(Path(config.pyannote_path or ""))
    return files


def video_files(config: Config, source: Path) -> Sequence[Path]:
    """The file whose content decides the result of one video: its RTTM, if it is there yet."""
    if config.backend != "rttm":
        return ()
    from dialogbuild.dialogue.backends.rttm import rttm_path

    path = rttm_path(Path(config.rttm_dir or ""), source.stem)
    return (path,) if path.is_file() else ()


def brought_spans(inputs: Inputs, pcm: Pcm, config: Config) -> tuple[list[Span], dict[str, Any]]:
    """Turns from pyannote or from an RTTM file, and what is to be recorded of how they came about.

    Raises:
        ConfigError: pyannote's environment or pipeline is at fault.
        DialogbuildError: no such turns for this video.
    """
    from dialogbuild.dialogue.backends import pyannote
    from dialogbuild.dialogue.backends.rttm import read_rttm, rttm_path

    if config.backend == "pyannote":
        return pyannote.diarize(pcm, Path(config.pyannote_path or ""), config.pyannote_python, config.max_speakers)
    where = Path(config.rttm_dir or "")
    names = (inputs.source.stem, inputs.video_id)
    return read_rttm(rttm_path(where, inputs.source.stem), names, own_file=where.is_dir()), {}


def listen(
    inputs: Inputs, pcm: Pcm, n_ticks: int, fps: float, config: Config
) -> tuple[Heard, dict[str, Any], dict[str, Any]]:
    """What the backend heard, the content of ``voices.json`` and the columns of ``embeddings.parquet``."""
    from dialogbuild.dialogue import cluster, embedding
    from dialogbuild.dialogue.backends import heard, offline
    from dialogbuild.dialogue.turns import TurnRule

    windows = offline.WindowRule(config.hop_s, config.min_p_speech, config.min_window_speech)
    encoder = embedding.load_encoder(config.embedding)
    facts: dict[str, Any] = {"backend": config.backend, "embedding": encoder.backend}
    if config.backend == "offline":
        count = cluster.VoiceRule(config.sure_one, config.sure_two, config.min_voice_s)
        pauses = TurnRule(min_on_s=config.min_on_s, fill_s=config.fill_s)
        found, centre_s, vectors = offline.listen(pcm, n_ticks, fps, encoder, windows, count, pauses, inputs.progress)
    else:
        spans, origin = brought_spans(inputs, pcm, config)
        found = heard.from_spans(spans, n_ticks, fps, config.label_error)
        centre_s, vectors = offline.embed_speech(pcm, found.p_speech, fps, encoder, windows, inputs.progress)
        # That a clusterer found one voice is no proof: it merges two that are alike. A file that somebody brings is.
        facts |= {"doubtful": config.backend == "pyannote" and found.facts["n_voices"] == 1, **origin}
        facts |= heard.voice_facts(vectors, centre_s, found.voice, fps)
    return found, {**dict.fromkeys(_NUMBERS), **found.facts, **facts}, {"centre_s": centre_s, "embedding": vectors}


def run(inputs: Inputs, out: Path, config: Config) -> None:
    """See the module's docstring."""
    from dialogbuild.dialogue.pcm import Pcm
    from dialogbuild.dialogue.turns import rttm

    video = json.loads((inputs["ingest"] / "video.json").read_text())
    n_ticks, fps = int(video["n_ticks"]), video["fps"][0] / video["fps"][1]
    heard, facts, windows = listen(inputs, Pcm.open(inputs["ingest"] / "audio.flac"), n_ticks, fps, config)
    ticks = np.arange(n_ticks, dtype=np.int32)
    voices = {"voice_0": heard.voice[:, 0], "voice_1": heard.voice[:, 1], "llr": heard.llr}
    write_table(out / "vad.parquet", {"tick": ticks, "p_speech": heard.p_speech})
    write_table(out / "voices.parquet", {"tick": ticks, **voices})
    write_table(out / "embeddings.parquet", windows)
    units = heard.units
    write_table(
        out / "turns.parquet",
        {
            "voice": np.array([u[0] for u in units], np.int32),
            "start_s": np.array([u[1] for u in units], np.float64),
            "end_s": np.array([u[2] for u in units], np.float64),
        },
    )
    (out / "diarize.rttm").write_text(rttm([(f"voice_{k}", a, b) for k, a, b in units], inputs.video_id))
    write_json(out / "voices.json", facts)


STAGE = Stage(
    name="diarize",
    version=2,
    unit="video",
    config=Config,
    run=run,
    reads=("ingest",),
    models=model_files,
    video_files=video_files,
)
