"""Bytes to a partial file: local files, plain HTTP with resume, and yt-dlp. What they are is decided later."""

from __future__ import annotations

import errno
import http.client
import json
import os
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from dialogbuild.errors import DialogbuildError, Reject

_AGENT = "dialogbuild (+https://pypi.org/project/dialogbuild)"
_BLOCK = 1 << 18
_GONE = (404, 410, 451)
_PAGES = ("text/html", "application/xhtml+xml", "application/json", "application/xml", "text/xml")
Report = Callable[[int], None]  # bytes that came in since the last call


class FetchError(DialogbuildError):
    """A source could not be fetched now; another run may succeed. What has arrived is kept and resumed."""


@dataclass(frozen=True)
class Fetched:
    """A complete file at a temporary place, and what the server said about it."""

    path: Path
    content_type: str | None = None
    etag: str | None = None
    last_modified: str | None = None
    title: str | None = None
    licence: str | None = None


def fetch_file(url: str, part: Path, link: bool) -> Fetched:
    """Hard-link or copy a local file to ``part``. The original is never written to.

    Raises:
        FetchError: it is not there, not a regular file, or not readable.
    """
    path = Path(unquote(urlsplit(url).path)).resolve()
    try:
        if not path.is_file():
            raise FetchError(f"no file at {path}")
        part.unlink(missing_ok=True)
        if link:
            try:
                os.link(path, part)
                return Fetched(part)
            except OSError as error:  # another file system, or one without hard links
                if error.errno not in (errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.EACCES):
                    raise
        shutil.copyfile(path, part)
    except OSError as error:
        raise FetchError(f"{type(error).__name__}: {error}") from error
    return Fetched(part)


def fetch_http(
    url: str, part: Path, timeout_s: float = 30, attempts: int = 4, backoff_s: float = 1.0, report: Report | None = None
) -> Fetched:
    """Download to ``part``, resuming what an earlier try left there if the server vouches that it is the same file.

    Args:
        timeout_s: of each network operation, not of the whole transfer.
        attempts: tries after a broken connection or a busy server; each goes on where the last one ended.
        backoff_s: pause before the second try, doubled each time.

    Raises:
        Reject: ``dead_link`` (404, 410, 451) or ``not_a_video`` (the server answers with a page).
        FetchError: anything that may pass: the values of the last try.
    """
    error: Exception | None = None
    for attempt in range(attempts):
        if attempt:
            time.sleep(backoff_s * 2 ** (attempt - 1))
        try:
            return _transfer(url, part, timeout_s, report or (lambda _: None))
        except urllib.error.HTTPError as answer:
            answer.close()
            if answer.code in _GONE:
                raise Reject("dead_link", http_status=answer.code) from answer
            if answer.code == 416:  # what is there is not a beginning of this file
                _forget(part)
            elif answer.code < 500 and answer.code not in (408, 425, 429):
                raise FetchError(f"HTTP {answer.code} {answer.reason}") from answer
            error = answer
        except (OSError, http.client.HTTPException, FetchError) as trouble:
            if isinstance(trouble, OSError) and trouble.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
                raise
            error = trouble
    raise FetchError(f"{type(error).__name__}: {error} (after {attempts} tries)") from error


def _transfer(url: str, part: Path, timeout_s: float, report: Report) -> Fetched:
    have, headers = _resume_headers(url, part)
    address = quote(url, safe="%/:=&?~#+!$,;'@()*[]")
    request = urllib.request.Request(address, headers={"User-Agent": _AGENT, "Accept-Encoding": "identity", **headers})
    with _opener().open(request, timeout=timeout_s) as answer:
        kind = answer.headers.get_content_type() if answer.headers["Content-Type"] else None
        if kind in _PAGES:
            raise Reject("not_a_video", content_type=kind, http_status=answer.status)
        start, total = _extent(answer, have)
        tags = _Tags(url, answer.headers["ETag"], answer.headers["Last-Modified"], total)
        _beside(part).write_text(json.dumps(asdict(tags)))
        with part.open("r+b" if start else "wb") as file:
            file.truncate(start)
            file.seek(start)
            while block := answer.read(_BLOCK):
                file.write(block)
                report(len(block))
            size = file.tell()
    if total is not None and size != total:
        raise FetchError(f"connection ended after {size} of {total} bytes")
    _beside(part).unlink()
    return Fetched(part, kind, tags.etag, tags.last_modified)


