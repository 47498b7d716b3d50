"""takedown: remove a video, a person or a conversation, with its bytes and every commit that refers to them.

    takedown(root, "talk-1a2b3c4d_p1", reason="consent_withdrawn", by="data office")

One new commit holds the rest and an audit record; then older commits and the files that only they name are deleted.
Interrupted anywhere, the same call finishes it, and so does any later change of the dataset. The record keeps what was
taken down from being published or merged in again. It names nobody: ids and sources are hashed under a random salt.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from dialogbuild.dataset import commit, history
from dialogbuild.dataset.assemble import content_of, install, video_of
from dialogbuild.dataset.held import HeldPart, read_held
from dialogbuild.dataset.withheld import WHOLE, hashed, is_about
from dialogbuild.errors import ConfigError, DatasetError

_WORD = re.compile(r"[a-z0-9]+(_[a-z0-9]+)*")


@dataclass(frozen=True)
class TakenDown:
    """What a takedown did. ``again`` is True when the commit was there already and at most litter was removed.

    Args:
        kind: video, identity or conversation.
        clips: conversations that went.
        files: stored files and commit records that are gone.
        left: files of the dataset that still name it: empty, or a bug.
    """

    root: Path
    commit: int
    kind: str
    again: bool
    clips: tuple[str, ...]
    files: tuple[str, ...]
    left: tuple[str, ...]


def takedown(root: Path, name: str, reason: str, by: str, now: datetime | None = None) -> TakenDown:
    """Take a source video, an identity or a conversation out of the dataset under ``root``, for good.

    A conversation goes whole, with both persons: the sound and the picture of one hold the other.

    Args:
        name: a video id (or its file's SHA-256), identity id or conversation id.
        reason: one snake_case word for the record, such as ``consent_withdrawn``.
        by: the office or ticket that decided it, for the record; no personal data.
        now: for the record; the clock's time when not given.

    Raises:
        ConfigError: the reason is not one word, or ``by`` is empty or names what is taken down.
        DatasetError: nothing here has that id, a file that must be rewritten is damaged, the dataset has a newer
            format, or another process is publishing here. The current commit stays as it was.
    """
    if not _WORD.fullmatch(reason) or not by.strip() or name in f"{by} {reason}":
        raise ConfigError(
            f"the audit record needs a reason of one snake_case word (consent_withdrawn), not {reason!r}, and who "
            "decided it (an office or a ticket, not the person's id)"
        )
    with commit.exclusive(root) as scratch:
        held = read_held(root)
        if held.commit is None:
            raise DatasetError(f"{root} holds no dataset: CURRENT is missing; give the folder that publish wrote")
        before = history.stored_files(root)
        parts = held.parts()
        gone = [part for part in parts if name in _ids(part)]
        old = next((record for record in held.takedowns if is_about(record, name)), None)
        if not gone and old is None:
            raise DatasetError(f"{root} has no video, identity or conversation {name!r}: see its tables for the ids")
        rest = [part for part in parts if name not in _ids(part)]
        record = _record(held.commit.number + 1, gone, rest, name, reason, by, now) if gone else None
        records = (*held.takedowns, record) if record else held.takedowns
        content = content_of(rest, held.rights(), held.splits, records, held.version, held.clips_per_file)
        state, created = install(root, scratch, held.commit, content)
    kind = str((record or old or {})["kind"])
    files = tuple(sorted(before - history.stored_files(root)))
    left = tuple(mentions(root, _needles(gone, rest), _needles(rest, ())))
    return TakenDown(root, state.number, kind, not created, tuple(p.clip_id for p in gone), files, left)


def _ids(part: HeldPart) -> dict[str, str]:
    """Names that a part goes by, and what each is."""
    video = part.record["video"]
    people = {str(i["identity_id"]): "identity" for i in part.record["identities"]}
    return {part.clip_id: "conversation", **people, video["video_id"]: "video", video["sha256"]: "video"}


def _record(
    number: int,
    gone: Sequence[HeldPart],
    rest: Sequence[HeldPart],
    name: str,
    reason: str,
    by: str,
    now: datetime | None,
) -> dict[str, Any]:
    salt = secrets.token_hex(16)
    kept = {video_of(part) for part in rest}
    spans = {(p.record["video"]["sha256"], *(_span(p) if video_of(p) in kept else WHOLE)) for p in gone}
    return {
        "kind": _ids(gone[0])[name],
        "salt": salt,
        "id_hash": hashed(salt, name),
        "withheld": sorted(
            ({"source_hash": hashed(salt, sha256), "ticks": [start, end]} for sha256, start, end in spans),
            key=lambda row: (row["source_hash"], row["ticks"]),
        ),
        "at": (now or datetime.now(timezone.utc)).isoformat(timespec="seconds"),
        "by": by,
        "reason": reason,
        "removed": {
            "conversations": len(gone),
            "identities": len({i["identity_id"] for p in gone for i in p.record["identities"]}),
            "ticks": sum(int(p.record["conversation"]["n_ticks"]) for p in gone),
        },
        "commit": number,
    }


def _span(part: HeldPart) -> tuple[int, int]:
    talk = part.record["conversation"]
    return int(talk["start_tick"]), int(talk["end_tick"])


def _needles(parts: Iterable[HeldPart], but: Iterable[HeldPart]) -> set[str]:
    """Ids and content hashes of the parts, without those that others share."""
    found = {name for part in parts for name in _ids(part)}
    found |= {entry["sha256"] for part in parts for n, entry in part.record["files"].items() if n.startswith("media/")}
    return found - (_needles(but, ()) if but else set())


def mentions(root: Path, needles: Iterable[str], known: Iterable[str]) -> Iterator[str]:
    """Names of files that have a needle in their name or, frames and media apart, in their bytes.

    Args:
        known: ids that may stay; a needle inside one of them is no mention (``talk-1`` in ``talk-12_c000``).
    """
    wanted = sorted(needles)
    if not wanted:
        return
    stay = [name for name in known if any(needle in name for needle in wanted)]
    pattern = re.compile("[A-Za-z0-9_-]*(?:" + "|".join(map(re.escape, wanted)) + ")[A-Za-z0-9_-]*")
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        name = path.relative_to(root).as_posix()
        text = name if name.startswith(("frames/", "media/")) else name + " " + path.read_bytes().decode("latin-1")
        # looking for plain needles first keeps this linear: almost no file has one
        if any(n in text for n in wanted) and any(not any(s in m[0] for s in stay) for m in pattern.finditer(text)):
            yield name
