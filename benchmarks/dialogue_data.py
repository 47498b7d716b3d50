"""Dialogues with known answers for ``dialogue.py``: rendered once per seed, heard under many conditions.

A seed's video goes through the pipeline up to its landmarks. A condition changes only the sound, so the faces are
detected once and every condition is judged on the same pictures.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy.signal import fftconvolve

from dialogbuild.media.audio import write_flac
from dialogbuild.pipeline import Places, run_stages
from dialogbuild.recipe import load_recipe
from dialogbuild.stages import upstream_of
from dialogbuild.synth import DialogueSpec, make_dialogue
from dialogbuild.synth.speech import SAMPLE_RATE_HZ, bank_texts, speak
from dialogbuild.synth.truth import load_truth

Array = npt.NDArray[Any]
Kind = Literal["same_shot", "split_screen", "close_ups", "third_face", "narrator"]
KINDS: tuple[Kind, ...] = ("same_shot", "split_screen", "close_ups", "third_face", "narrator")
CONDITIONS = ("clean", "20 dB", "10 dB", "5 dB", "music", "reverb", "bursts")
FIRST_TEST_SEED = 700
FIRST_CALIBRATION_SEED = 600
_NARRATION_S = 6.0
_FACE_STAGES = ("ingest", "shots", "tracks", "landmarks")


@dataclass(frozen=True, eq=False)
class Talk:
    """One dialogue as the pipeline sees it, and the truth about it.

    Attributes:
        kind: its layout.
        dirs: artefact folders of the stages up to the landmarks.
        clean: (T*640,) float32, the sound without noise.
        speaking: (T, 2) bool by person as the pipeline numbers them: 0 is on the left.
        narrated: (T,) bool, a voice of nobody on screen.
    """

    name: str
    kind: Kind
    dirs: dict[str, Path]
    clean: Array
    speaking: Array
    narrated: Array

    @property
    def states(self) -> Array:
        """(T,) int8: 0 silence, 1 person 0, 2 person 1, 3 both."""
        found: Array = (self.speaking[:, 0] + 2 * self.speaking[:, 1]).astype(np.int8)
        return found


def spec_of(seed: int, seconds: float) -> tuple[Kind, DialogueSpec]:
    """Layouts take turns; sides, cuts and everything else follow from the seed."""
    kind = KINDS[seed % len(KINDS)]
    layout = kind if kind in ("split_screen", "close_ups") else "same_shot"
    late_s = _NARRATION_S if kind == "narrator" else 0.0
    return kind, DialogueSpec(
        seed=seed,
        duration_s=seconds,
        layout=layout,  # type: ignore[arg-type]
        faces=3 if kind == "third_face" else 2,
        swap_sides=seed % 2 == 1,
        cuts=(round(seconds * 0.45, 2),) if kind == "same_shot" and seed % 4 == 0 else (),
        audio_offset_s=late_s,
        noise_db=-90.0,
    )


def load_talk(seed: int, seconds: float, cache: Path) -> Talk:
    """A dialogue from the cache, rendered and tracked if it is not there."""
    kind, spec = spec_of(seed, seconds)
    home = cache / f"talk_{seed}_{seconds:g}s"
    video = home / "talk.mp4"
    if not (home / "dirs.json").is_file():
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        make_dialogue(spec, video)
        recipe = load_recipe("demo", upstream_of("landmarks"))
        finished = run_stages(recipe, video, Places(home / "out"), workers=1, quiet=True)
        ended = {row.stage: row for row in finished.entries}
        if any(ended[stage].status != "ok" for stage in _FACE_STAGES if stage in ended) or "landmarks" not in ended:
            raise SystemExit(f"{home.name} did not reach its landmarks: {finished.entries[-1]}")
        folders = {stage: str(Path(str(ended[stage].path)).relative_to(home)) for stage in _FACE_STAGES}
        (home / "dirs.json").write_text(json.dumps(folders))
    dirs = {stage: home / path for stage, path in json.loads((home / "dirs.json").read_text()).items()}
    truth = load_truth(video)
    left = 0 if truth.persons[0].side == "left" else 1
    clean, narrated = truth.tracks.sum(axis=0), np.zeros(truth.n_ticks, bool)
    if kind == "narrator":
        clean, narrated = _narrated(clean, truth.n_ticks, seed)
    return Talk(f"{seed}", kind, dirs, clean, truth.speaking[:, [left, 1 - left]], narrated)


def heard_under(talk: Talk, condition: str, out: Path) -> Path:
    """An ingest artefact whose sound is the dialogue's under a condition."""
    home = out / condition.replace(" ", "_")
    home.mkdir(parents=True, exist_ok=True)
    for name in ("video.json", "ticks.parquet"):
        shutil.copy(talk.dirs["ingest"] / name, home / name)
    rng = np.random.default_rng([int(talk.name), CONDITIONS.index(condition)])
    write_flac(home / "audio.flac", [spoiled(talk.clean, condition, rng)])
    return home