@dataclass(frozen=True)
class _Tags:
    url: str
    etag: str | None
    last_modified: str | None
    total: int | None


def _beside(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _beside(part).unlink(missing_ok=True)


def _resume_headers(url: str, part: Path) -> tuple[int, dict[str, str]]:
    """(bytes already there, headers that ask for the rest). Without a validator of the same URL: start anew."""
    try:
        tags = _Tags(**json.loads(_beside(part).read_text()))
        have = part.stat().st_size
    except (OSError, ValueError, TypeError):
        return 0, {}
    strong = tags.etag if tags.etag and not tags.etag.startswith("W/") else None
    validator = strong or tags.last_modified
    if tags.url != url or have == 0 or validator is None:
        return 0, {}
    return have, {"Range": f"bytes={have}-", "If-Range": validator}


def _extent(answer: Any, have: int) -> tuple[int, int | None]:
    """(where the body begins in the file, length of the whole file or None)."""
    length = answer.headers["Content-Length"]
    if answer.status != 206:
        return 0, int(length) if length is not None and length.isdigit() else None
    match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", answer.headers["Content-Range"] or "")
    if match is None or int(match[1]) != have:
        raise FetchError(f"asked for bytes from {have}, the server sent {answer.headers['Content-Range']!r}")
    return have, None if match[3] == "*" else int(match[3])


@cache
def _opener() -> urllib.request.OpenerDirector:
    """Follows redirects to http and https only; never to a local file."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler, urllib.request.HTTPHandler, urllib.request.HTTPSHandler,
        urllib.request.HTTPRedirectHandler, urllib.request.HTTPDefaultErrorHandler, urllib.request.HTTPErrorProcessor,
        urllib.request.UnknownHandler,
    ):  # fmt: skip
        opener.add_handler(handler())
    return opener


@cache
def has_extractor(url: str) -> bool:
    """Whether yt-dlp knows the site of this URL (its catch-all extractor does not count)."""
    from yt_dlp.extractor import list_extractor_classes

    return any(ie.suitable(url) for ie in list_extractor_classes() if ie.ie_key() != "Generic")


class _Silent:
    """yt-dlp's logger: messages come back in the exception, not on the terminal."""

    def debug(self, message: str) -> None:
        del message

    info = warning = error = debug


def fetch_ytdlp(
    url: str, part: Path, max_height_px: int, timeout_s: float, attempts: int, report: Report | None = None
) -> Fetched:
    """Download one video of a site that yt-dlp knows, best video and sound up to ``max_height_px``, as Matroska or MP4.

    Raises:
        FetchError: yt-dlp's own message.
    """
    import yt_dlp

    from dialogbuild.media.encode import ffmpeg_binary

    seen = {"bytes": 0}

    def hook(state: dict[str, Any]) -> None:
        done = int(state.get("downloaded_bytes") or 0)
        if report is not None and done > seen["bytes"]:
            report(done - seen["bytes"])
        seen["bytes"] = done

    options = {
        "outtmpl": str(part).replace("%", "%%") + ".%(ext)s",
        "format": f"bv*[height<={max_height_px}]+ba/b[height<={max_height_px}]/bv*+ba/b",
        "merge_output_format": "mp4/mkv", "noplaylist": True, "playlist_items": "1", "continuedl": True,
        "retries": attempts, "fragment_retries": attempts, "socket_timeout": timeout_s, "quiet": True,
        "no_warnings": True, "noprogress": True, "logger": _Silent(), "progress_hooks": [hook], "cachedir": False,
        "ffmpeg_location": ffmpeg_binary(), "updatetime": False, "enable_file_urls": False,
    }  # fmt: skip
    try:
        with yt_dlp.YoutubeDL(options) as downloader:
            info = downloader.extract_info(url, download=True)
            if info and info.get("entries"):
                info = next(iter(info["entries"]))
            path = Path(info["requested_downloads"][0]["filepath"])
    except yt_dlp.utils.YoutubeDLError as error:
        raise FetchError(f"yt-dlp: {error}") from error
    except (KeyError, TypeError, IndexError, StopIteration) as error:
        raise FetchError("yt-dlp found no video at this address") from error
    return Fetched(path, title=info.get("title"), licence=info.get("license"))
