"""What was taken down stays out: audit records that recognise it again and name nobody.

A record holds, under a salt of its own, the hash of the id that was asked for and of every source whose ticks went
with it. A part is withheld when one of its ids, or its source at overlapping ticks, has one of these hashes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from dialogbuild.dataset.part import Part

WHOLE = (0, 2**31 - 1)  # ticks of a source that is withheld altogether


def hashed(salt: str, name: str) -> str:
    """Hash of an id or of a source's SHA-256 under a record's salt. 64 hex digits."""
    return hashlib.sha256(f"dialogbuild-takedown:{salt}:{name}".encode()).hexdigest()


def is_about(record: Mapping[str, Any], name: str) -> bool:
    """True when the record is of the takedown of that id."""
    return bool(hashed(record["salt"], name) == record["id_hash"])


def is_withheld(part: Part, takedowns: Iterable[Mapping[str, Any]]) -> bool:
    """True when a takedown covers the part."""
    talk, video = part.record["conversation"], part.record["video"]
    ids = (part.clip_id, video["video_id"], *(i["identity_id"] for i in part.record["identities"]))
    for record in takedowns:
        if any(is_about(record, name) for name in ids):
            return True
        source = hashed(record["salt"], video["sha256"])
        for withheld in record["withheld"]:
            if withheld["source_hash"] == source and _overlap(withheld["ticks"], talk):
                return True
    return False


def first_commit(takedowns: Iterable[Mapping[str, Any]]) -> int:
    """The oldest commit that may exist: that of the last takedown; 1 when there was none."""
    return max((int(record["commit"]) for record in takedowns), default=1)


def _overlap(ticks: Iterable[int], talk: Mapping[str, Any]) -> bool:
    start, end = ticks
    return bool(start < talk["end_tick"] and talk["start_tick"] < end)
