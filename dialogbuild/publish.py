"""publish: make a dataset out of clip parts, as one commit.

    publish(clip_dirs, root)    the dataset under ``root`` then holds exactly these clips

The same parts give the same bytes and no new commit. Whatever is interrupted leaves the last commit readable, and the
next call goes on from it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa

from dialogbuild import __version__
from dialogbuild.dataset import commit, meta, writer
from dialogbuild.dataset.card import card
from dialogbuild.dataset.commit import Commit, Entry
from dialogbuild.dataset.conventions import canonical
from dialogbuild.dataset.croissant import croissant
from dialogbuild.dataset.part import Part, read_part
from dialogbuild.dataset.schema import (
    CARD_NAME,
    CONVENTION_NAME,
    CROISSANT_NAME,
    FORMAT_VERSION,
    INFO_NAME,
    SCHEMA_NAME,
    STATS_NAME,
)
from dialogbuild.dataset.splits import SALT, assign_splits
from dialogbuild.errors import DatasetError


@dataclass(frozen=True)
class Rights:
    """What the source list says about a video. Kept with the source, so that a change recomputes no label."""

    licence: str = "unknown"
    consent_ref: str = "unknown"


@dataclass(frozen=True)
class Published:
    """The state after a publish. ``created`` is False when the dataset already was exactly this."""

    root: Path
    commit: int
    created: bool
    clips: int
    hours: float


def publish(clip_dirs: Iterable[Path], root: Path, rights: Mapping[str, Rights] | None = None) -> Published:
    """Assemble clip parts into the dataset under ``root`` and make it current.

    Args:
        clip_dirs: folders that the shard stage wrote; the dataset will hold exactly these clips. None at all makes a
            valid empty dataset.
        root: the dataset's folder, created when missing.
        rights: video id -> rights; videos that are not named are recorded as unknown.

    Raises:
        DatasetError: two parts are of one clip, parts use different head models, a part is damaged, or another
            process is publishing here. The current commit stays as it was.
    """
    parts = sorted((read_part(Path(d)) for d in clip_dirs), key=lambda p: p.clip_id)
    _check(parts)
    named = {video: (rights or {}).get(video, Rights()) for video in sorted({_video(p) for p in parts})}
    inputs = inputs_key(parts, named)
    with commit.exclusive(root) as scratch:
        state = commit.read_current(root)
        created = False
        if state is None or state.inputs != inputs or not _complete(root, state):
            files, facts = _write_files(root, scratch, parts, named, state, inputs)
            if state is None or state.inputs != inputs or files != state.files:
                about = {"clips": len(parts), "convention_id": facts["convention_id"]}
                state = commit.commit(root, scratch, inputs, files, about)
                created = True
        commit.refresh_plain(root, scratch, state)
        commit.sweep(root)
    hours = sum(p.record["conversation"]["n_ticks"] for p in parts) / 25 / 3600
    return Published(root, state.number, created, len(parts), hours)


def inputs_key(parts: Iterable[Part], rights: Mapping[str, Rights]) -> str:
    """Equal exactly when nothing that could change the dataset has changed. 64 hex digits."""
    recipe = {
        "format": FORMAT_VERSION,
        "writer": writer.WRITER_VERSION,
        "documents": meta.DOCUMENTS_VERSION,
        "made_with": [__version__, pa.__version__],
        "salt": SALT,
        "clips": {p.clip_id: p.digest for p in parts},
        "rights": {video: asdict(r) for video, r in rights.items()},
    }
    return hashlib.sha256(canonical(recipe)).hexdigest()


def _video(part: Part) -> str:
    return str(part.record["video"]["video_id"])


def _check(parts: list[Part]) -> None:
    twice = sorted({a.clip_id for a, b in pairwise(parts) if a.clip_id == b.clip_id})
    if twice:
        raise DatasetError(f"two parts each for {', '.join(twice)}: give one folder per clip")
    models = {p.convention: p.record["convention"]["head_model"]["model_id"] for p in parts}
    if len(models) > 1:
        raise DatasetError(
            f"parts of different head models or conventions ({', '.join(sorted(models.values()))}) cannot share a "
            "dataset: publish each into its own folder, or fit all clips with one model"
        )


def _complete(root: Path, state: Commit) -> bool:
    return all((root / e.path).is_file() and (root / e.path).stat().st_size == e.bytes for e in state.files.values())


def _links(part: Part) -> tuple[str, ...]:
    return (*(i["identity_id"] for i in part.record["identities"]), str(part.record["video"]["sha256"]))


def _write_files(
    root: Path, scratch: Path, parts: list[Part], rights: Mapping[str, Rights], old: Commit | None, inputs: str
) -> tuple[dict[str, Entry], dict[str, Any]]:
    """Store every file of the new state; entries by logical name, and ``meta/info.json``'s content."""
    splits = assign_splits({p.clip_id: _links(p) for p in parts})
    known = {e.made_from: e for e in old.files.values() if e.made_from} if old else {}
    files: dict[str, Entry] = {}
    placed: dict[str, writer.Placed] = {}
    for split, bunch in writer.groups(parts, splits):
        entries, spots = writer.write_group(root, scratch, split, bunch, known)
        files.update(entries)
        placed.update(spots)
    tracks: dict[str, list[dict[str, Any]]] = {}
    for part in parts:
        entries, media = writer.write_media(root, scratch, part)
        files.update(entries)
        tracks[part.clip_id] = [_track(part, track, placed, media) for track in part.tracks]
    widths = parts[0].widths if parts else {"E": 1, "S": 1}
    relations = _relations(parts, splits, tracks, rights)
    files.update(writer.write_relations(root, scratch, relations, widths))
    rows = [writer.manifest_row(p, tracks[p.clip_id], placed, splits[p.clip_id]) for p in parts]
    files.update(writer.write_manifests(root, scratch, rows))
    facts = meta.info(parts, splits, parts[0].convention if parts else None)
    files.update(writer.write_documents(root, scratch, _documents(parts, splits, facts, rights, widths)))
    described = croissant(facts, _named(rights), files, inputs[:12])
    files.update(writer.write_documents(root, scratch, {CROISSANT_NAME: writer.to_text(described)}))
    return files, facts


