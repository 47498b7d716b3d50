"""``meta/README.md``: the dataset card, for people and for the dataset hubs that read its header."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from dialogbuild import __version__
from dialogbuild.dataset.conventions import PROCEDURAL_WARNING, is_procedural
from dialogbuild.dataset.docs_page import section
from dialogbuild.dataset.schema import TABLES

TITLE: Final = "Two-person dialogue: aligned video, speech and 3D heads"
CITATION: Final = (
    "@misc{dialogbuild_dataset, title={Two-person dialogue: aligned video, speech and 3D heads}, "
    f"note={{made with dialogbuild {__version__}; cite the sources of the videos and the head model too}}}}"
)
# What dataset hubs call these licences; any other text is "other", with its own words under Rights.
_HUB_LICENCES: Final = {
    "cc0-1.0": "cc0-1.0",
    "cc-by-4.0": "cc-by-4.0",
    "cc-by-sa-4.0": "cc-by-sa-4.0",
    "cc-by-nc-4.0": "cc-by-nc-4.0",
    "cc-by-3.0": "cc-by-3.0",
}
_SIZES: Final = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"))


def licences(rights: Mapping[str, Mapping[str, str]]) -> list[str]:
    """The different licences of the videos, sorted."""
    return sorted({r["licence"] for r in rights.values()})


def summary(facts: Mapping[str, Any]) -> str:
    """How much there is, in one sentence."""
    total = facts["totals"]
    return (
        f"{total['hours']:.3f} hours of conversation, {total['conversations']} clips, "
        f"{total['identities']} identities, {total['face_frames']} face-frames at {facts['fps'][0]} fps, "
        f"from {total['videos']} videos."
    )


def limits(facts: Mapping[str, Any]) -> tuple[str, ...]:
    """What the data cannot be trusted for, a sentence each."""
    head = facts["head_model"]
    warned = (PROCEDURAL_WARNING,) if head and is_procedural(str(head["model_id"])) else ()
    return (
        *warned,
        "Labels are estimates made without manual correction. frames/quality has residuals and posterior standard "
        "deviations of every row, motion.valid its validity bits: rows that are not valid hold neutral values.",
        "Where both speak, per-person sound from a mono source holds both voices (tracks.audio_method = mask); "
        "tracks.bleed_db and bleed_corr measure what is left of the other.",
        "conversations.av_offset_ms was measured per video, not per clip; 0 with a sigma of 0 means not measured.",
        "There are no transcripts, and no labels of emotion, language, age or origin. Who is over- or "
        "under-represented among the people shown has not been measured.",
    )


def card(
    facts: Mapping[str, Any],
    rights: Mapping[str, Mapping[str, str]],
    configs: Sequence[Mapping[str, Any]] = (),
    reading: str | None = None,
) -> str:
    """The card's text, of equal bytes for equal arguments.

    Args:
        facts: content of ``meta/info.json``.
        rights: video id -> licence and consent_ref.
        configs: entries for the header's ``configs``, in the form of Hugging Face: config_name and data_files.
        reading: replaces the section on how to read the dataset; for exports.
    """
    head = facts["head_model"]
    model = f"`{head['model_id']}` ({head['licence']}; {head['n_expr']} expressions)" if head else "none"
    warning = f"> **Do not publish.** {PROCEDURAL_WARNING}\n\n" if head and is_procedural(head["model_id"]) else ""
    known = "\n".join(f"- {text}" for text in limits(facts)[1 if warning else 0 :])
    return f"""{_header(facts, rights, configs)}# {TITLE}

{warning}{summary(facts)}

{_split_table(facts)}

- Head model of the 3D labels: {model}. Coefficients of different models are never mixed.
- Tracker: dialogbuild {facts["made_with"]["dialogbuild"]}. Format {facts["format_version"]}; axes, units and joint
  order: `meta/conventions/{facts["convention_id"]}.json`.
- Identities are told apart within a video; nobody is recognised across videos. Splits keep whole groups of linked
  identities, conversations and source files together.

## Known limits
{known}

{_rights_section(rights)}
{reading or _READING}
## Citation
```bibtex
{CITATION}
```

## Tables
<details><summary>All columns, units and meanings</summary>

{chr(10).join(section(table.at(facts["format_version"])) for table in TABLES.values())}
</details>
"""


_READING = """## Reading it
```python
from dialogbuild.dataset.reader import open_dataset
clip = open_dataset("path/to/dataset").read_clip()
clip.persons["A"].motion["expr"].shape      # (T, E) at 25 fps
```
`CURRENT` and `commits/` say which files make up this state; the plain names under `tables/`, `manifests/` and `meta/`
are copies of it. Columns: `meta/schema.json`; for machines: `meta/croissant.json`.
"""


def _header(
    facts: Mapping[str, Any], rights: Mapping[str, Mapping[str, str]], configs: Sequence[Mapping[str, Any]]
) -> str:
    """YAML, each value as JSON: a subset of YAML that needs no library."""
    n = facts["totals"]["conversations"]
    named = licences(rights)
    licence = _HUB_LICENCES.get(named[0].lower(), "other") if len(named) == 1 else "other"
    entries: dict[str, Any] = {
        "pretty_name": TITLE,
        "license": licence,
        **({"license_name": "as-stated-per-video", "license_link": "#rights"} if licence == "other" else {}),
        "size_categories": [next((name for limit, name in _SIZES if n < limit), "n>1M")],
        "task_categories": ["voice-activity-detection", "image-to-3d"],
        "tags": ["talking-head", "dialogue", "3d", "flame", "audio", "video"],
        **({"configs": list(configs)} if configs else {}),
    }
    lines = [f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in entries.items()]
    return "\n".join(["---", *lines, "---\n"])


def _split_table(facts: Mapping[str, Any]) -> str:
    rows = (
        f"| {name} | {s['hours']:.3f} | {s['conversations']} | {s['identities']} | {s['videos']} |"
        for name, s in (*facts["splits"].items(), ("all", facts["totals"]))
    )
    return "\n".join(["| split | hours | clips | identities | videos |", "|---|---:|---:|---:|---:|", *rows])


def _rights_section(rights: Mapping[str, Mapping[str, str]]) -> str:
    unknown = sum(r["consent_ref"] == "unknown" for r in rights.values())
    return f"""## Rights
Source licences: {", ".join(licences(rights)) or "none"}; per video in `tables/videos.parquet`.
Consent reference missing for {unknown} of {len(rights)} videos. The people shown did not thereby agree to any use
beyond what their consent record says.

**Withdrawal.** A person who is shown, or who holds rights in a video, may ask for its removal at any time; name the
video, the clip or the identity. Whoever publishes this dataset states a contact here. Removal makes a new commit and
purges the old one (`dialogbuild takedown`); whoever holds a copy must follow the newest commit and delete older ones.
"""
