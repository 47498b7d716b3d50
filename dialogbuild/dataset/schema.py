"""The dataset's contract in one place: every table, column, unit, path and version.

The writer, the validator, ``meta/schema.json`` and ``docs/schema.md`` are all driven by ``TABLES``. Change a column
in ``schema_relations`` or ``schema_families`` and nowhere else, raise ``FORMAT_VERSION`` (major: old readers must
refuse; minor: columns were added, each with ``since``) and regenerate the page with
``python -m dialogbuild.dataset.docs_page docs/schema.md``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from dialogbuild.dataset.schema_families import (
    FAMILIES,
    FIT_REASONS,
    LANDMARKS,
    MASK_BYTES,
    MASK_PARTS_BYTES,
    MOTION,
    QUALITY,
    STATES,
    VALID_BITS,
)
from dialogbuild.dataset.schema_relations import CONVERSATIONS, IDENTITIES, RELATIONS, TRACKS, TURNS, VIDEOS
from dialogbuild.dataset.schema_types import Column, Table, major, version_parts, with_described

FORMAT_VERSION: Final = "1.4.0"
AUDIO_RATE_HZ: Final = 16_000
TICK_HZ: Final = 25
SAMPLES_PER_TICK: Final = AUDIO_RATE_HZ // TICK_HZ
CROP_PX: Final = 512
N_LANDMARKS: Final = 478
LANDMARK_STEP_PX: Final = 1 / 64  # landmarks are rounded to this: far below the detector's noise, half the bytes
DEPTH_STEP_PX: Final = 1 / 16
ROLES: Final = ("A", "B")  # role of person 0, 1
SPLITS: Final = ("train", "val", "test")

# Logical names, as a commit lists them. ``{h}`` is the first 16 hex digits of the content's SHA-256.
FRAMES_PATH: Final = "frames/{family}/{split}-{h}.parquet"
MEDIA_PATH: Final = "media/{stem}-{h}{suffix}"
TABLE_NAME: Final = "tables/{table}.parquet"
MANIFEST_NAME: Final = "manifests/{split}.jsonl"
INDEX_NAME: Final = "manifests/{split}.jsonl.idx"
CONVENTION_NAME: Final = "meta/conventions/{id}.json"
INFO_NAME, SCHEMA_NAME, STATS_NAME = "meta/info.json", "meta/schema.json", "meta/stats.json"
CARD_NAME: Final = "meta/README.md"
CROISSANT_NAME: Final = "meta/croissant.json"
PARTS_NAME: Final = "meta/parts.jsonl"  # what each clip was made from: append, merge and takedown go on from it
TAKEDOWNS_NAME: Final = "meta/takedowns.jsonl"  # audit records; names nobody
OBJECT_PATH: Final = "commits/objects/{stem}-{h}{suffix}"  # where the small named files live, one per content

TABLES: Final[Mapping[str, Table]] = {t.name: t for t in (*RELATIONS, *FAMILIES)}

__all__ = [
    "AUDIO_RATE_HZ",
    "CARD_NAME",
    "CONVENTION_NAME",
    "CONVERSATIONS",
    "CROP_PX",
    "DEPTH_STEP_PX",
    "FAMILIES",
    "FIT_REASONS",
    "FORMAT_VERSION",
    "FRAMES_PATH",
    "IDENTITIES",
    "INDEX_NAME",
    "INFO_NAME",
    "LANDMARKS",
    "LANDMARK_STEP_PX",
    "MANIFEST_NAME",
    "MASK_BYTES",
    "MASK_PARTS_BYTES",
    "MEDIA_PATH",
    "MOTION",
    "N_LANDMARKS",
    "OBJECT_PATH",
    "PARTS_NAME",
    "QUALITY",
    "RELATIONS",
    "ROLES",
    "SAMPLES_PER_TICK",
    "SCHEMA_NAME",
    "SPLITS",
    "STATES",
    "STATS_NAME",
    "TABLES",
    "TABLE_NAME",
    "TAKEDOWNS_NAME",
    "TICK_HZ",
    "TRACKS",
    "TURNS",
    "VALID_BITS",
    "VIDEOS",
    "Column",
    "Table",
    "major",
    "version_parts",
    "with_described",
]
