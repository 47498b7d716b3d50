"""RTTM files: read what anyone's diarizer wrote (NIST RT-09 evaluation plan, appendix A).

SPEAKER <file> <channel> <start_s> <duration_s> <ortho> <subtype> <speaker> [<confidence> [<lookahead>]]
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from dialogbuild.dialogue.backends.heard import Span
from dialogbuild.errors import DialogbuildError

# Objects of the format that say nothing about who speaks.
_OTHER_TYPES = {"SEGMENT", "NOSCORE", "NO_RT_METADATA", "LEXEME", "NON-LEX", "NON-SPEECH", "FILLER", "EDIT", "IP", "SU"}
_OTHER_TYPES |= {"CB", "A/P", "SPKR-INFO"}


class RttmError(DialogbuildError):
    """An RTTM file is missing or malformed; the message names the file, the line and what is wrong."""


def rttm_path(where: Path, stem: str) -> Path:
    """The file with the turns of the video ``<stem>.*``: ``where`` itself, or ``<stem>.rttm`` inside that folder."""
    return where / f"{stem}.rttm" if where.is_dir() else where


def read_rttm(path: Path, names: Sequence[str], own_file: bool) -> list[Span]:
    """Speakers' spans of one recording, in file order.

    Args:
        names: file ids that mean this recording.
        own_file: the file belongs to this recording alone: if it knows a single other id, that one is meant too, and
            an empty file means that nobody speaks.

    Raises:
        RttmError: unreadable, malformed, or without this recording.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise RttmError(f"{path} does not exist; put the speakers' turns of this video there, as RTTM") from None
    except (OSError, UnicodeDecodeError) as error:
        raise RttmError(f"{path} cannot be read: {error}") from None
    spans = parse_rttm(text, str(path))
    found = [name for name in names if name in spans]
    if not found and own_file and len(spans) <= 1:
        found = list(spans)
    elif not found:
        raise RttmError(f"{path} has no line of {' or '.join(names)}; its file ids: {', '.join(sorted(spans)[:9])}")
    return [span for name in dict.fromkeys(found) for span in spans[name]]


def parse_rttm(text: str, where: str) -> dict[str, list[Span]]:
    """Spans by file id. Blank lines, comments and objects other than ``SPEAKER`` are skipped.

    Args:
        where: what errors call the text.

    Raises:
        RttmError: with the number of the first malformed line.
    """
    spans: dict[str, list[Span]] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        fields = line.split()
        if not fields or fields[0].startswith((";", "#")) or fields[0] in _OTHER_TYPES:
            continue
        if fields[0] != "SPEAKER":
            raise RttmError(f"{where}, line {number}: starts with {fields[0][:20]!r}; expected SPEAKER")
        if not 8 <= len(fields) <= 10:
            raise RttmError(f"{where}, line {number}: {len(fields)} fields; expected 8 to 10 (a name has no spaces)")
        start_s, duration_s = (_seconds(fields[i], name, where, number) for i, name in ((3, "start"), (4, "duration")))
        if duration_s < 0:
            raise RttmError(f"{where}, line {number}: duration {fields[4]} is negative")
        if fields[7] == "<NA>":
            raise RttmError(f"{where}, line {number}: no speaker name in field 8")
        spans.setdefault(fields[1], []).append((fields[7], start_s, start_s + duration_s))
    return spans


def _seconds(field: str, name: str, where: str, number: int) -> float:
    try:
        value = float(field)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise RttmError(f"{where}, line {number}: {name} {field[:20]!r} is no number of seconds")
    return value
