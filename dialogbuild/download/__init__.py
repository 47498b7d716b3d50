"""Fetch the sources of a dataset, and keep an honest account of every one of them.

``download`` leaves in its output folder the videos and ``sources.jsonl``: one record per source, ``ok``, ``rejected``
(the data is unsuitable: a dead link, a page instead of a video, a cut file) or ``failed`` (tried again by the next
run). Nothing is called a video before its bytes were opened as one, and a file has its name only when complete.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from tqdm import tqdm

from dialogbuild.artifact import file_sha256
from dialogbuild.download.fetch import Fetched, FetchError, fetch_file, fetch_http, fetch_ytdlp, has_extractor
from dialogbuild.download.sources import Source, check_sources, file_stem, media_suffix, read_sources
from dialogbuild.errors import ConfigError, Reject

__all__ = ["DownloadOptions", "Record", "Source", "download", "read_records", "read_sources"]

RECORDS = "sources.jsonl"
_PARTS = ".parts"
_SUFFIX_OF = {"matroska,webm": ".mkv", "mpegts": ".ts", "avi": ".avi", "flv": ".flv", "asf": ".wmv", "mpeg": ".mpg"}


@dataclass(frozen=True)
class DownloadOptions:
    """How to fetch; none of it changes what an ok file holds, except ``max_height_px``."""

    timeout_s: float = 30.0  # of each network operation
    attempts: int = 4  # tries per source and run
    backoff_s: float = 1.0  # pause before the second try, doubled each time
    link: bool = True  # local files: hard link where possible, else copy
    max_height_px: int = 1080  # yt-dlp only: larger faces than this gives cost time, not quality
    retry_rejected: bool = False  # try rejected sources again, too


@dataclass(frozen=True)
class Record:
    """One source's outcome, a line of ``sources.jsonl``. ``file`` is relative to the output folder."""

    url: str
    status: Literal["ok", "rejected", "failed"]
    reason: str | None = None  # of a rejection, one word; of a failure, the message
    values: dict[str, Any] = field(default_factory=dict)  # the numbers behind a rejection
    file: str | None = None
    bytes: int | None = None
    sha256: str | None = None
    method: str | None = None
    content_type: str | None = None
    etag: str | None = None
    last_modified: str | None = None
    licence: str | None = None  # as the source list declares it
    licence_reported: str | None = None  # as the site reports it
    title: str | None = None
    consent: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)


def download(
    sources: Path | Sequence[Source], out: Path, options: DownloadOptions | None = None, quiet: bool | None = None
) -> list[Record]:
    """Fetch every source into ``out``; sources that are already there are left alone.

    Args:
        sources: a list file (see ``read_sources``) or the sources themselves.
        quiet: no progress bar; None = none unless standard error is a terminal.

    Returns:
        One record per source, in the order of the list. The same records are in ``out/sources.jsonl``, together with
        those of earlier lists.

    Raises:
        ConfigError: the list is wrong; nothing was fetched.
        OSError: ``out`` cannot be written.
    """
    options = options or DownloadOptions()
    wanted = read_sources(sources) if isinstance(sources, Path) else list(sources)
    if faults := check_sources(wanted):
        raise ConfigError("; ".join(faults))
    (out / _PARTS).mkdir(parents=True, exist_ok=True)
    known = {r.url: r for r in read_records(out)}
    if taken := _name_clashes(wanted, known):
        raise ConfigError("; ".join(taken))
    _compact(out, list(known.values()))  # a line cut off by a crash must not swallow the next one
    records = []
    hide = not sys.stderr.isatty() if quiet is None else quiet
    with _Bar(len(wanted), hide) as bar, (out / RECORDS).open("a", encoding="utf-8") as journal:
        for source in wanted:
            record = _renamed(known.get(source.url), source, out)
            if record is None or not _settled(record, source, out, options):
                record = _fetch_one(source, out, options, bar.note_bytes)
            record = _declare(record, source)
            records.append(record)
            if known.get(source.url) != record:
                known[source.url] = record
                journal.write(_line(record))
                journal.flush()
            bar.step(record.status)
    _compact(out, list(known.values()))
    return records


def _name_clashes(wanted: Sequence[Source], known: Mapping[str, Record]) -> list[str]:
    """Sources whose file name already belongs to a source of an earlier list."""
    owner = {Path(r.file).stem.casefold(): r.url for r in known.values() if r.file}
    clashes = [(s, owner.get(file_stem(s).casefold(), s.url)) for s in wanted]
    return [f"{s.url} would be called {file_stem(s)!r}, which is {url}" for s, url in clashes if url != s.url]


def read_records(out: Path) -> list[Record]:
    """The records of an output folder, the latest per source; a line cut off by a crash is passed over."""
    latest: dict[str, Record] = {}
    path = out / RECORDS
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                record = Record(**json.loads(line))
            except (ValueError, TypeError):
                continue
            latest[record.url] = record
    return list(latest.values())


