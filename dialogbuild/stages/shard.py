"""shard: one clip's part of the dataset, in the dataset's own schema.

reads   ingest     video.json, ticks.parquet, audio.flac, and where they exist channels.flac, channels.parquet
        tracks     tracks.parquet        track, tick, box_px, score
        landmarks  landmarks.parquet     the same rows: lmk_px, lmk_z_px, presence, ok, crop_px, mask_bits,
                                         mask_parts, occluded
        assign     persons.parquet, track_person.parquet, states.parquet, turns.parquet, assign.json (av_offset)
        segment    clips.parquet         clip_id, start_tick, end_tick, shots
        identity   identity.parquet, camera.json
        fit_flame  motion.parquet        person, tick, head parameters, sigmas, colour errors, valid
        quality    quality.parquet       the same rows; quality.json
writes  motion.parquet landmarks.parquet quality.parquet   track_id, tick, ... (see dataset/schema.py)
        media/<track>.mp4                512x512 crop per person, one frame per tick
        media/<track>.flac, media/<clip>_mix.flac          mono 16 kHz, ticks*640 samples
        clip.json                        rows of videos, conversations, identities, tracks, turns; conventions; hashes;
                                         sound: whose the channels are, and the offset that was applied
rejects nothing: what reaches it has passed the gate
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from dialogbuild.artifact import Inputs, Stage
from dialogbuild.config import StageConfig
from dialogbuild.dataset import crop, rows, sound, stats
from dialogbuild.dataset.arrow import to_arrow, write_parquet
from dialogbuild.dataset.conventions import conventions, is_procedural
from dialogbuild.dataset.part import write_part
from dialogbuild.dataset.schema import CROP_PX, LANDMARKS, MOTION, QUALITY, TICK_HZ
from dialogbuild.errors import DatasetError
from dialogbuild.tables import Columns, read_table

if TYPE_CHECKING:
    from dialogbuild.dialogue.channels import ChannelOwners


class Config(StageConfig):
    """How crops and per-person audio are made."""

    crop_margin: float = Field(1.9, ge=1, le=4, description="crop side over the face box's longer side; hair and chin")
    crop_smooth_s: float = Field(
        0.4, gt=0, le=5, description="seconds (sigma) over which the crop follows the face; a shaking crop is motion"
    )
    crop_crf: int = Field(18, ge=0, le=40, description="x264 rate factor; 18 is visually lossless at 512x512")
    mask_ramp_s: float = Field(0.02, ge=0, le=0.04, description="seconds; shorter ramps click, longer ones eat onsets")
    mask_floor_db: float = Field(
        -60.0, ge=-120, le=0, description="decibel; level of the other's turns, as in recordings of separate channels"
    )
    use_channels: bool = Field(
        True, description="take each person's own channel where stereo channels separate the two; false = always masks"
    )
    apply_av_offset: bool = Field(
        False,
        description="move the sound by the offset that stage assign measured, if it is beyond two sigma; turns and "
        "states stay where they were decoded",
    )


def _where(columns: Columns, mask: NDArray[np.bool_]) -> Columns:
    return {name: values[mask] for name, values in columns.items()}


def _span(inputs: Inputs) -> tuple[int, int, int]:
    """First tick, one past the last, and the number of shots of this clip."""
    clips = read_table(inputs["segment"] / "clips.parquet")
    at = np.flatnonzero(clips["clip_id"] == inputs.item)
    if len(at) != 1:
        raise DatasetError(f"segment lists clip {inputs.item} {len(at)} times")
    return tuple(int(clips[name][at[0]]) for name in ("start_tick", "end_tick", "shots"))  # type: ignore[return-value]


def _crop_frames(
    inputs: Inputs, ticks: Columns, span: tuple[int, int], matrices: NDArray[Any], shown: NDArray[np.bool_]
) -> Iterator[NDArray[np.uint8]]:
    """One crop per tick; black where the person is not shown, so that no crop ever holds somebody else's face."""
    from dialogbuild.media.chosen import open_video

    black = np.zeros((CROP_PX, CROP_PX, 3), np.uint8)
    with open_video(inputs.source, inputs["ingest"]) as reader:
        for k, (_, image) in enumerate(reader.frames(ticks["pts"][slice(*span)].tolist())):
            yield crop.warp(image, matrices[k].reshape(2, 3)) if shown[k] else black


