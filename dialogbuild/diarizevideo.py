"""``dialogbuild diarize VIDEO``: who speaks when in single videos, without a dataset around it.

For each NAME the folder receives

    NAME.rttm            turns of person_0 (left), person_1 (right), offscreen; overlap kept; seconds from frame 0
    NAME.exclusive.rttm  the same without overlap
    NAME.uem             the span that was looked at
    NAME.states.parquet, NAME.turns.parquet, NAME.assign.json    see ``dialogbuild settings assign`` and docs/schema.md
    NAME_person_0.wav, NAME_person_1.wav   16 kHz mono float32, 640 samples per tick of 1/25 s, equal length
    work/                artefacts of the stages: a second call does not compute them again

Where faces cannot tell (sound only, one face, nobody seen), NAME.rttm holds voices: voice_0, voice_1.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile

from dialogbuild.artifact import Inputs, write_json
from dialogbuild.dataset.audio import sample_gains, tick_gains
from dialogbuild.dialogue.pcm import SAMPLE_RATE_HZ, Pcm
from dialogbuild.errors import ConfigError
from dialogbuild.ledger import Entry
from dialogbuild.pipeline import Places, run_stages
from dialogbuild.recipe import Recipe, load_recipe
from dialogbuild.stages import diarize, upstream_of
from dialogbuild.tables import read_table

_TICKS_AT_ONCE = 1500
_TICK_SAMPLES = 640
_FROM_ASSIGN = {
    "turns.rttm": ".rttm",
    "exclusive.rttm": ".exclusive.rttm",
    "turns.uem": ".uem",
    "states.parquet": ".states.parquet",
    "turns.parquet": ".turns.parquet",
    "assign.json": ".assign.json",
}
_SHARD_SOUND = {"ramp_s": 0.02, "floor_db": -60.0}  # as the dataset's own tracks


@dataclass(frozen=True)
class Account:
    """What became of one recording.

    Attributes:
        status: "persons" (who is who is known), "voices" (sound alone), or "failed".
        why: the reason where it is not "persons".
        files: names below the output folder.
        facts: what the summary line tells.
    """

    name: str
    status: str
    why: str
    files: tuple[str, ...]
    facts: Mapping[str, Any]


def diarize_videos(
    sources: Sequence[Path],
    out: Path,
    settings: dict[str, dict[str, Any]],
    workers: int = 0,
    quiet: bool | None = None,
) -> list[Account]:
    """Find out who speaks when in each recording; what ``out`` holds of it already is not computed again.

    Args:
        settings: overrides by stage, as a recipe holds them.

    Raises:
        ConfigError: a file is absent, two share a name, or a setting is wrong.
    """
    names = [source.stem for source in sources]
    for source in sources:
        if not source.is_file():
            raise ConfigError(f"{source} is not a file; `dialogbuild run` takes folders")
        if names.count(source.stem) > 1:
            raise ConfigError(f"two files are called {source.stem}: their results would overwrite each other")
    out.mkdir(parents=True, exist_ok=True)
    stages = upstream_of("diarize")
    whole = load_recipe("demo", upstream_of("assign"), settings)
    voices = load_recipe("demo", stages, {name: given for name, given in settings.items() if name in stages})

    def ended_in(recipe: Recipe, source: Path) -> tuple[dict[str, Path], Entry]:
        rows = run_stages(recipe, source, Places(out), workers, quiet=quiet).entries
        return {row.stage: Path(row.path) for row in rows if row.status == "ok" and row.path}, rows[-1]

    accounts = []
    for source in sources:
        found, last = ended_in(whole, source)
        if "assign" in found:
            accounts.append(_persons(source.stem, found, out))
        elif last.reason == "not_a_video" and any("audio" in name for name in last.values.get("streams", ())):
            accounts.append(_sound_only(source, out, whole.configs["diarize"]))
        elif last.status == "rejected" and "diarize" in (heard := ended_in(voices, source)[0]):
            accounts.append(_voices(source.stem, str(last.reason), heard["diarize"], out))
        else:
            accounts.append(Account(source.stem, "failed", f"{last.stage}: {last.reason} {dict(last.values)}", (), {}))
    return accounts


def lines(accounts: Sequence[Account]) -> list[str]:
    """The summary for people, a few lines per recording."""
    out = []
    for a in accounts:
        out.append(f"{a.name}: {a.status}{f' ({a.why})' if a.why else ''}")
        out += [f"    {name:<12} {value}" for name, value in a.facts.items()]
    return out


def _persons(name: str, found: Mapping[str, Path], out: Path) -> Account:
    files = [f"{name}{suffix}" for suffix in _FROM_ASSIGN.values()]
    for source, target in zip(_FROM_ASSIGN, files, strict=True):
        shutil.copyfile(found["assign"] / source, out / target)
    states = read_table(found["assign"] / "states.parquet")
    p_speak = np.stack([states["p_speak_0"], states["p_speak_1"]], axis=1)
    gains = tick_gains(p_speak, states["state"] == 3)
    pcm = Pcm.open(found["ingest"] / "audio.flac")
    for person in (0, 1):
        files.append(f"{name}_person_{person}.wav")
        _write_wav(out / files[-1], masked(pcm, gains[:, person]))
    record = json.loads((found["assign"] / "assign.json").read_text())
    return Account(name, "persons", "", tuple(files), _person_facts(found["assign"], record))


def _person_facts(assign: Path, record: Mapping[str, Any]) -> dict[str, str]:
    persons, turns = read_table(assign / "persons.parquet"), read_table(assign / "turns.parquet")
    facts = {}
    for k, side in zip(persons["person"].tolist(), persons["side"].tolist(), strict=True):
        mine = turns["kind"][turns["person"] == k].tolist()
        facts[f"person_{k}"] = (
            f"{side}, seen {persons['seen_s'][k]:.1f} s, speaks {persons['speak_s'][k]:.1f} s in {mine.count('turn')} "
            f"turns and {mine.count('backchannel')} backchannels"
        )
    voices = record["voices"]
    facts["voices"] = (
        f"{voices['n_voices']}{' (doubtful)' if voices['doubtful'] else ''}, by {voices['backend']}; whose is whose: "
        f"{100 * record['posterior']:.1f} % ({record['margin']:.1f} nats), pairing {record['pairing']}"
    )
    offset = record["av_offset"]
    told = offset["ms"] is not None
    facts["sound"] = f"{offset['ms']:+.0f} ms, sigma {offset['sigma_ms']:.0f}" if told else f"offset {offset['reason']}"
    own = record["without_reference"]
    facts["certainty"] = (
        f"entropy {own['entropy_bits']:.3f} bits; lips tell {own['lip_nats_own']:.2f} nats of their own speech, "
        f"{own['lip_nats_other']:.2f} of the other's; off-screen {100 * own['offscreen_share']:.1f} %"
    )
    return facts


def _voices(name: str, why: str, heard: Path, out: Path) -> Account:
    shutil.copyfile(heard / "diarize.rttm", out / f"{name}.rttm")
    voices = json.loads((heard / "voices.json").read_text())
    turns = read_table(heard / "turns.parquet")
    seconds = [float((turns["end_s"] - turns["start_s"])[turns["voice"] == k].sum()) for k in (0, 1)]
    facts = {
        "voices": f"{voices['n_voices']}{' (doubtful)' if voices['doubtful'] else ''}, by {voices['backend']}",
        "speech": f"{voices['speech_s']:.1f} s; voice_0 {seconds[0]:.1f} s, voice_1 {seconds[1]:.1f} s",
    }
    return Account(name, "voices", why, (f"{name}.rttm",), facts)


def _sound_only(source: Path, out: Path, config: Any) -> Account:
    """Diarize a recording without a picture."""
    from dialogbuild.media.audio import iter_audio, write_flac
    from dialogbuild.media.probe import open_input

    with open_input(source) as container:
        if container.duration is None:
            return Account(source.stem, "failed", "its length is not known: convert it to WAV or FLAC", (), {})
        stream, seconds = container.streams.audio[0].index, container.duration / 1e6
        start_s = Fraction(container.start_time or 0, 1_000_000)
    n_ticks = max(int(np.ceil(seconds * 25 - 1e-6)), 1)
    with tempfile.TemporaryDirectory(dir=out) as scratch:
        ingest, heard = Path(scratch) / "ingest", Path(scratch) / "heard"
        ingest.mkdir()
        heard.mkdir()
        write_flac(ingest / "audio.flac", iter_audio(source, stream, start_s, n_ticks * _TICK_SAMPLES))
        write_json(ingest / "video.json", {"n_ticks": n_ticks, "fps": [25, 1]})
        diarize.run(Inputs(source.stem, source.stem, source, {"ingest": ingest}), heard, config)
        return _voices(source.stem, "no picture", heard, out)


def masked(pcm: Pcm, gains: npt.NDArray[np.float32]) -> Iterator[npt.NDArray[np.float32]]:
    """The sound under one person's gains, (T,) per tick, a minute at a time."""
    for start in range(0, len(gains), _TICKS_AT_ONCE):
        stop = min(start + _TICKS_AT_ONCE, len(gains))
        low, high = max(start - 1, 0), min(stop + 1, len(gains))  # ramps reach into the neighbours
        curve = sample_gains(gains[low:high], **_SHARD_SOUND)
        first = (start - low) * _TICK_SAMPLES
        own = curve[first : first + (stop - start) * _TICK_SAMPLES]
        yield pcm.read(start * _TICK_SAMPLES, stop * _TICK_SAMPLES) * own


def _write_wav(path: Path, blocks: Iterator[npt.NDArray[np.float32]]) -> None:
    scratch = path.with_name(f".{path.name}.part")
    with soundfile.SoundFile(str(scratch), "w", SAMPLE_RATE_HZ, 1, "FLOAT", format="WAV") as file:
        for block in blocks:
            file.write(block)
    scratch.replace(path)
