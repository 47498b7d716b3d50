"""merge: bring the clips of several datasets together; compact: fewer, larger files and less history.

Ids that mean different things, or different conventions, are refused with all of them named. Splits follow
``splits.assign_splits``: every clip keeps its split; only where the datasets share a person or a source that one has in
train and the other in test must something move, and then only when the caller allows it. What one of them took down
stays out of all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dialogbuild.dataset import commit, history
from dialogbuild.dataset.assemble import Content, Published, Rights, content_of, install, published_of
from dialogbuild.dataset.held import Held, HeldPart, read_held
from dialogbuild.dataset.schema import SPLITS
from dialogbuild.dataset.splits import moved
from dialogbuild.dataset.withheld import is_withheld
from dialogbuild.errors import DatasetError


def merge(sources: Sequence[Path], root: Path, allow_moves: bool = False) -> Published:
    """Add the clips of the datasets ``sources`` to the dataset under ``root``, as one commit; sources stay as they are.

    A clip that several have, made from the same part, counts once; so the same merge again changes nothing.

    Args:
        root: the dataset that receives them; created when missing.
        allow_moves: let clips change their split where the datasets share a person or source.

    Raises:
        DatasetError: a source is none, or damaged; formats, conventions or head models differ; one id means different
            things; clips would have to change their split; or another process is publishing into ``root``.
    """
    with commit.exclusive(root) as scratch:
        own = read_held(root)
        held = [own, *(read_held(source) for source in sources)]
        for one in held[1:]:
            if one.commit is None or one.root.resolve() == root.resolve():
                raise DatasetError(f"{one.root} is no dataset to merge from: give folders other than the target's")
        full = [one for one in held if one.commit is not None]
        _agree(full)
        content, withheld = _union(full, own)
        if content.moves and not allow_moves:
            raise DatasetError(_would_move(content.moves))
        state, created = install(root, scratch, own.commit, content)
    return published_of(root, state, created, content, withheld)


def _agree(held: Sequence[Held]) -> None:
    """Formats, conventions and ids of the datasets must mean the same. DatasetError names everything that does not."""
    faults = []
    versions = {one.version for one in held if one.rows}
    if len(versions) > 1:
        faults.append(f"formats {' and '.join(sorted(versions))}: publish the older one again with this version")
    models = {one.rows[0]["convention_id"]: one for one in held if one.rows}
    if len(models) > 1:
        names = sorted(f"{one.head_model} ({one.root.name})" for one in models.values())
        faults.append(f"head models or conventions {', '.join(names)}: fit all clips with one model")
    if not faults:
        faults = sorted(_collisions(held))
    if faults:
        raise DatasetError("these datasets cannot be merged: " + "; ".join(faults))


def _collisions(held: Sequence[Held]) -> Iterator[str]:
    seen: dict[tuple[str, str], tuple[Any, Held]] = {}
    for one in held:
        for kind, name, meaning in sorted(set(_meanings(one)), key=lambda row: row[:2]):
            other, where = seen.setdefault((kind, name), (meaning, one))
            if other != meaning:
                yield f"{kind} {name} is not the same in {where.root.name} and {one.root.name}: give one another id"


def _meanings(held: Held) -> Iterator[tuple[str, str, Any]]:
    """(kind, id, what it stands for)."""
    for part in held.parts():
        video = part.record["video"]
        yield "conversation", part.clip_id, part.digest
        yield "video", video["video_id"], video["sha256"]
        for person in part.record["identities"]:
            yield "identity", person["identity_id"], (video["sha256"], repr(sorted(person.items())))


def _union(held: Sequence[Held], own: Held) -> tuple[Content, tuple[str, ...]]:
    number = 1 if own.commit is None else own.commit.number + 1
    takedowns = list(own.takedowns)
    known = {record["salt"] for record in takedowns}
    for one in held:
        fresh = [record for record in one.takedowns if record["salt"] not in known]
        known |= {record["salt"] for record in fresh}
        takedowns += [{**record, "commit": number} for record in fresh]
    parts: dict[str, HeldPart] = {}
    withheld: set[str] = set()
    for part in (part for one in held for part in one.parts()):
        if is_withheld(part, takedowns):
            withheld.add(part.clip_id)
        else:
            parts.setdefault(part.clip_id, part)
    previous: dict[str, str] = {}
    for clip, split in (item for one in held for item in one.splits.items()):
        previous[clip] = min(split, previous.get(clip, split), key=SPLITS.index)
    about = (tuple(takedowns), held[0].version, own.clips_per_file)
    content = content_of(parts.values(), _rights(held), previous, *about)
    moves = {clip: both for one in held for clip, both in moved(one.splits, content.splits).items()}
    return replace(content, moves=moves), tuple(sorted(withheld))


def _rights(held: Sequence[Held]) -> dict[str, Rights]:
    """What is known of each video. DatasetError where two datasets say different things."""
    out: dict[str, Rights] = {}
    for video, said in ((v, r) for one in held for v, r in one.rights().items()):
        before = out.get(video, said)
        pairs = ((before.licence, said.licence), (before.consent_ref, said.consent_ref))
        if any(len({a, b} - {"unknown"}) > 1 for a, b in pairs):
            raise DatasetError(f"video {video} has different licences or consent: publish one of them with the other's")
        out[video] = Rights(*(b if a == "unknown" else a for a, b in pairs))
    return out


def _would_move(moves: Mapping[str, tuple[str, str]]) -> str:
    named = [f"{clip} from {before} to {now}" for clip, (before, now) in sorted(moves.items())]
    return (
        f"the datasets share persons or sources, so {len(moves)} clips would change their split "
        f"({', '.join(named[:5])}{', …' if len(named) > 5 else ''}): what is in train anywhere goes to train; "
        "allow it with --allow-split-moves"
    )


@dataclass(frozen=True)
class Compacted:
    """What ``compact`` did: files of the current commit before and after, and stored files that are gone."""

    root: Path
    commit: int
    created: bool
    frame_files: tuple[int, int]
    removed: tuple[str, ...]


def compact(root: Path, clips_per_file: int = 128, keep: int | None = None) -> Compacted:
    """Write the frame rows into fewer files, as one commit; later publishes keep that size.

    Args:
        clips_per_file: on average; a file also ends at ``writer.MAX_ROWS`` rows, and never holds two splits.
        keep: commits to keep, the current one included; None = all. Older ones stay readable until they are dropped.

    Raises:
        ValueError: a number is less than 1.
        DatasetError: there is no dataset, a file is damaged, or another process is publishing here.
    """
    if clips_per_file < 1 or (keep is not None and keep < 1):
        raise ValueError(f"clips_per_file and keep are at least 1, not {clips_per_file} and {keep}")
    with commit.exclusive(root) as scratch:
        held = read_held(root)
        if held.commit is None:
            raise DatasetError(f"{root} holds no dataset: CURRENT is missing; give the folder that publish wrote")
        before = history.stored_files(root)
        about = (held.splits, held.takedowns, held.version, clips_per_file)
        state, created = install(root, scratch, held.commit, content_of(held.parts(), held.rights(), *about))
        if keep is not None:
            history.forget(root, keep - 1)
            history.sweep(root)
        removed = tuple(sorted(before - history.stored_files(root)))
    count = [sum(name.startswith("frames/") for name in c.files) for c in (held.commit, state)]
    return Compacted(root, state.number, created, (count[0], count[1]), removed)