def _owners(ingest: Path, states: Columns, config: Config) -> ChannelOwners | None:
    """Whose the channels are, judged over the whole video; None where there is one channel."""
    from dialogbuild.dialogue.channels import channel_owners

    if not config.use_channels or not (ingest / "channels.parquet").is_file():
        return None
    levels = read_table(ingest / "channels.parquet")
    level_db, p_speak = (
        np.stack([table[f"{name}_{k}"] for k in (0, 1)], axis=1).astype(np.float64)
        for table, name in ((levels, "level_db"), (states, "p_speak"))
    )
    return channel_owners(level_db, p_speak, TICK_HZ)


def _write_audio(inputs: Inputs, out: Path, heard: sound.ClipSound) -> None:
    from dialogbuild.media.audio import write_flac

    write_flac(out / "media" / f"{inputs.item}_mix.flac", [heard.mix])
    for person, samples in enumerate(heard.tracks):
        write_flac(out / "media" / f"{rows.track_name(inputs.item, person)}.flac", [samples])


def _write_video(
    inputs: Inputs, out: Path, ticks: Columns, span: tuple[int, int], faces: list[dict[str, Any]], config: Config
) -> None:
    from dialogbuild.media.encode import encode_video

    for person, face in enumerate(faces):
        path = out / "media" / f"{rows.track_name(inputs.item, person)}.mp4"
        frames = _crop_frames(inputs, ticks, span, face["crop_m"], face["crop_ok"])
        encode_video(path, frames, Fraction(TICK_HZ), (CROP_PX, CROP_PX), config.crop_crf, gop=25)
        inputs.progress(person + 1, len(faces))


def _person_columns(inputs: Inputs, span: tuple[int, int], states: Columns, config: Config) -> list[dict[str, Any]]:
    """Columns of the three families for person 0 and person 1."""
    tracks = read_table(inputs["tracks"] / "tracks.parquet")
    landmarks = read_table(inputs["landmarks"] / "landmarks.parquet")
    track_person = read_table(inputs["assign"] / "track_person.parquet")
    motion = read_table(inputs["fit_flame"] / "motion.parquet")
    quality = read_table(inputs["quality"] / "quality.parquet")
    for a, b, names in ((tracks, landmarks, ("track", "tick")), (motion, quality, ("person", "tick"))):
        if any(not np.array_equal(a[name], b[name]) for name in names):
            raise DatasetError(f"{inputs.item}: tables that describe the same {names} have different rows")
    out = []
    for person in (0, 1):
        name = rows.track_name(inputs.item, person)
        mine = motion["person"] == person
        fitted = _where(motion, mine)
        at = rows.source_rows(tracks, track_person, person, *span)
        out.append(
            {
                "motion": rows.motion_columns(fitted, states, name, person),
                "landmarks": rows.landmark_columns(
                    tracks, landmarks, at, name, config.crop_margin, config.crop_smooth_s
                ),
                "quality": rows.quality_columns(_where(quality, mine), fitted, name),
            }
        )
    return out


def _expr_names(camera: dict[str, Any], n_expr: int) -> list[str]:
    """What each expression coefficient is called; statistical models only number theirs."""
    from dialogbuild.head import load_head

    if "expr_names" in camera:
        return list(camera["expr_names"])
    if is_procedural(camera["model_id"]):
        return list(load_head(camera["model_id"]).expr_names)
    return [f"expr_{i:03d}" for i in range(n_expr)]


def _head_facts(camera: dict[str, Any], n_shape: int, n_expr: int) -> dict[str, Any]:
    about = {"model_id": camera["model_id"], "licence": camera["licence"], "sha256": camera["head_sha256"]}
    return {**about, "n_shape": n_shape, "n_expr": n_expr, "expr_names": _expr_names(camera, n_expr)}


