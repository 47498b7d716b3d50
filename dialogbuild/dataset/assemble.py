"""From clip parts to one commit: what publish, append, merge, compact and takedown share."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from dialogbuild import __version__
from dialogbuild.dataset import commit, history, meta, schema, writer
from dialogbuild.dataset.card import card
from dialogbuild.dataset.commit import Commit, Entry
from dialogbuild.dataset.conventions import canonical
from dialogbuild.dataset.croissant import croissant
from dialogbuild.dataset.part import Part
from dialogbuild.dataset.splits import SALT, assign_splits, moved
from dialogbuild.dataset.withheld import first_commit
from dialogbuild.errors import DatasetError


@dataclass(frozen=True)
class Rights:
    """What the source list says about a video. Kept with the source, so that a change recomputes no label."""

    licence: str = "unknown"
    consent_ref: str = "unknown"


@dataclass(frozen=True)
class Content:
    """What a dataset shall hold. Build it with ``content_of``.

    Args:
        parts: sorted by clip id.
        rights: of every video.
        splits: of every clip.
        moves: clips whose split is not the one that they had: (before, now).
        takedowns: the audit records, oldest first.
        version: of the format that is written.
    """

    parts: tuple[Part, ...]
    rights: Mapping[str, Rights]
    splits: Mapping[str, str]
    moves: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    takedowns: tuple[Mapping[str, Any], ...] = ()
    version: str = schema.FORMAT_VERSION
    clips_per_file: int = writer.CLIPS_PER_FILE

    @property
    def convention(self) -> str | None:
        """Id of the conventions that all parts follow; None when there is no part."""
        return self.parts[0].convention if self.parts else None

    @property
    def widths(self) -> dict[str, int]:
        """Number of expressions and shape coefficients; 1 each when there is no part."""
        return self.parts[0].widths if self.parts else {"E": 1, "S": 1}

    def key(self) -> str:
        """Equal exactly when nothing that could change the dataset has changed. 64 hex digits."""
        recipe = {
            "format": self.version,
            "writer": writer.WRITER_VERSION,
            "documents": meta.DOCUMENTS_VERSION,
            "made_with": [__version__, pa.__version__],
            "salt": SALT,
            "clips": {p.clip_id: p.digest for p in self.parts},
            "rights": named(self.rights),
            "splits": dict(self.splits),
            "takedowns": list(self.takedowns),
            "clips_per_file": self.clips_per_file,
        }
        return hashlib.sha256(canonical(recipe)).hexdigest()


@dataclass(frozen=True)
class Published:
    """The state after a publish, append or merge. ``created`` is False when the dataset already was exactly this.

    Args:
        withheld: clips that were left out because they were taken down.
        moved: clips whose split changed because new data links them to another: (before, now).
    """

    root: Path
    commit: int
    created: bool
    clips: int
    hours: float
    withheld: tuple[str, ...] = ()
    moved: Mapping[str, tuple[str, str]] = field(default_factory=dict)


def published_of(root: Path, state: Commit, created: bool, content: Content, withheld: tuple[str, ...]) -> Published:
    """What a caller is told about an installed state."""
    hours = sum(p.record["conversation"]["n_ticks"] for p in content.parts) / schema.TICK_HZ / 3600
    moves = content.moves if created else {}
    return Published(root, state.number, created, len(content.parts), hours, withheld, moves)


def named(rights: Mapping[str, Rights]) -> dict[str, dict[str, str]]:
    """As plain values."""
    return {video: asdict(r) for video, r in rights.items()}


def content_of(
    parts: Iterable[Part],
    rights: Mapping[str, Rights],
    previous: Mapping[str, str],
    takedowns: Sequence[Mapping[str, Any]] = (),
    version: str | None = None,
    clips_per_file: int = writer.CLIPS_PER_FILE,
) -> Content:
    """Check parts against each other and give each clip its split.

    Args:
        rights: video id -> rights; videos that are not named are recorded as unknown.
        previous: clip id -> the split that it had before.
        version: of the format to write; the current one when not given.

    Raises:
        DatasetError: two parts are of one clip, or parts use different head models or conventions.
    """
    ordered = tuple(sorted(parts, key=lambda p: p.clip_id))
    _check(ordered)
    full = {video: rights.get(video, Rights()) for video in sorted({video_of(p) for p in ordered})}
    splits = assign_splits({p.clip_id: links(p) for p in ordered}, previous)
    about = (moved(previous, splits), tuple(takedowns), version or schema.FORMAT_VERSION, clips_per_file)
    return Content(ordered, full, splits, *about)


def video_of(part: Part) -> str:
    """Id of the part's source video."""
    return str(part.record["video"]["video_id"])


def links(part: Part) -> tuple[str, ...]:
    """What a clip must share its split with: its persons and its source's content."""
    return (*(i["identity_id"] for i in part.record["identities"]), str(part.record["video"]["sha256"]))


def _check(parts: Sequence[Part]) -> None:
    twice = sorted({a.clip_id for a, b in pairwise(parts) if a.clip_id == b.clip_id})
    if twice:
        raise DatasetError(f"two parts each for {', '.join(twice)}: give one folder per clip")
    models = {p.convention: p.record["convention"]["head_model"]["model_id"] for p in parts}
    if len(models) > 1:
        raise DatasetError(
            f"parts of different head models or conventions ({', '.join(sorted(models.values()))}) cannot share a "
            "dataset: publish each into its own folder, or fit all clips with one model"
        )


