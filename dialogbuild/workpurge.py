"""Remove a video's artefacts from a run's work folder: what a takedown of the dataset does not reach.

Everything of the video goes, its other clips too: they share tracks, landmarks and sound, and are made again from the
source if they may be. Sources, exports and copies elsewhere are nobody's but their owner's to delete.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dialogbuild.artifact import read_done, read_json, write_json
from dialogbuild.errors import ConfigError

_LAST = "ingest"  # deleted last: it says which video an id belongs to, so that an interrupted purge can be repeated


def purge_work(work: Path, name: str) -> list[str]:
    """Delete the artefacts, quarantine records and book entries of the video that ``name`` belongs to.

    Args:
        name: a video id, a source file's SHA-256, an identity id (``<video>_p0``) or a clip id (``<video>_c000``).

    Returns:
        What was deleted or rewritten, relative to ``work``; empty when nothing was there (any more).

    Raises:
        ConfigError: the folder is not there.
    """
    if not work.is_dir():
        raise ConfigError(f"{work} is no folder; --work takes a run's work folder, such as out/work")
    videos = _videos(work, name)
    sources = {sha256 for video in videos for sha256 in _sources(work, video)}
    done = [p for video in videos for p in _books(work, video, sources)]
    folders = [p for video in videos for p in _artefacts(work, video)]
    for path in sorted(folders, key=lambda p: p.parent.name == _LAST):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        done.append(path)
    return [path.relative_to(work).as_posix() for path in done]


def _items(work: Path) -> set[str]:
    return {p.stem if p.is_file() else p.name for p in [*work.glob("[!_]*/*"), *work.glob("_quarantine/*/*.json")]}


def _videos(work: Path, name: str) -> set[str]:
    """Video ids that the name belongs to; none when the work folder knows nothing of it."""
    clip_or_person = re.compile(r"(.+)_[cp]\d+")
    items = _items(work)
    known = {m[1] if (m := clip_or_person.fullmatch(item)) else item for item in items}
    owner = m[1] if (m := clip_or_person.fullmatch(name)) else name
    by_content = {video for video in known if name in _sources(work, video)}
    return ({name, owner} & known) | by_content


def _sources(work: Path, video: str) -> set[str]:
    """SHA-256 of the files that the video's artefacts were made from."""
    found = (read_done(path) for path in sorted(work.glob(f"[!_]*/{_escaped(video)}/*")))
    return {str(done["source_sha256"]) for done in found if done and "source_sha256" in done}


def _escaped(name: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", name)


def _artefacts(work: Path, video: str) -> list[Path]:
    own = re.compile(re.escape(video) + r"(_[cp]\d+)?")
    found = [*work.glob("[!_]*/*"), *work.glob("_quarantine/*/*.json")]
    return [p for p in found if own.fullmatch(p.name if p.is_dir() else p.stem)]


def _books(work: Path, video: str, sources: Iterable[str]) -> list[Path]:
    """Take the video out of the run's books and logs under ``_run``; the files that changed."""
    changed = []
    own = re.compile(r"(?<![A-Za-z0-9_-])" + re.escape(video) + r"(_[cp]\d+)?(?![A-Za-z0-9_-])")
    wanted = set(sources)

    def is_about(value: Any) -> bool:
        text = json.dumps(value)
        return bool(own.search(text)) or any(sha256 in text for sha256 in wanted)

    for path in sorted((work / "_run").glob("*.json")):
        value = read_json(path)
        kept: Any = value
        if isinstance(value, list):
            kept = [row for row in value if not is_about(row)]
        elif isinstance(value, dict) and path.name.startswith("hashes"):
            kept = {k: v for k, v in value.items() if not is_about([k, v])}
        if kept != value:
            write_json(path, kept)
            changed.append(path)
    for path in sorted([*(work / "_run").glob("*.jsonl"), *(work / "_run").glob("*.log")]):
        lines = path.read_text("latin-1").splitlines(keepends=True)
        left = [line for line in lines if not is_about(line)]
        if left != lines:
            scratch = path.with_name(f".{path.name}")
            scratch.write_text("".join(left), "latin-1")
            scratch.replace(path)
            changed.append(path)
    return changed
