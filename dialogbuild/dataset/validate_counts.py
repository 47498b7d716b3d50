"""The part of validation that counts: lengths, totals and intervals that several tables state must agree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dialogbuild.dataset.finding import Finding
from dialogbuild.dataset.schema import SAMPLES_PER_TICK, TABLE_NAME, VALID_BITS, Table
from dialogbuild.tables import Columns

_BUG = "publish again from the clip parts; if it comes back, report it: the writer broke its contract"
_NEUTRAL = ("expr", "root_rad", "neck_rad", "jaw_rad", "eyes_rad", "transl_m")


def check(relations: Mapping[str, Columns], info: Mapping[str, Any]) -> Iterator[Finding]:
    """Lengths of conversations, tracks and turns, the conventions that tracks name, and the totals of info.json."""
    talks, tracks, turns = relations["conversations"], relations["tracks"], relations["turns"]
    yield from _wrong("conversations", "n_ticks is not end_tick - start_tick", _lengths(talks))
    length = dict(zip(talks["conversation_id"], talks["n_ticks"].tolist(), strict=True))
    want = np.array([length.get(c, -1) for c in tracks["conversation_id"]], int)
    yield from _wrong("tracks", "n_rows is not the conversation's n_ticks", tracks["n_rows"] != want)
    strange = tracks["convention_id"] != info["convention_id"]
    yield from _wrong("tracks", "convention_id is not that of meta/info.json", np.asarray(strange, bool))
    limit = np.array([length.get(c, -1) for c in turns["conversation_id"]], int)
    for unit, step in (("tick", 1), ("sample", SAMPLES_PER_TICK)):
        start, end = turns[f"start_{unit}"], turns[f"end_{unit}"]
        yield from _wrong(
            "turns", f"the {unit} interval is empty or leaves its clip", (start >= end) | (end > limit * step)
        )
    total = info["totals"]
    counted = {
        "videos": len(relations["videos"]["video_id"]),
        "conversations": len(length),
        "ticks": sum(length.values()),
    }
    counted |= {"identities": len(relations["identities"]["identity_id"]), "face_frames": int(tracks["n_rows"].sum())}
    for name, n in counted.items():
        if total[name] != n:
            yield Finding("error", "wrong_totals", "meta/info.json", f"{name}: {total[name]}, tables have {n}", _BUG)


def _lengths(talks: Columns) -> NDArray[np.bool_]:
    return np.asarray(talks["end_tick"] - talks["start_tick"] != talks["n_ticks"], bool)


def check_rows(
    family: Table, path: str, columns: Columns, relations: Mapping[str, Columns], mine: NDArray[np.int64]
) -> Iterator[Finding]:
    """What motion rows say of their clip: source ticks, stamps that never go back, known bits, neutral values.

    Args:
        mine: rows of the tracks table that lie in this file.
    """
    if family.name != "motion":
        return
    tracks, talks = relations["tracks"], relations["conversations"]
    start = dict(zip(talks["conversation_id"], talks["start_tick"].tolist(), strict=True))
    for i in mine:
        rows = slice(int(tracks["row_offset"][i]), int(tracks["row_offset"][i]) + int(tracks["n_rows"][i]))
        first = start.get(tracks["conversation_id"][i], 0)
        faults = []
        if (columns["src_tick"][rows] - columns["tick"][rows] != first).any():
            faults.append("src_tick does not start at the conversation's start_tick")
        if (np.diff(columns["pts"][rows]) < 0).any():
            faults.append("pts goes back")
        if faults:
            yield Finding("error", "wrong_rows", path, f"{tracks['track_id'][i]}: {'; '.join(faults)}", _BUG)
    if (columns["valid"] >> len(VALID_BITS)).any():
        yield Finding("error", "out_of_range", path, f"valid: bits from {len(VALID_BITS)} on have no meaning", _BUG)
    unfitted = (columns["valid"] & sum(1 << VALID_BITS[b] for b in ("fit_ok", "interpolated"))) == 0
    filled = [name for name in _NEUTRAL if name in columns and np.asarray(columns[name])[unfitted].any()]
    if filled:
        message = f"rows that are neither fitted nor interpolated hold values in {', '.join(filled)}"
        yield Finding("error", "not_neutral", path, message, _BUG)


def _wrong(table: str, what: str, where: Any) -> Iterator[Finding]:
    if np.any(where):
        message = f"{int(np.sum(where))} rows: {what}"
        yield Finding("error", "wrong_interval", TABLE_NAME.format(table=table), message, _BUG)