def _named(rights: Mapping[str, Rights]) -> dict[str, dict[str, str]]:
    return {video: asdict(r) for video, r in rights.items()}


def _track(
    part: Part, track: Mapping[str, Any], placed: Mapping[str, writer.Placed], media: Mapping[str, str]
) -> dict[str, Any]:
    name = track["track_id"]
    return {
        **track,
        "row_offset": placed[name].row_offset,
        **{f"{family}_file": path for family, path in placed[name].files.items()},
        "video_file": media[f"media/{name}.mp4"],
        "audio_file": media[f"media/{name}.flac"],
        "mix_file": media[f"media/{part.clip_id}_mix.flac"],
        "convention_id": part.convention,
    }


def _relations(
    parts: list[Part],
    splits: Mapping[str, str],
    tracks: Mapping[str, list[dict[str, Any]]],
    rights: Mapping[str, Rights],
) -> dict[str, list[dict[str, Any]]]:
    videos: dict[str, dict[str, Any]] = {}
    identities: dict[str, dict[str, Any]] = {}
    for part in parts:
        videos[_video(part)] = {**part.record["video"], **asdict(rights[_video(part)])}
        for person in part.record["identities"]:
            row = {**person, "split": splits[part.clip_id]}
            if identities.setdefault(person["identity_id"], row) != row:
                raise DatasetError(f"{person['identity_id']} has different shapes in its clips: shard all clips again")
    return {
        "videos": list(videos.values()),
        "conversations": [{**p.record["conversation"], "split": splits[p.clip_id]} for p in parts],
        "identities": list(identities.values()),
        "tracks": [row for part in parts for row in tracks[part.clip_id]],
        "turns": [turn for part in parts for turn in part.record["turns"]],
    }


def _documents(
    parts: list[Part],
    splits: Mapping[str, str],
    facts: dict[str, Any],
    rights: Mapping[str, Rights],
    widths: Mapping[str, int],
) -> dict[str, str]:
    out = {
        INFO_NAME: writer.to_text(facts),
        SCHEMA_NAME: writer.to_text(meta.schema_record(widths)),
        STATS_NAME: writer.to_text(meta.statistics(parts, splits)),
        CARD_NAME: card(facts, _named(rights)),
    }
    if parts:
        out[CONVENTION_NAME.format(id=parts[0].convention)] = writer.to_text(parts[0].record["convention"])
    return out