def install(root: Path, scratch: Path, old: Commit | None, content: Content) -> tuple[Commit, bool]:
    """Make ``content`` the current state of the dataset; called under ``commit.exclusive``.

    Commits from before the last takedown are forgotten, with the files that only they name: whatever interrupted the
    takedown, the next change of the dataset finishes it.

    Returns:
        The current commit, and whether it is new: equal content makes none.
    """
    inputs = content.key()
    state, created = old, False
    if state is None or state.inputs != inputs or not _complete(root, state):
        files = _write_files(root, scratch, content, old, inputs)
        if state is None or state.inputs != inputs or files != state.files:
            state = commit.commit(root, scratch, inputs, files, _about(content))
            created = True
    history.refresh_plain(root, scratch, state)
    history.forget(root, state.number - first_commit(content.takedowns))
    history.sweep(root)
    return state, created


def _about(content: Content) -> dict[str, Any]:
    """What the commit record says besides its files; the next commit goes on from it."""
    return {
        "format_version": content.version,
        "clips": len(content.parts),
        "convention_id": content.convention,
        "splits": dict(content.splits),
        "moved": {clip: list(both) for clip, both in content.moves.items()},
        "takedowns": list(content.takedowns),
        "clips_per_file": content.clips_per_file,
    }


def _complete(root: Path, state: Commit) -> bool:
    return all((root / e.path).is_file() and (root / e.path).stat().st_size == e.bytes for e in state.files.values())


def _write_files(root: Path, scratch: Path, content: Content, old: Commit | None, inputs: str) -> dict[str, Entry]:
    """Store every file of the new state; entries by logical name."""
    parts, splits = content.parts, content.splits
    known = {e.made_from: e for e in old.files.values() if e.made_from} if old else {}
    files: dict[str, Entry] = {}
    placed: dict[str, writer.Placed] = {}
    for split, bunch in writer.groups(parts, splits, content.clips_per_file):
        entries, spots = writer.write_group(root, scratch, split, bunch, known, content.version)
        files.update(entries)
        placed.update(spots)
    tracks: dict[str, list[dict[str, Any]]] = {}
    for part in parts:
        entries, media = writer.write_media(root, scratch, part)
        files.update(entries)
        tracks[part.clip_id] = [_track(part, track, placed, media) for track in part.tracks]
    relations = _relations(content, tracks)
    files.update(writer.write_relations(root, scratch, relations, content.widths, content.version))
    rows = [writer.manifest_row(p, tracks[p.clip_id], placed, splits[p.clip_id]) for p in parts]
    files.update(writer.write_manifests(root, scratch, rows))
    files.update(writer.write_documents(root, scratch, documents(root, content, files)))
    files.update(writer.write_documents(root, scratch, {schema.CROISSANT_NAME: described(content, files, inputs)}))
    return files


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


def _relations(content: Content, tracks: Mapping[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    videos: dict[str, dict[str, Any]] = {}
    identities: dict[str, dict[str, Any]] = {}
    for part in content.parts:
        row = {**part.record["video"], **asdict(content.rights[video_of(part)])}
        if videos.setdefault(row["video_id"], row) != row:
            raise DatasetError(f"video {row['video_id']} is two different files in the clips: give each its own id")
        for person in part.record["identities"]:
            row = {**person, "split": content.splits[part.clip_id]}
            if not _same(identities.setdefault(person["identity_id"], row), row):
                raise DatasetError(f"{person['identity_id']} has different shapes in its clips: shard all clips again")
    return {
        "videos": list(videos.values()),
        "conversations": [{**p.record["conversation"], "split": content.splits[p.clip_id]} for p in content.parts],
        "identities": list(identities.values()),
        "tracks": [row for part in content.parts for row in tracks[part.clip_id]],
        "turns": [turn for part in content.parts for turn in part.record["turns"]],
    }


def _same(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Equal as the table stores them, numbers in float32."""
    rounded = [{k: v if isinstance(v, str) else np.float32(v).tolist() for k, v in row.items()} for row in (a, b)]
    return rounded[0] == rounded[1]


def documents(root: Path, content: Content, files: Mapping[str, Entry]) -> dict[str, str]:
    """The texts under ``meta/``, the Croissant record apart: they follow from the content and the motion files."""
    counted = [
        (path.rsplit("/", 1)[1].split("-")[0], writer.file_stats(root / path))
        for path in sorted(files)
        if path.startswith("frames/motion/")
    ]
    facts = _facts(content)
    out = {
        schema.INFO_NAME: writer.to_text(facts),
        schema.SCHEMA_NAME: writer.to_text(meta.schema_record(content.widths, content.version)),
        schema.STATS_NAME: writer.to_text(meta.statistics(counted)),
        schema.CARD_NAME: card(facts, named(content.rights)),
        schema.PARTS_NAME: _lines({"digest": p.digest, **p.kept()} for p in content.parts),
        schema.TAKEDOWNS_NAME: _lines(content.takedowns),
    }
    if content.parts:
        convention = schema.CONVENTION_NAME.format(id=content.convention)
        out[convention] = writer.to_text(content.parts[0].record["convention"])
    return out


def described(content: Content, files: Mapping[str, Entry], inputs: str) -> str:
    """The Croissant record of a state whose other files are ``files``."""
    return writer.to_text(croissant(_facts(content), named(content.rights), files, inputs[:12]))


def _facts(content: Content) -> dict[str, Any]:
    return meta.info(content.parts, content.splits, content.convention, content.version)


def _lines(rows: Iterable[Mapping[str, Any]]) -> str:
    return "".join(canonical(row).decode() + "\n" for row in rows)
