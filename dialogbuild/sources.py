"""Source media of a run: which files are taken, which are left out, and their content hashes."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from dialogbuild.artifact import file_sha256, write_json
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
    duplicate_of: str | None = None  # the video id whose content is the same


def discover(src: Path, hashes: Path | None = None) -> tuple[list[Source], list[Path]]:
    """List the media below ``src`` (a folder, searched whole, or one file).

    Audio files are taken too: that a file is no video is then a recorded outcome instead of silence.

    Args:
        hashes: a JSON file that remembers hashes by path, size and modification time.

    Returns:
        The sources in path order, and the files left out because their suffix is no medium's.

    Raises:
        ConfigError: ``src`` does not exist or holds no medium.
    """
    if not src.exists():
        raise ConfigError(f"{src} does not exist; give a video file or a folder of videos")
    files = [src] if src.is_file() else sorted(p for p in src.rglob("*") if p.is_file() and not _hidden(p, src))
    taken = [p for p in files if src.is_file() or p.suffix.lower() in VIDEO_SUFFIXES | AUDIO_SUFFIXES]
    if not taken:
        raise ConfigError(f"{src} holds no video; looked for {' '.join(sorted(VIDEO_SUFFIXES))}")
    known = _read_hashes(hashes)
    sources: list[Source] = []
    first: dict[str, str] = {}  # content hash -> the video id that had it first
    fresh: dict[str, str] = {}
    for path in taken:
        stat = path.stat()
        mark = f"{path.resolve()}|{stat.st_size}|{stat.st_mtime_ns}"
        digest = fresh[mark] = known.get(mark) or file_sha256(path)
        video_id = _free_id(f"{_slug(path.stem)}-{digest[:8]}", {s.video_id for s in sources})
        twin = first.setdefault(digest, video_id) if stat.st_size else video_id
        sources.append(Source(video_id, path, digest, stat.st_size, None if twin == video_id else twin))
    if hashes is not None and fresh != known:
        hashes.parent.mkdir(parents=True, exist_ok=True)
        write_json(hashes, {**known, **fresh})
    return sources, [p for p in files if p not in set(taken)]


def _hidden(path: Path, root: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(root).parts)


def _slug(stem: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", stem.lower()).strip("_")[:48] or "video"


def _free_id(wanted: str, taken: set[str]) -> str:
    candidate, n = wanted, 2
    while candidate in taken:
        candidate, n = f"{wanted}-{n}", n + 1
    return candidate


def _read_hashes(path: Path | None) -> dict[str, str]:
    if path is None or not path.is_file():
        return {}
    known: dict[str, str] = json.loads(path.read_text())
    return known
