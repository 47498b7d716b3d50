"""Where a dataset's files are: a local folder, or any place that fsspec reaches.

Of a remote dataset the small files (commit record, manifests, tables, meta) are mirrored into the cache folder, so that
``Dataset`` opens it as a local one. Frame families and media are read from where they are, or fetched when asked for
by path. Whatever is fetched is compared with the commit's SHA-256 before anyone sees it.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import uuid
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

import pyarrow.fs as pa_fs
import pyarrow.parquet as pq

from dialogbuild.artifact import file_sha256
from dialogbuild.dataset.commit import Commit, Entry, commit_path, read_current
from dialogbuild.dataset.reader import Dataset
from dialogbuild.errors import DatasetError, MissingPart


def cache_folder(folder: Path | str | None) -> Path:
    """The folder that was asked for, else ``$XDG_CACHE_HOME/dialogbuild``, else ``~/.cache/dialogbuild``."""
    if folder is not None:
        return Path(folder)
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base else Path.home() / ".cache") / "dialogbuild"


def is_url(root: Path | str) -> bool:
    """Whether ``root`` names a place that fsspec has to open (``s3://bucket/set``) and not a local folder."""
    return isinstance(root, str) and "://" in root


class Store:
    """The files of one dataset's current commit. Picklable; every process opens its own connections.

    Args:
        root: local folder, or a URL that fsspec understands.
        cache: where remote files are kept.

    Attributes:
        dataset: the opened dataset (manifest rows, info, tables, commit).

    Raises:
        DatasetError: no dataset there, or a file differs from the commit.
        MissingPart: fsspec, or its driver for this kind of URL, is not installed.
    """

    def __init__(self, root: Path | str, cache: Path) -> None:
        self.url = str(root).rstrip("/") if is_url(root) else None
        self._cache = cache
        self.dataset = Dataset(_mirror(self.url, cache) if self.url else Path(root))
        self._sound: set[str] = set()  # files of a local dataset that were compared with the commit
        for entry in self.dataset.commit.files.values():
            _inside(entry.path)

    @property
    def commit(self) -> Commit:
        """The commit that all paths refer to."""
        return self.dataset.commit

    def entry(self, path: str) -> Entry:
        """The commit's entry of a frame or media file. DatasetError when a manifest names one that it lacks."""
        found = self.commit.files.get(path)
        if found is None:
            raise DatasetError(f"{path} is named by a manifest but not by the commit: validate the dataset")
        return found

    def open(self, path: str) -> BinaryIO:
        """A seekable binary file. DatasetError when it is missing."""
        self.entry(path)
        try:
            if self.url is None:
                return (self.dataset.root / path).open("rb")
            system, base = _connect(self.url)
            return cast(BinaryIO, system.open(f"{base}/{path}", "rb"))
        except FileNotFoundError:
            raise DatasetError(f"{path} is missing: validate the dataset, then publish or copy it again") from None

    def parquet(self, path: str) -> pq.ParquetFile:
        """A Parquet file whose page checksums are verified; Arrow closes it when it is dropped. OSError as Arrow's.

        Page checksums leave headers and footer out: a local file is compared with the commit when first opened.

        Raises:
            DatasetError: a local file is not what was committed.
        """
        entry = self.entry(path)
        if self.url is None:
            if path not in self._sound:
                check_sha256(self.dataset.root / path, entry)
                self._sound.add(path)
            return pq.ParquetFile(self.dataset.root / path, page_checksum_verification=True)
        system, base = _connect(self.url)
        handler = pa_fs.PyFileSystem(pa_fs.FSSpecHandler(system))
        return pq.ParquetFile(f"{base}/{path}", filesystem=handler, page_checksum_verification=True)

    def local(self, path: str) -> Path:
        """A local file with the content of ``path``; remote ones are fetched into the cache once.

        Raises:
            DatasetError: missing, or what was fetched is not what the commit lists.
        """
        entry = self.entry(path)
        if self.url is None:
            return self.dataset.root / path
        target = self._cache / "files" / (entry.sha256 + PurePosixPath(path).suffix)
        if not target.is_file() or target.stat().st_size != entry.bytes:
            self._fetch(entry, target)
        return target

    def _fetch(self, entry: Entry, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{uuid.uuid4().hex}.part")
        try:
            with self.open(entry.path) as source, part.open("wb") as sink:
                shutil.copyfileobj(source, sink, 1 << 20)
            check_sha256(part, entry)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)


def check_sha256(file: Path, entry: Entry) -> None:
    """Compare a local file with its entry. DatasetError when it differs or is missing."""
    if not file.is_file() or file.stat().st_size != entry.bytes or file_sha256(file) != entry.sha256:
        raise DatasetError(
            f"{entry.path} is damaged or missing: it is not what was committed; publish or copy it again"
        )


def _inside(path: str) -> None:
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or "\\" in path:
        raise DatasetError(f"the commit names {path!r}, which lies outside the dataset: do not trust this dataset")


def _connect(url: str) -> tuple[Any, str]:
    try:
        import fsspec  # type: ignore[import-untyped]

        system, base = fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise MissingPart(f"{url} needs a driver: {error}; pip install fsspec and the package named there") from None
    return system, str(base).rstrip("/")


def _mirror(url: str, cache: Path) -> Path:
    """Copy a remote dataset's small files of the current commit; the local folder, complete whenever it is read."""
    system, base = _connect(url)
    try:
        current = system.cat_file(f"{base}/CURRENT").decode()
    except FileNotFoundError:
        raise DatasetError(f"{url} holds no dataset: CURRENT is missing; give the folder that publish wrote") from None
    if not re.fullmatch(r"\d+ [0-9a-f]{64}\n", current):
        raise DatasetError(f"{url}/CURRENT is damaged: publish again")
    # a folder per state: what another process has open stays as it is
    name = hashlib.sha256(f"{url} {current}".encode()).hexdigest()[:32]
    root = cache / "remote" / name
    if (root / "CURRENT").is_file():
        return root
    number = int(current.split()[0])
    record = commit_path(Path(), number).as_posix()
    scratch = cache / "remote" / f".{uuid.uuid4().hex}"
    try:
        _copy(system, base, scratch, record)
        (scratch / "CURRENT").write_text(current)
        commit = read_current(scratch)
        assert commit is not None
        for entry in {e.path: e for n, e in commit.files.items() if n != e.path}.values():
            _inside(entry.path)
            _copy(system, base, scratch, entry.path)
            check_sha256(scratch / entry.path, entry)
        _settle(scratch, root)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return root


def _copy(system: Any, base: str, scratch: Path, path: str) -> None:
    target = scratch / path
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.write_bytes(system.cat_file(f"{base}/{path}"))
    except FileNotFoundError:
        raise DatasetError(f"{path} is missing at {base}: copy or publish the dataset again") from None


def _settle(scratch: Path, root: Path) -> None:
    try:
        scratch.rename(root)
    except OSError:
        if not (root / "CURRENT").is_file():  # else another process was first, with the same content
            raise