def _settled(record: Record, source: Source, out: Path, options: DownloadOptions) -> bool:
    """Whether a source needs no further try: its file is there, whole, and is the one the list asks for."""
    if record.status == "rejected":
        return not options.retry_rejected and record.reason != "sha256_mismatch"
    if record.status != "ok" or record.file is None or (source.sha256 and source.sha256.lower() != record.sha256):
        return False
    path = out / record.file
    return path.is_file() and path.stat().st_size == record.bytes


def _renamed(record: Record | None, source: Source, out: Path) -> Record | None:
    """The record after the list has changed a file's name: the file moves, nothing is fetched again."""
    if record is None or record.file is None or Path(record.file).stem == file_stem(source):
        return record
    if not (out / record.file).is_file():
        return record
    file = file_stem(source) + Path(record.file).suffix
    os.replace(out / record.file, out / file)
    return replace(record, file=file)


def _fetch_one(source: Source, out: Path, options: DownloadOptions, report: Callable[[int], None]) -> Record:
    part = out / _PARTS / file_stem(source)
    method = _method(source)
    try:
        fetched = _fetch(source, method, part, options, report)
    except Reject as verdict:
        return Record(source.url, "rejected", verdict.reason, dict(verdict.values), method=method)
    except FetchError as error:
        return Record(source.url, "failed", str(error), method=method)
    try:
        return _accept(source, fetched, out, method)
    except Reject as verdict:
        fetched.path.unlink()
        return Record(
            source.url, "rejected", verdict.reason, dict(verdict.values), method=method,
            content_type=fetched.content_type, etag=fetched.etag, last_modified=fetched.last_modified,
        )  # fmt: skip


def _method(source: Source) -> str:
    if source.url.lower().startswith("file:"):
        return "file"
    if source.method != "auto":
        return source.method
    return "http" if media_suffix(source.url) or not has_extractor(source.url) else "yt-dlp"


def _fetch(source: Source, method: str, part: Path, options: DownloadOptions, report: Callable[[int], None]) -> Fetched:
    if method == "file":
        return fetch_file(source.url, part, options.link)
    if method == "http":
        return fetch_http(source.url, part, options.timeout_s, options.attempts, options.backoff_s, report)
    return fetch_ytdlp(source.url, part, options.max_height_px, options.timeout_s, options.attempts, report)


def _accept(source: Source, fetched: Fetched, out: Path, method: str) -> Record:
    """Open the bytes as a video, check their hash, give them their name.

    Raises:
        Reject: they are no video, or not the one that was asked for.
    """
    from dialogbuild.media.probe import probe

    facts = probe(fetched.path)
    sha256 = file_sha256(fetched.path)
    if source.sha256 and source.sha256.lower() != sha256:
        raise Reject("sha256_mismatch", expected=source.sha256.lower(), found=sha256)
    suffix = media_suffix(fetched.path.as_uri()) or media_suffix(source.url) or _SUFFIX_OF.get(facts.container, ".mp4")
    final = out / (file_stem(source) + suffix)
    assert final.parent == out
    os.replace(fetched.path, final)
    return Record(
        source.url, "ok", file=final.name, bytes=final.stat().st_size, sha256=sha256, method=method,
        content_type=fetched.content_type, etag=fetched.etag, last_modified=fetched.last_modified,
        licence_reported=fetched.licence, title=fetched.title,
    )  # fmt: skip


def _declare(record: Record, source: Source) -> Record:
    """The record with what the list says now about rights and title: lists are corrected without fetching again."""
    declared: dict[str, Any] = {"licence": source.licence, "consent": source.consent, "extra": dict(source.extra)}
    return replace(record, **declared, title=source.title or record.title)


def _line(record: Record) -> str:
    return json.dumps(asdict(record), sort_keys=True, ensure_ascii=False) + "\n"


def _compact(out: Path, records: list[Record]) -> None:
    """One line per source, ordered by address, so that equal outcomes are equal bytes."""
    tmp = out / _PARTS / RECORDS
    tmp.write_text("".join(_line(r) for r in sorted(records, key=lambda r: r.url)), encoding="utf-8")
    os.replace(tmp, out / RECORDS)


class _Bar:
    """One bar over the sources, with the bytes that came in so far."""

    def __init__(self, total: int, quiet: bool) -> None:
        self._bar = tqdm(total=total, unit="source", disable=quiet, file=sys.stderr)
        self._bytes = 0
        self._counts: dict[str, int] = {}

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._bar.close()

    def note_bytes(self, n: int) -> None:
        """More bytes came in."""
        self._bytes += n
        self._show()

    def step(self, status: str) -> None:
        """A source is done."""
        self._counts[status] = self._counts.get(status, 0) + 1
        self._bar.update(1)
        self._show()

    def _show(self) -> None:
        self._bar.set_postfix({"MB": self._bytes >> 20, **self._counts}, refresh=False)
