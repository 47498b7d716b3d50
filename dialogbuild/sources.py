"""Source media of a run: which files are taken, which are left out, and their content hashes."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dialogbuild.artifact import file_sha256, read_json, source_mark, write_json
from dialogbuild.errors import ConfigError

_VIDEO = "mp4 m4v mov mkv webm avi ts m2ts mts mpg mpeg flv wmv 3gp ogv mxf vob"
_AUDIO = "wav mp3 m4a flac ogg opus aac wma"
VIDEO_SUFFIXES = frozenset(f".{suffix}" for suffix in _VIDEO.split())  # a list would be 17 lines
AUDIO_SUFFIXES = frozenset(f".{suffix}" for suffix in _AUDIO.split())


@dataclass(frozen=True)
class Source:
    """One input file. Its ``video_id`` follows the content, so that a renamed folder recomputes nothing."""

    video_id: str
    path: Path
    sha256: str
    bytes: int
    mark: tuple[int, int]  # size and mtime_ns when it was hashed
    duplicate_of: str | None = None  # the video id whose content is the same
    error: str | None = None  # why it could not be read


def discover(src: Path, hashes: Path | None = None, leave_out: Sequence[Path] = ()) -> tuple[list[Source], list[Path]]:
    """List the media below ``src`` (a folder, searched whole, or one file).

    Audio files are taken too: that a file is no video is then a recorded outcome instead of silence.

    Args:
        hashes: a JSON file that remembers hashes by path, size and modification time.
        leave_out: folders that are never searched, such as the run's own output.

    Returns:
        The sources in path order, and the files left out because their suffix is no medium's.

    Raises:
        ConfigError: ``src`` does not exist or holds no medium.
    """
    if not src.exists():
        raise ConfigError(f"{src} does not exist; give a video file or a folder of videos")
    files = [src] if src.is_file() else _files(src, leave_out)
    taken = [p for p in files if src.is_file() or p.suffix.lower() in VIDEO_SUFFIXES | AUDIO_SUFFIXES]
    if not taken:
        raise ConfigError(f"{src} holds no video; looked for {' '.join(sorted(VIDEO_SUFFIXES))}")
    known: dict[str, str] = read_json(hashes, {}) if hashes is not None else {}
    sources: list[Source] = []
    first: dict[str, str] = {}  # content hash -> the video id that had it first
    fresh: dict[str, str] = {}
    for path in taken:
        try:
            mark = source_mark(path)
            place = f"{path.resolve()}|{mark[0]}|{mark[1]}"
            digest = fresh[place] = known.get(place) or file_sha256(path)
        except OSError as error:
            video_id = _free_id(f"{_slug(path.stem)}-unread", {s.video_id for s in sources})
            reason = f"the file cannot be read: {error.strerror or error}"
            sources.append(Source(video_id, path, "", 0, (0, 0), error=reason))
            continue
        video_id = _free_id(f"{_slug(path.stem)}-{digest[:8]}", {s.video_id for s in sources})
        twin = first.setdefault(digest, video_id) if mark[0] else video_id
        sources.append(Source(video_id, path, digest, mark[0], mark, None if twin == video_id else twin))
    if hashes is not None and fresh != known:
        hashes.parent.mkdir(parents=True, exist_ok=True)
        write_json(hashes, {**known, **fresh})
    return sources, [p for p in files if p not in set(taken)]


def _files(root: Path, leave_out: Sequence[Path]) -> list[Path]:
    """Files below ``root`` in path order; links are followed, each folder once, hidden ones never."""
    skip = {path.resolve() for path in leave_out}
    visited: set[Path] = set()
    found = []
    for folder, inner, names in os.walk(root, followlinks=True):
        here = Path(folder)
        if here.resolve() in visited | skip:
            inner.clear()
            continue
        visited.add(here.resolve())
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        found += [here / name for name in names if not name.startswith(".")]
    return sorted(found)


def _slug(stem: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", stem.lower()).strip("_")[:48] or "video"


def _free_id(wanted: str, taken: set[str]) -> str:
    candidate, n = wanted, 2
    while candidate in taken:
        candidate, n = f"{wanted}-{n}", n + 1
    return candidate
