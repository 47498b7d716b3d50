"""Decoded columns on disk, memory-mapped: one Arrow IPC file per (source file's SHA-256, columns).

An entry can be lost but not stale: its name is derived from the content it was made from. Its values carry their own
SHA-256, which is compared once per run, so that a damaged entry is made again and never read.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

_LOG = logging.getLogger(__name__)
_LAYOUT = 1  # part of every key: raise it when the bytes of an entry change
_STALE_S = 24 * 3600.0  # a temporary file this old belongs to a process that died
MAX_BYTES = 200 * 2**30

Array = NDArray[Any]


def entry_key(sha256: str, names: Sequence[str]) -> str:
    """Name of the entry for some columns of a file. 64 hex digits."""
    return hashlib.sha256("\n".join([str(_LAYOUT), sha256, *names]).encode()).hexdigest()


class ColumnCache:
    """A folder of entries, safe for any number of processes; least recently used entries make room for new ones.

    Args:
        folder: created when missing.
        max_bytes: what the folder may hold.

    Attributes:
        usable: False once an entry could not be written; no new one is tried then.
    """

    def __init__(self, folder: Path, max_bytes: int = MAX_BYTES) -> None:
        self.folder, self.max_bytes, self.usable = folder, max_bytes, True
        self._mine: set[str] = set()  # never evicted by this process

    def get(self, key: str, make: Callable[[], Array], verify: bool = True) -> Array | None:
        """The entry's (N, k) values, read-only and memory-mapped; made when missing or damaged.

        Args:
            make: returns (N, k) of a fixed-width type; called at most once, in one process of several at a time.
            verify: compare the values with their SHA-256; without it only what Arrow's own structure shows.

        Returns:
            None where the disk does not allow an entry: full, read-only, or ``max_bytes`` too small.
        """
        self._mine.add(key)
        path = self.folder / f"{key}.arrow"
        values = read_entry(path, verify)
        if values is not None or not self.usable:
            return values
        try:
            with self._lock(key):
                values = read_entry(path, verify=True)
                return self._make(path, make()) if values is None else values
        except OSError as error:
            self.usable = False
            _LOG.warning("no reader cache in %s (%s): Parquet is read instead, slower", self.folder, error)
            return None

    def _make(self, path: Path, values: Array) -> Array | None:
        if not self._make_room(self.max_bytes - values.nbytes):
            raise OSError(f"what is in use and {values.nbytes} more bytes exceed max_bytes, {self.max_bytes}")
        part = self.folder / f".{uuid.uuid4().hex}.part"
        try:
            write_entry(part, values)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
        return read_entry(path, verify=True)

    def _make_room(self, room: int) -> bool:
        """Delete what was used longest ago until at most ``room`` bytes are left; what this process uses stays."""
        for stray in self.folder.glob(".*.part"):
            if _age_s(stray) > _STALE_S:
                stray.unlink(missing_ok=True)
        found = sorted((_used_at(p), p) for p in self.folder.glob("*.arrow"))
        total = sum(_size(p) for _, p in found)
        for _, path in found:
            if total <= room:
                break
            if path.stem not in self._mine:
                total -= _size(path)
                path.unlink(missing_ok=True)  # processes that have it mapped keep their pages
        return total <= room

    @contextmanager
    def _lock(self, key: str) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / f".lock-{key[:2]}").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def write_entry(path: Path, values: Array) -> None:
    """Write (N, k) values as one record batch with their SHA-256. OSError when the disk is full."""
    values = np.ascontiguousarray(values)
    kind = pa.from_numpy_dtype(values.dtype)
    column = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1), type=kind), values.shape[1])
    schema = pa.schema([("values", column.type)], metadata={"sha256": _digest(values)})
    with path.open("wb") as file:
        with pa.ipc.new_file(file, schema) as writer:
            writer.write_batch(pa.record_batch([column], schema=schema))
        file.flush()
        os.fsync(file.fileno())


def read_entry(path: Path, verify: bool) -> Array | None:
    """(N, k) read-only view into the mapped file; None when missing, truncated or damaged."""
    try:
        with pa.memory_map(str(path)) as file:
            reader = pa.ipc.open_file(file)
            batch = reader.get_batch(0)
            batch.validate(full=True)
        column = batch.column(0)
        values = column.flatten().to_numpy(zero_copy_only=True).reshape(len(column), column.type.list_size)
        if verify and reader.schema.metadata[b"sha256"].decode() != _digest(values):
            raise ValueError("its values are not those that were written")
    except FileNotFoundError:
        return None
    except (OSError, pa.ArrowException, KeyError, IndexError, ValueError, TypeError, AttributeError) as error:
        _LOG.warning("cache entry %s is damaged (%s)", path.name, error)
        return None
    with suppress(OSError):  # read-only: then it is not evicted here either
        os.utime(path)
    return np.asarray(values)


def _digest(values: Array) -> str:
    return hashlib.sha256(values.data.cast("B") if values.size else b"").hexdigest()


def _used_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # evicted by another process meanwhile
        return 0.0


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _age_s(path: Path) -> float:
    return time.time() - _used_at(path)
