"""Which face tracks were given to the two people, and why the others were not."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dialogbuild.report.records import Record

MEANING = {
    "linked": "one of the two people",
    "ambiguous": "probably one of them, but not surely enough: given to nobody",
    "third_face": "somebody who is seen together with both",
    "no_match": "somebody else beside one of them",
    "cutaway": "somebody else, alone",
    "photo": "a photograph",
    "inset": "a second picture of somebody who is in view",
    "no_landmarks": "no landmarks were found on it",
}


@dataclass(frozen=True)
class LinkRow:
    """Tracks of one kind: in how many videos, how many, and for how long."""

    reason: str
    meaning: str
    videos: int
    tracks: int
    seconds: float


def link_rows(records: Sequence[Record]) -> list[LinkRow]:
    """What became of the face tracks of every video whose speakers were assigned, in the order of ``MEANING``."""
    found: dict[str, tuple[int, int, float]] = {}
    for record in records:
        file = Path(record.path or "") / "assign.json"
        if record.stage != "assign" or record.status != "ok" or not record.path or not file.is_file():
            continue
        for reason, entry in json.loads(file.read_text()).get("links", {}).items():
            if isinstance(entry, dict):
                videos, tracks, seconds = found.get(reason, (0, 0, 0.0))
                found[reason] = videos + 1, tracks + int(entry["tracks"]), seconds + float(entry["seconds"])
    known = [reason for reason in MEANING if reason in found]
    others = sorted(found.keys() - MEANING.keys())
    return [LinkRow(reason, MEANING.get(reason, ""), *found[reason]) for reason in [*known, *others]]