def _identity_rows(inputs: Inputs, identity: Columns, camera: dict[str, Any]) -> list[dict[str, Any]]:
    about = camera["persons"]
    return [
        {
            "identity_id": rows.identity_name(inputs.video_id, person),
            "video_id": inputs.video_id,
            "person": person,
            "shape": identity["shape"][i].tolist(),
            "shape_sigma": identity["shape_sigma"][i].tolist(),
            "shape_method": camera["method"],
            "shape_split_half_mm": about[str(person)]["shape_split_half_mm"] or 0.0,
        }
        for i, person in enumerate(identity["person"].tolist())
    ]


def _record(
    inputs: Inputs,
    span: tuple[int, int],
    n_shots: int,
    states: Columns,
    persons: list[dict[str, Any]],
    heard: sound.ClipSound,
    sync: sound.Sync,
) -> dict[str, Any]:
    """``clip.json`` without its file list."""
    camera = json.loads((inputs["identity"] / "camera.json").read_text())
    identity = read_table(inputs["identity"] / "identity.parquet")
    listed = read_table(inputs["assign"] / "persons.parquet")
    turns = rows.turn_rows(read_table(inputs["assign"] / "turns.parquet"), inputs.item, *span)
    sides = dict(zip(listed["person"].tolist(), listed["side"].tolist(), strict=True))
    motion = [p["motion"] for p in persons]
    fitted = [rows.bit(m["valid"], "fit_ok") for m in motion]
    talk = (inputs.video_id, inputs.item, span, n_shots, motion[0]["pts"], states, turns, sync.columns())
    return {
        "video": rows.video_row(json.loads((inputs["ingest"] / "video.json").read_text())),
        "conversation": rows.conversation_row(*talk),
        "identities": _identity_rows(inputs, identity, camera),
        "tracks": [
            rows.track_row(inputs.item, inputs.video_id, k, sides[k], camera, m, heard.facts(k))
            for k, m in enumerate(motion)
        ],
        "turns": turns,
        "convention": conventions(_head_facts(camera, identity["shape"].shape[1], motion[0]["expr"].shape[1])),
        "moments": {
            name: stats.merge([stats.moments(m[name][ok]) for m, ok in zip(motion, fitted, strict=True)])
            for name in stats.STATS_COLUMNS
        },
        "quality": json.loads((inputs["quality"] / "quality.json").read_text()),
    }


def run(inputs: Inputs, out: Path, config: Config) -> None:
    """Write one clip's part of the dataset."""
    start, stop, n_shots = _span(inputs)
    span = (start, stop)
    (out / "media").mkdir()
    everything = read_table(inputs["assign"] / "states.parquet")
    states = _where(everything, (everything["tick"] >= start) & (everything["tick"] < stop))
    persons = _person_columns(inputs, span, states, config)
    offset = json.loads((inputs["assign"] / "assign.json").read_text()).get("av_offset")
    sync = sound.decide_sync(offset, config.apply_av_offset)
    for person in persons:
        person["motion"]["valid"] = rows.with_sync(person["motion"]["valid"], sync.is_ok)
    owners = _owners(inputs["ingest"], everything, config)
    channel = None if owners is None else owners.channel
    mask = (config.mask_ramp_s, config.mask_floor_db)
    heard = sound.clip_sound(inputs["ingest"], span, everything, channel, sync.late_samples, *mask)
    record = _record(inputs, span, n_shots, states, persons, heard, sync)
    record["sound"] = {"applied_av_offset_ms": sync.applied_ms, "channels": None if owners is None else asdict(owners)}
    head = record["convention"]["head_model"]
    widths = {"E": head["n_expr"], "S": head["n_shape"]}
    for family in (MOTION, LANDMARKS, QUALITY):
        parts = [to_arrow(family, person[family.name], widths) for person in persons]
        write_parquet(out / f"{family.name}.parquet", family, parts, widths)
    _write_audio(inputs, out, heard)
    ticks = read_table(inputs["ingest"] / "ticks.parquet")
    _write_video(inputs, out, ticks, span, [person["landmarks"] for person in persons], config)
    write_part(out, record)


STAGE = Stage(
    name="shard",
    version=6,
    unit="clip",
    config=Config,
    run=run,
    reads=("ingest", "tracks", "landmarks", "assign", "segment", "identity", "fit_flame", "quality"),
    after=("gate",),
)
