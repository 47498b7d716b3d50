"""Source lists: which files a dataset is made from, under which licence, and what they are called on disk."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

from dialogbuild.errors import ConfigError

Method = Literal["auto", "http", "yt-dlp", "file"]
_SUFFIXES = "mp4 m4v mov mkv webm avi ts m2ts mts mpg mpeg flv wmv ogv 3gp mxf vob"
MEDIA_SUFFIXES = frozenset(f".{suffix}" for suffix in _SUFFIXES.split())
_FIELDS = ("url", "name", "licence", "title", "consent", "sha256", "method")


@dataclass(frozen=True)
class Source:
    """One line of a source list.

    ``name`` is the file's stem in the output folder (and so the video id); without one it is made from the URL.
    ``sha256`` (hex), if given, is what the file must have. Columns that are not known here go to ``extra``.
    """

    url: str
    name: str | None = None
    licence: str | None = None
    title: str | None = None
    consent: str | None = None
    sha256: str | None = None
    method: Method = "auto"
    extra: Mapping[str, Any] = field(default_factory=dict)


def read_sources(path: Path) -> list[Source]:
    """Read a list: CSV with a header, JSONL of objects, or TXT with one address a line (``#`` starts a comment).

    Addresses are http(s) URLs, file:// URLs, or paths, relative ones counted from the list's own folder. Columns:
    ``url`` and, optionally, ``name``, ``licence`` (or ``license``), ``title``, ``consent``, ``sha256``, ``method``.

    Raises:
        ConfigError: the list is missing, empty, malformed, or names a source or a file name twice; all faults at once.
    """
    if not path.is_file():
        raise ConfigError(f"no source list at {path}")
    try:
        rows = list(_rows(path))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{path.name} cannot be read as {path.suffix or 'text'}: {error}") from error
    faults: list[str] = []
    sources = []
    for line, row in rows:
        try:
            sources.append(parse_source(row, path.parent))
        except ConfigError as error:
            faults.append(f"line {line}: {error}")
    faults += check_sources(sources)
    if not rows:
        faults.append("it holds no source")
    if faults:
        raise ConfigError(f"{path.name}: " + "; ".join(faults))
    return sources


def _rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    kind = path.suffix.lower()
    with path.open(encoding="utf-8-sig", newline="") as file:
        if kind == ".csv":
            reader = csv.DictReader(file, strict=True)
            for row in reader:
                yield reader.line_num, {str(k): v for k, v in row.items() if v not in (None, "") and k is not None}
            return
        for number, text in enumerate(file, 1):
            text = text.strip()
            if not text or (kind != ".jsonl" and text.startswith("#")):
                continue
            yield number, _json_row(text) if kind == ".jsonl" else {"url": text}


def _json_row(text: str) -> Mapping[str, Any]:
    try:
        row = json.loads(text)
    except json.JSONDecodeError as error:
        return {"fault": f"not JSON: {error.msg}"}
    return row if isinstance(row, dict) else {"fault": "not a JSON object"}


def parse_source(row: Mapping[str, Any], folder: Path) -> Source:
    """One row of a list; ``folder`` is what relative paths are counted from.

    Raises:
        ConfigError: no address, an unknown scheme or method, or a value that is no text.
    """
    if "fault" in row and "url" not in row:
        raise ConfigError(str(row["fault"]))
    values = {("licence" if k.lower() == "license" else k.lower()): v for k, v in row.items() if v is not None}
    url = values.get("url")
    if not isinstance(url, str) or not url.strip():
        raise ConfigError("no url")
    wrong = [name for name in _FIELDS if not isinstance(values.get(name, ""), str)]
    if wrong:
        raise ConfigError(f"{', '.join(wrong)} must be text")
    method = values.get("method", "auto")
    if method not in ("auto", "http", "yt-dlp", "file"):
        raise ConfigError(f"method {method!r} is none of auto, http, yt-dlp, file")
    extra = {k: v for k, v in values.items() if k not in _FIELDS}
    texts = {k: values[k].strip() for k in ("name", "licence", "title", "consent", "sha256") if k in values}
    return Source(url=absolute_url(url.strip(), folder), method=method, extra=extra, **texts)


def absolute_url(address: str, folder: Path) -> str:
    """http(s) and file URLs as they are, a path as a file:// URL.

    Raises:
        ConfigError: another scheme.
    """
    scheme = urlsplit(address).scheme.lower()
    if scheme in ("http", "https", "file"):
        return address
    if "://" in address:
        raise ConfigError(f"scheme {scheme!r} is not supported: http, https, file or a path")
    return (folder / address).resolve().as_uri()


def check_sources(sources: Sequence[Source]) -> list[str]:
    """What is wrong with a list as a whole: one message per address or file name that occurs twice."""
    urls = Counter(s.url for s in sources)
    stems = Counter(file_stem(s).casefold() for s in {s.url: s for s in sources}.values())
    return [f"{url} is listed {n} times" for url, n in urls.items() if n > 1] + [
        f"{n} sources would be called {stem!r}" for stem, n in stems.items() if n > 1
    ]


def safe_stem(text: str) -> str:
    """Letters, digits, ``-``, ``_`` and inner dots only, at most 80: no folder, no hidden file, no trick."""
    stem = re.sub(r"[^A-Za-z0-9._-]+", "_", text).strip("._-")[:80].rstrip("._-")
    return stem or "video"


def file_stem(source: Source) -> str:
    """The file's name without suffix: the declared one, else the URL's last part and 8 hex digits of its SHA-256."""
    if source.name:
        return safe_stem(_without_media_suffix(source.name))
    last = unquote(urlsplit(source.url).path).rstrip("/").rsplit("/", 1)[-1]
    digest = hashlib.sha256(source.url.encode()).hexdigest()[:8]
    return f"{safe_stem(_without_media_suffix(last))[:70]}-{digest}"


def media_suffix(url: str) -> str | None:
    """The suffix of the URL's path if it is that of a video file, lower case."""
    suffix = Path(unquote(urlsplit(url).path)).suffix.lower()
    return suffix if suffix in MEDIA_SUFFIXES else None


def _without_media_suffix(name: str) -> str:
    suffix = Path(name).suffix
    return name[: -len(suffix)] if suffix.lower() in MEDIA_SUFFIXES else name