def spoiled(clean: Array, condition: str, rng: np.random.Generator) -> Array:
    """The sound of a condition; levels are relative to active speech. (N,) -> (N,) float32."""
    level = float(np.sqrt(np.mean(clean[np.abs(clean) > 0.01] ** 2)))
    if condition.endswith("dB"):
        sound = clean + _pink(len(clean), rng) * level * 10.0 ** (-float(condition.split()[0]) / 20.0)
    elif condition == "music":
        sound = clean + _chords(len(clean), rng) * level * 10.0 ** (-10.0 / 20.0)
    elif condition == "reverb":
        sound = _in_a_room(clean, rng)
    elif condition == "bursts":
        sound = clean + _laughter(len(clean), rng) * level
    else:
        sound = clean + _pink(len(clean), rng) * level * 10.0 ** (-40.0 / 20.0)
    return np.clip(sound, -1.0, 1.0).astype(np.float32)


def _narrated(clean: Array, n_ticks: int, seed: int) -> tuple[Array, Array]:
    """A third voice, a bank voice slowed down and so lowered by a fifth, before the dialogue begins."""
    texts = bank_texts("m3", "turn")
    narration = speak(texts[seed % len(texts)], "m3", "bank").samples
    low = np.interp(np.arange(0, len(narration) - 1, 0.75), np.arange(len(narration)), narration)
    low = low[: round((_NARRATION_S - 1.0) * SAMPLE_RATE_HZ)]
    start = round(0.4 * SAMPLE_RATE_HZ)
    sound = clean.copy()
    sound[start : start + len(low)] += low
    narrated = np.zeros(n_ticks, bool)
    narrated[round(start / 640) : round((start + len(low)) / 640)] = True
    return sound, narrated


def _pink(n: int, rng: np.random.Generator) -> Array:
    """Noise of equal power per octave above 50 Hz, as rooms and traffic have it; unit RMS."""
    spectrum = np.fft.rfft(rng.standard_normal(n))
    hertz = np.fft.rfftfreq(n, 1.0 / SAMPLE_RATE_HZ)
    spectrum *= (hertz > 50.0) / np.sqrt(np.maximum(hertz, 50.0))
    noise = np.fft.irfft(spectrum, n)
    return np.asarray(noise / np.sqrt(np.mean(noise**2)))


def _chords(n: int, rng: np.random.Generator) -> Array:
    """Plucked triads over a held bass, unit RMS."""
    time_s = np.arange(n) / SAMPLE_RATE_HZ
    out = np.zeros(n)
    for beat in range(int(time_s[-1] / 0.5) + 1):
        root = 110.0 * 2.0 ** (int(rng.choice([0, 3, 5, 7, 8, 10])) / 12.0)
        local = np.maximum(time_s - 0.5 * beat, 0.0)
        for ratio in (0.5, 1.0, 1.25, 1.5, 2.0):
            out += np.where(time_s >= 0.5 * beat, np.exp(-local / 0.3), 0.0) * np.sin(2 * np.pi * root * ratio * local)
    return np.asarray(out / np.sqrt(np.mean(out**2)))


def _in_a_room(clean: Array, rng: np.random.Generator) -> Array:
    """Convolved with a decaying noise tail, 60 dB in 0.5 s, 3 dB below the direct sound."""
    n = round(0.5 * SAMPLE_RATE_HZ)
    tail = rng.standard_normal(n) * 10.0 ** (-3.0 * np.arange(n) / n)
    tail *= 10.0 ** (-3.0 / 20.0) / np.sqrt(np.sum(tail**2))
    tail[0] += 1.0
    return np.asarray(fftconvolve(clean, tail)[: len(clean)])


def _laughter(n: int, rng: np.random.Generator) -> Array:
    """Bursts like laughter of somebody unseen: 1.2 s of voiced puffs, five a second, every six seconds."""
    out = np.zeros(n)
    time_s = np.arange(round(1.2 * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    for start_s in np.arange(rng.uniform(1.0, 3.0), n / SAMPLE_RATE_HZ - 1.5, 6.0):
        pitch = rng.uniform(180.0, 320.0) * (1.0 - 0.15 * time_s)
        phase = 2 * np.pi * np.cumsum(pitch) / SAMPLE_RATE_HZ
        voice = sum(np.sin(k * phase) / k for k in range(1, 9))
        puff = np.clip(np.sin(2 * np.pi * 5.0 * time_s), 0.0, None) * np.exp(-time_s)
        start = round(start_s * SAMPLE_RATE_HZ)
        out[start : start + len(puff)] += puff * (voice + 0.5 * rng.standard_normal(len(puff)))
    return out
